//! Room `partners`: how an endpoint's requests are verified: by a preset, by the grammar spelled out, or not at all.
//! May not know the grammar: a `[signature]` table goes to `signatures` as text, and comes back as a scheme.

use std::{fmt::Write, sync::Arc, time::Duration};

use toml::de::DeValue;

use super::{
    door::SignatureCheck,
    endpoint_file::FindPreset,
    reading::{Entry, Table, suggestion},
};
use crate::{
    model::{Diagnostic, FieldPath, Root},
    signatures::{Scheme, SchemeError, presets},
};

/// Longest tolerance that makes sense: beyond a day an old request can be played again by anyone who kept it.
const MAX_TOLERANCE: Duration = Duration::from_hours(24);

/// The keys that say by themselves how requests are verified: an endpoint that has one starts afresh.
const WAYS: [&str; 2] = ["preset", "unsigned"];

/// The `[signature]` that counts for an endpoint: its own over the partner's, key by key; one that names a preset or says
/// `unsigned` stands alone, but for the partner's tolerance.
pub(super) fn table_for<'a>(own: Option<Table<'a>>, partner: Option<&Table<'a>>) -> Option<Table<'a>> {
    let Some(own) = own else { return partner.cloned() };
    let Some(partner) = partner else { return Some(own) };
    if own.has("unsigned") {
        return Some(own);
    }
    if !own.has("preset") {
        return Some(own.over(partner));
    }
    let kept: Vec<_> = partner.iter().map(|entry| entry.key).filter(|key| *key != "tolerance").collect();
    Some(own.over(&partner.clone().without(&kept)))
}

/// The preset that a `[signature]` names, if it names one that `find` knows.
pub(super) fn preset_of<'t, 'p>(
    table: &Table<'t>,
    find: FindPreset<'p>,
    problems: &mut Vec<Diagnostic>,
) -> Option<(&'t str, &'p str)> {
    let entry = table.get("preset")?;
    let name = entry.text(problems)?;
    let text = find(name);
    if text.is_none() {
        let help = suggestion(name, presets::all().iter().map(|preset| preset.name));
        problems.push(entry.problem("unknown_preset", format!("there is no preset {name:?}"), help));
    }
    Some((name, text?))
}

/// What a `[signature]` says; `preset` is the signature table of the preset it names.
pub(super) fn check(
    table: &Table<'_>,
    preset: Option<&Table<'_>>,
    problems: &mut Vec<Diagnostic>,
) -> Option<SignatureCheck> {
    let before = problems.len();
    tolerance(table, problems);
    if table.truth("unsigned", problems) {
        refuse_others(table, &["unsigned"], problems);
        return (problems.len() == before).then_some(SignatureCheck::Unsigned);
    }
    let grammar = match preset {
        Some(preset) => {
            refuse_others(table, &["preset", "tolerance", "unsigned"], problems);
            table.clone().without(&WAYS).over(preset)
        }
        None => table.clone().without(&WAYS),
    };
    if problems.len() > before {
        return None;
    }
    scheme(&grammar, problems).map(|scheme| SignatureCheck::Scheme(Arc::new(scheme)))
}

fn refuse_others(table: &Table<'_>, allowed: &[&str], problems: &mut Vec<Diagnostic>) {
    for entry in table.iter().filter(|entry| !allowed.contains(&entry.key)) {
        let way = if allowed.len() == 1 { "unsigned = true" } else { "a preset" };
        let message = format!("`{}` does not go with {way}", entry.key);
        let help = format!("remove it, or spell the whole grammar out instead of {way}");
        problems.push(entry.source.problem("mixed_signature", entry.key_at, message, help));
    }
}

fn tolerance(table: &Table<'_>, problems: &mut Vec<Diagnostic>) {
    let Some(entry) = table.get("tolerance") else { return };
    let Some(tolerance) = entry.duration(problems) else { return };
    if tolerance > MAX_TOLERANCE {
        let message = "a tolerance above a day lets anyone who kept a request send it again";
        problems.push(entry.problem(
            "tolerance",
            message,
            "write at most \"24h\"; senders need about \"5m\"",
        ));
    }
}

fn scheme(grammar: &Table<'_>, problems: &mut Vec<Diagnostic>) -> Option<Scheme> {
    let (text, starts) = render(grammar);
    match Scheme::parse(&text) {
        Ok(scheme) => Some(scheme),
        Err(error) => {
            problems.push(located(error, grammar, &starts));
            None
        }
    }
}

/// The table as TOML text, one key after another, and where each begins in it.
fn render<'t, 'a>(table: &'t Table<'a>) -> (String, Vec<(usize, &'t Entry<'a>)>) {
    let mut text = String::new();
    let mut starts = Vec::new();
    for entry in table.iter() {
        starts.push((text.len(), entry));
        let key = toml::Value::String(entry.key.to_owned());
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{key} = {}", owned(entry.value));
    }
    (text, starts)
}

