//! Links that are visited because a partner's handshake asked for it: again and again while they are good, across restarts,
//! and never by anything but the stage that is made for it.

use std::{
    fs, mem,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use douane::{
    app::Rehearsal,
    config::Config,
    ledger::{Confirmation, ConfirmationState},
    model::{EndpointName, RawRequest},
    pipeline::{Confirm, ConfirmationStage, Progress, Stage, StageError},
};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;

use crate::{
    folder::Folder,
    gateway::{NOON, post},
    process::{Process, run_in},
    servers::{
        process::until,
        tls::{Authority, Page, TlsServer},
    },
    wire,
};

const HOST: &str = "links.acme.example";
const LINK: &str =
    "/?Action=ConfirmSubscription&Token=2336412f37fb687f5d51e6e241d09c805a5a57b30d712f794cc5f6a988666d92";
/// That of `[test]`.
const SECRET: &str = "a development secret, long enough";
const PARTNER: &str = r#"name = "Lab"
owner = "lab"

[signature]
algorithm = "hmac-sha256"
secret = { as = "text" }
value = { path = "header.x-hook-signature", as = "hex" }
message = "{body}"
assurance = "full"

[[handshake]]
signed = true
method = "POST"
when = { "body.type" = "confirm" }
confirm = "body.link"
confirm_host = "body.certificate"
confirm_within = "3d"

[[endpoint]]
name = "default"
secrets = [{ id = "main", from = "env:LAB_SECRET" }]

[identify]
event_type = "body.type"

[[ignore]]
on = ["*"]
why = "nobody listens to it"

[test.secrets]
main = "a development secret, long enough"
"#;

/// The partner's folder, and its provider's host on this machine.
struct Scene {
    mappings: Folder,
    server: TlsServer,
    authority: Authority,
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let mappings = Folder::new();
        mappings.write("partners/lab/partner.toml", PARTNER);
        let authority = Authority::new("the test's own");
        let server = TlsServer::start(&authority, &[HOST]);
        server.set(LINK, Page::Status(503, String::new()));
        Self { mappings, server, authority, folder: tempfile::tempdir().expect("a folder") }
    }

    fn config(&self) -> Config {
        let mut config = Config::default();
        config.ledger.data_dir = self.folder.path().join("data");
        self.mappings.path().clone_into(&mut config.mappings.path);
        config.keys.connect_to = vec![self.server.connect_to(HOST)];
        config.keys.extra_roots = Some(self.authority.file(self.folder.path()));
        config
    }

    /// The same for a process of its own.
    fn config_file(&self) -> String {
        let roots = self.authority.file(self.folder.path());
        let text = format!(
            "[keys]\nconnect_to = [{:?}]\nextra_roots = \"{}\"\n[publication]\nmax_backoff = \"100ms\"\n",
            self.server.connect_to(HOST),
            roots.display()
        );
        let path = self.folder.path().join("douane.toml");
        fs::write(&path, text).expect("written");
        path.to_str().expect("text").to_owned()
    }
}

fn body(link: &str) -> String {
    json!({ "type": "confirm", "link": link, "certificate": format!("https://{HOST}/a.pem") }).to_string()
}

