//! Every preset's handshakes, played as the provider plays them: by cases that are files (`tests/handshakes/<preset>.toml`), over
//! sockets to two replicas of the real binary, with a server on this machine for the hosts of providers. `tests/handshakes/README.md`
//! says what a case holds; adding one needs no code.

use std::{collections::BTreeMap, fs, path::Path};

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    rsa::KeyPair as RsaKeyPair,
    signature::{Ed25519KeyPair, RSA_PKCS1_SHA256},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use douane::signatures::presets;
use form_urlencoded::byte_serialize;
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use serde::Deserialize;

use crate::{
    process::Process,
    servers::{
        postgres::Postgres,
        process::until,
        tls::{Authority, Page, TlsServer},
    },
    several::ALL,
    site::Site,
    wire::{self, Answer},
};

/// What strangers would have sent back to a browser, or signed as if it were a delivery.
const HARMFUL: [&str; 4] = [
    "<script>alert(1)</script>",
    r#"{"id":"1","type":"payout"}"#,
    "v0:1700000000:{}",
    "1700000000.{\"a\":1}",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// Where the provider documents it.
    docs: String,
    /// The secrets of the endpoint by what they are `for`; that of the signature by `signature`.
    #[serde(default)]
    secrets: BTreeMap<String, String>,
    /// A public key in place of a secret.
    public_key: Option<String>,
    #[serde(default)]
    parameters: BTreeMap<String, String>,
    public_url: Option<String>,
    provider: Option<Provider>,
    step: Vec<Step>,
}

/// The provider's host, as far as we fetch from it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Provider {
    host: String,
    /// Where its certificate lies, which is made for this name; the key signs as `algorithm = "rsa-sha256"`.
    certificate: String,
    subject: String,
    /// A path that answers 503 first, and then 200.
    link: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    says: String,
    /// What a person does: `arm`, `reveal`.
    act: Option<String>,
    /// What `reveal` shows.
    shows: Option<String>,
    #[serde(default = "post")]
    method: String,
    #[serde(default)]
    query: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    sign: Option<Sign>,
    /// The text `$challenge`, in whose place harmful ones are tried, too.
    challenge: Option<String>,
    /// It goes to the second replica, as soon as that knows.
    #[serde(default)]
    second_replica: bool,
    answer: Option<Expected>,
    /// The provider's link was visited, and the subscription is confirmed.
    #[serde(default)]
    confirms: bool,
}

fn post() -> String {
    "POST".to_owned()
}

/// How the provider signs, by its documentation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sign {
    algorithm: String,
    #[serde(default)]
    key: String,
    text: String,
    #[serde(rename = "as")]
    form: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    status: u16,
    /// Of a refusal.
    code: Option<String>,
    /// Each is there with just this value; an empty one is not there.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The whole body; `None`: whatever it is, as of a delivery.
    body: Option<String>,
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/handshakes")
}

