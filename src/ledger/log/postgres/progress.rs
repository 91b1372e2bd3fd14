//! Room `ledger`, the log over PostgreSQL: how far it reaches, as this process knows.

use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use crate::model::EntryNumber;

/// How far the log reaches; shared by the writer and the readers of a process.
#[derive(Debug)]
pub(super) struct Progress {
    known: Mutex<Known>,
    news: watch::Sender<EntryNumber>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    first: EntryNumber,
    last: EntryNumber,
    /// How often this process appended.
    appends: u64,
}

/// A question about the log's reach that is being asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    appends: u64,
}

impl Default for Progress {
    fn default() -> Self {
        let known = Known { first: EntryNumber(1), last: EntryNumber(0), appends: 0 };
        Self { known: Mutex::new(known), news: watch::Sender::new(EntryNumber(0)) }
    }
}

impl Progress {
    pub(super) fn first(&self) -> EntryNumber {
        self.known().first
    }

    pub(super) fn last(&self) -> EntryNumber {
        self.known().last
    }

    /// Changes with the last number.
    pub(super) fn news(&self) -> watch::Receiver<EntryNumber> {
        self.news.subscribe()
    }

    /// This process appended through `last`.
    pub(super) fn appended(&self, last: EntryNumber) {
        let mut known = self.known();
        known.appends += 1;
        self.reaches(&mut known, last);
    }

    pub(super) fn question(&self) -> Question {
        Question { appends: self.known().appends }
    }

    /// The database's answer. It may go back, when an older copy took over; but one that was on its way while we appended
    /// knows less than we do.
    pub(super) fn answer(&self, question: Question, first: EntryNumber, last: EntryNumber) {
        let mut known = self.known();
        known.first = first;
        if question.appends == known.appends || last > known.last {
            self.reaches(&mut known, last);
        }
    }

    fn reaches(&self, known: &mut Known, last: EntryNumber) {
        known.last = last;
        self.news.send_if_modified(|told| std::mem::replace(told, last) != last);
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_from_before_an_append_takes_nothing_back() {
        let progress = Progress::default();
        let mut news = progress.news();
        let early = progress.question();
        progress.appended(EntryNumber(5));
        progress.answer(early, EntryNumber(1), EntryNumber(3));
        assert_eq!(progress.last(), EntryNumber(5));
        assert_eq!(*news.borrow_and_update(), EntryNumber(5));
        progress.answer(early, EntryNumber(2), EntryNumber(9));
        assert_eq!((progress.first(), progress.last()), (EntryNumber(2), EntryNumber(9)));
        assert!(news.has_changed().expect("open"));
    }

    #[test]
    fn an_older_copy_that_took_over_is_believed() {
        let progress = Progress::default();
        progress.appended(EntryNumber(5));
        progress.answer(progress.question(), EntryNumber(1), EntryNumber(4));
        assert_eq!(progress.last(), EntryNumber(4));
    }
}
