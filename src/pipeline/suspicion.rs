//! Room `pipeline`: what processes that share the work know of one that died at it. Whoever takes over an endpoint whose holder
//! fell silent works what that may have been working one event at a time, and each is noted in the ledger before it is tried:
//! so a poison kills three who know it alone, in all, and not three of each. The crash note does the same for a process that has
//! its ledger to itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::runtime::Handle;
use tracing::{error, warn};

use super::{
    batch::Place,
    crash_note::{KILLS_ALLOWED, Tried},
    positions::Advance,
};
use crate::{
    ledger::{CursorMove, RecordsError, Suspect, SuspectRecords, Try},
    model::{EndpointName, EntryNumber, Epoch},
};

/// The endpoints that are suspected, among those that are held.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    watches: BTreeMap<EndpointName, Watch>,
    /// Worked since, and not told to the ledger yet.
    cleared: BTreeMap<EndpointName, Epoch>,
}

/// What of a suspected endpoint the dead process may have been working: so many entries behind the cursor, however far apart they
/// are, because others' between them it passed. Which endpoints it worked together is not known, so each counts for itself.
#[derive(Debug)]
struct Watch {
    /// The last number there was.
    last: EntryNumber,
    /// So many entries it may have had in hand, and nobody has worked since.
    in_hand: u64,
}

impl Suspicion {
    /// What the ledger says of endpoints that stand at these cursors, of a log that reaches `durable`, worked in batches of at
    /// most `most` entries.
    pub(super) fn of(
        suspected: &[EndpointName],
        cursors: &[CursorMove],
        durable: EntryNumber,
        most: usize,
    ) -> Self {
        // A batch whose commit is under way, and the one that is read ahead.
        let in_hand = (most as u64).saturating_mul(2);
        let mut suspicion = Self::default();
        for at in cursors.iter().filter(|at| suspected.contains(&at.endpoint)) {
            if durable > at.through {
                warn!(endpoint = %at.endpoint, after = %at.through,
                    "whoever worked this endpoint died; what it may have had in hand goes one event at a time");
                let watch = Watch { last: durable, in_hand };
                suspicion.watches.insert(at.endpoint.clone(), watch);
            } else {
                suspicion.cleared.insert(at.endpoint.clone(), at.epoch);
            }
        }
        suspicion
    }

    /// Whether nothing is suspected.
    pub(super) fn is_empty(&self) -> bool {
        self.watches.is_empty()
    }

    /// Whether this batch has suspected entries.
    pub(super) fn touches(&self, place: &Place) -> bool {
        let (first, _) = place.range();
        let suspected = |name| self.watches.get(name).is_some_and(|watch| first <= watch.last);
        place.advance.met.keys().any(suspected)
    }

    /// The endpoints whose entries go one at a time.
    pub(super) fn endpoints(&self) -> Arc<BTreeSet<EndpointName>> {
        Arc::new(self.watches.keys().cloned().collect())
    }