/// A value of a parsed file, by itself.
pub(super) fn owned(value: &DeValue<'_>) -> toml::Value {
    match value {
        DeValue::String(text) => toml::Value::String(text.clone().into_owned()),
        DeValue::Boolean(truth) => toml::Value::Boolean(*truth),
        DeValue::Datetime(time) => toml::Value::Datetime(*time),
        DeValue::Array(elements) => {
            toml::Value::Array(elements.iter().map(|element| owned(element.get_ref())).collect())
        }
        DeValue::Table(table) => {
            let pairs = table.iter();
            toml::Value::Table(
                pairs.map(|(key, value)| (key.get_ref().to_string(), owned(value.get_ref()))).collect(),
            )
        }
        // A number too large for TOML stays text, and is refused as such by whoever reads it.
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| toml::Value::String(number.as_str().to_owned()), toml::Value::Integer),
        DeValue::Float(number) => number
            .as_str()
            .parse()
            .map_or_else(|_| toml::Value::String(number.as_str().to_owned()), toml::Value::Float),
    }
}

/// The scheme's mistake at the key it stands in.
fn located(error: SchemeError, grammar: &Table<'_>, starts: &[(usize, &Entry<'_>)]) -> Diagnostic {
    let offset = error.span.map(|span| span.start);
    let entry = offset.and_then(|offset| starts.iter().rev().find(|(start, _)| *start <= offset));
    match entry {
        Some((_, entry)) => entry.source.problem(error.code, entry.key_at, error.message, error.help),
        None => grammar.problem(error.code, error.message, error.help),
    }
}

/// Whether the signature covers every one of these paths.
pub(super) fn covers(check: &SignatureCheck, paths: &[FieldPath]) -> bool {
    let SignatureCheck::Scheme(scheme) = check else { return false };
    let covered = scheme.covers();
    let whole_body = covered.iter().any(|part| part == "body");
    paths.iter().all(|path| match path.root() {
        Root::Body | Root::Item => whole_body || covered.contains(&path.to_string()),
        Root::Header => covered.contains(&format!("header.{}", path.name())),
        Root::Query => covered.contains(&path.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::reading::{Source, parse},
        *,
    };

    fn source(text: &str) -> Source<'_> {
        Source { file: "partners/acme/partner.toml", text }
    }

    #[test]
    fn an_endpoint_lays_its_keys_over_the_partners() {
        let texts =
            ["preset = 'stripe'\ntolerance = '5m'", "tolerance = '9m'", "preset = 'x'", "unsigned = true"];
        let [partner, tolerance, preset, unsigned] = texts.map(|text| parse(source(text)).0);
        let [partner, tolerance, preset, unsigned] =
            [&partner, &tolerance, &preset, &unsigned].map(|table| Table::of(source(""), 0, table.get_ref()));
        let keys = |own: Option<Table<'_>>| {
            let table = table_for(own, Some(&partner)).expect("a table");
            let mut problems = Vec::new();
            let text = |key| table.text(key, &mut Vec::new()).unwrap_or_default().to_owned();
            (text("preset"), text("tolerance"), table.truth("unsigned", &mut problems))
        };
        assert_eq!(keys(None), ("stripe".to_owned(), "5m".to_owned(), false));
        assert_eq!(keys(Some(tolerance)), ("stripe".to_owned(), "9m".to_owned(), false));
        assert_eq!(keys(Some(preset)), ("x".to_owned(), "5m".to_owned(), false));
        assert_eq!(keys(Some(unsigned)), (String::new(), String::new(), true));
    }

    #[test]
    fn a_rendered_table_reads_back() {
        let text = "a = 'x\"y'\nb = { c = [1, 2.5, true], d = 'new\\nline' }\n\"odd key\" = 0x10\n";
        let (table, problems) = parse(source(text));
        assert!(problems.is_empty());
        let table = Table::of(source(text), 0, table.get_ref());
        let (rendered, starts) = render(&table);
        let (left, right): (toml::Table, toml::Table) =
            (toml::from_str(text).expect("toml"), toml::from_str(&rendered).expect("toml"));
        assert_eq!(left, right);
        let offset = rendered.find("[1").expect("there");
        let error = SchemeError {
            code: "x",
            message: "bad".to_owned(),
            help: "fix it".to_owned(),
            span: Some(offset..offset),
        };
        assert_eq!(located(error, &table, &starts).line, 2);
    }

    #[test]
    fn mixtures_and_nonsense_are_refused_before_the_grammar_is_read() {
        for (text, code) in [
            ("unsigned = true\nmessage = '{body}'", "mixed_signature"),
            ("unsigned = 'yes'", "wrong_type"),
            ("unsigned = true\ntolerance = '0s'", "duration"),
            ("tolerance = '30d'", "tolerance"),
        ] {
            let (table, mut problems) = parse(source(text));
            assert!(check(&Table::of(source(text), 0, table.get_ref()), None, &mut problems).is_none());
            assert_eq!(problems[0].code, code, "{text}");
        }
    }
}
