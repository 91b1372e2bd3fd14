//! Room `pipeline`: what the two stages count. Counters are told once a batch, not once an event.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use metrics::{counter, gauge, histogram};

use crate::{
    ledger::{ConfirmationState, Held, WorkedEntry, WorkedKind},
    model::{EndpointName, Outcome, OutcomeKind},
    telemetry::metrics::{
        BROKER_RETRIES, CONFIRMATION_RETRIES, CONFIRMATIONS, CONFIRMATIONS_WAITING, CONFLICTS, DEAD_LETTERS,
        DOMAIN_EVENTS, ENDPOINT_STANDING_STILL, EVENTS_PUBLISHED, FENCED_COMMITS, LEASE_TAKEOVERS,
        LEASES_HELD, OUTCOMES, OWNERS_ASKED, PUBLICATION_DEAD_LETTERS, PUBLICATION_LAG_EVENTS,
        PUBLICATION_LAG_SECONDS, SAME_BODIES, STAGE_RESTS, TRANSLATION_BATCH_SECONDS,
        TRANSLATION_LAG_ENTRIES, TRANSLATION_RETRIES,
    },
};

/// What a batch counts, taken before it is handed to the records.
#[derive(Debug, Default)]
pub(super) struct Counts {
    outcomes: BTreeMap<(Arc<str>, OutcomeKind), u64>,
    dead_letters: BTreeMap<(Arc<str>, &'static str), u64>,
    conflicts: BTreeMap<EndpointName, u64>,
    same_bodies: BTreeMap<EndpointName, u64>,
    domain_events: BTreeMap<Arc<str>, u64>,
}

impl Counts {
    /// Counts worked entries. Damaged ones belong to no endpoint: they count as `-`.
    pub(super) fn of(entries: &[WorkedEntry]) -> Self {
        let mut counts = Self::default();
        for entry in entries {
            let endpoint = match &entry.kind {
                WorkedKind::Delivery { meta, .. } => meta.endpoint.clone(),
                WorkedKind::Replay(meta) => meta.endpoint.clone(),
                WorkedKind::Learnt(meta) => meta.endpoint.clone(),
                WorkedKind::Link(meta) => meta.endpoint.clone(),
                WorkedKind::Damaged => super::positions::frontier_name(),
            };
            if matches!(entry.kind, WorkedKind::Delivery { same_body_as: Some(_), .. }) {
                *counts.same_bodies.entry(endpoint.clone()).or_default() += 1;
            }
            for event in &entry.events {
                counts.add(&endpoint, &event.outcome);
            }
        }
        counts
    }

    fn add(&mut self, endpoint: &EndpointName, outcome: &Outcome) {
        let partner = || Arc::clone(&endpoint.partner);
        *self.outcomes.entry((partner(), outcome.kind())).or_default() += 1;
        match outcome {
            Outcome::DeadLetter { code, .. } => {
                *self.dead_letters.entry((partner(), code.as_str())).or_default() += 1;
            }
            Outcome::Conflict { .. } => *self.conflicts.entry(endpoint.clone()).or_default() += 1,
            Outcome::Translated { events } => {
                *self.domain_events.entry(partner()).or_default() += events.len() as u64;
            }
            Outcome::Duplicate { .. } | Outcome::Ignored { .. } | Outcome::Unmapped => {}
        }
    }

