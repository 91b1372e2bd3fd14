//! Room `signatures`: the part of the table of published keys (`keys`) that says how one is asked for by its id.

use std::{collections::BTreeMap, sync::Arc};

use serde::Deserialize;
use toml::Spanned;

use super::{PlacedTable, SchemeError, places::placed, published::KeysTable};
use crate::{
    model::{FieldPath, KeyQuestion, Question, QuestionBody, QuestionText, QuestionUrl, Root, TokenQuestion},
    signatures::{
        Algorithm, Encoding,
        keyed::{AnswerForm, KeyAnswer, KeyedSource},
    },
};

/// Headers that are not a question's to set.
const OURS: [&str; 6] =
    ["host", "content-length", "content-type", "transfer-encoding", "connection", "user-agent"];

/// One request to the provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QuestionTable {
    url: Spanned<String>,
    #[serde(default)]
    headers: BTreeMap<String, Spanned<String>>,
    basic: Option<[String; 2]>,
    json: Option<BTreeMap<String, Spanned<String>>>,
    form: Option<BTreeMap<String, Spanned<String>>>,
}

/// Where in what is answered the key stands.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AnswerTable {
    at: Spanned<String>,
    #[serde(rename = "as")]
    form: AnswerForm,
    #[serde(default)]
    expect: BTreeMap<Spanned<String>, String>,
    expired: Option<Spanned<String>>,
}

pub(super) fn keyed_source(
    keys: &Spanned<KeysTable>,
    ask: &Spanned<QuestionTable>,
    algorithm: Algorithm,
) -> Result<KeyedSource, SchemeError> {
    let given = keys.get_ref();
    let answer = given.key.as_ref().ok_or_else(|| {
        let help = "add key = { at = \"data.publicKey\", as = \"spki\" }";
        SchemeError::new("missing_key", "nothing says where in the answer the key stands", help).at(ask)
    })?;
    let question = KeyQuestion {
        ask: question(ask)?,
        token: given.token.as_ref().map(question).transpose()?.map(|ask| TokenQuestion { ask }),
    };
    check_id(ask, &question)?;
    check_token(ask, &question)?;
    let jwt = algorithm == Algorithm::Jwt;
    if answer.get_ref().form == AnswerForm::Jwk && !jwt {
        let help = "write as = \"spki\" or as = \"pem\"";
        return Err(
            SchemeError::new("keys_mismatch", "only tokens have keys of this kind here", help).at(answer)
        );
    }
    Ok(KeyedSource { id: id(keys, jwt)?, question: Arc::new(question), answer: answer_of(answer)? })
}

/// Where the id stands: a token names it itself, anything else in a header or the query.
fn id(keys: &Spanned<KeysTable>, jwt: bool) -> Result<Option<crate::signatures::Place>, SchemeError> {
    let table: Option<&PlacedTable<Encoding>> = keys.get_ref().id.as_ref();
    match (table, jwt) {
        (None, true) => Ok(None),
        (Some(table), false) => {
            let place = placed(table, Encoding::Text)?.place;
            if place.paths().all(|path| matches!(path.root(), Root::Header | Root::Query)) {
                return Ok(Some(place));
            }
            let help = "write id = { path = \"header.acme-key-id\" }";
            Err(SchemeError::new("invalid_path", "the id of a key stands in a header or the query", help)
                .within(table.span()))
        }
        (table, _) => {
            let message = "nothing says where the id of the key stands, or two things do";
            let help = "add id = { path = \"header.acme-key-id\" }; a jwt has none: its own header names the key (kid)";
            let error = SchemeError::new("keys_mismatch", message, help);
            Err(match table.and_then(PlacedTable::span) {
                None => error.at(keys),
                span => error.within(span),
            })
        }
    }
}

fn question(table: &Spanned<QuestionTable>) -> Result<Question, SchemeError> {
    let given = table.get_ref();
    let url = QuestionUrl::parse(given.url.get_ref()).map_err(|error| {
        let help = "write the whole address: https, the host's name, no port, no query; {id} may be one segment of its path";
        SchemeError::new("invalid_url", format!("{:?}: {error}", given.url.get_ref()), help).at(&given.url)
    })?;
    let texts = |texts: &BTreeMap<String, Spanned<String>>| {
        texts
            .iter()
            .map(|(name, value)| Ok((name.clone(), text(value)?)))
            .collect::<Result<Vec<_>, SchemeError>>()
    };
    let body = match (&given.json, &given.form) {
        (None, None) => None,
        (Some(json), None) => Some(QuestionBody::Json(texts(json)?)),
        (None, Some(form)) => Some(QuestionBody::Form(texts(form)?)),
        (Some(_), Some(_)) => {
            let help = "write json or form";
            return Err(SchemeError::new("keys_mismatch", "one question has one body", help).at(table));
        }
    };
    let is_name = |name: &&String| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !name.is_empty() && name.bytes().all(plain) && !OURS.contains(&name.as_str())
    };
    if let Some(name) = given.headers.keys().find(|name| !is_name(name)) {
        let help = "write the name in lower case, as authorization; some headers are not a question's to set";
        return Err(SchemeError::new("invalid_header", format!("{name:?} cannot be set"), help).at(table));
    }
    let basic = given.basic.clone().map(|[user, password]| (user, password));
    Ok(Question { url, body, headers: texts(&given.headers)?, basic })
}

