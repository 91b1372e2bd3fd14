//! Every verb of the real binary, beside a running server and without one: what it says, what it writes, how it ends
//! (0 done, 1 found something wrong, 2 could not run).

use std::path::{Path, PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD};
use douane::ledger::log::format::{BATCH_HEADER, BLOCK, BatchHeader};
use serde_json::{Value, json};

use crate::{
    folder::Folder,
    lab::{BROKEN, Lab, Stopped, copy, event, measured},
    process::{Process, Ran, STRIPE_SECRET, douane, mappings, run, run_in, who_runs_verbs},
    wire,
};

fn verb(arguments: &[&str]) -> Ran {
    run(arguments).into()
}

/// The `field`s of an array of objects.
fn column(rows: &Value, field: &str) -> Vec<Value> {
    rows.as_array().expect("rows").iter().map(|row| row[field].clone()).collect()
}

#[test]
fn an_unknown_verb_or_option_cannot_run() {
    for arguments in [&[][..], &["serv"], &["serve", "--listn", "127.0.0.1:1"], &["deliveries"]] {
        assert!(!verb(arguments).ended(2).err.is_empty());
    }
    verb(&["deliveries", "ls", "--outcome", "lost"]).ended(2);
    verb(&["replay", "--from", "yesterday"]).ended(2);
    // A dead letter has one outcome: to ask for another here would be passed over.
    for of_dead_letters in ["ls", "retry"] {
        let refused = verb(&["dead-letters", of_dead_letters, "--outcome", "conflict"]).ended(2);
        assert!(refused.err.contains("unexpected argument '--outcome'"), "{}", refused.err);
    }
    assert!(verb(&["--help"]).ended(0).out.contains("dead-letters"));
    verb(&["--version"]).ended(0);
}

#[test]
fn the_configuration_reference_is_the_default_file() {
    let printed = verb(&["config"]).ended(0).out;
    assert_eq!(printed, include_str!("../../deploy/douane.toml"), "write it anew with `douane config`");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("douane.toml");
    std::fs::write(&file, &printed).expect("written");
    verb(&["check", "--config", file.to_str().expect("text")]).ended(0);
    std::fs::write(&file, "[intake]\nmax_body_byte = 1\n").expect("written");
    let refused = verb(&["check", "--config", file.to_str().expect("text")]).ended(2);
    assert!(
        refused.err.contains("douane.toml:2:1") && refused.err.contains("max_body_bytes"),
        "{}",
        refused.err
    );
}

#[test]
fn a_misspelt_log_level_is_refused_and_silences_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("douane.toml");
    std::fs::write(&file, "[telemetry]\nlog_level = \"inof\"\n").expect("written");
    let config = file.to_str().expect("text");
    let data = folder.path().join("data");
    let serve = ["serve", "--config", config, "--data-dir", data.to_str().expect("text")];
    let refused = verb(&serve).ended(2);
    assert!(refused.err.contains("douane.toml:2:13: telemetry.log_level \"inof\""), "{}", refused.err);
    assert!(refused.err.contains("did you mean \"info\"?"), "{}", refused.err);
    let found = verb(&["doctor", "--config", config]).ended(1);
    assert!(found.out.contains("✗ configuration"), "{}", found.out);
}

#[test]
fn check_finds_the_shipped_mappings_sound() {
    let checked = verb(&["check"]).ended(0);
    assert!(checked.out.contains("7 partners: 0 errors"), "{}", checked.out);
    let report = verb(&["check", "--format", "json"]).ended(0).json();
    assert_eq!(report["errors"], json!([]));
    assert!(column(&report["warnings"], "code").contains(&json!("not_configured")));
    verb(&["check", "--strict"]).ended(1);
    let refused = verb(&["check", "--fixtures", "/nowhere"]).ended(2);
    assert!(refused.err.contains("there is no folder /nowhere"), "{}", refused.err);
    let missing = [["--mappings", "/nowhere"], ["--config", "/nowhere.toml"]];
    for missing in missing.map(|missing| verb(&[&["check"], &missing[..]].concat()).ended(2)) {
        assert_eq!(missing.err.matches("(os error 2)").count(), 1, "{}", missing.err);
    }
}

#[test]
fn check_names_file_and_line_of_what_is_broken() {
    let mappings = Folder::new();
    mappings.mapping(&format!("# a comment\n{BROKEN}"));
    mappings.change_partner("owner = \"lab\"", "ownr = \"lab\"");
    let folder = mappings.path().to_str().expect("text");
    let checked = verb(&["check", "--mappings", folder]).ended(1);
    for place in ["partners/lab/measured.vrl:2:", "partners/lab/partner.toml:2:", "help: "] {
        assert!(checked.out.contains(place), "{place} is missing:\n{}", checked.out);
    }
    let report = verb(&["check", "--mappings", folder, "--format", "json"]).ended(1).json();
    assert!(column(&report["errors"], "line").contains(&json!(2)));
}

#[test]
fn test_plays_the_cases_of_one_partner() {
    let tested = verb(&["test", "acme"]).ended(0);
    assert!(tested.out.contains("ok   acme/stock-counted"), "{}", tested.out);
    assert!(tested.out.ends_with(" cases: 0 not as expected\n"), "{}", tested.out);
    verb(&["test", "nobody"]).ended(2);

    let folder = tempfile::tempdir().expect("a folder");
    let case = folder.path().join("acme/stock-counted");
    copy(Path::new("fixtures/acme/stock-counted"), &case);
    let expected = case.join("expected.json");
    let text = std::fs::read_to_string(&expected).expect("read");
    std::fs::write(&expected, text.replace("\"translated\"", "\"ignored\"")).expect("written");
    let fixtures = folder.path().to_str().expect("text");
    let failed = verb(&["test", "--fixtures", fixtures, "--format", "json"]).ended(1).json();
    assert_eq!(
        (&failed[0]["case"], &failed[0]["as_expected"]),
        (&json!("acme/stock-counted"), &json!(false))
    );
    assert!(failed[0]["differences"].to_string().contains("expected ignored, found translated"), "{failed}");
    let blessed = verb(&["test", "acme", "--fixtures", fixtures, "--bless"]).ended(0);
    assert!(blessed.out.ends_with("1 case: 1 written anew\n"), "{}", blessed.out);
    verb(&["test", "acme", "--fixtures", fixtures]).ended(0);
    let untouched = verb(&["test", "acme", "--fixtures", fixtures, "--bless"]).ended(0);
    assert!(untouched.out.ends_with("1 case: 0 written anew\n"), "{}", untouched.out);

    copy(&case, &folder.path().join("stripe/copied"));
    let copied = verb(&["test", "stripe", "--fixtures", fixtures]).ended(2);
    assert!(copied.err.contains("goes to /in/acme; write /in/stripe"), "{}", copied.err);
}

#[test]
fn a_case_has_an_entry_for_each_request() {
    let folder = tempfile::tempdir().expect("a folder");
    let fixtures = folder.path().to_str().expect("text");
    let case = folder.path().join("acme/stock-counted");
    copy(Path::new("fixtures/acme/stock-counted"), &case);
    let entries = || {
        let text = std::fs::read(case.join("expected.json")).expect("read");
        let expected: Value = serde_json::from_slice(&text).expect("JSON");
        expected["requests"].as_array().expect("entries").len()
    };
    let uneven = |said: &str| {
        for arguments in [&["test"][..], &["demo", "--once"], &["send", "acme/stock-counted"]] {
            let refused = verb(&[arguments, &["--fixtures", fixtures]].concat()).ended(2);
            assert!(refused.err.contains(said) && refused.err.contains("acme/stock-counted/expected.json"));
        }
    };
    std::fs::copy(case.join("request.http"), case.join("request.2.http")).expect("copied");
    uneven("has 1 entry, and there are 2 requests (the last is request.2.http)");
    verb(&["test", "--fixtures", fixtures, "--bless"]).ended(0);
    assert_eq!(entries(), 2);
    verb(&["test", "--fixtures", fixtures]).ended(0);

    std::fs::remove_file(case.join("request.2.http")).expect("removed");
    uneven("has 2 entries, and there is 1 request (the last is request.http)");
    let blessed = verb(&["test", "--fixtures", fixtures, "--bless"]).ended(0);
    assert!(blessed.out.ends_with("1 case: 1 written anew\n"), "{}", blessed.out);
    assert_eq!(entries(), 1);

    std::fs::rename(case.join("request.http"), case.join("request.3.http")).expect("moved");
    assert!(verb(&["test", "--fixtures", fixtures, "--bless"]).ended(2).err.contains("request.http"));
    std::fs::remove_dir_all(folder.path().join("acme")).expect("removed");
    for arguments in [&["test"][..], &["demo", "--once"]] {
        let nothing = verb(&[arguments, &["--fixtures", fixtures]].concat()).ended(2);
        assert!(nothing.err.contains("there are no cases in"), "{}", nothing.err);
    }
}

