//! Room `ledger`, PostgreSQL records: the rows of a commit as arrays, one an SQL parameter. Knows what a row is and not
//! where it comes from.

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::pipeline::Step;
use crate::{
    ledger::{
        IdentifiedEvent, RecordsError, WorkedEntry, WorkedEvent,
        records::columns::{
            DeliveryColumns, TooLarge, assurance_code, brokers_column, entry_integer, integer, outcome_code,
            place,
        },
    },
    model::{DeliveryId, Outcome, StoredEvent, Timestamp},
};

type Values<'a> = Vec<&'a (dyn ToSql + Sync)>;

/// A count that was in memory, for a column.
fn small(count: usize) -> Result<i32, TooLarge> {
    i32::try_from(count).map_err(|_| TooLarge(count as u64))
}

/// Rows of `entries`.
#[derive(Default)]
pub(super) struct Entries<'a> {
    numbers: Vec<i64>,
    kinds: Vec<i16>,
    times: Vec<i64>,
    endpoints: Vec<i32>,
    ids: Vec<Option<Uuid>>,
    identified: Vec<i32>,
    assurances: Vec<Option<i16>>,
    secrets: Vec<Option<&'a [u8]>>,
    sizes: Vec<Option<i64>>,
    bodies: Vec<Option<&'a [u8]>>,
    same_bodies: Vec<Option<i64>>,
    remembered: Vec<bool>,
}

impl<'a> Entries<'a> {
    /// Adds an entry of an endpoint; `identified` external events count as found in it.
    pub(super) fn push(
        &mut self,
        entry: &'a WorkedEntry,
        (kind, endpoint, id): (i16, i32, DeliveryId),
        (identified, remembered): (usize, bool),
    ) -> Result<(), RecordsError> {
        let delivery = DeliveryColumns::from(&entry.kind);
        self.numbers.push(entry_integer(entry.number)?);
        self.kinds.push(kind);
        self.times.push(entry.received_at.micros());
        self.endpoints.push(endpoint);
        self.ids.push(Some(id.0));
        self.identified.push(small(identified)?);
        self.assurances.push(delivery.assurance.map(assurance_code));
        self.secrets.push(delivery.secret.map(str::as_bytes));
        self.sizes.push(delivery.size.map(integer).transpose()?);
        self.bodies.push(delivery.body_sha256.map(<[u8; 32]>::as_slice));
        self.same_bodies.push(delivery.same_body_as.map(entry_integer).transpose()?);
        self.remembered.push(remembered);
        Ok(())
    }

    /// The step that keeps them, if there are any.
    pub(super) fn step(&self) -> Option<Step<'_>> {
        let parameters: Values<'_> = vec![
            &self.numbers,
            &self.kinds,
            &self.times,
            &self.endpoints,
            &self.ids,
            &self.identified,
            &self.assurances,
            &self.secrets,
            &self.sizes,
            &self.bodies,
            &self.same_bodies,
            &self.remembered,
        ];
        let sql = "SELECT keep_entries($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
        (!self.numbers.is_empty()).then_some(Step { sql, parameters })
    }
}

/// External events with how they ended: new ones, or earlier ones worked again.
#[derive(Default)]
pub(super) struct Events<'a> {
    /// When the entries of new ones were accepted.
    times: Vec<i64>,
    /// The replays that worked earlier ones again.
    bys: Vec<i64>,
    identified: Vec<bool>,
    places: Vec<i64>,
    endpoints: Vec<i32>,
    external_ids: Vec<Option<&'a [u8]>>,
    event_types: Vec<Option<&'a [u8]>>,
    ordering_keys: Vec<Option<&'a [u8]>>,
    digests: Vec<Option<&'a [u8]>>,
    generations: Vec<Option<i64>>,
    owners: Vec<Option<i64>>,
    outcomes: Vec<i16>,
    reasons: Vec<Option<Vec<u8>>>,
    revisions: Vec<Option<i32>>,
    counts: Vec<i32>,
}

