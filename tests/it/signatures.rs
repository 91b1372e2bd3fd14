//! The verifier against what others signed: `tests/vectors/<preset>.json`, made by the providers' own libraries and by
//! `tests/vectors/generate.py`, and against our signer in `cli`, which stands for a partner in every other test.

#![expect(clippy::expect_used, reason = "a test that has lost its ground should stop there")]

use std::{collections::BTreeSet, fs, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use douane::{
    cli::{sign::sign, signing_key::SigningKey},
    model::{
        BodyRules, Headers, PublicUrl, RawRequest, Secret, Timestamp, Verification, read_body, strict_json,
    },
    signatures::{Key, Scheme, explain, presets, verify},
};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VectorFile {
    preset: String,
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    name: String,
    #[serde(rename = "source")]
    _source: String,
    secrets: Vec<String>,
    now: i64,
    headers: Vec<(String, String)>,
    body: String,
    body_base64: Option<String>,
    expect: String,
    matches: Option<usize>,
}

impl Vector {
    fn request(&self) -> RawRequest {
        let decoded = self.body_base64.as_ref().map(|text| STANDARD.decode(text).expect("base64"));
        let headers: Vec<_> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        request(&headers, decoded.unwrap_or_else(|| self.body.clone().into_bytes()))
    }

    fn keys(&self, scheme: &Scheme) -> Vec<Key> {
        let secrets = self.secrets.iter().enumerate();
        secrets.map(|(place, secret)| key(scheme, &place.to_string(), secret)).collect()
    }
}

fn request(headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> RawRequest {
    let mut all = Headers::default();
    for (name, value) in headers {
        all.push(name, value.to_string());
    }
    RawRequest {
        method: "POST".to_owned(),
        target: "/in/partner".to_owned(),
        version: "HTTP/1.1".to_owned(),
        headers: all,
        body: body.into().into(),
        peer: None,
    }
}

fn key(scheme: &Scheme, id: &str, secret: &str) -> Key {
    scheme.key(id, &Secret::new(secret)).expect("a key")
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds).expect("in range")
}

fn scheme(preset: &str) -> Scheme {
    presets::find(preset).expect("a preset").scheme().expect("a scheme")
}

/// `valid` and the secret that matched, or the refusal's code.
fn verdict(scheme: &Scheme, keys: &[Key], request: &RawRequest, now: Timestamp) -> (String, Option<String>) {
    match verify(scheme, keys, request.clone(), now) {
        Ok(verified) => {
            let Verification { assurance, secret_id } = verified.verification().clone();
            assert_eq!(assurance, scheme.assurance());
            ("valid".to_owned(), secret_id.map(|id| id.to_string()))
        }
        Err(refused) => (refused.1.code().to_owned(), None),
    }
}

/// The presets that are taken apart here. `vectors` has every preset, at the door.
fn vector_files() -> Vec<VectorFile> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    SECRETS
        .iter()
        .map(|(preset, _)| {
            let text = fs::read_to_string(folder.join(format!("{preset}.json")));
            let text = text.unwrap_or_else(|error| panic!("{preset}: {error}"));
            serde_json::from_str(&text).expect("vectors")
        })
        .collect()
}

#[test]
fn every_vector_gets_its_verdict() {
    for file in vector_files() {
        let scheme = scheme(&file.preset);
        for vector in &file.vectors {
            let (request, keys, now) = (vector.request(), vector.keys(&scheme), at(vector.now));
            let expected = (vector.expect.clone(), vector.matches.map(|place| place.to_string()));
            let found = verdict(&scheme, &keys, &request, now);
            assert_eq!(found, expected, "{}: {}", file.preset, vector.name);
            let told = explain::explain(&scheme, &keys, &request, now);
            let last = told.last().expect("a verdict");
            assert_eq!(last.ok, vector.expect == "valid", "{}: {}", file.preset, vector.name);
            assert!(
                last.ok || told.iter().filter(|step| !step.ok).count() > 1,
                "{}: {}",
                file.preset,
                vector.name
            );
            for secret in &vector.secrets {
                assert!(!format!("{told:?}").contains(secret), "{}: {}", file.preset, vector.name);
            }
        }
    }
}

