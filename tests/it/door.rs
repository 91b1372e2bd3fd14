//! The public door of the real binary where nobody means harm: handshakes, bounds that are reached, and what a platform
//! engineer learns of requests that were turned away.

use serde_json::Value;

use crate::{
    folder::Folder,
    process::{Process, Ran, STRIPE_SECRET, douane, mappings},
    wire::{self, Answer, Wire},
};

const SLACK_SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";

/// A gateway for the unsigned partner `lab`.
struct Lab {
    gateway: Process,
    _folders: (tempfile::TempDir, Folder),
}

impl Lab {
    fn open(endpoint: &str, environment: &[(&str, &str)]) -> Self {
        let (data, folder) = (tempfile::tempdir().expect("a folder"), Folder::new());
        folder.change_partner("name = \"default\"", &format!("name = \"default\"\n{endpoint}"));
        let gateway = Process::start_with(&data.path().join("data"), folder.path(), environment);
        Self { gateway, _folders: (data, folder) }
    }

    fn post(&self, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        wire::exchange(self.gateway.public, "POST", "/in/lab", headers, body)
    }
}

fn measured(id: u32) -> Vec<u8> {
    format!(r#"{{"id":"{id}","type":"measured","thing":"t","size":1}}"#).into_bytes()
}

fn items(answer: &Answer) -> Vec<Value> {
    answer.json()["items"].as_array().expect("a list").clone()
}

/// Waits until a refusal of this cause is kept, and returns the latest.
fn refusal(gateway: &Process, code: &str) -> Value {
    let path = format!("/api/v1/refusals?code={code}");
    gateway.wait_until(&path, |answer| !items(answer).is_empty());
    items(&gateway.get(&path)).remove(0)
}

fn post_slack(gateway: &Process, secret: &str, body: &[u8]) -> Answer {
    let now = wire::now_seconds().to_string();
    let signature = wire::slack_signature(secret, body, &now);
    let headers = [("x-slack-request-timestamp", now.as_str()), ("x-slack-signature", signature.as_str())];
    wire::exchange(gateway.public, "POST", "/in/slack", &headers, body)
}

#[test]
fn a_handshake_is_answered_noted_and_no_delivery() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = [("SLACK_SIGNING_SECRET", SLACK_SECRET)];
    let gateway = Process::start_with(&folder.path().join("data"), &mappings(), &secret);

    let challenge = br#"{"token":"t","type":"url_verification","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7"}"#;
    let answer = post_slack(&gateway, SLACK_SECRET, challenge);
    assert_eq!((answer.status, &answer.body[..4]), (200, &b"3eZb"[..]));
    let head = answer.head.to_ascii_lowercase();
    assert!(head.contains("content-type: text/plain") && head.contains("nosniff"), "{head}");

    let forged = post_slack(&gateway, "another-secret-altogether-1234567", challenge);
    assert_eq!((forged.status, forged.code().as_str()), (401, "signature_failed"));
    let script = br#"{"type":"url_verification","challenge":"<script>"}"#;
    assert_eq!(post_slack(&gateway, SLACK_SECRET, script).code(), "unsafe_handshake");

    assert!((gateway.metric("douane_handshakes_total") - 1.0).abs() < 0.1);
    assert!(items(&gateway.get("/api/v1/deliveries?partner=slack")).is_empty(), "a handshake is no delivery");
    gateway.wait_until("/api/v1/journal", |answer| {
        items(answer)
            .iter()
            .any(|line| line["act"] == "handshake.answered" && line["subject"] == "slack/default")
    });
}

#[test]
fn without_its_secret_an_endpoint_asks_to_come_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Process::start(&folder.path().join("data"));
    let answer = post_slack(&gateway, SLACK_SECRET, b"{}");
    assert_eq!((answer.status, answer.code().as_str()), (503, "not_configured"));
    assert!(answer.head.to_ascii_lowercase().contains("retry-after: 5"), "{}", answer.head);
    let detail = refusal(&gateway, "not_configured")["detail"].clone();
    assert!(detail.as_str().expect("text").contains("SLACK_SIGNING_SECRET"), "{detail}");
}

#[test]
fn the_secret_that_everyone_can_read_is_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = std::fs::read_to_string(mappings().join("partners/stripe/partner.toml")).expect("readable");
    let published =
        text.lines().find_map(|line| line.strip_prefix("secrets = { \"2026-11\" = \"")).expect("in [test]");
    let published = published.split('"').next().expect("a text");
    let data = folder.path().join("data");
    let environment = [("STRIPE_WEBHOOK_SECRET", published)];
    let gateway = Process::start_with(&data, &mappings(), &environment);

    let signature = wire::stripe_signature(published, b"{}", wire::now_seconds());
    let forged = [("stripe-signature", signature.as_str())];
    let answer = wire::exchange(gateway.public, "POST", "/in/stripe", &forged, b"{}");
    assert_eq!((answer.status, answer.code().as_str()), (503, "not_configured"));
    let detail = refusal(&gateway, "not_configured")["detail"].to_string();
    assert!(detail.contains("development secret of [test]") && !detail.contains(published), "{detail}");

    for verb in ["check", "doctor"] {
        let mut told = douane();
        told.envs(environment).arg(verb).arg("--data-dir").arg(&data).arg("--mappings").arg(mappings());
        let told: Ran = told.output().expect("the binary runs").into();
        assert!(told.out.contains("it is a development secret of [test]"), "{verb}: {}", told.out);
    }
}

