//! Room `cli`: what a partner signs with: a secret that is shared, or a private key. The verifier has no such thing.

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING,
        ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
        EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512,
        RSA_PSS_SHA512, RsaSignatureEncoding,
    },
};
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};
use sha3::Keccak256;

use super::signing_sha1;
use crate::{
    model::Secret,
    signatures::{Algorithm, Key, Message, private_key_der},
};

/// A key that signs.
#[derive(Clone)]
pub enum SigningKey<'k> {
    /// Shared with the verifier.
    Secret(&'k Key),
    /// The sender's alone.
    Private {
        /// Its DER.
        der: Vec<u8>,
        /// What signatures that name their key call it.
        id: Option<String>,
    },
}

impl<'k> From<&'k Key> for SigningKey<'k> {
    fn from(key: &'k Key) -> Self {
        Self::Secret(key)
    }
}

impl SigningKey<'_> {
    /// A private key as it stands in `[test]`; `None` when it cannot be read.
    pub fn private(secret: &Secret) -> Option<Self> {
        private_key_der(secret).map(|der| Self::Private { der, id: None })
    }

    /// A private key that nobody has seen before; `None` where the algorithm has none.
    pub fn generated(algorithm: Algorithm) -> Option<Self> {
        let ecdsa = |signing: &'static EcdsaSigningAlgorithm| {
            EcdsaKeyPair::generate(signing).ok()?.to_pkcs8v1().ok().map(|der| der.as_ref().to_vec())
        };
        let der = match algorithm {
            Algorithm::Ed25519 => Ed25519KeyPair::generate().ok()?.to_pkcs8().ok()?.as_ref().to_vec(),
            Algorithm::EcdsaP256Sha256 | Algorithm::EcdsaP256Sha256Raw | Algorithm::EcdsaP256Sha1 => {
                ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING)?
            }
            Algorithm::EcdsaP384Sha384 | Algorithm::EcdsaP384Sha384Raw => {
                ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING)?
            }
            Algorithm::EcdsaP521Sha512 | Algorithm::EcdsaP521Sha512Raw => {
                ecdsa(&ECDSA_P521_SHA512_ASN1_SIGNING)?
            }
            Algorithm::RsaPkcs1Sha1
            | Algorithm::RsaPkcs1Sha256
            | Algorithm::RsaPkcs1Sha512
            | Algorithm::RsaPssSha512 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).ok()?;
                AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).ok()?.as_ref().to_vec()
            }
            _ => return None,
        };
        Some(Self::Private { der, id: None })
    }

    /// The same key under this id.
    #[must_use]
    pub fn called(self, id: &str) -> Self {
        match self {
            Self::Private { der, .. } => Self::Private { der, id: Some(id.to_owned()) },
            shared @ Self::Secret(_) => shared,
        }
    }

    /// What signatures that name their key call it.
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Secret(key) => Some(&key.id),
            Self::Private { id, .. } => id.as_deref(),
        }
    }

    /// The signature of a message; what is sent itself, where nothing is signed. `None` when the key is of another kind.
    pub fn sign(&self, algorithm: Algorithm, message: &Message<'_>) -> Option<Vec<u8>> {
        match self {
            Self::Secret(key) => with_secret(algorithm, key.secret_bytes()?, message),
            Self::Private { der, .. } => with_private(algorithm, der, &message.whole()),
        }
    }
}

fn with_secret(algorithm: Algorithm, secret: &[u8], message: &Message<'_>) -> Option<Vec<u8>> {
    match algorithm {
        Algorithm::HmacSha1 => hmac::<Hmac<Sha1>>(secret, message),
        Algorithm::HmacSha256 => hmac::<Hmac<Sha256>>(secret, message),
        Algorithm::HmacSha384 => hmac::<Hmac<Sha384>>(secret, message),
        Algorithm::HmacSha512 => hmac::<Hmac<Sha512>>(secret, message),
        Algorithm::Md5 => Some(digest::<Md5>(secret, message)),
        Algorithm::Sha256 => Some(digest::<Sha256>(secret, message)),
        Algorithm::Keccak256 => Some(digest::<Keccak256>(secret, message)),
        Algorithm::Token | Algorithm::Basic => Some(secret.to_vec()),
        _ => None,
    }
}

fn hmac<M: Mac + KeyInit>(secret: &[u8], message: &Message<'_>) -> Option<Vec<u8>> {
    let mut mac = <M as KeyInit>::new_from_slice(secret).ok()?;
    message.pieces().for_each(|piece| mac.update(piece));
    Some(mac.finalize().into_bytes().to_vec())
}

fn digest<D: Digest>(secret: &[u8], message: &Message<'_>) -> Vec<u8> {
    let whole: Vec<u8> = message.pieces_with(secret).flatten().copied().collect();
    D::digest(whole).to_vec()
}

fn with_private(algorithm: Algorithm, der: &[u8], message: &[u8]) -> Option<Vec<u8>> {
    match algorithm {
        Algorithm::Ed25519 => {
            let pair = match der.len() {
                32 => Ed25519KeyPair::from_seed_unchecked(der),
                _ => Ed25519KeyPair::from_pkcs8_maybe_unchecked(der),
            };
            Some(pair.ok()?.sign(message).as_ref().to_vec())
        }
        Algorithm::EcdsaP256Sha256 => ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING, der, message),
        Algorithm::EcdsaP384Sha384 => ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING, der, message),
        Algorithm::EcdsaP521Sha512 => ecdsa(&ECDSA_P521_SHA512_ASN1_SIGNING, der, message),
        Algorithm::EcdsaP256Sha256Raw => ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING, der, message),
        Algorithm::EcdsaP384Sha384Raw => ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING, der, message),
        Algorithm::EcdsaP521Sha512Raw => ecdsa(&ECDSA_P521_SHA512_FIXED_SIGNING, der, message),
        Algorithm::RsaPkcs1Sha256 => rsa(&RSA_PKCS1_SHA256, der, message),
        Algorithm::RsaPkcs1Sha512 => rsa(&RSA_PKCS1_SHA512, der, message),
        Algorithm::RsaPssSha512 => rsa(&RSA_PSS_SHA512, der, message),
        Algorithm::EcdsaP256Sha1 => signing_sha1::ecdsa_p256(der, message),
        Algorithm::RsaPkcs1Sha1 => signing_sha1::rsa(der, message),
        _ => None,
    }
}

fn ecdsa(algorithm: &'static EcdsaSigningAlgorithm, der: &[u8], message: &[u8]) -> Option<Vec<u8>> {
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, der).ok()?;
    Some(pair.sign(&SystemRandom::new(), message).ok()?.as_ref().to_vec())
}

/// A signature of RSA.
pub(super) fn rsa(encoding: &'static RsaSignatureEncoding, der: &[u8], message: &[u8]) -> Option<Vec<u8>> {
    let pair = RsaKeyPair::from_pkcs8(der).ok()?;
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(encoding, &SystemRandom::new(), message, &mut signature).ok()?;
    Some(signature)
}