    /// Tells of them, when the batch is committed.
    pub(super) fn tell(&self) {
        for ((partner, outcome), count) in &self.outcomes {
            counter!(OUTCOMES, "partner" => partner.to_string(), "outcome" => outcome.as_str())
                .increment(*count);
        }
        for ((partner, reason), count) in &self.dead_letters {
            counter!(DEAD_LETTERS, "partner" => partner.to_string(), "reason" => *reason).increment(*count);
        }
        for (partner, count) in &self.domain_events {
            counter!(DOMAIN_EVENTS, "partner" => partner.to_string()).increment(*count);
        }
        for (name, counts) in [(CONFLICTS, &self.conflicts), (SAME_BODIES, &self.same_bodies)] {
            for (endpoint, count) in counts {
                counter!(name, &labels(endpoint)).increment(*count);
            }
        }
    }
}

/// Who told the owners that a batch asked for.
pub(super) fn owners_asked(of_memory: usize, of_ledger: usize) {
    for (by, count) in [("memory", of_memory), ("ledger", of_ledger)] {
        counter!(OWNERS_ASKED, "by" => by).increment(count as u64);
    }
}

fn labels(endpoint: &EndpointName) -> [(&'static str, String); 2] {
    [("partner", endpoint.partner.to_string()), ("endpoint", endpoint.endpoint.to_string())]
}

/// Tells how far stage 1 lags behind the log.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; lags are far below 2^52")]
pub(super) fn translation_lag(entries: u64) {
    gauge!(TRANSLATION_LAG_ENTRIES).set(entries as f64);
}

/// Tells how long a batch of stage 1 took.
pub(super) fn translated_in(time: Duration) {
    histogram!(TRANSLATION_BATCH_SECONDS).record(time.as_secs_f64());
}

/// Tells that stage 1 will try again.
pub(super) fn translation_retry() {
    counter!(TRANSLATION_RETRIES).increment(1);
}

/// Tells whether an endpoint stands still for want of a desk.
pub(super) fn standing_still(endpoint: &EndpointName, still: bool) {
    gauge!(ENDPOINT_STANDING_STILL, &labels(endpoint)).set(f64::from(u8::from(still)));
}

/// Tells what a broker took.
pub(super) fn published(broker: &str, placed: u64, dead_letters: u64) {
    counter!(EVENTS_PUBLISHED, "broker" => broker.to_owned()).increment(placed);
    counter!(PUBLICATION_DEAD_LETTERS, "broker" => broker.to_owned()).increment(dead_letters);
}

/// Tells how far a broker lags behind the feed.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; lags are far below 2^52")]
pub(super) fn publication_lag(broker: &str, events: u64, age: Duration) {
    gauge!(PUBLICATION_LAG_EVENTS, "broker" => broker.to_owned()).set(events as f64);
    gauge!(PUBLICATION_LAG_SECONDS, "broker" => broker.to_owned()).set(age.as_secs_f64());
}

/// Tells that stage 2 will offer to a broker again.
pub(super) fn broker_retry(broker: &str) {
    counter!(BROKER_RETRIES, "broker" => broker.to_owned()).increment(1);
}

/// Tells that a stage rested for so long.
pub(super) fn rested(stage: String, time: Duration) {
    histogram!(STAGE_RESTS, "stage" => stage).record(time.as_secs_f64());
}

/// Tells what this process works.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; leases are few")]
pub(super) fn leases(held: &Held) {
    gauge!(LEASES_HELD, "kind" => "endpoint").set(held.endpoints.len() as f64);
    gauge!(LEASES_HELD, "kind" => "broker").set(held.brokers.len() as f64);
}

/// Tells how many leases of processes that died were taken.
pub(super) fn taken_over(leases: u64) {
    counter!(LEASE_TAKEOVERS).increment(leases);
}

/// Tells how a visit of a link went, when that is the end of it.
pub(super) fn visited(endpoint: &EndpointName, state: ConfirmationState) {
    let result = match state {
        ConfirmationState::Open => return,
        ConfirmationState::Confirmed => "confirmed",
        ConfirmationState::GivenUp => "given_up",
    };
    let [partner, name] = labels(endpoint);
    counter!(CONFIRMATIONS, &[partner, name, ("result", result.to_owned())]).increment(1);
}

/// Tells how many links could not be visited yet.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; links are few")]
pub(super) fn confirmations_open(links: usize) {
    gauge!(CONFIRMATIONS_WAITING).set(links as f64);
}

/// Tells that links will be visited again.
pub(super) fn confirmation_retry() {
    counter!(CONFIRMATION_RETRIES).increment(1);
}

/// Tells that the records refused a commit because another process has the lease.
pub(super) fn fenced(stage: &'static str) {
    counter!(FENCED_COMMITS, "stage" => stage).increment(1);
}
