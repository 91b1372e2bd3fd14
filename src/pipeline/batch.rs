//! Room `pipeline`, step 4: what was read from the log, sorted into one batch: whose turn it is, what lies on a desk, what
//! is damaged, who must wait. May not read, parse or translate.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    positions::{Advance, Group, Positions},
    rungs::Identified,
};
use crate::{
    ledger::{LogItem, Stretch, WorkedEntry, WorkedEvent, WorkedKind},
    model::{
        Delivery, DeliveryMeta, Entry, EntryMeta, EntryNumber, EventRef, Outcome, ReasonCode, ReplayMeta,
        Timestamp,
    },
    partners::{Desk, Snapshot},
};

/// A delivery with the desk that will read it.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) delivery: Delivery,
    pub(super) desk: Arc<Desk>,
}

impl Arrival {
    /// Puts what was read on its desk: the one place where an entry of the log becomes a [`Delivery`].
    pub(super) fn new(
        (number, received_at): (EntryNumber, Timestamp),
        meta: DeliveryMeta,
        body: Bytes,
        desk: Arc<Desk>,
    ) -> Self {
        Self { delivery: Delivery { number, received_at, meta: Box::new(meta), body }, desk }
    }
}

/// A replay request with the desk its events are translated by.
#[derive(Clone, Debug)]
pub(super) struct ReplayRequest {
    pub(super) number: EntryNumber,
    pub(super) received_at: Timestamp,
    pub(super) meta: Box<ReplayMeta>,
    pub(super) desk: Arc<Desk>,
}

/// What a batch asks for.
#[derive(Debug)]
pub(super) enum Work {
    /// Deliveries in log order; none when only others' entries were passed, or damaged ones.
    Deliveries(Vec<Arrival>),
    /// Deliveries in log order, identified while the batch before them was committed.
    ReadAhead(Vec<Identified>),
    /// One replay request. It stands alone in its batch, so that all before it is committed when it looks.
    Replay(ReplayRequest),
}

/// Where a batch lies in the log, and what its commit moves.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) group: Group,
    pub(super) advance: Advance,
}

impl Place {
    /// The first and last number of the batch.
    pub(super) fn range(&self) -> (EntryNumber, EntryNumber) {
        (self.group.after.next(), self.advance.through)
    }
}

/// One batch of stage 1.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) place: Place,
    pub(super) work: Work,
    /// What needs no desk: damaged numbers, each a dead letter, secrets that were learnt, and links to visit.
    pub(super) settled: Vec<WorkedEntry>,
}

/// Sorts what was read after `group.after`; at most `max_entries` damaged numbers fit in one batch. `None` when nothing
/// was there to pass.
pub(super) fn sort(
    read: Stretch,
    group: Group,
    positions: &Positions,
    snapshot: &Snapshot,
    max_entries: usize,
) -> Option<Batch> {
    let Stretch { items, through } = read;
    let mut sorting = Sorting {
        advance: Advance { through: group.after, ..Advance::default() },
        work: Work::Deliveries(Vec::new()),
        settled: Vec::new(),
        last_received: None,
        first_received: items.iter().find_map(received_at),
        group,
        positions,
        snapshot,
        max_entries,
    };
    let all = items.into_iter().all(|item| match item {
        LogItem::Entry(entry) => sorting.entry(entry),
        LogItem::Damaged { first, last, detail } => sorting.damaged(first, last, &detail),
    });
    if all {
        sorting.passed(through);
    }
    sorting.finish()
}

struct Sorting<'a> {
    group: Group,
    positions: &'a Positions,
    snapshot: &'a Snapshot,
    max_entries: usize,
    advance: Advance,
    work: Work,
    settled: Vec<WorkedEntry>,
    last_received: Option<Timestamp>,
    first_received: Option<Timestamp>,
}

fn received_at(item: &LogItem) -> Option<Timestamp> {
    match item {
        LogItem::Entry(entry) => Some(entry.received_at),
        LogItem::Damaged { .. } => None,
    }
}

