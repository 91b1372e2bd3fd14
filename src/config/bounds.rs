//! Room `config`: what types cannot say: values out of their bounds, and values that contradict each other.

use std::{collections::BTreeSet, net::SocketAddr};

use serde_json::Value;
use validator::{Validate, ValidationError, ValidationErrors, ValidationErrorsKind};

use super::{BrokerConfig, Config, filter};

/// A value that cannot be worked with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The keys to blame, as `intake.max_headers` or `broker[1].name`: one of them must change.
    pub(super) keys: Vec<String>,
    /// What is wrong.
    pub(super) message: String,
    /// The stable code.
    pub(super) code: &'static str,
    /// What to do.
    pub(super) help: String,
}

/// Everything that is wrong with a configuration whose types are right.
pub(super) fn faults(config: &Config) -> Vec<Fault> {
    let mut faults = Vec::new();
    if let Err(errors) = config.validate() {
        out_of_bounds("", &errors, &mut faults);
    }
    faults.sort_by(|one, other| one.keys.cmp(&other.keys));
    faults.extend(too_large_a_body(config));
    faults.extend(backwards_backoff(config));
    faults.extend(same_names(config));
    faults.extend(no_log_filter(config));
    faults.extend(no_namespace(config));
    faults.extend(open_private_door(config));
    faults.extend(doors_in_one_place(config));
    faults
}

fn out_of_bounds(section: &str, errors: &ValidationErrors, faults: &mut Vec<Fault>) {
    for (name, kind) in errors.errors() {
        let key = if section.is_empty() { name.to_string() } else { format!("{section}.{name}") };
        match kind {
            // What a kind of broker needs stands flat beside the broker's name.
            ValidationErrorsKind::Struct(inner) if name == "settings" => {
                out_of_bounds(section, inner, faults);
            }
            ValidationErrorsKind::Struct(inner) => out_of_bounds(&key, inner, faults),
            ValidationErrorsKind::List(items) => {
                for (index, inner) in items {
                    out_of_bounds(&format!("{key}[{index}]"), inner, faults);
                }
            }
            ValidationErrorsKind::Field(errors) => {
                for error in errors {
                    // What concerns several keys names one of them as its code.
                    let key =
                        if name == "__all__" { format!("{section}.{}", error.code) } else { key.clone() };
                    faults.push(Fault::new(&[&key], told(&key, error)));
                }
            }
        }
    }
}

fn told(key: &str, error: &ValidationError) -> String {
    if let Some(message) = &error.message {
        return format!("{key}: {message}");
    }
    let param = |name| {
        error.params.get(name).map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    };
    let what = if error.code == "length" { "the length of " } else { "" };
    let bounds = match (param("min"), param("max")) {
        (Some(min), Some(max)) => format!("between {min} and {max}"),
        (Some(min), None) => format!("at least {min}"),
        (_, max) => format!("at most {}", max.unwrap_or_default()),
    };
    format!("{what}{key} must be {bounds}, not {}", param("value").unwrap_or_default())
}

/// One endpoint may hold half of all that is held, so no body may be larger.
fn too_large_a_body(config: &Config) -> Option<Fault> {
    let (body, all) = (config.intake.max_body_bytes, config.intake.max_bytes_in_flight);
    let message =
        format!("intake.max_body_bytes ({body}) must be at most half of intake.max_bytes_in_flight ({all})");
    (body > all / 2).then(|| Fault::new(&["intake.max_body_bytes", "intake.max_bytes_in_flight"], message))
}

fn backwards_backoff(config: &Config) -> Option<Fault> {
    let (min, max) = (config.publication.min_backoff, config.publication.max_backoff);
    let message = format!("publication.min_backoff ({min}) must be at most publication.max_backoff ({max})");
    (min > max).then(|| Fault::new(&["publication.min_backoff", "publication.max_backoff"], message))
}

/// A broker's cursor belongs to its name: two of one name would pass events over.
fn same_names(config: &Config) -> Vec<Fault> {
    let mut known = BTreeSet::new();
    let brokers = config.broker.iter().enumerate();
    let again = brokers.filter(|(_, broker)| !known.insert(&broker.name));
    let fault = |(index, broker): (usize, &BrokerConfig)| {
        Fault::new(
            &[&format!("broker[{index}].name")],
            format!("two brokers have the name {:?}", broker.name),
        )
    };
    again.map(fault).collect()
}

fn no_log_filter(config: &Config) -> Option<Fault> {
    let bad = filter::check(&config.telemetry.log_level).err()?;
    Some(Fault::new(&["telemetry.log_level"], bad.message).because("invalid_setting", bad.help))
}

/// It becomes a part of every event type, which is written like a domain name from its end.
fn no_namespace(config: &Config) -> Option<Fault> {
    let namespace = &config.events.namespace;
    let is_label = |label: &str| {
        !label.is_empty() && label.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-')
    };
    // That it is empty was told as its length.
    let wrong = !namespace.is_empty() && !namespace.split('.').all(is_label);
    wrong.then(|| {
        let message = format!("events.namespace {namespace:?} is no namespace");
        Fault::new(&["events.namespace"], message).because(
            "invalid_setting",
            "write your domain from its end, as \"com.example\": letters, digits and hyphens, with dots between",
        )
    })
}

fn open_private_door(config: &Config) -> Option<Fault> {
    let listen = &config.listen;
    let open = !listen.private.ip().is_loopback() && !listen.private_without_tls;
    open.then(|| {
        let message = format!(
            "listen.private is {}, which is not loopback, and it speaks plain HTTP",
            listen.private
        );
        Fault::new(&["listen.private"], message).because(
            "open_private_door",
            "put a proxy with TLS before it and say listen.private_without_tls = true, or use a loopback address",
        )
    })
}

/// Two doors of one address: the second could not be opened.
fn doors_in_one_place(config: &Config) -> Vec<Fault> {
    let doors: Vec<_> = config.listen.doors().collect();
    let mut faults = Vec::new();
    for (index, (key, address)) in doors.iter().enumerate() {
        let taken = doors[..index].iter().find(|(_, other)| in_one_place(*other, *address));
        faults.extend(taken.map(|(other_key, other)| {
            let message = format!("{key} ({address}) and {other_key} ({other}) are one address");
            Fault::new(&[key, other_key], message).because("one_address", "give each door a port of its own")
        }));
    }
    faults
}

/// Whether what listens at one address keeps others from listening at the other. Port 0 is any free one.
fn in_one_place(one: SocketAddr, other: SocketAddr) -> bool {
    let every_ip = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0
        && one.port() == other.port()
        && (one.ip() == other.ip() || every_ip && one.is_ipv4() == other.is_ipv4())
}

impl Fault {
    fn new(keys: &[&str], message: String) -> Self {
        let keys = keys.iter().map(ToString::to_string).collect();
        let help = "see deploy/douane.toml for what each key bounds".to_owned();
        Self { keys, message, code: "out_of_bounds", help }
    }

    /// The same, under another code and with its own help.
    fn because(self, code: &'static str, help: impl Into<String>) -> Self {
        Self { code, help: help.into(), ..self }
    }
}
