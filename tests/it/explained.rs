//! `verify --explain` against what others signed: every vector of every preset is explained as it is judged, and nothing that
//! should stay secret is ever told.

use std::collections::BTreeMap;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use douane::{
    app::{Answered, Rehearsal},
    cli::sign::sign,
    model::{EndpointName, Headers, RawRequest, Secret, Timestamp},
    partners::SignatureCheck,
    signatures::{
        Roots, Scheme,
        explain::{Looked, Published, Step, explain, explain_schemes},
        presets,
    },
};
use proptest::prelude::*;

/// What is amiss with the explanation of a request that a gateway has answered; `None` when nothing is.
pub fn amiss(
    house: &Rehearsal,
    preset: &str,
    documents: &BTreeMap<String, String>,
    (request, now): (&RawRequest, Timestamp),
    answered: &Answered,
) -> Option<String> {
    let snapshot = house.registry().snapshot();
    let endpoint = snapshot.endpoints.get(&EndpointName::new(preset, "default"))?;
    let SignatureCheck::Scheme(schemes) = &endpoint.check else { return None };
    // What was a handshake is answered before it is verified.
    let code = match (&answered.refusal, answered.delivery) {
        (Some(code), _) => Some(code.as_str()),
        (None, Some(_)) => None,
        (None, None) => return None,
    };
    let own = endpoint.keys.as_deref().ok()?;
    let published = Published::of((schemes, own), request, &Roots::public(), now, |needed| {
        let document = documents.get(needed.url.as_str());
        document.map_or_else(
            || Looked::Nothing("404".to_owned()),
            |document| Looked::Fetched(document.clone().into_bytes()),
        )
    });
    let steps = explain_schemes(schemes, own, &published, request, now);
    let (verdict, before) = steps.split_last()?;
    let told = format!("{steps:#?}");
    let as_judged = match code {
        None => verdict.ok && before.iter().all(|step| step.ok),
        Some(code) => !verdict.ok && verdict.found.contains(code) && before.iter().any(|step| !step.ok),
    };
    (!as_judged || tells_a_signature(request, &told))
        .then(|| format!("answered {code:?}, and explained: {told}"))
}

/// Whether the signature of a token is told, which stands in a header or among the texts of the body.
fn tells_a_signature(request: &RawRequest, told: &str) -> bool {
    let values = request.headers.0.iter().filter(|(name, _)| !name.contains("digest"));
    let in_headers = values.map(|(_, value)| String::from_utf8_lossy(&value.0).into_owned());
    let body = String::from_utf8_lossy(&request.body);
    let texts = in_headers.chain(body.split('"').map(str::to_owned));
    let tokens = texts.filter(|text| text.matches('.').count() == 2 && text.contains("eyJ"));
    tokens
        .filter_map(|text| text.rsplit('.').next().map(str::to_owned))
        .any(|signature| signature.len() > 20 && told.contains(signature.as_str()))
}

fn request(body: &str) -> RawRequest {
    let mut headers = Headers::default();
    headers.push("webhook-id", "msg_1");
    RawRequest {
        method: "POST".to_owned(),
        target: "/in/partner".to_owned(),
        version: "HTTP/1.1".to_owned(),
        headers,
        body: body.to_owned().into(),
        peer: None,
    }
}

/// Whatever in the headers of a request can only be a signature.
fn signatures_of(request: &RawRequest) -> Vec<String> {
    let long = |value: &[u8]| {
        let text = String::from_utf8_lossy(value).into_owned();
        let is_inside = |letter: char| letter.is_ascii_alphanumeric() || "+/_-".contains(letter);
        text.rsplit(|letter: char| !is_inside(letter)).find(|run| run.len() > 26).map(str::to_owned)
    };
    request.headers.0.iter().filter_map(|(_, value)| long(&value.0)).collect()
}

/// Presets of every family with a secret, and what anyone could be told of it.
const SHARED: [&str; 10] = [
    "adyen-platform",
    "fusionauth",
    "github",
    "gitlab",
    "messagebird",
    "monday",
    "shopify",
    "slack",
    "stripe",
    "vonage",
];

fn scheme(preset: &str) -> Option<Scheme> {
    let url = "https://hooks.example.com".to_owned().try_into().ok();
    presets::find(preset)?.schemes().ok()?.at(url.as_ref()).single().cloned()
}

fn told(steps: &[Step]) -> String {
    steps.iter().map(|step| format!("{}: {}", step.what, step.found)).collect::<Vec<_>>().join("\n")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn neither_a_secret_nor_the_right_signature_is_ever_told(
        secret in "[0-9A-F]{64}", other in "[0-9A-F]{64}", body in "\\{\"[a-z]{1,20}\": ?\"[a-z]{0,20}\"\\}",
        sent_body in "\\{\"[a-z]{1,20}\": ?\"[a-z]{0,20}\"\\}", skew in prop::sample::select(vec![0_i64, -4_000, 4_000]),
    ) {
        let now = Timestamp::from_seconds(1_790_000_000).expect("in range");
        let then = Timestamp::from_seconds(1_790_000_000 + skew).expect("in range");
        for scheme in SHARED.into_iter().filter_map(scheme) {
            let keys = [&secret, &other].map(|text| scheme.key("main", &Secret::new(text.as_str())).expect("a key"));
            for signer in &keys {
                let mut sent = request(&body);
                sign(&scheme, signer, &mut sent, then).expect("signed");
                let mut right = request(&sent_body);
                sign(&scheme, &keys[0], &mut right, then).expect("signed");
                if scheme.items().is_none() {
                    sent.body = right.body.clone();
                }
                let told = told(&explain(&scheme, &keys[..1], &sent, now));
                let bytes = keys[0].secret_bytes().expect("a secret");
                for hidden in [secret.clone(), hex::encode(bytes), STANDARD.encode(bytes), URL_SAFE_NO_PAD.encode(bytes)] {
                    prop_assert!(!told.contains(&hidden), "{told}");
                }
                for hidden in signatures_of(&right).into_iter().chain(signatures_of(&sent)) {
                    prop_assert!(!told.contains(&hidden), "{hidden}: {told}");
                }
            }
        }
    }

    #[test]
    fn no_request_makes_an_explanation_panic(
        value in "(Bearer )?[A-Za-z0-9_=+/-]{0,40}(\\.[A-Za-z0-9_=+/-]{0,40}){0,4}|sig1=.{0,60}|.{0,60}", input in "sig1=\\(.{0,60}|.{0,60}",
        body in ".{0,80}",
    ) {
        let now = Timestamp::from_seconds(1_790_000_000).expect("in range");
        for preset in SHARED.into_iter().chain(["http-message-signatures"]) {
            let Some(scheme) = scheme(preset) else { continue };
            let key = scheme.key("main", &Secret::new("QUFBQUFBQUFCQkJCQkJCQkNDQ0NDQ0ND")).or_else(|_| {
                scheme.key("main", &Secret::new("ab01".repeat(16)))
            });
            let mut forged = request(&body);
            let place = scheme.value().place.path.name().to_owned();
            for (name, text) in [(place.as_str(), &value), ("signature-input", &input), ("content-digest", &value)] {
                forged.headers.push(name, text.clone());
            }
            prop_assert!(explain(&scheme, &[key.expect("a key")], &forged, now).last().is_some_and(|last| !last.ok));
        }
    }
}
