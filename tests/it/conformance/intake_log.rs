//! What every intake log promises, whatever it is made of.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use douane::{
    clock::ManualClock,
    ledger::{
        AppendError, EncodedEntry, IntakeLog, LogError, LogItem, LogReader,
        group_commit::{GroupCommit, GroupCommitLimits},
        log::{
            files::OsFolder,
            postgres,
            segments::{SegmentOptions, open},
        },
        postgres::migrate,
    },
    model::{
        Assurance, DeliveryId, DeliveryMeta, EndpointName, Entry, EntryMeta, EntryNumber, EventRef, Headers,
        Incarnation, NewEntry, ReplayMeta, Timestamp,
    },
};
use uuid::Uuid;

use crate::servers::postgres::Postgres;

/// A log under test: the same one each time it is opened, as after a restart.
pub(crate) trait LogUnderTest {
    /// Opens it; storage units are as small as it can make them, so that pruning has something to drop.
    async fn open(&self) -> (Box<dyn IntakeLog>, Arc<dyn LogReader>);
}

/// Everything that must hold. `fresh` makes an empty log.
pub(crate) async fn conforms<L: LogUnderTest>(fresh: impl Fn() -> L) {
    an_empty_log_is_empty(&fresh()).await;
    what_goes_in_comes_out(&fresh()).await;
    numbers_go_on_after_a_restart(&fresh()).await;
    time_never_decreases(&fresh()).await;
    a_page_has_bounds(&fresh()).await;
    whose_entries_are_read_can_be_said(&fresh()).await;
    a_large_body_fills_a_page_of_its_endpoint_alone(&fresh()).await;
    any_entry_can_be_looked_up(&fresh()).await;
    a_sound_log_scrubs_clean(&fresh()).await;
    pruning_drops_only_what_may_go(&fresh()).await;
    requests_share_batches_and_keep_their_own_numbers(&fresh()).await;
}

async fn an_empty_log_is_empty(under_test: &impl LogUnderTest) {
    let (_, reader) = under_test.open().await;
    assert_eq!((reader.first(), reader.durable()), (EntryNumber(1), EntryNumber(0)));
    assert!(reader.read_after(EntryNumber(0), 10, 1_000).await.expect("read").is_empty());
    assert!(reader.entry(EntryNumber(1)).await.expect("read").is_none());
    assert_eq!(reader.scrub(EntryNumber(0), 1_000).await.expect("read").1, EntryNumber(0));
}

async fn what_goes_in_comes_out(under_test: &impl LogUnderTest) {
    let (mut log, reader) = under_test.open().await;
    let mut odd = delivery(1, b"\x00\xFFraw\r\n\r\n");
    if let EntryMeta::Delivery(meta) = &mut odd.meta {
        meta.headers.push("X-Twice", "a");
        meta.headers.push("X-Twice", "b");
        meta.headers.push("X-Latin", &b"caf\xE9"[..]);
        meta.secret_id = Some("2026-11".to_owned());
    }
    let given = [odd, delivery(2, b""), large(3, 7, 100_000), replay()];
    let appended = append(&mut *log, at(5), &given).await;
    assert_eq!((appended.first, appended.received_at), (EntryNumber(1), at(5)));
    assert_eq!(reader.durable(), EntryNumber(4), "acked means readable");
    let read = entries(&*reader, EntryNumber(0)).await;
    assert_eq!(read.len(), given.len());
    for ((number, given), read) in (1..).zip(given).zip(read) {
        assert_eq!((read.number, read.received_at), (EntryNumber(number), at(5)));
        assert_eq!((read.meta, read.body), (given.meta, given.body));
    }
}

async fn numbers_go_on_after_a_restart(under_test: &impl LogUnderTest) {
    for life in 0..4 {
        let (mut log, reader) = under_test.open().await;
        assert_eq!(reader.durable(), EntryNumber(life * 2));
        let pair = [delivery(life, b"first"), delivery(life, b"second")];
        assert_eq!(append(&mut *log, at(0), &pair).await.first, EntryNumber(life * 2 + 1));
    }
    let (_, reader) = under_test.open().await;
    let read = entries(&*reader, EntryNumber(0)).await;
    assert_eq!(read.iter().map(|entry| entry.number.0).collect::<Vec<_>>(), (1..=8).collect::<Vec<_>>());
    assert_eq!(read[7].body, &b"second"[..]);
}

