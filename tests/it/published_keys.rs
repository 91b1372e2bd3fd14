//! Requests that are verified with keys the provider publishes: the whole house, and a provider on this machine over real
//! TLS. What is no provider's is never fetched, and what cannot be fetched is not the sender's fault.

use std::time::Duration;

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeyPair as RsaKeyPair,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use douane::{app::Rehearsal, config::Config, model::RawRequest};
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};

use crate::{
    folder::Folder,
    gateway::{NOON, post},
    servers::tls::{Authority, Page, TlsServer},
};

const PARTNER: &str = r#"name = "Lab"
owner = "lab"

[signature]
SIGNATURE

[[endpoint]]
name = "default"

[identify]
external_id = "body.id"
event_type  = "body.type"

[[mapping]]
on     = ["measured"]
module = "measured.vrl"
emits  = ["lab.ThingMeasured.v1"]
"#;

/// A gateway with one partner, and a server that is every host of its provider.
struct Scene {
    house: Rehearsal,
    server: TlsServer,
    authority: Authority,
    _folders: (Folder, tempfile::TempDir),
}

impl Scene {
    async fn new(signature: &str, host: &str) -> Self {
        Self::of(&PARTNER.replace("SIGNATURE", signature), host).await
    }

    async fn of(partner: &str, host: &str) -> Self {
        Self::with(partner, &[host], |_| {}).await
    }

    async fn with(partner: &str, hosts: &[&str], change: impl Fn(&mut Config)) -> Self {
        let (mappings, folder) = (Folder::new(), tempfile::tempdir().expect("a folder"));
        mappings.write("partners/lab/partner.toml", partner);
        let authority = Authority::new("the test's own");
        let server = TlsServer::start(&authority, hosts);
        let mut config = Config::default();
        config.ledger.data_dir = folder.path().join("data");
        config.mappings.path = mappings.path().to_owned();
        config.keys.connect_to = hosts.iter().map(|host| server.connect_to(host)).collect();
        config.keys.extra_roots = Some(authority.file(folder.path()));
        change(&mut config);
        let house = Rehearsal::on(config, NOON).await.expect("composed");
        Self { house, server, authority, _folders: (mappings, folder) }
    }

    /// The status, and why where it is no 2xx.
    async fn told(&self, request: &RawRequest) -> (u16, String) {
        let answered = self.house.deliver(request).await.expect("answered");
        (answered.status, answered.refusal.unwrap_or_default())
    }
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

const JWT: &str = r#"algorithm = "jwt"
value     = { path = "header.authorization", prefix = "Bearer " }
jwt       = { algorithms = ["ES256"], claims = { iss = "https://keys.acme.example", aud = "https://us.example/in/lab" } }
keys      = { jwks = "https://keys.acme.example/jwks" }
assurance = "origin""#;

fn ec() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key")
}

fn jwks(keys: &[(&str, &EcdsaKeyPair)]) -> Page {
    let keys: Vec<Value> = keys
        .iter()
        .map(|(id, key)| {
            let point = key.public_key().as_ref();
            let [x, y] = [&point[1..33], &point[33..]].map(|part| URL_SAFE_NO_PAD.encode(part));
            json!({ "kty": "EC", "crv": "P-256", "use": "sig", "kid": id, "x": x, "y": y })
        })
        .collect();
    Page::Body(json!({ "keys": keys }).to_string().into_bytes())
}

