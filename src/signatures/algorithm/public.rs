//! Room `signatures`: what is verified with a public key, and the key itself: parsed once, of the kind and size that its
//! algorithm wants, and none that lets everyone sign.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    encoding::AsDer,
    signature::{
        ECDSA_P256_SHA1_ASN1, ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_ASN1,
        ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_ASN1, ECDSA_P521_SHA512_FIXED, ED25519, ParsedPublicKey,
        RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512,
        RSA_PSS_2048_8192_SHA512, RsaParameters, VerificationAlgorithm,
    },
};

use x509_parser::{
    prelude::{FromDer, SubjectPublicKeyInfo},
    public_key,
};

use super::Algorithm;
use crate::signatures::KeyError;

/// The sizes of RSA keys that are believed, in bits.
const RSA_BITS: std::ops::RangeInclusive<u32> = 2048..=8192;

/// The DER of an Ed25519 key (RFC 8410) up to its 32 bytes.
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A public key, parsed and checked.
#[derive(Clone)]
pub struct PublicKey {
    algorithm: Algorithm,
    parsed: Arc<ParsedPublicKey>,
    signature_len: usize,
}

impl PublicKey {
    /// Takes the DER of a SubjectPublicKeyInfo (RFC 5280) in, strictly: its kind must be the algorithm's.
    pub(in super::super) fn from_spki(algorithm: Algorithm, der: &[u8]) -> Result<Self, KeyError> {
        let kind = KeyKind::of_spki(der).ok_or(KeyError::Malformed)?;
        if KeyKind::of(algorithm) != Some(kind) {
            return Err(KeyError::Kind { found: kind.as_str(), algorithm });
        }
        match kind {
            KeyKind::Ed25519 => {
                Self::from_ed25519(der.strip_prefix(&ED25519_SPKI).ok_or(KeyError::Malformed)?)
            }
            KeyKind::Rsa => Self::from_rsa(algorithm, der),
            _ => Self::parsed(algorithm, der),
        }
    }

    /// Takes the 32 bytes of an Ed25519 key in. They must be a point of the curve, in its one spelling, and not one of those
    /// of small order, under which signatures hold that nobody made.
    pub(in super::super) fn from_ed25519(bytes: &[u8]) -> Result<Self, KeyError> {
        let bytes: &[u8; 32] = bytes.try_into().map_err(|_| KeyError::Malformed)?;
        let point = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::Malformed)?;
        if point.is_weak() {
            return Err(KeyError::SmallOrder);
        }
        if point.to_edwards().compress().as_bytes() != bytes {
            return Err(KeyError::Malformed);
        }
        Self::parsed(Algorithm::Ed25519, bytes)
    }

    /// Takes the coordinates of a point of a curve in, each of the curve's own length.
    pub(in super::super) fn from_point(
        algorithm: Algorithm,
        curve: KeyKind,
        x: &[u8],
        y: &[u8],
    ) -> Result<Self, KeyError> {
        let length = match curve {
            KeyKind::P256 => 32,
            KeyKind::P384 => 48,
            _ => 66,
        };
        if KeyKind::of(algorithm) != Some(curve) || x.len() != length || y.len() != length {
            return Err(KeyError::Malformed);
        }
        Self::parsed(algorithm, &[&[0x04], x, y].concat())
    }

    fn from_rsa(algorithm: Algorithm, der: &[u8]) -> Result<Self, KeyError> {
        let bits = rsa_bits(der).ok_or(KeyError::Malformed)?;
        if !RSA_BITS.contains(&bits) {
            return Err(KeyError::RsaSize(bits));
        }
        let signature_len = usize::try_from(bits.div_ceil(8)).map_err(|_| KeyError::RsaSize(bits))?;
        Ok(Self { signature_len, ..Self::parsed(algorithm, der)? })
    }

    fn parsed(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, KeyError> {
        let with = verification(algorithm).ok_or(KeyError::Malformed)?;
        let parsed = ParsedPublicKey::new(with, bytes).map_err(|_| KeyError::Malformed)?;
        Ok(Self { algorithm, parsed: Arc::new(parsed), signature_len: algorithm.signature_len().0 })
    }

    /// The DER of its SubjectPublicKeyInfo.
    pub(in super::super) fn to_spki(&self) -> Option<Vec<u8>> {
        self.parsed.as_der().ok().map(|der| der.as_ref().to_vec())
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.parsed.verify_sig(message, signature).is_ok()
    }

    /// A signature that is well-formed, holds for nothing and costs what any other does.
    pub(super) fn dummy_signature(&self) -> Vec<u8> {
        if matches!(self.algorithm.signature_len(), (8, _)) {
            return vec![0x30, 0x06, 0x02, 0x01, 0x01, 0x02, 0x01, 0x01];
        }
        let mut ones = vec![0; self.signature_len];
        // r and s of ECDSA must not be zero; s of Ed25519 is little-endian and must be below the order.
        for at in [self.signature_len / 2, self.signature_len].map(|end| end - 1) {
            ones[at] = 1;
        }
        ones
    }
}

