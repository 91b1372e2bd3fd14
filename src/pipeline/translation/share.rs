//! Room `pipeline`, stage 1: its share of a ledger that several processes work: which endpoints, from which cursors, and how
//! far it has passed what others work. May not read an entry.

use std::{collections::BTreeMap, time::Duration};

use tokio::runtime::Handle;

use super::{
    super::{StageError, batch::Place, figures, guard::Guard, positions::Positions, suspicion::Suspicion},
    TranslationStage,
};
use crate::{
    ledger::TranslationCommit,
    model::{EndpointName, EntryNumber},
};

/// Where processes share the work, that others' entries were passed is committed no more often than this: it moves cursors that
/// nothing waits behind.
const PASSED_EVERY: Duration = Duration::from_secs(1);

impl TranslationStage {
    /// Reads the cursors of what is to be worked, when they are not known. What was known of other leases is thrown away.
    pub(super) async fn take_up(&mut self) -> Result<(), StageError> {
        self.follow_tenure().await;
        let held = self.leases.under(self.tenure);
        if let Some(held) = &held {
            if let Some(positions) = self.positions.take_if(|known| !known.are_of(&held.endpoints)) {
                if let Some(memory) = &self.memory {
                    memory.forget(positions.lost(&held.endpoints)).await;
                }
                positions.forget();
                (self.ahead, self.passing) = (None, None);
            }
            let worked = self.positions.as_ref().map(Positions::worked_through);
            figures::translation_lag(
                worked.map_or(0, |worked| self.log.durable().0.saturating_sub(worked.0)),
            );
        }
        if self.positions.is_none() {
            self.positions = Some(match held {
                None => Positions::from_cursors(self.cursors(|_| true).await?),
                Some(held) if held.endpoints.is_empty() => Positions::of_leases(Vec::new(), BTreeMap::new()),
                Some(held) => {
                    let own = self.cursors(|endpoint| held.endpoints.contains_key(endpoint)).await?;
                    Positions::of_leases(own, held.endpoints.clone())
                }
            });
            let learnt = self.learn_of_deaths().await;
            if learnt.is_err() {
                self.positions = None;
            }
            learnt?;
        }
        Ok(())
    }

    /// Whether a process died at what is to be worked now; positions were read anew.
    async fn learn_of_deaths(&mut self) -> Result<(), StageError> {
        let (Some(note), Some(positions)) = (&self.shared_note, &self.positions) else { return Ok(()) };
        let (cursors, durable) = (positions.standing(), self.log.durable());
        let suspected = if cursors.is_empty() { Vec::new() } else { note.suspected().await? };
        self.suspicion = Suspicion::of(&suspected, &cursors, durable, self.config.batch_entries);
        note.absolve(&self.suspicion.take_cleared(), &[]).await;
        Ok(())
    }

    /// Whether another process may have died at this batch.
    pub(super) fn is_watched(&self, place: &Place) -> bool {
        self.shared_note.is_some() && self.suspicion.touches(place)
    }

    /// How such a batch is worked.
    pub(super) fn watched(&self, place: &Place) -> Option<Guard> {
        let note = self.shared_note.as_ref().filter(|_| self.is_watched(place))?;
        Some(Guard::Watched(note.begin(), Handle::current(), self.suspicion.endpoints()))
    }

    /// A batch was committed or passed: what is suspected no longer is told.
    pub(super) async fn absolve(&mut self, place: &Place) {
        let watched = self.is_watched(place);
        let (Some(note), Some(positions)) = (&self.shared_note, &self.positions) else { return };
        if !self.suspicion.is_empty() {
            let held_against = if watched { note.take_held_against() } else { Vec::new() };
            self.suspicion.worked(place, &positions.cursors(&place.group, &place.advance));
            note.absolve(&self.suspicion.take_cleared(), &held_against).await;
        }
    }

    /// When another server took over, nothing that was read from the one before is believed: numbers may be given again. It is
    /// asked before anything is read, so that whatever is read from yet another one is refused when it is committed.
    async fn follow_tenure(&mut self) {
        let tenure = self.records.tenure();
        if self.tenure == tenure {
            return;
        }
        self.tenure = tenure;
        if let Some(memory) = &self.memory {
            memory.disown().await;
        }
        if let Some(positions) = self.positions.take() {
            positions.forget();
        }
        (self.ahead, self.passing) = (None, None);
    }

    /// The cursors from which work begins anew; the memory of verdicts is held to them.
    async fn cursors(
        &self,
        own: impl Fn(&EndpointName) -> bool,
    ) -> Result<Vec<(EndpointName, EntryNumber)>, StageError> {
        let mut cursors = self.records.cursors().await?;
        cursors.retain(|(endpoint, _)| own(endpoint));
        if let Some(memory) = &self.memory {
            memory.begin(&cursors).await;
        }
        Ok(cursors)
    }

    /// Whether a batch without an entry of its own need not be committed now.
    pub(super) fn may_pass(&mut self) -> bool {
        if !self.leases.are_kept() {
            return false;
        }
        let now = self.clock.now();
        now.since(*self.passing.get_or_insert(now)) < PASSED_EVERY
    }

    /// At rest: commits how far the log has been read, if that has waited for long enough.
    pub(super) async fn commit_passed(&mut self) -> Result<(), StageError> {
        let now = self.clock.now();
        let due = self.passing.is_some_and(|since| now.since(since) >= PASSED_EVERY);
        let Some(positions) = self.positions.as_ref().filter(|_| due) else { return Ok(()) };
        let (entries, cursors) = (Vec::new(), positions.standing());
        let commit = TranslationCommit { now, entries, cursors, tenure: self.tenure };
        match self.records.commit(commit).await {
            Ok(_) => self.passing = None,
            Err(error) => return Err(self.failed(error)),
        }
        Ok(())
    }
}
