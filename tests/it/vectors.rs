//! Every preset against requests that an implementation of its own has signed (`tests/vectors/<preset>.json`, by generate.py and make.py),
//! and against the vectors that providers published themselves. Each goes through the public door of a gateway that has this one
//! partner, as a delivery would.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use douane::{
    app::{Answered, Rehearsal},
    config::Config,
    model::{self, EndpointName, Headers, OutcomeKind, RawRequest, Timestamp},
    partners::{STAND_IN, SignatureCheck},
    signatures::{Key, SampleSecret, presets},
};
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;
use tempfile::TempDir;

use crate::{
    explained::amiss,
    servers::tls::{Authority, Page, TlsServer},
};

/// What `tests/vectors/<preset>.json` holds; make.py says what each key means.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VectorFile {
    preset: String,
    public_url: Option<String>,
    #[serde(default)]
    parameters: BTreeMap<String, String>,
    #[serde(default)]
    public_keys: bool,
    #[serde(default)]
    private_keys: Vec<String>,
    #[serde(default, rename = "roots")]
    _roots: Vec<String>,
    #[serde(default)]
    documents: BTreeMap<String, String>,
    vectors: Vec<Vector>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    name: String,
    #[serde(rename = "source")]
    _source: String,
    secrets: Vec<String>,
    #[serde(default, rename = "for")]
    uses: Vec<String>,
    now: i64,
    target: Option<String>,
    headers: Vec<(String, String)>,
    body: String,
    body_base64: Option<String>,
    expect: String,
    matches: Option<usize>,
}

/// The status of what did not go through a door.
const PAST_THE_DOOR: u16 = 0;

/// How a vector must end, beside `valid`: a code, or any refusal that is the sender's.
const REFUSED: &str = "refused";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds).expect("in range")
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// The secrets that a preset needs beside those for these uses. What stands in for published keys is none: they are fetched.
fn others<'a>(sample: &'a [SampleSecret], uses: &'a [String]) -> impl Iterator<Item = Secret<'a>> {
    let each = |secret: &'a SampleSecret| secret.purposes.iter().map(move |name| (name, &secret.development));
    let of_others = sample
        .iter()
        .filter(|secret| secret.id != STAND_IN)
        .flat_map(each)
        .filter(|(name, _)| !uses.contains(name));
    of_others.map(|(name, development)| Secret { purpose: Some(name), development })
}

/// One partner that is read from a preset, or from a signature spelled out.
struct Partner<'a> {
    name: &'a str,
    signature: String,
    secrets: Vec<Secret<'a>>,
    parameters: &'a BTreeMap<String, String>,
    public_url: Option<&'a str>,
}

struct Secret<'a> {
    purpose: Option<&'a str>,
    development: &'a str,
}

impl Partner<'_> {
    /// Its mappings folder.
    fn folder(&self) -> TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let partner = folder.path().join("partners").join(self.name);
        fs::create_dir_all(&partner).expect("made");
        fs::create_dir_all(folder.path().join("contracts")).expect("made");
        fs::write(partner.join("partner.toml"), self.file()).expect("written");
        folder
    }

    fn file(&self) -> String {
        let secrets: Vec<String> =
            self.secrets.iter().enumerate().map(|(id, secret)| secret.entry(id)).collect();
        let mut lines = vec![
            "owner = 'tests'\n[signature]".to_owned(),
            self.signature.clone(),
            "[[endpoint]]\nname = 'default'".to_owned(),
        ];
        lines.extend((!secrets.is_empty()).then(|| format!("secrets = [{}]", secrets.join(", "))));
        lines.extend(self.public_url.map(|url| format!("public_url = {}", quoted(url))));
        let parameters = self.parameters.iter();
        lines.extend(parameters.map(|(name, value)| format!("parameters.{name} = {}", quoted(value))));
        lines.push("[test.secrets]".to_owned());
        let secrets = self.secrets.iter().enumerate();
        lines.extend(secrets.map(|(id, secret)| format!("{id} = {}", quoted(secret.development))));
        lines.join("\n")
    }
}

impl Secret<'_> {
    fn entry(&self, id: usize) -> String {
        let purpose = self.purpose.map(|purpose| format!(", for = '{purpose}'")).unwrap_or_default();
        format!("{{ id = '{id}', from = 'env:NOT_LOOKED_AT'{purpose} }}")
    }
}

