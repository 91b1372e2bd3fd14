//! Room `intake`: secrets that partners teach in handshakes. Whoever comes first could teach one, so an endpoint learns only
//! while a person has armed it, and one secret an arming. What was learnt is appended to the intake log, sealed and
//! fsynced, before the partner is told so. May not show a secret to anybody.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock},
};

use bytes::Bytes;
use serde_json::json;

use super::{Refusal, append};
use crate::{
    clock::Clock,
    keys::seal::Sealer,
    ledger::{JournalEntry, LearningRecords, RecordsError, group_commit::GroupCommit},
    model::{DeliveryId, EndpointName, EntryMeta, LearntMeta, NewEntry, Secret, Timestamp},
    partners::{Endpoint, SignatureCheck},
    signatures::{Key, is_our_token},
};

/// Longest secret that is learnt, in bytes. Real ones have under a hundred.
const MAX_SECRET_BYTES: usize = 512;

/// What endpoints were taught. Cloned freely; every clone is the same memory.
#[derive(Clone, Debug, Default)]
pub struct LearntSecrets(Arc<RwLock<HashMap<EndpointName, Vec<Learnt>>>>);

#[derive(Clone, Debug)]
struct Learnt {
    id: String,
    secret: Secret,
}

impl LearntSecrets {
    /// Takes in what an entry of the intake log says; `false` when the sealing key does not open it. What is known already
    /// changes nothing.
    pub fn take_in(&self, meta: &LearntMeta, sealer: &Sealer) -> bool {
        if self.of(&meta.endpoint).iter().any(|known| known.id == meta.secret_id) {
            return true;
        }
        let Some(secret) = sealer.unseal(&label(&meta.endpoint), &meta.sealed) else { return false };
        let learnt = Learnt { id: meta.secret_id.clone(), secret };
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.entry(meta.endpoint.clone()).or_default().push(learnt);
        true
    }

    /// The keys that an endpoint learnt, less those that its file says are forgotten, the latest first.
    pub(super) fn keys(&self, endpoint: &Endpoint) -> Vec<Key> {
        let SignatureCheck::Scheme(schemes) = &endpoint.check else { return Vec::new() };
        if !endpoint.learns() {
            return Vec::new();
        }
        let learnt = self.of(&endpoint.name);
        let believed = learnt.iter().rev().filter(|one| !endpoint.forgotten.contains(&one.id));
        believed.filter_map(|one| schemes.learnt_key(&one.id, &one.secret).ok()).collect()
    }

    /// The id and the secret that an endpoint learnt last, less those that its file says are forgotten. For a person who must
    /// see it once; whoever asks sees to it that this is so.
    pub fn last(&self, endpoint: &Endpoint) -> Option<(String, Secret)> {
        let learnt = self.of(&endpoint.name);
        let last = learnt.into_iter().rev().find(|one| !endpoint.forgotten.contains(&one.id));
        last.map(|one| (one.id, one.secret))
    }

    fn of(&self, endpoint: &EndpointName) -> Vec<Learnt> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(endpoint).cloned().unwrap_or_default()
    }
}

/// What a sealed secret is bound to, so that it opens for its own endpoint only.
fn label(endpoint: &EndpointName) -> String {
    format!("learnt secret of {endpoint}")
}

/// Lets endpoints learn.
#[derive(Clone)]
pub(super) struct Learner {
    pub(super) learnt: LearntSecrets,
    pub(super) records: Arc<dyn LearningRecords>,
    pub(super) log: GroupCommit,
    pub(super) sealer: Sealer,
    pub(super) clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Learner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Learner").field("learnt", &self.learnt).finish_non_exhaustive()
    }
}

/// One handshake that teaches.
struct Lesson {
    endpoint: EndpointName,
    id: DeliveryId,
    at: Timestamp,
    until: Timestamp,
    secret: Secret,
    peer: Option<IpAddr>,
}

