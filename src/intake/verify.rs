//! Room `intake`: step 2. Fails closed: without a usable key nobody is let in, and because that is our fault the
//! partner is told 503, not 401.

use std::{borrow::Cow, sync::Arc};

use super::{LearntSecrets, PublicDoor, Refusal};
use crate::{
    keys::remote::{Asking, Document, KeyUnavailable, Wanted},
    model::{RawRequest, Timestamp, VerifiedRequest},
    partners::{Endpoint, SignatureCheck},
    signatures::{self, Key, Needed, Published, PublishedError, Scheme, Schemes, SignatureError},
};

/// What an endpoint asks of a request.
#[derive(Clone)]
pub(super) enum Proof<'a> {
    /// A signature of these schemes by these keys.
    Signature(&'a Schemes, Cow<'a, [Key]>),
    /// Nothing: the partner file says `unsigned = true`.
    Nothing,
}

/// What an endpoint asks of a request, if it can tell at all.
pub(super) fn proof<'e>(endpoint: &'e Endpoint, learnt: &LearntSecrets) -> Result<Proof<'e>, Refusal> {
    let keys = endpoint.keys.as_ref().map_err(|why| Refusal::NotConfigured { why: why.to_string() })?;
    let keys = with_learnt(keys, &learnt.keys(endpoint));
    match &endpoint.check {
        SignatureCheck::Unsigned => Ok(Proof::Nothing),
        SignatureCheck::Scheme(schemes) if schemes.has_published_keys() => {
            Ok(Proof::Signature(schemes, keys))
        }
        SignatureCheck::Scheme(_) if keys.is_empty() && endpoint.learns() => Err(nothing_learnt()),
        SignatureCheck::Scheme(_) if keys.is_empty() => Err(no_secret()),
        SignatureCheck::Scheme(scheme) => Ok(Proof::Signature(scheme, keys)),
        SignatureCheck::Unknown => Err(no_secret()),
    }
}

/// The keys that were learnt, which are for the first scheme, before those of the file: keys stand in the order of schemes.
fn with_learnt<'k>(keys: &'k [Key], learnt: &[Key]) -> Cow<'k, [Key]> {
    if learnt.is_empty() { Cow::Borrowed(keys) } else { Cow::Owned([learnt, keys].concat()) }
}

/// The same proof with the published keys that a request needs. Nothing is fetched for a request that could not be genuine
/// under any key or whose endpoint has a key pinned, and what cannot be fetched is not the sender's fault.
pub(super) async fn with_published<'a>(
    door: &PublicDoor,
    endpoint: &Endpoint,
    proof: Proof<'a>,
    request: &RawRequest,
) -> Result<Proof<'a>, Refusal> {
    let Proof::Signature(schemes, own) = proof else { return Ok(proof) };
    let refused = |error| Refusal::Signature { error, status: endpoint.signature_failure_status };
    let pinned = endpoint.keys.as_deref().unwrap_or_default();
    let needed = schemes.needs(pinned, request).map_err(refused)?;
    if needed.is_empty() {
        return Ok(Proof::Signature(schemes, own));
    }
    let mut keys = own.into_owned();
    for (at, needed) in &needed {
        let key = fetched(door, &schemes.branches()[*at].scheme, needed, wanted(endpoint, needed)).await?;
        keys.push(key.ok_or_else(|| refused(SignatureError::Mismatch))?.in_branch(*at));
    }
    keys.sort_by_key(Key::branch);
    Ok(Proof::Signature(schemes, keys.into()))
}

/// What has to be fetched, and with which credentials of the endpoint.
pub fn wanted(endpoint: &Endpoint, needed: &Needed) -> Wanted {
    let url = needed.url.clone();
    match (&needed.question, &needed.by_sender) {
        (Some((question, id)), _) => {
            let (question, id) = (Arc::clone(question), id.clone());
            let (asker, secrets) = (endpoint.name.to_string(), Arc::clone(&endpoint.asks_with));
            Wanted::asked(url, Asking { question, id, asker, secrets })
        }
        (None, Some(hosts)) => Wanted::senders(url, hosts),
        (None, None) => Wanted::ours(url),
    }
}

/// The key, fetched anew once if it is not among those held; `None` when the provider has no such key.
async fn fetched(
    door: &PublicDoor,
    scheme: &Scheme,
    needed: &Needed,
    wanted: Wanted,
) -> Result<Option<Key>, Refusal> {
    let unavailable = |error: &KeyUnavailable| Refusal::KeyUnavailable { why: error.to_string() };
    let unusable = |why: &PublishedError| Refusal::KeyUnavailable { why: format!("{}: {why}", needed.url) };
    let read = |document: &Document| {
        let published = document.read_as(|bytes| Published::new(bytes.clone()));
        scheme.published_key(needed, &published, &door.roots, door.clock.now())
    };
    let held = match door.keys.document(&wanted).await {
        Ok(held) => held,
        Err(error) if error.absent => return Ok(None),
        Err(error) => return Err(unavailable(&error)),
    };
    let failed = match read(&held) {
        Ok(key) => return Ok(Some(key)),
        Err(failed) => failed,
    };
    let Some(newest) = door.keys.newer(&wanted, &held).await else {
        return if failed == PublishedError::Absent { Ok(None) } else { Err(unusable(&failed)) };
    };
    match read(&newest) {
        Ok(key) => Ok(Some(key)),
        Err(PublishedError::Absent) => Ok(None),
        Err(failed) => Err(unusable(&failed)),
    }
}

/// Believes a request, or not.
pub(super) fn verify(
    endpoint: &Endpoint,
    proof: &Proof<'_>,
    request: RawRequest,
    now: Timestamp,
) -> Result<VerifiedRequest, Refusal> {
    let Proof::Signature(schemes, keys) = proof else { return Ok(signatures::accept_unsigned(request)) };
    schemes.verify(keys, request, now).map_err(|failure| match *failure {
        (_, SignatureError::NoKey) => no_secret(),
        (_, error) => Refusal::Signature { error, status: endpoint.signature_failure_status },
    })
}

fn nothing_learnt() -> Refusal {
    let why = "the endpoint learns its secret in a handshake, and none has come; arm it, and set the webhook up again";
    Refusal::NotConfigured { why: why.to_owned() }
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
        assert!(
            matches!(proof(&broken, &LearntSecrets::default()), Ok(Proof::Nothing)),
            "explicitly unsigned"
        );
        broken.check = SignatureCheck::Unknown;
        assert!(matches!(proof(&broken, &LearntSecrets::default()), Err(Refusal::NotConfigured { .. })));
        broken.check = SignatureCheck::Unsigned;
        broken.keys = Err(NotConfigured("secret main: env:ACME_SECRET is not set".to_owned()));
        assert!(matches!(proof(&broken, &LearntSecrets::default()), Err(Refusal::NotConfigured { .. })));
    }
}
