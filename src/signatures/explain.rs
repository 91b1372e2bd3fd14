//! Room `signatures`: why a request does or does not verify, step by step, for a person at `douane verify --explain`.
//! Shows what stands in the request; never a secret, and never the signature that would have been right.

use std::time::Duration;

use super::{
    Key, Place, Scheme, Stamp, View,
    evidence::{Evidence, candidates, gather, read_body, sent_at, views},
    mistakes,
    verify::{holds, judge, matching},
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
    steps.extend(explain_one_secret(scheme, keys, views));
    steps
}

/// Items that are each genuine can still be no batch: a sender signs a batch under one secret.
fn explain_one_secret(scheme: &Scheme, keys: &[Key], views: &[View<'_>]) -> Option<Step> {
    let evidence = views.iter().map(|view| gather(scheme, view)).collect::<Result<Vec<_>, _>>().ok()?;
    let what = "one secret for all items";
    Some(match matching(scheme.algorithm(), keys, &evidence) {
        Some((key, _)) => Step::new(true, what, format!("{:?}", key.id)),
        None => Step::new(false, what, "no secret made all the signatures"),
    })
}

fn explain_view(scheme: &Scheme, keys: &[Key], view: &View<'_>, now: Timestamp) -> Vec<Step> {
    let mut steps = vec![explain_value(scheme, view)];
    steps.extend(scheme.timestamp().map(|stamp| explain_stamp(stamp, view, now)));
    match gather(scheme, view) {
        Ok(readings) => steps.extend(explain_match(scheme, keys, view, &readings)),
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
            format!(
                "{} of {} bytes, as {}",
                found.concat().len(),
                scheme.algorithm().signature_len(),
                value.form
            ),
        ),
        Err(error) => {
            let hint =
                mistakes::in_spelling(scheme, view).map(|hint| format!("; {hint}")).unwrap_or_default();
            Step::new(false, what, format!("{error}{hint}"))
        }
    }
}

fn described(place: &Place) -> String {
    let others: String = place.others.iter().map(|path| format!(" or {path}")).collect();
    let numbered = if place.numbered { "1 and so on" } else { "" };
    let pair = place.pair.as_ref().map(|pair| format!(", pieces named {:?}", pair.name));
    let prefix = place.prefix.as_ref().map(|prefix| format!(", after {prefix:?}"));
    format!("{}{numbered}{others}{}{}", place.path, pair.unwrap_or_default(), prefix.unwrap_or_default())
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

fn explain_match(scheme: &Scheme, keys: &[Key], view: &View<'_>, readings: &[Evidence<'_>]) -> Vec<Step> {
    let shown = |one: &Evidence<'_>| Step::new(true, "signed message", shown(&one.message.to_vec()));
    let mut steps: Vec<_> = readings.iter().map(shown).collect();
    let algorithm = scheme.algorithm();
    let made =
        |key: &Key| readings.iter().any(|one| holds(algorithm, key, &one.message, &one.candidates).into());
    let any = keys.iter().any(made);
    for key in keys {
        let found = if made(key) { "made this signature" } else { "did not make this signature" };
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
        model::{Headers, Secret},
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
