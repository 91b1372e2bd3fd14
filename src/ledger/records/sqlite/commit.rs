//! Room `ledger`, SQLite records: the transaction of stage 1. Writes what the stage decided; decides nothing itself
//! but what would contradict the ledger: a number worked twice, a cursor that goes back, a repeat of nothing.

use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use super::{
    columns::{Count, Place},
    confirmations,
    names::Names,
    seen::{Kind, Sighting, hash},
    writer::Memory,
};
use crate::{
    ledger::{
        Confirmation, IdentifiedEvent, RecordsError, TranslationCommit, WorkedEntry, WorkedEvent, WorkedKind,
        records::columns::{
            DAMAGED, DELIVERY, DeliveryColumns, LEARNT, LINK, REPLAY, belongs_elsewhere, brokers_column,
            no_such_event, whole,
        },
    },
    model::{
        DeliveryId, EndpointName, EntryNumber, EventNumber, LearntMeta, Outcome, OutcomeKind, StoredEvent,
    },
};

/// Writes one commit; returns the highest event number.
pub(super) fn commit(
    connection: &Connection,
    memory: &mut Memory,
    commit: &TranslationCommit,
) -> Result<EventNumber, RecordsError> {
    let mut batch = Batch {
        connection,
        statements: Statements::prepare(connection)?,
        names: &mut memory.names,
        last_event: memory.last_event,
        sightings: Vec::with_capacity(commit.entries.len()),
    };
    for entry in &commit.entries {
        batch.entry(entry)?;
    }
    for cursor in &commit.cursors {
        batch.advance(&cursor.endpoint, cursor.through)?;
    }
    let Batch { last_event, sightings, .. } = batch;
    memory.last_event = last_event;
    memory.seen.remember(connection, &sightings)?;
    Ok(last_event)
}

/// The statements of every delivery, looked up once a batch.
struct Statements<'c> {
    entry: CachedStatement<'c>,
    event: CachedStatement<'c>,
    domain_event: CachedStatement<'c>,
}

impl<'c> Statements<'c> {
    fn prepare(connection: &'c Connection) -> Result<Self, RecordsError> {
        Ok(Self {
            entry: connection.prepare_cached(
                "INSERT INTO entries (number, kind, received_at, endpoint, id, events, assurance, secret, size, \
                 body_sha256, same_body_as) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) \
                 ON CONFLICT (number) DO NOTHING",
            )?,
            event: connection.prepare_cached(
                "INSERT INTO external_events (place, endpoint, external_id, event_type, ordering_key, \
                 identity_digest, generation, owner, outcome, reason, revision, first_event, domain_events, replays) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, 0)",
            )?,
            domain_event: connection.prepare_cached(
                "INSERT INTO domain_events (number, id, event_type, partition_key, endpoint, made_from, revision, \
                 brokers, repeats, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?,
        })
    }
}

/// How an event ended, in columns.
pub(super) struct Ending {
    /// Which of the six.
    pub(super) outcome: OutcomeKind,
    /// Why.
    pub(super) reason: Option<String>,
    /// The owner it was a duplicate of or in conflict with.
    pub(super) owner: Option<Place>,
    /// The desk that decided.
    pub(super) revision: Option<i64>,
    /// The number of its first domain event.
    pub(super) first_event: Option<EventNumber>,
    /// How many domain events it became.
    pub(super) domain_events: usize,
}

/// A commit being written.
pub(super) struct Batch<'c, 'm> {
    /// The transaction.
    pub(super) connection: &'c Connection,
    statements: Statements<'c>,
    names: &'m mut Names,
    last_event: EventNumber,
    sightings: Vec<Sighting>,
}

impl Batch<'_, '_> {
    fn entry(&mut self, entry: &WorkedEntry) -> Result<(), RecordsError> {
        match &entry.kind {
            WorkedKind::Delivery { meta, .. } => {
                self.entry_row(entry, DELIVERY, Some((&meta.endpoint, meta.id)))?;
                self.remember_body(entry.number, &entry.kind)?;
                entry
                    .events
                    .iter()
                    .try_for_each(|event| self.new_event(entry.number, Some(&meta.endpoint), event))
            }
            WorkedKind::Replay(meta) => {
                self.entry_row(entry, REPLAY, Some((&meta.endpoint, meta.id)))?;
                entry.events.iter().try_for_each(|event| self.work_again(entry.number, &meta.endpoint, event))
            }
            WorkedKind::Learnt(meta) => {
                self.entry_row(entry, LEARNT, Some((&meta.endpoint, meta.id)))?;
                self.learnt(entry, meta)
            }
            WorkedKind::Link(meta) => {
                self.entry_row(entry, LINK, Some((&meta.endpoint, meta.id)))?;
                let asked = Confirmation::asked((entry.number, entry.received_at), meta);
                confirmations::keep(self.connection, &asked)
            }
            // Several readers can meet the same damage: whoever comes first works it.
            WorkedKind::Damaged if self.is_worked(entry.number)? => Ok(()),
            WorkedKind::Damaged => {
                self.entry_row(entry, DAMAGED, None)?;
                entry.events.iter().try_for_each(|event| self.new_event(entry.number, None, event))
            }
        }
    }

