//! Room `config`: the memory of verdicts that processes share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::{Validate, ValidationError};

use super::HumanDuration;
use crate::model::SecretSource;

/// How repeats are recognised. The ledger always can; Redis spares it the question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[validate(schema(function = "is_one_arrangement"))]
pub struct DedupeConfig {
    /// Redis 6.2 or later holds the external ids and their owners for the ledger, so that most verdicts need not search it: `"redis://redis:6379"`; `rediss://` is TLS, a path is the number of a database. It may lose anything at any time: verdicts stay the ledger's, and it is filled again. Absent: the ledger answers alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[validate(custom(function = "is_redis"))]
    pub url: Option<String>,
    /// What Sentinels call the primary. Then `url` names the Sentinels, with commas between: `"redis://one:26379,two:26379,three:26379"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel_master: Option<String>,
    /// The Sentinels' own password, as `"env:SENTINEL_PASSWORD"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub sentinel_password: Option<SecretSource>,
    /// `url` names nodes of a Redis Cluster, with commas between. An endpoint's keys lie on one node.
    pub cluster: bool,
    /// A user, where not the default one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The password, as `"env:REDIS_PASSWORD"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub password: Option<SecretSource>,
    /// An answer of Redis is waited for so long; then the ledger answers. That this process waits for a processor itself does not count.
    #[validate(range(min = HumanDuration::millis(1), max = HumanDuration::seconds(10)))]
    pub patience: HumanDuration,
    /// After Redis was slow, refused or was gone it is not asked for so long.
    #[validate(range(min = HumanDuration::millis(1), max = HumanDuration::seconds(3_600)))]
    pub pause: HumanDuration,
    /// How long connecting may take. Nothing waits for it.
    #[validate(range(min = HumanDuration::millis(10), max = HumanDuration::seconds(60)))]
    pub connect_timeout: HumanDuration,
}

impl Default for DedupeConfig {
    fn default() -> Self {
        Self {
            url: None,
            sentinel_master: None,
            sentinel_password: None,
            cluster: false,
            user: None,
            password: None,
            patience: HumanDuration::millis(200),
            pause: HumanDuration::seconds(1),
            connect_timeout: HumanDuration::seconds(2),
        }
    }
}

fn is_redis(url: &str) -> Result<(), ValidationError> {
    let rest = url.strip_prefix("redis://").or_else(|| url.strip_prefix("rediss://"));
    let hosts = rest.map(|rest| rest.split(['/', '?']).next().unwrap_or_default());
    let sound = hosts
        .is_some_and(|hosts| !hosts.contains('@') && hosts.split(',').all(|host| !host.trim().is_empty()));
    if sound {
        return Ok(());
    }
    let message = "it must begin with redis:// or rediss:// and have a host and no password, which stands in `password`";
    Err(ValidationError::new("url").with_message(message.into()))
}

fn is_one_arrangement(config: &DedupeConfig) -> Result<(), ValidationError> {
    let several = config.url.as_ref().is_some_and(|url| url.contains(','));
    let (key, message) = if config.cluster && config.sentinel_master.is_some() {
        ("cluster", "a cluster has no Sentinels: set either `cluster` or `sentinel_master`")
    } else if several && !config.cluster && config.sentinel_master.is_none() {
        ("url", "it names several hosts: say `cluster = true`, or `sentinel_master`")
    } else {
        return Ok(());
    };
    Err(ValidationError::new(key).with_message(message.into()))
}
