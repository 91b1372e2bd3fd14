//! Room `ledger`: what is asked of the records, and the rows they answer with. The rows are the fields of the
//! private API, so that page, export and API cannot disagree.

use serde::{Deserialize, Serialize};

use crate::model::{
    Assurance, DeliveryId, EndpointName, EntryNumber, EventNumber, EventRef, LearntMeta, OutcomeKind,
    StoredEvent, Timestamp,
};

/// Which deliveries (or external events) are meant. Everything given must hold; what is said of an event must hold for
/// one and the same event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    /// The partner.
    pub partner: Option<String>,
    /// The endpoint.
    pub endpoint: Option<String>,
    /// The partner's id of one of its events.
    pub external_id: Option<String>,
    /// The partner's type of one of its events.
    pub event_type: Option<String>,
    /// The latest outcome of one of its events.
    pub outcome: Option<OutcomeKind>,
    /// Accepted at or after.
    pub from: Option<Timestamp>,
    /// Accepted before.
    pub to: Option<Timestamp>,
    /// At most so many rows.
    pub limit: usize,
    /// Only this delivery.
    pub number: Option<EntryNumber>,
    /// Continue below this number (from [`Page::next`]).
    pub before: Option<EntryNumber>,
}

/// A page of rows, and where the next one starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Give this as [`DeliveryFilter::before`] for the next page; `None` at the end.
    pub next: Option<EntryNumber>,
}

/// A delivery as the API shows it.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct DeliveryRow {
    /// Its id.
    #[schema(value_type = String)]
    pub delivery: DeliveryId,
    /// Its place in the intake log.
    #[schema(value_type = u64)]
    pub number: EntryNumber,
    /// The partner.
    pub partner: String,
    /// The endpoint.
    pub endpoint: String,
    /// When it was accepted.
    #[schema(value_type = String)]
    pub received_at: Timestamp,
    /// How much its signature vouches for.
    #[schema(value_type = String)]
    pub assurance: Assurance,
    /// The id of the secret that matched.
    pub secret_id: Option<String>,
    /// The body's length in bytes.
    pub size: u64,
    /// SHA-256 of the body, hex.
    pub body_sha256: String,
    /// An earlier delivery of the same body under another id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub same_body_as: Option<EntryNumber>,
    /// `true` while stage 1 has not worked it yet.
    pub waiting: bool,
    /// What was found in it.
    pub external_events: Vec<EventRow>,
}

/// An external event as the API shows it.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct EventRow {
    /// Its place in the ledger.
    #[serde(skip)]
    #[schema(value_type = String)]
    pub at: EventRef,
    /// Where it came in; both names are empty when its entry is damaged, because nobody knows.
    #[serde(skip)]
    #[schema(value_type = String)]
    pub endpoint_name: EndpointName,
    /// Its place among the delivery's items, from 0.
    pub ordinal: u32,
    /// The partner's id for it.
    pub external_id: Option<String>,
    /// The partner's word for what happened.
    pub event_type: Option<String>,
    /// Events with the same key keep their order.
    pub ordering_key: Option<String>,
    /// Its latest outcome.
    #[schema(value_type = String)]
    pub outcome: OutcomeKind,
    /// Why.
    pub reason: Option<String>,
    /// The delivery that holds the owner, when it is a duplicate or a conflict.
    #[schema(value_type = Option<String>)]
    pub duplicate_of: Option<DeliveryId>,
    /// The ids of the domain events made from it, replays included, in order of first appearance.
    pub domain_events: Vec<String>,
}

/// An entry of the log whose bytes are damaged; nobody knows any more whose it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DamagedEntry {
    /// Its number.
    #[schema(value_type = u64)]
    pub number: EntryNumber,
    /// It was not accepted before.
    #[schema(value_type = String)]
    pub received_at: Timestamp,
    /// What was found.
    pub reason: String,
}

/// Which domain events are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// The exact CloudEvents type (with namespace), if given.
    pub event_type: Option<String>,
    /// The partner, if given.
    pub partner: Option<String>,
}

/// Which publications are meant. Everything given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublicationFilter {
    /// The broker, parked or not.
    pub broker: Option<String>,
    /// Where the broker put it: the whole position, as it was noted.
    pub position: Option<String>,
    /// The domain event's number.
    pub event: Option<EventNumber>,
    /// Of the domain events that this delivery became, replays included.
    pub delivery: Option<EntryNumber>,
    /// Whether the broker refused it for good.
    pub refused: Option<bool>,
    /// At most so many rows.
    pub limit: usize,
    /// Continue after the row of this event at this broker.
    pub after: Option<(EventNumber, String)>,
}

impl PublicationFilter {
    /// The lowest event number that [`after`](Self::after) leaves out at a broker, if any.
    pub fn end(&self, broker: &str) -> Option<u64> {
        let (event, last) = self.after.as_ref()?;
        Some(if broker > last.as_str() { event.0.saturating_add(1) } else { event.0 })
    }
}

/// What became of a domain event at a broker, as the API shows it, and what the event came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct PublicationRow {
    /// The broker, also when it is parked.
    pub broker: String,
    /// Where the broker put it, in the broker's own words; null when it refused the event.
    pub position: Option<String>,
    /// Why the broker refused it for good.
    pub refused: Option<String>,
    /// The domain event's number, its `sequence` in the feed.
    #[schema(value_type = u64)]
    pub event: EventNumber,
    /// Its CloudEvents `id`; null, as all that follows, when the event is no longer kept.
    pub id: Option<String>,
    /// Its CloudEvents `type`.
    #[serde(rename = "type")]
    pub event_type: Option<String>,
    /// Its CloudEvents `partitionkey`.
    pub partition_key: Option<String>,
    /// The delivery it was made from, its `correlationid`.
    #[schema(value_type = Option<String>)]
    pub delivery: Option<DeliveryId>,
    /// Its external event's place among the delivery's items, from 0.
    pub ordinal: Option<u32>,
    /// The partner's id for that external event.
    pub external_id: Option<String>,
}

