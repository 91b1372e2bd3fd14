//! Room `cli`: writes an HTTP message signature (RFC 9421) as its sender would: a digest of the body where the scheme wants
//! one, what is signed, and the signature.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{sign::SignError, signing_key::SigningKey};
use crate::{model::RawRequest, signatures::UnsignedMessage};

/// Signs a message. Signatures that stand in the request are replaced, whosever they are.
pub(super) fn sign_message(
    key: &SigningKey<'_>,
    request: &mut RawRequest,
    message: &UnsignedMessage,
) -> Result<(), SignError> {
    let signature = key.sign_jws(message.algorithm, &message.base);
    let signature = STANDARD.encode(signature.ok_or(SignError::Key(message.algorithm.name().to_owned()))?);
    let own = ("signature", format!("{}=:{signature}:", message.label));
    for (name, value) in message.headers.iter().chain([&own]) {
        request.headers.0.retain(|(known, _)| known != name);
        request.headers.push(name, value.clone());
    }
    Ok(())
}
