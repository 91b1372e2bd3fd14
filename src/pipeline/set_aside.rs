//! Room `pipeline`, step 8: what is tried with a lone entry whose data the records refuse. May not commit it.

use crate::{
    ledger::{WorkedEntry, WorkedEvent},
    model::{Outcome, ReasonCode},
};

/// A lone entry with more events than this is set aside as a whole when the records refuse it.
const MAX_PROBES: usize = 32;

/// The ways to keep an entry without what the records refuse: each event alone as a dead letter, at last all of them.
pub(super) fn set_aside(entry: &WorkedEntry) -> impl Iterator<Item = WorkedEntry> {
    let probes = if (2..=MAX_PROBES).contains(&entry.events.len()) { entry.events.len() } else { 0 };
    let one = (0..probes).map(|chosen| without(entry, |index| index == chosen));
    one.chain(std::iter::once_with(|| without(entry, |_| true)))
}

fn without(entry: &WorkedEntry, refused: impl Fn(usize) -> bool) -> WorkedEntry {
    let events = entry.events.iter().enumerate();
    let events =
        events.map(|(index, event)| if refused(index) { refused_event(event) } else { event.clone() });
    WorkedEntry { events: events.collect(), ..entry.clone() }
}

/// Its names go too: they may be what is refused.
fn refused_event(event: &WorkedEvent) -> WorkedEvent {
    let detail = "the records refuse this event's data; the log of the process says why".to_owned();
    let outcome = Outcome::DeadLetter { code: ReasonCode::RefusedByStore, detail };
    WorkedEvent { event: None, at: event.at, owns: None, outcome, revision: event.revision.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ledger::WorkedKind,
        model::{EntryNumber, EventRef, Timestamp},
    };

    fn entry(events: u32) -> WorkedEntry {
        let event = |ordinal| WorkedEvent {
            event: None,
            at: EventRef { number: EntryNumber(1), ordinal },
            owns: Some(0),
            outcome: Outcome::Unmapped,
            revision: None,
        };
        WorkedEntry {
            number: EntryNumber(1),
            received_at: Timestamp::default(),
            kind: WorkedKind::Damaged,
            events: (0..events).map(event).collect(),
        }
    }

    fn refused(entry: &WorkedEntry) -> Vec<bool> {
        entry.events.iter().map(|event| matches!(event.outcome, Outcome::DeadLetter { .. })).collect()
    }

    #[test]
    fn one_event_is_set_aside_before_all_are() {
        let tried: Vec<_> = set_aside(&entry(2)).map(|entry| refused(&entry)).collect();
        assert_eq!(tried, [vec![true, false], vec![false, true], vec![true, true]]);
        assert_eq!(set_aside(&entry(1)).map(|entry| refused(&entry)).collect::<Vec<_>>(), [[true]]);
        assert_eq!(set_aside(&entry(1_000)).count(), 1);
        assert!(set_aside(&entry(1)).all(|entry| entry.events[0].owns.is_none()));
    }
}
