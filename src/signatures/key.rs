//! Room `signatures`: from a secret's text to a key, strictly. Whatever could be forged or was never set is refused here.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;

use super::Scheme;
use crate::model::Secret;

/// Shorter keys are refused: they can be guessed.
pub(super) const MIN_KEY_BYTES: usize = 8;

/// A decoded key and the id of its secret.
#[derive(Clone, Debug)]
pub struct Key {
    /// The secret's id, which the delivery records when this key matched.
    pub id: String,
    /// The key itself.
    pub bytes: Secret,
}

/// How the secret's text becomes a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretForm {
    /// Stripped before decoding, where it is there.
    pub prefix: Option<String>,
    /// How the rest is written.
    pub encoding: KeyEncoding,
}

/// How a key is written in the secret's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyEncoding {
    /// As it is: the text's own bytes.
    Text,
    /// Hexadecimal, in either case.
    Hex,
    /// Base64 (RFC 4648 §4) with padding.
    Base64,
}

/// Why a secret is no key for a scheme. Never shows the secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nothing is there, or nothing after its prefix.
    #[error("the secret is empty")]
    Empty,
    /// A text that stands for a secret that was never set.
    #[error("the secret is a placeholder, not the secret itself")]
    Placeholder,
    /// It begins or ends with white space.
    #[error("the secret has white space or a line break around it")]
    WhiteSpace,
    /// It is not written as the scheme says.
    #[error("{0}")]
    Encoding(String),
    /// It can be guessed.
    #[error("the secret is shorter than {MIN_KEY_BYTES} bytes")]
    TooShort,
}

impl Scheme {
    /// Decodes a secret into a key, strictly; refuses empty, too short and placeholder secrets.
    pub fn key(&self, id: &str, secret: &Secret) -> Result<Key, KeyError> {
        decode(&self.secret, secret).map(|bytes| Key { id: id.to_owned(), bytes })
    }
}

/// Whether a secret that is compared as it is, as a verify token is, was ever set and cannot be guessed.
pub fn sound_token(secret: &Secret) -> Result<(), KeyError> {
    decode(&SecretForm { prefix: None, encoding: KeyEncoding::Text }, secret).map(drop)
}

fn decode(form: &SecretForm, secret: &Secret) -> Result<Secret, KeyError> {
    let text = secret.expose();
    if text.trim_ascii().is_empty() {
        return Err(KeyError::Empty);
    }
    if text.trim_ascii().len() != text.len() {
        return Err(KeyError::WhiteSpace);
    }
    let prefix = form.prefix.as_deref().unwrap_or_default().as_bytes();
    let rest = text.strip_prefix(prefix).unwrap_or(text);
    if rest.is_empty() {
        return Err(KeyError::Empty);
    }
    if is_placeholder(text) || is_placeholder(rest) {
        return Err(KeyError::Placeholder);
    }
    let bytes = match form.encoding {
        KeyEncoding::Text => Secret::new(rest),
        KeyEncoding::Hex => Secret::new(hex::decode(rest).map_err(|_| not_encoded(text, "hexadecimal"))?),
        KeyEncoding::Base64 => Secret::new(STANDARD.decode(rest).map_err(|_| not_encoded(text, "base64"))?),
    };
    match bytes.expose() {
        [] => Err(KeyError::Empty),
        [first, others @ ..] if others.iter().all(|byte| byte == first) => Err(KeyError::Placeholder),
        bytes if bytes.len() < MIN_KEY_BYTES => Err(KeyError::TooShort),
        _ => Ok(bytes),
    }
}

fn not_encoded(text: &[u8], expected: &str) -> KeyError {
    let hint = if text.starts_with(b"whsec_") {
        "; it begins with whsec_: is it for a partner of another preset?"
    } else {
        "; copy it again, whole"
    };
    KeyError::Encoding(format!("the secret is not {expected}{hint}"))
}

/// Words that stand for a secret: the whole text, letters and digits only.
const PLACEHOLDERS: &[&str] = &[
    "secret",
    "password",
    "test",
    "testing",
    "example",
    "sample",
    "dummy",
    "none",
    "null",
    "undefined",
    "todo",
    "tbd",
    "fixme",
    "changeit",
    "redacted",
    "key",
    "token",
    "apikey",
    "webhooksecret",
    "signingsecret",
];

/// Phrases that no random secret contains.
const PLACEHOLDER_PHRASES: &[&str] = &[
    "changeme",
    "placeholder",
    "replaceme",
    "replacewith",
    "insertyour",
    "yoursecret",
    "yourwebhook",
    "yoursigning",
    "yourkey",
    "yourhmac",
    "yourapp",
    "putyour",
    "secrethere",
    "keyhere",
];

