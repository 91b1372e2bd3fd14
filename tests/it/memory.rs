//! Stage 1 with a memory of verdicts in Redis: whatever becomes of that, its verdicts are those of the ledger alone. Each story
//! is lived twice, with a memory and without one, and must end in the same events.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use douane::dedupe::{RedisAccess, RedisMemory, SharedMemory, Topology};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::json;

use crate::{
    conformance::memory::access,
    folder::Folder,
    lab::{Lab, measured},
    process::{Ran, douane},
    servers::{
        process::until,
        redis::{self, Redis},
    },
    stages::{Gateway, INCARNATION, PAID, acme, paid, partner},
};

/// A machine that runs tests can be slower than the default patience.
const PATIENT: (&str, &str) = ("DOUANE_DEDUPE_PATIENCE", "5s");

const PAUSE: Duration = Duration::from_secs(1);

/// Two gateways that get the same deliveries: one asks its ledger, one shares a memory.
struct Twins {
    alone: Gateway,
    sharing: Gateway,
    deliveries: usize,
}

impl Twins {
    async fn at(access: RedisAccess) -> Self {
        Self::of(acme(), access).await
    }

    async fn of(files: Vec<(String, String)>, access: RedisAccess) -> Self {
        let alone = Gateway::new(files.clone()).await;
        let mut sharing = Gateway::new(files).await;
        share(&mut sharing, access);
        sharing.restart().await;
        Self { alone, sharing, deliveries: 0 }
    }

    async fn deliver(&mut self, id: &str, amount: i64) {
        let body = paid(id, "order", amount);
        self.alone.deliver("acme", &body).await;
        self.sharing.deliver("acme", &body).await;
        self.deliveries += 1;
    }

    async fn deliver_many(&mut self, ids: std::ops::Range<u32>) {
        for id in ids {
            self.deliver(&format!("evt_{id}"), 1).await;
        }
    }

    async fn work(&mut self) {
        self.alone.work().await;
        self.sharing.work().await;
    }

    fn pass(&self, time: Duration) {
        self.alone.clock.advance(time);
        self.sharing.clock.advance(time);
    }

    /// How many ids the ledger's index is asked for meanwhile.
    async fn asked_while_working(&mut self) -> usize {
        let before = self.sharing.faults.asked.load(Ordering::SeqCst);
        self.work().await;
        self.sharing.faults.asked.load(Ordering::SeqCst) - before
    }

    /// New ids and repeats are decided, and nobody asks the ledger.
    async fn expect_memory(&mut self, name: &str) {
        for round in 0..2 {
            self.deliver(&format!("{name} {round}"), 1).await;
            self.deliver(&format!("{name} 0"), 1).await;
        }
        assert_eq!(self.asked_while_working().await, 0, "{name}: the memory answers");
    }

    /// They are decided by the ledger.
    async fn expect_ledger(&mut self, name: &str) {
        self.deliver(&format!("{name} 0"), 1).await;
        self.deliver(&format!("{name} 0"), 1).await;
        assert!(self.asked_while_working().await > 0, "{name}: the ledger answers");
    }

    /// After the pause the memory is whole again.
    async fn recover(&mut self) {
        self.pass(PAUSE);
        for _ in 0..3 {
            self.deliver("recovered", 1).await;
            self.work().await;
            self.pass(PAUSE);
        }
    }

    /// The same outcomes, the same events, byte for byte.
    async fn end(mut self) {
        self.work().await;
        assert_eq!(self.alone.outcomes().await, self.sharing.outcomes().await);
        assert_eq!(self.alone.feed().await, self.sharing.feed().await);
        self.sharing.conserves(0).await;
    }
}

fn share(gateway: &mut Gateway, access: RedisAccess) {
    gateway.remember = Some(Box::new(move |records, clock| {
        let memory = Arc::new(RedisMemory::new(INCARNATION, access.clone()));
        Arc::new(SharedMemory::new(memory, records, clock, PAUSE).expect("randomness"))
    }));
}

pub fn single(redis: &Redis) -> RedisAccess {
    access(redis.url(), Topology::Single)
}

