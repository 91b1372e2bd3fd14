//! The stages behind the door, on real parts: segments, SQLite, compiled desks, a file broker; stepped by hand, on a manual
//! clock. What is appended here is what `intake` appends after a signature held.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
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
    dedupe::SharedMemory,
    ledger::{
        DeliveryFilter, EncodedEntry, EventFilter, FeedRecords, InspectRecords, IntakeLog, Owner,
        PublicationRecords, RecordsError, ReplayTarget, Tenured, TranslationCommit, TranslationRecords,
        log::{
            files::OsFolder,
            segments::{self, SegmentLog, SegmentOptions, SegmentReader},
        },
        records::SqliteRecords,
    },
    model::{
        Assurance, DeliveryId, DeliveryMeta, EndpointName, EntryMeta, EntryNumber, EventNumber, EventRef,
        Headers, Incarnation, NewEntry, ReplayMeta, Timestamp, TypePattern,
    },
    partners::{MappingsFolder, Registry, SecretsFrom},
    pipeline::{
        CrashNote, Progress, PublicationParts, PublicationStage, Stage, StageError, TranslationParts,
        TranslationStage,
    },
};
use serde_json::{Value, json};
use tokio::sync::watch;

const CONTRACT: (&str, &str) = (
    "contracts/sales/OrderPaid.v1.0.json",
    r#"{
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "OrderPaid", "description": "An order was paid.", "owner": "sales", "type": "object",
        "properties": {
            "order": { "description": "The order.", "type": "string", "minLength": 1 },
            "amount": { "description": "In minor units.", "type": "integer" }
        },
        "required": ["order", "amount"], "additionalProperties": false,
        "examples": [{ "order": "o-1", "amount": 1998 }]
    }"#,
);

pub const PAID: &str = r#"{
    "type": "sales.OrderPaid.v1",
    "subject": .order,
    "data": { "order": string!(.order), "amount": int!(.amount) }
}"#;

pub fn partner(name: &str, identify: &str, module: &str) -> Vec<(String, String)> {
    let text = format!(
        r#"
name = "{name}"
owner = "sales"

[signature]
unsigned = true

[[endpoint]]
name = "default"

[identify]
event_type = "body.type"
ordering_key = "body.order"
window = "1h"
{identify}

[[mapping]]
on = ["paid"]
module = "paid.vrl"
emits = ["sales.OrderPaid.v1"]

[[ignore]]
on = ["ping"]
why = "it only says that it is alive"
"#
    );
    vec![
        (format!("partners/{name}/partner.toml"), text),
        (format!("partners/{name}/paid.vrl"), module.to_owned()),
        (CONTRACT.0.to_owned(), CONTRACT.1.to_owned()),
    ]
}

pub fn acme() -> Vec<(String, String)> {
    partner("acme", "external_id = \"body.id\"", PAID)
}

/// A ledger in a folder, and the process that works it.
pub struct Gateway {
    folder: tempfile::TempDir,
    pub clock: Arc<ManualClock>,
    registry: Arc<Registry>,
    pub faults: Arc<Faults>,
    /// Makes the memory that the process shares, where it has one.
    pub remember: Option<Remember>,
    running: Option<Running>,
    deliveries: u128,
}

type Remember = Box<dyn Fn(Arc<SqliteRecords>, Arc<ManualClock>) -> Arc<SharedMemory>>;

/// What ends with the process.
struct Running {
    log: SegmentLog,
    reader: Arc<SegmentReader>,
    records: Arc<SqliteRecords>,
    stage: TranslationStage,
}

/// Records that fail on demand and are otherwise the real ones.
#[derive(Default)]
pub struct Faults {
    /// Refuse every commit that holds an event with this ordering key.
    poison: Mutex<Option<&'static str>>,
    /// Commit, and then say that the database is away: the fate of the commit is unknown to the stage.
    pub lost_answers: AtomicUsize,
    /// How many ids the records' index was asked for.
    pub asked: AtomicUsize,
}

struct Faulty {
    records: Arc<SqliteRecords>,
    faults: Arc<Faults>,
}

impl Tenured for Faulty {}

