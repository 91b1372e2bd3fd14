//! The real binary while it serves: signals, reloads, secrets, limits, retention. What it accepted it keeps, and what it
//! cannot keep it says.

use std::{
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;

use crate::{
    folder::{Folder, MAPPING},
    lab::{BROKEN, Lab, QUICK_POLL, measured},
    process::{Process, mappings},
    wire::{self, Answer, Wire},
};

const DOUBLED: &str = r#"{ "type": "lab.ThingMeasured.v1", "subject": string!(.thing), "data": { "size": int!(.size) * 2 } }
"#;
/// No change is found unless somebody says that there is one.
const NO_POLL: (&str, &str) = ("DOUANE_MAPPINGS_POLL", "1h");

fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.head);
    assert_eq!(answer.header("retry-after"), "5");
}

/// Posts on one connection until it ends, and notes the ids of what was accepted.
fn post_until_closed(address: SocketAddr, from: usize, accepted: &Mutex<Vec<String>>) {
    let Ok(mut wire) = Wire::open(address) else { return };
    for number in from.. {
        let body = measured(&number.to_string(), 1).to_string();
        let sent = wire.send(&wire::request("POST", "/in/lab", &[], body.as_bytes()));
        let Ok(answer) = sent.and_then(|()| wire.answer()) else { return };
        if answer.status != 200 {
            return refused(&answer, 503, "shutting_down");
        }
        accepted.lock().expect("not poisoned").push(answer.delivery());
    }
}

#[test]
fn no_thread_waits_for_its_turn_where_the_ledger_is_in_the_process() {
    const SCHED_OTHER: u32 = 0;
    let lab = Lab::start();
    let policies = lab.gateway.policies();
    assert!(policies.len() > 1 && policies.iter().all(|policy| *policy == SCHED_OTHER), "{policies:?}");
}

#[test]
fn sigterm_under_load_finishes_what_was_accepted() {
    let lab = Lab::start();
    let accepted = Mutex::new(Vec::new());
    let address = lab.gateway.public;
    let stopped = std::thread::scope(|scope| {
        for client in 0..8 {
            let accepted = &accepted;
            scope.spawn(move || post_until_closed(address, client * 1_000_000, accepted));
        }
        lab.gateway.wait_for_event(100);
        lab.stop()
    });
    let accepted = accepted.into_inner().expect("not poisoned");
    assert!(accepted.len() >= 100);
    let reconciled = stopped.verb(&["reconcile", "--scrub", "--format", "json"]).ended(0).json();
    assert_eq!(reconciled["given"], accepted.len(), "what was answered is what is kept");
    let lab = stopped.start(&[]);
    for id in accepted {
        assert_eq!(lab.gateway.get(&format!("/api/v1/deliveries/{id}")).status, 200);
    }
}

#[test]
fn a_request_in_flight_is_answered_before_the_end() {
    let lab = Lab::start();
    let body = measured("1", 1).to_string();
    let request = wire::request("POST", "/in/lab", &[], body.as_bytes());
    let (first, rest) = request.split_at(request.len() - 10);
    let mut wire = Wire::open(lab.gateway.public).expect("connected");
    wire.send(first).expect("sent");
    lab.gateway.wait_until("/metrics", |_| lab.gateway.metric("douane_requests_in_flight") >= 1.0);
    let private = lab.gateway.private;
    std::thread::scope(|scope| {
        let stopping = scope.spawn(move || lab.stop());
        // The doors are closed to newcomers; the request that is there may go on.
        while Wire::open(private).is_ok() {
            std::thread::yield_now();
        }
        wire.send(rest).expect("sent");
        assert_eq!(wire.answer().expect("answered").status, 200);
        let stopped = stopping.join().expect("ended");
        let given = stopped.verb(&["reconcile", "--format", "json"]).ended(0).json()["given"].clone();
        assert_eq!(given, 1);
    });
}

#[test]
fn sighup_takes_the_folder_in() {
    let lab = Lab::with(Folder::new(), &[NO_POLL]);
    lab.deliver(&measured("1", 3));
    lab.mappings.mapping(DOUBLED);
    lab.deliver(&measured("2", 3));
    lab.gateway.hang_up();
    lab.gateway.wait_until("/metrics", |_| lab.gateway.metric("douane_reloads_total") >= 2.0);
    lab.deliver(&measured("3", 3));
    let sizes: Vec<_> = lab.feed("").iter().map(|event| event["data"]["size"].clone()).collect();
    assert_eq!(sizes, [3, 3, 6]);
}

