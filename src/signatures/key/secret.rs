//! Room `signatures`: secrets that are shared with the sender: decoded strictly, and none that could be guessed.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD},
};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;

use super::{KeyDigest, KeyEncoding, KeyError, MIN_KEY_BYTES, SecretForm, placeholder::is_placeholder};
use crate::{model::Secret, signatures::Algorithm};

/// A secret as a key, held to every rule.
pub(super) fn decode(algorithm: Algorithm, form: &SecretForm, secret: &Secret) -> Result<Secret, KeyError> {
    let text = secret.expose();
    if text.trim_ascii().is_empty() {
        return Err(KeyError::Empty);
    }
    if is_placeholder(text) || is_placeholder(rest(form, text)?) {
        return Err(KeyError::Placeholder);
    }
    let bytes = plain(form, secret)?;
    check(password_of(algorithm, bytes.expose())?)?;
    Ok(digested(form, bytes))
}

/// A secret as a key, which may be one that can be guessed.
pub(super) fn decoded(form: &SecretForm, secret: &Secret) -> Result<Secret, KeyError> {
    let bytes = plain(form, secret)?;
    if bytes.expose().is_empty() { Err(KeyError::Empty) } else { Ok(digested(form, bytes)) }
}

/// The part that must not be guessed: of user and password the password.
fn password_of(algorithm: Algorithm, bytes: &[u8]) -> Result<&[u8], KeyError> {
    if algorithm != Algorithm::Basic {
        return Ok(bytes);
    }
    let colon = bytes.iter().position(|byte| *byte == b':').ok_or(KeyError::NoPassword)?;
    match &bytes[colon + 1..] {
        [] => Err(KeyError::NoPassword),
        password if is_placeholder(password) => Err(KeyError::Placeholder),
        password => Ok(password),
    }
}

fn check(bytes: &[u8]) -> Result<(), KeyError> {
    match bytes {
        [] => Err(KeyError::Empty),
        [first, others @ ..] if others.iter().all(|byte| byte == first) => Err(KeyError::Placeholder),
        bytes if bytes.len() < MIN_KEY_BYTES => Err(KeyError::TooShort),
        _ => Ok(()),
    }
}

/// What is left behind the prefix.
fn rest<'t>(form: &SecretForm, text: &'t [u8]) -> Result<&'t [u8], KeyError> {
    if form.encoding != KeyEncoding::Raw && text.trim_ascii().len() != text.len() {
        return Err(KeyError::WhiteSpace);
    }
    let prefix = form.prefix.as_deref().unwrap_or_default().as_bytes();
    let rest = text.strip_prefix(prefix).unwrap_or(text);
    if rest.is_empty() { Err(KeyError::Empty) } else { Ok(rest) }
}

/// The secret's bytes, before any digest.
fn plain(form: &SecretForm, secret: &Secret) -> Result<Secret, KeyError> {
    let normal = normalized(form, secret);
    let text = normal.expose();
    let rest = rest(form, text)?;
    let encoding = match form.otherwise {
        Some(otherwise) if rest.len() == text.len() => otherwise,
        _ => form.encoding,
    };
    let no_padding = || URL_SAFE_NO_PAD.decode(rest).or_else(|_| URL_SAFE.decode(rest));
    match encoding {
        KeyEncoding::Hex => hex::decode(rest).map(Secret::new).map_err(|_| not_encoded(text, "hexadecimal")),
        KeyEncoding::Base64 => {
            STANDARD.decode(rest).map(Secret::new).map_err(|_| not_encoded(text, "base64"))
        }
        KeyEncoding::Base64url => {
            no_padding().map(Secret::new).map_err(|_| not_encoded(text, "base64 for URLs"))
        }
        _ => Ok(Secret::new(rest)),
    }
}

fn normalized(form: &SecretForm, secret: &Secret) -> Secret {
    match (form.normalize, std::str::from_utf8(secret.expose())) {
        (Some(_), Ok(text)) => Secret::new(text.nfkd().collect::<String>()),
        _ => secret.clone(),
    }
}

