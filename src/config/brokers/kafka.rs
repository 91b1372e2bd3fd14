//! Room `config`: what a broker of kind `kafka` needs.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::{Validate, ValidationError};

use super::{ContentMode, unsharded, whole_login};
use crate::{
    config::HumanDuration,
    model::{AddressTemplate, Part, SecretSource},
};

/// Publishes to topics of Kafka.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(deny_unknown_fields)]
#[validate(schema(function = "goes_together"))]
pub struct KafkaConfig {
    /// Servers to ask for the cluster first, as `["kafka-1:9092", "kafka-2:9092"]`.
    #[validate(length(min = 1, max = 100))]
    pub servers: Vec<String>,
    /// The topic of an event, as `"events.{context}"`. Fields: {type}, {context}, {event}, {version}, {partner}, {endpoint}; in what they say, all but letters, digits, `.` and `-` becomes `_` and two hex digits. Events of one key keep their order within a topic.
    #[schemars(with = "String")]
    #[validate(custom(function = "is_topic"), custom(function = "unsharded"))]
    pub topic: AddressTemplate,
    /// `"structured"`: the whole CloudEvent is the value. `"binary"`: the data is the value and the attributes are `ce_` headers.
    #[serde(default)]
    pub mode: ContentMode,
    /// Speak TLS.
    #[serde(default)]
    pub tls: bool,
    /// Certificates (PEM) to trust in place of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Our own certificate (PEM), with `key_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    /// The key of that certificate (PEM).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// How `user` is shown to be who it is: `"plain"` (only with TLS), `"scram-sha-256"` or `"scram-sha-512"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sasl: Option<SaslMechanism>,
    /// A user, with `password`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// That user's password, as `"env:KAFKA_PASSWORD"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub password: Option<SecretSource>,
    /// Most events unconfirmed at once; of one partition key there is never more than one.
    #[serde(default = "default_in_flight")]
    #[validate(range(min = 1, max = 10_000))]
    pub max_in_flight: usize,
    /// How long connecting may take.
    #[serde(default = "default_connect_timeout")]
    #[validate(range(min = HumanDuration::seconds(1), max = HumanDuration::seconds(3_600)))]
    pub connect_timeout: HumanDuration,
    /// How long placing an event may take, with all that the client tries meanwhile.
    #[serde(default = "default_message_timeout")]
    #[validate(range(min = HumanDuration::seconds(1), max = HumanDuration::seconds(3_600)))]
    pub message_timeout: HumanDuration,
}

/// A way to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SaslMechanism {
    /// The password as it is.
    #[serde(rename = "plain")]
    Plain,
    /// A proof of the password.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// The same, with a longer hash.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

const fn default_in_flight() -> usize {
    256
}

const fn default_connect_timeout() -> HumanDuration {
    HumanDuration::seconds(10)
}

const fn default_message_timeout() -> HumanDuration {
    HumanDuration::seconds(30)
}

fn goes_together(config: &KafkaConfig) -> Result<(), ValidationError> {
    let told = |key: &'static str, why: &'static str| Err(ValidationError::new(key).with_message(why.into()));
    whole_login(config.user.as_ref(), config.password.as_ref())?;
    let (certificate, key) = (config.certificate_file.is_some(), config.key_file.is_some());
    match (config.sasl, config.user.is_some()) {
        (Some(_), false) => told("sasl", "`sasl` needs `user` and `password`"),
        (None, true) => told("user", "`user` needs `sasl`, which says how it is shown"),
        _ if certificate && !key => told("certificate_file", "`certificate_file` and `key_file` go together"),
        _ if key && !certificate => told("key_file", "`certificate_file` and `key_file` go together"),
        _ if config.tls => Ok(()),
        _ if certificate => told("certificate_file", "certificates need `tls = true`"),
        _ if config.ca_file.is_some() => told("ca_file", "certificates need `tls = true`"),
        (Some(SaslMechanism::Plain), _) => {
            told("sasl", "`plain` sends the password as it is, so it needs `tls = true`")
        }
        _ => Ok(()),
    }
}

/// Letters, digits, dots, underscores and hyphens.
fn is_topic(topic: &AddressTemplate) -> Result<(), ValidationError> {
    let allowed = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if topic.parts().iter().all(|part| !matches!(part, Part::Text(text) if !allowed(text))) {
        return Ok(());
    }
    let message = "a topic has letters, digits, dots, underscores and hyphens, as \"events.{context}\"";
    Err(ValidationError::new("topic").with_message(message.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(lines: &str) -> String {
        let text = format!("servers = [\"a:9092\"]\ntopic = \"events\"\n{lines}");
        let config: KafkaConfig = toml::from_str(&text).expect("settings");
        config.validate().map_or_else(|errors| errors.to_string(), |()| String::new())
    }

    #[test]
    fn what_goes_together_is_told() {
        let login = "user = \"u\"\npassword = \"env:P\"\n";
        for (lines, told) in [
            (String::new(), ""),
            ("tls = true\nca_file = \"/ca\"".to_owned(), ""),
            (format!("{login}sasl = \"scram-sha-512\""), ""),
            (format!("{login}tls = true\nsasl = \"plain\""), ""),
            (format!("{login}sasl = \"plain\""), "needs `tls = true`"),
            (login.to_owned(), "`user` needs `sasl`"),
            ("sasl = \"plain\"".to_owned(), "`sasl` needs `user`"),
            ("tls = true\nkey_file = \"/k\"".to_owned(), "go together"),
            ("ca_file = \"/ca\"".to_owned(), "need `tls = true`"),
        ] {
            let faults = faults(&lines);
            assert!(faults.contains(told) && told.is_empty() == faults.is_empty(), "{lines}: {faults}");
        }
    }

    #[cfg(not(feature = "kafka"))]
    #[test]
    fn a_build_without_it_says_how_to_get_it() {
        let config = toml::from_str("servers = [\"a:9092\"]\ntopic = \"events\"").expect("settings");
        let errors = super::super::BrokerSettings::Kafka(config).validate().expect_err("refused");
        assert!(errors.to_string().contains("--features kafka"), "{errors}");
    }

    #[test]
    fn a_topic_has_few_characters() {
        let told = |text: &str| is_topic(&AddressTemplate::parse(text).expect("a template"));
        assert!(told("events.{context}-v1_x").is_ok());
        for text in ["a b", "events/{type}", "é"] {
            assert!(told(text).is_err(), "{text}");
        }
    }
}
