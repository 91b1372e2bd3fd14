//! Nothing acked is lost: the real binary is killed with SIGKILL at random moments under load, again and again on one
//! data folder. SIGKILL keeps the page cache, so this proves the protocol; `simulation` proves the fsync.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    process::{self, Process, STRIPE_SECRET},
    proofs::{self, Acked},
    wire::{self, Wire},
};

const CONNECTIONS: u64 = 32;
/// How many payment intents the load speaks of: each is an ordering key.
const KEYS: u64 = 40;
/// How often the gateway is killed unless `tests/run.sh --count` says otherwise.
const KILLS: u64 = 50;

/// What the load has posted, and what it was told.
#[derive(Default)]
struct Load {
    acked: Acked,
    next: AtomicU64,
}

fn body(number: u64, key: u64) -> Vec<u8> {
    format!(
        r#"{{"id":"evt_crash_{number:012}","object":"event","api_version":"2025-09-30.clover","created":1764072000,"livemode":true,"pending_webhooks":1,"request":{{"id":null,"idempotency_key":null}},"type":"payment_intent.succeeded","data":{{"object":{{"id":"pi_crash_{key:04}","object":"payment_intent","amount":{number},"amount_received":{number},"capture_method":"automatic","currency":"eur","customer":null,"created":1764071990,"latest_charge":"ch_{number}","livemode":true,"metadata":{{}},"payment_method_types":["card"],"status":"succeeded"}}}}}}"#
    )
    .into_bytes()
}

/// Posts until told to stop or the gateway dies. Every tenth body repeats an earlier one.
fn post_until(stop: &AtomicBool, address: std::net::SocketAddr, load: &Load, seed: u64) {
    let mut chance = StdRng::seed_from_u64(seed);
    let Ok(mut wire) = Wire::open(address) else { return };
    while !stop.load(Ordering::Relaxed) {
        let newest = load.next.fetch_add(1, Ordering::Relaxed) + 1;
        let number = if chance.random_ratio(1, 10) { chance.random_range(1..=newest) } else { newest };
        let body = body(number, number % KEYS);
        let signature = wire::stripe_signature(STRIPE_SECRET, &body, wire::now_seconds());
        let headers = [("content-type", "application/json"), ("stripe-signature", signature.as_str())];
        let request = wire::request("POST", "/in/stripe", &headers, &body);
        let Ok(answer) = wire.send(&request).and_then(|()| wire.answer()) else { return };
        assert_eq!(answer.status, 200, "{}", answer.head);
        load.acked.note(&answer, body);
    }
}

#[test]
fn nothing_acked_is_lost_when_the_gateway_is_killed() {
    let kills = std::env::var("DOUANE_CRASH_COUNT").map_or(KILLS, |count| count.parse().expect("a number"));
    let seed = std::env::var("DOUANE_CRASH_SEED").map_or(2026, |seed| seed.parse().expect("a number"));
    let mut chance = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let load = Load::default();
    let mut under_load = Duration::ZERO;
    for _ in 0..kills {
        let gateway = Process::start(&data);
        let stop = AtomicBool::new(false);
        let moment = Duration::from_millis(chance.random_range(30..400));
        std::thread::scope(|scope| {
            for _ in 0..CONNECTIONS {
                let (stop, load, seed, address) = (&stop, &load, chance.random(), gateway.public);
                scope.spawn(move || post_until(stop, address, load, seed));
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
    let acked = load.acked.take();
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
    let lines = proofs::lines(&export.stdout);
    proofs::every_acked_delivery_is_there(&lines, acked);
    let facts = proofs::every_event_has_one_outcome(&lines);
    let events = proofs::feed(&Process::start(data));
    proofs::domain_events_are_unique_and_in_order(&events, &lines);
    assert_eq!(events.len(), facts, "one domain event for each external id");
}