#[async_trait]
impl TranslationRecords for Faulty {
    async fn cursors(&self) -> Result<Vec<(EndpointName, EntryNumber)>, RecordsError> {
        self.records.cursors().await
    }

    async fn owners(&self, ids: &[(EndpointName, String)]) -> Result<Vec<Option<Owner>>, RecordsError> {
        self.faults.asked.fetch_add(ids.len(), Ordering::SeqCst);
        self.records.owners(ids).await
    }

    async fn same_bodies(
        &self,
        bodies: &[(EndpointName, [u8; 32])],
        since: Timestamp,
    ) -> Result<Vec<Option<EntryNumber>>, RecordsError> {
        self.records.same_bodies(bodies, since).await
    }

    async fn replay_targets(&self, events: &[EventRef]) -> Result<Vec<ReplayTarget>, RecordsError> {
        self.records.replay_targets(events).await
    }

    async fn commit(&self, commit: TranslationCommit) -> Result<EventNumber, RecordsError> {
        let poison = *self.faults.poison.lock().expect("the fault");
        let events = commit.entries.iter().flat_map(|entry| &entry.events);
        let mut keys = events.filter_map(|event| Some(event.event.as_ref()?.ordering_key.as_str()));
        if poison.is_some_and(|poison| keys.any(|key| key == poison)) {
            return Err(RecordsError::Refused("string or blob too big".to_owned()));
        }
        let last = self.records.commit(commit).await?;
        let one_less = |left: usize| left.checked_sub(1);
        if self.faults.lost_answers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
            return Err(RecordsError::Unavailable("the answer was lost".to_owned()));
        }
        Ok(last)
    }
}

pub const INCARNATION: Incarnation = Incarnation(uuid::Uuid::from_u128(1));

