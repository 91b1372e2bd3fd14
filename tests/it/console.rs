//! The private door of the real binary: who may ask what, what is answered, and what the journal says of it.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    folder::{Folder, MAPPING},
    lab::{BROKEN, Lab, QUICK_POLL, event, measured},
    process::Process,
    wire::{self, Answer},
};

fn get(lab: &Lab, path: &str, token: &str) -> Answer {
    lab.gateway.ask("GET", path, token, &Value::Null)
}

fn numbers(answer: &Answer) -> Vec<u64> {
    let items = answer.json()["items"].as_array().expect("rows").clone();
    items.iter().map(|row| row["number"].as_u64().expect("a number")).collect()
}

fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.head);
    assert_eq!(answer.header("content-type"), "application/problem+json");
}

#[test]
fn a_role_allows_what_it_says_and_no_more() {
    let lab = Lab::start();
    let delivery = lab.accept(&measured("1", 3));
    let [consumer, auditor, operator] = ["consumer", "auditor", "operator"].map(|role| lab.token(role, role));
    let detail = format!("/api/v1/deliveries/{delivery}");
    let body = format!("{detail}/body");
    let dry_run = json!({ "partner": "lab", "dry_run": true });
    let wish = json!({ "name": "another", "role": "operator" });
    let everyone = [("GET", "/api/v1/events", &Value::Null)];
    let auditors = ["deliveries", "publications", "refusals", "dead-letters", "journal"];
    let auditors = auditors.map(|path| format!("/api/v1/{path}"));
    let auditors = auditors.iter().chain([&detail, &body]).map(|path| ("GET", path.as_str(), &Value::Null));
    let operators = [
        ("POST", "/api/v1/replays", &dry_run),
        ("GET", "/api/v1/tokens", &Value::Null),
        ("POST", "/api/v1/tokens", &wish),
        ("DELETE", "/api/v1/tokens/nobody", &Value::Null),
    ];
    let asked = everyone.into_iter().map(|it| (it, 0)).chain(auditors.map(|it| (it, 1)));
    for ((method, path, sent), needed) in asked.chain(operators.map(|it| (it, 2))) {
        refused(&lab.gateway.ask(method, path, "dou_unknown", sent), 401, "unauthorised");
        let unnamed = wire::exchange(lab.gateway.private, method, path, &[], b"");
        refused(&unnamed, 401, "unauthorised");
        assert_eq!(unnamed.header("www-authenticate"), "Bearer");
        for (rank, token) in [&consumer, &auditor, &operator].into_iter().enumerate() {
            let answer = lab.gateway.ask(method, path, token, sent);
            if rank < needed {
                refused(&answer, 403, "forbidden");
            } else {
                assert!(matches!(answer.status, 200 | 201 | 404), "{method} {path}: {}", answer.head);
            }
        }
    }
    let note = json!({ "at": "2026-11-23T12:00:00Z", "who": "x", "act": "x", "subject": "x", "detail": {} });
    refused(&lab.gateway.ask("POST", "/api/v1/journal", &operator, &note), 403, "forbidden");
    assert_eq!(lab.gateway.ask("DELETE", "/api/v1/tokens/auditor", &operator, &Value::Null).status, 204);
    refused(&get(&lab, "/api/v1/deliveries", &auditor), 401, "unauthorised");
    let lower = format!("bearer {operator}");
    let headers = [("authorization", lower.as_str())];
    assert_eq!(wire::exchange(lab.gateway.private, "GET", "/api/v1/deliveries", &headers, b"").status, 200);
}

