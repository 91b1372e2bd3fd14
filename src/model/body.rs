//! Room `model`: how the bytes of a body become a value: JSON, a form, or JSON inside a form field.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use vrl::value::{KeyString, ObjectMap, Value};

use super::{Headers, strict_json};

/// How many fields a form body may have.
pub(super) const MAX_FORM_FIELDS: usize = 1_000;

/// What a partner says about its bodies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BodyRules {
    /// When the body is a form that has this field, the field's JSON is the body (GitHub and Slack: `payload`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form_json: Option<String>,
}

/// Why a body could not be read. Names the place, never a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Not JSON as we read it.
    #[error("{0}")]
    Json(#[from] strict_json::InvalidJson),
    /// It says it is a form and begins like JSON. The content type is rarely signed: whoever changes it must not be able
    /// to have the same bytes read as something else.
    #[error("the body says it is a form, but it begins like JSON")]
    FormLikeJson,
    /// A form with too many fields.
    #[error("the form has more than {MAX_FORM_FIELDS} fields")]
    FormFields,
}

/// Reads a body by its content type: `application/x-www-form-urlencoded` as a form, all else as strict JSON.
pub fn read_body(headers: &Headers, body: &Bytes, rules: &BodyRules) -> Result<Value, Unreadable> {
    if !reads_as_form(headers) {
        return Ok(strict_json::read_shared(body)?);
    }
    let begins = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if matches!(begins, Some(b'{' | b'[')) {
        return Err(Unreadable::FormLikeJson);
    }
    let form = read_form(body)?;
    let embedded = rules.form_json.as_deref().and_then(|field| form.get(field));
    match embedded {
        Some(Value::Bytes(text)) => Ok(strict_json::read_shared(text)?),
        _ => Ok(Value::Object(form)),
    }
}

/// Whether [`read_body`] takes the body for a form. Whoever looks into a body before it asks here, so that no two rooms
/// can see two bodies in the same bytes: the content type is a header that few partners sign.
pub fn reads_as_form(headers: &Headers) -> bool {
    headers
        .all("content-type")
        .next()
        .and_then(|value| value.as_str())
        .and_then(|value| value.split(';').next())
        .is_some_and(|media| media.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"))
}

/// A form as an object: a field that stands once is a string, one that is repeated an array of strings.
pub(super) fn read_form(bytes: &[u8]) -> Result<ObjectMap, Unreadable> {
    let mut form = ObjectMap::new();
    for (count, (name, value)) in form_urlencoded::parse(bytes).enumerate() {
        if count == MAX_FORM_FIELDS {
            return Err(Unreadable::FormFields);
        }
        add_field(&mut form, KeyString::from(name.into_owned()), text(&value));
    }
    Ok(form)
}

/// Text as every reader of bodies gives it, so that nobody has to know two spellings of a string.
fn text(value: &str) -> Value {
    Value::Bytes(Bytes::copy_from_slice(value.as_bytes()))
}

fn add_field(form: &mut ObjectMap, name: KeyString, value: Value) {
    match form.get_mut(&name) {
        None => {
            form.insert(name, value);
        }
        Some(Value::Array(values)) => values.push(value),
        Some(first) => *first = Value::Array(vec![first.clone(), value]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(body: &'static str, form_json: Option<&str>) -> Result<Value, Unreadable> {
        let mut headers = Headers::default();
        headers.push("Content-Type", "application/x-www-form-urlencoded; charset=utf-8");
        let rules = BodyRules { form_json: form_json.map(str::to_owned) };
        read_body(&headers, &Bytes::from_static(body.as_bytes()), &rules)
    }

    fn json(value: Value) -> serde_json::Value {
        serde_json::to_value(value).expect("JSON")
    }

    #[test]
    fn a_form_is_an_object_and_repeated_fields_are_arrays() {
        let read = form("a=1&b=x+y&a=2&a=3", None).expect("a form");
        assert_eq!(json(read), serde_json::json!({ "a": ["1", "2", "3"], "b": "x y" }));
    }

    #[test]
    fn json_in_a_field_is_the_body_and_as_strict_as_any() {
        let read = form("payload=%7B%22type%22%3A%22x%22%7D&token=t", Some("payload")).expect("JSON");
        assert_eq!(json(read), serde_json::json!({ "type": "x" }));
        assert!(matches!(form("payload=%7B", Some("payload")), Err(Unreadable::Json(_))));
        assert_eq!(
            json(form("command=%2Fx", Some("payload")).expect("a form")),
            serde_json::json!({ "command": "/x" })
        );
    }

    #[test]
    fn fields_are_bounded() {
        let many: &'static str = "a=1&".repeat(MAX_FORM_FIELDS + 1).leak();
        assert_eq!(form(many, None), Err(Unreadable::FormFields));
    }
}
