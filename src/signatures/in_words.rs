//! Room `signatures`: a scheme as a person reads it who wants to know what is believed, and why: which bytes are signed, what
//! else a request must show, and whence the sender's keys come. It reads the scheme alone: no request, and no secret.

use super::{
    Algorithm, Family, Place, Scheme,
    certificate::CertificateSource,
    http_message::{CONTENT_DIGEST, HttpMessage, name_of},
    jose::claims::Claims,
    jwt::{About, Jwt, TokenAt},
    keyed::KeyedSource,
    published::{KeySource, PemSource},
    sns::{CONFIRMATION, NOTIFICATION, Sns},
    special::Special,
};
use crate::{config::HumanDuration, model::PublicUrl};

/// What a scheme demands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InWords {
    /// The algorithms that a standard of its own leaves open and the scheme does not, by the names that it has for them.
    pub algorithms: Vec<String>,
    /// The bytes that are signed. Text in braces is a part of the request, as `[signature]` has it.
    pub signed: String,
    /// What else a request must show, each by itself.
    pub demands: Vec<String>,
    /// Our public address, where it is signed: the sender must have the same.
    pub address: Option<String>,
    /// Whence the sender's keys come; `None` where they are the endpoint's own.
    pub keys: Option<String>,
}

impl Scheme {
    /// The scheme in words.
    pub fn in_words(&self) -> InWords {
        let mut demands: Vec<String> =
            self.require.iter().map(|(path, text)| format!("{path} is {text:?}")).collect();
        demands.extend(self.digest.iter().map(|bound| format!("{} is {}", bound.path, bound.of)));
        demands.extend(match &self.special {
            Some(Special::Jwt(jwt)) => of_token(jwt),
            Some(Special::HttpMessage(message)) => of_message(message),
            Some(Special::Sns(sns)) => of_sns(sns),
            None => Vec::new(),
        });
        InWords {
            algorithms: self.algorithms(),
            signed: self.signed(),
            demands,
            address: self.address(),
            keys: self.keys_in_words(),
        }
    }

    fn algorithms(&self) -> Vec<String> {
        match &self.special {
            Some(Special::Jwt(jwt)) => jwt.algorithms.iter().map(|one| one.name().to_owned()).collect(),
            Some(Special::HttpMessage(message)) => {
                name_of(message.algorithm).map(str::to_owned).into_iter().collect()
            }
            Some(Special::Sns(_)) => vec![Algorithm::RsaPkcs1Sha256.to_string()],
            None => Vec::new(),
        }
    }

    fn signed(&self) -> String {
        match &self.special {
            Some(Special::Jwt(jwt)) => signed_of_token(jwt),
            Some(Special::HttpMessage(message)) => {
                let least = message.components.join(", ");
                format!("what header.signature-input lists (RFC 9421), at least {least}")
            }
            Some(Special::Sns(_)) => format!(
                "name and value, each a line, of {}; of a confirmation, of {}",
                NOTIFICATION.join(", "),
                CONFIRMATION.join(", ")
            ),
            None if self.algorithm == Algorithm::Basic => {
                "nothing: user and password themselves are sent".to_owned()
            }
            None if self.algorithm.family() == Family::Shared => {
                "nothing: the secret itself is sent".to_owned()
            }
            None => in_one_line(&self.message),
        }
    }

    fn address(&self) -> Option<String> {
        let known = match &self.special {
            None if self.message.has_url() => self.message.url().map(|url| format!("{url:?}")),
            Some(Special::Jwt(jwt)) if jwt.signs_url() => jwt.public_url.as_deref().map(without_password),
            Some(Special::HttpMessage(message)) if message.signs_url() => {
                message.public_url.as_deref().map(without_password)
            }
            _ => return None,
        };
        let spelled = if self.url_candidates { ", in one of several spellings" } else { "" };
        let nobody =
            || "nobody said which it is: intake.public_url, or public_url of the endpoint".to_owned();
        Some(known.map_or_else(nobody, |url| format!("{url}{spelled}")))
    }

