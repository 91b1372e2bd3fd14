//! Room `partners`: the door of a partner, as the intake uses it.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicUsize},
};

use serde::Serialize;

use crate::{
    keys::SecretSource,
    model::{EndpointName, Secret},
    signatures::{Key, Scheme},
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
    /// Bytes of its bodies that the intake holds. It stands here so that no request looks it up; a reload of the partner's
    /// file begins a new count.
    pub held_bytes: Arc<AtomicUsize>,
}

/// How an endpoint's requests are verified.
#[derive(Clone, Debug)]
pub enum SignatureCheck {
    /// By a scheme.
    Scheme(Arc<Scheme>),
    /// Not at all: an explicit, loud setting (`unsigned = true`).
    Unsigned,
    /// Nobody knows: its file is broken and never was good. The keys are an error, so every request is answered 503.
    Unknown,
}

/// Why an endpoint cannot verify anything: our fault, so 503. Names the secret's id and source, never its value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotConfigured(pub String);

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
    /// What it is for, where it is not for the signature: the name by which a handshake uses it.
    pub purpose: Option<String>,
}

/// Which secrets count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretsFrom {
    /// Those that `from` names.
    Sources,
    /// The development secrets of `[test]`, for tests and the demo; `serve` refuses them.
    TestTables,
}