fn impatient(redis: &Redis) -> RedisAccess {
    RedisAccess { patience: Duration::from_millis(150), ..single(redis) }
}

/// With a memory that knows of 20 events.
async fn warm(redis: &Redis) -> Twins {
    let mut twins = Twins::at(single(redis)).await;
    twins.deliver_many(0..20).await;
    twins.work().await;
    twins.expect_memory("warm").await;
    twins
}

#[tokio::test]
async fn with_a_healthy_memory_the_ledgers_index_is_hardly_ever_asked() {
    let recorder = douane::telemetry::metrics::install().expect("the only recorder of this process");
    let redis = redis::start(&[]);
    let mut twins = Twins::at(single(&redis)).await;
    twins.deliver("first", 1).await;
    twins.work().await;
    let mut random = StdRng::seed_from_u64(1);
    for nth in 0..1_000 {
        let repeats = nth > 0 && random.random_range(0..10) == 0;
        let id = if repeats { random.random_range(0..nth) } else { nth };
        twins.deliver(&format!("evt_{id}"), 1).await;
    }
    let asked = twins.asked_while_working().await;
    assert!(asked * 20 <= twins.deliveries, "{asked} of {} asked the ledger", twins.deliveries);
    let shown = recorder.render();
    let figure = |by: &str| {
        let name = format!("douane_owners_asked_total{{by=\"{by}\"}} ");
        let line = shown.lines().find_map(|line| line.strip_prefix(&name)).expect("it is shown");
        line.parse::<usize>().expect("a number")
    };
    assert!(figure("memory") >= 950, "{shown}");
    assert!(shown.contains("douane_memory_up 1"), "{shown}");
    twins.end().await;
}

#[tokio::test]
async fn a_process_that_starts_takes_the_memory_over() {
    let redis = redis::start(&[]);
    let mut twins = warm(&redis).await;
    twins.sharing.restart().await;
    twins.expect_ledger("after the start").await;
    twins.expect_memory("taken over").await;
    twins.deliver("evt_3", 1).await;
    assert_eq!(twins.asked_while_working().await, 0, "it still knows");
    twins.end().await;
}

#[tokio::test]
async fn redis_that_is_killed_and_comes_back() {
    let mut redis = redis::start(&[]);
    let mut twins = warm(&redis).await;
    redis.server.kill();
    twins.expect_ledger("gone").await;
    twins.deliver_many(15..30).await;
    twins.work().await;
    redis.server.restart();
    twins.expect_ledger("not asked within the pause").await;
    twins.recover().await;
    twins.expect_memory("back").await;
    twins.deliver_many(10..30).await;
    assert_eq!(twins.asked_while_working().await, 0, "it was told what it missed");
    twins.end().await;
}

#[tokio::test]
async fn redis_that_was_never_there() {
    let mut redis = redis::start(&[]);
    redis.server.kill();
    let mut twins = Twins::at(single(&redis)).await;
    for _ in 0..3 {
        twins.deliver_many(0..10).await;
        twins.work().await;
        twins.pass(PAUSE);
    }
    twins.end().await;
}

#[tokio::test]
async fn redis_that_forgets_everything() {
    let redis = redis::start(&[]);
    let mut twins = warm(&redis).await;
    redis.tell(&["FLUSHALL"]);
    twins.expect_ledger("wiped").await;
    twins.deliver_many(0..20).await;
    twins.work().await;
    twins.expect_memory("filled again").await;
    twins.deliver_many(0..20).await;
    assert_eq!(twins.asked_while_working().await, 0, "what it knew before, too");
    twins.end().await;
}

#[tokio::test]
async fn redis_that_is_slow_is_not_waited_for_again_within_the_pause() {
    let redis = redis::start(&[]);
    let mut twins = Twins::at(impatient(&redis)).await;
    twins.deliver_many(0..20).await;
    twins.work().await;
    redis.server.pause();
    let begun = std::time::Instant::now();
    twins.deliver_many(10..200).await;
    twins.work().await;
    let (took, batches) = (begun.elapsed(), 190 / 7);
    assert!(took < Duration::from_millis(150) * batches, "{took:?}: the patience was paid for each batch");
    redis.server.resume();
    assert!(until(|| redis.tell(&["PING"]) == "PONG"));
    twins.recover().await;
    twins.deliver_many(150..250).await;
    twins.end().await;
}

