//! Room `signatures`: what Plivo signs (version 3): the public address with its query in one spelling, the form's fields glued
//! together, and a nonce. In the glued fields there are no borders, and the query is signed as it reads, not as it is written:
//! nobody but Plivo can mend that, so such a message vouches for some fields at most.

use std::collections::BTreeMap;

use form_urlencoded::parse;

use super::{SignatureError, View, template::fields_of, url::Url};

/// The header with the nonce.
const NONCE: &str = "x-plivo-signature-v3-nonce";

/// `address?query.fields.nonce`: the query as `k=v` with `&` between, the fields as names and values, both by name.
pub(super) fn render(view: &View<'_>, url: &Url) -> Result<Vec<u8>, SignatureError> {
    let (path, query) = url.target.split_once('?').unwrap_or((&url.target, ""));
    let query = by_name(parse(query.as_bytes()).into_owned());
    let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let fields = by_name(fields_of(view)?.into_iter());
    let fields: String = fields.iter().flat_map(|(name, value)| [name.as_str(), value]).collect();
    let mut signed = format!("{}{path}", url.base);
    if !query.is_empty() || !fields.is_empty() {
        signed.push('?');
    }
    signed.push_str(&query.join("&"));
    if !query.is_empty() && !fields.is_empty() {
        signed.push('.');
    }
    Ok(format!("{signed}{fields}.{}", nonce(view)?).into_bytes())
}

/// By name; of a repeated name every value, in order.
fn by_name(pairs: impl Iterator<Item = (String, String)>) -> Vec<(String, String)> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in pairs {
        all.entry(name).or_default().push(value);
    }
    let sorted = |(name, mut values): (String, Vec<String>)| {
        values.sort();
        values.into_iter().map(move |value| (name.clone(), value))
    };
    all.into_iter().flat_map(sorted).collect()
}

/// The nonce. It has letters and digits only, so that it ends what stands before it.
fn nonce<'v>(view: &View<'v>) -> Result<&'v str, SignatureError> {
    let mut values = view.request.headers.0.iter().filter(|(name, _)| name == NONCE);
    let (_, value) = values.next().ok_or(SignatureError::Missing)?;
    if values.next().is_some() {
        return Err(SignatureError::Duplicated);
    }
    let plain = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    value.as_str().filter(plain).ok_or(SignatureError::Malformed("the nonce is not one"))
}

#[cfg(test)]
mod tests {
    use vrl::value::Value;

    use super::*;
    use crate::signatures::tests::request;

    fn signed(target: &str, nonce: &[&str], body: &str) -> Result<String, SignatureError> {
        let mut headers = vec![("content-type", "application/x-www-form-urlencoded")];
        headers.extend(nonce.iter().map(|nonce| (NONCE, *nonce)));
        let request = request("POST", target, &headers, body);
        let view = View { request: &request, body: &Value::Null, item: &Value::Null };
        let url = Url { base: "https://hooks.us.example".to_owned(), target: target.to_owned() };
        render(&view, &url).map(|bytes| String::from_utf8(bytes).expect("text"))
    }

    #[test]
    fn the_address_the_query_and_the_fields_stand_in_their_order() {
        for (target, body, expected) in [
            ("/in/plivo", "To=%2B1&From=2", "https://hooks.us.example/in/plivo?From2To+1.12"),
            ("/in/plivo?b=2&a=1+1", "To=1", "https://hooks.us.example/in/plivo?a=1 1&b=2.To1.12"),
            ("/in/plivo?b=2&a=", "", "https://hooks.us.example/in/plivo?a=&b=2.12"),
            ("/in/plivo", "", "https://hooks.us.example/in/plivo.12"),
            ("/in/plivo?a=2&a=1", "x=2&x=1&y=", "https://hooks.us.example/in/plivo?a=1&a=2.x1x2y.12"),
        ] {
            assert_eq!(signed(target, &["12"], body).as_deref(), Ok(expected), "{target} {body}");
        }
    }

    #[test]
    fn the_nonce_is_one_and_ends_what_stands_before_it() {
        assert_eq!(signed("/in/plivo", &[], "a=b"), Err(SignatureError::Missing));
        assert_eq!(signed("/in/plivo", &["1", "1"], "a=b"), Err(SignatureError::Duplicated));
        for bad in ["", "1.2", "a b", "é"] {
            assert!(
                matches!(signed("/in/plivo", &[bad], "a=b"), Err(SignatureError::Malformed(_))),
                "{bad:?}"
            );
        }
    }
}
