//! Room `config`: what a broker of kind `nats` needs.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::{Validate, ValidationError};

use super::{unsharded, whole_login};
use crate::{
    config::HumanDuration,
    model::{AddressTemplate, Part, SecretSource},
};

/// Publishes to a stream of NATS JetStream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(deny_unknown_fields)]
#[validate(schema(function = "login"))]
pub struct NatsConfig {
    /// The servers, as `["nats://nats-1:4222", "nats://nats-2:4222"]`; `tls://` asks for TLS.
    #[validate(length(min = 1, max = 100), custom(function = "are_servers"))]
    pub servers: Vec<String>,
    /// The JetStream stream that keeps the events. It must be there and listen to the subjects; a message that would land in another is refused.
    #[validate(length(min = 1, max = 255))]
    pub stream: String,
    /// The subject of an event. Fields: {type}, {context}, {event}, {version}, {partner}, {endpoint}.
    #[serde(default = "default_subject")]
    #[schemars(with = "String")]
    #[validate(custom(function = "is_subject"), custom(function = "unsharded"))]
    pub subject: AddressTemplate,
    /// What a credentials file (`.creds`) holds, as `"file:/run/secrets/nats.creds"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub credentials: Option<SecretSource>,
    /// A token, as `"env:NATS_TOKEN"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub token: Option<SecretSource>,
    /// A user, with `password`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// That user's password, as `"env:NATS_PASSWORD"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub password: Option<SecretSource>,
    /// Certificates (PEM) to trust in place of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Most events unconfirmed at once; of one partition key there is never more than one.
    #[serde(default = "default_in_flight")]
    #[validate(range(min = 1, max = 10_000))]
    pub max_in_flight: usize,
    /// How long connecting may take.
    #[serde(default = "default_connect_timeout")]
    #[validate(range(min = HumanDuration::millis(10), max = HumanDuration::seconds(3_600)))]
    pub connect_timeout: HumanDuration,
    /// How long a confirmation may take.
    #[serde(default = "default_ack_timeout")]
    #[validate(range(min = HumanDuration::millis(10), max = HumanDuration::seconds(3_600)))]
    pub ack_timeout: HumanDuration,
}

fn default_subject() -> AddressTemplate {
    AddressTemplate::of_type()
}

const fn default_in_flight() -> usize {
    256
}

const fn default_connect_timeout() -> HumanDuration {
    HumanDuration::seconds(5)
}

const fn default_ack_timeout() -> HumanDuration {
    HumanDuration::seconds(10)
}

fn login(config: &NatsConfig) -> Result<(), ValidationError> {
    whole_login(config.user.as_ref(), config.password.as_ref())
}

fn are_servers(servers: &[String]) -> Result<(), ValidationError> {
    let is_server = |server: &String| {
        let rest = server.strip_prefix("nats://").or_else(|| server.strip_prefix("tls://"));
        rest.is_some_and(|rest| !rest.is_empty() && !rest.contains('@'))
    };
    if servers.iter().all(is_server) {
        return Ok(());
    }
    let message =
        "each begins with nats:// or tls:// and has a host and no password, which stands in `password`";
    Err(ValidationError::new("servers").with_message(message.into()))
}

/// Words with dots between, no wildcards.
fn is_subject(subject: &AddressTemplate) -> Result<(), ValidationError> {
    let text: String = subject
        .parts()
        .iter()
        .map(|part| match part {
            Part::Text(text) => text.as_str(),
            Part::Field(_) => "x",
        })
        .collect();
    let is_word = |word: &str| {
        !word.is_empty()
            && !word.contains(|c: char| c.is_whitespace() || c.is_control() || c == '*' || c == '>')
    };
    if text.split('.').all(is_word) {
        return Ok(());
    }
    let message = "a subject is words with dots between, without spaces and wildcards, as \"events.{type}\"";
    Err(ValidationError::new("subject").with_message(message.into()))
}
