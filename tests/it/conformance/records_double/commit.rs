//! How the double writes: the same refusals as every implementation.

use douane::{
    ledger::{
        Confirmation, CursorMove, RecordsError, TranslationCommit, WorkedEntry, WorkedEvent, WorkedKind,
    },
    model::{EndpointName, EntryNumber, EventNumber, EventRef, Outcome, StoredEvent},
};

use super::{KeptEntry, KeptEvent, State, refused};

impl State {
    pub(super) fn commit(&mut self, commit: TranslationCommit) -> Result<EventNumber, RecordsError> {
        for entry in commit.entries {
            self.entry(entry)?;
        }
        for CursorMove { endpoint, through, .. } in commit.cursors {
            if self.cursors.get(&endpoint).is_some_and(|cursor| *cursor > through) {
                return Err(RecordsError::Stale(format!("the cursor of {endpoint} is beyond {through}")));
            }
            self.cursors.insert(endpoint, through);
        }
        Ok(self.last_event())
    }

    fn entry(&mut self, entry: WorkedEntry) -> Result<(), RecordsError> {
        let WorkedEntry { number, received_at, kind, events } = entry;
        if matches!(kind, WorkedKind::Damaged) && self.entries.contains_key(&number) {
            return Ok(());
        }
        let identified = if matches!(kind, WorkedKind::Replay(_)) { 0 } else { events.len() as u64 };
        let kept = KeptEntry { received_at, kind: kind.clone(), identified };
        if self.entries.insert(number, kept).is_some() {
            return Err(RecordsError::Stale(format!("entry {number} was already worked")));
        }
        if let WorkedKind::Link(meta) = &kind {
            self.confirmations.insert(number, Confirmation::asked((number, received_at), meta));
        }
        for event in events {
            match &kind {
                WorkedKind::Delivery { meta, .. } => self.new_event(number, Some(&meta.endpoint), event)?,
                WorkedKind::Damaged => self.new_event(number, None, event)?,
                WorkedKind::Replay(meta) => self.work_again(&meta.endpoint, event)?,
                WorkedKind::Learnt(_) | WorkedKind::Link(_) => {
                    return refused("a handshake has no events".to_owned());
                }
            }
        }
        Ok(())
    }

    fn new_event(
        &mut self,
        number: EntryNumber,
        endpoint: Option<&EndpointName>,
        worked: WorkedEvent,
    ) -> Result<(), RecordsError> {
        if worked.at.number != number {
            return refused(format!("entry {number} has no event {}", worked.at));
        }
        let made = self.publish(&worked.outcome)?;
        let endpoint = worked.event.as_ref().map(|event| &event.endpoint).or(endpoint).cloned();
        let kept = KeptEvent {
            endpoint,
            identity: worked.event,
            owns: worked.owns,
            owner: owner_named_by(&worked.outcome),
            outcome: worked.outcome,
            made,
        };
        match self.events.insert(worked.at, kept) {
            Some(_) => refused(format!("{} is there already", worked.at)),
            None => Ok(()),
        }
    }

    fn work_again(&mut self, endpoint: &EndpointName, worked: WorkedEvent) -> Result<(), RecordsError> {
        if !self.events.contains_key(&worked.at) {
            return match self.entries.get_mut(&worked.at.number) {
                Some(entry @ KeptEntry { kind: WorkedKind::Delivery { .. }, .. }) => {
                    entry.identified += 1;
                    self.new_event(worked.at.number, Some(endpoint), worked)
                }
                _ => refused(format!("{} is not a place of a worked delivery", worked.at)),
            };
        }
        let made = self.publish(&worked.outcome)?;
        if let Some(kept) = self.events.get_mut(&worked.at) {
            kept.made.extend(made);
            kept.owner = owner_named_by(&worked.outcome).or(kept.owner);
            kept.outcome = worked.outcome;
            let named = kept.identity.as_ref().is_some_and(|identity| identity.external_id.is_some());
            if worked.event.is_some() && (!named || worked.owns.is_some()) {
                kept.identity = worked.event;
                kept.owns = worked.owns;
            }
        }
        Ok(())
    }

    fn publish(&mut self, outcome: &Outcome) -> Result<Vec<EventNumber>, RecordsError> {
        let Outcome::Translated { events } = outcome else { return Ok(Vec::new()) };
        let mut numbers = Vec::new();
        for event in events {
            let repeats =
                (event.number != EventNumber(0)).then(|| self.first_appearance(event)).transpose()?;
            let mut event = event.clone();
            event.number = self.last_event().next();
            if let Some(first) = &repeats {
                event.body = first.body.clone();
            }
            numbers.push(event.number);
            self.feed.push((event, repeats.map(|first| first.number)));
        }
        Ok(numbers)
    }

    fn first_appearance(&self, repeat: &StoredEvent) -> Result<StoredEvent, RecordsError> {
        match self.feed.iter().find(|(event, _)| event.number == repeat.number && event.id == repeat.id) {
            Some((event, None)) => Ok(event.clone()),
            Some((event, Some(first))) => {
                self.first_appearance(&StoredEvent { number: *first, ..event.clone() })
            }
            None => refused(format!("domain event {} is not {}", repeat.number, repeat.id)),
        }
    }

    pub(super) fn last_event(&self) -> EventNumber {
        EventNumber(self.feed.len() as u64)
    }
}

fn owner_named_by(outcome: &Outcome) -> Option<EventRef> {
    match outcome {
        Outcome::Duplicate { of } => Some(*of),
        Outcome::Conflict { with } => Some(*with),
        _ => None,
    }
}