fn digested(form: &SecretForm, bytes: Secret) -> Secret {
    match form.digest {
        None => bytes,
        Some(KeyDigest::Sha1) => Secret::new(Sha1::digest(bytes.expose()).to_vec()),
        Some(KeyDigest::Sha256) => Secret::new(Sha256::digest(bytes.expose()).to_vec()),
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(encoding: KeyEncoding, prefix: Option<&str>, text: &str) -> Result<Vec<u8>, KeyError> {
        let form = SecretForm { prefix: prefix.map(str::to_owned), ..SecretForm::plain(encoding) };
        key_of(Algorithm::HmacSha256, &form, text)
    }

    fn key_of(algorithm: Algorithm, form: &SecretForm, text: &str) -> Result<Vec<u8>, KeyError> {
        decode(algorithm, form, &Secret::new(text)).map(|secret| secret.expose().to_vec())
    }

    #[test]
    fn a_secret_without_the_prefix_may_be_written_in_another_way() {
        let form = SecretForm {
            prefix: Some("whsec_".to_owned()),
            otherwise: Some(KeyEncoding::Text),
            ..SecretForm::plain(KeyEncoding::Base64)
        };
        let key = |text| key_of(Algorithm::HmacSha256, &form, text);
        assert_eq!(key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").map(|key| key.len()), Ok(24));
        assert_eq!(key("no base64 at all"), Ok(b"no base64 at all".to_vec()));
        assert!(matches!(key("whsec_no base64 at all"), Err(KeyError::Encoding(_))));
    }

    #[test]
    fn a_key_may_be_a_digest_of_the_secret() {
        let digest = |digest| {
            let form = SecretForm { digest: Some(digest), ..SecretForm::plain(KeyEncoding::Text) };
            key_of(Algorithm::HmacSha1, &form, "integration_private_key").map(hex::encode)
        };
        assert_eq!(digest(KeyDigest::Sha1), Ok(hex::encode(Sha1::digest("integration_private_key"))));
        assert_eq!(digest(KeyDigest::Sha256), Ok(hex::encode(Sha256::digest("integration_private_key"))));
        let form = SecretForm { digest: Some(KeyDigest::Sha1), ..SecretForm::plain(KeyEncoding::Text) };
        assert_eq!(key_of(Algorithm::HmacSha1, &form, "short"), Err(KeyError::TooShort), "before the digest");
        assert_eq!(key_of(Algorithm::HmacSha1, &form, ""), Err(KeyError::Empty));
    }

    #[test]
    fn a_key_may_be_normalised() {
        let form = SecretForm {
            normalize: Some(super::super::Normalize::Nfkd),
            ..SecretForm::plain(KeyEncoding::Text)
        };
        let key = |text| key_of(Algorithm::HmacSha256, &form, text);
        assert_eq!(key("s\u{e9}cret-of-mine"), Ok("se\u{301}cret-of-mine".as_bytes().to_vec()));
        assert_eq!(key("se\u{301}cret-of-mine"), key("s\u{e9}cret-of-mine"));
    }

    #[test]
    fn basic_wants_a_user_and_a_password_that_nobody_guesses() {
        let key = |text| key_of(Algorithm::Basic, &SecretForm::plain(KeyEncoding::Text), text);
        assert_eq!(key("user:a:b long enough"), Ok(b"user:a:b long enough".to_vec()));
        assert!(key(":long enough").is_ok(), "some senders have no user");
        assert_eq!(key("user-and-no-password"), Err(KeyError::NoPassword));
        assert_eq!(key("a-long-user-name:"), Err(KeyError::NoPassword));
        assert_eq!(key("a-long-user-name:1234567"), Err(KeyError::TooShort));
        assert_eq!(key("a-long-user-name:changeme"), Err(KeyError::Placeholder));
    }

    #[test]
    fn base64_for_urls_has_its_own_letters() {
        let key = |text| key(KeyEncoding::Base64url, None, text);
        assert_eq!(key("_-_-_-_-_-_-_-_8"), Ok(URL_SAFE.decode("_-_-_-_-_-_-_-_8").expect("base64")));
        assert_eq!(key("AAECAwQFBgc"), Ok((0..8).collect()));
        assert_eq!(key("AAECAwQFBgc="), Ok((0..8).collect()));
        assert!(matches!(key("+/+/+/+/+/+/"), Err(KeyError::Encoding(_))));
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
            for encoding in [KeyEncoding::Text, KeyEncoding::Hex, KeyEncoding::Base64, KeyEncoding::Base64url] {
                if let Ok(key) = key(encoding, prefix.as_deref(), &text) {
                    prop_assert!(key.len() >= MIN_KEY_BYTES);
                }
            }
        }
    }
}
