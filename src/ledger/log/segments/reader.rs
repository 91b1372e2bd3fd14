//! Room `ledger`: the reading half. Serves what is fsynced and whole, in order; reports damage by its numbers; drops old
//! segments. Never writes to one.

use std::{io, ops::ControlFlow, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    catalog::Catalog,
    name::SegmentName,
    scan::{Batch, Step},
};
use crate::{
    ledger::{
        LogError, LogItem, LogReader,
        log::{
            files::Files,
            format::{RawEntries, RawEntry},
        },
    },
    model::{Entry, EntryMeta, EntryNumber, Incarnation, Timestamp},
};

/// Reading on takes so much of a file at once.
const SEQUENTIAL: usize = 1024 * 1024;
/// Looking up one entry takes so much at once.
const LOOK_UP: usize = 64 * 1024;
/// What is said of numbers that a segment should hold, by the name of the one after it.
pub(super) const ENDS_BEFORE: &str = "the segment ends before these numbers";

/// A reader of a segment folder; clones share what they know. Its async methods need a tokio runtime, because files are
/// read on the runtime's blocking threads.
#[derive(Clone, Debug)]
pub struct SegmentReader {
    pub(super) catalog: Arc<Catalog>,
}

impl SegmentReader {
    pub(super) fn new(catalog: Arc<Catalog>) -> Self {
        Self { catalog }
    }

    /// The ledger this log belongs to; `None` when it is empty or its last segment's header is damaged.
    pub fn incarnation(&self) -> Option<Incarnation> {
        self.catalog.incarnation
    }

    /// [`LogReader::read_after`] on the caller's thread.
    pub fn read_after_blocking(
        &self,
        after: EntryNumber,
        max_entries: usize,
        max_bytes: usize,
    ) -> Result<Vec<LogItem>, LogError> {
        let mut page = Page { items: Vec::new(), bytes: 0, max_entries: max_entries.max(1), max_bytes };
        self.walk(after.next(), SEQUENTIAL, |found| page.add(&found))?;
        Ok(page.items)
    }

    /// [`LogReader::entry`] on the caller's thread.
    pub fn entry_blocking(&self, number: EntryNumber) -> Result<Option<LogItem>, LogError> {
        if number.0 == 0 {
            return Ok(None);
        }
        let mut item = None;
        self.walk(number, LOOK_UP, |found| {
            item = found.items().next().map(detached);
            ControlFlow::Break(())
        })?;
        Ok(item)
    }

