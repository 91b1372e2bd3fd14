//! Room `signatures`: Atlassian's query string hash: SHA-256 over method, path and query in one spelling, which a token
//! claims so that it holds for one request only.

use form_urlencoded::parse;
use sha2::{Digest, Sha256};

use crate::model::RawRequest;

/// The parameter in which a token may stand; it is not part of what is hashed.
const TOKEN_PARAMETER: &str = "jwt";

/// The hash of a request, in hex.
pub(in super::super) fn query_string_hash(request: &RawRequest) -> String {
    hex::encode(Sha256::digest(canonical(request)))
}

/// `METHOD&path&query`: the path without a slash at its end, the query sorted, repeated values joined by commas.
fn canonical(request: &RawRequest) -> String {
    let path = request.target.split('?').next().unwrap_or_default();
    let path = path.trim_end_matches('/');
    let path = if path.is_empty() { "/".to_owned() } else { path.replace('&', "%26") };
    let mut parameters: Vec<(String, String)> = parse(request.query().as_bytes())
        .filter(|(name, _)| name != TOKEN_PARAMETER)
        .map(|(name, value)| (encode(&name), encode(&value)))
        .collect();
    parameters.sort();
    let query: Vec<String> = parameters
        .chunk_by(|one, other| one.0 == other.0)
        .map(|same| {
            let values: Vec<&str> = same.iter().map(|(_, value)| value.as_str()).collect();
            format!("{}={}", same[0].0, values.join(","))
        })
        .collect();
    format!("{}&{path}&{}", request.method.to_ascii_uppercase(), query.join("&"))
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
fn encode(text: &str) -> String {
    use std::fmt::Write;
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical_of(method: &str, target: &str) -> String {
        let request = super::super::super::tests::request(method, target, &[], "");
        canonical(&request)
    }

    #[test]
    fn the_published_example_of_bitbucket() {
        let request = super::super::super::tests::request("GET", "/test?param=value", &[], "");
        assert_eq!(canonical(&request), "GET&/test&param=value");
        let hash = "be16910858a41fd19ea5c1b4e9decca9a784d1024cb00b2158defe2f29dc86dd";
        assert_eq!(query_string_hash(&request), hash);
    }

    #[test]
    fn a_query_has_one_spelling() {
        assert_eq!(canonical_of("post", "/a/?z=1&b=2&jwt=x.y.z"), "POST&/a&b=2&z=1");
        assert_eq!(canonical_of("GET", "/?a=2&a=1&b=a+b&c=%7e%2f"), "GET&/&a=1,2&b=a%20b&c=~%2F");
        assert_eq!(canonical_of("GET", "/"), "GET&/&");
    }
}
