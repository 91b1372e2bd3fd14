//! Room `signatures`: what each family of algorithms wants of the other keys: how its secret is written, whether there is a
//! message, and how what stands in the request is written.

use toml::Spanned;

use super::{PlacedTable, SchemeError, SecretTable, SignatureTable, places::form};
use crate::signatures::{Algorithm, Encoding, Family, KeyEncoding, SecretForm};

/// An algorithm that is broken elsewhere loads only beside a word for it.
pub(super) fn check_legacy(
    algorithm: &Spanned<Algorithm>,
    legacy: Option<&Spanned<bool>>,
) -> Result<(), SchemeError> {
    let given = legacy.filter(|given| *given.get_ref());
    match (algorithm.get_ref(), given) {
        (Algorithm::RsaPkcs1Sha1, None) => {
            let text = "SHA-1 can be made to collide: whoever has the sender sign one text has a signature of another";
            let help = "have the sender sign with rsa-pkcs1-sha256; if it cannot, say legacy = true";
            Err(SchemeError::new("legacy_algorithm", text, help).at(algorithm))
        }
        (Algorithm::RsaPkcs1Sha1, Some(_)) | (_, None) => Ok(()),
        (_, Some(given)) => {
            let text = format!("{} is no legacy algorithm", algorithm.get_ref());
            Err(SchemeError::new("legacy_algorithm", text, "remove legacy").at(given))
        }
    }
}

/// How the secret is written; for a secret that is sent itself, as it is.
pub(super) fn secret_form(
    algorithm: &Spanned<Algorithm>,
    table: Option<&Spanned<SecretTable>>,
) -> Result<SecretForm, SchemeError> {
    let family = algorithm.get_ref().family();
    let Some(spanned) = table else {
        if family == Family::Shared {
            return Ok(SecretForm::plain(KeyEncoding::Text));
        }
        let example = if family == Family::PublicKey { "pem" } else { "text" };
        let help = format!("add secret = {{ as = {example:?} }}, or name a preset");
        return Err(SchemeError::new("missing_key", "[signature] has no secret", help).at(algorithm));
    };
    let table = spanned.get_ref();
    check_encodings(*algorithm.get_ref(), spanned)?;
    let misplaced = [
        (
            table.otherwise.is_some() && table.prefix.is_none(),
            "otherwise says how a secret without prefix is written",
        ),
        (table.prefix.as_deref() == Some(""), "an empty prefix is none"),
        (table.normalize.is_some() && table.form != KeyEncoding::Text, "only a text can be normalised"),
        (
            family == Family::PublicKey
                && (table.prefix.is_some() || table.digest.is_some() || table.normalize.is_some()),
            "a public key has no prefix, digest or normalize",
        ),
        (
            family == Family::Shared && (table.digest.is_some() || table.otherwise.is_some()),
            "what is sent is the secret itself",
        ),
    ];
    if let Some((_, text)) = misplaced.into_iter().find(|(wrong, _)| *wrong) {
        let help =
            "remove what does not belong there; mappings/README.md, \"Spell a signature out\", shows how";
        return Err(SchemeError::new("secret_mismatch", text, help).at(spanned));
    }
    Ok(SecretForm {
        prefix: table.prefix.clone(),
        encoding: table.form,
        otherwise: table.otherwise,
        digest: table.digest,
        normalize: table.normalize,
    })
}

fn check_encodings(algorithm: Algorithm, table: &Spanned<SecretTable>) -> Result<(), SchemeError> {
    use KeyEncoding::{Base64, Base64url, Hex, Jwk, Pem, Raw, Spki, Text, X509};
    let allowed: &[KeyEncoding] = match (algorithm.family(), algorithm) {
        (Family::PublicKey, Algorithm::Ed25519) => &[Pem, Spki, X509, Jwk, Hex, Base64, Raw],
        (Family::PublicKey, _) => &[Pem, Spki, X509, Jwk],
        (Family::Shared, _) => &[Text],
        _ => &[Text, Hex, Base64, Base64url, Raw],
    };
    let mut given = [Some(table.get_ref().form), table.get_ref().otherwise].into_iter().flatten();
    let Some(wrong) = given.find(|form| !allowed.contains(form)) else { return Ok(()) };
    let text = format!("a secret of {algorithm} is not written as {wrong}");
    let words: Vec<String> = allowed.iter().map(ToString::to_string).collect();
    Err(SchemeError::new("secret_mismatch", text, format!("write one of {}", words.join(", "))).at(table))
}

