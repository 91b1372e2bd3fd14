//! Room `signatures`: a message of Amazon SNS, step by step: its type and version, whose topic it is of, the lines that are
//! signed, and by which key.

use base64::{Engine, engine::general_purpose::STANDARD};
use vrl::value::{ObjectMap, Value};

use super::{
    Step,
    bodies::bodies,
    known_keys::Made,
    shown::{from_now, shortened, value, with_hint},
    tried::Tried,
};
use crate::{
    model::{RawRequest, Timestamp},
    signatures::{
        Algorithm, JwsAlgorithm, Key, PublicKey, Scheme, View,
        sns::{Sns, signed},
    },
};

/// How many bytes of the lines that are signed are shown.
const SHOWN_LINES_BYTES: usize = 600;

/// Everything but the verdict.
pub(super) fn explain(
    sns: &Sns,
    scheme: &Scheme,
    keys: &[Key],
    view: &View<'_>,
    now: Timestamp,
) -> Vec<Step> {
    let Some(body) = view.body.as_object() else {
        let found = with_hint("it is no SNS message", raw_delivery(view.request));
        return vec![Step::new(false, "body", found)];
    };
    let mut steps =
        vec![
            field(body, "Type", |text| match text {
                "Notification" | "SubscriptionConfirmation" | "UnsubscribeConfirmation" => Ok(()),
                _ => Err("it is none of Notification, SubscriptionConfirmation and UnsubscribeConfirmation"
                    .to_owned()),
            }),
            field(body, "SignatureVersion", version),
            field(body, "TopicArn", |text| {
                let ours = sns.topics.iter().any(|topic| topic == text);
                if ours { Ok(()) } else { Err(format!("the endpoint's are {}", sns.topics.join(", "))) }
            }),
        ];
    steps.extend(sent(body, now));
    match signed(body) {
        Err(error) => steps.push(Step::new(false, "signed message", error.to_string())),
        Ok(lines) => {
            steps.push(Step::new(true, "signed message", shortened(&lines, SHOWN_LINES_BYTES)));
            steps.extend(explain_signature(scheme, keys, (body, &lines), now));
        }
    }
    steps
}

/// What a message looks like that SNS sent without its envelope.
pub(super) fn raw_delivery(request: &RawRequest) -> Option<&'static str> {
    let raw = request.headers.all("x-amz-sns-rawdelivery").any(|value| value.0.eq_ignore_ascii_case(b"true"));
    raw.then_some(
        "raw message delivery is on, and raw messages are not signed: turn it off for the subscription",
    )
}

/// One field, and whether it is as it must be.
fn field(body: &ObjectMap, name: &str, judge: impl Fn(&str) -> Result<(), String>) -> Step {
    let Some(said) = body.get(name) else { return Step::new(false, name, "it is missing") };
    let text = said.as_bytes().and_then(|text| std::str::from_utf8(text).ok());
    let Some(text) = text else { return Step::new(false, name, format!("{}; it is no text", value(said))) };
    match judge(text) {
        Ok(()) => Step::new(true, name, value(said)),
        Err(why) => Step::new(false, name, format!("{}; {why}", value(said))),
    }
}

fn version(text: &str) -> Result<(), String> {
    match text {
        "2" => Ok(()),
        "1" => Err("that is SHA-1, which is not believed: set the topic's attribute SignatureVersion to 2"
            .to_owned()),
        _ => Err("only 2 is known".to_owned()),
    }
}

/// When it was sent. No window is held to it: the confirmations of SNS can be old.
fn sent(body: &ObjectMap, now: Timestamp) -> Option<Step> {
    let text = body.get("Timestamp")?.as_bytes()?;
    let at = Timestamp::from_rfc3339(std::str::from_utf8(text).ok()?)?;
    Some(Step::new(true, "Timestamp", format!("{}; no window is held to it", from_now(at, now))))
}

fn explain_signature(
    scheme: &Scheme,
    keys: &[Key],
    (body, lines): (&ObjectMap, &[u8]),
    now: Timestamp,
) -> Vec<Step> {
    let signature = match decoded(body) {
        Ok(signature) => signature,
        Err(found) => return vec![Step::new(false, "Signature", found)],
    };
    let made = Made { algorithm: JwsAlgorithm::RS256, signed: lines, signature: &signature };
    let mut steps = vec![Step::new(true, "Signature", format!("{} bytes, as base64", signature.len()))];
    let own = made.steps(scheme, keys, now, |_| None);
    let none = !own.is_empty() && own.iter().all(|step| !step.ok);
    steps.extend(own);
    if none {
        steps.push(Step::new(false, "common mistakes", mistake(scheme, keys, body, &made)));
    }
    steps
}