#[test]
fn test_says_why_a_partner_cannot_be_played() {
    let (mappings, fixtures) = (Folder::new(), tempfile::tempdir().expect("a folder"));
    mappings.another_partner("sound");
    for partner in ["lab", "sound"] {
        let case = fixtures.path().join(partner).join("thing");
        std::fs::create_dir_all(&case).expect("made");
        let request = format!("POST /in/{partner} HTTP/1.1\r\n\r\n{}", measured("1", 3));
        std::fs::write(case.join("request.http"), request).expect("written");
        std::fs::write(case.join("expected.json"), r#"{"description":"A thing.","requests":[]}"#)
            .expect("written");
    }
    let folders = [mappings.path(), fixtures.path()].map(|path| path.to_str().expect("text"));
    let test =
        |more: &[&str]| verb(&[&["test", "--mappings", folders[0], "--fixtures", folders[1]], more].concat());
    test(&["--bless"]).ended(0);
    test(&[]).ended(0);
    mappings.mapping(BROKEN);
    let failed = test(&[]).ended(1);
    assert!(failed.out.starts_with("error: partners/lab/measured.vrl:1:"), "{}", failed.out);
    for text in
        [BROKEN.trim(), "FAIL lab/thing\n     not played: partners/lab/measured.vrl:1:", "ok   sound/thing"]
    {
        assert!(failed.out.contains(text), "{text} is missing:\n{}", failed.out);
    }
    let blessed = test(&["--bless"]).ended(1);
    assert!(blessed.out.ends_with("2 cases: 0 written anew, 1 not played\n"), "{}", blessed.out);
    let report = test(&["--format", "json"]).ended(1).json();
    assert_eq!(column(&report, "as_expected"), [json!(false), json!(true)]);
    test(&["sound"]).ended(0);
}

#[test]
fn the_demo_shows_the_whole_road() {
    let shown = verb(&["demo", "--once"]).ended(0);
    for text in
        ["stripe/payment-captured", "payments.PaymentCaptured.v1", "duplicate", "\"specversion\": \"1.0\""]
    {
        assert!(shown.out.contains(text), "{text} is missing:\n{}", shown.out);
    }
    assert!(!shown.out.contains('✗'), "{}", shown.out);
}

#[test]
fn the_demo_says_what_is_not_as_expected() {
    let folder = tempfile::tempdir().expect("a folder");
    let case = folder.path().join("acme/stock-counted");
    copy(Path::new("fixtures/acme/stock-counted"), &case);
    let text = std::fs::read_to_string(case.join("expected.json")).expect("read");
    let mut expected: Value = serde_json::from_str(&text).expect("JSON");
    expected["requests"][0]["outcomes"][0]["events"][0]["data"]["location"] = json!("the moon");
    std::fs::write(case.join("expected.json"), expected.to_string()).expect("written");
    let shown = verb(&["demo", "--once", "--fixtures", folder.path().to_str().expect("text")]).ended(1);
    for text in [
        "\n✗ acme/stock-counted",
        "domain events: expected [",
        "the moon",
        ", found [",
        "0 of 1 request went",
    ] {
        assert!(shown.out.contains(text), "{text} is missing:\n{}", shown.out);
    }
}

/// Writes a captured request as `verify` reads it.
fn captured(folder: &Path, signature: &str, body: &str) -> String {
    let file = folder.join("request.http");
    let text = format!(
        "POST /in/stripe HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nstripe-signature: {signature}\r\n\r\n{body}"
    );
    std::fs::write(&file, text).expect("written");
    file.to_str().expect("text").to_owned()
}

#[test]
fn verify_explains_and_never_shows_a_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    let body = r#"{"id":"evt_1","type":"payment_intent.succeeded"}"#;
    let (now, at) = (1_795_435_200, "2026-11-23T12:00:00Z");
    let good = captured(folder.path(), &wire::stripe_signature(STRIPE_SECRET, body.as_bytes(), now), body);
    let told = verb(&["verify", "stripe", &good, "--at", at, "--explain"]).ended(0);
    assert!(told.out.contains("✓") && !told.out.contains('✗'), "{}", told.out);
    // As an editor saves it: the head with other line ends, the body as it came.
    let pasted = std::fs::read_to_string(&good).expect("read").replace("\r\n", "\n");
    let lf = folder.path().join("pasted.http");
    std::fs::write(&lf, pasted).expect("written");
    let lf = lf.to_str().expect("text");
    assert!(verb(&["verify", "stripe", lf, "--at", at]).ended(0).out.contains("verified with secret"));
    std::fs::write(lf, "POST /in/stripe HTTP/1.1\nhost: x\n").expect("written");
    let cut = verb(&["verify", "stripe", lf]).ended(2);
    assert!(cut.err.contains("pasted.http") && cut.err.contains("no blank line"), "{}", cut.err);
    let late = verb(&["verify", "stripe", &good, "--at", "2026-11-23T13:00:00Z", "--explain"]).ended(1);
    assert!(late.out.contains("✗") && late.out.contains("not verified: timestamp_stale"), "{}", late.out);
    let spoiled = captured(
        folder.path(),
        &wire::stripe_signature(STRIPE_SECRET, body.as_bytes(), now),
        &body.replace("evt_1", "evt_2"),
    );
    let wrong = verb(&["verify", "stripe", &spoiled, "--at", at, "--explain", "--format", "json"]).ended(1);
    let report = wrong.json();
    assert_eq!((&report["verified"], &report["result"]), (&json!(false), &json!("signature_mismatch")));
    assert!(column(&report["steps"], "ok").contains(&json!(false)));
    assert!(!wrong.out.contains("development"), "{}", wrong.out);
    for ran in [&told, &late, &wrong] {
        let secret = STRIPE_SECRET.trim_start_matches("whsec_");
        assert!(!ran.out.contains(secret) && !ran.err.contains(secret));
    }
    verb(&["verify", "nobody", &good]).ended(2);
    verb(&["verify", "stripe", "/nowhere"]).ended(2);
    assert!(verb(&["verify", "acme", &good]).ended(2).err.contains("ACME_WEBHOOK_SECRET"));
}

#[test]
fn verify_says_that_a_development_secret_signed() {
    let file = std::fs::read_to_string("mappings/partners/stripe/partner.toml").expect("a partner");
    let secret = file.split("[test]").nth(1).and_then(|test| test.split('"').nth(3)).expect("its secret");
    let folder = tempfile::tempdir().expect("a folder");
    let body = r#"{"id":"evt_1","type":"payment_intent.succeeded"}"#;
    let signature = wire::stripe_signature(secret, body.as_bytes(), 1_795_435_200);
    let request = captured(folder.path(), &signature, body);
    let at = |time, more: &[&str]| verb(&[&["verify", "stripe", &request, "--at", time], more].concat());
    let named = at("2026-11-23T12:00:00Z", &["--explain"]).ended(1);
    let text =
        "✗ development secrets: the signature was made with the development secret \"2026-11\" of [test]";
    assert!(
        named.out.contains(text) && named.out.contains("not verified: signature_mismatch"),
        "{}",
        named.out
    );
    let late = at("2026-11-23T13:00:00Z", &["--explain"]).ended(1);
    assert!(late.out.contains("was made with the development secret of [test]"), "{}", late.out);
    let believed = at("2026-11-23T12:00:00Z", &["--explain", "--test-secrets"]).ended(0);
    for ran in [named, late, believed] {
        assert!(!ran.out.contains(secret.trim_start_matches("whsec_")), "{}", ran.out);
    }
}