fn cases() -> BTreeMap<String, Case> {
    let files = fs::read_dir(folder()).expect("cases").map(|entry| entry.expect("readable").path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    let read = files.map(|path| {
        let preset = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        let text = fs::read_to_string(&path).expect("readable");
        let case = toml::from_str(&text).unwrap_or_else(|error| panic!("{preset}: {error}"));
        (preset, case)
    });
    read.collect()
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn variable(preset: &str, purpose: &str) -> String {
    format!("{preset}_{purpose}").to_ascii_uppercase().replace('-', "_")
}

impl Case {
    /// The partner of this preset, as a platform team would write it.
    fn partner(&self, preset: &str) -> String {
        let entry = |purpose: &String| {
            let from = format!("id = \"{purpose}\", from = \"env:{}\"", variable(preset, purpose));
            if purpose == "signature" {
                format!("{{ {from} }}")
            } else {
                format!("{{ {from}, for = \"{purpose}\" }}")
            }
        };
        let mut secrets: Vec<_> = self.secrets.keys().map(entry).collect();
        secrets.extend(
            self.public_key.iter().map(|key| format!("{{ id = \"key\", public_key = {} }}", quoted(key))),
        );
        let parameters = self.parameters.iter().map(|(name, value)| format!("{name} = {}", quoted(value)));
        let parameters: Vec<_> = parameters.collect();
        let mut text = format!(
            "name = \"{preset}\"\nowner = \"tests\"\n[signature]\npreset = \"{preset}\"\n[[endpoint]]\nname = \"default\"\nparameters = {{ {} }}\n",
            parameters.join(", ")
        );
        if !secrets.is_empty() {
            text += &["secrets = [", &secrets.join(", "), "]\n"].concat();
        }
        if let Some(url) = &self.public_url {
            text += &["public_url = ", &quoted(url), "\n"].concat();
        }
        text + "[[ignore]]\non = [\"*\"]\nwhy = \"nobody listens to it\"\n"
    }
}

/// What signs for the host of a provider, and the host.
struct Host {
    key: RsaKeyPair,
    server: TlsServer,
    link: String,
}

struct Scene {
    site: Site,
    first: Process,
    second: Process,
    hosts: BTreeMap<String, Host>,
}

impl Scene {
    fn of(cases: &BTreeMap<String, Case>) -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let authority = Authority::new("the test's own");
        let hosts: BTreeMap<_, _> = cases
            .iter()
            .filter_map(|(preset, case)| Some((preset.clone(), host(case.provider.as_ref()?, &authority))))
            .collect();
        let connect: Vec<_> = cases
            .iter()
            .filter_map(|(preset, case)| {
                Some(hosts.get(preset)?.server.connect_to(&case.provider.as_ref()?.host))
            })
            .collect();
        let keys = format!(
            "[keys]\nconnect_to = {connect:?}\nextra_roots = \"{}\"\n",
            authority.file(home.path()).display()
        );
        let pace = "[publication]\nmax_backoff = \"100ms\"\n";
        let site = Site::on(Postgres::with(&["fsync=on"]), &format!("{keys}{pace}"));
        site.verb("ledger", &["ledger", "migrate"]).ended(0);
        for (preset, case) in cases {
            let folder = site.mappings.path().join("partners").join(preset);
            fs::create_dir_all(&folder).expect("made");
            fs::write(folder.join("partner.toml"), case.partner(preset)).expect("written");
        }
        let environment: Vec<_> = cases
            .iter()
            .flat_map(|(preset, case)| {
                case.secrets.iter().map(move |(purpose, secret)| (variable(preset, purpose), secret.clone()))
            })
            .collect();
        let environment: Vec<_> =
            environment.iter().map(|(name, secret)| (name.as_str(), secret.as_str())).collect();
        let start = |name: &str| {
            site.start_with(name, &[environment.as_slice(), &[("DOUANE_PROCESS_ROLES", ALL)]].concat())
        };
        let (first, second) = (start("first"), start("second"));
        drop(home);
        Self { site, first, second, hosts }
    }

    /// Plays one step; what is not as it should be.
    fn play(&self, preset: &str, step: &Step) -> Result<(), String> {
        match step.act.as_deref() {
            Some("arm") => return self.verb(&["partner", "arm", preset]).map(drop),
            Some("reveal") => {
                let shown = self.verb(&["partner", "reveal", preset])?;
                let due = step.shows.clone().unwrap_or_default();
                return if shown.trim_end() == due { Ok(()) } else { Err(format!("shows {shown:?}")) };
            }
            Some(other) => return Err(format!("nobody does {other:?}")),
            None => {}
        }
        let expected = step.answer.as_ref().ok_or("it expects nothing")?;
        let challenge = step.challenge.as_deref().unwrap_or_default();
        let mut told = self.ask(preset, step, challenge);
        if step.second_replica {
            until(|| {
                told = self.ask(preset, step, challenge);
                told.status == expected.status
            });
        }
        expected.hold(&told)?;
        for harmful in HARMFUL.iter().filter(|_| step.challenge.is_some()) {
            let told = self.ask(preset, step, harmful);
            let body = String::from_utf8_lossy(&told.body);
            if told.code() != "unsafe_handshake" || body.contains(harmful) || told.head.contains(harmful) {
                return Err(format!("{harmful:?} is answered {} {body}", told.status));
            }
        }
        if step.confirms { self.confirmed(preset) } else { Ok(()) }
    }

    fn verb(&self, arguments: &[&str]) -> Result<String, String> {
        let ran = self.site.verb("first", arguments);
        if ran.code == Some(0) { Ok(ran.out) } else { Err(format!("{arguments:?}: {}", ran.err)) }
    }

    fn ask(&self, preset: &str, step: &Step, challenge: &str) -> Answer {
        let now = wire::now_seconds();
        let text = |text: &str, challenge: &str| {
            text.replace("$challenge", challenge)
                .replace(
                    "$now_rfc3339",
                    &douane::model::Timestamp::from_seconds(now).expect("a time").to_string(),
                )
                .replace("$now_ms", &(now * 1_000).to_string())
                .replace("$now", &now.to_string())
        };
        let as_json = serde_json::to_string(challenge).expect("a string");
        let mut body = text(&step.body, &as_json[1..as_json.len() - 1]);
        let query = text(&step.query, &byte_serialize(challenge.as_bytes()).collect::<String>());
        let target = format!("/in/{preset}{query}");
        let mut signature = String::new();
        if let Some(sign) = &step.sign {
            let signed = text(&sign.text, challenge).replace("$body", &body);
            let made = match sign.algorithm.as_str() {
                "rsa-sha256" => sign_rsa(&self.hosts[preset].key, signed.as_bytes()),
                algorithm => sign_with(algorithm, &sign.key, signed.as_bytes()),
            };
            signature = match sign.form.as_str() {
                "hex" => hex::encode(made),
                "base64" => STANDARD.encode(made),
                other => panic!("{preset}: nothing is written as {other:?}"),
            };
        }
        body = body.replace("$signature", &signature);
        let headers: Vec<_> = step
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), text(value, challenge).replace("$signature", &signature)))
            .collect();
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let gateway = if step.second_replica { &self.second } else { &self.first };
        wire::exchange(gateway.public, &step.method, &target, &headers, body.as_bytes())
    }

    /// The link is visited until it answers, and then it is said to be confirmed.
    fn confirmed(&self, preset: &str) -> Result<(), String> {
        let host = &self.hosts[preset];
        // The certificate, and two visits that fail.
        if !until(|| host.server.requests() >= 3) {
            return Err("its link is not visited again".to_owned());
        }
        host.server.set(&host.link, Page::Body(b"<ConfirmSubscriptionResponse/>".to_vec()));
        let said = || self.site.verb("first", &["partner", "show", preset]).out;
        if until(|| said().contains("confirmed at")) { Ok(()) } else { Err(said()) }
    }
}

