//! Room `ledger`, the log over PostgreSQL: what one call of the reader hands out: which numbers of the batches that follow are
//! read, passed or missing. Asks nothing of the database.

use std::sync::Arc;

use tokio_postgres::Row;

use super::rows::{Batch, Endpoints, Reach, damaged, push};
use crate::{
    ledger::{LogItem, postgres::PostgresError},
    model::EntryNumber,
};

/// Something that follows, in order.
pub(super) enum Step {
    /// Numbers of a batch.
    Read { batch: Arc<Batch>, first: EntryNumber, last: EntryNumber },
    /// Numbers that were given, and no batch has.
    Gap { first: EntryNumber, last: EntryNumber },
    /// Numbers up to this one that are not read: they are of other endpoints.
    Pass { last: EntryNumber },
}

impl Step {
    /// By which its partition is found.
    pub(super) fn written_at(&self) -> Option<i64> {
        match self {
            Self::Read { batch, .. } => Some(batch.written_at),
            Self::Gap { .. } | Self::Pass { .. } => None,
        }
    }

    /// Which rows are asked for: of which batch, from which place to which.
    pub(super) fn asked(&self) -> Option<(i64, i64, i32, i32)> {
        let Self::Read { batch, first, last } = self else { return None };
        Some((batch.written_at, batch.key, batch.place(*first), batch.place(*last)))
    }
}

/// What one call hands out.
pub(super) struct Page {
    pub(super) items: Vec<LogItem>,
    /// Through which number it has come.
    pub(super) after: EntryNumber,
    /// Nothing more fits.
    pub(super) full: bool,
    /// Whose entries are read; `None`: everybody's.
    endpoints: Option<Endpoints>,
    entries: usize,
    bytes: usize,
    max_entries: usize,
    max_bytes: usize,
}

impl Page {
    /// Of everybody's entries after a number; of one at least, when there is one.
    pub(super) fn after(after: EntryNumber, max_entries: usize, max_bytes: usize) -> Self {
        let max_entries = max_entries.max(1);
        let items = Vec::new();
        Self { items, after, full: false, endpoints: None, entries: 0, bytes: 0, max_entries, max_bytes }
    }

    /// Of the entries of these.
    pub(super) fn of(self, endpoints: Endpoints) -> Self {
        Self { endpoints: Some(endpoints), ..self }
    }

    pub(super) fn is_for_all(&self) -> bool {
        self.endpoints.is_none()
    }

    /// How many entries it still takes; one at least.
    pub(super) fn room(&self) -> usize {
        self.max_entries.saturating_sub(self.entries).max(1)
    }

    /// What of the batches that follow fits: what is read of a batch whole, but for one that is too large alone.
    pub(super) fn plan(&mut self, reach: &Reach, most: usize) -> Vec<Step> {
        let (mut steps, mut after) = (Vec::new(), self.after);
        for batch in &reach.batches {
            if after.next() < batch.first {
                steps.push(Step::Gap { first: after.next(), last: EntryNumber(batch.first.0 - 1) });
                after = EntryNumber(batch.first.0 - 1);
            }
            if !self.take(batch, after, &mut steps) {
                return steps;
            }
            after = batch.last;
        }
        if reach.batches.len() < most && after < reach.last {
            steps.push(Step::Gap { first: after.next(), last: reach.last });
        }
        steps
    }

    /// Plans what is read of one batch after a number; `false` when the page ends before or in it.
    fn take(&mut self, batch: &Arc<Batch>, after: EntryNumber, steps: &mut Vec<Step>) -> bool {
        let stretches = batch.stretches(after, self.endpoints.as_ref());
        let wanted: u64 = stretches.iter().map(|(first, last)| last.0 - first.0 + 1).sum();
        let (mut room, bytes) = (self.room() as u64, batch.bytes_of(wanted));
        let fits = wanted <= room && self.bytes.saturating_add(bytes) <= self.max_bytes;
        let passes = stretches.last().is_none_or(|(_, last)| *last < batch.last);
        if !fits && self.entries > 0 {
            self.full = true;
            return false;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.entries += usize::try_from(wanted.min(room)).unwrap_or(usize::MAX);
        for (first, last) in stretches {
            let last = last.min(EntryNumber(first.0.saturating_add(room.saturating_sub(1))));
            if room > 0 {
                steps.push(Step::Read { batch: Arc::clone(batch), first, last });
            }
            room = room.saturating_sub(last.0 - first.0 + 1);
        }
        if fits && passes {
            steps.push(Step::Pass { last: batch.last });
        }
        self.full = self.entries >= self.max_entries || self.bytes >= self.max_bytes;
        !self.full
    }

    /// Adds what was found for a step.
    pub(super) fn add(&mut self, step: &Step, rows: &[Option<Row>]) -> Result<(), PostgresError> {
        match step {
            Step::Pass { last } => self.after = *last,
            Step::Gap { first, last } => {
                push(&mut self.items, damaged(*first, *last, "no batch holds these numbers"));
                self.after = *last;
            }
            Step::Read { batch, first, last } => {
                for (number, row) in (first.0..=last.0).map(EntryNumber).zip(rows) {
                    push(&mut self.items, batch.item(number, row.as_ref())?);
                }
                self.after = *last;
            }
        }
        Ok(())
    }
}
