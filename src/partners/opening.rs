//! Room `partners`: opening a door: from what a file says about an endpoint to an endpoint with its keys. A secret that
//! cannot be had never keeps an endpoint from opening: it answers 503, which is our fault and not the partner's.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    door::{Endpoint, NotConfigured, SecretUse, SecretsFrom, SignatureCheck},
    endpoint_file::EndpointPlan,
    handshake::Handshake,
};
use crate::{
    keys::SecretSource,
    model::{EndpointName, PublicUrl, Secret},
    signatures::{self, Branch, Key, Scheme, Schemes, keys_of},
};

/// Why a secret that stands in a file is none.
const PUBLISHED: &str = "it is a development secret of [test], which everyone can read; set the real one";

/// Why an endpoint cannot verify what covers its address.
const NO_ADDRESS: &str = "its signature covers the address it is posted to, and neither `public_url` of the endpoint nor \
                          `intake.public_url` says which that is";

/// The development secret that stands in for keys that a sender publishes, where tests would have to fetch them.
pub const STAND_IN: &str = "pinned";

/// The secrets with which keys are asked for by their ids, by what they are for.
type AsksWith = Arc<BTreeMap<String, Secret>>;

/// Where the secrets of a partner are to be had.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keyring<'a> {
    /// Which secrets count.
    pub(super) from: SecretsFrom,
    /// The partner's development secrets, by id.
    pub(super) test_secrets: &'a BTreeMap<String, Secret>,
}