    fn learnt(&self, entry: &WorkedEntry, meta: &LearntMeta) -> Result<(), RecordsError> {
        let sql = "INSERT INTO learnt_secrets (number, learnt_at, id, partner, endpoint, secret, sealed) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        self.connection.prepare_cached(sql)?.execute(params![
            entry.number,
            entry.received_at,
            meta.id,
            &*meta.endpoint.partner,
            &*meta.endpoint.endpoint,
            meta.secret_id,
            meta.sealed
        ])?;
        Ok(())
    }

    fn is_worked(&self, number: EntryNumber) -> Result<bool, RecordsError> {
        Ok(self.connection.prepare_cached("SELECT 1 FROM entries WHERE number = ?1")?.exists([number])?)
    }

    fn entry_row(
        &mut self,
        entry: &WorkedEntry,
        kind: i16,
        origin: Option<(&EndpointName, DeliveryId)>,
    ) -> Result<(), RecordsError> {
        let endpoint = origin.map(|(name, _)| self.names.endpoint(self.connection, name)).transpose()?;
        let identified_here = if kind == REPLAY { 0 } else { entry.events.len() };
        let delivery = DeliveryColumns::from(&entry.kind);
        let written = self.statements.entry.execute(params![
            entry.number,
            kind,
            entry.received_at,
            endpoint,
            origin.map(|(_, id)| id),
            whole(identified_here),
            delivery.assurance,
            delivery.secret,
            delivery.size.map(Count),
            delivery.body_sha256,
            delivery.same_body_as,
        ])?;
        match written {
            0 => Err(RecordsError::Stale(format!("entry {} was already worked", entry.number))),
            _ => Ok(()),
        }
    }

    fn remember_body(&mut self, number: EntryNumber, kind: &WorkedKind) -> Result<(), RecordsError> {
        if let WorkedKind::Delivery { meta, body_sha256, remember_body: true, .. } = kind {
            let place = Place::first_of(number).integer()?;
            self.sightings.push(Sighting {
                hash: hash(&meta.endpoint, body_sha256),
                kind: Kind::Body,
                place,
            });
        }
        Ok(())
    }

    /// Writes an event that has no row yet. `number` is the entry it must belong to, `endpoint` where that came in.
    pub(super) fn new_event(
        &mut self,
        number: EntryNumber,
        endpoint: Option<&EndpointName>,
        worked: &WorkedEvent,
    ) -> Result<(), RecordsError> {
        if worked.at.number != number {
            return Err(belongs_elsewhere(number, worked.at));
        }
        let ending = self.ending(worked)?;
        let event = worked.event.as_ref();
        let endpoint = event.map(|event| &event.endpoint).or(endpoint);
        let endpoint = endpoint.map(|name| self.names.endpoint(self.connection, name)).transpose()?;
        self.statements.event.execute(params![
            Place(worked.at),
            endpoint,
            event.and_then(|event| event.external_id.as_ref()),
            event.map(|event| &event.event_type),
            event.map(|event| &event.ordering_key),
            event.map(|event| event.identity_digest),
            worked.owns,
            ending.owner,
            ending.outcome,
            ending.reason,
            ending.revision,
            ending.first_event,
            whole(ending.domain_events),
        ])?;
        self.remember_id(worked)
    }

    /// Remembers where an external id was seen.
    pub(super) fn remember_id(&mut self, worked: &WorkedEvent) -> Result<(), RecordsError> {
        if let Some(IdentifiedEvent { endpoint, external_id: Some(id), .. }) = &worked.event {
            let kind = if worked.owns.is_some() { Kind::Owner } else { Kind::Event };
            let place = Place(worked.at).integer()?;
            self.sightings.push(Sighting { hash: hash(endpoint, id.as_bytes()), kind, place });
        }
        Ok(())
    }

    /// Writes the domain events of an outcome, and says how it ended.
    pub(super) fn ending(&mut self, worked: &WorkedEvent) -> Result<Ending, RecordsError> {
        let outcome = &worked.outcome;
        let events = match outcome {
            Outcome::Translated { events } => events.as_slice(),
            _ => &[],
        };
        let first_event = events.first().map(|_| self.last_event.next());
        events.iter().try_for_each(|event| self.domain_event(event))?;
        let revision = worked.revision.as_ref();
        Ok(Ending {
            outcome: outcome.kind(),
            reason: outcome.reason(),
            owner: match outcome {
                Outcome::Duplicate { of } => Some(Place(*of)),
                Outcome::Conflict { with } => Some(Place(*with)),
                _ => None,
            },
            revision: revision.map(|name| self.names.revision(self.connection, name)).transpose()?,
            first_event,
            domain_events: events.len(),
        })
    }

    fn domain_event(&mut self, event: &StoredEvent) -> Result<(), RecordsError> {
        let repeats = match event.number {
            EventNumber(0) => None,
            number => Some(self.first_appearance(number, &event.id)?),
        };
        let number = self.last_event.next();
        self.statements.domain_event.execute(params![
            number,
            event.id,
            self.names.event_type(self.connection, &event.event_type)?,
            event.partition_key,
            self.names.endpoint(self.connection, &event.endpoint)?,
            Place(event.made_from),
            self.names.revision(self.connection, &event.revision)?,
            brokers_column(&event.brokers),
            repeats,
            repeats.is_none().then_some(event.body.as_ref()),
        ])?;
        self.last_event = number;
        Ok(())
    }

    /// The event whose bytes `number` has: itself, or what it repeats.
    fn first_appearance(&self, number: EventNumber, id: &str) -> Result<EventNumber, RecordsError> {
        let sql = "SELECT COALESCE(repeats, number) FROM domain_events WHERE number = ?1 AND id = ?2";
        let first = self.connection.prepare_cached(sql)?.query_row(params![number, id], |row| row.get(0));
        first.optional()?.ok_or_else(|| no_such_event(number, id))
    }

    fn advance(&mut self, endpoint: &EndpointName, through: EntryNumber) -> Result<(), RecordsError> {
        let sql = "INSERT INTO cursors (endpoint, through) VALUES (?1, ?2) \
                   ON CONFLICT (endpoint) DO UPDATE SET through = excluded.through \
                   WHERE excluded.through >= through";
        let id = self.names.endpoint(self.connection, endpoint)?;
        match self.connection.prepare_cached(sql)?.execute(params![id, through])? {
            0 => Err(RecordsError::Stale(format!("the cursor of {endpoint} is beyond {through}"))),
            _ => Ok(()),
        }
    }
}
