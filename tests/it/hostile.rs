//! Bad input at the public door of the real binary: each with its documented answer, and no harm: after every test the
//! gateway still takes a good delivery.

use std::path::Path;

use douane::cli::{cases::Sign, signer};
use serde_json::Value;

use crate::{
    gateway::{Gateway, NOON, post},
    lab::copy,
    process::{Process, STRIPE_SECRET, mappings},
    wire::{self, Answer, Wire},
};

/// Timers short enough for a test, limits at their defaults.
const SHORT_TIMERS: [(&str, &str); 2] =
    [("DOUANE_INTAKE_HEADER_TIMEOUT", "500ms"), ("DOUANE_INTAKE_BODY_TIMEOUT", "500ms")];

/// A gateway that a test attacks; it must be unharmed at the end.
struct Attacked {
    gateway: Process,
    _folder: tempfile::TempDir,
}

impl Attacked {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let gateway = Process::start_with(&folder.path().join("data"), &mappings(), &SHORT_TIMERS);
        Self { gateway, _folder: folder }
    }

    fn post(&self, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        wire::exchange(self.gateway.public, "POST", "/in/stripe", headers, body)
    }

    /// Sends raw bytes and returns the answer, if there is one before the connection closes.
    fn raw(&self, bytes: &[u8]) -> Option<Answer> {
        let mut wire = Wire::open(self.gateway.public).expect("connected");
        wire.send(bytes).expect("sent");
        wire.answer().ok()
    }

    /// The outcome and reason of a signed body.
    fn outcome_of(&self, body: &[u8]) -> (String, String) {
        self.outcome_as("application/json", body)
    }

    /// The same of a body that says it is something else.
    fn outcome_as(&self, content_type: &str, body: &[u8]) -> (String, String) {
        let signature = wire::stripe_signature(STRIPE_SECRET, body, wire::now_seconds());
        let answer = self.post(&[("content-type", content_type), ("stripe-signature", &signature)], body);
        assert_eq!(answer.status, 200, "a verified body is kept, whatever it holds");
        let path = format!("/api/v1/deliveries/{}", answer.delivery());
        self.gateway.wait_until(&path, |answer| answer.json()["waiting"] == false);
        let event = self.gateway.get(&path).json()["external_events"][0].clone();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&event["outcome"]), text(&event["reason"]))
    }

    /// Ends the test: a good delivery is still taken and translated.
    fn unharmed(self) {
        let (outcome, reason) = self.outcome_of(&good_body("evt_after"));
        assert_eq!(outcome, "translated", "{reason}");
        assert!(self.gateway.terminate().success());
    }
}

fn good_body(id: &str) -> Vec<u8> {
    format!(
        r#"{{"id":"{id}","object":"event","api_version":"2025-09-30.clover","created":1764072000,"livemode":true,"pending_webhooks":1,"request":{{"id":null,"idempotency_key":null}},"type":"payment_intent.succeeded","data":{{"object":{{"id":"pi_1","object":"payment_intent","amount":1,"amount_received":1,"capture_method":"automatic","currency":"eur","customer":null,"created":1764071990,"latest_charge":"ch_1","livemode":true,"metadata":{{}},"payment_method_types":["card"],"status":"succeeded"}}}}}}"#
    )
    .into_bytes()
}

fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.head);
    assert!(answer.head.to_ascii_lowercase().contains("application/problem+json"), "{}", answer.head);
}

