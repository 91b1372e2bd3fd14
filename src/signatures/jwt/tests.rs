//! Room `signatures`: tokens, genuine and made up.

use std::time::Duration;

use aws_lc_rs::{
    encoding::AsDer,
    hmac,
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, KeyPair, RSA_PKCS1_SHA256,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use vrl::value::Value;

use super::*;
use crate::{
    model::{FieldPath, RawRequest, Secret},
    signatures::tests::request,
};

const NOW: i64 = 1_700_000_000;
const BODY: &str = "{\n  \"webhook_code\": \"DEFAULT_UPDATE\"\n}";
const CLAIMS: &str = r#"{"iss":"acme","aud":["other","us"],"iat":1700000000,"exp":1700000060}"#;

fn seconds(at: i64) -> Timestamp {
    Timestamp::from_seconds(at).expect("in range")
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Someone who signs.
enum Signer {
    Mac(Vec<u8>),
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

impl Signer {
    fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"))
    }

    fn ec(algorithm: &'static EcdsaSigningAlgorithm) -> Self {
        Self::Ec(EcdsaKeyPair::generate(algorithm).expect("a key"))
    }

    fn key(&self) -> Material {
        match self {
            Self::Mac(secret) => Material::Secret(Secret::new(secret.clone())),
            Self::Rsa(pair) => Material::Public(pair.public_key().as_der().expect("a key").as_ref().to_vec()),
            Self::Ec(pair) => Material::Public(pair.public_key().as_der().expect("a key").as_ref().to_vec()),
        }
    }

    fn sign(&self, signed: &[u8]) -> Vec<u8> {
        match self {
            Self::Mac(secret) => {
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed).as_ref().to_vec()
            }
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed, &mut signature).expect("signs");
                signature
            }
            Self::Ec(pair) => pair.sign(&SystemRandom::new(), signed).expect("signs").as_ref().to_vec(),
        }
    }

    fn token(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", encode(header), encode(payload));
        format!("{signed}.{}", encode(self.sign(signed.as_bytes())))
    }
}

fn scheme(algorithms: &[JwsAlgorithm], rules: &[(&str, Claim)]) -> Jwt {
    let path = FieldPath::parse("header.authorization").expect("a path");
    let place = Place { prefix: Some("Bearer ".to_owned()), ..Place::whole(path) };
    let claims = Claims {
        rules: rules.iter().map(|(name, claim)| ((*name).to_owned(), claim.clone())).collect(),
        max_age: None,
        tolerance: Duration::from_secs(30),
        endless: false,
    };
    Jwt {
        at: TokenAt::Place(Box::new(place)),
        algorithms: algorithms.to_vec(),
        about: About::Claims(claims),
        public_url: Some("https://hooks.us.example".to_owned()),
        key_set: None,
    }
}

fn text(text: &str) -> Claim {
    Claim::Text(text.to_owned())
}

fn bearing(token: &str) -> RawRequest {
    request("POST", "/in/acme?x=1", &[("authorization", &format!("Bearer {token}"))], BODY)
}

fn judged(scheme: &Jwt, keys: &[Material], request: &RawRequest, now: i64) -> Result<usize, SignatureError> {
    let view = View { request, body: &Value::Null, item: &Value::Null };
    scheme.judge(keys, &view, seconds(now))
}

