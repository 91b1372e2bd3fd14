//! Room `signatures`: public keys, as senders show them, and the public half of the private keys that tests sign with.

use aws_lc_rs::{
    encoding::AsDer,
    rsa::KeyPair as RsaKeyPair,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
        EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaPublicKeyComponents,
    },
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rustls_pki_types::pem::{PemObject, SectionKind};
use serde::Deserialize;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{KeyEncoding, KeyError, SecretForm};
use crate::{
    model::Secret,
    signatures::{Algorithm, PublicKey, algorithm::KeyKind},
};

/// A public key as a sender shows it.
pub(super) fn decode(
    algorithm: Algorithm,
    form: &SecretForm,
    secret: &Secret,
) -> Result<PublicKey, KeyError> {
    let text = secret.expose();
    if text.trim_ascii().is_empty() {
        return Err(KeyError::Empty);
    }
    let base64 = || STANDARD.decode(text.trim_ascii()).map_err(|_| KeyError::Malformed);
    match form.encoding {
        KeyEncoding::Pem => PublicKey::from_spki(algorithm, &pem(text)?),
        KeyEncoding::Spki => PublicKey::from_spki(algorithm, &base64()?),
        KeyEncoding::X509 => PublicKey::from_spki(algorithm, &of_certificate(&base64()?)?),
        KeyEncoding::Jwk => jwk(algorithm, text),
        KeyEncoding::Base64 => PublicKey::from_ed25519(&base64()?),
        KeyEncoding::Hex => {
            PublicKey::from_ed25519(&hex::decode(text.trim_ascii()).map_err(|_| KeyError::Malformed)?)
        }
        KeyEncoding::Raw => PublicKey::from_ed25519(text),
        KeyEncoding::Text | KeyEncoding::Base64url => Err(KeyError::Malformed),
    }
}

/// The one key in a PEM text. PEM that came through an environment variable often has `\n` where lines ended.
fn pem(text: &[u8]) -> Result<Vec<u8>, KeyError> {
    let (kind, der) = one_section(text).ok_or(KeyError::Malformed)?;
    match kind {
        SectionKind::PublicKey => Ok(der),
        SectionKind::Certificate => of_certificate(&der),
        SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
            Err(KeyError::Private)
        }
        _ => Err(KeyError::Malformed),
    }
}

fn one_section(text: &[u8]) -> Option<(SectionKind, Vec<u8>)> {
    let text = String::from_utf8(text.to_vec()).ok()?.replace("\\n", "\n");
    let mut sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes());
    let section = sections.next()?.ok()?;
    sections.next().is_none().then_some(section)
}

/// The key in a certificate. Who vouches for the certificate, and until when, is not looked at: whoever configured it did.
fn of_certificate(der: &[u8]) -> Result<Vec<u8>, KeyError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate.public_key().raw.to_vec()),
        _ => Err(KeyError::Malformed),
    }
}

/// A JSON Web Key (RFC 7517, RFC 7518 §6, RFC 8037), as far as it says what the key is.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    d: Option<String>,
}

fn jwk(algorithm: Algorithm, text: &[u8]) -> Result<PublicKey, KeyError> {
    let jwk: Jwk = serde_json::from_slice(text).map_err(|_| KeyError::Malformed)?;
    if jwk.d.is_some() {
        return Err(KeyError::Private);
    }
    let kind = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("OKP", Some("Ed25519")) => KeyKind::Ed25519,
        ("EC", Some("P-256")) => KeyKind::P256,
        ("EC", Some("P-384")) => KeyKind::P384,
        ("EC", Some("P-521")) => KeyKind::P521,
        ("RSA", None) => KeyKind::Rsa,
        _ => return Err(KeyError::Malformed),
    };
    if KeyKind::of(algorithm) != Some(kind) {
        return Err(KeyError::Kind { found: kind.as_str(), algorithm });
    }
    match kind {
        KeyKind::Ed25519 => PublicKey::from_ed25519(&part(jwk.x.as_deref())?),
        KeyKind::Rsa => {
            let parts = RsaPublicKeyComponents { n: part(jwk.n.as_deref())?, e: part(jwk.e.as_deref())? };
            PublicKey::from_spki(algorithm, parts.as_der().map_err(|_| KeyError::Malformed)?.as_ref())
        }
        curve => PublicKey::from_point(algorithm, curve, &part(jwk.x.as_deref())?, &part(jwk.y.as_deref())?),
    }
}

fn part(text: Option<&str>) -> Result<Vec<u8>, KeyError> {
    URL_SAFE_NO_PAD.decode(text.ok_or(KeyError::Malformed)?).map_err(|_| KeyError::Malformed)
}

/// The DER of a development private key: PEM of PKCS#8, or base64 of its DER; for Ed25519 the seed in hex, too. `None` when it
/// is neither.
pub fn private_key_der(secret: &Secret) -> Option<Vec<u8>> {
    let text = secret.expose().trim_ascii();
    match one_section(text) {
        Some((SectionKind::PrivateKey, der)) => Some(der),
        Some(_) => None,
        None => hex::decode(text).or_else(|_| STANDARD.decode(text)).ok(),
    }
}

/// The public half of a development private key.
pub(super) fn half_of(algorithm: Algorithm, secret: &Secret) -> Result<PublicKey, KeyError> {
    let der = private_key_der(secret).ok_or(KeyError::Malformed)?;
    let kind = KeyKind::of(algorithm).ok_or(KeyError::Malformed)?;
    let ecdsa = match kind {
        KeyKind::Ed25519 => {
            let pair = match der.len() {
                32 => Ed25519KeyPair::from_seed_unchecked(&der),
                _ => Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der),
            };
            let pair = pair.map_err(|_| KeyError::Malformed)?;
            return PublicKey::from_ed25519(pair.public_key().as_ref());
        }
        KeyKind::Rsa => {
            let pair = RsaKeyPair::from_pkcs8(&der).map_err(|_| KeyError::Malformed)?;
            let spki = pair.public_key().as_der().map_err(|_| KeyError::Malformed)?;
            return PublicKey::from_spki(algorithm, spki.as_ref());
        }
        KeyKind::P256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
        KeyKind::P384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
        KeyKind::P521 => &ECDSA_P521_SHA512_ASN1_SIGNING,
    };
    let pair = EcdsaKeyPair::from_pkcs8(ecdsa, &der).map_err(|_| KeyError::Malformed)?;
    let spki = pair.public_key().as_der().map_err(|_| KeyError::Malformed)?;
    PublicKey::from_spki(algorithm, spki.as_ref())
}