#[test]
fn signature_mistakes_are_one_answer_and_told_apart_in_private() {
    let attacked = Attacked::start();
    let body = good_body("evt_1");
    let now = wire::now_seconds();
    let sign = |secret: &str, at: i64| wire::stripe_signature(secret, &body, at);
    let cases = [
        ("signature_mismatch", vec![sign("whsec_another_secret_altogether", now)]),
        ("signature_missing", vec![]),
        ("signature_duplicated", vec![sign(STRIPE_SECRET, now), sign(STRIPE_SECRET, now)]),
        ("signature_malformed", vec!["nonsense".to_owned()]),
        ("timestamp_stale", vec![sign(STRIPE_SECRET, now - 3_600)]),
        ("timestamp_future", vec![sign(STRIPE_SECRET, now + 3_600)]),
        (
            "signature_mismatch",
            vec![sign(STRIPE_SECRET, now).replace("v1=", "v0=") + ",v1=" + &"0".repeat(64)],
        ),
    ];
    let mut answers = Vec::new();
    for (code, signatures) in &cases {
        let headers: Vec<_> = signatures.iter().map(|it| ("stripe-signature", it.as_str())).collect();
        let answer = attacked.post(&headers, &body);
        refused(&answer, 401, "signature_failed");
        answers.push(answer.body);
        let path = format!("/api/v1/refusals?code={code}");
        attacked
            .gateway
            .wait_until(&path, |answer| !answer.json()["items"].as_array().expect("rows").is_empty());
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "a partner, or an attacker, cannot tell the causes apart");
    attacked.unharmed();
}

#[test]
fn rubbish_does_not_use_up_the_rate_of_the_partner() {
    let folders = tempfile::tempdir().expect("a folder");
    let limited = folders.path().join("mappings");
    copy(&mappings(), &limited);
    let file = limited.join("partners/stripe/partner.toml");
    let text = std::fs::read_to_string(&file).expect("readable");
    let endpoint = text.replacen("[[endpoint]]", "[[endpoint]]\nrequests_per_second = 1", 1);
    std::fs::write(&file, endpoint).expect("written");
    let gateway = Process::start_with(&folders.path().join("data"), &limited, &SHORT_TIMERS);
    for _ in 0..10 {
        let forged = [("stripe-signature", "t=1,v1=00")];
        let answer = wire::exchange(gateway.public, "POST", "/in/stripe", &forged, b"{}");
        refused(&answer, 401, "signature_failed");
    }
    assert_eq!(gateway.post_stripe(&good_body("evt_1")).status, 200, "nothing genuine came before");
}

#[test]
fn addresses_and_methods_that_are_not_ours() {
    let attacked = Attacked::start();
    let public = attacked.gateway.public;
    let tricks = [
        "/in/nobody",
        "/in/stripe/nowhere",
        "/in/stripe/default/more",
        "/in/../in/stripe",
        "/in/%2e%2e/stripe",
        "/in//stripe",
        "/in/stripe%2fdefault",
        "/IN/stripe",
        "/in/Stripe",
        "/",
        "/in/",
        "/in/%00",
        "/in/\u{e9}",
        "/api/v1/events",
        "/metrics",
    ];
    for target in tricks {
        let answer = wire::exchange(public, "POST", target, &[], b"{}");
        assert!(matches!(answer.status, 404 | 400), "{target}: {}", answer.head);
    }
    let long = format!("/in/{}", "a".repeat(8_000));
    assert_eq!(wire::exchange(public, "POST", &long, &[], b"{}").status, 404);
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let answer = wire::exchange(public, method, "/in/stripe", &[], b"");
        refused(&answer, 405, "method_not_allowed");
        assert!(answer.head.to_ascii_lowercase().contains("allow: post"), "{}", answer.head);
    }
    attacked.unharmed();
}

