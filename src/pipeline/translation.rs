//! Room `pipeline`: what stage 1 holds, and how its steps reach the log, the threads and the records. The story is in
//! `pipeline::translate_next`; may not decide anything about an event.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use tokio::sync::watch;
use tracing::{error, warn};

use super::{
    CrashNote, Failure, Progress, Stage, StageError,
    batch::{Arrival, Batch, Place, Work, sort},
    figures,
    guard::Guard,
    notices::Notices,
    positions::Positions,
    rungs::{Decided, Identified},
    threads::Threads,
    translate::{Terms, identify_all, translate_all},
    translate_next,
    verdicts::decide_batch,
};
use crate::{
    clock::Clock,
    config::TranslationConfig,
    ledger::{LogReader, RecordsError, TranslationCommit, TranslationRecords, WorkedEntry, WorkedEvent},
    model::{EventNumber, Outcome, ReasonCode},
    partners::Registry,
    translate::Bounds,
};

/// A lone entry with more events than this is set aside as a whole when the records refuse it.
const MAX_PROBES: usize = 32;

/// What stage 1 is made of.
pub struct TranslationParts {
    /// Where entries are read.
    pub log: Arc<dyn LogReader>,
    /// Where outcomes and domain events are committed.
    pub records: Arc<dyn TranslationRecords>,
    /// The desks.
    pub registry: Arc<Registry>,
    /// The time of a commit; never part of an event.
    pub clock: Arc<dyn Clock>,
    /// Bounds of a batch and of a mapping.
    pub config: TranslationConfig,
    /// Goes before every event type.
    pub namespace: String,
    /// What an unclean end left.
    pub crash_note: CrashNote,
    /// Told the highest event number after each commit: stage 2 and the feed listen.
    pub committed: watch::Sender<EventNumber>,
}

/// Stage 1: identify, decide, translate, commit.
pub struct TranslationStage {
    pub(super) log: Arc<dyn LogReader>,
    pub(super) records: Arc<dyn TranslationRecords>,
    pub(super) threads: Threads,
    pub(super) terms: Terms,
    registry: Arc<Registry>,
    clock: Arc<dyn Clock>,
    config: TranslationConfig,
    crash_note: Arc<Mutex<CrashNote>>,
    committed: watch::Sender<EventNumber>,
    /// `None` until the records' cursors are read: at the start, and after a commit that failed.
    positions: Option<Positions>,
    /// Entries read at once: halved while the records refuse a batch, doubled when they take one.
    limit: usize,
    /// What follows the last commit, read while that was made.
    ahead: Option<Batch>,
}

impl TranslationStage {
    /// Starts the threads. Reads nothing yet.
    pub fn new(parts: TranslationParts) -> Result<Self, StageError> {
        let config = parts.config;
        let bounds = Bounds {
            max_steps: config.max_steps,
            max_events: config.max_events,
            max_output_bytes: config.max_output_bytes,
        };
        Ok(Self {
            log: parts.log,
            records: parts.records,
            threads: Threads::start(config.threads)?,
            terms: Terms { namespace: parts.namespace.into(), bounds, max_items: config.max_items },
            registry: parts.registry,
            clock: parts.clock,
            crash_note: Arc::new(Mutex::new(parts.crash_note)),
            committed: parts.committed,
            positions: None,
            limit: config.batch_entries,
            ahead: None,
            config,
        })
    }

    /// Step 4: reads what follows for those whose turn it is, with the desks of this moment, unless it was read ahead.
    pub(super) async fn read(&mut self) -> Result<Option<Batch>, StageError> {
        if let Some(batch) = self.ahead.take() {
            return Ok(Some(batch));
        }
        let snapshot = self.registry.snapshot();
        if self.positions.is_none() {
            self.positions = Some(Positions::from_cursors(self.records.cursors().await?));
        }
        let Some(positions) = &mut self.positions else { return Ok(None) };
        let durable = self.log.durable();
        let group = positions.next_group(durable, |endpoint| snapshot.desk_of(endpoint).is_some());
        let Some(group) = group else { return Ok(None) };
        let items = self.log.read_after(group.after, self.limit, self.config.batch_bytes).await?;
        Ok(sort(items, group, positions, &snapshot, self.limit))
    }

