//! What leases promise, on a real PostgreSQL: fair shares, one holder at a time, a takeover when one dies and at once when it
//! leaves, and that nobody commits by an epoch that is over.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use douane::{
    config::{HumanDuration, LedgerConfig},
    ledger::{
        CursorMove, EncodedEntry, Held, IntakeLog, Leases, Leave, PostgresLeases, PublicationRecords,
        RecordsError, Renewed, Suspect, SuspectRecords, Takes, TranslationCommit, TranslationRecords, Try,
        log,
        postgres::{Database, migrate},
        records::PostgresRecords,
    },
    model::{
        DeliveryId, EndpointName, EntryMeta, EntryNumber, Epoch, EventNumber, EventRef, NewEntry, ReplayMeta,
    },
};

use super::records::worked::{Filled, commit, delivery, time_of, translated};
use crate::servers::postgres::{Postgres, database};

/// So long that no lease runs out in a test that does not want it.
const LONG: Duration = Duration::from_mins(5);
/// So short that a test can wait for the end of it.
const SHORT: Duration = Duration::from_millis(300);
const DAY: Duration = Duration::from_hours(24);
/// What has not come in this time never will.
const PATIENCE: Duration = Duration::from_mins(1);

/// A ledger that processes share.
struct Shared {
    server: Postgres,
    config: LedgerConfig,
    database: Database,
    records: PostgresRecords,
}

impl Shared {
    async fn new() -> Self {
        let server = Postgres::start();
        let idle_in_transaction_timeout = HumanDuration::millis(200);
        let config = LedgerConfig { idle_in_transaction_timeout, ..server.config("ledger") };
        let database = database(&config);
        migrate(&database).await.expect("migrated");
        let records = PostgresRecords::open(database.clone(), DAY).await.expect("opened");
        Self { server, config, database, records }
    }

    /// Appends an entry of each of these endpoints, as one batch.
    async fn receive(&self, names: &[&str]) {
        let (mut writer, _) = log::postgres::open(&self.database, DAY).await.expect("opened");
        let entries: Vec<_> = names.iter().map(|name| entry(name)).collect();
        writer.append(time_of(1), &entries).await.expect("kept");
    }

    async fn many_endpoints(&self, count: usize) {
        let names: Vec<_> = (0..count).map(|n| format!("endpoint {n}")).collect();
        self.receive(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }

    async fn brokers(&self, names: &[&str]) {
        for name in names {
            self.records.introduce_broker(name, EventNumber(0), time_of(1)).await.expect("introduced");
        }
    }

    fn member(&self, lasts: Duration, takes: Takes) -> Member {
        let leases = PostgresLeases::new(database(&self.config), lasts).expect("a member");
        Member { leases, takes, last: Renewed::default() }
    }

    fn translator(&self, lasts: Duration) -> Member {
        self.member(lasts, Takes { endpoints: true, brokers: Vec::new() })
    }

    fn publisher(&self, brokers: &[&str]) -> Member {
        let brokers = brokers.iter().map(ToString::to_string).collect();
        self.member(LONG, Takes { endpoints: false, brokers })
    }

    async fn advance(&self, endpoint: &EndpointName, number: u64, epoch: Epoch) -> Result<(), RecordsError> {
        let id = format!("id {number}");
        let entry = delivery(number, endpoint.clone()).with(&id, "paid", translated(&[id.as_str()]));
        let cursor = CursorMove { endpoint: endpoint.clone(), through: EntryNumber(number), epoch };
        let commit = TranslationCommit { cursors: vec![cursor], ..commit([entry]) };
        self.records.commit(commit).await.map(|_| ())
    }
}

fn name(endpoint: &str) -> EndpointName {
    EndpointName::new("acme", endpoint)
}

fn entry(endpoint: &str) -> EncodedEntry {
    let meta = EntryMeta::Replay(ReplayMeta {
        id: DeliveryId(uuid::Uuid::nil()),
        endpoint: name(endpoint),
        events: vec![],
        reissue: false,
        brokers: vec![],
        by: "test".to_owned(),
    });
    EncodedEntry::try_from(NewEntry { meta, body: bytes::Bytes::new() }).expect("encodes")
}

/// A process as the others see it.
struct Member {
    leases: PostgresLeases,
    takes: Takes,
    last: Renewed,
}

impl Member {
    /// Renews as the keeper does: what was surplus is given up.
    async fn renew(&mut self) -> &Renewed {
        let given_up = std::mem::take(&mut self.last.surplus);
        self.last = self.leases.renew(&self.takes, &given_up).await.expect("renewed");
        &self.last
    }