#[test]
fn a_token_is_shown_once_and_its_acts_are_journalled() {
    let lab = Lab::start();
    let token = lab.token("warehouse-feed", "consumer");
    assert!(token.starts_with("dou_") && token.len() > 40);
    let again = json!({ "name": "warehouse-feed", "role": "auditor" });
    refused(&lab.gateway.ask("POST", "/api/v1/tokens", &lab.gateway.token, &again), 409, "name_taken");
    for name in ["", "cli", "with space", ".", "..", "-x", &"x".repeat(101)] {
        let wish = json!({ "name": name, "role": "auditor" });
        let answer = lab.gateway.ask("POST", "/api/v1/tokens", &lab.gateway.token, &wish);
        refused(&answer, 400, "invalid_request");
    }
    let operator = lab.token("head-of-platform", "operator");
    let revoke = "/api/v1/tokens/warehouse-feed";
    assert_eq!(lab.gateway.ask("DELETE", revoke, &operator, &Value::Null).status, 204);
    refused(&lab.gateway.ask("DELETE", revoke, &operator, &Value::Null), 404, "not_found");
    let listed = get(&lab, "/api/v1/tokens", &operator);
    let text = String::from_utf8_lossy(&listed.body).into_owned();
    assert!(!text.contains(&token) && !text.contains("sha256"), "{text}");
    let rows = listed.json()["items"].as_array().expect("rows").clone();
    let revoked = rows.iter().find(|row| row["name"] == "warehouse-feed").expect("listed");
    assert!(revoked["revoked_at"].is_string(), "{revoked}");
    let created = lab.journal("token.created");
    assert_eq!(created.len(), 2);
    assert_eq!((&created[1]["who"], &created[1]["subject"]), (&json!("cli"), &json!("warehouse-feed")));
    assert_eq!(created[1]["detail"]["role"], "consumer");
    let revoked = &lab.journal("token.revoked")[0];
    assert_eq!(
        (&revoked["who"], &revoked["subject"]),
        (&json!("head-of-platform"), &json!("warehouse-feed"))
    );
    assert!(revoked["at"].as_str().is_some_and(|at| at.ends_with('Z')));
}

#[test]
fn mistakes_are_told_in_one_voice() {
    let lab = Lab::start();
    let bad = [
        "deliveries?partners=lab",
        "deliveries?outcome=lost",
        "deliveries?from=yesterday",
        "deliveries?limit=many",
        "deliveries?cursor=-1",
        "deliveries?partner=a&partner=b",
        "events?before=3",
        "events?after=first",
        "events?limit=0",
        "refusals?outcome=ignored",
        "dead-letters?from=2026-11-23T12:00:00Z",
        "journal?before=3",
        "deliveries/%ff",
    ];
    for query in bad {
        let answer = lab.gateway.get(&format!("/api/v1/{query}"));
        refused(&answer, 400, "invalid_request");
        assert!(!answer.json()["detail"].as_str().expect("a detail").is_empty());
    }
    for nowhere in ["/", "/api", "/api/v1/", "/api/v1/delivery", "/api/v2/events", "/in/lab"] {
        refused(&lab.gateway.get(nowhere), 404, "not_found");
    }
    for unknown in ["0192d3a4-0000-7000-8000-000000000000", "0192d3a4-0000-4000-8000-000000000000", "17"] {
        for path in [format!("deliveries/{unknown}"), format!("deliveries/{unknown}/body")] {
            refused(&lab.gateway.get(&format!("/api/v1/{path}")), 404, "not_found");
        }
    }
    let post = |path: &str, body| lab.gateway.ask("POST", path, &lab.gateway.token, &body);
    let wrong = post("/api/v1/deliveries", json!({}));
    refused(&wrong, 405, "method_not_allowed");
    assert!(wrong.header("allow").contains("GET"), "{}", wrong.head);
    refused(&post("/livez", json!({})), 405, "method_not_allowed");
    for body in [json!({}), json!({ "partner": 1 }), json!({ "partners": "lab" }), json!([])] {
        refused(&post("/api/v1/replays", body), 400, "invalid_request");
    }
    let unknown_broker = post("/api/v1/replays", json!({ "partner": "lab", "brokers": ["kafak"] }));
    refused(&unknown_broker, 400, "invalid_request");
    refused(&post("/api/v1/tokens", json!({ "name": "x", "role": "king" })), 400, "invalid_request");
    let mut wire = lab.listen("", Some("the last one"));
    refused(&wire.answer().expect("answered"), 400, "invalid_request");
}

