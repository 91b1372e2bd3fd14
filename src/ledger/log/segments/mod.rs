//! Room `ledger`, the intake log in a folder of segment files: numbered batches, one fsync each.
//!
//! A segment holds the numbers from its own first to the one before the next segment's first. That rule is the only
//! bookkeeping: whatever bytes stand behind that place are superseded, and nothing old is ever written to again.
//!
//! [`open`] looks at the last segment alone (`survey`: what is good, what is torn, what is damaged), copies what it cannot
//! know to be on the disk into a new segment, and only then lets the [`SegmentLog`] append. A [`SegmentReader`] serves
//! what is fsynced, in this process beside the writer, or in another one through [`open_to_read`].

mod buffers;
mod catalog;
mod create;
mod frame;
mod index;
mod name;
mod reader;
mod recover;
mod scan;
mod survey;
#[cfg(test)]
mod tests;
mod writer;

use std::{io, time::Duration};

pub use reader::SegmentReader;
pub use recover::{open, open_to_read};
pub use writer::SegmentLog;

use crate::model::{EntryNumber, Incarnation};

/// What a log is opened with.
#[derive(Clone, Copy, Debug)]
pub struct SegmentOptions {
    /// The ledger it must belong to (the records know).
    pub incarnation: Incarnation,
    /// The highest number any reader's cursor claims to have worked; it was fsynced, or it could not have been read.
    pub cursor: EntryNumber,
    /// Size of a segment file in bytes; a batch that is larger has one of its own.
    pub segment_bytes: u64,
    /// Below so many free bytes nothing is appended.
    pub min_free_bytes: u64,
    /// How often the free space is looked at.
    pub free_space_poll: Duration,
}

/// Why a log was not opened. Nothing was changed that the next attempt could not find again.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk refused.
    #[error("failed to {doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The log belongs to another ledger than the records.
    #[error("the intake log belongs to ledger {log}, the records to ledger {records}; they were never one")]
    OtherIncarnation {
        /// Whose segments these are.
        log: Incarnation,
        /// Whose log was expected.
        records: Incarnation,
    },
    /// The records have worked entries, and there is no log at all.
    #[error("the records have worked entries through {cursor}, but the intake log is missing")]
    Missing {
        /// The highest cursor.
        cursor: EntryNumber,
    },
    /// The records have worked entries that the log does not hold: it is older than they are.
    #[error(
        "the records have worked entries through {cursor}, but the intake log ends at {end}; it is older than they are"
    )]
    CursorBeyondEnd {
        /// The highest cursor.
        cursor: EntryNumber,
        /// The last number of the log.
        end: EntryNumber,
    },
    /// A later version of douane wrote the last segment.
    #[error("segment {segment} has format version {version}; this version of douane does not know it")]
    Version {
        /// Its file name.
        segment: String,
        /// Its version.
        version: u16,
    },
}

/// For `map_err`: names what was being done.
fn failed_to(doing: impl Into<String>) -> impl FnOnce(io::Error) -> OpenError {
    |source| OpenError::Io { doing: doing.into(), source }
}
