//! Keys that a provider shows only to its customers, by their ids: the whole house, the provider's preset, a delivery that an
//! implementation of its own has signed (`tests/vectors`), and the provider on this machine over real TLS.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use douane::{
    app::Rehearsal,
    clock::{Clock, ManualClock},
    config::{Config, KeysConfig},
    keys::remote::{Asking, RemoteKeys, Wanted},
    model::{
        Headers, KeyId, KeyQuestion, Question, QuestionText, QuestionUrl, RawRequest, Secret, Timestamp,
    },
};
use serde_json::{Value, json};

use crate::{
    folder::Folder,
    servers::tls::{Authority, Page, TlsServer},
};

/// Secrets that nobody but the provider may ever be shown.
const SECRETS: [(&str, &str); 4] = [
    ("client-id", "5f0c0ffee5f0c0ffee5f0c0f"),
    ("api-secret", "0a1b2c3d-of-the-lab"),
    ("client-secret", "PRD-cert-of-the-lab"),
    ("api-key", "LIVE_API_KEY:lab:0a1b2c"),
];

/// A gateway with one partner of a preset, and a server that is its provider.
struct Scene {
    house: Rehearsal,
    server: TlsServer,
    genuine: RawRequest,
    /// The public key that belongs to it, as the vectors have it.
    public: String,
    _folders: (Folder, tempfile::TempDir),
}

impl Scene {
    /// `uses`: what the endpoint has secrets for.
    async fn new(preset: &str, host: &str, parameters: &str, uses: &[&str]) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/vectors/{preset}.json"));
        let file: Value = serde_json::from_slice(&fs::read(path).expect("vectors")).expect("JSON");
        let vector = &file["vectors"][0];
        let now = Timestamp::from_seconds(vector["now"].as_i64().expect("a time")).expect("in range");
        let (mappings, folder) = (Folder::new(), tempfile::tempdir().expect("a folder"));
        fs::create_dir_all(mappings.path().join(format!("partners/{preset}"))).expect("made");
        mappings.write(&format!("partners/{preset}/partner.toml"), &partner(preset, parameters, uses));
        let authority = Authority::new("the test's own");
        let server = TlsServer::start(&authority, &[host]);
        let mut config = Config::default();
        config.ledger.data_dir = folder.path().join("data");
        config.mappings.path = mappings.path().to_owned();
        config.keys.connect_to = vec![server.connect_to(host)];
        config.keys.extra_roots = Some(authority.file(folder.path()));
        let house = Rehearsal::on(config, now).await.expect("composed");
        let public = vector["secrets"][0].as_str().expect("a key").to_owned();
        Self { house, server, genuine: request(preset, vector), public, _folders: (mappings, folder) }
    }

    /// The status, and why where it is no 2xx.
    async fn told(&self, request: &RawRequest) -> (u16, String) {
        let answered = self.house.deliver(request).await.expect("answered");
        (answered.status, answered.refusal.unwrap_or_default())
    }

    async fn told_genuine(&self) -> (u16, String) {
        self.told(&self.genuine).await
    }

    /// The genuine delivery with one header changed.
    fn with(&self, header: &str, change: impl Fn(&str) -> String) -> RawRequest {
        let mut request = self.genuine.clone();
        let value = request.headers.0.iter().find(|(name, _)| name == header).expect("the header").1.clone();
        request.headers.0.retain(|(name, _)| name != header);
        request.headers.push(header, change(std::str::from_utf8(&value.0).expect("text")));
        request
    }
}

