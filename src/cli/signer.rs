//! Room `cli`: signs the request of a case as its partner would, with the secrets of the endpoint, in the way the case says.

use std::{path::Path, time::Duration};

use anyhow::{Context, bail};

use super::{cases::Sign, sign::sign, signing_key::SigningKey};
use crate::{
    model::{EndpointName, RawRequest, Secret, Timestamp},
    partners::{Endpoint, STAND_IN, SignatureCheck, Snapshot},
    signatures::{Branch, Family, How, Key, Scheme, Schemes, keys_of},
};

/// How far off a stale or future signature is.
const FAR_OFF: Duration = Duration::from_hours(1);

/// A copy of the request, signed with the secrets of its endpoint.
pub fn signed(
    partners: &Snapshot,
    request: &RawRequest,
    how: Sign,
    now: Timestamp,
) -> anyhow::Result<RawRequest> {
    Signer { partners, private_key: None }.signed(request, how, now)
}

/// Signs for partners.
#[derive(Clone, Copy)]
pub struct Signer<'a> {
    /// The partners, with the secrets to sign with.
    pub partners: &'a Snapshot,
    /// What signs where an endpoint has a public key; `None`: the private keys of `[test]`.
    pub private_key: Option<&'a SigningKey<'static>>,
}

impl Signer<'_> {
    /// A copy of the request, signed.
    pub fn signed(&self, request: &RawRequest, how: Sign, now: Timestamp) -> anyhow::Result<RawRequest> {
        let mut request = request.clone();
        let endpoint = endpoint_of(self.partners, &request.target)?;
        let SignatureCheck::Scheme(schemes) = &endpoint.check else { return Ok(request) };
        if matches!(how, Sign::AsIs | Sign::None) {
            return Ok(request);
        }
        for at in signing_branches(schemes, &request) {
            let scheme = &schemes.branches()[at].scheme;
            let key = || self.key(endpoint, at, scheme, now);
            match how {
                Sign::AsIs | Sign::None => {}
                Sign::Valid => sign(scheme, key()?, &mut request, now)?,
                Sign::WrongSecret if has_public_key(scheme) => {
                    sign(scheme, another_private_key(scheme)?, &mut request, now)?;
                }
                Sign::WrongSecret => sign(scheme, &another_key(scheme)?, &mut request, now)?,
                Sign::Stale => sign(scheme, key()?, &mut request, now.minus(FAR_OFF))?,
                Sign::Future => sign(scheme, key()?, &mut request, now.plus(FAR_OFF))?,
            }
        }
        Ok(request)
    }

    /// An error where what a person gave to sign with would be passed over.
    pub fn passes_over_nothing(&self, real_secrets: bool, request: &RawRequest) -> anyhow::Result<()> {
        let endpoint = endpoint_of(self.partners, &request.target)?;
        let name = &endpoint.name;
        let schemes = match &endpoint.check {
            SignatureCheck::Scheme(schemes) => schemes.branches(),
            _ if real_secrets || self.private_key.is_some() => {
                bail!("nothing is signed for {name}: leave --real-secrets and --private-key away")
            }
            _ => return Ok(()),
        };
        let public = schemes.iter().filter(|branch| has_public_key(&branch.scheme)).count();
        if self.private_key.is_some() && public == 0 {
            bail!(
                "{name} has no public key: --private-key would sign nothing; --real-secrets signs with what the gateway has"
            );
        }
        if real_secrets && self.private_key.is_none() && public == schemes.len() {
            bail!(
                "{name} has a public key, which signs nothing: give the private one that belongs to it with --private-key"
            );
        }
        Ok(())
    }

    /// The key that made what the endpoint's own key verifies: itself, or the private one.
    fn key<'k>(
        &self,
        endpoint: &'k Endpoint,
        at: usize,
        scheme: &Scheme,
        now: Timestamp,
    ) -> anyhow::Result<SigningKey<'k>> {
        let keys = endpoint.keys.as_ref().map_err(Clone::clone);
        let key = keys.map(|keys| keys_of(keys, at).iter().find(|key| key.counts_at(now)));
        if has_public_key(scheme)
            && let Some(private) = self.private_key
        {
            let id = key.ok().flatten().map(|key| &*key.id);
            return Ok(id.map_or_else(|| private.clone(), |id| private.clone().called(id)));
        }
        let key = key?.with_context(|| no_key(endpoint, scheme))?;
        if !has_public_key(scheme) {
            return Ok(key.into());
        }
        let door = self.partners.doors.get(&endpoint.name.partner);
        let private = door.and_then(|door| door.test_secrets.get(&*key.id)).and_then(SigningKey::private);
        let private = private.map(|private| private.called(&key.id));
        private.with_context(|| format!("[test] has no private key for the secret {:?}", key.id))
    }
}

fn has_public_key(scheme: &Scheme) -> bool {
    scheme.key_algorithm().family() == Family::PublicKey
}

fn no_key(endpoint: &Endpoint, scheme: &Scheme) -> String {
    if scheme.has_published_keys() {
        return format!(
            "{} has no key to sign with: its sender publishes them, and [test] has no {STAND_IN:?}",
            endpoint.name
        );
    }
    format!("{} has no key", endpoint.name)
}

/// A private key in a file, as PEM of PKCS#8.
pub fn private_key(path: &Path) -> anyhow::Result<SigningKey<'static>> {
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let key = SigningKey::private(&Secret::new(text));
    key.with_context(|| format!("{} is no private key in PEM (PKCS#8)", path.display()))
}

/// The schemes to sign by: each of all; else the one that the request asks for already, or the first.
fn signing_branches(schemes: &Schemes, request: &RawRequest) -> Vec<usize> {
    let asked = |branch: &Branch| branch.when.as_ref().is_some_and(|when| when.holds(request) == Ok(true));
    match schemes.how() {
        How::AllOf => (0..schemes.branches().len()).collect(),
        How::One | How::AnyOf => vec![schemes.branches().iter().position(asked).unwrap_or_default()],
    }
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
