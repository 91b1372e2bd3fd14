//! Room `intake`: handshakes: requests by which a partner's system proves our address, answered and not kept. They fail
//! closed: a handshake that matches but asks for something unsafe is refused, it does not become a delivery.

use super::{PublicDoor, Refusal};
use crate::{
    model::{BodyRules, FieldPath, Fields, RawRequest, Root, VerifiedRequest, read_body, strict_json},
    partners::{Endpoint, Handshake, Reply},
};

/// Handshakes are small. A larger body is not looked into; it can only be a delivery.
const MAX_HANDSHAKE_BODY_BYTES: usize = 16 * 1024;

/// The reply to a handshake that needs no signature; `None` when the request is none.
pub(super) fn unsigned(
    door: &PublicDoor,
    endpoint: &Endpoint,
    request: &RawRequest,
) -> Result<Option<Reply>, Refusal> {
    let reply = answer(endpoint, request, false)?;
    if reply.is_some() {
        door.notes.handshake(endpoint, false, door.clock.now());
    }
    Ok(reply)
}

/// The reply to a handshake whose signature held; `None` when the request is a delivery, which only a POST can be.
pub(super) fn signed(
    door: &PublicDoor,
    endpoint: &Endpoint,
    verified: &VerifiedRequest,
) -> Result<Option<Reply>, Refusal> {
    let reply = answer(endpoint, verified.request(), true)?;
    if reply.is_some() {
        door.notes.handshake(endpoint, true, door.clock.now());
    } else if verified.request().method != "POST" {
        return Err(Refusal::NoHandshake);
    }
    Ok(reply)
}

fn answer(endpoint: &Endpoint, request: &RawRequest, signed: bool) -> Result<Option<Reply>, Refusal> {
    let matching = endpoint
        .handshakes
        .iter()
        .filter(|handshake| handshake.signed == signed && handshake.method == request.method)
        .find(|handshake| matches(handshake, request));
    matching.map(|handshake| reply(handshake, request)).transpose()
}

fn matches(handshake: &Handshake, request: &RawRequest) -> bool {
    handshake.when.iter().all(|(path, expected)| text(request, path).is_some_and(|found| found == *expected))
}

fn reply(handshake: &Handshake, request: &RawRequest) -> Result<Reply, Refusal> {
    let echo = match &handshake.echo {
        None => String::new(),
        Some(path) => {
            let safe = text(request, path).filter(|text| is_safe(text, handshake.max_echo_bytes));
            safe.ok_or(Refusal::UnsafeHandshake)?
        }
    };
    Ok(Reply { status: handshake.status, content_type: Some(handshake.content_type.clone()), body: echo })
}

/// Only what no browser, log or signature could mistake for something else is sent back.
fn is_safe(text: &str, max_bytes: usize) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    !text.is_empty() && text.len() <= max_bytes && text.bytes().all(plain)
}