fn signature(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length is a key");
    mac.update(body.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

fn asking() -> RawRequest {
    asking_for(LINK)
}

fn asking_for(link: &str) -> RawRequest {
    let body = body(&format!("https://{HOST}{link}"));
    let mut request = post("/in/lab", body.clone());
    request.headers.push("x-hook-signature", signature(SECRET, &body));
    request
}

async fn asked(house: &Rehearsal) -> Confirmation {
    let own = house.ledger().records.confirmations_of(&EndpointName::new("lab", "default"), 9).await;
    own.expect("reads").remove(0)
}

#[tokio::test]
async fn a_link_is_visited_until_it_answers() {
    let scene = Scene::new();
    let mut house = Rehearsal::on(scene.config(), NOON).await.expect("composed");
    assert_eq!(house.deliver(&asking()).await.expect("answered").status, 200);
    house.settle().await.expect("settled");
    assert_eq!(scene.server.requests(), 0, "the road waits for no link");
    assert_eq!(asked(&house).await.tries, 0);
    for tries in 1..=2 {
        let again = house.confirm().await.expect_err("must be tried again").to_string();
        assert!(
            again.contains("lab/default") && again.contains("503") && !again.contains("Token"),
            "{again}"
        );
        let asked = asked(&house).await;
        assert_eq!((asked.tries, asked.state), (tries, ConfirmationState::Open));
    }
    scene.server.set(LINK, Page::Body(b"<ConfirmSubscriptionResponse/>".to_vec()));
    house.confirm().await.expect("visited");
    let done = asked(&house).await;
    assert_eq!((done.state, done.tries, done.why), (ConfirmationState::Confirmed, 3, None));
    house.confirm().await.expect("nothing to do");
    assert_eq!(scene.server.requests(), 3);
    let acts = house.ledger().records.journal_page(None, 9).await.expect("reads");
    let told = acts.iter().find(|row| row.act == "subscription.confirmed").expect("journalled");
    assert_eq!((told.subject.as_str(), &told.detail["tries"]), ("lab/default", &json!(3)));
    assert!(acts.iter().all(|row| !row.detail.to_string().contains("Token")), "{acts:?}");
    house.end().await.expect("in order");
}

#[tokio::test]
async fn a_link_is_given_up_with_a_reason_when_its_time_is_over() {
    let scene = Scene::new();
    let mut house = Rehearsal::on(scene.config(), NOON).await.expect("composed");
    house.deliver(&asking()).await.expect("answered");
    house.settle().await.expect("settled");
    house.clock.advance(Duration::from_hours(71));
    house.confirm().await.expect_err("there is an hour left");
    house.clock.advance(Duration::from_hours(1));
    house.confirm().await.expect("there is nothing left to try");
    let asked = asked(&house).await;
    assert_eq!((asked.state, asked.tries), (ConfirmationState::GivenUp, 2));
    assert!(asked.why.expect("a reason").contains("503"));
    let acts = house.ledger().records.journal_page(None, 9).await.expect("reads");
    let told = acts.iter().find(|row| row.act == "subscription.not_confirmed").expect("journalled");
    assert_eq!(
        (&told.detail["tries"], told.detail["why"].as_str().map(|why| why.contains("503"))),
        (&json!(2), Some(true))
    );
    house.end().await.expect("in order");
}

/// Visits links, of which those that say so are dead, and remembers them.
#[derive(Default)]
struct Visits(Mutex<Vec<String>>);

#[async_trait]
impl Confirm for Visits {
    async fn visit(&self, link: &str) -> Result<(), String> {
        let path = link.rsplit('/').next().unwrap_or_default();
        self.0.lock().expect("a list").push(path.to_owned());
        if path.contains("dead") { Err("no answer".to_owned()) } else { Ok(()) }
    }
}

impl Visits {
    fn told(&self) -> Vec<String> {
        mem::take(&mut self.0.lock().expect("a list"))
    }
}

#[tokio::test]
async fn a_step_visits_one_link_and_no_new_one_waits_behind_dead_ones() {
    let scene = Scene::new();
    let mut house = Rehearsal::on(scene.config(), NOON).await.expect("composed");
    let visits = Arc::new(Visits::default());
    let (records, clock) = (Arc::clone(&house.ledger().records) as _, Arc::clone(&house.clock) as _);
    let mut stage = ConfirmationStage::new(records, Arc::clone(&visits) as _, clock);
    let ask = async |house: &mut Rehearsal, link: &str| {
        assert_eq!(house.deliver(&asking_for(link)).await.expect("answered").status, 200);
        house.settle().await.expect("settled");
        house.clock.advance(Duration::from_secs(1));
    };
    ask(&mut house, "/dead-1").await;
    ask(&mut house, "/dead-2").await;
    assert_eq!((stage.step().await, visits.told()), (Ok(Progress::Underway), vec!["dead-1".to_owned()]));
    house.clock.advance(Duration::from_secs(1));
    let round = async |stage: &mut ConfirmationStage| {
        let mut last = stage.step().await;
        while last == Ok(Progress::Underway) {
            last = stage.step().await;
        }
        (last, visits.told())
    };
    let (ended, seen) = round(&mut stage).await;
    let Err(StageError::WaitInPart(why)) = ended else { panic!("{ended:?}") };
    assert!(why.starts_with("2 not confirmed yet") && !why.contains("dead"), "{why}");
    assert_eq!(seen, ["dead-2"]);

    // One that comes while the stage waits is visited before all that are dead.
    ask(&mut house, "/good").await;
    let (ended, seen) = round(&mut stage).await;
    assert!(matches!(ended, Err(StageError::WaitInPart(_))), "{ended:?}");
    assert_eq!(seen, ["good", "dead-1", "dead-2"]);

    // And one that comes in the middle of a round is part of it.
    assert_eq!((stage.step().await, visits.told()), (Ok(Progress::Underway), vec!["dead-1".to_owned()]));
    ask(&mut house, "/better").await;
    assert_eq!(round(&mut stage).await.1, ["better", "dead-2"]);
}

#[test]
fn a_crash_between_two_visits_only_repeats_them() {
    let scene = Scene::new();
    let (data, config) = (scene.folder.path().join("data"), scene.config_file());
    let environment =
        [("LAB_SECRET", "a real secret, of the same length"), ("DOUANE_CONFIG", config.as_str())];
    let start = || Process::start_with(&data, scene.mappings.path(), &environment);
    let ask = |gateway: &Process, link: &str| {
        let body = body(&format!("https://{HOST}{link}"));
        let signature = signature(environment[0].1, &body);
        wire::exchange(
            gateway.public,
            "POST",
            "/in/lab",
            &[("x-hook-signature", &signature)],
            body.as_bytes(),
        )
    };
    let gateway = start();
    for link in [LINK, "/another"] {
        assert_eq!(ask(&gateway, link).status, 200);
    }
    assert!(until(|| (gateway.metric("douane_confirmations_waiting") - 2.0).abs() < 0.1));
    let before = gateway.metric("douane_confirmation_retries_total");
    assert!(
        until(|| gateway.metric("douane_confirmation_retries_total") >= before + 2.0),
        "they are tried again"
    );
    assert_eq!(gateway.told("lab/default until"), 1, "said once, however often it is tried");
    assert_eq!(gateway.told("Token"), 0);
    let shown = show(&data, scene.mappings.path());
    assert!(
        shown.contains("not confirmed after the")
            && shown.contains("503")
            && shown.contains("tried again until"),
        "{shown}"
    );
    gateway.kill();

    let gateway = start();
    assert!(until(|| gateway.metric("douane_confirmation_retries_total") >= 1.0), "it goes on");
    for link in [LINK, "/another"] {
        scene.server.set(link, Page::Body(Vec::new()));
    }
    gateway
        .wait_until("/api/v1/journal", |answer| answer.json().to_string().contains("subscription.confirmed"));
    assert!(until(|| gateway.metric("douane_confirmations_waiting") < 0.1));
    let shown = show(&data, scene.mappings.path());
    assert!(shown.contains("confirmed at") && !shown.contains("Token"), "{shown}");
}

fn show(data: &Path, mappings: &Path) -> String {
    run_in(data, mappings, &["partner", "show", "lab"]).out
}
