//! Room `partners`: `[identify]`: how external events are found in a delivery and named. May not look into deliveries.

use std::time::Duration;

use toml::de::DeValue;
use vrl::path::OwnedValuePath;

use super::{
    desk::{Identify, SameBody, Split, ValueRule},
    door::SignatureCheck,
    reading::{Entry, Table, suggestion},
    rules, signing, splits,
};
use crate::{
    model::{BodyKind, BodyRules, Diagnostic, FieldPath, Root},
    signatures::Schemes,
};

/// How long an external id is remembered, where nobody says otherwise: beyond any retry horizon we know of.
const DEFAULT_WINDOW: Duration = Duration::from_hours(35 * 24);
/// A window below this is shorter than most partners go on retrying.
const SHORT_WINDOW: Duration = Duration::from_hours(24);

/// The keys that say how an event is named: those with paths but for `split`.
pub(super) const NAMING: [&str; 6] =
    ["external_id", "event_type", "occurred_at", "ordering_key", "version", "identity"];

const KEYS: [&str; 12] = [
    "form_json",
    "text",
    "split",
    "external_id",
    "event_type",
    "occurred_at",
    "ordering_key",
    "version",
    "identity",
    "volatile",
    "window",
    "same_body",
];
const SAME_BODY: [&str; 2] = ["flag", "duplicate"];

/// What reading finds wrong.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// What gives no desk.
    pub(super) problems: Vec<Diagnostic>,
    /// What gives no door either: what is verified would not be what is translated.
    pub(super) unsafe_door: Vec<Diagnostic>,
    /// What a person should look at.
    pub(super) warnings: Vec<Diagnostic>,
}

/// Reads `[identify]`, the preset's and the partner's keys already below it; `check` is how the endpoint verifies.
pub(super) fn read(table: &Table<'_>, check: &SignatureCheck, found: &mut Findings) -> Option<Identify> {
    let before = found.problems.len();
    table.only(&KEYS, &mut found.problems);
    let split = entry(table, "split", splits::split, &mut found.problems);
    item_needs_split(table, split.as_ref(), &mut found.problems);
    if split.is_some() || !table.has("split") {
        splits::refuse_others(
            table,
            &NAMING,
            &split.as_slice().iter().collect::<Vec<_>>(),
            &mut found.problems,
        );
    }
    if let SignatureCheck::Scheme(scheme) = check {
        found.unsafe_door.extend(what_is_signed_is_split(table, split.as_ref(), scheme));
        found.unsafe_door.extend(what_is_signed_is_no_form(table, scheme));
    }
    let window = window(table, found);
    let identify = values(table, split, window, &mut found.problems)?;
    let id_is_covered =
        identify.external_id.as_ref().is_some_and(|id| signing::covers(check, &rules::paths_of(id)));
    let sound = found.problems.len() == before && found.unsafe_door.is_empty();
    let token = matches!(check, SignatureCheck::Scheme(scheme) if scheme.body_is_token());
    let body = BodyRules { token, ..identify.body.clone() };
    sound.then_some(Identify { body, id_is_covered, ..identify })
}

fn values(
    table: &Table<'_>,
    split: Option<Split>,
    window: Duration,
    problems: &mut Vec<Diagnostic>,
) -> Option<Identify> {
    let volatile = volatile(table, split.is_some(), problems);
    let identity = entry(table, "identity", rules::paths, problems).unwrap_or_default();
    let event_type = event_type(table, problems);
    Some(Identify {
        body: BodyRules {
            form_json: table.text("form_json", problems).map(str::to_owned),
            text: table.text("text", problems).map(str::to_owned),
            token: false,
        },
        external_id: entry(table, "external_id", rules::value, problems),
        ordering_key: entry(table, "ordering_key", rules::value, problems),
        occurred_at: entry(table, "occurred_at", rules::times, problems).unwrap_or_default(),
        version: entry(table, "version", rules::value, problems),
        same_body: same_body(table, problems),
        event_type: event_type?,
        split,
        identity,
        volatile,
        window,
        id_is_covered: false,
    })
}

