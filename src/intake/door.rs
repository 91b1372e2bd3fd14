//! Room `intake`: what the public door is made of.

use std::sync::Arc;

use metrics::{Histogram, histogram};

use super::{
    counters::Counters,
    in_flight::InFlight,
    learner::{Learner, LearntSecrets},
    notes::Notes,
    rates::Rates,
};
use crate::{
    clock::Clock,
    config::IntakeConfig,
    keys::{remote::RemoteKeys, seal::Sealer},
    ledger::{LearningRecords, group_commit::GroupCommit},
    partners::Registry,
    signatures::Roots,
    telemetry::metrics::ACK_SECONDS,
};

/// The other rooms the public door works with.
#[derive(Clone)]
pub struct Rooms {
    /// Whose requests are received.
    pub partners: Arc<Registry>,
    /// The one writer before the intake log.
    pub log: GroupCommit,
    /// Seals credentials that stand in headers.
    pub sealer: Sealer,
    /// Fetches keys that providers publish.
    pub keys: RemoteKeys,
    /// Who may vouch for certificates among those keys.
    pub roots: Roots,
    /// Tells whether a signed timestamp is stale.
    pub clock: Arc<dyn Clock>,
    /// Where refusals and handshakes are noted.
    pub notes: Notes,
    /// Which endpoints are armed. Asked when a handshake would teach a secret, and for nothing else.
    pub records: Arc<dyn LearningRecords>,
    /// What endpoints learnt.
    pub learnt: LearntSecrets,
}

/// The public door: what it needs, and how much it bears.
#[derive(Debug)]
pub struct PublicDoor {
    pub(super) partners: Arc<Registry>,
    pub(super) log: GroupCommit,
    pub(super) sealer: Sealer,
    pub(super) keys: RemoteKeys,
    pub(super) roots: Roots,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) notes: Notes,
    pub(super) limits: IntakeConfig,
    pub(super) in_flight: Arc<InFlight>,
    pub(super) learner: Learner,
    pub(super) rates: Rates,
    pub(super) handshake_rates: Rates,
    pub(super) self_test_rates: Rates,
    pub(super) counters: Counters,
    pub(super) ack_seconds: Histogram,
}

impl PublicDoor {
    /// Opens the door. Metrics must be installed before, because their handles are taken here.
    pub fn new(rooms: Rooms, limits: &IntakeConfig) -> Self {
        let Rooms { partners, log, sealer, keys, roots, clock, notes, records, learnt } = rooms;
        let learner =
            Learner { learnt, records, log: log.clone(), sealer: sealer.clone(), clock: Arc::clone(&clock) };
        Self {
            partners,
            log,
            sealer,
            keys,
            roots,
            clock,
            notes,
            learner,
            in_flight: InFlight::new(limits.max_requests_in_flight, limits.max_bytes_in_flight),
            limits: limits.clone(),
            rates: Rates::default(),
            handshake_rates: Rates::default(),
            self_test_rates: Rates::default(),
            counters: Counters::default(),
            ack_seconds: histogram!(ACK_SECONDS),
        }
    }
}
