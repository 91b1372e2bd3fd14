//! Room `keys`: where secrets come from: `env:NAME`, `file:/path` (read anew each time), and in tests and the demo a
//! partner's own development secrets; and where keys come from that providers publish ([`remote`]). The one room that reads
//! the environment for secrets.
//! May not know schemes: decoding is `signatures`' business.

use std::{
    fs::File,
    io::{self, Read},
    path::PathBuf,
};

use crate::model::Secret;
pub use crate::model::SecretSource;

pub mod remote;
pub mod seal;

/// A secret's file may have so many bytes. Real ones have under a hundred.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Why a secret could not be had. Names the source, never the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The variable is not in the environment.
    #[error("the environment variable {0} is not set")]
    EnvMissing(String),
    /// The file cannot be read.
    #[error("{0}")]
    File(String),
}

impl SecretSource {
    /// Reads the secret now. Call it again on reload: what it reads may have changed.
    pub fn resolve(&self) -> Result<Secret, SecretError> {
        match self {
            Self::Env(name) => from_environment(name),
            Self::File(path) => read_file(path).map(Secret::new).map_err(|error| {
                SecretError::File(format!("the secret file {} cannot be read: {error}", path.display()))
            }),
            Self::Public(key) => Ok(Secret::new(key.as_str())),
            Self::Test(secret) => Ok(secret.clone()),
        }
    }
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