fn text(given: &Spanned<String>) -> Result<QuestionText, SchemeError> {
    QuestionText::parse(given.get_ref()).ok_or_else(|| {
        let help = "write {id}, {token} or {secret.name}, where an endpoint has a secret with for = \"name\"";
        SchemeError::new("invalid_template", format!("{:?} cannot be filled in", given.get_ref()), help)
            .at(given)
    })
}

/// A question that does not name the key would have one answer for all.
fn check_id(ask: &Spanned<QuestionTable>, question: &KeyQuestion) -> Result<(), SchemeError> {
    if question.ask.url.has_id() || question.ask.texts().any(QuestionText::has_id) {
        return Ok(());
    }
    let help = "let {id} stand in url, json or form";
    Err(SchemeError::new("keys_mismatch", "the question does not say which key is meant", help).at(ask))
}

fn check_token(ask: &Spanned<QuestionTable>, question: &KeyQuestion) -> Result<(), SchemeError> {
    let wanted = question.ask.texts().any(QuestionText::has_token);
    let own = question.token.as_ref().map(|token| &token.ask);
    let names_other =
        own.is_some_and(|own| own.url.has_id() || own.texts().any(|text| text.has_id() || text.has_token()));
    if wanted == own.is_some() && !names_other {
        return Ok(());
    }
    let help =
        "{token} in by_id is what token = { url = \"…\", … } gets; neither {id} nor {token} stands in that";
    Err(SchemeError::new("keys_mismatch", "the access token is not had, or not used", help).at(ask))
}

fn answer_of(table: &Spanned<AnswerTable>) -> Result<KeyAnswer, SchemeError> {
    let given = table.get_ref();
    let path = |text: &Spanned<String>| {
        FieldPath::parse(&format!("body.{}", text.get_ref())).map_err(|error| {
            let help = "write where it stands in the answer, as \"data.publicKey\"";
            SchemeError::new("invalid_path", error.to_string(), help).at(text)
        })
    };
    let expect = given.expect.iter().map(|(at, text)| Ok((path(at)?, text.clone())));
    Ok(KeyAnswer {
        at: path(&given.at)?,
        form: given.form,
        expect: expect.collect::<Result<_, SchemeError>>()?,
        expired: given.expired.as_ref().map(path).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use crate::signatures::Scheme;

    const CIRCLE: &str = r#"
algorithm = "ecdsa-p256-sha256"
secret    = { as = "spki" }
value     = { path = "header.x-circle-signature", as = "base64" }
message   = "{body}"
assurance = "full"
[keys]
id        = { path = "header.x-circle-key-id" }
by_id     = { url = "https://api.circle.com/v2/notifications/publicKey/{id}", headers = { authorization = "Bearer {secret.api-key}" } }
key       = { at = "data.publicKey", as = "spki" }
"#;

    const TOKEN: &str = r#"token = { url = "https://api.circle.com/token", basic = ["id", "word"], form = { grant_type = "client_credentials" } }"#;

    fn refused(from: &str, to: &str) -> &'static str {
        assert!(CIRCLE.contains(from), "{from}");
        let text = CIRCLE.replace(from, to);
        let error = Scheme::parse(&text).expect_err(&text);
        assert!(!error.help.is_empty() && error.span.is_some(), "{error:?}");
        error.code
    }

    #[test]
    fn a_key_by_its_id_says_where_the_id_stands_and_what_it_costs_to_ask() {
        let scheme = Scheme::parse(CIRCLE).expect("a scheme");
        assert!(scheme.has_published_keys() && scheme.is_spelled_out());
        assert_eq!(scheme.asks_with(), ["api-key"]);
        assert!(scheme.asks() && !scheme.clone().with_own_keys().has_published_keys());
        let with_token = format!("{}{TOKEN}\n", CIRCLE.replace("{secret.api-key}", "{token}"));
        assert_eq!(Scheme::parse(&with_token).expect("a scheme").asks_with(), ["id", "word"]);
    }

    #[test]
    fn what_could_ask_for_something_else_does_not_load() {
        assert_eq!(refused("publicKey/{id}", "publicKey/x"), "keys_mismatch");
        assert_eq!(refused("publicKey/{id}", "publicKey/x{id}"), "invalid_url");
        assert_eq!(refused("api.circle.com/v2", "{id}.circle.com/v2"), "invalid_url");
        assert_eq!(refused("https://api", "http://api"), "invalid_url");
        assert_eq!(refused("api.circle.com/v2", "127.0.0.1/v2"), "invalid_url");
        assert_eq!(refused("{secret.api-key}", "{token}"), "keys_mismatch");
        assert_eq!(refused("{secret.api-key}", "{other}"), "invalid_template");
        assert_eq!(refused("authorization =", "host ="), "invalid_header");
        assert_eq!(refused("authorization =", "Authorization ="), "invalid_header");
        assert_eq!(refused("id        = { path = \"header.x-circle-key-id\" }", ""), "keys_mismatch");
        assert_eq!(refused("header.x-circle-key-id", "body.key"), "invalid_path");
        assert_eq!(refused("key       = { at = \"data.publicKey\", as = \"spki\" }", ""), "missing_key");
        assert_eq!(
            refused("at = \"data.publicKey\", as = \"spki\"", "at = \"key\", as = \"jwk\""),
            "keys_mismatch"
        );
        assert_eq!(refused("[keys]", "[keys]\njwks = \"https://api.circle.com/jwks\""), "keys_mismatch");
        assert_eq!(refused("\"ecdsa-p256-sha256\"", "\"hmac-sha256\""), "secret_mismatch");
        let both = format!("[keys]\n{TOKEN}");
        assert_eq!(refused("[keys]", &both), "keys_mismatch");
    }
}
