//! Room `cli`: signs a request as its partner would, for `send`, `demo` and the tests. The verifier has no such thing.
//! It writes a signature where the scheme says that one is read; what the right one is, the verifier's vectors say.

use std::borrow::Cow;

use vrl::value::Value;

use super::{
    sign_in_body::sign_in_body,
    sign_message::sign_message,
    sign_places::{put, put_beside, remove, written},
    sign_sns::sign_sns,
    sign_token::sign_token,
    signing_key::SigningKey,
};
use crate::{
    model::{self, BodyKind, BodyRules, RawRequest, Timestamp, Unreadable, strict_json},
    signatures::{Items, Place, Scheme, SignatureError, View},
};

/// Why a request cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// What is signed is not in the request, as a header that the message needs.
    #[error("what is to be signed cannot be read: {0}")]
    Message(#[from] SignatureError),
    /// The signature stands in the body, and the body is not JSON.
    #[error("the body, in which the signature stands, is not JSON: {0}")]
    Body(#[from] strict_json::InvalidJson),
    /// What is signed stands in a form, and the body is none.
    #[error("the body, in which what is signed stands, cannot be read: {0}")]
    Form(#[from] Unreadable),
    /// The body has no array of items to sign.
    #[error("the body has no items at {0}")]
    Items(String),
    /// The body cannot be written anew.
    #[error("the signed body cannot be written: {0}")]
    Write(#[from] serde_json::Error),
    /// The key does not sign by this algorithm.
    #[error(
        "the key signs nothing as {0}; where the endpoint has a public key it is the private one, in PEM (PKCS#8)"
    )]
    Key(String),
    /// It is a standard of its own, which this does not speak.
    #[error("a signature of this kind cannot be made here")]
    Foreign,
    /// Nothing can be written there.
    #[error("nothing can be written at {0}")]
    Place(String),
}

/// Signs `request` as a partner would who sends it `at` that time. Signatures and times that stand there are replaced;
/// where the signature stands in the body, the body is written anew.
pub fn sign<'k>(
    scheme: &Scheme,
    key: impl Into<SigningKey<'k>>,
    request: &mut RawRequest,
    at: Timestamp,
) -> Result<(), SignError> {
    let key = &key.into();
    if let Some(token) = scheme.token_of(request, key.id(), at) {
        return sign_token(scheme, key, request, &token?);
    }
    if let Some(message) = scheme.message_of(request, key.id(), at) {
        return sign_message(key, request, &message?);
    }
    if !scheme.is_spelled_out() {
        return sign_sns(scheme, key, request).unwrap_or(Err(SignError::Foreign));
    }
    if scheme.message().has_secret_in_body() {
        return sign_in_body(scheme, key, request);
    }
    let stamp = scheme.timestamp().map(|stamp| (&stamp.at.place, stamp.at.form.write(at)));
    remove(request, &scheme.value().place);
    if let Some((place, time)) = &stamp {
        remove(request, place);
        put(scheme, request, place, time)?;
    }
    if let Some(digest) = scheme.digest() {
        let view = View { request, body: &Value::Null, item: &Value::Null };
        let text = String::from_utf8_lossy(&digest.of.render(&view, None)?.to_vec()).into_owned();
        put(scheme, request, &Place::whole(digest.path.clone()), &text)?;
    }
    let named = key_named(scheme, key, request);
    if let Some((place, id)) = named.filter(|(place, _)| place.path != scheme.value().place.path) {
        put(scheme, request, place, id)?;
    }
    let time = stamp.as_ref().map(|(_, time)| time.as_str());
    if let Some(items) = scheme.items() {
        return sign_items(scheme, key, request, items, time);
    }
    let body = read_body(scheme, request)?;
    let signature = signature(scheme, key, &View { request, body: &body, item: &body }, time)?;
    put(scheme, request, &scheme.value().place, &signature)?;
    if let Some((place, id)) = named.filter(|(place, _)| place.path == scheme.value().place.path) {
        put_beside(request, place, id)?;
    }
    Ok(())
}

/// Where the sender names its key, and what it calls it, unless the request has a name there already.
fn key_named<'a>(
    scheme: &'a Scheme,
    key: &'a SigningKey<'_>,
    request: &RawRequest,
) -> Option<(&'a Place, &'a str)> {
    let place = scheme.key_id_place()?;
    let there = request.headers.0.iter().any(|(name, _)| place.holds_header(name));
    if there { None } else { Some((place, key.id()?)) }
}

fn read_body(scheme: &Scheme, request: &RawRequest) -> Result<Value, SignError> {
    match (scheme.reads_body(), scheme.body()) {
        (false, _) => Ok(Value::Null),
        (true, BodyKind::Json) => Ok(strict_json::read(&request.body)?),
        (true, _) => {
            let rules =
                BodyRules { form_json: scheme.form_json().map(str::to_owned), ..BodyRules::default() };
            Ok(model::read_body(&request.headers, &request.body, &rules)?)
        }
    }
}

fn sign_items(
    scheme: &Scheme,
    key: &SigningKey<'_>,
    request: &mut RawRequest,
    items: &Items,
    time: Option<&str>,
) -> Result<(), SignError> {
    let body = strict_json::read(&request.body)?;
    let mut signed = body.clone();
    let no_items = || SignError::Items(items.text.clone());
    let elements =
        signed.get_mut(items.array.value_path()).and_then(Value::as_array_mut).ok_or_else(no_items)?;
    for element in elements {
        let item = element.get_mut(&items.element).ok_or_else(no_items)?;
        let signature = signature(scheme, key, &View { request, body: &body, item }, time)?;
        item.insert(scheme.value().place.path.value_path(), written(&scheme.value().place, &signature));
    }
    request.body = serde_json::to_vec(&signed)?.into();
    Ok(())
}

fn signature(
    scheme: &Scheme,
    key: &SigningKey<'_>,
    view: &View<'_>,
    time: Option<&str>,
) -> Result<String, SignError> {
    let message = scheme.message().render(view, time.map(Cow::Borrowed))?;
    let signed = key.sign(scheme.algorithm(), &message);
    let bytes = signed.ok_or_else(|| SignError::Key(scheme.algorithm().to_string()))?;
    Ok(scheme.value().form.encode(&bytes))
}