fn partner(preset: &str, parameters: &str, uses: &[&str]) -> String {
    let secrets =
        uses.iter().map(|name| format!("{{ id = '{name}', from = 'env:NOT_LOOKED_AT', for = '{name}' }}"));
    let test = SECRETS.iter().filter(|(name, _)| uses.contains(name));
    let verify =
        if uses.contains(&"verify") { "verify = 'a-verify-token-of-our-own-0123456789'\n" } else { "" };
    format!(
        "name = 'P'\nowner = 'lab'\n[signature]\npreset = '{preset}'\n[[endpoint]]\nname = 'default'\n{parameters}\n\
         secrets = [{}]\n[test.secrets]\n{verify}{}",
        secrets.collect::<Vec<_>>().join(", "),
        test.map(|(name, secret)| format!("{name} = '{secret}'")).collect::<Vec<_>>().join("\n"),
    )
}

fn request(preset: &str, vector: &Value) -> RawRequest {
    let mut headers = Headers::default();
    for pair in vector["headers"].as_array().expect("headers") {
        headers.push(pair[0].as_str().expect("a name"), pair[1].as_str().expect("a value").to_owned());
    }
    RawRequest {
        method: "POST".to_owned(),
        target: format!("/in/{preset}"),
        version: "HTTP/1.1".to_owned(),
        headers,
        body: vector["body"].as_str().expect("a body").to_owned().into(),
        peer: None,
    }
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

fn body(json: &Value) -> Page {
    Page::Body(json.to_string().into_bytes())
}

#[tokio::test]
async fn plaid_is_asked_for_the_key_that_a_delivery_names() {
    const PATH: &str = "/webhook_verification_key/get";
    let parameters = "parameters.api_host = 'production.plaid.com'";
    let plaid = Scene::new("plaid", "production.plaid.com", parameters, &["client-id", "api-secret"]).await;
    let mut jwk: Value = serde_json::from_str(&plaid.public).expect("a JWK");
    jwk["expired_at"] = Value::Null;

    assert_eq!(plaid.told_genuine().await, refused(503, "key_unavailable"), "nothing stands there yet");
    assert_eq!(plaid.told_genuine().await, refused(503, "key_unavailable"));
    assert_eq!(plaid.server.requests(), 1, "what cannot be had is left alone for a while");
    plaid.server.set(PATH, body(&json!({ "key": jwk, "request_id": "r" })));
    plaid.house.clock.advance(Duration::from_secs(11));
    for _ in 0..3 {
        assert_eq!(plaid.told_genuine().await, (200, String::new()));
    }
    assert_eq!(plaid.server.requests(), 2);
    let asked = plaid.server.seen().pop().expect("a question");
    let (head, asked) = asked.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with(&format!("POST {PATH} HTTP/1.1\r\n")), "{head}");
    let id = jwk["kid"].clone();
    let whole = json!({ "client_id": SECRETS[0].1, "secret": SECRETS[1].1, "key_id": id });
    assert_eq!(serde_json::from_str::<Value>(asked).expect("JSON"), whole);

    // A key that Plaid took back is not believed once that is known.
    jwk["expired_at"] = json!(1_762_420_900);
    plaid.server.set(PATH, body(&json!({ "key": jwk })));
    plaid.house.clock.advance(Duration::from_secs(90));
    assert_eq!(plaid.told_genuine().await, (200, String::new()));
    plaid.house.clock.advance(Duration::from_mins(10));
    assert_eq!(plaid.told_genuine().await, refused(401, "signature_mismatch"));
}

#[tokio::test]
async fn an_id_is_never_more_than_an_id() {
    let circle = Scene::new("circle", "api.circle.com", "", &["api-key"]).await;
    let long = "a".repeat(129);
    for id in [
        "",
        ".",
        "..",
        "../../v1/keys",
        "a/b",
        "a%2Fb",
        "a?x=1",
        "a#b",
        "@evil.tld",
        "https://evil.tld/",
        "a b",
        &long,
    ] {
        let request = circle.with("x-circle-key-id", |_| id.to_owned());
        assert_eq!(circle.told(&request).await, refused(401, "signature_malformed"), "{id}");
    }
    let mut twice = circle.genuine.clone();
    twice.headers.push("x-circle-key-id", "another".to_owned());
    assert_eq!(circle.told(&twice).await, refused(401, "signature_duplicated"));
    let unsigned = circle.with("x-circle-signature", |_| "no signature".to_owned());
    assert_eq!(circle.told(&unsigned).await, refused(401, "signature_malformed"));
    assert_eq!(circle.server.requests(), 0, "nobody makes us ask anything");
}

