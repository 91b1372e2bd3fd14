//! Room `cli`: writes a token as its sender would: header, payload and signature in compact form (RFC 7515).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    sign::SignError,
    sign_places::{put, remove},
    signing_key::SigningKey,
};
use crate::{
    model::RawRequest,
    signatures::{Algorithm, JwsAlgorithm, Message, Scheme, UnsignedToken},
};

/// Signs a token and puts it where it belongs.
pub(super) fn sign_token(
    scheme: &Scheme,
    key: &SigningKey<'_>,
    request: &mut RawRequest,
    token: &UnsignedToken,
) -> Result<(), SignError> {
    let header = format!("{{\"alg\":\"{}\",\"typ\":\"JWT\"}}", token.algorithm.name());
    let (header, payload) = (URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(&token.payload));
    let signed = format!("{header}.{payload}");
    let signature =
        signs_as(token.algorithm).and_then(|how| key.sign(how, &Message::from(signed.as_bytes())));
    let signature = URL_SAFE_NO_PAD.encode(signature.ok_or(SignError::Foreign)?);
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

fn signs_as(algorithm: JwsAlgorithm) -> Option<Algorithm> {
    Some(match algorithm {
        JwsAlgorithm::HS256 => Algorithm::HmacSha256,
        JwsAlgorithm::HS384 => Algorithm::HmacSha384,
        JwsAlgorithm::HS512 => Algorithm::HmacSha512,
        JwsAlgorithm::RS256 => Algorithm::RsaPkcs1Sha256,
        JwsAlgorithm::RS512 => Algorithm::RsaPkcs1Sha512,
        JwsAlgorithm::PS512 => Algorithm::RsaPssSha512,
        JwsAlgorithm::ES256 => Algorithm::EcdsaP256Sha256Raw,
        JwsAlgorithm::ES384 => Algorithm::EcdsaP384Sha384Raw,
        JwsAlgorithm::ES512 => Algorithm::EcdsaP521Sha512Raw,
        JwsAlgorithm::EdDsa => Algorithm::Ed25519,
        _ => return None,
    })
}