#[test]
fn bodies_too_large_too_slow_or_not_what_they_claim() {
    let attacked = Attacked::start();
    refused(&attacked.post(&[], &vec![b'x'; 10 * 1024 * 1024]), 413, "body_too_large");
    let head = "POST /in/stripe HTTP/1.1\r\nhost: test\r\n";
    let lie = format!("{head}content-length: 99999999999\r\n\r\n");
    refused(&attacked.raw(lie.as_bytes()).expect("answered"), 413, "body_too_large");
    let slow = format!("{head}content-length: 100\r\n\r\nhalf of it");
    refused(&attacked.raw(slow.as_bytes()).expect("answered"), 408, "body_timeout");
    let endless = format!("{head}transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
    refused(&attacked.raw(endless.as_bytes()).expect("answered"), 408, "body_timeout");
    let flood =
        [format!("{head}transfer-encoding: chunked\r\n\r\n").into_bytes(), flood_of_chunks()].concat();
    let answer = attacked.raw(&flood);
    assert!(answer.is_none_or(|answer| answer.status == 413));
    let both = format!("{head}content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n");
    assert!(attacked.raw(both.as_bytes()).is_none_or(|answer| matches!(answer.status, 400 | 401)));
    refused(&attacked.post(&[("content-encoding", "gzip")], b"\x1f\x8b"), 415, "encoding_unsupported");
    let packed = format!("{head}transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n");
    refused(&attacked.raw(packed.as_bytes()).expect("answered"), 415, "encoding_unsupported");
    refused(&attacked.post(&[], b""), 401, "signature_failed");
    attacked.unharmed();
}

fn flood_of_chunks() -> Vec<u8> {
    let chunk = [b"10000\r\n".as_slice(), &vec![b'x'; 65_536], b"\r\n"].concat();
    chunk.repeat(40)
}

#[test]
fn headers_too_slow_or_too_many() {
    let attacked = Attacked::start();
    // Slow headers: the connection is closed without an answer, or with a bare 408.
    let mut slow = Wire::open(attacked.gateway.public).expect("connected");
    slow.send(b"POST /in/stripe HTTP/1.1\r\nhost: te").expect("sent");
    assert!(slow.answer().map_or(true, |answer| answer.status == 408));
    let many = (0..200).map(|n| format!("x-{n}: y")).collect::<Vec<_>>().join("\r\n") + "\r\n";
    let many = format!("POST /in/stripe HTTP/1.1\r\nhost: test\r\n{many}content-length: 0\r\n\r\n");
    assert_eq!(attacked.raw(many.as_bytes()).expect("answered").status, 431);
    let large = format!("POST /in/stripe HTTP/1.1\r\nhost: test\r\nx: {}\r\n\r\n", "y".repeat(100_000));
    assert!(attacked.raw(large.as_bytes()).is_none_or(|answer| matches!(answer.status, 400 | 431)));
    assert!(attacked.raw(b"\x00\x01\x02 nonsense\r\n\r\n").is_none_or(|answer| answer.status == 400));
    attacked.unharmed();
}

#[test]
fn bodies_that_hold_what_nobody_can_read_are_kept_and_set_aside() {
    let attacked = Attacked::start();
    let deep = format!(r#"{{"id":"e","type":"t","x":{}{}}}"#, "[".repeat(500), "]".repeat(500));
    let unreadable: [(&[u8], &str); 7] = [
        (b"\xff\xfe not utf-8", "unreadable"),
        (deep.as_bytes(), "unreadable"),
        (br#"{"id":"a","id":"b","type":"t"}"#, "unreadable"),
        (br#"{"id":"a","type":"t","n":123456789012345678901234567890}"#, "unreadable"),
        (br#"{"id":"a","type":"t"} trailing"#, "unreadable"),
        (br#"{"id":"a\u0000b","type":"t"}"#, "unidentifiable"),
        (br#"{"id":"a"}"#, "unidentifiable"),
    ];
    for (body, code) in unreadable {
        let (outcome, reason) = attacked.outcome_of(body);
        assert_eq!(outcome, "dead_letter");
        assert!(reason.starts_with(code), "{reason}");
        assert!(!reason.contains("trailing"), "a reason never quotes the payload: {reason}");
    }
    let long_id = format!(r#"{{"id":"{}","type":"t"}}"#, "x".repeat(513));
    assert!(attacked.outcome_of(long_id.as_bytes()).1.starts_with("unidentifiable"));
    attacked.unharmed();
}

#[test]
fn an_unknown_content_type_is_read_as_json_and_never_refused() {
    let attacked = Attacked::start();
    let types = ["text/plain", "application/x-foo", "application/json; charset=latin1", "nonsense", ""];
    for (number, content_type) in types.into_iter().enumerate() {
        let json = good_body(&format!("evt_type_{number}"));
        assert_eq!(attacked.outcome_as(content_type, &json).0, "translated", "{content_type:?}");
        let (outcome, reason) = attacked.outcome_as(content_type, b"id=evt_1&type=t");
        assert_eq!(outcome, "dead_letter", "{content_type:?}");
        assert!(reason.starts_with("unreadable"), "{content_type:?}: {reason}");
    }
    attacked.unharmed();
}

#[test]
fn five_thousand_idle_connections_hurt_nobody() {
    let attacked = Attacked::start();
    douane::intake::raise_open_files_limit(16_384);
    let idle: Vec<_> = (0..5_000).filter_map(|_| Wire::open(attacked.gateway.public).ok()).collect();
    assert!(idle.len() >= 4_900, "only {} connections were taken", idle.len());
    assert_eq!(attacked.gateway.post_stripe(&good_body("evt_among_idle")).status, 200);
    for mut wire in idle {
        wire.closed().expect("closed by the first-byte timer");
    }
    attacked.unharmed();
}

/// A partner that signs the body and not its content type: the same bytes must not be read as something else.
#[test]
fn signed_bytes_are_not_read_as_a_form_when_they_are_json() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = "8f742231b10e8888abcd99yyyzzz85a5";
    let environment = [("SLACK_SIGNING_SECRET", slack)];
    let gateway = Process::start_with(&folder.path().join("data"), &mappings(), &environment);
    let body = br#"{"type":"event_callback","event_id":"Ev1","text":"&command=/deploy&trigger_id=1&x="}"#;
    let now = wire::now_seconds().to_string();
    let signature = wire::slack_signature(slack, body, &now);
    let headers = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("x-slack-request-timestamp", now.as_str()),
        ("x-slack-signature", signature.as_str()),
    ];
    let answer = wire::exchange(gateway.public, "POST", "/in/slack", &headers, body);
    assert_eq!(answer.status, 200, "it is signed, so it is kept");
    gateway.wait_until("/api/v1/deliveries/1", |answer| answer.json()["waiting"] == false);
    let event = gateway.get("/api/v1/deliveries/1").json()["external_events"][0].clone();
    assert_eq!(event["outcome"], "dead_letter");
    assert!(event["reason"].as_str().is_some_and(|reason| reason.contains("begins like JSON")), "{event}");
}

/// Adyen signs the text of its fields. `"true"` and `true` have one text, and a mapping would take them for different things.
#[tokio::test]
async fn signed_fields_keep_their_json_types() {
    let mut gateway = Gateway::new().await;
    let case =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/adyen/payment-captured-in-rupiah/request.http");
    let text = std::fs::read_to_string(case).expect("readable");
    let (_, body) = text.split_once("\r\n\r\n").expect("a body");
    let partners = gateway.house.registry().snapshot();
    let genuine = signer::signed(&partners, &post("/in/adyen", body.to_owned()), Sign::Valid, NOON);
    let genuine = String::from_utf8(genuine.expect("signed").body.to_vec()).expect("text");
    for (sent, altered) in [("\"success\":\"true\"", "\"success\":true"), (":150000", ":\"150000\"")] {
        assert!(genuine.contains(sent), "{genuine}");
        let forged = post("/in/adyen", genuine.replace(sent, altered));
        let answered = gateway.deliver_signed(forged, Sign::AsIs).await;
        assert_eq!(
            (answered.status, answered.refusal.as_deref()),
            (401, Some("signature_malformed")),
            "{altered}"
        );
    }
    assert_eq!(gateway.deliver_signed(post("/in/adyen", genuine), Sign::AsIs).await.status, 200);
    gateway.end().await;
}
