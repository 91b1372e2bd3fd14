//! Room `keys`: what was fetched, and what could not be. Bounded; the longest unused goes first.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{Document, client::Failed};
use crate::{
    config::KeysConfig,
    model::{HttpsUrl, KeyId, Timestamp},
};

/// What a document is held under. No credential is part of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Name {
    /// The address.
    pub(super) url: HttpsUrl,
    /// Who asked for which key, where it was asked for by its id.
    pub(super) of: Option<(String, KeyId)>,
}

/// What is held, by name.
#[derive(Debug)]
pub(super) struct Cache {
    entries: Mutex<HashMap<Name, Arc<Entry>>>,
    max_entries: usize,
    uses: AtomicU64,
}

/// One address.
#[derive(Debug, Default)]
pub(super) struct Entry {
    state: Mutex<State>,
    last_use: AtomicU64,
    /// Held by the one who fetches.
    pub(super) flight: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    document: Option<(Arc<Document>, Timestamp)>,
    failure: Option<(Failed, Timestamp)>,
}

/// What an address has to offer now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// Good as it is.
    Fresh(Arc<Document>),
    /// To be fetched anew; good while that fails.
    Stale(Arc<Document>),
    /// It could not be fetched a moment ago.
    Failed(Failed),
    /// It has to be fetched.
    Nothing,
}

impl Cache {
    pub(super) fn new(max_entries: usize) -> Self {
        Self { entries: Mutex::default(), max_entries, uses: AtomicU64::new(0) }
    }

    /// The entry of a name; a new one may push out the one longest unused.
    pub(super) fn entry(&self, name: &Name) -> Arc<Entry> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.uses.fetch_add(1, Ordering::Relaxed);
        if let Some(entry) = entries.get(name) {
            entry.last_use.store(now, Ordering::Relaxed);
            return Arc::clone(entry);
        }
        if entries.len() >= self.max_entries {
            // Addresses with a document go last: whoever makes up addresses pushes out those that others made up.
            let order =
                |entry: &Entry| (entry.state().document.is_some(), entry.last_use.load(Ordering::Relaxed));
            let oldest = entries.iter().min_by_key(|(_, entry)| order(entry)).map(|(name, _)| name.clone());
            oldest.and_then(|oldest| entries.remove(&oldest));
        }
        let entry = Arc::new(Entry { last_use: AtomicU64::new(now), ..Entry::default() });
        entries.insert(name.clone(), Arc::clone(&entry));
        entry
    }
}

impl Entry {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it has to offer. A failure counts before age: while the provider is down, nobody waits for it.
    pub(super) fn held(&self, config: &KeysConfig, now: Timestamp) -> Held {
        let state = self.state();
        let failed = state.failure.as_ref();
        let failed = failed.filter(|(_, at)| now.since(*at) < config.pause_after_failure.0);
        match (&state.document, failed) {
            (Some((document, at)), _) if now.since(*at) < config.fresh_for.0 => {
                Held::Fresh(Arc::clone(document))
            }
            (Some((document, at)), failed) if now.since(*at) < config.stale_for.0 => match failed {
                Some(_) => Held::Fresh(Arc::clone(document)),
                None => Held::Stale(Arc::clone(document)),
            },
            (_, Some((failed, _))) => Held::Failed(failed.clone()),
            _ => Held::Nothing,
        }
    }

    /// The document, if it is not the known one.
    pub(super) fn other_than(&self, known: &Arc<Document>) -> Option<Arc<Document>> {
        let state = self.state();
        state.document.as_ref().map(|(document, _)| Arc::clone(document)).filter(|it| !Arc::ptr_eq(it, known))
    }

    /// Whether it is long enough ago that it was fetched, or that this failed.
    pub(super) fn may_refresh(&self, pause: Duration, now: Timestamp) -> bool {
        let state = self.state();
        let tries = [state.document.as_ref().map(|(_, at)| *at), state.failure.as_ref().map(|(_, at)| *at)];
        tries.into_iter().flatten().all(|at| now.since(at) >= pause)
    }

    /// Whether it was ever fetched.
    pub(super) fn was_fetched(&self) -> bool {
        self.state().document.is_some()
    }

    pub(super) fn store(&self, document: Document, now: Timestamp) -> Arc<Document> {
        let document = Arc::new(document);
        *self.state() = State { document: Some((Arc::clone(&document), now)), failure: None };
        document
    }

    /// Notes that it could not be fetched; what is held, if it still may be used.
    pub(super) fn fail(&self, failed: Failed, config: &KeysConfig, now: Timestamp) -> Option<Arc<Document>> {
        let mut state = self.state();
        state.failure = Some((failed, now));
        let held = state
            .document
            .as_ref()
            .filter(|(_, at)| now.since(*at) < config.stale_for.0.max(config.fresh_for.0));
        held.map(|(document, _)| Arc::clone(document))
    }
}
