//! Room `pipeline`: what a person should read in the log of the process after a batch: dead letters and conflicts, with the
//! ids that find them again. May not quote a payload: reasons never do.

use tracing::warn;

use crate::{
    ledger::{WorkedEntry, WorkedEvent, WorkedKind},
    model::{DeliveryId, EndpointName, EventRef, OutcomeKind},
};

/// At most so many lines a batch: a mapping that breaks on everything must not drown the log.
const MAX_LINES: usize = 20;

/// An event that ended in a way a person should know of.
#[derive(Debug, PartialEq, Eq)]
struct Notice {
    at: EventRef,
    origin: Option<(DeliveryId, EndpointName)>,
    external_id: Option<String>,
    outcome: OutcomeKind,
    reason: String,
}

/// The notices of a batch, taken before it is handed to the records.
#[derive(Debug, Default)]
pub(super) struct Notices {
    lines: Vec<Notice>,
    more: usize,
}

impl Notices {
    /// Looks through worked entries.
    pub(super) fn of(entries: &[WorkedEntry]) -> Self {
        let mut notices = Self::default();
        for entry in entries {
            let origin = match &entry.kind {
                WorkedKind::Delivery { meta, .. } => Some((meta.id, &meta.endpoint)),
                WorkedKind::Replay(meta) => Some((meta.id, &meta.endpoint)),
                WorkedKind::Damaged => None,
            };
            entry.events.iter().for_each(|event| notices.look_at(event, origin));
        }
        notices
    }

    fn look_at(&mut self, event: &WorkedEvent, origin: Option<(DeliveryId, &EndpointName)>) {
        let outcome = event.outcome.kind();
        if !matches!(outcome, OutcomeKind::DeadLetter | OutcomeKind::Conflict) {
            return;
        }
        if self.lines.len() == MAX_LINES {
            self.more += 1;
            return;
        }
        self.lines.push(Notice {
            at: event.at,
            origin: origin.map(|(id, endpoint)| (id, endpoint.clone())),
            external_id: event.event.as_ref().and_then(|event| event.external_id.clone()),
            outcome,
            reason: event.outcome.reason().unwrap_or_default(),
        });
    }

    /// Tells of them, when the batch is committed.
    pub(super) fn tell(&self) {
        for Notice { at, origin, external_id, outcome, reason } in &self.lines {
            let (delivery, endpoint) = origin.as_ref().map(|(id, endpoint)| (id, endpoint)).unzip();
            warn!(
                %at,
                delivery = delivery.map(tracing::field::display),
                partner = endpoint.map(|name| tracing::field::display(&name.partner)),
                endpoint = endpoint.map(|name| tracing::field::display(&name.endpoint)),
                external_id,
                %outcome,
                reason,
                "an external event needs a person"
            );
        }
        if self.more > 0 {
            warn!(more = self.more, "further external events of this batch need a person");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EntryNumber, Outcome, ReasonCode, Timestamp};

    fn worked(outcomes: Vec<Outcome>) -> WorkedEntry {
        let event = |(outcome, ordinal)| WorkedEvent {
            event: None,
            at: EventRef { number: EntryNumber(1), ordinal },
            owns: None,
            outcome,
            revision: None,
        };
        WorkedEntry {
            number: EntryNumber(1),
            received_at: Timestamp::default(),
            kind: WorkedKind::Damaged,
            events: outcomes.into_iter().zip(0..).map(event).collect(),
        }
    }

    fn dead() -> Outcome {
        Outcome::DeadLetter { code: ReasonCode::Unreadable, detail: "no JSON".to_owned() }
    }

    #[test]
    fn only_what_needs_a_person_is_told_and_not_without_end() {
        let conflict = Outcome::Conflict { with: EventRef { number: EntryNumber(1), ordinal: 0 } };
        let notices = Notices::of(&[worked(vec![Outcome::Unmapped, dead(), conflict])]);
        let told: Vec<_> = notices.lines.iter().map(|line| (line.at.ordinal, line.outcome)).collect();
        assert_eq!(told, [(1, OutcomeKind::DeadLetter), (2, OutcomeKind::Conflict)]);
        let flood = Notices::of(&[worked(vec![dead(); 100])]);
        assert_eq!((flood.lines.len(), flood.more), (MAX_LINES, 80));
    }
}
