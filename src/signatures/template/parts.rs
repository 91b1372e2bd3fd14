//! Room `signatures`: the parts of a message: where each comes from, what is done to it, and what can be said of its borders.

use std::fmt;

use crate::model::{FieldPath, PathError};

/// One part of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A text that is always the same.
    Literal(String),
    /// What a request holds.
    Slot(Slot),
    /// A slot between two texts, left out whole when it is absent.
    Optional {
        /// The text before it; never empty.
        before: String,
        /// The slot.
        slot: Slot,
        /// The text after it; never empty.
        after: String,
    },
}

/// A part that comes from the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// Where it comes from.
    pub(super) source: Source,
    /// What is done to it, in order.
    pub(super) filters: Vec<Filter>,
}

/// Where a part comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The raw body.
    Body,
    /// The time of sending, as it stands in the request.
    Timestamp,
    /// A header or field.
    Field(FieldPath, JsonType),
    /// The HTTP method.
    Method,
    /// Scheme, host, port and path prefix of the endpoint's public address: configured, never taken from the request.
    Base,
    /// Path and query as received, behind [`Source::Base`].
    Target,
    /// Path and query of the public address.
    PathAndQuery,
    /// The path of the public address.
    Path,
    /// The query as received.
    RawQuery,
    /// The secret, for plain keyed hashes.
    Secret,
    /// The form's fields by name, names and values glued together.
    Form,
    /// The form's fields by name, as `k=v` with `&` between them, without these and the empty ones.
    Pairs(Vec<String>),
    /// The headers that a signed list of headers names.
    SignedHeaders,
    /// The headers that TrueLayer's token lists.
    TlHeaders,
    /// The address, the form and a nonce, as Plivo signs them.
    PlivoV3,
    /// The raw body with the secret in the place of this field's text.
    BodyWithSecret(FieldPath),
}

/// What is done to a part before it is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    /// Base64 with padding.
    Base64,
    /// SHA-256 in lower-case hex.
    Sha256,
    /// SHA-256 in base64.
    Sha256Base64,
    /// CRC-32 (IEEE) as a decimal number.
    Crc32,
    /// A JSON string with its quotes.
    Json,
    /// ASCII letters in lower case.
    Lower,
    /// The text of the piece with this name, among pieces such as `sign=…, env=…`.
    Pair(String),
}

/// What a signed field is in JSON. A signature covers its spelling only, so without this `"true"` and `true`, or `"5"` and
/// `5`, would be under one signature, and a mapping would read another value than the partner sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonType {
    /// A string; what a field is unless the template says otherwise.
    Text,
    /// An integer: `{item.amount.value:integer}`.
    Integer,
    /// True or false: `{body.livemode:boolean}`.
    Boolean,
}

/// What can be said about where a part begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Border {
    /// It is a text that the verifier knows beforehand.
    Known,
    /// It says itself where it begins and ends: a timestamp, a method, a digest of fixed length.
    Certain,
    /// It may be anything.
    Uncertain,
    /// The raw body.
    Body,
}

impl Part {
    pub(super) fn slot(&self) -> Option<&Slot> {
        match self {
            Self::Literal(_) => None,
            Self::Slot(slot) | Self::Optional { slot, .. } => Some(slot),
        }
    }

    /// The text that it begins with, where it always does.
    pub(super) fn beginning(&self) -> Option<&str> {
        match self {
            Self::Literal(text) | Self::Optional { before: text, .. } => Some(text),
            Self::Slot(_) => None,
        }
    }

    pub(super) fn is_optional(&self) -> bool {
        matches!(self, Self::Optional { .. })
    }
}

impl Slot {
    pub(super) fn of(source: Source) -> Self {
        Self { source, filters: Vec::new() }
    }

    pub(super) fn path(&self) -> Option<&FieldPath> {
        match &self.source {
            Source::Field(path, _) => Some(path),
            _ => None,
        }
    }

    /// Whether it binds all of what it comes from: a CRC does not, for anyone can make another text with the same one.
    pub(super) fn is_binding(&self) -> bool {
        self.loose_filter().is_none()
    }

    fn loose_filter(&self) -> Option<&Filter> {
        self.filters.iter().find(|filter| matches!(filter, Filter::Crc32 | Filter::Lower | Filter::Pair(_)))
    }

    pub(super) fn is_raw_body(&self) -> bool {
        self.source == Source::Body && self.filters.is_empty()
    }

    pub(super) fn border(&self) -> Border {
        let digest = matches!(self.filters.last(), Some(Filter::Sha256 | Filter::Sha256Base64));
        match &self.source {
            Source::Base => Border::Known,
            Source::Timestamp | Source::Method | Source::Secret if self.filters.is_empty() => Border::Certain,
            Source::Body if self.filters.is_empty() => Border::Body,
            _ if digest => Border::Certain,
            _ => Border::Uncertain,
        }
    }

