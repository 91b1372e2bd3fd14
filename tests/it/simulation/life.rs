//! One seed: a gateway lives through several lives, each ended by a kill or a power loss wherever it happens to be (also
//! between the reading of a batch and its commit), and its ledger is looked at whole after each.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
    time::Duration,
};

use douane::{
    ledger::{
        AppendError, Appended, EncodedEntry, IntakeLog, LogReader,
        log::{
            format::{BLOCK, BatchHeader},
            segments::{SegmentLog, SegmentReader},
        },
    },
    model::{EntryNumber, Incarnation, Timestamp},
    pipeline::TranslationStage,
};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use uuid::Uuid;

use super::{
    books::Books,
    disk::{Death, Faults, SimDisk},
    model::Model,
    partner::Partner,
    process::{MIN_FREE_BYTES, Shared, Watched},
    records::SimRecords,
};
use crate::conformance::records_double::RecordsDouble;

const INCARNATION: Incarnation = Incarnation(Uuid::from_u128(0xD0_0A_4E));
/// The crash note of the lives that happen, and of those that are only thought through.
const NOTE: &str = "translating.note";
const OTHER_NOTE: &str = "thought.note";

/// Lives through the history of a seed; panics when a promise is broken.
pub(super) fn live_through(seed: u64, shared: &Shared) {
    shared.lose_note(NOTE);
    let mut world = World::new(seed, shared);
    for _ in 0..world.rng.random_range(3..7) {
        world.live();
        let death = world.pick_death();
        world.die(death);
        world.decay();
    }
    let mut process = world.start();
    world.come_to_rest(&mut process);
}

struct World<'a> {
    shared: &'a Shared,
    rng: SmallRng,
    disk: SimDisk,
    records: Arc<RecordsDouble>,
    model: Arc<Mutex<Model>>,
    partner: Partner,
    now: Timestamp,
}

/// What ends with a life.
struct Process {
    log: SegmentLog,
    reader: SegmentReader,
    records: Arc<SimRecords>,
    stage: TranslationStage,
}

impl<'a> World<'a> {
    fn new(seed: u64, shared: &'a Shared) -> Self {
        Self {
            shared,
            rng: SmallRng::seed_from_u64(seed),
            disk: SimDisk::new(seed ^ 0x5EED),
            records: Arc::new(RecordsDouble::new(INCARNATION)),
            model: Arc::new(Mutex::new(Model::new())),
            partner: Partner::default(),
            now: Timestamp::from_micros(1_800_000_000_000_000),
        }
    }

    /// From one start to one end.
    fn live(&mut self) {
        for _ in 0..self.rng.random_range(0..3) {
            self.fail_to_start();
        }
        let mut process = self.start();
        let faults = self.faults();
        self.disk.set_faults(faults);
        self.look_before_every_sync(&process.reader);
        let (operations, death) = (self.rng.random_range(0..60), self.pick_death());
        if self.rng.random_range(0..4) > 0 {
            self.disk.die_after(operations, death);
        }
        // Some lives are over before they have begun anything that would hide what the last one left.
        let steps = if self.rng.random_range(0..3) == 0 { 2 } else { self.rng.random_range(1..40) };
        for _ in 0..steps {
            self.step(&mut process);
            if !self.disk.is_up() {
                break;
            }
        }
        self.disk.before_sync(None);
        if self.rng.random_range(0..3) == 0 {
            self.come_to_rest(&mut process);
        }
    }

    /// The end comes while the log is being recovered, or the disk does not let it.
    fn fail_to_start(&mut self) {
        let (operations, death) = (self.rng.random_range(0..12), self.pick_death());
        let faults = self.faults();
        self.disk.set_faults(faults);
        self.disk.die_after(operations, death);
        let _ = self.shared.open_log(&self.disk, &self.records);
        self.die(death);
    }