#[test]
fn deliveries_are_found_by_each_filter_and_paged() {
    let lab = Lab::start();
    let sent = [
        measured("a", 1),
        measured("b", 2),
        measured("a", 1),
        event("c", "noise.hum"),
        event("d", "exploded"),
        measured("e", -1),
        json!({ "id": "f", "type": "measured", "thing": "bench" }),
    ];
    let rows: Vec<Value> = sent.iter().map(|event| lab.deliver(event)).collect();
    let list = |query: &str| lab.gateway.get(&format!("/api/v1/deliveries?{query}"));
    let time = |row: usize| rows[row]["received_at"].as_str().expect("a time");
    let cases = [
        (String::new(), vec![7, 6, 5, 4, 3, 2, 1]),
        ("partner=lab&endpoint=default".to_owned(), vec![7, 6, 5, 4, 3, 2, 1]),
        ("partner=other".to_owned(), vec![]),
        ("endpoint=other".to_owned(), vec![]),
        ("external_id=a".to_owned(), vec![3, 1]),
        ("event_type=exploded".to_owned(), vec![5]),
        ("outcome=translated".to_owned(), vec![6, 2, 1]),
        ("outcome=duplicate".to_owned(), vec![3]),
        ("outcome=ignored".to_owned(), vec![4]),
        ("outcome=unmapped".to_owned(), vec![5]),
        ("outcome=dead_letter".to_owned(), vec![7]),
        ("external_id=a&outcome=translated".to_owned(), vec![1]),
        (format!("from={}", time(5)), vec![7, 6]),
        (format!("to={}", time(1)), vec![1]),
        (format!("from={}&to={}", time(2), time(4)), vec![4, 3]),
    ];
    for (query, expected) in cases {
        assert_eq!(numbers(&list(&query)), expected, "{query}");
    }
    let (mut paged, mut query) = (Vec::new(), "limit=3".to_owned());
    for _ in 0..3 {
        let page = list(&query);
        paged.extend(numbers(&page));
        let next = page.json()["next"].clone();
        query = format!("limit=3&cursor={next}");
    }
    assert_eq!(paged, [7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(list("limit=7").json()["next"], Value::Null, "the last page says that it is the last");
    let row = &list("external_id=b").json()["items"][0];
    let event = &row["external_events"][0];
    assert_eq!((&row["delivery"], &row["assurance"]), (&rows[1]["delivery"], &json!("none")));
    assert_eq!((&event["ordinal"], &event["ordering_key"]), (&json!(0), &json!("bench")));
    assert_eq!(event["domain_events"].as_array().map(Vec::len), Some(1));
    let numbered = lab.gateway.get("/api/v1/deliveries/1").json();
    let again = &list("outcome=duplicate").json()["items"][0]["external_events"][0];
    assert_eq!(again["duplicate_of"], numbered["delivery"]);
    assert!(again["reason"].as_str().is_some_and(|reason| !reason.is_empty()));
}

#[test]
fn the_exact_bytes_come_back_and_every_read_is_journalled() {
    let lab = Lab::start();
    let body = b"\xef\xbb\xbf {\"not\" : \"json\"  \r\n\x00\xff".as_slice();
    let headers = [
        ("X-Twice", "first"),
        ("x-twice", "second"),
        ("Authorization", "Bearer partner-credential"),
        ("Cookie", "session=partner-credential"),
    ];
    let sent = wire::exchange(lab.gateway.public, "POST", "/in/lab?a=1&a=%20", &headers, body);
    let auditor = lab.token("anna", "auditor");
    let path = format!("/api/v1/deliveries/{}", sent.delivery());

    let detail = get(&lab, &path, &auditor).json();
    assert_eq!((&detail["method"], &detail["target"]), (&json!("POST"), &json!("/in/lab?a=1&a=%20")));
    assert_eq!(detail["size"], body.len());
    assert_eq!(detail["body_sha256"], hex::encode(Sha256::digest(body)));
    let pairs = detail["headers"].as_array().expect("pairs").clone();
    let of = |name: &str| {
        let found = pairs.iter().filter(|pair| pair[0] == name);
        found.map(|pair| pair[1].as_str().expect("text").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(of("x-twice"), ["first", "second"]);
    assert_eq!(
        (of("authorization"), of("cookie")),
        (vec!["[sealed]".to_owned()], vec!["[sealed]".to_owned()])
    );
    assert!(!detail.to_string().contains("partner-credential"));

    let bytes = get(&lab, &format!("{path}/body"), &auditor);
    assert_eq!(bytes.body, body);
    assert_eq!(bytes.header("content-type"), "application/octet-stream");
    assert_eq!(
        bytes.header("content-disposition"),
        format!("attachment; filename=\"{}.bin\"", sent.delivery())
    );
    assert_eq!(
        (bytes.header("x-content-type-options"), bytes.header("cache-control")),
        ("nosniff", "no-store")
    );
    let digest = STANDARD.encode(Sha256::digest(body));
    assert_eq!(bytes.header("repr-digest"), format!("sha-256=:{digest}:"));

    let reads = lab.journal("payload.read");
    let what: Vec<_> = reads.iter().map(|row| row["detail"]["what"].as_str().expect("text")).collect();
    assert_eq!(what, ["body", "headers"]);
    for read in &reads {
        assert_eq!((&read["who"], &read["subject"]), (&json!("anna"), &json!(sent.delivery())));
        assert!(read["at"].as_str().is_some_and(|at| at.starts_with("20") && at.ends_with('Z')), "{read}");
    }
    let first_page = lab.gateway.get("/api/v1/journal?limit=1").json();
    let rest = lab.gateway.get(&format!("/api/v1/journal?cursor={}", first_page["next"])).json();
    assert!(rest["items"][0]["number"].as_u64() < first_page["items"][0]["number"].as_u64());
}

#[test]
fn a_credential_in_the_query_is_kept_and_shown_to_nobody() {
    let lab = Lab::start();
    let sent = wire::exchange(
        lab.gateway.public,
        "POST",
        "/in/lab?access_token=hush&shop=here&signature=5f",
        &[("x-auth-key", "hush"), ("x-session-id", "hush")],
        measured("1", 3).to_string().as_bytes(),
    );
    let path = format!("/api/v1/deliveries/{}", sent.delivery());
    let detail = lab.gateway.get(&path).json();
    assert_eq!(detail["target"], "/in/lab?access_token=[sealed]&shop=here&signature=5f");
    let shown = lab.verb(&["deliveries", "show", &sent.delivery()]).ended(0);
    let exported = lab.verb(&["deliveries", "export"]).ended(0);
    for text in [detail.to_string(), shown.out, exported.out] {
        assert!(text.contains("access_token=[sealed]") && !text.contains("hush"), "{text}");
    }

    for path in ["/in/nobody?token=hush", "/in/lab/nowhere?token=hush"] {
        let refused = wire::exchange(lab.gateway.public, "POST", path, &[], b"{}");
        assert_eq!(refused.status, 404);
        assert!(!String::from_utf8_lossy(&refused.body).contains("hush"));
    }
    let both = |answer: &Answer| answer.json()["items"].as_array().is_some_and(|rows| rows.len() == 2);
    lab.gateway.wait_until("/api/v1/refusals", both);
    assert!(!lab.gateway.get("/api/v1/refusals").json().to_string().contains("hush"));
}

/// A header that a shipped rule reads must not be sealed before it is read.
#[test]
fn no_header_that_a_shipped_preset_or_partner_identifies_by_is_a_credential() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut files, mut seen) = (Vec::new(), BTreeSet::new());
    toml_files(&root.join("src/signatures/presets"), &mut files);
    toml_files(&root.join("mappings/partners"), &mut files);
    assert!(files.len() >= 13, "{files:?}");
    for file in &files {
        let text = std::fs::read_to_string(file).expect("readable").to_ascii_lowercase();
        // What only the door looks at may be one, as a token: it is sealed afterwards.
        let text = text.split_once("[identify]").map_or("", |(_, text)| text);
        let text = text.split("[[handshake]]").next().unwrap_or_default();
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let names =
            text.split("header.").skip(1).map(|rest| rest.split(|c| !is_name(c)).next().unwrap_or_default());
        for name in names.filter(|name| !name.is_empty()) {
            assert!(!douane::model::is_credential_header(name), "{}: {name}", file.display());
            seen.insert(name.to_owned());
        }
    }
    for known in ["x-github-delivery", "x-shopify-webhook-id", "webhook-id"] {
        assert!(seen.contains(known), "{known} is not among {seen:?}");
    }
}

fn toml_files(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            toml_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            found.push(path);
        }
    }
}

