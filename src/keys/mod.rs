//! Room `keys`: where secrets come from: `env:NAME`, `file:/path` (re-read on change), and in tests and the demo `test:text`.
//! May not know schemes: decoding is `signatures`' business.

use crate::model::Secret;

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// `env:NAME`.
    Env(String),
    /// `file:/path`; a trailing newline is not part of the secret.
    File(std::path::PathBuf),
    /// A development secret from the partner's `[test]` table; only tests and the demo have them.
    Test(Secret),
}

/// Why a secret could not be had. Names the source, never the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error("the environment variable {0} is not set")]
    EnvMissing(String),
    #[error("{0}")]
    File(String),
    #[error("{0:?} names no source")]
    Source(String),
}

impl SecretSource {
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let _ = text;
        todo!()
    }
    /// Reads the secret now.
    pub fn resolve(&self) -> Result<Secret, SecretError> {
        todo!()
    }
}
pub const SEALED_PREFIX: &str = "sealed:";
