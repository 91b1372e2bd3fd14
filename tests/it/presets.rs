//! `douane partner presets` and `douane partner new`: every preset is listed, and gives a partner that works without an edit.

use std::{fs, path::Path};

use douane::signatures::presets;
use serde_json::Value;

use crate::process::{Process, Ran, douane, run};

fn verb(arguments: &[&str]) -> Ran {
    run(arguments).into()
}

#[test]
fn the_page_of_presets_is_what_the_verb_writes() {
    let page = verb(&["partner", "presets", "--format", "markdown"]).ended(0).out;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("mappings/PRESETS.md");
    let kept = fs::read_to_string(path).unwrap_or_default();
    assert!(kept == page, "write it anew: douane partner presets --format markdown > mappings/PRESETS.md");
}

#[test]
fn presets_are_listed_for_people_and_for_programs() {
    let listed = verb(&["partner", "presets", "--format", "json"]).ended(0).json();
    let rows = listed.as_array().expect("rows");
    assert_eq!(rows.len(), presets::all().len());
    let stripe = rows.iter().find(|row| row["name"] == "stripe").expect("stripe");
    assert_eq!(
        (&stripe["family"], &stripe["assurance"], &stripe["window"], &stripe["batch"]),
        (
            &Value::from("time in the signature header"),
            &Value::from("full"),
            &Value::from("35d"),
            &Value::Null
        )
    );
    assert_eq!(
        rows.iter().find(|row| row["name"] == "slack").expect("slack")["handshakes"][0],
        "POST (signed)"
    );
    assert!(verb(&["partner", "presets"]).ended(0).out.contains("standard-webhooks"));
}

/// Mappings and fixtures of a test's own.
struct Folders(tempfile::TempDir);

impl Folders {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(folder.path().join("mappings/partners")).expect("made");
        fs::create_dir_all(folder.path().join("mappings/contracts")).expect("made");
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("text").to_owned()
    }

    fn new_partner(&self, name: &str, preset: &str) -> Ran {
        let (mappings, fixtures) = (self.path("mappings"), self.path("fixtures"));
        verb(&["partner", "new", name, "--preset", preset, "--mappings", &mappings, "--fixtures", &fixtures])
    }
}

#[test]
fn every_preset_gives_a_partner_that_passes_check_and_receives_its_first_delivery() {
    let folders = Folders::new();
    let remote = |preset: &presets::Preset| preset.text.contains("\nkeys = ");
    for preset in presets::all().iter().filter(|preset| !remote(preset)) {
        folders.new_partner(preset.name, preset.name).ended(0);
    }
    let (mappings, fixtures) = (folders.path("mappings"), folders.path("fixtures"));
    let checked = verb(&["check", "--mappings", &mappings, "--fixtures", &fixtures, "--format", "json"])
        .ended(0)
        .json();
    let warnings = checked["warnings"].as_array().expect("warnings");
    let other: Vec<_> = warnings.iter().filter(|warning| warning["code"] != "not_configured").collect();
    assert!(other.is_empty(), "{other:?}");
    let played = verb(&["test", "--mappings", &mappings, "--fixtures", &fixtures]).ended(0);
    assert!(played.out.contains(": 0 not as expected"), "{}", played.out);
    for preset in presets::all().iter().filter(|preset| !remote(preset)) {
        let expected = Path::new(&fixtures).join(preset.name).join("first-delivery/expected.json");
        let expected: Value = serde_json::from_slice(&fs::read(expected).expect("a case")).expect("JSON");
        let request = &expected["requests"][0];
        let outcomes = request["outcomes"].as_array().expect("its events are identified");
        assert!(!outcomes.is_empty() && request["status"].as_u64() < Some(300), "{}: {request}", preset.name);
        for outcome in outcomes {
            assert_eq!(outcome["outcome"], "unmapped", "{}: {outcome}", preset.name);
        }
    }
}

/// A secret that is no development secret: the one of the vectors that is not the genuine one.
fn real_secret(preset: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/vectors/{preset}.json"));
    let file: Value =
        serde_json::from_slice(&fs::read(path).expect("every preset has vectors")).expect("JSON");
    let mut vectors = file["vectors"].as_array().expect("vectors").iter();
    let wrong = vectors.find(|vector| vector["name"] == "wrong secret").unwrap_or_else(|| panic!("{preset}"));
    wrong["secrets"][0].as_str().expect("a secret").to_owned()
}

/// A public key's real private half is the provider's, so nobody here could sign with it.
fn is_shared(preset: &presets::Preset) -> bool {
    let secrets = preset.sample().expect("a sample").secrets;
    !secrets.is_empty() && secrets.iter().all(|secret| secret.public_key.is_none())
}

#[test]
fn a_new_partner_receives_what_is_sent_once_its_secret_is_set() {
    let folders = Folders::new();
    let mut environment = Vec::new();
    let shared: Vec<_> = presets::all().iter().filter(|preset| is_shared(preset)).collect();
    for preset in &shared {
        folders.new_partner(preset.name, preset.name).ended(0);
        let file =
            fs::read_to_string(folders.path(&format!("mappings/partners/{}/partner.toml", preset.name)));
        let file = file.expect("a partner");
        for name in file.split("\"env:").skip(1).filter_map(|after| after.split('"').next()) {
            environment.push((name.to_owned(), real_secret(preset.name)));
        }
    }
    let pairs: Vec<_> = environment.iter().map(|(name, secret)| (name.as_str(), secret.as_str())).collect();
    let gateway =
        Process::start_with(Path::new(&folders.path("data")), Path::new(&folders.path("mappings")), &pairs);
    let to = format!("http://{}", gateway.public);
    let (mappings, fixtures) = (folders.path("mappings"), folders.path("fixtures"));
    for preset in &shared {
        let case = format!("{}/first-delivery", preset.name);
        let arguments =
            ["send", &case, "--to", &to, "--real-secrets", "--mappings", &mappings, "--fixtures", &fixtures];
        let output = douane().args(arguments).envs(pairs.iter().copied()).output().expect("the binary runs");
        let sent = Ran::from(output);
        assert_eq!(sent.code, Some(0), "{}: {}{}", preset.name, sent.out, sent.err);
    }
}

#[test]
fn nothing_is_overwritten_and_no_preset_is_guessed() {
    let folders = Folders::new();
    folders.new_partner("initech", "github").ended(0);
    let again = folders.new_partner("initech", "github").ended(2);
    assert!(again.err.contains("nothing is overwritten"), "{}", again.err);
    assert!(folders.new_partner("hooli", "githib").ended(2).err.contains("douane partner presets"));
    folders.new_partner("Hooli/..", "github").ended(2);
}