    /// [`LogReader::scrub`] on the caller's thread.
    pub fn scrub_blocking(
        &self,
        after: EntryNumber,
        max_bytes: usize,
    ) -> Result<(Vec<LogItem>, EntryNumber), LogError> {
        let from = after.next().max(self.catalog.first());
        let (mut damaged, mut bytes, mut through) = (Vec::new(), 0, EntryNumber(from.0 - 1));
        self.walk(from, SEQUENTIAL, |found| {
            damaged.extend(found.items().filter(|item| matches!(item, LogItem::Damaged { .. })));
            bytes += found.size();
            through = found.last;
            if bytes < max_bytes { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok((damaged, through))
    }

    /// [`LogReader::prunable`] on the caller's thread.
    pub fn prunable_blocking(
        &self,
        before: Timestamp,
        through: EntryNumber,
    ) -> Result<EntryNumber, LogError> {
        let first = self.catalog.first();
        Ok(self.droppable(before, through)?.last().map_or(first, |(_, left)| *left))
    }

    /// [`LogReader::prune`] on the caller's thread.
    pub fn prune_blocking(&self, before: Timestamp, through: EntryNumber) -> Result<EntryNumber, LogError> {
        if self.catalog.read_only {
            return Err(LogError::Unavailable("it was opened to read only".to_owned()));
        }
        for (oldest, _) in self.droppable(before, through)? {
            remove(&*self.catalog.files, oldest).map_err(|error| unavailable(oldest, &error))?;
            self.catalog.forget(oldest);
        }
        Ok(self.catalog.first())
    }

    /// The segments that may go, oldest first, each with the number that the log begins with then.
    fn droppable(
        &self,
        before: Timestamp,
        through: EntryNumber,
    ) -> Result<Vec<(SegmentName, EntryNumber)>, LogError> {
        let mut names = Vec::new();
        for pair in self.catalog.all().windows(2) {
            let [oldest, following] = pair else { break };
            // A segment's header holds the time of the last entry before it; a damaged one cannot allow anything.
            let header = following
                .header(&*self.catalog.files)
                .map_err(|error| unavailable(following.name, &error))?;
            let older = header.is_ok_and(|header| header.received_at < before);
            if !older || following.name.first > through.next() {
                break;
            }
            names.push((oldest.name, following.name.first));
        }
        Ok(names)
    }

    /// Visits what stands at `from` and after it, in order and without gaps, until told to stop or at the durable end.
    fn walk(
        &self,
        from: EntryNumber,
        chunk: usize,
        mut visit: impl FnMut(Found) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        let durable = self.catalog.durable();
        let mut next = from;
        while next <= durable {
            let Some((segment, end)) = self.catalog.find(next) else {
                return Err(LogError::Pruned { first: self.catalog.first() });
            };
            let failed = |error: io::Error| self.failed(segment.name, &error);
            let mut scan = segment.scan(&self.catalog, next, chunk).map_err(failed)?;
            scan.pass_to(next).map_err(failed)?;
            let end = end.min(durable);
            while next <= end {
                let here = scan.position();
                let step = scan.step().map_err(failed)?;
                let Some(found) = Found::within(step, next, end) else { continue };
                next = found.last.next();
                if visit(found).is_break() {
                    segment.index.pause(here);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// A segment that is no longer known was pruned while it was being read.
    fn failed(&self, segment: SegmentName, error: &io::Error) -> LogError {
        let first = self.catalog.first();
        if segment.first < first { LogError::Pruned { first } } else { unavailable(segment, error) }
    }
}

/// Removes a file durably. One at a time: were a newer segment gone and an older one back after a power loss, it would
/// look like damage.
fn remove(files: &dyn Files, name: SegmentName) -> io::Result<()> {
    match files.remove(&name.to_string()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => files.sync_folder(),
    }
}

pub(super) fn unavailable(segment: SegmentName, error: &io::Error) -> LogError {
    LogError::Unavailable(format!("{segment}: {error}"))
}

/// What a segment holds for the numbers `first..=last`.
struct Found {
    first: EntryNumber,
    last: EntryNumber,
    content: Result<Batch, &'static str>,
}

impl Found {
    /// The part of a step that concerns `next..=end`; `None` when it lies before. What is missing at the end is damaged:
    /// these numbers were given.
    fn within(step: Step, next: EntryNumber, end: EntryNumber) -> Option<Self> {
        let (last, content) = match step {
            Step::Batch(batch) => (batch.header.last(), Ok(batch)),
            Step::Damaged { last, detail, .. } => (last, Err(detail)),
            Step::End(_) => (end, Err(ENDS_BEFORE)),
        };
        (last >= next).then(|| Self { first: next, last: last.min(end), content })
    }

    fn size(&self) -> usize {
        self.content.as_ref().map_or(0, |batch| batch.bytes.len())
    }

    fn count(&self) -> u64 {
        self.content.as_ref().map_or(1, |_| self.last.0 - self.first.0 + 1)
    }

    fn items(&self) -> Box<dyn Iterator<Item = LogItem> + '_> {
        let batch = match &self.content {
            Ok(batch) => batch,
            Err(detail) => return Box::new(std::iter::once(damaged(self.first, self.last, detail))),
        };
        let before = usize::try_from(self.first.0 - batch.header.first.0).unwrap_or(usize::MAX);
        let mut entries = RawEntries::of(batch.payload.clone()).skip(before);
        Box::new((self.first.0..=self.last.0).map(EntryNumber).map(move |number| {
            let item = entries.next().and_then(|raw| entry(number, batch.header.received_at, raw));
            item.unwrap_or_else(|| damaged(number, number, "the entry's metadata cannot be read"))
        }))
    }
}

fn damaged(first: EntryNumber, last: EntryNumber, detail: &str) -> LogItem {
    LogItem::Damaged { first, last, detail: detail.to_owned() }
}

fn entry(number: EntryNumber, received_at: Timestamp, raw: RawEntry) -> Option<LogItem> {
    let meta = EntryMeta::from_json(&raw.meta).ok()?;
    Some(LogItem::Entry(Entry { number, received_at, meta, body: raw.body }))
}

/// With a body of its own, so that keeping one entry does not keep the bytes around it.
fn detached(item: LogItem) -> LogItem {
    match item {
        LogItem::Entry(entry) => LogItem::Entry(Entry { body: Bytes::copy_from_slice(&entry.body), ..entry }),
        damaged @ LogItem::Damaged { .. } => damaged,
    }
}

/// What one call of `read_after` hands out.
struct Page {
    items: Vec<LogItem>,
    bytes: usize,
    max_entries: usize,
    max_bytes: usize,
}

impl Page {
    /// Takes a batch whole if that is possible: to stop within one means to check all of it again.
    fn add(&mut self, found: &Found) -> ControlFlow<()> {
        let room = self.max_entries - self.items.len();
        let fits = found.count() <= room as u64 && self.bytes + found.size() <= self.max_bytes;
        if !fits && !self.items.is_empty() {
            return ControlFlow::Break(());
        }
        self.bytes += found.size();
        self.items.extend(found.items().take(room));
        let full = self.items.len() >= self.max_entries || self.bytes >= self.max_bytes;
        if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

#[async_trait]
impl LogReader for SegmentReader {
    fn durable(&self) -> EntryNumber {
        self.catalog.durable()
    }

    fn first(&self) -> EntryNumber {
        self.catalog.first()
    }

    async fn read_after(
        &self,
        after: EntryNumber,
        max_entries: usize,
        max_bytes: usize,
    ) -> Result<Vec<LogItem>, LogError> {
        self.on_blocking_thread(move |reader| reader.read_after_blocking(after, max_entries, max_bytes)).await
    }

    async fn entry(&self, number: EntryNumber) -> Result<Option<LogItem>, LogError> {
        self.on_blocking_thread(move |reader| reader.entry_blocking(number)).await
    }

    async fn scrub(
        &self,
        after: EntryNumber,
        max_bytes: usize,
    ) -> Result<(Vec<LogItem>, EntryNumber), LogError> {
        self.on_blocking_thread(move |reader| reader.scrub_blocking(after, max_bytes)).await
    }

    async fn frame(&self) -> Result<Vec<String>, LogError> {
        self.on_blocking_thread(Self::frame_blocking).await
    }

    async fn prunable(&self, before: Timestamp, through: EntryNumber) -> Result<EntryNumber, LogError> {
        self.on_blocking_thread(move |reader| reader.prunable_blocking(before, through)).await
    }

    async fn prune(&self, before: Timestamp, through: EntryNumber) -> Result<EntryNumber, LogError> {
        self.on_blocking_thread(move |reader| reader.prune_blocking(before, through)).await
    }
}

impl SegmentReader {
    async fn on_blocking_thread<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Self) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let reader = self.clone();
        let done = tokio::task::spawn_blocking(move || read(&reader)).await;
        done.unwrap_or_else(|_| Err(LogError::Unavailable("the reading was interrupted".to_owned())))
    }
}