    fn load(&self) -> usize {
        self.last.held.endpoints.len() + self.last.held.brokers.len()
    }

    fn brokers(&self) -> Vec<&str> {
        self.last.held.brokers.keys().map(String::as_str).collect()
    }
}

/// Every member renews in turn, until nothing changes any more although each has met the others. Nothing is held by two.
async fn settle(members: &mut [Member]) -> Vec<usize> {
    let mut quiet = 0;
    for _ in 0..20 {
        let before: Vec<_> = members.iter().map(|member| member.last.clone()).collect();
        for member in members.iter_mut() {
            member.renew().await;
        }
        quiet = if members.iter().map(|member| &member.last).eq(&before) { quiet + 1 } else { 0 };
        if quiet == 2 {
            let mut seen = BTreeSet::new();
            for held in members.iter().map(|member| &member.last.held) {
                assert!(held.endpoints.keys().all(|name| seen.insert(name.to_string())), "held by two");
                assert!(held.brokers.keys().all(|name| seen.insert(name.clone())), "held by two");
            }
            return members.iter().map(Member::load).collect();
        }
    }
    panic!("the members never come to rest");
}

#[tokio::test]
async fn members_share_fairly_whoever_comes_and_goes() {
    let shared = Shared::new().await;
    shared.many_endpoints(10).await;
    let mut members = vec![shared.translator(LONG)];
    assert_eq!(settle(&mut members).await, [10], "who is alone takes all");
    members.push(shared.translator(LONG));
    assert_eq!(settle(&mut members).await, [5, 5]);
    members.extend([shared.translator(LONG), shared.translator(LONG)]);
    let mut loads = settle(&mut members).await;
    loads.sort_unstable();
    assert_eq!(loads, [2, 2, 3, 3]);
    shared.receive(&["one", "more"]).await;
    assert_eq!(settle(&mut members).await, [3, 3, 3, 3], "what is new goes to who holds less");
    for leaves in [3, 0] {
        members.remove(leaves).leases.leave().await.expect("left");
    }
    assert_eq!(settle(&mut members).await, [6, 6]);
}

#[tokio::test]
async fn what_is_surplus_is_held_until_it_is_given_up_and_then_has_a_new_epoch() {
    let shared = Shared::new().await;
    shared.receive(&["a", "b"]).await;
    let (mut one, mut other) = (shared.translator(LONG), shared.translator(LONG));
    let before = one.renew().await.held.clone();
    assert!(other.renew().await.held.is_empty());
    let told = one.renew().await.clone();
    assert_eq!((&told.held, told.surplus.endpoints.len()), (&before, 1));
    assert!(other.renew().await.held.is_empty(), "it is still the first one's");
    assert_eq!(one.renew().await.held, before.clone().without(&told.surplus));
    let moved = other.renew().await.held.clone();
    assert!(moved.endpoints.keys().eq(told.surplus.endpoints.keys()));
    let epochs = |held: &Held| held.endpoints.values().copied().collect::<Vec<_>>();
    assert_eq!((epochs(&told.surplus), epochs(&moved)), (vec![Epoch(1)], vec![Epoch(2)]));
    assert_eq!(other.last.taken_over, 0, "nobody died");
}

#[tokio::test]
async fn what_a_silent_member_held_is_taken_over_when_its_lease_is_over() {
    let shared = Shared::new().await;
    shared.many_endpoints(3).await;
    let (mut silent, mut other) = (shared.translator(SHORT), shared.translator(LONG));
    let before = silent.renew().await.held.clone();
    let (begun, mut taken_over) = (Instant::now(), 0);
    while other.load() < 3 {
        taken_over += other.renew().await.taken_over;
        assert!(begun.elapsed() < PATIENCE, "it is never taken over");
    }
    assert_eq!(taken_over, 3);
    for (endpoint, epoch) in &before.endpoints {
        assert!(other.last.held.endpoints[endpoint] > *epoch);
    }
    assert!(silent.renew().await.held.is_empty(), "it comes back as one that holds nothing");
}

#[tokio::test]
async fn an_endpoint_whose_holder_died_is_suspected_until_its_present_holder_absolves_it() {
    let shared = Shared::new().await;
    shared.receive(&["a", "b"]).await;
    let (mut dies, mut other) = (shared.translator(SHORT), shared.translator(LONG));
    dies.renew().await;
    assert_eq!(shared.records.suspected().await.expect("read"), [], "it is alive");
    let begun = Instant::now();
    while other.load() < 2 {
        other.renew().await;
        assert!(begun.elapsed() < PATIENCE, "it is never taken over");
    }
    let suspected = || async {
        let mut names = shared.records.suspected().await.expect("read");
        names.sort();
        names
    };
    assert_eq!(suspected().await, [name("a"), name("b")]);
    let held = other.last.held.endpoints.clone();
    let absolve = |endpoint: &'static str, epoch: Epoch| {
        let endpoints = [(name(endpoint), epoch)];
        let records = &shared.records;
        async move { records.absolve(&endpoints, &[]).await.expect("absolved") }
    };
    absolve("a", Epoch(held[&name("a")].0 - 1)).await;
    assert_eq!(suspected().await.len(), 2, "its epoch is over");
    absolve("a", held[&name("a")]).await;
    assert_eq!(suspected().await, [name("b")]);
    other.leases.leave().await.expect("left");
    let mut next = shared.translator(LONG);
    next.renew().await;
    assert_eq!(suspected().await, [name("b")], "who takes it from one that left knows too");
}