    /// A batch was committed, or passed because nothing in it is ours; its cursors stand here now.
    pub(super) fn worked(&mut self, place: &Place, moves: &[CursorMove]) {
        let Advance { met, left, .. } = &place.advance;
        for (name, entries) in met.iter().filter(|(name, _)| !left.contains_key(*name)) {
            if let Some(watch) = self.watches.get_mut(name) {
                watch.in_hand = watch.in_hand.saturating_sub(*entries);
            }
        }
        let is_over = |watch: &Watch, through| watch.in_hand == 0 || watch.last <= through;
        for at in moves {
            if self.watches.get(&at.endpoint).is_some_and(|watch| is_over(watch, at.through)) {
                self.watches.remove(&at.endpoint);
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
    done: Option<Try>,
    /// What was told and not answered, and so not tried either: to be told as the same try.
    unanswered: Vec<Try>,
    /// What was held against somebody when it was tried in this batch.
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
        let mut state = self.state();
        state.failed = None;
        state.held_against.clear();
        drop(state);
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
        let kills = match self.announce(runtime, &mut state, suspect) {
            Ok(kills) => kills,
            Err(error) => {
                state.failed = Some(error);
                return Tried::SetAside;
            }
        };
        if kills > 0 {
            state.held_against.push(suspect);
        }
        if kills >= KILLS_ALLOWED {
            error!(?suspect, kills, "ended processes again and again; it is set aside");
            return Tried::SetAside;
        }
        Tried::Done(work())
    }

    /// Tells the ledger what is to be tried; how often nobody came back from that.
    fn announce(&self, runtime: &Handle, state: &mut State, suspect: Suspect) -> Result<u32, RecordsError> {
        let unanswered = state.unanswered.iter().find(|tried| tried.suspect == suspect).copied();
        let next = unanswered.map_or_else(|| Try::another(suspect), Ok)?;
        if unanswered.is_none() {
            state.unanswered.push(next);
        }
        let kills = runtime.block_on(self.records.try_alone(state.done, Some(next)))?;
        state.unanswered.retain(|tried| *tried != next);
        state.done = Some(next);
        Ok(kills)
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
        let mut state = self.state();
        state.done = None;
        state.unanswered.clear();
        Ok(())
    }

    /// What was held against somebody in the batch, once that is committed: no sooner, or it is tried as if it were new.
    pub(super) fn take_held_against(&self) -> Vec<Suspect> {
        std::mem::take(&mut self.state().held_against)
    }

    /// Tells what is suspected no longer. What the ledger cannot be told now only costs time later.
    pub(super) async fn absolve(&self, endpoints: &[(EndpointName, Epoch)], suspects: &[Suspect]) {
        if endpoints.is_empty() && suspects.is_empty() {
            return;
        }
        if let Err(error) = self.records.absolve(endpoints, suspects).await {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::positions::Group;

    fn name(partner: &str) -> EndpointName {
        EndpointName::new(partner, "default")
    }

    fn n(number: u64) -> EntryNumber {
        EntryNumber(number)
    }

    fn at(partner: &str, through: u64) -> CursorMove {
        CursorMove { endpoint: name(partner), through: n(through), epoch: Epoch(1) }
    }

    /// Batches of ten at most.
    fn suspected(cursors: &[CursorMove], durable: u64) -> Suspicion {
        let names: Vec<_> = cursors.iter().map(|at| at.endpoint.clone()).collect();
        Suspicion::of(&names, cursors, n(durable), 10)
    }

    /// A batch that has so many entries of these.
    fn batch(after: u64, through: u64, met: &[(&str, u64)]) -> Place {
        let met = met.iter().map(|(partner, entries)| (name(partner), *entries)).collect();
        Place {
            group: Group { after: n(after), until: n(1_000), only: None },
            advance: Advance { through: n(through), met, ..Advance::default() },
        }
    }

    /// Works it, as one that is watched or not.
    fn works(suspicion: &mut Suspicion, place: &Place, moves: &[&str], watched: bool) {
        assert_eq!(suspicion.touches(place), watched, "{place:?}");
        let stands = |partner: &&str| at(partner, place.advance.through.0);
        suspicion.worked(place, &moves.iter().map(stands).collect::<Vec<_>>());
    }

    #[test]
    fn what_a_dead_process_had_in_hand_begins_with_its_first_entry_however_far_that_is() {
        let mut suspicion = suspected(&[at("a", 100)], 900);
        for after in (100..400).step_by(10) {
            works(&mut suspicion, &batch(after, after + 10, &[]), &["a"], false);
            assert_eq!(suspicion.take_cleared(), [], "nothing of it was met");
        }
        works(&mut suspicion, &batch(400, 410, &[("a", 10)]), &["a"], true);
        assert_eq!(suspicion.take_cleared(), [], "a second batch may have been read ahead");
        works(&mut suspicion, &batch(410, 420, &[("a", 10)]), &["a"], true);
        assert_eq!(suspicion.take_cleared(), [(name("a"), Epoch(1))]);
        works(&mut suspicion, &batch(420, 430, &[("a", 10)]), &["a"], false);
    }

    #[test]
    fn what_a_dead_process_had_in_hand_may_lie_far_apart() {
        let mut suspicion = suspected(&[at("a", 100)], 900);
        for after in (100..300).step_by(10) {
            works(&mut suspicion, &batch(after, after + 10, &[("a", 1), ("b", 9)]), &["a"], true);
        }
        works(&mut suspicion, &batch(300, 310, &[("a", 1), ("b", 9)]), &["a"], false);
    }

    #[test]
    fn what_nobody_can_have_had_in_hand_is_not_suspected() {
        let mut suspicion = suspected(&[at("a", 100)], 100);
        assert!(suspicion.is_empty());
        assert_eq!(suspicion.take_cleared().len(), 1, "there was nothing to work");
        let mut suspicion = suspected(&[at("a", 100)], 105);
        works(&mut suspicion, &batch(100, 110, &[("b", 10)]), &["a", "b"], false);
        assert_eq!(suspicion.take_cleared().len(), 1, "nothing of it was there");
    }

    #[test]
    fn each_endpoint_counts_for_itself() {
        let mut suspicion = suspected(&[at("a", 100), at("b", 100)], 900);
        works(&mut suspicion, &batch(100, 120, &[("a", 10), ("b", 10)]), &["a", "b"], true);
        works(&mut suspicion, &batch(120, 130, &[("b", 10)]), &["a", "b"], true);
        assert_eq!(suspicion.take_cleared(), [(name("b"), Epoch(1))]);
        works(&mut suspicion, &batch(130, 140, &[("b", 10)]), &["a", "b"], false);
        works(&mut suspicion, &batch(140, 150, &[("a", 10)]), &["a", "b"], true);
        assert!(suspicion.is_empty());
    }

    #[test]
    fn what_waits_for_a_desk_was_not_worked() {
        let mut suspicion = suspected(&[at("a", 100), at("b", 100)], 900);
        let mut waits = batch(100, 110, &[("a", 10)]);
        waits.advance.left.insert(name("a"), n(104));
        suspicion.worked(&waits, &[at("a", 104), at("b", 110)]);
        works(&mut suspicion, &batch(110, 120, &[("b", 10)]), &["b"], true);
        works(&mut suspicion, &batch(120, 130, &[("b", 10)]), &["b"], true);
        works(&mut suspicion, &batch(130, 140, &[("b", 10)]), &["b"], false);
    }
}
