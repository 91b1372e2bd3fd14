//! Whole gateways over one PostgreSQL: what the embedded ledger does for one process, it does for several.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::{
    lab::measured,
    process::Process,
    site::Site,
    wire::{self, Answer},
};

pub const ALL: &str = "intake,translate,publish,console";

pub fn post(gateway: &Process, event: &Value) -> Answer {
    let headers = [("content-type", "application/json")];
    wire::exchange(gateway.public, "POST", "/in/lab", &headers, event.to_string().as_bytes())
}

/// Posts an event that is kept; returns its delivery's id.
pub fn accept(gateway: &Process, event: &Value) -> String {
    let answer = post(gateway, event);
    assert_eq!(answer.status, 200, "{}", answer.head);
    answer.delivery()
}

/// The outcome of the only event of a delivery, once it has one.
pub fn outcome(console: &Process, delivery: &str) -> String {
    let path = format!("/api/v1/deliveries/{delivery}");
    console.wait_until(&path, |answer| answer.status == 200 && answer.json()["waiting"] == false);
    let delivery = console.get(&path).json();
    delivery["external_events"][0]["outcome"].as_str().expect("an outcome").to_owned()
}

#[test]
fn the_whole_road_runs_on_postgresql() {
    let site = Site::begin();
    let gateway = site.start("one", ALL);
    let first = accept(&gateway, &measured("1", 3));
    assert_eq!(outcome(&gateway, &first), "translated");
    let again = accept(&gateway, &measured("1", 3));
    assert_eq!(outcome(&gateway, &again), "duplicate");
    let bad = accept(&gateway, &json!({ "id": "2", "type": "measured", "thing": "door", "size": "large" }));
    assert_eq!(outcome(&gateway, &bad), "dead_letter");
    let feed = String::from_utf8(gateway.get("/api/v1/events").body).expect("text");
    assert_eq!(feed.lines().count(), 1, "{feed}");
    let body = gateway.get(&format!("/api/v1/deliveries/{first}/body")).body;
    assert_eq!(body, measured("1", 3).to_string().as_bytes(), "byte for byte");

    let replay = ["replay", "--external-id", "1", "--outcome", "translated"];
    site.verb("one", &replay).ended(0);
    gateway.wait_for_event(2);
    site.verb("one", &["token", "create", "--role", "consumer", "ada"]).ended(0);
    assert!(gateway.terminate().success());

    let figures = site.verb("one", &["reconcile", "--scrub", "--format", "json"]).ended(0).json();
    assert_eq!((&figures["given"], &figures["waiting"]), (&json!(4), &json!(0)));
    site.verb("one", &replay).ended(0);
    let listed = site.verb("one", &["dead-letters", "ls", "--format", "json"]).ended(0);
    assert!(listed.out.contains(&bad), "{}", listed.out);
    let doctor = site.verb("one", &["doctor", "--format", "json"]).ended(0).out;
    assert!(doctor.contains("of its 100 connections") || doctor.contains("connections"), "{doctor}");
    let gateway = site.start("another", ALL);
    gateway.wait_for_event(3);
    assert_eq!(gateway.get("/readyz").status, 200);
}

#[test]
fn roles_run_apart() {
    let site = Site::begin();
    let door = site.start("door", "intake");
    let desk = site.start("desk", "translate");
    let house = site.start("house", "publish,console");
    assert_eq!(desk.public.port(), 0, "no public door");
    let delivery = accept(&door, &measured("1", 3));
    assert_eq!(outcome(&house, &delivery), "translated");
    house.wait_for_event(1);
    assert_eq!(door.get("/api/v1/events").status, 404, "no console");
    assert_eq!(door.get("/readyz").status, 200);
    assert_eq!(desk.get("/metrics").status, 200);
    for process in [door, desk, house] {
        assert!(process.terminate().success());
    }
    site.verb("door", &["reconcile"]).ended(0);
}

#[test]
fn while_postgresql_is_away_deliveries_are_answered_503_and_none_is_lost() {
    let mut site = Site::begin();
    let gateway = site.start("one", ALL);
    accept(&gateway, &measured("1", 1));
    site.postgres.stop_at_once();
    let refused = post(&gateway, &measured("2", 1));
    assert_eq!(refused.status, 503, "{}", refused.head);
    gateway.wait_until("/readyz", |answer| answer.status == 503);
    site.postgres.start_again();
    gateway.wait_until("/readyz", |answer| answer.status == 200);
    accept(&gateway, &measured("3", 1));
    gateway.wait_for_event(2);
    assert!(gateway.terminate().success());
    let figures = site.verb("one", &["reconcile", "--format", "json"]).ended(0).json();
    assert_eq!(figures["waiting"], 0, "{figures}");
}

#[test]
fn reconcile_holds_at_any_instant_while_two_gateways_take_deliveries() {
    let site = Site::begin();
    let gateways = [site.start("one", ALL), site.start("another", ALL)];
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (client, gateway) in gateways.iter().enumerate() {
            let stop = &stop;
            scope.spawn(move || {
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    accept(gateway, &measured(&format!("{client}-{number}"), 1));
                }
            });
        }
        let reconciled =
            || site.verb("one", &["reconcile", "--format", "json"]).ended(0).json()["given"].as_u64();
        let given: Vec<_> = (0..5).map(|_| reconciled()).collect();
        stop.store(true, Ordering::Relaxed);
        assert!(given.is_sorted() && given.first() < given.last(), "{given:?}");
    });
}

#[test]
fn what_keeps_a_gateway_from_postgresql_is_said() {
    let site = Site::without_schema(&["fsync=on", "full_page_writes=off"], "");
    let serve = ["serve", "--listen", "127.0.0.1:0", "--private-listen", "127.0.0.1:0"];
    let refused = site.verb("one", &serve).ended(2);
    assert!(refused.err.contains("run `douane ledger migrate`"), "{}", refused.err);
    site.verb("one", &["ledger", "migrate"]).ended(0);
    let refused = site.verb("one", &serve).ended(2);
    assert!(refused.err.contains("full_page_writes is off"), "{}", refused.err);
    let doctor = site.verb("one", &["doctor"]).ended(1).out;
    assert!(doctor.contains("✗ database") && doctor.contains("full_page_writes is off"), "{doctor}");
    let daring = Site::without_schema(&["fsync=off"], "accept_lossy_database = true\n");
    daring.verb("one", &["ledger", "migrate"]).ended(0);
    assert!(daring.start("one", ALL).terminate().success());
}

#[test]
fn the_demo_runs_over_real_engines_too() {
    let shown = crate::process::Ran::from(crate::process::run(&["demo", "--engines", "--once"])).ended(0);
    assert!(shown.out.contains("messages were read back from the NATS stream"), "{}", shown.out);
    assert!(!shown.out.contains('✗'), "{}", shown.out);
}

#[test]
fn processes_of_one_ledger_seal_with_one_key() {
    let site = Site::begin();
    site.postgres.sql("UPDATE douane.ledger SET sealing_key = 'deadbeef'");
    let doctor = site.verb("one", &["doctor"]).ended(1).out;
    assert!(doctor.contains("the ledger's is deadbeef"), "{doctor}");
    let serve = ["serve", "--listen", "127.0.0.1:0", "--private-listen", "127.0.0.1:0"];
    let refused = site.verb("one", &serve).ended(2);
    assert!(refused.err.contains("every process of a ledger needs the same one"), "{}", refused.err);
}
