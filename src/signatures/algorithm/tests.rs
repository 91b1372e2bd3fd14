//! Room `signatures`: its algorithms against the RFCs' own vectors and signatures that OpenSSL made.

use base64::{Engine, engine::general_purpose::STANDARD};
use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::{
    model::Secret,
    signatures::{KeyError, Scheme},
};

/// What `tests/vectors/keys/openssl.json` holds.
#[derive(Deserialize)]
struct Vectors {
    message: String,
    signatures: Vec<Vector>,
    keys: std::collections::BTreeMap<String, Pair>,
}

#[derive(Deserialize)]
struct Vector {
    algorithm: Algorithm,
    key: String,
    signature: String,
}

#[derive(Deserialize)]
struct Pair {
    public: String,
    certificate: String,
    private: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../../tests/vectors/keys/openssl.json")).expect("vectors")
}

/// A scheme of an algorithm, over the raw body, whose secret is written this way.
fn scheme(algorithm: Algorithm, secret: &str) -> Scheme {
    let legacy = if algorithm == Algorithm::RsaPkcs1Sha1 { "legacy = true\n" } else { "" };
    let message = if algorithm.family() == Family::KeyedHash { "{secret}{body}" } else { "{body}" };
    Scheme::parse(&format!(
        "algorithm = \"{algorithm}\"\n{legacy}secret = {{ as = \"{secret}\" }}\nmessage = \"{message}\"\n\
         value = {{ path = \"header.s\", as = \"base64\" }}\nassurance = \"full\"\n"
    ))
    .expect("a scheme")
}

fn key(algorithm: Algorithm, form: &str, text: &str) -> Result<Key, KeyError> {
    scheme(algorithm, form).key("k", &Secret::new(text))
}

fn holds(key: &Key, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
    algorithm.holds(key, &Message::from(message), &[signature.to_vec()]).into()
}