async fn time_never_decreases(under_test: &impl LogUnderTest) {
    let (mut log, _) = under_test.open().await;
    assert_eq!(append(&mut *log, at(50), &[delivery(1, b"")]).await.received_at, at(50));
    assert_eq!(append(&mut *log, at(40), &[delivery(2, b"")]).await.received_at, at(50));
    drop(log);
    let (mut log, _) = under_test.open().await;
    assert_eq!(append(&mut *log, at(30), &[delivery(3, b"")]).await.received_at, at(50));
    drop(log);
    drop(under_test.open().await);
    let (mut log, _) = under_test.open().await;
    assert_eq!(append(&mut *log, at(20), &[delivery(4, b"")]).await.received_at, at(50));
    assert_eq!(append(&mut *log, at(60), &[delivery(5, b"")]).await.received_at, at(60));
}

async fn a_page_has_bounds(under_test: &impl LogUnderTest) {
    let (mut log, reader) = under_test.open().await;
    for batch in 0..5 {
        append(&mut *log, at(batch), &[large(0, 1, 9_000), delivery(1, b"x"), delivery(2, b"y")]).await;
    }
    let page = |after, entries, bytes| reader.read_after(EntryNumber(after), entries, bytes);
    assert_eq!(numbers(&page(0, 100, usize::MAX).await.expect("read")), (1..=15).collect::<Vec<_>>());
    assert_eq!(numbers(&page(0, 1, usize::MAX).await.expect("read")), [1]);
    assert_eq!(numbers(&page(1, 1, usize::MAX).await.expect("read")), [2]);
    assert_eq!(numbers(&page(0, 0, 0).await.expect("read")), [1], "at least one when there is one");
    assert!(page(15, 1, 1).await.expect("read").is_empty());
    assert!(page(99, 1, 1).await.expect("read").is_empty());
    let some = numbers(&page(3, 100, 20_000).await.expect("read"));
    assert!(some.starts_with(&[4]) && some.len() < 12, "about as many bytes as asked for: {some:?}");
    for most in 1..7 {
        let mut seen = Vec::new();
        while let Some(last) = page_of(&*reader, seen.last().copied().unwrap_or(0), most, &mut seen).await {
            assert!(last <= 15);
        }
        assert_eq!(seen, (1..=15).collect::<Vec<_>>(), "{most} at a time");
    }
}

async fn page_of(reader: &dyn LogReader, after: u64, most: usize, seen: &mut Vec<u64>) -> Option<u64> {
    let page = numbers(&reader.read_after(EntryNumber(after), most, usize::MAX).await.expect("read"));
    assert!(page.len() <= most);
    seen.extend(&page);
    page.last().copied()
}

async fn whose_entries_are_read_can_be_said(under_test: &impl LogUnderTest) {
    let (mut log, reader) = under_test.open().await;
    let (acme, globex) = (EndpointName::new("acme", "default"), EndpointName::new("globex", "default"));
    for batch in 0..5 {
        let mixed =
            [delivery(1, b"a"), delivery_to(&globex, b"g"), delivery_to(&globex, b"g"), delivery(2, b"a")];
        append(&mut *log, at(batch), &mixed).await;
        append(&mut *log, at(batch), &[delivery_to(&globex, b"g")]).await;
    }
    let both = BTreeSet::from([acme.clone(), globex]);
    assert_eq!(read_on(&*reader, &both, usize::MAX).await, (1..=25).collect::<Vec<_>>());
    let own = BTreeSet::from([acme]);
    for most in [1, 2, 3, 7, 100] {
        let read = read_on(&*reader, &own, most).await;
        assert_eq!(read, [1, 4, 6, 9, 11, 14, 16, 19, 21, 24], "{most} at a time");
    }
    let nobody = BTreeSet::from([EndpointName::new("initech", "default")]);
    assert_eq!(read_on(&*reader, &nobody, 3).await, [0; 0]);
    let end = reader.read_for(&own, (EntryNumber(25), EntryNumber(99)), 1, 1).await.expect("read");
    assert_eq!((end.items.len(), end.through), (0, EntryNumber(25)));
    for (after, until, expected) in
        [(0, 10, vec![1, 4, 6, 9]), (6, 8, vec![]), (6, 9, vec![9]), (9, 9, vec![])]
    {
        let span = (EntryNumber(after), EntryNumber(until));
        let read = reader.read_for(&own, span, 100, usize::MAX).await.expect("read");
        assert_eq!((numbers(&read.items), read.through), (expected, EntryNumber(until)), "{span:?}");
    }
}

