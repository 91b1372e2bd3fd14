//! Room `config`: the brokers beside the built-in feed.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

/// A broker beside the built-in feed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BrokerConfig {
    /// Its identity: the cursor belongs to this name.
    #[validate(length(min = 1, max = 100))]
    pub name: String,
    /// `stdout` or `file`.
    pub kind: BrokerKind,
    /// Where it starts when it is first seen: `"now"`, `"beginning"` or an event number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<BrokerFrom>,
    /// `file` only: the NDJSON file; finished ones are renamed to `<path>.<n>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// `file` only: a new file is begun when this many bytes are reached.
    #[serde(default = "default_rotate_bytes")]
    #[validate(range(min = 4_096))]
    pub rotate_bytes: u64,
}

const fn default_rotate_bytes() -> u64 {
    128 * 1024 * 1024
}

/// The kinds of brokers built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BrokerKind {
    /// NDJSON on standard output.
    Stdout,
    /// NDJSON in a file, fsynced, rotated.
    File,
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
