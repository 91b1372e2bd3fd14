//! Room `signatures`: attacks on them, by name. Each must come to nothing, and each must look like any other refusal to whoever tries it.

use std::slice::from_ref;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::{Key, Schemes, SignatureError, tests};
use crate::model::{RawRequest, Secret, Timestamp};

const BODY: &str = "{\"id\":\"evt_1\"}";

fn request(headers: &[(&str, &str)]) -> RawRequest {
    tests::request("POST", "/in/acme", headers, BODY)
}

fn scheme(algorithm: &str, secret: &str) -> Schemes {
    Schemes::parse(&format!(
        "algorithm = \"{algorithm}\"\nsecret = {{ as = \"{secret}\" }}\nmessage = \"{{body}}\"\n\
         value = {{ path = \"header.s\", as = \"hex\" }}\nassurance = \"full\"\n"
    ))
    .expect("a scheme")
}

fn refused(schemes: &Schemes, keys: &[Key], headers: &[(&str, &str)]) -> SignatureError {
    let now = Timestamp::from_seconds(1_700_000_000).expect("in range");
    schemes.judge(keys, &request(headers), now).expect_err("an attack must be refused")
}

fn hmac(key: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
    mac.update(BODY.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

#[test]
fn a_signature_under_an_empty_key() {
    let (hmac_sha256, signature) = (scheme("hmac-sha256", "text"), hmac(b""));
    let headers = [("s", signature.as_str())];
    let (empty, good) = (Key::unchecked("empty", ""), Key::unchecked("good", "a key of some length"));
    assert_eq!(refused(&hmac_sha256, &[], &headers), SignatureError::NoKey);
    assert_eq!(refused(&hmac_sha256, from_ref(&empty), &headers), SignatureError::NoKey);
    assert_eq!(refused(&hmac_sha256, &[good.clone(), empty], &headers), SignatureError::NoKey);
    assert_eq!(refused(&hmac_sha256, &[good], &headers), SignatureError::Mismatch);
    let single = hmac_sha256.single().expect("one");
    assert!(single.key("k", &Secret::new("")).is_err() && single.weak_key("k", &Secret::new("")).is_err());
}

#[test]
fn a_delivery_to_one_endpoint_posted_to_another() {
    let (hmac_sha256, signature) = (scheme("hmac-sha256", "text"), hmac(b"the secret of orders"));
    let other = [Key::unchecked("refunds", "the secret of refunds")];
    assert_eq!(refused(&hmac_sha256, &other, &[("s", &signature)]), SignatureError::Mismatch);
}

#[test]
fn a_signature_by_a_weaker_algorithm() {
    let key = [Key::unchecked("k", "a key of some length")];
    let mut sha1 = Hmac::<sha1::Sha1>::new_from_slice(b"a key of some length").expect("any length");
    sha1.update(BODY.as_bytes());
    let sha1 = hex::encode(sha1.finalize().into_bytes());
    let hmac_sha256 = scheme("hmac-sha256", "text");
    assert!(matches!(refused(&hmac_sha256, &key, &[("s", &sha1)]), SignatureError::Malformed(_)));
    let bare = hex::encode(Sha256::digest(BODY));
    assert_eq!(refused(&hmac_sha256, &key, &[("s", &bare)]), SignatureError::Mismatch);
    let glued = hex::encode(Sha256::digest(["a key of some length", BODY].concat()));
    assert_eq!(refused(&hmac_sha256, &key, &[("s", &glued)]), SignatureError::Mismatch);
}

#[test]
fn a_mac_under_the_public_key_that_everyone_knows() {
    let ed25519 = scheme("ed25519", "hex");
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a seed");
    let public = hex::encode(pair.public_key());
    let key = ed25519.single().expect("one").key("app", &Secret::new(public.as_str())).expect("a key");
    for forged in [hmac(public.as_bytes()), hmac(pair.public_key().as_ref())] {
        let twice = [forged.as_str(), &forged].concat();
        assert_eq!(refused(&ed25519, from_ref(&key), &[("s", &twice)]), SignatureError::Mismatch);
    }
    let genuine = hex::encode(pair.sign(BODY.as_bytes()));
    let now = Timestamp::from_seconds(1_700_000_000).expect("in range");
    assert!(ed25519.judge(&[key], &request(&[("s", &genuine)]), now).is_ok(), "the sender itself is let in");
}

#[test]
fn a_secret_that_has_had_its_day() {
    let (hmac_sha256, signature) = (scheme("hmac-sha256", "text"), hmac(b"a key of some length"));
    let at = |seconds| Timestamp::from_seconds(seconds);
    let key = |id: &str| Key::unchecked(id, "a key of some length");
    let (expired, early) =
        (key("old").counting(None, at(1_699_999_999)), key("new").counting(at(1_700_000_001), None));
    let headers = [("s", signature.as_str())];
    assert_eq!(refused(&hmac_sha256, from_ref(&expired), &headers), SignatureError::NoKey, "none counts");
    assert_eq!(refused(&hmac_sha256, &[expired.clone(), early], &headers), SignatureError::NoKey);
    let other = Key::unchecked("other", "another key of some length");
    assert_eq!(refused(&hmac_sha256, &[expired, other.clone()], &headers), SignatureError::Mismatch);
    let gone = |until| Key::missing("gone").counting(None, at(until));
    assert_eq!(
        refused(&hmac_sha256, &[gone(1_699_999_999), other.clone()], &headers),
        SignatureError::Mismatch
    );
    assert_eq!(refused(&hmac_sha256, &[gone(1_700_000_000), other], &headers), SignatureError::NoKey);
}

#[test]
fn a_version_that_is_not_the_pinned_one() {
    let pinned = Schemes::parse(
        "algorithm = \"hmac-sha256\"\nsecret = { as = \"text\" }\nmessage = \"{body}\"\nassurance = \"full\"\n\
         value = { path = \"header.s\", as = \"hex\" }\nrequire = { \"header.version\" = \"1\" }",
    )
    .expect("a scheme");
    let (key, signature) = ([Key::unchecked("k", "a key of some length")], hmac(b"a key of some length"));
    for version in [&[][..], &[("version", "2")], &[("version", "1 ")], &[("version", "1"), ("version", "2")]]
    {
        let headers = [&[("s", signature.as_str())][..], version].concat();
        let code = refused(&pinned, &key, &headers).code();
        assert!(["signature_malformed", "signature_duplicated"].contains(&code), "{version:?}");
    }
    let now = Timestamp::from_seconds(1_700_000_000).expect("in range");
    assert!(pinned.judge(&key, &request(&[("s", &signature), ("version", "1")]), now).is_ok());
}