impl Gateway {
    pub async fn new(files: Vec<(String, String)>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        SqliteRecords::create(&folder.path().join("records.sqlite"), INCARNATION).expect("records");
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_795_435_200).expect("a time")));
        let registry = Arc::new(Registry::default());
        let mut gateway = Self {
            folder,
            clock,
            registry,
            faults: Arc::default(),
            remember: None,
            running: None,
            deliveries: 0,
        };
        gateway.reload(files);
        gateway.restart().await;
        gateway
    }

    /// What is wrong with the folder does not stop the gateway; it is the test's to know.
    pub fn reload(&self, files: Vec<(String, String)>) {
        let folder = MappingsFolder::from_files(files);
        self.registry.reload(&folder, &std::collections::BTreeMap::new(), SecretsFrom::TestTables);
    }

    pub async fn restart(&mut self) {
        self.running = None;
        let path = |name: &str| self.folder.path().join(name);
        let records = Arc::new(SqliteRecords::open(&path("records.sqlite"), INCARNATION).expect("records"));
        let options = SegmentOptions {
            incarnation: INCARNATION,
            cursor: records.conservation().await.expect("conservation").highest_worked,
            segment_bytes: 16 * 1024 * 1024,
            min_free_bytes: 0,
            free_space_poll: Duration::from_secs(1),
        };
        let files = Arc::new(OsFolder::create(&path("log")).expect("a folder"));
        let (log, reader) = segments::open(files, options).expect("the log");
        let reader = Arc::new(reader);
        let stage = TranslationStage::new(TranslationParts {
            log: Arc::clone(&reader) as _,
            records: Arc::new(Faulty { records: Arc::clone(&records), faults: Arc::clone(&self.faults) }),
            memory: self.remember.as_ref().map(|make| make(Arc::clone(&records), Arc::clone(&self.clock))),
            registry: Arc::clone(&self.registry),
            clock: Arc::clone(&self.clock) as _,
            config: TranslationConfig { threads: 2, batch_entries: 7, ..TranslationConfig::default() },
            namespace: "com.example".to_owned(),
            links: tokio::sync::watch::Sender::default(),
            crash_note: CrashNote::open(&path("translating.note")).expect("the note"),
            committed: watch::channel(EventNumber(0)).0,
        })
        .expect("threads");
        self.running = Some(Running { log, reader, records, stage });
    }

    fn running(&mut self) -> &mut Running {
        self.running.as_mut().expect("it runs")
    }

    async fn append(&mut self, meta: EntryMeta, body: Bytes) -> EntryNumber {
        let now = self.clock.now();
        let entry = EncodedEntry::try_from(NewEntry { meta, body }).expect("metadata");
        self.running().log.append(now, &[entry]).await.expect("appended").first
    }

    pub async fn deliver(&mut self, partner: &str, body: &Value) -> EntryNumber {
        self.deliver_raw(partner, &[], body.to_string()).await
    }

    pub async fn deliver_raw(
        &mut self,
        partner: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> EntryNumber {
        self.deliveries += 1;
        let mut kept = Headers::default();
        for (name, value) in headers {
            kept.push(name, (*value).to_owned());
        }
        let meta = DeliveryMeta {
            id: DeliveryId(uuid::Uuid::from_u128(self.deliveries)),
            endpoint: EndpointName::new(partner, "default"),
            method: "POST".to_owned(),
            target: format!("/in/{partner}"),
            version: "HTTP/1.1".to_owned(),
            headers: kept,
            assurance: Assurance::None,
            secret_id: None,
        };
        self.append(EntryMeta::Delivery(meta), body.into()).await
    }

    pub async fn replay(&mut self, partner: &str, events: &[(u64, u32)], reissue: bool, brokers: &[&str]) {
        let place = |&(number, ordinal)| EventRef { number: EntryNumber(number), ordinal };
        let meta = ReplayMeta {
            id: DeliveryId(uuid::Uuid::from_u128(0xfeed)),
            endpoint: EndpointName::new(partner, "default"),
            events: events.iter().map(place).collect(),
            reissue,
            brokers: brokers.iter().map(|name| (*name).to_owned()).collect(),
            by: "test".to_owned(),
        };
        self.append(EntryMeta::Replay(meta), Bytes::new()).await;
    }

    /// Steps stage 1 until nothing is left that can be worked.
    pub async fn work(&mut self) {
        for _ in 0..1_000 {
            match self.running().stage.step().await {
                Ok(Progress::Worked | Progress::Underway) => {}
                Ok(Progress::Idle) => return,
                Err(error) => panic!("{error}"),
            }
        }
        panic!("stage 1 never comes to rest");
    }

    /// The same, whatever fails on the way.
    pub async fn work_through_failures(&mut self) {
        for _ in 0..1_000 {
            if matches!(self.running().stage.step().await, Ok(Progress::Idle)) {
                return;
            }
        }
        panic!("stage 1 never comes to rest");
    }

    /// Latest outcomes in log order, as `number.ordinal outcome`.
    pub async fn outcomes(&mut self) -> Vec<String> {
        let filter = DeliveryFilter { limit: 1_000, ..DeliveryFilter::default() };
        let events = self.running().records.events(&filter, None).await.expect("events");
        events.iter().map(|event| format!("{} {}", event.at, event.outcome)).collect()
    }

    async fn reason(&mut self, number: u64) -> String {
        let filter = DeliveryFilter { limit: 1_000, ..DeliveryFilter::default() };
        let events = self.running().records.events(&filter, None).await.expect("events");
        let event = events.into_iter().find(|event| event.at.number.0 == number).expect("it was worked");
        event.reason.unwrap_or_default()
    }

    pub async fn feed(&mut self) -> Vec<Value> {
        let events =
            self.running().records.events_after(EventNumber(0), 1_000, &EventFilter::default()).await;
        let events = events.expect("the feed");
        events.iter().map(|event| serde_json::from_slice(&event.body).expect("json")).collect()
    }

    async fn orders(&mut self) -> Vec<String> {
        let feed = self.feed().await;
        feed.iter().map(|event| event["data"]["order"].as_str().expect("an order").to_owned()).collect()
    }

    /// A copy of the records as they are on disk, while nothing runs.
    pub fn put_records_back(&mut self, copy: &[u8]) {
        self.running = None;
        let path = self.folder.path().join("records.sqlite");
        for rest in ["sqlite-wal", "sqlite-shm"] {
            let _ = std::fs::remove_file(path.with_extension(rest));
        }
        std::fs::write(path, copy).expect("written");
    }

    /// Stops the process and copies its records.
    pub fn copy_records(&mut self) -> Vec<u8> {
        self.running = None;
        std::fs::read(self.folder.path().join("records.sqlite")).expect("readable")
    }

    /// Both laws of conservation, told by the records.
    pub async fn conserves(&mut self, waiting: u64) {
        let running = self.running();
        let figures = running.records.conservation().await.expect("conservation");
        assert_eq!(douane::ledger::LogReader::durable(&*running.reader).0, figures.worked + waiting);
        assert_eq!(figures.identified, figures.outcomes.iter().map(|(_, count)| count).sum::<u64>());
        assert_eq!(figures.orphans, 0);
    }
}

