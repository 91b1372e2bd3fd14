//! Room `intake`: the handshakes of real providers, and those of people who mean harm.

use proptest::prelude::*;

use super::*;
use crate::{
    model::EndpointName,
    partners::{NotConfigured, SignatureCheck},
    signatures::{Key, Schemes},
};

/// An endpoint that asks for nothing.
pub(in super::super) fn endpoint(partner: &str, handshakes: Vec<Handshake>) -> Endpoint {
    Endpoint {
        name: EndpointName::new(partner, "default"),
        check: SignatureCheck::Unsigned,
        keys: Ok(Vec::new().into()),
        max_body_bytes: None,
        max_header_bytes: None,
        requests_per_second: None,
        accepted: None,
        signature_failure_status: 401,
        handshakes,
        handshake_secrets: std::collections::BTreeMap::new(),
        asks_with: std::sync::Arc::default(),
        forgotten: Vec::new(),
        allow_from: Vec::new(),
        client_certificate: None,
        self_test: false,
        parameters: std::collections::BTreeMap::new(),
        held_bytes: std::sync::Arc::default(),
    }
}

/// An endpoint whose partner file has these handshakes, with the key `our-signing-key`.
fn with(handshakes: &str) -> Endpoint {
    let written = crate::partners::handshakes_of(handshakes).expect("handshakes");
    let scheme = "algorithm = \"hmac-sha256\"\nsecret = { as = \"text\" }\nvalue = { path = \"header.x-signature\", as = \"hex\" }\nmessage = \"{body}\"\nassurance = \"full\"";
    let key = Key::unchecked("main", "our-signing-key");
    let verify = ("verify".to_owned(), Ok::<_, NotConfigured>(Secret::new("our-verify-token")));
    Endpoint {
        check: SignatureCheck::Scheme(Schemes::parse(scheme).expect("a scheme").into()),
        keys: Ok(vec![key].into()),
        handshake_secrets: [verify].into(),
        ..endpoint("acme", written)
    }
}

fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> RawRequest {
    let mut request = RawRequest {
        method: method.to_owned(),
        target: target.to_owned(),
        version: "HTTP/1.1".to_owned(),
        headers: crate::model::Headers::default(),
        body: body.to_owned().into(),
        peer: None,
    };
    for (name, value) in headers {
        request.headers.push(name, (*value).to_owned());
    }
    request
}

/// Status and body, or the code of the refusal; nothing when it is no handshake.
fn told(endpoint: &Endpoint, request: &RawRequest, signed: bool) -> Option<String> {
    answered(endpoint, request, signed).map(|answer| match answer {
        Ok(answer) => format!("{} {}", answer.reply.status, answer.reply.body).trim_end().to_owned(),
        Err(refusal) => format!("{} {}", refusal.status().as_u16(), refusal.cause()),
    })
}

fn answered(endpoint: &Endpoint, request: &RawRequest, signed: bool) -> Option<Result<Answer, Refusal>> {
    met(endpoint, request, signed).map(|met| met.map(|met| met.answer))
}

fn get(endpoint: &Endpoint, target: &str) -> Option<String> {
    told(endpoint, &request("GET", target, &[], ""), false)
}

fn post(endpoint: &Endpoint, body: &str) -> Option<String> {
    told(endpoint, &request("POST", "/in/acme", &[], body), false)
}