#[tokio::test]
async fn circle_is_asked_with_the_endpoints_own_key() {
    let circle = Scene::new("circle", "api.circle.com", "", &["api-key"]).await;
    let id =
        circle.genuine.headers.0.iter().find(|(name, _)| name == "x-circle-key-id").expect("an id").1.clone();
    let path = format!("/v2/notifications/publicKey/{}", std::str::from_utf8(&id.0).expect("text"));
    let answer = |algorithm: &str, key: &str| {
        json!({ "data": { "id": "k", "algorithm": algorithm, "publicKey": key } }).to_string().into_bytes()
    };
    let bearer = format!("authorization: Bearer {}\r\n", SECRETS[3].1);
    circle.server.set(&path, Page::Knowing(bearer, answer("ECDSA_SHA_256", &circle.public)));
    for _ in 0..2 {
        assert_eq!(circle.told_genuine().await, (200, String::new()));
    }
    assert_eq!(circle.server.requests(), 1);
    let mut changed = circle.genuine.clone();
    changed.body = "{}".into();
    assert_eq!(circle.told(&changed).await, refused(401, "signature_mismatch"));

    // Names that anyone makes up: the true key goes on. That Circle has no such key is the sender's fault; that it cannot
    // tell is not.
    let names = ["404", "410", "500"].map(|status| format!("b3d9d2d5-4c12-4946-a09d-000000000{status}"));
    for (name, told) in names.iter().zip([
        refused(401, "signature_mismatch"),
        refused(401, "signature_mismatch"),
        refused(503, "key_unavailable"),
    ]) {
        let status = name[name.len() - 3..].parse().expect("a status");
        circle
            .server
            .set(&format!("/v2/notifications/publicKey/{name}"), Page::Status(status, String::new()));
        let before = circle.server.requests();
        let made_up = circle.with("x-circle-key-id", |_| name.clone());
        for _ in 0..3 {
            assert_eq!(circle.told(&made_up).await, told, "{name}");
        }
        assert_eq!(circle.server.requests(), before + 1, "it is not asked again at once");
        assert_eq!(circle.told_genuine().await, (200, String::new()));
    }

    // What the scheme does not verify with is no key.
    circle.server.set(&path, Page::Body(answer("ED25519", &circle.public)));
    circle.house.clock.advance(Duration::from_mins(11));
    assert_eq!(circle.told_genuine().await, refused(503, "key_unavailable"));
}

const EBAY_PARAMETERS: &str =
    "parameters = { api_host = 'api.ebay.com', url = 'https://hooks.example.com/in/ebay' }";
const EBAY_TOKEN: &str = "/identity/v1/oauth2/token";

fn granted(token: &str) -> Page {
    let basic = STANDARD.encode(format!("{}:{}", SECRETS[0].1, SECRETS[2].1));
    let answer =
        json!({ "access_token": token, "expires_in": 7_200, "token_type": "Application Access Token" });
    Page::Knowing(format!("authorization: Basic {basic}\r\n"), answer.to_string().into_bytes())
}

/// What stands in the header of its signature.
fn ebay_shows(header: impl AsRef<[u8]>) -> Value {
    serde_json::from_slice(&STANDARD.decode(header).expect("base64")).expect("JSON")
}

