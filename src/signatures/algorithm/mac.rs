//! Room `signatures`: what is computed with a secret: HMACs, digests of a message that holds the secret, and the digest under
//! which secrets themselves are compared.

use std::sync::Arc;

use aws_lc_rs::hmac;
use md5::Md5;
use sha2::{Digest, Sha256};
use sha3::Keccak256;

use super::{Algorithm, Message};

/// A secret as the key of an HMAC, with what does not depend on the message computed beforehand. Wiped when dropped.
#[derive(Clone, Debug)]
pub(in super::super) struct HmacKey(Arc<hmac::Key>);

impl HmacKey {
    /// Takes a secret in; `None` for an algorithm that is no HMAC.
    pub(in super::super) fn new(algorithm: Algorithm, secret: &[u8]) -> Option<Self> {
        Some(Self(Arc::new(hmac::Key::new(hmac_of(algorithm)?, secret))))
    }

    /// Whether it is for this algorithm.
    pub(in super::super) fn is_of(&self, algorithm: Algorithm) -> bool {
        hmac_of(algorithm) == Some(self.0.algorithm())
    }

    /// The HMAC of a message.
    pub(super) fn of(&self, message: &Message<'_>) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        message.pieces().for_each(|piece| context.update(piece));
        context.sign()
    }
}

fn hmac_of(algorithm: Algorithm) -> Option<hmac::Algorithm> {
    match algorithm {
        Algorithm::HmacSha1 => Some(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
        Algorithm::HmacSha256 => Some(hmac::HMAC_SHA256),
        Algorithm::HmacSha384 => Some(hmac::HMAC_SHA384),
        Algorithm::HmacSha512 => Some(hmac::HMAC_SHA512),
        _ => None,
    }
}

/// The signature that a secret makes of a message; for a secret that is sent itself, its digest. `None` for algorithms that
/// take no secret.
pub(super) fn expected(algorithm: Algorithm, secret: &[u8], message: &Message<'_>) -> Option<Vec<u8>> {
    match algorithm {
        Algorithm::Md5 => Some(digest::<Md5>(secret, message)),
        Algorithm::Sha256 => Some(digest::<Sha256>(secret, message)),
        Algorithm::Keccak256 => Some(digest::<Keccak256>(secret, message)),
        Algorithm::Token | Algorithm::Basic => Some(digest_of(secret)),
        _ => HmacKey::new(algorithm, secret).map(|key| key.of(message).as_ref().to_vec()),
    }
}

/// The digest under which two secrets are compared: of one length, so that the comparison tells nothing of theirs.
pub(super) fn digest_of(secret: &[u8]) -> Vec<u8> {
    Sha256::digest(secret).to_vec()
}

fn digest<D: Digest>(secret: &[u8], message: &Message<'_>) -> Vec<u8> {
    let mut digest = D::new();
    message.pieces_with(secret).for_each(|piece| digest.update(piece));
    digest.finalize().to_vec()
}
