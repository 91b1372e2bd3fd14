//! One seed: a log lives through several lives, each ended by a kill or a power loss wherever it happens to be, and is
//! looked at whole after each.

use std::{
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use douane::{
    ledger::{
        AppendError, Appended, EncodedEntry, IntakeLog, LogItem, LogReader,
        log::{
            format::{BLOCK, BatchHeader},
            segments::{OpenError, SegmentLog, SegmentOptions, SegmentReader, open},
        },
    },
    model::{
        Assurance, DeliveryId, DeliveryMeta, EndpointName, EntryMeta, EntryNumber, Headers, Incarnation,
        NewEntry, Timestamp,
    },
};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use uuid::Uuid;

use super::{
    disk::{Death, Faults, SimDisk},
    model::Model,
};

const INCARNATION: Incarnation = Incarnation(Uuid::from_u128(0xD0_0A_4E));
/// Small, so that a life sees several segments.
const SEGMENT_BYTES: u64 = 64 * 1024;
const MIN_FREE_BYTES: u64 = 1_000_000;

/// Lives through the history of a seed; panics when a promise is broken.
pub(super) fn live_through(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..world.rng.random_range(2..6) {
        world.live();
        let death = world.pick_death();
        world.disk.restart(death);
        world.decay();
    }
    world.disk.set_faults(Faults::default());
    let (_, reader) = world.try_open().expect("a disk without faults can be opened");
    world.model.lock().expect("never poisoned").recovered(&reader);
}

struct World {
    rng: SmallRng,
    disk: SimDisk,
    model: Arc<Mutex<Model>>,
    now: Timestamp,
    /// What some reader has worked through.
    cursor: EntryNumber,
    bodies: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            rng: SmallRng::seed_from_u64(seed),
            disk: SimDisk::new(seed ^ 0x5EED),
            model: Arc::new(Mutex::new(Model::new())),
            now: Timestamp::from_micros(1_800_000_000_000_000),
            cursor: EntryNumber(0),
            bodies: 0,
        }
    }

    /// From one start to one end.
    fn live(&mut self) {
        let (mut log, reader) = self.open();
        self.look_before_every_sync(&reader);
        let (operations, death) = (self.rng.random_range(0..80), self.pick_death());
        if self.rng.random_range(0..4) > 0 {
            self.disk.die_after(operations, death);
        }
        for _ in 0..self.rng.random_range(1..30) {
            self.step(&mut log, &reader);
        }
        self.disk.before_sync(None);
    }

    /// Opens the log; the end may come while it is being recovered, more than once.
    fn open(&mut self) -> (SegmentLog, SegmentReader) {
        for _ in 0..self.rng.random_range(0..3) {
            let (operations, death) = (self.rng.random_range(0..12), self.pick_death());
            let faults = self.faults();
            self.disk.set_faults(faults);
            self.disk.die_after(operations, death);
            let _ = self.try_open();
            self.disk.restart(death);
        }
        self.disk.set_faults(Faults::default());
        let opened = self.try_open().expect("a disk without faults can be opened");
        self.model.lock().expect("never poisoned").recovered(&opened.1);
        let faults = self.faults();
        self.disk.set_faults(faults);
        opened
    }

    fn try_open(&self) -> Result<(SegmentLog, SegmentReader), OpenError> {
        let options = SegmentOptions {
            incarnation: INCARNATION,
            cursor: self.cursor,
            segment_bytes: SEGMENT_BYTES,
            min_free_bytes: MIN_FREE_BYTES,
            free_space_poll: Duration::from_secs(1),
        };
        open(Arc::new(self.disk.clone()), options)
    }

    /// One thing that happens.
    fn step(&mut self, log: &mut SegmentLog, reader: &SegmentReader) {
        self.pass_time();
        match self.rng.random_range(0..20) {
            0..15 => self.append(log),
            15 => self.disk.set_free_bytes(if self.rng.random() { u64::MAX } else { MIN_FREE_BYTES - 1 }),
            16 => self.prune(reader),
            _ => self.read(reader),
        }
    }

    /// Mostly forward; clocks are also set back.
    fn pass_time(&mut self) {
        let by = Duration::from_millis(self.rng.random_range(0..3_000));
        self.now = if self.rng.random_range(0..10) == 0 { self.now.minus(by) } else { self.now.plus(by) };
    }

    fn append(&mut self, log: &mut SegmentLog) {
        let batch: Vec<_> = (0..self.rng.random_range(1..6)).map(|_| self.entry()).collect();
        let encoded: Vec<_> =
            batch.iter().cloned().map(|entry| EncodedEntry::try_from(entry).expect("encodes")).collect();
        let outcome = at_once(log, self.now, &encoded);
        let mut model = self.model.lock().expect("never poisoned");
        match outcome {
            Ok(Appended { first, received_at }) => model.acked(first, received_at, &batch),
            Err(AppendError::Unknown(_)) => model.doubted(batch),
            Err(_) => {}
        }
    }

    /// No two are alike, so that one can never be taken for another.
    fn entry(&mut self) -> NewEntry {
        self.bodies += 1;
        let most = if self.rng.random_range(0..10) == 0 { 2_500 } else { 400 };
        let body = self.bodies.to_be_bytes().repeat(self.rng.random_range(1..most));
        let mut headers = Headers::default();
        headers.push("X-Count", self.bodies.to_string());
        let meta = EntryMeta::Delivery(DeliveryMeta {
            id: DeliveryId(Uuid::from_u128(u128::from(self.bodies))),
            endpoint: EndpointName::new("acme", "default"),
            method: "POST".to_owned(),
            target: "/in/acme".to_owned(),
            version: "HTTP/1.1".to_owned(),
            headers,
            assurance: Assurance::Full,
            secret_id: None,
        });
        NewEntry { meta, body: Bytes::from(body) }
    }

    /// A reader works through some of the log, and its cursor is believed from then on.
    fn read(&mut self, reader: &SegmentReader) {
        let after = self.cursor.max(EntryNumber(reader.first().0 - 1));
        let most = self.rng.random_range(1..10);
        let Ok(items) = reader.read_after_blocking(after, most, usize::MAX) else { return };
        let model = self.model.lock().expect("never poisoned");
        model.served(after, &items);
        if let Some(last) = items.last() {
            self.cursor = match last {
                LogItem::Entry(entry) => entry.number,
                LogItem::Damaged { last, .. } => *last,
            };
        }
    }

    /// Retention drops what a reader has worked through and is old enough.
    fn prune(&mut self, reader: &SegmentReader) {
        let before = self.now.minus(Duration::from_secs(self.rng.random_range(0..10)));
        let mut model = self.model.lock().expect("never poisoned");
        model.may_start_at = model.may_start_at.max(self.cursor.0 + 1);
        if let Ok(first) = reader.prune_blocking(before, self.cursor) {
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
        let mut claimed = claimed_batches(&self.disk, self.cursor);
        if claimed.is_empty() {
            return;
        }
        let (name, offset, header) = claimed.swap_remove(self.rng.random_range(0..claimed.len()));
        let bits = usize::try_from(header.size()).expect("fits") * 8;
        self.disk.rot(&name, offset * 8 + self.rng.random_range(0..bits));
        self.model.lock().expect("never poisoned").rotted(header.first.0..=header.last().0);
    }

    fn faults(&mut self) -> Faults {
        let mut one_in = || if self.rng.random() { 0 } else { self.rng.random_range(4..40) };
        Faults { write: one_in(), sync: one_in() * 3, read: one_in(), other: one_in() }
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
