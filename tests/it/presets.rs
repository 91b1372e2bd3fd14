//! `douane partner presets` and `douane partner new`: every preset is listed, and gives a partner that works without an edit.

use std::{fs, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use douane::{
    model::Secret,
    signatures::{Scheme, presets},
};
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
    let found = verb(&["partner", "presets", "whatsapp", "--format", "json"]).ended(0).json();
    assert_eq!((found.as_array().map(Vec::len), &found[0]["name"]), (Some(1), &Value::from("meta")));
    assert!(verb(&["partner", "presets", "initech"]).ended(0).out.contains("Spell a signature out"));
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

/// A secret of a preset that is no development secret: of its vectors the one that is not genuine.
struct Real {
    /// What the gateway is given: the secret, or the public key as the provider shows it.
    secret: String,
    /// What signs for it, or in the place of keys that are fetched, where it is a public key.
    private_key: Option<String>,
}

impl Real {
    fn of(preset: &presets::Preset) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/vectors/{}.json", preset.name));
        let file: Value =
            serde_json::from_slice(&fs::read(path).expect("every preset has vectors")).expect("JSON");
        let mut vectors = file["vectors"].as_array().expect("vectors").iter();
        let wrong = vectors.find(|vector| vector["name"] == "wrong secret");
        let secret = wrong.and_then(|vector| vector["secrets"][0].as_str()).map(str::to_owned);
        let private_key = file["private_keys"][1].as_str().map(str::to_owned);
        let of_private = || private_key.as_deref().map(public_half);
        Self {
            secret: secret.or_else(of_private).unwrap_or_else(|| panic!("{} has no other key", preset.name)),
            private_key,
        }
    }
}

/// The public half of a key, in PEM: what stands in for keys that are fetched.
fn public_half(private_key: &str) -> String {
    let half = |algorithm: &str| {
        let rest = "secret = { as = 'pem' }\nvalue = { path = 'header.s', as = 'hex' }\nmessage = '{body}'\nassurance = 'full'";
        let scheme = Scheme::parse(&format!("algorithm = '{algorithm}'\n{rest}")).expect("a scheme");
        scheme.development_key("other", &Secret::new(private_key)).ok()
    };
    let key = ["rsa-pkcs1-sha256", "ecdsa-p521-sha512"].into_iter().find_map(half).expect("a private key");
    let der = key.public_der().expect("a public key");
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
}

/// Whether a preset's keys are fetched: then its folder has a key to pin in their place, which does not count yet.
fn is_published(preset: &presets::Preset) -> bool {
    preset.text.contains("\nkeys = ")
}

/// The folders of every preset, as `partner new` writes them.
fn new_partners() -> Folders {
    let folders = Folders::new();
    for preset in presets::all() {
        folders.new_partner(preset.name, preset.name).ended(0);
    }
    folders
}

/// What `check` warns of, but for what the gateway is not given yet.
fn warnings(folders: &Folders, environment: &[(&str, &str)]) -> Vec<(String, String)> {
    let (mappings, fixtures) = (folders.path("mappings"), folders.path("fixtures"));
    let arguments = ["check", "--mappings", &mappings, "--fixtures", &fixtures, "--format", "json"];
    let output = douane().args(arguments).envs(environment.iter().copied()).output();
    let report = Ran::from(output.expect("the binary runs")).ended(0).json();
    let text = |warning: &Value, key: &str| warning[key].as_str().expect("text").to_owned();
    let warnings = report["warnings"].as_array().expect("warnings").iter();
    warnings.map(|warning| (text(warning, "code"), text(warning, "message"))).collect()
}

