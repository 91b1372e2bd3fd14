//! Room `partners`: how an endpoint's requests are verified: by a preset, by the grammar spelled out, or not at all.
//! May not know the grammar: a `[signature]` table goes to `signatures` as text, and comes back as a scheme.

use std::{collections::BTreeMap, fmt::Write, sync::Arc, time::Duration};

use toml::de::DeValue;

use super::{
    door::SignatureCheck,
    endpoint_file::FindPreset,
    parameters::{OPENING, Parameters},
    reading::{Entry, Table, closest},
};
use crate::{
    model::{Diagnostic, FieldPath},
    signatures::{SchemeError, Schemes, presets},
};

/// Longest tolerance that makes sense: beyond a day an old request can be played again by anyone who kept it.
const MAX_TOLERANCE: Duration = Duration::from_hours(24);

/// The keys that say by themselves how requests are verified: an endpoint that has one starts afresh.
const WAYS: [&str; 4] = ["preset", "unsigned", "any_of", "all_of"];

/// The keys that hold several schemes.
pub(super) const SEVERAL: [&str; 2] = ["any_of", "all_of"];

/// The `[signature]` that counts for an endpoint: its own over the partner's, key by key; one that names a preset, says
/// `unsigned` or has several schemes stands alone, but for the partner's tolerance.
pub(super) fn table_for<'a>(own: Option<Table<'a>>, partner: Option<&Table<'a>>) -> Option<Table<'a>> {
    let Some(own) = own else { return partner.cloned() };
    let Some(partner) = partner else { return Some(own) };
    if own.has("unsigned") {
        return Some(own);
    }
    if !WAYS.iter().any(|way| own.has(way)) {
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
    preset_at(&table.get("preset")?, find, problems)
}

/// The names of the presets in a `[signature]`: its own, and those among several schemes.
pub(super) fn presets_in<'t>(table: &Table<'t>) -> Vec<&'t str> {
    let unread = &mut Vec::new();
    let mut names: Vec<_> = table.text("preset", unread).into_iter().collect();
    for key in SEVERAL {
        let schemes = table.tables(key, unread);
        names.extend(schemes.iter().filter_map(|scheme| scheme.text("preset", unread)));
    }
    names
}

/// What the presets among several schemes ask for in their signatures, by name, and where to find it. What else they ask for is
/// for their handshakes, which an endpoint with several schemes writes itself.
pub(super) fn asked_among_schemes(table: &Table<'_>, find: FindPreset<'_>) -> BTreeMap<String, String> {
    let mut asked = BTreeMap::new();
    for text in presets_in(&table.clone().without(&["preset"])).into_iter().filter_map(find) {
        let file = toml::from_str::<toml::Table>(text).unwrap_or_default();
        let signature = file.get("signature").map(ToString::to_string).unwrap_or_default();
        for (name, place) in file.get("parameters").and_then(toml::Value::as_table).into_iter().flatten() {
            if signature.contains(&format!("{OPENING}{name}}}")) {
                asked.insert(name.clone(), place.as_str().unwrap_or_default().to_owned());
            }
        }
    }
    asked
}

fn preset_at<'t, 'p>(
    entry: &Entry<'t>,
    find: FindPreset<'p>,
    problems: &mut Vec<Diagnostic>,
) -> Option<(&'t str, &'p str)> {
    let name = entry.text(problems)?;
    let text = find(name);
    if text.is_none() {
        let close = closest(name, presets::all().iter().map(|preset| preset.name));
        let help = close.map_or_else(
            || "`douane partner presets` lists them; or spell the scheme out".to_owned(),
            |meant| format!("did you mean {meant:?}?"),
        );
        problems.push(entry.problem("unknown_preset", format!("there is no preset {name:?}"), help));
    }
    Some((name, text?))
}

/// What a `[signature]` says; `preset` is the signature table of the preset it names.
pub(super) fn check(
    table: &Table<'_>,
    preset: Option<&Table<'_>>,
    (parameters, find): (&Parameters, FindPreset<'_>),
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
            table.clone().without(&["preset", "unsigned"]).over(preset)
        }
        None => table.clone().without(&["preset", "unsigned"]),
    };
    if problems.len() > before {
        return None;
    }
    schemes(&grammar, (parameters, find), problems).map(|schemes| SignatureCheck::Scheme(Arc::new(schemes)))
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

