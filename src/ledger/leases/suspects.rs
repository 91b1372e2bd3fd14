//! Room `ledger`, leases: what processes that share the work tell one another of those that died at it. May not know what killed
//! them.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    ledger::RecordsError,
    model::{EndpointName, EntryNumber, Epoch, EventRef},
};

/// What is tried alone: the reading of a delivery, or the translation of one of its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Suspect {
    /// Reading and identifying a delivery.
    Delivery(EntryNumber),
    /// Translating an external event.
    Event(EventRef),
}

/// One try of that. Told again, because the answer was lost, it is still the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Try {
    /// What is tried.
    pub suspect: Suspect,
    /// Which try of it.
    pub id: i64,
}

impl Try {
    /// Another try of `suspect`. An error when the operating system has no randomness.
    pub fn another(suspect: Suspect) -> Result<Self, RecordsError> {
        let mut id = [0; 8];
        getrandom::fill(&mut id).map_err(|error| RecordsError::Unavailable(error.to_string()))?;
        Ok(Self { suspect, id: i64::from_ne_bytes(id) })
    }
}

/// What is known of deaths at work. A ledger that one process has to itself needs none of it: that finds a note in its data
/// folder.
#[async_trait]
pub trait SuspectRecords: Send + Sync {
    /// The endpoints whose holder fell silent while it had the lease, and that nobody absolved since.
    async fn suspected(&self) -> Result<Vec<EndpointName>, RecordsError>;

    /// Notes, before it is tried, that `next` is; and that `done` came back. Returns how often nobody came back from `next`,
    /// by whomever it was tried. It need not survive the server. After an error it may be told again.
    async fn try_alone(&self, done: Option<Try>, next: Option<Try>) -> Result<u32, RecordsError>;

    /// Forgets the deaths at these endpoints, as far as the epochs are the present ones, and what is held against these
    /// suspects.
    async fn absolve(
        &self,
        endpoints: &[(EndpointName, Epoch)],
        suspects: &[Suspect],
    ) -> Result<(), RecordsError>;
}
