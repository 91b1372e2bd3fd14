//! STUB
use super::Scheme;
use crate::model::{RawRequest, Secret, Timestamp, VerifiedRequest};

/// A decoded key and the id of its secret.
#[derive(Clone, Debug)]
pub struct Key {
    pub id: String,
    pub bytes: Secret,
}

/// Why a secret is no key for a scheme. Never shows the secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the secret is empty")]
    Empty,
    #[error("placeholder")]
    Placeholder,
    #[error("{0}")]
    Encoding(String),
    #[error("too short")]
    TooShort,
}

/// Why a request is not believed. The code is for the platform engineer; the partner always gets one answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("the signature header is missing")]
    Missing,
    #[error("the signature header stands twice")]
    Duplicated,
    #[error("malformed: {0}")]
    Malformed(&'static str),
    #[error("mismatch")]
    Mismatch,
    #[error("stale")]
    Stale,
    #[error("future")]
    Future,
    #[error("unreadable body")]
    Unreadable,
}
impl SignatureError {
    /// Stable codes: signature_missing, signature_duplicated, signature_malformed, signature_mismatch, timestamp_stale, timestamp_future, body_unreadable
    pub fn code(&self) -> &'static str {
        todo!()
    }
}

/// Verifies a request by a scheme; the request is given back on failure so that it can be described.
pub fn verify(
    scheme: &Scheme,
    keys: &[Key],
    request: RawRequest,
    now: Timestamp,
) -> Result<VerifiedRequest, Box<(RawRequest, SignatureError)>> {
    let _ = (scheme, keys, request, now);
    todo!()
}

/// Accepts a request at an endpoint that says `unsigned = true`.
pub fn accept_unsigned(request: RawRequest) -> VerifiedRequest {
    let _ = request;
    todo!()
}