/// The text at a path. A body is parsed only for a path that looks into it, and one that cannot be read is no
/// handshake: whether it is a good delivery is not the door's business.
fn text(request: &RawRequest, path: &FieldPath) -> Option<String> {
    let body = match path.root() {
        Root::Header | Root::Query => strict_json::read(b"null").ok()?,
        Root::Body | Root::Item if request.body.len() > MAX_HANDSHAKE_BODY_BYTES => return None,
        Root::Body | Root::Item => read_body(&request.headers, &request.body, &BodyRules::default()).ok()?,
    };
    Fields { headers: &request.headers, query: request.query(), body: &body, item: &body }.text(path)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        model::{EndpointName, Headers},
        partners::SignatureCheck,
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
            held_bytes: std::sync::Arc::default(),
        }
    }

    fn handshake(method: &str, when: &[(&str, &str)], echo: Option<&str>) -> Handshake {
        let path = |text: &str| FieldPath::parse(text).expect("a path");
        Handshake {
            signed: false,
            method: method.to_owned(),
            when: when.iter().map(|(at, text)| (path(at), (*text).to_owned())).collect(),
            status: 200,
            content_type: "text/plain".to_owned(),
            echo: echo.map(path),
            max_echo_bytes: 32,
        }
    }

    fn request(method: &str, target: &str, body: &str) -> RawRequest {
        RawRequest {
            method: method.to_owned(),
            target: target.to_owned(),
            version: "HTTP/1.1".to_owned(),
            headers: Headers::default(),
            body: body.to_owned().into(),
            peer: None,
        }
    }

    fn told(endpoint: &Endpoint, request: &RawRequest) -> Result<Option<String>, Refusal> {
        answer(endpoint, request, false).map(|reply| reply.map(|reply| reply.body))
    }

    #[test]
    fn a_challenge_in_the_query_is_sent_back() {
        let when = [("query.hub.mode", "subscribe"), ("query.token", "ours")];
        let endpoint = endpoint("meta", vec![handshake("GET", &when, Some("query.hub.challenge"))]);
        let get = |target: &str| told(&endpoint, &request("GET", target, ""));
        assert_eq!(
            get("/in/meta?hub.mode=subscribe&token=ours&hub.challenge=11-58"),
            Ok(Some("11-58".to_owned()))
        );
        assert_eq!(get("/in/meta?hub.mode=subscribe&token=theirs&hub.challenge=1158"), Ok(None));
        assert_eq!(get("/in/meta?hub.mode=subscribe&token=ours&token=ours&hub.challenge=1158"), Ok(None));
        assert_eq!(told(&endpoint, &request("POST", "/in/meta?hub.mode=subscribe&token=ours", "")), Ok(None));
    }

    #[test]
    fn a_challenge_in_the_body_is_sent_back() {
        let when = [("body.type", "url_verification")];
        let endpoint = endpoint("slack", vec![handshake("POST", &when, Some("body.challenge"))]);
        let post = |body: &str| told(&endpoint, &request("POST", "/in/slack", body));
        assert_eq!(
            post(r#"{"type":"url_verification","challenge":"3eZbrw1aB"}"#),
            Ok(Some("3eZbrw1aB".to_owned()))
        );
        assert_eq!(post(r#"{"type":"event_callback","challenge":"3eZbrw1aB"}"#), Ok(None));
        assert_eq!(
            post(r#"{"type":"url_verification","type":"x","challenge":"a"}"#),
            Ok(None),
            "not one reading"
        );
        assert_eq!(post("not json"), Ok(None));
        let padded = format!(r#"{{"type":"url_verification","challenge":"a","p":"{}"}}"#, "x".repeat(20_000));
        assert_eq!(post(&padded), Ok(None), "too large for a handshake");
    }

    #[test]
    fn a_handshake_that_asks_for_more_is_refused() {
        let endpoint = endpoint("meta", vec![handshake("GET", &[], Some("query.c"))]);
        for unsafe_text in ["", "%3Cscript%3E", "a%20b", "a%0d%0ab", "v0:1:x", &"a".repeat(33)] {
            let refused = told(&endpoint, &request("GET", &format!("/in/meta?c={unsafe_text}"), ""));
            assert_eq!(refused, Err(Refusal::UnsafeHandshake), "{unsafe_text:?}");
        }
        assert_eq!(told(&endpoint, &request("GET", "/in/meta", "")), Err(Refusal::UnsafeHandshake));
    }

    #[test]
    fn a_signed_handshake_is_not_answered_unsigned() {
        let handshakes = vec![Handshake { signed: true, ..handshake("GET", &[], None) }];
        let endpoint = endpoint("x", handshakes);
        assert_eq!(told(&endpoint, &request("GET", "/in/x", "")), Ok(None));
        let reply = answer(&endpoint, &request("GET", "/in/x", ""), true).expect("safe").expect("matches");
        assert_eq!((reply.status, reply.body.as_str()), (200, ""));
    }

    proptest! {
        #[test]
        fn nothing_unsafe_is_ever_sent_back(challenge in ".{0,40}") {
            let endpoint = endpoint("slack", vec![handshake("POST", &[], Some("body.challenge"))]);
            let body = serde_json::json!({ "challenge": challenge }).to_string();
            if let Ok(Some(echo)) = told(&endpoint, &request("POST", "/in/slack", &body)) {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
                prop_assert!(echo.len() <= 32 && echo.bytes().all(plain));
                prop_assert_eq!(echo, challenge);
            }
        }
    }
}