impl Keyring<'_> {
    /// The keys of an endpoint, and the secrets with which it asks for others by their ids. One of either that cannot be had
    /// closes it: without it, requests that are signed with it would be refused as the sender's mistake. Every one is named.
    ///
    /// One that `learns` its secrets in handshakes may have none of its own.
    pub(super) fn keys(
        &self,
        check: &SignatureCheck,
        secrets: &[SecretUse],
        learns: bool,
    ) -> (Result<Arc<[Key]>, NotConfigured>, AsksWith) {
        let schemes = match check {
            SignatureCheck::Unsigned => return (Ok(Arc::new([])), Arc::default()),
            SignatureCheck::Unknown => {
                return (Err(NotConfigured("nobody knows how it is verified".to_owned())), Arc::default());
            }
            SignatureCheck::Scheme(schemes) => schemes,
        };
        let mut lacking = Vec::new();
        if schemes.lacks_url() {
            lacking.push(NotConfigured(NO_ADDRESS.to_owned()));
        }
        let asks_with = self.asks_with(schemes, secrets, &mut lacking);
        let keys = self.own_keys(schemes, secrets, &mut lacking);
        if lacking.is_empty() && keys.is_empty() && !learns && !schemes.has_published_keys() {
            lacking.push(NotConfigured("it has no secret to verify with".to_owned()));
        }
        (NotConfigured::all(lacking).map_or_else(|| Ok(keys.into()), Err), Arc::new(asks_with))
    }

    /// The keys of an endpoint's own, by branch; and what of them cannot be had.
    fn own_keys(
        &self,
        schemes: &Schemes,
        secrets: &[SecretUse],
        lacking: &mut Vec<NotConfigured>,
    ) -> Vec<Key> {
        let each = |secret| SecretUse::branches(secret, schemes).into_iter().map(move |at| (at, secret));
        let keys = secrets.iter().flat_map(each);
        let keys = keys.map(|(at, secret)| Ok(self.key(schemes, at, secret)?.in_branch(at)));
        let mut keys = had(keys, lacking);
        keys.sort_by_key(Key::branch);
        match self.stand_ins(schemes, &keys) {
            Ok(stand_ins) => keys.extend(stand_ins),
            Err(why) => lacking.push(why),
        }
        keys.sort_by_key(Key::branch);
        keys
    }

    /// In tests, what stands in for the keys that senders publish, where none is pinned.
    fn stand_ins(&self, schemes: &Schemes, own: &[Key]) -> Result<Vec<Key>, NotConfigured> {
        let published = schemes.branches().iter().enumerate();
        let published = published
            .filter(|(at, branch)| branch.scheme.has_published_keys() && keys_of(own, *at).is_empty());
        let Some(secret) = self.test_secrets.get(STAND_IN).filter(|_| self.from == SecretsFrom::TestTables)
        else {
            return Ok(Vec::new());
        };
        let key = |(at, branch): (usize, &Branch)| {
            let key = branch.scheme.development_key(STAND_IN, secret);
            key.map(|key| key.in_branch(at))
                .map_err(|why| NotConfigured(format!("the secret {STAND_IN:?} from [test]: {why}")))
        };
        published.map(key).collect()
    }

    /// The secrets that handshakes use, by what they are for.
    pub(super) fn of_handshakes(
        &self,
        handshakes: &[Handshake],
        secrets: &[SecretUse],
    ) -> BTreeMap<String, Result<Secret, NotConfigured>> {
        let used: Vec<_> = handshakes.iter().flat_map(Handshake::secrets).collect();
        let named = secrets.iter().flat_map(|secret| secret.purposes.iter().map(move |name| (name, secret)));
        let theirs = named.filter(|(name, _)| used.contains(&name.as_str()));
        theirs.map(|(name, secret)| (name.clone(), self.token(secret))).collect()
    }

    fn asks_with(
        &self,
        schemes: &Schemes,
        secrets: &[SecretUse],
        lacking: &mut Vec<NotConfigured>,
    ) -> BTreeMap<String, Secret> {
        let secret = |name: &str| {
            let secret = secrets.iter().find(|secret| secret.purposes.iter().any(|purpose| purpose == name));
            let missing =
                || NotConfigured(format!("it has no secret for {name:?}, with which keys are asked for"));
            Ok((name.to_owned(), self.token(secret.ok_or_else(missing)?)?))
        };
        had(schemes.asks_with().into_iter().map(secret), lacking).into_iter().collect()
    }

    fn token(&self, secret: &SecretUse) -> Result<Secret, NotConfigured> {
        let source = match self.from {
            SecretsFrom::Sources => secret.from.clone(),
            SecretsFrom::TestTables => self.test_source(&secret.id)?,
        };
        let failed = |why: &dyn std::fmt::Display| {
            NotConfigured(format!("the secret {:?} from {}: {why}", secret.id, described(&source)))
        };
        let text = source.resolve().map_err(|error| failed(&error))?;
        signatures::sound_token(&text).map_err(|error| failed(&error))?;
        if self.from == SecretsFrom::Sources && self.test_secrets.values().any(|published| *published == text)
        {
            return Err(failed(&PUBLISHED));
        }
        Ok(text)
    }

    fn key(&self, schemes: &Schemes, at: usize, secret: &SecretUse) -> Result<Key, NotConfigured> {
        let scheme = &schemes.branches()[at].scheme;
        let key = match self.key_now(scheme, secret) {
            // Whoever takes an old secret away need not change this file first; until then it is missed.
            Err(_) if secret.not_after.is_some() => Key::missing(&*secret.id),
            key => key?,
        };
        Ok(key.counting(secret.not_before, secret.not_after))
    }

    fn key_now(&self, scheme: &Scheme, secret: &SecretUse) -> Result<Key, NotConfigured> {
        let source = match self.from {
            SecretsFrom::TestTables if !matches!(secret.from, SecretSource::Public(_)) => {
                self.test_source(&secret.id)?
            }
            SecretsFrom::TestTables => self.test_source(&secret.id).unwrap_or_else(|_| secret.from.clone()),
            SecretsFrom::Sources => secret.from.clone(),
        };
        let failed = |why: &dyn std::fmt::Display| {
            NotConfigured(format!("the secret {:?} from {}: {why}", secret.id, described(&source)))
        };
        let text = source.resolve().map_err(|error| failed(&error))?;
        let key = match source {
            SecretSource::Test(_) => scheme.development_key(&secret.id, &text),
            _ => scheme.key(&secret.id, &text),
        };
        let key = key.map_err(|error| failed(&error))?;
        if self.from == SecretsFrom::Sources && self.is_published(scheme, &key) {
            return Err(failed(&PUBLISHED));
        }
        Ok(key)
    }

    /// Whether a key stands in the partner's file. Compared as keys, so that a prefix left out changes nothing.
    fn is_published(&self, scheme: &Scheme, key: &Key) -> bool {
        let published =
            self.test_secrets.iter().filter_map(|(id, text)| scheme.development_key(id, text).ok());
        published.into_iter().any(|other| other.same_as(key))
    }

    fn test_source(&self, id: &str) -> Result<SecretSource, NotConfigured> {
        let secret = self.test_secrets.get(id).cloned();
        secret.map(SecretSource::Test).ok_or_else(|| NotConfigured(format!("[test] has no secret {id:?}")))
    }
}