impl VectorFile {
    fn of(preset: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/vectors/{preset}.json"));
        let text = fs::read_to_string(path).unwrap_or_else(|error| {
            panic!("every preset has vectors; {preset}: {error}; see tests/vectors/make.py")
        });
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{preset}: {error}"))
    }

    /// The vectors that are sent to the same endpoint, by its secrets, in the order of their times.
    fn by_secrets(&self) -> BTreeMap<(&[String], &[String]), Vec<&Vector>> {
        let mut groups: BTreeMap<_, Vec<&Vector>> = BTreeMap::new();
        for vector in &self.vectors {
            groups.entry((vector.secrets.as_slice(), vector.uses.as_slice())).or_default().push(vector);
        }
        for vectors in groups.values_mut() {
            vectors.sort_by_key(|vector| vector.now);
        }
        groups
    }

    fn partner<'a>(
        &'a self,
        secrets: &'a [String],
        uses: &'a [String],
        sample: &'a [SampleSecret],
    ) -> Partner<'a> {
        let purposes = uses.iter().map(|purpose| Some(purpose.as_str())).chain(std::iter::repeat(None));
        let own = secrets.iter().zip(purposes).map(|(secret, purpose)| self.secret(secret, purpose));
        Partner {
            name: &self.preset,
            signature: format!("preset = '{}'", self.preset),
            secrets: own.chain(others(sample, uses)).collect(),
            parameters: &self.parameters,
            public_url: self.public_url.as_deref(),
        }
    }

    /// A secret; where it is a public key, what signs for it is the private one, which a test has.
    fn secret<'a>(&'a self, secret: &'a str, purpose: Option<&'a str>) -> Secret<'a> {
        if !self.public_keys {
            return Secret { purpose, development: secret };
        }
        let genuine = self
            .vectors
            .first()
            .is_some_and(|vector| vector.secrets.first().is_some_and(|first| first == secret));
        let development = &self.private_keys[usize::from(!genuine)];
        Secret { purpose, development }
    }
}

impl Vector {
    fn request(&self, preset: &str) -> RawRequest {
        let decoded = self.body_base64.as_ref().map(|text| STANDARD.decode(text).expect("base64"));
        let mut headers = Headers::default();
        for (name, value) in &self.headers {
            headers.push(name, value.clone());
        }
        RawRequest {
            method: "POST".to_owned(),
            target: self.target.clone().unwrap_or_else(|| format!("/in/{preset}")),
            version: "HTTP/1.1".to_owned(),
            headers,
            body: Bytes::from(decoded.unwrap_or_else(|| self.body.clone().into_bytes())),
            peer: None,
        }
    }

    fn differs(&self, answered: &Answered) -> Option<String> {
        let found = answered.refusal.as_deref().unwrap_or("valid");
        let as_expected = match self.expect.as_str() {
            REFUSED => answered.refusal.is_some() && (400..500).contains(&answered.status),
            expected => expected == found,
        };
        (!as_expected)
            .then(|| format!("{}: expected {}, found {found} ({})", self.name, self.expect, answered.status))
    }
}

/// A provider that publishes its keys, on this machine.
struct Publishing {
    host: String,
    server: TlsServer,
    authority: Authority,
    folder: TempDir,
}

impl Publishing {
    /// The provider of a file of vectors; `None` where its keys are the endpoint's own.
    fn of(file: &VectorFile) -> Option<Self> {
        let host = |url: &String| url.split('/').nth(2).map(str::to_owned);
        let host = file.documents.keys().find_map(host)?;
        let authority = Authority::new("the vectors' own");
        let server = TlsServer::start(&authority, &[&host]);
        for (url, document) in &file.documents {
            let path = url.trim_start_matches("https://").trim_start_matches(host.as_str());
            server.set(path, Page::Body(document.clone().into_bytes()));
        }
        Some(Self { host, server, authority, folder: tempfile::tempdir().expect("a folder") })
    }

    async fn begin(&self, mappings: &Path, now: Timestamp) -> anyhow::Result<Rehearsal> {
        let mut config = Config::default();
        config.ledger.data_dir = self.folder.path().join("data");
        config.mappings.path = mappings.to_owned();
        config.keys.connect_to = vec![self.server.connect_to(&self.host)];
        config.keys.extra_roots = Some(self.authority.file(self.folder.path()));
        Rehearsal::on(config, now).await
    }
}