#[test]
fn partners_are_listed_and_shown() {
    let listed = verb(&["partner", "ls"]).ended(0);
    assert!(listed.out.contains("/in/stripe/default") && listed.out.contains("payments-platform"));
    assert!(listed.out.contains("ready, 2 endpoints not configured"), "{}", listed.out);
    assert!(listed.err.contains("this shell's environment"), "{}", listed.err);
    let rows = verb(&["partner", "ls", "--format", "json"]).ended(0).json();
    let names = column(&rows, "partner");
    assert_eq!(names, ["acme", "adyen", "github", "shopify", "slack", "stripe", "whatsapp"]);
    let shown = verb(&["partner", "show", "adyen"]).ended(0);
    for text in ["partial", "platform-2026-11", "payments.PaymentCaptured.v1"] {
        assert!(shown.out.contains(text), "{text} is missing:\n{}", shown.out);
    }
    verb(&["partner", "show", "nobody"]).ended(2);
    let mappings = Folder::new();
    mappings.mapping(BROKEN);
    let broken = verb(&["partner", "ls", "--mappings", mappings.path().to_str().expect("text")]).ended(1);
    assert!(broken.out.contains("broken"), "{}", broken.out);
}

#[test]
fn a_partner_is_shown_as_it_is_read_and_its_secrets_by_name_only() {
    let adyen = verb(&["partner", "show", "adyen"]).ended(0);
    for text in [
        "item.eventCode",
        r#"{ join = ["item.pspReference", "item.eventCode", "item.success"], by = ":" }"#,
        r#"{ digest = ["body"] }"#,
        "body.notificationItems[].NotificationRequestItem",
        "identity      item.merchantAccountCode, ",
        "2026-11 from env:ADYEN_HMAC_KEY",
        "window        35d",
        "signed items  body.notificationItems[].NotificationRequestItem",
        "signature     item.additionalData.hmacSignature",
    ] {
        assert!(adyen.out.contains(text), "{text} is missing:\n{}", adyen.out);
    }
    let acme = verb(&["partner", "show", "acme"]).ended(0);
    for text in [
        "signature     header.webhook-signature, v1,…",
        "signed text   {header.webhook-id}.{timestamp}.{body}",
        "sent at       header.webhook-timestamp; at most 5m from now",
    ] {
        assert!(acme.out.contains(text), "{text} is missing:\n{}", acme.out);
    }
    let github = verb(&["partner", "show", "github"]).ended(0);
    let own = r#"{ join = ["body.repository.id", "body.workflow_run.id"], by = ":" }"#;
    assert!(github.out.contains(own), "a mapping's own ordering_key is missing:\n{}", github.out);
    // What slack's file does not say, its preset does.
    let slack = verb(&["partner", "show", "slack"]).ended(0);
    for text in [
        "form_json     payload",
        "handshake     signed POST where body.type = \"url_verification\", answered 200",
    ] {
        assert!(slack.out.contains(text), "{text} is missing:\n{}", slack.out);
    }
    let told = verb(&["partner", "show", "stripe", "--format", "json"]).ended(0);
    let stripe = &told.json()["endpoints"][0];
    assert_eq!(stripe["not_configured"], Value::Null);
    assert_eq!(
        stripe["secrets"],
        json!([{ "id": "2026-11", "from": "env:STRIPE_WEBHOOK_SECRET", "used_by": ["signature"] }])
    );
    assert_eq!(stripe["identify"]["volatile"], json!(["body.pending_webhooks"]));
    assert_eq!((&stripe["signature_failure_status"], &stripe["reply"]), (&json!(401), &Value::Null));
    let shown = verb(&["partner", "show", "stripe"]).ended(0);
    let secret = STRIPE_SECRET.trim_start_matches("whsec_");
    assert!(!told.out.contains(secret) && !shown.out.contains(secret));
}

#[test]
fn send_posts_a_case_as_its_partner_would() {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Process::start(&folder.path().join("data"));
    let to = format!("http://{}", gateway.public);
    let case = "stripe/payment-captured";
    let sent = verb(&["send", case, "--to", &to, "--real-secrets", "--count", "2"]).ended(0);
    assert_eq!(sent.out.lines().filter(|line| line.starts_with("200 ")).count(), 2);
    gateway.wait_until("/api/v1/deliveries?outcome=duplicate", |answer| {
        answer.json()["items"].as_array().is_some_and(|rows| rows.len() == 1)
    });
    let refused = verb(&["send", case, "--to", &to]).ended(1);
    assert!(refused.out.starts_with("401 "), "serve does not believe development secrets: {}", refused.out);
    assert!(refused.err.contains("add --real-secrets"), "{}", refused.err);
    let unready = verb(&["send", "acme/stock-counted", "--to", &to]).ended(1);
    assert!(unready.err.contains("(not_configured): `douane doctor`"), "{}", unready.err);
    let vectors = std::fs::read("tests/vectors/sendgrid.json").expect("vectors");
    let vectors: Value = serde_json::from_slice(&vectors).expect("JSON");
    let private_key = folder.path().join("private-key");
    std::fs::write(&private_key, vectors["private_keys"][0].as_str().expect("a key")).expect("written");
    let below = verb(&["send", case, "--to", &format!("{to}/hooks"), "--real-secrets"]).ended(1);
    assert!(below.out.contains("unknown_address"), "a path before the address is kept: {}", below.out);
    for (more, why) in [
        (&["--private-key", private_key.to_str().expect("text")][..], "stripe/default has no public key"),
        (&["--to", &format!("{to}/in/stripe")], "leave them away here"),
        (&["--to", &format!("{to}?x=1")], "leave them away here"),
    ] {
        let refused = verb(&[&["send", case], more].concat()).ended(2);
        assert!(refused.err.contains(why), "{}", refused.err);
    }
    verb(&["send", "stripe/nothing", "--to", &to]).ended(2);
    verb(&["send", case, "--to", "http://127.0.0.1:1"]).ended(2);
}

/// Nothing was found of a partner that is not there: that is no good news.
fn says_who_is_not_known(run: &dyn Fn(&[&str]) -> Ran) {
    for misspelt in [
        &["deliveries", "ls"][..],
        &["deliveries", "export"],
        &["dead-letters", "ls"],
        &["dead-letters", "retry"],
        &["replay"],
        &["replay", "--dry-run"],
    ] {
        let refused = run(&[misspelt, &["--partner", "labb"]].concat()).ended(2);
        assert!(refused.err.contains("there is no partner \"labb\""), "{}", refused.err);
        assert!(refused.err.contains("did you mean \"lab\"?"), "{}", refused.err);
        let refused = run(&[misspelt, &["--endpoint", "lab/defualt"]].concat()).ended(2);
        assert!(refused.err.contains("there is no endpoint \"defualt\" of \"lab\""), "{}", refused.err);
        assert!(refused.err.contains("did you mean \"default\"?"), "{}", refused.err);
    }
    let refused = run(&["deliveries", "ls", "--endpoint", "zzz"]).ended(2);
    assert!(refused.err.contains("there is no endpoint \"zzz\", neither in"), "{}", refused.err);
    assert!(refused.err.contains("known are: default"), "{}", refused.err);
    let refused = run(&["partner", "refusals", "lab/defualt"]).ended(2);
    assert!(refused.err.contains("did you mean \"default\"?"), "{}", refused.err);
    for known in ["lab", "lab/default", "lab/-", "-"] {
        assert!(run(&["partner", "refusals", known]).ended(0).out.contains("nothing was turned away"));
    }
}

