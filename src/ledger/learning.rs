//! Room `ledger`: the records of endpoints that are taught their secrets: which are armed, and what they learnt.

use async_trait::async_trait;

use super::{JournalEntry, LearntSecret, RecordsError};
use crate::model::{EndpointName, Timestamp};

/// What is kept of endpoints that are taught their secrets in handshakes.
#[async_trait]
pub trait LearningRecords: Send + Sync {
    /// Arms an endpoint, so that until then one handshake may teach it a secret, and journals it, in one transaction. It
    /// takes the place of an earlier arming.
    async fn arm(
        &self,
        endpoint: &EndpointName,
        until: Timestamp,
        journal: JournalEntry,
    ) -> Result<(), RecordsError>;

    /// Disarms an endpoint as of the journal entry's time, and journals it, in one transaction; `false` when it is not
    /// armed then. Of any number that ask at once, one is told `true`.
    async fn disarm(&self, endpoint: &EndpointName, journal: JournalEntry) -> Result<bool, RecordsError>;

    /// The endpoints that are armed at this time, or were once armed for longer, and until when each is or was.
    async fn armed(&self, now: Timestamp) -> Result<Vec<(EndpointName, Timestamp)>, RecordsError>;

    /// Notes that a learnt secret is shown to a person, and journals it, in one transaction; `false` when it was shown before. Of
    /// any number that ask at once, one is told `true`.
    async fn reveal(
        &self,
        endpoint: &EndpointName,
        secret_id: &str,
        journal: JournalEntry,
    ) -> Result<bool, RecordsError>;

    /// Every secret that was learnt and worked, oldest first.
    async fn learnt(&self) -> Result<Vec<LearntSecret>, RecordsError>;
}
