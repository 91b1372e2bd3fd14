//! Room `cli`: signs the request of a case as its partner would, with the development secrets, in the way the case says.

use std::time::Duration;

use anyhow::{Context, bail};

use super::{cases::Sign, sign::sign, signing_key::SigningKey};
use crate::{
    model::{EndpointName, RawRequest, Secret, Timestamp},
    partners::{Endpoint, SignatureCheck, Snapshot},
    signatures::{Branch, Family, How, Key, Scheme, Schemes, keys_of},
};

/// How far off a stale or future signature is.
const FAR_OFF: Duration = Duration::from_hours(1);

/// A copy of the request, signed.
pub fn signed(
    partners: &Snapshot,
    request: &RawRequest,
    how: Sign,
    now: Timestamp,
) -> anyhow::Result<RawRequest> {
    let mut request = request.clone();
    let endpoint = endpoint_of(partners, &request.target)?;
    let SignatureCheck::Scheme(schemes) = &endpoint.check else { return Ok(request) };
    if matches!(how, Sign::AsIs | Sign::None) {
        return Ok(request);
    }
    let keys = endpoint.keys.as_ref().map_err(Clone::clone)?;
    for at in signing_branches(schemes, &request) {
        let scheme = &schemes.branches()[at].scheme;
        let key = keys_of(keys, at).iter().find(|key| key.counts_at(now));
        let key = key.with_context(|| format!("{} has no key", endpoint.name))?;
        let key = || signing_key(partners, endpoint, scheme, key);
        match how {
            Sign::AsIs | Sign::None => {}
            Sign::Valid => sign(scheme, key()?, &mut request, now)?,
            Sign::WrongSecret if scheme.key_algorithm().family() == Family::PublicKey => {
                sign(scheme, another_private_key(scheme)?, &mut request, now)?;
            }
            Sign::WrongSecret => sign(scheme, &another_key(scheme)?, &mut request, now)?,
            Sign::Stale => sign(scheme, key()?, &mut request, now.minus(FAR_OFF))?,
            Sign::Future => sign(scheme, key()?, &mut request, now.plus(FAR_OFF))?,
        }
    }
    Ok(request)
}

/// The schemes to sign by: each of all; else the one that the request asks for already, or the first.
fn signing_branches(schemes: &Schemes, request: &RawRequest) -> Vec<usize> {
    let asked = |branch: &Branch| branch.when.as_ref().is_some_and(|when| when.holds(request) == Ok(true));
    match schemes.how() {
        How::AllOf => (0..schemes.branches().len()).collect(),
        How::One | How::AnyOf => vec![schemes.branches().iter().position(asked).unwrap_or_default()],
    }
}

/// The key that made what `key` verifies: itself, or the private key of `[test]`.
fn signing_key<'k>(
    partners: &Snapshot,
    endpoint: &Endpoint,
    scheme: &Scheme,
    key: &'k Key,
) -> anyhow::Result<SigningKey<'k>> {
    if scheme.key_algorithm().family() != Family::PublicKey {
        return Ok(key.into());
    }
    let door = partners.doors.get(&endpoint.name.partner);
    let private = door.and_then(|door| door.test_secrets.get(&key.id)).and_then(SigningKey::private);
    private.with_context(|| format!("[test] has no private key for the secret {:?}", key.id))
}

/// The endpoint a target leads to.
pub fn endpoint_of<'a>(partners: &'a Snapshot, target: &str) -> anyhow::Result<&'a Endpoint> {
    let path = target.split('?').next().unwrap_or_default();
    let Some(rest) = path.strip_prefix("/in/") else {
        bail!("{path} is no address of a partner (/in/<partner>)")
    };
    let (partner, endpoint) = rest.split_once('/').unwrap_or((rest, "default"));
    let name = EndpointName::new(partner, endpoint);
    let found = partners.endpoints.get(&name).with_context(|| format!("there is no endpoint {name}"))?;
    Ok(found)
}

/// A key that is well-formed for the scheme and belongs to nobody.
fn another_key(scheme: &Scheme) -> anyhow::Result<Key> {
    const CANDIDATES: [&str; 4] = [
        "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0",
        "whsec_bm90LXRoZS1yaWdodC1rZXktYXQtYWxsLXNvcnJ5IQ==",
        "bm90LXRoZS1yaWdodC1rZXktYXQtYWxsLXNvcnJ5IQ==",
        "nobody:bm90LXRoZS1yaWdodC1rZXktYXQtYWxs",
    ];
    let made = CANDIDATES.iter().find_map(|text| scheme.key("another", &Secret::new(*text)).ok());
    made.context("no key of another can be made for this scheme")
}

/// The same for a public key: a private key that is made for the occasion.
fn another_private_key(scheme: &Scheme) -> anyhow::Result<SigningKey<'static>> {
    SigningKey::generated(scheme.key_algorithm())
        .with_context(|| format!("no key of another can be made for {}", scheme.algorithm()))
}