async fn a_large_body_fills_a_page_of_its_endpoint_alone(under_test: &impl LogUnderTest) {
    let (mut log, reader) = under_test.open().await;
    let globex = EndpointName::new("globex", "default");
    for batch in 0..4 {
        append(
            &mut *log,
            at(batch),
            &[large(0, 1, 50_000), delivery_to(&globex, b"g"), delivery_to(&globex, b"g")],
        )
        .await;
    }
    let page = async |endpoint: EndpointName| {
        let of = BTreeSet::from([endpoint]);
        reader.read_for(&of, (EntryNumber(0), EntryNumber(12)), 100, 60_000).await.expect("read")
    };
    let large = page(EndpointName::new("acme", "default")).await;
    let bytes: usize = large
        .items
        .iter()
        .map(|item| if let LogItem::Entry(entry) = item { entry.body.len() } else { 0 })
        .sum();
    assert!((1..=100_000).contains(&bytes) && large.through < EntryNumber(12), "{bytes} bytes");
    assert!(!page(globex).await.items.is_empty());
}

/// The numbers that are read for these, to the end of the log.
async fn read_on(reader: &dyn LogReader, endpoints: &BTreeSet<EndpointName>, most: usize) -> Vec<u64> {
    let (mut after, mut read) = (EntryNumber(0), Vec::new());
    while after < reader.durable() {
        let span = (after, reader.durable());
        let stretch = reader.read_for(endpoints, span, most, usize::MAX).await.expect("read");
        assert!(stretch.through > after, "something is passed");
        assert!(stretch.items.len() <= most);
        let is_between = |item: &LogItem| after < item.last() && item.last() <= stretch.through;
        assert!(stretch.items.iter().all(is_between), "{stretch:?}");
        read.extend(numbers(&stretch.items));
        after = stretch.through;
    }
    read
}

async fn any_entry_can_be_looked_up(under_test: &impl LogUnderTest) {
    let (mut log, reader) = under_test.open().await;
    for batch in 0..40_u8 {
        append(&mut *log, at(0), &[large(0, batch, 70_000), delivery(0, &[batch])]).await;
    }
    for number in [80, 1, 2, 41, 42, 79, 17] {
        let item = reader.entry(EntryNumber(number)).await.expect("read").expect("there");
        let LogItem::Entry(entry) = item else { panic!("{item:?}") };
        assert_eq!(entry.number, EntryNumber(number));
        assert_eq!(u64::from(entry.body[0]), (number - 1) / 2);
        assert_eq!(entry.body.len(), if number % 2 == 1 { 70_000 } else { 1 });
    }
    for unknown in [0, 81, u64::MAX] {
        assert!(reader.entry(EntryNumber(unknown)).await.expect("read").is_none(), "{unknown}");
    }
}