#[test]
fn what_waits_is_listed_found_and_readable() {
    let mappings = Folder::new();
    mappings.mapping(BROKEN);
    let lab = Lab::with(mappings, &[QUICK_POLL]);
    let ids: Vec<_> = (1..=3).map(|n| lab.accept(&measured(&n.to_string(), n))).collect();
    let list = lab.gateway.get("/api/v1/deliveries?partner=lab&limit=2");
    assert_eq!(numbers(&list), [3, 2]);
    assert!(list.json()["items"].as_array().expect("rows").iter().all(|row| row["waiting"] == true));
    let rest = lab.gateway.get(&format!("/api/v1/deliveries?limit=2&cursor={}", list.json()["next"]));
    assert_eq!((numbers(&rest), rest.json()["next"].clone()), (vec![1], Value::Null));
    assert_eq!(numbers(&lab.gateway.get("/api/v1/deliveries?outcome=translated")), [0; 0]);
    let path = format!("/api/v1/deliveries/{}", ids[0]);
    assert_eq!(lab.gateway.get(&path).json()["waiting"], true);
    assert_eq!(lab.gateway.get(&format!("{path}/body")).body, measured("1", 1).to_string().as_bytes());
    let ready = lab.gateway.get("/readyz");
    assert_eq!(ready.status, 200, "a broken mapping never takes it out of the load balancer");
    assert!(ready.json()["desks"][0].as_str().is_some_and(|desk| desk.starts_with("lab: deliveries wait")));
    lab.gateway.wait_until("/metrics", |_| lab.gateway.metric("douane_endpoint_standing_still") > 0.0);

    lab.mappings.mapping(MAPPING);
    lab.gateway.wait_until(&path, |answer| answer.json()["waiting"] == false);
    assert_eq!(lab.gateway.get(&path).json()["external_events"][0]["outcome"], "translated");
}

