//! The road, told one promise at a time.

use std::time::Duration;

use douane::{cli::cases::Sign, config::Config, model::EventNumber};
use serde_json::Value;

use crate::gateway::{Gateway, cloud_event, post, stripe, stripe_body};

const DAY: Duration = Duration::from_hours(24);

#[tokio::test]
async fn a_signed_delivery_becomes_a_domain_event() {
    let mut gateway = Gateway::new().await;
    let answered = gateway.deliver(stripe("evt_1", "pi_1", 2_599)).await;
    assert_eq!((answered.status, answered.refusal.as_deref()), (200, None));
    let row = gateway.row(&answered).await;
    assert_eq!((row.partner.as_str(), row.assurance.as_str()), ("stripe", "full"));
    assert!(row.secret_id.is_some());
    let events = gateway.events().await;
    assert_eq!(events.len(), 1);
    let event = cloud_event(&events[0]);
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["type"], "com.example.payments.PaymentCaptured.v1");
    assert_eq!(event["source"], "/partners/stripe/default");
    assert_eq!(event["correlationid"], answered.delivery.expect("kept").to_string());
    assert_eq!(event["recordedtime"], "2026-11-23T12:00:00Z");
    assert_eq!(row.external_events[0].domain_events, [event["id"].as_str().expect("an id")]);
    gateway.end().await;
}

#[tokio::test]
async fn the_exact_bytes_and_headers_can_be_had_again() {
    let mut gateway = Gateway::new().await;
    let body = b"\xef\xbb\xbf {\"not\" : \"json\"  \r\n\x00\xff".as_slice();
    let mut request = post("/in/stripe?a=1&a=2", body);
    request.headers.push("X-Twice", "first");
    request.headers.push("x-twice", b"second \xff".as_slice());
    request.headers.push("Authorization", "Bearer partner-credential");
    let answered = gateway.deliver(request).await;
    let row = gateway.row(&answered).await;
    let item = gateway.house.ledger().log.entry(row.number).await.expect("read").expect("there");
    let douane::ledger::LogItem::Entry(entry) = item else { panic!("damaged") };
    assert_eq!(entry.body.as_ref(), body);
    let douane::model::EntryMeta::Delivery(meta) = entry.meta else { panic!("no delivery") };
    assert_eq!(meta.target, "/in/stripe?a=1&a=2");
    let twice: Vec<_> = meta.headers.all("x-twice").map(|value| value.0.to_vec()).collect();
    assert_eq!(twice, [b"first".to_vec(), b"second \xff".to_vec()]);
    let sealed = meta.headers.single("authorization").expect("kept");
    assert!(!String::from_utf8_lossy(&sealed.0).contains("partner-credential"), "a credential is sealed");
    assert!(row.external_events[0].reason.as_deref().is_some_and(|reason| reason.starts_with("unreadable")));
    gateway.end().await;
}

#[tokio::test]
async fn a_repeat_is_a_duplicate_and_other_content_a_conflict() {
    let mut gateway = Gateway::new().await;
    assert_eq!(gateway.outcome(stripe("evt_1", "pi_1", 100)).await, "translated");
    assert_eq!(gateway.outcome(stripe("evt_1", "pi_1", 100)).await, "duplicate: accepted before as 1.0");
    assert!(
        gateway.outcome(stripe("evt_1", "pi_1", 999)).await.starts_with("conflict: accepted before as 1.0")
    );
    assert_eq!(gateway.published().await, ["payments.PaymentCaptured.v1"]);
    gateway.end().await;
}

#[tokio::test]
async fn what_may_differ_between_repeats_does_not_make_a_conflict() {
    let mut gateway = Gateway::new().await;
    let mut body = stripe_body("evt_1", "payment_intent.succeeded", "pi_1", 100);
    assert_eq!(gateway.outcome(post("/in/stripe", body.to_string())).await, "translated");
    body["pending_webhooks"] = 7.into();
    assert!(gateway.outcome(post("/in/stripe", body.to_string())).await.starts_with("duplicate"));
    gateway.end().await;
}

