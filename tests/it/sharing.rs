//! Several processes over one ledger in PostgreSQL, stepped by hand: what each works while leases move between them.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use douane::{
    brokers::FileBroker,
    clock::{Clock, ManualClock},
    config::{BrokerFrom, TranslationConfig},
    dedupe::{RedisAccess, RedisMemory, SharedMemory},
    ledger::{
        AppendError, Appended, EncodedEntry, EventFilter, FeedRecords, InspectRecords, IntakeLog,
        PostgresLeases, RecordsError, Suspect, SuspectRecords, Takes, TranslationRecords, Try,
        log::postgres::{self, PostgresLog, PostgresReader},
        postgres::migrate,
        records::PostgresRecords,
    },
    model::{
        Assurance, DeliveryId, DeliveryMeta, EndpointName, EntryMeta, Epoch, EventNumber, Headers, NewEntry,
        Timestamp,
    },
    partners::{MappingsFolder, Registry, SecretsFrom},
    pipeline::{
        CrashNote, LeaseKeeper, LeasePace, Progress, PublicationParts, PublicationStage, Stage, StageError,
        TranslationParts, TranslationStage,
    },
};
use serde_json::Value;
use tokio::sync::watch;

use crate::{
    servers::postgres::Postgres,
    stages::{PAID, paid, partner},
};

const DAY: Duration = Duration::from_hours(24);
/// So long that no lease runs out but by a test's hand.
const PACE: LeasePace = LeasePace { lasts: Duration::from_mins(5), renewal: Duration::from_secs(1) };
const PARTNERS: [&str; 5] = ["acme", "bolt", "crow", "dune", "echo"];

/// The ledger, and what partners do.
pub struct Shared {
    pub server: Postgres,
    folder: tempfile::TempDir,
    pub clock: Arc<ManualClock>,
    registry: Arc<Registry>,
    log: PostgresLog,
    deliveries: u128,
    /// The memory of verdicts that processes share, where they have one.
    pub remember: Option<RedisAccess>,
    /// Processes that were started.
    started: usize,
}