#[test]
fn the_feed_is_read_after_a_number() {
    let lab = Lab::start();
    for n in 1..=3 {
        lab.deliver(&measured(&n.to_string(), n));
    }
    let sizes = |query: &str| -> Vec<i64> {
        lab.feed(query).iter().map(|event| event["data"]["size"].as_i64().expect("a size")).collect()
    };
    let all = lab.feed("");
    assert_eq!(all.iter().map(|event| &event["sequence"]).collect::<Vec<_>>(), ["1", "2", "3"]);
    assert!(all.iter().all(|event| event["specversion"] == "1.0"));
    assert_eq!(sizes("after=1"), [2, 3]);
    assert_eq!(sizes("after=1&limit=1"), [2]);
    assert_eq!(sizes("after=3"), [0; 0]);
    assert_eq!(sizes("type=lab.ThingMeasured.v1"), [1, 2, 3], "a consumer may leave out the namespace");
    assert_eq!(sizes("type=com.example.lab.ThingMeasured.v1&after=2"), [3]);
    assert_eq!(sizes("type=lab.ThingLost.v1"), [0; 0]);
    assert_eq!((sizes("partner=lab").len(), sizes("partner=other").len()), (3, 0));
    let answer = lab.gateway.get("/api/v1/events");
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
}

#[test]
fn the_live_feed_goes_on_where_a_consumer_was() {
    let lab = Lab::with(Folder::new(), &[("DOUANE_PUBLICATION_FEED_HEARTBEAT", "50ms")]);
    lab.deliver(&measured("1", 1));
    let mut feed = lab.listen("type=lab.ThingMeasured.v1", None);
    let first = feed.until("\n\n");
    assert!(first.to_ascii_lowercase().contains("content-type: text/event-stream"), "{first}");
    assert!(first.contains("id: 1\n") && first.contains("\"sequence\":\"1\""), "{first}");
    feed.until("\n:");
    lab.deliver(&event("noise", "noise.hum"));
    lab.deliver(&measured("2", 2));
    feed.until("id: 2\n");
    feed.until("\"size\":2");

    let mut again = lab.listen("", Some("1"));
    let rest = again.until("\"size\":2");
    assert!(!rest.contains("id: 1\n"), "{rest}");
    let mut none = lab.listen("partner=other", None);
    assert!(!none.until("\n:").contains("id:"), "nothing but heartbeats");
    assert!(lab.gateway.terminate().success(), "live feeds do not hold up the end");
    again.closed().expect("closed");
}

