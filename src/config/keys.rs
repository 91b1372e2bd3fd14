//! Room `config`: how keys are fetched that providers publish: JWKS, certificates.

use std::{net::SocketAddr, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::{Validate, ValidationError};

use super::HumanDuration;

/// Keys that providers publish (JWKS, certificates), for the partners whose scheme says so: fetched over https from the hosts that the scheme names, from public addresses only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KeysConfig {
    /// Time for one fetch, from the name to the last byte. Requests that need the key wait for it; then 503 (`key_unavailable`) with Retry-After.
    #[validate(range(min = HumanDuration::millis(10), max = HumanDuration::seconds(60)))]
    pub fetch_timeout: HumanDuration,
    /// Most bytes of what is fetched. Beyond: as if it could not be fetched.
    #[validate(range(min = 1_024, max = 16_777_216))]
    pub max_document_bytes: usize,
    /// What was fetched is used for so long, then fetched anew.
    #[validate(range(min = HumanDuration::seconds(1), max = HumanDuration::days(30)))]
    pub fresh_for: HumanDuration,
    /// While it cannot be fetched anew, what was fetched is used for so long. Afterwards: 503 (`key_unavailable`).
    #[validate(range(min = HumanDuration::seconds(1), max = HumanDuration::days(30)))]
    pub stale_for: HumanDuration,
    /// What could not be fetched is not tried again for so long.
    #[validate(range(min = HumanDuration::millis(10), max = HumanDuration::seconds(3_600)))]
    pub pause_after_failure: HumanDuration,
    /// A token that names a key which is not among those fetched has them fetched anew, but not more often than this: anyone can send such tokens. Nor is an access token replaced more often with which a provider shows no key (401, 403).
    #[validate(range(min = HumanDuration::millis(10), max = HumanDuration::days(1)))]
    pub refresh_pause: HumanDuration,
    /// Most addresses whose keys are held. Senders name addresses (`SigningCertURL`); beyond, the one longest unused is let go.
    #[validate(range(min = 1, max = 100_000))]
    pub max_documents: usize,
    /// Most fetches a minute of one host, or of all hosts that one pattern of a scheme allows (`sns.{region}.amazonaws.com`), of what is known there: addresses that a scheme names, and what was fetched before. Beyond: 503 (`key_unavailable`).
    #[validate(range(min = 1, max = 10_000))]
    pub fetches_per_minute: u32,
    /// Most fetches a minute of one host, or of all hosts that one pattern of a scheme allows, of what a sender names and nobody has fetched yet (a certificate, the id of a key): anyone can make such names up. They have a count of their own, so that they never take away from what is known. Beyond: 503 (`key_unavailable`).
    #[validate(range(min = 1, max = 10_000))]
    pub first_fetches_per_minute: u32,
    /// FOR TESTS AND PRIVATE AUTHORITIES: hosts that are not looked up but connected to where this says, as `"login.acme.example=10.0.0.7:443"`, also at addresses that are not public. Everything else stays as strict as it is.
    #[validate(custom(function = "are_hosts"))]
    pub connect_to: Vec<String>,
    /// FOR TESTS AND PRIVATE AUTHORITIES: a PEM file of authorities that are trusted beside the usual ones, for the hosts keys are fetched from and for the certificates themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra_roots: Option<PathBuf>,
}

impl Default for KeysConfig {
    fn default() -> Self {
        Self {
            fetch_timeout: HumanDuration::seconds(2),
            max_document_bytes: 256 * 1024,
            fresh_for: HumanDuration::seconds(600),
            stale_for: HumanDuration::days(1),
            pause_after_failure: HumanDuration::seconds(10),
            refresh_pause: HumanDuration::seconds(60),
            max_documents: 1_000,
            fetches_per_minute: 60,
            first_fetches_per_minute: 30,
            connect_to: Vec::new(),
            extra_roots: None,
        }
    }
}

impl KeysConfig {
    /// The hosts of `connect_to`, each with where it is.
    pub fn connections(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.connect_to.iter().filter_map(|text| connection(text))
    }
}

fn connection(text: &str) -> Option<(&str, SocketAddr)> {
    let (host, address) = text.split_once('=')?;
    let address = address.parse().ok()?;
    (!host.is_empty() && host.contains('.')).then_some((host, address))
}

fn are_hosts(texts: &[String]) -> Result<(), ValidationError> {
    if texts.iter().all(|text| connection(text).is_some()) {
        return Ok(());
    }
    let message = "write each as \"<host>=<address>:<port>\", as \"login.acme.example=10.0.0.7:443\"";
    Err(ValidationError::new("connect_to").with_message(message.into()))
}
