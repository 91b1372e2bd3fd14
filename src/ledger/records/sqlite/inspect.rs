//! Room `ledger`, SQLite records: what people ask: deliveries, their events, what is open. Reads only.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params, params_from_iter};

use super::{
    SqliteRecords,
    columns::{Count, Place},
    conservation::{check, conservation},
    feed::numbers_made_from,
    publication, published, search,
};
use crate::{
    ledger::{
        Conservation, DamagedEntry, DeliveryFilter, DeliveryRow, EventRow, InspectRecords, Kept, Page,
        PublicationFilter, PublicationRow, RecordsError,
        records::columns::{DELIVERY, LEARNT, LINK, REPLAY, whole},
    },
    model::{DeliveryId, EndpointName, EntryNumber, EventNumber, EventRef, Incarnation, OutcomeKind},
};

const DELIVERY_ROW: &str = "SELECT e.number, e.id, p.partner, p.endpoint, e.received_at, e.assurance, e.secret, \
     e.size, e.body_sha256, e.same_body_as FROM entries e JOIN endpoints p ON p.id = e.endpoint WHERE";

/// Selects what [`event_row`] reads of an external event `x` and its endpoint `p`.
const EVENT_ROW: &str = "SELECT x.place, p.partner, p.endpoint, x.external_id, x.event_type, x.ordering_key, \
     x.outcome, x.reason, (SELECT id FROM entries WHERE number = x.owner >> 16), x.domain_events + x.replays > 0";

#[async_trait]
impl InspectRecords for SqliteRecords {
    fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    async fn deliveries(&self, filter: &DeliveryFilter) -> Result<Page<DeliveryRow>, RecordsError> {
        let filter = filter.clone();
        self.read(move |connection| deliveries(connection, &filter)).await
    }

    async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryRow>, RecordsError> {
        self.read(move |connection| {
            delivery(connection, "e.kind = 0 AND e.id = ?1 ORDER BY e.number LIMIT 1", &id)
        })
        .await
    }

    async fn events(
        &self,
        filter: &DeliveryFilter,
        after: Option<EventRef>,
    ) -> Result<Vec<EventRow>, RecordsError> {
        let filter = filter.clone();
        self.read(move |connection| events(connection, &filter, after)).await
    }

    async fn lowest_open_dead_letter(&self) -> Result<Option<EntryNumber>, RecordsError> {
        self.read(|connection| {
            let sql = "SELECT place FROM external_events INDEXED BY not_translated \
                       WHERE outcome <> 0 AND outcome = ?1 AND endpoint IS NOT NULL ORDER BY place LIMIT 1";
            let mut statement = connection.prepare_cached(sql)?;
            let place = statement.query_row([OutcomeKind::DeadLetter], |row| row.get(0)).optional()?;
            Ok(place.map(|Place(at)| at.number))
        })
        .await
    }

