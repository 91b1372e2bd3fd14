//! The intake log that several processes share: over a real PostgreSQL that ends sessions, stops, waits for a standby that
//! never comes, or has a client that was stopped in the middle of a word.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{TryRecvError, channel},
    },
    time::Duration,
};

use bytes::Bytes;
use douane::{
    config::{HumanDuration, LedgerConfig},
    ledger::{
        AppendError, Appended, EncodedEntry, IntakeLog, LogError, LogItem, LogReader,
        log::postgres::{self, PostgresLog, PostgresReader},
        postgres::migrate,
    },
    model::{DeliveryId, EndpointName, Entry, EntryMeta, EntryNumber, NewEntry, ReplayMeta, Timestamp},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use uuid::Uuid;

use crate::servers::postgres::{Postgres, database};

const SCHEMA: &str = "ledger";

fn at(minute: u64) -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000).plus(Duration::from_secs(60 * minute))
}

fn entry(text: &str) -> EncodedEntry {
    entry_of("acme", text)
}

fn entry_of(partner: &str, text: &str) -> EncodedEntry {
    let meta = EntryMeta::Replay(ReplayMeta {
        id: DeliveryId(Uuid::nil()),
        endpoint: EndpointName::new(partner, "default"),
        events: vec![],
        reissue: false,
        brokers: vec![],
        by: "test".to_owned(),
    });
    EncodedEntry::try_from(NewEntry { meta, body: Bytes::copy_from_slice(text.as_bytes()) }).expect("encodes")
}

/// What a process has of the log.
async fn process(config: &LedgerConfig) -> (PostgresLog, PostgresReader) {
    let database = database(config);
    migrate(&database).await.expect("migrated");
    postgres::open(&database, Duration::from_mins(10)).await.expect("opened")
}

async fn append(log: &mut PostgresLog, minute: u64, text: &str) -> Result<Appended, AppendError> {
    log.append(at(minute), &[entry(text)]).await
}

/// Everything that follows, in a log without damage.
async fn read(reader: &PostgresReader, after: EntryNumber) -> Vec<Entry> {
    let items = reader.read_after(after, usize::MAX, usize::MAX).await.expect("read");
    let entry = |item| if let LogItem::Entry(entry) = item { entry } else { panic!("{item:?}") };
    items.into_iter().map(entry).collect()
}

fn text(entry: &Entry) -> String {
    String::from_utf8(entry.body.to_vec()).expect("text")
}

/// Reads on until `last`, as a stage would; fails when a number is missing or a time goes back.
fn follow(reader: PostgresReader, last: u64) -> JoinHandle<Vec<String>> {
    tokio::spawn(async move {
        let (mut texts, mut received_at) = (Vec::new(), at(0));
        while (texts.len() as u64) < last {
            reader.look().await.expect("asked");
            let durable = reader.durable();
            for entry in read(&reader, EntryNumber(texts.len() as u64)).await {
                assert_eq!(entry.number.0, texts.len() as u64 + 1, "what is readable has no gap");
                assert!(entry.received_at >= received_at, "time never goes back");
                received_at = entry.received_at;
                texts.push(text(&entry));
            }
            assert!(texts.len() as u64 >= durable.0, "what is durable is readable");
        }
        texts
    })
}

