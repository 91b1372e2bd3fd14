//! Room `ledger`: the reading half of an intake log, as the stages and the console have it.

use std::collections::BTreeSet;

use async_trait::async_trait;

use crate::model::{EndpointName, Entry, EntryNumber, Timestamp};

/// Why the log could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// The storage is unreachable or reports an I/O error; reading again may succeed.
    #[error("the intake log cannot be read: {0}")]
    Unavailable(String),
    /// The entry is gone, by retention or because storage is missing: the records know. `first` is the first one left.
    #[error("the intake log no longer holds the entry; the first one left is {first}")]
    Pruned {
        /// The first number still in the log.
        first: EntryNumber,
    },
}

/// One step of reading the log.
#[derive(Clone, Debug)]
pub enum LogItem {
    /// An entry.
    Entry(Entry),
    /// Numbers whose bytes are damaged: never served, each becomes a dead letter (`damaged`).
    Damaged {
        /// The first damaged number.
        first: EntryNumber,
        /// The last damaged number.
        last: EntryNumber,
        /// What was found, for a person.
        detail: String,
    },
}

impl LogItem {
    /// Its number; of damage the last.
    pub fn last(&self) -> EntryNumber {
        match self {
            Self::Entry(entry) => entry.number,
            Self::Damaged { last, .. } => *last,
        }
    }
}

/// A stretch of the log as it was read for some endpoints.
#[derive(Clone, Debug)]
pub struct Stretch {
    /// Their entries, in order, and what is damaged.
    pub items: Vec<LogItem>,
    /// Through which number it goes. What is not among the items is of other endpoints.
    pub through: EntryNumber,
}

/// The reading half of an intake log: any number of readers beside the writer. Serves only what is durable.
#[async_trait]
pub trait LogReader: Send + Sync {
    /// The highest durable number; 0 when the log is empty.
    fn durable(&self) -> EntryNumber;

    /// The first number still in the log (1 until retention drops something).
    fn first(&self) -> EntryNumber;

    /// What follows `after`, in order without gaps, until `max_entries` or about `max_bytes` is reached
    /// (at least one item when there is one).
    async fn read_after(
        &self,
        after: EntryNumber,
        max_entries: usize,
        max_bytes: usize,
    ) -> Result<Vec<LogItem>, LogError>;

    /// The same for some endpoints only, after one number and not beyond another. It may end sooner than asked for, but not
    /// before anything was passed. Others' entries may be among the items, where a log has to read them to know whose they
    /// are; and so may damaged numbers, unless the log knows that they are others', who will meet them.
    async fn read_for(
        &self,
        endpoints: &BTreeSet<EndpointName>,
        (after, until): (EntryNumber, EntryNumber),
        max_entries: usize,
        max_bytes: usize,
    ) -> Result<Stretch, LogError> {
        let mut items = self.read_after(after, max_entries, max_bytes).await?;
        let through = items.last().map_or(after, LogItem::last).min(until.max(after));
        items.retain(|item| match item {
            LogItem::Entry(entry) => entry.number <= until && endpoints.contains(entry.meta.endpoint()),
            LogItem::Damaged { first, .. } => *first <= until,
        });
        Ok(Stretch { items, through })
    }

    /// One entry; `None` when the number was never given or is not durable yet.
    async fn entry(&self, number: EntryNumber) -> Result<Option<LogItem>, LogError>;

    /// Checks the batches that follow `after`, up to about `max_bytes`: what is damaged, and through which
    /// number was checked. For the scrub.
    async fn scrub(
        &self,
        after: EntryNumber,
        max_bytes: usize,
    ) -> Result<(Vec<LogItem>, EntryNumber), LogError>;

    /// What is wrong with the frame of the log, for a person: headers of storage units that cannot be used, units that
    /// do not join up. Looks at no entry.
    async fn frame(&self) -> Result<Vec<String>, LogError>;

    /// The first number that [`prune`](Self::prune) would leave: what drops notes it first.
    async fn prunable(&self, before: Timestamp, through: EntryNumber) -> Result<EntryNumber, LogError>;

    /// Drops whole storage units (segments, partitions) whose entries are all older than `before` and at or below
    /// `through`; never the last unit. Returns the first number left.
    async fn prune(&self, before: Timestamp, through: EntryNumber) -> Result<EntryNumber, LogError>;
}
