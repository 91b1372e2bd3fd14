//! Room `ledger`: walks the batches of one segment file in order, and over damage. Reads in large chunks; what it hands
//! out are slices of them. Judges bytes, not history: whether a bad batch is a torn tail is [`super::survey`]'s to say.

use std::{io, sync::Arc};

use bytes::Bytes;

use super::{
    buffers::Buffers,
    index::{Index, Point},
};
use crate::{
    ledger::log::{
        files::File,
        format::{BATCH_HEADER, BLOCK, BatchHeader},
    },
    model::{EntryNumber, Timestamp},
};

/// What stands next in a segment.
#[derive(Debug)]
pub(super) enum Step {
    /// A good batch.
    Batch(Batch),
    /// Bytes that are not what was written; they held these numbers, as its own header or a later batch says.
    Damaged { first: EntryNumber, last: EntryNumber, detail: &'static str },
    /// No further batch.
    End(End),
}

/// A good batch.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) header: BatchHeader,
    /// Its first byte in the file.
    pub(super) offset: u64,
    /// All its bytes as they stand in the file.
    pub(super) bytes: Bytes,
    /// Its entries.
    pub(super) payload: Bytes,
}

/// What follows the last batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct End {
    /// How many bytes stand in blocks that are not blank: 0 when nothing was ever written here.
    pub(super) traces: u64,
    /// The end of the last block that is not blank.
    pub(super) used: u64,
}

/// A walk through a segment.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    window: Window,
    salt: Option<u64>,
    at: Point,
    claimed: EntryNumber,
    received_at: Option<Timestamp>,
    index: Option<&'a Index>,
}

impl<'a> Scan<'a> {
    /// Walks from a batch on. Without a `salt` the first batch that fits decides it.
    pub(super) fn new(file: Arc<dyn File>, salt: Option<u64>, from: Point, chunk: usize) -> io::Result<Self> {
        let buffers = Arc::default();
        let window = Window { end: file.size()?, file, start: 0, bytes: Bytes::new(), chunk, buffers };
        Ok(Self { window, salt, at: from, claimed: EntryNumber(0), received_at: None, index: None })
    }

    /// Never looks at a byte at or after `end`.
    pub(super) fn through(mut self, end: u64) -> Self {
        self.window.end = self.window.end.min(end);
        self
    }

    /// Reads into these.
    pub(super) fn reading_into(mut self, buffers: &Arc<Buffers>) -> Self {
        self.window.buffers = Arc::clone(buffers);
        self
    }

    /// Notes the batches it passes.
    pub(super) fn noting(mut self, index: &'a Index) -> Self {
        self.index = Some(index);
        self
    }

    /// The number expected next, and where.
    pub(super) fn position(&self) -> Point {
        self.at
    }

    /// The highest number that the headers passed so far claim as fsynced.
    pub(super) fn claimed(&self) -> EntryNumber {
        self.claimed
    }

    /// The latest time in the headers passed so far.
    pub(super) fn received_at(&self) -> Option<Timestamp> {
        self.received_at
    }

    /// Passes batches that end before `number`, by their headers alone; stops at anything else.
    pub(super) fn pass_to(&mut self, number: EntryNumber) -> io::Result<()> {
        while let Some(header) = self.header_at(self.at.offset)? {
            if header.first != self.at.number || header.last() >= number {
                break;
            }
            self.pass(&header);
        }
        Ok(())
    }

    /// The next step. After [`Step::End`] there is none.
    pub(super) fn step(&mut self) -> io::Result<Step> {
        match self.header_at(self.at.offset)? {
            Some(header) if header.first == self.at.number => self.take(header),
            _ => self.find_next(),
        }
    }

    fn take(&mut self, header: BatchHeader) -> io::Result<Step> {
        let offset = self.at.offset;
        let bytes = self.window.get(offset, header.size())?;
        self.pass(&header);
        Ok(match header.payload(&bytes) {
            Some(payload) => Step::Batch(Batch { header, offset, bytes, payload }),
            None => Step::Damaged {
                first: header.first,
                last: header.last(),
                detail: "the batch's bytes do not match its checksum",
            },
        })
    }

    fn pass(&mut self, header: &BatchHeader) {
        if let Some(index) = self.index {
            index.pass(self.at);
        }
        self.salt = Some(header.salt);
        self.claimed = self.claimed.max(header.durable);
        self.received_at = self.received_at.max(Some(header.received_at));
        self.at = Point { number: header.last().next(), offset: self.at.offset + header.size() };
    }

    /// Looks for the next header block by block. It may be a later batch: then those between are lost.
    fn find_next(&mut self) -> io::Result<Step> {
        let mut end = End { traces: 0, used: self.at.offset };
        let mut offset = self.at.offset;
        loop {
            let block = self.window.get(offset, BLOCK as u64)?;
            if block.is_empty() {
                self.at.offset = offset;
                return Ok(Step::End(end));
            }
            if let Some(header) = self.own(&block).filter(|header| header.first >= self.at.number) {
                return self.go_on_at(offset, header);
            }
            offset += block.len() as u64;
            if block != BLANK[..block.len()] {
                end = End { traces: end.traces + block.len() as u64, used: offset };
            }
        }
    }

    fn go_on_at(&mut self, offset: u64, header: BatchHeader) -> io::Result<Step> {
        let expected = std::mem::replace(&mut self.at, Point { number: header.first, offset }).number;
        if header.first == expected {
            return self.take(header);
        }
        self.claimed = self.claimed.max(header.durable);
        let last = EntryNumber(header.first.0 - 1);
        Ok(Step::Damaged { first: expected, last, detail: "no batch with these numbers can be read" })
    }

    fn header_at(&mut self, offset: u64) -> io::Result<Option<BatchHeader>> {
        let bytes = self.window.get(offset, BATCH_HEADER as u64)?;
        Ok(self.own(&bytes))
    }

    /// The header in these bytes, when it is one of this segment.
    fn own(&self, bytes: &[u8]) -> Option<BatchHeader> {
        BatchHeader::decode(bytes).filter(|header| self.salt.is_none_or(|salt| salt == header.salt))
    }
}

static BLANK: [u8; BLOCK] = [0; BLOCK];

/// The part of the file that was read last.
#[derive(Debug)]
struct Window {
    file: Arc<dyn File>,
    end: u64,
    start: u64,
    bytes: Bytes,
    chunk: usize,
    buffers: Arc<Buffers>,
}

impl Window {
    /// The bytes at `offset`; fewer than asked only at the end.
    fn get(&mut self, offset: u64, length: u64) -> io::Result<Bytes> {
        let length = length.min(self.end.saturating_sub(offset));
        if length == 0 {
            return Ok(Bytes::new());
        }
        let held = self.start + self.bytes.len() as u64;
        if offset < self.start || offset + length > held {
            self.fill(offset, length)?;
        }
        let from = in_memory(offset - self.start)?;
        let to = (from + in_memory(length)?).min(self.bytes.len());
        Ok(self.bytes.slice(from..to))
    }

    fn fill(&mut self, offset: u64, length: u64) -> io::Result<()> {
        let wanted = length.max(self.chunk as u64).min(self.end - offset);
        let mut bytes = self.buffers.take(in_memory(wanted)?);
        let read = self.file.read_at(&mut bytes, offset)?;
        if read < bytes.len() {
            bytes.truncate(read);
            self.end = offset + read as u64;
        }
        self.start = offset;
        self.bytes = self.buffers.lend(bytes);
        Ok(())
    }
}

fn in_memory(length: u64) -> io::Result<usize> {
    usize::try_from(length).map_err(io::Error::other)
}
