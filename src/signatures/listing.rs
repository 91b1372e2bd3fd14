//! Room `signatures`: what the presets are, as a person lists them. Reads their files as data, so that a listing says what is
//! written there and nothing that an engine makes of it.

use std::collections::BTreeMap;

use serde::Serialize;
use toml::{Table, Value};

use super::{SchemeError, presets::Preset};

/// How long an external id is remembered where a preset says nothing.
const DEFAULT_WINDOW: &str = "35d";

/// A preset in a listing.
#[derive(Clone, Debug, Serialize)]
pub struct PresetSummary {
    /// Its name in `preset = "…"`.
    pub name: &'static str,
    /// The provider's name.
    pub title: String,
    /// Where the provider documents its signatures.
    pub docs: String,
    /// What is signed, in a sentence.
    pub signs: String,
    /// The kinds of scheme it has.
    pub family: String,
    /// What the signature vouches for; several where there are several schemes.
    pub assurance: String,
    /// How its handshakes come, by method and whether they are signed.
    pub handshakes: Vec<String>,
    /// Where a delivery is taken apart into events.
    pub batch: Option<String>,
    /// How long an external id is remembered.
    pub window: String,
    /// How long the provider waits for an answer, where it says so.
    pub ack_deadline: Option<String>,
    /// What the endpoint must give, and where the provider shows it.
    pub parameters: BTreeMap<String, String>,
}

impl Preset {
    /// The preset as a person lists it.
    pub fn summary(&self) -> Result<PresetSummary, SchemeError> {
        let (file, table) = (self.file()?, self.table()?);
        let schemes = schemes(&table);
        let text = |key: &str| table.get(key).and_then(Value::as_str).map(str::to_owned);
        let identify = |key: &str| file.identify.get(key).and_then(Value::as_str).map(str::to_owned);
        let paths = file.identify.get("split").and_then(Value::as_array);
        let listed = paths.map(|paths| paths.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "));
        Ok(PresetSummary {
            name: self.name,
            title: file.title,
            docs: file.docs,
            signs: self.text.lines().next().unwrap_or_default().trim_start_matches("# ").to_owned(),
            family: joined(schemes.iter().map(|scheme| family(scheme))),
            assurance: joined(schemes.iter().map(|scheme| text_of(scheme, "assurance"))),
            handshakes: file.handshake.iter().map(handshake).collect(),
            batch: identify("split").or(listed),
            window: identify("window").unwrap_or_else(|| DEFAULT_WINDOW.to_owned()),
            ack_deadline: text("ack_deadline"),
            parameters: file.parameters,
        })
    }
}

/// The schemes of a preset: one, or those it chooses among.
pub(super) fn schemes(preset: &Table) -> Vec<&Table> {
    let Some(signature) = preset.get("signature").and_then(Value::as_table) else { return Vec::new() };
    let several = ["any_of", "all_of"].iter().find_map(|key| signature.get(*key)?.as_array());
    match several {
        Some(schemes) => schemes.iter().filter_map(Value::as_table).collect(),
        None => vec![signature],
    }
}

fn joined<'t>(texts: impl Iterator<Item = &'t str>) -> String {
    let mut once: Vec<&str> = Vec::new();
    for text in texts {
        if !once.contains(&text) {
            once.push(text);
        }
    }
    once.join(" or ")
}

pub(super) fn text_of<'t>(table: &'t Table, key: &str) -> &'t str {
    table.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn handshake(table: &Table) -> String {
    let signed = table.get("signed").and_then(Value::as_bool).unwrap_or_default();
    format!("{}{}", text_of(table, "method"), if signed { " (signed)" } else { "" })
}

/// The kind of a scheme: what it is that a platform engineer has to understand about it.
fn family(scheme: &Table) -> &'static str {
    let remote = scheme.contains_key("keys");
    match text_of(scheme, "algorithm") {
        "token" | "basic" => "static credential",
        "jwt" => jwt(scheme),
        "http-message-signatures" => "HTTP Message Signatures",
        "md5" | "sha256" | "keccak256" => "keyed hash",
        algorithm if algorithm.starts_with("hmac-") => hmac(scheme),
        _ if remote => "remote key",
        _ => "public key",
    }
}

fn jwt(scheme: &Table) -> &'static str {
    let jwt = scheme.get("jwt").and_then(Value::as_table);
    let detached = jwt.and_then(|jwt| jwt.get("detached")).and_then(Value::as_bool).unwrap_or_default();
    let at = scheme.get("value").and_then(Value::as_table).map(|value| text_of(value, "path"));
    match (detached, at, text_of(scheme, "assurance")) {
        (true, _, _) => "detached JWS",
        (_, Some("body"), _) => "JWT as body",
        (_, _, "origin") => "JWT, origin only",
        _ => "JWT over the body",
    }
}

fn hmac(scheme: &Table) -> &'static str {
    const OF_THE_REQUEST: [&str; 6] =
        ["{url}", "{method}", "{path}", "{signed_headers}", "{plivo_v3}", "{query."];
    let message = text_of(scheme, "message");
    let place = |key: &str| scheme.get(key).and_then(Value::as_table);
    let (value, stamp) = (place("value"), place("timestamp"));
    let path = |place: Option<&Table>| place.map(|place| text_of(place, "path").to_owned());
    let in_payload = path(value).is_some_and(|path| path.starts_with("body.") || path.starts_with("item."));
    match stamp {
        _ if in_payload => "in the payload",
        _ if OF_THE_REQUEST.iter().any(|part| message.contains(part)) => "request context",
        Some(_) if message.starts_with("{header.") => "id, time and body",
        Some(_) if path(stamp) == path(value) => "time in the signature header",
        Some(_) => "time and body",
        None => "raw body",
    }
}