/// What could be had; why the rest could not is added to `lacking`.
fn had<T>(each: impl Iterator<Item = Result<T, NotConfigured>>, lacking: &mut Vec<NotConfigured>) -> Vec<T> {
    each.filter_map(|one| one.map_err(|why| lacking.push(why)).ok()).collect()
}

/// Names a source as partner files write it, and never what it holds.
pub(super) fn described(source: &SecretSource) -> String {
    match source {
        SecretSource::Env(name) => format!("env:{name}"),
        SecretSource::File(path) => format!("file:{}", path.display()),
        SecretSource::Public(_) => "public_key".to_owned(),
        SecretSource::Test(_) => "[test]".to_owned(),
    }
}

/// How an endpoint verifies, with the address that its partner signs: its own, or the gateway's. Tests and the demo, where
/// nobody configured one, make up theirs.
pub(super) fn check_at(
    plan: &EndpointPlan,
    public_url: Option<&PublicUrl>,
    from: SecretsFrom,
) -> Option<SignatureCheck> {
    let made_up = || PublicUrl::parse("https://douane.test").ok().filter(|_| from == SecretsFrom::TestTables);
    match plan.check.clone()? {
        SignatureCheck::Scheme(schemes) if schemes.signs_url() => {
            let url = plan.public_url.as_ref().or(public_url).cloned().or_else(made_up);
            Some(SignatureCheck::Scheme(Arc::new(schemes.at(url.as_ref()))))
        }
        check => Some(check),
    }
}

/// The endpoint that a plan describes; `None` when its file has a mistake in it.
pub(super) fn open(
    partner: &str,
    plan: &EndpointPlan,
    keyring: Keyring<'_>,
    public_url: Option<&PublicUrl>,
) -> Option<Endpoint> {
    let check = check_at(plan, public_url, keyring.from).filter(|_| plan.door_problems.is_empty())?;
    let learns = plan.handshakes.iter().any(|handshake| handshake.learn.is_some());
    let (keys, asks_with) = keyring.keys(&check, &plan.secrets, learns);
    Some(Endpoint {
        name: EndpointName::new(partner, Arc::clone(&plan.name)),
        keys,
        asks_with,
        check,
        max_body_bytes: plan.max_body_bytes,
        max_header_bytes: plan.max_header_bytes,
        requests_per_second: plan.requests_per_second,
        accepted: plan.accepted.clone(),
        signature_failure_status: plan.signature_failure_status,
        handshakes: plan.handshakes.clone(),
        handshake_secrets: keyring.of_handshakes(&plan.handshakes, &plan.secrets),
        forgotten: plan.forgotten.clone(),
        allow_from: plan.allow_from.clone(),
        client_certificate: plan.client_certificate.clone(),
        self_test: plan.self_test,
        parameters: plan.parameters.clone(),
        held_bytes: Arc::default(),
    })
}

