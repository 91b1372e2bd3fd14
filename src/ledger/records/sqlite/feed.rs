//! Room `ledger`, SQLite records: the feed, domain events in order. Serves stored bytes, never makes any.

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Connection, Row, ToSql};

use super::{SqliteRecords, columns::Place};
use crate::{
    ledger::{
        EventFilter, FeedRecords, RecordsError,
        records::columns::{MAX_ANSWER_BYTES, brokers_of},
    },
    model::{EndpointName, EventNumber, Revision, StoredEvent},
};

/// Selects what [`stored_event`] reads; `d` is the event itself. `CROSS JOIN` fixes the order: events first, in theirs.
pub(super) const STORED_EVENT: &str = "SELECT d.number, d.id, t.name, d.partition_key, p.partner, p.endpoint, d.made_from, r.revision, d.brokers, \
     COALESCE(d.body, f.body) FROM domain_events d CROSS JOIN event_types t ON t.id = d.event_type \
     CROSS JOIN endpoints p ON p.id = d.endpoint CROSS JOIN revisions r ON r.id = d.revision \
     LEFT JOIN domain_events f ON f.number = d.repeats";

#[async_trait]
impl FeedRecords for SqliteRecords {
    async fn last_event(&self) -> Result<EventNumber, RecordsError> {
        self.read(last_event).await
    }

    async fn first_event(&self) -> Result<EventNumber, RecordsError> {
        let sql = "SELECT COALESCE(min(number), 1) FROM domain_events";
        self.read(|connection| Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?)).await
    }

    async fn events_after(
        &self,
        after: EventNumber,
        limit: usize,
        filter: &EventFilter,
    ) -> Result<Vec<StoredEvent>, RecordsError> {
        let filter = filter.clone();
        self.read(move |connection| events_after(connection, after, limit, &filter)).await
    }
}

/// The highest committed event number; 0 when there is none.
pub(super) fn last_event(connection: &Connection) -> Result<EventNumber, RecordsError> {
    let sql = "SELECT COALESCE(max(number), 0) FROM domain_events";
    Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

fn events_after(
    connection: &Connection,
    after: EventNumber,
    limit: usize,
    filter: &EventFilter,
) -> Result<Vec<StoredEvent>, RecordsError> {
    let mut sql = format!("{STORED_EVENT} WHERE d.number > ?");
    let mut values: Vec<&dyn ToSql> = vec![&after];
    if let Some(name) = &filter.event_type {
        sql += " AND d.event_type = (SELECT id FROM event_types WHERE name = ?)";
        values.push(name);
    }
    if let Some(partner) = &filter.partner {
        sql += " AND d.endpoint IN (SELECT id FROM endpoints WHERE partner = ?)";
        values.push(partner);
    }
    sql += " ORDER BY d.number";
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(values.as_slice(), stored_event)?;
    let mut bytes = 0;
    let mut events = Vec::new();
    for event in rows.take(limit) {
        let event = event?;
        bytes += event.body.len();
        events.push(event);
        if bytes >= MAX_ANSWER_BYTES {
            break;
        }
    }
    Ok(events)
}

/// Reads a row of [`STORED_EVENT`].
pub(super) fn stored_event(row: &Row<'_>) -> rusqlite::Result<StoredEvent> {
    let Place(made_from) = row.get(6)?;
    let brokers: Option<String> = row.get(8)?;
    let brokers = brokers_of(brokers.as_deref().map(str::as_bytes));
    let unreadable =
        |error| rusqlite::Error::FromSqlConversionFailure(8, rusqlite::types::Type::Text, Box::new(error));
    Ok(StoredEvent {
        number: row.get(0)?,
        id: row.get(1)?,
        event_type: row.get(2)?,
        partition_key: row.get(3)?,
        endpoint: EndpointName::new(row.get::<_, String>(4)?, row.get::<_, String>(5)?),
        made_from,
        revision: Revision(row.get(7)?),
        brokers: brokers.map_err(unreadable)?,
        body: Bytes::from(row.get::<_, Vec<u8>>(9)?),
    })
}

/// The numbers of the domain events made from an external event, replays included, oldest first: each pair is the
/// first number and the one after the last.
pub(super) fn numbers_made_from(
    connection: &Connection,
    place: i64,
) -> Result<Vec<(i64, i64)>, RecordsError> {
    let sql = "SELECT first_event, first_event + domain_events FROM external_events \
               WHERE place = ?1 AND domain_events > 0 \
               UNION ALL SELECT first_event, first_event + domain_events FROM superseded \
               WHERE place = ?1 AND domain_events > 0 ORDER BY 1";
    let mut statement = connection.prepare_cached(sql)?;
    let numbers = statement.query_map([place], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(numbers.collect::<rusqlite::Result<_>>()?)
}