pub fn paid(id: &str, order: &str, amount: i64) -> Value {
    json!({ "id": id, "type": "paid", "order": order, "amount": amount })
}

#[tokio::test]
async fn every_outcome_is_kept_with_its_reason() {
    let mut gateway = Gateway::new(acme()).await;
    gateway.deliver("acme", &paid("1", "a", 100)).await;
    gateway.deliver("acme", &paid("1", "a", 100)).await;
    gateway.deliver("acme", &paid("1", "a", 999)).await;
    gateway.deliver("acme", &json!({ "id": "2", "type": "ping" })).await;
    gateway.deliver("acme", &json!({ "id": "3", "type": "unheard-of" })).await;
    gateway.deliver_raw("acme", &[], "{\"id\":").await;
    gateway.deliver("acme", &json!({ "id": "4", "type": "paid", "order": "b", "amount": "much" })).await;
    gateway.deliver("acme", &json!({ "id": "5" })).await;
    gateway.work().await;
    let outcomes = gateway.outcomes().await;
    let expected = [
        "1.0 translated",
        "2.0 duplicate",
        "3.0 conflict",
        "4.0 ignored",
        "5.0 unmapped",
        "6.0 dead_letter",
        "7.0 dead_letter",
        "8.0 dead_letter",
    ];
    assert_eq!(outcomes, expected);
    assert_eq!(gateway.reason(4).await, "it only says that it is alive");
    assert!(gateway.reason(6).await.starts_with("unreadable: the JSON ends too early at line 1"));
    assert!(gateway.reason(7).await.starts_with("mapping_failed: "), "{}", gateway.reason(7).await);
    assert!(gateway.reason(8).await.starts_with("unidentifiable: event_type"));
    let feed = gateway.feed().await;
    assert_eq!((feed.len(), &feed[0]["data"]), (1, &json!({ "order": "a", "amount": 100 })));
    assert_eq!(feed[0]["type"], "com.example.sales.OrderPaid.v1");
    assert_eq!(feed[0]["partitionkey"], "acme/default/a");
    gateway.conserves(0).await;
}

#[tokio::test]
async fn an_id_is_accepted_anew_after_its_window_as_another_fact() {
    let mut gateway = Gateway::new(acme()).await;
    gateway.deliver("acme", &paid("1", "a", 100)).await;
    gateway.clock.advance(Duration::from_hours(1));
    gateway.deliver("acme", &paid("1", "a", 100)).await;
    gateway.clock.advance(Duration::from_secs(1));
    gateway.deliver("acme", &paid("1", "a", 100)).await;
    gateway.work().await;
    assert_eq!(gateway.outcomes().await, ["1.0 translated", "2.0 duplicate", "3.0 translated"]);
    let feed = gateway.feed().await;
    assert_ne!(feed[0]["id"], feed[1]["id"]);
}

#[tokio::test]
async fn order_is_kept_across_batches_and_restarts() {
    let mut gateway = Gateway::new(acme()).await;
    let mut expected = Vec::new();
    for number in 0..40 {
        let order = format!("o-{number}");
        gateway.deliver("acme", &paid(&number.to_string(), &order, 1)).await;
        expected.push(order);
        if number % 9 == 0 {
            gateway.running().stage.step().await.expect("a step");
        }
        if number % 13 == 0 {
            gateway.restart().await;
        }
    }
    gateway.work().await;
    assert_eq!(gateway.orders().await, expected);
    gateway.conserves(0).await;
}