#[test]
fn every_preset_gives_a_partner_that_passes_check_and_its_first_case() {
    let folders = new_partners();
    let tolerated = ["not_configured", "sample_value"];
    let other: Vec<_> =
        warnings(&folders, &[]).into_iter().filter(|(code, _)| !tolerated.contains(&code.as_str())).collect();
    assert!(other.is_empty(), "{other:?}");
    let (mappings, fixtures) = (folders.path("mappings"), folders.path("fixtures"));
    let played = verb(&["test", "--mappings", &mappings, "--fixtures", &fixtures]).ended(0);
    assert!(played.out.contains(": 0 not as expected"), "{}", played.out);
    for preset in presets::all() {
        let expected = Path::new(&fixtures).join(preset.name).join("first-delivery/expected.json");
        let expected: Value = serde_json::from_slice(&fs::read(expected).expect("a case")).expect("JSON");
        let request = &expected["requests"][0];
        let outcomes = request["outcomes"].as_array().expect("its events are identified");
        assert!(!outcomes.is_empty() && request["status"].as_u64() < Some(300), "{}: {request}", preset.name);
        assert!(request["sign"] == "valid", "{}: {request}", preset.name);
        for outcome in outcomes {
            assert_eq!(outcome["outcome"], "unmapped", "{}: {outcome}", preset.name);
        }
    }
}

/// Puts the secrets of a partner where they belong: into the environment and, where a key is pinned, into partner.toml.
fn put_secret(folders: &Folders, preset: &presets::Preset, real: &Real) -> Vec<(String, String)> {
    let path = folders.path(&format!("mappings/partners/{}/partner.toml", preset.name));
    let mut file = fs::read_to_string(&path).expect("a partner");
    if is_published(preset) {
        file = file.replace("\n# secrets = ", "\nsecrets = ").replace("\n  # { id = ", "\n  { id = ");
        fs::write(&path, &file).expect("written");
    }
    let names = file.split("\"env:").skip(1).filter_map(|after| after.split('"').next());
    // Beside a secret there may be a pinned key.
    let pinned = real.private_key.as_deref().filter(|_| is_published(preset)).map(public_half);
    let of = |name: &str| {
        pinned.clone().filter(|_| name.contains("_PUBLIC_KEY")).unwrap_or_else(|| real.secret.clone())
    };
    names.map(|name| (name.to_owned(), of(name))).collect()
}

/// How many values of the folder that `partner new` writes are nobody's.
fn made_up_values(preset: &presets::Preset) -> usize {
    let address = preset.sample().expect("a sample").signs_its_address;
    preset.made_up_parameters().expect("parameters").len() + usize::from(address)
}

#[test]
fn a_made_up_value_is_told_until_it_is_replaced() {
    let folders = Folders::new();
    folders.new_partner("orders", "aws-sns").ended(0);
    let (mappings, fixtures) = (folders.path("mappings"), folders.path("fixtures"));
    let check =
        |more: &[&str]| verb(&[&["check", "--mappings", &mappings, "--fixtures", &fixtures], more].concat());
    let strict = check(&["--strict"]).ended(1);
    let path = folders.path("mappings/partners/orders/partner.toml");
    let written = fs::read_to_string(&path).expect("written");
    let line = written.lines().position(|line| line.starts_with("parameters.topic_arn")).expect("a line") + 1;
    let place = format!("warning: partners/orders/partner.toml:{line}:");
    for text in [&place, "the topic_arn of `default` is made up", "SNS console → Topics → the topic: its ARN"]
    {
        assert!(strict.out.contains(text), "{text} is missing:\n{}", strict.out);
    }
    assert!(written.lines().nth(line - 2).is_some_and(|note| note.starts_with("# Made up")), "{written}");
    let doctor = ["doctor", "--strict", "--data-dir", &folders.path("data"), "--mappings", &mappings];
    let doctor = verb(&doctor).ended(1);
    assert!(doctor.out.contains("the topic_arn of `default` is made up"), "{}", doctor.out);
    fs::write(&path, written.replace("123456789012:orders", "210987654321:orders")).expect("written");
    check(&["--strict"]).ended(0);

    folders.new_partner("texts", "twilio").ended(0);
    let strict = check(&["--strict"]).ended(1);
    assert!(strict.out.contains("the public_url of `default` is made up"), "{}", strict.out);
}