#[test]
fn every_preset_is_tested_in_every_way() {
    for file in vector_files() {
        let seen: BTreeSet<&str> = file.vectors.iter().map(|vector| vector.expect.as_str()).collect();
        let scheme = scheme(&file.preset);
        let mut expected = vec!["valid", "signature_mismatch", "signature_missing", "signature_malformed"];
        expected.push(if scheme.reads_body() { "body_unreadable" } else { "signature_duplicated" });
        if scheme.timestamp().is_some() {
            expected.extend(["timestamp_stale", "timestamp_future"]);
        }
        assert_eq!(seen, expected.into_iter().collect(), "{}", file.preset);
    }
}

#[test]
fn without_a_key_nothing_is_believed() {
    for file in vector_files() {
        let (scheme, vector) = (scheme(&file.preset), &file.vectors[0]);
        let (request, now) = (vector.request(), at(vector.now));
        let empty = Key::unchecked("empty", "");
        for keys in [vec![], vec![empty.clone()], [vector.keys(&scheme), vec![empty]].concat()] {
            assert_eq!(verdict(&scheme, &keys, &request, now), ("not_configured".to_owned(), None));
        }
    }
}

#[test]
fn a_refused_request_comes_back_whole() {
    let scheme = scheme("github");
    let keys = [key(&scheme, "a", "some long secret")];
    let sent = request(&[("x-hub-signature-256", "sha256=00"), ("x-github-event", "ping")], "{}");
    let refused = verify(&scheme, &keys, sent.clone(), at(0)).expect_err("must be refused");
    assert_eq!((&refused.0.headers, &refused.0.body), (&sent.headers, &sent.body));
    assert!(!refused.1.to_string().contains("00"));
}

const SECRETS: [(&str, &str); 7] = [
    ("adyen", "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"),
    ("adyen-platform", "11223344D785FBAE710E7F943F307971BB61B21281C98C9129B3D4018A57B2EB"),
    ("github", "It's a Secret to Everybody"),
    ("shopify", "shpss_41c8d3f6b2a97e5008d1"),
    ("slack", "8f742231b10e8888abcd99yyyzzz85a5"),
    ("standard-webhooks", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
    ("stripe", "whsec_9f2c41d7b0a85e63c1f04b7d92ae6835"),
];

/// A request of every preset, not signed yet, with its scheme and key.
fn unsigned(body: &str) -> Vec<(Scheme, Key, RawRequest)> {
    let items = r#"{"notificationItems":[
        {"NotificationRequestItem":{"pspReference":"p1","amount":{"value":1000,"currency":"EUR"},"eventCode":"CAPTURE","success":"true"}},
        {"NotificationRequestItem":{"pspReference":"p2","eventCode":"REFUND","success":"true","additionalData":{"a":"b"}}}]}"#;
    let each = |(preset, secret): (&str, &str)| {
        let scheme = scheme(preset);
        let body = if scheme.items().is_some() { items } else { body };
        let stale = [
            ("stripe-signature", "t=1,v1=00"),
            ("x-hub-signature-256", "sha256=00"),
            ("webhook-id", "msg_1"),
        ];
        (scheme.clone(), key(&scheme, preset, secret), request(&stale, body))
    };
    SECRETS.into_iter().map(each).collect()
}

#[test]
fn the_signer_signs_as_every_partner_would() {
    let now = at(1_790_000_000);
    for (scheme, key, mut request) in unsigned("{\"id\":\"evt_1\"}\n") {
        sign(&scheme, &key, &mut request, now).expect("signed");
        sign(&scheme, &key, &mut request, now).expect("signed again, in place of the first");
        assert_eq!(
            verdict(&scheme, std::slice::from_ref(&key), &request, now),
            ("valid".to_owned(), Some(key.id.to_string()))
        );
    }
}