#[test]
fn a_changed_folder_is_found_and_a_broken_one_does_no_harm() {
    let lab = Lab::with(Folder::new(), &[QUICK_POLL]);
    lab.deliver(&measured("1", 3));
    lab.mappings.mapping(BROKEN);
    let desks = |answer: &Answer| answer.json()["desks"].to_string();
    lab.gateway.wait_until("/readyz", |answer| desks(answer).contains("goes on"));
    let told = desks(&lab.gateway.get("/readyz"));
    assert!(told.contains("goes on: partners/lab/measured.vrl:1:"), "it says where: {told}");
    assert_eq!(lab.deliver(&measured("2", 3))["external_events"][0]["outcome"], "translated");
    lab.mappings.mapping(DOUBLED);
    lab.gateway.wait_until("/readyz", |answer| desks(answer) == "[]");
    lab.deliver(&measured("3", 3));
    let sizes: Vec<_> = lab.feed("").iter().map(|event| event["data"]["size"].clone()).collect();
    assert_eq!(sizes, [3, 3, 6]);
}

#[test]
fn a_partner_comes_and_goes_without_a_restart() {
    let mappings = Folder::new();
    let partner = std::fs::read_to_string(mappings.path().join("partners/lab/partner.toml")).expect("read");
    let lab = Lab::with(mappings, &[QUICK_POLL]);
    let post = || wire::exchange(lab.gateway.public, "POST", "/in/annexe", &[], b"{}").status;
    assert_eq!(post(), 404);
    std::fs::create_dir(lab.mappings.path().join("partners/annexe")).expect("made");
    lab.mappings.write("partners/annexe/measured.vrl", MAPPING);
    lab.mappings.write("partners/annexe/partner.toml", &partner);
    lab.gateway.wait_until("/readyz", |_| post() == 200);
    std::fs::remove_dir_all(lab.mappings.path().join("partners/annexe")).expect("removed");
    lab.gateway.wait_until("/readyz", |_| post() == 404);
    let ready = lab.gateway.get("/readyz").json();
    let told = "annexe: its address answers 404; its last desk works what is waiting";
    assert_eq!((&ready["removed"], &ready["desks"]), (&json!([told]), &json!([])));
    lab.gateway.wait_until("/readyz", |_| lab.gateway.told("partner removed") == 1);
}

#[test]
fn a_folder_that_cannot_be_read_is_told_once_and_so_is_its_return() {
    let lab = Lab::with(Folder::new(), &[QUICK_POLL]);
    let (folder, aside) = (lab.mappings.path().join("partners"), lab.mappings.path().join("aside"));
    for times in 1..=2 {
        std::fs::rename(&folder, &aside).expect("moved away");
        lab.gateway.wait_until("/readyz", |_| lab.gateway.told("the mappings were not taken in") == times);
        assert_eq!(
            lab.deliver(&measured(&times.to_string(), 3))["external_events"][0]["outcome"],
            "translated"
        );
        std::fs::rename(&aside, &folder).expect("moved back");
        lab.gateway.wait_until("/readyz", |_| lab.gateway.told("can be taken in again") == times);
        assert_eq!(lab.gateway.told("the mappings were not taken in"), times);
    }
}

/// The lab, whose endpoint verifies as Stripe's does, with secrets as given.
fn signed(secrets: &str) -> Folder {
    let mappings = Folder::new();
    mappings.change_partner(
        "[signature]\nunsigned = true\n\n[[endpoint]]\nname = \"default\"",
        &format!(
            "[signature]\npreset = \"stripe\"\n\n[[endpoint]]\nname = \"default\"\nsecrets = [{secrets}]"
        ),
    );
    mappings
}

fn post_signed(lab: &Lab, secret: &str) -> Answer {
    let body = measured("1", 3).to_string();
    let signature = wire::stripe_signature(secret, body.as_bytes(), wire::now_seconds());
    let headers = [("stripe-signature", signature.as_str())];
    wire::exchange(lab.gateway.public, "POST", "/in/lab", &headers, body.as_bytes())
}

