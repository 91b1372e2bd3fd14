//! Room `intake`: step 2. Fails closed: without a usable key nobody is let in, and because that is our fault the
//! partner is told 503, not 401.

use super::Refusal;
use crate::{
    model::{RawRequest, Timestamp, VerifiedRequest},
    partners::{Endpoint, SignatureCheck},
    signatures::{self, Key, Scheme, SignatureError},
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
    let keys = endpoint.keys.as_ref().map_err(|why| Refusal::NotConfigured { why: why.to_string() })?;
    match &endpoint.check {
        SignatureCheck::Unsigned => Ok(Proof::Nothing),
        SignatureCheck::Scheme(_) if keys.is_empty() => Err(no_secret()),
        SignatureCheck::Scheme(scheme) => Ok(Proof::Signature(scheme, keys)),
        SignatureCheck::Unknown => Err(no_secret()),
    }
}

/// Believes a request, or not.
pub(super) fn verify(
    endpoint: &Endpoint,
    proof: Proof<'_>,
    request: RawRequest,
    now: Timestamp,
) -> Result<VerifiedRequest, Refusal> {
    let Proof::Signature(scheme, keys) = proof else { return Ok(signatures::accept_unsigned(request)) };
    signatures::verify(scheme, keys, request, now).map_err(|failure| match *failure {
        (_, SignatureError::NoKey) => no_secret(),
        (_, error) => Refusal::Signature { error, status: endpoint.signature_failure_status },
    })
}

fn no_secret() -> Refusal {
    Refusal::NotConfigured { why: "the endpoint has no usable secret".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::{super::handshake::tests::endpoint, *};
    use crate::partners::NotConfigured;

    #[test]
    fn an_endpoint_that_cannot_tell_lets_nobody_in() {
        let mut broken = endpoint("acme", Vec::new());
        assert!(matches!(proof(&broken), Ok(Proof::Nothing)), "explicitly unsigned");
        broken.check = SignatureCheck::Unknown;
        assert!(matches!(proof(&broken), Err(Refusal::NotConfigured { .. })));
        broken.check = SignatureCheck::Unsigned;
        broken.keys = Err(NotConfigured("secret main: env:ACME_SECRET is not set".to_owned()));
        assert!(matches!(proof(&broken), Err(Refusal::NotConfigured { .. })));
    }
}