#[test]
fn a_preset_among_several_asks_for_its_parameters_and_a_made_up_one_is_told() {
    let folders = Folders::new();
    folders.new_partner("orders", "aws-sns").ended(0);
    let path = folders.path("mappings/partners/orders/partner.toml");
    let (mappings, fixtures) = (folders.path("mappings"), folders.path("fixtures"));
    let check = |parameters: &str| {
        let file = format!(
            r#"name = "O"
owner = "t"
[signature]
any_of = [
  {{ preset = "aws-sns", when = {{ present = "header.x-amz-sns-message-type" }} }},
  {{ preset = "github" }},
]
[[endpoint]]
secrets = [{{ id = "main", from = "env:O", for = "github" }}]
{parameters}
[identify]
event_type = "body.Type"
[test.secrets]
main = "a development secret"
"#
        );
        fs::write(&path, file).expect("written");
        verb(&["check", "--mappings", &mappings, "--fixtures", &fixtures])
    };
    let missing = check("").ended(1);
    for text in ["has no parameter \"topic_arn\"", "SNS console → Topics → the topic: its ARN"] {
        assert!(missing.out.contains(text), "{text} is missing:\n{}", missing.out);
    }
    let made_up = check(r#"parameters.topic_arn = "arn:aws:sns:eu-central-1:123456789012:orders""#).ended(0);
    assert!(made_up.out.contains("the topic_arn of `default` is made up"), "{}", made_up.out);
    let own = check(r#"parameters.topic_arn = "arn:aws:sns:eu-central-1:210987654321:orders""#).ended(0);
    assert!(!own.out.contains("made up"), "{}", own.out);
}

#[test]
fn every_preset_receives_its_first_delivery_with_no_edit_but_its_secret() {
    let folders = new_partners();
    let reals: Vec<_> = presets::all().iter().map(|preset| (preset, Real::of(preset))).collect();
    let environment: Vec<_> =
        reals.iter().flat_map(|(preset, real)| put_secret(&folders, preset, real)).collect();
    let pairs: Vec<_> = environment.iter().map(|(name, secret)| (name.as_str(), secret.as_str())).collect();
    let (pinned, other): (Vec<_>, Vec<_>) =
        warnings(&folders, &pairs).into_iter().partition(|(code, _)| code == "pinned_key");
    assert_eq!(pinned.len(), presets::all().iter().filter(|preset| is_published(preset)).count());
    let made_up = presets::all().iter().map(made_up_values).sum::<usize>();
    assert!(other.iter().all(|(code, _)| code == "sample_value") && other.len() == made_up, "{other:?}");
    let (data, mappings) = (folders.path("data"), folders.path("mappings"));
    let gateway = Process::start_with(Path::new(&data), Path::new(&mappings), &pairs);
    for (preset, real) in &reals {
        let sent = send(&folders, &gateway, preset, real, &pairs);
        assert_eq!(sent.code, Some(0), "{}: {}{}", preset.name, sent.out, sent.err);
    }
    gateway.wait_until("/api/v1/deliveries?limit=1000", |answer| {
        let page: Value = serde_json::from_slice(&answer.body).expect("JSON");
        page["items"].as_array().expect("deliveries").iter().all(|row| row["waiting"] == false)
    });
    let page: Value =
        serde_json::from_slice(&gateway.get("/api/v1/deliveries?limit=1000").body).expect("JSON");
    let rows = page["items"].as_array().expect("deliveries");
    for preset in presets::all() {
        let mut own = rows.iter().filter(|row| row["partner"] == preset.name);
        let (Some(row), None) = (own.next(), own.next()) else { panic!("{}: one delivery", preset.name) };
        let events = row["external_events"].as_array().expect("events");
        assert!(!events.is_empty(), "{}: {row}", preset.name);
        // The folder has no mapping yet, and says that until then events end so.
        assert!(events.iter().all(|event| event["outcome"] == "unmapped"), "{}: {row}", preset.name);
    }
}

#[test]
fn a_partner_is_shown_with_what_is_really_signed_and_whence_its_keys_come() {
    let folders = Folders::new();
    for (preset, lines) in [
        (
            "google-pubsub",
            &[
                "signed is     nothing of the request: it is known who sends, not what",
                "algorithm     jwt: RS256",
                "signed text   header and claims of the token",
                "demanded      claim aud is \"https://hooks.example.com/in/google-pubsub\"",
                "keys          fetched from https://www.googleapis.com/oauth2/v3/certs",
                "parameter     email = \"push@example.iam.gserviceaccount.com\"",
            ][..],
        ),
        (
            "aws-sns",
            &[
                "signed text   name and value, each a line, of Message, MessageId, Subject",
                "demanded      body.TopicArn is arn:aws:sns:",
                "keys          fetched from https://sns.{region}.amazonaws.com/SimpleNotificationService-*.pem",
            ],
        ),
        ("telegram", &["signed is     nothing\n", "signed text   nothing: the secret itself is sent"]),
        ("gitlab", &["signed is     nothing that each of the schemes signs"]),
        ("square", &["our address   https://hooks.example.com\n"]),
        ("ebay", &["signature     header.x-ebay-signature, \"signature\" of its JSON in base64"]),
        (
            "meta",
            &[
                "secret        first from env:META_WEBHOOK_SECRET, matched none of the latest 500 deliveries\n",
                "secret        verify from env:META_WEBHOOK_SECRET_VERIFY, for verify, used by its handshakes, of which none is kept\n",
            ],
        ),
    ] {
        folders.new_partner(preset, preset).ended(0);
        let (mappings, data) = (folders.path("mappings"), folders.path("data"));
        let shown = verb(&["partner", "show", preset, "--mappings", &mappings, "--data-dir", &data]).ended(0);
        for line in lines {
            assert!(shown.out.contains(&format!("  {line}")), "{line} is missing:\n{}", shown.out);
        }
    }
}

/// Posts the first case of a partner, as a person would.
fn send(
    folders: &Folders,
    gateway: &Process,
    preset: &presets::Preset,
    real: &Real,
    environment: &[(&str, &str)],
) -> Ran {
    let (to, case) = (format!("http://{}", gateway.public), format!("{}/first-delivery", preset.name));
    let (mappings, fixtures) = (folders.path("mappings"), folders.path("fixtures"));
    let mut command = douane();
    command.args(["send", &case, "--to", &to, "--real-secrets"]).envs(environment.iter().copied());
    command.args(["--mappings", &mappings, "--fixtures", &fixtures]);
    if let Some(private_key) = &real.private_key {
        let path = folders.path("private-key");
        fs::write(&path, private_key).expect("written");
        command.args(["--private-key", &path]);
    }
    command.output().expect("the binary runs").into()
}

#[test]
fn nothing_is_overwritten_and_no_preset_is_guessed() {
    let folders = Folders::new();
    folders.new_partner("initech", "github").ended(0);
    let again = folders.new_partner("initech", "github").ended(2);
    assert!(again.err.contains("nothing is overwritten"), "{}", again.err);
    for (preset, meant) in [
        ("githib", "did you mean \"github\" (GitHub)"),
        ("whatsapp", "did you mean \"meta\" (Meta (Facebook, Instagram, WhatsApp))?"),
        ("initech", "`douane partner presets` lists them"),
    ] {
        let refused = folders.new_partner("hooli", preset).ended(2);
        assert!(refused.err.contains(meant), "{}", refused.err);
    }
    let nowhere = folders.path("nowhere");
    let refused = verb(&["partner", "new", "hooli", "--preset", "github", "--mappings", &nowhere]).ended(2);
    assert!(refused.err.contains("there is no folder") && !Path::new(&nowhere).exists(), "{}", refused.err);
    folders.new_partner("Hooli/..", "github").ended(2);
}