#[tokio::test]
async fn redis_that_evicts() {
    let redis = redis::start(&["--maxmemory-policy", "allkeys-lru"]);
    let mut twins = warm(&redis).await;
    // The least that it can do with: everything goes at the next write.
    redis.tell(&["CONFIG", "SET", "maxmemory", "1"]);
    twins.deliver_many(10..40).await;
    twins.work().await;
    redis.tell(&["CONFIG", "SET", "maxmemory", "0"]);
    twins.recover().await;
    twins.deliver_many(0..60).await;
    twins.work().await;
    twins.expect_memory("filled again").await;
    twins.end().await;
}

#[tokio::test]
async fn redis_that_has_no_memory_left() {
    let redis = redis::start(&["--maxmemory-policy", "noeviction"]);
    let mut twins = warm(&redis).await;
    redis.tell(&["CONFIG", "SET", "maxmemory", "1"]);
    twins.deliver_many(10..40).await;
    twins.work().await;
    twins.expect_ledger("full").await;
    redis.tell(&["CONFIG", "SET", "maxmemory", "0"]);
    twins.recover().await;
    twins.expect_memory("has room").await;
    twins.deliver_many(0..60).await;
    twins.end().await;
}

#[tokio::test]
async fn redis_that_may_only_be_read() {
    let (redis, other) = (redis::start(&[]), redis::start(&[]));
    let mut twins = warm(&redis).await;
    redis.tell(&["CONFIG", "SET", "replica-serve-stale-data", "yes"]);
    redis.tell(&["REPLICAOF", "127.0.0.1", &other.address().port().to_string()]);
    twins.deliver_many(10..40).await;
    twins.work().await;
    redis.tell(&["REPLICAOF", "NO", "ONE"]);
    twins.recover().await;
    twins.expect_memory("may be written").await;
    twins.deliver_many(0..60).await;
    twins.end().await;
}

#[tokio::test]
async fn redis_that_was_swapped_for_an_older_copy() {
    let mut redis = redis::with_snapshots();
    let mut twins = warm(&redis).await;
    let older = redis.snapshot();
    twins.deliver_many(20..40).await;
    twins.work().await;
    redis.go_back_to(&older);
    twins.deliver_many(10..50).await;
    assert!(twins.asked_while_working().await > 0, "it does not know of the last 20");
    twins.recover().await;
    twins.expect_memory("told").await;
    twins.deliver_many(0..60).await;
    twins.end().await;
}

#[tokio::test]
async fn a_replica_that_lags_takes_over() {
    let primary = redis::start(&[]);
    let mut twins = warm(&primary).await;
    let replica = redis::replica_of(&primary);
    replica.tell(&["REPLICAOF", "NO", "ONE"]);
    twins.deliver_many(20..40).await;
    twins.work().await;
    share(&mut twins.sharing, single(&replica));
    twins.sharing.restart().await;
    twins.deliver_many(10..50).await;
    twins.work().await;
    twins.expect_memory("caught up").await;
    twins.deliver_many(0..60).await;
    assert!(twins.asked_while_working().await == 0, "it was told what it missed, and knows the rest");
    twins.end().await;
}

#[tokio::test]
async fn a_sentinel_makes_a_replica_the_primary() {
    let mut primary = redis::start(&[]);
    let replica = redis::replica_of(&primary);
    let sentinel = redis::sentinel_of(&primary);
    assert!(until(|| sentinel.info("sentinel").contains("slaves=1")), "it finds the replica");
    let topology = Topology::Sentinel { master: "memory".to_owned(), password: None };
    let mut twins = Twins::at(access(sentinel.url(), topology)).await;
    twins.deliver_many(0..20).await;
    twins.work().await;
    twins.expect_memory("warm").await;
    primary.server.kill();
    twins.expect_ledger("gone").await;
    let port = replica.address().port().to_string();
    let named = || sentinel.tell(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "memory"]);
    assert!(until(|| named().contains(&port)), "it is promoted");
    for _ in 0..20 {
        twins.pass(PAUSE);
        twins.deliver_many(10..30).await;
        if twins.asked_while_working().await == 0 {
            break;
        }
    }
    twins.expect_memory("promoted").await;
    twins.end().await;
}