/// A request with a token that was made a moment before `at` seconds after noon.
fn bearing(key_id: &str, key: &EcdsaKeyPair, at: i64) -> RawRequest {
    let noon = NOON.seconds() + at;
    let claims = json!({ "iss": "https://keys.acme.example", "aud": "https://us.example/in/lab", "iat": noon - 1, "exp": noon + 60 });
    let header = json!({ "alg": "ES256", "kid": key_id });
    let signed = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let signature = key.sign(&SystemRandom::new(), signed.as_bytes()).expect("signs");
    let mut request = post("/in/lab", r#"{"id":"1","type":"measured","thing":"t","size":3}"#);
    request.headers.push("authorization", format!("Bearer {signed}.{}", URL_SAFE_NO_PAD.encode(signature)));
    request
}

#[tokio::test]
async fn a_token_is_verified_with_the_key_that_its_provider_publishes() {
    let scene = Scene::new(JWT, "keys.acme.example").await;
    let (first, second) = (ec(), ec());
    scene.server.set("/jwks", jwks(&[("k1", &first)]));
    for _ in 0..3 {
        assert_eq!(scene.told(&bearing("k1", &first, 0)).await, (200, String::new()));
    }
    assert_eq!(scene.server.requests(), 1);

    // A key that the provider does not publish yet, and one that only says so.
    scene.server.set("/jwks", jwks(&[("k1", &first), ("k2", &second)]));
    for _ in 0..3 {
        assert_eq!(scene.told(&bearing("k2", &second, 0)).await, refused(401, "signature_mismatch"));
    }
    assert_eq!(scene.told(&bearing("k1", &second, 0)).await, refused(401, "signature_mismatch"));
    assert_eq!(scene.server.requests(), 1, "anyone can name a key that is not there");
    scene.house.clock.advance(Duration::from_secs(61));
    assert_eq!(scene.told(&bearing("k2", &second, 61)).await, (200, String::new()));
    scene.house.clock.advance(Duration::from_mins(1));
    assert_eq!(scene.told(&bearing("k1", &first, 0)).await, refused(401, "timestamp_stale"));
    assert_eq!(scene.server.requests(), 2);
}

#[tokio::test]
async fn nothing_is_fetched_for_what_cannot_be_genuine() {
    let scene = Scene::new(JWT, "keys.acme.example").await;
    let key = ec();
    scene.server.set("/jwks", jwks(&[("k1", &key)]));
    let good = bearing("k1", &key, 0);
    let with = |token: &str| {
        let mut request = good.clone();
        request.headers.0.retain(|(name, _)| name != "authorization");
        request.headers.push("authorization", token.to_owned());
        request
    };
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","kid":"k1"}"#);
    let jku = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","jku":"https://attacker.tld/jwks"}"#);
    for token in [
        "",
        "Bearer",
        "Bearer x",
        "Basic YTpi",
        &format!("Bearer {none}.e30.YQ"),
        &format!("Bearer {jku}.e30.YQ"),
    ] {
        assert_eq!(scene.told(&with(token)).await, refused(401, "signature_malformed"), "{token}");
    }
    assert_eq!(scene.told(&post("/in/lab", "{}")).await, refused(401, "signature_missing"));
    assert_eq!(scene.server.requests(), 0);
}

#[tokio::test]
async fn what_cannot_be_fetched_is_not_the_senders_fault() {
    let scene = Scene::new(JWT, "keys.acme.example").await;
    let key = ec();
    scene.server.set("/jwks", Page::Status(500, String::new()));
    assert_eq!(scene.told(&bearing("k1", &key, 0)).await, refused(503, "key_unavailable"));
    scene.server.set("/jwks", Page::Body(b"<html>".to_vec()));
    scene.house.clock.advance(Duration::from_secs(11));
    assert_eq!(scene.told(&bearing("k1", &key, 11)).await, refused(503, "key_unavailable"));
    scene.server.set("/jwks", jwks(&[("k1", &key)]));
    scene.house.clock.advance(Duration::from_secs(61));
    assert_eq!(scene.told(&bearing("k1", &key, 72)).await, (200, String::new()));
}

/// The key that stands for an ECDSA key in the partner's file, as it is pinned and as tests have it.
const PINNED: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgHSw7Sllod4aVBBMiMUBQb36NnKu6ydjn9gUUIzJBUG+hRANCAASaG/InfBIQ4P5cZjnuSlrCudFpXZHTZYkr0ONzNV6YYqK/D/pFYZUzEeRQ7V46AoQ/kJucoYkeO0dFHOr4OBIP";

#[tokio::test]
async fn a_pinned_key_stands_in_the_place_of_those_that_are_published() {
    let own =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &STANDARD.decode(PINNED).expect("base64"))
            .expect("a key");
    let in_tests = format!("{JWT}\n[test]\nsecrets = {{ pinned = '{PINNED}' }}\n");
    let in_the_file = in_tests.replace("pinned =", "own =");
    let secrets = "name = \"default\"\nsecrets = [{ id = 'own', from = 'env:NOT_LOOKED_AT' }]";
    for (signature, endpoint) in [(in_tests, "name = \"default\""), (in_the_file, secrets)] {
        let partner = PARTNER.replace("SIGNATURE", &signature).replace("name = \"default\"", endpoint);
        let scene = Scene::of(&partner, "keys.acme.example").await;
        let published = ec();
        scene.server.set("/jwks", jwks(&[("k1", &published)]));
        assert_eq!(scene.told(&bearing("k1", &own, 0)).await, (200, String::new()));
        assert_eq!(scene.told(&bearing("k1", &published, 0)).await, refused(401, "signature_mismatch"));
        assert_eq!(scene.server.requests(), 0, "nothing is fetched");
    }
}