/// How a live feed ends.
const LAST_CHUNK: &str = "\r\n0\r\n\r\n";

#[test]
fn a_revoked_token_ends_its_live_feeds() {
    let lab = Lab::with(Folder::new(), &[("DOUANE_PUBLICATION_FEED_HEARTBEAT", "50ms")]);
    let revoke = |name: &str| {
        let path = format!("/api/v1/tokens/{name}");
        assert_eq!(lab.gateway.ask("DELETE", &path, &lab.gateway.token, &Value::Null).status, 204);
    };
    lab.deliver(&measured("1", 1));
    let mut silent = lab.listen_as(&lab.token("silent", "consumer"), "partner=other", None);
    silent.until("\n:");
    revoke("silent");
    silent.until(LAST_CHUNK);

    let mut busy = lab.listen_as(&lab.token("busy", "consumer"), "", None);
    let mut other = lab.listen_as(&lab.token("other", "consumer"), "", None);
    busy.until("id: 1\n");
    revoke("busy");
    lab.deliver(&measured("2", 2));
    assert!(!busy.until(LAST_CHUNK).contains("id: 2\n"), "nothing that came after it was revoked");
    other.until("id: 2\n");
}

#[test]
fn a_cursor_beyond_the_end_is_refused() {
    let lab = Lab::start();
    assert_eq!(lab.gateway.get("/api/v1/events?after=0").status, 200, "an empty feed has a beginning");
    refused(&lab.gateway.get("/api/v1/events?after=1"), 409, "cursor_beyond_end");
    lab.deliver(&measured("1", 1));
    assert_eq!(lab.gateway.get("/api/v1/events?after=1").status, 200);
    let ahead = lab.gateway.get("/api/v1/events?after=2");
    refused(&ahead, 409, "cursor_beyond_end");
    assert!(ahead.json()["detail"].as_str().is_some_and(|detail| detail.contains("the last one is 1")));
    let mut live = lab.listen("", Some("9999"));
    refused(&live.answer().expect("answered"), 409, "cursor_beyond_end");
}