#[tokio::test]
async fn a_node_of_a_cluster_goes_and_comes_back() {
    let mut nodes = redis::cluster();
    let hosts: Vec<_> = nodes.iter().map(|node| node.address().to_string()).collect();
    let access = access(format!("redis://{}", hosts.join(",")), Topology::Cluster);
    let mut twins = Twins::at(RedisAccess { patience: Duration::from_secs(2), ..access }).await;
    twins.deliver_many(0..20).await;
    twins.work().await;
    twins.expect_memory("warm").await;
    let holds = |node: &Redis| node.tell(&["KEYS", "*"]).contains("mark");
    let holder = nodes.iter().position(holds).expect("one node has the endpoint's keys");
    nodes[holder].server.kill();
    twins.expect_ledger("gone").await;
    nodes[holder].server.restart();
    let formed = |node: &Redis| node.tell(&["CLUSTER", "INFO"]).contains("cluster_state:ok");
    assert!(until(|| nodes.iter().all(formed)), "it comes back");
    twins.recover().await;
    twins.recover().await;
    twins.expect_memory("back").await;
    twins.end().await;
}

#[tokio::test]
async fn an_id_comes_back_after_its_window() {
    let redis = redis::start(&[]);
    let mut twins = warm(&redis).await;
    let window = Duration::from_hours(1);
    for _ in 0..4 {
        twins.pass(window / 2 + Duration::from_secs(1));
        twins.deliver("evt_3", 1).await;
        twins.deliver("evt_4", 1).await;
        twins.deliver("evt_4", 2).await;
        twins.work().await;
    }
    twins.pass(window * 3);
    twins.deliver_many(0..20).await;
    twins.end().await;
}

#[tokio::test]
async fn a_window_that_is_changed_is_the_one_that_counts() {
    let redis = redis::start(&[]);
    let mut twins = warm(&redis).await;
    let with_window = |window: &str| {
        let files = acme().into_iter();
        files.map(|(path, text)| (path, text.replace("window = \"1h\"", window))).collect::<Vec<_>>()
    };
    for (window, time) in [("window = \"10m\"", 20), ("window = \"35d\"", 100), ("window = \"1h\"", 61)] {
        twins.alone.reload(with_window(window));
        twins.sharing.reload(with_window(window));
        for _ in 0..2 {
            twins.pass(Duration::from_mins(time));
            twins.deliver_many(0..10).await;
            twins.work().await;
        }
    }
    twins.end().await;
}

#[tokio::test]
async fn a_replay_that_changes_who_owns_an_id() {
    let blind = || partner("acme", "external_id = \"body.other\"", PAID);
    let redis = redis::start(&[]);
    let mut twins = Twins::of(blind(), single(&redis)).await;
    twins.deliver("a", 1).await;
    twins.deliver("b", 1).await;
    twins.work().await;
    twins.alone.reload(acme());
    twins.sharing.reload(acme());
    twins.deliver("c", 1).await;
    twins.work().await;
    twins.alone.replay("acme", &[(1, 0)], false, &[]).await;
    twins.sharing.replay("acme", &[(1, 0)], false, &[]).await;
    twins.deliveries += 1;
    for id in ["a", "b", "c", "a", "b"] {
        twins.deliver(id, 1).await;
        twins.work().await;
    }
    twins.sharing.restart().await;
    twins.deliver("a", 1).await;
    twins.end().await;
}

