//! Room `partners`: what a preset cannot know and an endpoint says: `parameters = { webhook_id = "…" }`. They are filled into
//! the scheme's texts when the file is read, so that whoever verifies sees nothing but literals.

use std::collections::{BTreeMap, BTreeSet};

use toml::de::DeValue;

use super::reading::{Entry, Table, suggestion};
use crate::model::Diagnostic;

/// What stands where a parameter belongs: `{param.webhook_id}`.
pub(super) const OPENING: &str = "{param.";
/// Longest value, in bytes.
const MAX_VALUE_BYTES: usize = 2_048;

/// The parameters of an endpoint by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parameters(pub(super) BTreeMap<String, String>);

impl Parameters {
    /// A text with every parameter filled in.
    pub(super) fn fill(&self, text: &str) -> String {
        let fill = |text: String, (name, value): (&String, &String)| {
            text.replace(&format!("{OPENING}{name}}}"), value)
        };
        self.0.iter().fold(text.to_owned(), fill)
    }
}

/// What may ask an endpoint for parameters.
pub(super) struct Askers<'a, 't> {
    /// Its preset; empty where it has none.
    pub(super) preset: &'a Table<'t>,
    /// Its schemes, as they are written.
    pub(super) schemes: &'a [&'a Table<'t>],
    /// What the presets among its schemes ask for, by name, and where to find it.
    pub(super) among_schemes: &'a BTreeMap<String, String>,
    /// Its handshakes.
    pub(super) handshakes: Option<&'a Entry<'t>>,
}

/// Reads an endpoint's `parameters`. What its presets declare or its schemes name must be there, and nothing else.
pub(super) fn read(
    endpoint: &Table<'_>,
    askers: &Askers<'_, '_>,
    problems: &mut Vec<Diagnostic>,
) -> Parameters {
    let declared = askers.preset.table("parameters", &mut Vec::new());
    let where_to_find = |name: &str| {
        let own = declared.as_ref().and_then(|table| table.text(name, &mut Vec::new()));
        own.or_else(|| askers.among_schemes.get(name).map(String::as_str))
    };
    let mut wanted: BTreeSet<&str> =
        declared.iter().flat_map(|table| table.iter().map(|entry| entry.key)).collect();
    wanted.extend(askers.among_schemes.keys().map(String::as_str));
    for entry in askers.schemes.iter().flat_map(|table| table.iter()) {
        named_in(entry.value, &mut wanted);
    }
    if let Some(entry) = askers.handshakes {
        named_by_handshakes(entry.value, &mut wanted);
    }
    let given = endpoint.table("parameters", problems);
    let mut parameters = Parameters::default();
    for entry in given.iter().flat_map(Table::iter) {
        if !wanted.contains(entry.key) {
            let message = format!("nothing here has a parameter {:?}", entry.key);
            let help = suggestion(entry.key, wanted.iter().copied());
            problems.push(entry.source.problem("unknown_parameter", entry.key_at, message, help));
        }
        let Some(value) = entry.text(problems) else { continue };
        if !is_value(value) {
            let help = "write it as the partner shows it: letters, digits and signs, but no braces, brackets or quotes, and no space at its ends";
            problems.push(entry.problem("bad_parameter", "this is no parameter's value", help));
        }
        parameters.0.insert(entry.key.to_owned(), value.to_owned());
    }
    for name in wanted.into_iter().filter(|name| !parameters.0.contains_key(*name)) {
        let help = match where_to_find(name) {
            Some(place) => format!("add `parameters = {{ {name} = \"…\" }}`; where to find it: {place}"),
            None => format!("add `parameters = {{ {name} = \"…\" }}`"),
        };
        let message = format!("the endpoint has no parameter {name:?}, and its signature needs it");
        problems.push(endpoint.problem("missing_parameter", message, help));
    }
    parameters
}

/// A value goes into templates and TOML, and may be nothing there but itself.
fn is_value(text: &str) -> bool {
    let plain = |byte: u8| (byte.is_ascii_graphic() || byte == b' ') && !br#"{}[]"'`\"#.contains(&byte);
    text.bytes().all(plain) && text.trim() == text && (1..=MAX_VALUE_BYTES).contains(&text.len())
}

fn named_in<'t>(value: &'t DeValue<'_>, names: &mut BTreeSet<&'t str>) {
    match value {
        DeValue::String(text) => {
            let after = text.split(OPENING).skip(1);
            names.extend(after.filter_map(|after| Some(after.split_once('}')?.0)));
        }
        DeValue::Array(elements) => elements.iter().for_each(|element| named_in(element.get_ref(), names)),
        DeValue::Table(table) => table.values().for_each(|value| named_in(value.get_ref(), names)),
        _ => {}
    }
}

/// A handshake names them in texts, by themselves, and under `parameter`.
fn named_by_handshakes<'t>(value: &'t DeValue<'_>, names: &mut BTreeSet<&'t str>) {
    match value {
        DeValue::String(text) => names.extend(text.strip_prefix("param.")),
        DeValue::Array(elements) => {
            elements.iter().for_each(|element| named_by_handshakes(element.get_ref(), names));
        }
        DeValue::Table(table) => {
            for (key, value) in table {
                if key.get_ref() == "parameter" {
                    names.extend(value.get_ref().as_str());
                }
                named_by_handshakes(value.get_ref(), names);
            }
        }
        _ => {}
    }
    if matches!(value, DeValue::String(_)) {
        named_in(value, names);
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::reading::{Source, parse},
        *,
    };

    const PRESET: &str = "[parameters]\nwebhook_id = 'Dashboard: the id of the webhook'\n[signature]\nmessage = '{param.webhook_id}|{body}'\n";

    fn read_with(endpoint: &str) -> (Parameters, Vec<Diagnostic>) {
        let source = |text| Source { file: "partner.toml", text };
        let ((endpoint_toml, _), (preset_toml, _)) = (parse(source(endpoint)), parse(source(PRESET)));
        let endpoint = Table::of(source(endpoint), 0, endpoint_toml.get_ref());
        let preset = Table::of(source(PRESET), 0, preset_toml.get_ref());
        let signature = preset.table("signature", &mut Vec::new()).expect("a table");
        let mut problems = Vec::new();
        let askers = Askers {
            preset: &preset,
            schemes: &[&signature],
            among_schemes: &BTreeMap::new(),
            handshakes: None,
        };
        (read(&endpoint, &askers, &mut problems), problems)
    }

    #[test]
    fn what_is_given_is_filled_in() {
        let (parameters, problems) = read_with("parameters = { webhook_id = 'WH-1' }");
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(parameters.fill("{param.webhook_id}|{body}"), "WH-1|{body}");
    }

    #[test]
    fn what_is_missing_is_told_with_where_to_find_it() {
        let (_, problems) = read_with("name = 'x'");
        assert_eq!(problems[0].code, "missing_parameter");
        assert!(problems[0].help.contains("Dashboard: the id of the webhook"), "{}", problems[0].help);
    }

    #[test]
    fn what_nobody_asked_for_is_refused() {
        let (_, problems) = read_with("parameters = { webhook_id = 'a', webhok = 'b' }");
        assert_eq!(problems[0].code, "unknown_parameter");
        for bad in ["", " a", "{body}", "a]", "ä"] {
            let (_, problems) = read_with(&format!("parameters = {{ webhook_id = '{bad}' }}"));
            assert_eq!(problems[0].code, "bad_parameter", "{bad}");
        }
    }
}
