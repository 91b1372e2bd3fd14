//! Room `signatures`: why a request does or does not verify, step by step, for a person at `douane verify --explain`.
//! Shows what stands in the request; never a secret, and never the signature that would have been right.

use std::time::Duration;

use super::{
    Algorithm, Branch, Family, How, Key, Message, Place, Scheme, Schemes, Stamp, View,
    evidence::{Evidence, candidates, check_required, gather, read_body, sent_at, views},
    keys_of, mistakes,
    verify::{judge, matching},
};
use crate::model::{RawRequest, Timestamp};

/// How many items of a batch are explained one by one.
const MAX_EXPLAINED_ITEMS: usize = 10;

/// How many bytes of a message are shown.
const SHOWN_BYTES: usize = 200;

/// One step of an explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was looked at.
    pub what: String,
    /// What was found.
    pub found: String,
}

impl Step {
    fn new(ok: bool, what: impl Into<String>, found: impl Into<String>) -> Self {
        Self { ok, what: what.into(), found: found.into() }
    }
}

/// Step by step why a request does or does not verify. The last step is the verdict, by the code that serves live requests.
pub fn explain(scheme: &Scheme, keys: &[Key], request: &RawRequest, now: Timestamp) -> Vec<Step> {
    if scheme.has_published_keys() && keys.is_empty() {
        let found = "the sender publishes its keys; they are fetched for live requests only";
        return vec![Step::new(false, "keys", found)];
    }
    if scheme.special.is_some() {
        return vec![verdict(scheme, keys, request, now)];
    }
    let mut steps = Vec::new();
    match read_body(scheme, request) {
        Err(error) => steps.push(Step::new(false, "body", error.to_string())),
        Ok(body) => match views(scheme, request, &body) {
            Err(error) => steps.push(Step::new(false, "signed items", error.to_string())),
            Ok(views) => steps.extend(explain_views(scheme, keys, &views, now)),
        },
    }
    steps.push(verdict(scheme, keys, request, now));
    steps
}

/// The same for an endpoint that may have several schemes: which of them counts and why comes first.
pub fn explain_schemes(schemes: &Schemes, keys: &[Key], request: &RawRequest, now: Timestamp) -> Vec<Step> {
    if let Some(scheme) = schemes.single() {
        return explain(scheme, keys, request, now);
    }
    let mut steps = vec![selection(schemes, request)];
    for (at, branch) in schemes.branches().iter().enumerate() {
        if schemes.how() == How::AllOf || schemes.selected(request) == Ok(at) {
            let own = explain(&branch.scheme, keys_of(keys, at), request, now).into_iter();
            steps.extend(own.map(|step| Step { what: format!("{}: {}", branch.name, step.what), ..step }));
        }
    }
    steps.push(match schemes.judge(keys, request, now) {
        Ok(held) => {
            let (secret, worth) = (held.secret_id.unwrap_or_default(), held.assurance.as_str());
            Step::new(true, "verdict", format!("verified by secret {secret:?}; assurance {worth}"))
        }
        Err(error) => Step::new(false, "verdict", format!("refused: {error} ({})", error.code())),
    });
    steps
}

/// Which scheme counts, and why.
fn selection(schemes: &Schemes, request: &RawRequest) -> Step {
    let names: Vec<&str> = schemes.branches().iter().map(|branch| branch.name.as_str()).collect();
    if schemes.how() == How::AllOf {
        return Step::new(true, "schemes", format!("each of {} must verify", names.join(", ")));
    }
    match schemes.selected(request).map(|at| &schemes.branches()[at]) {
        Ok(Branch { name, when: Some(when), .. }) => {
            Step::new(true, "scheme", format!("{name:?}, because {when}; its verdict is final"))
        }
        Ok(Branch { name, .. }) => {
            Step::new(true, "scheme", format!("{name:?}, because no earlier one is asked for"))
        }
        Err(error) => {
            Step::new(false, "scheme", format!("none of {} is asked for: {error}", names.join(", ")))
        }
    }
}

