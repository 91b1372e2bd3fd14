//! Room `signatures`: the tables of schemes that are standards of their own: HTTP message signatures, Amazon SNS; tokens
//! have a file of theirs.

use serde::Deserialize;
use toml::Spanned;

use super::{
    PlacedTable, SchemeError, SignatureTable,
    places::{required, tolerance},
    published::{key_source, secret},
    token::token,
};
use crate::{
    model::{Assurance, BodyKind, BodyRules, FieldPath},
    signatures::{
        Algorithm, Encoding, Place, Placed, Scheme,
        http_message::{self, HttpMessage},
        published::KeySource,
        sns::Sns,
        special::Special,
        template::Template,
    },
};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpMessageTable {
    algorithm: Spanned<String>,
    components: Spanned<Vec<String>>,
    label: Option<String>,
    tag: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SnsTable {
    topics: Spanned<Vec<String>>,
}

/// The scheme of a table whose algorithm is one of those; `None` for all others.
pub(super) fn scheme(table: &SignatureTable) -> Result<Option<Scheme>, SchemeError> {
    check_company(table)?;
    match named(table) {
        Some(Algorithm::Jwt) => {
            let example = "{ algorithms = [\"RS256\"], claims = { … } }";
            token(table, required(table.jwt.as_ref(), "jwt", example)?).map(Some)
        }
        Some(Algorithm::HttpMessage) => {
            let example = "{ algorithm = \"ed25519\", components = [\"@method\", \"@target-uri\", \"content-digest\"] }";
            message_signature(table, required(table.http_message.as_ref(), "http_message", example)?)
                .map(Some)
        }
        Some(Algorithm::Sns) => {
            let example = "{ topics = [\"arn:aws:sns:…\"] }";
            sns(table, required(table.sns.as_ref(), "sns", example)?).map(Some)
        }
        _ => Ok(None),
    }
}

fn named(table: &SignatureTable) -> Option<Algorithm> {
    table.algorithm.as_ref().map(|algorithm| *algorithm.get_ref())
}

/// A key that this algorithm does not read would be one that someone relies on in vain.
fn check_company(table: &SignatureTable) -> Result<(), SchemeError> {
    let is = |algorithm: Algorithm| named(table) == Some(algorithm);
    let (jwt, http_message, sns) = (is(Algorithm::Jwt), is(Algorithm::HttpMessage), is(Algorithm::Sns));
    let special = jwt || http_message || sns;
    let foreign = [
        ("jwt", table.jwt.as_ref().map(Spanned::span).filter(|_| !jwt)),
        ("http_message", table.http_message.as_ref().map(Spanned::span).filter(|_| !http_message)),
        ("sns", table.sns.as_ref().map(Spanned::span).filter(|_| !sns)),
        ("keys", table.keys.as_ref().map(Spanned::span).filter(|_| http_message)),
        ("public_url", table.public_url.as_ref().map(Spanned::span).filter(|_| !special)),
        ("timestamp", table.timestamp.as_ref().and_then(PlacedTable::span).filter(|_| special)),
        ("tolerance", table.tolerance.as_ref().map(Spanned::span).filter(|_| sns)),
        ("items", table.items.as_ref().map(Spanned::span).filter(|_| special)),
        ("message", table.message.as_ref().map(Spanned::span).filter(|_| http_message || sns)),
        ("value", table.value.as_ref().and_then(PlacedTable::span).filter(|_| http_message || sns)),
    ];
    let Some((key, span)) = foreign.into_iter().find_map(|(key, span)| Some((key, span?))) else {
        return Ok(());
    };
    let message = format!("{key} says nothing to this algorithm");
    let error =
        SchemeError::new("algorithm_mismatch", message, format!("remove {key}, or name its algorithm"));
    Err(SchemeError { span: Some(span), ..error })
}

fn message_signature(
    table: &SignatureTable,
    given: &Spanned<HttpMessageTable>,
) -> Result<Scheme, SchemeError> {
    let rules = given.get_ref();
    let algorithm = http_message::algorithm_of(rules.algorithm.get_ref()).ok_or_else(|| {
        let message = format!("{:?} is no algorithm of RFC 9421", rules.algorithm.get_ref());
        let help = "write hmac-sha256, ed25519, ecdsa-p256-sha256, ecdsa-p384-sha384, rsa-pss-sha512 or rsa-v1_5-sha256";
        SchemeError::new("invalid_value", message, help).at(&rules.algorithm)
    })?;
    let components = rules.components.get_ref().iter().map(|text| {
        http_message::spelled(text).ok_or_else(|| {
            let help = "write a header in lower case, or @method, @target-uri, @authority, @path, @query …";
            SchemeError::new("invalid_component", format!("{text:?} is no component"), help)
                .at(&rules.components)
        })
    });
    let special = HttpMessage {
        components: components.collect::<Result<_, _>>()?,
        label: rules.label.clone(),
        tag: rules.tag.clone(),
        algorithm,
        tolerance: tolerance(table)?,
        public_url: table.public_url.as_ref().map(public_url).transpose()?,
    };
    if special.components.is_empty() {
        let help = "name what must be signed, as [\"@method\", \"@target-uri\", \"content-digest\"]";
        return Err(SchemeError::new("nothing_signed", "nothing must be signed", help).at(&rules.components));
    }
    let special = Special::HttpMessage(special);
    of_its_own(table, place("header.signature")?, special)
}

/// Amazon signs for everyone: without topics anyone's messages would hold.
fn sns(table: &SignatureTable, given: &Spanned<SnsTable>) -> Result<Scheme, SchemeError> {
    let topics = &given.get_ref().topics;
    let is_topic = |topic: &String| topic.starts_with("arn:aws") && topic.split(':').count() == 6;
    if topics.get_ref().is_empty() || !topics.get_ref().iter().all(is_topic) {
        let help = "write the ARNs of the topics, as \"arn:aws:sns:eu-west-1:123456789012:orders\"";
        return Err(SchemeError::new("invalid_topic", "these are no topics", help).at(topics));
    }
    if table.keys.is_none() {
        required(None::<&()>, "keys", "{ certificate = \"body.SigningCertURL\", … }")?;
    }
    let special = Special::Sns(Sns { topics: topics.get_ref().clone() });
    of_its_own(table, place("body.Signature")?, special)
}

/// Where the standard has the signature.
fn place(path: &str) -> Result<Placed<Encoding>, SchemeError> {
    let path = FieldPath::parse(path)
        .map_err(|error| SchemeError::new("invalid_path", error.to_string(), "write a path"))?;
    Ok(Placed { place: Place::whole(path), form: Encoding::Base64 })
}

/// A scheme that is a standard of its own. Its message is never rendered: the standard says what is signed.
pub(super) fn of_its_own(
    table: &SignatureTable,
    value: Placed<Encoding>,
    special: Special,
) -> Result<Scheme, SchemeError> {
    let algorithm = required(table.algorithm.as_ref(), "algorithm", "\"jwt\"")?;
    let message = Template::parse("{body}", None)
        .map_err(|error| SchemeError::new("invalid_template", error.to_string(), "write a message"))?;
    let keys = key_source(table, *algorithm.get_ref())?;
    let scheme = Scheme {
        require: Vec::new(),
        algorithm: *algorithm.get_ref(),
        secret: secret(table, &Spanned::new(algorithm.span(), special.key_algorithm()))?,
        value,
        timestamp: None,
        items: None,
        body: BodyKind::default(),
        reads_body: false,
        rules: BodyRules::default(),
        digest: None,
        url_candidates: false,
        message,
        covers: special.covers(),
        assurance: assurance(table, &special)?,
        key_named: keys.as_ref().and_then(KeySource::named),
        keys,
        special: Some(special),
    };
    Ok(scheme.settled())
}

fn assurance(table: &SignatureTable, special: &Special) -> Result<Assurance, SchemeError> {
    let (binds_body, some_fields) = (special.binds_body(), matches!(special, Special::Sns(_)));
    let given = required(table.assurance.as_ref(), "assurance", "\"origin\"")?;
    let fits = match given.get_ref() {
        Assurance::Full | Assurance::Body => binds_body,
        Assurance::Origin => !binds_body && !some_fields,
        Assurance::Partial => some_fields,
        _ => false,
    };
    if fits {
        return Ok(*given.get_ref());
    }
    let help = match (binds_body, some_fields) {
        (_, true) => "write partial: only some fields are signed",
        (true, _) => "write full, or body where id or type come from headers that are not signed",
        (false, _) => "write origin: it says who sends, and nothing about the body",
    };
    Err(SchemeError::new("assurance_mismatch", "the signature does not vouch for just that", help).at(given))
}

/// Scheme and authority, with what stands before the path; no slash at its end.
pub(super) fn public_url(text: &Spanned<String>) -> Result<String, SchemeError> {
    let url = text.get_ref();
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let plain = |rest: &str| {
        !rest.is_empty()
            && !rest.ends_with('/')
            && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:/[]".contains(&byte))
    };
    rest.filter(|rest| plain(rest)).map(|_| url.clone()).ok_or_else(|| {
        let help = "write it as the sender has it, without the path, as \"https://hooks.example.com\"";
        SchemeError::new("invalid_url", format!("{url:?} is no public address of ours"), help).at(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(good: &str, from: &str, to: &str) -> (&'static str, String) {
        assert!(good.contains(from), "{from}");
        let text = good.replace(from, to);
        let error = Scheme::parse(&text).expect_err(&text);
        assert!(!error.help.is_empty());
        (error.code, error.span.map(|span| text[span].to_owned()).unwrap_or_default())
    }

    const MESSAGE: &str = r#"
algorithm    = "http-message-signatures"
http_message = { algorithm = "hmac-sha256", components = ["@method", "@target-uri", "content-digest"], tag = "acme" }
public_url   = "https://hooks.us.example"
secret       = { as = "base64" }
assurance    = "full"
"#;

    #[test]
    fn a_message_signature_covers_what_the_scheme_says() {
        let scheme = Scheme::parse(MESSAGE).expect("a scheme");
        assert_eq!(scheme.covers(), ["@method", "@target-uri", "body"]);
        assert!(!scheme.reads_body() && !scheme.is_spelled_out());
        let without = MESSAGE.replace(", \"content-digest\"", "").replace("\"full\"", "\"origin\"");
        assert_eq!(Scheme::parse(&without).expect("a scheme").covers(), ["@method", "@target-uri"]);
        assert_eq!(refused(MESSAGE, ", \"content-digest\"", "").0, "assurance_mismatch");
        assert_eq!(refused(MESSAGE, "\"hmac-sha256\"", "\"hmac-sha1\"").0, "invalid_value");
        assert_eq!(refused(MESSAGE, "@method", "@status;req;x").0, "invalid_component");
        assert_eq!(
            refused(MESSAGE, "[\"@method\", \"@target-uri\", \"content-digest\"]", "[]").0,
            "nothing_signed"
        );
        assert_eq!(refused(MESSAGE, "hooks.us.example", "hooks.us.example/").0, "invalid_url");
        assert_eq!(refused(MESSAGE, "assurance", "message = \"{body}\"\nassurance").0, "algorithm_mismatch");
    }
}
