//! Room `ledger`: which segments there are, and through which number they are fsynced. Shared by the one writer and the
//! readers of a process.

use std::{
    io,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    buffers::Buffers,
    index::{Index, Point},
    name::SegmentName,
    scan::Scan,
};
use crate::{
    ledger::log::{
        files::{Access, File, Files},
        format::{BATCH_HEADER, BLOCK, BatchHeader, HeaderFault, SegmentHeader},
    },
    model::{EntryNumber, Incarnation},
};

/// One segment file.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) name: SegmentName,
    pub(super) index: Index,
    header: OnceLock<Result<SegmentHeader, HeaderFault>>,
    /// The writer's handle, while it writes here.
    live: RwLock<Option<Arc<dyn File>>>,
    /// Through which byte batches are fsynced; all of the file once the writer has left it.
    readable: AtomicU64,
}

impl Segment {
    /// A segment nobody writes to.
    pub(super) fn sealed(name: SegmentName) -> Arc<Self> {
        Arc::new(Self {
            name,
            index: Index::default(),
            header: OnceLock::new(),
            live: RwLock::default(),
            readable: AtomicU64::new(u64::MAX),
        })
    }

    /// The segment being written, fsynced through byte `end`.
    pub(super) fn live(name: SegmentName, header: SegmentHeader, file: Arc<dyn File>, end: u64) -> Arc<Self> {
        Arc::new(Self {
            name,
            index: Index::default(),
            header: OnceLock::from(Ok(header)),
            live: RwLock::new(Some(file)),
            readable: AtomicU64::new(end),
        })
    }

    /// Lets readers see the bytes through `end`. Called when they are fsynced, never before.
    pub(super) fn publish(&self, end: u64) {
        self.readable.store(end, Ordering::Release);
    }

    /// The writer leaves: readers open the file themselves from now on.
    pub(super) fn seal(&self) {
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = None;
        self.readable.store(u64::MAX, Ordering::Release);
    }

    /// Its header; a damaged one is logged when it is first met.
    pub(super) fn header(&self, files: &dyn Files) -> io::Result<Result<SegmentHeader, HeaderFault>> {
        if let Some(header) = self.header.get() {
            return Ok(*header);
        }
        self.read_header(&*self.file(files)?)
    }

    fn read_header(&self, file: &dyn File) -> io::Result<Result<SegmentHeader, HeaderFault>> {
        if let Some(header) = self.header.get() {
            return Ok(*header);
        }
        let mut block = vec![0; BLOCK];
        let read = file.read_at(&mut block, 0)?;
        let header = SegmentHeader::decode(&block[..read]);
        if let Err(fault) = header {
            tracing::warn!(segment = %self.name, %fault, "a segment's header cannot be used");
        }
        Ok(*self.header.get_or_init(|| header))
    }

    /// Starts reading at the nearest known batch at or before `number`, `chunk` bytes at a time.
    pub(super) fn scan(&self, catalog: &Catalog, number: EntryNumber, chunk: usize) -> io::Result<Scan<'_>> {
        let file = self.file(&*catalog.files)?;
        let salt = self.salt(&*file, catalog.incarnation)?;
        let start = Point { number: self.name.first, offset: BLOCK as u64 };
        let from = self.index.before(number).unwrap_or(start);
        let readable = self.readable.load(Ordering::Acquire);
        let scan = Scan::new(file, salt, from, chunk)?.reading_into(&catalog.buffers);
        Ok(scan.through(readable).noting(&self.index))
    }

    /// The salt of its batches. When the header is lost the first batch names it; when that is lost too, any may.
    pub(super) fn salt(&self, file: &dyn File, ledger: Option<Incarnation>) -> io::Result<Option<u64>> {
        match self.read_header(file)? {
            Ok(header) if ledger.is_some_and(|ledger| ledger != header.incarnation) => {
                Err(io::Error::other("the segment belongs to another ledger"))
            }
            Ok(header) => Ok(Some(header.salt)),
            Err(HeaderFault::Version(version)) => Err(io::Error::other(HeaderFault::Version(version))),
            Err(HeaderFault::Damaged) => {
                let mut bytes = [0; BATCH_HEADER];
                file.read_at(&mut bytes, BLOCK as u64)?;
                let batch = BatchHeader::decode(&bytes).filter(|batch| batch.first == self.name.first);
                Ok(batch.map(|batch| batch.salt))
            }
        }
    }

    /// The writer's handle while there is one, else a new one.
    pub(super) fn file(&self, files: &dyn Files) -> io::Result<Arc<dyn File>> {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner).clone();
        live.map_or_else(|| files.open(&self.name.to_string(), Access::Read), Ok)
    }
}

/// The segments of a log, oldest first, and how far they are fsynced.
#[derive(Debug)]
pub(super) struct Catalog {
    pub(super) files: Arc<dyn Files>,
    pub(super) incarnation: Option<Incarnation>,
    pub(super) read_only: bool,
    /// What readers read into.
    pub(super) buffers: Arc<Buffers>,
    segments: RwLock<Vec<Arc<Segment>>>,
    durable: AtomicU64,
}

impl Catalog {
    /// Knows `segments` (oldest first, none of them superseded), fsynced through `durable`.
    pub(super) fn new(
        files: Arc<dyn Files>,
        incarnation: Option<Incarnation>,
        segments: Vec<Arc<Segment>>,
        durable: EntryNumber,
    ) -> Self {
        let durable = AtomicU64::new(durable.0);
        let (segments, buffers) = (RwLock::new(segments), Arc::default());
        Self { files, incarnation, read_only: false, buffers, segments, durable }
    }

    /// The same, for a process that may not change anything.
    pub(super) fn read_only(self) -> Self {
        Self { read_only: true, ..self }
    }

    /// The highest number that is fsynced.
    pub(super) fn durable(&self) -> EntryNumber {
        EntryNumber(self.durable.load(Ordering::Acquire))
    }

    /// Lets readers see the numbers through `last`. Called when they are fsynced, never before.
    pub(super) fn publish(&self, last: EntryNumber) {
        self.durable.store(last.0, Ordering::Release);
    }

    /// The first number still there.
    pub(super) fn first(&self) -> EntryNumber {
        self.list(|segments| segments.first().map_or(EntryNumber(1), |segment| segment.name.first))
    }

    /// The segment a number stands in, and the last number that may stand there; the last segment has no such end.
    pub(super) fn find(&self, number: EntryNumber) -> Option<(Arc<Segment>, EntryNumber)> {
        self.list(|segments| {
            let at = segments.partition_point(|segment| segment.name.first <= number).checked_sub(1)?;
            let end = segments.get(at + 1).map_or(u64::MAX, |next| next.name.first.0 - 1);
            Some((Arc::clone(segments.get(at)?), EntryNumber(end)))
        })
    }

    /// Every segment, oldest first.
    pub(super) fn all(&self) -> Vec<Arc<Segment>> {
        self.list(<[_]>::to_vec)
    }

    /// Adds the new last segment.
    pub(super) fn push(&self, segment: Arc<Segment>) {
        self.segments.write().unwrap_or_else(PoisonError::into_inner).push(segment);
    }

    /// Forgets a segment whose file is gone.
    pub(super) fn forget(&self, name: SegmentName) {
        self.segments.write().unwrap_or_else(PoisonError::into_inner).retain(|segment| segment.name != name);
    }

    fn list<T>(&self, ask: impl FnOnce(&[Arc<Segment>]) -> T) -> T {
        ask(&self.segments.read().unwrap_or_else(PoisonError::into_inner))
    }
}