async fn a_sound_log_scrubs_clean(under_test: &impl LogUnderTest) {
    let (mut log, reader) = under_test.open().await;
    for _ in 0..10 {
        append(&mut *log, at(0), &[large(0, 1, 30_000)]).await;
    }
    let (mut through, mut calls) = (EntryNumber(0), 0);
    while through < reader.durable() {
        let (damaged, checked) = reader.scrub(through, 64 * 1024).await.expect("read");
        assert!(damaged.is_empty() && checked > through);
        (through, calls) = (checked, calls + 1);
    }
    assert!(calls > 1, "the scrub is told how much to read");
    assert!(reader.frame().await.expect("read").is_empty());
}

async fn pruning_drops_only_what_may_go(under_test: &impl LogUnderTest) {
    let (mut log, reader) = under_test.open().await;
    for minute in 0..60 {
        append(&mut *log, at(minute), &[large(0, 1, 60_000)]).await;
    }
    let everything = EntryNumber(60);
    assert_eq!(reader.prune(at(0), everything).await.expect("pruned"), EntryNumber(1), "none is old enough");
    assert_eq!(reader.prune(at(99), EntryNumber(0)).await.expect("pruned"), EntryNumber(1), "none is worked");

    let foretold = reader.prunable(at(30), everything).await.expect("read");
    assert_eq!(reader.first(), EntryNumber(1), "asking drops nothing");
    let first = reader.prune(at(30), everything).await.expect("pruned");
    assert_eq!(first, foretold);
    assert!(first > EntryNumber(1) && first <= EntryNumber(31), "{first}");
    assert_eq!(reader.first(), first);
    let gone = EntryNumber(first.0 - 1);
    assert!(matches!(reader.entry(gone).await, Err(LogError::Pruned { first: left }) if left == first));
    let read = reader.read_after(EntryNumber(0), 1, 1).await;
    assert!(matches!(read, Err(LogError::Pruned { first: left }) if left == first));
    assert_eq!(entries(&*reader, gone).await[0].number, first);
    assert_eq!(reader.scrub(EntryNumber(0), usize::MAX).await.expect("read").1, everything);

    let through = EntryNumber(first.0 + 20);
    let second = reader.prune(at(99), through).await.expect("pruned");
    assert!(second > first && second <= through.next(), "{second}");
    assert!(reader.prune(at(99), everything).await.expect("pruned") <= everything, "the last unit stays");
    drop((log, reader));

    let (mut log, reader) = under_test.open().await;
    assert!(reader.first() >= second);
    assert_eq!(append(&mut *log, at(99), &[delivery(0, b"")]).await.first, EntryNumber(61));
}

async fn requests_share_batches_and_keep_their_own_numbers(under_test: &impl LogUnderTest) {
    let (log, reader) = under_test.open().await;
    let interval = Duration::from_micros(100);
    let limits =
        GroupCommitLimits { batch_entries: 16, batch_bytes: 64 * 1024, queue_entries: 300, interval };
    let commit = GroupCommit::start(log, Arc::new(ManualClock::at(at(7))), limits);
    let mut durable = commit.durable();
    let appends: Vec<_> = (0..300_u64)
        .map(|request| {
            let commit = commit.clone();
            tokio::spawn(
                async move { (request, commit.append(delivery(request, &request.to_be_bytes())).await) },
            )
        })
        .collect();
    let mut given = BTreeSet::new();
    for append in appends {
        let (request, appended) = append.await.expect("ran");
        let number = appended.expect("kept").first;
        let Some(LogItem::Entry(entry)) = reader.entry(number).await.expect("read") else {
            panic!("{number}")
        };
        assert_eq!(entry.body, request.to_be_bytes()[..], "the number is its own");
        given.insert(number.0);
    }
    assert_eq!(given, (1..=300).collect());
    durable.wait_for(|number| *number == EntryNumber(300)).await.expect("told");
    commit.close().await;
    assert!(matches!(commit.append(delivery(0, b"")).await, Err(AppendError::Closed)));
}

async fn append(log: &mut dyn IntakeLog, now: Timestamp, entries: &[NewEntry]) -> douane::ledger::Appended {
    let encoded: Result<Vec<_>, _> = entries.iter().cloned().map(EncodedEntry::try_from).collect();
    log.append(now, &encoded.expect("encodes")).await.expect("kept")
}