/// A file that is there is replaced when that is said, and no sooner.
fn exports_to_a_file(run: &dyn Fn(&[&str]) -> Ran, exported: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("export.ndjson").to_str().expect("text").to_owned();
    let to_file = ["deliveries", "export", "-o", &place];
    let told = run(&to_file).ended(0).err;
    assert_eq!(told, format!("douane: 3 lines, {} bytes, written to {place}\n", exported.len()));
    assert_eq!(std::fs::read_to_string(&place).expect("written"), exported);
    std::fs::write(&place, "earlier").expect("written");
    let refused = run(&to_file).ended(2);
    assert!(refused.err.contains(&format!("cannot write {place}: it is there already")), "{}", refused.err);
    assert_eq!(std::fs::read(&place).expect("there"), b"earlier");
    run(&[&to_file[..], &["--force"]].concat()).ended(0);
    assert_eq!(std::fs::read_to_string(&place).expect("written"), exported);
    run(&["deliveries", "export", "--force"]).ended(2);
}

/// Rehearsals of replays: what they would do, and which are refused.
fn plans_replays(run: &dyn Fn(&[&str]) -> Ran, ids: &[String]) {
    let plan = run(&["replay", "--partner", "lab", "--dry-run", "--format", "json"]).ended(0).json();
    assert_eq!((&plan["events"], &plan["repeated"], &plan["replay"]), (&json!(3), &json!(1), &Value::Null));
    assert!(run(&["replay", "--partner", "lab", "--dry-run"]).ended(0).out.contains("(dry run)"));
    let by_number =
        run(&["replay", "--delivery", "2", "--delivery", &ids[0], "--dry-run", "--format", "json"]);
    assert_eq!(by_number.ended(0).json()["events"], 2);
    let unknown = run(&["replay", "--delivery", "4", "--dry-run"]).ended(2);
    assert!(unknown.err.contains("there is no delivery number 4"), "{}", unknown.err);
    let reissue = ["replay", "--partner", "lab", "--reissue", "--dry-run"];
    assert!(
        run(&reissue).ended(0).out.contains("1 published event is translated afresh and may be reissued")
    );
    run(&["replay", "--dry-run"]).ended(2);
}

/// What the ledger verbs must say, whether a server runs or not. `run` runs one on the data folder.
fn inspect(run: &dyn Fn(&[&str]) -> Ran, ids: &[String]) {
    let rows = run(&["deliveries", "ls", "--format", "json"]).ended(0).json();
    assert_eq!(column(&rows, "number"), [3, 2, 1]);
    let dead = run(&["deliveries", "ls", "--outcome", "dead_letter", "--format", "json"]).ended(0).json();
    assert_eq!(column(&dead, "delivery"), [ids[2].as_str()]);
    let newest = run(&["deliveries", "ls", "--limit", "1"]).ended(0);
    assert!(newest.out.contains("dead_letter") && newest.err.contains("there are more: use --limit"));
    assert_eq!(run(&["deliveries", "ls", "--limit", "3"]).ended(0).err, "", "there are no more");
    for verb in
        ["deliveries ls --format json", "dead-letters ls --format json", "replay --dry-run --format json"]
    {
        let verb: Vec<&str> = verb.split(' ').collect();
        let answer = |chosen: &[&str]| run(&[&verb, chosen].concat()).ended(0).out;
        let apart = answer(&["--partner", "lab", "--endpoint", "default"]);
        assert_eq!(answer(&["--endpoint", "lab/default"]), apart, "as listings print it");
        run(&[&verb[..], &["--partner", "other", "--endpoint", "lab/default"]].concat()).ended(2);
    }
    assert!(
        run(&["deliveries", "ls", "--external-id", "other"]).ended(0).out.contains("no delivery matches")
    );
    says_who_is_not_known(run);

    let shown = run(&["deliveries", "show", &ids[0]]).ended(0).json();
    assert_eq!((&shown["method"], &shown["target"]), (&json!("POST"), &json!("/in/lab")));
    assert_eq!(shown["external_events"][0]["outcome"], "translated");
    let body = run(&["deliveries", "show", &ids[0], "--body"]).ended(0);
    assert_eq!(body.out, measured("1", 3).to_string());
    run(&["deliveries", "show", "0192d3a4-0000-7000-8000-000000000000"]).ended(2);

    let exported = run(&["deliveries", "export"]).ended(0).out;
    let lines: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.iter().map(|line| line["number"].clone()).collect::<Vec<_>>(), [3, 2, 1]);
    let bytes = STANDARD.decode(lines[2]["body_base64"].as_str().expect("a body")).expect("base64");
    assert_eq!(bytes, measured("1", 3).to_string().into_bytes());
    assert_eq!(lines[2]["headers"][0][0], "host");
    let nowhere =
        run(&["deliveries", "export", "--external-id", "1", "-o", "/nowhere/export.ndjson"]).ended(2);
    assert!(nowhere.err.contains("/nowhere/export.ndjson"), "{}", nowhere.err);
    exports_to_a_file(run, &exported);
    let chosen = run(&["deliveries", "export", "--external-id", "2"]).ended(0).out;
    assert_eq!(chosen.lines().count(), 1);

    let dead = run(&["dead-letters", "ls", "--format", "json"]).ended(0).json();
    assert_eq!(column(&dead["items"], "delivery"), [ids[2].as_str()]);
    assert!(run(&["dead-letters", "ls"]).ended(0).out.contains(&ids[2]));
    run(&["dead-letters", "show", &ids[2]]).ended(0).json();

    plans_replays(run, ids);
    let report = run(&["reconcile", "--scrub", "--format", "json"]).ended(0).json();
    assert_eq!((&report["numbers_hold"], &report["events_hold"]), (&json!(true), &json!(true)));
    assert!(run(&["reconcile"]).ended(0).out.contains("holds"));
    let bytes: usize = [measured("1", 3), event("2", "noise.hum"), json!({ "id": "3", "type": "measured" })]
        .iter()
        .map(|body| body.to_string().len())
        .sum();
    let told = format!("log      holds: 3 entries, {bytes} body bytes checked");
    assert!(run(&["reconcile", "--scrub"]).ended(0).out.contains(&told));
    assert!(run(&["doctor"]).ended(0).out.contains("entries, 0 waiting"));
}

#[test]
fn verbs_read_beside_a_server_and_without_one() {
    let lab = Lab::start();
    let sent = [measured("1", 3), event("2", "noise.hum"), json!({ "id": "3", "type": "measured" })];
    let ids: Vec<String> =
        sent.iter().map(|it| lab.deliver(it)["delivery"].as_str().expect("an id").to_owned()).collect();
    let noted = |lab: &Lab| ["payload.read", "payload.exported"].map(|act| lab.journal(act).len());
    let [reads, exports] = noted(&lab);
    inspect(&|arguments| lab.verb(arguments), &ids);
    assert_eq!(noted(&lab), [reads + 3, exports + 4], "what could not be written was not read either");
    let stopped = lab.stop();
    inspect(&|arguments| stopped.verb(arguments), &ids);
    let lab = stopped.start(&[]);
    assert_eq!(noted(&lab), [reads + 6, exports + 8], "acts without a server are journalled too");
    let by_ada =
        lab.journal("payload.read").into_iter().filter(|read| read["who"] == json!(who_runs_verbs()));
    assert_eq!(by_ada.count(), 6, "the journal knows who ran a verb");
    let chosen = lab.journal("payload.exported").remove(0);
    assert_eq!(chosen["detail"]["external_id"], "2", "with what was chosen");
}

#[test]
fn a_retry_can_reissue_what_differs_from_what_is_published() {
    let lab = Lab::start();
    lab.deliver(&measured("1", 3));
    let conflict = lab.deliver(&measured("1", 4))["delivery"].as_str().expect("an id").to_owned();
    lab.verb(&["replay", "--outcome", "conflict", "--partner", "lab"]).ended(0);
    lab.gateway.wait_until("/api/v1/dead-letters", |answer| {
        answer.json().pointer("/items/0/delivery").is_some_and(|delivery| *delivery == conflict)
    });
    let listed = lab.verb(&["dead-letters", "ls"]).ended(0).out;
    assert!(["needs_reissue", "lab/default", &conflict].iter().all(|told| listed.contains(told)), "{listed}");
    lab.verb(&["dead-letters", "retry", "--delivery", &conflict, "--reissue"]).ended(0);
    lab.gateway.wait_for_event(2);
    let feed = lab.feed("");
    assert_eq!((&feed[1]["replayof"], &feed[1]["data"]["size"]), (&feed[0]["id"], &json!(4)));
}

