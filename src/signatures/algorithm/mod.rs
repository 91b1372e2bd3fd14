//! Room `signatures`: how a signature is computed. `mac` has what is computed with a secret, `public` what is verified with a
//! public key. May not know where in a request a signature stands.

mod mac;
mod public;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use serde::Deserialize;
use subtle::Choice;

pub(super) use mac::HmacKey;
pub(super) use public::KeyKind;
pub use public::PublicKey;

use super::{Key, Message, key::Material};

/// How a signature is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Algorithm {
    /// HMAC with SHA-1 (RFC 2104). Collisions of SHA-1 do not touch it.
    #[serde(rename = "hmac-sha1")]
    HmacSha1,
    /// HMAC with SHA-256.
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
    /// HMAC with SHA-384.
    #[serde(rename = "hmac-sha384")]
    HmacSha384,
    /// HMAC with SHA-512.
    #[serde(rename = "hmac-sha512")]
    HmacSha512,
    /// The MD5 digest of a message that holds the secret.
    #[serde(rename = "md5")]
    Md5,
    /// The SHA-256 digest of a message that holds the secret.
    #[serde(rename = "sha256")]
    Sha256,
    /// The Keccak-256 digest (as Ethereum has it, not SHA3-256) of a message that holds the secret.
    #[serde(rename = "keccak256")]
    Keccak256,
    /// Ed25519 (RFC 8032).
    #[serde(rename = "ed25519")]
    Ed25519,
    /// ECDSA on P-256 with SHA-256; the signature is DER.
    #[serde(rename = "ecdsa-p256-sha256")]
    EcdsaP256Sha256,
    /// ECDSA on P-384 with SHA-384; the signature is DER.
    #[serde(rename = "ecdsa-p384-sha384")]
    EcdsaP384Sha384,
    /// ECDSA on P-521 with SHA-512; the signature is DER.
    #[serde(rename = "ecdsa-p521-sha512")]
    EcdsaP521Sha512,
    /// ECDSA on P-256 with SHA-256; the signature is r and s, 32 bytes each.
    #[serde(rename = "ecdsa-p256-sha256-raw")]
    EcdsaP256Sha256Raw,
    /// ECDSA on P-384 with SHA-384; the signature is r and s, 48 bytes each.
    #[serde(rename = "ecdsa-p384-sha384-raw")]
    EcdsaP384Sha384Raw,
    /// ECDSA on P-521 with SHA-512; the signature is r and s, 66 bytes each.
    #[serde(rename = "ecdsa-p521-sha512-raw")]
    EcdsaP521Sha512Raw,
    /// ECDSA on P-256 with SHA-1; the signature is DER.
    #[serde(rename = "ecdsa-p256-sha1")]
    EcdsaP256Sha1,
    /// RSASSA-PKCS1-v1_5 with SHA-1: loads only beside `legacy = true`.
    #[serde(rename = "rsa-pkcs1-sha1")]
    RsaPkcs1Sha1,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    #[serde(rename = "rsa-pkcs1-sha256")]
    RsaPkcs1Sha256,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    #[serde(rename = "rsa-pkcs1-sha512")]
    RsaPkcs1Sha512,
    /// RSASSA-PSS with SHA-512, MGF1 with the same, and a salt of 64 bytes.
    #[serde(rename = "rsa-pss-sha512")]
    RsaPssSha512,
    /// No signature: the secret itself stands in the request.
    #[serde(rename = "token")]
    Token,
    /// No signature: user and password stand in the request (RFC 7617).
    #[serde(rename = "basic")]
    Basic,
    /// A token (RFC 7519, RFC 7515), which has algorithms of its own.
    #[serde(rename = "jwt")]
    Jwt,
    /// An HTTP message signature (RFC 9421), whose keys have an algorithm of their own.
    #[serde(rename = "http-message-signatures")]
    HttpMessage,
    /// A message of Amazon SNS: RSASSA-PKCS1-v1_5 with SHA-256 over other fields for each type.
    #[serde(rename = "sns")]
    Sns,
}

/// What algorithms have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// A MAC: the secret is its key.
    Hmac,
    /// A plain digest; the secret is a part of the message.
    KeyedHash,
    /// The sender has a private key, we have the public one.
    PublicKey,
    /// The secret itself is sent.
    Shared,
}

impl Algorithm {
    /// What it has in common with others.
    pub const fn family(self) -> Family {
        match self {
            Self::HmacSha1 | Self::HmacSha256 | Self::HmacSha384 | Self::HmacSha512 => Family::Hmac,
            Self::Md5 | Self::Sha256 | Self::Keccak256 => Family::KeyedHash,
            Self::Token | Self::Basic => Family::Shared,
            _ => Family::PublicKey,
        }
    }