#[tokio::test]
async fn an_entry_of_a_later_release_waits_for_it_and_is_no_damage() {
    let server = Postgres::start();
    let (mut log, reader) = process(&server.config(SCHEMA)).await;
    let meta = Bytes::from_static(br#"{"kind":"of_a_later_release"}"#);
    let later = EncodedEntry::from_parts(EndpointName::new("acme", "default"), meta, Bytes::new());
    log.append(at(0), &[later]).await.expect("kept");
    let read = reader.read_after(EntryNumber(0), 10, 1_000_000).await;
    assert!(matches!(read, Err(LogError::Unavailable(_))), "{read:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_give_numbers_without_gap_and_readers_see_prefixes() {
    const WRITERS: u64 = 4;
    const BATCHES: u64 = 60;
    let server = Postgres::start();
    let config = server.config(SCHEMA);
    let (_, reader) = process(&config).await;
    let total: u64 = WRITERS * (1..=BATCHES).map(|batch| batch % 7 + 1).sum::<u64>();
    let followed = [follow(reader.clone(), total), follow(process(&config).await.1, total)];
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let (mut log, _) = process(&config).await;
        writers.push(tokio::spawn(async move {
            let mut given = BTreeMap::new();
            for batch in 1..=BATCHES {
                let texts: Vec<_> =
                    (0..=batch % 7).map(|place| format!("{writer} {batch} {place}")).collect();
                let entries: Vec<_> = texts.iter().map(|text| entry(text)).collect();
                // No two clocks agree, and one of them goes back.
                let now = at(if writer == 0 { 99 - batch } else { batch + writer });
                let appended = log.append(now, &entries).await.expect("kept");
                assert!(appended.received_at >= now);
                given.extend((appended.first.0..).zip(texts));
            }
            given
        }));
    }
    let mut given = BTreeMap::new();
    for writer in writers {
        given.extend(writer.await.expect("ran"));
    }
    assert_eq!(given.keys().copied().collect::<Vec<_>>(), (1..=total).collect::<Vec<_>>());
    for followed in followed {
        assert_eq!(followed.await.expect("no gap"), given.values().cloned().collect::<Vec<_>>());
    }
    assert!(reader.frame().await.expect("looked").is_empty());
}

#[tokio::test]
async fn a_process_learns_what_another_appended() {
    let server = Postgres::start();
    let (mut log, own) = process(&server.config(SCHEMA)).await;
    let (_, other) = process(&server.config(SCHEMA)).await;
    let mut news = other.news();
    append(&mut log, 1, "one").await.expect("kept");
    assert_eq!((own.durable(), other.durable()), (EntryNumber(1), EntryNumber(0)));
    other.look().await.expect("asked");
    assert_eq!((other.durable(), *news.borrow_and_update()), (EntryNumber(1), EntryNumber(1)));
    other.look().await.expect("asked");
    assert!(!news.has_changed().expect("open"), "no news is none");
}

/// Asks until the connections that have gone are used up.
async fn look_again(reader: &PostgresReader) {
    for _ in 0..LedgerConfig::default().connections {
        if reader.look().await.is_ok() {
            return;
        }
    }
    reader.look().await.expect("asked");
}

/// What became of appends whose answers may be lost: acked ones are there, the others once or not at all.
async fn holds(reader: &PostgresReader, acked: &BTreeMap<u64, String>, tried: &[String]) {
    look_again(reader).await;
    let texts: Vec<_> = read(reader, EntryNumber(0)).await.iter().map(text).collect();
    for (number, text) in acked {
        assert_eq!(&texts[usize::try_from(number - 1).expect("few")], text, "acked means kept");
    }
    for text in tried {
        assert!(texts.iter().filter(|kept| *kept == text).count() <= 1, "{text} was kept twice");
    }
    assert!(texts.iter().all(|text| tried.contains(text)));
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_are_ended_lose_nothing_that_was_acked() {
    let server = Postgres::start();
    let (mut log, reader) = process(&server.config(SCHEMA)).await;
    let (end, told) = channel::<()>();
    let (tell, ended) = channel();
    let ending = std::thread::spawn(move || {
        for () in told {
            tell.send(server.terminate_sessions()).expect("listens");
        }
        server
    });
    let (mut acked, mut tried, mut sessions) = (BTreeMap::new(), Vec::new(), 0);
    for _ in 0..20 {
        end.send(()).expect("listens");
        // It comes in the middle of something, whatever it is.
        while let Err(TryRecvError::Empty) = ended.try_recv().map(|ended| sessions += ended) {
            let text = format!("try {}", tried.len());
            match append(&mut log, 1, &text).await {
                Ok(appended) => assert_eq!(acked.insert(appended.first.0, text.clone()), None),
                Err(AppendError::Unconfirmed(_) | AppendError::NotWritten(_)) => {}
                Err(other) => panic!("{other}"),
            }
            tried.push(text);
        }
    }
    drop(end);
    let _server = ending.join().expect("ran");
    assert!(sessions > 0);
    // The first may find that its session was ended too.
    for text in ["left alone", "left alone again"] {
        if let Ok(appended) = append(&mut log, 2, text).await {
            acked.insert(appended.first.0, text.to_owned());
        }
        tried.push(text.to_owned());
    }
    assert!(!acked.is_empty());
    holds(&reader, &acked, &tried).await;
}

#[tokio::test]
async fn a_restart_costs_what_is_under_way_and_no_more() {
    let mut server = Postgres::start();
    let (mut log, reader) = process(&server.config(SCHEMA)).await;
    append(&mut log, 1, "before").await.expect("kept");
    server.stop_at_once();
    for _ in 0..2 {
        let error = append(&mut log, 2, "down").await.expect_err("it is down");
        assert!(matches!(error, AppendError::NotWritten(_) | AppendError::Unconfirmed(_)), "{error}");
    }
    assert!(matches!(reader.look().await, Err(LogError::Unavailable(_))));
    assert_eq!(reader.durable(), EntryNumber(1));
    server.start_again();
    assert_eq!(append(&mut log, 3, "after").await.expect("kept").first, EntryNumber(2));
    look_again(&reader).await;
    assert_eq!(read(&reader, EntryNumber(0)).await.iter().map(text).collect::<Vec<_>>(), ["before", "after"]);
}

#[tokio::test]
async fn what_was_acked_outlasts_a_crash_and_what_was_only_read_is_forgotten() {
    // It writes out nothing unless somebody waits for it.
    let server = Postgres::with(&["wal_writer_delay=10s"]);
    let database = server.database(SCHEMA);
    migrate(&database).await.expect("migrated");
    let (mut log, reader) = postgres::open(&database, Duration::from_mins(10)).await.expect("opened");
    append(&mut log, 1, "acked").await.expect("kept");
    server.sql(
        "SET search_path = ledger; SET synchronous_commit = off;
         INSERT INTO log_entries SELECT written_at, 7, 1, checksum, meta, body FROM log_entries;
         INSERT INTO log_batches SELECT last + 1, first + 1, received_at, written_at, 7, bytes FROM log_batches;
         UPDATE log_end SET last = last + 1",
    );
    reader.look().await.expect("asked");
    assert_eq!(reader.durable(), EntryNumber(2));

    let before = database.tenure();
    server.crash();
    while database.tenure() == before {
        let _ = reader.look().await;
    }
    look_again(&reader).await;
    assert_eq!(read(&reader, EntryNumber(0)).await.iter().map(text).collect::<Vec<_>>(), ["acked"]);
    let given = append(&mut log, 2, "after").await.expect("kept").first;
    assert_eq!(given, EntryNumber(2), "a number that was only read is given again, under another tenure");
}

#[tokio::test]
async fn a_server_that_stops_in_the_middle_is_waited_for_only_so_long() {
    let server = Postgres::start();
    let config = LedgerConfig { statement_timeout: HumanDuration::millis(100), ..server.config(SCHEMA) };
    let (mut log, reader) = process(&config).await;
    append(&mut log, 1, "before").await.expect("kept");
    server.pause();
    let lost = append(&mut log, 2, "lost").await.expect_err("paused");
    assert!(matches!(lost, AppendError::Unconfirmed(_)), "{lost}");
    server.resume();
    let appended = append(&mut log, 3, "after").await.expect("kept");
    assert!(appended.first > EntryNumber(1), "the log is not poisoned");
    let (mut acked, tried) = (BTreeMap::new(), ["before", "lost", "after"].map(str::to_owned));
    acked.insert(1, "before".to_owned());
    acked.insert(appended.first.0, "after".to_owned());
    holds(&reader, &acked, &tried).await;
}

#[tokio::test]
async fn a_standby_that_no_longer_confirms_is_no_ack() {
    let server = Postgres::start();
    let config = LedgerConfig { statement_timeout: HumanDuration::millis(300), ..server.config(SCHEMA) };
    let (mut log, reader) = process(&config).await;
    let standbys = |names: &str| {
        server.sql(&format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'"));
        server.sql("SELECT pg_reload_conf()");
    };
    append(&mut log, 1, "before").await.expect("kept");
    standbys("elsewhere");
    // The server takes the new setting at its own pace.
    let (mut tried, mut unconfirmed) = (0, None);
    while unconfirmed.is_none() && tried < 1_000 {
        tried += 1;
        unconfirmed = append(&mut log, 2, "on one machine").await.err();
    }
    let unconfirmed = unconfirmed.expect("it is waited for");
    let AppendError::Unconfirmed(why) = unconfirmed else { panic!("{unconfirmed}") };
    assert!(why.contains("on one machine only"), "{why}");
    standbys("");
    let mut again = append(&mut log, 3, "after").await;
    while again.is_err() {
        again = append(&mut log, 3, "after").await;
    }
    reader.look().await.expect("asked");
    let texts: Vec<_> = read(&reader, EntryNumber(1)).await.iter().map(text).collect();
    assert_eq!(
        texts.iter().filter(|text| *text == "on one machine").count(),
        tried,
        "kept, and not confirmed"
    );
}

#[tokio::test]
async fn a_lock_that_somebody_holds_is_given_up_and_nothing_is_kept() {
    let server = Postgres::start();
    let config = LedgerConfig { lock_timeout: HumanDuration::millis(50), ..server.config(SCHEMA) };
    let (mut log, reader) = process(&config).await;
    append(&mut log, 1, "before").await.expect("kept");
    let holder = database(&config).session().await.expect("lent");
    holder.batch("BEGIN; SELECT FROM log_end FOR UPDATE").await.expect("held");
    let error = append(&mut log, 2, "held up").await.expect_err("held");
    assert!(matches!(&error, AppendError::NotWritten(why) if why.contains("lock timeout")), "{error}");
    holder.batch("ROLLBACK").await.expect("let go");
    append(&mut log, 3, "after").await.expect("kept");
    assert_eq!(read(&reader, EntryNumber(0)).await.iter().map(text).collect::<Vec<_>>(), ["before", "after"]);
    assert_eq!(server.sql("SELECT count(*) FROM ledger.log_entries"), "2");
}

/// Stands between a process and its server. When told to, it holds back the end of what the process says next, and all
/// after that: as if the process had been stopped there.
struct Stopping {
    address: SocketAddr,
    hold_back: Arc<AtomicUsize>,
}

impl Stopping {
    async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let hold_back = Arc::new(AtomicUsize::new(0));
        let told = Arc::clone(&hold_back);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(server).await.expect("connects");
                tokio::spawn(Self::carry(client, server, Arc::clone(&told)));
            }
        });
        Self { address, hold_back }
    }

    async fn carry(client: TcpStream, server: TcpStream, hold_back: Arc<AtomicUsize>) {
        let (mut said, mut heard) = client.into_split();
        let (mut answers, mut questions) = server.into_split();
        tokio::spawn(async move { tokio::io::copy(&mut answers, &mut heard).await });
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = said.read(&mut buffer).await {
            let held = hold_back.load(Ordering::SeqCst);
            questions.write_all(&buffer[..length - held.min(length)]).await.expect("carried");
            if held > 0 {
                std::future::pending::<()>().await;
            }
        }
    }
}

