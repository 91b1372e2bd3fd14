//! Room `intake`: step 2. Fails closed: without a usable key nobody is let in, and because that is our fault the
//! partner is told 503, not 401.

use super::Refusal;
use crate::{
    model::{RawRequest, Timestamp, VerifiedRequest},
    partners::{Endpoint, SignatureCheck},
    signatures::{self, Key, Scheme},
};

/// What an endpoint asks of a request.
#[derive(Clone, Copy)]
pub(super) enum Proof<'a> {
    /// A signature of this scheme by one of these keys.
    Signature(&'a Scheme, &'a [Key]),
    /// Nothing: the partner file says `unsigned = true`.
    Nothing,
}

/// What an endpoint asks of a request, if it can tell at all.
pub(super) fn proof(endpoint: &Endpoint) -> Result<Proof<'_>, Refusal> {
    let SignatureCheck::Scheme(scheme) = &endpoint.check else { return Ok(Proof::Nothing) };
    match &endpoint.keys {
        Ok(keys) if !keys.is_empty() => Ok(Proof::Signature(scheme, keys)),
        Ok(_) => Err(Refusal::NotConfigured { why: "the endpoint has no secret".to_owned() }),
        Err(why) => Err(Refusal::NotConfigured { why: why.to_string() }),
    }
}

/// Believes a request, or not.
pub(super) fn verify(
    endpoint: &Endpoint,
    proof: Proof<'_>,
    request: RawRequest,
    now: Timestamp,
) -> Result<VerifiedRequest, Refusal> {
    match proof {
        Proof::Nothing => Ok(signatures::accept_unsigned(request)),
        Proof::Signature(scheme, keys) => signatures::verify(scheme, keys, request, now).map_err(|failure| {
            let (_, error) = *failure;
            Refusal::Signature { error, status: endpoint.signature_failure_status }
        }),
    }
}
