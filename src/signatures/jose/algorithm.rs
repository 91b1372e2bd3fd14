//! Room `signatures`: the algorithms of JSON Web Signatures (RFC 7518 §3, RFC 8037), which are those of HTTP message
//! signatures too. The key must be of the algorithm's kind: a public key is never the secret of a MAC.

use aws_lc_rs::{
    hmac,
    rsa::PublicKeyComponents,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
        RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
        RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, UnparsedPublicKey,
        VerificationAlgorithm,
    },
};
use serde::Deserialize;

use crate::model::Secret;

/// An algorithm of RFC 7518 or RFC 8037, by the name it has in a token. There is no `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum JwsAlgorithm {
    /// HMAC with SHA-256.
    HS256,
    /// HMAC with SHA-384.
    HS384,
    /// HMAC with SHA-512.
    HS512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RS384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RS512,
    /// RSASSA-PSS with SHA-256.
    PS256,
    /// RSASSA-PSS with SHA-384.
    PS384,
    /// RSASSA-PSS with SHA-512.
    PS512,
    /// ECDSA on P-256 with SHA-256; r and s side by side.
    ES256,
    /// ECDSA on P-384 with SHA-384.
    ES384,
    /// ECDSA on P-521 with SHA-512.
    ES512,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// The kind of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum KeyKind {
    Secret,
    Rsa,
    P256,
    P384,
    P521,
    Ed25519,
}

/// A key to verify with.
#[derive(Clone, Debug)]
pub(in super::super) enum Material {
    /// The secret of a MAC.
    Secret(Secret),
    /// A public key: its SubjectPublicKeyInfo (RFC 5280), as DER.
    Public(Vec<u8>),
}

/// The beginnings of SubjectPublicKeyInfos whose length is fixed; the point follows.
const P256_SPKI: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
const P384_SPKI: &[u8] =
    b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00";
const P521_SPKI: &[u8] =
    b"\x30\x81\x9b\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x23\x03\x81\x86\x00";
const ED25519_SPKI: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
/// What says RSA in a SubjectPublicKeyInfo, after two lengths of two bytes.
const RSA_IDENTIFIER: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\x03\x82";

impl JwsAlgorithm {
    /// The kind of key it takes.
    pub(in super::super) const fn kind(self) -> KeyKind {
        match self {
            Self::HS256 | Self::HS384 | Self::HS512 => KeyKind::Secret,
            Self::RS256 | Self::RS384 | Self::RS512 | Self::PS256 | Self::PS384 | Self::PS512 => KeyKind::Rsa,
            Self::ES256 => KeyKind::P256,
            Self::ES384 => KeyKind::P384,
            Self::ES512 => KeyKind::P521,
            Self::EdDsa => KeyKind::Ed25519,
        }
    }

    /// Whether it takes a secret, which the sender has too.
    pub const fn is_mac(self) -> bool {
        matches!(self.kind(), KeyKind::Secret)
    }

    /// The name in a token.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::ES512 => "ES512",
            Self::EdDsa => "EdDSA",
        }
    }

    /// Whether a key made this signature of this text. A key of another kind made none.
    pub(in super::super) fn verifies(self, key: &Material, signed: &[u8], signature: &[u8]) -> bool {
        match (key, self.public()) {
            (Material::Secret(secret), None) => {
                let key = hmac::Key::new(self.mac(), secret.expose());
                hmac::verify(&key, signed, signature).is_ok()
            }
            (Material::Public(spki), Some(algorithm)) if kind_of(spki) == Some(self.kind()) => {
                UnparsedPublicKey::new(algorithm, spki).verify(signed, signature).is_ok()
            }
            _ => false,
        }
    }

    fn mac(self) -> hmac::Algorithm {
        match self {
            Self::HS384 => hmac::HMAC_SHA384,
            Self::HS512 => hmac::HMAC_SHA512,
            _ => hmac::HMAC_SHA256,
        }
    }

    fn public(self) -> Option<&'static dyn VerificationAlgorithm> {
        Some(match self {
            Self::HS256 | Self::HS384 | Self::HS512 => return None,
            Self::RS256 => &RSA_PKCS1_2048_8192_SHA256,
            Self::RS384 => &RSA_PKCS1_2048_8192_SHA384,
            Self::RS512 => &RSA_PKCS1_2048_8192_SHA512,
            Self::PS256 => &RSA_PSS_2048_8192_SHA256,
            Self::PS384 => &RSA_PSS_2048_8192_SHA384,
            Self::PS512 => &RSA_PSS_2048_8192_SHA512,
            Self::ES256 => &ECDSA_P256_SHA256_FIXED,
            Self::ES384 => &ECDSA_P384_SHA384_FIXED,
            Self::ES512 => &ECDSA_P521_SHA512_FIXED,
            Self::EdDsa => &ED25519,
        })
    }
}

