//! Room `signatures`: the verdict. Every key is tried on every signature in constant time; only what held is looked at
//! for its age. May not know where keys come from or what time it is.

use smallvec::smallvec;
use vrl::value::Value;

use super::{
    Algorithm, Key, Message, Scheme,
    evidence::{Evidence, Few, View, gather, read_body, views},
};
use crate::model::{Assurance, RawRequest, Timestamp, Verification, VerifiedRequest};

/// Why a request is not believed. The code is for the platform engineer; the partner always gets one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// A header or field that the signature needs is not there, or offers no signature.
    #[error("a header or field that the signature needs is missing")]
    Missing,
    /// A header that counts once stands twice.
    #[error("a header or field that the signature needs stands twice")]
    Duplicated,
    /// The signature, its time or a signed field is not written as the scheme says.
    #[error("the signature cannot be read: {0}")]
    Malformed(&'static str),
    /// No key made this signature of this request.
    #[error("the signature does not match under any of the secrets")]
    Mismatch,
    /// Genuine, but sent too long ago.
    #[error("the signature is genuine, but its timestamp is too old")]
    Stale,
    /// Genuine, but from the future.
    #[error("the signature is genuine, but its timestamp is in the future")]
    Future,
    /// The signature stands in the body or signs fields of it, and the body is not JSON as we read it, or comes as a form.
    #[error("the body, into which the signature looks, is not strict JSON, or is sent as a form")]
    Unreadable,
    /// A token is genuine, but what it says is not what the scheme demands.
    #[error("the token is genuine, but of its claims {0}")]
    Claim(&'static str),
    /// There is no key to verify with: our fault, so 503.
    #[error("the endpoint has no usable secret")]
    NoKey,
}

impl SignatureError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "signature_missing",
            Self::Duplicated => "signature_duplicated",
            Self::Malformed(_) => "signature_malformed",
            Self::Mismatch => "signature_mismatch",
            Self::Stale => "timestamp_stale",
            Self::Future => "timestamp_future",
            Self::Unreadable => "body_unreadable",
            Self::Claim(_) => "claim_mismatch",
            Self::NoKey => "not_configured",
        }
    }
}

/// Verifies a request by a scheme; the request is given back on failure so that it can be described.
///
/// Where items are signed one by one, one key must have signed them all: one bad item refuses the request.
pub fn verify(
    scheme: &Scheme,
    keys: &[Key],
    request: RawRequest,
    now: Timestamp,
) -> Result<VerifiedRequest, Box<(RawRequest, SignatureError)>> {
    match judge(scheme, keys, &request, now) {
        Ok(verification) => Ok(VerifiedRequest::attest(request, verification)),
        Err(error) => Err(Box::new((request, error))),
    }
}

/// Accepts a request at an endpoint that says `unsigned = true`.
pub fn accept_unsigned(request: RawRequest) -> VerifiedRequest {
    let verification = Verification { assurance: Assurance::None, secret_id: None };
    VerifiedRequest::attest(request, verification)
}

/// The verdict on a request, which stays where it is.
pub(super) fn judge(
    scheme: &Scheme,
    keys: &[Key],
    request: &RawRequest,
    now: Timestamp,
) -> Result<Verification, SignatureError> {
    let mut counting = keys.iter().filter(|key| key.counts_at(now)).peekable();
    if counting.peek().is_none() || counting.any(Key::is_unusable) {
        return Err(SignatureError::NoKey);
    }
    if let Some(special) = &scheme.special {
        return special.judge(scheme, keys, request, now);
    }
    let body = read_body(scheme, request);
    let evidence = body.as_ref().map_err(|error| *error).and_then(|body| gather_all(scheme, request, body));
    let evidence = evidence.inspect_err(|_| spend(scheme.algorithm(), keys, request))?;
    let (key, age) = matching(scheme, keys, &evidence, now).ok_or(SignatureError::Mismatch)?;
    age?;
    Ok(Verification { assurance: scheme.assurance(), secret_id: Some(key.id.clone()) })
}

/// The readings of everything that is signed.
fn gather_all<'a>(
    scheme: &'a Scheme,
    request: &'a RawRequest,
    body: &'a Value,
) -> Result<Few<Few<Evidence<'a>>>, SignatureError> {
    if scheme.items().is_none() {
        return Ok(smallvec![gather(scheme, &View { request, body, item: body })?]);
    }
    let mut all = Few::new();
    for view in views(scheme, request, body)? {
        all.push(gather(scheme, &view)?);
    }
    Ok(all)
}

/// Whether what a key signed is of now.
type Age = Result<(), SignatureError>;

/// The first key that counts and signed everything there is, and whether that is of now. Every such key is tried on
/// everything, whatever was found before.
pub(super) fn matching<'k>(
    scheme: &Scheme,
    keys: &'k [Key],
    evidence: &[Few<Evidence<'_>>],
    now: Timestamp,
) -> Option<(&'k Key, Age)> {
    let mut found = None;
    for key in keys.iter().filter(|key| key.counts_at(now)) {
        let held = signed_by(key, scheme, evidence, now);
        found = found.or(held.map(|age| (key, age)));
    }
    found
}

/// The age of what a key signed; `None` if there is anything that it did not sign. Of each thing, one of the readings that
/// held must be of now.
fn signed_by(key: &Key, scheme: &Scheme, evidence: &[Few<Evidence<'_>>], now: Timestamp) -> Option<Age> {
    let algorithm = scheme.algorithm();
    let held = |one: &&Evidence<'_>| bool::from(algorithm.holds(key, &one.message, &one.candidates));
    let mut all = (!evidence.is_empty()).then_some(Ok(()));
    for readings in evidence {
        let one = readings.iter().filter(held).map(|one| age(scheme, one, now)).reduce(Result::or);
        all = all.zip(one).map(|(all, one)| all.and(one));
    }
    all
}

/// A request that shows nothing to compare costs what a wrong signature costs, so that the time tells nobody how far it came.
pub(super) fn spend(algorithm: Algorithm, keys: &[Key], request: &RawRequest) {
    let message = Message::from(request.body.as_ref());
    for key in keys {
        algorithm.spend(key, &message);
    }
}

fn age(scheme: &Scheme, reading: &Evidence<'_>, now: Timestamp) -> Age {
    let Some(stamp) = scheme.timestamp() else { return Ok(()) };
    let sent_at = reading.sent_at.ok_or(SignatureError::Missing)?;
    if now.since(sent_at) > stamp.tolerance {
        return Err(SignatureError::Stale);
    }
    if sent_at.since(now) > stamp.tolerance {
        return Err(SignatureError::Future);
    }
    Ok(())
}