#[test]
fn refusals_say_why_a_partner_is_turned_away() {
    let lab = Lab::start();
    let large = vec![b'x'; 2 * 1024 * 1024];
    assert_eq!(lab.post(&large).status, 413);
    assert_eq!(wire::exchange(lab.gateway.public, "POST", "/in/nobody", &[], b"{}").status, 404);
    assert_eq!(wire::exchange(lab.gateway.public, "PUT", "/in/lab", &[], b"secret-body").status, 405);
    let all = "/api/v1/refusals";
    lab.gateway
        .wait_until(all, |answer| answer.json()["items"].as_array().is_some_and(|rows| rows.len() == 3));
    let codes = |query: &str| -> Vec<String> {
        let rows =
            lab.gateway.get(&format!("{all}?{query}")).json()["items"].as_array().expect("rows").clone();
        rows.iter().map(|row| row["code"].as_str().expect("a code").to_owned()).collect()
    };
    assert_eq!(
        codes("partner=lab&endpoint=default"),
        ["method_not_allowed", "body_too_large"],
        "newest first"
    );
    assert_eq!(codes("code=unknown_partner"), ["unknown_partner"]);
    assert_eq!(codes("limit=1").len(), 1);
    let text = String::from_utf8_lossy(&lab.gateway.get(all).body).into_owned();
    assert!(!text.contains("secret-body"), "metadata, never the body: {text}");
}

#[test]
fn a_dead_letter_is_planned_replayed_and_gone() {
    let mappings = Folder::new();
    mappings.mapping("abort \"not today\"\n");
    let lab = Lab::with(mappings, &[QUICK_POLL]);
    let dead = lab.deliver(&measured("1", 3));
    assert_eq!(dead["external_events"][0]["outcome"], "dead_letter");
    let list = lab.gateway.get("/api/v1/dead-letters?partner=lab").json();
    assert_eq!(list["items"][0]["delivery"], dead["delivery"]);
    assert_eq!(list["publications"], json!([]));
    let choice = json!({ "outcome": "dead_letter", "deliveries": [dead["delivery"]], "dry_run": true });
    let operator = lab.token("otto", "operator");
    let plan = lab.gateway.ask("POST", "/api/v1/replays", &operator, &choice);
    assert_eq!(plan.status, 200);
    let plan = plan.json();
    assert_eq!(
        (&plan["events"], &plan["translated_afresh"], &plan["repeated"]),
        (&json!(1), &json!(1), &json!(0))
    );
    assert_eq!((&plan["replay"], &plan["by_endpoint"]), (&Value::Null, &json!({ "lab/default": 1 })));
    assert!(lab.journal("replay.requested").is_empty(), "a dry run asks for nothing");

    lab.mappings.mapping(MAPPING);
    lab.gateway.wait_until("/readyz", |_| lab.gateway.metric("douane_reloads_total") >= 2.0);
    let choice = json!({ "outcome": "dead_letter", "partner": "lab" });
    let requested = lab.gateway.ask("POST", "/api/v1/replays", &operator, &choice);
    assert_eq!(requested.status, 202);
    let path = format!("/api/v1/deliveries/{}", dead["delivery"].as_str().expect("an id"));
    lab.gateway.wait_until(&path, |answer| answer.json()["external_events"][0]["outcome"] == "translated");
    assert_eq!(lab.gateway.get("/api/v1/dead-letters").json()["items"], json!([]));
    assert_eq!(lab.feed("").len(), 1);
    let noted = &lab.journal("replay.requested")[0];
    assert_eq!((&noted["who"], &noted["subject"]), (&json!("otto"), &requested.json()["replay"]));
    assert_eq!(noted["detail"]["outcome"], "dead_letter");
    assert_eq!(lab.gateway.ask("POST", "/api/v1/replays", &operator, &choice).status, 200, "nothing is left");
}

#[test]
fn the_api_describes_every_address_it_has() {
    let lab = Lab::start();
    let answer = wire::exchange(lab.gateway.private, "GET", "/api/v1/openapi.json", &[], b"");
    assert_eq!(answer.status, 200, "it needs no token");
    let document = answer.json();
    let described = document["paths"].as_object().expect("paths").clone();
    let described: BTreeSet<String> = described.keys().cloned().collect();
    assert_eq!(described, routes());
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    let item = &document["components"]["schemas"]["DeliveryRow"]["properties"];
    let row = lab.deliver(&measured("1", 1));
    for field in
        ["delivery", "number", "partner", "endpoint", "received_at", "assurance", "secret_id", "size"]
    {
        assert!(item[field].is_object() && row.get(field).is_some(), "{field}");
    }
}