fn entry<T>(
    table: &Table<'_>,
    key: &str,
    rule: impl Fn(&Entry<'_>, &mut Vec<Diagnostic>) -> Option<T>,
    problems: &mut Vec<Diagnostic>,
) -> Option<T> {
    rule(&table.get(key)?, problems)
}

fn event_type(table: &Table<'_>, problems: &mut Vec<Diagnostic>) -> Option<ValueRule> {
    if !table.has("event_type") {
        let message = "nothing says where the event's type stands";
        problems.push(table.problem(
            "missing_event_type",
            message,
            "add `event_type = \"body.type\"` to [identify]",
        ));
    }
    entry(table, "event_type", rules::value, problems)
}

/// `item` means the element of a split; without one it is most likely a mistake for `body`.
fn item_needs_split(table: &Table<'_>, split: Option<&Split>, problems: &mut Vec<Diagnostic>) {
    if split.is_some() || table.has("split") {
        return;
    }
    let holds_paths = |entry: &&Entry<'_>| !["form_json", "text", "window", "same_body"].contains(&entry.key);
    for entry in table.iter().filter(holds_paths).filter(|entry| names_item(entry.value)) {
        let message = format!("`{}` starts with item, and nothing is split", entry.key);
        problems.push(entry.problem("item_without_split", message, "start with body, or add `split`"));
    }
}

fn names_item(value: &DeValue<'_>) -> bool {
    match value {
        DeValue::String(text) => FieldPath::parse(text).is_ok_and(|path| path.root() == Root::Item),
        DeValue::Array(elements) => elements.iter().any(|element| names_item(element.get_ref())),
        DeValue::Table(table) => table.values().any(|value| names_item(value.get_ref())),
        _ => false,
    }
}

/// What was verified is what is translated: a scheme that signs items must be split into just these.
fn what_is_signed_is_split(table: &Table<'_>, split: Option<&Split>, scheme: &Schemes) -> Option<Diagnostic> {
    let signed = scheme.signed_items()?;
    if split.is_some() && split == splits::split_of(&[signed]).as_ref() {
        return None;
    }
    let at = table.get("split").map_or_else(|| table.at, |entry| entry.at);
    let source = table.get("split").map_or(table.source, |entry| entry.source);
    let message = "the items that are split are not the items that are signed";
    Some(source.problem("split_not_signed", at, message, format!("write `split = {signed:?}`")))
}

/// The same for a scheme that signs fields of the body's JSON: forms are refused at the door. One that says it reads a form
/// looks into the same field of it. A text has no fields that could be signed.
fn what_is_signed_is_no_form(table: &Table<'_>, schemes: &Schemes) -> Option<Diagnostic> {
    let looks_into = [BodyKind::Json, BodyKind::Form, BodyKind::Multipart];
    if let Some(entry) = table.get("text")
        && looks_into.iter().any(|kind| schemes.reads_body_as(*kind))
    {
        let message = "fields of the body are signed, and a text has none";
        return Some(entry.problem("text_not_signed", message, "remove `text`"));
    }
    let entry = table.get("form_json").filter(|_| schemes.reads_body_as(BodyKind::Json))?;
    let message = "fields are signed in the body's JSON, and a form could show others";
    let help =
        "remove `form_json`; or write `body = \"form\"` in [signature], where the signature looks into forms";
    Some(entry.problem("form_not_signed", message, help))
}

fn window(table: &Table<'_>, found: &mut Findings) -> Duration {
    let Some(entry) = table.get("window") else { return DEFAULT_WINDOW };
    let Some(window) = entry.duration(&mut found.problems) else { return DEFAULT_WINDOW };
    if window < SHORT_WINDOW {
        let message = "a window below a day: a later retry would be taken for a new event";
        let help = "write at least the partner's retry horizon; \"35d\" is the default";
        found.warnings.push(entry.problem("short_window", message, help));
    }
    window
}

fn volatile(table: &Table<'_>, split: bool, problems: &mut Vec<Diagnostic>) -> Vec<OwnedValuePath> {
    let Some(entry) = table.get("volatile") else { return Vec::new() };
    let root = if split { Root::Item } else { Root::Body };
    let elements = entry.elements(problems);
    let below_item = |element: &Entry<'_>| {
        let path = rules::path(element, problems)?;
        if path.root() == root || path.root() == Root::Item {
            return Some(path.value_path().clone());
        }
        let start = if split { "item" } else { "body" };
        let message = "a volatile path must stand in the event itself";
        problems.push(element.problem("volatile_outside", message, format!("start it with {start}")));
        None
    };
    elements.iter().filter_map(below_item).collect()
}