    fn keys_in_words(&self) -> Option<String> {
        Some(match self.keys.as_ref()? {
            KeySource::Jwks(url) => format!("fetched from {url}, which has the one that the token names"),
            KeySource::Certificate(source) => of_certificate(source),
            KeySource::Pem(PemSource { at, rule, .. }) => format!("fetched from {rule}, as {at} names it"),
            KeySource::Keyed(source) => of_question(source),
        })
    }
}

impl Place {
    /// Where it is, and of which JSON document there a field, in words.
    pub fn in_words(&self) -> String {
        let Some(unwrap) = &self.unwrap else { return self.to_string() };
        let field = unwrap.field.to_string();
        format!("{self}, {:?} of its JSON in base64", field.trim_start_matches("body."))
    }
}

/// A template with its line breaks written out.
fn in_one_line(message: &impl ToString) -> String {
    message.to_string().replace('\r', "\\r").replace('\n', "\\n")
}

fn without_password(url: &str) -> String {
    PublicUrl::parse(url).map_or_else(|_| url.to_owned(), |url| format!("{url:?}"))
}

fn signed_of_token(jwt: &Jwt) -> String {
    match (&jwt.about, &jwt.at) {
        (About::Message(message), _) => format!(
            "header and payload of the token (RFC 7515); its payload is not sent, and is {}",
            in_one_line(message)
        ),
        (About::Claims(_), TokenAt::Body) => {
            "header and payload of the token that the body is (RFC 7515)".to_owned()
        }
        (About::Claims(_), _) => "header and claims of the token (RFC 7515)".to_owned(),
    }
}

fn of_token(jwt: &Jwt) -> Vec<String> {
    let About::Claims(claims) = &jwt.about else { return Vec::new() };
    let ruled = claims.rules.iter().map(|(name, claim)| format!("claim {name} is {claim}"));
    ruled.chain(of_times(claims)).collect()
}

fn of_times(claims: &Claims) -> Vec<String> {
    let leeway = HumanDuration(claims.tolerance);
    let ends = if claims.max_age.is_none() && !claims.endless { "" } else { ", where there is one," };
    let age = claims.max_age.map(|age| format!("claim iat is at most {} ago", HumanDuration(age)));
    let ends = format!("claim exp{ends} is not over; clocks may differ by {leeway}");
    age.into_iter().chain([ends]).collect()
}

fn of_message(message: &HttpMessage) -> Vec<String> {
    let named =
        |what: &str, text: &Option<String>| Some(format!("the signature's {what} is {:?}", text.as_ref()?));
    let digest = message.binds_body().then(|| format!("header.{CONTENT_DIGEST} is a digest of the body"));
    let age = format!("created at most {} from now", HumanDuration(message.tolerance));
    [named("label", &message.label), named("tag", &message.tag), digest, Some(age)]
        .into_iter()
        .flatten()
        .collect()
}

fn of_sns(sns: &Sns) -> Vec<String> {
    vec![format!("body.TopicArn is {}", sns.topics.join(" or ")), "body.SignatureVersion is \"2\"".to_owned()]
}

fn of_certificate(source: &CertificateSource) -> String {
    let CertificateSource { at, rule, subjects, chain } = source;
    let by = if *chain { "an authority vouches for it" } else { "TLS to that host vouches for it" };
    format!("fetched from {rule}, as {at} names it: a certificate of {}; {by}", subjects.join(" or "))
}