    /// Starts on a disk without faults, and looks at everything there is.
    fn start(&mut self) -> Process {
        self.disk.set_faults(Faults::default());
        let opened = self.shared.open_log(&self.disk, &self.records);
        let (log, reader) = opened.expect("a disk without faults can be opened");
        self.model().recovered(&reader);
        if !self.look_at_the_books(&self.records, &reader).are_complete(reader.durable()) {
            self.think_through(&reader);
        }
        let fails_one_in = if self.rng.random() { 0 } else { self.rng.random_range(2..8) };
        let rng = SmallRng::seed_from_u64(self.rng.random());
        let double = Arc::clone(&self.records);
        let records = Arc::new(SimRecords::new(double, self.disk.clone(), rng, fails_one_in));
        let (watched, batch_entries) = (self.watched(&reader), self.rng.random_range(1..12));
        let stage = self.shared.stage(watched, Arc::clone(&records) as _, NOTE, batch_entries);
        Process { log, reader, records, stage }
    }

    /// If nothing went wrong from here on, everything that was acked would be worked, once. Thought through on a copy, so
    /// that what waits may still wait when the next end comes.
    fn think_through(&self, reader: &SegmentReader) {
        let copy = Arc::new(self.records.copy());
        self.shared.lose_note(OTHER_NOTE);
        let watched = self.watched(reader);
        let mut stage = self.shared.stage(watched, Arc::clone(&copy) as _, OTHER_NOTE, 1_024);
        self.shared.work_to_idle(&mut stage).expect("nothing fails now");
        let books = self.look_at_the_books(&copy, reader);
        assert!(books.are_complete(reader.durable()), "all that is in the log is worked");
    }

    /// When nothing fails any more, a process that still lives has everything worked without being started again.
    fn come_to_rest(&self, process: &mut Process) {
        self.disk.set_faults(Faults::default());
        process.records.never_fail();
        let rested = self.shared.work_to_idle(&mut process.stage);
        if self.disk.is_up() {
            rested.expect("nothing fails now");
            let books = self.look_at_the_books(&self.records, &process.reader);
            assert!(books.are_complete(process.reader.durable()), "all that is in the log is worked");
        }
    }

    /// The end, of whichever kind came first. A power loss may take the crash note along.
    fn die(&mut self, death: Death) {
        if self.disk.restart(death) == Death::Power && self.rng.random() {
            self.shared.lose_note(NOTE);
        }
    }

    fn look_at_the_books(&self, records: &RecordsDouble, reader: &SegmentReader) -> Books {
        let books = self.shared.runtime.block_on(Books::of(records));
        books.agree(&self.model(), &self.partner, reader.durable());
        books
    }

    fn watched(&self, reader: &SegmentReader) -> Watched {
        Watched { reader: reader.clone(), model: Arc::clone(&self.model) }
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().expect("never poisoned")
    }

    /// One thing that happens.
    fn step(&mut self, process: &mut Process) {
        self.pass_time();
        match self.rng.random_range(0..20) {
            0..11 => self.append(&mut process.log),
            11 => self.disk.set_free_bytes(if self.rng.random() { u64::MAX } else { MIN_FREE_BYTES - 1 }),
            12 => self.prune(&process.reader),
            13 => self.read(&process.reader),
            _ => self.work(&mut process.stage),
        }
    }

    /// Mostly forward; clocks are also set back.
    fn pass_time(&mut self) {
        let by = Duration::from_millis(self.rng.random_range(0..3_000));
        self.now = if self.rng.random_range(0..10) == 0 { self.now.minus(by) } else { self.now.plus(by) };
        self.shared.clock.set(self.now);
    }

    fn append(&mut self, log: &mut SegmentLog) {
        let count = self.rng.random_range(1..6);
        let batch: Vec<_> = (0..count).map(|_| self.partner.request(&mut self.rng)).collect();
        let encoded: Vec<_> =
            batch.iter().cloned().map(|entry| EncodedEntry::try_from(entry).expect("encodes")).collect();
        let outcome = at_once(log, self.now, &encoded);
        match outcome {
            Ok(Appended { first, received_at }) => self.model().acked(first, received_at, &batch),
            Err(AppendError::Unknown(_)) => self.model().doubted(batch),
            Err(_) => {}
        }
    }

