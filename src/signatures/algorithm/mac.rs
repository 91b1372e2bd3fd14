//! Room `signatures`: what is computed with a secret: HMACs, digests of a message that holds the secret, and the digest under
//! which secrets themselves are compared.

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};
use sha3::Keccak256;

use super::{Algorithm, Message};

/// The signature that a secret makes of a message; for a secret that is sent itself, its digest. `None` for algorithms that
/// take no secret.
pub(super) fn expected(algorithm: Algorithm, secret: &[u8], message: &Message<'_>) -> Option<Vec<u8>> {
    match algorithm {
        Algorithm::HmacSha1 => hmac::<Hmac<Sha1>>(secret, message),
        Algorithm::HmacSha256 => hmac::<Hmac<Sha256>>(secret, message),
        Algorithm::HmacSha384 => hmac::<Hmac<Sha384>>(secret, message),
        Algorithm::HmacSha512 => hmac::<Hmac<Sha512>>(secret, message),
        Algorithm::Md5 => Some(digest::<Md5>(secret, message)),
        Algorithm::Sha256 => Some(digest::<Sha256>(secret, message)),
        Algorithm::Keccak256 => Some(digest::<Keccak256>(secret, message)),
        Algorithm::Token | Algorithm::Basic => Some(digest_of(secret)),
        _ => None,
    }
}

/// The digest under which two secrets are compared: of one length, so that the comparison tells nothing of theirs.
pub(super) fn digest_of(secret: &[u8]) -> Vec<u8> {
    Sha256::digest(secret).to_vec()
}

fn hmac<M: Mac + KeyInit>(secret: &[u8], message: &Message<'_>) -> Option<Vec<u8>> {
    let mut mac = <M as KeyInit>::new_from_slice(secret).ok()?;
    message.pieces().for_each(|piece| mac.update(piece));
    Some(mac.finalize().into_bytes().to_vec())
}

fn digest<D: Digest>(secret: &[u8], message: &Message<'_>) -> Vec<u8> {
    let mut digest = D::new();
    message.pieces_with(secret).for_each(|piece| digest.update(piece));
    digest.finalize().to_vec()
}