impl Shared {
    pub async fn new() -> Self {
        let server = Postgres::start();
        let database = server.database("ledger");
        migrate(&database).await.expect("migrated");
        let (log, _) = postgres::open(&database, DAY).await.expect("opened");
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_795_435_200).expect("a time")));
        let folder = tempfile::tempdir().expect("a folder");
        let registry = Arc::new(Registry::default());
        let shared = Self { server, folder, clock, registry, log, deliveries: 0, remember: None, started: 0 };
        shared.reload(&PARTNERS);
        shared
    }

    /// Desks for these partners, and no others.
    fn reload(&self, partners: &[&str]) {
        let files = partners.iter().flat_map(|name| partner(name, "external_id = \"body.id\"", PAID));
        let folder = MappingsFolder::from_files(files);
        self.registry.reload(&folder, &std::collections::BTreeMap::new(), SecretsFrom::TestTables);
    }

    pub async fn deliver(&mut self, partner: &str, id: &str, order: &str) {
        self.try_to_deliver(partner, id, order).await.expect("kept");
    }

    /// One that may be answered 503.
    pub async fn try_to_deliver(
        &mut self,
        partner: &str,
        id: &str,
        order: &str,
    ) -> Result<Appended, AppendError> {
        self.deliveries += 1;
        let meta = DeliveryMeta {
            id: DeliveryId(uuid::Uuid::from_u128(self.deliveries)),
            endpoint: EndpointName::new(partner, "default"),
            method: "POST".to_owned(),
            target: format!("/in/{partner}"),
            version: "HTTP/1.1".to_owned(),
            headers: Headers::default(),
            assurance: Assurance::None,
            secret_id: None,
        };
        let body = Bytes::from(paid(id, order, 1).to_string());
        let entry =
            EncodedEntry::try_from(NewEntry { meta: EntryMeta::Delivery(meta), body }).expect("metadata");
        self.log.append(self.clock.now(), &[entry]).await
    }

    /// A process that shares the work: endpoints, and the broker `all`.
    pub async fn process(&mut self) -> Process {
        self.started += 1;
        let database = self.server.database("ledger");
        let (_, reader) = postgres::open(&database, DAY).await.expect("opened");
        let records = Arc::new(PostgresRecords::open(database.clone(), DAY).await.expect("opened"));
        let leases = PostgresLeases::new(database, PACE.lasts).expect("a member");
        let takes = Takes { endpoints: true, brokers: vec!["all".to_owned()] };
        let keeper = LeaseKeeper::new(Arc::new(leases), takes, PACE);
        let note = self.folder.path().join(format!("{}.note", self.started));
        let stage = TranslationStage::new(TranslationParts {
            log: Arc::new(reader.clone()),
            records: Arc::clone(&records) as _,
            memory: self.memory(&records),
            registry: Arc::clone(&self.registry),
            clock: Arc::clone(&self.clock) as _,
            config: TranslationConfig { threads: 1, batch_entries: 5, ..TranslationConfig::default() },
            namespace: "com.example".to_owned(),
            links: tokio::sync::watch::Sender::default(),
            crash_note: CrashNote::open(&note).expect("the note"),
            committed: watch::channel(EventNumber(0)).0,
        });
        let publication = PublicationParts {
            feed: Arc::clone(&records) as _,
            records: Arc::clone(&records) as _,
            broker: Arc::new(FileBroker::new("all", self.published_to(), 1 << 20)),
            matching: Vec::new(),
            batch_events: 3,
            clock: Arc::clone(&self.clock) as _,
        };
        let publication = PublicationStage::open(publication, Some(BrokerFrom::Beginning)).await;
        Process {
            stage: stage.expect("threads").sharing(keeper.held(), Arc::clone(&records) as _),
            publication: publication.expect("it is introduced").sharing(keeper.held()),
            keeper,
            reader,
            records,
        }
    }

    fn memory(&self, records: &Arc<PostgresRecords>) -> Option<Arc<SharedMemory>> {
        let redis = Arc::new(RedisMemory::new(records.incarnation(), self.remember.clone()?));
        let (records, clock) = (Arc::clone(records) as _, Arc::clone(&self.clock) as _);
        Some(Arc::new(SharedMemory::new(redis, records, clock, PACE.renewal).expect("randomness")))
    }

    fn published_to(&self) -> PathBuf {
        self.folder.path().join("all.ndjson")
    }

    pub fn published(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.published_to()).unwrap_or_default();
        let orders = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("json"));
        orders.map(|event| event["data"]["order"].as_str().expect("an order").to_owned()).collect()
    }

    /// Whoever works this partner dies, and nobody else.
    fn kill_holder_of(&self, partner: &str) {
        self.server.sql(&format!(
            "UPDATE ledger.members SET expires_at = '-infinity'
             WHERE id = (SELECT holder FROM ledger.named_leases WHERE partner = '{partner}')"
        ));
    }

    /// The last delivery has ended three processes that tried it alone; at its reading (-1), or at its first event (0).
    fn last_has_killed_three(&self, ordinal: i32) {
        let number = self.deliveries;
        self.server.sql(&format!("INSERT INTO ledger.suspects VALUES ({number}, {ordinal}, 3)"));
    }

    /// Every lease is over, by the clock that counts, as if all processes had been stopped for long.
    pub fn let_leases_run_out(&self) {
        self.server.sql("UPDATE ledger.members SET expires_at = '-infinity'");
    }
}

/// A process that shares the work.
pub struct Process {
    pub stage: TranslationStage,
    pub publication: PublicationStage,
    keeper: LeaseKeeper,
    pub reader: PostgresReader,
    pub records: Arc<PostgresRecords>,
}

impl Process {
    pub async fn renew(&mut self) -> usize {
        self.keeper.renew().await;
        self.keeper.held().borrow().endpoints.len()
    }

    pub async fn step(&mut self) -> Result<Progress, StageError> {
        self.reader.look().await.expect("asked");
        self.stage.step().await
    }