#[test]
fn dead_letters_are_retried_with_and_without_a_server() {
    let mappings = Folder::new();
    mappings.mapping("abort \"not today\"\n");
    let lab = Lab::with(mappings, &[]);
    let dead = lab.deliver(&measured("1", 3))["delivery"].as_str().expect("an id").to_owned();
    let path = format!("/api/v1/deliveries/{dead}");
    let retried = lab.verb(&["dead-letters", "retry", "--delivery", "1", "--format", "json"]).ended(0).json();
    assert_eq!(retried["translated_afresh"], 1);
    let served = lab.verb(&["dead-letters", "retry", "--delivery", &dead]).ended(0);
    assert!(served.out.contains("requested as replay") && !served.out.contains("when a server"));
    lab.gateway.wait_until("/metrics", |_| {
        lab.gateway.metric("douane_outcomes_total") + lab.gateway.metric("douane_dead_letters_total") >= 5.0
    });
    assert_eq!(lab.gateway.get(&path).json()["external_events"][0]["outcome"], "dead_letter");

    let stopped = lab.stop();
    stopped.mappings.mapping(crate::folder::MAPPING);
    let requested = stopped.verb(&["dead-letters", "retry", "--partner", "lab"]).ended(0);
    assert!(requested.out.contains("requested as replay"), "{}", requested.out);
    assert!(requested.out.contains("it is worked when a server runs on this folder"), "{}", requested.out);
    let report = stopped.verb(&["reconcile", "--format", "json"]).ended(0).json();
    assert_eq!((&report["given"], &report["waiting"]), (&json!(4), &json!(1)), "it waits for the next start");
    let lab = stopped.start(&[]);
    lab.gateway.wait_until(&path, |answer| answer.json()["external_events"][0]["outcome"] == "translated");
    let noted: Vec<_> = lab.journal("replay.requested").iter().map(|row| row["who"].clone()).collect();
    assert_eq!(noted, vec![json!(who_runs_verbs()); 3]);
}

#[test]
fn tokens_are_made_listed_and_revoked() {
    let lab = Lab::start();
    let made = lab.verb(&["token", "create", "anna", "--role", "auditor"]).ended(0);
    let token = made.out.trim().to_owned();
    let list = |token: &str| lab.gateway.ask("GET", "/api/v1/deliveries", token, &Value::Null).status;
    assert_eq!(list(&token), 200);
    assert!(
        lab.verb(&["token", "create", "anna", "--role", "auditor"]).ended(2).err.contains("another name")
    );
    lab.verb(&["token", "create", "bert", "--role", "king"]).ended(2);
    assert!(lab.verb(&["token", "ls"]).ended(0).out.contains("auditor"));
    lab.verb(&["token", "revoke", "anna"]).ended(0);
    assert_eq!(list(&token), 401);
    lab.verb(&["token", "revoke", "anna"]).ended(2);

    let stopped = lab.stop();
    let made =
        stopped.verb(&["token", "create", "carl", "--role", "consumer", "--format", "json"]).ended(0).json();
    let carl = made["token"].as_str().expect("a token").to_owned();
    stopped.verb(&["token", "create", "carl", "--role", "consumer"]).ended(2);
    stopped.verb(&["token", "create", "dora", "--role", "operator"]).ended(0);
    stopped.verb(&["token", "revoke", "dora"]).ended(0);
    stopped.verb(&["token", "revoke", "dora"]).ended(2);
    let rows = stopped.verb(&["token", "ls", "--format", "json"]).ended(0);
    assert_eq!(column(&rows.json(), "name"), ["anna", "carl", "dora"]);
    assert!(!rows.out.contains(&carl));
    let lab = stopped.start(&[]);
    let feed = lab.gateway.ask("GET", "/api/v1/events", &carl, &Value::Null);
    assert_eq!(feed.status, 200, "{}", feed.head);
    assert_eq!(lab.journal("token.created").len(), 3);
    assert_eq!(lab.journal("token.revoked").len(), 2);
}

#[test]
fn a_first_token_can_be_made_before_the_first_start() {
    let (data, mappings) = (tempfile::tempdir().expect("a folder"), Folder::new());
    let data = data.path().join("data");
    let ran = run_in(&data, mappings.path(), &["token", "create", "anna", "--role", "operator"]).ended(0);
    for reading in
        [&["token", "ls"][..], &["deliveries", "ls"], &["reconcile"], &["replay", "--partner", "lab"]]
    {
        run_in(&data, mappings.path(), reading).ended(0);
    }
    let found = run_in(&data, mappings.path(), &["doctor"]);
    assert!(found.out.contains("0 entries, 0 waiting"), "{}", found.out);
    let gateway = Process::start_with(&data, mappings.path(), &[]);
    assert_eq!(gateway.ask("GET", "/api/v1/tokens", ran.out.trim(), &Value::Null).status, 200);
}

#[test]
fn what_reads_or_replays_begins_no_ledger() {
    let (home, mappings) = (tempfile::tempdir().expect("a folder"), Folder::new());
    let data = home.path().join("data");
    for arguments in [
        &["deliveries", "ls"][..],
        &["replay", "--partner", "lab"],
        &["replay", "--partner", "lab", "--dry-run"],
        &["dead-letters", "retry", "--partner", "lab"],
        &["dead-letters", "retry", "--partner", "lab", "--dry-run"],
        &["token", "revoke", "anna"],
    ] {
        let refused = run_in(&data, mappings.path(), arguments).ended(2);
        assert!(refused.err.contains("there is no ledger in"), "{arguments:?}: {}", refused.err);
        assert!(!data.exists(), "{arguments:?}");
    }
}

#[test]
fn a_log_that_has_not_begun_is_not_said_to_be_lost() {
    let (home, mappings) = (tempfile::tempdir().expect("a folder"), Folder::new());
    let data = home.path().join("data");
    run_in(&data, mappings.path(), &["token", "create", "anna", "--role", "operator"]).ended(0);
    std::fs::remove_dir_all(data.join("log")).expect("removed");
    let found = finding(&run_in(&data, mappings.path(), &DOCTOR), "ledger");
    assert_eq!(found["level"], "sound", "{found}");
    for reading in [&["deliveries", "ls"][..], &["reconcile"], &["replay", "--partner", "lab"]] {
        let refused = run_in(&data, mappings.path(), reading).ended(2);
        assert!(refused.err.contains("it begins with the first `douane serve`"), "{}", refused.err);
    }
    drop(Process::start_with(&data, mappings.path(), &[]));
}

/// What doctor found about one thing.
fn finding(ran: &Ran, what: &str) -> Value {
    let findings = ran.json().as_array().expect("findings").clone();
    findings
        .into_iter()
        .find(|it| it["what"] == what)
        .unwrap_or_else(|| panic!("nothing about {what}: {ran:?}"))
}

/// A way to spoil a data folder.
type Spoil<'a> = &'a dyn Fn(&Path);

const DOCTOR: [&str; 3] = ["doctor", "--format", "json"];

#[test]
fn doctor_finds_nothing_wrong_where_nothing_is() {
    let (data, mappings) = (tempfile::tempdir().expect("a folder"), Folder::new());
    let fresh = data.path().join("data");
    // The standard addresses may be taken on a machine that runs the tests.
    let doctor = || {
        let free = ["DOUANE_LISTEN_PUBLIC", "DOUANE_LISTEN_PRIVATE"].map(|name| (name, "127.0.0.1:0"));
        let mut command = douane();
        command.args(DOCTOR).arg("--data-dir").arg(&fresh).arg("--mappings").arg(mappings.path()).envs(free);
        Ran::from(command.output().expect("the binary runs"))
    };
    let before = doctor().ended(0);
    assert!(finding(&before, "ledger")["found"].to_string().contains("none yet"));
    assert!(!fresh.exists(), "looking changes nothing");
    let gateway = Process::start_with(&fresh, mappings.path(), &[]);
    let beside = doctor().ended(0);
    assert!(finding(&beside, "server")["found"].to_string().contains(&gateway.private.to_string()));
    gateway.kill();
    let after = doctor().ended(0);
    assert!(
        finding(&after, "server")["found"].to_string().contains("does not run"),
        "a killed server left its file"
    );
    assert_eq!(finding(&after, "endpoint")["level"], "sound");
}

