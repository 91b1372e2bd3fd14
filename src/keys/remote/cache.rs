//! Room `keys`: what was fetched, and what could not be. Bounded; the longest unused goes first.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
    shelves: Mutex<Shelves>,
    max_entries: usize,
}

/// The entries, and their names in the order of their last use: those that had a document then, and those that had none. So
/// the one to let go is found without a look at all.
#[derive(Debug, Default)]
struct Shelves {
    entries: HashMap<Name, Placed>,
    without: BTreeMap<u64, Name>,
    with: BTreeMap<u64, Name>,
    uses: u64,
}

/// An entry, and its last use.
#[derive(Debug)]
struct Placed {
    entry: Arc<Entry>,
    used: u64,
}

/// One address.
#[derive(Debug, Default)]
pub(super) struct Entry {
    state: Mutex<State>,
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
        Self { shelves: Mutex::default(), max_entries }
    }

    /// The entry of a name; a new one may push out the one longest unused.
    pub(super) fn entry(&self, name: &Name) -> Arc<Entry> {
        let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = shelves.used_again(name) {
            return entry;
        }
        if shelves.entries.len() >= self.max_entries {
            shelves.let_one_go();
        }
        shelves.put(name)
    }
}

impl Shelves {
    fn used_again(&mut self, name: &Name) -> Option<Arc<Entry>> {
        let placed = self.entries.get_mut(name)?;
        let name = self.without.remove(&placed.used).or_else(|| self.with.remove(&placed.used))?;
        self.uses += 1;
        placed.used = self.uses;
        let order = if placed.entry.was_fetched() { &mut self.with } else { &mut self.without };
        order.insert(placed.used, name);
        Some(Arc::clone(&placed.entry))
    }

    fn put(&mut self, name: &Name) -> Arc<Entry> {
        self.uses += 1;
        let placed = Placed { entry: Arc::default(), used: self.uses };
        let entry = Arc::clone(&placed.entry);
        self.without.insert(placed.used, name.clone());
        self.entries.insert(name.clone(), placed);
        entry
    }

    /// Lets the entry go that is longest unused. Addresses with a document go last: whoever makes up addresses pushes out those
    /// that others made up.
    fn let_one_go(&mut self) {
        while let Some((used, name)) = self.without.pop_first() {
            if self.entries.get(&name).is_none_or(|placed| !placed.entry.was_fetched()) {
                self.entries.remove(&name);
                return;
            }
            // It was fetched since it was asked for, and keeps its turn among those.
            self.with.insert(used, name);
        }
        if let Some((_, name)) = self.with.pop_first() {
            self.entries.remove(&name);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> Name {
        let url = HttpsUrl::parse(&format!("https://keys.acme.example/{number}")).expect("an address");
        Name { url, of: None }
    }

    fn now() -> Timestamp {
        Timestamp::from_seconds(1_800_000_000).expect("in range")
    }

    /// Which of the names the cache still has the entry of.
    fn kept(cache: &Cache, entries: &[Arc<Entry>]) -> Vec<usize> {
        let shelves = cache.shelves.lock().expect("unlocked");
        let is_kept = |number: &usize| {
            let placed = shelves.entries.get(&name(*number));
            placed.is_some_and(|placed| Arc::ptr_eq(&placed.entry, &entries[*number]))
        };
        (0..entries.len()).filter(is_kept).collect()
    }

    #[test]
    fn the_one_longest_unused_goes_and_one_with_a_document_last() {
        let cache = Cache::new(3);
        let mut entries: Vec<_> = (0..3).map(|number| cache.entry(&name(number))).collect();
        // Fetched after it was asked for, as all are.
        entries[0].store(Document::new("a key".into()), now());
        assert!(Arc::ptr_eq(&cache.entry(&name(1)), &entries[1]), "used again");
        entries.push(cache.entry(&name(3)));
        assert_eq!(kept(&cache, &entries), [0, 1, 3]);
        for number in 4..20 {
            entries.push(cache.entry(&name(number)));
        }
        assert_eq!(kept(&cache, &entries), [0, 18, 19], "made-up names push out made-up names");

        for number in [18, 19] {
            entries[number].store(Document::new("a key".into()), now());
        }
        assert!(Arc::ptr_eq(&cache.entry(&name(0)), &entries[0]));
        entries.push(cache.entry(&name(20)));
        assert_eq!(kept(&cache, &entries), [0, 19, 20], "of those with a document the longest unused");
    }

    #[test]
    fn every_entry_stands_on_one_shelf() {
        let cache = Cache::new(8);
        for step in 0..200 {
            let entry = cache.entry(&name(step * 7 % 13));
            if step % 3 == 0 {
                entry.store(Document::new("a key".into()), now());
            }
            let shelves = cache.shelves.lock().expect("unlocked");
            assert!(shelves.entries.len() <= 8);
            assert_eq!(shelves.with.len() + shelves.without.len(), shelves.entries.len());
            for (used, name) in shelves.with.iter().chain(&shelves.without) {
                assert_eq!(shelves.entries[name].used, *used);
            }
        }
    }
}