#[tokio::test]
async fn a_process_stopped_at_any_point_of_an_append_holds_up_nobody() {
    const WAITS_IN_ITS_WORK: &str =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'ClientRead' AND state = 'active'";
    let server = Postgres::start();
    let config = server.config(SCHEMA);
    let (mut log, reader) = process(&config).await;
    let at_server = config.url.as_deref().and_then(|url| url.split(['@', '/']).nth(3)).expect("an address");
    let stopping = Stopping::before(at_server.parse().expect("an address")).await;
    let url = config.url.as_deref().map(|url| url.replace(at_server, &stopping.address.to_string()));
    let through = LedgerConfig { url, ..config.clone() };

    // The last word is Sync (5 bytes), before it Execute (10), before that the end of the batch.
    for held in 1..=24 {
        let (mut other, _) = process(&through).await;
        append(&mut other, 1, "runs").await.expect("kept");
        stopping.hold_back.store(held, Ordering::SeqCst);
        let stopped = tokio::spawn(async move { append(&mut other, 2, "stopped").await });
        // Until the server has all that it will get of this one too, and waits for its client in the middle of the work.
        // Of a batch that is not whole it knows nothing.
        let waiting = held.min(15).to_string();
        while server.sql(WAITS_IN_ITS_WORK) != waiting {
            tokio::task::yield_now().await;
        }
        append(&mut log, 3, "goes on").await.expect("nobody is held up");
        stopping.hold_back.store(0, Ordering::SeqCst);
        stopped.abort();
    }
    reader.look().await.expect("asked");
    let texts: Vec<_> = read(&reader, EntryNumber(0)).await.iter().map(text).collect();
    let count = |text: &str| texts.iter().filter(|kept| *kept == text).count();
    assert_eq!((count("runs"), count("goes on")), (24, 24));
    assert_eq!(count("stopped"), 5, "kept without the last word: it commits by itself");
}