#[test]
fn an_endpoint_without_its_secret_is_a_warning_and_a_broken_folder_is_wrong() {
    let (home, mappings) = (tempfile::tempdir().expect("a folder"), Folder::new());
    mappings.change_partner(
        "unsigned = true\n\n[[endpoint]]\n",
        "preset = \"stripe\"\n\n[[endpoint]]\nsecrets = [{ id = \"a\", from = \"env:LAB_SECRET\" }]\n",
    );
    let doctor = |more: &[&str]| {
        let free = ["DOUANE_LISTEN_PUBLIC", "DOUANE_LISTEN_PRIVATE"].map(|name| (name, "127.0.0.1:0"));
        let mut command = douane();
        command.arg("doctor").args(more).arg("--data-dir").arg(home.path().join("data")).envs(free);
        Ran::from(command.arg("--mappings").arg(mappings.path()).output().expect("the binary runs"))
    };
    let warned = doctor(&[]).ended(0).out;
    assert!(warned.contains("! endpoint         /in/lab/default would answer 503"), "{warned}");
    assert_eq!(finding(&doctor(&["--format", "json"]), "endpoint")["level"], "warning");
    doctor(&["--strict"]).ended(1);
    mappings.mapping(BROKEN);
    let broken = doctor(&[]).ended(1).out;
    assert!(broken.contains("✗ partner") && broken.contains("measured.vrl:1:"), "{broken}");
}

#[test]
fn a_health_check_says_in_its_help_what_its_exit_codes_mean() {
    for (asked, told) in [(["ready", "--help"], "1 it cannot"), (["doctor", "--help"], "1 something does")] {
        let help = verb(&asked).ended(0).out;
        assert!(help.contains("Exit codes: 0 ") && help.contains(told), "{help}");
    }
    assert!(
        verb(&["--help"])
            .ended(0)
            .out
            .contains("Exit codes: 0 done, 1 found something wrong, 2 could not run")
    );
}

#[test]
fn doctor_asks_a_running_server_what_it_has() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let told = |ran: &Ran, address: &str| -> String {
        let findings = ran.json();
        let mut found = findings.as_array().expect("findings").iter().filter_map(|it| it["found"].as_str());
        found.find(|found| found.contains(address)).expect("it is told").to_owned()
    };
    let ask = || run_in(&data, &mappings(), &DOCTOR);
    assert!(told(&ask(), "/in/stripe/").ends_with("is configured in this shell's environment"));
    assert!(told(&ask(), "/in/acme/").contains("would answer 503 in this shell's environment: "));
    // The server has a secret that this shell has not.
    let secret = [("ACME_WEBHOOK_SECRET", "whsec_bm90LXRoZS1yaWdodC1rZXktYXQtYWxsLXNvcnJ5IQ==")];
    let gateway = Process::start_with(&data, &mappings(), &secret);
    assert!(told(&ask(), "/in/acme/").ends_with("is configured, says the server"));
    assert!(told(&ask(), "/in/slack/").contains("answers 503: "), "{}", ask().out);
    drop(gateway);
}

/// Configurations that `serve` refuses, and the words both it and doctor say.
const REFUSED: [(&str, &str); 6] = [
    ("[[broker]]\nname = \"a\"\nkind = \"file\"\nfrom = \"now\"\n", "douane.toml:3:8: missing field `path`"),
    ("[[broker]]\nname = \"a\"\nkind = \"stdout\"\n", "the broker \"a\" is new: say where it starts"),
    ("[telemetry]\nlog_level = \"inof\"\n", "douane.toml:2:13: telemetry.log_level \"inof\""),
    ("[listen]\nprivate = \"0.0.0.0:1\"\n", "douane.toml:2:11: listen.private is 0.0.0.0:1"),
    ("[listen]\npublic = \"127.0.0.1:1\"\nprivate = \"127.0.0.1:1\"\n", "are one address"),
    ("[events]\nnamespace = \"com example\"\n", "douane.toml:2:13: events.namespace \"com example\""),
];

#[test]
fn doctor_finds_what_serve_would_refuse() {
    let (home, mappings) = (tempfile::tempdir().expect("a folder"), Folder::new());
    let file = home.path().join("douane.toml");
    for (text, told) in REFUSED {
        // The standard addresses may be taken on a machine that runs the tests.
        let doors = if text.contains("listen") {
            ""
        } else {
            "[listen]\npublic = \"127.0.0.1:0\"\nprivate = \"127.0.0.1:0\"\n"
        };
        std::fs::write(&file, format!("{text}{doors}")).expect("written");
        let config = ["--config", file.to_str().expect("text")];
        let run =
            |name: &str| run_in(&home.path().join("data"), mappings.path(), &[&[name], &config[..]].concat());
        let refused = run("serve").ended(2);
        assert!(refused.err.contains(told), "{}", refused.err);
        let found = run("doctor").ended(1);
        assert!(found.out.contains(told), "{}", found.out);
    }
}

#[test]
fn doctor_tries_every_door_and_every_file_of_a_broker() {
    let (home, mappings) = (tempfile::tempdir().expect("a folder"), Folder::new());
    let data = home.path().join("data");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let taken = taken.local_addr().expect("an address");
    let file = home.path().join("douane.toml");
    let doctor = |health: &str, path: &Path| {
        let listen = format!("public = \"127.0.0.1:0\"\nprivate = \"127.0.0.1:0\"\nhealth = \"{health}\"");
        let broker = format!("name = \"a\"\nkind = \"file\"\nfrom = \"now\"\npath = {path:?}");
        std::fs::write(&file, format!("[listen]\n{listen}\n[[broker]]\n{broker}\n")).expect("written");
        run_in(&data, mappings.path(), &[&DOCTOR[..], &["--config", file.to_str().expect("text")]].concat())
    };
    doctor("127.0.0.1:0", &data.join("events.ndjson")).ended(0);
    let found = finding(&doctor(&taken.to_string(), &data.join("events.ndjson")).ended(1), "listen.health");
    assert!(found["found"].to_string().contains(&taken.to_string()), "{found}");
    let found =
        finding(&doctor("127.0.0.1:0", &home.path().join("nowhere/events.ndjson")).ended(1), "broker");
    assert!(found["found"].to_string().contains("cannot append to"), "{found}");
}

#[test]
fn doctor_says_which_half_of_a_ledger_is_missing() {
    let lab = Lab::start();
    lab.deliver(&measured("1", 3));
    let stopped = lab.stop();
    let other = Lab::start();
    other.deliver(&measured("1", 3));
    let other = other.stop();
    let scratch = tempfile::tempdir().expect("a folder");
    let remove = |folder: &Path, name: &str| {
        let path = folder.join(name);
        if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }
            .expect("removed");
    };
    let replace = |folder: &Path, name: &str| {
        remove(folder, name);
        let from = other.data().join(name);
        if from.is_dir() {
            copy(&from, &folder.join(name));
        } else {
            std::fs::copy(&from, folder.join(name)).expect("copied");
        }
    };
    let cases: [(&str, Spoil<'_>, &str); 6] = [
        ("no-records", &|folder| remove(folder, "records.sqlite"), "records.sqlite is missing"),
        ("no-log", &|folder| remove(folder, "log"), "log"),
        ("no-name", &|folder| remove(folder, "ledger.json"), "ledger.json is missing"),
        ("other-records", &|folder| replace(folder, "records.sqlite"), "belong"),
        ("other-log", &|folder| replace(folder, "log"), "belong"),
        (
            "empty-log",
            &|folder| {
                remove(folder, "log");
                std::fs::create_dir(folder.join("log")).expect("made");
            },
            "missing",
        ),
    ];
    for (name, spoil, told) in cases {
        let folder = scratch.path().join(name);
        copy(&stopped.data(), &folder);
        spoil(&folder);
        let ran = run_in(&folder, stopped.mappings.path(), &DOCTOR).ended(1);
        let found = finding(&ran, "ledger");
        assert_eq!(found["level"], "wrong", "{name}");
        assert!(found["found"].as_str().is_some_and(|text| text.contains(told)), "{name}: {found}");
        assert!(found["help"].as_str().is_some_and(|text| text.contains("backup")), "{name}: {found}");
        let serve = ["serve", "--listen", "127.0.0.1:0", "--private-listen", "127.0.0.1:0"];
        run_in(&folder, stopped.mappings.path(), &serve).ended(2);
        for reading in [&["deliveries", "ls"][..], &["reconcile"]] {
            run_in(&folder, stopped.mappings.path(), reading).ended(2);
        }
    }
}

