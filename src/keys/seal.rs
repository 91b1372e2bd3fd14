//! Room `keys`: sealing. Credentials that stand in request headers are kept, because a delivery is kept exactly, but
//! encrypted: a copy of the intake log gives none away without the key file that stays in the data folder.

use std::{
    fmt, fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::model::Secret;
use base64::{Engine, engine::general_purpose::STANDARD};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What every sealed value begins with: it tells those who show headers that this one is not to be shown.
pub const SEALED_PREFIX: &str = r#"{"sealed":""#;

/// The key file's name in the data folder: 64 hex digits, readable by its owner only.
pub const SEALING_KEY_FILE: &str = "sealing.key";

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

/// Why sealing is not possible. Never shows the key or what was to be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key file could not be read or made.
    #[error("the sealing key {} could not be read or made: {source}", path.display())]
    File {
        /// The key file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The key file is gone, and what it sealed is still there.
    #[error(
        "the sealing key {} is missing although there is an intake log, whose sealed headers nothing else can open; \
         restore it from the backup of this data folder",
        path.display()
    )]
    Missing {
        /// The key file.
        path: PathBuf,
    },
    /// The key file holds something else.
    #[error("{} is no sealing key: it must hold 64 hex digits; restore it from a backup of the data folder", path.display())]
    Malformed {
        /// The key file.
        path: PathBuf,
    },
    /// What was given is no key.
    #[error("no sealing key: it must be 64 hex digits, as `openssl rand -hex 32` makes them")]
    NoKey,
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    /// The cipher refused.
    #[error("the value could not be sealed")]
    Cipher,
}

/// Seals values with XChaCha20-Poly1305 under one key. A value is bound to its label, so that it cannot be moved.
#[derive(Clone)]
pub struct Sealer {
    cipher: XChaCha20Poly1305,
    key_id: String,
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    sealed: String,
}

impl Sealer {
    /// Uses the key file of a data folder, and makes one where there is none. `log_has_begun`: whether something may have
    /// been sealed there before; then a new key would hide that the old one is lost.
    pub fn open(data_dir: &Path, log_has_begun: bool) -> Result<Self, SealError> {
        let path = data_dir.join(SEALING_KEY_FILE);
        let digits = match fs::read(&path) {
            Ok(text) => Secret::new(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound && log_has_begun => {
                return Err(SealError::Missing { path });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(data_dir, &path)?,
            Err(source) => return Err(SealError::File { path, source }),
        };
        Self::from_hex(&digits).map_err(|_| SealError::Malformed { path })
    }

    /// Uses the key that 64 hex digits spell.
    pub fn from_hex(digits: &Secret) -> Result<Self, SealError> {
        let key = hex::decode(digits.expose().trim_ascii()).ok().map(Secret::new);
        let sealer = key.and_then(|key| key.expose().try_into().ok().map(Self::with_key));
        sealer.ok_or(SealError::NoKey)
    }

    /// Uses a given key.
    pub fn with_key(key: &[u8; KEY_BYTES]) -> Self {
        let key_id = hex::encode(&Sha256::digest(key)[..4]);
        Self { cipher: XChaCha20Poly1305::new(key.into()), key_id }
    }

    /// Names the key without giving it away: the first 8 hex digits of its SHA-256.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The value as `{"sealed":"<key id>:<base64>"}`; only the same key and label open it again.
    pub fn seal(&self, label: &str, value: &[u8]) -> Result<String, SealError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce)?;
        let payload = Payload { msg: value, aad: label.as_bytes() };
        let ciphertext = self.cipher.encrypt(&XNonce::from(nonce), payload).map_err(|_| SealError::Cipher)?;
        let text = STANDARD.encode([nonce.as_slice(), &ciphertext].concat());
        Ok(format!(r#"{SEALED_PREFIX}{}:{text}"}}"#, self.key_id))
    }

    /// What was sealed under this label. `None` when the text was not sealed, or with another key or label, or was
    /// changed since.
    pub fn unseal(&self, label: &str, text: &str) -> Option<Secret> {
        let Sealed { sealed } = serde_json::from_str(text).ok()?;
        let encoded = sealed.strip_prefix(&self.key_id)?.strip_prefix(':')?;
        let bytes = STANDARD.decode(encoded).ok()?;
        let (nonce, ciphertext) = bytes.split_first_chunk::<NONCE_BYTES>()?;
        let payload = Payload { msg: ciphertext, aad: label.as_bytes() };
        self.cipher.decrypt(&XNonce::from(*nonce), payload).ok().map(Secret::new)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

fn create(data_dir: &Path, path: &Path) -> Result<Secret, SealError> {
    let mut key = vec![0; KEY_BYTES];
    getrandom::fill(&mut key)?;
    let key = Secret::new(key);
    let digits = Secret::new(hex::encode(key.expose()) + "\n");
    write_whole(data_dir, path, digits.expose())
        .map_err(|source| SealError::File { path: path.to_owned(), source })?;
    Ok(digits)
}

/// Under a temporary name first, so that a crash leaves no half key behind, only a whole one or none.
fn write_whole(data_dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("key.unfinished");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    fs::File::open(data_dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_sealed_opens_with_the_same_key_and_label_only() {
        let sealer = Sealer::with_key(&[7; 32]);
        let text = sealer.seal("authorization", b"Basic c2VjcmV0").expect("sealed");
        assert!(text.starts_with(&format!(r#"{{"sealed":"{}:"#, sealer.key_id())), "{text}");
        let opened = sealer.unseal("authorization", &text).expect("opens");
        assert_eq!(opened.expose(), b"Basic c2VjcmV0");
        assert!(sealer.unseal("cookie", &text).is_none());
        assert!(Sealer::with_key(&[8; 32]).unseal("authorization", &text).is_none());
        assert!(sealer.unseal("authorization", "Basic c2VjcmV0").is_none());
    }

    #[test]
    fn the_same_value_never_looks_the_same() {
        let sealer = Sealer::with_key(&[7; 32]);
        assert_ne!(sealer.seal("a", b"x").expect("sealed"), sealer.seal("a", b"x").expect("sealed"));
    }

    #[test]
    fn the_key_file_is_made_once_and_private() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = Sealer::open(folder.path(), false).expect("made").seal("a", b"x").expect("sealed");
        let again = Sealer::open(folder.path(), true).expect("read");
        let opened = again.unseal("a", &text).expect("the same key");
        assert_eq!(opened.expose(), b"x");
        let mode = fs::metadata(folder.path().join(SEALING_KEY_FILE)).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_lost_key_is_not_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let refused = Sealer::open(folder.path(), true).expect_err("must be refused");
        assert!(refused.to_string().contains("restore it from the backup"), "{refused}");
        assert!(!folder.path().join(SEALING_KEY_FILE).exists());
    }

    #[test]
    fn a_broken_key_file_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join(SEALING_KEY_FILE), "not hex").expect("written");
        assert!(matches!(Sealer::open(folder.path(), false), Err(SealError::Malformed { .. })));
        assert!(Sealer::open(&folder.path().join("missing"), false).is_err());
    }
}
