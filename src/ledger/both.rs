//! Room `ledger`: both halves together, and what only they can tell.

use std::sync::Arc;

use super::{
    ActRecords, ConfirmationRecords, FeedRecords, InspectRecords, LearningRecords, LogReader, OwnerRecords,
    PublicationRecords, RecordsError, TranslationRecords,
};
use crate::model::EntryNumber;

/// A ledger opened for work: where the log is read, and the records made from it.
#[derive(Clone)]
pub struct Ledger {
    /// The reading half of the intake log.
    pub log: Arc<dyn LogReader>,
    /// The records.
    pub records: Arc<dyn Records>,
}

impl Ledger {
    /// The numbers missing before the log's first, which retention never dropped.
    pub async fn missing_start(&self) -> Result<Option<(EntryNumber, EntryNumber)>, RecordsError> {
        // In this order: what is dropped in between was noted before.
        let left = self.log.first();
        let missing = self.records.dropped_through().await?.next();
        Ok((missing < left).then(|| (missing, EntryNumber(left.0 - 1))))
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("durable", &self.log.durable()).finish_non_exhaustive()
    }
}

/// All that records can do; what `app` composes and every implementation provides.
pub trait Records:
    TranslationRecords
    + OwnerRecords
    + FeedRecords
    + PublicationRecords
    + ActRecords
    + LearningRecords
    + ConfirmationRecords
    + InspectRecords
{
}

impl<T> Records for T where
    T: TranslationRecords
        + OwnerRecords
        + FeedRecords
        + PublicationRecords
        + ActRecords
        + LearningRecords
        + ConfirmationRecords
        + InspectRecords
{
}