    /// Works until nothing is left that is its own.
    pub async fn work(&mut self) {
        for _ in 0..1_000 {
            if self.step().await.expect("a step") == Progress::Idle {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// Works, and then tells what it passed of others, as it does after a while.
    pub async fn rest(&mut self, clock: &ManualClock) {
        self.work().await;
        clock.advance(Duration::from_secs(1));
        self.work().await;
    }

    pub async fn publish(&mut self) {
        while self.publication.step().await.expect("a step") == Progress::Worked {}
    }

    pub async fn orders(&self) -> Vec<String> {
        let filter = EventFilter::default();
        let feed = self.records.events_after(EventNumber(0), 10_000, &filter).await.expect("the feed");
        let bodies = feed.iter().map(|event| serde_json::from_slice::<Value>(&event.body).expect("json"));
        bodies.map(|event| event["data"]["order"].as_str().expect("an order").to_owned()).collect()
    }

    pub async fn worked(&self) -> u64 {
        let figures = self.records.conservation().await.expect("reads");
        assert_eq!(figures.identified, figures.outcomes.iter().map(|(_, count)| count).sum::<u64>());
        assert_eq!((figures.orphans, figures.domain_events), (0, figures.last_event.0));
        figures.worked
    }

    pub async fn cursors(&self) -> Vec<u64> {
        let cursors = self.records.cursors().await.expect("reads");
        cursors.into_iter().map(|(_, through)| through.0).collect()
    }
}

/// Records whose connection breaks before some answers come, of those to how a try went.
struct LosesAnswers(Arc<PostgresRecords>, AtomicUsize);

/// Of one delivery with one event: two answers to the try of its reading, three of its event, one to that all came back.
const LOST: [usize; 6] = [0, 1, 3, 5, 7, 10];

#[async_trait]
impl SuspectRecords for LosesAnswers {
    async fn suspected(&self) -> Result<Vec<EndpointName>, RecordsError> {
        self.0.suspected().await
    }

    async fn try_alone(&self, done: Option<Try>, next: Option<Try>) -> Result<u32, RecordsError> {
        let answer = self.0.try_alone(done, next).await?;
        if LOST.contains(&self.1.fetch_add(1, Ordering::Relaxed)) {
            return Err(RecordsError::Unavailable("the connection is gone".to_owned()));
        }
        Ok(answer)
    }

    async fn absolve(
        &self,
        endpoints: &[(EndpointName, Epoch)],
        suspects: &[Suspect],
    ) -> Result<(), RecordsError> {
        self.0.absolve(endpoints, suspects).await
    }
}

fn of<'a>(partner: &str, orders: &'a [String]) -> Vec<&'a String> {
    orders.iter().filter(|order| order.starts_with(partner)).collect()
}

#[tokio::test]
async fn two_processes_share_the_endpoints_and_each_works_its_own() {
    let mut shared = Shared::new().await;
    let (mut one, mut other) = (shared.process().await, shared.process().await);
    assert_eq!(one.step().await, Ok(Progress::Idle), "who holds nothing reads nothing");
    for n in 0..40 {
        let partner = PARTNERS[n % PARTNERS.len()];
        shared.deliver(partner, &n.to_string(), &format!("{partner} {n:02}")).await;
    }
    for _ in 0..4 {
        one.renew().await;
        other.renew().await;
    }
    assert_eq!(one.renew().await + other.renew().await, PARTNERS.len());
    one.work().await;
    let (mine, cursors) = (one.worked().await, one.cursors().await);
    assert!(mine == 16 || mine == 24, "{mine}");
    assert!(
        cursors.iter().any(|cursor| *cursor >= 35) && cursors.iter().any(|cursor| *cursor < 5),
        "{cursors:?}"
    );
    other.work().await;
    assert_eq!(one.worked().await, 40);
    for process in [&mut one, &mut other] {
        process.rest(&shared.clock).await;
    }
    assert_eq!(one.cursors().await, [40; 5], "there is no frontier beside the endpoints");
    let orders = one.orders().await;
    assert_eq!(orders.len(), 40);
    for partner in PARTNERS {
        assert!(of(partner, &orders).is_sorted(), "{orders:?}");
    }
}

#[tokio::test]
async fn a_process_that_was_paused_commits_nothing_and_then_goes_on_with_what_it_holds() {
    let mut shared = Shared::new().await;
    let (mut paused, mut other) = (shared.process().await, shared.process().await);
    for n in 0..12 {
        shared.deliver("acme", &n.to_string(), &format!("acme {n:02}")).await;
    }
    assert_eq!(paused.renew().await, 1);
    assert_eq!(paused.step().await, Ok(Progress::Worked), "one batch is committed, the next is read ahead");
    shared.let_leases_run_out();
    assert_eq!(other.renew().await, 1);
    let before = paused.worked().await;
    assert!(matches!(paused.step().await, Err(StageError::Fenced(_))));
    assert!(
        matches!(paused.step().await, Err(StageError::Fenced(_))),
        "it read the cursors again, and is none the wiser"
    );
    assert_eq!(paused.worked().await, before);
    assert_eq!(paused.renew().await, 0);
    assert_eq!(paused.step().await, Ok(Progress::Idle));
    other.work().await;
    assert_eq!(other.worked().await, 12);
    let orders = other.orders().await;
    assert!(orders.len() == 12 && orders.is_sorted(), "{orders:?}");

    other.keeper.leave().await;
    for n in 12..16 {
        shared.deliver("acme", &n.to_string(), &format!("acme {n:02}")).await;
    }
    assert_eq!(paused.renew().await, 1);
    paused.work().await;
    assert_eq!(paused.orders().await.len(), 16);
}

#[tokio::test]
async fn a_poison_behind_more_of_others_than_a_batch_is_found_by_who_follows() {
    let mut shared = Shared::new().await;
    let (mut dies, mut other) = (shared.process().await, shared.process().await);
    shared.deliver("acme", "1", "acme 1").await;
    assert_eq!(dies.renew().await, 1);
    shared.deliver("bolt", "1", "bolt 1").await;
    assert_eq!(other.renew().await, 1);
    dies.work().await;
    for n in 2..16 {
        shared.deliver("bolt", &n.to_string(), &format!("bolt {n}")).await;
    }
    shared.deliver("acme", "2", "acme poison").await;
    shared.last_has_killed_three(0);
    shared.deliver("acme", "3", "acme 3").await;
    shared.kill_holder_of("acme");

    let mut heir = shared.process().await;
    assert_eq!(heir.renew().await, 1);
    heir.work().await;
    assert_eq!(heir.orders().await, ["acme 1", "acme 3"]);
    assert_eq!(heir.worked().await, 3, "the poison too: it is set aside");
    assert_eq!(heir.records.suspected().await.expect("read"), []);
}

#[tokio::test]
async fn a_poison_in_what_was_read_ahead_is_found_by_who_follows() {
    let mut shared = Shared::new().await;
    let mut dies = shared.process().await;
    shared.deliver("acme", "0", "acme 0").await;
    assert_eq!(dies.renew().await, 1);
    dies.work().await;
    for n in 1..8 {
        shared.deliver("acme", &n.to_string(), &format!("acme {n}")).await;
    }
    shared.last_has_killed_three(-1);
    for n in 8..20 {
        shared.deliver("acme", &n.to_string(), &format!("acme {n}")).await;
    }
    shared.kill_holder_of("acme");

    let mut heir = shared.process().await;
    assert_eq!(heir.renew().await, 1);
    heir.work().await;
    let orders = heir.orders().await;
    assert!(orders.len() == 19 && !orders.contains(&"acme 7".to_owned()), "{orders:?}");
    assert_eq!(heir.worked().await, 20);
    assert_eq!(heir.records.suspected().await.expect("read"), []);
}

#[tokio::test]
async fn deaths_are_not_forgotten_before_their_dead_letter_is_committed() {
    let mut shared = Shared::new().await;
    let mut dies = shared.process().await;
    shared.deliver("acme", "1", "acme poison").await;
    shared.last_has_killed_three(0);
    assert_eq!(dies.renew().await, 1);
    shared.let_leases_run_out();
    let (mut late, mut heir) = (shared.process().await, shared.process().await);
    assert_eq!(late.renew().await, 1);
    shared.let_leases_run_out();
    assert_eq!(heir.renew().await, 1);
    for _ in 0..2 {
        assert!(
            matches!(late.step().await, Err(StageError::Fenced(_))),
            "it sets aside what is another's now"
        );
    }
    heir.work().await;
    assert_eq!((heir.orders().await.len(), heir.worked().await), (0, 1), "nobody has to die of it again");
}

#[tokio::test]
async fn an_answer_that_is_lost_is_no_death() {
    let mut shared = Shared::new().await;
    let mut dies = shared.process().await;
    shared.deliver("acme", "1", "acme 1").await;
    assert_eq!(dies.renew().await, 1);
    shared.kill_holder_of("acme");

    let mut heir = shared.process().await;
    let loses = LosesAnswers(Arc::clone(&heir.records), AtomicUsize::new(0));
    heir.stage = heir.stage.sharing(heir.keeper.held(), Arc::new(loses));
    assert_eq!(heir.renew().await, 1);
    for _ in LOST {
        assert!(matches!(heir.step().await, Err(StageError::Wait(_))));
    }
    heir.work().await;
    assert_eq!(heir.orders().await, ["acme 1"]);
    assert_eq!(shared.server.sql("SELECT count(*) FROM ledger.suspects"), "0");
}

#[tokio::test]
async fn leases_that_move_at_any_time_leave_nothing_out_and_work_nothing_twice() {
    for seed in 1..=4_u64 {
        let mut shared = Shared::new().await;
        let mut processes = vec![shared.process().await, shared.process().await, shared.process().await];
        let mut state = seed;
        // Any sequence does, and this one is the same every time.
        let mut chance = move |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).expect("small") % below
        };
        let mut delivered = 0;
        for _ in 0..250 {
            let who = chance(processes.len());
            match chance(10) {
                0..=3 => {
                    let partner = PARTNERS[chance(PARTNERS.len())];
                    shared
                        .deliver(partner, &delivered.to_string(), &format!("{partner} {delivered:03}"))
                        .await;
                    delivered += 1;
                }
                4..=6 => match processes[who].step().await {
                    Ok(_) | Err(StageError::Fenced(_)) => {}
                    Err(error) => panic!("seed {seed}: {error}"),
                },
                7 | 8 => drop(processes[who].renew().await),
                _ if chance(4) == 0 => shared.let_leases_run_out(),
                _ if chance(3) == 0 => {
                    let leaves = std::mem::replace(&mut processes[who], shared.process().await);
                    leaves.keeper.leave().await;
                }
                _ => {}
            }
        }
        for _ in 0..4 {
            for process in &mut processes {
                process.renew().await;
            }
        }
        for process in &mut processes {
            process.work().await;
        }
        let last = &processes[0];
        assert_eq!(last.worked().await, delivered, "seed {seed}");
        let orders = last.orders().await;
        assert_eq!(orders.len() as u64, delivered, "seed {seed}");
        for partner in PARTNERS {
            assert!(of(partner, &orders).is_sorted(), "seed {seed}: {orders:?}");
        }
    }
}

