//! Room `ledger`, SQLite records: where brokers have put domain events, and how far each has come.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{SqliteRecords, acts, columns::Count};
use crate::{
    ledger::{
        BrokerState, Leave, Publication, PublicationRecords, RecordsError,
        records::columns::{introduced, publication_columns, unknown_broker, whole},
    },
    model::{EventNumber, Timestamp},
};

const BROKER_STATE: &str = "SELECT b.name, b.through, (SELECT count(*) FROM publications p \
     WHERE p.broker = b.id AND p.refused IS NOT NULL) FROM brokers b";

#[async_trait]
impl PublicationRecords for SqliteRecords {
    async fn broker(&self, name: &str) -> Result<Option<BrokerState>, RecordsError> {
        let name = name.to_owned();
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(&format!("{BROKER_STATE} WHERE b.name = ?1"))?;
            Ok(statement.query_row([name], broker_state).optional()?)
        })
        .await
    }

    async fn brokers(&self) -> Result<Vec<BrokerState>, RecordsError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&format!("{BROKER_STATE} ORDER BY b.name"))?;
            Ok(statement.query_map([], broker_state)?.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn introduce_broker(
        &self,
        name: &str,
        cursor: EventNumber,
        now: Timestamp,
    ) -> Result<(), RecordsError> {
        let introduced = introduced(name, cursor, now);
        self.write(move |connection, _| {
            let sql = "INSERT INTO brokers (name, through) VALUES (?1, ?2)";
            connection.prepare_cached(sql)?.execute(params![introduced.subject, cursor])?;
            acts::write_journal(connection, &introduced)
        })
        .await
    }

    async fn note_published(
        &self,
        name: &str,
        published: &[Publication],
        cursor: EventNumber,
        _leave: Leave,
    ) -> Result<(), RecordsError> {
        let (name, published) = (name.to_owned(), published.to_vec());
        self.write(move |connection, _| note_published(connection, &name, &published, cursor)).await
    }
}

fn broker_state(row: &Row<'_>) -> rusqlite::Result<BrokerState> {
    let Count(dead_letters) = row.get(2)?;
    Ok(BrokerState { name: row.get(0)?, cursor: row.get(1)?, dead_letters })
}

fn note_published(
    connection: &Connection,
    name: &str,
    published: &[Publication],
    cursor: EventNumber,
) -> Result<(), RecordsError> {
    let known = "SELECT id, through FROM brokers WHERE name = ?1";
    let known = connection.prepare_cached(known)?.query_row([name], |row| Ok((row.get(0)?, row.get(1)?)));
    let (broker, through): (i64, EventNumber) = known.optional()?.ok_or_else(|| unknown_broker(name))?;
    if cursor < through {
        return Err(RecordsError::Stale(format!("the cursor of broker {name} is at {through}")));
    }
    let sql = "INSERT INTO publications (broker, event, position, refused) VALUES (?1, ?2, ?3, ?4) \
               ON CONFLICT (broker, event) DO UPDATE SET position = excluded.position, refused = excluded.refused";
    let mut note = connection.prepare_cached(sql)?;
    for publication in published {
        let (event, position, refused) = publication_columns(publication);
        note.execute(params![broker, event, position, refused])?;
    }
    connection
        .prepare_cached("UPDATE brokers SET through = ?2 WHERE id = ?1")?
        .execute(params![broker, cursor])?;
    Ok(())
}

/// Open dead letters of publications, oldest first.
pub(super) fn dead_letters(
    connection: &Connection,
    limit: usize,
) -> Result<Vec<(String, EventNumber, String)>, RecordsError> {
    let sql = "SELECT b.name, p.event, p.refused FROM publications p JOIN brokers b ON b.id = p.broker \
               WHERE p.refused IS NOT NULL ORDER BY p.event, p.broker LIMIT ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([whole(limit)], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
