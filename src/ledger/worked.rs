//! Room `ledger`: what stage 1 hands to the records: worked entries with every external event found in them.

use crate::model::{
    ConfirmMeta, DeliveryMeta, EndpointName, EntryNumber, Epoch, EventRef, ExternalEvent, LearntMeta,
    Outcome, ReplayMeta, Revision, Tenure, Timestamp,
};

/// One entry as stage 1 worked it, with every external event found in it.
#[derive(Clone, Debug)]
pub struct WorkedEntry {
    /// The entry, without its body.
    pub number: EntryNumber,
    /// When it was accepted.
    pub received_at: Timestamp,
    /// What it was.
    pub kind: WorkedKind,
    /// What became of its external events, in item order.
    pub events: Vec<WorkedEvent>,
}

/// What a worked entry was.
#[derive(Clone, Debug)]
pub enum WorkedKind {
    /// A delivery.
    Delivery {
        /// Its metadata.
        meta: Box<DeliveryMeta>,
        /// The body's length in bytes.
        size: u64,
        /// SHA-256 of the body.
        body_sha256: [u8; 32],
        /// An earlier delivery with the same body under another id, where the signature does not cover the id.
        same_body_as: Option<EntryNumber>,
        /// Whether [`TranslationRecords::same_bodies`](super::TranslationRecords::same_bodies) shall find it: only where the signature does not cover the id.
        remember_body: bool,
    },
    /// A replay request; its events are worked again under their old places. What was identified there stays as it
    /// is, or is kept now where the first attempt identified nothing. An item that attempt did not find is added.
    Replay(Box<ReplayMeta>),
    /// A secret that was learnt: nothing to work. The records keep it, sealed, for when the log drops the entry.
    Learnt(Box<LearntMeta>),
    /// A link to visit: nothing to work. The records keep it until it was visited, or its time is over.
    Link(Box<ConfirmMeta>),
    /// The bytes are damaged; the one event it counts as is a dead letter.
    Damaged,
}

/// One external event as stage 1 worked it.
#[derive(Clone, Debug)]
pub struct WorkedEvent {
    /// What was identified; `None` when identification failed and the outcome says why.
    pub event: Option<IdentifiedEvent>,
    /// Its place in the ledger.
    pub at: EventRef,
    /// `Some(generation)` when it becomes the owner of its external id.
    pub owns: Option<u32>,
    /// How it ended.
    pub outcome: Outcome,
    /// The desk that decided, where one did.
    pub revision: Option<Revision>,
}

/// What the records keep of an [`ExternalEvent`]: all but the item.
#[derive(Clone, Debug)]
pub struct IdentifiedEvent {
    /// Where it came in.
    pub endpoint: EndpointName,
    /// The partner's id for it.
    pub external_id: Option<String>,
    /// The partner's word for what happened.
    pub event_type: String,
    /// Events of one endpoint with the same key keep their order.
    pub ordering_key: String,
    /// SHA-256 of the parts that must not differ between repeats.
    pub identity_digest: [u8; 32],
}

impl From<&ExternalEvent> for IdentifiedEvent {
    fn from(event: &ExternalEvent) -> Self {
        Self {
            endpoint: event.endpoint.clone(),
            external_id: event.external_id.clone(),
            event_type: event.event_type.clone(),
            ordering_key: event.ordering_key.clone(),
            identity_digest: event.identity_digest,
        }
    }
}

/// What one transaction of stage 1 commits: all or nothing.
#[derive(Clone, Debug, Default)]
pub struct TranslationCommit {
    /// When it was committed, for lag and the journal; never part of an event.
    pub now: Timestamp,
    /// The worked entries in log order. A number already worked makes the whole commit [`RecordsError::Stale`](super::RecordsError::Stale).
    pub entries: Vec<WorkedEntry>,
    /// Through which number each endpoint has now been worked. A cursor that would go back, or of whose lease this is not the
    /// present epoch, makes the whole commit [`RecordsError::Stale`](super::RecordsError::Stale).
    pub cursors: Vec<CursorMove>,
    /// The tenure under which all of it was read and decided. Another than the present one makes the whole commit
    /// [`RecordsError::Stale`](super::RecordsError::Stale).
    pub tenure: Tenure,
}

/// How far an endpoint has been worked, and by leave of which epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CursorMove {
    /// The endpoint.
    pub endpoint: EndpointName,
    /// Every entry of it through this number has been worked.
    pub through: EntryNumber,
    /// The epoch of its lease. Records of one process have no leases and pass it over.
    pub epoch: Epoch,
}

impl CursorMove {
    /// By a process that works alone.
    pub fn unleased(endpoint: EndpointName, through: EntryNumber) -> Self {
        Self { endpoint, through, epoch: Epoch::UNLEASED }
    }
}