    async fn dropped_through(&self) -> Result<EntryNumber, RecordsError> {
        let sql = "SELECT dropped_through FROM retention";
        self.read(|connection| Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?)).await
    }

    async fn damaged(&self, limit: usize) -> Result<Vec<DamagedEntry>, RecordsError> {
        self.read(move |connection| {
            let sql = "SELECT e.number, e.received_at, x.reason FROM external_events x INDEXED BY not_translated \
                       JOIN entries e ON e.number = x.place >> 16 \
                       WHERE x.outcome <> 0 AND x.outcome = ?1 AND x.endpoint IS NULL ORDER BY x.place DESC LIMIT ?2";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map(params![OutcomeKind::DeadLetter, whole(limit)], |row| {
                let reason = row.get::<_, Option<String>>(2)?.unwrap_or_default();
                Ok(DamagedEntry { number: row.get(0)?, received_at: row.get(1)?, reason })
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn publications(&self, filter: &PublicationFilter) -> Result<Vec<PublicationRow>, RecordsError> {
        let filter = filter.clone();
        self.read(move |connection| published::publications(connection, &filter)).await
    }

    async fn publication_dead_letters(
        &self,
        limit: usize,
    ) -> Result<Vec<(String, EventNumber, String)>, RecordsError> {
        self.read(move |connection| publication::dead_letters(connection, limit)).await
    }

    async fn kept(&self, numbers: &[EntryNumber]) -> Result<Vec<Option<Kept>>, RecordsError> {
        let numbers = numbers.to_vec();
        self.read(move |connection| kept(connection, &numbers)).await
    }

    async fn check(&self) -> Result<Vec<String>, RecordsError> {
        self.read(check).await
    }

    async fn conservation(&self) -> Result<Conservation, RecordsError> {
        self.read(conservation).await
    }
}

fn deliveries(connection: &Connection, filter: &DeliveryFilter) -> Result<Page<DeliveryRow>, RecordsError> {
    let mut numbers = search::deliveries(connection, filter, filter.limit.saturating_add(1))?;
    let more = numbers.len() > filter.limit;
    numbers.truncate(filter.limit);
    let next = numbers.last().copied().filter(|_| more);
    let rows = numbers.iter().map(|number| delivery(connection, "e.number = ?1", number));
    Ok(Page { items: rows.filter_map(Result::transpose).collect::<Result<_, _>>()?, next })
}

fn delivery(
    connection: &Connection,
    condition: &str,
    value: &dyn ToSql,
) -> Result<Option<DeliveryRow>, RecordsError> {
    let mut statement = connection.prepare_cached(&format!("{DELIVERY_ROW} {condition}"))?;
    let Some(mut row) = statement.query_row([value], delivery_row).optional()? else { return Ok(None) };
    let sql = format!(
        "{EVENT_ROW} FROM external_events x LEFT JOIN endpoints p ON p.id = x.endpoint \
         WHERE x.place BETWEEN ?1 << 16 AND ?1 << 16 | 65535 ORDER BY x.place"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let events = statement.query_map([row.number], event_row)?;
    row.external_events = with_domain_events(connection, events)?;
    Ok(Some(row))
}

fn events(
    connection: &Connection,
    filter: &DeliveryFilter,
    after: Option<EventRef>,
) -> Result<Vec<EventRow>, RecordsError> {
    let mut query = search::events(connection, EVENT_ROW, filter)?;
    if let Some(after) = after {
        query.and("+x.place > ?", Place(after).integer()?);
    }
    query.end("ORDER BY x.place LIMIT ?", whole(filter.limit));
    let mut statement = connection.prepare_cached(&query.sql)?;
    let rows = statement.query_map(params_from_iter(query.values), event_row)?;
    with_domain_events(connection, rows)
}

fn delivery_row(row: &Row<'_>) -> rusqlite::Result<DeliveryRow> {
    let Count(size) = row.get(7)?;
    Ok(DeliveryRow {
        number: row.get(0)?,
        delivery: row.get(1)?,
        partner: row.get(2)?,
        endpoint: row.get(3)?,
        received_at: row.get(4)?,
        assurance: row.get(5)?,
        secret_id: row.get(6)?,
        size,
        body_sha256: hex::encode(row.get::<_, [u8; 32]>(8)?),
        same_body_as: row.get(9)?,
        waiting: false,
        external_events: Vec::new(),
    })
}

fn kept(connection: &Connection, numbers: &[EntryNumber]) -> Result<Vec<Option<Kept>>, RecordsError> {
    let sql = "SELECT kind, id, size, body_sha256 FROM entries WHERE number = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let row = |row: &Row<'_>| {
        Ok(match row.get(0)? {
            DELIVERY => {
                let Count(size) = row.get(2)?;
                Kept::Received { id: row.get(1)?, size, body_sha256: row.get(3)? }
            }
            REPLAY => Kept::Replay { id: row.get(1)? },
            LEARNT => Kept::Learnt { id: row.get(1)? },
            LINK => Kept::Link { id: row.get(1)? },
            _ => Kept::Damaged,
        })
    };
    let rows = numbers.iter().map(|number| Ok(statement.query_row([number], row).optional()?));
    rows.collect()
}

/// A row of [`EVENT_ROW`], and whether it may have domain events.
fn event_row(row: &Row<'_>) -> rusqlite::Result<(EventRow, bool)> {
    let Place(at) = row.get(0)?;
    let name = |column| row.get::<_, Option<String>>(column).map(Option::unwrap_or_default);
    let outcome = row.get(6)?;
    // The owner stays on the row when a replay gives a conflict another outcome.
    let repeats = matches!(outcome, OutcomeKind::Duplicate | OutcomeKind::Conflict);
    let owner = row.get::<_, Option<DeliveryId>>(8)?.filter(|_| repeats);
    let event = EventRow {
        at,
        endpoint_name: EndpointName::new(name(1)?, name(2)?),
        ordinal: at.ordinal,
        external_id: row.get(3)?,
        event_type: row.get(4)?,
        ordering_key: row.get(5)?,
        outcome,
        reason: row.get(7)?,
        duplicate_of: owner,
        domain_events: Vec::new(),
    };
    Ok((event, row.get(9)?))
}

fn with_domain_events(
    connection: &Connection,
    rows: impl Iterator<Item = rusqlite::Result<(EventRow, bool)>>,
) -> Result<Vec<EventRow>, RecordsError> {
    let sql = "SELECT id FROM domain_events WHERE number >= ?1 AND number < ?2 ORDER BY number";
    let mut statement = connection.prepare_cached(sql)?;
    let mut events = Vec::new();
    for row in rows {
        let (mut event, may_have_some) = row?;
        let numbers = if may_have_some {
            numbers_made_from(connection, Place(event.at).integer()?)?
        } else {
            Vec::new()
        };
        for (first, end) in numbers {
            for id in statement.query_map([first, end], |row| row.get(0))? {
                let id = id?;
                if !event.domain_events.contains(&id) {
                    event.domain_events.push(id);
                }
            }
        }
        events.push(event);
    }
    Ok(events)
}
