//! Room `ledger`, SQLite records: earlier events worked again. What a replay needs to know of them, and how a new
//! outcome takes the place of the latest one without losing it.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    columns::Place,
    commit::Batch,
    feed::{STORED_EVENT, numbers_made_from, stored_event},
    seen::hash,
    writer::Memory,
};
use crate::{
    ledger::{RecordsError, ReplayTarget, WorkedEvent, records::columns::whole},
    model::{EndpointName, EntryNumber, EventRef, StoredEvent},
};

impl Batch<'_, '_> {
    /// Gives an earlier event a new outcome. A place that has no row yet (the first attempt could not split the
    /// delivery) gets one.
    pub(super) fn work_again(
        &mut self,
        by: EntryNumber,
        endpoint: &EndpointName,
        worked: &WorkedEvent,
    ) -> Result<(), RecordsError> {
        if !self.supersede(by, worked)? {
            return self.event_found_late(endpoint, worked);
        }
        let ending = self.ending(worked)?;
        let update = "UPDATE external_events SET outcome = ?2, reason = ?3, revision = ?4, first_event = ?5, \
                      domain_events = ?6, owner = COALESCE(?7, owner), replays = replays + 1 WHERE place = ?1";
        self.connection.prepare_cached(update)?.execute(params![
            Place(worked.at),
            ending.outcome,
            ending.reason,
            ending.revision,
            ending.first_event,
            whole(ending.domain_events),
            ending.owner,
        ])?;
        self.identify(worked)
    }

    /// Sets the latest outcome aside; `false` when there is none.
    fn supersede(&self, by: EntryNumber, worked: &WorkedEvent) -> Result<bool, RecordsError> {
        let sql = "INSERT INTO superseded (place, replay, by, outcome, reason, revision, first_event, domain_events) \
                   SELECT place, replays + 1, ?2, outcome, reason, revision, first_event, domain_events \
                   FROM external_events WHERE place = ?1";
        Ok(self.connection.prepare_cached(sql)?.execute(params![Place(worked.at), by])? > 0)
    }

    fn event_found_late(
        &mut self,
        endpoint: &EndpointName,
        worked: &WorkedEvent,
    ) -> Result<(), RecordsError> {
        let number = worked.at.number;
        let sql = "UPDATE entries SET events = events + 1 WHERE number = ?1 AND kind = 0";
        match self.connection.prepare_cached(sql)?.execute([number])? {
            0 => Err(RecordsError::Refused(format!("{} is not a place of a worked delivery", worked.at))),
            _ => self.new_event(number, Some(endpoint), worked),
        }
    }

    /// Keeps what was identified where the first attempt found no external id, or when the event claims its id only now.
    /// Otherwise what is known does not change: verdicts were taken on it.
    fn identify(&mut self, worked: &WorkedEvent) -> Result<(), RecordsError> {
        let Some(event) = &worked.event else { return Ok(()) };
        let sql = "UPDATE external_events SET external_id = ?2, event_type = ?3, ordering_key = ?4, \
                   identity_digest = ?5, generation = ?6 \
                   WHERE place = ?1 AND (external_id IS NULL OR ?6 IS NOT NULL)";
        let identified = self.connection.prepare_cached(sql)?.execute(params![
            Place(worked.at),
            event.external_id,
            event.event_type,
            event.ordering_key,
            event.identity_digest,
            worked.owns,
        ])?;
        if identified > 0 { self.remember_id(worked) } else { Ok(()) }
    }
}

/// What a replay needs of the events it names; unknown places are left out.
pub(super) fn targets(
    connection: &Connection,
    memory: &Memory,
    events: &[EventRef],
) -> Result<Vec<ReplayTarget>, RecordsError> {
    let targets = events.iter().map(|at| target(connection, memory, *at));
    targets.filter_map(Result::transpose).collect()
}

fn target(
    connection: &Connection,
    memory: &Memory,
    at: EventRef,
) -> Result<Option<ReplayTarget>, RecordsError> {
    let sql = "SELECT x.outcome, COALESCE(x.generation, o.generation, 0), x.external_id, p.partner, p.endpoint \
               FROM external_events x LEFT JOIN endpoints p ON p.id = x.endpoint \
               LEFT JOIN external_events o ON o.place = x.owner WHERE x.place = ?1";
    let row = connection.prepare_cached(sql)?.query_row([Place(at)], |row| {
        let id: Option<(String, EndpointName)> = match (row.get(2)?, row.get::<_, Option<String>>(3)?) {
            (Some(id), Some(partner)) => Some((id, EndpointName::new(partner, row.get::<_, String>(4)?))),
            _ => None,
        };
        Ok((row.get(0)?, row.get(1)?, id))
    });
    let Some((outcome, generation, id)) = row.optional()? else { return Ok(None) };
    let places = match id {
        Some((id, endpoint)) => same_fact(connection, memory, (&endpoint, &id), generation)?,
        None => BTreeSet::from([Place(at).integer()?]),
    };
    let mut published = Vec::new();
    for place in places {
        published.extend(first_appearances(connection, place)?);
    }
    published.sort_by_key(|event: &StoredEvent| event.number);
    Ok(Some(ReplayTarget { at, outcome, generation, published }))
}

/// The places of the external events that share id and generation and were ever translated.
fn same_fact(
    connection: &Connection,
    memory: &Memory,
    (endpoint, id): (&EndpointName, &str),
    generation: u32,
) -> Result<BTreeSet<i64>, RecordsError> {
    let Some(endpoint_id) = memory.names.known_endpoint(endpoint) else { return Ok(BTreeSet::new()) };
    let sql = "SELECT 1 FROM external_events x LEFT JOIN external_events o ON o.place = x.owner \
               WHERE x.place = ?1 AND x.endpoint = ?2 AND x.external_id = ?3 \
               AND COALESCE(x.generation, o.generation, 0) = ?4 AND (x.domain_events > 0 OR x.replays > 0)";
    let mut statement = connection.prepare_cached(sql)?;
    let mut places = memory.seen.events(connection, hash(endpoint, id.as_bytes()))?;
    let mut failed = None;
    places.retain(|place| {
        statement.exists(params![place, endpoint_id, id, generation]).unwrap_or_else(|error| {
            failed = Some(error);
            false
        })
    });
    failed.map_or(Ok(places), |error| Err(error.into()))
}

fn first_appearances(connection: &Connection, place: i64) -> Result<Vec<StoredEvent>, RecordsError> {
    let sql = format!("{STORED_EVENT} WHERE d.number >= ?1 AND d.number < ?2 AND d.repeats IS NULL");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut events = Vec::new();
    for (first, end) in numbers_made_from(connection, place)? {
        events
            .extend(statement.query_map([first, end], stored_event)?.collect::<rusqlite::Result<Vec<_>>>()?);
    }
    Ok(events)
}