/// eBay, where it shows the key of the genuine delivery, and what it answers there.
async fn ebay() -> (Scene, String, Value) {
    let scene =
        Scene::new("ebay", "api.ebay.com", EBAY_PARAMETERS, &["client-id", "client-secret", "verify"]).await;
    let header = &scene.genuine.headers.0.iter().find(|(name, _)| name == "x-ebay-signature").expect("it").1;
    let shown = ebay_shows(&header.0);
    let path = format!("/commerce/notification/v1/public_key/{}", shown["kid"].as_str().expect("an id"));
    let pem = format!("-----BEGIN PUBLIC KEY-----{}-----END PUBLIC KEY-----", scene.public);
    (scene, path, json!({ "algorithm": "ECDSA", "digest": "SHA1", "key": pem }))
}

#[tokio::test]
async fn ebay_gives_a_token_first_and_the_token_is_held() {
    let (ebay, path, answer) = ebay().await;
    let key = |token: &str| {
        Page::Knowing(format!("authorization: Bearer {token}\r\n"), answer.to_string().into_bytes())
    };
    assert_eq!(ebay.told_genuine().await, refused(503, "key_unavailable"), "no token is given");

    ebay.server.set(EBAY_TOKEN, granted("token-1"));
    ebay.server.set(&path, key("token-1"));
    ebay.house.clock.advance(Duration::from_secs(11));
    assert_eq!(ebay.told_genuine().await, (200, String::new()));
    let seen = ebay.server.seen();
    let form = "grant_type=client_credentials&scope=https%3A%2F%2Fapi.ebay.com%2Foauth%2Fapi_scope";
    assert!(seen[1].starts_with(&format!("POST {EBAY_TOKEN} ")) && seen[1].ends_with(form), "{}", seen[1]);
    assert!(seen[2].starts_with(&format!("GET {path} ")), "{}", seen[2]);

    // The key is fetched anew, with the token that is held.
    ebay.house.clock.advance(Duration::from_mins(11));
    assert_eq!(ebay.told_genuine().await, (200, String::new()));
    assert_eq!(ebay.server.requests(), 4);

    // A token that eBay took back is asked for anew, by whoever comes next; what is held goes on meanwhile.
    ebay.server.set(EBAY_TOKEN, granted("token-2"));
    ebay.server.set(&path, key("token-2"));
    ebay.house.clock.advance(Duration::from_mins(11));
    assert_eq!(ebay.told_genuine().await, (200, String::new()));
    ebay.house.clock.advance(Duration::from_secs(11));
    assert_eq!(ebay.told_genuine().await, (200, String::new()));
    let paths: Vec<bool> =
        ebay.server.seen().iter().skip(4).map(|asked| asked.contains(EBAY_TOKEN)).collect();
    assert_eq!(paths, [false, true, false]);
}

#[tokio::test]
async fn while_no_token_is_given_nobody_asks_for_one_again_and_what_is_held_goes_on() {
    let (ebay, path, answer) = ebay().await;
    ebay.server.set(EBAY_TOKEN, granted("token-1"));
    ebay.server.set(&path, body(&answer));
    assert_eq!(ebay.told_genuine().await, (200, String::new()));

    // The token is over, and no other is given, to whoever asks for whichever key.
    ebay.server.set(EBAY_TOKEN, Page::Status(500, String::new()));
    ebay.house.clock.advance(Duration::from_hours(3));
    let before = ebay.server.requests();
    for number in 0..5 {
        let made_up = ebay.with("x-ebay-signature", |header| {
            let mut shown = ebay_shows(header);
            shown["kid"] = json!(format!("made-up-{number}"));
            STANDARD.encode(shown.to_string())
        });
        assert_eq!(ebay.told(&made_up).await, refused(503, "key_unavailable"));
    }
    for _ in 0..2 {
        assert_eq!(ebay.told_genuine().await, (200, String::new()), "the key that is held goes on");
    }
    assert_eq!(ebay.server.requests(), before + 1, "it is asked for once");

    ebay.server.set(EBAY_TOKEN, granted("token-2"));
    ebay.house.clock.advance(Duration::from_secs(11));
    assert_eq!(ebay.told_genuine().await, (200, String::new()));
    assert_eq!(ebay.server.requests(), before + 3, "a token, and the key anew");
}