#[tokio::test]
async fn a_try_that_nobody_came_back_from_counts_for_everybody() {
    let shared = Shared::new().await;
    let other = PostgresRecords::open(shared.database.clone(), DAY).await.expect("opened");
    let event = |ordinal, id| {
        let suspect = Suspect::Event(EventRef { number: EntryNumber(7), ordinal });
        Some(Try { suspect, id })
    };
    let reading = |id| Some(Try { suspect: Suspect::Delivery(EntryNumber(7)), id });
    let mut tries = Vec::new();
    // The first one dies at event 1; the second comes back from all but that; the third finds two deaths.
    for (records, done, next) in [
        (&shared.records, None, reading(1)),
        (&shared.records, reading(1), event(0, 2)),
        (&shared.records, event(0, 2), event(1, 3)),
        (&other, None, reading(4)),
        (&other, reading(4), event(0, 5)),
        (&other, event(0, 5), event(1, 6)),
        (&shared.records, None, event(1, 7)),
        (&shared.records, event(1, 7), None),
        (&other, None, event(1, 8)),
    ] {
        tries.push(records.try_alone(done, next).await.expect("noted"));
    }
    assert_eq!(tries, [0, 0, 0, 0, 0, 1, 2, 0, 2], "whoever comes back takes back only its own try");
    let suspect = Suspect::Event(EventRef { number: EntryNumber(7), ordinal: 1 });
    shared.records.absolve(&[], &[suspect]).await.expect("absolved");
    assert_eq!(other.try_alone(None, event(1, 9)).await.expect("noted"), 0);
}

