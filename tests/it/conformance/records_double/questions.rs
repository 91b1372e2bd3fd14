//! What the double answers: by looking at everything it has.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use douane::{
    ledger::{
        BrokerState, Conservation, DamagedEntry, DeliveryFilter, DeliveryRow, EventRow, IdentifiedEvent,
        Kept, Owner, OwnersPage, Page, Publication, PublicationFilter, PublicationRow, ReplayTarget,
        WorkedKind,
    },
    model::{DeliveryId, EndpointName, EntryNumber, EventRef, OutcomeKind, Timestamp},
};

use super::{KeptEntry, KeptEvent, State};

impl State {
    pub(super) fn owner(&self, endpoint: &EndpointName, id: &str) -> Option<Owner> {
        let owner = |(at, event): (&EventRef, &KeptEvent)| {
            let generation = event.owns?;
            let identity = event.identity.as_ref().filter(|identity| identity.is(endpoint, id))?;
            let received_at = self.entries.get(&at.number)?.received_at;
            Some(Owner { at: *at, received_at, identity_digest: identity.identity_digest, generation })
        };
        self.events.iter().rev().find_map(owner)
    }

    pub(super) fn owners_after(&self, after: EventRef, limit: usize) -> OwnersPage {
        let looked_at: Vec<_> = self.events.iter().filter(|(at, _)| **at > after).take(limit).collect();
        let owned = |(at, event): &(&EventRef, &KeptEvent)| {
            let identity = event.identity.as_ref()?;
            let (generation, id) = (event.owns?, identity.external_id.clone()?);
            let received_at = self.entries.get(&at.number)?.received_at;
            let owner =
                Owner { at: **at, received_at, identity_digest: identity.identity_digest, generation };
            Some((identity.endpoint.clone(), id, owner))
        };
        let through = looked_at.last().map(|(at, _)| **at).filter(|_| looked_at.len() == limit);
        let numbers = self.entries.iter().filter(|(number, _)| {
            **number > after.number && through.is_none_or(|through| **number <= through.number)
        });
        let replayed: BTreeSet<_> = numbers
            .filter_map(|(_, entry)| match &entry.kind {
                WorkedKind::Replay(meta) => Some(meta.endpoint.clone()),
                _ => None,
            })
            .collect();
        OwnersPage {
            owners: looked_at.iter().filter_map(owned).collect(),
            replayed: replayed.into_iter().collect(),
            through,
        }
    }

    pub(super) fn same_body(
        &self,
        endpoint: &EndpointName,
        body: &[u8; 32],
        since: Timestamp,
    ) -> Option<EntryNumber> {
        let is_same = |entry: &KeptEntry| match &entry.kind {
            WorkedKind::Delivery { meta, body_sha256, remember_body, .. } => {
                *remember_body && meta.endpoint == *endpoint && body_sha256 == body
            }
            _ => false,
        };
        let (number, latest) = self.entries.iter().rev().find(|(_, entry)| is_same(entry))?;
        (latest.received_at >= since).then_some(*number)
    }

    fn generation(&self, event: &KeptEvent) -> u32 {
        let of_owner = || self.events.get(&event.owner?)?.owns;
        event.owns.or_else(of_owner).unwrap_or(0)
    }

    pub(super) fn replay_target(&self, at: EventRef) -> Option<ReplayTarget> {
        let target = self.events.get(&at)?;
        let generation = self.generation(target);
        let id = |event: &KeptEvent| {
            let identity = event.identity.as_ref()?;
            Some((identity.endpoint.clone(), identity.external_id.clone()?))
        };
        let is_same_fact = |(place, event): &(&EventRef, &KeptEvent)| match id(target) {
            Some(of_target) => id(event) == Some(of_target) && self.generation(event) == generation,
            None => **place == at,
        };
        let made: Vec<_> =
            self.events.iter().filter(is_same_fact).flat_map(|(_, event)| event.made.clone()).collect();
        let first =
            self.feed.iter().filter(|(event, repeats)| repeats.is_none() && made.contains(&event.number));
        let published = first.map(|(event, _)| event.clone()).collect();
        Some(ReplayTarget { at, outcome: target.outcome.kind(), generation, published })
    }

