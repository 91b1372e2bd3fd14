//! Worked entries as the stories need them: short to write, complete underneath.

use std::time::Duration;

use douane::{
    ledger::{IdentifiedEvent, TranslationCommit, WorkedEntry, WorkedEvent, WorkedKind},
    model::{
        Assurance, ConfirmMeta, DeliveryId, DeliveryMeta, EndpointName, EntryNumber, EventNumber, EventRef,
        Headers, LearntMeta, Outcome, ReasonCode, ReplayMeta, Revision, StoredEvent, Timestamp,
    },
};
use sha2::{Digest, Sha256};
use uuid::Uuid;

pub fn stripe() -> EndpointName {
    EndpointName::new("stripe", "default")
}

pub fn github() -> EndpointName {
    EndpointName::new("github", "default")
}

/// When entry `number` was accepted: one second after the one before.
pub fn time_of(number: u64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000).plus(Duration::from_secs(number))
}

pub fn delivery_id(number: u64) -> DeliveryId {
    DeliveryId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(number)))
}

pub fn at(number: u64, ordinal: u32) -> EventRef {
    EventRef { number: EntryNumber(number), ordinal }
}

pub fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

pub fn revision() -> Revision {
    Revision("5f".repeat(32).into())
}

/// A worked delivery, to be filled with events.
pub fn delivery(number: u64, endpoint: EndpointName) -> WorkedEntry {
    let meta = DeliveryMeta {
        id: delivery_id(number),
        endpoint,
        method: "POST".to_owned(),
        target: "/in/partner".to_owned(),
        version: "HTTP/1.1".to_owned(),
        headers: Headers::default(),
        assurance: Assurance::Full,
        secret_id: Some("2026-11".to_owned()),
    };
    let kind = WorkedKind::Delivery {
        meta: Box::new(meta),
        size: 2_048,
        body_sha256: digest(&format!("body {number}")),
        same_body_as: None,
        remember_body: false,
    };
    WorkedEntry { number: EntryNumber(number), received_at: time_of(number), kind, events: Vec::new() }
}

/// A worked replay request.
pub fn replay(number: u64, endpoint: EndpointName, events: Vec<WorkedEvent>) -> WorkedEntry {
    let meta = ReplayMeta {
        id: delivery_id(number),
        endpoint,
        events: events.iter().map(|event| event.at).collect(),
        reissue: false,
        brokers: Vec::new(),
        by: "ops".to_owned(),
    };
    let kind = WorkedKind::Replay(Box::new(meta));
    WorkedEntry { number: EntryNumber(number), received_at: time_of(number), kind, events }
}

/// A learnt secret.
pub fn learnt(number: u64, endpoint: EndpointName) -> WorkedEntry {
    let meta = LearntMeta {
        id: delivery_id(number),
        endpoint,
        secret_id: format!("learnt-{number}"),
        sealed: format!(r#"{{"sealed":"key:{number}"}}"#),
    };
    let kind = WorkedKind::Learnt(Box::new(meta));
    WorkedEntry { number: EntryNumber(number), received_at: time_of(number), kind, events: Vec::new() }
}

/// A link to visit, good for an hour.
pub fn link(number: u64, endpoint: EndpointName) -> WorkedEntry {
    let url = format!("https://sns.example.com/?Token={number}");
    let meta = ConfirmMeta { id: delivery_id(number), endpoint, url, valid_seconds: 3_600 };
    let kind = WorkedKind::Link(Box::new(meta));
    WorkedEntry { number: EntryNumber(number), received_at: time_of(number), kind, events: Vec::new() }
}

pub fn damaged(number: u64) -> WorkedEntry {
    let outcome = dead_letter(ReasonCode::Damaged, "the batch's checksum does not match");
    let event = WorkedEvent { event: None, at: at(number, 0), owns: None, outcome, revision: None };
    WorkedEntry {
        number: EntryNumber(number),
        received_at: time_of(number),
        kind: WorkedKind::Damaged,
        events: vec![event],
    }
}

pub trait Filled {
    /// Adds an event at the next ordinal, identified as `id` of `event_type`.
    fn with(self, id: &str, event_type: &str, outcome: Outcome) -> WorkedEntry;

    /// Adds an event that could not be identified.
    fn unidentified(self, outcome: Outcome) -> WorkedEntry;

    /// Makes its body findable.
    fn remembered_as(self, body: &str) -> WorkedEntry;
}

impl Filled for WorkedEntry {
    fn with(mut self, id: &str, event_type: &str, outcome: Outcome) -> WorkedEntry {
        let WorkedKind::Delivery { meta, .. } = &self.kind else { panic!("only deliveries are filled") };
        let endpoint = meta.endpoint.clone();
        let ordinal = u32::try_from(self.events.len()).expect("few");
        let owns = match outcome {
            Outcome::Duplicate { .. } | Outcome::Conflict { .. } => None,
            _ => Some(0),
        };
        let event = Some(identified(endpoint, id, event_type));
        let at = at(self.number.0, ordinal);
        self.events.push(WorkedEvent { event, at, owns, outcome, revision: Some(revision()) });
        self
    }

    fn unidentified(mut self, outcome: Outcome) -> WorkedEntry {
        let at = at(self.number.0, u32::try_from(self.events.len()).expect("few"));
        self.events.push(WorkedEvent { event: None, at, owns: None, outcome, revision: None });
        self
    }

    fn remembered_as(mut self, body: &str) -> WorkedEntry {
        if let WorkedKind::Delivery { body_sha256, remember_body, .. } = &mut self.kind {
            *body_sha256 = digest(body);
            *remember_body = true;
        }
        self
    }
}

pub fn identified(endpoint: EndpointName, id: &str, event_type: &str) -> IdentifiedEvent {
    IdentifiedEvent {
        endpoint,
        external_id: Some(id.to_owned()),
        event_type: event_type.to_owned(),
        ordering_key: format!("key of {id}"),
        identity_digest: digest(id),
    }
}

/// An event worked again under its old place.
pub fn again(place: EventRef, outcome: Outcome) -> WorkedEvent {
    WorkedEvent { event: None, at: place, owns: None, outcome, revision: Some(revision()) }
}

/// Translated into new domain events of these ids.
pub fn translated(ids: &[&str]) -> Outcome {
    Outcome::Translated { events: ids.iter().map(|id| domain_event(id)).collect() }
}

pub fn domain_event(id: &str) -> StoredEvent {
    StoredEvent {
        number: EventNumber(0),
        id: id.to_owned(),
        event_type: "com.example.payments.PaymentCaptured.v1".to_owned(),
        partition_key: format!("key of {id}"),
        endpoint: stripe(),
        made_from: at(1, 0),
        revision: revision(),
        brokers: Vec::new(),
        body: format!(r#"{{"id":"{id}","specversion":"1.0"}}"#).into(),
    }
}

pub fn dead_letter(code: ReasonCode, detail: &str) -> Outcome {
    Outcome::DeadLetter { code, detail: detail.to_owned() }
}

/// A commit of these entries that moves no cursor.
pub fn commit(entries: impl IntoIterator<Item = WorkedEntry>) -> TranslationCommit {
    let (now, entries) = (time_of(1_000_000), entries.into_iter().collect());
    TranslationCommit { now, entries, ..TranslationCommit::default() }
}
