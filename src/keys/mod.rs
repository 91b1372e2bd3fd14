//! Room `keys`: where secrets come from: `env:NAME`, `file:/path` (read anew each time), and in tests and the demo a
//! partner's own development secrets. The one room that reads the environment for secrets.
//! May not know schemes: decoding is `signatures`' business.

use std::{
    fs::File,
    io::{self, Read},
    path::PathBuf,
};

use crate::model::Secret;

pub mod seal;

/// A secret's file may have so many bytes. Real ones have under a hundred.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// `env:NAME`.
    Env(String),
    /// `file:/path`; a trailing newline is not part of the secret.
    File(PathBuf),
    /// A development secret from the partner's `[test]` table; only tests and the demo have them.
    Test(Secret),
}

/// Why a secret could not be had. Names the source, never the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The variable is not in the environment.
    #[error("the environment variable {0} is not set")]
    EnvMissing(String),
    /// The file cannot be read.
    #[error("{0}")]
    File(String),
    /// The text names no source. It is not repeated: it may be the secret itself.
    #[error("this names no source of a secret; write \"env:NAME\" or \"file:/path\"")]
    Source,
}

impl SecretSource {
    /// Reads `env:NAME` or `file:/absolute/path`.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        match text.split_once(':') {
            Some(("env", name)) if is_variable(name) => Ok(Self::Env(name.to_owned())),
            Some(("file", path)) if path.starts_with('/') => Ok(Self::File(PathBuf::from(path))),
            _ => Err(SecretError::Source),
        }
    }

    /// Reads the secret now. Call it again on reload: what it reads may have changed.
    pub fn resolve(&self) -> Result<Secret, SecretError> {
        match self {
            Self::Env(name) => from_environment(name),
            Self::File(path) => read_file(path).map(Secret::new).map_err(|error| {
                SecretError::File(format!("the secret file {} cannot be read: {error}", path.display()))
            }),
            Self::Test(secret) => Ok(secret.clone()),
        }
    }
}

fn is_variable(name: &str) -> bool {
    let starts_well = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    starts_well && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn from_environment(name: &str) -> Result<Secret, SecretError> {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one room that reads secrets from the environment"
    )]
    let value = std::env::var_os(name);
    let value = value.ok_or_else(|| SecretError::EnvMissing(name.to_owned()))?;
    Ok(Secret::new(value.into_encoded_bytes()))
}

fn read_file(path: &PathBuf) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other("it is larger than 64 KiB"));
    }
    let end = bytes.strip_suffix(b"\n").map(|rest| rest.strip_suffix(b"\r").unwrap_or(rest).len());
    bytes.truncate(end.unwrap_or(bytes.len()));
    Ok(bytes)
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

    #[test]
    fn a_file_is_read_anew_and_loses_one_line_break() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        let source = SecretSource::File(path.clone());
        let missing = source.resolve().expect_err("no file yet").to_string();
        assert!(missing.contains("cannot be read"), "{missing}");
        for (content, secret) in
            [("one\n", "one"), ("two\r\n", "two"), ("three\n\n", "three\n"), ("four", "four"), ("", "")]
        {
            std::fs::write(&path, content).expect("written");
            assert_eq!(source.resolve(), Ok(Secret::new(secret)), "{content:?}");
        }
        std::fs::write(&path, vec![b'a'; 70_000]).expect("written");
        assert!(source.resolve().is_err());
        assert!(SecretSource::File(folder.path().to_owned()).resolve().is_err());
    }

    #[test]
    fn a_variable_is_read_or_named() {
        assert!(SecretSource::Env("PATH".to_owned()).resolve().is_ok());
        let missing = SecretSource::Env("DOUANE_TEST_NOT_SET".to_owned()).resolve();
        assert_eq!(missing, Err(SecretError::EnvMissing("DOUANE_TEST_NOT_SET".to_owned())));
    }

    #[test]
    fn a_development_secret_is_itself() {
        let secret = Secret::new("a development secret");
        assert_eq!(SecretSource::Test(secret.clone()).resolve(), Ok(secret));
    }
}