fn host(provider: &Provider, authority: &Authority) -> Host {
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key");
    let certificate = authority.certify(&[&provider.subject], &key, |_| {});
    let server = TlsServer::start(authority, &[&provider.host]);
    server.set(&provider.certificate, Page::Body(certificate.pem().into_bytes()));
    server.set(&provider.link, Page::Status(503, String::new()));
    let key = RsaKeyPair::from_pkcs8(&key.serialize_der()).expect("the same key");
    Host { key, server, link: provider.link.clone() }
}

fn sign_rsa(key: &RsaKeyPair, signed: &[u8]) -> Vec<u8> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed, &mut signature).expect("signs");
    signature
}

fn sign_with(algorithm: &str, key: &str, signed: &[u8]) -> Vec<u8> {
    let hmac = |algorithm| hmac::sign(&hmac::Key::new(algorithm, key.as_bytes()), signed).as_ref().to_vec();
    match algorithm {
        "hmac-sha1" => hmac(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
        "hmac-sha256" => hmac(hmac::HMAC_SHA256),
        "ed25519" => {
            let seed = hex::decode(key).expect("a seed in hex");
            let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("a seed");
            pair.sign(signed).as_ref().to_vec()
        }
        other => panic!("no provider signs with {other:?} here"),
    }
}

impl Expected {
    fn hold(&self, told: &Answer) -> Result<(), String> {
        let body = String::from_utf8_lossy(&told.body).into_owned();
        if told.status != self.status {
            return Err(format!("answered {} {body}", told.status));
        }
        if let Some(code) = &self.code {
            return if told.code() == *code { Ok(()) } else { Err(format!("answered {body}")) };
        }
        for (name, due) in &self.headers {
            if told.header(name) != due {
                return Err(format!("{name} is {:?}", told.header(name)));
            }
        }
        match &self.body {
            Some(due) if *due != body => Err(format!("the body is {body:?}")),
            Some(_) if told.header("x-content-type-options") != "nosniff" => {
                Err("a browser may guess".to_owned())
            }
            _ => Ok(()),
        }
    }
}

#[test]
fn every_preset_with_a_handshake_has_a_case_and_no_other() {
    let with: Vec<_> = presets::all()
        .iter()
        .filter(|preset| !preset.file().expect("a preset").handshake.is_empty())
        .map(|preset| preset.name.to_owned())
        .collect();
    let cases = cases();
    assert_eq!(cases.keys().cloned().collect::<Vec<_>>(), with, "tests/handshakes/<preset>.toml");
    for (preset, case) in &cases {
        assert!(case.docs.starts_with("https://"), "{preset}");
        let refused = |step: &Step| {
            step.challenge.is_some() || step.answer.as_ref().is_some_and(|it| it.code.is_some())
        };
        let file = presets::find(preset).expect("a preset").file().expect("a preset");
        let guarded = file.handshake.iter().any(|table| {
            ["token", "one_of", "learn", "confirm", "echo"].iter().any(|key| table.contains_key(*key))
        });
        assert!(
            !guarded || case.step.iter().any(refused),
            "{preset}: what its handshake refuses is not played"
        );
        let learns = file.handshake.iter().any(|table| table.contains_key("learn"));
        assert!(!learns || case.step.iter().any(|step| step.second_replica), "{preset}: no second replica");
        let confirms = file.handshake.iter().any(|table| table.contains_key("confirm"));
        assert_eq!(confirms, case.step.iter().any(|step| step.confirms), "{preset}: is it confirmed?");
    }
}

#[test]
fn every_handshake_is_answered_as_its_provider_expects() {
    let cases = cases();
    let scene = Scene::of(&cases);
    let mut wrong = Vec::new();
    for (preset, case) in &cases {
        for step in &case.step {
            if let Err(why) = scene.play(preset, step) {
                wrong.push(format!("{preset}: {}: {why}", step.says));
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let secrets = cases.values().flat_map(|case| case.secrets.values()).filter(|secret| secret.len() > 8);
    for secret in secrets {
        assert_eq!(scene.first.told(secret) + scene.second.told(secret), 0, "a secret stands in a log");
    }
}