async fn entries(reader: &dyn LogReader, after: EntryNumber) -> Vec<Entry> {
    let items = reader.read_after(after, usize::MAX, usize::MAX).await.expect("read");
    let entry = |item| if let LogItem::Entry(entry) = item { entry } else { panic!("{item:?}") };
    items.into_iter().map(entry).collect()
}

fn numbers(items: &[LogItem]) -> Vec<u64> {
    let number = |item: &LogItem| if let LogItem::Entry(entry) = item { entry.number.0 } else { 0 };
    items.iter().map(number).collect()
}

fn at(minute: u64) -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000).plus(Duration::from_secs(60 * minute))
}

fn delivery_to(endpoint: &EndpointName, body: &[u8]) -> NewEntry {
    let mut entry = delivery(7, body);
    if let EntryMeta::Delivery(meta) = &mut entry.meta {
        meta.endpoint = endpoint.clone();
    }
    entry
}

fn delivery(id: u64, body: &[u8]) -> NewEntry {
    let mut headers = Headers::default();
    headers.push("Content-Type", "application/json");
    let meta = EntryMeta::Delivery(DeliveryMeta {
        id: DeliveryId(Uuid::from_u128(u128::from(id))),
        endpoint: EndpointName::new("acme", "default"),
        method: "POST".to_owned(),
        target: "/in/acme?a=b".to_owned(),
        version: "HTTP/1.1".to_owned(),
        headers,
        assurance: Assurance::Full,
        secret_id: None,
    });
    NewEntry { meta, body: Bytes::copy_from_slice(body) }
}

fn large(id: u64, byte: u8, size: usize) -> NewEntry {
    delivery(id, &vec![byte; size])
}

fn replay() -> NewEntry {
    let meta = EntryMeta::Replay(ReplayMeta {
        id: DeliveryId(Uuid::from_u128(9)),
        endpoint: EndpointName::new("acme", "default"),
        events: vec![EventRef { number: EntryNumber(1), ordinal: 3 }],
        reissue: true,
        brokers: vec!["file".to_owned()],
        by: "operator".to_owned(),
    });
    NewEntry { meta, body: Bytes::new() }
}

/// Segments in a folder of the real file system.
struct Segments(tempfile::TempDir);

impl LogUnderTest for Segments {
    async fn open(&self) -> (Box<dyn IntakeLog>, Arc<dyn LogReader>) {
        open_segments(self.0.path())
    }
}

fn open_segments(path: &Path) -> (Box<dyn IntakeLog>, Arc<dyn LogReader>) {
    let options = SegmentOptions {
        incarnation: Incarnation(Uuid::from_u128(1)),
        cursor: EntryNumber(0),
        segment_bytes: 256 * 1024,
        min_free_bytes: 0,
        free_space_poll: Duration::from_secs(1),
    };
    let folder = OsFolder::create(path).expect("a folder");
    let (log, reader) = open(Arc::new(folder), options).expect("opened");
    (Box::new(log), Arc::new(reader))
}

/// A schema of a real PostgreSQL, its partitions as small as they can be useful.
struct InPostgres<'a> {
    server: &'a Postgres,
    schema: String,
}

impl LogUnderTest for InPostgres<'_> {
    async fn open(&self) -> (Box<dyn IntakeLog>, Arc<dyn LogReader>) {
        let database = self.server.database(&self.schema);
        migrate(&database).await.expect("migrated");
        let (log, reader) = postgres::open(&database, Duration::from_mins(5)).await.expect("opened");
        (Box::new(log), Arc::new(reader))
    }
}

#[tokio::test]
async fn postgres_conforms() {
    let server = Postgres::start();
    let schemas = AtomicU32::new(1);
    conforms(|| InPostgres {
        server: &server,
        schema: format!("ledger_{}", schemas.fetch_add(1, Ordering::SeqCst)),
    })
    .await;
}

#[tokio::test]
async fn segments_conform() {
    conforms(|| Segments(tempfile::tempdir().expect("a folder"))).await;
}
