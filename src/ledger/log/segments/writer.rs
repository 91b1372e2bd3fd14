//! Room `ledger`: the writing half. One write and one `fdatasync` a batch; what fails is cut back before anybody is
//! answered, and what cannot be known ends the writer for good. It never retries an fsync.

use std::{io, sync::Arc};

use async_trait::async_trait;

use super::{
    SegmentOptions,
    catalog::Catalog,
    create::{Active, CreateError, create, fresh_salt},
    index::Point,
};
use crate::{
    ledger::{
        AppendError, Appended, EncodedEntry, IntakeLog,
        log::format::{BLOCK, BatchStamp, SegmentHeader, batch_size, encode_batch},
    },
    model::{EntryNumber, Timestamp},
    telemetry::metrics::LEDGER_FREE_BYTES,
};

/// The memory of a batch is used again for the next one, unless an unusually large one made it grow beyond this.
const BUFFER_KEPT: usize = 16 * 1024 * 1024;

/// So many zeros are written ahead of the batches at a time.
static BLANK: [u8; 1024 * 1024] = [0; 1024 * 1024];

/// The one writer of a segment folder.
#[derive(Debug)]
pub struct SegmentLog {
    catalog: Arc<Catalog>,
    options: SegmentOptions,
    active: Active,
    next: EntryNumber,
    last_received_at: Timestamp,
    buffer: Vec<u8>,
    space: Space,
    dead: Option<String>,
}

/// What was last known of the free space.
#[derive(Debug, Default)]
struct Space {
    looked_at: Option<Timestamp>,
    low: bool,
}

#[async_trait]
impl IntakeLog for SegmentLog {
    async fn append(&mut self, now: Timestamp, entries: &[EncodedEntry]) -> Result<Appended, AppendError> {
        if let Some(reason) = &self.dead {
            return Err(AppendError::Unknown(reason.clone()));
        }
        if self.space_is_low(now) {
            return Err(AppendError::LowSpace);
        }
        let appended = Appended { first: self.next, received_at: now.max(self.last_received_at) };
        if entries.is_empty() {
            return Ok(appended);
        }
        self.make_room(batch_size(entries))?;
        self.encode(appended, entries)?;
        self.write()?;
        self.sync()?;
        self.publish(appended, entries.len());
        Ok(appended)
    }
}

impl SegmentLog {
    pub(super) fn new(
        catalog: Arc<Catalog>,
        options: SegmentOptions,
        active: Active,
        next: EntryNumber,
        last_received_at: Timestamp,
    ) -> Self {
        let space = Space::default();
        Self { catalog, options, active, next, last_received_at, buffer: Vec::new(), space, dead: None }
    }

    /// Whether the disk was nearly full when it was last looked at; looks again when that is long enough ago.
    fn space_is_low(&mut self, now: Timestamp) -> bool {
        let poll = self.options.free_space_poll;
        let fresh = self.space.looked_at.is_some_and(|at| at <= now && now.since(at) < poll);
        if !fresh {
            // A disk that cannot say how full it is will say so when it is written to.
            let free = self.catalog.files.free_bytes().unwrap_or(u64::MAX);
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
            metrics::gauge!(LEDGER_FREE_BYTES).set(free as f64);
            self.space = Space { looked_at: Some(now), low: free < self.options.min_free_bytes };
        }
        self.space.low
    }

    /// Begins a new segment when the batch would make this one too large.
    fn make_room(&mut self, size: u64) -> Result<(), AppendError> {
        let empty = self.active.end == BLOCK as u64;
        if empty || self.active.end + size <= self.options.segment_bytes {
            return Ok(());
        }
        let header = SegmentHeader {
            incarnation: self.options.incarnation,
            salt: fresh_salt().map_err(|error| not_written(&error))?,
            sequence: self.active.segment.name.sequence + 1,
            first: self.next,
            durable: self.catalog.durable(),
            received_at: self.last_received_at,
        };
        match create(&*self.catalog.files, header, self.options.segment_bytes, &[]) {
            Ok(next) => self.turn_to(next),
            Err(CreateError::NotMade(error)) => return Err(not_written(&error)),
            Err(CreateError::Unknown(error)) => return Err(self.die("begin a segment", &error)),
        }
        Ok(())
    }

    fn turn_to(&mut self, next: Active) {
        self.catalog.push(Arc::clone(&next.segment));
        let full = std::mem::replace(&mut self.active, next);
        // Only blank space goes; a segment that keeps it is none the worse.
        let _ = full.file.truncate(full.end);
        full.segment.seal();
    }

    fn encode(&mut self, appended: Appended, entries: &[EncodedEntry]) -> Result<(), AppendError> {
        self.buffer.shrink_to(BUFFER_KEPT);
        let stamp = BatchStamp {
            salt: self.active.salt,
            first: appended.first,
            durable: self.catalog.durable(),
            received_at: appended.received_at,
        };
        encode_batch(&mut self.buffer, stamp, entries)
            .map_err(|error| AppendError::NotWritten(error.to_string()))
    }

    fn write(&mut self) -> Result<(), AppendError> {
        let error = match self.active.file.write_at(&self.buffer, self.active.end) {
            Ok(written) if written == self.buffer.len() => {
                self.write_blank();
                return Ok(());
            }
            Ok(_) => io::Error::new(io::ErrorKind::WriteZero, "the write was short"),
            Err(error) => error,
        };
        match self.cut_back() {
            Ok(()) => Err(not_written(&error)),
            Err(failed) => Err(self.die("cut back a failed write", &failed)),
        }
    }

    /// Writes zeros ahead, now and then. Space that is only reserved costs each fsync a change of the file's metadata too;
    /// where there are no zeros yet an append is slower, but as durable.
    fn write_blank(&mut self) {
        let end = self.active.end + self.buffer.len() as u64;
        let room = self.options.segment_bytes.saturating_sub(end).min(BLANK.len() as u64);
        if end > self.active.blank_through && room > 0 {
            let _ = self.active.file.write_at(&BLANK[..usize::try_from(room).unwrap_or(0)], end);
            self.active.blank_through = end + room;
        }
    }

    /// Back to the last good batch, durably: what is answered "not kept" must not come back after a power loss.
    fn cut_back(&mut self) -> io::Result<()> {
        self.active.blank_through = self.active.end;
        self.active.file.truncate(self.active.end)?;
        self.active.file.sync_all()?;
        let _ = self.active.file.preallocate(self.options.segment_bytes);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), AppendError> {
        let synced = self.active.file.sync_data();
        synced.map_err(|error| self.die("fsync a batch", &error))
    }

    /// From here on the batch is durable, and readers may have it.
    fn publish(&mut self, appended: Appended, count: usize) {
        let segment = &self.active.segment;
        segment.index.pass(Point { number: appended.first, offset: self.active.end });
        self.active.end += self.buffer.len() as u64;
        segment.publish(self.active.end);
        self.next = EntryNumber(appended.first.0 + count as u64);
        self.last_received_at = appended.received_at;
        self.catalog.publish(EntryNumber(self.next.0 - 1));
    }

    fn die(&mut self, doing: &str, error: &io::Error) -> AppendError {
        let reason = format!("failed to {doing}: {error}");
        self.dead = Some(reason.clone());
        AppendError::Unknown(reason)
    }
}

fn not_written(error: &io::Error) -> AppendError {
    AppendError::NotWritten(error.to_string())
}