#[tokio::test]
async fn what_is_read_ahead_is_decided_after_the_commit_before_it() {
    let mut gateway = Gateway::new(acme()).await;
    for number in 0..21 {
        let id = (number % 6).to_string();
        gateway.deliver("acme", &paid(&id, &id, 1)).await;
    }
    gateway.replay("acme", &[(2, 0)], false, &[]).await;
    for number in 0..14 {
        gateway.deliver("acme", &paid(&format!("later-{number}"), "later", 1)).await;
    }
    gateway.work().await;
    let again: Vec<_> = (0..6).map(|id| id.to_string()).chain(["1".to_owned()]).collect();
    assert_eq!(
        gateway.orders().await[..7],
        again,
        "no duplicate is a second fact, and the replay keeps its place"
    );
    assert_eq!(gateway.outcomes().await.iter().filter(|it| it.ends_with("duplicate")).count(), 15);
    gateway.conserves(0).await;
}

#[tokio::test]
async fn what_was_read_ahead_of_a_commit_that_failed_is_read_again() {
    let mut gateway = Gateway::new(acme()).await;
    for number in 0..35 {
        gateway.deliver("acme", &paid(&number.to_string(), &number.to_string(), 1)).await;
    }
    for _ in 0..2 {
        gateway.faults.lost_answers.store(1, Ordering::SeqCst);
        assert!(matches!(gateway.running().stage.step().await, Err(StageError::Wait(_))));
        gateway.running().stage.step().await.expect("a step");
    }
    gateway.work().await;
    assert_eq!(gateway.orders().await, (0..35).map(|number| number.to_string()).collect::<Vec<_>>());
    gateway.conserves(0).await;
}

#[tokio::test]
async fn a_partner_without_a_desk_waits_and_the_others_go_on() {
    let mut gateway = Gateway::new(acme()).await;
    for number in 0..20 {
        gateway.deliver("acme", &paid(&number.to_string(), &format!("acme-{number}"), 1)).await;
        gateway.deliver("late", &paid(&number.to_string(), &format!("late-{number}"), 1)).await;
    }
    gateway.work().await;
    assert_eq!(gateway.orders().await.len(), 20);
    gateway.conserves(20).await;

    gateway.restart().await;
    gateway.work().await;
    gateway.conserves(20).await;

    gateway.reload([acme(), partner("late", "external_id = \"body.id\"", PAID)].concat());
    gateway.deliver("acme", &paid("20", "acme-20", 1)).await;
    gateway.deliver("late", &paid("20", "late-20", 1)).await;
    gateway.work().await;
    let orders = gateway.orders().await;
    for name in ["acme", "late"] {
        let of_it: Vec<_> = orders.iter().filter(|order| order.starts_with(name)).cloned().collect();
        assert_eq!(of_it, (0..=20).map(|number| format!("{name}-{number}")).collect::<Vec<_>>());
    }
    gateway.conserves(0).await;
}

#[tokio::test]
async fn partners_that_get_their_desks_at_once_catch_up_from_where_each_stands() {
    let mut gateway = Gateway::new(acme()).await;
    let mut number = 0;
    for (partner, deliveries) in
        [("late", 1), ("acme", 8), ("later", 1), ("acme", 8), ("late", 1), ("acme", 8)]
    {
        for _ in 0..deliveries {
            number += 1;
            gateway.deliver(partner, &paid(&number.to_string(), &format!("{partner}-{number:02}"), 1)).await;
        }
    }
    gateway.work().await;
    gateway.conserves(3).await;

    let late = ["late", "later"].map(|name| partner(name, "external_id = \"body.id\"", PAID)).concat();
    gateway.reload([acme(), late].concat());
    gateway.work().await;
    assert_eq!(gateway.orders().await.split_off(24), ["late-01", "later-10", "late-19"]);
    gateway.conserves(0).await;
}

