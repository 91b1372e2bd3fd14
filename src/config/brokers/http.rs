//! Room `config`: what a broker of kind `http` needs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::{Validate, ValidationError};

use super::{ContentMode, unsharded};
use crate::{
    config::HumanDuration,
    model::{AddressTemplate, Part, SecretSource},
};

/// Posts to an HTTP receiver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// Where events are posted, as `"https://hooks.example.com/events/{context}"`. Fields ({type}, {context}, {event}, {version}, {partner}, {endpoint}) may stand in the path and the query.
    #[schemars(with = "String")]
    #[validate(custom(function = "fields_behind_the_host"), custom(function = "unsharded"))]
    pub url: AddressTemplate,
    /// `"structured"`: the whole CloudEvent is the body, and signed. `"binary"`: the data is the body and the attributes are `ce-` headers, which no signature covers.
    #[serde(default)]
    pub mode: ContentMode,
    /// Signs by Standard Webhooks with each of these keys (`whsec_…`), as `["env:HOOKS_KEY"]`; two while a key is changed. Without one, requests are not signed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub signing_secrets: Vec<SecretSource>,
    /// Allow loopback, private, link-local and other addresses that are not public. Without it they are refused, whatever a name resolves to.
    #[serde(default)]
    pub allow_private_addresses: bool,
    /// Most requests under way at once; of one partition key there is never more than one.
    #[serde(default = "default_in_flight")]
    #[validate(range(min = 1, max = 1_000))]
    pub max_in_flight: usize,
    /// How long a connection may take.
    #[serde(default = "default_connect_timeout")]
    #[validate(range(min = HumanDuration::millis(10), max = HumanDuration::seconds(3_600)))]
    pub connect_timeout: HumanDuration,
    /// How long a request may take, from connecting to the end of the answer.
    #[serde(default = "default_timeout")]
    #[validate(range(min = HumanDuration::millis(10), max = HumanDuration::seconds(3_600)))]
    pub timeout: HumanDuration,
    /// A Retry-After is honoured up to so long.
    #[serde(default = "default_max_retry_after")]
    #[validate(range(max = HumanDuration::days(1)))]
    pub max_retry_after: HumanDuration,
}

const fn default_in_flight() -> usize {
    16
}

const fn default_connect_timeout() -> HumanDuration {
    HumanDuration::seconds(5)
}

const fn default_timeout() -> HumanDuration {
    HumanDuration::seconds(30)
}

const fn default_max_retry_after() -> HumanDuration {
    HumanDuration::seconds(300)
}

/// Whom we speak to is not for events to say.
fn fields_behind_the_host(url: &AddressTemplate) -> Result<(), ValidationError> {
    let host = match url.parts().first() {
        Some(Part::Text(text)) => text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")),
        _ => None,
    };
    let whole = host.is_some_and(|rest| {
        let end = rest.find(['/', '?', '#']).or((url.parts().len() == 1).then_some(rest.len()));
        end.is_some_and(|end| end > 0 && !rest[..end].contains('@'))
    });
    if whole {
        Ok(())
    } else {
        Err(ValidationError::new("url").with_message(
            "it must begin with http:// or https:// and a host without credentials; fields stand behind the host".into(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_we_speak_to_is_not_for_events_to_say() {
        let told = |url: &str| fields_behind_the_host(&AddressTemplate::parse(url).expect("a template"));
        for url in ["https://a.example", "http://a:1/{type}", "https://a/?of={partner}", "https://[::1]:9/x"]
        {
            assert!(told(url).is_ok(), "{url}");
        }
        for url in [
            "https://{partner}.a.example/",
            "https://a.example{partner}/",
            "{type}",
            "https:///x",
            "ftp://a/",
            "https://user:secret@a/",
            "a.example/x",
        ] {
            assert!(told(url).is_err(), "{url}");
        }
    }
}