fn rsa_bits(der: &[u8]) -> Option<u32> {
    let (_, spki) = SubjectPublicKeyInfo::from_der(der).ok()?;
    let Ok(public_key::PublicKey::RSA(key)) = spki.parsed() else { return None };
    let zeros = key.modulus.iter().take_while(|byte| **byte == 0).count();
    let modulus = &key.modulus[zeros..];
    Some(u32::try_from(modulus.len()).ok()? * 8 - modulus.first()?.leading_zeros())
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.to_spki().is_some_and(|own| Some(own) == other.to_spki())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.algorithm)
    }
}

/// The kind of a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum KeyKind {
    Ed25519,
    P256,
    P384,
    P521,
    Rsa,
}

impl KeyKind {
    /// The kind that an algorithm wants; `None` for those without a public key.
    pub(in super::super) const fn of(algorithm: Algorithm) -> Option<Self> {
        Some(match algorithm {
            Algorithm::Ed25519 => Self::Ed25519,
            Algorithm::EcdsaP256Sha256 | Algorithm::EcdsaP256Sha256Raw | Algorithm::EcdsaP256Sha1 => {
                Self::P256
            }
            Algorithm::EcdsaP384Sha384 | Algorithm::EcdsaP384Sha384Raw => Self::P384,
            Algorithm::EcdsaP521Sha512 | Algorithm::EcdsaP521Sha512Raw => Self::P521,
            Algorithm::RsaPkcs1Sha1
            | Algorithm::RsaPkcs1Sha256
            | Algorithm::RsaPkcs1Sha512
            | Algorithm::RsaPssSha512 => Self::Rsa,
            _ => return None,
        })
    }

    /// The kind that a SubjectPublicKeyInfo says it has, by the identifiers at its start.
    fn of_spki(der: &[u8]) -> Option<Self> {
        const IDENTIFIERS: [(&[u8], KeyKind); 5] = [
            (&[0x06, 0x03, 0x2b, 0x65, 0x70], KeyKind::Ed25519),
            (&[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07], KeyKind::P256),
            (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22], KeyKind::P384),
            (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23], KeyKind::P521),
            (&[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01], KeyKind::Rsa),
        ];
        let start = &der[..der.len().min(32)];
        let stands = |identifier: &[u8]| start.windows(identifier.len()).any(|window| window == identifier);
        IDENTIFIERS.iter().find(|(identifier, _)| stands(identifier)).map(|(_, kind)| *kind)
    }

    /// For people.
    pub(in super::super) const fn as_str(self) -> &'static str {
        match self {
            Self::Ed25519 => "an Ed25519 key",
            Self::P256 => "an EC key on P-256",
            Self::P384 => "an EC key on P-384",
            Self::P521 => "an EC key on P-521",
            Self::Rsa => "an RSA key",
        }
    }
}

fn verification(algorithm: Algorithm) -> Option<&'static dyn VerificationAlgorithm> {
    static PKCS1_SHA1: RsaParameters = RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY;
    static PKCS1_SHA256: RsaParameters = RSA_PKCS1_2048_8192_SHA256;
    static PKCS1_SHA512: RsaParameters = RSA_PKCS1_2048_8192_SHA512;
    static PSS_SHA512: RsaParameters = RSA_PSS_2048_8192_SHA512;
    Some(match algorithm {
        Algorithm::Ed25519 => &ED25519,
        Algorithm::EcdsaP256Sha256 => &ECDSA_P256_SHA256_ASN1,
        Algorithm::EcdsaP384Sha384 => &ECDSA_P384_SHA384_ASN1,
        Algorithm::EcdsaP521Sha512 => &ECDSA_P521_SHA512_ASN1,
        Algorithm::EcdsaP256Sha256Raw => &ECDSA_P256_SHA256_FIXED,
        Algorithm::EcdsaP384Sha384Raw => &ECDSA_P384_SHA384_FIXED,
        Algorithm::EcdsaP521Sha512Raw => &ECDSA_P521_SHA512_FIXED,
        Algorithm::EcdsaP256Sha1 => &ECDSA_P256_SHA1_ASN1,
        Algorithm::RsaPkcs1Sha1 => &PKCS1_SHA1,
        Algorithm::RsaPkcs1Sha256 => &PKCS1_SHA256,
        Algorithm::RsaPkcs1Sha512 => &PKCS1_SHA512,
        Algorithm::RsaPssSha512 => &PSS_SHA512,
        _ => return None,
    })
}
