//! Room `signatures`: the table of keys that the provider publishes (`keys`), and the secret of those that are not.

use serde::Deserialize;
use toml::Spanned;

use super::{
    PlacedTable, SchemeError, SignatureTable,
    algorithms::secret_form,
    keyed::{AnswerTable, QuestionTable, keyed_source},
    places::path,
};
use crate::{
    model::{HttpsRule, HttpsUrl},
    signatures::{
        Algorithm, Encoding, Family, KeyEncoding, SecretForm,
        certificate::CertificateSource,
        published::{KeySource, PemSource},
    },
};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeysTable {
    jwks: Option<Spanned<String>>,
    certificate: Option<Spanned<String>>,
    pem: Option<Spanned<String>>,
    hosts: Option<Vec<String>>,
    path: Option<String>,
    subjects: Option<Vec<String>>,
    chain: Option<bool>,
    pub(super) id: Option<PlacedTable<Encoding>>,
    by_id: Option<Spanned<QuestionTable>>,
    pub(super) token: Option<Spanned<QuestionTable>>,
    pub(super) key: Option<Spanned<AnswerTable>>,
}

impl KeysTable {
    /// The address of the set of keys, where there is one.
    pub(super) fn key_set(&self) -> Option<String> {
        self.jwks.as_ref().map(|url| url.get_ref().clone())
    }
}

/// Where the keys are, for an algorithm; `None` when they are the endpoint's own.
pub(super) fn key_source(
    table: &SignatureTable,
    algorithm: Algorithm,
) -> Result<Option<KeySource>, SchemeError> {
    let Some(keys) = &table.keys else { return Ok(None) };
    let given = keys.get_ref();
    let of_certificate =
        [given.hosts.is_some(), given.path.is_some(), given.subjects.is_some(), given.chain.is_some()];
    let names = given.subjects.is_some() || given.chain.is_some();
    let of_certificate = of_certificate.contains(&true);
    let asked = given.by_id.is_some() || given.id.is_some() || given.token.is_some() || given.key.is_some();
    let source = match (&given.jwks, &given.certificate, &given.pem, &given.by_id) {
        (Some(url), None, None, None) if algorithm == Algorithm::Jwt && !of_certificate && !asked => {
            jwks(url)?
        }
        (None, Some(at), None, None) if takes_certificates(algorithm) && !asked => {
            KeySource::Certificate(certificate(keys, at)?)
        }
        (None, None, Some(at), None)
            if takes_certificates(algorithm) && algorithm != Algorithm::Sns && !names && !asked =>
        {
            KeySource::Pem(pem(keys, at)?)
        }
        (None, None, None, Some(ask)) if takes_asked(algorithm) && !of_certificate => {
            KeySource::Keyed(Box::new(keyed_source(keys, ask, algorithm)?))
        }
        _ => {
            let help = "a jwt has keys = { jwks = \"https://…\" }; an algorithm with public keys has \
                        keys = { certificate = \"header.x-cert-url\", hosts = [\"…\"], path = \"/…\", subjects = [\"…\"] } \
                        or keys = { pem = \"header.x-key-path\", hosts = [\"…\"], path = \"/…\" }; \
                        either may have keys = { by_id = {…}, key = {…} }";
            let message = "these keys and this algorithm do not go together";
            return Err(SchemeError::new("keys_mismatch", message, help).at(keys));
        }
    };
    Ok(Some(source))
}

fn takes_certificates(algorithm: Algorithm) -> bool {
    let other = matches!(algorithm, Algorithm::Jwt | Algorithm::HttpMessage);
    algorithm == Algorithm::Sns || (algorithm.family() == Family::PublicKey && !other)
}

fn takes_asked(algorithm: Algorithm) -> bool {
    algorithm != Algorithm::Sns && (algorithm == Algorithm::Jwt || takes_certificates(algorithm))
}

fn jwks(text: &Spanned<String>) -> Result<KeySource, SchemeError> {
    HttpsUrl::parse(text.get_ref()).map(KeySource::Jwks).map_err(|error| {
        let help = "write the whole address as the provider publishes it: https, the host's name, no port";
        SchemeError::new("invalid_url", format!("{:?}: {error}", text.get_ref()), help).at(text)
    })
}

fn certificate(keys: &Spanned<KeysTable>, at: &Spanned<String>) -> Result<CertificateSource, SchemeError> {
    let given = keys.get_ref();
    let (Some(hosts), Some(path_pattern), Some(subjects)) = (&given.hosts, &given.path, &given.subjects)
    else {
        let help = "add hosts = [\"…\"], path = \"/…\" and subjects = [\"…\"]: a sender must not choose its own certificate";
        return Err(SchemeError::new("missing_key", "nothing says which certificates count", help).at(keys));
    };
    let rule = HttpsRule::new(hosts, path_pattern).map_err(|error| {
        SchemeError::new(
            "invalid_url",
            error.to_string(),
            "write hosts and path as the provider documents them",
        )
        .at(keys)
    })?;
    let sound = |subject: &String| {
        subject.split('.').count() > 2 && !subject.ends_with('*') && !subject.contains("*.*")
    };
    if subjects.is_empty() || !subjects.iter().all(sound) {
        let help = "write the names that the provider's certificate has, as \"*.acme.com\"";
        return Err(
            SchemeError::new("invalid_subject", "anyone has a certificate of such a name", help).at(keys)
        );
    }
    let chain = given.chain.unwrap_or(true);
    Ok(CertificateSource { at: path(at)?, rule, subjects: subjects.clone(), chain })
}