#[test]
fn a_genuine_token_of_each_kind_of_key_holds() {
    let mac = Signer::Mac(b"a secret of some length, shared".to_vec());
    for (signer, algorithm) in [
        (mac, JwsAlgorithm::HS256),
        (Signer::rsa(), JwsAlgorithm::RS256),
        (Signer::ec(&ECDSA_P256_SHA256_FIXED_SIGNING), JwsAlgorithm::ES256),
        (Signer::ec(&ECDSA_P521_SHA512_FIXED_SIGNING), JwsAlgorithm::ES512),
    ] {
        let scheme = scheme(&[algorithm], &[("iss", text("acme")), ("aud", text("us"))]);
        let token = signer.token(&format!(r#"{{"alg":"{}"}}"#, algorithm.name()), CLAIMS);
        let stranger = Material::Secret(Secret::new("another secret of some length"));
        assert_eq!(judged(&scheme, &[stranger, signer.key()], &bearing(&token), NOW), Ok(1), "{algorithm:?}");
        let changed = token.replace(&encode(CLAIMS), &encode(CLAIMS.replace("acme", "acmE")));
        assert_eq!(judged(&scheme, &[signer.key()], &bearing(&changed), NOW), Err(SignatureError::Mismatch));
    }
}

#[test]
fn the_token_does_not_choose_its_algorithm() {
    let rsa = Signer::rsa();
    let Material::Public(spki) = rsa.key() else { unreachable!("an RSA key is public") };
    let only_rs256 = scheme(&[JwsAlgorithm::RS256], &[]);
    let malformed = |token: &str| {
        let refused = judged(&only_rs256, &[rsa.key()], &bearing(token), NOW);
        assert!(matches!(refused, Err(SignatureError::Malformed(_))), "{token}: {refused:?}");
    };
    for none in ["none", "None", "NONE", "nOnE", "", "rs256", "RS256 "] {
        let unsigned = format!("{}.{}.", encode(format!(r#"{{"alg":"{none}"}}"#)), encode(CLAIMS));
        malformed(&unsigned);
        malformed(&rsa.token(&format!(r#"{{"alg":"{none}"}}"#), CLAIMS));
    }
    // The public key, which everyone has, as the secret of a MAC.
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        base64::engine::general_purpose::STANDARD.encode(&spki)
    );
    for secret in [spki.clone(), pem.into_bytes()] {
        let forged = Signer::Mac(secret);
        malformed(&forged.token(r#"{"alg":"HS256"}"#, CLAIMS));
        let relabelled = forged.token(r#"{"alg":"RS256"}"#, CLAIMS);
        assert_eq!(
            judged(&only_rs256, &[rsa.key()], &bearing(&relabelled), NOW),
            Err(SignatureError::Mismatch)
        );
        // Even a scheme that took both would not mix them.
        let both = scheme(&[JwsAlgorithm::RS256, JwsAlgorithm::HS256], &[]);
        let forged = forged.token(r#"{"alg":"HS256"}"#, CLAIMS);
        assert_eq!(judged(&both, &[rsa.key()], &bearing(&forged), NOW), Err(SignatureError::Mismatch));
    }
    // A key of another kind under the scheme's algorithm.
    let ec = Signer::ec(&ECDSA_P256_SHA256_FIXED_SIGNING);
    let token = ec.token(r#"{"alg":"RS256"}"#, CLAIMS);
    assert_eq!(judged(&only_rs256, &[ec.key()], &bearing(&token), NOW), Err(SignatureError::Mismatch));
}

#[test]
fn every_text_that_is_cut_or_lengthened_is_refused() {
    let signer = Signer::Mac(b"a secret of some length, shared".to_vec());
    let scheme = scheme(&[JwsAlgorithm::HS256], &[]);
    let token = signer.token(r#"{"alg":"HS256"}"#, CLAIMS);
    assert_eq!(judged(&scheme, &[signer.key()], &bearing(&token), NOW), Ok(0));
    for cut in 0..token.len() {
        assert!(judged(&scheme, &[signer.key()], &bearing(&token[..cut]), NOW).is_err(), "{cut}");
    }
    for more in [".", ".a", "A", "=", " ", "\n", "\0"] {
        assert!(
            judged(&scheme, &[signer.key()], &bearing(&format!("{token}{more}")), NOW).is_err(),
            "{more:?}"
        );
    }
    let long = "a".repeat(MAX_TOKEN_BYTES + 1);
    assert!(matches!(
        judged(&scheme, &[signer.key()], &bearing(&long), NOW),
        Err(SignatureError::Malformed(_))
    ));
    let mut twice = bearing(&token);
    twice.headers.push("authorization", format!("Bearer {token}"));
    assert_eq!(judged(&scheme, &[signer.key()], &twice, NOW), Err(SignatureError::Duplicated));
    assert_eq!(judged(&scheme, &[], &bearing(&token), NOW), Err(SignatureError::Mismatch));
}

#[test]
fn a_token_holds_from_its_beginning_to_its_end() {
    let signer = Signer::Mac(b"a secret of some length, shared".to_vec());
    let mut scheme = scheme(&[JwsAlgorithm::HS256], &[]);
    let at = |scheme: &Jwt, claims: &str, now: i64| {
        let token = signer.token(r#"{"alg":"HS256"}"#, claims);
        judged(scheme, &[signer.key()], &bearing(&token), now).map(drop)
    };
    let claims = r#"{"nbf":1700000000,"iat":1700000000.5,"exp":1700000060}"#;
    for (now, verdict) in [
        (NOW - 31, Err(SignatureError::Future)),
        (NOW - 30, Ok(())),
        (NOW + 60, Ok(())),
        (NOW + 89, Ok(())),
        (NOW + 90, Err(SignatureError::Stale)),
        (NOW + 100_000, Err(SignatureError::Stale)),
    ] {
        assert_eq!(at(&scheme, claims, now), verdict, "{}", now - NOW);
    }
    assert_eq!(at(&scheme, r#"{"iat":1700000000}"#, NOW), Err(SignatureError::Claim("exp is missing")));
    for bad in [
        r#"{"exp":"1700000060"}"#,
        r#"{"exp":null}"#,
        r#"{"exp":-1}"#,
        r#"{"exp":1e300}"#,
        r#"{"exp":1700000060,"exp":1900000000}"#,
        r#"{"exp":1700000060,"nbf":[]}"#,
        "[]",
        "\"x\"",
        "{}{}",
    ] {
        assert!(matches!(at(&scheme, bad, NOW), Err(SignatureError::Malformed(_))), "{bad}");
    }
    let About::Claims(claims) = &mut scheme.about else { unreachable!("claims") };
    claims.max_age = Some(Duration::from_mins(5));
    assert_eq!(at(&scheme, r#"{"iat":1700000000}"#, NOW + 300), Ok(()));
    assert_eq!(at(&scheme, r#"{"iat":1700000000}"#, NOW + 301), Err(SignatureError::Stale));
    assert_eq!(at(&scheme, r#"{"exp":1800000000}"#, NOW), Err(SignatureError::Claim("iat is missing")));
}

#[test]
fn claims_bind_a_token_to_its_request() {
    let signer = Signer::Mac(b"36efdd1aace2e26cd490f0d951138253bef2f7c6d34d18981da781555cc4cebb".to_vec());
    // As MessageBird publishes it.
    let token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJNZXNzYWdlQmlyZCIsIm5iZiI6MTYyNTQ3OTIwMCwiZXhwIjoxNjI1NDc5MjYwLCJqdGkiOiI5M2U1NTAwNi1hMGU4LTQ1MjYtYTE5MC1mYTVmZjAwZWExMTYiLCJ1cmxfaGFzaCI6IjQxZjA1ZjBkZGQwYTIyYWIyMDlhYzQ2ZjQ3YzQ1NzJkOWNlZmEyNTdlZDc0YjI0MDA0YmFlNzUzZWNlNmMyNjAiLCJwYXlsb2FkX2hhc2giOiJkZmZkNjAyMWJiMmJkNWIwYWY2NzYyOTA4MDllYzNhNTMxOTFkZDgxYzdmNzBhNGIyODY4OGEzNjIxODI5ODZmIn0._H--TOuYFLpeEH39-rg5E3IHVkjHozBcaKVWPRC5m9I";
    let mut scheme = scheme(
        &[JwsAlgorithm::HS256],
        &[
            ("iss", text("MessageBird")),
            ("url_hash", Claim::Bound(Bound::UrlSha256)),
            ("payload_hash", Claim::Bound(Bound::BodySha256)),
        ],
    );
    scheme.public_url = Some("https://example.com".to_owned());
    let sent = |target: &str, body: &str| {
        request("POST", target, &[("authorization", &format!("Bearer {token}"))], body)
    };
    let told = |scheme: &Jwt, request: &RawRequest| judged(scheme, &[signer.key()], request, 1_625_479_230);
    let other = Err(SignatureError::Claim("one has another value"));
    assert_eq!(told(&scheme, &sent("/path?bar=1&foo=2", "Hello, World!")), Ok(0));
    assert_eq!(told(&scheme, &sent("/path?bar=1&foo=2", "Hello, World")), other);
    assert_eq!(told(&scheme, &sent("/path?foo=2&bar=1", "Hello, World!")), other);
    assert!(scheme.binds_body());
    scheme.public_url = None;
    assert_eq!(told(&scheme, &sent("/path?bar=1&foo=2", "Hello, World!")), Err(SignatureError::NoKey));
}

#[test]
fn a_claim_is_of_its_type() {
    let signer = Signer::Mac(b"a secret of some length, shared".to_vec());
    let scheme = scheme(
        &[JwsAlgorithm::HS256],
        &[("email_verified", Claim::Truth(true)), ("aud", text("us")), ("v", Claim::Integer(2))],
    );
    let told = |claims: &str| {
        let claims = format!(r#"{{"exp":1700000060,{claims}}}"#);
        judged(&scheme, &[signer.key()], &bearing(&signer.token(r#"{"alg":"HS256"}"#, &claims)), NOW)
    };
    assert_eq!(told(r#""email_verified":true,"aud":"us","v":2"#), Ok(0));
    for other in [
        r#""email_verified":"true","aud":"us","v":2"#,
        r#""email_verified":true,"aud":"them","v":2"#,
        r#""email_verified":true,"aud":["them"],"v":2"#,
        r#""email_verified":true,"aud":[["us"]],"v":2"#,
        r#""email_verified":true,"aud":"us","v":"2""#,
        r#""email_verified":true,"aud":"us""#,
        r#""email_verified":true,"aud":null,"v":2"#,
    ] {
        assert!(matches!(told(other), Err(SignatureError::Claim(_))), "{other}");
    }
}

#[test]
fn a_body_that_is_a_token_is_the_token_whole() {
    let signer = Signer::rsa();
    let scheme = Jwt { at: TokenAt::Body, ..scheme(&[JwsAlgorithm::RS256], &[("iss", text("acme"))]) };
    let token = signer.token(r#"{"alg":"RS256","kid":"k"}"#, CLAIMS);
    let sent = |body: &str| judged(&scheme, &[signer.key()], &request("POST", "/in/wix", &[], body), NOW);
    assert_eq!(sent(&token), Ok(0));
    for body in
        [format!("{token}\n"), format!("\"{token}\""), format!(" {token}"), String::new(), "{}".to_owned()]
    {
        assert!(sent(&body).is_err(), "{body:?}");
    }
    assert!(scheme.binds_body());
}

#[test]
fn a_detached_signature_is_over_the_message() {
    let signer = Signer::rsa();
    let message = Template::parse("{body}", None).expect("a template");
    let scheme = Jwt { about: About::Message(message), ..scheme(&[JwsAlgorithm::RS256], &[]) };
    let header = encode(r#"{"alg":"RS256","kid":"k"}"#);
    let signature = encode(signer.sign(format!("{header}.{}", encode(BODY)).as_bytes()));
    let detached = format!("{header}..{signature}");
    assert_eq!(judged(&scheme, &[signer.key()], &bearing(&detached), NOW), Ok(0));
    let mut other = bearing(&detached);
    other.body = "{}".into();
    assert_eq!(judged(&scheme, &[signer.key()], &other, NOW), Err(SignatureError::Mismatch));
    let attached = format!("{header}.{}.{signature}", encode(BODY));
    assert!(matches!(
        judged(&scheme, &[signer.key()], &bearing(&attached), NOW),
        Err(SignatureError::Malformed(_))
    ));
}
