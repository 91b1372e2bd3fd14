//! Room `signatures`: keys that a provider shows by their ids, to its customers. A scheme says where a request names the id,
//! how the key is asked for, and where in the answer it stands. Nothing is asked here.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use vrl::value::Value;

use super::{
    JwsAlgorithm, Place, SignatureError, View,
    jose::jwk::{NoKey, single},
};
use crate::model::{FieldPath, KeyId, KeyQuestion, strict_json};

/// How the keys of a provider are had by their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyedSource {
    /// Where a request names the id; `None`: its token does.
    pub(super) id: Option<Place>,
    /// How the key is asked for.
    pub(super) question: Arc<KeyQuestion>,
    /// Where it stands in what is answered.
    pub(super) answer: KeyAnswer,
}

/// Where in an answer a key stands. Its paths are below `body`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyAnswer {
    /// The field.
    pub(super) at: FieldPath,
    /// How the key is written there.
    pub(super) form: AnswerForm,
    /// What the answer must say beside it.
    pub(super) expect: Vec<(FieldPath, String)>,
    /// The field that an expired key has.
    pub(super) expired: Option<FieldPath>,
}

/// How a key is written in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum AnswerForm {
    /// A JSON Web Key, which must have the id that was asked for.
    Jwk,
    /// Base64 of a SubjectPublicKeyInfo.
    Spki,
    /// PEM of one; line breaks may be missing.
    Pem,
}

impl KeyedSource {
    /// The id that a request names.
    pub(super) fn id(&self, view: &View<'_>) -> Result<String, SignatureError> {
        let place = self.id.as_ref().ok_or(SignatureError::Missing)?;
        view.sole_piece(place)
    }
}

impl KeyAnswer {
    /// The SubjectPublicKeyInfo in an answer; of a token's key the algorithm says which kind it must be.
    pub(super) fn key_in(
        &self,
        answer: &[u8],
        id: &KeyId,
        algorithm: Option<JwsAlgorithm>,
    ) -> Result<Vec<u8>, NoKey> {
        let answer = strict_json::read(answer).map_err(|_| NoKey::Unusable("it is not JSON"))?;
        let at = |path: &FieldPath| answer.get(path.value_path()).filter(|value| !value.is_null());
        let says = |(path, wanted): &(FieldPath, String)| {
            at(path).and_then(Value::as_bytes).is_some_and(|said| said == wanted.as_bytes())
        };
        if !self.expect.iter().all(says) {
            return Err(NoKey::Unusable("it is another kind of key than this scheme verifies with"));
        }
        if self.expired.as_ref().is_some_and(|path| at(path).is_some()) {
            return Err(NoKey::Absent);
        }
        let key = at(&self.at).ok_or(NoKey::Unusable("there is no key in it"))?;
        match (self.form, algorithm) {
            (AnswerForm::Jwk, Some(algorithm)) => {
                let key = key.as_object().ok_or(NoKey::Unusable("there is no key in it"))?;
                single(key, id.as_str(), algorithm)
            }
            (AnswerForm::Jwk, None) => Err(NoKey::Unusable("this scheme takes no such key")),
            (AnswerForm::Spki | AnswerForm::Pem, _) => {
                spki(key, self.form).ok_or(NoKey::Unusable("the key in it cannot be read"))
            }
        }
    }
}

fn spki(key: &Value, form: AnswerForm) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(key.as_bytes()?).ok()?.trim();
    if form == AnswerForm::Spki {
        return STANDARD.decode(text).ok();
    }
    let inner = text.strip_prefix("-----BEGIN PUBLIC KEY-----")?.strip_suffix("-----END PUBLIC KEY-----")?;
    STANDARD.decode(inner.split_ascii_whitespace().collect::<String>()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPKI: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEf83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEXH8UTNG72bfocs3+257rn0s2ldbqkLJK2KRiMohYjlrQ==";

    fn answer(at: &str, form: AnswerForm) -> KeyAnswer {
        let path = |text: &str| FieldPath::parse(&format!("body.{text}")).expect("a path");
        let expect = vec![(path("digest"), "SHA1".to_owned())];
        KeyAnswer { at: path(at), form, expect, expired: Some(path("key.expired_at")) }
    }

    fn told(answer: &KeyAnswer, json: &str) -> Result<usize, NoKey> {
        let id = KeyId::parse("k1").expect("an id");
        answer.key_in(json.as_bytes(), &id, Some(JwsAlgorithm::ES256)).map(|spki| spki.len())
    }

    #[test]
    fn a_key_is_read_as_its_provider_writes_it() {
        let pem = answer("key", AnswerForm::Pem);
        for text in [
            format!("-----BEGIN PUBLIC KEY-----{SPKI}-----END PUBLIC KEY-----"),
            format!(
                "-----BEGIN PUBLIC KEY-----\\n{}\\n{}\\n-----END PUBLIC KEY-----\\n",
                &SPKI[..64],
                &SPKI[64..]
            ),
        ] {
            assert_eq!(told(&pem, &format!(r#"{{"digest":"SHA1","key":"{text}"}}"#)), Ok(91));
        }
        let spki = answer("data.publicKey", AnswerForm::Spki);
        assert_eq!(told(&spki, &format!(r#"{{"digest":"SHA1","data":{{"publicKey":"{SPKI}"}}}}"#)), Ok(91));
        for bad in [
            "",
            "{}",
            "[]",
            r#"{"digest":"SHA1"}"#,
            r#"{"digest":"SHA1","data":{"publicKey":7}}"#,
            r#"{"digest":"SHA1","data":{"publicKey":"*"}}"#,
        ] {
            assert!(matches!(told(&spki, bad), Err(NoKey::Unusable(_))), "{bad}");
        }
        let other = format!(r#"{{"digest":"SHA256","data":{{"publicKey":"{SPKI}"}}}}"#);
        assert!(matches!(told(&spki, &other), Err(NoKey::Unusable(_))));
    }

    #[test]
    fn a_jwk_has_the_id_that_was_asked_for_and_is_not_expired() {
        let jwk = answer("key", AnswerForm::Jwk);
        let key = |rest: &str| {
            format!(
                r#"{{"digest":"SHA1","key":{{"kty":"EC","crv":"P-256","alg":"ES256","use":"sig","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"{rest}}}}}"#
            )
        };
        assert_eq!(told(&jwk, &key(r#","kid":"k1","expired_at":null"#)), Ok(91));
        for absent in
            [r#","kid":"k1","expired_at":1560466150"#, r#","kid":"k2""#, "", r#","kid":"k1","d":"AAAA""#]
        {
            assert_eq!(told(&jwk, &key(absent)), Err(NoKey::Absent), "{absent}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_the_reader_panic(bytes in any::<Vec<u8>>(), text in "[ -~]{0,80}") {
            for form in [AnswerForm::Jwk, AnswerForm::Spki, AnswerForm::Pem] {
                let answer = answer("key", form);
                let id = KeyId::parse("k1").expect("an id");
                let _ = answer.key_in(&bytes, &id, Some(JwsAlgorithm::ES256));
                let _ = answer.key_in(format!(r#"{{"digest":"SHA1","key":{text}}}"#).as_bytes(), &id, None);
            }
        }
    }
}
