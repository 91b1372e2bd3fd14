//! Room `partners`: the door of a partner, as the intake uses it.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicUsize},
};

use ipnet::IpNet;
use serde::Serialize;

use crate::{
    keys::SecretSource,
    model::{EndpointName, Secret, Timestamp},
    signatures::{Key, Schemes},
};

use super::handshake::Handshake;

/// What one address of a partner demands, and answers.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `partner/endpoint`.
    pub name: EndpointName,
    /// How requests are verified.
    pub check: SignatureCheck,
    /// The endpoint's keys; an error when a secret is missing, empty or a placeholder: then every request is answered 503.
    pub keys: Result<Arc<[Key]>, NotConfigured>,
    /// Largest body in bytes; `None`: the configured default.
    pub max_body_bytes: Option<usize>,
    /// Most bytes of target and headers together; `None`: what `intake.max_header_bytes` lets in.
    pub max_header_bytes: Option<usize>,
    /// Most verified requests a second; `None`: no limit. Beyond: 429.
    pub requests_per_second: Option<u32>,
    /// What an accepted delivery is answered; `None`: `200 {"delivery":"<id>"}`.
    pub accepted: Option<Reply>,
    /// The status of a signature failure; 401 unless the partner's system needs another.
    pub signature_failure_status: u16,
    /// Requests that are answered and not kept.
    pub handshakes: Vec<Handshake>,
    /// The secrets that only handshakes use, by what they are for; an error when one cannot be had.
    pub handshake_secrets: BTreeMap<String, Result<Secret, NotConfigured>>,
    /// The secrets with which keys are asked for by their ids, by what they are for.
    pub asks_with: Arc<BTreeMap<String, Secret>>,
    /// The ids of learnt secrets that are not believed any more.
    pub forgotten: Vec<String>,
    /// The networks that requests may come from; empty: anywhere. Beside the signature, never instead of one.
    pub allow_from: Vec<IpNet>,
    /// The client certificates that a trusted proxy must have seen; `None`: none is asked for.
    pub client_certificate: Option<ClientCertificate>,
    /// Whether senders may ask what would become of a request.
    pub self_test: bool,
    /// What its preset asked of it, by name: no secrets.
    pub parameters: BTreeMap<String, String>,
    /// Bytes of its bodies that the intake holds. It stands here so that no request looks it up; a reload of the partner's
    /// file begins a new count.
    pub held_bytes: Arc<AtomicUsize>,
}

impl Endpoint {
    /// Whether a handshake teaches it its secrets.
    pub fn learns(&self) -> bool {
        self.handshakes.iter().any(|handshake| handshake.learn.is_some())
    }

    /// Why it, or a handshake of it, answers 503: every secret that cannot be had, by its id and source. `None` when it is
    /// configured.
    pub fn not_configured(&self) -> Option<NotConfigured> {
        NotConfigured::told(self.keys.as_ref().err(), &self.handshake_secrets)
    }

    /// Whether a person may be shown, once, what it was taught.
    pub fn reveals(&self) -> bool {
        self.handshakes.iter().any(|handshake| handshake.reveal)
    }
}

/// How an endpoint's requests are verified.
#[derive(Clone, Debug)]
pub enum SignatureCheck {
    /// By a scheme, or by several.
    Scheme(Arc<Schemes>),
    /// Not at all: an explicit, loud setting (`unsigned = true`).
    Unsigned,
    /// Nobody knows: its file is broken and never was good. The keys are an error, so every request is answered 503.
    Unknown,
}

/// Why an endpoint cannot verify anything: our fault, so 503. Names each secret's id and source, never its value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotConfigured(pub String);

impl NotConfigured {
    /// All of these reasons in one, each once; `None` when there are none.
    pub(super) fn all(reasons: impl IntoIterator<Item = Self>) -> Option<Self> {
        let mut each: Vec<String> = Vec::new();
        for Self(reason) in reasons {
            if !each.contains(&reason) {
                each.push(reason);
            }
        }
        (!each.is_empty()).then(|| Self(each.join("; ")))
    }

