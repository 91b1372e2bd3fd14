//! Room `signatures`: from a secret's text to a key, strictly. Whatever could be forged or was never set is refused here.

mod placeholder;
mod public;
mod secret;

use std::sync::Arc;

use serde::Deserialize;

pub use public::private_key_der;

use super::{
    Algorithm, PublicKey, Scheme,
    algorithm::{Family, HmacKey},
};
use crate::model::{Secret, Timestamp};

/// Shorter keys are refused: they can be guessed.
pub(super) const MIN_KEY_BYTES: usize = 8;

/// A key, ready to verify with, and the id of its secret.
#[derive(Clone, Debug)]
pub struct Key {
    /// The secret's id, which the delivery records when this key matched.
    pub id: Arc<str>,
    material: Material,
    hmac: Option<HmacKey>,
    branch: usize,
    not_before: Option<Timestamp>,
    not_after: Option<Timestamp>,
}

/// What a key is made of.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Material {
    /// Shared with the sender.
    Secret(Secret),
    /// The sender's.
    Public(PublicKey),
    /// Could not be had.
    Missing,
}

impl Key {
    /// A secret key of these bytes, whatever they are: none of the rules for secrets is held to, so that a key of few bytes
    /// lets everyone sign. For vectors and tests; what is configured goes through [`Scheme::key`].
    pub fn unchecked(id: impl Into<Arc<str>>, bytes: impl Into<Vec<u8>>) -> Self {
        Self::of(id, Material::Secret(Secret::new(bytes)))
    }

    /// A parsed public key.
    pub fn public(id: impl Into<Arc<str>>, key: PublicKey) -> Self {
        Self::of(id, Material::Public(key))
    }

    /// A key that could not be had: while it counts, nothing can be verified.
    pub fn missing(id: impl Into<Arc<str>>) -> Self {
        Self::of(id, Material::Missing)
    }

    fn of(id: impl Into<Arc<str>>, material: Material) -> Self {
        Self { id: id.into(), material, hmac: None, branch: 0, not_before: None, not_after: None }
    }

    /// The same key, made ready for an algorithm, so that it need not be for each request.
    #[must_use]
    fn ready_for(self, algorithm: Algorithm) -> Self {
        let hmac = self.secret_bytes().and_then(|secret| HmacKey::new(algorithm, secret));
        Self { hmac, ..self }
    }

    /// The same key, for the scheme at this place among several.
    #[must_use]
    pub fn in_branch(self, branch: usize) -> Self {
        Self { branch, ..self }
    }

    /// The same key, which counts only from and until these times.
    #[must_use]
    pub fn counting(self, not_before: Option<Timestamp>, not_after: Option<Timestamp>) -> Self {
        Self { not_before, not_after, ..self }
    }

    /// The place of its scheme among several.
    pub fn branch(&self) -> usize {
        self.branch
    }

    /// Whether it counts at this time.
    pub fn counts_at(&self, now: Timestamp) -> bool {
        self.not_before.is_none_or(|from| from <= now) && self.not_after.is_none_or(|until| now <= until)
    }

    /// Whether it can verify nothing: it could not be had, or there is nothing in it, so that everyone could sign.
    pub(super) fn is_unusable(&self) -> bool {
        self.material == Material::Missing || self.secret_bytes().is_some_and(<[u8]>::is_empty)
    }

    /// Whether two keys are the same, whatever they are called.
    pub fn same_as(&self, other: &Self) -> bool {
        self.material == other.material
    }

    /// The secret bytes; `None` for a public key.
    pub fn secret_bytes(&self) -> Option<&[u8]> {
        match &self.material {
            Material::Secret(secret) => Some(secret.expose()),
            Material::Public(_) | Material::Missing => None,
        }
    }

    /// The DER of a public key (SubjectPublicKeyInfo); `None` for a secret.
    pub fn public_der(&self) -> Option<Vec<u8>> {
        match &self.material {
            Material::Public(key) => key.to_spki(),
            Material::Secret(_) | Material::Missing => None,
        }
    }

    pub(super) fn material(&self) -> &Material {
        &self.material
    }

    /// The secret as the key of an HMAC; `None` where it was not made ready for this one.
    pub(super) fn hmac(&self, algorithm: Algorithm) -> Option<&HmacKey> {
        self.hmac.as_ref().filter(|ready| ready.is_of(algorithm))
    }
}

/// The public key in PEM: of a SubjectPublicKeyInfo or of a certificate.
pub(super) fn key_in_pem(algorithm: Algorithm, pem: &[u8]) -> Result<PublicKey, KeyError> {
    public::decode(algorithm, &SecretForm::plain(KeyEncoding::Pem), &Secret::new(pem))
}

/// How the secret's text becomes a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretForm {
    /// Stripped before decoding, where it is there.
    pub prefix: Option<String>,
    /// How the rest is written.
    pub encoding: KeyEncoding,
    /// How a secret without the prefix is written, where that differs.
    pub otherwise: Option<KeyEncoding>,
    /// The key is this digest of the decoded secret.
    pub digest: Option<KeyDigest>,
    /// How the secret's text is normalised before anything else.
    pub normalize: Option<Normalize>,
}