/// A key at a path that the request names, on the one host that publishes such keys.
fn pem(keys: &Spanned<KeysTable>, at: &Spanned<String>) -> Result<PemSource, SchemeError> {
    let given = keys.get_ref();
    let (Some([host]), Some(pattern)) = (given.hosts.as_deref(), &given.path) else {
        let help =
            "add hosts = [\"…\"], with the one host, and path = \"/…\": a sender must not choose its own key";
        return Err(SchemeError::new("missing_key", "nothing says which keys count", help).at(keys));
    };
    let rule = HttpsRule::new(std::slice::from_ref(host), pattern).map_err(|error| error.to_string());
    let plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    let rule = rule.and_then(|rule| plain.then_some(rule).ok_or_else(|| format!("{host:?} is not one host")));
    let rule = rule.map_err(|message| {
        SchemeError::new("invalid_url", message, "write host and path as the provider documents them")
            .at(keys)
    })?;
    Ok(PemSource { at: path(at)?, host: host.clone(), rule })
}

/// How the endpoint's own keys are written; nothing, where the provider publishes them. Keys that are asked for by their ids
/// an endpoint may have itself, too.
pub(super) fn secret(
    table: &SignatureTable,
    algorithm: &Spanned<Algorithm>,
) -> Result<SecretForm, SchemeError> {
    let keys = table.keys.as_ref().filter(|keys| keys.get_ref().by_id.is_none() || table.secret.is_none());
    match (&table.secret, keys) {
        (Some(secret), Some(_)) => {
            let help = "remove secret, or keys";
            Err(SchemeError::new("keys_mismatch", "the keys are published, so there is no secret", help)
                .at(secret))
        }
        (None, Some(_)) => Ok(SecretForm::plain(KeyEncoding::Pem)),
        (secret, None) => secret_form(algorithm, secret.as_ref()),
    }
}

#[cfg(test)]
mod tests {
    use crate::signatures::Scheme;

    const PAYPAL: &str = r#"
algorithm = "rsa-pkcs1-sha256"
value     = { path = "header.paypal-transmission-sig", as = "base64" }
keys      = { certificate = "header.paypal-cert-url", hosts = ["api.paypal.com"], path = "/v1/notifications/certs/*", subjects = ["*.paypal.com"] }
message   = "{header.paypal-transmission-id}|{body}"
assurance = "full"
"#;

    #[test]
    fn a_key_at_a_path_has_its_one_host() {
        let adobe = r#"
algorithm = "rsa-pkcs1-sha256"
value     = { path = "header.x-signature", as = "base64" }
keys      = { pem = "header.x-key-path", hosts = ["keys.acme.example"], path = "/keys/*.pem" }
message   = "{body}"
assurance = "full"
"#;
        assert!(Scheme::parse(adobe).expect("a scheme").has_published_keys());
        let refused = |from: &str, to: &str| {
            assert!(adobe.contains(from), "{from}");
            Scheme::parse(&adobe.replace(from, to)).expect_err("must be refused").code
        };
        assert_eq!(refused("hosts = [\"keys.acme.example\"], ", ""), "missing_key");
        assert_eq!(
            refused("[\"keys.acme.example\"]", "[\"a.acme.example\", \"b.acme.example\"]"),
            "missing_key"
        );
        assert_eq!(refused("[\"keys.acme.example\"]", "[\"*.acme.example\"]"), "invalid_url");
        assert_eq!(refused(", path = \"/keys/*.pem\"", ""), "missing_key");
        assert_eq!(refused("*.pem\"", "*.pem\", chain = false"), "keys_mismatch");
        assert_eq!(refused("rsa-pkcs1-sha256", "hmac-sha256"), "keys_mismatch");
    }

    #[test]
    fn a_certificate_has_its_hosts_its_path_and_its_names() {
        let scheme = Scheme::parse(PAYPAL).expect("a scheme");
        assert!(scheme.has_published_keys() && scheme.is_spelled_out());
        let refused = |from: &str, to: &str| {
            assert!(PAYPAL.contains(from), "{from}");
            Scheme::parse(&PAYPAL.replace(from, to)).expect_err("must be refused").code
        };
        assert_eq!(refused(", subjects = [\"*.paypal.com\"]", ""), "missing_key");
        assert_eq!(refused("hosts = [\"api.paypal.com\"], ", ""), "missing_key");
        assert_eq!(refused("[\"api.paypal.com\"]", "[\"*.com\"]"), "invalid_url");
        assert_eq!(refused("[\"api.paypal.com\"]", "[]"), "invalid_url");
        assert_eq!(refused("\"*.paypal.com\"", "\"*.com\""), "invalid_subject");
        assert_eq!(refused("\"*.paypal.com\"", "\"*.*.com\""), "invalid_subject");
        assert_eq!(refused("rsa-pkcs1-sha256", "hmac-sha256"), "keys_mismatch");
        assert_eq!(
            refused("certificate = \"header.paypal-cert-url\"", "jwks = \"https://api.paypal.com/k\""),
            "keys_mismatch"
        );
        assert_eq!(refused("message ", "secret = { as = \"pem\" }\nmessage "), "keys_mismatch");
    }
}