#[tokio::test]
async fn ids_that_are_made_up_have_no_token_renewed_each_time() {
    let (ebay, path, answer) = ebay().await;
    ebay.server.set(EBAY_TOKEN, granted("token-1"));
    ebay.server.set(&path, body(&answer));
    assert_eq!(ebay.told_genuine().await, (200, String::new()));

    // eBay refuses an id that it does not know, as it would a token.
    let renewed = |asked: &[String]| asked.iter().filter(|asked| asked.contains(EBAY_TOKEN)).count();
    let told_made_up = async |from: usize, to: usize| {
        for number in from..to {
            let id = format!("made-up-{number}");
            let path = path.replace(path.rsplit('/').next().expect("an id"), &id);
            ebay.server.set(&path, Page::Status(403, String::new()));
            let made_up = ebay.with("x-ebay-signature", |header| {
                let mut shown = ebay_shows(header);
                shown["kid"] = json!(id);
                STANDARD.encode(shown.to_string())
            });
            assert_eq!(ebay.told(&made_up).await, refused(503, "key_unavailable"));
        }
    };
    told_made_up(0, 10).await;
    assert_eq!(renewed(&ebay.server.seen()), 1, "the token is new");
    ebay.house.clock.advance(Duration::from_secs(61));
    told_made_up(10, 20).await;
    assert_eq!(renewed(&ebay.server.seen()), 2, "the provider may have taken it back: one renewal");
    assert_eq!(ebay.told_genuine().await, (200, String::new()));
}

/// A question with every kind of secret in it, and a provider that does not like it.
#[tokio::test]
async fn what_went_wrong_shows_no_credential() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new("the test's own");
    let server = TlsServer::start(&authority, &["api.acme.example"]);
    let config = KeysConfig {
        connect_to: vec![server.connect_to("api.acme.example")],
        extra_roots: Some(authority.file(folder.path())),
        ..KeysConfig::default()
    };
    let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_800_000_000).expect("in range")));
    let keys = RemoteKeys::new(&config, clock as Arc<dyn Clock>).expect("set up");
    let text = |text: &str| QuestionText::parse(text).expect("a text");
    let url = QuestionUrl::parse("https://api.acme.example/keys/{id}").expect("an address");
    let headers = vec![("x-key".to_owned(), text("{secret.api-key}"))];
    let basic = Some(("client-id".to_owned(), "client-secret".to_owned()));
    let question = KeyQuestion { ask: Question { url, body: None, headers, basic }, token: None };
    let secrets = SECRETS.map(|(name, secret)| (name.to_owned(), Secret::new(secret)));
    let asked = |secrets: BTreeMap<String, Secret>, asker: &str| {
        let id = KeyId::parse("k1").expect("an id");
        let url = question.ask.url.at(&id).expect("an address");
        let (question, asker) = (Arc::new(question.clone()), asker.to_owned());
        Wanted::asked(url, Asking { question, id, asker, secrets: Arc::new(secrets) })
    };
    let wanted = asked(secrets.clone().into(), "acme/default");
    let refused = keys.document(&wanted).await.expect_err("404");
    assert_eq!(refused.to_string(), "https://api.acme.example/keys/k1: the host answers 404 Not Found");

    // A secret that cannot stand in a header is not sent, and not shown.
    let mut broken: BTreeMap<String, Secret> = secrets.into();
    broken.insert("api-key".to_owned(), Secret::new("two\nlines"));
    let wanted_broken = asked(broken, "acme/other");
    let refused_broken = keys.document(&wanted_broken).await.expect_err("no header").to_string();
    assert_eq!(server.requests(), 1);
    let shown = format!("{refused:?} {refused_broken} {wanted:?} {wanted_broken:?} {keys:?}");
    for (_, secret) in SECRETS {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(!shown.contains("lines"), "{shown}");
}