#[tokio::test]
async fn a_commit_of_unknown_fate_is_told_later() {
    let redis = redis::start(&[]);
    let mut twins = warm(&redis).await;
    twins.deliver_many(20..30).await;
    twins.alone.work().await;
    twins.sharing.faults.lost_answers.store(1, Ordering::SeqCst);
    twins.sharing.work_through_failures().await;
    twins.deliver_many(20..30).await;
    twins.work().await;
    twins.expect_memory("caught up").await;
    twins.end().await;
}

#[tokio::test]
async fn a_ledger_that_was_put_back_is_not_told_what_it_never_decided() {
    let redis = redis::start(&[]);
    let mut twins = warm(&redis).await;
    let (older, older_alone) = (twins.sharing.copy_records(), twins.alone.copy_records());
    twins.sharing.restart().await;
    twins.alone.restart().await;
    twins.deliver_many(20..40).await;
    twins.work().await;
    // The log has what came since; today's desk reads other ids in it.
    let by_order =
        || partner("acme", "external_id = { join = [\"body.id\", \"body.order\"], by = \"/\" }", PAID);
    for (gateway, older) in [(&mut twins.sharing, older), (&mut twins.alone, older_alone)] {
        gateway.put_records_back(&older);
        gateway.reload(by_order());
        gateway.restart().await;
    }
    twins.work().await;
    twins.alone.reload(acme());
    twins.sharing.reload(acme());
    twins.deliver_many(0..50).await;
    twins.work().await;
    twins.deliver_many(0..50).await;
    twins.end().await;
}

#[tokio::test]
async fn a_storm_of_repeats_and_faults_is_decided_as_the_ledger_alone_does() {
    for seed in 0..3 {
        storm(seed).await;
    }
}

async fn storm(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut redis = redis::with_snapshots();
    let mut twins = Twins::at(RedisAccess { patience: Duration::from_millis(500), ..single(&redis) }).await;
    let (mut next, mut snapshot) = (0_u32, redis.snapshot());
    for _ in 0..30 {
        let fault = random.random_range(0..10);
        match fault {
            0 => redis.server.kill(),
            1 => _ = redis.tell(&["FLUSHALL"]),
            2 => redis.server.pause(),
            3 => _ = redis.tell(&["CONFIG", "SET", "maxmemory", "1"]),
            4 => redis.go_back_to(&snapshot),
            5 => snapshot = redis.snapshot(),
            6 => twins.sharing.restart().await,
            7 => _ = redis.tell(&["CONFIG", "SET", "maxmemory-policy", "allkeys-random"]),
            _ => {}
        }
        for _ in 0..random.random_range(1..40) {
            let repeats = next > 0 && random.random_range(0..10) == 0;
            let id = if repeats { random.random_range(0..next) } else { next };
            next = next.max(id + 1);
            twins.deliver(&format!("evt_{id}"), i64::from(random.random_range(0..20_u32) == 0)).await;
            let minutes = if random.random_range(0..20) == 0 { 31 } else { 0 };
            twins.pass(Duration::from_mins(minutes) + Duration::from_millis(random.random_range(0..400)));
        }
        twins.work().await;
        match fault {
            0 => redis.server.restart(),
            2 => redis.server.resume(),
            3 => _ = redis.tell(&["CONFIG", "SET", "maxmemory", "0"]),
            _ => {}
        }
        assert!(until(|| redis.tell(&["PING"]) == "PONG"));
    }
    twins.end().await;
}

/// One delivery carries several events.
fn in_items() -> Vec<(String, String)> {
    let identify = "external_id = \"item.id\"\nsplit = \"body.items[]\"";
    let files = partner("acme", identify, PAID).into_iter();
    let by_item = |text: String| {
        text.replace("\"body.type\"", "\"item.type\"").replace("\"body.order\"", "\"item.order\"")
    };
    files.map(|(path, text)| (path, by_item(text))).collect()
}

impl Twins {
    async fn deliver_items(&mut self, ids: impl Iterator<Item = String>) {
        let items: Vec<_> = ids.map(|id| paid(&id, "order", 1)).collect();
        let body = json!({ "items": items });
        self.alone.deliver("acme", &body).await;
        self.sharing.deliver("acme", &body).await;
    }
}