#[test]
fn a_secret_in_a_file_is_taken_up_when_it_changes() {
    const OLD: &str = "whsec_it_the_old_secret_0123456789abcdef";
    const NEW: &str = "whsec_it_the_new_secret_0123456789abcdef";
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("secret");
    std::fs::write(&file, OLD).expect("written");
    let lab =
        Lab::with(signed(&format!("{{ id = \"one\", from = \"file:{}\" }}", file.display())), &[QUICK_POLL]);
    assert_eq!(post_signed(&lab, OLD).status, 200);
    assert_eq!(post_signed(&lab, NEW).status, 401);
    std::fs::write(&file, NEW).expect("written");
    lab.gateway.wait_until("/readyz", |_| post_signed(&lab, NEW).status == 200);
    assert_eq!(post_signed(&lab, OLD).status, 401);
    std::fs::remove_file(&file).expect("removed");
    lab.gateway.wait_until("/readyz", |answer| answer.json()["not_configured"] != json!([]));
    refused(&post_signed(&lab, NEW), 503, "not_configured");
    lab.gateway.wait_until("/readyz", |_| lab.gateway.told("not configured, answers 503: ") == 1);
    std::fs::write(&file, NEW).expect("written");
    lab.gateway.wait_until("/readyz", |_| lab.gateway.told("endpoint configured") == 1);
    assert_eq!(post_signed(&lab, NEW).status, 200);
}

#[test]
fn two_secrets_are_believed_while_one_replaces_the_other() {
    const OLD: &str = "whsec_it_the_old_secret_0123456789abcdef";
    const NEW: &str = "whsec_it_the_new_secret_0123456789abcdef";
    let secrets = "{ id = \"old\", from = \"env:OLD\" }, { id = \"new\", from = \"env:NEW\" }";
    let lab = Lab::with(signed(secrets), &[("OLD", OLD), ("NEW", NEW)]);
    for (secret, id) in [(OLD, "old"), (NEW, "new")] {
        let path = format!("/api/v1/deliveries/{}", post_signed(&lab, secret).delivery());
        let row = lab.gateway.get(&path).json();
        assert_eq!((&row["secret_id"], &row["assurance"]), (&json!(id), &json!("full")));
    }
}

#[test]
fn without_a_real_secret_an_endpoint_is_not_configured() {
    for (value, why) in [("changeme", "placeholder"), ("", "empty"), ("short", "")] {
        let lab = Lab::with(signed("{ id = \"one\", from = \"env:LAB_SECRET\" }"), &[("LAB_SECRET", value)]);
        let answer = post_signed(&lab, value);
        refused(&answer, 503, "not_configured");
        assert!(!String::from_utf8_lossy(&answer.body).contains("LAB_SECRET"), "the partner is told nothing");
        let ready = lab.gateway.get("/readyz");
        assert_eq!(ready.status, 200, "other endpoints are served");
        let told = ready.json()["not_configured"][0].as_str().expect("a text").to_owned();
        assert!(told.starts_with("lab/default: ") && told.contains("LAB_SECRET"), "{told}");
        assert!(told.contains(why), "{told}");
    }
}

#[test]
fn every_secret_that_is_missing_is_named_when_a_server_starts_and_wherever_one_asks() {
    let secrets = "{ id = \"one\", from = \"env:LAB_ONE\" }, { id = \"two\", from = \"env:LAB_TWO\" }";
    let lab = Lab::with(signed(secrets), &[]);
    let why = "the secret \\\"one\\\" from env:LAB_ONE: the environment variable LAB_ONE is not set; \
               the secret \\\"two\\\" from env:LAB_TWO: the environment variable LAB_TWO is not set";
    let line = format!("not configured, answers 503: {why}");
    assert_eq!((lab.gateway.told(&line), lab.gateway.told("answers 503")), (1, 1), "one line an endpoint");
    let why = why.replace('\\', "");
    for verb in [&["check"][..], &["doctor"], &["partner", "ls"], &["partner", "show", "lab"]] {
        // A table breaks long lines.
        let told = lab.verb(verb).out;
        assert!(told.contains("LAB_ONE") && told.contains("LAB_TWO"), "{verb:?}: {told}");
    }
    assert_eq!(lab.gateway.get("/readyz").json()["not_configured"], json!([format!("lab/default: {why}")]));
}

#[test]
fn a_process_that_answers_no_partner_misses_no_secret() {
    let lab = Lab::with(
        signed("{ id = \"one\", from = \"env:LAB_ONE\" }"),
        &[("DOUANE_PROCESS_ROLES", "translate,publish")],
    );
    assert_eq!(lab.gateway.told("answers 503"), 0);
}