/// What differs from what the vectors of a preset expect; empty when nothing does.
async fn differences(file: &VectorFile) -> Vec<String> {
    let mut found = Vec::new();
    let publishing = Publishing::of(file);
    let sample = presets::find(&file.preset).expect("a preset").sample().expect("a sample");
    for ((secrets, uses), vectors) in file.by_secrets() {
        let folder = file.partner(secrets, uses, &sample.secrets).folder();
        let first = at(vectors[0].now);
        let opened = match &publishing {
            Some(server) => server.begin(folder.path(), first).await,
            None => Rehearsal::begin(folder.path(), first).await,
        };
        let mut house = match opened {
            Ok(house) => house,
            Err(error) => return vec![format!("it does not load: {error:#}")],
        };
        for vector in vectors {
            house.clock.set(at(vector.now));
            let request = vector.request(&file.preset);
            let answered = house.deliver(&request).await.expect("an answer");
            if let Some(difference) = vector.differs(&answered) {
                found.push(difference);
                continue;
            }
            let explained =
                amiss(&house, &file.preset, &file.documents, (&request, at(vector.now)), &answered);
            found.extend(explained.map(|amiss| format!("{}: {amiss}", vector.name)));
            let Some(delivery) = answered.delivery else { continue };
            house.settle().await.expect("worked");
            let row = house.outcome_of(delivery).await.expect("an outcome");
            let due = vector.matches.map(|place| place.to_string());
            // Of several schemes that must all hold the first has the secret; a published key may stand behind it.
            let matched = row.secret_id.as_ref().and_then(|ids| ids.split('+').next()).map(str::to_owned);
            if due.is_some() && matched != due {
                found.push(format!("{}: {:?} matched, not {due:?}", vector.name, row.secret_id));
            }
            if vector.name == "genuine" {
                let named = [OutcomeKind::Unmapped, OutcomeKind::Duplicate];
                let unnamed = row.external_events.iter().filter(|event| !named.contains(&event.outcome));
                found.extend(unnamed.map(|event| format!("genuine: {:?} {:?}", event.outcome, event.reason)));
            }
        }
        house.end().await.expect("nothing is left");
    }
    found
}

/// Tries the presets of one in so many parts, so that they are tried side by side.
async fn part(number: usize, of: usize) {
    let mut wrong = Vec::new();
    for preset in presets::all().iter().skip(number).step_by(of) {
        let file = VectorFile::of(preset.name);
        let found = Box::pin(differences(&file)).await;
        wrong.extend(found.into_iter().map(|difference| format!("{}: {difference}", preset.name)));
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_preset_is_tried_in_every_way() {
    for preset in presets::all() {
        let file = VectorFile::of(preset.name);
        let names: Vec<&str> = file.vectors.iter().map(|vector| vector.name.as_str()).collect();
        let is_tried = |way: &str| names.iter().any(|name| name.contains(way));
        let (summary, text) = (preset.summary().expect("a summary"), preset.text);
        assert!(file.vectors.iter().any(|vector| vector.expect == "valid"), "{}", preset.name);
        for way in ["tampered signature", "signature empty", "signature cut short"] {
            assert!(is_tried(way) || summary.assurance == "token", "{}: {way}", preset.name);
        }
        assert!(
            is_tried("tampered body") || ["token", "origin", "partial"].contains(&summary.assurance.as_str()),
            "{}",
            preset.name
        );
        assert!(is_tried("wrong secret") || is_tried("another key"), "{}", preset.name);
        if text.contains("\ntimestamp = ") {
            assert!(is_tried("stale") && is_tried("future"), "{}: stale, future", preset.name);
        }
    }
}

#[test]
fn every_preset_that_is_written_can_be_used() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/signatures/presets");
    let files = fs::read_dir(folder).expect("presets").map(|entry| entry.expect("an entry").path());
    let is_preset = |path: &std::path::PathBuf| path.extension().is_some_and(|ending| ending == "toml");
    let name = |path: std::path::PathBuf| path.file_stem().expect("a name").to_string_lossy().into_owned();
    let mut written: Vec<String> = files.filter(is_preset).map(name).collect();
    written.sort();
    let known: Vec<&str> = presets::all().iter().map(|preset| preset.name).collect();
    assert_eq!(written, known);
}

#[tokio::test]
async fn the_vectors_of_every_fourth_preset_get_their_verdicts() {
    part(0, 4).await;
}

#[tokio::test]
async fn the_vectors_of_every_fourth_preset_from_the_second_get_their_verdicts() {
    part(1, 4).await;
}

#[tokio::test]
async fn the_vectors_of_every_fourth_preset_from_the_third_get_their_verdicts() {
    part(2, 4).await;
}

#[tokio::test]
async fn the_vectors_of_every_fourth_preset_from_the_fourth_get_their_verdicts() {
    part(3, 4).await;
}

// What providers published themselves.

/// A vector of the file that DOUANE_OFFICIAL_VECTORS names; keys that only people read are left out.
#[derive(Deserialize)]
struct Official {
    id: String,
    key: Option<String>,
    #[serde(alias = "certificate")]
    public_key: Option<String>,
    url: Option<String>,
    method: Option<String>,
    request: Option<String>,
    content_type: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<String>,
    signed_content: Option<String>,
    signature_base: Option<String>,
    signature: Option<String>,
    expected_signature: Option<String>,
    now_unix: Option<i64>,
    expect: Option<String>,
    expected_response: Option<Response>,
    expected_qsh: Option<String>,
}

#[derive(Deserialize)]
struct Response {
    status: u16,
    body: Option<String>,
    json: Option<serde_json::Value>,
}

/// How a vector is tried: an entry of `tests/vectors/official.toml`, which says what each key means.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Trial {
    preset: Option<String>,
    signature: Option<String>,
    parameters: BTreeMap<String, String>,
    #[serde(rename = "for")]
    purpose: Option<String>,
    handshake: bool,
    signs: Option<String>,
}

