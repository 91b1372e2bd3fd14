//! What must be true of the log, kept beside it: what was acked, what was served, what may be there.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use douane::{
    ledger::{DeliveryRow, LogItem, LogReader, log::segments::SegmentReader},
    model::{EntryMeta, EntryNumber, NewEntry, Timestamp},
};
use sha2::{Digest, Sha256};

/// Large enough that one call reads all of a simulated log.
const EVERYTHING: usize = usize::MAX;

/// The truth about one log.
#[derive(Debug, Default)]
pub(crate) struct Model {
    /// What was acked, served or recovered: it must stay, byte for byte, for ever.
    known: BTreeMap<u64, Kept>,
    /// SHA-256 of the bodies of what is known, hex.
    digests: BTreeMap<u64, String>,
    /// Batches whose append was never answered, or answered "unknown": kept whole or not at all.
    in_doubt: Vec<Vec<NewEntry>>,
    /// Numbers whose bytes were flipped by us: the only ones that may be reported as damaged.
    rotten: BTreeSet<u64>,
    /// Retention may have dropped what is below.
    pub(crate) may_start_at: u64,
    /// Retention has dropped what is below.
    pub(crate) starts_at: u64,
}

#[derive(Clone, Debug, PartialEq)]
struct Kept {
    meta: EntryMeta,
    body: Bytes,
    received_at: Option<Timestamp>,
}

impl Model {
    /// An empty log.
    pub(crate) fn new() -> Self {
        Self { may_start_at: 1, starts_at: 1, ..Self::default() }
    }

    /// The highest number that must be there.
    pub(crate) fn last(&self) -> u64 {
        self.known.last_key_value().map_or(0, |(number, _)| *number)
    }

    /// The writer said: these are durable, from `first` on.
    pub(crate) fn acked(&mut self, first: EntryNumber, received_at: Timestamp, batch: &[NewEntry]) {
        assert_eq!(first.0, self.next(), "numbers are never skipped and never reused");
        for (number, entry) in (first.0..).zip(batch) {
            self.keep(number, Kept::of(entry, Some(received_at)));
        }
    }

    /// The writer did not say.
    pub(crate) fn doubted(&mut self, batch: Vec<NewEntry>) {
        self.in_doubt.push(batch);
    }

    /// Somebody flipped a bit of these.
    pub(crate) fn rotted(&mut self, numbers: impl Iterator<Item = u64>) {
        self.rotten.extend(numbers);
    }

    /// Whether somebody flipped a bit of this one.
    pub(crate) fn is_rotten(&self, number: u64) -> bool {
        self.rotten.contains(&number)
    }

    /// A row of the records tells of a delivery that is known, and tells the truth.
    pub(crate) fn was_kept(&self, row: &DeliveryRow) {
        let number = row.number.0;
        let Some(kept) = self.known.get(&number) else { panic!("{number} was worked and never kept") };
        let EntryMeta::Delivery(meta) = &kept.meta else { panic!("{number} is no delivery: {kept:?}") };
        assert_eq!(row.delivery, meta.id, "{number} was another delivery when it was worked");
        assert_eq!(row.body_sha256, self.digests[&number], "{number} had other bytes when it was worked");
        assert_eq!(Some(row.received_at), kept.received_at, "{number} had another time when it was worked");
    }

    /// What a reader is served while the writer lives: all of it is known, in order and without gaps.
    pub(crate) fn served(&self, after: EntryNumber, items: &[LogItem]) {
        let mut next = after.0 + 1;
        for item in items {
            let last = self.check(next, item);
            assert!(last <= self.last(), "{last} was served before it was fsynced");
            next = last + 1;
        }
    }

    /// Looks at the whole log as it was found after a restart. What is there now must stay.
    pub(crate) fn recovered(&mut self, reader: &SegmentReader) {
        let first = reader.first().0;
        assert!((self.starts_at..=self.may_start_at).contains(&first), "begins at {first}: {self:?}");
        let durable = reader.durable().0;
        assert!(durable >= self.last(), "ends at {durable}, but {} was acked or served", self.last());
        let items = reader.read_after_blocking(EntryNumber(first - 1), EVERYTHING, EVERYTHING);
        let mut next = first;
        let mut found = Vec::new();
        for item in items.expect("nothing fails now") {
            next = self.check(next, &item) + 1;
            if let LogItem::Entry(entry) = item
                && !self.known.contains_key(&entry.number.0)
            {
                found.push(entry);
            }
        }
        assert_eq!(next, durable + 1, "everything durable is served");
        let found: Vec<_> = found.into_iter().map(|entry| (entry.number.0, Kept::from(entry))).collect();
        self.resolve_doubt(&found);
        for (number, kept) in found {
            self.keep(number, kept);
        }
    }

    /// What nobody was told about must be whole batches of those in doubt; never one that was refused.
    fn resolve_doubt(&mut self, found: &[(u64, Kept)]) {
        let mut rest = found;
        for batch in self.in_doubt.drain(..) {
            let whole = rest.len() >= batch.len()
                && batch
                    .iter()
                    .zip(rest)
                    .all(|(entry, (_, kept))| Kept::of(entry, kept.received_at) == *kept);
            if whole {
                rest = &rest[batch.len()..];
            }
        }
        assert!(rest.is_empty(), "{} entries were kept that nobody may keep, from {}", rest.len(), rest[0].0);
    }

    /// One item at `expected`; returns the last number it speaks for.
    fn check(&self, expected: u64, item: &LogItem) -> u64 {
        match item {
            LogItem::Entry(entry) => {
                assert_eq!(entry.number.0, expected, "in order, without gaps");
                if let Some(known) = self.known.get(&expected) {
                    assert_eq!(*known, Kept::from(entry.clone()), "{expected} is not what was kept");
                }
                expected
            }
            LogItem::Damaged { first, last, detail } => {
                assert_eq!(first.0, expected, "in order, without gaps");
                for number in first.0..=last.0 {
                    assert!(self.rotten.contains(&number), "{number} is called damaged: {detail}");
                }
                last.0
            }
        }
    }

    fn keep(&mut self, number: u64, kept: Kept) {
        let before = self.known.range(..number).next_back().and_then(|(_, kept)| kept.received_at);
        assert!(before <= kept.received_at, "received_at never decreases, not at {number} either");
        self.digests.insert(number, hex::encode(Sha256::digest(&kept.body)));
        self.known.insert(number, kept);
    }

    fn next(&self) -> u64 {
        self.last() + 1
    }
}

impl Kept {
    fn of(entry: &NewEntry, received_at: Option<Timestamp>) -> Self {
        Self { meta: entry.meta.clone(), body: entry.body.clone(), received_at }
    }
}

impl From<douane::model::Entry> for Kept {
    fn from(entry: douane::model::Entry) -> Self {
        Self { meta: entry.meta, body: entry.body, received_at: Some(entry.received_at) }
    }
}