/// Where credentials stand, when nothing says otherwise.
pub(super) fn default_value(algorithm: Algorithm) -> Option<PlacedTable<Encoding>> {
    (algorithm == Algorithm::Basic).then(|| PlacedTable {
        path: Some(Spanned::new(0..0, "header.authorization".to_owned())),
        paths: None,
        headers: None,
        repeats: None,
        unwrap: None,
        group: None,
        separator: None,
        skip: None,
        piece: None,
        pair: None,
        assign: None,
        prefix: None,
        optional_prefix: None,
        form: None,
    })
}

/// How what stands in the request is written.
pub(super) fn form_of(
    algorithm: &Spanned<Algorithm>,
    value: &PlacedTable<Encoding>,
) -> Result<Encoding, SchemeError> {
    let own = match algorithm.get_ref() {
        Algorithm::Token => Some(Encoding::Text),
        Algorithm::Basic => Some(Encoding::Basic),
        _ => None,
    };
    let form = own.map_or_else(|| form(value, "hex"), |own| Ok(value.form.unwrap_or(own)))?;
    let fits = own.map_or(!matches!(form, Encoding::Text | Encoding::Basic), |own| form == own);
    if fits {
        return Ok(form);
    }
    let text = format!("what {} sends is not written as {form}", algorithm.get_ref());
    let help =
        own.map_or("write hex or base64".to_owned(), |own| format!("write as = \"{own}\", or leave it out"));
    Err(SchemeError::new("value_mismatch", text, help).within(value.span()))
}

/// The message of a family that signs none: nothing, and nobody may say otherwise.
pub(super) fn shared_message(
    algorithm: &Spanned<Algorithm>,
    table: &SignatureTable,
) -> Result<Option<Spanned<String>>, SchemeError> {
    if algorithm.get_ref().family() != Family::Shared {
        return Ok(None);
    }
    let text = format!("{} signs nothing: who has seen one request can send any other", algorithm.get_ref());
    let error = SchemeError::new("nothing_to_sign", text, "remove message and timestamp");
    match (&table.message, &table.timestamp) {
        (Some(message), _) => Err(error.at(message)),
        (_, Some(timestamp)) => Err(error.within(timestamp.span())),
        (None, None) => Ok(Some(Spanned::new(algorithm.span(), String::new()))),
    }
}

#[cfg(test)]
mod tests {
    use crate::signatures::{Encoding, Family, Scheme};