impl Official {
    /// When the request came in: at the time that it says it was sent at, where nothing else is known.
    fn now(&self) -> Timestamp {
        let header = |part: &str| {
            self.headers.iter().find(|(name, _)| name.to_lowercase().contains(part)).map(|(_, value)| value)
        };
        let stamped = header("timestamp")
            .and_then(|text| text.parse().ok().map(at).or_else(|| Timestamp::from_rfc3339(text)));
        let in_pairs = self
            .headers
            .values()
            .find_map(|value| value.strip_prefix("t=")?.split(',').next()?.parse::<i64>().ok());
        let in_pairs = in_pairs.map(|time| at(if time > 100_000_000_000 { time / 1000 } else { time }));
        self.now_unix.map(at).or(stamped).or(in_pairs).unwrap_or_else(|| at(1_700_000_000))
    }

    /// Origin and target of its URL.
    fn address(&self) -> (Option<String>, String) {
        let Some(url) = &self.url else {
            return (None, format!("/in/official{}", self.request.as_deref().unwrap_or_default()));
        };
        let after_scheme = url.find("://").map_or(0, |at| at + 3);
        let path = url[after_scheme..].find('/').map_or(url.len(), |at| after_scheme + at);
        (Some(url[..path].to_owned()), url[path..].to_owned())
    }

    fn request(&self, trial: &Trial, target: &str) -> RawRequest {
        let mut headers = Headers::default();
        for (name, value) in &self.headers {
            headers.push(name, value.clone());
        }
        if let Some(content_type) = &self.content_type {
            headers.push("content-type", content_type.clone());
        }
        let mut body = self.body.clone().unwrap_or_default();
        if trial.signs.is_some() {
            body =
                self.signature_base.clone().or_else(|| self.signed_content.clone()).expect("what was signed");
            headers.push(
                "signature",
                self.signature.clone().or_else(|| self.expected_signature.clone()).expect("a signature"),
            );
        }
        RawRequest {
            method: self.method.clone().unwrap_or_else(|| "POST".to_owned()),
            target: target.to_owned(),
            version: "HTTP/1.1".to_owned(),
            headers,
            body: body.into(),
            peer: None,
        }
    }