    /// The lengths that a signature can have, in bytes: from, to.
    pub const fn signature_len(self) -> (usize, usize) {
        match self {
            Self::Md5 => (16, 16),
            Self::HmacSha1 => (20, 20),
            Self::HmacSha256 | Self::Sha256 | Self::Keccak256 => (32, 32),
            Self::HmacSha384 => (48, 48),
            Self::HmacSha512 | Self::Ed25519 | Self::EcdsaP256Sha256Raw => (64, 64),
            Self::EcdsaP384Sha384Raw => (96, 96),
            Self::EcdsaP521Sha512Raw => (132, 132),
            Self::EcdsaP256Sha256 | Self::EcdsaP256Sha1 => (8, 72),
            Self::EcdsaP384Sha384 => (8, 104),
            Self::EcdsaP521Sha512 => (8, 139),
            Self::RsaPkcs1Sha1 | Self::RsaPkcs1Sha256 | Self::RsaPkcs1Sha512 | Self::RsaPssSha512 => {
                (256, 1024)
            }
            Self::Token | Self::Basic => (1, 8192),
            // Their standards say it.
            Self::Jwt | Self::HttpMessage | Self::Sns => (0, 0),
        }
    }

    /// Whether a signature can have this length.
    pub const fn fits(self, len: usize) -> bool {
        let (from, to) = self.signature_len();
        from <= len && len <= to
    }

    /// Whether one of the candidates is this key's signature of the message. What is secret is compared in constant time, and
    /// every candidate is tried, whatever was found before.
    pub(super) fn holds(self, key: &Key, message: &Message<'_>, candidates: &[Vec<u8>]) -> Choice {
        let none = Choice::from(0);
        match key.material() {
            Material::Public(public) => {
                let message = message.whole();
                let held = |candidate: &Vec<u8>| Choice::from(u8::from(public.verifies(&message, candidate)));
                candidates.iter().fold(none, |found, candidate| found | held(candidate))
            }
            Material::Missing => none,
            Material::Secret(secret) => {
                let held = |expected: &[u8]| {
                    candidates.iter().fold(none, |found, candidate| found | self.is_same(candidate, expected))
                };
                match key.hmac(self) {
                    Some(ready) => held(ready.of(message).as_ref()),
                    None => mac::expected(self, secret.expose(), message).map_or(none, |made| held(&made)),
                }
            }
        }
    }

    /// Whether a candidate is what was expected, in constant time.
    fn is_same(self, candidate: &[u8], expected: &[u8]) -> Choice {
        let compared = match self.family() {
            Family::Shared => verify_slices_are_equal(&mac::digest_of(candidate), expected),
            _ => verify_slices_are_equal(candidate, expected),
        };
        Choice::from(u8::from(compared.is_ok()))
    }

    /// Does the work of one signature that does not hold.
    pub(super) fn spend(self, key: &Key, message: &Message<'_>) {
        let dummy = match key.material() {
            Material::Public(public) => public.dummy_signature(),
            Material::Secret(_) | Material::Missing => vec![0; self.signature_len().0],
        };
        std::hint::black_box(self.holds(key, message, &[dummy]));
    }
}

/// As `[signature]` writes it.
impl std::fmt::Display for Algorithm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::HmacSha1 => "hmac-sha1",
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha384 => "hmac-sha384",
            Self::HmacSha512 => "hmac-sha512",
            Self::Md5 => "md5",
            Self::Sha256 => "sha256",
            Self::Keccak256 => "keccak256",
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256Sha256 => "ecdsa-p256-sha256",
            Self::EcdsaP384Sha384 => "ecdsa-p384-sha384",
            Self::EcdsaP521Sha512 => "ecdsa-p521-sha512",
            Self::EcdsaP256Sha256Raw => "ecdsa-p256-sha256-raw",
            Self::EcdsaP384Sha384Raw => "ecdsa-p384-sha384-raw",
            Self::EcdsaP521Sha512Raw => "ecdsa-p521-sha512-raw",
            Self::EcdsaP256Sha1 => "ecdsa-p256-sha1",
            Self::RsaPkcs1Sha1 => "rsa-pkcs1-sha1",
            Self::RsaPkcs1Sha256 => "rsa-pkcs1-sha256",
            Self::RsaPkcs1Sha512 => "rsa-pkcs1-sha512",
            Self::RsaPssSha512 => "rsa-pss-sha512",
            Self::Token => "token",
            Self::Basic => "basic",
            Self::Jwt => "jwt",
            Self::HttpMessage => "http-message-signatures",
            Self::Sns => "sns",
        })
    }
}

#[cfg(test)]
mod tests;
