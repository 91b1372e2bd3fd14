//! Room `signatures`: what people are told of requests whose scheme is spelled out.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::*;
use crate::{
    model::{Headers, PublicUrl, Secret},
    signatures::presets,
};

/// An explanation as `verify` prints it.
pub(super) fn all(steps: &[Step]) -> String {
    let line = |step: &Step| format!("{} {}: {}", if step.ok { "✓" } else { "✗" }, step.what, step.found);
    steps.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Of an explanation what is not as it should be.
pub(super) fn differences(steps: &[Step]) -> String {
    all(&steps.iter().filter(|step| !step.ok).cloned().collect::<Vec<_>>())
}

const BODY: &str = "{\"id\": \"evt_1\",\n \"type\": \"a b\"}";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn code(key: &[u8], message: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn request(body: &str, headers: &[(&str, String)]) -> RawRequest {
    let mut all = Headers::default();
    for (name, value) in headers {
        all.push(name, value.clone());
    }
    let (method, target, version) = ("POST".to_owned(), "/in/x".to_owned(), "HTTP/1.1".to_owned());
    RawRequest { method, target, version, headers: all, body: body.to_owned().into(), peer: None }
}

/// Explains a request to an endpoint of `preset` whose one secret is `secret`, a minute after it was sent.
fn told(preset: &str, secret: &str, request: &RawRequest) -> Vec<Step> {
    let scheme = presets::find(preset).expect("a preset").scheme().expect("a scheme");
    let key = scheme.key("s1", &Secret::new(secret)).expect("a key");
    let now = Timestamp::from_seconds(1_700_000_060).expect("in range");
    let steps = explain(&scheme, &[key], request, now);
    let text = format!("{steps:?}");
    assert!(!text.contains(secret) && !text.contains("MfKQ9r8GKYq"), "{text}");
    steps
}

fn mistake(steps: &[Step]) -> &str {
    assert!(!steps.last().expect("a verdict").ok);
    let found = steps.iter().find(|step| step.what.ends_with("common mistakes"));
    found.map(|step| step.found.as_str()).unwrap_or_default()
}

fn stripe(key: &[u8], signed: &str, sent: &str) -> RawRequest {
    let signature = hex::encode(code(key, signed));
    request(BODY, &[("stripe-signature", format!("t=1700000000,v1={signature}"))]).with_body(sent)
}

impl RawRequest {
    fn with_body(mut self, body: &str) -> Self {
        self.body = body.to_owned().into();
        self
    }
}

#[test]
fn tells_what_was_found_when_all_is_well() {
    let steps = told("stripe", SECRET, &stripe(SECRET.as_bytes(), &format!("1700000000.{BODY}"), BODY));
    assert!(steps.iter().all(|step| step.ok), "{steps:?}");
    assert_eq!(steps[0].found, "1 of 32 bytes, as hex");
    assert_eq!(steps[1].found, "2023-11-14T22:13:20Z, 1m before now; 5m is tolerated");
    assert!(steps[2].found.starts_with("1700000000.{\\\"id\\\""), "{}", steps[2].found);
    assert_eq!(steps[3].what, "secret \"s1\"");
    assert!(steps[4].found.contains("assurance full; covers timestamp, body"));
}

#[test]
fn names_the_common_mistakes() {
    let message = format!("1700000000.{BODY}");
    let decoded = STANDARD.decode(&SECRET[6..]).expect("base64");
    let made = |key: &[u8], signed: &str, sent: &str| {
        mistake(&told("stripe", SECRET, &stripe(key, signed, sent))).to_owned()
    };
    assert!(made(&decoded, &message, BODY).contains("decoded as base64 after whsec_"));
    assert!(made(SECRET.as_bytes(), BODY, BODY).contains("the body alone is signed"));
    assert!(made(SECRET.as_bytes(), &message, &format!("{BODY}\n")).contains("line break at its end"));
    assert!(
        made(SECRET.as_bytes(), "1700000000.{\"id\":\"evt_1\",\"type\":\"a b\"}", BODY)
            .contains("white space")
    );
    assert!(made(b"quite another", &message, BODY).contains("no common mistake"));
    let text = code(SECRET.as_bytes(), &format!("m1.1700000000.{BODY}"));
    let standard = request(
        BODY,
        &[
            ("webhook-id", "m1".to_owned()),
            ("webhook-timestamp", "1700000000".to_owned()),
            ("webhook-signature", format!("v1,{}", STANDARD.encode(text))),
        ],
    );
    assert!(mistake(&told("standard-webhooks", SECRET, &standard)).contains("taken as text"));
}

/// What is told of a request to `https://hooks.example` whose partner signed this text.
fn told_of(message: &str, signed: &str, headers: &[(&str, &str)], body: &str) -> String {
    let scheme = format!(
        "algorithm = \"hmac-sha256\"\nsecret = {{ as = \"text\" }}\nvalue = {{ path = \"header.x\", as = \"hex\" }}\n\
         message = \"{message}\"\nassurance = \"full\""
    );
    let scheme = Scheme::parse(&scheme).expect("a scheme").at(PublicUrl::parse("https://hooks.example").ok());
    let key = scheme.key("s1", &Secret::new(SECRET)).expect("a key");
    let mut all = vec![("x", hex::encode(code(SECRET.as_bytes(), signed)))];
    all.extend(headers.iter().map(|(name, value)| (*name, (*value).to_owned())));
    let now = Timestamp::from_seconds(1_700_000_060).expect("in range");
    mistake(&explain(&scheme, &[key], &request(body, &all), now)).to_owned()
}

#[test]
fn names_another_address_that_was_signed() {
    for (address, told) in [
        ("http://hooks.example/in/x", "http in the place of https"),
        ("https://hooks.example:443/in/x", "with its port"),
        ("https://hooks.example/in/x/", "a slash at the end"),
        ("https://other.example/in/x", "the Host header"),
    ] {
        let found = told_of("{url}{body}", &format!("{address}{{}}"), &[("host", "other.example")], "{}");
        assert!(found.contains(told), "{address}: {found}");
    }
}

#[test]
fn names_a_form_that_was_written_anew() {
    for (signed, sent, told) in [
        ("a=x%20y", "a=x+y", "%20, not +"),
        ("a=x+y", "a=x%20y", "+, not %20"),
        ("a=%7E", "a=%7e", "written anew"),
        ("a=1", "a=1\r\n", "no line break at its end"),
    ] {
        let found = told_of("{body}", signed, &[], sent);
        assert!(found.contains(told), "{signed}: {found}");
    }
}

#[test]
fn names_what_is_spelled_wrongly() {
    let secret = "a secret of some length";
    let spelled = |preset: &str, header: &str, value: String| {
        told(preset, secret, &request(BODY, &[(header, value)]))[0].found.clone()
    };
    let right = code(secret.as_bytes(), BODY);
    assert!(spelled("shopify", "x-shopify-hmac-sha256", hex::encode(&right)).contains("it reads as hex"));
    assert!(
        spelled("github", "x-hub-signature-256", STANDARD.encode(&right)).contains("without \"sha256=\"")
    );
    assert!(
        spelled("github", "x-hub-signature-256", format!("sha256={}", hex::encode_upper(&right)))
            .contains("upper case")
    );
    assert!(spelled("github", "x-hub-signature", String::new()).contains("missing"));
    let sha1 = format!("sha256={}", "ab".repeat(20));
    assert!(spelled("github", "x-hub-signature-256", sha1).contains("20 bytes, as hmac-sha1 makes them"));
}

/// Explains a request to an endpoint of these schemes, whose secrets are `a` and `b`.
fn told_by(schemes: &str, request: &RawRequest) -> Vec<Step> {
    let schemes = Schemes::parse(schemes).expect("schemes");
    let keys = ["a-token-of-mine", "another-token"].map(str::as_bytes).into_iter().enumerate();
    let keys: Vec<Key> =
        keys.map(|(at, bytes)| Key::unchecked(["a", "b"][at], bytes).in_branch(at)).collect();
    let now = Timestamp::from_seconds(1_700_000_060).expect("in range");
    let keys = keys.into_iter().filter(|key| key.branch() < schemes.branches().len()).collect::<Vec<_>>();
    explain_schemes(&schemes, &keys, &Published::default(), request, now)
}

#[test]
fn names_the_mistakes_with_tokens() {
    let token = "algorithm = \"token\"\nvalue = { path = \"header.t\" }\nassurance = \"token\"";
    let mistaken =
        |sent: &str| mistake(&told_by(token, &request(BODY, &[("t", sent.to_owned())]))).to_owned();
    assert!(mistaken("Bearer a-token-of-mine").contains("\"Bearer \" stands before it"));
    assert!(mistaken("A-Token-Of-Mine").contains("another case"));
    assert!(mistaken("something-else").contains("another secret was sent"));
    let hashed = "algorithm = \"sha256\"\nsecret = { as = \"text\" }\nmessage = \"{secret}{body}\"\n\
                  value = { path = \"header.t\", as = \"hex\" }\nassurance = \"full\"";
    let sent = request(BODY, &[("t", hex::encode(code(b"a-token-of-mine", BODY)))]);
    let told = told_by(hashed, &sent);
    assert!(mistake(&told).contains("the algorithm is hmac-sha256"), "{told:?}");
    assert!(told.iter().any(|step| step.found.starts_with("{secret}{")), "{told:?}");
    assert!(!format!("{told:?}").contains("a-token-of-mine"));
}

#[test]
fn tells_which_of_several_schemes_counts_and_why() {
    let token = |name: &str, more: &str| {
        format!(
            "{{ name = \"{name}\", {more}algorithm = \"token\", value = {{ path = \"header.{name}\" }}, \
             assurance = \"token\" }}"
        )
    };
    let any =
        format!("any_of = [{}, {}]", token("new", "when = { present = \"header.new\" }, "), token("old", ""));
    let shown = |name: &str, value: &str| told_by(&any, &request(BODY, &[(name, value.to_owned())]));
    let new = shown("new", "a-token-of-mine");
    assert_eq!(new[0].found, "\"new\", because header.new is present; its verdict is final");
    assert_eq!(new.last().map(|step| step.found.as_str()), Some("verified by secret \"a\"; assurance token"));
    let old = shown("old", "another-token");
    assert_eq!(old[0].found, "\"old\", because no earlier one is asked for");
    assert!(old[1].what.starts_with("old: signature at header.old"), "{old:?}");
    let all = format!("all_of = [{}, {}]", token("new", ""), token("old", ""));
    let half = told_by(&all, &request(BODY, &[("new", "a-token-of-mine".to_owned())]));
    assert_eq!(half[0].found, "each of new, old must verify");
    assert!(half.last().is_some_and(|step| step.found.contains("signature_missing")), "{half:?}");
}

#[test]
fn tells_items_apart() {
    let key = "DFB1EB5485895CFA84146406857104ABB4CBCABDC8AAF103A624C8F6A3EAAB00";
    let item = r#"{"NotificationRequestItem":{"pspReference":"p","additionalData":{"hmacSignature":"ZNBPtI+oDyyRrLyD1XirkKnQgIAlFc07Vj27TeHsDRE="}}}"#;
    let steps = told("adyen", key, &request(&format!("{{\"notificationItems\":[{item}]}}"), &[]));
    assert!(steps[0].found.starts_with("1 at body.notificationItems[]"));
    assert!(steps.iter().any(|step| step.what == "item 0: secret \"s1\"" && !step.ok));
    assert_eq!(told("adyen", key, &request("{", &[]))[0].what, "body");
    assert_eq!(told("adyen", key, &request("{\"notificationItems\":[]}", &[]))[0].what, "signed items");
}