    /// Steps 4 and 5 of the batch after `place`, while that is committed: with a backlog both cost as much time. What
    /// cannot be read ahead is read when its turn comes, and fails then if it must.
    async fn read_ahead(&self, place: &Place) -> Option<Batch> {
        let snapshot = self.registry.snapshot();
        let positions = self.positions.as_ref()?;
        let backlog = (self.log.durable(), self.limit);
        let has_desk = |endpoint: &_| snapshot.desk_of(endpoint).is_some();
        let group = positions.following((&place.group, &place.advance), backlog, has_desk)?;
        let items = self.log.read_after(group.after, self.limit, self.config.batch_bytes).await.ok()?;
        let batch = sort(items, group, positions, &snapshot, self.limit)?;
        // A replay request must find all before it committed.
        let Work::Deliveries(arrivals) = batch.work else { return None };
        let identified = match self.begin(&batch.place).ok()? {
            guard @ Guard::Together => self.identify(arrivals, &guard).await.ok(),
            Guard::Alone(_) => None,
        };
        self.end().ok()?;
        Some(Batch { work: Work::ReadAhead(identified?), ..batch })
    }

    /// Notes that this batch is being worked, and tells how it must be contained.
    pub(super) fn begin(&self, place: &Place) -> Result<Guard, StageError> {
        let (first, last) = place.range();
        let mut note = self.note();
        note.begin(first, last).map_err(|error| cannot_note(&error))?;
        let suspects = note.suspects(first, last);
        Ok(if suspects { Guard::Alone(Arc::clone(&self.crash_note)) } else { Guard::Together })
    }

    /// Notes that nothing is being worked any more: what follows cannot be an event's doing.
    pub(super) fn end(&self) -> Result<(), StageError> {
        self.note().end().map_err(|error| cannot_note(&error))
    }

    fn note(&self) -> MutexGuard<'_, CrashNote> {
        self.crash_note.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Step 5, on the threads.
    pub(super) async fn identify(
        &self,
        arrivals: Vec<Arrival>,
        guard: &Guard,
    ) -> Result<Vec<Identified>, StageError> {
        let (terms, guard) = (self.terms.clone(), guard.clone());
        self.threads.run(move || identify_all(arrivals, &terms, &guard)).await
    }

    /// Step 6, one verdict after another.
    pub(super) async fn decide(&self, identified: Vec<Identified>) -> Result<Vec<Decided>, StageError> {
        decide_batch(&*self.records, identified).await
    }

    /// Step 7, on the threads.
    pub(super) async fn translate(
        &self,
        decided: Vec<Decided>,
        guard: &Guard,
    ) -> Result<Vec<WorkedEntry>, StageError> {
        let (terms, guard) = (self.terms.clone(), guard.clone());
        self.threads.run(move || translate_all(decided, &terms, &guard)).await
    }

    /// Step 8: everything or nothing. A batch the records refuse is read again, half as long; a lone entry they refuse
    /// is kept without what they refuse.
    pub(super) async fn commit(
        &mut self,
        place: Place,
        mut entries: Vec<WorkedEntry>,
        damaged: Vec<WorkedEntry>,
    ) -> Result<Progress, StageError> {
        if !damaged.is_empty() {
            entries.extend(damaged);
            entries.sort_by_key(|entry| entry.number);
        }
        let count = entries.len();
        let (outcome, ahead) = match <[WorkedEntry; 1]>::try_from(entries) {
            Ok([entry]) => (self.commit_alone(&place, entry).await, None),
            Err(entries) => tokio::join!(self.send(&place, entries), self.read_ahead(&place)),
        };
        match outcome {
            Ok(last_event) => {
                self.ahead = ahead;
                self.limit = self.limit.saturating_mul(2).min(self.config.batch_entries);
                self.advance(place, last_event);
                Ok(Progress::Worked)
            }
            Err(RecordsError::Refused(why)) if count > 1 => {
                warn!(entries = count, why, "the records refuse a batch; it is halved");
                self.positions = None;
                self.limit = count / 2;
                Ok(Progress::Worked)
            }
            Err(error) => {
                self.positions = None;
                Err(error.into())
            }
        }
    }

    async fn send(&self, place: &Place, entries: Vec<WorkedEntry>) -> Result<EventNumber, RecordsError> {
        let (counts, notices) = (figures::Counts::of(&entries), Notices::of(&entries));
        let cursors =
            self.positions.as_ref().map(|positions| positions.cursors(&place.group, &place.advance));
        let commit =
            TranslationCommit { now: self.clock.now(), entries, cursors: cursors.unwrap_or_default() };
        let last_event = self.records.commit(commit).await?;
        counts.tell();
        notices.tell();
        Ok(last_event)
    }