    /// Stage 1 works a batch or a few. What fails for now is tried again, as the one loop that waits does. Often enough the
    /// end comes in the middle.
    fn work(&mut self, stage: &mut TranslationStage) {
        if self.rng.random_range(0..10) == 0 {
            let (operations, death) = (self.rng.random_range(0..4), self.pick_death());
            self.disk.die_after(operations, death);
        }
        for _ in 0..self.rng.random_range(1..4) {
            let _ = self.shared.step(stage);
        }
    }

    /// Somebody reads some of the log, from anywhere on.
    fn read(&mut self, reader: &SegmentReader) {
        let after = EntryNumber(self.rng.random_range(reader.first().0 - 1..=reader.durable().0));
        let Ok(items) = reader.read_after_blocking(after, self.rng.random_range(1..10), usize::MAX) else {
            return;
        };
        self.model().served(after, &items);
    }

    /// Retention drops what has been worked and is old enough.
    fn prune(&mut self, reader: &SegmentReader) {
        let before = self.now.minus(Duration::from_secs(self.rng.random_range(0..10)));
        let through = self.shared.lowest_cursor(&self.records);
        let mut model = self.model();
        model.may_start_at = model.may_start_at.max(through.0 + 1);
        if let Ok(first) = reader.prune_blocking(before, through) {
            model.starts_at = first.0;
        }
    }

    /// While a batch is written and not fsynced, no reader may see it. What was served before is looked at after a
    /// restart; here the last few entries are enough.
    fn look_before_every_sync(&self, reader: &SegmentReader) {
        let (reader, model) = (reader.clone(), Arc::clone(&self.model));
        self.disk.before_sync(Some(Arc::new(move || {
            let model = model.lock().expect("never poisoned");
            let after = EntryNumber(model.last().saturating_sub(2).max(reader.first().0 - 1));
            if let Ok(items) = reader.read_after_blocking(after, usize::MAX, usize::MAX) {
                model.served(after, &items);
            }
        })));
    }

    /// Sometimes a bit flips in a batch that is known to have been fsynced.
    fn decay(&mut self) {
        if self.rng.random_range(0..6) > 0 {
            return;
        }
        let cursor = self.shared.highest_cursor(&self.records);
        let mut claimed = claimed_batches(&self.disk, cursor);
        if claimed.is_empty() {
            return;
        }
        let (name, offset, header) = claimed.swap_remove(self.rng.random_range(0..claimed.len()));
        let bits = usize::try_from(header.size()).expect("fits") * 8;
        self.disk.rot(&name, offset * 8 + self.rng.random_range(0..bits));
        self.model().rotted(header.first.0..=header.last().0);
    }

    fn faults(&mut self) -> Faults {
        let mut one_in = || if self.rng.random() { 0 } else { self.rng.random_range(4..40) };
        Faults { write: one_in(), sync: one_in(), read: one_in(), other: one_in() }
    }

    fn pick_death(&mut self) -> Death {
        if self.rng.random() { Death::Process } else { Death::Power }
    }
}

/// The batches that a later batch, a later segment or the cursor claims as fsynced: file, first byte, header.
fn claimed_batches(disk: &SimDisk, cursor: EntryNumber) -> Vec<(String, usize, BatchHeader)> {
    let mut batches = Vec::new();
    for (name, bytes) in disk.on_disk().into_iter().filter(|(name, _)| name.ends_with(".segment")) {
        let blocks = bytes.chunks(BLOCK).enumerate();
        let headers = blocks.filter_map(|(at, block)| Some((at * BLOCK, BatchHeader::decode(block)?)));
        batches.extend(headers.map(|(offset, header)| (name.clone(), offset, header)));
    }
    let claimed = batches.iter().map(|(_, _, header)| header.durable).max().unwrap_or_default().max(cursor);
    batches.retain(|(_, _, header)| header.last() <= claimed);
    batches
}

/// A segment log never waits, so its appends are done when they are first polled.
fn at_once(log: &mut SegmentLog, now: Timestamp, entries: &[EncodedEntry]) -> Result<Appended, AppendError> {
    match log.append(now, entries).as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => panic!("a segment log does not wait"),
    }
}