#[test]
fn hmacs_are_those_of_the_rfcs() {
    let key = Key::unchecked("rfc 4231, 2202: test case 2", "Jefe");
    let ready_for = |algorithm| scheme(algorithm, "text").weak_key("k", &Secret::new("Jefe")).expect("a key");
    for (algorithm, expected) in [
        (Algorithm::HmacSha1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
        (Algorithm::HmacSha256, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (
            Algorithm::HmacSha384,
            "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
        ),
        (
            Algorithm::HmacSha512,
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fd\
             caeab1a34d4a6b4b636e070a38bce737",
        ),
    ] {
        let expected = hex::decode(expected).expect("hex");
        // Whether it was made ready beforehand, and for which of them, makes no difference.
        for key in [&key, &ready_for(algorithm), &ready_for(Algorithm::HmacSha256)] {
            assert!(holds(key, algorithm, b"what do ya want for nothing?", &expected), "{algorithm}");
            assert!(!holds(key, algorithm, b"what do ya want for nothing!", &expected), "{algorithm}");
        }
    }
}

#[test]
fn keyed_hashes_have_the_secret_where_the_message_says() {
    for (algorithm, secret, body, expected) in [
        (Algorithm::Md5, "a", "bc", "900150983cd24fb0d6963f7d28e17f72"),
        (Algorithm::Sha256, "ab", "c", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (Algorithm::Keccak256, "a", "bc", "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"),
    ] {
        let scheme = scheme(algorithm, "text");
        let request = crate::model::RawRequest {
            method: "POST".to_owned(),
            target: "/in/x".to_owned(),
            version: "HTTP/1.1".to_owned(),
            headers: crate::model::Headers::default(),
            body: body.to_owned().into(),
            peer: None,
        };
        let nothing = vrl::value::Value::Null;
        let view = crate::signatures::View { request: &request, body: &nothing, item: &nothing };
        let message = scheme.message().render(&view, None).expect("a message");
        let expected = [hex::decode(expected).expect("hex")];
        assert!(
            bool::from(algorithm.holds(&Key::unchecked("k", secret), &message, &expected)),
            "{algorithm}"
        );
        assert!(!bool::from(algorithm.holds(&Key::unchecked("k", "x"), &message, &expected)), "{algorithm}");
    }
}

#[test]
fn a_token_is_the_secret_and_nothing_like_it() {
    let key = Key::unchecked("k", "a-token-of-mine");
    for algorithm in [Algorithm::Token, Algorithm::Basic] {
        assert!(holds(&key, algorithm, b"", b"a-token-of-mine"));
        for other in ["a-token-of-min", "a-token-of-mine ", "A-token-of-mine", ""] {
            assert!(!holds(&key, algorithm, b"", other.as_bytes()), "{other:?}");
        }
    }
}

#[test]
fn signatures_that_openssl_made_hold_and_no_others() {
    let vectors = vectors();
    let message = vectors.message.as_bytes();
    for vector in &vectors.signatures {
        let algorithm = vector.algorithm;
        let key = key(algorithm, "pem", &vectors.keys[&vector.key].public).expect("a key");
        let signature = STANDARD.decode(&vector.signature).expect("base64");
        assert!(algorithm.fits(signature.len()), "{algorithm}: {} bytes", signature.len());
        assert!(holds(&key, algorithm, message, &signature), "{algorithm}");
        assert!(!holds(&key, algorithm, b"{}", &signature), "{algorithm}");
        let mut other = signature.clone();
        *other.last_mut().expect("not empty") ^= 1;
        assert!(!holds(&key, algorithm, message, &other), "{algorithm}");
        other[0] ^= 1;
        assert!(!holds(&key, algorithm, message, &[]), "{algorithm}");
        assert!(!holds(&key, algorithm, message, &signature[1..]), "{algorithm}");
        assert!(!holds(&key, algorithm, message, &[&signature[..], &[0]].concat()), "{algorithm}");
        algorithm.spend(&key, &Message::from(message));
    }
}

#[test]
fn one_algorithm_never_takes_the_signature_of_another() {
    let vectors = vectors();
    for vector in &vectors.signatures {
        let signature = STANDARD.decode(&vector.signature).expect("base64");
        for other in vectors.signatures.iter().filter(|other| other.algorithm != vector.algorithm) {
            let key = key(other.algorithm, "pem", &vectors.keys[&other.key].public).expect("a key");
            let held = holds(&key, other.algorithm, vectors.message.as_bytes(), &signature);
            assert!(!held, "{} as {}", vector.algorithm, other.algorithm);
        }
    }
}

#[test]
fn a_public_key_is_no_secret_of_an_hmac() {
    let vectors = vectors();
    let public = vectors.keys["rsa"].public.as_bytes();
    let forged =
        mac::expected(Algorithm::HmacSha256, public, &Message::from(b"{}".as_slice())).expect("a MAC");
    let key = key(Algorithm::RsaPkcs1Sha256, "pem", &vectors.keys["rsa"].public).expect("a key");
    for algorithm in [Algorithm::HmacSha256, Algorithm::RsaPkcs1Sha256, Algorithm::Token] {
        assert!(!holds(&key, algorithm, b"{}", &forged), "{algorithm}");
        assert!(!holds(&key, algorithm, b"", public), "{algorithm}");
    }
}

#[test]
fn a_key_is_read_as_it_is_written() {
    let vectors = vectors();
    for vector in &vectors.signatures {
        let (pair, algorithm) = (&vectors.keys[&vector.key], vector.algorithm);
        let key_of = |form: &str, text: &str| key(algorithm, form, text).expect("a key");
        let plain = key_of("pem", &pair.public);
        let base64 = |pem: &str| pem.lines().filter(|line| !line.starts_with('-')).collect::<String>();
        assert!(key_of("pem", &pair.certificate).same_as(&plain), "{algorithm}");
        assert!(key_of("pem", &pair.public.replace('\n', "\\n")).same_as(&plain), "{algorithm}: on one line");
        assert!(key_of("spki", &base64(&pair.public)).same_as(&plain), "{algorithm}");
        assert!(key_of("x509", &base64(&pair.certificate)).same_as(&plain), "{algorithm}");
        let private = Secret::new(pair.private.as_str());
        let half = scheme(algorithm, "pem").development_key("k", &private).expect("its half");
        assert!(half.same_as(&plain), "{algorithm}");
        let refused = |text: &str| key(algorithm, "pem", text).expect_err("no public key");
        assert_eq!(refused(&pair.private), KeyError::Private, "{algorithm}");
        assert_eq!(refused(&format!("{}{}", pair.public, pair.public)), KeyError::Malformed, "{algorithm}");
        assert_eq!(refused("-----BEGIN PUBLIC KEY-----"), KeyError::Malformed, "{algorithm}");
        assert_eq!(refused(" \n"), KeyError::Empty, "{algorithm}");
    }
}

#[test]
fn a_key_of_another_kind_is_named() {
    let vectors = vectors();
    let refused = |algorithm, name: &str| {
        key(algorithm, "pem", &vectors.keys[name].public).expect_err("another kind").to_string()
    };
    assert!(refused(Algorithm::Ed25519, "rsa").starts_with("it is an RSA key, and ed25519 needs another"));
    assert!(refused(Algorithm::RsaPssSha512, "p256").starts_with("it is an EC key on P-256"));
    assert!(refused(Algorithm::EcdsaP256Sha256, "p384").starts_with("it is an EC key on P-384"));
    assert!(refused(Algorithm::EcdsaP521Sha512Raw, "ed").starts_with("it is an Ed25519 key"));
    assert!(refused(Algorithm::RsaPkcs1Sha256, "rsa1024").contains("1024 bits"));
}

#[test]
fn a_json_web_key_is_read_strictly() {
    let read = |algorithm, text: &str| key(algorithm, "jwk", text);
    // RFC 8037, appendix A.2; RFC 7517, appendix A.1.
    let ed = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let raw = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let plain = key(Algorithm::Ed25519, "hex", raw).expect("a key");
    assert!(read(Algorithm::Ed25519, ed).expect("a key").same_as(&plain));
    let ec = r#"{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","use":"sig","kid":"1"}"#;
    assert!(read(Algorithm::EcdsaP256Sha256Raw, ec).is_ok());
    assert!(matches!(read(Algorithm::EcdsaP384Sha384, ec), Err(KeyError::Kind { .. })));
    assert!(matches!(read(Algorithm::RsaPkcs1Sha256, ed), Err(KeyError::Kind { .. })));
    assert_eq!(
        read(Algorithm::Ed25519, &ed.replace("{\"kty", "{\"d\":\"AAAA\",\"kty")),
        Err(KeyError::Private)
    );
    assert_eq!(
        read(Algorithm::EcdsaP256Sha256, &ec.replace("4Etl", "4Etm")),
        Err(KeyError::Malformed),
        "no point"
    );
    for bad in ["", "{}", "[]", &ed.replace("11qY", "11q"), &ed.replace("OKP", "oct")] {
        assert!(read(Algorithm::Ed25519, bad).is_err(), "{bad}");
    }
}

#[test]
fn ed25519_is_strict() {
    // RFC 8032, section 7.1, test 2.
    let public = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
    let signature = hex::decode(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
         085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    )
    .expect("hex");
    let good = key(Algorithm::Ed25519, "hex", public).expect("a key");
    assert!(holds(&good, Algorithm::Ed25519, &[0x72], &signature));
    // s and s + the group's order would be two spellings of one signature.
    let order = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
    let mut malleated = signature.clone();
    let mut carry = 0_u16;
    for (byte, add) in malleated[32..].iter_mut().zip(hex::decode(order).expect("hex")) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        (*byte, carry) = (sum.to_le_bytes()[0], sum >> 8);
    }
    assert!(!holds(&good, Algorithm::Ed25519, &[0x72], &malleated));
}

#[test]
fn ed25519_keys_under_which_anyone_can_sign_are_refused() {
    for weak in [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "0000000000000000000000000000000000000000000000000000000000000080",
    ] {
        assert_eq!(key(Algorithm::Ed25519, "hex", weak), Err(KeyError::SmallOrder), "{weak}");
    }
    for no_point in [
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0200000000000000000000000000000000000000000000000000000000000000",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af466",
        "",
    ] {
        assert!(key(Algorithm::Ed25519, "hex", no_point).is_err(), "{no_point}");
    }
}

proptest! {
    #[test]
    fn only_the_secret_that_made_it_verifies(
        secret in prop::collection::vec(any::<u8>(), 1..80), other in prop::collection::vec(any::<u8>(), 1..80),
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let same = secret == other || padded(&secret) == padded(&other);
        for algorithm in [Algorithm::HmacSha1, Algorithm::HmacSha256] {
            let made = mac::expected(algorithm, &secret, &Message::from(body.as_slice())).expect("a MAC");
            prop_assert!(holds(&Key::unchecked("k", secret.clone()), algorithm, &body, &made));
            prop_assert_eq!(holds(&Key::unchecked("k", other.clone()), algorithm, &body, &made), same);
        }
    }

    #[test]
    fn no_signature_and_no_key_makes_it_panic(
        signature in prop::collection::vec(any::<u8>(), 0..300), text in "[ -~\n]{0,80}",
    ) {
        let vectors = vectors();
        for vector in &vectors.signatures {
            let key = key(vector.algorithm, "pem", &vectors.keys[&vector.key].public).expect("a key");
            let held = holds(&key, vector.algorithm, b"{}", &signature);
            prop_assert!(!held);
        }
        for form in ["pem", "spki", "x509", "jwk", "hex", "base64", "raw"] {
            prop_assert!(key(Algorithm::Ed25519, form, &text).is_err() || text.len() >= 32);
        }
    }
}

/// HMAC fills short keys up with zeros.
fn padded(key: &[u8]) -> Vec<u8> {
    let end = key.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    key[..end].to_vec()
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.same_as(other)
    }
}
