//! Room `pipeline`: what the two stages count. Counters are told once a batch, not once an event.

use std::{collections::BTreeMap, sync::Arc};

use metrics::{counter, gauge};

use crate::{
    ledger::{WorkedEntry, WorkedKind},
    model::{EndpointName, OutcomeKind},
};

/// External events by partner and outcome (`translated`, `duplicate`, …). Replayed ones count again.
const OUTCOMES: &str = "douane_outcomes_total";
/// Dead letters of stage 1 by partner and reason code.
const DEAD_LETTERS: &str = "douane_dead_letters_total";
/// Domain events committed, by partner.
const DOMAIN_EVENTS: &str = "douane_domain_events_total";
/// Deliveries whose body came before under another id, where the signature does not cover the id; by partner.
const SAME_BODIES: &str = "douane_same_body_total";
/// Durable entries that stage 1 has not read yet.
const TRANSLATION_LAG_ENTRIES: &str = "douane_translation_lag_entries";
/// Age of the last entry worked while entries wait, in seconds; 0 when none does.
const TRANSLATION_LAG_SECONDS: &str = "douane_translation_lag_seconds";
/// 1 while an endpoint's deliveries wait because it has no desk that works.
const STANDING_STILL: &str = "douane_endpoint_standing_still";
/// Committed events a broker has not been offered yet.
const PUBLICATION_LAG_EVENTS: &str = "douane_publication_lag_events";
/// Events by broker and result: `placed` or `dead_letter`.
const PUBLICATIONS: &str = "douane_publications_total";
/// 1 while a stage waits for the outside world.
const STAGE_WAITING: &str = "douane_stage_waiting";

/// Tells of a committed batch.
pub(super) fn committed(counts: &Counts) {
    for ((partner, outcome), count) in &counts.outcomes {
        counter!(OUTCOMES, "partner" => partner.to_string(), "outcome" => outcome.as_str()).increment(*count);
    }
    for ((partner, code), count) in &counts.dead_letters {
        counter!(DEAD_LETTERS, "partner" => partner.to_string(), "code" => *code).increment(*count);
    }
    for (partner, count) in &counts.domain_events {
        counter!(DOMAIN_EVENTS, "partner" => partner.to_string()).increment(*count);
    }
    for (partner, count) in &counts.same_bodies {
        counter!(SAME_BODIES, "partner" => partner.to_string()).increment(*count);
    }
}

/// What a batch counts, taken before it is handed to the records.
#[derive(Debug, Default)]
pub(super) struct Counts {
    outcomes: BTreeMap<(Arc<str>, OutcomeKind), u64>,
    dead_letters: BTreeMap<(Arc<str>, &'static str), u64>,
    domain_events: BTreeMap<Arc<str>, u64>,
    same_bodies: BTreeMap<Arc<str>, u64>,
}

impl Counts {
    /// Counts worked entries.
    pub(super) fn of(entries: &[WorkedEntry]) -> Self {
        let mut counts = Self::default();
        for entry in entries {
            counts.add(entry);
        }
        counts
    }

    fn add(&mut self, entry: &WorkedEntry) {
        use crate::model::Outcome;

        let partner = match &entry.kind {
            WorkedKind::Delivery { meta, .. } => Arc::clone(&meta.endpoint.partner),
            WorkedKind::Replay(meta) => Arc::clone(&meta.endpoint.partner),
            WorkedKind::Damaged => Arc::from("-"),
        };
        for event in &entry.events {
            *self.outcomes.entry((Arc::clone(&partner), event.outcome.kind())).or_default() += 1;
            match &event.outcome {
                Outcome::DeadLetter { code, .. } => {
                    *self.dead_letters.entry((Arc::clone(&partner), code.as_str())).or_default() += 1;
                }
                Outcome::Translated { events } => {
                    *self.domain_events.entry(Arc::clone(&partner)).or_default() += events.len() as u64;
                }
                _ => {}
            }
        }
        if matches!(entry.kind, WorkedKind::Delivery { same_body_as: Some(_), .. }) {
            *self.same_bodies.entry(partner).or_default() += 1;
        }
    }
}

/// Tells how far stage 1 lags behind the log.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; lags are far below 2^52")]
pub(super) fn translation_lag(entries: u64, age: std::time::Duration) {
    gauge!(TRANSLATION_LAG_ENTRIES).set(entries as f64);
    gauge!(TRANSLATION_LAG_SECONDS).set(age.as_secs_f64());
}

/// Tells whether an endpoint stands still for want of a desk.
pub(super) fn standing_still(endpoint: &EndpointName, still: bool) {
    let (partner, endpoint) = (endpoint.partner.to_string(), endpoint.endpoint.to_string());
    gauge!(STANDING_STILL, "partner" => partner, "endpoint" => endpoint).set(f64::from(u8::from(still)));
}

/// Tells what a broker took, and how far it lags behind the feed.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; lags are far below 2^52")]
pub(super) fn published(broker: &str, placed: u64, dead_letters: u64, lag: u64) {
    let broker = broker.to_owned();
    counter!(PUBLICATIONS, "broker" => broker.clone(), "result" => "placed").increment(placed);
    counter!(PUBLICATIONS, "broker" => broker.clone(), "result" => "dead_letter").increment(dead_letters);
    gauge!(PUBLICATION_LAG_EVENTS, "broker" => broker).set(lag as f64);
}

/// Tells whether a stage waits for the outside world.
pub(super) fn waiting(stage: &str, waits: bool) {
    gauge!(STAGE_WAITING, "stage" => stage.to_owned()).set(f64::from(u8::from(waits)));
}