#[test]
fn a_disk_nearly_full_is_said_before_it_is_full() {
    let lab = Lab::with(Folder::new(), &[("DOUANE_LEDGER_MIN_FREE_BYTES", "9000000000000000000")]);
    refused(&lab.post(measured("1", 1).to_string().as_bytes()), 503, "low_space");
    let ready = lab.gateway.get("/readyz");
    assert_eq!((ready.status, &ready.json()["ready"]), (503, &json!(false)));
    assert!(ready.json()["reasons"][0].as_str().is_some_and(|why| why.contains("min_free_bytes")));
    assert_eq!(lab.gateway.get("/livez").status, 200, "a restart would not help");
    assert_eq!(lab.gateway.get("/api/v1/deliveries").status, 200, "auditors read on");
}

#[test]
fn a_health_check_says_what_readyz_says() {
    let lab = Lab::start();
    assert_eq!(lab.verb(&["ready"]).ended(0).json(), lab.gateway.get("/readyz").json());
    let told = lab.stop().verb(&["ready"]).ended(2);
    assert!(told.err.contains("no server runs on"), "{told:?}");
    let lab = Lab::with(Folder::new(), &[("DOUANE_LEDGER_MIN_FREE_BYTES", "9000000000000000000")]);
    assert_eq!(lab.verb(&["ready"]).ended(1).json()["ready"], json!(false));
}

#[test]
fn more_than_the_rate_is_refused() {
    let mappings = Folder::new();
    mappings.change_partner("name = \"default\"", "name = \"default\"\nrequests_per_second = 1");
    let lab = Lab::with(mappings, &[]);
    let answers: Vec<_> =
        (0..5).map(|n| lab.post(measured(&n.to_string(), 1).to_string().as_bytes())).collect();
    assert_eq!(answers[0].status, 200);
    refused(answers.iter().find(|answer| answer.status != 200).expect("one too many"), 429, "rate_limited");
}

#[test]
fn bodies_in_memory_are_bounded() {
    let lab = Lab::with(
        Folder::new(),
        &[("DOUANE_INTAKE_MAX_BYTES_IN_FLIGHT", "131072"), ("DOUANE_INTAKE_MAX_BODY_BYTES", "65536")],
    );
    let head = "POST /in/lab HTTP/1.1\r\nhost: test\r\ncontent-length: 65000\r\n\r\n";
    let mut slow = Wire::open(lab.gateway.public).expect("connected");
    slow.send(&[head.as_bytes(), &vec![b'x'; 60_000]].concat()).expect("sent");
    lab.gateway.wait_until("/metrics", |_| lab.gateway.metric("douane_bytes_in_flight") >= 60_000.0);
    refused(&lab.post(&[b'y'; 10_000]), 503, "overloaded");
    slow.send(&[b'x'; 5_000]).expect("sent");
    assert_eq!(slow.answer().expect("answered").status, 200, "who was there first is served");
    lab.gateway.wait_until("/metrics", |_| lab.gateway.metric("douane_bytes_in_flight") < 1.0);
    assert_eq!(lab.post(&[b'y'; 10_000]).status, 200, "and then there is room again");
}

#[test]
fn the_bodies_of_one_endpoint_never_keep_out_another() {
    let mappings = Folder::new();
    mappings.change_partner("name = \"default\"", "name = \"default\"\n\n[[endpoint]]\nname = \"other\"");
    let small = [("DOUANE_INTAKE_MAX_BYTES_IN_FLIGHT", "131072"), ("DOUANE_INTAKE_MAX_BODY_BYTES", "65536")];
    let lab = Lab::with(mappings, &small);
    let head = "POST /in/lab HTTP/1.1\r\nhost: test\r\ncontent-length: 65536\r\n\r\n";
    let mut slow = Wire::open(lab.gateway.public).expect("connected");
    slow.send(&[head.as_bytes(), &vec![b'x'; 60_000]].concat()).expect("sent");
    lab.gateway.wait_until("/metrics", |_| lab.gateway.metric("douane_bytes_in_flight") >= 65_536.0);

    refused(&lab.post(b"{}"), 503, "overloaded");
    let other = wire::exchange(lab.gateway.public, "POST", "/in/lab/other", &[], &vec![b'y'; 65_536]);
    assert_eq!(other.status, 200, "the other half is free");
    slow.send(&[b'x'; 5_536]).expect("sent");
    assert_eq!(slow.answer().expect("answered").status, 200);
}

