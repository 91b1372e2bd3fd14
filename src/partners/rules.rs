//! Room `partners`: the small languages of partner files: paths, values, times and splits. May not know keys.

use std::fmt;

use vrl::path::{OwnedValuePath, parse_value_path};

use super::{
    desk::{Split, TimeRule, TimeUnit, ValueRule},
    reading::{Entry, Table},
};
use crate::model::{CREDENTIAL_PARTS, Diagnostic, FieldPath, Root, is_credential_header};

const VALUE_HELP: &str = "write \"body.id\", { join = [paths], by = \":\" }, { first_of = [paths] }, { digest = [paths] } or { name_of = [paths] }";
const SPLIT_HELP: &str =
    "write the path of an array with `[]` after it, as \"body.items[]\" or \"body.items[].Item\"";

/// What goes between joined parts when `by` is not there.
const DEFAULT_JOINT: &str = ":";

/// A path: `"body.id"`.
pub(super) fn path(entry: &Entry<'_>, problems: &mut Vec<Diagnostic>) -> Option<FieldPath> {
    let text = entry.text(problems)?;
    if text.contains("[]") {
        let help = "name one element, as body.items[0].id; to take a batch apart, use `split`";
        problems.push(entry.problem("bad_path", "`[]` stands only in `split`", help));
        return None;
    }
    match FieldPath::parse(text) {
        Ok(path) => Some(path),
        Err(error) => {
            let help = "start with body, header, query or item, and write fields with dots";
            problems.push(entry.problem("bad_path", error.to_string(), help));
            None
        }
    }
}

/// A path that stage 1 reads, when only what was kept is there: a credential was sealed before, and its ciphertext is
/// another one each time.
fn kept_path(entry: &Entry<'_>, problems: &mut Vec<Diagnostic>) -> Option<FieldPath> {
    let path = path(entry, problems)?;
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
    let before = problems.len();
    let paths: Vec<_> =
        entry.elements(problems).iter().filter_map(|element| kept_path(element, problems)).collect();
    if paths.is_empty() && problems.len() == before {
        problems.push(entry.problem(
            "empty",
            format!("`{}` names no path", entry.key),
            "name at least one path",
        ));
    }
    (problems.len() == before).then_some(paths)
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
    let paths = paths(way, problems)?;
    Some(match way.key {
        "join" => {
            let by = table.text("by", problems).unwrap_or(DEFAULT_JOINT);
            ValueRule::Join(paths, by.to_owned())
        }
        "first_of" => ValueRule::FirstOf(paths),
        "name_of" => ValueRule::NameOf(paths),
        _ => ValueRule::Digest(paths),
    })
}

/// A time: `{ path = "body.created", as = "unix_s" }`.
pub(super) fn time(entry: &Entry<'_>, problems: &mut Vec<Diagnostic>) -> Option<TimeRule> {
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

/// Where a batch is taken apart: `"body.items[].Item"`.
pub(super) fn split(entry: &Entry<'_>, problems: &mut Vec<Diagnostic>) -> Option<Split> {
    let text = entry.text(problems)?;
    let split = split_of(text);
    if split.is_none() {
        problems.push(entry.problem(
            "bad_split",
            format!("{text:?} does not say where the items are"),
            SPLIT_HELP,
        ));
    }
    split
}

/// The same from text alone; `None` when it is no split.
pub(super) fn split_of(text: &str) -> Option<Split> {
    let (array, element) = text.split_once("[]")?;
    let array = FieldPath::parse(array).ok().filter(|array| array.root() == Root::Body)?;
    let element = match element {
        "" => OwnedValuePath::root(),
        element => {
            let path = element.strip_prefix('.').filter(|path| !path.contains("[]"))?;
            parse_value_path(path).ok().filter(|path| !path.is_root())?
        }
    };
    Some(Split { array, element })
}

/// The paths a value is made of.
pub(super) fn paths_of(rule: &ValueRule) -> &[FieldPath] {
    match rule {
        ValueRule::Path(path) => std::slice::from_ref(path),
        ValueRule::Join(paths, _)
        | ValueRule::FirstOf(paths)
        | ValueRule::Digest(paths)
        | ValueRule::NameOf(paths) => paths,
    }
}

/// As it is written, so that what is shown can be copied into a file.
impl fmt::Display for ValueRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.fmt(f),
            Self::Join(paths, by) => write!(f, "{{ join = {}, by = {by:?} }}", listed(paths)),
            Self::FirstOf(paths) => write!(f, "{{ first_of = {} }}", listed(paths)),
            Self::Digest(paths) => write!(f, "{{ digest = {} }}", listed(paths)),
            Self::NameOf(paths) => write!(f, "{{ name_of = {} }}", listed(paths)),
        }
    }
}

