//! What must be true of the records, whatever happened before: the truth about what was worked follows from the log alone.

use std::collections::{BTreeMap, BTreeSet};

use douane::{
    ledger::{
        Conservation, DeliveryFilter, DeliveryRow, EventFilter, EventRow, FeedRecords, InspectRecords,
        TranslationRecords,
    },
    model::{DeliveryId, EntryNumber, EventNumber, EventRef, OutcomeKind, StoredEvent},
};

use super::{
    model::Model,
    partner::{Partner, Told, endpoint},
};
use crate::conformance::records_double::RecordsDouble;

/// Large enough that one answer holds all there is.
const EVERYTHING: usize = 1_000_000;

/// All that the records hold.
pub(super) struct Books {
    cursor: EntryNumber,
    figures: Conservation,
    deliveries: Vec<DeliveryRow>,
    /// The numbers that were worked as damaged.
    damaged: BTreeSet<u64>,
    feed: Vec<StoredEvent>,
}

impl Books {
    pub(super) async fn of(records: &RecordsDouble) -> Self {
        let all = DeliveryFilter { limit: EVERYTHING, ..DeliveryFilter::default() };
        let cursors = records.cursors().await.expect("the double answers");
        let page = records.deliveries(&all).await.expect("the double answers");
        let events = records.events(&all, None).await.expect("the double answers");
        let feed = records.events_after(EventNumber(0), EVERYTHING, &EventFilter::default()).await;
        let is_damaged = |event: &&EventRow| event.endpoint_name != endpoint();
        Self {
            cursor: cursors.iter().map(|(_, through)| *through).max().unwrap_or_default(),
            figures: records.conservation().await.expect("the double answers"),
            deliveries: page.items.into_iter().rev().collect(),
            damaged: events.iter().filter(is_damaged).map(|event| event.at.number.0).collect(),
            feed: feed.expect("the double answers"),
        }
    }

    /// Nothing was worked that the log does not hold through `durable`, and nothing twice, out of order or otherwise than
    /// the log says.
    pub(super) fn agree(&self, model: &Model, partner: &Partner, durable: EntryNumber) {
        assert!(self.cursor <= durable, "worked through {}, but the log ends at {durable}", self.cursor);
        self.every_number_once();
        self.as_they_were_kept(model);
        let owners = self.verdicts(partner);
        self.events_of(&owners);
    }

    /// Whether everything in the log was worked.
    pub(super) fn are_complete(&self, durable: EntryNumber) -> bool {
        self.cursor == durable
    }

    /// The first law: each number at or below the cursor is worked exactly once.
    fn every_number_once(&self) {
        let worked = self.deliveries.iter().map(|row| row.number.0).chain(self.damaged.iter().copied());
        let mut worked: Vec<_> = worked.collect();
        worked.sort_unstable();
        assert!(worked.iter().copied().eq(1..=self.cursor.0), "through {}: {worked:?}", self.cursor);
        assert_eq!(self.figures.worked, self.cursor.0);
        assert_eq!(self.figures.orphans, 0);
    }

    /// What was worked is what the log holds, byte for byte; only what we damaged was called damaged.
    fn as_they_were_kept(&self, model: &Model) {
        for row in &self.deliveries {
            model.was_kept(row);
        }
        for number in &self.damaged {
            assert!(model.is_rotten(*number), "{number} was worked as damaged");
        }
    }

    /// Of each external id the first event is translated; the others repeat it or contradict it. Returns the first ones.
    fn verdicts(&self, partner: &Partner) -> BTreeMap<EventRef, Told> {
        let mut owners: BTreeMap<String, (EventRef, DeliveryId, Told)> = BTreeMap::new();
        for row in &self.deliveries {
            let [event] = row.external_events.as_slice() else { panic!("one event each: {row:?}") };
            let told = partner.told(row.delivery);
            let expected = match owners.get(&told.id()) {
                None => (OutcomeKind::Translated, None),
                Some((_, of, first)) if *first == told => (OutcomeKind::Duplicate, Some(*of)),
                Some((_, with, _)) => (OutcomeKind::Conflict, Some(*with)),
            };
            assert_eq!((event.outcome, event.duplicate_of), expected, "{row:?}");
            assert_eq!(event.external_id, Some(told.id()));
            owners.entry(told.id()).or_insert((event.at, row.delivery, told));
        }
        self.second_law();
        owners.into_values().map(|(at, _, told)| (at, told)).collect()
    }

    /// External events identified = the sum of their outcomes.
    fn second_law(&self) {
        let outcomes: u64 = self.figures.outcomes.iter().map(|(_, count)| count).sum();
        assert_eq!(self.figures.identified, outcomes);
        assert_eq!(outcomes, (self.deliveries.len() + self.damaged.len()) as u64);
    }

    /// Each owner has its domain event, numbered without gaps, and within an ordering key in order of acceptance.
    fn events_of(&self, owners: &BTreeMap<EventRef, Told>) {
        let made: BTreeSet<_> = self.feed.iter().map(|event| event.made_from).collect();
        assert!(made.iter().eq(owners.keys()), "of {owners:?} came {made:?}");
        let ids: BTreeSet<_> = self.feed.iter().map(|event| &event.id).collect();
        assert_eq!((ids.len(), made.len()), (self.feed.len(), self.feed.len()), "each fact once");
        let mut last: BTreeMap<&str, EventRef> = BTreeMap::new();
        for (number, event) in (1..).zip(&self.feed) {
            assert_eq!(event.number, EventNumber(number), "numbered without gaps");
            let before = last.insert(&event.partition_key, event.made_from);
            assert!(before < Some(event.made_from), "{event:?} comes after that of {before:?}");
            let order = owners[&event.made_from].order();
            assert_eq!(event.partition_key, format!("{}/{order}", endpoint()));
        }
    }
}
