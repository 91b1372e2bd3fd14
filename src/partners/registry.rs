//! Room `partners`: the registry, swapped whole on reload. A broken desk never closes the door: its last good revision
//! goes on, and if there never was one the endpoint's deliveries wait.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    Desk, DeskSources, Door, Endpoint, MappingsFolder, SecretsFrom, SignatureCheck,
    opening::Keyring,
    reload::{Reload, ReloadReport},
};
use crate::model::{Diagnostic, EndpointName};

/// What stands behind the door of one partner right now.
#[derive(Clone, Debug)]
pub enum DeskState {
    /// The folder's own revision.
    Ready(Arc<Desk>),
    /// The folder is broken (or gone); its last good revision goes on.
    LastGood {
        /// The revision that works.
        desk: Arc<Desk>,
        /// What is wrong with the folder.
        problems: Vec<Diagnostic>,
    },
    /// The folder is broken and there never was a good revision: deliveries wait.
    Broken {
        /// What is wrong with the folder.
        problems: Vec<Diagnostic>,
    },
}

impl DeskState {
    /// Every word of [`Self::as_str`].
    pub const WORDS: [&str; 3] = ["ready", "last_good", "broken"];

    /// Its word in logs and metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Ready(_) => "ready",
            Self::LastGood { .. } => "last_good",
            Self::Broken { .. } => "broken",
        }
    }

    /// The desk that works, if any.
    pub fn desk(&self) -> Option<&Arc<Desk>> {
        match self {
            Self::Ready(desk) | Self::LastGood { desk, .. } => Some(desk),
            Self::Broken { .. } => None,
        }
    }
}

/// Every partner at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The doors.
    pub doors: BTreeMap<Arc<str>, Door>,
    /// Every open endpoint.
    pub endpoints: HashMap<EndpointName, Arc<Endpoint>>,
    /// Every desk, those of removed partners with a last good revision included.
    pub desks: BTreeMap<Arc<str>, DeskState>,
    /// The last desk of each endpoint that its partner's desk no longer has, for what is still waiting.
    pub retired: BTreeMap<EndpointName, Arc<Desk>>,
}

impl Snapshot {
    /// The desk that works an endpoint's entries: its partner's, or the last one that had the endpoint. `None`: they wait.
    pub fn desk_of(&self, endpoint: &EndpointName) -> Option<&Arc<Desk>> {
        let desk = self.desks.get(&endpoint.partner).and_then(DeskState::desk);
        desk.filter(|desk| desk.endpoints.contains_key(&endpoint.endpoint))
            .or_else(|| self.retired.get(endpoint))
    }

    /// This snapshot with every secret read again.
    fn with_fresh_keys(&self, from: SecretsFrom) -> Self {
        let mut next = self.clone();
        for door in next.doors.values_mut() {
            let keyring = Keyring { from, test_secrets: &door.test_secrets };
            let verified =
                |endpoint: &&mut Arc<Endpoint>| matches!(endpoint.check, SignatureCheck::Scheme(_));
            for endpoint in door.endpoints.iter_mut().filter(verified) {
                let secrets = door.secrets.get(&endpoint.name.endpoint).map_or(&[][..], Vec::as_slice);
                let (keys, asks_with) = keyring.keys(&endpoint.check, secrets, endpoint.learns());
                let handshake_secrets = keyring.of_handshakes(&endpoint.handshakes, secrets);
                *endpoint =
                    Arc::new(Endpoint { keys, handshake_secrets, asks_with, ..Endpoint::clone(endpoint) });
                next.endpoints.insert(endpoint.name.clone(), Arc::clone(endpoint));
            }
        }
        next
    }
}

/// The current [`Snapshot`].
#[derive(Debug, Default)]
pub struct Registry {
    current: arc_swap::ArcSwap<Snapshot>,
}

impl Registry {
    /// The partners right now; hold it for one request or one batch.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Takes a folder in: builds the next snapshot from it, from the one before and from the ledger's latest good
    /// `last_good` sources (by [`GoodDesk::key`](super::GoodDesk::key); they matter after a restart), and puts it in place,
    /// whole. Desks that did not change are kept, not compiled again. One task reloads; readers never wait for it.
    pub fn reload(
        &self,
        folder: &MappingsFolder,
        last_good: &BTreeMap<String, DeskSources>,
        secrets: SecretsFrom,
    ) -> ReloadReport {
        let previous = self.snapshot();
        let (next, report) = Reload { previous: &previous, folder, last_good, secrets }.run();
        self.replace(next);
        report
    }

    /// Reads every secret again, so that a changed `file:` counts without a change in the folder. Called by the task that
    /// reloads.
    pub fn refresh_keys(&self, secrets: SecretsFrom) {
        self.replace(self.snapshot().with_fresh_keys(secrets));
    }

    /// Puts another snapshot in place, whole.
    pub fn replace(&self, snapshot: Snapshot) {
        self.current.store(Arc::new(snapshot));
    }
}
