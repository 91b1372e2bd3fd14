//! STUB
use super::{AppendError, Appended, IntakeLog};
use crate::{clock::Clock, model::NewEntry};
use std::sync::Arc;
/// Sends entries to the one writer.
#[derive(Clone, Debug)]
pub struct GroupCommit;
/// Bounds of the queue and of a batch.
#[derive(Clone, Copy, Debug)]
pub struct GroupCommitLimits {
    pub batch_entries: usize,
    pub batch_bytes: usize,
    pub queue_entries: usize,
}
impl GroupCommit {
    /// Starts the writer on a thread of its own. Must be called inside a tokio runtime.
    pub fn start(log: Box<dyn IntakeLog>, clock: Arc<dyn Clock>, limits: GroupCommitLimits) -> Self {
        let _ = (log, clock, limits);
        todo!()
    }
    /// Queues one entry and waits until it is durable. `Appended::first` is its number. Dropping the future does not
    /// take the entry back: it is kept whole or not at all. Err(Busy) at once when the queue is full.
    pub async fn append(&self, entry: NewEntry) -> Result<Appended, AppendError> {
        let _ = entry;
        todo!()
    }
    /// Changes whenever the writer stopped because of [`AppendError::Unknown`]; the app then ends the process.
    pub fn fatal(&self) -> tokio::sync::watch::Receiver<Option<String>> {
        todo!()
    }
    /// Finishes what is queued and stops the writer.
    pub async fn close(&self) {
        todo!()
    }
}