#[tokio::test]
async fn a_batch_is_split_and_one_bad_item_costs_nothing_else() {
    let rules = "split = \"body.items[]\"\nexternal_id = \"item.id\"";
    let files = partner("bulk", rules, PAID).into_iter();
    let files = files.map(|(path, text)| {
        let text = text.replace("event_type = \"body.type\"", "event_type = \"item.type\"");
        (path, text.replace("ordering_key = \"body.order\"", "ordering_key = \"item.order\""))
    });
    let mut gateway = Gateway::new(files.collect()).await;
    let items = json!({ "items": [paid("1", "a", 1), { "id": "2" }, paid("1", "a", 1), paid("3", "b", 2)] });
    gateway.deliver("bulk", &items).await;
    gateway.deliver("bulk", &json!({ "items": [] })).await;
    gateway.work().await;
    let expected = ["1.0 translated", "1.1 dead_letter", "1.2 duplicate", "1.3 translated"];
    assert_eq!(gateway.outcomes().await, expected);
    gateway.conserves(0).await;
}

#[tokio::test]
async fn a_known_body_under_a_new_unsigned_id_is_flagged_or_refused() {
    for (same_body, second) in [("flag", "2.0 translated"), ("duplicate", "2.0 duplicate")] {
        let rules = format!("external_id = \"header.x-id\"\nsame_body = \"{same_body}\"");
        let mut gateway = Gateway::new(partner("acme", &rules, PAID)).await;
        let body = paid("-", "a", 1).to_string();
        gateway.deliver_raw("acme", &[("x-id", "1")], body.clone()).await;
        gateway.deliver_raw("acme", &[("x-id", "2")], body.clone()).await;
        gateway.work().await;
        gateway.deliver_raw("acme", &[("x-id", "1")], body).await;
        gateway.work().await;
        assert_eq!(gateway.outcomes().await, ["1.0 translated", second, "3.0 duplicate"]);
        let filter = DeliveryFilter { limit: 10, ..DeliveryFilter::default() };
        let rows = gateway.running().records.deliveries(&filter).await.expect("rows").items;
        let flags: Vec<_> = rows.iter().rev().map(|row| row.same_body_as).collect();
        assert_eq!(flags, [None, Some(EntryNumber(1)), None], "a retry under the same id is no suspicion");
    }
}

#[tokio::test]
async fn a_replay_repeats_what_was_published_and_translates_the_rest_afresh() {
    let broken = partner("acme", "external_id = \"body.id\"", "abort \"not yet\"\n");
    let mut gateway = Gateway::new(broken).await;
    gateway.deliver("acme", &paid("1", "a", 100)).await;
    gateway.deliver("acme", &paid("1", "a", 100)).await;
    gateway.work().await;
    assert_eq!(gateway.outcomes().await, ["1.0 dead_letter", "2.0 duplicate"]);

    gateway.reload(acme());
    gateway.replay("acme", &[(1, 0), (2, 0), (77, 0)], false, &[]).await;
    gateway.replay("acme", &[(1, 0)], false, &[]).await;
    gateway.work().await;
    assert_eq!(gateway.outcomes().await, ["1.0 translated", "2.0 duplicate"]);
    let feed = gateway.feed().await;
    assert_eq!(feed.len(), 2);
    assert_eq!(feed[0], feed[1], "the stored bytes again");
    gateway.conserves(0).await;
}

#[tokio::test]
async fn a_replayed_conflict_needs_leave_to_change_what_was_published() {
    let mut gateway = Gateway::new(acme()).await;
    gateway.deliver("acme", &paid("1", "a", 100)).await;
    gateway.deliver("acme", &paid("1", "a", 999)).await;
    gateway.replay("acme", &[(2, 0)], false, &[]).await;
    gateway.work().await;
    assert_eq!(gateway.outcomes().await, ["1.0 translated", "2.0 dead_letter"]);
    assert!(gateway.reason(2).await.starts_with("needs_reissue: "));

    gateway.replay("acme", &[(2, 0)], true, &[]).await;
    gateway.work().await;
    assert_eq!(gateway.outcomes().await, ["1.0 translated", "2.0 translated"]);
    let feed = gateway.feed().await;
    assert_eq!(
        (feed[1]["replayof"].clone(), &feed[1]["data"]["amount"]),
        (feed[0]["id"].clone(), &json!(999))
    );
}

