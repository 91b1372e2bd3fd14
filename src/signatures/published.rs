//! Room `signatures`: keys that providers publish. A scheme says which key a request needs and where it stands; whoever may
//! fetch brings what stands there; and it becomes a key here, or not. Nothing is fetched here.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use bytes::Bytes;

use super::{
    Algorithm, JwsAlgorithm, Key, Place, PublicKey, Roots, Scheme, SignatureError, View,
    certificate::CertificateSource,
    evidence::{gather, read_body, views},
    jose::jwk::{NoKey, Set},
    key::key_in_pem,
    keyed::KeyedSource,
    special::{Special, parsed_as},
};
use crate::model::{FieldPath, HttpsRule, HttpsUrl, KeyId, KeyQuestion, RawRequest, Secret, Timestamp};

/// Where a provider publishes its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeySource {
    /// A set of keys, of which a token names one.
    Jwks(HttpsUrl),
    /// A certificate, whose address stands in the request.
    Certificate(CertificateSource),
    /// A public key in PEM, whose path stands in the request.
    Pem(PemSource),
    /// Nowhere: they are asked for by their ids.
    Keyed(Box<KeyedSource>),
}

/// Where a sender names its key by an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyNamed {
    /// In the header of its token (`kid`).
    InToken,
    /// In a header or the query.
    At(Box<Place>),
}

impl KeySource {
    /// Where the id of a key stands; `None` where an address stands instead.
    pub(super) fn named(&self) -> Option<KeyNamed> {
        match self {
            Self::Jwks(_) => Some(KeyNamed::InToken),
            Self::Keyed(source) => {
                Some(source.id.clone().map_or(KeyNamed::InToken, |place| KeyNamed::At(Box::new(place))))
            }
            Self::Certificate(_) | Self::Pem(_) => None,
        }
    }
}

/// Where a sender names its key, and where that may lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PemSource {
    /// Where its path stands.
    pub(super) at: FieldPath,
    /// The host that publishes it: TLS to that host vouches for it.
    pub(super) host: String,
    /// Which addresses the two may make.
    pub(super) rule: HttpsRule,
}

impl PemSource {
    /// The address of the key at this path, or why it is none.
    pub(super) fn address(&self, path: &str) -> Result<HttpsUrl, String> {
        // What does not begin a path could go on with the host's name.
        if !path.starts_with('/') {
            return Err("it does not begin with a slash".to_owned());
        }
        self.rule.check(&format!("https://{}{path}", self.host)).map_err(|why| why.to_string())
    }
}

/// So long a key counts as read; then it is looked at again, because certificates have dates.
const KEPT: Duration = Duration::from_mins(1);

/// The key that a request needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needed {
    /// What to fetch. A rule of ours allowed it.
    pub url: HttpsUrl,
    /// Which hosts that may be, as a rule of ours has them, where the sender named it: anyone could have made it up.
    pub by_sender: Option<String>,
    /// How it is asked for and under which id, where it is not simply fetched.
    pub question: Option<(Arc<KeyQuestion>, KeyId)>,
    which: Which,
}

impl Needed {
    /// Which key it is, and where it stands, for people.
    pub(super) fn described(&self) -> String {
        match &self.which {
            Which::Named(algorithm, Some(id)) => {
                format!("the key {id:?} for {}, published at {}", algorithm.name(), self.url)
            }
            Which::Named(algorithm, None) => {
                format!("the only key for {}, published at {}", algorithm.name(), self.url)
            }
            Which::OfCertificate => format!("the key of the certificate at {}", self.url),
            Which::Whole => format!("the key at {}", self.url),
            Which::Asked(id, _) => format!("the key \"{id}\", asked for at {}", self.url),
        }
    }

