//! Room `signatures`: the table of a scheme by tokens (`jwt`).

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use toml::Spanned;

use super::{
    SchemeError, SignatureTable,
    places::{placed, required, template, tolerance},
    special::{of_its_own, public_url},
};
use crate::{
    config::HumanDuration,
    model::{FieldPath, Root},
    signatures::{
        Encoding, JwsAlgorithm, Place, Placed, Scheme,
        jose::claims::{Bound, Claim, Claims},
        jwt::{About, Jwt, TokenAt},
        special::Special,
    },
};

/// How far clocks may differ where a scheme does not say.
const DEFAULT_LEEWAY: Duration = Duration::from_mins(1);

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JwtTable {
    algorithms: Spanned<Vec<JwsAlgorithm>>,
    #[serde(default)]
    claims: BTreeMap<String, Spanned<toml::Value>>,
    max_age: Option<HumanDuration>,
    #[serde(default)]
    endless: bool,
    #[serde(default)]
    detached: bool,
}

pub(super) fn token(table: &SignatureTable, jwt: &Spanned<JwtTable>) -> Result<Scheme, SchemeError> {
    let (at, place) = token_at(table)?;
    let rules = jwt.get_ref();
    let algorithms = rules.algorithms.get_ref().clone();
    let special = Jwt {
        at,
        algorithms,
        about: about(table, jwt)?,
        public_url: table.public_url.as_ref().map(public_url).transpose()?,
        key_set: table.keys.as_ref().and_then(|keys| keys.get_ref().key_set()),
    };
    check_algorithms(table, &rules.algorithms)?;
    if special.is_in_body() && special.binds_body() {
        let help = "remove {body|sha256}, or say where else the token stands";
        let text = "a token that stands in the body cannot be over the whole body";
        return Err(SchemeError::new("signature_signs_itself", text, help).at(jwt));
    }
    check_audience(&special, table.keys.is_some(), jwt)?;
    of_its_own(table, place, Special::Jwt(Box::new(special)))
}

/// Where the token stands. `body` is the whole body.
fn token_at(table: &SignatureTable) -> Result<(TokenAt, Placed<Encoding>), SchemeError> {
    let value =
        required(table.value.as_ref(), "value", "{ path = \"header.authorization\", prefix = \"Bearer \" }")?;
    let place = placed(value, value.form.unwrap_or(Encoding::Base64))?;
    let path: &FieldPath = &place.place.path;
    match path.root() {
        Root::Body if path.name().is_empty() => Ok((TokenAt::Body, place)),
        Root::Header | Root::Query => Ok((TokenAt::Place(Box::new(place.place.clone())), place)),
        Root::Body if place.place == Place::whole(path.clone()) => Ok((TokenAt::Field(path.clone()), place)),
        Root::Body | Root::Item => {
            let help = "a token stands in a header or the query, is the whole body (path = \"body\") or one text in it (path = \"body.token\")";
            Err(SchemeError::new("invalid_path", "no token is looked for there", help).within(value.span()))
        }
    }
}

fn about(table: &SignatureTable, jwt: &Spanned<JwtTable>) -> Result<About, SchemeError> {
    let rules = jwt.get_ref();
    if rules.detached {
        if !rules.claims.is_empty() || rules.max_age.is_some() || rules.endless {
            let help = "remove claims, max_age and endless: a detached signature has no claims, the message is its payload";
            return Err(SchemeError::new("jwt_mismatch", "a detached token has no claims", help).at(jwt));
        }
        let message = required(table.message.as_ref(), "message", "\"{body}\"")?;
        let template = template(message, table.free.as_ref())?;
        let in_body = |path: &FieldPath| matches!(path.root(), Root::Body | Root::Item);
        if template.has_timestamp() || template.fields().any(in_body) {
            let help = "write {body} and headers, as \"{header.acme-id}.{body}\"";
            return Err(SchemeError::new("invalid_template", "no part of the message is of that kind", help)
                .at(message));
        }
        return Ok(About::Message(template));
    }
    if let Some(message) = &table.message {
        let help =
            "remove message; to bind the body write a claim, as claims = { body_hash = \"{body|sha256}\" }";
        return Err(SchemeError::new("jwt_mismatch", "a token with claims has no message", help).at(message));
    }
    let claims = rules.claims.iter().map(|(name, value)| Ok((name.clone(), claim(value)?)));
    Ok(About::Claims(Claims {
        rules: claims.collect::<Result<_, SchemeError>>()?,
        max_age: rules.max_age.map(|age| age.0),
        tolerance: if table.tolerance.is_some() { tolerance(table)? } else { DEFAULT_LEEWAY },
        endless: rules.endless,
    }))
}