/// An endpoint whose file is broken and never was good: it answers 503, so that no partner drops us for it.
pub(super) fn unreadable(partner: &str, name: &str) -> Endpoint {
    Endpoint {
        name: EndpointName::new(partner, name),
        check: SignatureCheck::Unknown,
        keys: Err(NotConfigured("its partner.toml has mistakes; `douane check` shows them".to_owned())),
        max_body_bytes: None,
        max_header_bytes: None,
        requests_per_second: None,
        accepted: None,
        signature_failure_status: 401,
        handshakes: Vec::new(),
        handshake_secrets: BTreeMap::new(),
        asks_with: Arc::default(),
        forgotten: Vec::new(),
        allow_from: Vec::new(),
        client_certificate: None,
        self_test: false,
        parameters: BTreeMap::new(),
        held_bytes: Arc::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        partners::{partner_file::PartnerFile, reading::Source},
        signatures::presets,
    };

    const PUBLISHED: &str = "whsec_test_6NfZ2hQ9vTq0cJr4KdLw8XyBmS1pGaEu";

    /// Why an endpoint whose secret is this text would answer 503.
    fn refused(secret: &str, from: SecretsFrom) -> Option<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        std::fs::write(&path, secret).expect("written");
        let text = format!(
            "name = \"S\"\nowner = \"t\"\n[signature]\npreset = \"stripe\"\n[[endpoint]]\nname = \"default\"\n\
             secrets = [{{ id = \"a\", from = \"file:{}\" }}]\n[identify]\nevent_type = \"body.type\"\n\
             [test]\nsecrets = {{ \"a\" = \"{PUBLISHED}\" }}\n",
            path.display()
        );
        let find = |name: &str| presets::find(name).map(|preset| preset.text);
        let file = PartnerFile::read(Source { file: "partner.toml", text: &text }, &find);
        let keyring = Keyring { from, test_secrets: &file.test_secrets };
        let endpoint = open("s", &file.endpoints[0], keyring, None).expect("no mistakes");
        endpoint.keys.err().map(|why| why.to_string())
    }

    #[test]
    fn what_stands_in_for_published_keys_is_believed_in_tests_alone() {
        const KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgHSw7Sllod4aVBBMiMUBQb36NnKu6ydjn9gUUIzJBUG+hRANCAASaG/InfBIQ4P5cZjnuSlrCudFpXZHTZYkr0ONzNV6YYqK/D/pFYZUzEeRQ7V46AoQ/kJucoYkeO0dFHOr4OBIP";
        const HALF: &str = "-----BEGIN PUBLIC KEY-----\\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEmhvyJ3wSEOD+XGY57kpawrnRaV2R02WJK9DjczVemGKivw/6RWGVMxHkUO1eOgKEP5CbnKGJHjtHRRzq+DgSDw==\\n-----END PUBLIC KEY-----";
        let keys = |secrets: &str, from: SecretsFrom| {
            let text = format!(
                "name = \"S\"\nowner = \"t\"\n[signature]\nalgorithm = \"jwt\"\nvalue = {{ path = \"header.t\" }}\n\
                 jwt = {{ algorithms = [\"ES256\"], claims = {{ aud = \"us\" }} }}\nkeys = {{ jwks = \"https://acme.example/jwks\" }}\n\
                 assurance = \"origin\"\n[[endpoint]]\nname = \"default\"\n{secrets}\n\
                 [identify]\nevent_type = \"body.type\"\n[test]\nsecrets = {{ \"pinned\" = \"{KEY}\" }}\n"
            );
            let file = PartnerFile::read(Source { file: "partner.toml", text: &text }, &|_| None);
            let keyring = Keyring { from, test_secrets: &file.test_secrets };
            let endpoint = open("s", &file.endpoints[0], keyring, None).expect("no mistakes");
            endpoint.keys.map(|keys| keys.len()).map_err(|why| why.to_string())
        };
        let pinned = format!("secrets = [{{ id = \"pinned\", public_key = \"{HALF}\" }}]");
        assert_eq!(keys("", SecretsFrom::Sources), Ok(0), "they are fetched");
        assert_eq!(keys("", SecretsFrom::TestTables), Ok(1));
        assert_eq!(keys(&pinned, SecretsFrom::TestTables), Ok(1));
        let why = keys(&pinned, SecretsFrom::Sources).expect_err("everyone can sign with it");
        assert!(why.contains("development secret of [test]"), "{why}");
    }

    #[test]
    fn a_secret_for_several_schemes_is_a_key_of_each() {
        let text = "name = 'S'\nowner = 't'\n[signature]\npreset = 'twilio'\n[[endpoint]]\n\
                    secrets = [{ id = 'a', from = 'env:A', for = ['json', 'form'] }]\n\
                    [test]\nsecrets = { a = 'a token of some length' }\n";
        let find = |name: &str| presets::find(name).map(|preset| preset.text);
        let file = PartnerFile::read(Source { file: "partner.toml", text }, &find);
        let keyring = Keyring { from: SecretsFrom::TestTables, test_secrets: &file.test_secrets };
        let endpoint = open("s", &file.endpoints[0], keyring, None).expect("no mistakes");
        let keys = endpoint.keys.expect("keys");
        let told: Vec<_> = keys.iter().map(|key| (&*key.id, key.branch())).collect();
        assert_eq!(told, [("a", 0), ("a", 1)]);
    }

    /// Why an endpoint whose partner signs the address would answer 503, with this in its `[[endpoint]]`.
    fn without_address(
        line: &str,
        gateway: Option<&str>,
        from: SecretsFrom,
    ) -> (Option<String>, Option<String>) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        std::fs::write(&path, "a secret of some length").expect("written");
        let text = format!(
            "name = \"S\"\nowner = \"t\"\n[signature]\nalgorithm = \"hmac-sha256\"\nsecret = {{ as = \"text\" }}\n\
             value = {{ path = \"header.x\", as = \"hex\" }}\nmessage = \"{{url}}{{body}}\"\nassurance = \"full\"\n\
             [[endpoint]]\n{line}\nsecrets = [{{ id = \"a\", from = \"file:{}\" }}]\n[identify]\nevent_type = \"body.type\"\n\
             [test]\nsecrets = {{ \"a\" = \"{PUBLISHED}\" }}\n",
            path.display()
        );
        let file = PartnerFile::read(Source { file: "partner.toml", text: &text }, &|_| None);
        let keyring = Keyring { from, test_secrets: &file.test_secrets };
        let gateway = gateway.map(|url| PublicUrl::parse(url).expect("an address"));
        let endpoint = open("s", &file.endpoints[0], keyring, gateway.as_ref()).expect("no mistakes");
        let SignatureCheck::Scheme(scheme) = &endpoint.check else { panic!("it has a scheme") };
        let url = scheme.branches()[0].scheme.message().url().map(|url| url.as_str().to_owned());
        (endpoint.keys.err().map(|why| why.to_string()), url)
    }

    #[test]
    fn an_address_that_is_signed_must_be_known() {
        let at = |line, gateway| without_address(line, gateway, SecretsFrom::Sources);
        let (why, url) = at("", None);
        assert!(why.is_some_and(|why| why.contains("intake.public_url")) && url.is_none());
        assert_eq!(at("", Some("https://hooks.example")), (None, Some("https://hooks.example".to_owned())));
        let own = "public_url = \"https://u:p@own.example:8443/front\"";
        let theirs = Some("https://u:p@own.example:8443/front".to_owned());
        assert_eq!(at(own, Some("https://hooks.example")), (None, theirs));
        let (why, url) = without_address("", None, SecretsFrom::TestTables);
        assert!(why.is_none() && url.is_some(), "tests make one up");
    }

    #[test]
    fn a_development_secret_is_no_secret() {
        let why = refused(PUBLISHED, SecretsFrom::Sources).expect("everyone can read it");
        assert!(why.contains("development secret of [test]") && !why.contains("6NfZ"), "{why}");
        assert_eq!(refused("whsec_3f1c8e7ab2", SecretsFrom::Sources), None);
        assert_eq!(refused("not looked at", SecretsFrom::TestTables), None, "tests and the demo believe it");
    }
}
