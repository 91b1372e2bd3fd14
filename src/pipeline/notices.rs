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
    origin: Option<Origin>,
    external_id: Option<String>,
    outcome: OutcomeKind,
    reason: String,
}

/// The entry that was worked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    delivery: Option<DeliveryId>,
    /// The place of the event names its delivery then.
    replay: Option<DeliveryId>,
    endpoint: EndpointName,
}

impl Origin {
    fn of(kind: &WorkedKind) -> Option<Self> {
        let (delivery, replay, endpoint) = match kind {
            WorkedKind::Delivery { meta, .. } => (Some(meta.id), None, &meta.endpoint),
            WorkedKind::Replay(meta) => (None, Some(meta.id), &meta.endpoint),
            WorkedKind::Learnt(_) | WorkedKind::Link(_) | WorkedKind::Damaged => return None,
        };
        Some(Self { delivery, replay, endpoint: endpoint.clone() })
    }
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
            entry.events.iter().for_each(|event| notices.look_at(event, &entry.kind));
        }
        notices
    }

    fn look_at(&mut self, event: &WorkedEvent, kind: &WorkedKind) {
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
            origin: Origin::of(kind),
            external_id: event.event.as_ref().and_then(|event| event.external_id.clone()),
            outcome,
            reason: event.outcome.reason().unwrap_or_default(),
        });
    }

    /// Tells of them, when the batch is committed.
    pub(super) fn tell(&self) {
        for Notice { at, origin, external_id, outcome, reason } in &self.lines {
            let origin = origin.as_ref();
            let endpoint = origin.map(|origin| &origin.endpoint);
            warn!(
                %at,
                delivery = origin.and_then(|origin| origin.delivery).map(tracing::field::display),
                replay = origin.and_then(|origin| origin.replay).map(tracing::field::display),
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
    use crate::model::{EntryNumber, Outcome, ReasonCode, ReplayMeta, Timestamp};

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
    fn a_replay_is_not_told_as_a_delivery() {
        let id = DeliveryId(uuid::Uuid::from_u128(7));
        let meta = ReplayMeta {
            id,
            endpoint: EndpointName::new("lab", "default"),
            events: Vec::new(),
            reissue: false,
            brokers: Vec::new(),
            by: "ada".to_owned(),
        };
        let notices =
            Notices::of(&[WorkedEntry { kind: WorkedKind::Replay(meta.into()), ..worked(vec![dead()]) }]);
        let origin = notices.lines[0].origin.as_ref().expect("known");
        assert_eq!((origin.delivery, origin.replay), (None, Some(id)));
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
