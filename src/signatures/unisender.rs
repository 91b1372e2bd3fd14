//! Room `signatures`: a body that is signed with the secret in it, where the signature stands (Unisender Go). The signature is
//! found by its text, which stands in the body once: so there is one reading of what was signed.

use vrl::value::Value;

use super::{SignatureError, View};
use crate::model::FieldPath;

/// What stands before and behind the field's text in the raw body.
pub(super) fn around<'v>(view: &View<'v>, field: &FieldPath) -> Result<[&'v [u8]; 2], SignatureError> {
    const MALFORMED: SignatureError =
        SignatureError::Malformed("the signature does not stand in the body, once and plain");
    let value = view.body.get(field.value_path()).and_then(Value::as_bytes).ok_or(SignatureError::Missing)?;
    let body = view.request.body.as_ref();
    // Between quotes and without escapes it reads as it is written.
    let plain = !value.is_empty() && value.iter().all(u8::is_ascii_alphanumeric);
    let quoted = [b"\"".as_slice(), value.as_ref(), b"\""].concat();
    let mut places = body.windows(quoted.len()).enumerate().filter(|(_, window)| *window == quoted);
    let (Some((at, _)), None, true) = (places.next(), places.next(), plain) else { return Err(MALFORMED) };
    Ok([&body[..=at], &body[at + quoted.len() - 1..]])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{model::strict_json, signatures::tests::request};

    fn split(body: &str) -> Result<[String; 2], SignatureError> {
        let request = request("POST", "/in/unisender-go", &[], body);
        let value = strict_json::read(&request.body).map_err(|_| SignatureError::Unreadable)?;
        let view = View { request: &request, body: &value, item: &value };
        let field = FieldPath::parse("body.auth").expect("a path");
        around(&view, &field).map(|parts| parts.map(|part| String::from_utf8_lossy(part).into_owned()))
    }

    #[test]
    fn the_field_is_cut_out_where_it_stands_once() {
        let parts = split(r#"{"a":[1.0],"auth" : "0a1b", "b":"x"}"#).expect("once");
        assert_eq!(parts, [r#"{"a":[1.0],"auth" : ""#, r#"", "b":"x"}"#]);
        for bad in
            [r#"{"auth":"ab","b":"ab"}"#, r#"{"auth":"\u0061b"}"#, r#"{"auth":"a\"b"}"#, r#"{"auth":""}"#]
        {
            assert!(matches!(split(bad), Err(SignatureError::Malformed(_))), "{bad}");
        }
        for missing in ["{}", r#"{"auth":7}"#, r#"{"b":{"auth":"ab"}}"#, "[]"] {
            assert_eq!(split(missing), Err(SignatureError::Missing), "{missing}");
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(text in "[ -~]{0,60}", auth in "[a-z0-9\"]{0,6}") {
            let _ = split(&text);
            let _ = split(&format!(r#"{{"auth":"{auth}","b":"{auth}"}}"#));
        }
    }
}