fn claim(value: &Spanned<toml::Value>) -> Result<Claim, SchemeError> {
    match value.get_ref() {
        toml::Value::String(text) if text.contains('{') => {
            Bound::parse(text).map(Claim::Bound).ok_or_else(|| {
                let help =
                    "a claim repeats {body|sha256}, {body|sha256_base64}, {url}, {url|sha256} or {qsh}";
                SchemeError::new("invalid_template", format!("{text:?} is nothing a claim repeats"), help)
                    .at(value)
            })
        }
        toml::Value::String(text) if !text.is_empty() => Ok(Claim::Text(text.clone())),
        toml::Value::Boolean(truth) => Ok(Claim::Truth(*truth)),
        toml::Value::Integer(number) => Ok(Claim::Integer(*number)),
        _ => {
            let help = "write a text, a whole number, true or false";
            Err(SchemeError::new("invalid_value", "a claim cannot be held against this", help).at(value))
        }
    }
}

/// One kind of key for all: a public key must never pass for a secret.
fn check_algorithms(
    table: &SignatureTable,
    algorithms: &Spanned<Vec<JwsAlgorithm>>,
) -> Result<(), SchemeError> {
    let list = algorithms.get_ref();
    let macs = list.iter().filter(|algorithm| algorithm.is_mac()).count();
    let published = table.keys.is_some();
    let (text, help) = match (list.len(), macs) {
        (0, _) => ("no algorithm counts", "name those the sender uses, as [\"RS256\"]"),
        (all, macs) if macs > 0 && macs < all => (
            "HS… takes a secret and the others take public keys: whoever has the public key could sign",
            "name algorithms of one kind only",
        ),
        (_, 0) if !published && table.secret.is_none() => (
            "the keys of these algorithms are public, and nothing says where they are",
            "add keys = { jwks = \"https://…\" }, or secret = { as = \"pem\" } for keys of the endpoint's own",
        ),
        (_, macs) if macs > 0 && published => (
            "HS… takes a secret, and published keys are none",
            "remove keys, or name algorithms with public keys",
        ),
        _ => return Ok(()),
    };
    Err(SchemeError::new("jwt_algorithms", text, help).at(algorithms))
}