impl Sorting<'_> {
    /// Takes an entry in, passes it or leaves it waiting; `false` when the batch ends before or with it.
    fn entry(&mut self, entry: Entry) -> bool {
        let number = entry.number;
        if number > self.group.until {
            self.passed(self.group.until);
            return false;
        }
        let endpoint = entry.meta.endpoint();
        if !self.is_for(&entry) {
            self.advance.through = number;
            return true;
        }
        match self.advance.met.get_mut(endpoint) {
            Some(entries) => *entries += 1,
            None => _ = self.advance.met.insert(endpoint.clone(), 1),
        }
        let Some(desk) = self.snapshot.desk_of(endpoint).map(Arc::clone) else {
            self.advance.left.insert(endpoint.clone(), EntryNumber(number.0 - 1));
            self.advance.through = number;
            return true;
        };
        self.put_on_desk(entry, desk)
    }

    /// Whether the entry is this group's to work.
    fn is_for(&self, entry: &Entry) -> bool {
        let endpoint = entry.meta.endpoint();
        let read_for = match &self.group.only {
            Some(only) => only.contains(endpoint),
            None => self.positions.is_at_frontier(endpoint),
        };
        read_for && !self.advance.left.contains_key(endpoint)
    }

    fn put_on_desk(&mut self, entry: Entry, desk: Arc<Desk>) -> bool {
        let Entry { number, received_at, meta, body } = entry;
        let Work::Deliveries(deliveries) = &mut self.work else { return false };
        let more = match meta {
            EntryMeta::Delivery(meta) => {
                deliveries.push(Arrival::new((number, received_at), meta, body, desk));
                true
            }
            EntryMeta::Replay(_) if !deliveries.is_empty() || !self.settled.is_empty() => return false,
            EntryMeta::Replay(meta) => {
                self.work = Work::Replay(ReplayRequest { number, received_at, meta: Box::new(meta), desk });
                false
            }
            EntryMeta::Learnt(meta) => {
                self.settled.push(without_events(number, received_at, WorkedKind::Learnt(Box::new(meta))));
                true
            }
            EntryMeta::Confirm(meta) => {
                self.settled.push(without_events(number, received_at, WorkedKind::Link(Box::new(meta))));
                true
            }
        };
        self.advance.through = number;
        self.last_received = Some(received_at);
        more
    }

    /// Damaged numbers are worked by whoever meets them, a bounded part of the range at a time: whose they were cannot
    /// be read any more, unless their batch says it, and then nobody else meets them. The records pass over what is worked
    /// already.
    fn damaged(&mut self, first: EntryNumber, last: EntryNumber, detail: &str) -> bool {
        let (first, last) = (first.max(self.advance.through.next()), last.min(self.group.until));
        for number in (first.0..=last.0).map(EntryNumber) {
            if self.settled.len() == self.max_entries {
                return false;
            }
            // Its own time is lost with it: it came no earlier than what stands before it.
            let received_at = self.last_received.or(self.first_received).unwrap_or_default();
            self.settled.push(damaged_entry(number, received_at, detail));
            self.advance.through = number;
        }
        true
    }

    /// What was read goes so far at least; what follows the last item up to there is others'.
    fn passed(&mut self, through: EntryNumber) {
        self.advance.through = self.advance.through.max(through.min(self.group.until));
    }

    fn finish(self) -> Option<Batch> {
        let Self { group, advance, work, settled, .. } = self;
        let place = Place { group, advance };
        (place.advance.through > place.group.after).then_some(Batch { place, work, settled })
    }
}

fn without_events(number: EntryNumber, received_at: Timestamp, kind: WorkedKind) -> WorkedEntry {
    WorkedEntry { number, received_at, kind, events: Vec::new() }
}