#[tokio::test]
async fn a_try_that_is_told_again_counts_once_also_beside_the_release_before() {
    let shared = Shared::new().await;
    let tried = |id| Some(Try { suspect: Suspect::Delivery(EntryNumber(7)), id });
    let before = |sql: &str| shared.server.sql(&format!("SET search_path TO ledger; SELECT {sql}"));
    before("try_alone(NULL, NULL, 7, -1)");
    for (done, next, kills) in [
        (None, tried(1), 1),
        (None, tried(1), 1),
        (tried(1), None, 0),
        (tried(1), None, 0),
        (tried(1), tried(2), 1),
        (None, tried(3), 2),
        (tried(2), tried(3), 1),
    ] {
        assert_eq!(shared.records.try_alone(done, next).await.expect("noted"), kills, "{done:?}, {next:?}");
    }
    assert_eq!(before("try_alone(7, -1, 7, -1)"), "1", "it takes back its own");
}

#[tokio::test]
async fn who_comes_back_before_anybody_noticed_goes_on_by_its_epoch() {
    let shared = Shared::new().await;
    shared.receive(&["a"]).await;
    let mut alone = shared.translator(SHORT);
    let before = alone.renew().await.clone();
    shared.server.sql("UPDATE ledger.members SET expires_at = '-infinity'");
    assert_eq!(alone.renew().await, &before);
}

#[tokio::test]
async fn who_leaves_leaves_everything_at_once() {
    let shared = Shared::new().await;
    shared.many_endpoints(3).await;
    let (mut one, mut other) = (shared.translator(LONG), shared.translator(LONG));
    one.renew().await;
    one.leases.leave().await.expect("left");
    one.leases.leave().await.expect("twice is nothing");
    assert_eq!(other.renew().await.held.endpoints.len(), 3);
    assert_eq!(other.last.taken_over, 0);
}

#[tokio::test]
async fn a_commit_by_an_epoch_that_is_over_is_stale_and_leaves_nothing() {
    let shared = Shared::new().await;
    shared.receive(&["a"]).await;
    shared.brokers(&["audit"]).await;
    let takes = Takes { endpoints: true, brokers: vec!["audit".to_owned()] };
    let (mut paused, mut other) = (shared.member(LONG, takes.clone()), shared.member(LONG, takes));
    let old = paused.renew().await.held.clone();
    let (endpoint, before) = (name("a"), old.endpoints[&name("a")]);
    shared.server.sql("UPDATE ledger.members SET expires_at = '-infinity'");
    let now = other.renew().await.held.clone();

    assert!(matches!(shared.advance(&endpoint, 1, before).await, Err(RecordsError::Stale(_))));
    assert_eq!(shared.records.cursors().await.expect("reads"), [(endpoint.clone(), EntryNumber(0))]);
    let noted =
        |epoch| shared.records.note_published("audit", &[], EventNumber(1), Leave { epoch, ..Leave::ALONE });
    assert!(matches!(noted(old.brokers["audit"]).await, Err(RecordsError::Stale(_))));
    assert!(matches!(noted(Epoch::UNLEASED).await, Err(RecordsError::Stale(_))));
    shared.advance(&endpoint, 1, now.endpoints[&endpoint]).await.expect("the holder commits");
    noted(now.brokers["audit"]).await.expect("the holder notes");
    assert_eq!(shared.records.cursors().await.expect("reads"), [(endpoint, EntryNumber(1))]);
}

#[tokio::test]
async fn a_holder_that_was_stopped_amid_a_commit_delays_only_what_it_commits_and_not_for_long() {
    let shared = Shared::new().await;
    shared.receive(&["a", "b"]).await;
    let (mut stopped, mut other) = (shared.translator(SHORT), shared.translator(LONG));
    let held = stopped.renew().await.held.clone();
    // The transaction of a client that says nothing more.
    let session = shared.database.session().await.expect("lent");
    session.batch("BEGIN").await.expect("begun");
    let id: i32 =
        shared.server.sql("SELECT id FROM ledger.endpoints WHERE endpoint = 'a'").parse().expect("an id");
    let epoch = i64::try_from(held.endpoints[&name("a")].0).expect("small");
    let step = "SELECT advance_cursors($1, $2, $3)";
    session.query(step, &[&vec![id], &vec![1_i64], &vec![epoch]]).await.expect("advanced");
    let begun = Instant::now();
    while other.load() < 2 {
        other.renew().await;
        assert!(begun.elapsed() < PATIENCE, "it holds up everybody");
    }
    assert_eq!(shared.records.cursors().await.expect("reads")[0], (name("a"), EntryNumber(0)));
}