fn listed(paths: &[FieldPath]) -> String {
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

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", below(&format!("{}[]", self.array), &self.element))
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
        let both = vec![a, b];
        assert_eq!(
            value_of("x = { join = ['body.a', 'header.b'], by = '-' }"),
            ValueRule::Join(both.clone(), "-".to_owned())
        );
        assert_eq!(
            value_of("x = { join = ['body.a', 'header.b'] }"),
            ValueRule::Join(both.clone(), ":".to_owned())
        );
        assert_eq!(value_of("x = { first_of = ['body.a', 'header.b'] }"), ValueRule::FirstOf(both.clone()));
        assert_eq!(value_of("x = { name_of = ['body.a', 'header.b'] }"), ValueRule::NameOf(both.clone()));
        assert_eq!(value_of("x = { digest = ['body.a', 'header.b'] }"), ValueRule::Digest(both));
    }

    #[test]
    fn values_that_are_none_are_refused() {
        for (text, code) in [
            ("x = 'id'", "bad_path"),
            ("x = 'body.items[].id'", "bad_path"),
            ("x = 7", "bad_value"),
            ("x = {}", "bad_value"),
            ("x = { join = ['body.a'], digest = ['body.a'] }", "bad_value"),
            ("x = { first_of = ['body.a'], by = '-' }", "bad_value"),
            ("x = { join = [] }", "empty"),
            ("x = { firstof = ['body.a'] }", "unknown_key"),
        ] {
            let (_, problems) = read(text, value);
            assert_eq!(problems.first().map(|problem| problem.code), Some(code), "{text}");
        }
    }

    #[test]
    fn times_say_how_they_are_written() {
        let (rule, problems) = read("x = { path = 'body.t', as = 'unix_ms' }", time);
        assert_eq!(problems, []);
        assert_eq!(rule, Some(TimeRule { path: at("body.t"), unit: TimeUnit::UnixMs }));
        for text in ["x = 'body.t'", "x = { path = 'body.t' }", "x = { path = 'body.t', as = 'iso' }"] {
            let (rule, problems) = read(text, time);
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
        ] {
            let quoted = if text.starts_with('{') { text.to_owned() } else { format!("{text:?}") };
            let (rule, problems) = read(&format!("x = {quoted}"), value);
            assert_eq!(problems, []);
            assert_eq!(rule.expect("a rule").to_string(), text);
        }
        let text = r#"{ path = "body.t", as = "unix_ms" }"#;
        assert_eq!(read(&format!("x = {text}"), time).0.expect("a rule").to_string(), text);
        for text in ["body[]", "body.items[]", "body.items[].Item.x"] {
            assert_eq!(split_of(text).expect("a split").to_string(), text);
        }
    }

    #[test]
    fn a_split_is_an_array_and_what_stands_below() {
        let items = split_of("body.items[].Item").expect("a split");
        assert_eq!((items.array, items.element.to_string()), (at("body.items"), "Item".to_owned()));
        let whole = split_of("body[]").expect("a split");
        assert_eq!((whole.array, whole.element.is_root()), (at("body"), true));
        for bad in ["body.items", "header.x[]", "body.items[]Item", "body.a[].b[]", "[]", "body.items[]."] {
            assert_eq!(split_of(bad), None, "{bad}");
        }
    }
}
