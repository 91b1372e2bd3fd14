//! Room `pipeline`: how a partner's rule becomes a name (id, type, key). A name is bounded text; what is there but no
//! such text is an error, what is not there is absent.

use std::borrow::Cow;

use vrl::value::Value;

use super::{super::canonical, around::Places};
use crate::{model::FieldPath, partners::ValueRule};

/// The longest id, type or key, in bytes.
const MAX_NAME_BYTES: usize = 512;

/// Why a rule gives no name. `what` is the key of `[identify]`, so that the platform engineer finds the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unnamed {
    #[error("{0}: nothing stands where the rule looks")]
    Absent(&'static str),
    #[error("{0}: what stands there is no text, integer or boolean")]
    NoText(&'static str),
    #[error("{0}: the text is empty")]
    Empty(&'static str),
    #[error("{0}: the text is longer than {MAX_NAME_BYTES} bytes")]
    TooLong(&'static str),
    #[error("{0}: the text has control characters")]
    ControlCharacters(&'static str),
}

/// What stands where a rule looks has no text form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoText;

/// The name a rule must give.
pub(super) fn name(what: &'static str, rule: &ValueRule, places: &Places<'_>) -> Result<String, Unnamed> {
    optional_name(what, Some(rule), places)?.ok_or(Unnamed::Absent(what))
}

/// The name a rule gives; `None` without a rule, or when nothing stands where it looks.
pub(super) fn optional_name(
    what: &'static str,
    rule: Option<&ValueRule>,
    places: &Places<'_>,
) -> Result<Option<String>, Unnamed> {
    let Some(rule) = rule else { return Ok(None) };
    let Some(text) = text(rule, places).map_err(|NoText| Unnamed::NoText(what))? else { return Ok(None) };
    if text.is_empty() {
        return Err(Unnamed::Empty(what));
    }
    if text.len() > MAX_NAME_BYTES {
        return Err(Unnamed::TooLong(what));
    }
    if text.chars().any(char::is_control) {
        return Err(Unnamed::ControlCharacters(what));
    }
    Ok(Some(text))
}

/// The text a rule gives, of any length.
pub(super) fn text(rule: &ValueRule, places: &Places<'_>) -> Result<Option<String>, NoText> {
    match rule {
        ValueRule::Path(path) => text_at(path, places),
        ValueRule::FirstOf(rules) => {
            let told = |rule| text(rule, places).map(|text| text.filter(|text| !text.is_empty())).transpose();
            rules.iter().find_map(told).transpose()
        }
        ValueRule::Join(rules, by) => join(rules, by, places),
        ValueRule::Digest(paths) => digest(paths, places),
        ValueRule::NameOf(paths) => {
            let there = paths.iter().find(|path| places.get(path).is_some());
            Ok(there.map(FieldPath::last_name))
        }
    }
}

fn text_at(path: &FieldPath, places: &Places<'_>) -> Result<Option<String>, NoText> {
    match places.get(path).as_deref() {
        None => Ok(None),
        Some(Value::Bytes(bytes)) => {
            std::str::from_utf8(bytes).map(|text| Some(text.to_owned())).map_err(|_| NoText)
        }
        Some(Value::String(text)) => Ok(Some(text.to_string())),
        Some(Value::Integer(number)) => Ok(Some(number.to_string())),
        Some(Value::Boolean(truth)) => Ok(Some(truth.to_string())),
        Some(_) => Err(NoText),
    }
}

/// Absent parts count as empty, trailing empty parts are left out; absent when all parts are.
fn join(rules: &[ValueRule], by: &str, places: &Places<'_>) -> Result<Option<String>, NoText> {
    let parts = rules.iter().map(|rule| text(rule, places)).collect::<Result<Vec<_>, _>>()?;
    if parts.iter().all(Option::is_none) {
        return Ok(None);
    }
    let mut parts: Vec<String> = parts.into_iter().map(Option::unwrap_or_default).collect();
    while parts.last().is_some_and(String::is_empty) {
        parts.pop();
    }
    Ok(Some(parts.join(by)))
}

fn digest(paths: &[FieldPath], places: &Places<'_>) -> Result<Option<String>, NoText> {
    let values: Vec<Option<Cow<'_, Value>>> = paths.iter().map(|path| places.get(path)).collect();
    if values.iter().all(Option::is_none) {
        return Ok(None);
    }
    let digest = canonical::digest_of(values.iter().map(Option::as_deref)).map_err(|_| NoText)?;
    Ok(Some(hex::encode(digest)))
}
