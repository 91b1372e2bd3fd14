//! Links that are visited because a partner's handshake asked for it: again and again while they are good, across restarts,
//! and never by anything but the stage that is made for it.

use std::{fs, path::Path, time::Duration};

use douane::{
    app::Rehearsal,
    config::Config,
    ledger::{Confirmation, ConfirmationState},
    model::{EndpointName, RawRequest},
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
    let body = body(&format!("https://{HOST}{LINK}"));
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

#[test]
fn a_crash_between_two_visits_only_repeats_them() {
    let scene = Scene::new();
    let (data, config) = (scene.folder.path().join("data"), scene.config_file());
    let environment =
        [("LAB_SECRET", "a real secret, of the same length"), ("DOUANE_CONFIG", config.as_str())];
    let start = || Process::start_with(&data, scene.mappings.path(), &environment);
    let ask = |gateway: &Process| {
        let body = body(&format!("https://{HOST}{LINK}"));
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
    assert_eq!(ask(&gateway).status, 200);
    assert!(until(|| gateway.metric("douane_confirmation_retries_total") >= 2.0), "it is tried again");
    assert!((gateway.metric("douane_confirmations_waiting") - 1.0).abs() < 0.1);
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
    scene.server.set(LINK, Page::Body(Vec::new()));
    gateway
        .wait_until("/api/v1/journal", |answer| answer.json().to_string().contains("subscription.confirmed"));
    assert!(until(|| gateway.metric("douane_confirmations_waiting") < 0.1));
    let shown = show(&data, scene.mappings.path());
    assert!(shown.contains("confirmed at") && !shown.contains("Token"), "{shown}");
}

fn show(data: &Path, mappings: &Path) -> String {
    run_in(data, mappings, &["partner", "show", "lab"]).out
}
