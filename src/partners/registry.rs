//! Room `partners`: the registry, swapped whole on reload. A broken desk never closes the door: its last good revision
//! goes on, and if there never was one the endpoint's deliveries wait.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{Desk, Door, Endpoint};
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
    /// The desk that works, if any.
    pub fn desk(&self) -> Option<&Arc<Desk>> {
        match self {
            Self::Ready(desk) | Self::LastGood { desk, .. } => Some(desk),
            Self::Broken { .. } => None,
        }
    }
}

/// Every partner at one moment.
#[derive(Debug, Default)]
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

    /// Puts another snapshot in place, whole.
    pub fn replace(&self, snapshot: Snapshot) {
        self.current.store(Arc::new(snapshot));
    }
}
