//! Room `model`: where a secret is to be had. Only names the place; `keys` reads what is there.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Secret;

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// `env:NAME`.
    Env(String),
    /// `file:/path`; a trailing newline is not part of the secret.
    File(PathBuf),
    /// A public key, which is none: it stands in the partner's file.
    Public(String),
    /// A development secret from the partner's `[test]` table; only tests and the demo have them.
    Test(Secret),
}

/// The text names no source. It is not repeated: it may be the secret itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this names no source of a secret; write \"env:NAME\" or \"file:/path\"")]
pub struct NoSource;

impl SecretSource {
    /// Reads `env:NAME` or `file:/absolute/path`.
    pub fn parse(text: &str) -> Result<Self, NoSource> {
        match text.split_once(':') {
            Some(("env", name)) if is_variable(name) => Ok(Self::Env(name.to_owned())),
            Some(("file", path)) if path.starts_with('/') => Ok(Self::File(PathBuf::from(path))),
            _ => Err(NoSource),
        }
    }
}

fn is_variable(name: &str) -> bool {
    let starts_well = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    starts_well && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

impl Serialize for SecretSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Env(name) => serializer.collect_str(&format_args!("env:{name}")),
            Self::File(path) => serializer.collect_str(&format_args!("file:{}", path.display())),
            Self::Public(_) => serializer.serialize_str("public_key"),
            Self::Test(_) => serializer.serialize_str("[test]"),
        }
    }
}

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sources_and_nothing_else() {
        assert_eq!(
            SecretSource::parse("env:STRIPE_SECRET"),
            Ok(SecretSource::Env("STRIPE_SECRET".to_owned()))
        );
        assert_eq!(SecretSource::parse("file:/run/s"), Ok(SecretSource::File("/run/s".into())));
        for bad in
            ["", "whsec_abcdef", "env:", "env:A B", "env:1A", "file:relative", "test:abc", "ENV:A", " env:A"]
        {
            let error = SecretSource::parse(bad).expect_err("must be refused");
            assert!(bad.len() < 6 || !error.to_string().contains(bad), "{bad}");
        }
    }
}
