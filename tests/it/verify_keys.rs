//! `douane verify` where the provider publishes its keys: the real binary, a provider on this machine over real TLS, and
//! files for those who are offline.

use std::{fs, path::PathBuf};

use aws_lc_rs::{
    encoding::AsDer,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

use crate::{
    folder::Folder,
    process::{Ran, run},
    servers::tls::{Authority, Page, TlsServer},
};

const PARTNER: &str = r#"name = "Lab"
owner = "lab"

[signature]
algorithm = "jwt"
value     = { path = "header.authorization", prefix = "Bearer " }
jwt       = { algorithms = ["ES256"], claims = { aud = "us" } }
keys      = { jwks = "https://keys.acme.example/jwks" }
assurance = "origin"

[[endpoint]]
name = "default"

[identify]
external_id = "body.id"
event_type  = "body.type"

[[mapping]]
on     = ["measured"]
module = "measured.vrl"
emits  = ["lab.ThingMeasured.v1"]
"#;

/// A person with a captured request, and a provider.
struct Scene {
    server: TlsServer,
    key: EcdsaKeyPair,
    mappings: Folder,
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let (mappings, folder) = (Folder::new(), tempfile::tempdir().expect("a folder"));
        mappings.write("partners/lab/partner.toml", PARTNER);
        let authority = Authority::new("the test's own");
        let server = TlsServer::start(&authority, &["keys.acme.example"]);
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let scene = Self { server, key, mappings, folder };
        let config = format!(
            "[ledger]\ndata_dir = \"{}\"\n[mappings]\npath = \"{}\"\n[keys]\nconnect_to = [{:?}]\nextra_roots = \"{}\"\n",
            scene.path("data").display(),
            scene.mappings.path().display(),
            scene.server.connect_to("keys.acme.example"),
            authority.file(scene.folder.path()).display(),
        );
        scene.write("douane.toml", &config);
        scene.capture("k1");
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).expect("written");
        self.path(name).to_str().expect("text").to_owned()
    }

    /// Writes a genuine request whose token names this key.
    fn capture(&self, key_id: &str) {
        let claims = json!({ "iss": "acme", "aud": "us", "exp": 1_800_000_060 });
        let header = json!({ "alg": "ES256", "kid": key_id });
        let signed = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).expect("signs");
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        let body = r#"{"id":"1","type":"measured"}"#;
        self.write(
            "request.http",
            &format!("POST /in/lab HTTP/1.1\nauthorization: Bearer {token}\n\n{body}"),
        );
    }

    fn jwks(&self, key_id: &str) -> String {
        let point = self.key.public_key().as_ref();
        let [x, y] = [&point[1..33], &point[33..]].map(|part| URL_SAFE_NO_PAD.encode(part));
        let ours = json!({ "kty": "EC", "crv": "P-256", "use": "sig", "kid": key_id, "x": x, "y": y });
        json!({ "keys": [ours, { "kty": "RSA", "kid": "old", "use": "enc" }] }).to_string()
    }

    fn pem(&self) -> String {
        let der = self.key.public_key().as_der().expect("a key");
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der.as_ref()))
    }

    fn verify(&self, more: &[&str]) -> Ran {
        let (config, request) = (self.path("douane.toml"), self.path("request.http"));
        let (config, request) = (config.to_str().expect("text"), request.to_str().expect("text"));
        let base = ["verify", "lab", request, "--config", config, "--at", "2027-01-15T08:00:00Z"];
        run(&[&base[..], more].concat()).into()
    }
}

#[test]
fn without_keys_a_person_is_told_where_they_are_and_what_to_pass() {
    let scene = Scene::new();
    let plain = scene.verify(&[]).ended(1);
    let explained = scene.verify(&["--explain"]).ended(1);
    for (ran, line) in [(&plain, "not verified: key_unavailable"), (&explained, "✗ verdict: undecided")] {
        for text in [line, "\"k1\"", "https://keys.acme.example/jwks", "--fetch-keys", "--keys FILE"] {
            assert!(ran.out.contains(text), "{text} is missing:\n{}", ran.out);
        }
    }
    for text in
        ["✓ token header: alg \"ES256\", kid \"k1\"", "✓ claim aud: \"us\"", "✓ claim exp: 2027-01-15"]
    {
        assert!(explained.out.contains(text), "{text} is missing:\n{}", explained.out);
    }
    assert_eq!(scene.server.requests(), 0, "nobody asked for it");
}

#[test]
fn keys_are_fetched_when_a_person_asks_for_it() {
    let scene = Scene::new();
    let missing = scene.verify(&["--explain", "--fetch-keys"]).ended(1);
    assert!(missing.out.contains("the host answers 404"), "{}", missing.out);
    scene.server.set("/jwks", Page::Body(b"<html>".to_vec()));
    let unusable = scene.verify(&["--explain", "--fetch-keys"]).ended(1);
    assert!(unusable.out.contains("it is not JSON"), "{}", unusable.out);
    assert!(unusable.out.ends_with("not verified: key_unavailable\n"), "{}", unusable.out);
    scene.server.set("/jwks", Page::Body(scene.jwks("k1").into_bytes()));
    let good = scene.verify(&["--explain", "--fetch-keys"]).ended(0);
    assert!(
        good.out.contains("✓ key \"k1\": made this signature") && !good.out.contains('✗'),
        "{}",
        good.out
    );
    let report = scene.verify(&["--fetch-keys", "--format", "json"]).ended(0).json();
    assert_eq!((&report["verified"], &report["result"]), (&Value::Bool(true), &json!("k1")));
    scene.capture("k2");
    let unknown = scene.verify(&["--explain", "--fetch-keys"]).ended(1);
    for text in
        ["it has no such key", "\"k1\" (EC P-256 sig), \"old\" (RSA enc)", "not verified: signature_mismatch"]
    {
        assert!(unknown.out.contains(text), "{text} is missing:\n{}", unknown.out);
    }
}

#[test]
fn keys_are_read_from_a_file_offline() {
    let scene = Scene::new();
    let with = |name: &str, text: &str| scene.verify(&["--explain", "--keys", &scene.write(name, text)]);
    for (name, text) in [("jwks.json", scene.jwks("k1")), ("key.pem", scene.pem())] {
        let told = with(name, &text).ended(0);
        assert!(told.out.contains(name) && told.out.ends_with("verified with secret k1\n"), "{}", told.out);
    }
    let other = Scene::new();
    let wrong = with("other.pem", &other.pem()).ended(1);
    assert!(wrong.out.contains("another private key made it"), "{}", wrong.out);
    assert!(with("jwks.json", &scene.jwks("k9")).ended(1).out.contains("\"k9\" (EC P-256 sig)"));
    let private = rcgen::KeyPair::generate().expect("a key").serialize_pem();
    let told = with("private.pem", &private).ended(1);
    assert!(
        told.out.contains("this is a private key") && !told.out.contains(&private[30..60]),
        "{}",
        told.out
    );
    let rsa =
        rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).expect("a key");
    assert!(with("rsa.pem", &rsa.public_key_pem()).ended(1).out.contains("it is an RSA key"));
    assert!(scene.verify(&["--keys", "/nowhere"]).ended(2).err.contains("/nowhere"));
    assert!(
        scene.verify(&["--keys", "/nowhere", "--fetch-keys"]).ended(2).err.contains("cannot be used with")
    );
    assert_eq!(scene.server.requests(), 0);
}