#[tokio::test]
async fn what_was_changed_behind_our_back_is_damage_and_never_served() {
    let server = Postgres::start();
    let (mut log, reader) = process(&server.config(SCHEMA)).await;
    for batch in 0..4 {
        let entries: Vec<_> = (0..3).map(|place| entry(&format!("{batch} {place}"))).collect();
        log.append(at(batch), &entries).await.expect("kept");
    }
    server.sql("UPDATE ledger.log_entries SET body = 'forged' WHERE body = '0 1'");
    server.sql("DELETE FROM ledger.log_entries WHERE body IN ('1 1', '1 2')");
    server.sql("DELETE FROM ledger.log_batches WHERE first = 7");
    server.sql("UPDATE ledger.log_entries SET place = place + 10 WHERE body = '3 0'");

    let items = reader.read_after(EntryNumber(0), 100, usize::MAX).await.expect("read");
    let told = |item: &LogItem| match item {
        LogItem::Entry(entry) => format!("{}: {}", entry.number, text(entry)),
        LogItem::Damaged { first, last, detail } => format!("{first} to {last}: {detail}"),
    };
    let expected = [
        "1: 0 0",
        "2 to 2: the entry's bytes are not those that were written",
        "3: 0 2",
        "4: 1 0",
        "5 to 6: the entry's row is missing",
        "7 to 9: no batch holds these numbers",
        "10 to 10: the entry's row is missing",
        "11: 3 1",
        "12: 3 2",
    ];
    assert_eq!(items.iter().map(told).collect::<Vec<_>>(), expected);
    let (damaged, through) = reader.scrub(EntryNumber(0), usize::MAX).await.expect("read");
    assert_eq!((damaged.len(), through), (4, EntryNumber(12)));
    let one = reader.entry(EntryNumber(8)).await.expect("read").expect("was given");
    assert!(matches!(one, LogItem::Damaged { .. }), "{one:?}");
    assert_eq!(reader.frame().await.expect("looked"), ["7 to 9: no batch holds these numbers"]);

    server.sql("UPDATE ledger.log_end SET last = 14");
    let after = reader.read_after(EntryNumber(12), 100, usize::MAX).await.expect("read");
    assert_eq!(after.iter().map(told).collect::<Vec<_>>(), ["13 to 14: no batch holds these numbers"]);
    assert!(
        reader.frame().await.expect("looked")[1].contains("hold 1 to 12, and 1 to 14 is what they should")
    );
}

