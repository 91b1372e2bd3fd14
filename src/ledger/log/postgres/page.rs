//! Room `ledger`, the log over PostgreSQL: what one call of the reader hands out: which numbers of the batches that follow are
//! read, passed or missing. Asks nothing of the database.

use std::sync::Arc;

use tokio_postgres::Row;

use super::rows::{Batch, Endpoints, Reach, damaged, push};
use crate::{
    ledger::{LogItem, postgres::PostgresError},
    model::EntryNumber,
};

/// One question asks for at most so many batches.
const MAX_BATCHES: usize = 1_024;

/// The first question for some endpoints asks for so many.
const FIRST_ASKED: usize = 16;

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
    /// Nothing more fits, or is asked for.
    pub(super) full: bool,
    /// It ends here at the latest.
    until: EntryNumber,
    /// Whose entries are read; `None`: everybody's.
    endpoints: Option<Endpoints>,
    entries: usize,
    bytes: usize,
    max_entries: usize,
    max_bytes: usize,
    /// How many batches the next question asks for, where most of them may be others'.
    ask: usize,
}

impl Page {
    /// Of everybody's entries after a number; of one at least, when there is one.
    pub(super) fn after(after: EntryNumber, max_entries: usize, max_bytes: usize) -> Self {
        Self {
            items: Vec::new(),
            after,
            full: false,
            until: EntryNumber(u64::MAX),
            endpoints: None,
            entries: 0,
            bytes: 0,
            max_entries: max_entries.max(1),
            max_bytes,
            ask: FIRST_ASKED,
        }
    }

    /// Of the entries of these, up to a number.
    pub(super) fn of(self, endpoints: Endpoints, until: EntryNumber) -> Self {
        Self { endpoints: Some(endpoints), until, full: self.after >= until, ..self }
    }

    pub(super) fn is_for_all(&self) -> bool {
        self.endpoints.is_none()
    }

    /// How many batches are to be asked for: when all is read, no more than there is room for. Where it is not, a few, and
    /// twice as many each time none of them fills the page: what batches say of their entries is long.
    pub(super) fn asks(&mut self) -> usize {
        if self.is_for_all() {
            return self.room().min(MAX_BATCHES);
        }
        let asks = self.ask;
        self.ask = asks.saturating_mul(2).min(MAX_BATCHES);
        asks
    }

    /// How many entries it still takes; one at least.
    fn room(&self) -> usize {
        self.max_entries.saturating_sub(self.entries).max(1)
    }

    /// What of the batches that follow is read.
    pub(super) fn plan(&mut self, reach: &Reach, most: usize) -> Vec<Step> {
        let (mut steps, mut after) = (Vec::new(), self.after);
        for batch in &reach.batches {
            if after.next() < batch.first {
                after = self.miss(after, EntryNumber(batch.first.0 - 1), &mut steps);
            }
            if self.full || !self.take(batch, after, &mut steps) {
                return steps;
            }
            after = batch.last;
        }
        if reach.batches.len() < most && after < reach.last {
            self.miss(after, reach.last, &mut steps);
        }
        steps
    }

    /// Plans to tell of numbers that no batch has.
    fn miss(&mut self, after: EntryNumber, last: EntryNumber, steps: &mut Vec<Step>) -> EntryNumber {
        let last = last.min(self.until);
        steps.push(Step::Gap { first: after.next(), last });
        self.full = last == self.until;
        last
    }

    /// Plans what is read of one batch after a number; `false` when the page ends before, in or with it.
    fn take(&mut self, batch: &Arc<Batch>, after: EntryNumber, steps: &mut Vec<Step>) -> bool {
        let span = (batch.first.max(after.next()), batch.last.min(self.until));
        let own = self.endpoints.as_ref().and_then(|endpoints| batch.entries_of(endpoints));
        let own: Option<Vec<_>> = own.map(Iterator::collect);
        let went_in = match own {
            Some(own) => self.take_some(batch, span, own, steps),
            None => self.take_whole(batch, span, steps),
        };
        let is_end = batch.last >= self.until;
        self.full = !went_in || is_end || self.entries >= self.max_entries || self.bytes >= self.max_bytes;
        !self.full
    }

    /// All of a batch, or nothing; but a part of one that is too large alone.
    fn take_whole(
        &mut self,
        batch: &Arc<Batch>,
        (first, last): (EntryNumber, EntryNumber),
        steps: &mut Vec<Step>,
    ) -> bool {
        let (room, count) = (self.room() as u64, last.0 - first.0 + 1);
        let bytes = usize::try_from(batch.bytes).unwrap_or(usize::MAX);
        let fits = count <= room && self.bytes.saturating_add(bytes) <= self.max_bytes;
        if !fits && self.entries > 0 {
            return false;
        }
        let count = count.min(room);
        steps.push(Step::Read { batch: Arc::clone(batch), first, last: EntryNumber(first.0 + count - 1) });
        self.bytes = self.bytes.saturating_add(bytes);
        self.entries += usize::try_from(count).unwrap_or(usize::MAX);
        true
    }

    /// Some entries of a batch, as many as go in; `false` if not all do. The rest is passed.
    fn take_some(
        &mut self,
        batch: &Arc<Batch>,
        (begin, end): (EntryNumber, EntryNumber),
        own: Vec<(EntryNumber, usize)>,
        steps: &mut Vec<Step>,
    ) -> bool {
        let mut through = begin.0 - 1;
        for (number, bytes) in own.into_iter().filter(|(number, _)| begin <= *number && *number <= end) {
            let fits = self.entries < self.max_entries && self.bytes.saturating_add(bytes) <= self.max_bytes;
            if !fits && self.entries > 0 {
                return false;
            }
            match steps.last_mut() {
                Some(Step::Read { batch: same, last, .. })
                    if Arc::ptr_eq(same, batch) && last.next() == number =>
                {
                    *last = number;
                }
                _ => steps.push(Step::Read { batch: Arc::clone(batch), first: number, last: number }),
            }
            (self.entries, self.bytes) = (self.entries + 1, self.bytes.saturating_add(bytes));
            through = number.0;
        }
        if through < end.0 {
            steps.push(Step::Pass { last: end });
        }
        true
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