fn damaged_entry(number: EntryNumber, received_at: Timestamp, detail: &str) -> WorkedEntry {
    let event = WorkedEvent {
        event: None,
        at: EventRef { number, ordinal: 0 },
        owns: None,
        outcome: Outcome::DeadLetter { code: ReasonCode::Damaged, detail: detail.to_owned() },
        revision: None,
    };
    WorkedEntry { number, received_at, kind: WorkedKind::Damaged, events: vec![event] }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::{
        model::{Assurance, DeliveryId, EndpointName, Headers, Revision},
        partners::{DeskSources, DeskState},
    };

    fn snapshot(partners: &[&str]) -> Snapshot {
        let desk = |partner: &str| Desk {
            partner: partner.into(),
            revision: Revision("r".into()),
            sources: DeskSources::default(),
            endpoints: BTreeMap::from([("default".into(), super::super::fixtures::endpoint_desk())]),
            mappings: Vec::new(),
            ignores: Vec::new(),
            catalog: Arc::default(),
        };
        let states = partners.iter().map(|name| (Arc::from(*name), DeskState::Ready(Arc::new(desk(name)))));
        Snapshot { desks: states.collect(), ..Snapshot::default() }
    }

    fn name(partner: &str) -> EndpointName {
        EndpointName::new(partner, "default")
    }

    fn entry(number: u64, meta: EntryMeta) -> LogItem {
        let received_at = Timestamp::from_micros(number.cast_signed());
        LogItem::Entry(Entry { number: EntryNumber(number), received_at, meta, body: Bytes::new() })
    }

    fn delivery(number: u64, partner: &str) -> LogItem {
        let meta = DeliveryMeta {
            id: DeliveryId(uuid::Uuid::nil()),
            endpoint: name(partner),
            method: "POST".to_owned(),
            target: "/".to_owned(),
            version: "HTTP/1.1".to_owned(),
            headers: Headers::default(),
            assurance: Assurance::Full,
            secret_id: None,
        };
        entry(number, EntryMeta::Delivery(meta))
    }

    fn replay(number: u64, partner: &str) -> LogItem {
        let meta = ReplayMeta {
            id: DeliveryId(uuid::Uuid::nil()),
            endpoint: name(partner),
            events: Vec::new(),
            reissue: false,
            brokers: Vec::new(),
            by: "test".to_owned(),
        };
        entry(number, EntryMeta::Replay(meta))
    }

    fn damaged(first: u64, last: u64) -> LogItem {
        let (first, last) = (EntryNumber(first), EntryNumber(last));
        LogItem::Damaged { first, last, detail: "bad checksum".to_owned() }
    }

    fn frontier(after: u64, until: u64) -> Group {
        Group { after: EntryNumber(after), until: EntryNumber(until), only: None }
    }

    fn sorted(items: Vec<LogItem>, group: Group) -> Batch {
        let through = items.last().map_or(group.after, LogItem::last);
        sorted_through(items, through, group)
    }

    fn sorted_through(items: Vec<LogItem>, through: EntryNumber, group: Group) -> Batch {
        let read = Stretch { items, through };
        sort(read, group, &Positions::default(), &snapshot(&["a", "b"]), 3).expect("a batch")
    }

    fn deliveries(batch: &Batch) -> Vec<u64> {
        let Work::Deliveries(arrivals) = &batch.work else { panic!("a replay") };
        arrivals.iter().map(|arrival| arrival.delivery.number.0).collect()
    }

    #[test]
    fn an_endpoint_without_a_desk_is_left_before_its_first_entry() {
        let items = vec![delivery(1, "a"), delivery(2, "new"), delivery(3, "b"), delivery(4, "new")];
        let batch = sorted(items, frontier(0, 9));
        assert_eq!(deliveries(&batch), [1, 3]);
        assert_eq!(batch.place.range(), (EntryNumber(1), EntryNumber(4)));
        assert_eq!(batch.place.advance.left, BTreeMap::from([(name("new"), EntryNumber(1))]));
    }

    #[test]
    fn a_group_that_catches_up_passes_what_is_not_its_own() {
        let only = Some(BTreeSet::from([name("b")]));
        let group = Group { only, ..frontier(0, 5) };
        let items =
            vec![delivery(1, "a"), delivery(2, "b"), damaged(3, 4), delivery(5, "a"), delivery(6, "b")];
        let batch = sorted(items, group);
        assert_eq!(deliveries(&batch), [2]);
        let damaged: Vec<_> = batch.settled.iter().map(|entry| entry.number.0).collect();
        assert_eq!(damaged, [3, 4], "they may have been its own");
        assert_eq!(batch.place.advance.through, EntryNumber(5));
    }

    #[test]
    fn what_was_not_read_is_passed() {
        let read = |until| {
            let items = vec![delivery(2, "a"), delivery(6, "a")];
            let batch = sorted_through(items, EntryNumber(9), frontier(0, until));
            (deliveries(&batch), batch.place.advance.through.0)
        };
        assert_eq!(read(20), (vec![2, 6], 9));
        assert_eq!(read(8), (vec![2, 6], 8));
        assert_eq!(read(5), (vec![2], 5));
        assert_eq!(read(1), (vec![], 1), "the first of its own is beyond the group");
        assert_eq!(sorted_through(vec![], EntryNumber(9), frontier(4, 20)).place.advance.through.0, 9);
    }

    #[test]
    fn a_replay_request_stands_alone() {
        let items = || vec![delivery(1, "a"), replay(2, "a"), delivery(3, "a")];
        let before = sorted(items(), frontier(0, 9));
        assert_eq!((deliveries(&before), before.place.advance.through.0), (vec![1], 1));
        let alone = sorted(items()[1..].to_vec(), frontier(1, 9));
        assert!(matches!(&alone.work, Work::Replay(request) if request.number.0 == 2));
        assert_eq!(alone.place.advance.through.0, 2);
    }

    #[test]
    fn damage_is_worked_once_in_bounded_parts() {
        let batch = sorted(vec![delivery(1, "a"), damaged(2, 9), delivery(10, "a")], frontier(0, 10));
        let numbers: Vec<_> = batch.settled.iter().map(|entry| entry.number.0).collect();
        assert_eq!((deliveries(&batch), numbers, batch.place.advance.through.0), (vec![1], vec![2, 3, 4], 4));
        assert_eq!(batch.settled[0].received_at.micros(), 1);
        let batch = sorted(vec![damaged(2, 5), delivery(6, "a")], frontier(4, 10));
        assert_eq!((batch.settled.len(), deliveries(&batch)), (1, vec![6]));
    }

    #[test]
    fn nothing_read_is_no_batch() {
        let nothing = Stretch { items: Vec::new(), through: EntryNumber(4) };
        assert!(sort(nothing, frontier(4, 9), &Positions::default(), &snapshot(&[]), 3).is_none());
    }
}