fn schemes(
    grammar: &Table<'_>,
    (parameters, find): (&Parameters, FindPreset<'_>),
    problems: &mut Vec<Diagnostic>,
) -> Option<Schemes> {
    let before = problems.len();
    let (text, starts) = render(grammar, (parameters, find), problems);
    if problems.len() > before {
        return None;
    }
    match Schemes::parse(&text) {
        Ok(schemes) => Some(schemes),
        Err(error) => {
            problems.push(located(error, grammar, &starts));
            None
        }
    }
}

/// The table as TOML text with its parameters filled in, one key after another and of several schemes one after another, and
/// where each begins in it.
fn render<'a>(
    table: &Table<'a>,
    (parameters, find): (&Parameters, FindPreset<'_>),
    problems: &mut Vec<Diagnostic>,
) -> (String, Vec<(usize, Entry<'a>)>) {
    let mut text = String::new();
    let mut starts = Vec::new();
    for entry in table.iter() {
        starts.push((text.len(), *entry));
        let key = toml::Value::String(entry.key.to_owned());
        // Writing to a String cannot fail.
        let _ = write!(text, "{key} = ");
        if SEVERAL.contains(&entry.key) && matches!(entry.value, DeValue::Array(_)) {
            text.push('[');
            for element in entry.elements(problems) {
                starts.push((text.len(), Entry { key_at: element.at, ..element }));
                let _ = write!(text, "{},", one_of_several(&element, (parameters, find), problems));
            }
            text.push_str("]\n");
        } else {
            let _ = writeln!(text, "{}", owned(entry.value, parameters));
        }
    }
    (text, starts)
}

/// One of several schemes. A preset among them is laid under the keys that select it; its text comes from where the
/// partner's presets are kept, so that a revision stays what it was.
fn one_of_several(
    element: &Entry<'_>,
    (parameters, find): (&Parameters, FindPreset<'_>),
    problems: &mut Vec<Diagnostic>,
) -> toml::Value {
    let own = owned(element.value, parameters);
    let Some(preset) = element.value.as_table().and_then(|table| table.get("preset")) else { return own };
    let at = Entry { at: preset.span().start, value: preset.get_ref(), ..*element };
    let (Some((name, text)), toml::Value::Table(mut own)) = (preset_at(&at, find, problems), own.clone())
    else {
        return own;
    };
    let file = toml::from_str::<toml::Table>(text).unwrap_or_default();
    let scheme = file.get("signature").map(|scheme| filled(scheme, parameters));
    let Some(toml::Value::Table(scheme)) = scheme else { return own.into() };
    if let Some(key) = own.keys().find(|key| !["preset", "name", "when", "tolerance"].contains(&key.as_str()))
    {
        let message = format!("`{key}` does not go with a preset");
        problems.push(element.problem("mixed_signature", message, "remove it, or spell this scheme out"));
    }
    own.remove("preset");
    own.entry("name").or_insert_with(|| name.to_owned().into());
    for (key, value) in scheme {
        own.entry(key).or_insert(value);
    }
    own.into()
}

/// A preset's value with the parameters filled in.
fn filled(value: &toml::Value, parameters: &Parameters) -> toml::Value {
    let each = |value: &toml::Value| filled(value, parameters);
    match value {
        toml::Value::String(text) => toml::Value::String(parameters.fill(text)),
        toml::Value::Array(elements) => elements.iter().map(each).collect::<Vec<_>>().into(),
        toml::Value::Table(table) => {
            toml::Value::Table(table.iter().map(|(key, value)| (key.clone(), each(value))).collect())
        }
        other => other.clone(),
    }
}

/// A value of a parsed file, by itself, with the parameters filled in.
pub(super) fn owned(value: &DeValue<'_>, parameters: &Parameters) -> toml::Value {
    let owned = |value: &DeValue<'_>| owned(value, parameters);
    match value {
        DeValue::String(text) => toml::Value::String(parameters.fill(text)),
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
fn located(error: SchemeError, grammar: &Table<'_>, starts: &[(usize, Entry<'_>)]) -> Diagnostic {
    let offset = error.span.map(|span| span.start);
    let entry = offset.and_then(|offset| starts.iter().rev().find(|(start, _)| *start <= offset));
    match entry {
        Some((_, entry)) => entry.source.problem(error.code, entry.key_at, error.message, error.help),
        None => grammar.problem(error.code, error.message, error.help),
    }
}

/// Whether the signature covers every one of these paths. One through the lists of a batch it covers with the whole body.
pub(super) fn covers(check: &SignatureCheck, paths: &[&FieldPath]) -> bool {
    let SignatureCheck::Scheme(schemes) = check else { return false };
    let body = FieldPath::parse("body").ok();
    let place =
        |path: &&FieldPath| if path.lists().is_empty() { Some((*path).clone()) } else { body.clone() };
    paths.iter().all(|path| place(path).is_some_and(|path| schemes.covers_path(&path)))
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
        let mut problems = Vec::new();
        let (rendered, starts) = render(&table, (&Parameters::default(), &|_| None), &mut problems);
        assert!(problems.is_empty());
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
    fn a_mistake_in_one_of_several_schemes_is_pointed_at() {
        let text = "any_of = [\n  { preset = 'github', when = { present = 'header.a' } },\n  { name = 'x', \
                    algorithm = 'token' },\n]\n";
        let told = |text: &str| {
            let (table, mut problems) = parse(source(text));
            let find = |name: &str| presets::find(name).map(|preset| preset.text);
            let checked = check(
                &Table::of(source(text), 0, table.get_ref()),
                None,
                (&Parameters::default(), &find),
                &mut problems,
            );
            (checked.is_some(), problems.first().map(|problem| (problem.code, problem.line)))
        };
        assert_eq!(told(text), (false, Some(("missing_key", 3))));
        assert_eq!(told(&text.replace("github", "gitbuh")), (false, Some(("unknown_preset", 2))));
        assert_eq!(
            told(&text.replace("when", "message = '{body}', when")),
            (false, Some(("mixed_signature", 2)))
        );
        let whole = text.replace("'token'", "'token', value = { path = 'header.t' }, assurance = 'token'");
        assert_eq!(told(&whole), (true, None));
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
            let table = Table::of(source(text), 0, table.get_ref());
            assert!(check(&table, None, (&Parameters::default(), &|_| None), &mut problems).is_none());
            assert_eq!(problems[0].code, code, "{text}");
        }
    }
}
