//! Room `intake`: what the public door is made of.

use std::sync::Arc;

use metrics::{Histogram, histogram};

use super::{counters::Counters, in_flight::InFlight, notes::Notes, rates::Rates};
use crate::{
    clock::Clock, config::IntakeConfig, keys::seal::Sealer, ledger::group_commit::GroupCommit,
    partners::Registry, telemetry::metrics::ACK_SECONDS,
};

/// The other rooms the public door works with.
#[derive(Clone, Debug)]
pub struct Rooms {
    /// Whose requests are received.
    pub partners: Arc<Registry>,
    /// The one writer before the intake log.
    pub log: GroupCommit,
    /// Seals credentials that stand in headers.
    pub sealer: Sealer,
    /// Tells whether a signed timestamp is stale.
    pub clock: Arc<dyn Clock>,
    /// Where refusals and handshakes are noted.
    pub notes: Notes,
}

/// The public door: what it needs, and how much it bears.
#[derive(Debug)]
pub struct PublicDoor {
    pub(super) partners: Arc<Registry>,
    pub(super) log: GroupCommit,
    pub(super) sealer: Sealer,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) notes: Notes,
    pub(super) limits: IntakeConfig,
    pub(super) in_flight: Arc<InFlight>,
    pub(super) rates: Rates,
    pub(super) handshake_rates: Rates,
    pub(super) counters: Counters,
    pub(super) ack_seconds: Histogram,
}

impl PublicDoor {
    /// Opens the door. Metrics must be installed before, because their handles are taken here.
    pub fn new(rooms: Rooms, limits: &IntakeConfig) -> Self {
        let Rooms { partners, log, sealer, clock, notes } = rooms;
        Self {
            partners,
            log,
            sealer,
            clock,
            notes,
            in_flight: InFlight::new(limits.max_requests_in_flight, limits.max_bytes_in_flight),
            limits: limits.clone(),
            rates: Rates::default(),
            handshake_rates: Rates::default(),
            counters: Counters::default(),
            ack_seconds: histogram!(ACK_SECONDS),
        }
    }
}
