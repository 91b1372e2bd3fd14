//! Room `signatures`: the headers that TrueLayer signs: a line of name and value for each that its token lists, in the list's
//! order and spelling. The list stands in the token's own header, which is signed too; a list without the time of sending is
//! none, and neither is the first version, which signs the body alone.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use vrl::value::{ObjectMap, Value};

use super::{SignatureError, View};
use crate::model::{RawRequest, strict_json};

/// The header with the token.
const TOKEN: &str = "tl-signature";
/// What every delivery has, and must have signed.
const REQUIRED: &str = "x-tl-webhook-timestamp";
/// The only version that signs more than the body.
const VERSION: &str = "2";
/// What TrueLayer lists, as it spells it: the time of sending, and what says how the body is read.
const LISTED: [&str; 2] = ["X-Tl-Webhook-Timestamp", "Content-Type"];
/// Most headers in a list.
const MAX_HEADERS: usize = 100;

/// The listed headers as they are signed.
pub(super) fn render(view: &View<'_>) -> Result<Vec<u8>, SignatureError> {
    let token = token_header(header(view, TOKEN)?)?;
    if text(&token, "tl_version") != Some(VERSION) {
        return Err(SignatureError::Malformed(
            "the token does not sign method, path and headers (tl_version 2)",
        ));
    }
    let list = text(&token, "tl_headers").ok_or(SignatureError::Missing)?;
    let names: Vec<&str> = list.split(',').collect();
    let once: BTreeSet<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    if names.len() > MAX_HEADERS || once.len() != names.len() || !names.iter().all(|name| is_name(name)) {
        return Err(SignatureError::Malformed("the list of signed headers is none"));
    }
    if !once.contains(REQUIRED) {
        return Err(SignatureError::Malformed("the time of sending is not one of the signed headers"));
    }
    let mut lines = Vec::new();
    for name in names {
        let value = header(view, &name.to_ascii_lowercase())?;
        lines.extend_from_slice(&[name.as_bytes(), b": ", value, b"\n"].concat());
    }
    Ok(lines)
}

/// What the header of a genuine token says of a request, for tools that sign as TrueLayer would. The time is listed even where it
/// is missing: without it nothing can be signed.
pub(super) fn said_of(request: &RawRequest) -> [(&'static str, String); 2] {
    let is_there = |name: &str| request.headers.0.iter().any(|(known, _)| name.eq_ignore_ascii_case(known));
    let listed = LISTED.into_iter().filter(|name| is_there(name) || name.eq_ignore_ascii_case(REQUIRED));
    [("tl_version", VERSION.to_owned()), ("tl_headers", listed.collect::<Vec<_>>().join(","))]
}

/// The request with a token of this header, whose signature is still to be made over what the header lists.
pub(super) fn bearing(request: &RawRequest, token_header: &str) -> RawRequest {
    let mut bearing = request.clone();
    bearing.headers.0.retain(|(name, _)| name != TOKEN);
    bearing.headers.push(TOKEN, format!("{}..", URL_SAFE_NO_PAD.encode(token_header)));
    bearing
}

/// What the token says of itself. It is looked at before it is believed: if it was changed, the signature does not hold.
fn token_header(token: &[u8]) -> Result<ObjectMap, SignatureError> {
    const MALFORMED: SignatureError = SignatureError::Malformed("the token's header is not one");
    let head = token.split(|byte| *byte == b'.').next().unwrap_or_default();
    let json = URL_SAFE_NO_PAD.decode(head).map_err(|_| MALFORMED)?;
    match strict_json::read(&json) {
        Ok(Value::Object(header)) => Ok(header),
        _ => Err(MALFORMED),
    }
}

fn text<'t>(token: &'t ObjectMap, name: &str) -> Option<&'t str> {
    std::str::from_utf8(token.get(name)?.as_bytes()?).ok()
}

/// A header's name (RFC 9110 §5.6.2); so that no name holds what ends it.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