    pub(super) fn event_row(&self, at: EventRef, event: &KeptEvent) -> EventRow {
        let identity = event.identity.as_ref();
        let kind = event.outcome.kind();
        let repeats = matches!(kind, OutcomeKind::Duplicate | OutcomeKind::Conflict);
        let mut ids: Vec<String> = Vec::new();
        for number in &event.made {
            let known = usize::try_from(number.0 - 1).ok().and_then(|at| self.feed.get(at));
            let id = known.map(|(event, _)| event.id.clone()).filter(|id| !ids.contains(id));
            ids.extend(id);
        }
        EventRow {
            at,
            endpoint_name: event.endpoint.clone().unwrap_or_else(|| EndpointName::new("", "")),
            ordinal: at.ordinal,
            external_id: identity.and_then(|identity| identity.external_id.clone()),
            event_type: identity.map(|identity| identity.event_type.clone()),
            ordering_key: identity.map(|identity| identity.ordering_key.clone()),
            outcome: kind,
            reason: event.outcome.reason(),
            duplicate_of: event.owner.filter(|_| repeats).and_then(|owner| self.delivery_id(owner.number)),
            domain_events: ids,
        }
    }

    fn delivery_id(&self, number: EntryNumber) -> Option<DeliveryId> {
        match &self.entries.get(&number)?.kind {
            WorkedKind::Delivery { meta, .. } => Some(meta.id),
            WorkedKind::Replay(_) | WorkedKind::Learnt(_) | WorkedKind::Link(_) | WorkedKind::Damaged => None,
        }
    }

    pub(super) fn delivery_row(&self, number: EntryNumber) -> Option<DeliveryRow> {
        let entry = self.entries.get(&number)?;
        let WorkedKind::Delivery { meta, size, body_sha256, same_body_as, .. } = &entry.kind else {
            return None;
        };
        let place = |ordinal| EventRef { number, ordinal };
        let events = self.events.range(place(0)..=place(u32::MAX));
        Some(DeliveryRow {
            delivery: meta.id,
            number,
            partner: meta.endpoint.partner.to_string(),
            endpoint: meta.endpoint.endpoint.to_string(),
            received_at: entry.received_at,
            assurance: meta.assurance,
            secret_id: meta.secret_id.clone(),
            size: *size,
            body_sha256: hex::encode(body_sha256),
            same_body_as: *same_body_as,
            waiting: false,
            external_events: events.map(|(at, event)| self.event_row(*at, event)).collect(),
        })
    }

    fn is_meant(
        &self,
        filter: &DeliveryFilter,
        number: EntryNumber,
        endpoint: Option<&EndpointName>,
    ) -> bool {
        let received_at = self.entries.get(&number).map(|entry| entry.received_at);
        let is =
            |wanted: &Option<String>, found: Option<&str>| wanted.is_none() || wanted.as_deref() == found;
        is(&filter.partner, endpoint.map(|name| &*name.partner))
            && is(&filter.endpoint, endpoint.map(|name| &*name.endpoint))
            && filter.from.is_none_or(|from| received_at >= Some(from))
            && filter.to.is_none_or(|to| received_at < Some(to))
            && filter.before.is_none_or(|before| number < before)
            && filter.number.is_none_or(|only| number == only)
    }

    pub(super) fn events<'a>(&'a self, filter: &'a DeliveryFilter) -> impl Iterator<Item = EventRow> + 'a {
        let is = |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
        self.events
            .iter()
            .filter(|(at, event)| self.is_meant(filter, at.number, event.endpoint.as_ref()))
            .map(|(at, event)| self.event_row(*at, event))
            .filter(move |row| {
                is(&filter.external_id, &row.external_id)
                    && is(&filter.event_type, &row.event_type)
                    && filter.outcome.is_none_or(|outcome| outcome == row.outcome)
            })
    }