#[tokio::test]
async fn after_its_window_an_id_is_accepted_anew_under_another_event_id() {
    let mut gateway = Gateway::new().await;
    gateway.deliver(stripe("evt_1", "pi_1", 100)).await;
    gateway.house.clock.advance(35 * DAY);
    assert!(
        gateway.outcome(stripe("evt_1", "pi_1", 100)).await.starts_with("duplicate"),
        "the last moment of it"
    );
    gateway.house.clock.advance(Duration::from_secs(1));
    assert_eq!(gateway.outcome(stripe("evt_1", "pi_1", 100)).await, "translated");
    let ids: Vec<_> = gateway.events().await.into_iter().map(|event| event.id).collect();
    assert_eq!(ids.len(), 2);
    assert_ne!(ids[0], ids[1]);
    gateway.end().await;
}

#[tokio::test]
async fn received_at_never_goes_back_whatever_the_clock_does() {
    let mut gateway = Gateway::new().await;
    let first = gateway.deliver(stripe("evt_1", "pi_1", 1)).await;
    gateway.house.clock.set(douane::model::Timestamp::from_micros(gateway_time(&gateway) - 3_600_000_000));
    let second = gateway.deliver(stripe("evt_2", "pi_1", 2)).await;
    assert!(gateway.row(&second).await.received_at >= gateway.row(&first).await.received_at);
    gateway.end().await;
}

fn gateway_time(gateway: &Gateway) -> i64 {
    use douane::clock::Clock;
    gateway.house.clock.now().micros()
}

#[tokio::test]
async fn one_order_per_key() {
    let mut gateway = Gateway::new().await;
    for round in 0..5 {
        for intent in ["pi_a", "pi_b", "pi_c"] {
            gateway.accept(stripe(&format!("evt_{intent}_{round}"), intent, round), Sign::Valid).await;
        }
    }
    gateway.house.settle().await.expect("settled");
    let events = gateway.events().await;
    for intent in ["pi_a", "pi_b", "pi_c"] {
        let amounts: Vec<_> = events
            .iter()
            .map(cloud_event)
            .filter(|event| event["partitionkey"].as_str().is_some_and(|key| key.ends_with(intent)))
            .map(|event| event["data"]["amount"]["minor_units"].clone())
            .collect();
        assert_eq!(amounts, [0, 1, 2, 3, 4].map(Value::from));
    }
    gateway.end().await;
}

#[tokio::test]
async fn a_refusal_is_kept_nowhere_but_in_the_refusals() {
    let mut gateway = Gateway::new().await;
    for (how, cause) in [
        (Sign::WrongSecret, "signature_mismatch"),
        (Sign::None, "signature_missing"),
        (Sign::Stale, "timestamp_stale"),
        (Sign::Future, "timestamp_future"),
    ] {
        let answered = gateway.deliver_signed(stripe("evt_1", "pi_1", 1), how).await;
        assert_eq!((answered.status, answered.refusal.as_deref()), (401, Some(cause)));
    }
    assert_eq!(gateway.house.ledger().log.durable().0, 0);
    gateway.end().await;
}

#[tokio::test]
async fn a_restart_goes_on_where_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config_on(folder.path());
    let mut gateway = Gateway::on(config.clone()).await;
    gateway.deliver(stripe("evt_1", "pi_1", 1)).await;
    gateway.accept(stripe("evt_2", "pi_1", 2), Sign::Valid).await;
    drop_without_working(gateway).await;
    let mut gateway = Gateway::on(config).await;
    gateway.house.settle().await.expect("settled");
    assert!(gateway.outcome(stripe("evt_2", "pi_1", 2)).await.starts_with("duplicate"));
    let events = gateway.events().await;
    assert_eq!(events.iter().map(|event| event.number).collect::<Vec<_>>(), [EventNumber(1), EventNumber(2)]);
    gateway.end().await;
}

/// Ends the process's hold on the folder without working what waits.
async fn drop_without_working(gateway: Gateway) {
    gateway.house.abandon().await;
}

fn config_on(folder: &std::path::Path) -> Config {
    let mut config = Config::default();
    config.ledger.data_dir = folder.join("data");
    config.ledger.segment_bytes = 1024 * 1024;
    config.ledger.min_free_bytes = 0;
    config.mappings.path = crate::gateway::shipped_mappings();
    config
}
