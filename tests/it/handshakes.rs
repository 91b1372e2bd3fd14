//! Handshakes that need more than an answer, and what a sender learns of its own requests: secrets that are taught, the
//! self-test, addresses and certificates beside a signature, and refusals that can be asked for. On the real binary.

use std::{fs, path::Path};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{
    folder::Folder,
    lab::{Lab, QUICK_POLL},
    process::{Process, run_in, who_runs_verbs},
    wire::{self, Answer},
};

pub const TAUGHT: &str = "b537207f20cbfa02357cf448134da559";
const THEIRS: &str = "00112233445566778899aabbccddeeff";
const SIGNED: &str = "algorithm = \"hmac-sha256\"\nsecret = { as = \"text\" }\nvalue = { path = \"header.x-hook-signature\", as = \"hex\" }\nmessage = \"{body}\"\nassurance = \"full\"";
const TEACHING: &str = "[[handshake]]\nmethod = \"POST\"\npresent = [\"header.x-hook-secret\"]\nlearn = \"header.x-hook-secret\"\n\
                        headers = { \"X-Hook-Secret\" = { echo = \"header.x-hook-secret\" } }\n";

fn learner() -> Folder {
    let folder = Folder::new();
    folder.change_partner("unsigned = true", &format!("{SIGNED}\n\n{TEACHING}"));
    folder
}

/// Adds a partner that is taught its secret, which a person is shown once.
pub fn add_learner(folder: &Folder, name: &str) {
    folder.another_partner(name);
    let file = format!("partners/{name}/partner.toml");
    let text = fs::read_to_string(folder.path().join(&file)).expect("readable");
    let teaching = TEACHING.replace("learn =", "reveal = true\nlearn =");
    folder.write(&file, &text.replace("unsigned = true", &format!("{SIGNED}\n\n{teaching}")));
}

fn post(gateway: &Process, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    wire::exchange(gateway.public, "POST", target, headers, body)
}

fn teach(gateway: &Process, secret: &str) -> Answer {
    post(gateway, "/in/lab", &[("x-hook-secret", secret)], b"{}")
}

