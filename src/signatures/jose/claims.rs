//! Room `signatures`: what a token must say. A claim is a fixed value, or something of the request itself: that is what
//! binds a token to the request that it came with. Times are looked at on both sides.

use std::{fmt, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};
use vrl::value::{ObjectMap, Value};

use super::{super::SignatureError, qsh::query_string_hash};
use crate::model::{RawRequest, Timestamp, strict_json};

/// What stands between the names of a claim that a token may have under any of them.
pub(in super::super) const OR: &str = " or ";

/// What a token must say.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Claims {
    /// Claims and what each must be.
    pub(in super::super) rules: Vec<(String, Claim)>,
    /// How old the token may be, by its `iat`; then it must have one.
    pub(in super::super) max_age: Option<Duration>,
    /// How far clocks may differ.
    pub(in super::super) tolerance: Duration,
    /// It may have no end.
    pub(in super::super) endless: bool,
}

/// What a claim must be.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) enum Claim {
    /// This text, or an array that has it (`aud`).
    Text(String),
    /// This truth value.
    Truth(bool),
    /// This integer.
    Integer(i64),
    /// Something of the request.
    Bound(Bound),
}

/// Something of the request that a claim repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Bound {
    /// `{body|sha256}`: the raw body's SHA-256, in hex.
    BodySha256,
    /// `{body|sha256_base64}`: the same in base64.
    BodySha256Base64,
    /// `{url}`: the public address of the request.
    Url,
    /// `{url|sha256}`: its SHA-256, in hex.
    UrlSha256,
    /// `{qsh}`: Atlassian's hash of method, path and query.
    QueryStringHash,
}

impl Bound {
    /// What stands in braces, if it is one.
    pub(in super::super) fn parse(text: &str) -> Option<Self> {
        const ALL: [Bound; 5] = [
            Bound::BodySha256,
            Bound::BodySha256Base64,
            Bound::Url,
            Bound::UrlSha256,
            Bound::QueryStringHash,
        ];
        ALL.into_iter().find(|bound| bound.text() == text)
    }

    /// What stands in braces.
    const fn text(self) -> &'static str {
        match self {
            Self::BodySha256 => "{body|sha256}",
            Self::BodySha256Base64 => "{body|sha256_base64}",
            Self::Url => "{url}",
            Self::UrlSha256 => "{url|sha256}",
            Self::QueryStringHash => "{qsh}",
        }
    }

    /// Whether it binds the body.
    pub(in super::super) fn is_of_body(self) -> bool {
        matches!(self, Self::BodySha256 | Self::BodySha256Base64)
    }

    pub(in super::super) fn of(
        self,
        request: &RawRequest,
        public_url: Option<&str>,
    ) -> Result<String, SignatureError> {
        // Without our own address nobody can tell whose a token is: our fault.
        let url = || public_url.map(|base| format!("{base}{}", request.target)).ok_or(SignatureError::NoKey);
        Ok(match self {
            Self::BodySha256 => hex::encode(Sha256::digest(&request.body)),
            Self::BodySha256Base64 => STANDARD.encode(Sha256::digest(&request.body)),
            Self::Url => url()?,
            Self::UrlSha256 => hex::encode(Sha256::digest(url()?)),
            Self::QueryStringHash => query_string_hash(request),
        })
    }
}

/// As `[signature]` writes it.
impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Truth(truth) => write!(f, "{truth}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Bound(bound) => f.write_str(bound.text()),
        }
    }
}

impl Claims {
    /// Holds the claims of a genuine token against a request.
    pub(in super::super) fn check(
        &self,
        payload: &[u8],
        request: &RawRequest,
        public_url: Option<&str>,
        now: Timestamp,
    ) -> Result<(), SignatureError> {
        let payload = strict_json::read(payload);
        let payload = payload.as_ref().ok().and_then(Value::as_object);
        let payload = payload.ok_or(SignatureError::Malformed("the token's payload is no JSON object"))?;
        for (name, claim) in &self.rules {
            let said: Vec<&Value> = name.split(OR).filter_map(|name| payload.get(name)).collect();
            if said.is_empty() {
                return Err(SignatureError::Claim("one is missing"));
            }
            for said in said {
                if !claim.is(said, request, public_url)? {
                    return Err(SignatureError::Claim("one has another value"));
                }
            }
        }
        self.check_times(payload, now)
    }

    fn check_times(&self, payload: &ObjectMap, now: Timestamp) -> Result<(), SignatureError> {
        let (ends, begins, made) = (time(payload, "exp")?, time(payload, "nbf")?, time(payload, "iat")?);
        if ends.is_none() && self.max_age.is_none() && !self.endless {
            return Err(SignatureError::Claim("exp is missing"));
        }
        if made.is_none() && self.max_age.is_some() {
            return Err(SignatureError::Claim("iat is missing"));
        }
        if ends.is_some_and(|ends| now.since(ends) >= self.tolerance && now > ends) {
            return Err(SignatureError::Stale);
        }
        if [begins, made].into_iter().flatten().any(|time| time.since(now) > self.tolerance) {
            return Err(SignatureError::Future);
        }
        let too_old = |(max_age, made): (Duration, Timestamp)| now.since(made) > max_age;
        if self.max_age.zip(made).is_some_and(too_old) { Err(SignatureError::Stale) } else { Ok(()) }
    }
}

impl Claim {
    pub(in super::super) fn is(
        &self,
        said: &Value,
        request: &RawRequest,
        public_url: Option<&str>,
    ) -> Result<bool, SignatureError> {
        let is_text = |said: &Value, text: &str| said.as_bytes().is_some_and(|said| said == text.as_bytes());
        Ok(match self {
            Self::Text(text) => {
                let among = |said: &[Value]| said.iter().any(|said| is_text(said, text));
                is_text(said, text) || said.as_array().is_some_and(among)
            }
            Self::Truth(truth) => said.as_boolean() == Some(*truth),
            Self::Integer(number) => said.as_integer() == Some(*number),
            Self::Bound(bound) => is_text(said, &bound.of(request, public_url)?),
        })
    }
}

/// A NumericDate (RFC 7519): seconds, whole or not.
pub(in super::super) fn time(payload: &ObjectMap, name: &str) -> Result<Option<Timestamp>, SignatureError> {
    const MALFORMED: SignatureError = SignatureError::Malformed("a time of the token is not one");
    #[expect(clippy::cast_possible_truncation, reason = "what is out of range is no time either")]
    let seconds = match payload.get(name) {
        None => return Ok(None),
        Some(Value::Integer(seconds)) => *seconds,
        Some(Value::Float(seconds)) if seconds.abs() < 1e12 => seconds.floor() as i64,
        Some(_) => return Err(MALFORMED),
    };
    let seconds = Some(seconds).filter(|seconds| *seconds >= 0);
    seconds.and_then(Timestamp::from_seconds).map(Some).ok_or(MALFORMED)
}