#[tokio::test]
async fn an_endpoint_whose_partner_is_gone_is_taken_over_and_keeps_only_what_waits() {
    let mut shared = Shared::new().await;
    let mut one = shared.process().await;
    for (n, partner) in ["acme", "bolt", "acme"].into_iter().enumerate() {
        shared.deliver(partner, &n.to_string(), partner).await;
    }
    one.renew().await;
    one.rest(&shared.clock).await;
    // The next process never knew the partner.
    shared.registry = Arc::default();
    shared.reload(&["acme"]);
    for (n, partner) in ["acme", "acme", "bolt", "acme", "bolt"].into_iter().enumerate() {
        shared.deliver(partner, &format!("later {n}"), partner).await;
    }
    one.keeper.leave().await;
    // As it would be if the process had died before it told where the endpoint stands.
    shared.server.sql("UPDATE ledger.cursors SET through = 3");
    let mut other = shared.process().await;
    other.renew().await;
    other.rest(&shared.clock).await;
    let mut cursors = other.cursors().await;
    cursors.sort_unstable();
    assert_eq!(cursors, [5, 8], "right before its first entry that waits");
    shared.reload(&["acme", "bolt"]);
    other.rest(&shared.clock).await;
    assert_eq!(other.cursors().await, [8, 8]);
}