/// A request that was turned away: metadata, never the body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Refused {
    /// When.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// The partner as named in the path.
    pub partner: String,
    /// The endpoint as named in the path.
    pub endpoint: String,
    /// The stable code, as `signature_mismatch`.
    pub code: String,
    /// The status answered.
    pub status: u16,
    /// What the platform engineer should know; the partner is told less.
    pub detail: String,
    /// The peer's address.
    pub peer: Option<String>,
    /// The body's length in bytes, as far as it was read.
    pub size: u64,
    /// The id that the answer named (header `douane-request`); absent where an earlier release refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
}

/// Which refusals are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefusalFilter {
    /// The partner.
    pub partner: Option<String>,
    /// The endpoint.
    pub endpoint: Option<String>,
    /// The code.
    pub code: Option<String>,
    /// The id that the answer named.
    pub request: Option<String>,
    /// At most so many.
    pub limit: usize,
}

/// What a replay needs to know of an earlier external event.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayTarget {
    /// Its place.
    pub at: EventRef,
    /// Its latest outcome.
    pub outcome: OutcomeKind,
    /// The generation of the id's owner at that place: its own, or that of the owner it repeated or conflicted with
    /// (0 when there is none).
    pub generation: u32,
    /// The domain events already made for this external id and generation (by this event, by the owner it conflicted
    /// with, or by others that did), first appearances only, in order.
    pub published: Vec<StoredEvent>,
}

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct JournalRow {
    /// Its place in the journal.
    pub number: u64,
    /// When.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// Who: a token's name, `system`, or `cli:uid=1000(ada)`: the account of this machine that ran a verb, and ` named=…` where its
    /// environment gave another name. Older lines have `cli:ada`, which is the environment's word alone, or `cli`.
    pub who: String,
    /// What.
    pub act: String,
    /// On what.
    pub subject: String,
    /// More.
    #[schema(value_type = Object)]
    pub detail: serde_json::Value,
}

/// An access token of the private listener, as kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct TokenRow {
    /// Its name, unique.
    pub name: String,
    /// `consumer`, `auditor` or `operator`.
    pub role: String,
    /// SHA-256 of the token, hex.
    #[serde(skip)]
    pub sha256: String,
    /// When it was made.
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    /// When it was revoked.
    #[schema(value_type = Option<String>)]
    pub revoked_at: Option<Timestamp>,
}

/// What the records keep of a worked entry's identity, to be held against the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It was a delivery.
    Received {
        /// Its id.
        id: DeliveryId,
        /// The body's length in bytes.
        size: u64,
        /// SHA-256 of the body.
        body_sha256: [u8; 32],
    },
    /// It was a replay request.
    Replay {
        /// The replay's id.
        id: DeliveryId,
    },
    /// It was a secret that was learnt.
    Learnt {
        /// The handshake's id.
        id: DeliveryId,
    },
    /// It was a link to visit.
    Link {
        /// The handshake's id.
        id: DeliveryId,
    },
    /// Its bytes were damaged when it was worked.
    Damaged,
}

/// A secret that a partner taught its endpoint, as far as it was worked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearntSecret {
    /// Its entry in the intake log.
    pub number: EntryNumber,
    /// When it was learnt.
    pub learnt_at: Timestamp,
    /// Whose it is, and the secret itself, sealed.
    pub meta: LearntMeta,
}

/// The owner of an external id, as far as a verdict needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The external event that owns the id.
    pub at: EventRef,
    /// When its delivery was accepted.
    pub received_at: Timestamp,
    /// Its identity digest.
    pub identity_digest: [u8; 32],
    /// How often the id was accepted anew before it.
    pub generation: u32,
}

/// Some owners of external ids, in the order of their places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnersPage {
    /// Endpoint, external id, owner.
    pub owners: Vec<(EndpointName, String, Owner)>,
    /// Endpoints with replay requests among the numbers looked at: such a request can make an owner at an earlier place.
    pub replayed: Vec<EndpointName>,
    /// The last place looked at; `None` when nothing follows.
    pub through: Option<EventRef>,
}

/// A broker as the ledger knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BrokerState {
    /// Its name, which is its identity.
    pub name: String,
    /// Through which event number it has been worked.
    pub cursor: EventNumber,
    /// How many events it refused for good.
    pub dead_letters: u64,
}

/// The figures of the two conservation laws.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Conservation {
    /// Entries worked by stage 1.
    pub worked: u64,
    /// The highest worked number.
    pub highest_worked: EntryNumber,
    /// External events identified.
    pub identified: u64,
    /// Latest outcomes by kind.
    pub outcomes: Vec<(OutcomeKind, u64)>,
    /// Domain events committed.
    pub domain_events: u64,
    /// The highest event number.
    pub last_event: EventNumber,
    /// The cursor of each endpoint.
    pub cursors: Vec<(String, EntryNumber)>,
    /// Outcomes that name a place without a worked delivery; must be 0.
    pub orphans: u64,
}

impl Conservation {
    /// Through which number an endpoint has been worked; 0 when it has no cursor.
    pub fn cursor(&self, endpoint: &EndpointName) -> EntryNumber {
        let name = endpoint.to_string();
        let known = self.cursors.iter().find(|(known, _)| *known == name);
        known.map_or(EntryNumber(0), |(_, through)| *through)
    }
}
