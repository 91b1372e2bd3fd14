//! Room `cli`: signs a request as its partner would, for `send`, `demo` and the tests. The verifier has no such thing.
//! It writes a signature where the scheme says that one is read; what the right one is, the verifier's vectors say.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use vrl::value::{ObjectMap, Value};

use crate::{
    model::{FieldPath, RawRequest, Root, Timestamp, strict_json},
    signatures::{Algorithm, Items, Key, Message, Place, Scheme, SignatureError, View},
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
    /// The body has no array of items to sign.
    #[error("the body has no items at {0}")]
    Items(String),
    /// The body cannot be written anew.
    #[error("the signed body cannot be written: {0}")]
    Write(#[from] serde_json::Error),
    /// Nothing can be written there.
    #[error("nothing can be written at {0}")]
    Place(String),
}

/// Signs `request` as a partner would who sends it `at` that time. Signatures and times that stand there are replaced;
/// where the signature stands in the body, the body is written anew.
pub fn sign(scheme: &Scheme, key: &Key, request: &mut RawRequest, at: Timestamp) -> Result<(), SignError> {
    let stamp = scheme.timestamp().map(|stamp| (&stamp.at.place, stamp.at.form.write(at)));
    remove(request, &scheme.value().place);
    if let Some((place, time)) = &stamp {
        remove(request, place);
        put(request, place, time)?;
    }
    let time = stamp.as_ref().map(|(_, time)| time.as_str());
    if let Some(items) = scheme.items() {
        return sign_items(scheme, key, request, items, time);
    }
    let body = read_body(scheme, request)?;
    let signature = signature(scheme, key, &View { request, body: &body, item: &body }, time)?;
    put(request, &scheme.value().place, &signature)
}

fn read_body(scheme: &Scheme, request: &RawRequest) -> Result<Value, SignError> {
    if scheme.reads_body() { Ok(strict_json::read(&request.body)?) } else { Ok(Value::Null) }
}

fn sign_items(
    scheme: &Scheme,
    key: &Key,
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

fn signature(scheme: &Scheme, key: &Key, view: &View<'_>, time: Option<&str>) -> Result<String, SignError> {
    let bytes = authentication_code(scheme.algorithm(), key, &scheme.message().render(view, time)?);
    Ok(scheme.value().form.encode(&bytes))
}

fn authentication_code(algorithm: Algorithm, key: &Key, message: &Message<'_>) -> Vec<u8> {
    match algorithm {
        Algorithm::HmacSha256 => {
            let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.bytes.expose()) else { return Vec::new() };
            mac.update(&message.to_vec());
            mac.finalize().into_bytes().to_vec()
        }
    }
}

/// One piece as it stands at its place: with its name and what comes before it.
fn written(place: &Place, text: &str) -> String {
    let name = place.pair.as_ref().map(|pair| format!("{}{}", pair.name, pair.assign)).unwrap_or_default();
    let piece = format!("{name}{}{text}", place.prefix.as_deref().unwrap_or_default());
    match &place.unwrap {
        Some(unwrap) => wrapped(&unwrap.field, &piece),
        None => piece,
    }
}

/// A piece in the JSON document in base64 that it stands in.
fn wrapped(field: &FieldPath, piece: &str) -> String {
    let mut document = Value::Object(ObjectMap::new());
    document.insert(field.value_path(), piece);
    STANDARD.encode(document.to_string())
}

fn remove(request: &mut RawRequest, place: &Place) {
    request.headers.0.retain(|(name, _)| !place.holds_header(name));
}

/// Writes a piece at its place, behind those that stand there.
fn put(request: &mut RawRequest, place: &Place, text: &str) -> Result<(), SignError> {
    let piece = written(place, text);
    match place.path.root() {
        Root::Header => {
            put_header(request, place, piece);
            Ok(())
        }
        Root::Body => {
            let mut body = strict_json::read(&request.body)?;
            body.insert(place.path.value_path(), piece);
            request.body = serde_json::to_vec(&body)?.into();
            Ok(())
        }
        Root::Item | Root::Query => Err(SignError::Place(place.path.to_string())),
    }
}

fn put_header(request: &mut RawRequest, place: &Place, piece: String) {
    let number = if place.numbered { "1" } else { "" };
    let header = format!("{}{number}", place.path.name());
    let there = request.headers.0.iter_mut().find(|(name, _)| *name == header);
    match (there, place.separator) {
        (Some((_, value)), Some(separator)) => {
            let before = String::from_utf8_lossy(&value.0).into_owned();
            value.0 = format!("{before}{separator}{piece}").into();
        }
        _ => request.headers.push(&header, piece),
    }
}
