//! Room `signatures`: `Content-Digest` (RFC 9530): what it says about the body must be so.

use sfv::ListEntry;
use sha2::{Digest, Sha256, Sha512};

use super::{super::SignatureError, input::dictionary};
use crate::model::RawRequest;

/// Holds every digest that we know against the body; there must be one. Those of old algorithms are not looked at.
pub(super) fn check(request: &RawRequest) -> Result<(), SignatureError> {
    let digests = dictionary(request, super::CONTENT_DIGEST)?.ok_or(SignatureError::Missing)?;
    let mut known = 0;
    for (algorithm, entry) in &digests {
        let expected = match algorithm.as_str() {
            "sha-256" => Sha256::digest(&request.body).to_vec(),
            "sha-512" => Sha512::digest(&request.body).to_vec(),
            _ => continue,
        };
        known += 1;
        let ListEntry::Item(item) = entry else {
            return Err(SignatureError::Malformed("the digest is none"));
        };
        if item.bare_item.as_byte_sequence() != Some(expected.as_slice()) {
            return Err(SignatureError::Mismatch);
        }
    }
    if known == 0 {
        Err(SignatureError::Malformed("Content-Digest has neither sha-256 nor sha-512"))
    } else {
        Ok(())
    }
}
