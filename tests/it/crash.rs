//! Nothing acked is lost: the real binary is killed with SIGKILL at random moments under load, again and again on one
//! data folder. SIGKILL keeps the page cache, so this proves the protocol; `simulation` proves the fsync.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;

use crate::{
    process::{self, Process, STRIPE_SECRET},
    wire::{self, Wire},
};

const CONNECTIONS: u64 = 32;
/// How many payment intents the load speaks of: each is an ordering key.
const KEYS: u64 = 40;
/// How often the gateway is killed unless `tests/run.sh --count` says otherwise.
const KILLS: u64 = 50;

/// What the load was told: delivery id → body.
#[derive(Default)]
struct Acked {
    bodies: Mutex<HashMap<String, Vec<u8>>>,
    next: AtomicU64,
}

fn body(number: u64, key: u64) -> Vec<u8> {
    format!(
        r#"{{"id":"evt_crash_{number:012}","object":"event","api_version":"2025-09-30.clover","created":1764072000,"livemode":true,"pending_webhooks":1,"request":{{"id":null,"idempotency_key":null}},"type":"payment_intent.succeeded","data":{{"object":{{"id":"pi_crash_{key:04}","object":"payment_intent","amount":{number},"amount_received":{number},"capture_method":"automatic","currency":"eur","customer":null,"created":1764071990,"latest_charge":"ch_{number}","livemode":true,"metadata":{{}},"payment_method_types":["card"],"status":"succeeded"}}}}}}"#
    )
    .into_bytes()
}

/// Posts until told to stop or the gateway dies. Every tenth body repeats an earlier one.
fn post_until(stop: &AtomicBool, address: std::net::SocketAddr, acked: &Acked, seed: u64) {
    let mut chance = StdRng::seed_from_u64(seed);
    let Ok(mut wire) = Wire::open(address) else { return };
    while !stop.load(Ordering::Relaxed) {
        let newest = acked.next.fetch_add(1, Ordering::Relaxed) + 1;
        let number = if chance.random_ratio(1, 10) { chance.random_range(1..=newest) } else { newest };
        let body = body(number, number % KEYS);
        let signature = wire::stripe_signature(STRIPE_SECRET, &body, wire::now_seconds());
        let headers = [("content-type", "application/json"), ("stripe-signature", signature.as_str())];
        let request = wire::request("POST", "/in/stripe", &headers, &body);
        let Ok(answer) = wire.send(&request).and_then(|()| wire.answer()) else { return };
        assert_eq!(answer.status, 200, "{}", answer.head);
        acked.bodies.lock().expect("not poisoned").insert(answer.delivery(), body);
    }
}

#[test]
fn nothing_acked_is_lost_when_the_gateway_is_killed() {
    let kills = std::env::var("DOUANE_CRASH_COUNT").map_or(KILLS, |count| count.parse().expect("a number"));
    let seed = std::env::var("DOUANE_CRASH_SEED").map_or(2026, |seed| seed.parse().expect("a number"));
    let mut chance = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let acked = Acked::default();
    let mut under_load = Duration::ZERO;
    for _ in 0..kills {
        let gateway = Process::start(&data);
        let stop = AtomicBool::new(false);
        let moment = Duration::from_millis(chance.random_range(30..400));
        std::thread::scope(|scope| {
            for _ in 0..CONNECTIONS {
                let (stop, acked, seed, address) = (&stop, &acked, chance.random(), gateway.public);
                scope.spawn(move || post_until(stop, address, acked, seed));
            }
            let began = Instant::now();
            while began.elapsed() < moment {
                std::thread::yield_now();
            }
            gateway.kill();
            under_load += began.elapsed();
            stop.store(true, Ordering::Relaxed);
        });
    }
    let acked = acked.bodies.into_inner().expect("not poisoned");
    println!("{} acks in {under_load:.1?}, {kills} kills, seed {seed}", acked.len());
    assert!(acked.len() as u128 >= under_load.as_millis(), "less than 1,000 acks a second");
    settle(&data);
    prove(&data, &acked);
}

