//! Room `signatures`: Amazon SNS, which signs other fields for each type of message, as lines of name and value. Version 2
//! of its signatures (SHA-256) only. Which topics count is the endpoint's to say: SNS signs for everyone.

use base64::{Engine, engine::general_purpose::STANDARD};
use vrl::value::{ObjectMap, Value};

use super::{JwsAlgorithm, Scheme, SignatureError, View, jose::algorithm::Material, special::Special};

/// What is signed of a notification, in this order; a subject that is absent is left out.
pub(super) const NOTIFICATION: [&str; 6] =
    ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"];
/// What is signed of the two confirmations.
pub(super) const CONFIRMATION: [&str; 7] =
    ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"];

/// The scheme of Amazon SNS.
#[derive(Clone, Debug)]
pub(super) struct Sns {
    /// The topics whose messages count.
    pub(super) topics: Vec<String>,
}

/// What a message shows.
pub(super) struct Shown {
    signed: Vec<u8>,
    signature: Vec<u8>,
}

impl Sns {
    /// What every message covers.
    pub(super) fn covers() -> Vec<String> {
        ["Message", "MessageId", "Timestamp", "TopicArn", "Type"].map(|name| format!("body.{name}")).to_vec()
    }

    /// Reads what a message shows; its topic must be one of ours.
    pub(super) fn shown(&self, view: &View<'_>) -> Result<Shown, SignatureError> {
        let body = view.body.as_object().ok_or(SignatureError::Malformed("the body is no SNS message"))?;
        if text(body, "SignatureVersion")? != "2" {
            return Err(SignatureError::Malformed("SignatureVersion is not 2: set it for the topic"));
        }
        if !self.topics.iter().any(|topic| text(body, "TopicArn").is_ok_and(|named| named == topic)) {
            return Err(SignatureError::Malformed("the topic is not one of the endpoint's"));
        }
        let signature = STANDARD.decode(text(body, "Signature")?);
        let signature = signature.map_err(|_| SignatureError::Malformed("the signature is not base64"))?;
        Ok(Shown { signed: signed(body)?, signature })
    }

    /// The verdict: the place of the key that signed.
    pub(super) fn judge(&self, keys: &[Material], view: &View<'_>) -> Result<usize, SignatureError> {
        let shown = self.shown(view)?;
        let made = |key: &Material| JwsAlgorithm::RS256.verifies(key, &shown.signed, &shown.signature);
        keys.iter().position(made).ok_or(SignatureError::Mismatch)
    }
}

impl Scheme {
    /// The lines that are signed of a message of Amazon SNS, where the scheme is that one: for tools that sign as SNS would.
    pub fn sns_lines_of(&self, body: &Value) -> Option<Result<Vec<u8>, SignatureError>> {
        let Some(Special::Sns(_)) = &self.special else { return None };
        let body = body.as_object().ok_or(SignatureError::Malformed("the body is no SNS message"));
        Some(body.and_then(signed))
    }
}

/// The lines that are signed. None but the message may have line breaks: else borders between lines could be moved.
pub(super) fn signed(body: &ObjectMap) -> Result<Vec<u8>, SignatureError> {
    let fields: &[&str] = match text(body, "Type")? {
        "Notification" => &NOTIFICATION,
        "SubscriptionConfirmation" | "UnsubscribeConfirmation" => &CONFIRMATION,
        _ => return Err(SignatureError::Malformed("the type of the SNS message is unknown")),
    };
    let mut lines = Vec::new();
    for name in fields {
        if *name == "Subject" && body.get(*name).is_none_or(Value::is_null) {
            continue;
        }
        let value = text(body, name)?;
        if *name != "Message" && value.contains('\n') {
            return Err(SignatureError::Malformed("a signed field has a line break"));
        }
        lines.extend_from_slice(format!("{name}\n{value}\n").as_bytes());
    }
    Ok(lines)
}

