//! Room `signatures`: what would have made a signature that no key made, for schemes that are standards of their own: other
//! readings of the secret, of what is signed and of the algorithm, tried one by one.

use super::{
    known_keys::kind,
    mistakes::{all_of, key_readings},
};
use crate::{
    model::Secret,
    signatures::{
        JwsAlgorithm, Key, SecretForm,
        jose::algorithm::{KeyKind, Material},
        special::material,
    },
};

/// Every algorithm there is.
const ALL: [JwsAlgorithm; 13] = [
    JwsAlgorithm::HS256,
    JwsAlgorithm::HS384,
    JwsAlgorithm::HS512,
    JwsAlgorithm::RS256,
    JwsAlgorithm::RS384,
    JwsAlgorithm::RS512,
    JwsAlgorithm::PS256,
    JwsAlgorithm::PS384,
    JwsAlgorithm::PS512,
    JwsAlgorithm::ES256,
    JwsAlgorithm::ES384,
    JwsAlgorithm::ES512,
    JwsAlgorithm::EdDsa,
];

/// The algorithm of a name.
pub(super) fn algorithm_named(name: &str) -> Option<JwsAlgorithm> {
    ALL.into_iter().find(|algorithm| algorithm.name() == name)
}

/// What may have been done instead.
pub(super) struct Tried<'a> {
    /// The algorithm that counts.
    pub(super) algorithm: JwsAlgorithm,
    /// What algorithms are called where the signature comes from.
    pub(super) called: fn(JwsAlgorithm) -> &'static str,
    /// What is signed, first as it should be, each with how it was made.
    pub(super) messages: Vec<(&'static str, Vec<u8>)>,
    /// The signature that came.
    pub(super) signature: &'a [u8],
}

impl Tried<'_> {
    /// How a key must have been used to make the signature; the first way that is found.
    pub(super) fn found(&self, form: &SecretForm, keys: &[Key]) -> Option<String> {
        keys.iter().find_map(|key| {
            let how = self.with(form, key)?;
            let when = if how.is_empty() { how } else { format!(" when {how}") };
            Some(format!("it matches {:?}{when}", key.id))
        })
    }

    fn with(&self, form: &SecretForm, key: &Key) -> Option<String> {
        let readings = key_readings(form, key).into_iter();
        let readings = readings.filter_map(|(how, key)| Some((how, material(&key)?)));
        let readings: Vec<_> = readings.chain(as_secret(key)).collect();
        readings.iter().find_map(|(how_key, key)| {
            let algorithms = ALL.into_iter().filter(|algorithm| kind(key) == Some(algorithm.kind()));
            // The own algorithm first: what is right needs no further word.
            let first = [self.algorithm].into_iter().filter(|own| kind(key) == Some(own.kind()));
            first.chain(algorithms).find_map(|algorithm| {
                let holds = |message: &&(&str, Vec<u8>)| algorithm.verifies(key, &message.1, self.signature);
                let (how_message, _) = self.messages.iter().find(holds)?;
                Some(all_of(&[how_key, how_message, &self.other(algorithm)]))
            })
        })
    }

    fn other(&self, algorithm: JwsAlgorithm) -> String {
        if algorithm == self.algorithm {
            return String::new();
        }
        format!("the algorithm is {}, not {}", (self.called)(algorithm), (self.called)(self.algorithm))
    }
}

/// A public key, taken as the secret of a MAC: by libraries that let the token choose, and by whoever attacks them.
fn as_secret(key: &Key) -> Vec<(&'static str, Material)> {
    const HOW: &str =
        "the public key is taken as a secret, which everyone has who has the key: no sender should";
    let Some(der) = key.public_der() else { return Vec::new() };
    let pem = pem(&der);
    let without_end = pem.trim_end().as_bytes().to_vec();
    [der, pem.into_bytes(), without_end].map(|bytes| (HOW, Material::Secret(Secret::new(bytes)))).into()
}

fn pem(der: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        (0..text.len()).step_by(64).filter_map(|at| text.get(at..(at + 64).min(text.len()))).collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
}

/// Whether a signature is one of ECDSA in DER, where r and s side by side are meant.
pub(super) fn is_der(algorithm: JwsAlgorithm, signature: &[u8]) -> bool {
    let (ecdsa, length) = match algorithm.kind() {
        KeyKind::P256 => (true, 64),
        KeyKind::P384 => (true, 96),
        KeyKind::P521 => (true, 132),
        _ => (false, 0),
    };
    ecdsa && signature.len() != length && signature.starts_with(b"\x30")
}
