//! Room `cli`: signs the request of a case as its partner would, with the development secrets, in the way the case says.

use std::time::Duration;

use anyhow::{Context, bail};

use super::{cases::Sign, sign::sign};
use crate::{
    model::{EndpointName, RawRequest, Secret, Timestamp},
    partners::{Endpoint, SignatureCheck, Snapshot},
    signatures::{Key, Scheme},
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
    let SignatureCheck::Scheme(scheme) = &endpoint.check else { return Ok(request) };
    let keys = endpoint.keys.as_ref().map_err(Clone::clone)?;
    let key = keys.first().with_context(|| format!("{} has no key", endpoint.name))?;
    match how {
        Sign::AsIs | Sign::None => {}
        Sign::Valid => sign(scheme, key, &mut request, now)?,
        Sign::WrongSecret => sign(scheme, &another_key(scheme)?, &mut request, now)?,
        Sign::Stale => sign(scheme, key, &mut request, now.minus(FAR_OFF))?,
        Sign::Future => sign(scheme, key, &mut request, now.plus(FAR_OFF))?,
    }
    Ok(request)
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
    const CANDIDATES: [&str; 3] = [
        "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0",
        "whsec_bm90LXRoZS1yaWdodC1rZXktYXQtYWxsLXNvcnJ5IQ==",
        "bm90LXRoZS1yaWdodC1rZXktYXQtYWxsLXNvcnJ5IQ==",
    ];
    let made = CANDIDATES.iter().find_map(|text| scheme.key("another", &Secret::new(*text)).ok());
    made.context("no key of another can be made for this scheme")
}