fn verdict(scheme: &Scheme, keys: &[Key], request: &RawRequest, now: Timestamp) -> Step {
    match judge(scheme, keys, request, now) {
        Ok(verification) => {
            let secret = verification.secret_id.unwrap_or_default();
            let covers = scheme.covers().join(", ");
            let found = format!(
                "verified by secret {secret:?}; assurance {}; covers {covers}",
                scheme.assurance().as_str()
            );
            Step::new(true, "verdict", found)
        }
        Err(error) => Step::new(false, "verdict", format!("refused: {error} ({})", error.code())),
    }
}

fn explain_views(scheme: &Scheme, keys: &[Key], views: &[View<'_>], now: Timestamp) -> Vec<Step> {
    let Some(items) = scheme.signed_items() else {
        return views.iter().flat_map(|view| explain_view(scheme, keys, view, now)).collect();
    };
    let mut steps = vec![Step::new(true, "signed items", format!("{} at {items}", views.len()))];
    for (number, view) in views.iter().enumerate().take(MAX_EXPLAINED_ITEMS) {
        let item = explain_view(scheme, keys, view, now).into_iter();
        steps.extend(item.map(|step| Step { what: format!("item {number}: {}", step.what), ..step }));
    }
    steps.extend(explain_one_secret(scheme, keys, views, now));
    steps
}

/// Items that are each genuine can still be no batch: a sender signs a batch under one secret.
fn explain_one_secret(scheme: &Scheme, keys: &[Key], views: &[View<'_>], now: Timestamp) -> Option<Step> {
    let evidence = views.iter().map(|view| gather(scheme, view)).collect::<Result<Vec<_>, _>>().ok()?;
    let what = "one secret for all items";
    Some(match matching(scheme, keys, &evidence, now) {
        Some((key, _)) => Step::new(true, what, format!("{:?}", key.id)),
        None => Step::new(false, what, "no secret made all the signatures"),
    })
}

fn explain_view(scheme: &Scheme, keys: &[Key], view: &View<'_>, now: Timestamp) -> Vec<Step> {
    let mut steps = vec![explain_value(scheme, view)];
    if let Err(error) = check_required(scheme, view) {
        let wanted: Vec<_> =
            scheme.require().iter().map(|(path, text)| format!("{path} = {text:?}")).collect();
        steps.push(Step::new(false, "required texts", format!("{error}: {}", wanted.join(", "))));
    }
    steps.extend(scheme.timestamp().map(|stamp| explain_stamp(stamp, view, now)));
    match gather(scheme, view) {
        Ok(readings) => steps.extend(explain_match(scheme, keys, view, &readings, now)),
        Err(error) if steps.iter().all(|step| step.ok) => {
            steps.push(Step::new(
                false,
                "signed message",
                format!("{error}: needs {}", scheme.covers().join(", ")),
            ));
        }
        Err(_) => {}
    }
    steps
}

fn explain_value(scheme: &Scheme, view: &View<'_>) -> Step {
    let value = scheme.value();
    let what = format!("signature at {}", described(&value.place));
    match candidates(scheme, view) {
        Ok(found) => Step::new(
            true,
            what,
            format!("{} of {}, as {}", found.concat().len(), lengths(scheme.algorithm()), value.form),
        ),
        Err(error) => {
            let hint =
                mistakes::in_spelling(scheme, view).map(|hint| format!("; {hint}")).unwrap_or_default();
            Step::new(false, what, format!("{error}{hint}"))
        }
    }
}

fn lengths(algorithm: Algorithm) -> String {
    match algorithm.signature_len() {
        (from, to) if from == to => format!("{to} bytes"),
        (from, to) => format!("{from} to {to} bytes"),
    }
}

fn described(place: &Place) -> String {
    let paths: Vec<String> = place.paths().map(ToString::to_string).collect();
    let paths = paths.join(" or ");
    let numbered = if place.numbered { "1 and so on" } else { "" };
    let pair = place.pair.as_ref().map(|pair| format!(", pieces named {:?}", pair.name));
    let prefix = place.prefix.as_ref().map(|prefix| format!(", after {prefix:?}"));
    format!("{paths}{numbered}{}{}", pair.unwrap_or_default(), prefix.unwrap_or_default())
}

fn explain_stamp(stamp: &Stamp, view: &View<'_>, now: Timestamp) -> Step {
    let what = format!("timestamp at {}", described(&stamp.at.place));
    let from_now = |time: &Timestamp| now.since(*time).max(time.since(now));
    let time = match sent_at(stamp, view) {
        Ok(times) => times.into_iter().map(|(_, time)| time).min_by_key(from_now).unwrap_or(now),
        Err(error) => return Step::new(false, what, error.to_string()),
    };
    let (distance, side) =
        if time > now { (time.since(now), "after now") } else { (now.since(time), "before now") };
    let hint = mistakes::in_unit(stamp, view, now).map(|hint| format!("; {hint}")).unwrap_or_default();
    let found = format!("{time}, {} {side}; {} is tolerated{hint}", human(distance), human(stamp.tolerance));
    Step::new(distance <= stamp.tolerance, what, found)
}

fn human(duration: Duration) -> String {
    humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string()
}

fn explain_match(
    scheme: &Scheme,
    keys: &[Key],
    view: &View<'_>,
    readings: &[Evidence<'_>],
    now: Timestamp,
) -> Vec<Step> {
    let algorithm = scheme.algorithm();
    let shown = |one: &Evidence<'_>| Step::new(true, "signed message", shown_message(&one.message));
    let mut steps: Vec<_> = match algorithm.family() {
        Family::Shared => Vec::new(),
        _ => readings.iter().map(shown).collect(),
    };
    let holds =
        |key: &Key, one: &Evidence<'_>| bool::from(algorithm.holds(key, &one.message, &one.candidates));
    let made = |key: &Key| key.counts_at(now) && readings.iter().any(|one| holds(key, one));
    let any = keys.iter().any(made);
    for key in keys {
        let found = if !key.counts_at(now) {
            "does not count at this time (not_before, not_after)"
        } else if made(key) {
            "made this signature"
        } else {
            "did not make this signature"
        };
        steps.push(Step::new(any, format!("secret {:?}", key.id), found));
    }
    if !any {
        let candidates: Vec<_> = readings.iter().flat_map(|one| one.candidates.clone()).collect();
        steps.push(Step::new(
            false,
            "common mistakes",
            mistakes::in_signing(scheme, keys, view, &candidates),
        ));
    }
    steps
}

/// A message for people: the secret in it is named, not shown.
fn shown_message(message: &Message<'_>) -> String {
    shown(&message.pieces_with(b"{secret}").collect::<Vec<_>>().concat())
}

fn shown(message: &[u8]) -> String {
    let start = message.get(..SHOWN_BYTES).unwrap_or(message).escape_ascii();
    match message.len().checked_sub(SHOWN_BYTES) {
        Some(rest) if rest > 0 => format!("{start} … and {rest} bytes more"),
        _ => start.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use hmac::{Hmac, KeyInit, Mac};
    use sha2::Sha256;

    use super::*;
    use crate::{
        model::{Headers, PublicUrl, Secret},
        signatures::presets,
    };

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
        let scheme =
            Scheme::parse(&scheme).expect("a scheme").at(PublicUrl::parse("https://hooks.example").ok());
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
        explain_schemes(&schemes, &keys, request, now)
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
        let any = format!(
            "any_of = [{}, {}]",
            token("new", "when = { present = \"header.new\" }, "),
            token("old", "")
        );
        let shown = |name: &str, value: &str| told_by(&any, &request(BODY, &[(name, value.to_owned())]));
        let new = shown("new", "a-token-of-mine");
        assert_eq!(new[0].found, "\"new\", because header.new is present; its verdict is final");
        assert_eq!(
            new.last().map(|step| step.found.as_str()),
            Some("verified by secret \"a\"; assurance token")
        );
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

    #[test]
    fn a_long_message_is_cut() {
        assert_eq!(shown(&[b'a'; 250]), format!("{} … and 50 bytes more", "a".repeat(200)));
        assert_eq!(shown(b"a\n\xff"), "a\\n\\xff");
    }
}