/// Lets the gateway work what is left, and ends it in good order.
fn settle(data: &std::path::Path) {
    let gateway = Process::start(data);
    gateway.wait_until("/metrics", |answer| {
        let text = String::from_utf8_lossy(&answer.body);
        let lag = text.lines().find(|line| line.starts_with("douane_translation_lag_entries"));
        lag.is_some_and(|line| line.ends_with(" 0"))
    });
    assert!(gateway.terminate().success(), "a graceful end exits 0");
    let reconciled = process::run(&["reconcile", "--scrub", "--data-dir", &data.display().to_string()]);
    assert!(reconciled.status.success(), "{}", String::from_utf8_lossy(&reconciled.stdout));
}

fn prove(data: &std::path::Path, acked: &HashMap<String, Vec<u8>>) {
    let export = process::run(&["deliveries", "export", "--data-dir", &data.display().to_string()]);
    assert!(export.status.success(), "{}", String::from_utf8_lossy(&export.stderr));
    let lines: Vec<Value> = String::from_utf8(export.stdout)
        .expect("text")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    every_acked_delivery_is_there(&lines, acked);
    let facts = every_event_has_one_outcome(&lines);
    domain_events_are_unique_and_in_order(data, &lines, facts);
}

fn every_acked_delivery_is_there(lines: &[Value], acked: &HashMap<String, Vec<u8>>) {
    let kept: HashMap<&str, &Value> =
        lines.iter().map(|line| (line["delivery"].as_str().expect("an id"), line)).collect();
    for (id, body) in acked {
        let line = kept.get(id.as_str()).unwrap_or_else(|| panic!("acked and lost: {id}"));
        let stored = STANDARD.decode(line["body_base64"].as_str().expect("a body")).expect("base64");
        assert!(stored == *body, "not byte for byte: {id}");
    }
}

/// Each delivery holds one event with one outcome; per external id exactly one is translated, the others are
/// duplicates. Returns how many external ids there are.
fn every_event_has_one_outcome(lines: &[Value]) -> usize {
    let mut translated = HashSet::new();
    for line in lines {
        let events = line["external_events"].as_array().expect("events");
        assert_eq!(events.len(), 1, "{line}");
        let id = events[0]["external_id"].as_str().expect("an id").to_owned();
        match events[0]["outcome"].as_str().expect("an outcome") {
            "translated" => assert!(translated.insert(id), "translated twice: {line}"),
            "duplicate" => {}
            other => panic!("{other}: {line}"),
        }
    }
    let all: HashSet<&str> =
        lines.iter().map(|line| line["external_events"][0]["external_id"].as_str().expect("an id")).collect();
    assert_eq!(translated.len(), all.len(), "an id without a translated event");
    translated.len()
}

fn domain_events_are_unique_and_in_order(data: &std::path::Path, lines: &[Value], facts: usize) {
    let numbers: HashMap<&str, u64> = lines
        .iter()
        .map(|line| (line["delivery"].as_str().expect("an id"), line["number"].as_u64().expect("a number")))
        .collect();
    let gateway = Process::start(data);
    let (mut after, mut seen, mut last_of_key) = (0, HashSet::new(), BTreeMap::<String, u64>::new());
    loop {
        let page = gateway.get(&format!("/api/v1/events?limit=10000&after={after}"));
        let text = String::from_utf8(page.body).expect("text");
        for line in text.lines() {
            let event: Value = serde_json::from_str(line).expect("JSON");
            let sequence: u64 = event["sequence"].as_str().expect("a number").parse().expect("a number");
            assert_eq!(sequence, after + 1, "the feed has a gap");
            after = sequence;
            assert!(
                seen.insert(event["id"].as_str().expect("an id").to_owned()),
                "the same fact twice: {line}"
            );
            let key = event["partitionkey"].as_str().expect("a key").to_owned();
            let last = last_of_key.entry(key).or_default();
            let number = numbers[event["correlationid"].as_str().expect("a delivery")];
            assert!(number > *last, "out of order: {line}");
            *last = number;
        }
        if text.is_empty() {
            break;
        }
    }
    assert_eq!(seen.len(), facts, "one domain event for each external id");
}