/// Changes one byte of an event in the last segment.
fn spoil(stopped: &Stopped, event: &Value) {
    let segment = segments(&stopped.data()).pop().expect("a segment");
    let mut bytes = std::fs::read(&segment).expect("read");
    let text = event.to_string();
    let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).expect("it is there");
    bytes[at + 3] ^= 1;
    std::fs::write(segment, &bytes).expect("written");
}

fn lines(exported: &str) -> Vec<Value> {
    exported.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Number 2 of three is damaged and no delivery is known of it: nothing that lists, shows or exports keeps silent.
fn says_that_two_is_damaged(run: &dyn Fn(&[&str]) -> Ran) {
    let listed = run(&["deliveries", "ls", "--format", "json"]).ended(0);
    assert_eq!(column(&listed.json(), "number"), [3, 1]);
    assert!(listed.err.contains("1 damaged number"), "{}", listed.err);
    assert!(run(&["deliveries", "ls", "--limit", "1"]).ended(0).err.contains("1 damaged number"));

    for chosen in [&[][..], &["--partner", "lab"], &["--from", "2026-01-01T00:00:00Z"]] {
        let exported = lines(&run(&[&["deliveries", "export"], chosen].concat()).ended(1).out);
        assert_eq!(exported.iter().map(|line| line["number"].clone()).collect::<Vec<_>>(), [3, 1, 2]);
        assert!(exported[2]["payload"].as_str().is_some_and(|why| why.contains("bytes are damaged: ")));
    }
    for other in
        [["--external-id", "1"], ["--to", "2020-01-01T00:00:00Z"], ["--from", "2999-01-01T00:00:00Z"]]
    {
        run(&[&["deliveries", "export"], &other[..]].concat()).ended(0);
    }

    let shown = run(&["deliveries", "show", "2"]).ended(1).json();
    assert_eq!(shown["number"], 2);
    assert!(shown["payload"].as_str().is_some_and(|why| why.contains("bytes are damaged: ")));
    let body = run(&["deliveries", "show", "2", "--body"]).ended(1);
    assert_eq!(body.out, "");
    assert!(body.err.contains("damaged"), "{}", body.err);
    run(&["deliveries", "show", "4"]).ended(2);
}

#[test]
fn what_was_damaged_before_it_was_worked_does_not_vanish() {
    let mappings = Folder::new();
    mappings.mapping(BROKEN);
    let lab = Lab::with(mappings, &[]);
    for n in 1..=3 {
        lab.accept(&measured(&n.to_string(), n));
    }
    let stopped = lab.stop();
    spoil(&stopped, &measured("2", 2));
    says_that_two_is_damaged(&|arguments| stopped.verb(arguments));

    let lab = stopped.start(&[]);
    let answer = lab.gateway.get("/api/v1/deliveries/2");
    assert_eq!((answer.status, answer.code().as_str()), (500, "damaged"));
    let stopped = lab.stop();
    stopped.mappings.mapping(crate::folder::MAPPING);
    let lab = stopped.start(&[]);
    lab.gateway.wait_until("/api/v1/deliveries/3", |answer| answer.json()["waiting"] == false);
    says_that_two_is_damaged(&|arguments| lab.verb(arguments));
    let answer = lab.gateway.get("/api/v1/deliveries/2");
    assert_eq!((answer.status, answer.code().as_str()), (500, "damaged"));
    lab.verb(&["reconcile"]).ended(0);
}

#[test]
fn reconcile_finds_damage_and_says_where() {
    let lab = Lab::start();
    for n in 1..=3 {
        lab.deliver(&measured(&n.to_string(), n));
    }
    let stopped = lab.stop();
    spoil(&stopped, &measured("2", 2));
    let report = stopped.verb(&["reconcile", "--scrub", "--format", "json"]).ended(1).json();
    assert!(report["damaged"][0].as_str().is_some_and(|range| range.starts_with("2 to 2")), "{report}");
    let exported = stopped.verb(&["deliveries", "export"]).ended(1).out;
    let lines = lines(&exported);
    assert!(lines[1]["payload"].as_str().is_some_and(|why| why.contains("damaged")));
    assert!(lines[1].get("body_base64").is_none() && lines[0].get("body_base64").is_some());
    let shown = stopped.verb(&["deliveries", "show", "2"]).ended(1).json();
    assert_eq!(shown["external_events"][0]["outcome"], "translated", "what is known of it is shown");
    assert!(shown["payload"].as_str().is_some_and(|why| why.contains("damaged")));
    assert_eq!(stopped.verb(&["deliveries", "show", "2", "--body"]).ended(1).out, "");
    let lab = stopped.start(&[]);
    let rows = lab.gateway.get("/api/v1/deliveries").json();
    let damaged = rows["items"][1]["delivery"].as_str().expect("an id").to_owned();
    let answer = lab.gateway.get(&format!("/api/v1/deliveries/{damaged}/body"));
    assert_eq!((answer.status, answer.code().as_str()), (500, "damaged"));
}

/// A ledger of eight entries in segments of a few.
fn in_small_segments() -> Stopped {
    let lab = Lab::with(Folder::new(), &[("DOUANE_LEDGER_SEGMENT_BYTES", "1048576")]);
    for number in 0..8 {
        let mut event = measured(&number.to_string(), number);
        event["filler"] = json!("x".repeat(300_000));
        lab.deliver(&event);
    }
    lab.stop()
}

/// The segment files of a data folder, oldest first.
fn segments(data: &Path) -> Vec<PathBuf> {
    let listed = std::fs::read_dir(data.join("log")).expect("a log");
    let mut segments: Vec<_> = listed.map(|it| it.expect("one").path()).collect();
    segments.sort();
    segments
}

#[test]
fn the_oldest_segment_does_not_go_unnoticed() {
    let stopped = in_small_segments();
    std::fs::remove_file(&segments(&stopped.data())[0]).expect("removed");
    let report = stopped.verb(&["reconcile", "--format", "json"]).ended(1).json();
    assert_eq!(report["damaged"], json!(["1 to 3: missing, and retention did not drop them"]));
    assert_eq!((&report["pruned"], &report["numbers_hold"]), (&json!(0), &json!(true)));
    assert!(stopped.verb(&["reconcile", "--scrub"]).ended(1).out.contains("DAMAGED  1 to 3"));
    let found = finding(&stopped.verb(&DOCTOR).ended(1), "intake log");
    assert!(found["found"].as_str().is_some_and(|text| text.contains("1 to 3: missing")), "{found}");
    let shown = stopped.verb(&["deliveries", "show", "2"]).ended(1).json();
    assert!(shown["payload"].as_str().is_some_and(|why| why.contains("did not drop number 2")), "{shown}");
}

#[test]
fn a_segment_missing_in_the_middle_does_not_go_unnoticed() {
    let stopped = in_small_segments();
    stopped.verb(&["reconcile", "--scrub"]).ended(0);
    std::fs::remove_file(&segments(&stopped.data())[1]).expect("removed");
    let missing = json!(["4 to 6: the segment ends before these numbers"]);
    for arguments in [&["reconcile", "--format", "json"][..], &["reconcile", "--scrub", "--format", "json"]] {
        let report = stopped.verb(arguments).ended(1).json();
        assert_eq!((&report["damaged"], &report["numbers_hold"]), (&missing, &json!(true)));
    }
    finding(&stopped.verb(&DOCTOR).ended(1), "intake log");
}

#[test]
fn a_damaged_header_of_a_segment_does_not_go_unnoticed() {
    let stopped = in_small_segments();
    let path = segments(&stopped.data()).remove(1);
    let mut bytes = std::fs::read(&path).expect("read");
    bytes[40] ^= 1;
    std::fs::write(&path, bytes).expect("written");
    let report = stopped.verb(&["reconcile", "--scrub", "--format", "json"]).ended(1).json();
    let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
    assert_eq!(report["damaged"], json!([format!("{name}: the header block is damaged")]));
}

/// Changes a body in a segment and makes the checksums of its batch fit again.
fn forge(segment: &Path, from: &str, to: &str) {
    let mut bytes = std::fs::read(segment).expect("read");
    let place = bytes.windows(from.len()).position(|window| window == from.as_bytes()).expect("it is there");
    bytes[place..place + to.len()].copy_from_slice(to.as_bytes());
    let batch = (0..=place / BLOCK).rev().find_map(|block| {
        BatchHeader::decode(&bytes[block * BLOCK..]).map(|header| (block * BLOCK, header.size()))
    });
    let (start, size) = batch.expect("a batch");
    let (header, rest) = bytes[start..].split_at_mut(BATCH_HEADER);
    let size = usize::try_from(size).expect("small") - BATCH_HEADER;
    header[56..60].copy_from_slice(&crc32c::crc32c(&rest[..size]).to_le_bytes());
    let checksum = crc32c::crc32c(&header[..60]);
    header[60..].copy_from_slice(&checksum.to_le_bytes());
    std::fs::write(segment, &bytes).expect("written");
}

#[test]
fn a_forged_body_does_not_match_the_records() {
    let lab = Lab::start();
    for n in 1..=3 {
        lab.deliver(&measured(&n.to_string(), n));
    }
    let stopped = lab.stop();
    let segment = segments(&stopped.data()).pop().expect("a segment");
    forge(&segment, &measured("2", 2).to_string(), &measured("2", 7).to_string());
    let report = stopped.verb(&["reconcile", "--scrub", "--format", "json"]).ended(1).json();
    assert_eq!((&report["damaged"], &report["numbers_hold"]), (&json!([]), &json!(true)));
    let told = "2: not what the records say: SHA-256 of the body";
    assert_eq!(report["scrub"]["differences"], json!([told]));
    let shown = stopped.verb(&["reconcile", "--scrub"]).ended(1).out;
    assert!(shown.contains(&format!("DIFFERS  {told}")) && shown.contains("log      BROKEN"), "{shown}");
}

#[test]
fn records_of_another_copy_do_not_match_the_log() {
    let stopped = Lab::start().stop();
    let scratch = tempfile::tempdir().expect("a folder");
    let (begun, records) = (scratch.path().join("begun"), scratch.path().join("records.sqlite"));
    copy(&stopped.data(), &begun);
    let lab = stopped.start(&[]);
    lab.deliver(&measured("1", 1));
    let stopped = lab.stop();
    std::fs::copy(stopped.data().join("records.sqlite"), &records).expect("copied");
    std::fs::remove_dir_all(stopped.data()).expect("removed");
    copy(&begun, &stopped.data());
    let lab = stopped.start(&[]);
    lab.deliver(&measured("2", 10));
    let stopped = lab.stop();
    std::fs::copy(&records, stopped.data().join("records.sqlite")).expect("copied");
    let report = stopped.verb(&["reconcile", "--scrub", "--format", "json"]).ended(1).json();
    let told = "1: not what the records say: delivery id, size, SHA-256 of the body";
    assert_eq!(report["scrub"]["differences"], json!([told]));
}

#[test]
fn a_hole_in_the_feed_and_a_broken_file_of_records_are_found() {
    let lab = Lab::start();
    for n in 1..=3 {
        lab.deliver(&measured(&n.to_string(), n));
    }
    let stopped = lab.stop();
    let path = stopped.data().join("records.sqlite");
    let records = rusqlite::Connection::open(&path).expect("opens");
    records.execute("DELETE FROM domain_events WHERE number = 2", []).expect("removed");
    let page = "SELECT rootpage FROM sqlite_schema WHERE name = 'refusals_by_endpoint'";
    let page: u32 = records.query_row(page, [], |row| row.get(0)).expect("a page");
    records.close().expect("closed");
    let report = stopped.verb(&["reconcile", "--format", "json"]).ended(1).json();
    assert_eq!((&report["feed_holds"], &report["events_hold"]), (&json!(false), &json!(true)));
    let shown = stopped.verb(&["reconcile", "--scrub"]).ended(1).out;
    assert!(shown.contains("feed     BROKEN: 2 domain events, the last one numbered 3"), "{shown}");

    let mut bytes = std::fs::read(&path).expect("read");
    bytes[(page as usize - 1) * 8_192..page as usize * 8_192].fill(0xFF);
    std::fs::write(&path, bytes).expect("written");
    let report = stopped.verb(&["reconcile", "--scrub", "--format", "json"]).ended(1).json();
    assert!(report["broken"].as_array().is_some_and(|lines| !lines.is_empty()), "{report}");
}

#[test]
fn reconcile_holds_at_any_instant() {
    let lab = Lab::start();
    let address = lab.gateway.public;
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for client in 0..4 {
            let stop = &stop;
            scope.spawn(move || {
                let mut wire = wire::Wire::open(address).expect("connected");
                for number in 0.. {
                    if stop.load(std::sync::atomic::Ordering::Relaxed) {
                        return;
                    }
                    let body = measured(&format!("{client}-{number}"), 1).to_string();
                    wire.send(&wire::request("POST", "/in/lab", &[], body.as_bytes())).expect("sent");
                    assert_eq!(wire.answer().expect("answered").status, 200);
                }
            });
        }
        let given: Vec<_> = (0..5)
            .map(|_| lab.verb(&["reconcile", "--format", "json"]).ended(0).json()["given"].as_u64())
            .collect();
        lab.verb(&["deliveries", "export", "--output", "/dev/null"]).ended(0);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(given.is_sorted() && given.first() < given.last(), "{given:?}");
    });
}