    /// What an endpoint and its handshakes lack.
    pub(super) fn told(
        keys: Option<&Self>,
        handshake_secrets: &BTreeMap<String, Result<Secret, Self>>,
    ) -> Option<Self> {
        let is_told = |why: &Self| keys.is_some_and(|keys| keys.0.contains(&why.0));
        let of_handshakes = handshake_secrets.values().filter_map(|secret| secret.as_ref().err());
        let of_handshakes = of_handshakes.filter(|why| !is_told(why));
        let of_handshakes = of_handshakes.map(|Self(why)| Self(format!("in handshakes, {why}")));
        Self::all(keys.cloned().into_iter().chain(of_handshakes))
    }
}

/// How a proxy that ends TLS tells of a client's certificate, and which ones are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The header, in lower case.
    pub header: String,
    /// What it may say: subjects or fingerprints, as the proxy writes them.
    pub one_of: Vec<String>,
}

/// For people.
impl std::fmt::Display for ClientCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "header.{} of a trusted proxy is {}", self.header, self.one_of.join(" or "))
    }
}

/// A fixed answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The content type, when there is a body.
    pub content_type: Option<String>,
    /// The body.
    pub body: String,
}

/// A partner's door as a person lists it.
#[derive(Clone, Debug)]
pub struct Door {
    /// The partner's display name.
    pub title: String,
    /// The team that owns it.
    pub owner: String,
    /// Where the partner documents its webhooks.
    pub docs: Option<String>,
    /// Its endpoints.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// Where the secrets of each endpoint come from, by the endpoint's name.
    pub secrets: BTreeMap<Arc<str>, Vec<SecretUse>>,
    /// The development secrets of `[test]`, by secret id; nothing but tests and the demo believes them.
    pub test_secrets: BTreeMap<String, Secret>,
}

/// A secret of an endpoint: its id and its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretUse {
    /// The id, as deliveries note it.
    pub id: String,
    /// Where it comes from.
    pub from: SecretSource,
    /// What it is for: of several schemes those of these names, or the names by which handshakes use it; none where there
    /// is one scheme.
    pub purposes: Vec<String>,
    /// It counts from this time on.
    pub not_before: Option<Timestamp>,
    /// It counts until this time.
    pub not_after: Option<Timestamp>,
}

impl SecretUse {
    /// The places of the schemes that it is for; none where only handshakes use it.
    pub(super) fn branches(&self, schemes: &Schemes) -> Vec<usize> {
        match self.purposes.as_slice() {
            [] => schemes.branch_for(None).into_iter().collect(),
            names => names.iter().filter_map(|name| schemes.branch_for(Some(name))).collect(),
        }
    }
}

/// Which secrets count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretsFrom {
    /// Those that `from` names.
    Sources,
    /// The development secrets of `[test]`, for tests and the demo; `serve` refuses them.
    TestTables,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_secret_that_cannot_be_had_is_named_once() {
        let lacks = |name: &str| NotConfigured(format!("the secret {name:?} from env:X: not set"));
        let own = NotConfigured::all([lacks("a"), lacks("b"), lacks("a")]).expect("two");
        assert_eq!(own.0, "the secret \"a\" from env:X: not set; the secret \"b\" from env:X: not set");
        let handshakes = |lacking: &[&str]| {
            let each = lacking.iter().map(|name| ((*name).to_owned(), Err(lacks(name))));
            each.chain([("had".to_owned(), Ok(Secret::new("s")))]).collect::<BTreeMap<_, _>>()
        };
        assert_eq!(NotConfigured::told(Some(&own), &handshakes(&["b"])), Some(own), "one secret is for both");
        let told = NotConfigured::told(None, &handshakes(&["c"])).expect("one").0;
        assert_eq!(told, "in handshakes, the secret \"c\" from env:X: not set");
        assert_eq!(NotConfigured::told(None, &handshakes(&[])), None);
    }
}
