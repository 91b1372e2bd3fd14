//! Room `config`: what a broker of kind `rabbitmq` needs.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::{Validate, ValidationError};

use super::{ContentMode, unsharded, whole_login};
use crate::{
    config::HumanDuration,
    model::{AddressTemplate, SecretSource},
};

/// Publishes to an exchange of RabbitMQ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(deny_unknown_fields)]
#[validate(schema(function = "login"))]
pub struct RabbitmqConfig {
    /// The server, as `"amqps://rabbit.example:5671/orders"`; `amqp://` is without TLS. The path is the virtual host, percent-encoded; without one it is `/`.
    #[validate(custom(function = "is_amqp"))]
    pub url: String,
    /// A user, with `password`. Without one, `guest`, whom servers let in from their own machine only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// That user's password, as `"env:RABBITMQ_PASSWORD"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub password: Option<SecretSource>,
    /// Certificates (PEM) to trust beside the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The exchange of an event. It must be there, with queues bound to it (quorum queues, so that what is confirmed outlives a node): douane declares nothing. Fields: {type}, {context}, {event}, {version}, {partner}, {endpoint}.
    #[schemars(with = "String")]
    #[validate(custom(function = "unsharded"))]
    pub exchange: AddressTemplate,
    /// The routing key of an event, of the same fields.
    #[serde(default = "AddressTemplate::of_type")]
    #[schemars(with = "String")]
    #[validate(custom(function = "unsharded"))]
    pub routing_key: AddressTemplate,
    /// `"structured"`: the whole CloudEvent is the body. `"binary"`: the data is the body and the attributes are `cloudEvents_` headers.
    #[serde(default)]
    pub mode: ContentMode,
    /// Most events unconfirmed at once, each on a channel of its own; of one partition key there is never more than one.
    #[serde(default = "default_in_flight")]
    #[validate(range(min = 1, max = 1_000))]
    pub max_in_flight: usize,
    /// A connection that was silent for about twice as long is given up.
    #[serde(default = "default_heartbeat")]
    #[validate(range(min = HumanDuration::seconds(1), max = HumanDuration::seconds(3_600)))]
    pub heartbeat: HumanDuration,
    /// How long connecting may take.
    #[serde(default = "default_connect_timeout")]
    #[validate(range(min = HumanDuration::millis(10), max = HumanDuration::seconds(3_600)))]
    pub connect_timeout: HumanDuration,
    /// How long a confirmation may take.
    #[serde(default = "default_confirm_timeout")]
    #[validate(range(min = HumanDuration::millis(10), max = HumanDuration::seconds(3_600)))]
    pub confirm_timeout: HumanDuration,
}

const fn default_in_flight() -> usize {
    64
}

const fn default_heartbeat() -> HumanDuration {
    HumanDuration::seconds(30)
}

const fn default_connect_timeout() -> HumanDuration {
    HumanDuration::seconds(10)
}

const fn default_confirm_timeout() -> HumanDuration {
    HumanDuration::seconds(10)
}

fn login(config: &RabbitmqConfig) -> Result<(), ValidationError> {
    whole_login(config.user.as_ref(), config.password.as_ref())
}

/// A host and perhaps a port and a path. An address of IPv6 would be read as none.
fn is_amqp(url: &str) -> Result<(), ValidationError> {
    let rest = url.strip_prefix("amqps://").or_else(|| url.strip_prefix("amqp://"));
    let host = rest.map(|rest| &rest[..rest.find(['/', ':']).unwrap_or(rest.len())]);
    let named = host.is_some_and(|host| !host.is_empty() && !host.starts_with('['));
    if named && !url.contains(['@', '?', '#']) {
        return Ok(());
    }
    let message = "it is amqp:// or amqps://, the name of a host or its IPv4 address, and perhaps a port and a virtual host; \
                   credentials stand in `user` and `password`";
    Err(ValidationError::new("url").with_message(message.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_host_and_no_credentials() {
        for url in ["amqp://a", "amqps://a.example:5671", "amqp://10.0.0.1:5672/orders", "amqp://a/%2Fx"] {
            assert!(is_amqp(url).is_ok(), "{url}");
        }
        for url in [
            "a",
            "http://a",
            "amqp://",
            "amqp:///x",
            "amqp://:5672",
            "amqp://u:p@a",
            "amqp://[::1]:5672",
            "amqp://a?heartbeat=1",
        ] {
            assert!(is_amqp(url).is_err(), "{url}");
        }
    }
}
