//! Room `config`: what types cannot say: values out of their bounds, and values that contradict each other.

use std::{collections::BTreeSet, net::SocketAddr};

use serde_json::Value;
use validator::{Validate, ValidationError, ValidationErrors, ValidationErrorsKind};

use super::{BrokerConfig, Config, filter};

/// The most bytes of a batch that PostgreSQL is given at once.
const MAX_DATABASE_BATCH: usize = 256 * 1024 * 1024;

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
    /// The value may be a secret: its line is not shown.
    pub(super) secret: bool,
}

/// Everything that is wrong with a configuration whose types are right.
pub(super) fn faults(config: &Config) -> Vec<Fault> {
    let mut faults = Vec::new();
    if let Err(errors) = config.validate() {
        out_of_bounds("", &errors, &mut faults);
    }
    faults.sort_by(|one, other| one.keys.cmp(&other.keys));
    faults.extend(too_large_a_body(config));
    faults.extend(no_database(config));
    faults.extend(no_schema(config));
    faults.extend(too_large_a_batch(config));
    faults.extend(unsafe_leases(config));
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

/// A process that was stopped in the middle of a commit must be out of the way before its lease is over, and a renewal that
/// fails must leave time for others.
fn unsafe_leases(config: &Config) -> Vec<Fault> {
    let ledger = &config.ledger;
    let (lease, idle, renewal) = (ledger.lease, ledger.idle_in_transaction_timeout, ledger.lease_renewal);
    let mut faults = Vec::new();
    if ledger.url.is_some() && idle.0 * 2 >= lease.0 {
        let message = format!(
            "ledger.idle_in_transaction_timeout ({idle}) must be less than half of ledger.lease ({lease})"
        );
        faults.push(Fault::new(&["ledger.idle_in_transaction_timeout", "ledger.lease"], message));
    }
    if ledger.url.is_some() && renewal.0 * 4 > lease.0 {
        let message =
            format!("ledger.lease_renewal ({renewal}) must be at most a quarter of ledger.lease ({lease})");
        faults.push(Fault::new(&["ledger.lease_renewal", "ledger.lease"], message));
    }
    faults
}

/// PostgreSQL takes a batch as one message of at most a gibibyte, which must hold the largest body too.
fn too_large_a_batch(config: &Config) -> Option<Fault> {
    let bytes = config.ledger.batch_bytes;
    let message =
        format!("ledger.batch_bytes ({bytes}) must be at most {MAX_DATABASE_BATCH} when ledger.url is set");
    let beyond = config.ledger.url.is_some() && bytes > MAX_DATABASE_BATCH;
    beyond.then(|| Fault::new(&["ledger.batch_bytes"], message))
}

/// A URL in the open, without a password, or where to find one. The value is never repeated: it may be a secret.
fn no_database(config: &Config) -> Vec<Fault> {
    let fault = |key: &str, what: &str, help: &str| {
        let fault = Fault::new(&[key], format!("{key} {what}")).because("invalid_setting", help);
        Fault { secret: true, ..fault }
    };
    let mut faults = Vec::new();
    if let Some(url) = &config.ledger.url {
        let open = ["postgres://", "postgresql://"].iter().find_map(|scheme| url.strip_prefix(scheme));
        match open {
            Some(rest) if holds_password(rest) => faults.push(fault(
                "ledger.url",
                "holds a password in the open",
                "write url = \"env:NAME\" or \"file:/path\", or leave the password out and set ledger.password",
            )),
            None if !names_source(url) => faults.push(fault(
                "ledger.url",
                "is no PostgreSQL URL",
                "write it as \"postgres://user@host:5432/database\", \"env:NAME\" or \"file:/path\"",
            )),
            _ => {}
        }
    }
    if config.ledger.password.as_ref().is_some_and(|password| !names_source(password)) {
        let help = "write password = \"env:NAME\" or \"file:/path\"";
        faults.push(fault("ledger.password", "names no source of a secret", help));
    }
    faults
}

fn names_source(text: &str) -> bool {
    text.starts_with("env:") || text.starts_with("file:/")
}

/// Whether what follows the scheme of a URL has a password before the host, or among its parameters.
fn holds_password(rest: &str) -> bool {
    let (before, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let user = before.rsplit_once('@').map_or("", |(user, _)| user);
    user.contains(':') || parameters.split('&').any(|parameter| parameter.starts_with("password="))
}

fn no_schema(config: &Config) -> Option<Fault> {
    let schema = &config.ledger.schema;
    let begins = schema.starts_with(|first: char| first.is_ascii_lowercase() || first == '_');
    let goes_on = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    // Names that begin so belong to PostgreSQL.
    let sound = begins && schema.chars().all(goes_on) && !schema.starts_with("pg_");
    // That it is empty was told as its length.
    let wrong = !sound && !schema.is_empty();
    wrong.then(|| {
        Fault::new(&["ledger.schema"], format!("ledger.schema {schema:?} is no name of a schema"))
            .because("invalid_setting", "use lower-case letters, digits and underscores, as \"douane\"")
    })
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
        Self { keys, message, code: "out_of_bounds", help, secret: false }
    }

    /// The same, under another code and with its own help.
    fn because(self, code: &'static str, help: impl Into<String>) -> Self {
        Self { code, help: help.into(), ..self }
    }
}
