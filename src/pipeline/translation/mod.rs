//! Room `pipeline`: what stage 1 holds, and how its steps reach the log, the threads and the records. The story is in
//! `pipeline::translate_next`; may not decide anything about an event.

mod share;

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
    leases::HeldLeases,
    notices::Notices,
    positions::{Group, Positions},
    rungs::{Decided, Identified},
    set_aside::set_aside,
    suspicion::{SharedNote, Suspicion},
    threads::Threads,
    translate::{Terms, identify_all, translate_all},
    translate_next,
    verdicts::{decide_batch, owners_made},
};
use crate::{
    clock::Clock,
    config::TranslationConfig,
    dedupe::SharedMemory,
    ledger::{
        Held, LogError, LogItem, LogReader, RecordsError, Stretch, SuspectRecords, TranslationCommit,
        TranslationRecords, WorkedEntry, WorkedKind,
    },
    model::{EntryNumber, EventNumber, Tenure, Timestamp},
    partners::Registry,
    translate::Bounds,
};

/// What stage 1 is made of.
pub struct TranslationParts {
    /// Where entries are read.
    pub log: Arc<dyn LogReader>,
    /// Where outcomes and domain events are committed.
    pub records: Arc<dyn TranslationRecords>,
    /// The memory of verdicts that processes share; without one the records alone answer.
    pub memory: Option<Arc<SharedMemory>>,
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
    /// Told the number of the last entry that asks for a link to be visited, after its commit: the stage that visits listens.
    pub links: watch::Sender<EntryNumber>,
}