#[tokio::test]
async fn a_delivery_that_nobody_could_identify_gets_its_verdict_when_it_is_replayed() {
    let wrong = partner("acme", "external_id = \"body.order\"", PAID).into_iter();
    let wrong = wrong.map(|(path, text)| (path, text.replace("body.type", "body.kind")));
    let mut gateway = Gateway::new(wrong.collect()).await;
    gateway.deliver("acme", &paid("1", "a", 100)).await;
    gateway.deliver("acme", &paid("1", "a", 100)).await;
    gateway.work().await;
    assert_eq!(gateway.outcomes().await, ["1.0 dead_letter", "2.0 dead_letter"]);

    gateway.reload(acme());
    gateway.replay("acme", &[(1, 0), (2, 0)], false, &[]).await;
    gateway.deliver("acme", &paid("1", "a", 100)).await;
    gateway.work().await;
    assert_eq!(gateway.outcomes().await, ["1.0 translated", "2.0 duplicate", "4.0 duplicate"]);
    assert_eq!(gateway.feed().await.len(), 1);
    gateway.conserves(0).await;
}

#[tokio::test]
async fn an_event_that_killed_three_times_is_set_aside_and_its_neighbours_are_not() {
    let mut gateway = Gateway::new(acme()).await;
    for id in ["1", "2", "3"] {
        gateway.deliver("acme", &paid(id, id, 1)).await;
    }
    // As the third process leaves it that died while it tried event 2.0 alone.
    let suspect = json!({ "Event": { "number": 2, "ordinal": 0 } });
    let note = json!({ "working": [1, 3], "suspected": null, "trying": suspect, "kills": [[suspect, 2]] });
    std::fs::write(gateway.folder.path().join("translating.note"), format!("{note}\n")).expect("written");
    gateway.restart().await;
    gateway.work().await;
    assert_eq!(gateway.outcomes().await, ["1.0 translated", "2.0 dead_letter", "3.0 translated"]);
    assert!(gateway.reason(2).await.starts_with("crashed_the_translator: "));
    gateway.restart().await;
    gateway.deliver("acme", &paid("4", "4", 1)).await;
    gateway.work().await;
    assert_eq!(gateway.orders().await, ["1", "3", "4"]);
}

#[tokio::test]
async fn an_event_the_records_refuse_is_a_dead_letter_and_nothing_else_is() {
    let mut gateway = Gateway::new(acme()).await;
    *gateway.faults.poison.lock().expect("the fault") = Some("poison");
    for number in 1..=9 {
        let order = if number == 5 { "poison" } else { "fine" };
        gateway.deliver("acme", &paid(&number.to_string(), order, 1)).await;
    }
    gateway.work().await;
    let outcomes = gateway.outcomes().await;
    for (number, outcome) in (1..).zip(outcomes) {
        let expected = if number == 5 { "dead_letter" } else { "translated" };
        assert_eq!(outcome, format!("{number}.0 {expected}"));
    }
    assert!(gateway.reason(5).await.starts_with("refused_by_store: "));
    gateway.conserves(0).await;
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_not_made_twice() {
    let mut gateway = Gateway::new(acme()).await;
    for number in 1..=9 {
        gateway.deliver("acme", &paid(&number.to_string(), &number.to_string(), 1)).await;
    }
    gateway.faults.lost_answers.store(1, Ordering::SeqCst);
    assert!(matches!(gateway.running().stage.step().await, Err(StageError::Wait(_))));
    gateway.work().await;
    assert_eq!(gateway.orders().await, ["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    gateway.conserves(0).await;
}

impl Gateway {
    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.ndjson"))
    }

    async fn publisher(&mut self, name: &str, from: Option<BrokerFrom>) -> PublicationStage {
        self.publisher_of(name, from, Vec::new()).await
    }

    async fn publisher_of(
        &mut self,
        name: &str,
        from: Option<BrokerFrom>,
        matching: Vec<TypePattern>,
    ) -> PublicationStage {
        let broker = Arc::new(FileBroker::new(name, self.file(name), 1 << 20));
        let clock = Arc::clone(&self.clock) as _;
        let records = Arc::clone(&self.running().records);
        let parts = PublicationParts {
            feed: Arc::clone(&records) as _,
            records,
            broker,
            matching,
            batch_events: 3,
            clock,
        };
        PublicationStage::open(parts, from).await.expect("it is introduced")
    }

    fn published(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.file(name)).unwrap_or_default();
        let orders = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("json"));
        orders.map(|event| event["data"]["order"].as_str().expect("an order").to_owned()).collect()
    }
}