/// Requests whose signature stands in the body and signs fields of it, each with something around them that nobody signed:
/// text that means nothing in JSON, and other fields in a form.
fn signed_in_the_body() -> Vec<(Scheme, Key, RawRequest)> {
    let (items, hex, _) = unsigned("").remove(0);
    let fields = Scheme::parse(
        "algorithm = 'hmac-sha256'\nsecret = { as = 'hex' }\nvalue = { path = 'header.acme-signature', as = 'hex' }
         message = '{body.id}:{body.type}'\nassurance = 'partial'",
    )
    .expect("a scheme");
    let around = "\"x\":\"&id=e2&type=paid&amount=999&payload=%7B%22id%22%3A%22e2%22%7D&x=\"";
    let batch = format!(
        "{{{around},\"notificationItems\":[{{\"NotificationRequestItem\":{{\"pspReference\":\"p1\",\"eventCode\":\"CAPTURE\"}}}}]}}"
    );
    let single = format!("{{\"id\":\"e1\",\"type\":\"open\",{around}}}");
    [(items, batch), (fields, single)]
        .map(|(scheme, body)| {
            let mut request = request(&[], body);
            sign(&scheme, &hex, &mut request, at(0)).expect("signed");
            (scheme, hex.clone(), request)
        })
        .to_vec()
}

#[test]
fn a_body_that_was_verified_as_json_is_never_read_as_a_form() {
    for (scheme, key, request) in signed_in_the_body() {
        let keys = [key];
        assert_eq!(verdict(&scheme, &keys, &request, at(0)).0, "valid");
        for form in ["application/x-www-form-urlencoded", "Application/X-WWW-Form-UrlEncoded ; charset=utf-8"]
        {
            let mut forged = request.clone();
            forged.headers.push("content-type", form);
            assert_eq!(verdict(&scheme, &keys, &forged, at(0)).0, "body_unreadable");
            let told = explain::explain(&scheme, &keys, &forged, at(0));
            assert!(told.iter().any(|step| !step.ok && step.found.contains("form")), "{told:?}");
        }
    }
}

