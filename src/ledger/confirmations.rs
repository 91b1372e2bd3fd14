//! Room `ledger`: the records of links that partners' handshakes asked to be visited, because that confirms a subscription: which
//! are open, and how it went.

use std::time::Duration;

use async_trait::async_trait;

use super::{JournalEntry, RecordsError, Tenured};
use crate::model::{ConfirmMeta, DeliveryId, EndpointName, EntryNumber, Timestamp};

/// A link that is to be visited, or was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// Its entry in the intake log.
    pub number: EntryNumber,
    /// The handshake's id.
    pub handshake: DeliveryId,
    /// The endpoint that is subscribed.
    pub endpoint: EndpointName,
    /// When the handshake was accepted.
    pub asked_at: Timestamp,
    /// Until when the partner's system takes the link.
    pub until: Timestamp,
    /// The link, while it is open: whoever has it could confirm.
    pub link: Option<String>,
    /// How it stands.
    pub state: ConfirmationState,
    /// How often it was visited.
    pub tries: u64,
    /// When it was visited last.
    pub tried_at: Option<Timestamp>,
    /// Why the last visit failed.
    pub why: Option<String>,
}

/// How a link stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfirmationState {
    /// It is to be visited, perhaps again.
    Open,
    /// It was visited.
    Confirmed,
    /// Its time was over before it could be visited.
    GivenUp,
}

/// How a visit went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    /// When.
    pub at: Timestamp,
    /// How the link stands now.
    pub state: ConfirmationState,
    /// Why it failed; `None` when it did not.
    pub why: Option<String>,
}

impl Confirmation {
    /// One that was never visited, as an entry of the intake log asks for it.
    pub fn asked((number, asked_at): (EntryNumber, Timestamp), meta: &ConfirmMeta) -> Self {
        Self {
            number,
            handshake: meta.id,
            endpoint: meta.endpoint.clone(),
            asked_at,
            until: asked_at.plus(Duration::from_secs(meta.valid_seconds)),
            link: Some(meta.url.clone()),
            state: ConfirmationState::Open,
            tries: 0,
            tried_at: None,
            why: None,
        }
    }
}

/// What is kept of links that are to be visited. Stage 1 adds them when it commits their entries.
#[async_trait]
pub trait ConfirmationRecords: Tenured {
    /// The open ones, oldest first.
    async fn open_confirmations(&self) -> Result<Vec<Confirmation>, RecordsError>;

    /// The latest of an endpoint, newest first, at most `limit`, without their links.
    async fn confirmations_of(
        &self,
        endpoint: &EndpointName,
        limit: usize,
    ) -> Result<Vec<Confirmation>, RecordsError>;

    /// Notes how a visit of an open link went. What ends it forgets the link, and is journalled in the same transaction.
    /// `false` when there is no such open one (any more): another process was faster.
    async fn note_visit(
        &self,
        visited: &Confirmation,
        visit: Visit,
        journal: Option<JournalEntry>,
    ) -> Result<bool, RecordsError>;
}
