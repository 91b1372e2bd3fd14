//! Room `ledger`, SQLite records: the owners of external ids in the order of their places, for whoever remembers them
//! outside. A walk by place that stops at the limit.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{SqliteRecords, columns::Place, translation::read_owner};
use crate::{
    ledger::{
        Owner, OwnerRecords, OwnersPage, RecordsError,
        records::columns::{MAX_ENTRY, REPLAY, whole},
    },
    model::{DeliveryId, EndpointName, EntryNumber, EventRef},
};

#[async_trait]
impl OwnerRecords for SqliteRecords {
    async fn owners_after(&self, after: EventRef, limit: usize) -> Result<OwnersPage, RecordsError> {
        self.read(move |connection| page(connection, after, limit)).await
    }

    async fn id_of(&self, number: EntryNumber) -> Result<Option<DeliveryId>, RecordsError> {
        self.read(move |connection| {
            let sql = "SELECT id FROM entries WHERE number = ?1 AND id IS NOT NULL";
            Ok(connection.prepare_cached(sql)?.query_row([number], |row| row.get(0)).optional()?)
        })
        .await
    }
}

fn page(connection: &Connection, after: EventRef, limit: usize) -> Result<OwnersPage, RecordsError> {
    let sql = "SELECT x.place, e.received_at, x.identity_digest, x.generation, x.external_id, p.partner, p.endpoint \
               FROM external_events x JOIN entries e ON e.number = x.place >> 16 \
               LEFT JOIN endpoints p ON p.id = x.endpoint WHERE x.place > ?1 ORDER BY x.place LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![Place(after), whole(limit)])?;
    let (mut page, mut last, mut seen) = (OwnersPage::default(), None, 0);
    while let Some(row) = rows.next()? {
        let Place(at) = row.get(0)?;
        (last, seen) = (Some(at), seen + 1);
        page.owners.extend(owned(row)?);
    }
    page.through = last.filter(|_| seen == limit);
    let until = page.through.map_or(MAX_ENTRY, |at| at.number);
    page.replayed = replayed(connection, after.number, until)?;
    Ok(page)
}

/// The owner in a row; `None` when its event owns nothing.
fn owned(row: &Row<'_>) -> rusqlite::Result<Option<(EndpointName, String, Owner)>> {
    let (generation, id): (Option<u32>, Option<String>) = (row.get(3)?, row.get(4)?);
    let (Some(_), Some(id)) = (generation, id) else { return Ok(None) };
    let endpoint = EndpointName::new(row.get::<_, String>(5)?, row.get::<_, String>(6)?);
    Ok(Some((endpoint, id, read_owner(row)?)))
}

fn replayed(
    connection: &Connection,
    after: EntryNumber,
    until: EntryNumber,
) -> Result<Vec<EndpointName>, RecordsError> {
    let sql = "SELECT DISTINCT p.partner, p.endpoint FROM entries e JOIN endpoints p ON p.id = e.endpoint \
               WHERE e.number > ?1 AND e.number <= ?2 AND e.kind = ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let names = statement.query_map(params![after, until, REPLAY], |row| {
        Ok(EndpointName::new(row.get::<_, String>(0)?, row.get::<_, String>(1)?))
    })?;
    Ok(names.collect::<rusqlite::Result<_>>()?)
}
