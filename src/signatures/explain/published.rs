//! Room `signatures`: the keys that a provider publishes, for a person who verifies one request: where each stands, whether
//! it could be had, and whether it is one. Nothing is fetched here.

use super::{
    Step,
    known_keys::{described, kind},
    shown::{printable, with_hint},
};
use crate::{
    model::{RawRequest, Timestamp},
    signatures::{
        Key, Needed, PublishedError, Roots, Scheme, Schemes, SignatureError, View,
        jose::jwk,
        published::{self, KeySource},
        special::material,
    },
};

/// Most keys of a set that are named.
const MAX_NAMED: usize = 20;

/// What came of looking for what a provider publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked {
    /// It was not had, and why not.
    Nothing(String),
    /// It was fetched from its address.
    Fetched(Vec<u8>),
    /// The person gave it, in a file of this name: as it is published, or the one key as PEM.
    Given(String, Vec<u8>),
}

/// The keys for one request that its provider publishes, as far as they could be had. Those of an endpoint with keys of its
/// own are none.
#[derive(Clone, Debug, Default)]
pub struct Published {
    keys: Vec<Key>,
    steps: Vec<(usize, Step)>,
    failure: Option<Failure>,
}

/// Why a request cannot be verified with what is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It can be genuine under no published key.
    #[error("refused: {0} ({code})", code = .0.code())]
    Refused(SignatureError),
    /// The key could not be had: nobody's fault but ours or the provider's.
    #[error("undecided: the key could not be had; a gateway in the same place answers 503 (key_unavailable)")]
    Unavailable,
}

impl Failure {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(error) => error.code(),
            Self::Unavailable => "key_unavailable",
        }
    }
}

impl Published {
    /// Looks for the keys that a request needs beside those of the endpoint's own, as the public door does, each once.
    pub fn of(
        (schemes, own): (&Schemes, &[Key]),
        request: &RawRequest,
        roots: &Roots,
        now: Timestamp,
        mut look: impl FnMut(&Needed) -> Looked,
    ) -> Self {
        let mut published = Self::default();
        let needed = match schemes.needs(own, request) {
            Ok(needed) => needed,
            Err(error) => return Self { failure: Some(Failure::Refused(error)), ..published },
        };
        for (at, needed) in needed {
            let scheme = &schemes.branches()[at].scheme;
            let found = Found { scheme, needed: &needed, roots, now }.in_what(&look(&needed));
            published.steps.push((at, found.step));
            match found.key {
                Ok(key) => published.keys.push(key.in_branch(at)),
                Err(failure) => published.failure = published.failure.or(Some(failure)),
            }
        }
        published
    }

    /// These keys and an endpoint's own, in the order of its schemes.
    pub fn with(&self, own: &[Key]) -> Vec<Key> {
        let mut keys = [own, &self.keys].concat();
        keys.sort_by_key(Key::branch);
        keys
    }

    /// Why the request cannot be verified, whatever its signature is.
    pub fn failure(&self) -> Option<Failure> {
        self.failure
    }

    /// Each key that was looked for, in a line: where it is published, and what came of it.
    pub fn told(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().map(|(_, step)| step.found.as_str())
    }

    /// The steps of the scheme at this place.
    pub(super) fn steps(&self, branch: usize) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(move |(at, _)| *at == branch).map(|(_, step)| step)
    }
}

/// A key that is looked for.
struct Found<'a> {
    scheme: &'a Scheme,
    needed: &'a Needed,
    roots: &'a Roots,
    now: Timestamp,
}

/// What came of it.
struct Outcome {
    key: Result<Key, Failure>,
    step: Step,
}

impl Found<'_> {
    fn in_what(&self, looked: &Looked) -> Outcome {
        let (place, document, given) = match looked {
            Looked::Nothing(why) => return self.failed(Failure::Unavailable, "", why),
            Looked::Fetched(document) => (String::new(), document, false),
            Looked::Given(file, document) => (format!("; of {file}"), document, true),
        };
        let read = published::Published::new(document.clone());
        let key = match self.scheme.published_key(self.needed, &read, self.roots, self.now) {
            Err(_) if given && is_one_key(document) => {
                self.needed.given(self.scheme, document).map_err(PublishedError::Unusable)
            }
            key => key,
        };
        match key {
            Ok(key) => self.had(key, &place),
            Err(PublishedError::Absent) => {
                let why = with_hint("it has no such key", known(document));
                self.failed(Failure::Refused(SignatureError::Mismatch), &place, &why)
            }
            Err(PublishedError::Unusable(why)) => self.failed(Failure::Unavailable, &place, &why),
        }
    }

    fn had(&self, key: Key, place: &str) -> Outcome {
        let is = material(&key).as_ref().and_then(kind).map_or("a key", described);
        let step = Step::new(true, "key", format!("{}{place}: {is}", self.needed.described()));
        Outcome { key: Ok(key), step }
    }

    fn failed(&self, failure: Failure, place: &str, why: &str) -> Outcome {
        let step = Step::new(false, "key", format!("{}{place}: {why}", self.needed.described()));
        Outcome { key: Err(failure), step }
    }
}

fn is_one_key(document: &[u8]) -> bool {
    document.trim_ascii_start().starts_with(b"-----BEGIN")
}

/// The keys of a set, by their ids.
fn known(document: &[u8]) -> Option<String> {
    let keys = jwk::listed(document)?;
    if keys.is_empty() {
        return Some("it has none at all".to_owned());
    }
    let named: Vec<_> = keys.iter().take(MAX_NAMED).map(String::as_str).collect();
    let more = keys.len().checked_sub(MAX_NAMED).filter(|more| *more > 0);
    let more = more.map(|more| format!(" and {more} more")).unwrap_or_default();
    Some(format!("those it has: {}{more}", printable(&named.join(", "))))
}

/// Whether the address of a key or certificate that a request names is one of the provider's.
pub(super) fn address(scheme: &Scheme, view: &View<'_>) -> Option<Step> {
    let (what, at, rule) = match scheme.keys.as_ref()? {
        KeySource::Certificate(source) => ("address of the certificate", &source.at, &source.rule),
        KeySource::Pem(source) => ("path of the key", &source.at, &source.rule),
        KeySource::Jwks(_) | KeySource::Keyed(_) => return None,
    };
    let what = format!("{what} at {at}");
    let text = match view.text_at(at) {
        Ok(text) => text,
        Err(error) => return Some(Step::new(false, what, error.to_string())),
    };
    let shown = super::shown::shown(text.as_bytes());
    let checked = match scheme.keys.as_ref()? {
        KeySource::Pem(source) => source.address(&text),
        _ => rule.check(&text).map_err(|why| why.to_string()),
    };
    Some(match checked {
        Ok(_) => Step::new(true, what, format!("{shown}, as the scheme allows")),
        Err(why) => Step::new(false, what, format!("{shown}: {why}; those are {rule}")),
    })
}