    async fn commit_alone(&self, place: &Place, entry: WorkedEntry) -> Result<EventNumber, RecordsError> {
        let number = entry.number;
        let mut refused = match self.send(place, vec![entry.clone()]).await {
            Err(RecordsError::Refused(why)) => why,
            other => return other,
        };
        error!(%number, why = refused, "the records refuse the data of this entry; what they refuse is set aside");
        for variant in set_aside(&entry) {
            match self.send(place, vec![variant]).await {
                Err(RecordsError::Refused(why)) => refused = why,
                other => return other,
            }
        }
        Err(RecordsError::Refused(refused))
    }

    fn advance(&mut self, place: Place, last_event: EventNumber) {
        let (first, last) = place.range();
        self.note().committed(first, last);
        self.committed.send_if_modified(|known| {
            let news = *known < last_event;
            *known = last_event.max(*known);
            news
        });
        let Some(positions) = &mut self.positions else { return };
        positions.advance(&place.group, place.advance);
        let waiting = self.log.durable().0.saturating_sub(positions.frontier().0);
        figures::translation_lag(waiting);
    }
}

/// The ways to keep an entry without what the records refuse: each event alone as a dead letter, at last all of them.
fn set_aside(entry: &WorkedEntry) -> impl Iterator<Item = WorkedEntry> {
    let probes = if (2..=MAX_PROBES).contains(&entry.events.len()) { entry.events.len() } else { 0 };
    let one = (0..probes).map(|chosen| without(entry, |index| index == chosen));
    one.chain(std::iter::once_with(|| without(entry, |_| true)))
}

fn without(entry: &WorkedEntry, refused: impl Fn(usize) -> bool) -> WorkedEntry {
    let events = entry.events.iter().enumerate();
    let events =
        events.map(|(index, event)| if refused(index) { refused_event(event) } else { event.clone() });
    WorkedEntry { events: events.collect(), ..entry.clone() }
}

/// Its names go too: they may be what is refused.
fn refused_event(event: &WorkedEvent) -> WorkedEvent {
    let detail = "the records refuse this event's data; the log of the process says why".to_owned();
    let outcome = Outcome::DeadLetter { code: ReasonCode::RefusedByStore, detail };
    WorkedEvent { event: None, at: event.at, owns: None, outcome, revision: event.revision.clone() }
}

fn cannot_note(error: &std::io::Error) -> StageError {
    Failure::CrashNote(error).ends_step(format!("the crash note could not be written: {error}"))
}

#[async_trait]
impl Stage for TranslationStage {
    fn name(&self) -> String {
        "translation".to_owned()
    }

    fn count_retry(&self) {
        figures::translation_retry();
    }

    async fn step(&mut self) -> Result<Progress, StageError> {
        let began = self.clock.now();
        let progress = translate_next(self).await?;
        if progress == Progress::Worked {
            figures::translated_in(self.clock.now().since(began));
        }
        Ok(progress)
    }
}

impl fmt::Debug for TranslationStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TranslationStage").field("positions", &self.positions).finish_non_exhaustive()
    }
}

impl fmt::Debug for TranslationParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TranslationParts").field("config", &self.config).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ledger::WorkedKind,
        model::{EntryNumber, EventRef, Timestamp},
    };

    fn entry(events: u32) -> WorkedEntry {
        let event = |ordinal| WorkedEvent {
            event: None,
            at: EventRef { number: EntryNumber(1), ordinal },
            owns: Some(0),
            outcome: Outcome::Unmapped,
            revision: None,
        };
        WorkedEntry {
            number: EntryNumber(1),
            received_at: Timestamp::default(),
            kind: WorkedKind::Damaged,
            events: (0..events).map(event).collect(),
        }
    }

    fn refused(entry: &WorkedEntry) -> Vec<bool> {
        entry.events.iter().map(|event| matches!(event.outcome, Outcome::DeadLetter { .. })).collect()
    }

    #[test]
    fn one_event_is_set_aside_before_all_are() {
        let tried: Vec<_> = set_aside(&entry(2)).map(|entry| refused(&entry)).collect();
        assert_eq!(tried, [vec![true, false], vec![false, true], vec![true, true]]);
        assert_eq!(set_aside(&entry(1)).map(|entry| refused(&entry)).collect::<Vec<_>>(), [[true]]);
        assert_eq!(set_aside(&entry(1_000)).count(), 1);
        assert!(set_aside(&entry(1)).all(|entry| entry.events[0].owns.is_none()));
    }
}