#[test]
fn meta_is_sent_its_challenge_back_for_our_verify_token_only() {
    let meta = with(
        "[[handshake]]\nmethod = 'GET'\nwhen = { 'query.hub.mode' = 'subscribe' }\n\
         token = { path = 'query.hub.verify_token', secret = 'verify' }\necho = 'query.hub.challenge'",
    );
    let ours = "/in/acme?hub.mode=subscribe&hub.verify_token=our-verify-token";
    assert_eq!(get(&meta, &format!("{ours}&hub.challenge=1158201444")).as_deref(), Some("200 1158201444"));
    for theirs in ["", "&hub.verify_token=", "&hub.verify_token=our-verify-tokem"] {
        let target = format!("/in/acme?hub.mode=subscribe{theirs}&hub.challenge=1");
        assert_eq!(get(&meta, &target).as_deref(), Some("403 handshake_token"), "{theirs}");
    }
    let twice = format!("{ours}&hub.verify_token=x&hub.challenge=1");
    assert_eq!(get(&meta, &twice).as_deref(), Some("403 handshake_token"), "which one counts is not guessed");
    assert_eq!(get(&meta, "/in/acme?hub.mode=unsubscribe&hub.challenge=1"), None);
}

#[test]
fn a_token_that_cannot_be_had_is_our_fault() {
    let text = "[[handshake]]\nmethod = 'GET'\ntoken = { path = 'query.t', secret = 'verify' }";
    let mut broken = with(text);
    let missing = NotConfigured("the secret \"v\" from env:V: not set".to_owned());
    broken.handshake_secrets.insert("verify".to_owned(), Err(missing));
    assert_eq!(get(&broken, "/in/acme?t=x").as_deref(), Some("503 not_configured"));
    broken.handshake_secrets.clear();
    assert_eq!(get(&broken, "/in/acme?t=x").as_deref(), Some("503 not_configured"));
}

#[test]
fn websub_hubs_may_only_confirm_topics_we_expect() {
    let hub = with(
        "[[handshake]]\nmethod = 'GET'\nwhen = { 'query.hub.mode' = 'subscribe' }\n\
         one_of = { path = 'query.hub.topic', parameter = 'topics' }\necho = 'query.hub.challenge'",
    );
    let of =
        |topic: &str| get(&hub, &format!("/in/acme?hub.mode=subscribe&hub.topic={topic}&hub.challenge=c1"));
    assert_eq!(of("https://blog.example/feed").as_deref(), Some("200 c1"));
    assert_eq!(of("https://blog.example/fee").as_deref(), Some("404 handshake_not_expected"));
    assert_eq!(of("").as_deref(), Some("404 handshake_not_expected"));
}

