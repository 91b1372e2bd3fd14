//! The shipped partners: every case of `fixtures/`, and every real payload there is.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use douane::{
    cli::{
        cases::{self, Sign},
        test::{Player, differences},
    },
    config::Config,
    ledger::postgres::migrate,
    model::Headers,
};
use serde::Deserialize;

use crate::{
    gateway::{Gateway, post, shipped_mappings},
    servers::postgres::database,
    site::Site,
};

/// What must become of a real payload.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RealPayload {
    /// The latest outcome of every event in it.
    outcome: Option<String>,
    /// The endpoint, when it is not `default`.
    endpoint: Option<String>,
    /// The domain events, when the page says so.
    events: Option<Vec<String>>,
    /// The code of the refusal.
    refused: Option<String>,
    /// It is answered and not kept.
    #[serde(default)]
    handshake: bool,
}

#[tokio::test]
async fn every_case_goes_as_expected() {
    let mut config = Config::default();
    config.mappings.path = shipped_mappings();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let cases = cases::all(&fixtures, None).expect("readable");
    assert!(cases.len() >= 30, "{} cases", cases.len());
    let player = Player::new(config);
    let mut wrong = Vec::new();
    for case in &cases {
        let found = player.play(case).await.expect("played");
        wrong.extend(differences(case, &found).into_iter().map(|it| format!("{}: {it}", case.path())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn every_case_goes_the_same_way_on_postgresql() {
    let site = Site::begin();
    let mut config = Config::default();
    config.mappings.path = shipped_mappings();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let player = Player::new(config);
    let mut wrong = Vec::new();
    for (number, case) in cases::all(&fixtures, None).expect("readable").iter().enumerate() {
        let ledger = site.ledger(&format!("case_{number}"));
        migrate(&database(&ledger)).await.expect("migrated");
        let found = player.play_on(ledger, case).await.expect("played");
        wrong.extend(differences(case, &found).into_iter().map(|it| format!("{}: {it}", case.path())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn real_payloads_go_through_by_intent() {
    let Ok(folder) = std::env::var("DOUANE_REAL_PAYLOADS") else {
        println!("DOUANE_REAL_PAYLOADS names no folder; nothing to read");
        return;
    };
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real-payloads.toml"));
    let expected: BTreeMap<String, RealPayload> = toml::from_str(&page.expect("readable")).expect("valid");
    let mut wrong = Vec::new();
    for file in payload_files(Path::new(&folder)) {
        let name = file.strip_prefix(&folder).expect("below it").display().to_string();
        match expected.get(&name) {
            None => {
                wrong.push(format!("{name}: tests/real-payloads.toml does not say what must become of it"));
            }
            Some(expected) => {
                wrong.extend(surprise(&file, &name, expected).await.map(|it| format!("{name}: {it}")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn payload_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for partner in ["stripe", "adyen", "shopify", "github", "slack"] {
        for entry in std::fs::read_dir(folder.join(partner)).expect("readable").flatten() {
            if !entry.file_name().to_string_lossy().ends_with(".headers.json") {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    files
}

/// In which way a payload did not go as expected.
async fn surprise(file: &Path, name: &str, expected: &RealPayload) -> Option<String> {
    let partner = name.split('/').next().expect("a partner");
    let target = match &expected.endpoint {
        Some(endpoint) => format!("/in/{partner}/{endpoint}"),
        None => format!("/in/{partner}"),
    };
    let mut request = post(&target, std::fs::read(file).expect("readable"));
    request.headers = headers_beside(file);
    let mut gateway = Gateway::new().await;
    let answered = gateway.deliver_signed(request, Sign::Valid).await;
    if answered.refusal != expected.refused {
        return Some(format!("refused: {:?}", answered.refusal));
    }
    if answered.delivery.is_none() {
        return (!expected.handshake && expected.refused.is_none()).then(|| "it was not kept".to_owned());
    }
    let row = gateway.row(&answered).await;
    let published = gateway.published().await;
    gateway.end().await;
    let unexpected =
        row.external_events.iter().find(|event| Some(event.outcome.as_str()) != expected.outcome.as_deref());
    if let Some(event) = unexpected {
        return Some(format!("{} {:?}: {:?}", event.outcome, event.event_type, event.reason));
    }
    let other_events = expected.events.as_ref().is_some_and(|events| *events != published);
    other_events.then(|| format!("published {published:?}"))
}

/// The captured headers; signatures among them are made anew when the request is signed.
fn headers_beside(file: &Path) -> Headers {
    let beside =
        file.with_file_name(format!("{}.headers.json", file.file_stem().expect("a name").to_string_lossy()));
    let captured: BTreeMap<String, String> =
        serde_json::from_slice(&std::fs::read(beside).expect("readable")).expect("JSON");
    let mut headers = Headers::default();
    for (name, value) in captured {
        if !name.eq_ignore_ascii_case("content-length") {
            headers.push(&name, value);
        }
    }
    headers
}
