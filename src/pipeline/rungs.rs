//! Room `pipeline`: what a delivery is on its way through stage 1: identified, then decided. Each is made in one place
//! (`translate` and `verdicts`), and the next step accepts nothing less.

use std::sync::Arc;

use super::identify::{Found, Unidentified};
use crate::{
    model::{DeliveryMeta, EndpointName, EntryNumber, ExternalEvent, Timestamp, Verdict},
    partners::{Desk, Identify},
};

/// What is kept of a delivery when its body has been read.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) number: EntryNumber,
    pub(super) received_at: Timestamp,
    pub(super) meta: Box<DeliveryMeta>,
    pub(super) desk: Arc<Desk>,
    pub(super) size: u64,
    pub(super) body_sha256: [u8; 32],
}

impl Kept {
    /// How the endpoint's deliveries are identified.
    pub(super) fn rules(&self) -> Option<&Identify> {
        self.desk.endpoints.get(&self.meta.endpoint.endpoint).map(|endpoint| &endpoint.identify)
    }

    /// Whether its body is compared with earlier ones: only where there are ids and the signature does not cover them.
    pub(super) fn compares_bodies(&self) -> bool {
        self.rules().is_some_and(|rules| !rules.id_is_covered && rules.external_id.is_some())
    }

    /// What tells its body from others.
    pub(super) fn body(&self) -> (EndpointName, [u8; 32]) {
        (self.meta.endpoint.clone(), self.body_sha256)
    }
}

/// A delivery and what was found in it.
#[derive(Debug)]
pub(super) struct Identified {
    pub(super) kept: Kept,
    pub(super) found: Vec<Found>,
}

/// A delivery whose events have their verdicts.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) kept: Kept,
    pub(super) same_body_as: Option<EntryNumber>,
    pub(super) judged: Vec<Judged>,
}

/// One event and how it stands.
#[derive(Debug)]
pub(super) enum Judged {
    /// It has a verdict; `claims`: it becomes the owner of its external id.
    Stands { event: Box<ExternalEvent>, verdict: Verdict, claims: bool },
    /// It could not be identified.
    Unidentified(Unidentified),
}
