//! Room `intake`: the answer to a handshake, made as its table says. Whatever of a stranger is sent back or signed went
//! through the handshake's guard first.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderValue;
use serde_json::{Map, Value};

use super::{super::Answer, look::Look};
use crate::{
    intake::Refusal,
    model::{FieldPath, HttpsUrl, Secret},
    partners::{AnswerBody, AnswerValue, Endpoint, Handshake, HashPart, Reply, Writing},
    signatures::{Key, digest_challenge, is_our_token, sign_challenge},
};

/// What a handshake is answered with.
pub(super) struct Answering<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) handshake: &'a Handshake,
    pub(super) look: &'a Look<'a>,
}

impl Answering<'_> {
    /// The answer, or why the handshake is refused.
    pub(super) fn answer(&self) -> Result<Answer, Refusal> {
        self.check_token()?;
        self.check_one_of()?;
        let headers = self.handshake.headers.iter().map(|(name, value)| {
            let text = as_text(self.value(value)?);
            // What no header can hold is refused here, not dropped later.
            HeaderValue::try_from(&text).map_err(|_| Refusal::UnsafeHandshake)?;
            Ok((name.clone(), text))
        });
        let headers = headers.collect::<Result<_, Refusal>>()?;
        Ok(Answer { reply: self.reply()?, headers, delivery: None })
    }

    /// The secret that the handshake teaches; `None` when it teaches none.
    pub(super) fn taught(&self) -> Result<Option<Secret>, Refusal> {
        let Some(path) = &self.handshake.learn else { return Ok(None) };
        self.look.text(path).map(|text| Some(Secret::new(text))).ok_or(Refusal::UnsafeHandshake)
    }

    /// The link that the handshake asks to be visited, and for how long it is good; `None` when it asks for none.
    pub(super) fn link(&self) -> Result<Option<(String, Duration)>, Refusal> {
        let Some(rule) = &self.handshake.confirm else { return Ok(None) };
        let url = |path| self.look.text(path).and_then(|text| HttpsUrl::parse(&text).ok());
        let (link, vouching) = (url(&rule.path), url(&rule.host_of));
        let sound = link.zip(vouching).filter(|(link, vouching)| link.host() == vouching.host());
        sound.map(|(link, _)| Some((link.as_str().to_owned(), rule.valid))).ok_or(Refusal::UnsafeHandshake)
    }

    fn check_token(&self) -> Result<(), Refusal> {
        let Some((path, name)) = &self.handshake.token else { return Ok(()) };
        let theirs = self.look.text(path).unwrap_or_default();
        if is_our_token(&theirs, self.secret(name)?) { Ok(()) } else { Err(Refusal::WrongToken) }
    }

    fn check_one_of(&self) -> Result<(), Refusal> {
        let Some((path, expected)) = &self.handshake.one_of else { return Ok(()) };
        match self.look.text(path) {
            Some(text) if expected.contains(&text) => Ok(()),
            _ => Err(Refusal::NotExpected { path: path.to_string() }),
        }
    }

    fn reply(&self) -> Result<Reply, Refusal> {
        let status = self.handshake.status;
        let (content_type, body) = match &self.handshake.body {
            AnswerBody::Text(_, values) if values.is_empty() => (None, String::new()),
            AnswerBody::Text(content_type, values) => {
                let texts = values.iter().map(|value| self.value(value).map(as_text));
                (Some(content_type.clone()), texts.collect::<Result<_, _>>()?)
            }
            AnswerBody::Json(pairs) => {
                let pairs = pairs.iter().map(|(key, value)| Ok((key.clone(), self.value(value)?)));
                let object = pairs.collect::<Result<Map<_, _>, Refusal>>()?;
                (Some("application/json".to_owned()), Value::Object(object).to_string())
            }
        };
        Ok(Reply { status, content_type, body })
    }

    fn value(&self, value: &AnswerValue) -> Result<Value, Refusal> {
        Ok(match value {
            AnswerValue::Fixed(fixed) => fixed.clone(),
            AnswerValue::Echo(path) => self.guarded(path)?.into(),
            AnswerValue::Hmac { hash, of, writing, prefix } => {
                let texts = of.iter().map(|path| self.guarded(path)).collect::<Result<Vec<_>, _>>()?;
                let guard = &self.handshake.guard;
                let harmless: Vec<_> = texts.iter().filter_map(|text| guard.pass(text)).collect();
                let code = sign_challenge(*hash, self.key()?, &harmless);
                format!("{prefix}{}", written(&code, *writing)).into()
            }
            AnswerValue::Sha256(parts, writing) => {
                let parts = parts.iter().map(|part| self.part(part)).collect::<Result<Vec<_>, _>>()?;
                written(&digest_challenge(parts.iter().map(Secret::expose)), *writing).into()
            }
        })
    }

    fn part(&self, part: &HashPart) -> Result<Secret, Refusal> {
        match part {
            HashPart::Field(path) => self.guarded(path).map(Secret::new),
            HashPart::Fixed(text) => Ok(Secret::new(text.as_str())),
            HashPart::Secret(name) => self.secret(name).cloned(),
        }
    }

    /// The text at a path, if the guard lets it through.
    fn guarded(&self, path: &FieldPath) -> Result<String, Refusal> {
        let text = self.look.text(path);
        text.filter(|text| self.handshake.guard.pass(text).is_some()).ok_or(Refusal::UnsafeHandshake)
    }

    fn key(&self) -> Result<&Key, Refusal> {
        let keys = self.endpoint.keys.as_ref();
        let keys = keys.map_err(|why| Refusal::NotConfigured { why: why.to_string() })?;
        keys.first().ok_or_else(|| not_configured(&"it has no secret to sign a challenge with"))
    }

    fn secret(&self, name: &str) -> Result<&Secret, Refusal> {
        match self.endpoint.handshake_secrets.get(name) {
            Some(Ok(secret)) => Ok(secret),
            Some(Err(why)) => Err(not_configured(why)),
            None => Err(not_configured(&format_args!("it has no secret for {name:?}"))),
        }
    }
}

fn not_configured(why: &dyn std::fmt::Display) -> Refusal {
    Refusal::NotConfigured { why: why.to_string() }
}

/// A text as it is, anything else in JSON's spelling.
fn as_text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn written(bytes: &[u8], writing: Writing) -> String {
    match writing {
        Writing::Hex => hex::encode(bytes),
        Writing::Base64 => STANDARD.encode(bytes),
    }
}
