//! Room `signatures`: the compact form of a JSON Web Signature: header, payload and signature in base64url, two dots between
//! them. There is one spelling of each, and nothing in the header chooses a key but its id.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use vrl::value::Value;

use super::super::SignatureError;
use crate::model::strict_json;

/// The longest token that stands in a header; one that is the body is bounded by the body's limit.
pub(in super::super) const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// The longest header of a token.
const MAX_HEADER_BYTES: usize = 4 * 1024;
/// The longest id of a key.
const MAX_KEY_ID_BYTES: usize = 256;

/// What must not stand in a header: what brings or names a key of the sender's choice, and extensions that change what is
/// signed (RFC 7797) or that a reader must understand. `jku` may name the very address that the scheme has.
pub(in super::super) const FORBIDDEN: [&str; 6] = ["crit", "b64", "jwk", "x5u", "x5c", "zip"];

/// A token, taken apart and not yet believed.
#[derive(Debug, PartialEq)]
pub(in super::super) struct Compact<'t> {
    /// The algorithm it says it is signed with.
    pub(in super::super) algorithm: String,
    /// The id of the key it says it is signed with.
    pub(in super::super) key_id: Option<String>,
    /// Header, dot and payload as they stand there; for a detached signature the header alone.
    signed: &'t str,
    /// The payload; `None` when it is detached.
    pub(in super::super) payload: Option<Vec<u8>>,
    /// The signature.
    pub(in super::super) signature: Vec<u8>,
}

impl<'t> Compact<'t> {
    /// Takes a token apart. One that is detached has no payload between its dots, any other has one. `jku` is where the
    /// scheme has its keys from, which a token may repeat.
    pub(in super::super) fn parse(
        text: &'t str,
        detached: bool,
        jku: Option<&str>,
    ) -> Result<Self, SignatureError> {
        let mut pieces = text.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (pieces.next(), pieces.next(), pieces.next(), pieces.next())
        else {
            return Err(SignatureError::Malformed("the token has not three parts"));
        };
        if header.len() > MAX_HEADER_BYTES {
            return Err(SignatureError::Malformed("the token's header is too long"));
        }
        if payload.is_empty() != detached || signature.is_empty() {
            return Err(SignatureError::Malformed(
                "a part of the token is empty, or one is not that should be",
            ));
        }
        let (algorithm, key_id) = read_header(&decode(header)?, jku)?;
        let signed = if detached { header } else { &text[..header.len() + 1 + payload.len()] };
        let payload = (!detached).then(|| decode(payload)).transpose()?;
        Ok(Self { algorithm, key_id, signed, payload, signature: decode(signature)? })
    }

    /// What is signed; `payload` is the detached one.
    pub(in super::super) fn signed(&self, payload: Option<&[u8]>) -> Vec<u8> {
        match payload {
            None => self.signed.as_bytes().to_vec(),
            Some(payload) => format!("{}.{}", self.signed, URL_SAFE_NO_PAD.encode(payload)).into_bytes(),
        }
    }
}

/// Base64url without padding: one text for one value.
fn decode(text: &str) -> Result<Vec<u8>, SignatureError> {
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| SignatureError::Malformed("a part of the token is not base64url"))
}

