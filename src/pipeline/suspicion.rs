//! Room `pipeline`: what processes that share the work know of one that died at it. Whoever takes over an endpoint whose holder
//! fell silent works what that may have been working one event at a time, and each is noted in the ledger before it is tried:
//! so a poison kills two who know it alone, in all, and not two of each. The crash note does the same for a process that has
//! its ledger to itself.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::runtime::Handle;
use tracing::{error, warn};

use super::crash_note::{KILLS_ALLOWED, Tried};
use crate::{
    ledger::{CursorMove, RecordsError, Suspect, SuspectRecords},
    model::{EndpointName, EntryNumber, Epoch},
};

/// The endpoints that are suspected, among those that are held.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    /// First and last number of what the dead process may have been working.
    ranges: BTreeMap<EndpointName, (EntryNumber, EntryNumber)>,
    /// Worked since, and not told to the ledger yet.
    cleared: BTreeMap<EndpointName, Epoch>,
}

impl Suspicion {
    /// What the ledger says of endpoints that stand at these cursors, of a log that reaches `durable`: nobody had more than a
    /// batch of `most` entries in hand.
    pub(super) fn of(
        suspected: &[EndpointName],
        cursors: &[CursorMove],
        durable: EntryNumber,
        most: usize,
    ) -> Self {
        let mut suspicion = Self::default();
        for at in cursors.iter().filter(|at| suspected.contains(&at.endpoint)) {
            let last = EntryNumber(at.through.0.saturating_add(most as u64)).min(durable);
            if last > at.through {
                warn!(endpoint = %at.endpoint, first = %at.through.next(), %last,
                    "whoever worked this endpoint died; these entries go one event at a time");
                suspicion.ranges.insert(at.endpoint.clone(), (at.through.next(), last));
            } else {
                suspicion.cleared.insert(at.endpoint.clone(), at.epoch);
            }
        }
        suspicion
    }

    /// Whether nothing is suspected.
    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether a batch that begins with `first` and moves these cursors has suspected entries.
    pub(super) fn touches(&self, first: EntryNumber, moves: &[CursorMove]) -> bool {
        let touched = |at: &CursorMove| {
            let range = self.ranges.get(&at.endpoint);
            range.is_some_and(|(from, last)| first <= *last && *from <= at.through)
        };
        moves.iter().any(touched)
    }

    /// These cursors were moved: what was worked is not suspected any more.
    pub(super) fn committed(&mut self, moves: &[CursorMove]) {
        for at in moves {
            if self.ranges.get(&at.endpoint).is_some_and(|(_, last)| *last <= at.through) {
                self.ranges.remove(&at.endpoint);
                self.cleared.insert(at.endpoint.clone(), at.epoch);
            }
        }
    }

    /// What the ledger is to be told that it may forget; once.
    pub(super) fn take_cleared(&mut self) -> Vec<(EndpointName, Epoch)> {
        std::mem::take(&mut self.cleared).into_iter().collect()
    }
}

/// What is tried alone, noted in the ledger.
pub(super) struct SharedNote {
    records: Arc<dyn SuspectRecords>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What came back last; the ledger is told with the next try.
    done: Option<Suspect>,
    /// What was held against somebody when it was tried here.
    held_against: Vec<Suspect>,
    /// Why the ledger could not be told. Nothing is tried from there on, and nothing of it is committed.
    failed: Option<RecordsError>,
}

impl SharedNote {
    /// Nothing is being tried.
    pub(super) fn new(records: Arc<dyn SuspectRecords>) -> Arc<Self> {
        Arc::new(Self { records, state: Mutex::default() })
    }

    /// For a batch that begins.
    pub(super) fn begin(self: &Arc<Self>) -> Arc<Self> {
        self.state().failed = None;
        Arc::clone(self)
    }

    /// The suspected endpoints.
    pub(super) async fn suspected(&self) -> Result<Vec<EndpointName>, RecordsError> {
        self.records.suspected().await
    }

    /// Tries `work` alone, from a thread that may wait; not at all when it has killed too often, or the ledger cannot be told.
    pub(super) fn alone<T>(&self, runtime: &Handle, suspect: Suspect, work: impl FnOnce() -> T) -> Tried<T> {
        let mut state = self.state();
        if state.failed.is_some() {
            return Tried::SetAside;
        }
        let kills = match runtime.block_on(self.records.try_alone(state.done, Some(suspect))) {
            Ok(kills) => kills,
            Err(error) => {
                state.failed = Some(error);
                return Tried::SetAside;
            }
        };
        state.done = Some(suspect);
        if kills > 0 {
            state.held_against.push(suspect);
        }
        if kills >= KILLS_ALLOWED {
            error!(?suspect, kills, "ended processes again and again; it is set aside");
            return Tried::SetAside;
        }
        Tried::Done(work())
    }

    /// All of a batch came back; an error when something was not tried because the ledger could not be told.
    pub(super) async fn came_back(&self) -> Result<(), RecordsError> {
        let (done, failed) = {
            let mut state = self.state();
            (state.done, state.failed.take())
        };
        if let Some(error) = failed {
            return Err(error);
        }
        self.records.try_alone(done, None).await?;
        self.state().done = None;
        Ok(())
    }

    /// A batch was committed. What the ledger cannot be told now only costs time later.
    pub(super) async fn absolve(&self, endpoints: Vec<(EndpointName, Epoch)>) {
        let suspects = std::mem::take(&mut self.state().held_against);
        if endpoints.is_empty() && suspects.is_empty() {
            return;
        }
        if let Err(error) = self.records.absolve(&endpoints, &suspects).await {
            warn!("what was suspected stays so: {error}");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for SharedNote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedNote")
    }
}
