//! Room `partners`: the small languages of partner files: paths, values and times. May not know keys.

use std::fmt;

use vrl::path::OwnedValuePath;

use super::{
    desk::{TimeRule, TimeUnit, ValueRule},
    reading::{Entry, Table},
};
use crate::model::{CREDENTIAL_PARTS, Diagnostic, FieldPath, PathError, Root, is_credential_header};

const VALUE_HELP: &str = "write \"body.id\", { join = [values], by = \":\" }, { first_of = [values] }, { digest = [paths] } or { name_of = [paths] }";

/// What goes between joined parts when `by` is not there.
const DEFAULT_JOINT: &str = ":";

/// A path: `"body.id"`.
pub(super) fn path(entry: &Entry<'_>, problems: &mut Vec<Diagnostic>) -> Option<FieldPath> {
    let text = entry.text(problems)?;
    if text.contains("[]") {
        let help = "name one element, as body.items[0].id; to take a batch apart, use `split`";
        problems.push(entry.problem(
            "bad_path",
            "`[]` stands only in `split` and what names its items",
            help,
        ));
        return None;
    }
    path_of(entry, FieldPath::parse(text), problems)
}

fn path_of(
    entry: &Entry<'_>,
    path: Result<FieldPath, PathError>,
    problems: &mut Vec<Diagnostic>,
) -> Option<FieldPath> {
    match path {
        Ok(path) => Some(path),
        Err(error) => {
            let help = "start with body, header, query or item, and write fields with dots";
            problems.push(entry.problem("bad_path", error.to_string(), help));
            None
        }
    }
}

/// A path that stage 1 reads, when only what was kept is there: a credential was sealed before, and its ciphertext is
/// another one each time. It may go through the lists of a split.
fn kept_path(entry: &Entry<'_>, problems: &mut Vec<Diagnostic>) -> Option<FieldPath> {
    let text = entry.text(problems)?;
    let path = path_of(entry, FieldPath::parse_in_batch(text), problems)?;
    if path.root() != Root::Header || !is_credential_header(path.name()) {
        return Some(path);
    }
    let message = format!(
        "`{path}` counts as a credential and is sealed before the delivery is kept: it would differ with every retry"
    );
    let help = format!(
        "take another header or a field of the body; sealed are headers with one of these in their name: {}; and x-auth",
        CREDENTIAL_PARTS.join(", ")
    );
    problems.push(entry.problem("sealed_header", message, help));
    None
}

/// An array of paths, with at least one.
pub(super) fn paths(entry: &Entry<'_>, problems: &mut Vec<Diagnostic>) -> Option<Vec<FieldPath>> {
    each(entry, kept_path, problems)
}

