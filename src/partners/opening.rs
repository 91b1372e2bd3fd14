//! Room `partners`: opening a door: from what a file says about an endpoint to an endpoint with its keys. A secret that
//! cannot be had never keeps an endpoint from opening: it answers 503, which is our fault and not the partner's.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    door::{Endpoint, NotConfigured, SecretUse, SecretsFrom, SignatureCheck},
    endpoint_file::EndpointPlan,
};
use crate::{
    keys::SecretSource,
    model::{EndpointName, Secret},
    signatures::{self, Key, Scheme},
};

/// Why a secret that stands in a file is none.
const PUBLISHED: &str = "it is a development secret of [test], which everyone can read; set the real one";

/// Where the secrets of a partner are to be had.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keyring<'a> {
    /// Which secrets count.
    pub(super) from: SecretsFrom,
    /// The partner's development secrets, by id.
    pub(super) test_secrets: &'a BTreeMap<String, Secret>,
}

impl Keyring<'_> {
    /// The keys of an endpoint. One secret that cannot be had closes it: without it, requests that are signed with it
    /// would be refused as the sender's mistake.
    pub(super) fn keys(
        &self,
        check: &SignatureCheck,
        secrets: &[SecretUse],
    ) -> Result<Arc<[Key]>, NotConfigured> {
        match check {
            SignatureCheck::Unsigned => Ok(Arc::new([])),
            SignatureCheck::Unknown => Err(NotConfigured("nobody knows how it is verified".to_owned())),
            SignatureCheck::Scheme(scheme) => {
                let of_signature = secrets.iter().filter(|secret| secret.purpose.is_none());
                let keys: Arc<[Key]> =
                    of_signature.map(|secret| self.key(scheme, secret)).collect::<Result<_, _>>()?;
                if keys.is_empty() {
                    return Err(NotConfigured("it has no secret to verify with".to_owned()));
                }
                Ok(keys)
            }
        }
    }

    /// The secrets that handshakes use, by what they are for.
    pub(super) fn of_handshakes(
        &self,
        secrets: &[SecretUse],
    ) -> BTreeMap<String, Result<Secret, NotConfigured>> {
        let named = secrets.iter().filter_map(|secret| Some((secret.purpose.clone()?, secret)));
        named.map(|(purpose, secret)| (purpose, self.token(secret))).collect()
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

    fn key(&self, scheme: &Scheme, secret: &SecretUse) -> Result<Key, NotConfigured> {
        let source = match self.from {
            SecretsFrom::Sources => secret.from.clone(),
            SecretsFrom::TestTables => self.test_source(&secret.id)?,
        };
        let failed = |why: &dyn std::fmt::Display| {
            NotConfigured(format!("the secret {:?} from {}: {why}", secret.id, described(&source)))
        };
        let text = source.resolve().map_err(|error| failed(&error))?;
        let key = scheme.key(&secret.id, &text).map_err(|error| failed(&error))?;
        if self.from == SecretsFrom::Sources && self.is_published(scheme, &key) {
            return Err(failed(&PUBLISHED));
        }
        Ok(key)
    }

    /// Whether a key stands in the partner's file. Compared as keys, so that a prefix left out changes nothing.
    fn is_published(&self, scheme: &Scheme, key: &Key) -> bool {
        let published = self.test_secrets.iter().filter_map(|(id, text)| scheme.key(id, text).ok());
        published.map(|other| other.bytes).any(|bytes| bytes == key.bytes)
    }

    fn test_source(&self, id: &str) -> Result<SecretSource, NotConfigured> {
        let secret = self.test_secrets.get(id).cloned();
        secret.map(SecretSource::Test).ok_or_else(|| NotConfigured(format!("[test] has no secret {id:?}")))
    }
}

/// Names a source as partner files write it, and never what it holds.
pub(super) fn described(source: &SecretSource) -> String {
    match source {
        SecretSource::Env(name) => format!("env:{name}"),
        SecretSource::File(path) => format!("file:{}", path.display()),
        SecretSource::Test(_) => "[test]".to_owned(),
    }
}

/// The endpoint that a plan describes; `None` when its file has a mistake in it.
pub(super) fn open(partner: &str, plan: &EndpointPlan, keyring: Keyring<'_>) -> Option<Endpoint> {
    let check = plan.check.clone().filter(|_| plan.door_problems.is_empty())?;
    Some(Endpoint {
        name: EndpointName::new(partner, Arc::clone(&plan.name)),
        keys: keyring.keys(&check, &plan.secrets),
        check,
        max_body_bytes: plan.max_body_bytes,
        max_header_bytes: plan.max_header_bytes,
        requests_per_second: plan.requests_per_second,
        accepted: plan.accepted.clone(),
        signature_failure_status: plan.signature_failure_status,
        handshakes: plan.handshakes.clone(),
        handshake_secrets: keyring.of_handshakes(&plan.secrets),
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
        let endpoint = open("s", &file.endpoints[0], keyring).expect("no mistakes");
        endpoint.keys.err().map(|why| why.to_string())
    }

    #[test]
    fn a_development_secret_is_no_secret() {
        let why = refused(PUBLISHED, SecretsFrom::Sources).expect("everyone can read it");
        assert!(why.contains("development secret of [test]") && !why.contains("6NfZ"), "{why}");
        assert_eq!(refused("whsec_3f1c8e7ab2", SecretsFrom::Sources), None);
        assert_eq!(refused("not looked at", SecretsFrom::TestTables), None, "tests and the demo believe it");
    }
}