    /// What is said about a scheme of these keys; `ok` when it loads.
    fn told(keys: &str) -> &'static str {
        match Scheme::parse(keys) {
            Ok(_) => "ok",
            Err(error) => {
                assert!(!error.help.is_empty() && error.span.is_some(), "{error:?}");
                error.code
            }
        }
    }

    fn hmac(secret: &str) -> &'static str {
        told(&format!(
            "algorithm = \"hmac-sha256\"\nsecret = {{ {secret} }}\nvalue = {{ path = \"header.s\", as = \"hex\" }}\n\
             message = \"{{body}}\"\nassurance = \"full\""
        ))
    }

    fn public(algorithm: &str, secret: &str) -> &'static str {
        told(&format!(
            "algorithm = {algorithm}\nsecret = {{ {secret} }}\nvalue = {{ path = \"header.s\", as = \"base64\" }}\n\
             message = \"{{body}}\"\nassurance = \"full\""
        ))
    }

    #[test]
    fn a_token_needs_only_its_place() {
        let token =
            "algorithm = \"token\"\nvalue = { path = \"header.x-gitlab-token\" }\nassurance = \"token\"";
        let scheme = Scheme::parse(token).expect("a scheme");
        assert_eq!((scheme.value().form, scheme.algorithm().family()), (Encoding::Text, Family::Shared));
        assert!(scheme.covers().is_empty() && !scheme.message().has_body());
        let other = |good: &str, bad: &str| told(&token.replace(good, bad));
        assert_eq!(other("\"token\"\nvalue", "\"basic\"\nvalue"), "ok");
        assert_eq!(other("assurance = \"token\"", "assurance = \"full\""), "assurance_mismatch");
        assert_eq!(other("assurance", "message = \"{body}\"\nassurance"), "nothing_to_sign");
        assert_eq!(
            other("assurance", "timestamp = { path = \"header.t\", as = \"unix_s\" }\nassurance"),
            "nothing_to_sign"
        );
        assert_eq!(other("-token\" }", "-token\", as = \"hex\" }"), "value_mismatch");
        assert_eq!(other("-token\" }", "-token\", as = \"text\" }"), "ok");
        assert_eq!(other("value", "secret = { as = \"hex\" }\nvalue"), "secret_mismatch");
        assert_eq!(other("value = { path", "value = { form"), "unknown_key");
    }

    #[test]
    fn a_token_may_stand_in_each_item() {
        let scheme = Scheme::parse(
            "algorithm = \"token\"\nvalue = { path = \"item.clientState\" }\nitems = \"body.value[]\"\n\
             assurance = \"token\"",
        );
        assert_eq!(scheme.expect("a scheme").signed_items(), Some("body.value[]"));
    }

    #[test]
    fn basic_stands_where_everyone_has_it() {
        let scheme = Scheme::parse("algorithm = \"basic\"\nassurance = \"token\"").expect("a scheme");
        assert_eq!(scheme.value().place.path.to_string(), "header.authorization");
        assert_eq!(scheme.value().form, Encoding::Basic);
    }

    #[test]
    fn broken_algorithms_load_only_beside_a_word_for_it() {
        let pem = "as = \"pem\"";
        assert_eq!(public("\"rsa-pkcs1-sha1\"", pem), "legacy_algorithm");
        assert_eq!(public("\"rsa-pkcs1-sha1\"\nlegacy = false", pem), "legacy_algorithm");
        assert_eq!(public("\"rsa-pkcs1-sha1\"\nlegacy = true", pem), "ok");
        assert_eq!(public("\"rsa-pkcs1-sha256\"\nlegacy = true", pem), "legacy_algorithm");
    }

    #[test]
    fn a_secret_is_written_as_its_family_wants() {
        assert_eq!(hmac("as = \"base64\", prefix = \"whsec_\", otherwise = \"text\""), "ok");
        assert_eq!(hmac("as = \"text\", digest = \"sha1\", normalize = \"nfkd\""), "ok");
        assert_eq!(hmac("as = \"pem\""), "secret_mismatch");
        assert_eq!(hmac("as = \"text\", otherwise = \"hex\""), "secret_mismatch");
        assert_eq!(hmac("as = \"base64\", prefix = \"\""), "secret_mismatch");
        assert_eq!(hmac("as = \"base64\", prefix = \"a\", otherwise = \"pem\""), "secret_mismatch");
        assert_eq!(hmac("as = \"hex\", normalize = \"nfkd\""), "secret_mismatch");
        assert_eq!(hmac("as = \"text\", digest = \"md5\""), "invalid_value");
        assert_eq!(public("\"ed25519\"", "as = \"hex\""), "ok");
        assert_eq!(public("\"ecdsa-p256-sha256\"", "as = \"hex\""), "secret_mismatch");
        assert_eq!(public("\"ed25519\"", "as = \"text\""), "secret_mismatch");
        assert_eq!(public("\"ed25519\"", "as = \"pem\", prefix = \"x\""), "secret_mismatch");
        assert_eq!(public("\"none\"", "as = \"pem\""), "invalid_value");
    }

    #[test]
    fn a_digest_without_the_secret_can_be_made_by_anyone() {
        let hashed = |algorithm: &str, message: &str| {
            told(&format!(
                "algorithm = \"{algorithm}\"\nsecret = {{ as = \"text\" }}\nvalue = {{ path = \"header.s\", as = \"hex\" \
                 }}\nmessage = \"{message}\"\nassurance = \"full\""
            ))
        };
        assert_eq!(hashed("sha256", "{secret}{body}"), "ok");
        assert_eq!(hashed("keccak256", "{body}{secret}"), "ok");
        assert_eq!(hashed("md5", "{body}"), "secret_in_message");
        assert_eq!(hashed("hmac-sha256", "{secret}{body}"), "secret_in_message");
        assert_eq!(hashed("sha256", "{secret}{secret}{body}"), "invalid_template");
        assert_eq!(hashed("sha256", "{secret}"), "nothing_signed");
    }
}
