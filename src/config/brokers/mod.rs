//! Room `config`: the brokers beside the built-in feed. What every broker has stands here, what a kind has for itself in a
//! file of that kind. A kind's keys stand flat beside the name; which keys there are depends on `kind`.

mod file;
mod http;
mod kafka;
mod mistakes;
mod nats;
mod rabbitmq;
mod redis_streams;

pub use file::FileConfig;
pub use http::HttpConfig;
pub use kafka::{KafkaConfig, SaslMechanism};
pub(super) use mistakes::mistake;
pub use nats::NatsConfig;
pub use rabbitmq::RabbitmqConfig;
pub use redis_streams::RedisStreamsConfig;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::{Validate, ValidationError, ValidationErrors};

use crate::model::{AddressField, AddressTemplate, SecretSource, TypePattern};

/// A broker beside the built-in feed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate, JsonSchema)]
pub struct BrokerConfig {
    /// Its identity: the cursor belongs to this name.
    #[validate(length(min = 1, max = 100))]
    pub name: String,
    /// Where it starts when it is first seen: `"now"`, `"beginning"` or an event number, as `"42"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<BrokerFrom>,
    /// Which events it gets, by type without the namespace, as `["payments.*"]`; without it, all. It holds from the cursor on: an event passed over is not published later, but for a replay that names this broker, which always goes to it.
    #[serde(rename = "match", default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub matching: Vec<TypePattern>,
    /// What its kind needs.
    #[serde(flatten)]
    #[validate(nested)]
    pub settings: BrokerSettings,
}

/// What each kind of broker needs. A broker of another kind is a variant here, a row in [`BrokerSettings::validate`] and
/// in `mistakes`, and one in `app`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum BrokerSettings {
    /// NDJSON on standard output.
    Stdout,
    /// NDJSON in a file, fsynced, rotated.
    File(FileConfig),
    /// Posted to an HTTP receiver, a CloudEvent each. 2xx places it; 400, 413, 414, 415, 422 and 431 refuse it for good; 408, 425, 429, 5xx and no answer are tried again; with anything else (401, 403, 404, redirects …) this broker waits, loudly.
    Http(HttpConfig),
    /// Published to a stream of NATS JetStream, with the event's id as `Nats-Msg-Id`: within the stream's duplicate window a repeat is kept once. The acknowledgement places it; one that is too large for the server or the stream is refused for good; while the stream is missing or forbidden this broker waits, loudly.
    Nats(NatsConfig),
    /// Appended to streams of Redis, as the field `event`: the CloudEvent as structured JSON. The entry's id places it. Redis keeps what it confirmed across a crash only with `appendonly yes` and `appendfsync always`. While Redis is away, loading, read-only or out of memory it is tried again; what a person must mend (a key of another type, credentials) makes this broker wait, loudly.
    RedisStreams(RedisStreamsConfig),
    /// Published to an exchange of RabbitMQ, a persistent message each. The server's confirmation places it; one that the server returns, because no queue is bound for it, makes this broker wait, loudly, until somebody binds one, and so do a missing exchange and refused access; one above the server's `max_message_size` is refused for good. RabbitMQ has no lasting positions: noted is `<connection>/<channel>/<delivery tag>`.
    Rabbitmq(RabbitmqConfig),
    /// Published to topics of Kafka, with the partition key as the record's key. The acknowledgement of all in-sync replicas places it; one that is too large or invalid for its topic is refused for good; an unknown topic, a refused login or refused access makes this broker wait, loudly. Built in with the cargo feature `kafka`, as in the release image.
    Kafka(KafkaConfig),
}

impl Validate for BrokerSettings {
    fn validate(&self) -> Result<(), ValidationErrors> {
        match self {
            Self::Stdout => Ok(()),
            Self::File(file) => file.validate(),
            Self::Http(http) => http.validate(),
            Self::Nats(nats) => nats.validate(),
            Self::RedisStreams(redis) => redis.validate(),
            Self::Rabbitmq(rabbitmq) => rabbitmq.validate(),
            Self::Kafka(kafka) => built_in().and_then(|()| kafka.validate()),
        }
    }
}

/// What is told of `kind = "kafka"` by a build that cannot have it.
pub const NO_KAFKA: &str = "this build has no Kafka: build with `cargo build --release --features kafka`, or use the release image, which has it";

fn built_in() -> Result<(), ValidationErrors> {
    if cfg!(feature = "kafka") {
        return Ok(());
    }
    let mut errors = ValidationErrors::new();
    errors.add("kind", ValidationError::new("kind").with_message(NO_KAFKA.into()));
    Err(errors)
}

/// How a CloudEvent becomes a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContentMode {
    /// The whole event is the body.
    #[default]
    Structured,
    /// The data is the body, the attributes are headers.
    Binary,
}

/// For kinds with logins: blames the key that stands alone.
fn whole_login(user: Option<&String>, password: Option<&SecretSource>) -> Result<(), ValidationError> {
    let alone = match (user, password) {
        (Some(_), None) => "user",
        (None, Some(_)) => "password",
        _ => return Ok(()),
    };
    Err(ValidationError::new(alone).with_message("`user` and `password` go together".into()))
}

/// For kinds that have no shards.
fn unsharded(template: &AddressTemplate) -> Result<(), ValidationError> {
    if template.has(AddressField::Shard) {
        return Err(ValidationError::new("shard").with_message("this kind of broker has no {shard}".into()));
    }
    Ok(())
}

/// Where a broker starts when it is first seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub enum BrokerFrom {
    /// After the last event committed when it was first seen.
    Now,
    /// With the first event kept.
    Beginning,
    /// With this event number.
    Number(u64),
}

impl Serialize for BrokerFrom {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Now => serializer.serialize_str("now"),
            Self::Beginning => serializer.serialize_str("beginning"),
            Self::Number(number) => serializer.serialize_str(&number.to_string()),
        }
    }
}

impl<'de> Deserialize<'de> for BrokerFrom {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "now" => Ok(Self::Now),
            "beginning" => Ok(Self::Beginning),
            text => text.parse().map(Self::Number).map_err(|_| {
                serde::de::Error::custom("expected \"now\", \"beginning\" or an event number, as \"42\"")
            }),
        }
    }
}
