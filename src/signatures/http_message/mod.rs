//! Room `signatures`: HTTP message signatures (RFC 9421). The sender lists the components it signs; which of them must be
//! there is the scheme's to say, and the algorithm is the scheme's alone. A digest of the body (RFC 9530) that is signed is
//! computed anew: only that binds the body.

pub(super) mod components;
mod digest;
pub(super) mod input;
mod to_sign;

use std::time::Duration;

use super::{JwsAlgorithm, SignatureError, jose::algorithm::Material};
use crate::model::{RawRequest, Timestamp};
use components::value;
pub(super) use input::spelled;
use input::{Input, Signed};
pub use to_sign::UnsignedMessage;

/// The component that binds the body.
pub(super) const CONTENT_DIGEST: &str = "content-digest";

/// A scheme by HTTP message signatures.
#[derive(Clone, Debug)]
pub(super) struct HttpMessage {
    /// The components that must be signed, each as it stands in a signature's input, as `"@method"`.
    pub(super) components: Vec<String>,
    /// The label of the signature; without one there is one signature, or one with the tag.
    pub(super) label: Option<String>,
    /// The tag that the signature must have.
    pub(super) tag: Option<String>,
    /// The algorithm of the keys.
    pub(super) algorithm: JwsAlgorithm,
    /// How old it may be, by its `created`, and how far in the future.
    pub(super) tolerance: Duration,
    /// Where the sender thinks we are: scheme and authority, with what stands before the path.
    pub(super) public_url: Option<String>,
}

/// The name that an algorithm has in RFC 9421; `None` for those that it does not know.
pub(super) const fn name_of(algorithm: JwsAlgorithm) -> Option<&'static str> {
    Some(match algorithm {
        JwsAlgorithm::PS512 => "rsa-pss-sha512",
        JwsAlgorithm::RS256 => "rsa-v1_5-sha256",
        JwsAlgorithm::HS256 => "hmac-sha256",
        JwsAlgorithm::ES256 => "ecdsa-p256-sha256",
        JwsAlgorithm::ES384 => "ecdsa-p384-sha384",
        JwsAlgorithm::EdDsa => "ed25519",
        _ => return None,
    })
}

/// The algorithm of a name of RFC 9421.
pub(super) fn algorithm_of(name: &str) -> Option<JwsAlgorithm> {
    use JwsAlgorithm as A;
    [A::PS512, A::RS256, A::HS256, A::ES256, A::ES384, A::EdDsa]
        .into_iter()
        .find(|it| name_of(*it) == Some(name))
}

impl HttpMessage {
    /// Whether a component that must be covered has our own address in it.
    pub(super) fn signs_url(&self) -> bool {
        let of_address = ["\"@target-uri\"", "\"@authority\"", "\"@scheme\""];
        self.components.iter().any(|component| of_address.contains(&component.as_str()))
    }

    /// Whether the body must be covered.
    pub(super) fn binds_body(&self) -> bool {
        self.components.iter().any(|component| *component == format!("\"{CONTENT_DIGEST}\""))
    }

    /// What must be covered, in words.
    pub(super) fn covers(&self) -> Vec<String> {
        let name = |component: &String| match component.trim_matches('"') {
            CONTENT_DIGEST => "body".to_owned(),
            derived if derived.starts_with('@') => derived.to_owned(),
            field => format!("header.{field}"),
        };
        self.components.iter().map(name).collect()
    }

    /// The verdict: the place among `keys` (each with its id) of the one that signed.
    pub(super) fn judge(
        &self,
        keys: &[(&str, Material)],
        request: &RawRequest,
        now: Timestamp,
    ) -> Result<usize, SignatureError> {
        let Signed { input, signature } = self.signature(request)?;
        self.check_input(&input)?;
        let base = self.base(&input, request)?;
        if input.components.iter().any(|component| component.name == CONTENT_DIGEST) {
            digest::check(request)?;
        }
        let named = |id: &str| input.key_id.as_deref().is_none_or(|named| named == id);
        // Every key is tried, whatever was found before.
        let held: Vec<bool> = keys
            .iter()
            .map(|(id, key)| self.algorithm.verifies(key, &base, &signature) && named(id))
            .collect();
        let key = held.iter().position(|held| *held).ok_or(SignatureError::Mismatch)?;
        self.check_times(&input, now)?;
        Ok(key)
    }

    fn signature(&self, request: &RawRequest) -> Result<Signed, SignatureError> {
        let mut signed = input::read(request)?;
        signed.retain(|label, one| self.means(label, &one.input));
        let mut signed = signed.into_values();
        let one = signed.next().ok_or(SignatureError::Missing)?;
        if signed.next().is_some() { Err(SignatureError::Duplicated) } else { Ok(one) }
    }

    /// Whether a signature is the one that counts, by its label and its tag.
    pub(super) fn means(&self, label: &str, input: &Input) -> bool {
        let labelled = self.label.as_ref().is_none_or(|wanted| wanted == label);
        labelled && (self.tag.is_none() || input.tag == self.tag)
    }

    fn check_input(&self, input: &Input) -> Result<(), SignatureError> {
        let there = |wanted: &String| input.components.iter().any(|component| component.text == *wanted);
        if !self.components.iter().all(there) {
            return Err(SignatureError::Malformed("a component that must be signed is not"));
        }
        if input.algorithm.as_deref().is_some_and(|named| Some(named) != name_of(self.algorithm)) {
            return Err(SignatureError::Malformed("the signature names another algorithm than the scheme"));
        }
        Ok(())
    }

    /// The bytes that are signed (RFC 9421 §2.5).
    pub(super) fn base(&self, input: &Input, request: &RawRequest) -> Result<Vec<u8>, SignatureError> {
        let mut base = Vec::new();
        for component in &input.components {
            base.extend_from_slice(component.text.as_bytes());
            base.extend_from_slice(b": ");
            base.extend_from_slice(&value(component, request, self.public_url.as_deref())?);
            base.push(b'\n');
        }
        base.extend_from_slice(b"\"@signature-params\": ");
        base.extend_from_slice(input.text.as_bytes());
        Ok(base)
    }

    fn check_times(&self, input: &Input, now: Timestamp) -> Result<(), SignatureError> {
        const NO_TIME: SignatureError =
            SignatureError::Malformed("the signature does not say when it was created");
        let created = input.created.and_then(Timestamp::from_seconds).ok_or(NO_TIME)?;
        if created.since(now) > self.tolerance {
            return Err(SignatureError::Future);
        }
        let ended = match input.expires {
            None => false,
            Some(expires) => now > Timestamp::from_seconds(expires).ok_or(NO_TIME)?,
        };
        if ended || now.since(created) > self.tolerance { Err(SignatureError::Stale) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
