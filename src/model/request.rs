//! Room `model`: a request as it arrived, byte for byte.

use std::{borrow::Cow, fmt, net::IpAddr};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

/// A header value: the exact bytes. Written in JSON as a string when it is UTF-8, else as `{"base64": "…"}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderValue(pub Bytes);

impl HeaderValue {
    /// The value as text, where it is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

#[derive(Serialize, Deserialize)]
struct Base64Value<'a> {
    base64: Cow<'a, str>,
}

impl Serialize for HeaderValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.as_str() {
            Some(text) => serializer.serialize_str(text),
            None => Base64Value { base64: STANDARD.encode(&self.0).into() }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for HeaderValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrBase64)
    }
}

/// Takes a header value as it is written in JSON.
struct TextOrBase64;

impl<'de> Visitor<'de> for TextOrBase64 {
    type Value = HeaderValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a header's value as a string or as {\"base64\": …}")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<HeaderValue, E> {
        Ok(HeaderValue(Bytes::copy_from_slice(text.as_bytes())))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<HeaderValue, A::Error> {
        let value = Base64Value::deserialize(MapAccessDeserializer::new(map))?;
        let bytes = STANDARD.decode(value.base64.as_ref()).map_err(de::Error::custom)?;
        Ok(HeaderValue(bytes.into()))
    }
}

/// Headers whose name has one of these parts carry a credential; `_` counts as `-`.
pub const CREDENTIAL_PARTS: [&str; 18] = [
    "access-key",
    "accesskey",
    "api-key",
    "apikey",
    "auth-key",
    "authkey",
    "authorization",
    "cookie",
    "credential",
    "jwt",
    "passphrase",
    "passwd",
    "password",
    "private-key",
    "secret",
    "session",
    "signing-key",
    "token",
];

/// Names that say it whole; as parts they would be in too many others (`x-author`).
const CREDENTIAL_NAMES: [&str; 2] = ["auth", "x-auth"];

/// Whether a header of this (lower-case) name carries a credential: such ones are sealed in the intake log, unknown to
/// mappings, shown to nobody. Signatures and ids are none: rules read them.
pub fn is_credential_header(name: &str) -> bool {
    let bytes = name.as_bytes();
    let begins_here =
        |at: usize| CREDENTIAL_PARTS.iter().any(|part| begins_with(&bytes[at..], part.as_bytes()));
    // Asked of every header of every delivery: where none of the parts can begin, none is compared.
    let may_begin = |two: &[u8]| {
        matches!(two, b"ac" | b"ap" | b"au" | b"co" | b"cr" | b"jw" | b"pa" | b"pr" | b"se" | b"si" | b"to")
    };
    bytes.windows(2).enumerate().any(|(at, two)| may_begin(two) && begins_here(at))
        || CREDENTIAL_NAMES.contains(&name)
}

fn begins_with(name: &[u8], part: &[u8]) -> bool {
    let is_same = |(byte, due): (&u8, &u8)| byte == due || (*byte == b'_' && *due == b'-');
    name.len() >= part.len() && name.iter().zip(part).all(is_same)
}

/// Whether a query parameter carries a credential; `name` as it stands in the target.
pub fn is_credential_parameter(name: &str) -> bool {
    let mut decoded = form_urlencoded::parse(name.as_bytes());
    decoded.next().is_some_and(|(name, _)| is_credential_header(&name.to_ascii_lowercase()))
}

/// Headers: names lower-cased, repeated values each on their own and in the order received. Among names the order is that of
/// the HTTP library, which does not keep the sender's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Headers(pub Vec<(String, HeaderValue)>);

impl Headers {
    /// Every value of a header, in order. `name` is lower case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a HeaderValue> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value)
    }

    /// The value of a header that stands exactly once; `None` when it is absent or repeated.
    pub fn single<'a>(&'a self, name: &'a str) -> Option<&'a HeaderValue> {
        let mut values = self.all(name);
        let first = values.next()?;
        values.next().is_none().then_some(first)
    }

    /// Adds a header at the end; the name is lower-cased.
    pub fn push(&mut self, name: &str, value: impl Into<Bytes>) {
        self.0.push((name.to_ascii_lowercase(), HeaderValue(value.into())));
    }
}

/// One HTTP request, read whole and within bounds, not yet believed.
#[derive(Clone, Debug)]
pub struct RawRequest {
    /// The method, as `POST`.
    pub method: String,
    /// Path and query as received.
    pub target: String,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub version: String,
    /// Every header.
    pub headers: Headers,
    /// The body after transfer decoding and before content decoding.
    pub body: Bytes,
    /// The address of the peer.
    pub peer: Option<IpAddr>,
}

impl RawRequest {
    /// The query part of the target, without `?`; empty when there is none.
    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_carries_a_credential_is_known_by_its_name() {
        for part in CREDENTIAL_PARTS {
            assert!(is_credential_header(part) && is_credential_header(&format!("x-lab-{part}-1")), "{part}");
        }
        for name in [
            "authorization",
            "proxy-authorization",
            "set-cookie",
            "x-auth",
            "x-auth-key",
            "x-auth-token",
            "x-access-key",
            "x-signing-key",
            "x-passwd",
            "x-credential",
            "x-jwt",
            "x-session-id",
            "x_api_key",
        ] {
            assert!(is_credential_header(name), "{name}");
        }
    }

    #[test]
    fn signatures_and_ids_carry_none() {
        for name in [
            "x-hub-signature-256",
            "x-shopify-hmac-sha256",
            "webhook-signature",
            "stripe-signature",
            "hmacsignature",
            "x-slack-signature",
            "x-github-delivery",
            "x-shopify-webhook-id",
            "webhook-id",
            "idempotency-key",
            "x-author",
            "authority",
            "user-agent",
            "content-type",
            "x-request-id",
            "",
        ] {
            assert!(!is_credential_header(name), "{name}");
        }
    }

    #[test]
    fn a_parameter_is_known_however_it_is_written() {
        for name in
            ["api_key", "apiKey", "access_token", "ACCESS-TOKEN", "%74oken", "secret", "password", "auth"]
        {
            assert!(is_credential_parameter(name), "{name}");
        }
        for name in ["signature", "id", "shop", "", "author"] {
            assert!(!is_credential_parameter(name), "{name}");
        }
    }
}