/// The algorithm and the key's id.
fn read_header(json: &[u8], jku: Option<&str>) -> Result<(String, Option<String>), SignatureError> {
    const MALFORMED: SignatureError = SignatureError::Malformed("the token's header is not one");
    let header = strict_json::read(json).map_err(|_| MALFORMED)?;
    let header = header.as_object().ok_or(MALFORMED)?;
    if FORBIDDEN.iter().any(|name| header.contains_key(*name)) {
        return Err(SignatureError::Malformed("the token's header brings a key or an extension of its own"));
    }
    let text = |name: &str| match header.get(name) {
        None => Ok(None),
        Some(Value::Bytes(text)) => String::from_utf8(text.to_vec()).map(Some).map_err(|_| MALFORMED),
        Some(_) => Err(MALFORMED),
    };
    if text("jku")?.is_some_and(|named| Some(named.as_str()) != jku) {
        return Err(SignatureError::Malformed("the token's header names keys that are not the provider's"));
    }
    let key_id = text("kid")?;
    if key_id
        .as_ref()
        .is_some_and(|id| id.is_empty() || id.len() > MAX_KEY_ID_BYTES || id.chars().any(char::is_control))
    {
        return Err(MALFORMED);
    }
    Ok((text("alg")?.ok_or(MALFORMED)?, key_id))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(header: &str, payload: &str) -> String {
        format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn a_token_comes_apart_in_one_way() {
        let text = token(r#"{"alg":"RS256","kid":"k1","typ":"JWT"}"#, "{}");
        let parsed = Compact::parse(&text, false, None).expect("a token");
        assert_eq!((parsed.algorithm.as_str(), parsed.key_id.as_deref()), ("RS256", Some("k1")));
        assert_eq!(parsed.payload.as_deref(), Some(b"{}".as_slice()));
        assert_eq!(parsed.signed(None), text.rsplit_once('.').expect("dots").0.as_bytes());
        for bad in [
            String::new(),
            ".".to_owned(),
            "..".to_owned(),
            format!("{text}."),
            format!("{text}.x"),
            format!(".{text}"),
            format!("{text}="),
            format!(" {text}"),
            format!("{text}\n"),
            text.replace("c2ln", ""),
            text.replace("c2ln", "c2lo="),
            text.replace("c2ln", "c2l+"),
            text.replace("c2ln", "c2lnZh"),
            text.rsplit_once('.').expect("dots").0.to_owned(),
        ] {
            assert!(Compact::parse(&bad, false, None).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_detached_token_has_no_payload() {
        let text = token(r#"{"alg":"RS512"}"#, "");
        let parsed = Compact::parse(&text, true, None).expect("a token");
        let header = text.split('.').next().expect("a header");
        assert_eq!(parsed.signed(Some(b"abc")), format!("{header}.YWJj").into_bytes());
        assert!(Compact::parse(&text, false, None).is_err());
        assert!(Compact::parse(&token(r#"{"alg":"RS512"}"#, "{}"), true, None).is_err());
    }

    #[test]
    fn a_header_may_name_the_keys_that_the_scheme_has_and_no_others() {
        const OURS: &str = "https://webhooks.acme.example/.well-known/jwks";
        let naming = |jku: &str| token(&format!(r#"{{"alg":"ES512","kid":"a","jku":{jku}}}"#), "{}");
        let told = |jku: &str, ours: Option<&str>| Compact::parse(&naming(jku), false, ours).is_ok();
        let quoted = format!("{OURS:?}");
        assert!(told(&quoted, Some(OURS)) && !told(&quoted, None));
        for other in [
            "https://webhooks.acme.example/.well-known/jwks/",
            "https://webhooks.acme.example.attacker.tld/jwks",
            "",
        ] {
            assert!(!told(&format!("{other:?}"), Some(OURS)), "{other}");
        }
        assert!(!told("7", Some(OURS)) && !told("null", Some(OURS)));
    }

    #[test]
    fn a_header_chooses_no_key_and_no_extension() {
        for header in [
            r#"{"alg":"RS256","jku":"https://attacker.tld/jwks"}"#,
            r#"{"alg":"RS256","jwk":{"kty":"RSA"}}"#,
            r#"{"alg":"RS256","x5u":"https://attacker.tld/cert.pem"}"#,
            r#"{"alg":"RS256","x5c":["MII"]}"#,
            r#"{"alg":"RS256","crit":["exp"],"exp":1}"#,
            r#"{"alg":"RS256","crit":[]}"#,
            r#"{"alg":"RS256","b64":false}"#,
            r#"{"alg":"RS256","zip":"DEF"}"#,
            r#"{"alg":"RS256","alg":"HS256"}"#,
            r#"{"alg":"RS256","kid":"a","kid":"b"}"#,
            r#"{"alg":"RS256","kid":""}"#,
            r#"{"alg":"RS256","kid":"a\nb"}"#,
            r#"{"alg":"RS256","kid":7}"#,
            r#"{"alg":null}"#,
            r#"{"alg":["RS256"]}"#,
            r#"{"kid":"a"}"#,
            r#"["alg"]"#,
            r#"{"alg":"RS256"} "x""#,
            "null",
            "",
        ] {
            assert!(Compact::parse(&token(header, "{}"), false, None).is_err(), "{header}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".*", header in "[ -~]{0,60}", detached in any::<bool>()) {
            let _ = Compact::parse(&text, detached, None);
            let _ = Compact::parse(&token(&header, "{}"), detached, None);
        }
    }
}