/// Whether a secret that is compared as it is, as a verify token is, was ever set and cannot be guessed.
pub fn sound_token(secret: &Secret) -> Result<(), KeyError> {
    secret::decode(Algorithm::Token, &SecretForm::plain(KeyEncoding::Text), secret).map(drop)
}

impl SecretForm {
    /// A secret that is written in one way, and is the key.
    pub const fn plain(encoding: KeyEncoding) -> Self {
        Self { prefix: None, encoding, otherwise: None, digest: None, normalize: None }
    }
}

/// How a key is written in the secret's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyEncoding {
    /// As it is: the text's own bytes, without white space around them.
    Text,
    /// Hexadecimal, in either case.
    Hex,
    /// Base64 (RFC 4648 §4) with padding.
    Base64,
    /// Base64 for URLs (RFC 4648 §5), with or without padding.
    Base64url,
    /// A public key: PEM of a SubjectPublicKeyInfo or of a certificate.
    Pem,
    /// A public key: base64 of a SubjectPublicKeyInfo's DER.
    Spki,
    /// A public key: base64 of a certificate's DER.
    X509,
    /// A public key: a JSON Web Key (RFC 7517).
    Jwk,
    /// The bytes themselves, white space and all.
    Raw,
}

/// As `[signature]` writes it.
impl std::fmt::Display for KeyEncoding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Hex => "hex",
            Self::Base64 => "base64",
            Self::Base64url => "base64url",
            Self::Pem => "pem",
            Self::Spki => "spki",
            Self::X509 => "x509",
            Self::Jwk => "jwk",
            Self::Raw => "raw",
        })
    }
}

/// A digest that makes a key of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyDigest {
    /// SHA-1, 20 bytes.
    Sha1,
    /// SHA-256, 32 bytes.
    Sha256,
}

/// How a secret's text is normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalize {
    /// Unicode's compatibility decomposition.
    Nfkd,
}

/// Why a secret is no key for a scheme. Never shows the secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nothing is there, or nothing after its prefix.
    #[error("the secret is empty")]
    Empty,
    /// A text that stands for a secret that was never set.
    #[error("the secret is a placeholder, not the secret itself")]
    Placeholder,
    /// It begins or ends with white space.
    #[error("the secret has white space or a line break around it")]
    WhiteSpace,
    /// It is not written as the scheme says.
    #[error("{0}")]
    Encoding(String),
    /// It can be guessed.
    #[error("the secret is shorter than {MIN_KEY_BYTES} bytes")]
    TooShort,
    /// It is no user and password.
    #[error("the secret is not user:password; write both, with a colon between them")]
    NoPassword,
    /// It is no public key that can be read.
    #[error("the public key cannot be read; copy it again, whole, as the sender shows it")]
    Malformed,
    /// It is a private key, which only the sender may have.
    #[error(
        "this is a private key; only the sender may have it: replace it there, and give the public key here"
    )]
    Private,
    /// It is a public key of another kind.
    #[error("it is {found}, and {algorithm} needs another; is it for a partner of another preset?")]
    Kind {
        /// What it is.
        found: &'static str,
        /// What the scheme says.
        algorithm: Algorithm,
    },
    /// It is too small to protect, or too large to be one.
    #[error("the RSA key has {0} bits; 2048 to 8192 are taken: have the sender make another")]
    RsaSize(u32),
    /// Signatures hold under it that nobody made.
    #[error("the Ed25519 key is of small order, under which anyone can sign: it is no sender's key")]
    SmallOrder,
}

impl Scheme {
    /// Decodes a secret into a key, strictly; refuses empty, too short and placeholder secrets, and public keys of the wrong
    /// kind or size.
    pub fn key(&self, id: &str, secret: &Secret) -> Result<Key, KeyError> {
        let algorithm = self.key_algorithm();
        let material = match algorithm.family() {
            Family::PublicKey => Material::Public(public::decode(algorithm, &self.secret, secret)?),
            _ => Material::Secret(secret::decode(algorithm, &self.secret, secret)?),
        };
        Ok(Key::of(id, material).ready_for(algorithm))
    }

    /// As [`Scheme::key`], but a secret may be short or look like a placeholder, so that anyone could guess it. For vectors
    /// that others made with such secrets.
    pub fn weak_key(&self, id: &str, secret: &Secret) -> Result<Key, KeyError> {
        let algorithm = self.key_algorithm();
        match algorithm.family() {
            Family::PublicKey => self.key(id, secret),
            _ => Ok(Key::unchecked(id, secret::decoded(&self.secret, secret)?.expose()).ready_for(algorithm)),
        }
    }

    /// The key of a development secret: for algorithms with a public key that is the private one, whose public half is taken.
    pub fn development_key(&self, id: &str, secret: &Secret) -> Result<Key, KeyError> {
        let algorithm = self.key_algorithm();
        match algorithm.family() {
            Family::PublicKey => Ok(Key::public(id, public::half_of(algorithm, secret)?)),
            _ => self.key(id, secret),
        }
    }
}