/// An array of what `rule` reads, with at least one.
fn each<T>(
    entry: &Entry<'_>,
    rule: impl Fn(&Entry<'_>, &mut Vec<Diagnostic>) -> Option<T>,
    problems: &mut Vec<Diagnostic>,
) -> Option<Vec<T>> {
    let before = problems.len();
    let read: Vec<_> =
        entry.elements(problems).iter().filter_map(|element| rule(element, problems)).collect();
    if read.is_empty() && problems.len() == before {
        let message = format!("`{}` names no path", entry.key);
        problems.push(entry.problem("empty", message, "name at least one path"));
    }
    (problems.len() == before).then_some(read)
}

/// A value: a path, or one way to make a value of several.
pub(super) fn value(entry: &Entry<'_>, problems: &mut Vec<Diagnostic>) -> Option<ValueRule> {
    if entry.value.is_str() {
        return kept_path(entry, problems).map(ValueRule::Path);
    }
    let table = entry.value.is_table().then(|| entry.table(problems)).flatten();
    let Some(table) = table else {
        problems.push(entry.problem("bad_value", format!("`{}` is no value", entry.key), VALUE_HELP));
        return None;
    };
    table.only(&["join", "by", "first_of", "digest", "name_of"], problems);
    let ways: Vec<_> =
        ["join", "first_of", "digest", "name_of"].iter().filter_map(|way| table.get(way)).collect();
    let [way] = ways.as_slice() else {
        let message = format!("`{}` must have one of join, first_of, digest and name_of", entry.key);
        problems.push(entry.problem("bad_value", message, VALUE_HELP));
        return None;
    };
    value_of(way, &table, problems)
}

fn value_of(way: &Entry<'_>, table: &Table<'_>, problems: &mut Vec<Diagnostic>) -> Option<ValueRule> {
    if let Some(by) = table.get("by").filter(|_| way.key != "join") {
        problems.push(by.problem("bad_value", "`by` goes with `join` only", "remove it"));
    }
    Some(match way.key {
        "join" => {
            let by = table.text("by", problems).unwrap_or(DEFAULT_JOINT);
            ValueRule::Join(each(way, value, problems)?, by.to_owned())
        }
        "first_of" => ValueRule::FirstOf(each(way, value, problems)?),
        "name_of" => ValueRule::NameOf(paths(way, problems)?),
        _ => ValueRule::Digest(paths(way, problems)?),
    })
}

/// A time, or a list of them: the first that tells one counts.
pub(super) fn times(entry: &Entry<'_>, problems: &mut Vec<Diagnostic>) -> Option<Vec<TimeRule>> {
    if entry.value.is_array() { each(entry, time, problems) } else { Some(vec![time(entry, problems)?]) }
}

/// A time: `{ path = "body.created", as = "unix_s" }`.
fn time(entry: &Entry<'_>, problems: &mut Vec<Diagnostic>) -> Option<TimeRule> {
    const HELP: &str = "write { path = \"body.created\", as = \"unix_s\" }; as is unix_s, unix_ms or rfc3339";
    if !entry.value.is_table() {
        problems.push(entry.problem(
            "bad_time",
            format!("`{}` does not say how it is written", entry.key),
            HELP,
        ));
        return None;
    }
    let table = entry.table(problems)?;
    table.only(&["path", "as"], problems);
    if !table.has("path") {
        problems.push(table.missing("path"));
    }
    let path = table.get("path").and_then(|entry| kept_path(&entry, problems));
    let unit = table.required("as", problems).and_then(|text| {
        let unit = unit(text);
        if unit.is_none() {
            problems.push(table.problem("bad_time", "`as` names no way to write a time", HELP));
        }
        unit
    });
    Some(TimeRule { path: path?, unit: unit? })
}

fn unit(text: &str) -> Option<TimeUnit> {
    match text {
        "unix_s" => Some(TimeUnit::UnixS),
        "unix_ms" => Some(TimeUnit::UnixMs),
        "rfc3339" => Some(TimeUnit::Rfc3339),
        _ => None,
    }
}

/// The paths a value is made of.
pub(super) fn paths_of(rule: &ValueRule) -> Vec<&FieldPath> {
    match rule {
        ValueRule::Path(path) => vec![path],
        ValueRule::Join(values, _) | ValueRule::FirstOf(values) => values.iter().flat_map(paths_of).collect(),
        ValueRule::Digest(paths) | ValueRule::NameOf(paths) => paths.iter().collect(),
    }
}

/// As it is written, so that what is shown can be copied into a file.
impl fmt::Display for ValueRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.fmt(f),
            Self::Join(values, by) => write!(f, "{{ join = {}, by = {by:?} }}", all(values)),
            Self::FirstOf(values) => write!(f, "{{ first_of = {} }}", all(values)),
            Self::Digest(paths) => write!(f, "{{ digest = {} }}", listed(paths)),
            Self::NameOf(paths) => write!(f, "{{ name_of = {} }}", listed(paths)),
        }
    }
}

/// Values as the array that they are written in.
fn all(values: &[ValueRule]) -> String {
    let written = values.iter().map(|value| match value {
        ValueRule::Path(path) => format!("{:?}", path.to_string()),
        other => other.to_string(),
    });
    format!("[{}]", written.collect::<Vec<_>>().join(", "))
}

/// Paths as the array that they are written in.
pub(super) fn listed(paths: &[FieldPath]) -> String {
    let quoted: Vec<_> = paths.iter().map(|path| format!("{:?}", path.to_string())).collect();
    format!("[{}]", quoted.join(", "))
}

impl fmt::Display for TimeRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            TimeUnit::UnixS => "unix_s",
            TimeUnit::UnixMs => "unix_ms",
            TimeUnit::Rfc3339 => "rfc3339",
        };
        write!(f, "{{ path = {:?}, as = {unit:?} }}", self.path.to_string())
    }
}

/// Times as they are written: one alone, several as an array.
pub(super) fn times_text(times: &[TimeRule]) -> Option<String> {
    match times {
        [] => None,
        [time] => Some(time.to_string()),
        times => {
            let written: Vec<_> = times.iter().map(ToString::to_string).collect();
            Some(format!("[{}]", written.join(", ")))
        }
    }
}

/// A path below a root, as text: `item` and `.retries` are `item.retries`.
pub(super) fn below(root: &str, path: &OwnedValuePath) -> String {
    let path = path.to_string();
    let joint = if path.is_empty() || path.starts_with('[') { "" } else { "." };
    format!("{root}{joint}{path}")
}

#[cfg(test)]
mod tests {
    use super::{
        super::reading::{Source, parse},
        *,
    };

