//! The whole house in this process, stepped: `gateway.deliver(stripe("payment_intent.succeeded")).await`. Everything is real
//! (segment files, SQLite, VRL, contracts); only time is ours. Ending it fails when a delivery was left without an outcome.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use douane::{
    app::{Answered, Rehearsal},
    cli::{cases::Sign, signer},
    clock::Clock,
    config::Config,
    ledger::{DeliveryRow, EventRow},
    model::{Headers, RawRequest, StoredEvent, Timestamp},
    partners::DeskState,
};
use serde_json::{Value, json};

/// 2026-11-23T12:00:00Z.
pub const NOON: Timestamp = Timestamp::from_micros(1_795_435_200_000_000);

/// A gateway that is stepped by hand.
pub struct Gateway {
    pub house: Rehearsal,
}

/// The shipped mappings.
pub fn shipped_mappings() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("mappings")
}

impl Gateway {
    /// On a new folder, with the shipped partners.
    pub async fn new() -> Self {
        Self::with(&shipped_mappings()).await
    }

    /// On a new folder, with other partners; all of them must be good, or their deliveries would only wait.
    pub async fn with(mappings: &Path) -> Self {
        let gateway = Self::with_broken(mappings).await;
        for (partner, desk) in &gateway.house.registry().snapshot().desks {
            if let DeskState::Broken { problems } | DeskState::LastGood { problems, .. } = desk {
                panic!("the desk of {partner} is broken: {}", problems[0]);
            }
        }
        gateway
    }

    /// On a new folder, with partners that may be broken.
    pub async fn with_broken(mappings: &Path) -> Self {
        Self { house: Rehearsal::begin(mappings, NOON).await.expect("composed") }
    }

    /// On the folders of a configuration.
    pub async fn on(config: Config) -> Self {
        Self { house: Rehearsal::on(config, NOON).await.expect("composed") }
    }

    /// Signs a request as its partner would, posts it and lets both stages work it.
    pub async fn deliver(&mut self, request: RawRequest) -> Answered {
        self.deliver_signed(request, Sign::Valid).await
    }

    /// The same, signed otherwise.
    pub async fn deliver_signed(&mut self, request: RawRequest, how: Sign) -> Answered {
        let answered = self.accept(request, how).await;
        self.house.settle().await.expect("settled");
        answered
    }

    /// Posts without letting the stages work.
    pub async fn accept(&self, request: RawRequest, how: Sign) -> Answered {
        let partners = self.house.registry().snapshot();
        let signed = signer::signed(&partners, &request, how, self.house.clock.now()).expect("signed");
        self.house.deliver(&signed).await.expect("answered")
    }

    /// What became of a delivery.
    pub async fn row(&self, answered: &Answered) -> DeliveryRow {
        let id = answered.delivery.expect("it was kept");
        self.house.outcome_of(id).await.expect("worked")
    }

    /// What became of the one event of a delivery.
    pub async fn event(&self, answered: &Answered) -> EventRow {
        let mut events = self.row(answered).await.external_events;
        assert_eq!(events.len(), 1);
        events.remove(0)
    }

    /// Delivers and says how its one event ended: `translated`, or `dead_letter: reason`.
    pub async fn outcome(&mut self, request: RawRequest) -> String {
        let answered = self.deliver(request).await;
        let event = self.event(&answered).await;
        match event.reason {
            Some(reason) => format!("{}: {reason}", event.outcome),
            None => event.outcome.to_string(),
        }
    }

    /// The types of what was published since this was last asked, without the namespace.
    pub async fn published(&mut self) -> Vec<String> {
        self.events()
            .await
            .iter()
            .map(|event| event.event_type.trim_start_matches("com.example.").to_owned())
            .collect()
    }

    /// What was published since this was last asked.
    pub async fn events(&mut self) -> Vec<StoredEvent> {
        self.house.published().await.expect("read")
    }

    /// Ends it; fails when a delivery was left without an outcome.
    pub async fn end(self) {
        self.house.end().await.expect("every delivery has its outcomes");
    }
}

/// A stored CloudEvent as JSON.
pub fn cloud_event(event: &StoredEvent) -> Value {
    serde_json::from_slice(&event.body).expect("JSON")
}

/// A request with a JSON body.
pub fn post(target: &str, body: impl Into<Bytes>) -> RawRequest {
    let mut headers = Headers::default();
    headers.push("host", "hooks.example.com");
    headers.push("content-type", "application/json");
    RawRequest {
        method: "POST".to_owned(),
        target: target.to_owned(),
        version: "HTTP/1.1".to_owned(),
        headers,
        body: body.into(),
        peer: None,
    }
}

/// A Stripe event about one payment intent.
pub fn stripe(id: &str, intent: &str, amount: i64) -> RawRequest {
    post("/in/stripe", stripe_body(id, "payment_intent.succeeded", intent, amount).to_string())
}

/// The body of a Stripe event.
pub fn stripe_body(id: &str, event_type: &str, intent: &str, amount: i64) -> Value {
    json!({
        "id": id, "object": "event", "api_version": "2025-09-30.clover", "created": 1_795_435_100,
        "livemode": true, "pending_webhooks": 1, "request": { "id": null, "idempotency_key": null },
        "type": event_type,
        "data": { "object": {
            "id": intent, "object": "payment_intent", "amount": amount, "amount_received": amount,
            "capture_method": "automatic", "currency": "eur", "customer": null, "created": 1_795_435_090,
            "latest_charge": "ch_1", "livemode": true, "metadata": {}, "payment_method_types": ["card"],
            "status": "succeeded"
        } }
    })
}
