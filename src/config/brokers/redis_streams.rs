//! Room `config`: what a broker of kind `redis_streams` needs.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::{Validate, ValidationError};

use crate::{
    config::HumanDuration,
    model::{AddressField, AddressTemplate, SecretSource},
};

/// Appends to streams of Redis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(deny_unknown_fields)]
#[validate(schema(function = "shards_are_used"), schema(function = "trusts_over_tls"))]
pub struct RedisStreamsConfig {
    /// The server, as `"redis://redis:6379"`; `rediss://` is TLS. Passwords stand in `password`, not here.
    #[validate(custom(function = "is_redis"))]
    pub url: String,
    /// A user, where not the default one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The password, as `"env:REDIS_PASSWORD"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub password: Option<SecretSource>,
    /// Certificates (PEM) to trust in place of the system's, with `rediss://`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The stream of an event. Fields: {type}, {context}, {event}, {version}, {partner}, {endpoint} and {shard}, as `"events.{shard}"`.
    #[serde(default = "default_stream")]
    #[schemars(with = "String")]
    pub stream: AddressTemplate,
    /// How many shards {shard} counts, from 0. Events of one partition key go to one shard: the first 8 bytes of the key's SHA-256, as a big-endian number, modulo `shards`. Another number moves keys between streams.
    #[serde(default = "default_shards")]
    #[validate(range(min = 1, max = 10_000))]
    pub shards: u32,
    /// Streams are trimmed to about so many events (`MAXLEN ~`), read or not. Without it they grow until someone trims them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[validate(range(min = 1))]
    pub max_len: Option<u64>,
    /// A larger event is refused for good. Not more than the server's `proto-max-bulk-len`, beyond which it closes the connection.
    #[serde(default = "default_max_event_bytes")]
    #[validate(range(min = 1_024, max = 536_870_912))]
    pub max_event_bytes: usize,
    /// Most events unconfirmed at once; of one partition key there is never more than one.
    #[serde(default = "default_in_flight")]
    #[validate(range(min = 1, max = 10_000))]
    pub max_in_flight: usize,
    /// How long connecting may take.
    #[serde(default = "default_connect_timeout")]
    #[validate(range(min = HumanDuration::millis(10), max = HumanDuration::seconds(3_600)))]
    pub connect_timeout: HumanDuration,
    /// How long an answer may take.
    #[serde(default = "default_response_timeout")]
    #[validate(range(min = HumanDuration::millis(10), max = HumanDuration::seconds(3_600)))]
    pub response_timeout: HumanDuration,
}

fn default_stream() -> AddressTemplate {
    AddressTemplate::of_type()
}

const fn default_shards() -> u32 {
    1
}

const fn default_max_event_bytes() -> usize {
    512 * 1024 * 1024
}

const fn default_in_flight() -> usize {
    256
}

const fn default_connect_timeout() -> HumanDuration {
    HumanDuration::seconds(5)
}

const fn default_response_timeout() -> HumanDuration {
    HumanDuration::seconds(10)
}

fn is_redis(url: &str) -> Result<(), ValidationError> {
    let rest = url.strip_prefix("redis://").or_else(|| url.strip_prefix("rediss://"));
    if rest.is_some_and(|rest| !rest.is_empty() && !rest.contains('@')) {
        return Ok(());
    }
    let message = "it must begin with redis:// or rediss:// and have a host and no password, which stands in `password`";
    Err(ValidationError::new("url").with_message(message.into()))
}

/// Shards without a place to show them would be one stream.
fn shards_are_used(config: &RedisStreamsConfig) -> Result<(), ValidationError> {
    if config.shards == 1 || config.stream.has(AddressField::Shard) {
        return Ok(());
    }
    let message = "`shards` counts streams that `stream` does not name: write {shard} into it";
    Err(ValidationError::new("shards").with_message(message.into()))
}

/// Certificates would say nothing of a server that shows none.
fn trusts_over_tls(config: &RedisStreamsConfig) -> Result<(), ValidationError> {
    if config.ca_file.is_none() || config.url.starts_with("rediss://") {
        return Ok(());
    }
    Err(ValidationError::new("ca_file")
        .with_message("`ca_file` needs a `url` that begins with rediss://".into()))
}