#[test]
fn requests_being_answered_are_bounded() {
    let lab = Lab::with(Folder::new(), &[("DOUANE_INTAKE_MAX_REQUESTS_IN_FLIGHT", "1")]);
    let mut slow = Wire::open(lab.gateway.public).expect("connected");
    slow.send(b"POST /in/lab HTTP/1.1\r\nhost: test\r\ncontent-length: 2\r\n\r\n{").expect("sent");
    lab.gateway.wait_until("/metrics", |_| lab.gateway.metric("douane_bytes_in_flight") > 0.0);
    refused(&lab.post(b"{}"), 503, "overloaded");
    slow.send(b"}").expect("sent");
    assert_eq!(slow.answer().expect("answered").status, 200);
    lab.gateway.wait_until("/metrics", |_| lab.gateway.metric("douane_requests_in_flight") < 1.0);
    assert_eq!(lab.post(b"{}").status, 200);
}

#[test]
fn the_queue_before_the_log_is_bounded() {
    let lab = Lab::with(
        Folder::new(),
        &[("DOUANE_LEDGER_QUEUE_ENTRIES", "1"), ("DOUANE_LEDGER_BATCH_ENTRIES", "1")],
    );
    let (full, accepted) = (AtomicBool::new(false), AtomicUsize::new(0));
    let address = lab.gateway.public;
    std::thread::scope(|scope| {
        for client in 0..16 {
            let (full, accepted) = (&full, &accepted);
            scope.spawn(move || {
                let mut wire = Wire::open(address).expect("connected");
                for number in 0..2_000 {
                    if full.load(Ordering::Relaxed) {
                        break;
                    }
                    let body = measured(&format!("{client}-{number}"), 1).to_string();
                    wire.send(&wire::request("POST", "/in/lab", &[], body.as_bytes())).expect("sent");
                    let answer = wire.answer().expect("answered");
                    if answer.status == 200 {
                        accepted.fetch_add(1, Ordering::Relaxed);
                    } else {
                        refused(&answer, 503, "overloaded");
                        full.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert!(full.into_inner(), "sixteen clients never met before a queue of one");
    let kept = lab.verb(&["reconcile", "--format", "json"]).ended(0).json();
    assert_eq!(kept["given"], accepted.into_inner());
}

#[test]
fn http_2_is_spoken_with_prior_knowledge() {
    let lab = Lab::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (version, status, delivery) = runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(lab.gateway.public).await.expect("connected");
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .expect("agreed");
        tokio::spawn(connection);
        let uri = format!("http://{}/in/lab", lab.gateway.public);
        let body = Full::new(Bytes::from(measured("1", 3).to_string()));
        let request = http::Request::post(uri).header("x-twice", "a").header("x-twice", "b").body(body);
        let answer = sender.send_request(request.expect("a request")).await.expect("answered");
        let (version, status) = (answer.version(), answer.status());
        (version, status, answer.into_body().collect().await.expect("a body").to_bytes())
    });
    assert_eq!((version, status.as_u16()), (http::Version::HTTP_2, 200));
    let delivery: serde_json::Value = serde_json::from_slice(&delivery).expect("JSON");
    let path = format!("/api/v1/deliveries/{}", delivery["delivery"].as_str().expect("an id"));
    let headers = lab.gateway.get(&path).json()["headers"].clone();
    let twice = headers.as_array().expect("pairs").iter().filter(|pair| pair[0] == "x-twice");
    assert_eq!(twice.map(|pair| pair[1].clone()).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn retention_drops_old_payloads_and_says_so() {
    let small = ("DOUANE_LEDGER_SEGMENT_BYTES", "1048576");
    let lab = Lab::with(Folder::new(), &[small]);
    let filler = "x".repeat(300_000);
    let mut ids = Vec::new();
    for number in 0..8 {
        let mut event = measured(&number.to_string(), number);
        event["filler"] = json!(filler);
        ids.push(lab.deliver(&event)["delivery"].as_str().expect("an id").to_owned());
    }
    let lab = lab.stop().start(&[small, ("DOUANE_RETENTION_PAYLOADS", "1ms")]);
    lab.gateway.wait_until("/api/v1/journal", |_| !lab.journal("retention.dropped").is_empty());
    let dropped = lab.journal("retention.dropped").remove(0);
    assert_eq!(dropped["who"], "system");
    let first_left = dropped["detail"]["first_left"].as_u64().expect("a number");
    assert!(first_left > 1);
    let body = format!("/api/v1/deliveries/{}/body", ids[0]);
    // It is written down before it is done, and done file by file.
    lab.gateway
        .wait_until(&body, |answer| answer.status == 410 && answer.json()["first_available"] == first_left);
    assert_eq!(lab.gateway.get(&body).code(), "pruned");
    for name in [ids[0].as_str(), "1"] {
        let detail = lab.gateway.get(&format!("/api/v1/deliveries/{name}")).json();
        assert_eq!(detail["external_events"][0]["outcome"], "translated", "what became of it stays known");
        assert!(detail["payload"].as_str().is_some_and(|why| why.contains("retention")), "{detail}");
        assert!(detail["headers"].is_null());
    }
    let listed = lab.gateway.get("/api/v1/deliveries").json()["items"].as_array().map(Vec::len);
    assert_eq!(listed, Some(8), "what became of them is known still");
    assert_eq!(lab.feed("").len(), 8);
    assert_eq!(lab.deliver(&measured("new", 1))["waiting"], false);
    let exported = lab.verb(&["deliveries", "export"]).ended(0);
    assert_eq!(exported.out.lines().count(), 9, "an export says what it lacks; retention is nothing wrong");
    let report = lab.verb(&["reconcile", "--format", "json"]).ended(0).json();
    assert_eq!(report["pruned"], first_left - 1);
}

#[test]
fn a_dead_letter_keeps_its_payload_from_retention() {
    let small = ("DOUANE_LEDGER_SEGMENT_BYTES", "1048576");
    let lab = Lab::with(Folder::new(), &[small]);
    let dead = lab.deliver(&json!({ "id": "0", "type": "measured" }));
    assert_eq!(dead["external_events"][0]["outcome"], "dead_letter");
    let filler = "x".repeat(600_000);
    for number in 1..4 {
        let mut event = measured(&number.to_string(), number);
        event["filler"] = json!(filler);
        lab.deliver(&event);
    }
    let lab = lab.stop().start(&[small, ("DOUANE_RETENTION_PAYLOADS", "1ms")]);
    lab.deliver(&measured("new", 1));
    let path = format!("/api/v1/deliveries/{}/body", dead["delivery"].as_str().expect("an id"));
    assert_eq!(lab.gateway.get(&path).status, 200);
    assert!(lab.journal("retention.dropped").is_empty());
}

#[test]
fn a_file_broker_gets_what_the_feed_holds_and_a_replay_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("events.ndjson");
    let config = folder.path().join("douane.toml");
    let text = format!(
        "[[broker]]\nname = \"archive\"\nkind = \"file\"\nfrom = \"beginning\"\npath = {:?}\n",
        file.display()
    );
    std::fs::write(&config, text).expect("written");
    let settings = [("DOUANE_CONFIG", config.to_str().expect("text"))];
    let lab = Lab::with(Folder::new(), &settings);
    lab.deliver(&measured("1", 3));
    lab.gateway.wait_until("/metrics", |_| lab.gateway.metric("douane_events_published_total") >= 1.0);
    let replay = json!({ "partner": "lab", "brokers": ["archive"] });
    let answer = lab.gateway.ask("POST", "/api/v1/replays", &lab.gateway.token, &replay);
    assert_eq!((answer.status, answer.json()["repeated"].clone()), (202, json!(1)));
    lab.gateway.wait_until("/metrics", |_| lab.gateway.metric("douane_events_published_total") >= 2.0);
    let text = std::fs::read_to_string(&file).expect("read");
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["id"], lines[1]["id"]);
    assert_eq!(lab.journal("broker.introduced")[0]["subject"], "archive");
}

#[test]
fn the_shipped_partners_are_all_ready() {
    let folder = tempfile::tempdir().expect("a folder");
    let strict = [("DOUANE_MAPPINGS_STRICT", "true")];
    let gateway = Process::start_with(&folder.path().join("data"), &mappings(), &strict);
    assert_eq!(gateway.get("/readyz").json()["desks"], json!([]));
}