fn header<'v>(view: &View<'v>, name: &str) -> Result<&'v [u8], SignatureError> {
    let mut values = view.request.headers.0.iter().filter(|(known, _)| known == name);
    let (_, value) = values.next().ok_or(SignatureError::Missing)?;
    if values.next().is_some() { Err(SignatureError::Duplicated) } else { Ok(value.0.as_ref()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::signatures::tests::request;

    fn signed(token: &str, headers: &[(&str, &str)]) -> Result<String, SignatureError> {
        let token = format!("{}..c2ln", URL_SAFE_NO_PAD.encode(token));
        let mut all = vec![(TOKEN, token.as_str())];
        all.extend(headers);
        let request = request("POST", "/in/truelayer", &all, "{}");
        let view = View { request: &request, body: &Value::Null, item: &Value::Null };
        render(&view).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    const AT: (&str, &str) = (REQUIRED, "2021-11-29T11:42:55Z");

    #[test]
    fn the_listed_headers_stand_in_the_lists_order_and_spelling() {
        let token = r#"{"alg":"ES512","tl_version":"2","tl_headers":"X-Tl-Webhook-Timestamp,Content-Type"}"#;
        let lines = "X-Tl-Webhook-Timestamp: 2021-11-29T11:42:55Z\nContent-Type: application/json\n";
        let json = ("content-type", "application/json");
        assert_eq!(signed(token, &[json, AT, ("x-other", "1")]).as_deref(), Ok(lines));
        assert_eq!(signed(token, &[AT]), Err(SignatureError::Missing));
        assert_eq!(signed(token, &[json, AT, AT]), Err(SignatureError::Duplicated));
    }

    #[test]
    fn a_list_that_leaves_the_time_out_is_none() {
        let listing = |list: &str| format!(r#"{{"alg":"ES512","tl_version":"2","tl_headers":"{list}"}}"#);
        for list in [
            "",
            "Content-Type",
            "X-Tl-Webhook-Timestamp,",
            "X-Tl-Webhook-Timestamp,x-tl-webhook-timestamp",
            "X-Tl-Webhook-Timestamp, Content-Type",
            "X-Tl-Webhook-Timestamp: a\\nX",
        ] {
            let told = signed(&listing(list), &[AT, ("content-type", "a")]);
            assert!(matches!(told, Err(SignatureError::Malformed(_))), "{list:?}: {told:?}");
        }
        for token in [
            r#"{"alg":"ES512","tl_headers":"X-Tl-Webhook-Timestamp"}"#,
            r#"{"alg":"ES512","tl_version":"1","tl_headers":"X-Tl-Webhook-Timestamp"}"#,
            r#"{"alg":"ES512","tl_version":2,"tl_headers":"X-Tl-Webhook-Timestamp"}"#,
            r#"{"tl_version":"2","tl_version":"2","tl_headers":"X-Tl-Webhook-Timestamp"}"#,
            "[]",
            "",
        ] {
            assert!(matches!(signed(token, &[AT]), Err(SignatureError::Malformed(_))), "{token}");
        }
        assert_eq!(signed(r#"{"tl_version":"2"}"#, &[AT]), Err(SignatureError::Missing));
    }

    #[test]
    fn what_a_genuine_token_lists_is_what_is_signed() {
        let lines = |headers: &[(&str, &str)]| {
            let sent = request("POST", "/in/truelayer", headers, "{}");
            let [(_, version), (_, list)] = said_of(&sent);
            let header = format!(r#"{{"tl_version":"{version}","tl_headers":"{list}"}}"#);
            let bearing = bearing(&sent, &header);
            let view = View { request: &bearing, body: &Value::Null, item: &Value::Null };
            render(&view).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        };
        let time = "X-Tl-Webhook-Timestamp: 2021-11-29T11:42:55Z\n";
        let json = ("content-type", "application/json");
        let both = format!("{time}Content-Type: application/json\n");
        assert_eq!(lines(&[json, ("x-other", "1"), AT]), Ok(both));
        assert_eq!(lines(&[AT, (TOKEN, "an old one")]).as_deref(), Ok(time));
        assert_eq!(lines(&[json]), Err(SignatureError::Missing), "nothing is signed without its time");
    }

    proptest! {
        #[test]
        fn no_token_makes_it_panic(token in ".{0,80}", list in ".{0,40}") {
            let _ = signed(&token, &[AT]);
            let _ = signed(&format!(r#"{{"tl_version":"2","tl_headers":{list:?}}}"#), &[AT]);
        }
    }
}