fn is_placeholder(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text).to_ascii_lowercase();
    let bare: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
    let bracketed = [("<", ">"), ("${", "}"), ("{{", "}}"), ("[", "]")];
    let mut characters = text.chars();
    let first = characters.next();
    characters.all(|character| Some(character) == first)
        || text.contains("...")
        || text.contains('…')
        || bracketed.iter().any(|(open, close)| text.starts_with(open) && text.ends_with(close))
        || PLACEHOLDERS.contains(&bare.as_str())
        || PLACEHOLDER_PHRASES.iter().any(|phrase| bare.contains(phrase))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(encoding: KeyEncoding, prefix: Option<&str>, text: &str) -> Result<Vec<u8>, KeyError> {
        let form = SecretForm { prefix: prefix.map(str::to_owned), encoding };
        decode(&form, &Secret::new(text)).map(|secret| secret.expose().to_vec())
    }

    #[test]
    fn decodes_as_the_scheme_says() {
        assert_eq!(key(KeyEncoding::Text, None, "whsec_abcdef12"), Ok(b"whsec_abcdef12".to_vec()));
        assert_eq!(key(KeyEncoding::Hex, None, "00112233445566FF").map(|key| key.len()), Ok(8));
        let standard = key(KeyEncoding::Base64, Some("whsec_"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        assert_eq!(standard.map(|key| key.len()), Ok(24));
        assert_eq!(
            key(KeyEncoding::Base64, Some("whsec_"), "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").map(|k| k.len()),
            Ok(24)
        );
    }

    #[test]
    fn what_was_never_set_is_refused() {
        for text in [
            "changeme",
            "CHANGE-ME",
            "whsec_...",
            "<secret>",
            "xxx",
            "xxxxxxxxxxxxxxxx",
            "your-secret",
            concat!("TO", "DO"),
            "secret",
            "${STRIPE_SECRET}",
            "{{ secret }}",
            "your_webhook_secret",
            "0000000000000000",
            "whsec_…",
            "replace with key",
        ] {
            assert_eq!(key(KeyEncoding::Text, None, text), Err(KeyError::Placeholder), "{text}");
        }
        assert_eq!(
            key(KeyEncoding::Base64, Some("whsec_"), "whsec_xxxxxxxxxxxx"),
            Err(KeyError::Placeholder)
        );
        assert_eq!(key(KeyEncoding::Base64, None, "AAAAAAAAAAAAAAAA"), Err(KeyError::Placeholder));
    }

    #[test]
    fn what_could_be_forged_is_refused() {
        for (encoding, prefix, text, error) in [
            (KeyEncoding::Text, None, "", KeyError::Empty),
            (KeyEncoding::Text, None, " \n", KeyError::Empty),
            (KeyEncoding::Base64, Some("whsec_"), "whsec_", KeyError::Empty),
            (KeyEncoding::Text, None, "long-enough\n", KeyError::WhiteSpace),
            (KeyEncoding::Text, None, " long-enough", KeyError::WhiteSpace),
            (KeyEncoding::Text, None, "1234567", KeyError::TooShort),
            (KeyEncoding::Hex, None, "00112233445566", KeyError::TooShort),
        ] {
            assert_eq!(key(encoding, prefix, text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn a_wrong_encoding_is_told_without_the_secret() {
        for (encoding, text) in [
            (KeyEncoding::Hex, "0011223344556677f"),
            (KeyEncoding::Hex, "whsec_0011223344556677"),
            (KeyEncoding::Base64, "not base64 at all"),
            (KeyEncoding::Base64, "MfKQ9r8GKYqrTwjUPD8ILA"),
        ] {
            let error = key(encoding, None, text).expect_err("must be refused");
            assert!(matches!(error, KeyError::Encoding(_)), "{text}");
            assert!(!format!("{error} {error:?}").contains(text));
        }
    }

    proptest! {
        #[test]
        fn a_key_is_never_short_and_nothing_panics(text in ".{0,60}", prefix in proptest::option::of("[a-z]{0,4}")) {
            for encoding in [KeyEncoding::Text, KeyEncoding::Hex, KeyEncoding::Base64] {
                if let Ok(key) = key(encoding, prefix.as_deref(), &text) {
                    prop_assert!(key.len() >= MIN_KEY_BYTES);
                }
            }
        }
    }
}