fn decoded(body: &ObjectMap) -> Result<Vec<u8>, String> {
    let said = body.get("Signature").ok_or("it is missing")?;
    let text = said.as_bytes().ok_or("it is no text")?;
    STANDARD.decode(text).map_err(|_| "it is not base64".to_owned())
}

/// Why no key made the signature.
fn mistake(scheme: &Scheme, keys: &[Key], body: &ObjectMap, made: &Made<'_>) -> String {
    if keys.iter().any(|key| by_sha1(key, made)) {
        return "it is a signature of version 1 (SHA-1), whatever SignatureVersion says".to_owned();
    }
    let messages = [("", made.signed.to_vec())].into_iter().chain(others(body)).collect();
    let tried =
        Tried { algorithm: made.algorithm, called: JwsAlgorithm::name, messages, signature: made.signature };
    let unexplained = || {
        "no common mistake explains it: the key of another certificate made it, or a signed field was changed on its way"
            .to_owned()
    };
    tried.found(scheme.secret(), keys).unwrap_or_else(unexplained)
}

fn by_sha1(key: &Key, made: &Made<'_>) -> bool {
    let sha1 = Algorithm::RsaPkcs1Sha1;
    let key = key.public_der().and_then(|der| PublicKey::from_spki(sha1, &der).ok());
    let message = made.signed.into();
    key.is_some_and(|key| sha1.holds(&Key::public("", key), &message, &[made.signature.to_vec()]).into())
}

/// The lines of messages that this one may have been.
fn others(body: &ObjectMap) -> Vec<(&'static str, Vec<u8>)> {
    let with = |name: &str, value: Option<Value>| {
        let mut other = body.clone();
        match value {
            Some(value) => other.insert(name.into(), value),
            None => other.remove(name),
        };
        signed(&other).ok()
    };
    let message = body.get("Message").and_then(Value::as_bytes).map(|text| text.to_vec()).unwrap_or_default();
    let altered = bodies(&message).into_iter();
    let altered =
        altered.map(|(how, text)| (of_message(how), with("Message", Some(Value::from(text.as_slice())))));
    let subjects = [
        ("the message had no subject", with("Subject", None)),
        ("the subject was empty", with("Subject", Some(Value::from("")))),
    ];
    altered.chain(subjects).filter_map(|(how, lines)| Some((how, lines?))).collect()
}