    /// The key, as PEM of a public key or a certificate, that a person vouches for; else why it is none.
    pub(super) fn given(&self, scheme: &Scheme, pem: &[u8]) -> Result<Key, String> {
        let (id, algorithm) = match &self.which {
            Which::Named(algorithm, key_id) => (key_id.clone(), parsed_as(*algorithm)),
            Which::OfCertificate | Which::Whole => (None, scheme.key_algorithm()),
            Which::Asked(id, algorithm) => {
                (Some(id.to_string()), algorithm.map_or_else(|| scheme.key_algorithm(), parsed_as))
            }
        };
        let key = key_in_pem(algorithm, pem).map_err(|error| error.to_string())?;
        Ok(Key::public(id.unwrap_or_else(|| "given".to_owned()), key))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Which {
    /// The one of a set that a token names.
    Named(JwsAlgorithm, Option<String>),
    /// That of the certificate.
    OfCertificate,
    /// The document itself.
    Whole,
    /// The one that was asked for, and the algorithm of the token that names it.
    Asked(KeyId, Option<JwsAlgorithm>),
}

/// Why what was fetched has no key for a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishedError {
    /// It has no such key; perhaps it has by now.
    #[error("the provider publishes no such key")]
    Absent,
    /// It is of no use: the provider's fault.
    #[error("what is published there is of no use: {0}")]
    Unusable(String),
}

/// What a provider publishes at one address. It is read once, and so are the keys in it that requests asked for.
#[derive(Debug)]
pub struct Published {
    document: Bytes,
    set: OnceLock<Result<Set, NoKey>>,
    kept: Mutex<Vec<(Asked, Key, Timestamp)>>,
}

/// What a key was asked for: as which of the document's, by which rules, for which algorithm.
type Asked = (Which, Option<KeySource>, Algorithm);

impl Published {
    /// What was fetched. Nothing is read before a request asks for a key.
    pub fn new(document: impl Into<Bytes>) -> Self {
        Self { document: document.into(), set: OnceLock::new(), kept: Mutex::default() }
    }

    fn set(&self) -> Result<&Set, NoKey> {
        self.set.get_or_init(|| Set::read(&self.document)).as_ref().map_err(|error| *error)
    }

    fn kept(&self, asked: &Asked, now: Timestamp) -> Option<Key> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, key, at) = kept.iter().find(|(known, _, _)| known == asked)?;
        let fresh = now.since(*at) < KEPT && at.since(now).is_zero();
        fresh.then(|| key.clone())
    }

    /// Only keys that are there are kept, so that no name that somebody makes up takes room.
    fn keep(&self, asked: Asked, key: Key, now: Timestamp) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(known, _, _)| *known != asked);
        kept.push((asked, key, now));
    }
}

impl Scheme {
    /// Whether its keys are published by the provider, and not the endpoint's own.
    pub fn has_published_keys(&self) -> bool {
        self.keys.is_some()
    }

    /// The published key that a request needs; `None` when the endpoint has the keys itself. A request that could not be
    /// genuine under any key needs none: nothing is fetched for it.
    pub fn needs(&self, request: &RawRequest) -> Result<Option<Needed>, SignatureError> {
        let Some(source) = &self.keys else { return Ok(None) };
        let body = read_body(self, request)?;
        let view = View { request, body: &body, item: &body };
        match (source, &self.special) {
            (KeySource::Jwks(url), Some(Special::Jwt(jwt))) => {
                let (algorithm, key_id) = jwt.named(&view)?;
                Ok(Some(Needed {
                    url: url.clone(),
                    by_sender: None,
                    question: None,
                    which: Which::Named(algorithm, key_id),
                }))
            }
            (KeySource::Certificate(source), special) => {
                if let Some(Special::Sns(sns)) = special {
                    sns.shown(&view)?;
                } else {
                    self.shows_a_signature(&view)?;
                }
                let url = source.rule.check(&view.text_at(&source.at)?);
                let hosts = |url: HttpsUrl| Ok((source.rule.pattern_of(&url)?.to_owned(), url));
                let (hosts, url) = url
                    .and_then(hosts)
                    .map_err(|_| SignatureError::Malformed("the address of the key is not the provider's"))?;
                let by_sender = Some(hosts);
                Ok(Some(Needed { url, by_sender, question: None, which: Which::OfCertificate }))
            }
            (KeySource::Pem(source), _) => {
                self.shows_a_signature(&view)?;
                let url = source.address(&view.text_at(&source.at)?);
                let url =
                    url.map_err(|_| SignatureError::Malformed("the path of the key is not the provider's"))?;
                let by_sender = Some(source.host.clone());
                Ok(Some(Needed { url, by_sender, question: None, which: Which::Whole }))
            }
            (KeySource::Keyed(source), special) => self.asked(source, special.as_ref(), &view).map(Some),
            (KeySource::Jwks(_), _) => Ok(None),
        }
    }