const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:orders";
const SNS: &str = r#"algorithm = "sns"
sns       = { topics = ["arn:aws:sns:eu-west-1:123456789012:orders"] }
keys      = { certificate = "body.SigningCertURL", hosts = ["sns.{region}.amazonaws.com"], path = "/*.pem", subjects = ["sns.amazonaws.com"], chain = false }
assurance = "partial""#;

/// A key of RSA, to certify and to sign with.
fn rsa() -> (KeyPair, RsaKeyPair) {
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key");
    let signer = RsaKeyPair::from_pkcs8(&key.serialize_der()).expect("the same key");
    (key, signer)
}

fn signature(key: &RsaKeyPair, signed: &str) -> String {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).expect("signs");
    STANDARD.encode(signature)
}

fn notification(key: &RsaKeyPair, topic: &str, certificate: &str) -> RawRequest {
    let signed = format!(
        "Message\nhello\nMessageId\nm-1\nTimestamp\n2026-11-23T12:00:00.000Z\nTopicArn\n{topic}\nType\nNotification\n"
    );
    let body = json!({
        "Type": "Notification", "MessageId": "m-1", "TopicArn": topic, "Message": "hello",
        "Timestamp": "2026-11-23T12:00:00.000Z", "SignatureVersion": "2",
        "Signature": signature(key, &signed), "SigningCertURL": certificate,
    });
    post("/in/lab", body.to_string())
}

#[tokio::test]
async fn a_notification_of_sns_is_verified_with_the_certificate_that_it_names() {
    const URL: &str = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-a.pem";
    let scene = Scene::new(SNS, "sns.eu-west-1.amazonaws.com").await;
    let (key, signer) = rsa();
    let certificate = scene.authority.certify(&["sns.amazonaws.com"], &key, |_| {});

    for elsewhere in [
        "https://sns.evil.amazonaws.com.attacker.tld/a.pem",
        "https://sns.s3-us-west-2.amazonaws.com/a.pem",
        "http://sns.eu-west-1.amazonaws.com/a.pem",
        "https://sns.eu-west-1.amazonaws.com:8443/a.pem",
        "https://sns.eu-west-1.amazonaws.com@attacker.tld/a.pem",
        "https://127.0.0.1/a.pem",
    ] {
        let request = notification(&signer, TOPIC, elsewhere);
        assert_eq!(scene.told(&request).await, refused(401, "signature_malformed"), "{elsewhere}");
    }
    let foreign = notification(&signer, "arn:aws:sns:eu-west-1:666666666666:orders", URL);
    assert_eq!(scene.told(&foreign).await, refused(401, "signature_malformed"));
    assert_eq!(scene.server.requests(), 0, "nobody makes us fetch anything");

    assert_eq!(scene.told(&notification(&signer, TOPIC, URL)).await, refused(503, "key_unavailable"));
    scene.server.set("/SimpleNotificationService-a.pem", Page::Body(certificate.pem().into_bytes()));
    scene.house.clock.advance(Duration::from_secs(11));
    for _ in 0..2 {
        assert_eq!(scene.told(&notification(&signer, TOPIC, URL)).await, (200, String::new()));
    }
    let (_, stranger) = rsa();
    assert_eq!(scene.told(&notification(&stranger, TOPIC, URL)).await, refused(401, "signature_mismatch"));
    assert_eq!(scene.server.requests(), 2);
}