fn text<'b>(body: &'b ObjectMap, name: &str) -> Result<&'b str, SignatureError> {
    let value = body.get(name).ok_or(SignatureError::Missing)?;
    let text = value.as_bytes().and_then(|bytes| std::str::from_utf8(bytes).ok());
    text.ok_or(SignatureError::Malformed("a signed field is no text"))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        encoding::AsDer,
        rand::SystemRandom,
        rsa::{KeyPair as RsaKeyPair, KeySize},
        signature::{KeyPair, RSA_PKCS1_SHA256},
    };
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::{model::strict_json, signatures::tests::request};

    const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:orders";

    fn notification() -> Json {
        json!({
            "Type": "Notification", "MessageId": "m-1", "TopicArn": TOPIC, "Subject": "s",
            "Message": "line one\nline two", "Timestamp": "2026-11-23T07:41:05.000Z", "SignatureVersion": "2",
            "SigningCertURL": "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-a.pem",
            "UnsubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=Unsubscribe",
        })
    }

    fn lines_of(message: &Json) -> String {
        let fields: &[&str] = if message["Type"] == "Notification" { &NOTIFICATION } else { &CONFIRMATION };
        let there = fields.iter().filter_map(|name| Some((name, message[*name].as_str()?)));
        there.flat_map(|(name, value)| [*name, "\n", value, "\n"]).collect()
    }

    fn sign(pair: &RsaKeyPair, message: &mut Json) {
        let mut signature = vec![0; pair.public_modulus_len()];
        let signed = lines_of(message);
        pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).expect("signs");
        message["Signature"] = json!(STANDARD.encode(signature));
    }

    fn told(pair: &RsaKeyPair, message: &Json) -> Result<usize, SignatureError> {
        let sns = Sns { topics: vec![TOPIC.to_owned()] };
        let key = Material::Public(pair.public_key().as_der().expect("a key").as_ref().to_vec());
        let request = request("POST", "/in/sns", &[], &message.to_string());
        let body = strict_json::read(&request.body).expect("JSON");
        sns.judge(&[key], &View { request: &request, body: &body, item: &body })
    }

    #[test]
    fn each_type_of_message_signs_its_own_fields() {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let mut without_subject = notification();
        without_subject.as_object_mut().expect("an object").remove("Subject");
        let mut confirmations = ["SubscriptionConfirmation", "UnsubscribeConfirmation"].map(|kind| {
            let mut message = notification();
            message["Type"] = json!(kind);
            message["Token"] = json!("t");
            message["SubscribeURL"] =
                json!("https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription");
            message
        });
        let [subscribe, unsubscribe] = &mut confirmations;
        for message in [&mut notification(), &mut without_subject, subscribe, unsubscribe] {
            sign(&pair, message);
            assert_eq!(told(&pair, message), Ok(0), "{message}");
            for name in ["Message", "MessageId", "Timestamp"] {
                let mut changed = message.clone();
                changed[name] = json!("other");
                assert_eq!(told(&pair, &changed), Err(SignatureError::Mismatch), "{name}");
            }
        }
    }

    #[test]
    fn messages_of_other_topics_versions_and_kinds_are_refused() {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        for (name, value) in [
            ("TopicArn", json!("arn:aws:sns:eu-west-1:666666666666:orders")),
            ("SignatureVersion", json!("1")),
            ("SignatureVersion", json!(2)),
            ("Type", json!("Other")),
            ("MessageId", json!("m\nMessageId\nm-1")),
            ("Message", json!({"a": 1})),
            ("Subject", json!(7)),
        ] {
            let mut message = notification();
            message[name] = value;
            sign(&pair, &mut message);
            assert!(matches!(told(&pair, &message), Err(SignatureError::Malformed(_))), "{name}");
        }
        let mut unsigned = notification();
        assert_eq!(told(&pair, &unsigned), Err(SignatureError::Missing));
        unsigned["Signature"] = json!("*");
        assert!(matches!(told(&pair, &unsigned), Err(SignatureError::Malformed(_))));
    }

    #[test]
    fn the_borders_between_the_lines_cannot_be_moved() {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let mut message = notification();
        message["Message"] = json!("hello\nMessageId\nforged\nSubject\nx");
        sign(&pair, &mut message);
        assert_eq!(told(&pair, &message), Ok(0));
        let mut moved = message.clone();
        moved["Message"] = json!("hello");
        moved["MessageId"] = json!("forged\nSubject\nx\nMessageId\nm-1");
        assert!(matches!(told(&pair, &moved), Err(SignatureError::Malformed(_))));
    }

    proptest! {
        #[test]
        fn no_body_makes_the_reader_panic(name in "Type|Message|TopicArn|Signature|SignatureVersion|Subject", value in ".*") {
            let mut message = notification();
            message["Signature"] = json!("YQ==");
            message[name.as_str()] = json!(value);
            let request = request("POST", "/in/sns", &[], &message.to_string());
            let body = strict_json::read(&request.body).expect("JSON");
            let sns = Sns { topics: vec![TOPIC.to_owned()] };
            let _ = sns.judge(&[], &View { request: &request, body: &body, item: &body });
        }
    }
}