#[test]
fn an_endpoint_can_have_a_smaller_bound_on_heads() {
    let lab = Lab::open("max_header_bytes = 1000", &[]);
    let post = |filler: usize| {
        let filler = "x".repeat(filler);
        let headers = [("content-type", "application/json"), ("x-filler", filler.as_str())];
        wire::exchange(lab.gateway.public, "POST", "/in/lab", &headers, br#"{"id":"1","type":"measured"}"#)
    };
    let refused = post(1_000);
    assert_eq!((refused.status, refused.code().as_str()), (431, "head_too_large"));
    assert_eq!(post(500).status, 200);
}

#[test]
fn a_client_that_asks_before_it_sends_is_told_to_go_on_or_refused_at_once() {
    let lab = Lab::open("max_body_bytes = 1000", &[]);
    let head = "POST /in/lab HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\n";
    let body = measured(1);

    let mut patient = Wire::open(lab.gateway.public).expect("connected");
    patient.send(format!("{head}content-length: {}\r\n\r\n", body.len()).as_bytes()).expect("sent");
    patient.until("HTTP/1.1 100 Continue\r\n\r\n");
    patient.send(&body).expect("sent");
    assert_eq!(patient.answer().expect("answered").status, 200);

    let mut large = Wire::open(lab.gateway.public).expect("connected");
    large.send(format!("{head}content-length: 1001\r\n\r\n").as_bytes()).expect("sent");
    assert_eq!(large.answer().expect("answered, with nothing sent").code(), "body_too_large");
}

#[test]
fn memory_for_bodies_is_bounded_and_comes_back() {
    let lab = Lab::open(
        "",
        &[("DOUANE_INTAKE_MAX_BYTES_IN_FLIGHT", "131072"), ("DOUANE_INTAKE_MAX_BODY_BYTES", "65536")],
    );
    let mut slow = Wire::open(lab.gateway.public).expect("connected");
    slow.send(b"POST /in/lab HTTP/1.1\r\nhost: test\r\ncontent-length: 64001\r\n\r\n").expect("sent");
    slow.send(&vec![b' '; 64_000]).expect("sent");
    lab.gateway.wait_until("/metrics", |_| lab.gateway.metric("douane_bytes_in_flight") >= 64_000.0);

    let refused = lab.post(&[], &vec![b' '; 10_000]);
    assert_eq!((refused.status, refused.code().as_str()), (503, "overloaded"));
    assert!(refused.head.to_ascii_lowercase().contains("retry-after: 5"), "{}", refused.head);
    assert_eq!(lab.post(&[], &measured(1)).status, 200, "what still fits is taken");

    slow.send(b" ").expect("sent");
    assert_eq!(slow.answer().expect("answered").status, 200);
    lab.gateway.wait_until("/metrics", |_| lab.gateway.metric("douane_bytes_in_flight") < 1.0);
    assert_eq!(lab.post(&[], &vec![b' '; 10_000]).status, 200);
}

#[test]
fn a_rate_is_kept_to() {
    let lab = Lab::open("requests_per_second = 1", &[]);
    let statuses: Vec<_> = (1..=20).map(|id| lab.post(&[], &measured(id)).status).collect();
    assert_eq!(statuses[0], 200);
    assert!(statuses.contains(&429), "{statuses:?}");
    assert!(
        refusal(&lab.gateway, "rate_limited")["detail"]
            .as_str()
            .expect("text")
            .contains("1 requests a second")
    );
}

#[test]
fn a_body_that_breaks_off_leaves_nothing() {
    let lab = Lab::open("", &[]);
    let mut leaving = Wire::open(lab.gateway.public).expect("connected");
    let body = measured(1);
    leaving
        .send(
            format!("POST /in/lab HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n", body.len())
                .as_bytes(),
        )
        .expect("sent");
    leaving.send(&body[..body.len() - 1]).expect("sent");
    drop(leaving);
    lab.gateway.wait_until("/metrics", |_| lab.gateway.metric("douane_requests_in_flight") < 1.0);

    let kept = lab.post(&[], &measured(2)).delivery();
    let path = format!("/api/v1/deliveries/{kept}");
    lab.gateway.wait_until(&path, |answer| answer.json()["waiting"] == false);
    assert_eq!(items(&lab.gateway.get("/api/v1/deliveries")).len(), 1);
}

#[test]
fn refusals_are_kept_with_what_helps_and_no_name_a_stranger_made_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Process::start(&folder.path().join("data"));
    let body = vec![b'x'; 3 * 1024 * 1024];
    assert_eq!(gateway.post_stripe(&body).code(), "body_too_large");
    let kept = refusal(&gateway, "body_too_large");
    assert_eq!((&kept["partner"], &kept["endpoint"]), (&"stripe".into(), &"default".into()));
    assert_eq!((kept["status"].as_u64(), kept["size"].as_u64()), (Some(413), Some(body.len() as u64)));
    assert!(!kept.to_string().contains(STRIPE_SECRET));

    for stranger in ["/in/made-up", "/in/stripe/made-up", "/made/up"] {
        assert_eq!(wire::exchange(gateway.public, "POST", stranger, &[], b"").status, 404);
    }
    gateway.wait_until("/api/v1/refusals", |answer| items(answer).len() >= 4);
    let all = String::from_utf8(gateway.get("/api/v1/refusals").body).expect("text");
    let metrics = String::from_utf8(gateway.get("/metrics").body).expect("text");
    assert!(!all.contains("made") && !metrics.contains("made"), "{all}");
}