#[test]
fn challenges_are_signed_for_x_zoom_linkedin_and_braintree() {
    let x = with(
        "[[handshake]]\nmethod = 'GET'\npresent = ['query.crc_token']\n\
         json = { response_token = { hmac = 'sha256', of = ['query.crc_token'], as = 'base64', prefix = 'sha256=' } }",
    );
    assert_eq!(
        get(&x, "/in/acme?crc_token=challenge").as_deref(),
        Some(r#"200 {"response_token":"sha256=TykjojYk8B7CXhf1OsQMAziwpIqu05dFnx3KorkjCwo="}"#)
    );
    let zoom = with(
        "[[handshake]]\nmethod = 'POST'\nwhen = { 'body.event' = 'endpoint.url_validation' }\n\
         json = { plainToken = { echo = 'body.payload.plainToken' }, encryptedToken = { hmac = 'sha256', of = ['body.payload.plainToken'], as = 'hex' } }",
    );
    let ask = |token: &str| {
        post(&zoom, &format!(r#"{{"event":"endpoint.url_validation","payload":{{"plainToken":"{token}"}}}}"#))
    };
    let code = "c77e47c17f541e2b17804f4cc7887deb3163e7b17d98969747e84a69672baa5f";
    let due = format!(r#"200 {{"encryptedToken":"{code}","plainToken":"qgg8vlvZRS6UYooatFL8Aw"}}"#);
    assert_eq!(ask("qgg8vlvZRS6UYooatFL8Aw"), Some(due));
    assert_eq!(ask("v0:1700000000:{}").as_deref(), Some("400 unsafe_handshake"));
    let braintree = with(
        "[[handshake]]\nmethod = 'GET'\npresent = ['query.bt_challenge']\nguard = '^[a-f0-9]{20,32}$'\n\
         text = { hmac = 'sha1', of = ['query.bt_challenge'], prefix = '{param.public_key}|' }",
    );
    assert_eq!(
        get(&braintree, "/in/acme?bt_challenge=20f9f8ed05f77439fe955c977e4c8a53").as_deref(),
        Some("200 pub_123|58c9955eabde1bb9d1b40ca505ca9cb567a2067a")
    );
    assert_eq!(get(&braintree, "/in/acme?bt_challenge=20F9").as_deref(), Some("400 unsafe_handshake"));
}

#[test]
fn ebay_is_told_the_hash_of_challenge_token_and_address() {
    let ebay = with(
        "[[handshake]]\nmethod = 'GET'\npresent = ['query.challenge_code']\n\
         json = { challengeResponse = { sha256 = ['query.challenge_code', 'secret.verify', 'param.url'] } }",
    );
    let due = hex::encode(crate::signatures::digest_challenge([
        &b"a1b2"[..],
        b"our-verify-token",
        b"https://hooks.example/in/acme",
    ]));
    let told = get(&ebay, "/in/acme?challenge_code=a1b2").expect("a handshake");
    assert_eq!(told, format!(r#"200 {{"challengeResponse":"{due}"}}"#));
}

#[test]
fn headers_are_sent_back_and_methods_without_a_body_are_answered() {
    let cloud_events = with(
        "[[handshake]]\nmethod = 'OPTIONS'\npresent = ['header.webhook-request-origin']\n\
         headers = { 'WebHook-Allowed-Origin' = { echo = 'header.webhook-request-origin' }, 'WebHook-Allowed-Rate' = 120, 'Allow' = 'POST' }\n\
         [[handshake]]\nmethod = 'HEAD'",
    );
    let ask = request("OPTIONS", "/in/acme", &[("WebHook-Request-Origin", "events.example")], "");
    let answer = answered(&cloud_events, &ask, false).expect("a handshake").expect("answered");
    let headers: Vec<_> =
        answer.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let due =
        [("allow", "POST"), ("webhook-allowed-origin", "events.example"), ("webhook-allowed-rate", "120")];
    assert_eq!((answer.reply.status, headers), (200, due.to_vec()));
    let split = request("OPTIONS", "/in/acme", &[("WebHook-Request-Origin", "a\r\nset-cookie: b")], "");
    assert_eq!(told(&cloud_events, &split, false).as_deref(), Some("400 unsafe_handshake"));
    assert_eq!(told(&cloud_events, &request("HEAD", "/in/acme", &[], ""), false).as_deref(), Some("200"));
}

#[test]
fn discord_gets_its_pong_once_the_signature_held() {
    let discord = with(
        "[[handshake]]\nsigned = true\nmethod = 'POST'\nwhen = { 'body.type' = '1' }\njson = { type = 1 }\n\
         [[handshake]]\nsigned = true\nmethod = 'POST'\nwhen = { 'body.type' = '0' }\nstatus = 204",
    );
    let ping = |body: &str, signed| told(&discord, &request("POST", "/in/acme", &[], body), signed);
    assert_eq!(ping(r#"{"type":1}"#, true).as_deref(), Some(r#"200 {"type":1}"#));
    assert_eq!(ping(r#"{"type":0}"#, true).as_deref(), Some("204"));
    assert_eq!(
        ping(r#"{"type":1}"#, false),
        None,
        "an unsigned ping is left to the signature, which refuses it"
    );
}

const MONDAY: &str = "[[handshake]]\nmethod = 'POST'\nonly_key = 'challenge'\njson = { challenge = { echo = 'body.challenge' } }";
const GRAPH: &str = "[[handshake]]\nmethod = 'POST'\npresent = ['query.validationToken']\n\
                     guard = '^[A-Za-z0-9 :.-]{1,300}$'\necho = 'query.validationToken'";

/// Attack: a delivery that is made to look like a handshake would be answered and lost.
#[test]
fn a_handshake_does_not_shadow_a_delivery() {
    let monday = with(MONDAY);
    assert_eq!(post(&monday, r#"{"challenge":"3eZb"}"#).as_deref(), Some(r#"200 {"challenge":"3eZb"}"#));
    for delivery in [
        r#"{"challenge":"3eZb","event":{"type":"create_item"}}"#,
        r#"{"event":{"challenge":"3eZb"}}"#,
        r#"{"challenge":"3eZb","challenge":"3eZb"}"#,
        r#"[{"challenge":"3eZb"}]"#,
        "challenge=3eZb&x=1",
        "not json",
    ] {
        assert_eq!(post(&monday, delivery), None, "{delivery}");
    }

    let graph = with(GRAPH);
    let ask = |body: &str| {
        told(&graph, &request("POST", "/in/acme?validationToken=Validation%3A+a-1", &[], body), false)
    };
    assert_eq!(ask("").as_deref(), Some("200 Validation: a-1"));
    assert_eq!(ask(r#"{"value":[{"id":"1"}]}"#), None, "somebody wrote the parameter onto a delivery");

    let padded = format!(r#"{{"challenge":"{}"}}"#, "a".repeat(20_000));
    assert_eq!(post(&monday, &padded), None, "too large for a handshake");
    let swallowing = crate::partners::handshakes_of("[[handshake]]\nmethod = 'POST'\nstatus = 200");
    assert_eq!(swallowing.expect_err("refused at load"), ["handshake_swallows"]);
}

/// Attack: what a browser is sent back must not become a page or a script in it.
#[test]
fn nothing_reflected_is_markup() {
    let dropbox =
        with("[[handshake]]\nmethod = 'GET'\npresent = ['query.challenge']\necho = 'query.challenge'");
    for attack in [
        "%3Cscript%3Ealert(1)%3C/script%3E",
        "%3Cimg%20src=x%20onerror=alert(1)%3E",
        "a%0d%0aset-cookie:%20x=y",
        "%22%3E%3Csvg",
        "javascript:alert(1)",
        "%EF%BC%9Cscript",
        "%00",
        "",
    ] {
        let told = get(&dropbox, &format!("/in/acme?challenge={attack}"));
        assert_eq!(told.as_deref(), Some("400 unsafe_handshake"), "{attack}");
    }
    let long = format!("/in/acme?challenge={}", "a".repeat(513));
    assert_eq!(get(&dropbox, &long).as_deref(), Some("400 unsafe_handshake"));
    for page in ["text/html", "image/svg+xml", "application/javascript", "text/plain;charset=utf-7"] {
        let text = format!("[[handshake]]\nmethod = 'GET'\ncontent_type = '{page}'\necho = 'query.c'");
        let refused = crate::partners::handshakes_of(&text).expect_err("refused at load");
        assert_eq!(refused, ["handshake_content_type"], "{page}");
    }
    for header in ["Set-Cookie", "Location", "Content-Type", "Access-Control-Allow-Origin", "a:b"] {
        let text =
            format!("[[handshake]]\nmethod = 'GET'\nheaders = {{ '{header}' = {{ echo = 'query.c' }} }}");
        let refused = crate::partners::handshakes_of(&text).expect_err("refused at load");
        assert_eq!(refused, ["handshake_header"], "{header}");
    }
}

/// Attack: the handshake signs with the key of the deliveries. Whoever asks it to sign a delivery, or posts what it signed
/// as one, gets nowhere.
#[test]
fn a_handshake_is_no_signing_oracle() {
    const SIGNING: &str = "[[handshake]]\nmethod = 'GET'\npresent = ['query.c']\n\
                           json = { r = { hmac = 'sha256', of = ['query.c'] } }";
    let oracle = with(SIGNING);
    for wanted in [
        "v0%3A1700000000%3A%7B%7D",
        "1700000000.%7B%7D",
        "%7B%22type%22%3A%22payout%22%7D",
        "%5B1%5D",
        "a%26b",
        "%22text%22",
        "a%20b",
        &"a".repeat(129),
    ] {
        let told = get(&oracle, &format!("/in/acme?c={wanted}"));
        assert_eq!(told.as_deref(), Some("400 unsafe_handshake"), "{wanted}");
    }
    let code = |body: &str| {
        refuse_no_delivery(&oracle, &request("POST", "/in/acme", &[], body)).map_err(|it| it.cause())
    };
    for signed_for_anyone in ["123", "true", "null", "abc", "a=b", ""] {
        assert_eq!(code(signed_for_anyone), Err("signature_malformed"), "{signed_for_anyone}");
    }
    for delivery in [r#"{"id":1}"#, "[]", "a=b&c=d", &"1".repeat(129)] {
        assert_eq!(code(delivery), Ok(()), "{delivery}");
    }
    let echoing = with(MONDAY);
    assert_eq!(
        refuse_no_delivery(&echoing, &request("POST", "/in/acme", &[], "123")),
        Ok(()),
        "it signs nothing"
    );
    for guard in ["^[A-Za-z0-9:]{1,9}$", "^[A-Za-z0-9.]{1,9}$", "^[ -~]{1,9}$", "^.{1,9}$"] {
        let refused = crate::partners::handshakes_of(&format!("{SIGNING}\nguard = '{guard}'"));
        assert_eq!(refused.expect_err("refused at load"), ["handshake_guard"], "{guard}");
    }
}

/// Attack: a link that is visited from inside must be the partner's own, in its one spelling.
#[test]
fn only_a_link_of_the_verified_host_is_visited() {
    let sns = with(
        "[[handshake]]\nsigned = true\nmethod = 'POST'\nwhen = { 'body.Type' = 'SubscriptionConfirmation' }\n\
         confirm = 'body.SubscribeURL'\nconfirm_host = 'body.SigningCertURL'\nconfirm_within = '3d'",
    );
    let link = |url: &str| {
        let body = serde_json::json!({
            "Type": "SubscriptionConfirmation", "SubscribeURL": url,
            "SigningCertURL": "https://sns.eu-west-1.amazonaws.com/cert.pem",
        });
        let request = request("POST", "/in/acme", &[], &body.to_string());
        met(&sns, &request, true).expect("a handshake").map(|met| met.link.map(|(link, _)| link))
    };
    let theirs = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=2336";
    assert_eq!(link(theirs), Ok(Some(theirs.to_owned())));
    for attack in [
        "https://sns.eu-west-1.amazonaws.com.evil.example/?Token=1",
        "https://sns.us-east-1.amazonaws.com/?Token=1",
        "https://evil@sns.eu-west-1.amazonaws.com/",
        "https://sns.eu-west-1.amazonaws.com:8443/",
        "http://sns.eu-west-1.amazonaws.com/",
        "https://169.254.169.254/latest/meta-data/",
        "https://localhost/",
        "file:///etc/passwd",
        "",
    ] {
        assert_eq!(link(attack), Err(Refusal::UnsafeHandshake), "{attack}");
    }
}

#[test]
fn strangers_cannot_have_handshakes_answered_without_end() {
    let rates = crate::intake::rates::Rates::default();
    let endpoint = endpoint("acme", Vec::new());
    let answered = (0..100).filter(|_| rates.admit_handshake(&endpoint).is_ok()).count();
    assert!((20..100).contains(&answered), "{answered}");
}

proptest! {
    #[test]
    fn nothing_unsafe_is_ever_sent_back(challenge in ".{0,40}") {
        let monday = with(MONDAY);
        let body = serde_json::json!({ "challenge": challenge }).to_string();
        if let Some(Ok(answer)) = answered(&monday, &request("POST", "/in/acme", &[], &body), false) {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~+/=".contains(&byte);
            prop_assert!(challenge.bytes().all(plain));
            prop_assert_eq!(answer.reply.body, serde_json::json!({ "challenge": challenge }).to_string());
        }
    }
}