#[tokio::test]
async fn a_delivery_that_repeats_its_own_items() {
    let redis = redis::start(&[]);
    let mut twins = Twins::of(in_items(), single(&redis)).await;
    for _ in 0..3 {
        twins.deliver_items(["a", "b", "a"].map(str::to_owned).into_iter()).await;
        twins.work().await;
    }
    assert_eq!(twins.sharing.outcomes().await.iter().filter(|it| it.ends_with("translated")).count(), 2);
    twins.end().await;
}

#[tokio::test]
async fn a_delivery_of_more_items_than_are_told_at_once() {
    let redis = redis::start(&[]);
    let mut twins = Twins::of(in_items(), single(&redis)).await;
    twins.deliver_items(std::iter::once("first".to_owned())).await;
    twins.work().await;
    twins.deliver_items((0..5_000).map(|nth| format!("evt_{nth}"))).await;
    let asked = twins.asked_while_working().await;
    twins.deliver_items((4_000..6_000).map(|nth| format!("evt_{nth}"))).await;
    let asked = asked + twins.asked_while_working().await;
    assert!(asked < 350, "{asked} of 7,000 asked the ledger");
    twins.end().await;
}

#[test]
fn a_gateway_shares_its_memory_and_says_how_that_is_doing() {
    let mut redis = redis::start(&[]);
    let url = redis.url();
    let settings = [("DOUANE_DEDUPE_URL", url.as_str()), PATIENT, ("DOUANE_DEDUPE_PAUSE", "10ms")];
    let lab = Lab::with(Folder::new(), &settings);
    let metric = |name: &str| lab.gateway.metric(name);
    let by = |who: &str| metric(&format!("douane_owners_asked_total{{by=\"{who}\"}}"));
    let outcome = |id: &str| lab.deliver(&measured(id, 3))["external_events"][0]["outcome"].clone();
    assert_eq!(outcome("1"), "translated");
    lab.gateway.wait_until("/metrics", |_| {
        outcome("1");
        by("memory") > 0.0
    });
    assert!(metric("douane_memory_up") > 0.5);

    redis.server.kill();
    assert_eq!((outcome("1"), outcome("2")), (json!("duplicate"), json!("translated")));
    assert!(metric("douane_memory_up") < 0.5);
    assert!(metric("douane_memory_failures_total") >= 1.0);
    assert_eq!(lab.gateway.told("the memory of verdicts does not answer"), 1, "once");

    redis.server.restart();
    let before = by("memory");
    lab.gateway.wait_until("/metrics", |_| {
        assert_eq!(outcome("2"), "duplicate");
        by("memory") > before
    });
    assert_eq!(lab.gateway.told("the memory of verdicts answers again"), 1);
}

#[test]
fn doctor_looks_at_the_memory() {
    let mut redis = redis::start(&[]);
    let url = redis.url();
    let lab = Lab::with(Folder::new(), &[("DOUANE_DEDUPE_URL", url.as_str()), PATIENT]);
    lab.deliver(&measured("1", 3));
    let found = || {
        let mut command = douane();
        let looked = command.args(["doctor", "--format", "json"]).arg("--data-dir").arg(lab.data());
        looked.arg("--mappings").arg(lab.mappings.path()).env("DOUANE_DEDUPE_URL", &url);
        let ran = Ran::from(command.output().expect("the binary runs")).json();
        let findings = ran.as_array().expect("findings").iter().filter(|it| it["what"] == "memory");
        let told = |it: &serde_json::Value| (it["level"] == "sound", it["found"].to_string());
        findings.map(told).collect::<Vec<_>>()
    };
    let looked = found();
    assert!(looked.len() == 1 && looked[0].0 && looked[0].1.contains("no limit"), "{looked:?}");
    redis.tell(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let looked = found();
    assert!(!looked[0].0 && looked[0].1.contains("allkeys-lru"), "{looked:?}");
    redis.server.kill();
    let looked = found();
    assert!(looked.len() == 1 && !looked[0].0 && looked[0].1.contains("does not answer"), "{looked:?}");
}
