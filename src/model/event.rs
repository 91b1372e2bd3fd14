//! Room `model`: events, from the partner's words to ours.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;
use vrl::value::Value;

use super::{EndpointName, EventNumber, EventRef, Revision, Timestamp};

/// One thing that happened, as the partner tells it. Only `pipeline::identify` makes one.
#[derive(Clone, Debug)]
pub struct ExternalEvent {
    /// Its place in the ledger.
    pub at: EventRef,
    /// Where it came in.
    pub endpoint: EndpointName,
    /// When its delivery was accepted.
    pub received_at: Timestamp,
    /// The partner's id for it; without one nothing is deduplicated.
    pub external_id: Option<String>,
    /// The partner's word for what happened.
    pub event_type: String,
    /// Events of one endpoint with the same key keep their order.
    pub ordering_key: String,
    /// When it happened, as the partner says.
    pub occurred_at: Option<Timestamp>,
    /// The version of the partner's API that wrote it.
    pub version: Option<String>,
    /// SHA-256 of the parts that must not differ between repeats.
    pub identity_digest: [u8; 32],
    /// The event itself: the split item, or the whole body.
    pub item: Value,
    /// What a split item stood in, the body first, each without its lists; shared by the items of one element. Empty when
    /// nothing was split.
    pub outer: Arc<[Arc<Value>]>,
}

/// A fact in our words, as a mapping returned it; not yet checked. Only `translate` makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct DomainEvent {
    /// The contract it claims, as `payments.PaymentCaptured.v1`.
    pub event_type: String,
    /// What it is about, in our words.
    pub subject: Option<String>,
    /// When it happened, where the mapping knows better than the external event.
    pub time: Option<Timestamp>,
    /// The fact.
    pub data: serde_json::Value,
}

/// A domain event that satisfies its contract. Only `contracts` makes one (the walls test sees to it).
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedEvent {
    event: DomainEvent,
    dataschema: Arc<str>,
}

impl CheckedEvent {
    /// Attests that `event` satisfies the contract at `dataschema`. Called by `contracts` alone.
    pub(crate) fn attest(event: DomainEvent, dataschema: Arc<str>) -> Self {
        Self { event, dataschema }
    }

    /// The domain event.
    pub fn event(&self) -> &DomainEvent {
        &self.event
    }

    /// The URI reference of the contract it satisfies.
    pub fn dataschema(&self) -> &str {
        &self.dataschema
    }
}

/// A domain event as the ledger keeps it: the bytes that every broker gets, again and again.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEvent {
    /// Its place in the feed; 0 until the ledger gives one at commit. At a commit, any other number says which stored
    /// event this one repeats.
    pub number: EventNumber,
    /// CloudEvents `id`: `f(partner, endpoint, external id, generation, event type, ordinal)`.
    pub id: String,
    /// CloudEvents `type`.
    pub event_type: String,
    /// CloudEvents `partitionkey`.
    pub partition_key: String,
    /// Where its external event came in.
    pub endpoint: EndpointName,
    /// The external event it was made from.
    pub made_from: EventRef,
    /// The desk that made it.
    pub revision: Revision,
    /// The brokers it goes to; empty means all. Only a replay names some.
    pub brokers: Vec<String>,
    /// The CloudEvent, structured JSON, one line.
    pub body: Bytes,
}

impl StoredEvent {
    /// Its type without our namespace, as `payments.PaymentCaptured.v1`: the last three words, so that it is the same
    /// before and after the namespace is changed.
    pub fn contract(&self) -> &str {
        let third_last_dot = self.event_type.rmatch_indices('.').nth(2);
        third_last_dot.map_or(&self.event_type, |(dot, _)| &self.event_type[dot + 1..])
    }

    /// The CloudEvent as raw JSON, for embedding in a larger document; `None` if the stored bytes are no JSON.
    pub fn json(&self) -> Option<&RawValue> {
        serde_json::from_slice(&self.body).ok()
    }
}
