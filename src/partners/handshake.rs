//! Room `partners`: handshakes, as the intake answers them: which request is one, and what is answered. Plain data.

use std::{fmt, time::Duration};

use crate::{
    model::{FieldPath, Root},
    signatures::{ChallengeHash, Guard},
};

/// A request that proves the endpoint to the partner's system: answered, not kept.
#[derive(Clone, Debug)]
pub struct Handshake {
    /// `true`: answered only after its signature held.
    pub signed: bool,
    /// The HTTP method it comes with.
    pub method: String,
    /// Which requests it is.
    pub condition: Condition,
    /// Text that must be the secret of this name; else the request is refused.
    pub token: Option<(FieldPath, String)>,
    /// Text that must be one of these; else the request is refused.
    pub one_of: Option<(FieldPath, Vec<String>)>,
    /// Which texts of a stranger are sent back or signed.
    pub guard: Guard,
    /// The status of the answer.
    pub status: u16,
    /// The body of the answer.
    pub body: AnswerBody,
    /// Headers of the answer, in lower case.
    pub headers: Vec<(String, AnswerValue)>,
    /// The text that is a secret of the endpoint from now on, if the endpoint is armed.
    pub learn: Option<FieldPath>,
    /// Whether a person must see what was learnt, once, because the partner's system asks for it.
    pub reveal: bool,
    /// The link that is visited.
    pub confirm: Option<ConfirmRule>,
}

/// A link that a handshake asks to be visited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfirmRule {
    /// Where the link stands.
    pub path: FieldPath,
    /// Where an address stands whose host the link must have: one that the signature was verified with.
    pub host_of: FieldPath,
    /// For how long the partner's system takes it.
    pub valid: Duration,
}

/// Which requests are a handshake: everything must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// Each must have just this text.
    pub when: Vec<(FieldPath, String)>,
    /// Each must be there, once.
    pub present: Vec<FieldPath>,
    /// The one key of the body, which has no other.
    pub only_key: Option<String>,
}

/// The body of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerBody {
    /// Text, of this content type: the values one after another. None: there is no body.
    Text(String, Vec<AnswerValue>),
    /// A JSON object.
    Json(Vec<(String, AnswerValue)>),
}

/// A value of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerValue {
    /// What the file says; a text anywhere but in JSON.
    Fixed(serde_json::Value),
    /// The text at a path.
    Echo(FieldPath),
    /// The HMAC of the texts at these paths, one after another, under the endpoint's first secret.
    Hmac {
        /// With which hash.
        hash: ChallengeHash,
        /// The texts.
        of: Vec<FieldPath>,
        /// How it is written.
        writing: Writing,
        /// What stands before it.
        prefix: String,
    },
    /// SHA-256 of these parts, one after another.
    Sha256(Vec<HashPart>, Writing),
}

/// How bytes are written in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    /// Hexadecimal, lower case.
    Hex,
    /// Base64 with padding.
    Base64,
}

/// A part of what is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashPart {
    /// The text at a path.
    Field(FieldPath),
    /// A parameter of the endpoint.
    Fixed(String),
    /// The secret of this name.
    Secret(String),
}

impl Handshake {
    /// Whether it signs what a stranger sends.
    pub fn signs(&self) -> bool {
        self.values().any(|value| matches!(value, AnswerValue::Hmac { .. }))
    }

    /// Most texts that one signature of it is over.
    pub fn signed_parts(&self) -> usize {
        let parts = self.values().map(|value| match value {
            AnswerValue::Hmac { of, .. } => of.len(),
            _ => 0,
        });
        parts.max().unwrap_or(0)
    }

    /// The names of the secrets it uses beside the signature's.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let hashed = self.values().filter_map(|value| match value {
            AnswerValue::Sha256(parts, _) => Some(parts),
            _ => None,
        });
        let hashed = hashed.flatten().filter_map(|part| match part {
            HashPart::Secret(name) => Some(name.as_str()),
            _ => None,
        });
        self.token.iter().map(|(_, name)| name.as_str()).chain(hashed)
    }

    /// Every value of the answer.
    pub fn values(&self) -> impl Iterator<Item = &AnswerValue> {
        let (text, json) = match &self.body {
            AnswerBody::Text(_, values) => (values.as_slice(), &[][..]),
            AnswerBody::Json(pairs) => (&[][..], pairs.as_slice()),
        };
        text.iter().chain(json.iter().chain(&self.headers).map(|(_, value)| value))
    }
}

impl Condition {
    /// Whether every request would be the handshake.
    pub fn is_empty(&self) -> bool {
        self.when.is_empty() && self.present.is_empty() && self.only_key.is_none()
    }

    /// Whether it looks into the body. What looks only beside it says nothing of what the body holds.
    pub fn reads_body(&self) -> bool {
        let mut paths = self.when.iter().map(|(path, _)| path).chain(&self.present);
        self.only_key.is_some() || paths.any(|path| path.root() == Root::Body)
    }
}

/// As a person reads it in a listing.
impl fmt::Display for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signed = if self.signed { "signed" } else { "unsigned" };
        write!(f, "{signed} {}{}", self.method, self.condition)?;
        if let Some((path, secret)) = &self.token {
            write!(f, ", with the secret {secret:?} as {path}")?;
        }
        if let Some((path, texts)) = &self.one_of {
            write!(f, ", with {path} one of {}", texts.join(", "))?;
        }
        write!(f, ", answered {}", self.status)?;
        match &self.body {
            AnswerBody::Text(_, values) if values.is_empty() => {}
            AnswerBody::Text(_, values) => {
                let values: Vec<_> = values.iter().map(ToString::to_string).collect();
                write!(f, " with {}", values.join(" and "))?;
            }
            AnswerBody::Json(pairs) => {
                let pairs: Vec<_> = pairs.iter().map(|(key, value)| format!("{key}: {value}")).collect();
                write!(f, " with {{ {} }}", pairs.join(", "))?;
            }
        }
        self.headers.iter().try_for_each(|(name, value)| write!(f, ", {name}: {value}"))?;
        self.learn.iter().try_for_each(|path| write!(f, "; teaches the secret {path} while armed"))?;
        if self.reveal {
            write!(f, ", which a person is shown once")?;
        }
        self.confirm.iter().try_for_each(|rule| write!(f, "; the link {} is visited", rule.path))
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = self.when.iter().map(|(path, text)| format!("{path} = {text:?}"));
        let present = self.present.iter().map(|path| format!("there is {path}"));
        let only = self.only_key.iter().map(|key| format!("the body has the one key {key:?}"));
        let all: Vec<_> = when.chain(present).chain(only).collect();
        if all.is_empty() { Ok(()) } else { write!(f, " where {}", all.join(", ")) }
    }
}

impl fmt::Display for AnswerValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(value) => write!(f, "{value}"),
            Self::Echo(path) => write!(f, "the text of {path}"),
            Self::Hmac { hash, of, prefix, .. } => {
                let of: Vec<_> = of.iter().map(ToString::to_string).collect();
                write!(f, "{prefix}hmac-{hash} of {}", of.join(" and "))
            }
            Self::Sha256(parts, _) => {
                let parts: Vec<_> = parts.iter().map(ToString::to_string).collect();
                write!(f, "sha256 of {}", parts.join(" and "))
            }
        }
    }
}

impl fmt::Display for HashPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(path) => write!(f, "{path}"),
            Self::Fixed(text) => f.write_str(text),
            Self::Secret(name) => write!(f, "the secret {name:?}"),
        }
    }
}
