//! Room `signatures`: which of an endpoint's keys made a signature, for schemes that are standards of their own.

use super::{Step, word_for_keys};
use crate::{
    model::Timestamp,
    signatures::{
        JwsAlgorithm, Key, Scheme,
        jose::algorithm::{KeyKind, Material, kind_of},
        special::material,
    },
};

/// A signature and what it is of.
#[derive(Clone, Copy)]
pub(super) struct Made<'a> {
    pub(super) algorithm: JwsAlgorithm,
    pub(super) signed: &'a [u8],
    pub(super) signature: &'a [u8],
}

impl Made<'_> {
    /// Whether a key made it.
    pub(super) fn by(&self, key: &Key) -> bool {
        material(key).is_some_and(|key| self.algorithm.verifies(&key, self.signed, self.signature))
    }

    /// One step for each key; the last word of each is what `note` adds.
    pub(super) fn steps(
        &self,
        scheme: &Scheme,
        keys: &[Key],
        now: Timestamp,
        note: impl Fn(&Key) -> Option<String>,
    ) -> Vec<Step> {
        let counts = |key: &&Key| key.counts_at(now) && self.by(key) && note(key).is_none();
        let any = keys.iter().any(|key| counts(&key));
        let step = |key: &Key| {
            let found = [Some(self.found(key, now)), note(key)].into_iter().flatten().collect::<Vec<_>>();
            Step::new(any, format!("{} {:?}", word_for_keys(scheme), key.id), found.join("; "))
        };
        keys.iter().map(step).collect()
    }

    fn found(&self, key: &Key, now: Timestamp) -> String {
        if !key.counts_at(now) {
            return "does not count at this time (not_before, not_after)".to_owned();
        }
        match material(key).as_ref().and_then(kind) {
            Some(kind) if kind != self.algorithm.kind() => format!(
                "is {}, and {} takes {}",
                described(kind),
                self.algorithm.name(),
                described(self.algorithm.kind())
            ),
            _ if self.by(key) => "made this signature".to_owned(),
            _ => "did not make this signature".to_owned(),
        }
    }
}

/// The kind of a key.
pub(super) fn kind(key: &Material) -> Option<KeyKind> {
    match key {
        Material::Secret(_) => Some(KeyKind::Secret),
        Material::Public(spki) => kind_of(spki),
    }
}

/// For people.
pub(super) const fn described(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::Secret => "a secret",
        KeyKind::Rsa => "an RSA key",
        KeyKind::P256 => "an EC key on P-256",
        KeyKind::P384 => "an EC key on P-384",
        KeyKind::P521 => "an EC key on P-521",
        KeyKind::Ed25519 => "an Ed25519 key",
    }
}