#[tokio::test]
async fn a_batch_that_does_not_say_whose_its_entries_are_is_read_whole() {
    let server = Postgres::start();
    let (mut log, reader) = process(&server.config(SCHEMA)).await;
    for batch in 0..4 {
        let of = |partner: &str| entry_of(partner, &format!("{partner} {batch}"));
        log.append(at(batch), &[of("acme"), of("globex")]).await.expect("kept");
    }
    server.sql("UPDATE ledger.log_batches SET endpoints = NULL, lengths = NULL, whose_checksum = NULL WHERE first = 1");
    server.sql("UPDATE ledger.log_batches SET endpoints[1] = endpoints[2] WHERE first = 3");
    server.sql("UPDATE ledger.log_batches SET endpoints[1] = NULL, lengths = lengths[1:1] WHERE first = 5");
    let acme = BTreeSet::from([EndpointName::new("acme", "default")]);
    let read = reader.read_for(&acme, (EntryNumber(0), EntryNumber(8)), 100, usize::MAX).await.expect("read");
    let numbers: Vec<_> = read.items.iter().map(|item| item.last().0).collect();
    assert_eq!((numbers, read.through), (vec![1, 2, 3, 4, 5, 6, 7], EntryNumber(8)));
    assert!(read.items.iter().all(|item| matches!(item, LogItem::Entry(_))), "{:?}", read.items);

    server.sql("DELETE FROM ledger.log_entries WHERE body = 'globex 3'");
    let read = reader.read_for(&acme, (EntryNumber(6), EntryNumber(8)), 100, usize::MAX).await.expect("read");
    assert_eq!((read.items.len(), read.through), (1, EntryNumber(8)), "others' damage is theirs to find");
    let (damaged, _) = reader.scrub(EntryNumber(0), usize::MAX).await.expect("read");
    assert_eq!(damaged.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dropped_while_it_is_read_is_no_damage() {
    let server = Postgres::start();
    let config = server.config(SCHEMA);
    let (mut log, reader) = process(&config).await;
    for minute in 0..400 {
        append(&mut log, minute, "old").await.expect("kept");
    }
    let reading = {
        let reader = reader.clone();
        tokio::spawn(async move {
            let mut after = EntryNumber(0);
            while after < EntryNumber(400) {
                match reader.read_after(after, 7, usize::MAX).await {
                    Ok(items) => {
                        assert!(items.iter().all(|item| matches!(item, LogItem::Entry(_))), "{items:?}");
                        after = EntryNumber(after.0 + items.len() as u64);
                    }
                    Err(LogError::Pruned { first }) => after = EntryNumber(first.0 - 1),
                    Err(other) => panic!("{other}"),
                }
            }
        })
    };
    let (_, other) = process(&config).await;
    for minute in (0..400).step_by(20) {
        let two = tokio::join!(
            reader.prune(at(minute), EntryNumber(400)),
            other.prune(at(minute), EntryNumber(400))
        );
        // Two that drop the same at once may get in each other's way; the next time goes on.
        assert!(two.0.is_ok() || two.1.is_ok(), "{two:?}");
        append(&mut log, 400 + minute, "new").await.expect("dropping holds up nobody");
    }
    reading.await.expect("no damage");
    let first = reader.prune(at(390), EntryNumber(400)).await.expect("dropped");
    assert!(first > EntryNumber(370) && first <= EntryNumber(391), "{first}");
    assert_eq!(
        server
            .sql("SELECT count(*) FROM ledger.log_batches WHERE last < (SELECT first FROM ledger.log_start)"),
        "0"
    );
    assert!(reader.frame().await.expect("looked").is_empty());
}

#[tokio::test]
async fn a_batch_of_a_late_clock_keeps_its_partition() {
    let server = Postgres::start();
    let config = server.config(SCHEMA);
    let (mut log, reader) = process(&config).await;
    let (mut late, _) = process(&config).await;
    append(&mut log, 1, "old").await.expect("kept");
    append(&mut log, 25, "new").await.expect("kept");
    // Its rows are written, its number is not given yet, and meanwhile its partition is to go.
    let holder = server.database(SCHEMA).session().await.expect("lent");
    holder.batch("BEGIN; SELECT FROM log_end FOR UPDATE").await.expect("held");
    let late = tokio::spawn(async move { append(&mut late, 2, "late").await });
    while server.sql("SELECT count(*) FROM pg_locks WHERE NOT granted") == "0" {
        tokio::task::yield_now().await;
    }
    let dropping = {
        let reader = reader.clone();
        tokio::spawn(async move { reader.prune(at(20), EntryNumber(9)).await })
    };
    while server.sql("SELECT count(*) FROM pg_inherits WHERE inhdetachpending") == "0" {
        tokio::task::yield_now().await;
    }
    holder.batch("ROLLBACK").await.expect("let go");
    assert_eq!(late.await.expect("ran").expect("kept").first, EntryNumber(3));
    assert_eq!(dropping.await.expect("ran").expect("dropped"), EntryNumber(2));
    assert_eq!(read(&reader, EntryNumber(1)).await.iter().map(text).collect::<Vec<_>>(), ["new", "late"]);
    assert!(reader.frame().await.expect("looked").is_empty());
}
