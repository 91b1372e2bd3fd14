//! Room `model`: how the bytes of a body become a value: JSON, a form of either kind, or JSON inside a form field.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use vrl::value::{KeyString, ObjectMap, Value};

use super::{Headers, multipart, strict_json};

/// How many fields a form body may have.
pub const MAX_FORM_FIELDS: usize = 1_000;

/// What a partner says about its bodies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BodyRules {
    /// When the body is a form that has this field, the field's JSON is the body (GitHub and Slack: `payload`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form_json: Option<String>,
    /// The body is neither JSON nor a form, but a text (XML, Atom): an object with that text under this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The body is a token (RFC 7515, compact), whose payload is what is read as the body. Its signature is not looked at here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub token: bool,
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
    /// It says it is a form and begins like a multipart body, for the same reason.
    #[error("the body says it is a form, but it begins like a multipart one")]
    FormLikeMultipart,
    /// Not a multipart body as we read it: its parts are texts, and it begins with the boundary that it names.
    #[error("the body is no multipart form of texts that begins with its own boundary")]
    Multipart,
    /// A body that should be a token is none.
    #[error("the body is no token")]
    Token,
    /// A body that should be a text is none.
    #[error("the body is no text in UTF-8")]
    Text,
    /// A form with too many fields.
    #[error("the form has more than {MAX_FORM_FIELDS} fields")]
    FormFields,
}

/// How a body is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyKind {
    /// As strict JSON.
    #[default]
    Json,
    /// As `application/x-www-form-urlencoded`.
    Form,
    /// As `multipart/form-data`.
    Multipart,
}

/// Reads a body by its content type: the two kinds of forms as forms, all else as strict JSON; or as the rules say, whatever its
/// content type.
pub fn read_body(headers: &Headers, body: &Bytes, rules: &BodyRules) -> Result<Value, Unreadable> {
    if rules.token {
        return read_token(body);
    }
    if let Some(name) = &rules.text {
        let whole = std::str::from_utf8(body).map_err(|_| Unreadable::Text)?;
        return Ok(Value::Object([(KeyString::from(name.as_str()), text(whole))].into()));
    }
    let form = match body_kind(headers) {
        BodyKind::Json => return Ok(strict_json::read_shared(body)?),
        BodyKind::Multipart => multipart::read(content_type(headers).unwrap_or_default(), body)?,
        BodyKind::Form => {
            let begins = body.trim_ascii_start();
            if begins.starts_with(b"{") || begins.starts_with(b"[") {
                return Err(Unreadable::FormLikeJson);
            }
            if begins.starts_with(b"--") {
                return Err(Unreadable::FormLikeMultipart);
            }
            read_form(body)?
        }
    };
    let embedded = rules.form_json.as_deref().and_then(|field| form.get(field));
    match embedded {
        Some(Value::Bytes(text)) => Ok(strict_json::read_shared(text)?),
        _ => Ok(Value::Object(form)),
    }
}

/// The payload of a token in compact form.
fn read_token(body: &[u8]) -> Result<Value, Unreadable> {
    let mut parts = body.split(|byte| *byte == b'.');
    let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Unreadable::Token);
    };
    let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| Unreadable::Token)?;
    Ok(strict_json::read(&payload)?)
}

/// What [`read_body`] takes the body for. Whoever looks into a body before it asks here, so that no two rooms can see two
/// bodies in the same bytes: the content type is a header that few partners sign.
pub fn body_kind(headers: &Headers) -> BodyKind {
    let media = content_type(headers).and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    let is = |known: &str| media.eq_ignore_ascii_case(known);
    if is("application/x-www-form-urlencoded") {
        BodyKind::Form
    } else if is("multipart/form-data") {
        BodyKind::Multipart
    } else {
        BodyKind::Json
    }
}

/// Whether [`read_body`] takes the body for a URL-encoded form.
pub fn reads_as_form(headers: &Headers) -> bool {
    body_kind(headers) == BodyKind::Form
}

fn content_type(headers: &Headers) -> Option<&str> {
    headers.all("content-type").next().and_then(|value| value.as_str())
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
pub(super) fn text(value: &str) -> Value {
    Value::Bytes(Bytes::copy_from_slice(value.as_bytes()))
}

pub(super) fn add_field(form: &mut ObjectMap, name: KeyString, value: Value) {
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
        let rules = BodyRules { form_json: form_json.map(str::to_owned), ..BodyRules::default() };
        read_body(&headers, &Bytes::from_static(body.as_bytes()), &rules)
    }

    #[test]
    fn the_payload_of_a_token_is_the_body() {
        let rules = BodyRules { token: true, ..BodyRules::default() };
        let read =
            |body: &'static str| read_body(&Headers::default(), &Bytes::from_static(body.as_bytes()), &rules);
        assert_eq!(json(read("e30.eyJhIjoxfQ.c2ln").expect("a token")), serde_json::json!({ "a": 1 }));
        for bad in [
            "",
            "{}",
            "e30.eyJhIjoxfQ",
            "e30.eyJhIjoxfQ.c2ln.x",
            "e30.eyJhIjoxfQ==.c2ln",
            "e30.*.c2ln",
            "e30.YQ.c2ln",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_text_is_an_object_of_one_name() {
        let rules = BodyRules { text: Some("feed".to_owned()), ..BodyRules::default() };
        let read = |body: &'static [u8]| read_body(&Headers::default(), &Bytes::from_static(body), &rules);
        let atom = "<feed>\u{2615}</feed>";
        assert_eq!(json(read(atom.as_bytes()).expect("a text")), serde_json::json!({ "feed": atom }));
        assert_eq!(
            json(read(b"{\"feed\":1}").expect("a text")),
            serde_json::json!({ "feed": "{\"feed\":1}" })
        );
        assert_eq!(read(b"\xff"), Err(Unreadable::Text));
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