impl Learner {
    /// Learns a secret. When this returns `Ok` it is fsynced, and every request from now on is verified with it, too. One that
    /// is known already is none to learn: the partner did not get our answer.
    pub(super) async fn learn(
        &self,
        endpoint: &Endpoint,
        secret: Secret,
        peer: Option<IpAddr>,
    ) -> Result<(), Refusal> {
        let Some(text) = is_sound(endpoint, &secret) else { return Err(Refusal::UnsafeHandshake) };
        if self.learnt.of(&endpoint.name).iter().any(|known| is_our_token(text, &known.secret)) {
            return Ok(());
        }
        let at = self.clock.now();
        let armed = self.records.armed(at).await.map_err(|error| unavailable(&error))?;
        let armed = armed.into_iter().find(|(name, _)| *name == endpoint.name);
        let until = armed.map(|(_, until)| until).ok_or(Refusal::NotArmed)?;
        let (endpoint, id) = (endpoint.name.clone(), DeliveryId::drawn_at(at));
        let lesson = Lesson { endpoint, id, at, until, secret, peer };
        // A task of its own: a client that goes away must not end it halfway.
        let learner = self.clone();
        let learning = tokio::spawn(async move { learner.take(&lesson).await });
        learning.await.unwrap_or(Err(Refusal::ShuttingDown))
    }

    async fn take(&self, lesson: &Lesson) -> Result<(), Refusal> {
        let sealed = self.sealer.seal(&label(&lesson.endpoint), lesson.secret.expose());
        let sealed = sealed.map_err(|error| Refusal::CannotCommit { why: error.to_string() })?;
        let secret_id = lesson.secret_id();
        let meta = LearntMeta { id: lesson.id, endpoint: lesson.endpoint.clone(), secret_id, sealed };
        let taught = lesson.journal("secret.learnt", "handshake");
        if !self.records.disarm(&lesson.endpoint, taught).await.map_err(|error| unavailable(&error))? {
            return Err(Refusal::NotArmed);
        }
        let entry = NewEntry { meta: EntryMeta::Learnt(meta.clone()), body: Bytes::new() };
        if let Err(error) = self.log.append(entry).await {
            self.arm_again(lesson).await;
            return Err(append::refusal(error));
        }
        self.learnt.take_in(&meta, &self.sealer);
        tracing::info!(endpoint = %lesson.endpoint, secret = meta.secret_id, "a secret was learnt; the endpoint is disarmed");
        Ok(())
    }

    /// What could not be kept was not learnt: the partner may try again.
    async fn arm_again(&self, lesson: &Lesson) {
        let again = lesson.journal("endpoint.armed", "the secret could not be kept");
        if let Err(error) = self.records.arm(&lesson.endpoint, lesson.until, again).await {
            tracing::error!(endpoint = %lesson.endpoint, %error, "could not be armed again");
        }
    }
}

impl Lesson {
    /// The end of the handshake's id: its beginning is the time.
    fn secret_id(&self) -> String {
        let id = self.id.to_string();
        let end = id.rsplit_once('-').map_or(id.as_str(), |(_, end)| end);
        format!("learnt-{end}")
    }

    fn journal(&self, act: &str, because: &str) -> JournalEntry {
        let peer = self.peer.map(|peer| peer.to_string());
        JournalEntry {
            at: self.at,
            who: "system".to_owned(),
            act: act.to_owned(),
            subject: self.endpoint.to_string(),
            detail: json!({ "secret": self.secret_id(), "because": because, "peer": peer }),
        }
    }
}

/// The secret as text, if it can be one: printable, long enough, and a key of the endpoint's scheme.
fn is_sound<'s>(endpoint: &Endpoint, secret: &'s Secret) -> Option<&'s str> {
    let SignatureCheck::Scheme(schemes) = &endpoint.check else { return None };
    let text = std::str::from_utf8(secret.expose()).ok()?;
    let plain = text.len() <= MAX_SECRET_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic());
    (plain && schemes.learnt_key("learnt", secret).is_ok()).then_some(text)
}

fn unavailable(error: &RecordsError) -> Refusal {
    Refusal::CannotCommit { why: error.to_string() }
}