#[tokio::test]
async fn whoever_makes_up_hosts_of_a_pattern_has_one_count_for_all_of_them() {
    let regions: Vec<String> = (1..=9).map(|number| format!("sns.made-up-{number}.amazonaws.com")).collect();
    let hosts: Vec<&str> = regions.iter().map(String::as_str).collect();
    let partner = PARTNER.replace("SIGNATURE", SNS);
    let scene = Scene::with(&partner, &hosts, |config| config.keys.first_fetches_per_minute = 2).await;
    let (_, signer) = rsa();
    for host in hosts {
        let request = notification(&signer, TOPIC, &format!("https://{host}/a.pem"));
        assert_eq!(scene.told(&request).await, refused(503, "key_unavailable"), "{host}");
    }
    assert_eq!(scene.server.requests(), 2);
}

const PAYPAL: &str = r#"algorithm = "rsa-pkcs1-sha256"
value     = { path = "header.paypal-transmission-sig", as = "base64" }
keys      = { certificate = "header.paypal-cert-url", hosts = ["api.paypal.com"], path = "/v1/notifications/certs/*", subjects = ["*.paypal.com"] }
message   = "{header.paypal-transmission-id}|{header.paypal-transmission-time}|WEBHOOK|{body}"
assurance = "full""#;

fn transmission(key: &RsaKeyPair, certificate: &str) -> RawRequest {
    const BODY: &str = r#"{"id":"WH-1","type":"measured","thing":"t","size":3}"#;
    let mut request = post("/in/lab", BODY);
    for (name, value) in [
        ("paypal-transmission-id", "t-1"),
        ("paypal-transmission-time", "2026-11-23T12:00:00Z"),
        ("paypal-cert-url", certificate),
        ("paypal-transmission-sig", &signature(key, &format!("t-1|2026-11-23T12:00:00Z|WEBHOOK|{BODY}"))),
    ] {
        request.headers.push(name, value.to_owned());
    }
    request
}

#[tokio::test]
async fn a_certificate_needs_an_authority_and_a_name_of_the_provider() {
    let scene = Scene::new(PAYPAL, "api.paypal.com").await;
    let (key, signer) = rsa();
    let stranger = Authority::new("somebody else's");
    for (path, certificate) in [
        ("CERT-good", scene.authority.certify(&["webhooks.paypal.com"], &key, |_| {})),
        ("CERT-name", scene.authority.certify(&["webhooks.attacker.tld"], &key, |_| {})),
        ("CERT-chain", stranger.certify(&["webhooks.paypal.com"], &key, |_| {})),
        (
            "CERT-old",
            scene.authority.certify(&["webhooks.paypal.com"], &key, |params| {
                params.not_after = rcgen::date_time_ymd(2026, 1, 1);
            }),
        ),
    ] {
        scene
            .server
            .set(&format!("/v1/notifications/certs/{path}"), Page::Body(certificate.pem().into_bytes()));
    }
    let at =
        |path: &str| transmission(&signer, &format!("https://api.paypal.com/v1/notifications/certs/{path}"));
    assert_eq!(scene.told(&at("CERT-good")).await, (200, String::new()));
    for bad in ["CERT-name", "CERT-chain", "CERT-old", "CERT-absent"] {
        assert_eq!(scene.told(&at(bad)).await, refused(503, "key_unavailable"), "{bad}");
    }
    for elsewhere in [
        "https://api.paypal.com.attacker.tld/v1/notifications/certs/CERT-good",
        "https://api.paypal.com/a.pem",
    ] {
        let request = transmission(&signer, elsewhere);
        assert_eq!(scene.told(&request).await, refused(401, "signature_malformed"), "{elsewhere}");
    }
    let mut changed = at("CERT-good");
    changed.body = "{}".into();
    assert_eq!(scene.told(&changed).await, refused(401, "signature_mismatch"));
}
