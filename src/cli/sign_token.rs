//! Room `cli`: writes a token as its sender would: header, payload and signature in compact form (RFC 7515).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    sign::SignError,
    sign_places::{put, remove},
    signing_key::SigningKey,
};
use crate::{
    model::RawRequest,
    signatures::{Scheme, UnsignedToken},
};

/// Signs a token and puts it where it belongs.
pub(super) fn sign_token(
    scheme: &Scheme,
    key: &SigningKey<'_>,
    request: &mut RawRequest,
    token: &UnsignedToken,
) -> Result<(), SignError> {
    let name = token.algorithm.name();
    let header = URL_SAFE_NO_PAD.encode(format!("{{\"alg\":\"{name}\",\"typ\":\"JWT\"}}"));
    let payload = URL_SAFE_NO_PAD.encode(&token.payload);
    let signature = key.sign_jws(token.algorithm, format!("{header}.{payload}").as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(signature.ok_or_else(|| SignError::Key(name.to_owned()))?);
    let payload = if token.detached { "" } else { &payload };
    let text = format!("{header}.{payload}.{signature}");
    match &token.at {
        None => request.body = text.into(),
        Some(place) => {
            remove(request, place);
            put(scheme, request, place, &text)?;
        }
    }
    Ok(())
}