    fn read<T>(
        text: &str,
        rule: impl Fn(&Entry<'_>, &mut Vec<Diagnostic>) -> Option<T>,
    ) -> (Option<T>, Vec<Diagnostic>) {
        let source = Source { file: "partner.toml", text };
        let (table, mut problems) = parse(source);
        let entry = Table::of(source, 0, table.get_ref()).get("x").expect("x is there");
        let found = rule(&entry, &mut problems);
        (found, problems)
    }

    fn at(text: &str) -> FieldPath {
        FieldPath::parse(text).expect("a path")
    }

    #[test]
    fn values_are_written_in_four_ways() {
        let value_of = |text: &str| {
            let (rule, problems) = read(text, value);
            assert_eq!(problems, []);
            rule.expect("a rule")
        };
        let (a, b) = (at("body.a"), at("header.b"));
        assert_eq!(value_of("x = 'body.a'"), ValueRule::Path(a.clone()));
        let both = vec![ValueRule::Path(a.clone()), ValueRule::Path(b.clone())];
        let paths = vec![a, b];
        assert_eq!(
            value_of("x = { join = ['body.a', 'header.b'], by = '-' }"),
            ValueRule::Join(both.clone(), "-".to_owned())
        );
        assert_eq!(
            value_of("x = { join = ['body.a', 'header.b'] }"),
            ValueRule::Join(both.clone(), ":".to_owned())
        );
        assert_eq!(value_of("x = { first_of = ['body.a', 'header.b'] }"), ValueRule::FirstOf(both.clone()));
        assert_eq!(value_of("x = { name_of = ['body.a', 'header.b'] }"), ValueRule::NameOf(paths.clone()));
        assert_eq!(value_of("x = { digest = ['body.a', 'header.b'] }"), ValueRule::Digest(paths));
        let nested = value_of("x = { first_of = [{ join = ['body.a', 'header.b'] }, 'body.a[].b'] }");
        let inner = FieldPath::parse_in_batch("body.a[].b").expect("a path");
        assert_eq!(
            nested,
            ValueRule::FirstOf(vec![ValueRule::Join(both, ":".to_owned()), ValueRule::Path(inner)])
        );
    }

    #[test]
    fn values_that_are_none_are_refused() {
        for (text, code) in [
            ("x = 'id'", "bad_path"),
            ("x = 'item.items[].id'", "bad_path"),
            ("x = 7", "bad_value"),
            ("x = {}", "bad_value"),
            ("x = { join = ['body.a'], digest = ['body.a'] }", "bad_value"),
            ("x = { first_of = ['body.a'], by = '-' }", "bad_value"),
            ("x = { join = [] }", "empty"),
            ("x = { firstof = ['body.a'] }", "unknown_key"),
            ("x = { first_of = [{ join = [] }] }", "empty"),
            ("x = { digest = [{ join = ['body.a'] }] }", "wrong_type"),
        ] {
            let (_, problems) = read(text, value);
            assert_eq!(problems.first().map(|problem| problem.code), Some(code), "{text}");
        }
    }

    #[test]
    fn times_say_how_they_are_written() {
        let (rule, problems) = read("x = { path = 'body.t', as = 'unix_ms' }", times);
        assert_eq!(problems, []);
        let told = TimeRule { path: at("body.t"), unit: TimeUnit::UnixMs };
        assert_eq!(rule, Some(vec![told.clone()]));
        let two = "x = [{ path = 'body.t', as = 'unix_ms' }, { path = 'body.u', as = 'rfc3339' }]";
        let other = TimeRule { path: at("body.u"), unit: TimeUnit::Rfc3339 };
        assert_eq!(read(two, times), (Some(vec![told, other]), vec![]));
        for text in ["x = 'body.t'", "x = { path = 'body.t' }", "x = { path = 'body.t', as = 'iso' }"] {
            let (rule, problems) = read(text, times);
            assert_eq!((rule, problems.len()), (None, 1), "{text}");
        }
    }

    #[test]
    fn what_was_read_is_written_as_it_was() {
        for text in [
            "body.a",
            "header.X-Id",
            r#"{ join = ["item.a", "body.\"a-b\"", "item.c"], by = ":" }"#,
            r#"{ first_of = ["body.a", "body.b[0]"] }"#,
            r#"{ name_of = ["body.a", "body.b"] }"#,
            r#"{ digest = ["body"] }"#,
            r#"{ first_of = ["body.a[].b", { join = ["item.a", "item.b"], by = "-" }] }"#,
        ] {
            let quoted = if text.starts_with('{') { text.to_owned() } else { format!("{text:?}") };
            let (rule, problems) = read(&format!("x = {quoted}"), value);
            assert_eq!(problems, []);
            assert_eq!(rule.expect("a rule").to_string(), text);
        }
        let text = r#"{ path = "body.t", as = "unix_ms" }"#;
        assert_eq!(read(&format!("x = {text}"), time).0.expect("a rule").to_string(), text);
    }
}