fn same_body(table: &Table<'_>, problems: &mut Vec<Diagnostic>) -> SameBody {
    let text = table.text("same_body", problems);
    match (text, table.get("same_body")) {
        (Some("duplicate"), _) => SameBody::Duplicate,
        (Some(text), Some(entry)) if text != "flag" => {
            let help = suggestion(text, SAME_BODY);
            problems.push(entry.problem("bad_value", "`same_body` is flag or duplicate", help));
            SameBody::Flag
        }
        _ => SameBody::Flag,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::reading::{Source, parse},
        *,
    };

    fn read_text(text: &str) -> (Option<Identify>, Findings) {
        let source = Source { file: "partner.toml", text };
        let (table, problems) = parse(source);
        let mut found = Findings { problems, ..Findings::default() };
        let identify = read(&Table::of(source, 0, table.get_ref()), &SignatureCheck::Unsigned, &mut found);
        (identify, found)
    }

    #[test]
    fn reads_every_key() {
        let (identify, found) = read_text(
            "form_json = 'payload'\nsplit = 'body.items[]'\nexternal_id = 'item.id'\nevent_type = 'item.type'\n\
             occurred_at = { path = 'item.at', as = 'rfc3339' }\nordering_key = 'item.order'\nversion = 'body.v'\n\
             identity = ['item.a', 'item.b']\nvolatile = ['item.retries']\nwindow = '3d'\nsame_body = 'duplicate'\n",
        );
        assert!(found.problems.is_empty() && found.warnings.is_empty(), "{found:?}");
        let identify = identify.expect("readable");
        assert_eq!(identify.window, Duration::from_hours(72));
        assert_eq!(identify.volatile[0].to_string(), "retries");
        assert_eq!(identify.identity.len(), 2);
        assert_eq!(identify.same_body, SameBody::Duplicate);
        assert!(!identify.id_is_covered, "nothing is signed here");
    }

    #[test]
    fn only_the_type_must_be_there() {
        let (identify, _) = read_text("event_type = 'body.type'");
        let identify = identify.expect("readable");
        assert_eq!((identify.window, identify.same_body), (DEFAULT_WINDOW, SameBody::Flag));
        assert!(identify.external_id.is_none() && identify.split.is_none());
    }

    #[test]
    fn mistakes_have_names() {
        for (text, code) in [
            ("external_id = 'body.id'", "missing_event_type"),
            ("event_type = 'item.type'", "item_without_split"),
            ("event_type = 'body.type'\nsplit = 'body.items'", "bad_split"),
            ("event_type = 'body.a[].type'", "not_split"),
            ("event_type = 'body.b[].type'\nsplit = 'body.a[].b[]'", "not_split"),
            ("event_type = 'body.type'\nsplit = 'body.a[]'\nidentity = ['body.a[].x[].y']", "not_split"),
            ("event_type = 'body.type'\nsplit = 'body.a[]'\nvolatile = ['body.a[].x']", "bad_path"),
            ("event_type = 'body.type'\nvolatile = ['header.x']", "volatile_outside"),
            ("event_type = 'item.type'\nsplit = 'body.a[]'\nvolatile = ['body.x']", "volatile_outside"),
            ("event_type = 'body.type'\nsame_body = 'ignore'", "bad_value"),
            ("event_type = 'body.type'\nwindow = 'long'", "duration"),
            ("event_type = 'body.type'\nexternalid = 'body.id'", "unknown_key"),
        ] {
            let (identify, found) = read_text(text);
            assert!(identify.is_none(), "{text}");
            assert_eq!(found.problems[0].code, code, "{text}");
        }
    }

    #[test]
    fn what_is_signed_in_a_form_is_read_from_it() {
        let with = |body: &str| {
            let scheme = format!(
                "algorithm = 'hmac-sha256'\nsecret = {{ as = 'text' }}\nvalue = {{ path = 'body.event.hash', as = 'hex' }}\n\
                 message = '{{body.event.type}}'\nassurance = 'partial'\n{body}"
            );
            let check = SignatureCheck::Scheme(Schemes::parse(&scheme).expect("a scheme").into());
            let source =
                Source { file: "partner.toml", text: "form_json = 'json'\nevent_type = 'body.type'" };
            let (table, _) = parse(source);
            let mut found = Findings::default();
            let identify = read(&Table::of(source, 0, table.get_ref()), &check, &mut found);
            (identify.is_some(), found.unsafe_door.first().map(|problem| problem.code))
        };
        assert_eq!(with(""), (false, Some("form_not_signed")));
        assert_eq!(with("body = 'form'"), (true, None));
        assert_eq!(with("body = 'multipart'"), (true, None));
    }

    #[test]
    fn a_short_window_is_a_warning() {
        let (identify, found) = read_text("event_type = 'body.type'\nwindow = '2h'");
        assert!(identify.is_some());
        assert_eq!((found.warnings[0].code, found.warnings[0].line), ("short_window", 2));
    }
}