fn of_question(source: &KeyedSource) -> String {
    let KeyedSource { id, question, .. } = source;
    let named = id.as_ref().map_or_else(|| "the token".to_owned(), Place::in_words);
    let secrets: Vec<_> = question.secrets().into_iter().map(|name| format!("{name:?}")).collect();
    let token = question.token.as_ref().map(|token| format!(" and an access token of {}", token.ask.url));
    format!(
        "asked for at {}, by the id that {named} names, with the secrets for {}{}",
        question.ask.url,
        secrets.join(" and "),
        token.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signatures::{Schemes, presets};

    /// The schemes of a preset at an endpoint that has the parameters of its sample.
    fn schemes(preset: &str) -> Schemes {
        let preset = presets::find(preset).expect("a preset");
        let given = preset.sample().expect("a sample").parameters;
        let text = given.iter().fold(preset.text.to_owned(), |text, (name, value)| {
            text.replace(&format!("{{param.{name}}}"), value)
        });
        let file: toml::Table = toml::from_str(&text).expect("TOML");
        Schemes::parse(&toml::to_string(&file["signature"]).expect("TOML")).expect("schemes")
    }

    /// The first scheme of a preset, in words, at an endpoint of a known address.
    fn told(preset: &str) -> InWords {
        let address = PublicUrl::parse("https://user:password@us.example").ok();
        Scheme::clone(&schemes(preset).branches()[0].scheme).at(address).in_words()
    }

    #[test]
    fn no_scheme_is_told_as_one_over_the_body_that_is_not() {
        for (preset, signed) in [
            ("github", "{body}"),
            ("contentful", "{method}\\n{target}\\n{signed_headers}\\n{body}"),
            ("telegram", "nothing: the secret itself is sent"),
            ("chargebee", "nothing: user and password themselves are sent"),
            ("google-pubsub", "header and claims of the token (RFC 7515)"),
            ("wix", "header and payload of the token that the body is (RFC 7515)"),
            (
                "fireblocks",
                "header and payload of the token (RFC 7515); its payload is not sent, and is {body}",
            ),
        ] {
            assert_eq!(told(preset).signed, signed, "{preset}");
        }
        let signed = told("http-message-signatures").signed;
        assert!(signed.ends_with("at least \"@method\", \"@target-uri\", \"content-digest\""), "{signed}");
        let signed = told("aws-sns").signed;
        assert!(
            signed.contains("Message, MessageId, Subject") && signed.contains("SubscribeURL"),
            "{signed}"
        );
    }

    #[test]
    fn what_else_must_hold_is_told() {
        let demands = |preset: &str| told(preset).demands.join("; ");
        for (preset, demanded) in [
            ("google-pubsub", "claim iss is \"https://accounts.google.com\""),
            ("google-pubsub", "claim exp is not over; clocks may differ by 1m"),
            ("vonage", "claim payload_hash is {body|sha256}; claim iat is at most 5m ago"),
            ("vonage", "claim exp, where there is one, is not over"),
            ("aws-sns", "body.TopicArn is arn:aws:sns:eu-central-1:123456789012:orders"),
            ("adobe-io-events", "body.recipient_client_id is \"606d4074c7ea4962aaf3bc2a5ac3b7f9\""),
            ("twilio", "query.bodySHA256 is {body|sha256}"),
            ("http-message-signatures", "header.content-digest is a digest of the body; created at most 5m"),
        ] {
            assert!(demands(preset).contains(demanded), "{preset}: {}", demands(preset));
        }
        assert_eq!(told("vonage").algorithms, ["HS256"]);
    }

    #[test]
    fn our_address_is_told_where_it_is_signed_and_without_its_password() {
        for preset in ["square", "http-message-signatures"] {
            assert_eq!(told(preset).address.as_deref(), Some("https://us.example"), "{preset}");
        }
        assert!(told("twilio").address.is_some_and(|told| told.ends_with("in one of several spellings")));
        assert_eq!(told("github").address, None);
        let unknown = schemes("square");
        assert!(
            unknown.branches()[0]
                .scheme
                .in_words()
                .address
                .is_some_and(|told| told.starts_with("nobody said"))
        );
    }

    #[test]
    fn whence_keys_come_is_told() {
        for (preset, keys) in [
            ("google-pubsub", "fetched from https://www.googleapis.com/oauth2/v3/certs"),
            (
                "paypal",
                "https://api.sandbox.paypal.com/v1/notifications/certs/*, as header.paypal-cert-url names it",
            ),
            ("aws-sns", "a certificate of sns.amazonaws.com; TLS to that host vouches for it"),
            (
                "circle",
                "asked for at https://api.circle.com/v2/notifications/publicKey/{id}, by the id that header.x-circle-key-id names, with the secrets for \"api-key\"",
            ),
        ] {
            let told = told(preset).keys.unwrap_or_default();
            assert!(told.contains(keys), "{preset}: {told}");
        }
        for preset in presets::all() {
            for branch in schemes(preset.name).branches() {
                let told = branch.scheme.in_words();
                assert_eq!(told.keys.is_some(), branch.scheme.has_published_keys(), "{}", preset.name);
                assert!(!told.signed.contains('\n') && !told.signed.is_empty(), "{}", preset.name);
            }
        }
    }
}