impl<'a> Events<'a> {
    /// Adds an event of an entry that was accepted at `received_at`.
    pub(super) fn push_new(
        &mut self,
        received_at: Timestamp,
        ids: (i32, Option<i32>),
        worked: &'a WorkedEvent,
    ) -> Result<(), RecordsError> {
        self.times.push(received_at.micros());
        self.push(ids, worked)
    }

    /// Adds an event that the entry `by` works again.
    pub(super) fn push_again(
        &mut self,
        by: &WorkedEntry,
        ids: (i32, Option<i32>),
        worked: &'a WorkedEvent,
    ) -> Result<(), RecordsError> {
        self.bys.push(entry_integer(by.number)?);
        self.identified.push(worked.event.is_some());
        self.push(ids, worked)
    }

    fn push(
        &mut self,
        (endpoint, revision): (i32, Option<i32>),
        worked: &'a WorkedEvent,
    ) -> Result<(), RecordsError> {
        let event = worked.event.as_ref();
        let bytes = |word: fn(&IdentifiedEvent) -> Option<&str>| event.and_then(word).map(str::as_bytes);
        self.places.push(place(worked.at)?);
        self.endpoints.push(endpoint);
        self.external_ids.push(bytes(|event| event.external_id.as_deref()));
        self.event_types.push(bytes(|event| Some(&event.event_type)));
        self.ordering_keys.push(bytes(|event| Some(&event.ordering_key)));
        self.digests.push(event.map(|event| event.identity_digest.as_slice()));
        self.generations.push(worked.owns.map(i64::from));
        let (owner, made) = match &worked.outcome {
            Outcome::Duplicate { of } => (Some(*of), 0),
            Outcome::Conflict { with } => (Some(*with), 0),
            Outcome::Translated { events } => (None, events.len()),
            _ => (None, 0),
        };
        self.owners.push(owner.map(place).transpose()?);
        self.outcomes.push(outcome_code(worked.outcome.kind()));
        self.reasons.push(worked.outcome.reason().map(String::into_bytes));
        self.revisions.push(revision);
        self.counts.push(small(made)?);
        Ok(())
    }

    /// The step that keeps new ones, if there are any.
    pub(super) fn step_of_new(&self) -> Option<Step<'_>> {
        let mut parameters: Values<'_> = vec![&self.places, &self.times];
        parameters.extend(self.common());
        let sql = "SELECT keep_events($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
        (!self.places.is_empty()).then_some(Step { sql, parameters })
    }

    /// The step that gives earlier ones their new outcomes, if there are any.
    pub(super) fn step_of_again(&self) -> Option<Step<'_>> {
        let mut parameters: Values<'_> = vec![&self.bys, &self.identified, &self.places];
        parameters.extend(self.common());
        let sql = "SELECT work_again($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
        (!self.places.is_empty()).then_some(Step { sql, parameters })
    }

    fn common(&self) -> [&(dyn ToSql + Sync); 11] {
        [
            &self.endpoints,
            &self.external_ids,
            &self.event_types,
            &self.ordering_keys,
            &self.digests,
            &self.generations,
            &self.owners,
            &self.outcomes,
            &self.reasons,
            &self.revisions,
            &self.counts,
        ]
    }
}

/// Damaged entries with what they count as.
#[derive(Default)]
pub(super) struct Damage {
    numbers: Vec<i64>,
    times: Vec<i64>,
    counts: Vec<i32>,
    places: Vec<i64>,
    outcomes: Vec<i16>,
    reasons: Vec<Option<Vec<u8>>>,
}

impl Damage {
    /// Adds a damaged entry.
    pub(super) fn push(&mut self, entry: &WorkedEntry) -> Result<(), RecordsError> {
        self.numbers.push(entry_integer(entry.number)?);
        self.times.push(entry.received_at.micros());
        self.counts.push(small(entry.events.len())?);
        for worked in &entry.events {
            self.places.push(place(worked.at)?);
            self.outcomes.push(outcome_code(worked.outcome.kind()));
            self.reasons.push(worked.outcome.reason().map(String::into_bytes));
        }
        Ok(())
    }