/// A provider signs for all its customers with the same keys: what tells us from them must be demanded.
fn check_audience(jwt: &Jwt, published: bool, table: &Spanned<JwtTable>) -> Result<(), SchemeError> {
    let About::Claims(claims) = &jwt.about else { return Ok(()) };
    if !published || jwt.binds_body() || claims.rules.iter().any(|(name, _)| name == "aud") {
        return Ok(());
    }
    let text = "a token that the provider made for anyone else would hold here";
    Err(SchemeError::new(
        "audience_missing",
        text,
        "add the claim that names us, as claims = { aud = \"…\" }",
    )
    .at(table))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Assurance;

    const PUBSUB: &str = r#"
algorithm = "jwt"
value     = { path = "header.authorization", prefix = "Bearer " }
jwt       = { algorithms = ["RS256"], claims = { iss = "https://accounts.google.com", aud = "https://us.example/in/pubsub", email_verified = true } }
keys      = { jwks = "https://www.googleapis.com/oauth2/v3/certs" }
assurance = "origin"
"#;

    const VONAGE: &str = r#"
algorithm = "jwt"
value     = { path = "header.authorization", prefix = "Bearer " }
secret    = { as = "text" }
jwt       = { algorithms = ["HS256"], claims = { payload_hash = "{body|sha256}" }, max_age = "5m" }
assurance = "full"
"#;

    fn refused(good: &str, from: &str, to: &str) -> (&'static str, String) {
        assert!(good.contains(from), "{from}");
        let text = good.replace(from, to);
        let error = Scheme::parse(&text).expect_err(&text);
        assert!(!error.help.is_empty());
        (error.code, error.span.map(|span| text[span].to_owned()).unwrap_or_default())
    }

    #[test]
    fn tokens_of_both_kinds_load() {
        let pubsub = Scheme::parse(PUBSUB).expect("a scheme");
        assert!(pubsub.has_published_keys() && pubsub.covers().is_empty() && !pubsub.reads_body());
        assert_eq!(pubsub.assurance(), Assurance::Origin);
        let vonage = Scheme::parse(VONAGE).expect("a scheme");
        assert_eq!((vonage.has_published_keys(), vonage.covers()), (false, &["body".to_owned()][..]));
        let detached = VONAGE
            .replace("claims = { payload_hash = \"{body|sha256}\" }, max_age = \"5m\"", "detached = true")
            + "message = \"{body}\"";
        assert_eq!(Scheme::parse(&detached).expect("a scheme").covers(), ["body"]);
        let body = VONAGE.replace("header.authorization\", prefix = \"Bearer \"", "body\"");
        assert!(Scheme::parse(&body).is_ok());
    }

    #[test]
    fn tokens_that_anyone_could_make_do_not_load() {
        assert_eq!(refused(PUBSUB, "[\"RS256\"]", "[]").0, "jwt_algorithms");
        assert_eq!(refused(PUBSUB, "[\"RS256\"]", "[\"RS256\", \"HS256\"]").0, "jwt_algorithms");
        assert_eq!(refused(PUBSUB, "[\"RS256\"]", "[\"HS256\"]").0, "jwt_algorithms");
        assert_eq!(refused(PUBSUB, "\"RS256\"", "\"none\"").0, "invalid_value");
        assert_eq!(refused(PUBSUB, "aud = \"https://us.example/in/pubsub\", ", "").0, "audience_missing");
        assert_eq!(
            refused(PUBSUB, "https://www.googleapis.com", "http://www.googleapis.com").0,
            "invalid_url"
        );
        assert_eq!(refused(PUBSUB, "www.googleapis.com", "127.0.0.1").0, "invalid_url");
        assert_eq!(refused(PUBSUB, "\"origin\"", "\"full\""), ("assurance_mismatch", "\"full\"".to_owned()));
        assert_eq!(
            refused(PUBSUB, "algorithm = \"jwt\"", "algorithm = \"hmac-sha256\"").0,
            "algorithm_mismatch"
        );
        assert_eq!(refused(VONAGE, "\"full\"", "\"origin\"").0, "assurance_mismatch");
        assert_eq!(refused(VONAGE, "\"HS256\"", "\"ES256\"").0, "secret_mismatch");
        assert_eq!(refused(VONAGE, "{body|sha256}", "{body|sha1}").0, "invalid_template");
        assert_eq!(refused(VONAGE, "secret    = { as = \"text\" }", "").0, "missing_key");
        assert_eq!(
            refused(VONAGE, "max_age = \"5m\"", "max_age = \"5m\", detached = true").0,
            "jwt_mismatch"
        );
        assert_eq!(
            refused(VONAGE, "header.authorization\", prefix = \"Bearer \"", "body.token\"").0,
            "signature_signs_itself"
        );
        assert_eq!(refused(VONAGE, "header.authorization", "body.token").0, "invalid_path");
        assert_eq!(refused(VONAGE, "header.authorization", "item.token").0, "invalid_path");
    }
}