#[tokio::test]
async fn brokers_go_only_to_those_that_take_them_and_none_stays_free() {
    let shared = Shared::new().await;
    shared.brokers(&["x", "y", "z"]).await;
    shared.receive(&["a"]).await;
    let mut members = vec![shared.publisher(&["x", "y", "z", "never introduced"]), shared.publisher(&["x"])];
    settle(&mut members).await;
    assert_eq!((members[0].brokers(), members[1].brokers()), (vec!["y", "z"], vec!["x"]));
    members.push(shared.translator(LONG));
    assert_eq!(settle(&mut members).await, [2, 1, 1]);
    assert!(members[2].brokers().is_empty() && members[0].last.held.endpoints.is_empty());
    members.remove(1).leases.leave().await.expect("left");
    settle(&mut members).await;
    assert_eq!(members[0].brokers(), ["x", "y", "z"]);
}

#[tokio::test]
async fn an_endpoint_has_a_cursor_before_its_first_entry() {
    let shared = Shared::new().await;
    shared.receive(&["a", "a"]).await;
    shared.receive(&["b", "a"]).await;
    let cursors: BTreeMap<_, _> = shared.records.cursors().await.expect("reads").into_iter().collect();
    assert_eq!(cursors, BTreeMap::from([(name("a"), EntryNumber(0)), (name("b"), EntryNumber(2))]));
    let mut member = shared.translator(LONG);
    let epoch = member.renew().await.held.endpoints[&name("b")];
    shared.advance(&name("b"), 3, epoch).await.expect("commits");
    shared.receive(&["b"]).await;
    let cursors: BTreeMap<_, _> = shared.records.cursors().await.expect("reads").into_iter().collect();
    assert_eq!(cursors[&name("b")], EntryNumber(3), "who is known stays as it is");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_that_many_make_known_at_once_are_known_once() {
    let shared = Shared::new().await;
    let mut writing = Vec::new();
    for writer in 0..4 {
        let (mut log, _) = log::postgres::open(&database(&shared.config), DAY).await.expect("opened");
        writing.push(tokio::spawn(async move {
            for n in 0..12 {
                let names = [format!("endpoint {}", (n + writer * 3) % 12), format!("endpoint {}", 11 - n)];
                log.append(time_of(1), &names.map(|name| entry(&name))).await.expect("kept");
            }
        }));
    }
    for writer in writing {
        writer.await.expect("wrote");
    }
    assert_eq!(shared.records.cursors().await.expect("reads").len(), 12);
    let early = "SELECT count(*) FROM ledger.cursors WHERE through >= (SELECT last FROM ledger.log_end)";
    assert_eq!(shared.server.sql(early), "0", "each began before its first entry");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_ends_sessions_leaves_every_lease_with_one_holder() {
    let shared = Shared::new().await;
    shared.many_endpoints(6).await;
    let mut members = [shared.translator(LONG), shared.translator(LONG)];
    for _ in 0..5 {
        for member in &mut members {
            let given_up = std::mem::take(&mut member.last.surplus);
            if let Ok(renewed) = member.leases.renew(&member.takes, &given_up).await {
                member.last = renewed;
            }
            shared.server.terminate_sessions();
        }
    }
    for member in &mut members {
        // The session before was ended.
        let _ = member.leases.renew(&member.takes, &Held::default()).await;
        member.last.surplus = Held::default();
    }
    assert_eq!(settle(&mut members).await, [3, 3]);
}