fn post_signed(gateway: &Process, target: &str, secret: &str, id: u32) -> Answer {
    let body = format!(r#"{{"id":"{id}","type":"measured","thing":"t","size":1}}"#);
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length is a key");
    mac.update(body.as_bytes());
    let signature = hex::encode(mac.finalize().into_bytes());
    post(gateway, target, &[("x-hook-signature", &signature)], body.as_bytes())
}

/// Whether a text stands anywhere in the files of a folder.
fn stands_in(folder: &Path, text: &str) -> bool {
    fs::read_dir(folder).expect("lists").flatten().any(|entry| match entry.path() {
        path if path.is_dir() => stands_in(&path, text),
        path => {
            let bytes = fs::read(path).expect("readable");
            bytes.windows(text.len()).any(|window| window == text.as_bytes())
        }
    })
}

/// Attack: whoever comes first would teach the endpoint a secret of theirs.
#[test]
fn nobody_teaches_an_endpoint_that_is_not_armed() {
    let lab = Lab::with(learner(), &[]);
    let refused = teach(&lab.gateway, THEIRS);
    assert_eq!((refused.status, refused.code().as_str()), (403, "not_armed"));
    assert_eq!(refused.header("x-hook-secret"), "", "nothing is sent back either");
    let early = post_signed(&lab.gateway, "/in/lab", THEIRS, 1);
    assert_eq!((early.status, early.code().as_str()), (503, "not_configured"), "no key yet is our fault");

    lab.verb(&["partner", "arm", "lab"]).ended(0);
    for weak in ["", "short", "with space in it, long enough", "aaaaaaaaaaaaaaaaaaaaaaaa"] {
        assert_eq!(teach(&lab.gateway, weak).code(), "unsafe_handshake", "{weak:?}");
    }
    assert_eq!(teach(&lab.gateway, TAUGHT).status, 200);
    let second = teach(&lab.gateway, THEIRS);
    assert_eq!((second.status, second.code().as_str()), (403, "not_armed"), "one secret an arming");
    assert_eq!(post_signed(&lab.gateway, "/in/lab", THEIRS, 1).code(), "signature_failed");
}

#[test]
fn a_taught_secret_is_sealed_and_outlives_a_crash() {
    let (data, folder) = (tempfile::tempdir().expect("a folder"), learner());
    let data = data.path().join("data");
    let start = || Process::start_with(&data, folder.path(), &[QUICK_POLL]);
    let gateway = start();
    let armed = run_in(&data, folder.path(), &["partner", "arm", "lab/default", "--for", "5m"]).ended(0);
    assert!(armed.out.contains("lab/default is armed until"), "{}", armed.out);
    let taught = teach(&gateway, TAUGHT);
    assert_eq!((taught.status, taught.header("x-hook-secret")), (200, TAUGHT));
    assert_eq!(teach(&gateway, TAUGHT).status, 200, "who did not get our answer asks again");
    let kept = post_signed(&gateway, "/in/lab", TAUGHT, 1);
    assert_eq!(kept.status, 200, "{}", kept.head);
    gateway.kill();

    let gateway = start();
    assert_eq!(post_signed(&gateway, "/in/lab", TAUGHT, 2).status, 200, "the ledger knows it");
    gateway.wait_for_event(2);
    let path = format!("/api/v1/deliveries/{}", kept.delivery());
    let learnt = gateway.get(&path).json()["secret_id"].as_str().expect("noted").to_owned();
    assert!(learnt.starts_with("learnt-"), "{learnt}");
    assert!(!stands_in(&data, TAUGHT), "it stands in no file");
    let acts = gateway.get("/api/v1/journal").json().to_string();
    assert!(
        acts.contains("endpoint.armed") && acts.contains("secret.learnt") && !acts.contains(TAUGHT),
        "{acts}"
    );

    let shown = run_in(&data, folder.path(), &["partner", "show", "lab"]).ended(0).out;
    assert!(shown.contains(&format!("{learnt} since")) && shown.contains("sealed"), "{shown}");
    run_in(&data, folder.path(), &["reconcile"]).ended(0);

    let forget = format!("name = \"default\"\nforget = [\"{learnt}\"]\n");
    let text = fs::read_to_string(folder.path().join("partners/lab/partner.toml")).expect("readable");
    folder.write("partners/lab/partner.toml", &text.replace("name = \"default\"\n", &forget));
    gateway.wait_until("/readyz", |_| post_signed(&gateway, "/in/lab", TAUGHT, 2).status == 503);
}

#[test]
fn what_was_taught_while_the_desk_was_broken_is_read_from_the_log() {
    let (data, folder) = (tempfile::tempdir().expect("a folder"), learner());
    folder.mapping(crate::lab::BROKEN);
    let data = data.path().join("data");
    let start = || Process::start_with(&data, folder.path(), &[]);
    let gateway = start();
    run_in(&data, folder.path(), &["partner", "arm", "lab"]).ended(0);
    assert_eq!(teach(&gateway, TAUGHT).status, 200);
    gateway.kill();
    let gateway = start();
    assert_eq!(
        post_signed(&gateway, "/in/lab", TAUGHT, 1).status,
        200,
        "nothing was worked, and it is known"
    );
}

#[test]
fn arming_is_for_endpoints_that_learn_and_for_an_hour_at_most() {
    let lab = Lab::with(learner(), &[]);
    let long = lab.verb(&["partner", "arm", "lab", "--for", "2h"]).ended(2);
    assert!(long.err.contains("1 to 3600 seconds"), "{}", long.err);
    let auditor = lab.token("eve", "auditor");
    let wish = json!({ "endpoint": "lab/default", "seconds": 60 });
    assert_eq!(lab.gateway.ask("POST", "/api/v1/armings", &auditor, &wish).status, 403);
    let bad = json!({ "endpoint": "lab", "seconds": 60 });
    assert_eq!(lab.gateway.ask("POST", "/api/v1/armings", &lab.gateway.token, &bad).status, 400);
    lab.verb(&["partner", "arm", "lab", "--for", "1m"]).ended(0);
    let armed = lab.gateway.get("/api/v1/armings").json();
    assert_eq!(armed["items"][0]["endpoint"], "lab/default");

    let unsigned = Lab::start().verb(&["partner", "arm", "lab"]).ended(2);
    assert!(unsigned.err.contains("no handshake teaches"), "{}", unsigned.err);
}

fn with_secret(endpoint: &str) -> (Folder, [(&'static str, &'static str); 1]) {
    let folder = Folder::new();
    folder.change_partner("unsigned = true", SIGNED);
    let text = fs::read_to_string(folder.path().join("partners/lab/partner.toml")).expect("readable");
    let secrets = "secrets = [{ id = \"a\", from = \"env:LAB_SECRET\" }]";
    let named = format!("name = \"default\"\n{secrets}\n{endpoint}\n");
    folder.write("partners/lab/partner.toml", &text.replace("name = \"default\"\n", &named));
    (folder, [("LAB_SECRET", TAUGHT)])
}

#[test]
fn a_sender_can_test_itself_and_nothing_is_kept() {
    let (folder, secret) = with_secret("self_test = true");
    let lab = Lab::with(folder, &secret);
    let address = "/in/lab/default/self-test";
    let good = post_signed(&lab.gateway, address, TAUGHT, 1);
    assert_eq!(good.json(), json!({ "verdict": "delivery", "assurance": "full", "kept": false }));
    let bad = post_signed(&lab.gateway, address, THEIRS, 1);
    assert_eq!((bad.status, bad.code().as_str()), (401, "signature_mismatch"));
    let none = post(&lab.gateway, address, &[], b"{}");
    assert_eq!((none.status, none.code().as_str()), (401, "signature_missing"));
    let told = String::from_utf8([bad.body, none.body].concat()).expect("text");
    assert!(!told.contains(TAUGHT) && !told.contains("expected"), "{told}");

    let many: Vec<_> = (0..30).map(|_| post(&lab.gateway, address, &[], b"{}").status).collect();
    assert!(many.contains(&429), "{many:?}");
    assert!(lab.gateway.get("/api/v1/deliveries").json()["items"].as_array().expect("a list").is_empty());
    assert!(
        lab.gateway.get("/api/v1/refusals?code=signature_mismatch").json()["items"]
            .as_array()
            .expect("a list")
            .is_empty()
    );

    let (folder, secret) = with_secret("");
    let off = Lab::with(folder, &secret);
    assert_eq!(post_signed(&off.gateway, address, TAUGHT, 1).code(), "unknown_address");
}

#[test]
fn addresses_are_believed_of_trusted_proxies_and_never_replace_a_signature() {
    let (folder, secret) = with_secret(
        "allow_from = [\"198.51.100.0/24\"]\nclient_certificate = { header = \"x-client-cert\", one_of = [\"CN=hooks\"] }",
    );
    let config = tempfile::NamedTempFile::new().expect("a file");
    fs::write(&config, "[intake]\ntrusted_proxies = [\"127.0.0.0/8\"]\n").expect("written");
    let path = config.path().to_str().expect("text");
    let lab = Lab::with(folder, &[secret[0], ("DOUANE_CONFIG", path)]);
    let from = |headers: &[(&str, &str)]| post(&lab.gateway, "/in/lab", headers, b"{}").code();
    let client = ("x-forwarded-for", "198.51.100.7");
    let certificate = ("x-client-cert", "CN=hooks");
    assert_eq!(from(&[("x-forwarded-for", "192.0.2.1")]), "address_not_allowed");
    assert_eq!(from(&[("x-forwarded-for", "198.51.100.7, 192.0.2.1")]), "address_not_allowed");
    assert_eq!(from(&[]), "address_not_allowed", "the proxy itself is not in the network");
    assert_eq!(from(&[client]), "client_certificate");
    assert_eq!(from(&[client, certificate]), "signature_failed", "beside a signature, never instead of one");
    lab.gateway.wait_until("/api/v1/refusals?code=signature_missing", |answer| {
        answer.json()["items"][0]["peer"] == "198.51.100.7"
    });

    let (folder, secret) = with_secret("allow_from = [\"198.51.100.0/24\"]");
    let direct = Lab::with(folder, &secret);
    assert_eq!(
        post(&direct.gateway, "/in/lab", &[client], b"{}").code(),
        "address_not_allowed",
        "nobody is trusted"
    );
}

#[test]
fn support_finds_out_why_a_request_was_turned_away() {
    let (folder, secret) = with_secret("");
    let lab = Lab::with(folder, &secret);
    post(&lab.gateway, "/in/lab", &[], b"{}");
    let refused = post_signed(&lab.gateway, "/in/lab", THEIRS, 1);
    let request = refused.header("douane-request").to_owned();
    assert!(!request.is_empty(), "{}", refused.head);
    let path = format!("/api/v1/refusals?request={request}");
    lab.gateway.wait_until(&path, |answer| answer.json()["items"][0]["code"] == "signature_mismatch");

    let told = lab.verb(&["partner", "refusals", "lab"]).ended(0).out;
    let (mismatch, missing) = (told.find("signature_mismatch"), told.find("signature_missing"));
    assert!(mismatch < missing && mismatch.is_some(), "newest first: {told}");
    assert!(told.contains(&request) && told.contains("127.0.0.1"), "{told}");
    let one =
        lab.verb(&["partner", "refusals", "lab/default", "--request", &request, "--format", "json"]).ended(0);
    let rows = one.json();
    assert_eq!(rows.as_array().map(Vec::len), Some(1));
    assert_eq!((&rows[0]["status"], &rows[0]["request"]), (&Value::from(401), &Value::from(request)));
    let none = lab.verb(&["partner", "refusals", "lab", "--code", "timestamp_stale"]).ended(0).out;
    assert!(none.contains("nothing was turned away"), "{none}");
    let misspelt = lab.verb(&["partner", "refusals", "lab", "--code", "signature_mismatched"]).ended(2).err;
    assert!(misspelt.contains("signature_mismatch'"), "{misspelt}");
    let nobody = lab.verb(&["partner", "refusals", "nobody"]).ended(2).err;
    assert!(
        nobody.contains("there is no partner \"nobody\"") && nobody.contains("stands under `-`"),
        "{nobody}"
    );

    let astray = post(&lab.gateway, "/in/nobody", &[], b"{}").header("douane-request").to_owned();
    let path = format!("/api/v1/refusals?request={astray}");
    lab.gateway.wait_until(&path, |answer| answer.json()["items"][0]["code"] == "unknown_partner");
    assert!(lab.verb(&["partner", "refusals", "-"]).ended(0).out.contains("unknown_partner"));
}

/// Notion's page wants the token that Notion sent: a person must see it, and nobody else ever.
#[test]
fn what_was_learnt_is_shown_once_to_an_operator_where_its_handshake_says_so() {
    let folder = learner();
    let text = fs::read_to_string(folder.path().join("partners/lab/partner.toml")).expect("readable");
    let revealing =
        text.replace("learn = \"header.x-hook-secret\"", "learn = \"header.x-hook-secret\"\nreveal = true");
    folder.write("partners/lab/partner.toml", &revealing);
    let lab = Lab::with(folder, &[]);
    let early = lab.verb(&["partner", "reveal", "lab"]).ended(2);
    assert!(early.err.contains("has learnt nothing"), "{}", early.err);
    let armed = lab.verb(&["partner", "arm", "lab"]).ended(0);
    assert!(armed.out.contains("douane partner reveal lab/default"), "{}", armed.out);
    assert_eq!(teach(&lab.gateway, TAUGHT).status, 200);

    let wish = json!({ "endpoint": "lab/default" });
    let auditor = lab.token("eve", "auditor");
    assert_eq!(lab.gateway.ask("POST", "/api/v1/reveals", &auditor, &wish).status, 403);
    let shown = lab.verb(&["partner", "reveal", "lab"]).ended(0);
    assert_eq!(shown.out, format!("{TAUGHT}\n"));
    let again = lab.verb(&["partner", "reveal", "lab/default"]).ended(2);
    assert!(again.err.contains("was shown before") && !again.err.contains(TAUGHT), "{}", again.err);
    let refused = lab.gateway.ask("POST", "/api/v1/reveals", &lab.gateway.token, &wish);
    assert_eq!((refused.status, refused.code().as_str()), (409, "shown_before"));
    let acts = lab.journal("secret.revealed");
    assert_eq!(
        (acts.len(), &acts[0]["subject"], &acts[0]["who"]),
        (1, &"lab/default".into(), &who_runs_verbs().into())
    );
    assert_eq!(acts[0]["detail"]["secret"], lab.journal("secret.learnt")[0]["detail"]["secret"]);
    assert_eq!(lab.gateway.told(TAUGHT), 0, "in no log");

    lab.verb(&["partner", "arm", "lab"]).ended(0);
    assert_eq!(teach(&lab.gateway, THEIRS).status, 200);
    let latest = lab.gateway.ask("POST", "/api/v1/reveals", &lab.gateway.token, &wish);
    assert_eq!(
        (latest.json()["secret"].as_str(), latest.header("cache-control")),
        (Some(THEIRS), "no-store")
    );
    assert!(!stands_in(&lab.data(), TAUGHT) && !stands_in(&lab.data(), THEIRS), "it stands in no file");
}

#[test]
fn what_is_learnt_elsewhere_is_shown_to_nobody() {
    let lab = Lab::with(learner(), &[]);
    lab.verb(&["partner", "arm", "lab"]).ended(0);
    assert_eq!(teach(&lab.gateway, TAUGHT).status, 200);
    let refused = lab.verb(&["partner", "reveal", "lab"]).ended(2);
    assert!(
        refused.err.contains("asks a person for the secret") && !refused.err.contains(TAUGHT),
        "{}",
        refused.err
    );
    let wish = json!({ "endpoint": "lab/default" });
    let refused = lab.gateway.ask("POST", "/api/v1/reveals", &lab.gateway.token, &wish);
    assert_eq!((refused.status, refused.code().as_str()), (409, "never_shown"));
    assert!(lab.journal("secret.revealed").is_empty());
}
