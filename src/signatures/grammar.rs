//! STUB
use super::{Key, KeyError};
use crate::model::{Assurance, FieldPath, Secret};

/// A signature scheme: the grammar, parsed and checked.
#[derive(Debug)]
pub struct Scheme;

/// Why a `[signature]` table is no scheme; `offset` is the byte in the text where it went wrong, when known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SchemeError {
    pub code: &'static str,
    pub message: String,
    pub help: String,
    pub span: Option<std::ops::Range<usize>>,
}

impl Scheme {
    /// Reads the grammar from a `[signature]` TOML table (as text).
    pub fn parse(text: &str) -> Result<Self, SchemeError> {
        let _ = text;
        todo!()
    }
    /// Decodes a secret into a key, strictly; refuses empty, too short and placeholder secrets.
    pub fn key(&self, id: &str, secret: &Secret) -> Result<Key, KeyError> {
        let _ = (id, secret);
        todo!()
    }
    pub fn assurance(&self) -> Assurance {
        todo!()
    }
    /// What it covers, in the preset's words.
    pub fn covers(&self) -> &[String] {
        todo!()
    }
    /// For schemes that sign each item of a batch: the split whose items are verified.
    pub fn signed_items(&self) -> Option<&str> {
        todo!()
    }
}