async fn publish(stage: &mut PublicationStage) {
    while stage.step().await.expect("a step") == Progress::Worked {}
}

#[tokio::test]
async fn every_broker_goes_its_own_way_from_where_it_was_introduced() {
    let mut gateway = Gateway::new(acme()).await;
    let mut all = gateway.publisher("all", Some(BrokerFrom::Beginning)).await;
    for id in ["1", "2", "3", "4"] {
        gateway.deliver("acme", &paid(id, id, 1)).await;
    }
    gateway.work().await;
    let mut new = gateway.publisher("new", Some(BrokerFrom::Now)).await;
    let mut third = gateway.publisher("third", Some(BrokerFrom::Number(3))).await;
    gateway.deliver("acme", &paid("5", "5", 1)).await;
    gateway.replay("acme", &[(2, 0)], false, &["third"]).await;
    gateway.work().await;
    for stage in [&mut all, &mut new, &mut third] {
        publish(stage).await;
    }
    assert_eq!(gateway.published("all"), ["1", "2", "3", "4", "5"]);
    assert_eq!(gateway.published("new"), ["5"]);
    assert_eq!(gateway.published("third"), ["3", "4", "5", "2"], "a replay goes to the broker it names");

    let mut again = gateway.publisher("all", None).await;
    publish(&mut again).await;
    assert_eq!(gateway.published("all").len(), 5, "the cursor is remembered");
    let state = gateway.running().records.broker("new").await.expect("records").expect("known");
    assert_eq!(state.cursor, EventNumber(6), "it passed what was not its own");
}

#[tokio::test]
async fn a_broker_passes_over_what_it_does_not_match_unless_a_replay_names_it() {
    let mut gateway = Gateway::new(acme()).await;
    let patterns = |text: &str| vec![TypePattern::parse(text).expect("a pattern")];
    let beginning = Some(BrokerFrom::Beginning);
    let mut sales = gateway.publisher_of("sales", beginning, patterns("sales.*")).await;
    let mut payments = gateway.publisher_of("payments", beginning, patterns("payments.*")).await;
    for id in ["1", "2"] {
        gateway.deliver("acme", &paid(id, id, 1)).await;
    }
    gateway.work().await;
    publish(&mut sales).await;
    publish(&mut payments).await;
    assert_eq!(gateway.published("sales"), ["1", "2"]);
    assert!(gateway.published("payments").is_empty());
    let state = gateway.running().records.broker("payments").await.expect("records").expect("known");
    assert_eq!(state.cursor, EventNumber(2), "what was passed over is behind it");

    gateway.replay("acme", &[(1, 0)], false, &["payments"]).await;
    gateway.work().await;
    publish(&mut payments).await;
    assert_eq!(gateway.published("payments"), ["1"], "who names a broker means it");
}

#[tokio::test]
async fn a_broker_that_is_away_loses_nothing() {
    let mut gateway = Gateway::new(acme()).await;
    let folder = gateway.file("away");
    std::fs::create_dir(&folder).expect("a folder where the file should be");
    let mut away = gateway.publisher("away", Some(BrokerFrom::Beginning)).await;
    for id in ["1", "2", "3", "4"] {
        gateway.deliver("acme", &paid(id, id, 1)).await;
    }
    gateway.work().await;
    assert!(matches!(away.step().await, Err(StageError::Wait(_))));
    std::fs::remove_dir(&folder).expect("removed");
    publish(&mut away).await;
    assert_eq!(gateway.published("away"), ["1", "2", "3", "4"]);
}