/// Of the field Message, what is said of bodies.
fn of_message(how: &'static str) -> &'static str {
    if how.contains("line break") || how.contains("carriage") {
        "the line breaks of Message were others"
    } else {
        "the text of Message was written in another way (white space or escapes)"
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        encoding::AsDer,
        rand::SystemRandom,
        rsa::{KeyPair as RsaKeyPair, KeySize},
        signature::{KeyPair, RSA_PKCS1_SHA256},
    };
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::signatures::{
        explain::{
            explain as told_of,
            tests::{all, differences},
        },
        tests::request,
    };

    const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:orders";
    const SNS: &str = r#"
algorithm = "sns"
sns       = { topics = ["arn:aws:sns:eu-west-1:123456789012:orders"] }
keys      = { certificate = "body.SigningCertURL", hosts = ["sns.{region}.amazonaws.com"], path = "/*.pem", subjects = ["sns.amazonaws.com"], chain = false }
assurance = "partial"
"#;

    /// A key, and its signature of version 1 of the notification; made with another implementation.
    const SHA1_KEY: &str = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAySeco6gelPJH5f5CQ1NjRjNLFhvyCGLYL2BHyzZcLFxQpPd8HaLYqAF0Sm4v69gSlmTtGQxbHAQTh8klRlz4Ld4+hpggi4KBrON+QLz8NPM1OdIX0qyjXAQN2OnM1oGKvvxmy59yq0VkX4t4SmFsvtuxUrHgNVdnyUzyim4HE60qmvCa/YkE5M5AH7juLfbrx59ztpdc5l2kL2/kdtwm4S1AiCprt9kIr/1nOXvbJwxjrS5Eut0FeR8/UdTQ4ADhBKU1aXwNf17bE2HBFwu2n7Air1aOWGhrD61knTB7Comlrf8QWBAHWD6ZlvPt8AjyvgRvmd/u0U6V2madgaqxfwIDAQAB";
    const BY_SHA1: &str = "NKI8RyCKeKw6miim0RxgclOBMSJUnfj9y7haEQV7oNkFX/a1/HnTvmXWZkiW2e+tBpmXisQrnPtVASRHaf1s8TX0fvC1CXjOSpEBSlcVf1JE8Ylj7qFkwEIQnM3pqik+OmWg4mX5iAAhNzDr4Svax51WZ+pEFL3fQOeptaCMJd5sjMmT0QDxRWOQKvk8Vco5dzYHNQ2W2Lkom5wJ0IAoHoXnjPk6pjeiAmLVNUCSGqV70J3uPDvfbeQqtdz75G4EXdtOAl/ECRbQOmx4vv5BHybCbXR5r/XxTlUKmkEmcNUvjwscgtoHww8KuWSH5vBsEaf2mShrzGC43FCjxwFTNA==";

    fn notification() -> Json {
        json!({
            "Type": "Notification", "MessageId": "m-1", "TopicArn": TOPIC, "Subject": "s", "Message": "{\"a\": 1}\n",
            "Timestamp": "2023-11-14T22:13:00.000Z", "SignatureVersion": "2",
            "SigningCertURL": "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-a.pem",
        })
    }

    fn sign(pair: &RsaKeyPair, message: &Json) -> String {
        let body = crate::model::strict_json::read(message.to_string().as_bytes()).expect("JSON");
        let lines = signed(body.as_object().expect("an object")).expect("lines");
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &lines, &mut signature).expect("signs");
        STANDARD.encode(signature)
    }

    /// What is told of a message that is signed as `signed` and sent as `sent`.
    fn steps(pair: &RsaKeyPair, signed: &Json, mut sent: Json) -> Vec<Step> {
        if sent.get("Signature").is_none() {
            sent["Signature"] = json!(sign(pair, signed));
        }
        steps_of(pair, &request("POST", "/in/sns", &[], &sent.to_string()))
    }

    fn steps_of(pair: &RsaKeyPair, request: &RawRequest) -> Vec<Step> {
        steps_by(pair.public_key().as_der().expect("a key").as_ref(), request)
    }

    fn steps_by(spki: &[u8], request: &RawRequest) -> Vec<Step> {
        let key = PublicKey::from_spki(Algorithm::RsaPkcs1Sha256, spki).expect("a key");
        let scheme = Scheme::parse(SNS).unwrap_or_else(|error| panic!("{error:?}"));
        let now = Timestamp::from_seconds(1_700_000_000).expect("in range");
        told_of(&scheme, &[Key::public("SimpleNotificationService-a.pem", key)], request, now)
    }

    fn but(name: &str, value: Json) -> Json {
        let mut message = notification();
        match value {
            Json::Null => drop(message.as_object_mut().expect("an object").remove(name)),
            value => message[name] = value,
        }
        message
    }

    #[test]
    fn a_genuine_message_is_taken_apart() {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        insta::assert_snapshot!(all(&steps(&pair, &notification(), notification())));
    }

    #[test]
    fn messages_that_differ_are_told_apart() {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let genuine = notification();
        let stories = [
            (
                "another topic",
                genuine.clone(),
                but("TopicArn", json!("arn:aws:sns:eu-west-1:666666666666:orders")),
            ),
            ("version 1", genuine.clone(), but("SignatureVersion", json!("1"))),
            ("another type", genuine.clone(), but("Type", json!("Other"))),
            (
                "a host of somebody else",
                genuine.clone(),
                but("SigningCertURL", json!("https://sns.evil.example/a.pem")),
            ),
            ("no certificate", genuine.clone(), but("SigningCertURL", Json::Null)),
            ("the message was changed", genuine.clone(), but("Message", json!("hello"))),
            ("line breaks were lost", genuine.clone(), but("Message", json!("{\"a\": 1}"))),
            ("white space was lost", genuine.clone(), but("Message", json!("{\"a\":1}"))),
            ("a subject was added", but("Subject", Json::Null), genuine.clone()),
            ("a line break in a field", genuine.clone(), but("MessageId", json!("m\nx"))),
            ("no signature", genuine.clone(), but("Signature", json!(7))),
            ("no base64", genuine.clone(), but("Signature", json!("*"))),
        ];
        let told = |(title, signed, sent): (&str, Json, Json)| {
            format!("== {title}\n{}", differences(&steps(&pair, &signed, sent)))
        };
        insta::assert_snapshot!(stories.map(told).join("\n"));
    }

    #[test]
    fn raw_messages_and_signatures_of_sha1_are_named() {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let raw = request("POST", "/in/sns", &[("x-amz-sns-rawdelivery", "true")], "hello");
        let told = differences(&steps_of(&pair, &raw));
        assert!(told.contains("raw message delivery is on"), "{told}");
        let raw = request("POST", "/in/sns", &[("x-amz-sns-rawdelivery", "true")], "[1]");
        assert!(differences(&steps_of(&pair, &raw)).contains("raw message delivery is on"));
        let sha1 = request("POST", "/in/sns", &[], &but("Signature", json!(BY_SHA1)).to_string());
        let told = differences(&steps_by(&STANDARD.decode(SHA1_KEY).expect("base64"), &sha1));
        assert!(told.contains("version 1 (SHA-1)"), "{told}");
        let stranger = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let other = but("Signature", json!(sign(&stranger, &notification())));
        assert!(differences(&steps(&pair, &notification(), other)).contains("another certificate"));
    }
}