/// Stage 1: identify, decide, translate, commit.
pub struct TranslationStage {
    pub(super) log: Arc<dyn LogReader>,
    pub(super) records: Arc<dyn TranslationRecords>,
    pub(super) threads: Threads,
    pub(super) terms: Terms,
    memory: Option<Arc<SharedMemory>>,
    registry: Arc<Registry>,
    clock: Arc<dyn Clock>,
    config: TranslationConfig,
    crash_note: Arc<Mutex<CrashNote>>,
    committed: watch::Sender<EventNumber>,
    links: watch::Sender<EntryNumber>,
    leases: HeldLeases,
    /// What processes that share the work know of deaths at it, and what of that concerns this one now.
    shared_note: Option<Arc<SharedNote>>,
    suspicion: Suspicion,
    /// Under which all below was read.
    tenure: Tenure,
    /// `None` until the records' cursors are read: at the start, after a commit that failed, and when other leases are held.
    positions: Option<Positions>,
    /// Since when others' entries were passed and that was not committed.
    passing: Option<Timestamp>,
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
            tenure: parts.records.tenure(),
            log: parts.log,
            records: parts.records,
            threads: Threads::start(config.threads)?,
            terms: Terms { namespace: parts.namespace.into(), bounds, max_items: config.max_items },
            memory: parts.memory,
            registry: parts.registry,
            clock: parts.clock,
            crash_note: Arc::new(Mutex::new(parts.crash_note)),
            committed: parts.committed,
            links: parts.links,
            leases: HeldLeases::default(),
            shared_note: None,
            suspicion: Suspicion::default(),
            positions: None,
            passing: None,
            limit: config.batch_entries,
            ahead: None,
            config,
        })
    }

    /// Shares the work with other processes: only endpoints that are held are worked, by leave of their epochs; and what killed
    /// another is tried with care.
    #[must_use]
    pub fn sharing(self, held: watch::Receiver<Arc<Held>>, suspects: Arc<dyn SuspectRecords>) -> Self {
        Self { leases: HeldLeases::told(held), shared_note: Some(SharedNote::new(suspects)), ..self }
    }

    /// Step 4: reads what follows for those whose turn it is, with the desks of this moment, unless it was read ahead.
    pub(super) async fn read(&mut self) -> Result<Option<Batch>, StageError> {
        self.take_up().await?;
        if let Some(batch) = self.ahead.take() {
            return Ok(Some(batch));
        }
        let snapshot = self.registry.snapshot();
        let Some(positions) = &mut self.positions else { return Ok(None) };
        let durable = self.log.durable();
        let group = positions.next_group(durable, |endpoint| snapshot.desk_of(endpoint).is_some());
        let Some(group) = group else {
            self.commit_passed().await?;
            return Ok(None);
        };
        let read = read_for(&*self.log, positions, &group, (self.limit, self.config.batch_bytes)).await?;
        Ok(sort(read, group, positions, &snapshot, self.limit))
    }

    /// Steps 4 and 5 of the batch after `place`, while that is committed: with a backlog both cost as much time. What
    /// cannot be read ahead is read when its turn comes, and fails then if it must.
    async fn read_ahead(&self, place: &Place) -> Option<Batch> {
        // If this ended the process, all the care with which the batch before was worked would have to be taken again.
        if self.is_watched(place) {
            return None;
        }
        let snapshot = self.registry.snapshot();
        let positions = self.positions.as_ref()?;
        let backlog = (self.log.durable(), self.limit);
        let has_desk = |endpoint: &_| snapshot.desk_of(endpoint).is_some();
        let group = positions.following((&place.group, &place.advance), backlog, has_desk)?;
        let bounds = (self.limit, self.config.batch_bytes);
        let read = read_for(&*self.log, positions, &group, bounds).await.ok()?;
        let batch = sort(read, group, positions, &snapshot, self.limit)?;
        // A replay request must find all before it committed.
        let Work::Deliveries(arrivals) = batch.work else { return None };
        let identified = match self.begin(&batch.place).ok()? {
            guard @ Guard::Together => self.identify(arrivals, &guard).await.ok(),
            Guard::Alone(_) | Guard::Watched(..) => None,
        };
        self.note().end().ok()?;
        Some(Batch { work: Work::ReadAhead(identified?), ..batch })
    }

    /// Notes that this batch is being worked, and tells how it must be contained.
    pub(super) fn begin(&self, place: &Place) -> Result<Guard, StageError> {
        let (first, last) = place.range();
        let mut note = self.note();
        note.begin(first, last).map_err(|error| cannot_note(&error))?;
        if let Some(watched) = self.watched(place) {
            return Ok(watched);
        }
        let suspects = note.suspects(first, last);
        Ok(if suspects { Guard::Alone(Arc::clone(&self.crash_note)) } else { Guard::Together })
    }

    /// Notes that nothing is being worked any more: what follows cannot be an event's doing.
    pub(super) async fn end(&self, guard: &Guard) -> Result<(), StageError> {
        self.note().end().map_err(|error| cannot_note(&error))?;
        if let Guard::Watched(note, ..) = guard {
            note.came_back().await?;
        }
        Ok(())
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
        decide_batch(&*self.records, self.memory.as_deref(), identified).await
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
        settled: Vec<WorkedEntry>,
    ) -> Result<Progress, StageError> {
        if !settled.is_empty() {
            entries.extend(settled);
            entries.sort_by_key(|entry| entry.number);
        }
        if entries.is_empty() && self.may_pass() {
            self.absolve(&place).await;
            if let Some(positions) = &mut self.positions {
                positions.advance(&place.group, place.advance);
            }
            return Ok(Progress::Worked);
        }
        let count = entries.len();
        let (outcome, ahead) = match <[WorkedEntry; 1]>::try_from(entries) {
            Ok([entry]) => (self.commit_alone(&place, entry).await, None),
            Err(entries) => tokio::join!(self.send(&place, entries), self.read_ahead(&place)),
        };
        match outcome {
            Ok(last_event) => {
                (self.ahead, self.passing) = (ahead, None);
                self.limit = self.limit.saturating_mul(2).min(self.config.batch_entries);
                self.absolve(&place).await;
                self.advance(place, last_event);
                Ok(Progress::Worked)
            }
            Err(RecordsError::Refused(why)) if count > 1 => {
                warn!(entries = count, why, "the records refuse a batch; it is halved");
                (self.positions, self.passing) = (None, None);
                self.limit = count / 2;
                Ok(Progress::Worked)
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// What was known of the cursors may be wrong now.
    fn failed(&mut self, error: RecordsError) -> StageError {
        (self.positions, self.passing) = (None, None);
        match error {
            RecordsError::Stale(why) if self.leases.are_kept() => {
                figures::fenced("translation");
                StageError::Fenced(why)
            }
            error => error.into(),
        }
    }

    async fn send(&self, place: &Place, entries: Vec<WorkedEntry>) -> Result<EventNumber, RecordsError> {
        let (counts, notices) = (figures::Counts::of(&entries), Notices::of(&entries));
        let made = self.memory.as_ref().map(|_| owners_made(&entries));
        let link = entries.iter().rfind(|entry| matches!(entry.kind, WorkedKind::Link(_)));
        let link = link.map(|entry| entry.number);
        let cursors = self
            .positions
            .as_ref()
            .map_or_else(Vec::new, |positions| positions.cursors(&place.group, &place.advance));
        let commit = TranslationCommit { now: self.clock.now(), entries, cursors, tenure: self.tenure };
        let last_event = self.records.commit(commit).await?;
        counts.tell();
        notices.tell();
        if let Some(link) = link {
            self.links.send_replace(link);
        }
        if let (Some(memory), Some(made)) = (&self.memory, made) {
            memory.tell(made).await;
        }
        Ok(last_event)
    }

    /// Mends the memory of verdicts, one step at a time beside the road; whether there may be more to mend.
    async fn mend_memory(&self) -> bool {
        match (&self.memory, &self.positions) {
            (Some(memory), Some(positions)) => memory.mend(positions.frontier()).await,
            _ => false,
        }
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
        let waiting = self.log.durable().0.saturating_sub(positions.worked_through().0);
        figures::translation_lag(waiting);
    }
}

/// What follows for a group.
async fn read_for(
    log: &dyn LogReader,
    positions: &Positions,
    group: &Group,
    (entries, bytes): (usize, usize),
) -> Result<Stretch, LogError> {
    if let Some(endpoints) = positions.read_for(group) {
        return log.read_for(endpoints, (group.after, group.until), entries, bytes).await;
    }
    let items = log.read_after(group.after, entries, bytes).await?;
    Ok(Stretch { through: items.last().map_or(group.after, LogItem::last), items })
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

    async fn woken(&mut self) {
        self.leases.changed().await;
    }

    async fn step(&mut self) -> Result<Progress, StageError> {
        let began = self.clock.now();
        let progress = translate_next(self).await?;
        if progress == Progress::Worked {
            figures::translated_in(self.clock.now().since(began));
        }
        Ok(if self.mend_memory().await { Progress::Worked } else { progress })
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