    fn asked(
        &self,
        source: &KeyedSource,
        special: Option<&Special>,
        view: &View<'_>,
    ) -> Result<Needed, SignatureError> {
        const NO_ID: SignatureError = SignatureError::Malformed("the id of the key is none");
        let (algorithm, id) = if let Some(Special::Jwt(jwt)) = special {
            let (algorithm, key_id) = jwt.named(view)?;
            (Some(algorithm), key_id.ok_or(NO_ID)?)
        } else {
            self.shows_a_signature(view)?;
            (None, source.id(view)?)
        };
        let id = KeyId::parse(&id).ok_or(NO_ID)?;
        let url = source.question.ask.url.at(&id).map_err(|_| NO_ID)?;
        let question = Some((Arc::clone(&source.question), id.clone()));
        let by_sender = Some(url.host().to_owned());
        Ok(Needed { url, by_sender, question, which: Which::Asked(id, algorithm) })
    }

    /// Whether there is a signature that some key could have made.
    fn shows_a_signature(&self, view: &View<'_>) -> Result<(), SignatureError> {
        views(self, view.request, view.body)?.iter().try_for_each(|view| gather(self, view).map(drop))
    }

    /// The key in what was fetched. `roots` may vouch for certificates.
    pub fn published_key(
        &self,
        needed: &Needed,
        published: &Published,
        roots: &Roots,
        now: Timestamp,
    ) -> Result<Key, PublishedError> {
        let asked = (needed.which.clone(), self.keys.clone(), self.key_algorithm());
        if let Some(key) = published.kept(&asked, now) {
            return Ok(key);
        }
        let key = self.read_key(needed, published, roots, now)?;
        published.keep(asked, key.clone(), now);
        Ok(key)
    }

    fn read_key(
        &self,
        needed: &Needed,
        published: &Published,
        roots: &Roots,
        now: Timestamp,
    ) -> Result<Key, PublishedError> {
        let unusable = |why: &str| PublishedError::Unusable(why.to_owned());
        let no_key = |error| match error {
            NoKey::Absent => PublishedError::Absent,
            NoKey::Unusable(why) => unusable(why),
        };
        let (id, algorithm, spki) = match (&needed.which, &self.keys) {
            (Which::Named(algorithm, key_id), _) => {
                let found = published.set().and_then(|set| set.find(key_id.as_deref(), *algorithm));
                let spki = found.map_err(no_key)?;
                (key_id.clone().unwrap_or_else(|| "published".to_owned()), parsed_as(*algorithm), spki)
            }
            (Which::OfCertificate, Some(KeySource::Certificate(source))) => {
                let spki = source.key_in(&published.document, roots, now).map_err(unusable)?;
                let id = needed.url.path().rsplit('/').next().unwrap_or_default().to_owned();
                (id, self.key_algorithm(), spki)
            }
            (Which::Whole, _) => {
                let id = needed.url.path().rsplit('/').next().unwrap_or_default();
                let key = self.key(id, &Secret::new(&*published.document));
                return key.map_err(|error| unusable(&error.to_string()));
            }
            (Which::Asked(id, algorithm), Some(KeySource::Keyed(source))) => {
                let spki = source.answer.key_in(&published.document, id, *algorithm).map_err(no_key)?;
                (id.to_string(), algorithm.map_or_else(|| self.key_algorithm(), parsed_as), spki)
            }
            (Which::OfCertificate | Which::Asked(..), _) => {
                return Err(unusable("this scheme takes no such keys"));
            }
        };
        let key = PublicKey::from_spki(algorithm, &spki).map_err(|error| unusable(&error.to_string()))?;
        Ok(Key::public(id, key))
    }
}