    fn partner<'a>(
        &'a self,
        trial: &'a Trial,
        sample: &'a [SampleSecret],
        public_url: Option<&'a str>,
    ) -> Partner<'a> {
        let others = others(sample, trial.purpose.as_slice());
        let signature = trial.signature.clone();
        let by_preset =
            || format!("preset = '{}'", trial.preset.as_deref().expect("a preset or a signature"));
        let secret = |text| Secret { purpose: trial.purpose.as_deref(), development: text };
        Partner {
            name: "official",
            signature: signature.unwrap_or_else(by_preset),
            secrets: self.key.iter().chain(&self.public_key).map(|text| secret(text)).chain(others).collect(),
            parameters: &trial.parameters,
            public_url,
        }
    }

    /// A hash of a request is published without the token that would carry it; here it gets one.
    fn carry_its_hash(&mut self) {
        let Some(hash) = &self.expected_qsh else { return };
        let secret = "a secret that an app shares";
        let parts = [r#"{"alg":"HS256"}"#.to_owned(), format!("{{\"qsh\":\"{hash}\"}}")];
        let text = parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
        mac.update(text.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
        self.headers.insert("Authorization".to_owned(), format!("JWT {text}.{signature}"));
        self.key = Some(secret.to_owned());
    }

    /// The verdict on a request whose signed address is none of a gateway's, or whose private key nobody has.
    fn past_the_door(&self, trial: &Trial, house: &Rehearsal, request: RawRequest) -> Answered {
        let name = EndpointName::new("official", "default");
        let endpoint = Arc::clone(&house.registry().snapshot().endpoints[&name]);
        let SignatureCheck::Scheme(scheme) = &endpoint.check else {
            let refusal = Some("it does not load".to_owned());
            return Answered { status: PAST_THE_DOOR, refusal, body: String::new(), delivery: None };
        };
        // Some name the key that made them; some were made with a key that anyone could guess.
        let input = self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("signature-input"));
        let named = input.and_then(|(_, value)| value.split("keyid=\"").nth(1)?.split('"').next());
        let branch = scheme.branch_for(trial.purpose.as_deref()).expect("a scheme of this name");
        let key = |text: &String| {
            let secret = model::Secret::new(text.clone());
            let key = scheme.branches()[branch].scheme.weak_key(named.unwrap_or("0"), &secret);
            key.map(|key| key.in_branch(branch))
        };
        let keys: Result<Vec<Key>, _> = self.key.iter().chain(&self.public_key).map(key).collect();
        let refusal = match keys.map(|keys| scheme.verify(&keys, request, self.now())) {
            Ok(Ok(_)) => None,
            Ok(Err(failure)) => Some(failure.1.code().to_owned()),
            Err(reason) => Some(reason.to_string()),
        };
        Answered { status: PAST_THE_DOOR, refusal, body: String::new(), delivery: None }
    }

    /// What differs from what its provider says.
    fn differs(&self, trial: &Trial, answered: &Answered) -> Option<String> {
        let found = answered.refusal.as_deref().unwrap_or("valid");
        let was_asked = trial.handshake && answered.status != PAST_THE_DOOR;
        if let Some(response) = self.expected_response.as_ref().filter(|_| was_asked) {
            let body = response.body.as_ref().is_none_or(|due| *due == answered.body);
            let read = || serde_json::from_str::<serde_json::Value>(&answered.body).ok();
            let json = response.json.as_ref().is_none_or(|due| read().as_ref() == Some(due));
            let same = answered.status == response.status && body && json;
            return (!same).then(|| format!("{}: answered {} {}", self.id, answered.status, answered.body));
        }
        let genuine = self.expect.as_deref() != Some("invalid");
        // A GET whose signature held is no delivery.
        let held = answered.refusal.is_none() || found == "no_handshake";
        (genuine != held).then(|| format!("{}: {found}", self.id))
    }
}

#[tokio::test]
async fn what_providers_published_gets_the_verdict_they_say() {
    let Some(path) = std::env::var_os("DOUANE_OFFICIAL_VECTORS") else { return };
    let mut vectors: Vec<Official> =
        serde_json::from_slice(&fs::read(path).expect("the file")).expect("vectors");
    let trials: BTreeMap<String, Trial> =
        toml::from_str(include_str!("../vectors/official.toml")).expect("the trials");
    let mut wrong = Vec::new();
    for vector in &mut vectors {
        vector.carry_its_hash();
        let Some(trial) = trials.get(&vector.id) else {
            wrong.push(format!("{}: tests/vectors/official.toml does not say how it is tried", vector.id));
            continue;
        };
        let (origin, target) = vector.address();
        let preset = trial.preset.as_deref().and_then(presets::find);
        let sample = preset.map(|preset| preset.sample().expect("a sample").secrets).unwrap_or_default();
        let folder = vector.partner(trial, &sample, origin.as_deref()).folder();
        match Rehearsal::begin(folder.path(), vector.now()).await {
            Ok(house) => {
                let request = vector.request(trial, &target);
                let name = EndpointName::new("official", "default");
                let is_open = house.registry().snapshot().endpoints[&name].keys.is_ok();
                let answered = if is_open && target.starts_with("/in/") && vector.public_key.is_none() {
                    house.deliver(&request).await.expect("an answer")
                } else {
                    vector.past_the_door(trial, &house, request)
                };
                wrong.extend(vector.differs(trial, &answered));
            }
            Err(error) => wrong.push(format!("{}: it does not load: {error:#}", vector.id)),
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), vectors.len(), wrong.join("\n"));
}
