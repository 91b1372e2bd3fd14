//! Room `model`: a request as it arrived, byte for byte.

use std::{borrow::Cow, net::IpAddr};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

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
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Ok(Self(text.into())),
            other => {
                let value: Base64Value<'_> =
                    serde_json::from_value(other).map_err(serde::de::Error::custom)?;
                let bytes = STANDARD.decode(value.base64.as_ref());
                bytes.map(|bytes| Self(bytes.into())).map_err(serde::de::Error::custom)
            }
        }
    }
}

/// Headers whose name has one of these parts carry a credential.
pub const CREDENTIAL_PARTS: [&str; 7] =
    ["authorization", "cookie", "token", "secret", "password", "api-key", "apikey"];

/// Whether a header of this (lower-case) name carries a credential: such ones are sealed in the intake log, unknown to
/// mappings, shown to nobody.
pub fn is_credential_header(name: &str) -> bool {
    let bytes = name.as_bytes();
    let begins_here =
        |at: usize| CREDENTIAL_PARTS.iter().any(|part| bytes[at..].starts_with(part.as_bytes()));
    // Asked of every header of every delivery: where none of the parts can begin, none is compared.
    (0..bytes.len()).any(|at| matches!(bytes[at], b'a' | b'c' | b't' | b's' | b'p') && begins_here(at))
}

/// Headers in the order received: names lower-cased, repeated values each on their own.
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