/// Of each algorithm that has a key pair or a secret, of each algorithm of tokens, and of each of message signatures, one scheme.
fn of_every_algorithm() -> Vec<String> {
    let (raw, pem) = ("secret = { as = 'text' }", "secret = { as = 'pem' }");
    let plain = "value = { path = 'header.s', as = 'base64' }\nmessage = '{body}'\nassurance = 'full'";
    let mut all: Vec<_> = ["hmac-sha1", "hmac-sha256", "hmac-sha384", "hmac-sha512"]
        .map(|name| format!("algorithm = '{name}'\n{raw}\n{plain}"))
        .to_vec();
    let hashed = plain.replace("{body}", "{secret}{body}");
    all.extend(["md5", "sha256", "keccak256"].map(|name| format!("algorithm = '{name}'\n{raw}\n{hashed}")));
    let curves = ["ecdsa-p256-sha256", "ecdsa-p384-sha384", "ecdsa-p521-sha512"];
    let raw_curves = curves.map(|name| format!("{name}-raw"));
    let others = ["ed25519", "ecdsa-p256-sha1", "rsa-pkcs1-sha256", "rsa-pkcs1-sha512", "rsa-pss-sha512"];
    let public = curves.iter().chain(&others).copied().chain(raw_curves.iter().map(String::as_str));
    all.extend(public.map(|name| format!("algorithm = '{name}'\n{pem}\n{plain}")));
    all.push(format!("algorithm = 'rsa-pkcs1-sha1'\nlegacy = true\n{pem}\n{plain}"));
    let (mut macs, mut pairs) = (vec!["HS256", "HS384", "HS512"], vec!["ES256", "ES384", "ES512", "EdDSA"]);
    pairs.extend(["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]);
    let token = |form: &str, name: &str| {
        format!(
            "algorithm = 'jwt'\n{form}\nvalue = {{ path = 'header.s' }}\nassurance = 'full'\n\
             jwt = {{ algorithms = ['{name}'], claims = {{ digest = '{{body|sha256}}' }} }}"
        )
    };
    all.extend(macs.drain(..).map(|name| token(raw, name)));
    all.extend(pairs.drain(..).map(|name| token(pem, name)));
    let message = |form: &str, name: &str| {
        format!(
            "algorithm = 'http-message-signatures'\n{form}\nassurance = 'full'\n\
             http_message = {{ algorithm = '{name}', label = 'own', tag = 'a \"tag\"', \
             components = ['@method', '@target-uri', '@query-param;name=\"a\"', 'content-digest', 'x-id'] }}"
        )
    };
    all.push(message(raw, "hmac-sha256"));
    let asymmetric =
        ["ed25519", "ecdsa-p256-sha256", "ecdsa-p384-sha384", "rsa-pss-sha512", "rsa-v1_5-sha256"];
    all.extend(asymmetric.map(|name| message(pem, name)));
    all
}

#[test]
fn the_signer_signs_by_every_algorithm_that_is_verified() {
    let now = at(1_790_000_000);
    let url = PublicUrl::parse("https://hooks.example.com").expect("an address");
    for text in of_every_algorithm() {
        let scheme =
            Scheme::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}")).at(Some(url.clone()));
        let mut request = request(&[("x-id", "1"), ("signature", "old=:YQ==:")], "{\"id\":\"evt_1\"}");
        request.target = "/in/partner?a=b%20c".to_owned();
        let keys = match SigningKey::generated(scheme.key_algorithm()) {
            None => vec![key(&scheme, "own", "a secret of some length")],
            Some(private) => {
                let SigningKey::Private { der, .. } = &private else { unreachable!("a pair was made") };
                let text = Secret::new(STANDARD.encode(der));
                sign(&scheme, private.called("own"), &mut request, now).expect("signed");
                vec![scheme.development_key("own", &text).expect("its half")]
            }
        };
        if keys[0].secret_bytes().is_some() {
            sign(&scheme, &keys[0], &mut request, now).unwrap_or_else(|error| panic!("{text}: {error}"));
        }
        let valid = ("valid".to_owned(), Some("own".to_owned()));
        assert_eq!(verdict(&scheme, &keys, &request, now), valid, "{text}");
        request.body = "{}".into();
        assert_ne!(verdict(&scheme, &keys, &request, now), valid, "{text}");
    }
}

#[test]
fn the_signer_says_what_it_cannot_sign() {
    let (adyen, standard) = (scheme("adyen"), scheme("standard-webhooks"));
    let key = key(&adyen, "a", SECRETS[0].1);
    let refused = |scheme: &Scheme, body: &str| {
        sign(scheme, &key, &mut request(&[], body), at(0)).expect_err("must be refused").to_string()
    };
    assert!(refused(&standard, "{}").contains("missing"));
    assert!(refused(&adyen, "{").contains("is not JSON"));
    assert!(refused(&adyen, "{}").contains("no items at body.notificationItems[]"));
}

/// Content types as senders spell them, and as nobody should.
fn content_type() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ \t]{0,2}(application/x-www-form-urlencoded|APPLICATION/X-WWW-FORM-URLENCODED|Application/x-www-Form-urlencoded)[ \t]{0,2}(;[ a-z=\"-]{0,12}){0,2}",
        "(application/json|text/plain|multipart/form-data)(; charset=utf-8|, application/x-www-form-urlencoded)?",
        ".{0,30}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_signed_verifies_and_one_flipped_byte_does_not(
        body in ".{1,200}", at_byte in any::<prop::sample::Index>(), bit in 0_u8..8, skew in -300_i64..=300,
    ) {
        for (scheme, key, mut request) in unsigned(&body) {
            let (sent, now) = (at(1_790_000_000), at(1_790_000_000 + skew));
            sign(&scheme, &key, &mut request, sent).expect("signed");
            let keys = std::slice::from_ref(&key);
            prop_assert!(verify(&scheme, keys, request.clone(), now).is_ok(), "{}", key.id);
            if scheme.items().is_none() {
                let mut bytes = request.body.to_vec();
                bytes[at_byte.index(request.body.len())] ^= 1 << bit;
                request.body = bytes.into();
                prop_assert_eq!(verdict(&scheme, keys, &request, now).0, "signature_mismatch", "{}", key.id);
            }
        }
    }

    #[test]
    fn one_flipped_byte_of_an_item_changes_no_covered_field(at_byte in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let (scheme, key, mut request) = unsigned("").remove(0);
        sign(&scheme, &key, &mut request, at(0)).expect("signed");
        let covered = |body: &[u8]| serde_json::from_slice::<serde_json::Value>(body).ok().map(|body| {
            let items = body["notificationItems"].as_array().cloned().unwrap_or_default();
            items.iter().map(|element| {
                let mut item = element["NotificationRequestItem"].clone();
                item.as_object_mut().map(|item| item.remove("additionalData"));
                item
            }).collect::<Vec<_>>()
        });
        let before = covered(&request.body);
        let mut bytes = request.body.to_vec();
        bytes[at_byte.index(request.body.len())] ^= 1 << bit;
        request.body = bytes.into();
        if verify(&scheme, &[key], request.clone(), at(0)).is_ok() {
            prop_assert_eq!(before, covered(&request.body));
        }
    }

    #[test]
    fn what_verification_looked_at_is_what_identification_reads(
        types in prop::collection::vec(content_type(), 0..3),
        form_json in prop::option::of(prop::sample::select(vec!["payload", "x", "{\"x\":\""])),
    ) {
        let rules = BodyRules { form_json: form_json.map(str::to_owned), ..BodyRules::default() };
        for (scheme, key, mut request) in signed_in_the_body() {
            for value in &types {
                request.headers.push("content-type", value.clone());
            }
            if let Ok(verified) = verify(&scheme, &[key], request.clone(), at(0)) {
                let RawRequest { headers, body, .. } = verified.request();
                prop_assert_eq!(read_body(headers, body, &rules).ok(), strict_json::read(body).ok(), "{:?}", types);
            }
        }
    }

    #[test]
    fn nothing_is_believed_without_the_key_and_nothing_panics(
        value in "([tv]?[01]?[a=, .:+0-9]{0,6}){0,8}|(sha256=|v0=|v1,|t=1,v1=)[0-9a-f]{64}|.*", time in "[0-9+-]{0,20}", body in ".*",
    ) {
        for (scheme, key, _) in unsigned("") {
            let place = scheme.value().place.path.name().to_owned();
            let mut forged = request(&[("webhook-id", "m")], body.clone());
            forged.headers.push(&place, value.clone());
            for name in ["x-slack-request-timestamp", "webhook-timestamp"] {
                forged.headers.push(name, time.clone());
            }
            let keys = std::slice::from_ref(&key);
            prop_assert!(verify(&scheme, keys, forged.clone(), at(1)).is_err(), "{}", key.id);
            prop_assert!(!explain::explain(&scheme, keys, &forged, at(1)).is_empty());
        }
    }

    #[test]
    fn no_body_makes_items_panic(body in "[\\[\\]{}:,\"a-zA-Z0-9.]{0,80}") {
        let scheme = scheme("adyen");
        let keys = [key(&scheme, "a", SECRETS[0].1)];
        for body in [body.clone(), format!("{{\"notificationItems\":[{body}]}}")] {
            prop_assert!(verify(&scheme, &keys, request(&[], body), at(0)).is_err());
        }
    }
}
