//! Room `ledger`, SQLite records: what stage 1 asks before it decides. Facts only; the verdict is `dedupe`'s.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    SqliteRecords,
    columns::Place,
    commit::commit,
    replays,
    seen::{Kind, hash},
    writer::Memory,
};
use crate::{
    ledger::{Owner, RecordsError, ReplayTarget, TranslationCommit, TranslationRecords},
    model::{EndpointName, EntryNumber, EventNumber, EventRef, Timestamp},
};

#[async_trait]
impl TranslationRecords for SqliteRecords {
    async fn cursors(&self) -> Result<Vec<(EndpointName, EntryNumber)>, RecordsError> {
        self.read(cursors).await
    }

    async fn owners(&self, ids: &[(EndpointName, String)]) -> Result<Vec<Option<Owner>>, RecordsError> {
        let ids = ids.to_vec();
        self.ask_writer(move |connection, memory| {
            ids.iter().map(|(endpoint, id)| owner(connection, memory, endpoint, id)).collect()
        })
        .await
    }

    async fn same_bodies(
        &self,
        bodies: &[(EndpointName, [u8; 32])],
        since: Timestamp,
    ) -> Result<Vec<Option<EntryNumber>>, RecordsError> {
        let bodies = bodies.to_vec();
        self.ask_writer(move |connection, memory| {
            let latest = bodies.iter().map(|(endpoint, body)| same_body(connection, memory, endpoint, body));
            latest.map(|found| Ok(found?.filter(|(_, at)| *at >= since).map(|(number, _)| number))).collect()
        })
        .await
    }

    async fn replay_targets(&self, events: &[EventRef]) -> Result<Vec<ReplayTarget>, RecordsError> {
        let events = events.to_vec();
        self.ask_writer(move |connection, memory| replays::targets(connection, memory, &events)).await
    }

    async fn commit(&self, worked: TranslationCommit) -> Result<EventNumber, RecordsError> {
        self.write(move |connection, memory| commit(connection, memory, &worked)).await
    }
}

/// The cursor of every endpoint that has one, by name.
pub(super) fn cursors(connection: &Connection) -> Result<Vec<(EndpointName, EntryNumber)>, RecordsError> {
    let sql = "SELECT p.partner, p.endpoint, c.through FROM cursors c \
               JOIN endpoints p ON p.id = c.endpoint ORDER BY p.partner, p.endpoint";
    let mut statement = connection.prepare_cached(sql)?;
    let cursors = statement.query_map([], |row| {
        Ok((EndpointName::new(row.get::<_, String>(0)?, row.get::<_, String>(1)?), row.get(2)?))
    })?;
    Ok(cursors.collect::<rusqlite::Result<_>>()?)
}

fn owner(
    connection: &Connection,
    memory: &Memory,
    endpoint: &EndpointName,
    id: &str,
) -> Result<Option<Owner>, RecordsError> {
    let Some(endpoint_id) = memory.names.known_endpoint(endpoint) else { return Ok(None) };
    let sql = "SELECT x.place, e.received_at, x.identity_digest, x.generation FROM external_events x \
               JOIN entries e ON e.number = x.place >> 16 \
               WHERE x.place = ?1 AND x.endpoint = ?2 AND x.external_id = ?3 AND x.generation IS NOT NULL";
    memory.seen.latest(connection, (hash(endpoint, id.as_bytes()), Kind::Owner), |place| {
        let mut statement = connection.prepare_cached(sql)?;
        Ok(statement.query_row(params![place, endpoint_id, id], read_owner).optional()?)
    })
}

/// The owner in the first four columns: place, time, identity digest, generation.
pub(super) fn read_owner(row: &Row<'_>) -> rusqlite::Result<Owner> {
    let Place(at) = row.get(0)?;
    Ok(Owner { at, received_at: row.get(1)?, identity_digest: row.get(2)?, generation: row.get(3)? })
}

/// The latest delivery of a body, and when it was accepted.
fn same_body(
    connection: &Connection,
    memory: &Memory,
    endpoint: &EndpointName,
    body: &[u8; 32],
) -> Result<Option<(EntryNumber, Timestamp)>, RecordsError> {
    let Some(endpoint_id) = memory.names.known_endpoint(endpoint) else { return Ok(None) };
    let sql = "SELECT number, received_at FROM entries \
               WHERE number = ?1 >> 16 AND endpoint = ?2 AND body_sha256 = ?3";
    memory.seen.latest(connection, (hash(endpoint, body), Kind::Body), |place| {
        let mut statement = connection.prepare_cached(sql)?;
        let row =
            statement.query_row(params![place, endpoint_id, body], |row| Ok((row.get(0)?, row.get(1)?)));
        Ok(row.optional()?)
    })
}