#[test]
fn serve_refuses_what_would_do_harm() {
    let lab = Lab::start();
    let serve = |arguments: &[&str]| {
        let addresses = ["serve", "--listen", "127.0.0.1:0", "--private-listen", "127.0.0.1:0"];
        lab.verb(&[&addresses, arguments].concat())
    };
    let second = serve(&[]).ended(2);
    let data = lab.data();
    assert!(second.err.contains("another process holds the data folder"), "{}", second.err);
    assert!(second.err.contains(data.to_str().expect("text")), "{}", second.err);
    assert_eq!(lab.gateway.get("/readyz").status, 200, "the first one does not notice");

    let elsewhere = tempfile::tempdir().expect("a folder");
    let open = ["serve", "--listen", "127.0.0.1:0", "--private-listen", "0.0.0.0:0"];
    let refused = run_in(&elsewhere.path().join("data"), lab.mappings.path(), &open).ended(2);
    assert!(refused.err.contains("listen.private_without_tls"), "{}", refused.err);
    let taken = lab.gateway.public.to_string();
    let refused = run_in(
        &elsewhere.path().join("data"),
        lab.mappings.path(),
        &["serve", "--listen", &taken, "--private-listen", "127.0.0.1:0"],
    );
    assert!(refused.ended(2).err.contains(&taken));
    let strict = ["serve", "--strict", "--listen", "127.0.0.1:0", "--private-listen", "127.0.0.1:0"];
    lab.mappings.mapping(BROKEN);
    let refused = run_in(&elsewhere.path().join("data"), lab.mappings.path(), &strict).ended(2);
    assert!(refused.err.contains("1 partner is broken"), "{}", refused.err);
    assert!(refused.err.contains("measured.vrl:1:"), "it says where: {}", refused.err);
}