    /// The step that keeps what nobody worked before, if there is any.
    pub(super) fn step(&self) -> Option<Step<'_>> {
        let parameters: Values<'_> =
            vec![&self.numbers, &self.times, &self.counts, &self.places, &self.outcomes, &self.reasons];
        let sql = "SELECT keep_damage($1, $2, $3, $4, $5, $6)";
        (!self.numbers.is_empty()).then_some(Step { sql, parameters })
    }
}

/// The ids of the words of a domain event.
pub(super) struct Words {
    /// Its type's.
    pub(super) event_type: i32,
    /// Its endpoint's.
    pub(super) endpoint: i32,
    /// Its revision's.
    pub(super) revision: i32,
}

/// The event that a domain event repeats: its number, and how many bytes it has.
pub(super) type Repeated = Option<(i64, i32)>;

/// Rows of `domain_events`, in the order of their numbers.
#[derive(Default)]
pub(super) struct DomainEvents<'a> {
    ids: Vec<&'a [u8]>,
    types: Vec<i32>,
    partition_keys: Vec<&'a [u8]>,
    endpoints: Vec<i32>,
    made_bys: Vec<i64>,
    made_froms: Vec<i64>,
    revisions: Vec<i32>,
    brokers: Vec<Option<Vec<u8>>>,
    repeats: Vec<Option<i64>>,
    sizes: Vec<i32>,
    bodies: Vec<Option<&'a [u8]>>,
}

impl<'a> DomainEvents<'a> {
    /// Adds a domain event that is part of the outcome of `by`.
    pub(super) fn push(
        &mut self,
        (by, event): (&WorkedEvent, &'a StoredEvent),
        words: &Words,
        repeated: Repeated,
    ) -> Result<(), RecordsError> {
        self.ids.push(event.id.as_bytes());
        self.types.push(words.event_type);
        self.partition_keys.push(event.partition_key.as_bytes());
        self.endpoints.push(words.endpoint);
        self.made_bys.push(place(by.at)?);
        self.made_froms.push(place(event.made_from)?);
        self.revisions.push(words.revision);
        self.brokers.push(brokers_column(&event.brokers).map(String::into_bytes));
        self.repeats.push(repeated.map(|(number, _)| number));
        self.sizes.push(repeated.map_or_else(|| small(event.body.len()), |(_, size)| Ok(size))?);
        self.bodies.push(repeated.is_none().then_some(event.body.as_ref()));
        Ok(())
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The step that numbers and keeps them; it gives the highest number also when there are none.
    pub(super) fn step<'s>(&'s self, now: &'s i64) -> Step<'s> {
        let parameters: Values<'_> = vec![
            now,
            &self.ids,
            &self.types,
            &self.partition_keys,
            &self.endpoints,
            &self.made_bys,
            &self.made_froms,
            &self.revisions,
            &self.brokers,
            &self.repeats,
            &self.sizes,
            &self.bodies,
        ];
        let sql = "SELECT keep_domain_events($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
        Step { sql, parameters }
    }
}

/// How far endpoints have been worked.
#[derive(Default)]
pub(super) struct Cursors {
    endpoints: Vec<i32>,
    throughs: Vec<i64>,
    epochs: Vec<i64>,
}

impl Cursors {
    /// Moves the cursor of an endpoint by leave of an epoch. Named twice, its later place counts.
    pub(super) fn push(&mut self, endpoint: i32, through: i64, epoch: i64) -> Result<(), RecordsError> {
        let again = self.endpoints.iter().position(|known| *known == endpoint);
        match again.and_then(|index| self.throughs.get_mut(index)) {
            Some(known) if *known > through => {
                Err(RecordsError::Stale(format!("a cursor is beyond {through} already")))
            }
            Some(known) => {
                *known = through;
                Ok(())
            }
            None => {
                self.endpoints.push(endpoint);
                self.throughs.push(through);
                self.epochs.push(epoch);
                Ok(())
            }
        }
    }

    /// The step that moves them, if there are any.
    pub(super) fn step(&self) -> Option<Step<'_>> {
        let parameters: Values<'_> = vec![&self.endpoints, &self.throughs, &self.epochs];
        let sql = "SELECT advance_cursors($1, $2, $3)";
        (!self.endpoints.is_empty()).then_some(Step { sql, parameters })
    }
}