/// The addresses of the router, as its source writes them.
fn routes() -> BTreeSet<String> {
    let source = include_str!("../../src/console/mod.rs");
    let quoted = source.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next());
    let whole = ["/livez", "/readyz", "/metrics", "/api/v1/openapi.json"];
    quoted
        .map(|path| if whole.contains(&path) { path.to_owned() } else { format!("/api/v1{path}") })
        .collect()
}

#[test]
fn health_says_what_can_be_kept_and_what_needs_a_person() {
    let folder = tempfile::tempdir().expect("a folder");
    let health = free_address();
    let settings = [("DOUANE_LISTEN_HEALTH", health.as_str())];
    let gateway = Process::start_with(&folder.path().join("data"), &crate::process::mappings(), &settings);
    for address in [gateway.private, health.parse().expect("an address")] {
        let ask = |path| wire::exchange(address, "GET", path, &[], b"");
        assert_eq!((ask("/livez").status, ask("/livez").body), (200, b"ok\n".to_vec()));
        let ready = ask("/readyz");
        assert_eq!((ready.status, &ready.json()["ready"]), (200, &json!(true)));
        let missing = ready.json()["not_configured"].to_string();
        assert!(missing.contains("acme/default") && missing.contains("ACME_WEBHOOK_SECRET"), "{missing}");
        assert!(!missing.contains("stripe"), "it has its secret: {missing}");
        assert!(ask("/metrics").header("content-type").starts_with("text/plain; version=0.0.4"));
    }
    let api = wire::exchange(health.parse().expect("an address"), "GET", "/api/v1/events", &[], b"");
    refused(&api, 404, "not_found");
}

/// An address that was free a moment ago.
pub fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").to_string()
}

#[test]
fn every_metric_is_documented_and_the_main_ones_appear() {
    let lab = Lab::start();
    for sent in [measured("1", 1), measured("1", 1), measured("1", 2), event("2", "noise.hum"), json!([])] {
        lab.deliver(&sent);
    }
    wire::exchange(lab.gateway.public, "POST", "/in/nobody", &[], b"{}");
    let text = String::from_utf8(lab.gateway.get("/metrics").body).expect("text");
    let known: BTreeSet<&str> = douane::telemetry::metrics::ALL.iter().map(|metric| metric.name).collect();
    let typed = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let appeared: BTreeSet<&str> = typed.collect();
    for name in &appeared {
        assert!(known.contains(name), "{name} is not in telemetry::metrics");
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no text");
    }
    let main = [
        "douane_deliveries_accepted_total",
        "douane_delivery_bytes_total",
        "douane_requests_refused_total",
        "douane_ack_seconds",
        "douane_requests_in_flight",
        "douane_bytes_in_flight",
        "douane_connections",
        "douane_commit_batch_entries",
        "douane_commit_seconds",
        "douane_commit_queue_entries",
        "douane_intake_log_bytes_total",
        "douane_ledger_free_bytes",
        "douane_outcomes_total",
        "douane_dead_letters_total",
        "douane_conflicts_total",
        "douane_domain_events_total",
        "douane_translation_lag_entries",
        "douane_translation_lag_seconds",
        "douane_translation_batch_seconds",
        "douane_desk_state",
        "douane_reloads_total",
    ];
    let missing: Vec<_> = main.iter().filter(|name| !appeared.contains(*name)).collect();
    assert!(missing.is_empty(), "not in /metrics: {missing:?}");
    assert!(text.contains(r#"douane_outcomes_total{partner="lab",outcome="conflict"} 1"#), "{text}");
    assert!(text.contains(r#"code="unknown_partner"} 1"#), "{text}");
    assert!(!text.contains("nobody"), "outside input adds no series");
}