#[tokio::test]
async fn a_broker_is_published_to_by_one_and_first_appearances_keep_their_order() {
    let mut shared = Shared::new().await;
    let (mut one, mut other) = (shared.process().await, shared.process().await);
    for n in 0..10 {
        shared.deliver("acme", &n.to_string(), &format!("{n}")).await;
    }
    one.renew().await;
    one.work().await;
    assert_eq!(other.publication.step().await, Ok(Progress::Idle), "it is not its own");
    assert_eq!(one.publication.step().await, Ok(Progress::Worked));
    shared.let_leases_run_out();
    other.renew().await;
    assert!(
        matches!(one.publication.step().await, Err(StageError::Fenced(_))),
        "what it placed is noted by nobody"
    );
    one.renew().await;
    assert_eq!(one.publication.step().await, Ok(Progress::Idle));
    other.publish().await;
    let published = shared.published();
    let mut first = Vec::new();
    for order in &published {
        if !first.contains(order) {
            first.push(order.clone());
        }
    }
    assert_eq!(first, (0..10).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(published.len(), 13, "one batch stands there twice");

    other.keeper.leave().await;
    shared.deliver("acme", "more", "more").await;
    one.renew().await;
    one.work().await;
    one.publish().await;
    assert_eq!(
        shared.published().last().map(String::as_str),
        Some("more"),
        "it goes on where the other stood"
    );
    assert_eq!(shared.published().len(), 14);
}
