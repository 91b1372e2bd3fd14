//! The records beside the simulated disk: the double, reached from a process that dies with its machine. As with every
//! transactional store, what was committed stays and what was in flight is there whole or not at all.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

use async_trait::async_trait;
use douane::{
    ledger::{Owner, RecordsError, ReplayTarget, Tenured, TranslationCommit, TranslationRecords},
    model::{EndpointName, EntryNumber, EventNumber, EventRef, Timestamp},
};
use rand::{RngExt, rngs::SmallRng};

use super::disk::SimDisk;
use crate::conformance::records_double::RecordsDouble;

/// What one process sees of the records.
pub(super) struct SimRecords {
    double: Arc<RecordsDouble>,
    disk: SimDisk,
    rng: Mutex<SmallRng>,
    /// A commit fails, in one of so many; questions four times less often. 0 is never.
    fails_one_in: AtomicU32,
}

/// What becomes of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is committed, and the process learns it.
    Told,
    /// It is committed, and the process never learns it.
    Untold,
    /// It never took place.
    Lost,
    /// The records refuse so much at once.
    TooLarge,
}

impl SimRecords {
    pub(super) fn new(double: Arc<RecordsDouble>, disk: SimDisk, rng: SmallRng, fails_one_in: u32) -> Self {
        Self { double, disk, rng: Mutex::new(rng), fails_one_in: fails_one_in.into() }
    }

    /// From now on they only go down with the machine.
    pub(super) fn never_fail(&self) {
        self.fails_one_in.store(0, Ordering::Relaxed);
    }

    fn commit_fails(&self) -> bool {
        self.chance(self.fails_one_in.load(Ordering::Relaxed))
    }

    fn question_fails(&self) -> bool {
        self.chance(self.fails_one_in.load(Ordering::Relaxed) * 4)
    }

    fn chance(&self, one_in: u32) -> bool {
        one_in > 0 && self.rng.lock().expect("never poisoned").random_range(0..one_in) == 0
    }

    fn answers(&self) -> Result<(), RecordsError> {
        if self.disk.pass().is_err() || self.question_fails() {
            return Err(away());
        }
        Ok(())
    }

    /// The end may come before a commit, while it is in flight, or before its answer.
    fn fate(&self, entries: usize) -> Fate {
        if !self.disk.is_up() {
            return Fate::Lost;
        }
        let goes_down = self.disk.pass().is_err();
        if !goes_down && !self.commit_fails() {
            return Fate::Told;
        }
        if entries > 1 && !goes_down && self.chance(4) {
            return Fate::TooLarge;
        }
        if self.chance(2) { Fate::Untold } else { Fate::Lost }
    }
}

fn away() -> RecordsError {
    RecordsError::Unavailable("no answer".to_owned())
}

impl Tenured for SimRecords {}

#[async_trait]
impl TranslationRecords for SimRecords {
    async fn cursors(&self) -> Result<Vec<(EndpointName, EntryNumber)>, RecordsError> {
        self.answers()?;
        self.double.cursors().await
    }

    async fn owners(&self, ids: &[(EndpointName, String)]) -> Result<Vec<Option<Owner>>, RecordsError> {
        self.answers()?;
        self.double.owners(ids).await
    }

    async fn same_bodies(
        &self,
        bodies: &[(EndpointName, [u8; 32])],
        since: Timestamp,
    ) -> Result<Vec<Option<EntryNumber>>, RecordsError> {
        self.answers()?;
        self.double.same_bodies(bodies, since).await
    }

    async fn replay_targets(&self, events: &[EventRef]) -> Result<Vec<ReplayTarget>, RecordsError> {
        self.answers()?;
        self.double.replay_targets(events).await
    }

    async fn commit(&self, commit: TranslationCommit) -> Result<EventNumber, RecordsError> {
        match self.fate(commit.entries.len()) {
            Fate::Told => self.double.commit(commit).await,
            Fate::Untold => {
                self.double.commit(commit).await?;
                Err(away())
            }
            Fate::Lost => Err(away()),
            Fate::TooLarge => Err(RecordsError::Refused("too much at once".to_owned())),
        }
    }
}
