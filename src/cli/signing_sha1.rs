//! Room `cli`: signatures with SHA-1, which the library verifies and no longer makes. Some senders still do; here they are
//! made with development keys alone, so that nothing need be hidden from whoever measures the time.

use aws_lc_rs::{
    digest::{Digest as Imported, SHA256},
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair},
};
use sha1::{Digest, Sha1};
use x509_parser::{
    asn1_rs::{Any, FromDer, Integer, OctetString, Sequence},
    num_bigint::BigUint,
};

/// What stands before a digest of SHA-1 in a signature of RSASSA-PKCS1-v1_5 (RFC 8017 §9.2).
const DIGEST_INFO: [u8; 15] = *b"\x30\x21\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x14";
/// Bytes of a digest of SHA-1, and of SHA-256.
const LENGTHS: (usize, usize) = (20, 32);

/// ECDSA on P-256, as DER.
pub(super) fn ecdsa_p256(der: &[u8], message: &[u8]) -> Option<Vec<u8>> {
    // ECDSA takes a digest as a number: one with zeros before it is the same number, of a length that the library signs.
    let mut padded = [0; LENGTHS.1];
    padded[LENGTHS.1 - LENGTHS.0..].copy_from_slice(&Sha1::digest(message));
    let digest = Imported::import_less_safe(&padded, &SHA256).ok()?;
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der).ok()?;
    Some(pair.sign_digest(&digest).ok()?.as_ref().to_vec())
}

/// RSASSA-PKCS1-v1_5.
pub(super) fn rsa(der: &[u8], message: &[u8]) -> Option<Vec<u8>> {
    let (modulus, exponent) = parts(der)?;
    let len = usize::try_from(modulus.bits().div_ceil(8)).ok()?;
    let info = [&DIGEST_INFO, Sha1::digest(message).as_slice()].concat();
    let padding = vec![0xff; len.checked_sub(info.len() + 3)?];
    let encoded = [&[0, 1], padding.as_slice(), &[0], &info].concat();
    let signature = BigUint::from_bytes_be(&encoded).modpow(&exponent, &modulus).to_bytes_be();
    let zeros = vec![0; len.checked_sub(signature.len())?];
    Some([zeros, signature].concat())
}

/// Modulus and private exponent of a key in PKCS#8 (RFC 5208 §5, RFC 8017 §A.1.2).
fn parts(der: &[u8]) -> Option<(BigUint, BigUint)> {
    let (_, info) = Sequence::from_der(der).ok()?;
    let (rest, _version) = Integer::from_der(&info.content).ok()?;
    let (rest, _algorithm) = Any::from_der(rest).ok()?;
    let (_, key) = OctetString::from_der(rest).ok()?;
    let (_, key) = Sequence::from_der(key.as_ref()).ok()?;
    let (rest, _version) = Integer::from_der(&key.content).ok()?;
    let (rest, modulus) = Integer::from_der(rest).ok()?;
    let (rest, _public) = Integer::from_der(rest).ok()?;
    let (_, exponent) = Integer::from_der(rest).ok()?;
    let number = |number: &Integer<'_>| BigUint::from_bytes_be(number.as_ref());
    Some((number(&modulus), number(&exponent)))
}