/// The kind of a public key, by how its SubjectPublicKeyInfo begins; `None` for any other, or a compressed point.
pub(in super::super) fn kind_of(spki: &[u8]) -> Option<KeyKind> {
    let point = |start: &[u8], bytes: usize| {
        spki.len() == start.len() + bytes && spki.starts_with(start) && spki[start.len()] == 4
    };
    let is_rsa =
        spki.starts_with(b"\x30\x82") && spki.get(4..).is_some_and(|rest| rest.starts_with(RSA_IDENTIFIER));
    let kinds = [
        (point(P256_SPKI, 65), KeyKind::P256),
        (point(P384_SPKI, 97), KeyKind::P384),
        (point(P521_SPKI, 133), KeyKind::P521),
        (spki.len() == ED25519_SPKI.len() + 32 && spki.starts_with(ED25519_SPKI), KeyKind::Ed25519),
        (is_rsa, KeyKind::Rsa),
    ];
    kinds.into_iter().find(|(is, _)| *is).map(|(_, kind)| kind)
}

/// So many leading zeros a coordinate may lack, which some providers leave out against RFC 7518 §6.2.1.2.
const MAX_LOST_ZEROS: usize = 2;

/// The SubjectPublicKeyInfo of a point on a curve, or of an Ed25519 key (then `y` is empty); `None` when the lengths are not
/// the curve's.
pub(in super::super) fn spki_of_point(kind: KeyKind, x: &[u8], y: &[u8]) -> Option<Vec<u8>> {
    let (start, length): (&[u8], usize) = match kind {
        KeyKind::P256 => (P256_SPKI, 32),
        KeyKind::P384 => (P384_SPKI, 48),
        KeyKind::P521 => (P521_SPKI, 66),
        KeyKind::Ed25519 => {
            return (x.len() == 32 && y.is_empty()).then(|| [ED25519_SPKI, x].concat());
        }
        KeyKind::Secret | KeyKind::Rsa => return None,
    };
    let padded = |part: &[u8]| {
        let lost = length.checked_sub(part.len()).filter(|lost| *lost <= MAX_LOST_ZEROS)?;
        Some([vec![0; lost].as_slice(), part].concat())
    };
    Some([start, &[4], &padded(x)?, &padded(y)?].concat())
}

/// The SubjectPublicKeyInfo of an RSA key: a modulus of 2048 to 8192 bits without leading zeros, and a small odd exponent.
pub(in super::super) fn spki_of_rsa(n: &[u8], e: &[u8]) -> Option<Vec<u8>> {
    use aws_lc_rs::encoding::AsDer;
    let sound_n = (256..=1_024).contains(&n.len()) && n.first().is_some_and(|byte| *byte != 0);
    let sound_e =
        (1..=4).contains(&e.len()) && e[0] != 0 && e.last().is_some_and(|byte| byte % 2 == 1) && e != [1];
    let der = (sound_n && sound_e).then(|| PublicKeyComponents { n, e }.as_der().ok())??;
    let der: Vec<u8> = der.as_ref().to_vec();
    (kind_of(&der) == Some(KeyKind::Rsa)).then_some(der)
}
