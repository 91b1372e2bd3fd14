//! Room `ledger`: looks at the last segment after an end of whatever kind, and says what is good, torn or damaged.
//!
//! The writer fsyncs a batch before it writes the next, and each batch says through which number all was fsynced. So a
//! bad batch that a later batch of the same salt, the segment's own header or a reader's cursor claims as fsynced was
//! good once: damage, never cut. A bad batch that nobody claims was being written when the end came: a torn tail, and
//! nobody was told that it is kept.

use std::{io, sync::Arc};

use super::{
    OpenError,
    index::Point,
    name::SegmentName,
    scan::{End, Scan, Step},
};
use crate::{
    ledger::log::{
        files::File,
        format::{BLOCK, HeaderFault, MIN_ENTRY, SegmentHeader},
    },
    model::{EntryNumber, Timestamp},
};

/// So much of the file is read at once.
const CHUNK: usize = 1024 * 1024;

/// A batch, good or bad, that no batch of its segment claims as fsynced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    first: EntryNumber,
    last: EntryNumber,
    offset: u64,
    size: usize,
    good: bool,
}

/// What the last segment holds.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) header: Option<SegmentHeader>,
    file: Arc<dyn File>,
    claimed: EntryNumber,
    unclaimed: Vec<Extent>,
    walked: EntryNumber,
    end: End,
    received_at: Timestamp,
}

/// Where the log ends, and which of it may not be on the disk yet.
#[derive(Debug)]
pub(super) struct LogEnd {
    /// The last number that was given; 0 when none was.
    pub(super) last: EntryNumber,
    /// When the latest entry was accepted.
    pub(super) received_at: Timestamp,
    /// Good batches that may exist in memory only.
    pub(super) tail: Vec<Extent>,
    /// Nothing but blank blocks follows this byte.
    pub(super) used: u64,
}

impl LogEnd {
    /// The number the next segment begins with: it holds the tail again.
    pub(super) fn next_first(&self) -> EntryNumber {
        self.tail.first().map_or(self.last.next(), |extent| extent.first)
    }
}

/// Reads the last segment to its end.
pub(super) fn survey(file: Arc<dyn File>, name: SegmentName) -> Result<Survey, OpenError> {
    let failed = |source| OpenError::Io { doing: format!("read {name}"), source };
    let header = read_header(&*file, name).map_err(failed)??;
    let salt = header.map(|header| header.salt);
    let start = Point { number: name.first, offset: BLOCK as u64 };
    let mut scan = Scan::new(Arc::clone(&file), salt, start, CHUNK).map_err(failed)?;
    let mut unclaimed = Vec::new();
    let end = loop {
        let offset = scan.position().offset;
        match scan.step().map_err(failed)? {
            Step::End(end) => break end,
            Step::Batch(batch) => unclaimed.push(Extent {
                first: batch.header.first,
                last: batch.header.last(),
                offset: batch.offset,
                size: batch.bytes.len(),
                good: true,
            }),
            Step::Damaged { first, last, .. } => {
                unclaimed.push(Extent { first, last, offset, size: 0, good: false });
            }
        }
        unclaimed.retain(|extent: &Extent| extent.last > scan.claimed());
    };
    Ok(Survey {
        header,
        file,
        claimed: header.map_or(scan.claimed(), |header| header.durable.max(scan.claimed())),
        unclaimed,
        walked: EntryNumber(scan.position().number.0 - 1),
        end,
        received_at: header.map(|header| header.received_at).max(scan.received_at()).unwrap_or_default(),
    })
}

fn read_header(file: &dyn File, name: SegmentName) -> io::Result<Result<Option<SegmentHeader>, OpenError>> {
    let mut block = vec![0; BLOCK];
    let read = file.read_at(&mut block, 0)?;
    Ok(match SegmentHeader::decode(&block[..read]) {
        Ok(header) => Ok(Some(header)),
        Err(HeaderFault::Version(version)) => Err(OpenError::Version { segment: name.to_string(), version }),
        Err(HeaderFault::Damaged) => {
            tracing::warn!(segment = %name, "the last segment's header is damaged; its batches speak for it");
            Ok(None)
        }
    })
}

impl Survey {
    /// Where the log ends, given the highest number a reader's cursor claims.
    pub(super) fn conclude(&self, cursor: EntryNumber) -> Result<LogEnd, OpenError> {
        let claimed = self.claimed.max(cursor);
        let torn = self.unclaimed.iter().find(|extent| !extent.good && extent.first > claimed);
        let last = match torn {
            Some(torn) => EntryNumber(torn.first.0 - 1),
            None => self.last_claimed(cursor)?,
        };
        let in_doubt = |extent: &&Extent| extent.good && extent.last > claimed && extent.last <= last;
        Ok(LogEnd {
            last,
            received_at: self.received_at,
            tail: self.unclaimed.iter().filter(in_doubt).copied().collect(),
            used: self.end.used,
        })
    }

    /// The last number walked; or the last one claimed, when the bytes behind can have held the numbers between.
    fn last_claimed(&self, cursor: EntryNumber) -> Result<EntryNumber, OpenError> {
        let last = self.walked.max(self.claimed);
        let missing = cursor.0.saturating_sub(last.0);
        if missing > self.end.traces / MIN_ENTRY {
            return Err(OpenError::CursorBeyondEnd { cursor, end: last });
        }
        Ok(last.max(cursor))
    }

    /// The bytes of a batch of [`LogEnd::tail`].
    pub(super) fn bytes(&self, extent: &Extent) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; extent.size];
        let read = self.file.read_at(&mut bytes, extent.offset)?;
        if read < bytes.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes)
    }
}