    pub(super) fn damaged(&self) -> impl Iterator<Item = DamagedEntry> + '_ {
        let damaged = self.events.iter().rev().filter(|(_, event)| event.endpoint.is_none());
        damaged.filter_map(|(at, event)| {
            let received_at = self.entries.get(&at.number)?.received_at;
            let reason = event.outcome.reason().unwrap_or_default();
            Some(DamagedEntry { number: at.number, received_at, reason })
        })
    }

    pub(super) fn deliveries(&self, filter: &DeliveryFilter) -> Page<DeliveryRow> {
        let of_events =
            filter.external_id.is_some() || filter.event_type.is_some() || filter.outcome.is_some();
        let meant: BTreeSet<EntryNumber> = if of_events {
            self.events(filter).map(|event| event.at.number).collect()
        } else {
            BTreeSet::new()
        };
        let rows = self.entries.keys().rev().filter_map(|number| self.delivery_row(*number));
        let mut items: Vec<_> = rows
            .filter(|row| {
                let endpoint = EndpointName::new(row.partner.as_str(), row.endpoint.as_str());
                self.is_meant(filter, row.number, Some(&endpoint))
                    && (!of_events || meant.contains(&row.number))
            })
            .take(filter.limit.saturating_add(1))
            .collect();
        let more = items.len() > filter.limit;
        items.truncate(filter.limit);
        let next = items.last().filter(|_| more).map(|row| row.number);
        Page { items, next }
    }

    pub(super) fn kept(&self, number: EntryNumber) -> Option<Kept> {
        Some(match &self.entries.get(&number)?.kind {
            WorkedKind::Delivery { meta, size, body_sha256, .. } => {
                Kept::Received { id: meta.id, size: *size, body_sha256: *body_sha256 }
            }
            WorkedKind::Replay(meta) => Kept::Replay { id: meta.id },
            WorkedKind::Learnt(meta) => Kept::Learnt { id: meta.id },
            WorkedKind::Link(meta) => Kept::Link { id: meta.id },
            WorkedKind::Damaged => Kept::Damaged,
        })
    }

    pub(super) fn conservation(&self) -> Conservation {
        let mut outcomes = BTreeMap::new();
        for event in self.events.values() {
            *outcomes.entry(event.outcome.kind()).or_insert(0) += 1;
        }
        let is_orphan = |at: &&EventRef| {
            self.entries.get(&at.number).is_none_or(|entry| matches!(entry.kind, WorkedKind::Replay(_)))
        };
        Conservation {
            worked: self.entries.len() as u64,
            highest_worked: self.entries.keys().last().copied().unwrap_or_default(),
            identified: self.entries.values().map(|entry| entry.identified).sum(),
            outcomes: outcomes.into_iter().collect(),
            domain_events: self.feed.len() as u64,
            last_event: self.last_event(),
            cursors: self.cursors.iter().map(|(name, through)| (name.to_string(), *through)).collect(),
            orphans: self.events.keys().filter(is_orphan).count() as u64,
        }
    }

    pub(super) fn publications(&self, filter: &PublicationFilter) -> Vec<PublicationRow> {
        let noted =
            self.brokers.iter().flat_map(|(name, (_, noted))| noted.values().map(move |it| (name, it)));
        let rows = noted.map(|(broker, publication)| self.publication_row(broker, publication));
        let mut rows: Vec<_> = rows.filter(|row| self.is_meant_publication(filter, row)).collect();
        rows.sort_by_key(|row| (Reverse(row.event), row.broker.clone()));
        rows.truncate(filter.limit);
        rows
    }

    fn is_meant_publication(&self, filter: &PublicationFilter, row: &PublicationRow) -> bool {
        let is_made_by = |number: EntryNumber| {
            let mut made = self.events.iter().filter(|(at, _)| at.number == number);
            made.any(|(_, event)| event.made.contains(&row.event))
        };
        filter.broker.as_ref().is_none_or(|broker| *broker == row.broker)
            && filter.position.as_ref().is_none_or(|position| Some(position) == row.position.as_ref())
            && filter.event.is_none_or(|event| event == row.event)
            && filter.refused.is_none_or(|refused| refused == row.refused.is_some())
            && filter.delivery.is_none_or(is_made_by)
            && filter.end(&row.broker).is_none_or(|end| row.event.0 < end)
    }

    fn publication_row(&self, broker: &str, publication: &Publication) -> PublicationRow {
        let (event, position, refused) = match publication {
            Publication::Placed { event, position } => (*event, Some(position.clone()), None),
            Publication::DeadLetter { event, reason } => (*event, None, Some(reason.clone())),
        };
        let known = self.feed.iter().map(|(known, _)| known).find(|known| known.number == event);
        let external = known.and_then(|known| self.events.get(&known.made_from));
        PublicationRow {
            broker: broker.to_owned(),
            position,
            refused,
            event,
            id: known.map(|event| event.id.clone()),
            event_type: known.map(|event| event.event_type.clone()),
            partition_key: known.map(|event| event.partition_key.clone()),
            delivery: known.and_then(|event| self.delivery_id(event.made_from.number)),
            ordinal: known.map(|event| event.made_from.ordinal),
            external_id: external.and_then(|event| event.identity.as_ref()?.external_id.clone()),
        }
    }

    pub(super) fn broker_state(&self, name: &str) -> Option<BrokerState> {
        let (cursor, publications) = self.brokers.get(name)?;
        let refused = |publication: &&Publication| matches!(publication, Publication::DeadLetter { .. });
        let dead_letters = publications.values().filter(refused).count() as u64;
        Some(BrokerState { name: name.to_owned(), cursor: *cursor, dead_letters })
    }
}

trait Identified {
    fn is(&self, endpoint: &EndpointName, id: &str) -> bool;
}

impl Identified for IdentifiedEvent {
    fn is(&self, endpoint: &EndpointName, id: &str) -> bool {
        self.endpoint == *endpoint && self.external_id.as_deref() == Some(id)
    }
}
