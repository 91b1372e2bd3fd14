//! One life of the program, as far as the road goes from the log to the records: put together as `app` does it, on the
//! simulated disk. It ends when it is dropped.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use douane::{
    clock::ManualClock,
    config::TranslationConfig,
    ledger::{
        InspectRecords, LogError, LogItem, LogReader, TranslationRecords,
        log::segments::{OpenError, SegmentLog, SegmentOptions, SegmentReader, open},
    },
    model::{EntryNumber, EventNumber, Timestamp},
    partners::Registry,
    pipeline::{CrashNote, Progress, Stage, StageError, TranslationParts, TranslationStage},
};
use tokio::{runtime::Runtime, sync::watch};

use super::{disk::SimDisk, model::Model, partner};
use crate::conformance::records_double::RecordsDouble;

/// Small, so that a life sees several segments.
const SEGMENT_BYTES: u64 = 64 * 1024;
/// Below so many free bytes nothing is appended.
pub(super) const MIN_FREE_BYTES: u64 = 1_000_000;
/// More steps than any simulated log takes when nothing fails.
const MANY_STEPS: usize = 2_000;

/// What all lives of all seeds share, because it costs much to make: the compiled desk, a runtime, a folder for crash
/// notes; and a clock, which each seed sets.
pub(super) struct Shared {
    registry: Arc<Registry>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) runtime: Runtime,
    folder: tempfile::TempDir,
}

impl Shared {
    pub(super) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        Self {
            registry: Arc::new(partner::registry()),
            clock: Arc::new(ManualClock::at(Timestamp::default())),
            runtime: runtime.expect("a runtime"),
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    /// The highest cursor, which the log is opened with.
    pub(super) fn highest_cursor(&self, records: &RecordsDouble) -> EntryNumber {
        self.cursors(records).max().unwrap_or_default()
    }

    /// The lowest cursor, which retention never passes.
    pub(super) fn lowest_cursor(&self, records: &RecordsDouble) -> EntryNumber {
        self.cursors(records).min().unwrap_or_default()
    }

    fn cursors(&self, records: &RecordsDouble) -> impl Iterator<Item = EntryNumber> {
        let cursors = self.runtime.block_on(records.cursors()).expect("the double answers");
        cursors.into_iter().map(|(_, through)| through)
    }

    /// Opens the log as the records know it.
    pub(super) fn open_log(
        &self,
        disk: &SimDisk,
        records: &RecordsDouble,
    ) -> Result<(SegmentLog, SegmentReader), OpenError> {
        let options = SegmentOptions {
            incarnation: records.incarnation(),
            cursor: self.highest_cursor(records),
            segment_bytes: SEGMENT_BYTES,
            min_free_bytes: MIN_FREE_BYTES,
            free_space_poll: Duration::from_secs(1),
        };
        open(Arc::new(disk.clone()), options)
    }

    /// Stage 1, over what it is given; the note tells it how the last one ended.
    pub(super) fn stage(
        &self,
        reader: Watched,
        records: Arc<dyn TranslationRecords>,
        note: &str,
        batch_entries: usize,
    ) -> TranslationStage {
        TranslationStage::new(TranslationParts {
            log: Arc::new(reader),
            records,
            memory: None,
            registry: Arc::clone(&self.registry),
            clock: Arc::clone(&self.clock) as _,
            config: TranslationConfig { threads: 1, batch_entries, ..TranslationConfig::default() },
            namespace: "com.example".to_owned(),
            links: tokio::sync::watch::Sender::default(),
            crash_note: CrashNote::open(&self.note(note)).expect("the note"),
            committed: watch::channel(EventNumber(0)).0,
        })
        .expect("a thread")
    }

    /// A note that never was: a power loss takes it along, and every seed begins without one.
    pub(super) fn lose_note(&self, name: &str) {
        let _ = std::fs::remove_file(self.note(name));
    }

    fn note(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// One step of stage 1. Only the outside world may fail: nothing here may ever ask the process to stop.
    pub(super) fn step(&self, stage: &mut TranslationStage) -> Result<Progress, StageError> {
        let progress = self.runtime.block_on(stage.step());
        assert!(!matches!(progress, Err(StageError::Fatal(_))), "{progress:?}");
        progress
    }

    /// Steps stage 1 until there is nothing left to do, or until the first failure.
    pub(super) fn work_to_idle(&self, stage: &mut TranslationStage) -> Result<(), StageError> {
        for _ in 0..MANY_STEPS {
            if self.step(stage)? == Progress::Idle {
                return Ok(());
            }
        }
        panic!("stage 1 never comes to rest");
    }
}

/// The reader as stage 1 has it: whatever it is served is looked at.
pub(super) struct Watched {
    pub(super) reader: SegmentReader,
    pub(super) model: Arc<Mutex<Model>>,
}

#[async_trait]
impl LogReader for Watched {
    fn durable(&self) -> EntryNumber {
        self.reader.durable()
    }

    fn first(&self) -> EntryNumber {
        self.reader.first()
    }

    async fn read_after(
        &self,
        after: EntryNumber,
        max_entries: usize,
        max_bytes: usize,
    ) -> Result<Vec<LogItem>, LogError> {
        let items = self.reader.read_after(after, max_entries, max_bytes).await?;
        self.model.lock().expect("never poisoned").served(after, &items);
        Ok(items)
    }

    async fn entry(&self, number: EntryNumber) -> Result<Option<LogItem>, LogError> {
        self.reader.entry(number).await
    }

    async fn scrub(
        &self,
        after: EntryNumber,
        max_bytes: usize,
    ) -> Result<(Vec<LogItem>, EntryNumber), LogError> {
        self.reader.scrub(after, max_bytes).await
    }

    async fn frame(&self) -> Result<Vec<String>, LogError> {
        self.reader.frame().await
    }

    async fn prunable(&self, before: Timestamp, through: EntryNumber) -> Result<EntryNumber, LogError> {
        self.reader.prunable(before, through).await
    }

    async fn prune(&self, before: Timestamp, through: EntryNumber) -> Result<EntryNumber, LogError> {
        self.reader.prune(before, through).await
    }
}
