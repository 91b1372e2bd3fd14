//! Records in memory, for tests that need records without a disk. They pass the suite that SQLite passes, and commit
//! all or nothing: a commit is tried on a copy, which takes the place of the original when it holds.

mod commit;
mod questions;
mod traits;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use douane::{
    ledger::{
        Confirmation, IdentifiedEvent, JournalEntry, Publication, RecordsError, Refused, TokenRow, WorkedKind,
    },
    model::{
        EndpointName, EntryNumber, EventNumber, EventRef, Incarnation, Outcome, Revision, StoredEvent,
        Timestamp,
    },
};

/// The double.
#[derive(Debug)]
pub(crate) struct RecordsDouble {
    incarnation: Incarnation,
    state: Mutex<State>,
}

#[derive(Clone, Debug, Default)]
struct State {
    cursors: BTreeMap<EndpointName, EntryNumber>,
    entries: BTreeMap<EntryNumber, KeptEntry>,
    events: BTreeMap<EventRef, KeptEvent>,
    /// Each with the number it repeats, if it does.
    feed: Vec<(StoredEvent, Option<EventNumber>)>,
    brokers: BTreeMap<String, (EventNumber, BTreeMap<EventNumber, Publication>)>,
    journal: Vec<JournalEntry>,
    dropped_through: EntryNumber,
    refusals: Vec<Refused>,
    tokens: BTreeMap<String, TokenRow>,
    desks: BTreeMap<String, (Revision, Vec<u8>)>,
    armed: BTreeMap<EndpointName, Timestamp>,
    revealed: BTreeSet<(EndpointName, String)>,
    confirmations: BTreeMap<EntryNumber, Confirmation>,
}

#[derive(Clone, Debug)]
struct KeptEntry {
    received_at: Timestamp,
    kind: WorkedKind,
    identified: u64,
}

#[derive(Clone, Debug)]
struct KeptEvent {
    endpoint: Option<EndpointName>,
    identity: Option<IdentifiedEvent>,
    owns: Option<u32>,
    owner: Option<EventRef>,
    outcome: Outcome,
    /// The numbers of every domain event made from it, replays included.
    made: Vec<EventNumber>,
}

impl RecordsDouble {
    /// Empty records of a ledger.
    pub(crate) fn new(incarnation: Incarnation) -> Self {
        Self { incarnation, state: Mutex::default() }
    }

    /// Records of their own that hold the same.
    pub(crate) fn copy(&self) -> Self {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Self { incarnation: self.incarnation, state: Mutex::new(state) }
    }

    #[expect(clippy::unnecessary_wraps, reason = "every question of the traits may fail")]
    fn read<T>(&self, question: impl FnOnce(&State) -> T) -> Result<T, RecordsError> {
        Ok(question(&self.state.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    fn write<T>(&self, work: impl FnOnce(&mut State) -> Result<T, RecordsError>) -> Result<T, RecordsError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut attempt = state.clone();
        let done = work(&mut attempt)?;
        *state = attempt;
        Ok(done)
    }
}

fn refused<T>(why: impl Into<String>) -> Result<T, RecordsError> {
    Err(RecordsError::Refused(why.into()))
}
