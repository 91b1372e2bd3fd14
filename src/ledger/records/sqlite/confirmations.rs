//! Room `ledger`, SQLite records: links that handshakes ask to be visited, and how that goes.

use async_trait::async_trait;
use rusqlite::{
    Connection, Row, params,
    types::{FromSql, FromSqlError, FromSqlResult, ValueRef},
};

use super::{SqliteRecords, acts::write_journal, columns::Count};
use crate::{
    ledger::{
        Confirmation, ConfirmationRecords, ConfirmationState, JournalEntry, RecordsError, Visit,
        records::columns::{confirmation_code, confirmation_of, whole},
    },
    model::EndpointName,
};

const COLUMNS: &str = "number, id, partner, endpoint, asked_at, until, link, state, tries, tried_at, why";

#[async_trait]
impl ConfirmationRecords for SqliteRecords {
    async fn open_confirmations(&self) -> Result<Vec<Confirmation>, RecordsError> {
        self.read(|connection| {
            let sql = format!("SELECT {COLUMNS} FROM confirmations WHERE state = 0 ORDER BY number");
            let mut statement = connection.prepare_cached(&sql)?;
            let open = statement.query_map([], confirmation)?;
            Ok(open.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn confirmations_of(
        &self,
        endpoint: &EndpointName,
        limit: usize,
    ) -> Result<Vec<Confirmation>, RecordsError> {
        let name = endpoint.clone();
        self.read(move |connection| {
            let sql = format!(
                "SELECT {COLUMNS} FROM confirmations WHERE partner = ?1 AND endpoint = ?2 ORDER BY number DESC LIMIT ?3"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let values = params![&*name.partner, &*name.endpoint, whole(limit)];
            let latest = statement.query_map(values, |row| Ok(Confirmation { link: None, ..confirmation(row)? }))?;
            Ok(latest.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn note_visit(
        &self,
        visited: &Confirmation,
        visit: Visit,
        journal: Option<JournalEntry>,
    ) -> Result<bool, RecordsError> {
        let (number, id) = (visited.number, visited.handshake);
        self.write(move |connection, _| {
            let sql = "UPDATE confirmations SET state = ?3, tries = tries + 1, tried_at = ?4, why = ?5, \
                       link = CASE WHEN ?3 = 0 THEN link END WHERE number = ?1 AND id = ?2 AND state = 0";
            let values = params![number, id, confirmation_code(visit.state), visit.at, visit.why];
            let noted = connection.prepare_cached(sql)?.execute(values)? > 0;
            if let Some(journal) = journal.as_ref().filter(|_| noted) {
                write_journal(connection, journal)?;
            }
            Ok(noted)
        })
        .await
    }
}

/// Adds one that a commit of stage 1 found.
pub(super) fn keep(connection: &Connection, asked: &Confirmation) -> Result<(), RecordsError> {
    let sql = format!(
        "INSERT INTO confirmations ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, 0, NULL, NULL)"
    );
    connection.prepare_cached(&sql)?.execute(params![
        asked.number,
        asked.handshake,
        &*asked.endpoint.partner,
        &*asked.endpoint.endpoint,
        asked.asked_at,
        asked.until,
        asked.link,
    ])?;
    Ok(())
}

fn confirmation(row: &Row<'_>) -> rusqlite::Result<Confirmation> {
    let (partner, endpoint): (String, String) = (row.get(2)?, row.get(3)?);
    let Count(tries) = row.get(8)?;
    Ok(Confirmation {
        number: row.get(0)?,
        handshake: row.get(1)?,
        endpoint: EndpointName::new(partner, endpoint),
        asked_at: row.get(4)?,
        until: row.get(5)?,
        link: row.get(6)?,
        state: row.get(7)?,
        tries,
        tried_at: row.get(9)?,
        why: row.get(10)?,
    })
}

impl FromSql for ConfirmationState {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let code = value.as_i64()?;
        i16::try_from(code).ok().and_then(confirmation_of).ok_or(FromSqlError::OutOfRange(code))
    }
}