    /// Its name in `covers`, with the filter that leaves something of it open; `None` for what is no part of the request.
    pub(super) fn name(&self) -> Option<String> {
        let text;
        let name = match &self.source {
            Source::Body | Source::BodyWithSecret(_) => "body",
            Source::Timestamp => "timestamp",
            Source::Method => "method",
            Source::Base | Source::Secret => return None,
            Source::Target => "url",
            Source::PathAndQuery => "target",
            Source::Path => "path",
            Source::RawQuery => "query",
            Source::Form | Source::Pairs(_) => "form",
            Source::SignedHeaders | Source::TlHeaders => "signed headers",
            Source::PlivoV3 => "url and form",
            Source::Field(path, _) => {
                text = path.to_string();
                &text
            }
        };
        Some(self.loose_filter().map_or(name.to_owned(), |filter| format!("{name}|{filter}")))
    }
}

/// What stands before the field that has the secret in its place.
const WITH_SECRET: &str = "body:with secret at ";

impl Source {
    /// Reads what stands in the braces before the filters.
    pub(super) fn parse(name: &str) -> Result<Self, PathError> {
        Ok(match name {
            "body" => Self::Body,
            "timestamp" => Self::Timestamp,
            "method" => Self::Method,
            "target" => Self::PathAndQuery,
            "path" => Self::Path,
            "raw_query" => Self::RawQuery,
            "secret" => Self::Secret,
            "form" => Self::Form,
            "signed_headers" => Self::SignedHeaders,
            "tl_headers" => Self::TlHeaders,
            "plivo_v3" => Self::PlivoV3,
            _ if name.starts_with(WITH_SECRET) => {
                Self::BodyWithSecret(FieldPath::parse(&format!("body.{}", &name[WITH_SECRET.len()..]))?)
            }
            _ => match name.strip_prefix("form:pairs") {
                Some("") => Self::Pairs(Vec::new()),
                Some(rest) if rest.starts_with(" without ") => {
                    Self::Pairs(rest[" without ".len()..].split(' ').map(str::to_owned).collect())
                }
                _ => {
                    let (path, json) = JsonType::split_off(name);
                    Self::Field(FieldPath::parse(path)?, json)
                }
            },
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Body => "body",
            Self::Timestamp => "timestamp",
            Self::Method => "method",
            Self::Base => "url",
            Self::Target => "",
            Self::PathAndQuery => "target",
            Self::Path => "path",
            Self::RawQuery => "raw_query",
            Self::Secret => "secret",
            Self::Form => "form",
            Self::SignedHeaders => "signed_headers",
            Self::TlHeaders => "tl_headers",
            Self::PlivoV3 => "plivo_v3",
            Self::BodyWithSecret(field) => {
                let field = field.to_string();
                return write!(f, "{WITH_SECRET}{}", field.trim_start_matches("body."));
            }
            Self::Pairs(without) if without.is_empty() => "form:pairs",
            Self::Pairs(without) => return write!(f, "form:pairs without {}", without.join(" ")),
            Self::Field(path, JsonType::Text) => return write!(f, "{path}"),
            Self::Field(path, JsonType::Integer) => return write!(f, "{path}:integer"),
            Self::Field(path, JsonType::Boolean) => return write!(f, "{path}:boolean"),
        })
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}", self.source)?;
        self.filters.iter().try_for_each(|filter| write!(f, "|{filter}"))?;
        f.write_str("}")
    }
}

impl Filter {
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "base64" => Self::Base64,
            "sha256" => Self::Sha256,
            "sha256_base64" => Self::Sha256Base64,
            "crc32" => Self::Crc32,
            "json" => Self::Json,
            "lower" => Self::Lower,
            _ => Self::Pair(name.strip_prefix("pair:").filter(|name| !name.is_empty())?.to_owned()),
        })
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Base64 => "base64",
            Self::Sha256 => "sha256",
            Self::Sha256Base64 => "sha256_base64",
            Self::Crc32 => "crc32",
            Self::Json => "json",
            Self::Lower => "lower",
            Self::Pair(name) => return write!(f, "pair:{name}"),
        })
    }
}

impl JsonType {
    /// Takes the type off the end of what stands in the braces.
    fn split_off(text: &str) -> (&str, Self) {
        match text.rsplit_once(':') {
            Some((path, "integer")) => (path, Self::Integer),
            Some((path, "boolean")) => (path, Self::Boolean),
            _ => (text, Self::Text),
        }
    }
}
