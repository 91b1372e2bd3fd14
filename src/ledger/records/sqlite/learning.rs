//! Room `ledger`, SQLite records: endpoints that are taught their secrets: which are armed, and what they learnt, sealed.

use async_trait::async_trait;
use rusqlite::{Row, params};

use super::{SqliteRecords, acts::write_journal};
use crate::{
    ledger::{JournalEntry, LearningRecords, LearntSecret, RecordsError},
    model::{EndpointName, LearntMeta, Timestamp},
};

#[async_trait]
impl LearningRecords for SqliteRecords {
    async fn arm(
        &self,
        endpoint: &EndpointName,
        until: Timestamp,
        journal: JournalEntry,
    ) -> Result<(), RecordsError> {
        let name = endpoint.clone();
        self.write(move |connection, _| {
            let sql = "INSERT INTO armed_endpoints (partner, endpoint, armed_until) VALUES (?1, ?2, ?3) \
                       ON CONFLICT (partner, endpoint) DO UPDATE SET armed_until = excluded.armed_until";
            connection.prepare_cached(sql)?.execute(params![&*name.partner, &*name.endpoint, until])?;
            write_journal(connection, &journal)
        })
        .await
    }

    async fn disarm(&self, endpoint: &EndpointName, journal: JournalEntry) -> Result<bool, RecordsError> {
        let name = endpoint.clone();
        self.write(move |connection, _| {
            let sql = "UPDATE armed_endpoints SET armed_until = ?3 \
                       WHERE partner = ?1 AND endpoint = ?2 AND armed_until > ?3";
            let values = params![&*name.partner, &*name.endpoint, journal.at];
            let disarmed = connection.prepare_cached(sql)?.execute(values)? > 0;
            if disarmed {
                write_journal(connection, &journal)?;
            }
            Ok(disarmed)
        })
        .await
    }

    async fn armed(&self, now: Timestamp) -> Result<Vec<(EndpointName, Timestamp)>, RecordsError> {
        self.read(move |connection| {
            let sql = "SELECT partner, endpoint, armed_until FROM armed_endpoints WHERE armed_until > ?1 \
                       ORDER BY partner, endpoint";
            let mut statement = connection.prepare_cached(sql)?;
            let armed = statement.query_map([now], |row| Ok((name(row, 0)?, row.get(2)?)))?;
            Ok(armed.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn reveal(
        &self,
        endpoint: &EndpointName,
        secret_id: &str,
        journal: JournalEntry,
    ) -> Result<bool, RecordsError> {
        let (name, secret) = (endpoint.clone(), secret_id.to_owned());
        self.write(move |connection, _| {
            let sql = "INSERT INTO revealed_secrets (partner, endpoint, secret, revealed_at) VALUES (?1, ?2, ?3, ?4) \
                       ON CONFLICT DO NOTHING";
            let values = params![&*name.partner, &*name.endpoint, secret, journal.at];
            let first = connection.prepare_cached(sql)?.execute(values)? > 0;
            if first {
                write_journal(connection, &journal)?;
            }
            Ok(first)
        })
        .await
    }

    async fn learnt(&self) -> Result<Vec<LearntSecret>, RecordsError> {
        self.read(|connection| {
            let sql = "SELECT number, learnt_at, id, partner, endpoint, secret, sealed FROM learnt_secrets \
                       ORDER BY number";
            let mut statement = connection.prepare_cached(sql)?;
            let learnt = statement.query_map([], |row| {
                let (id, endpoint) = (row.get(2)?, name(row, 3)?);
                let meta = LearntMeta { id, endpoint, secret_id: row.get(5)?, sealed: row.get(6)? };
                Ok(LearntSecret { number: row.get(0)?, learnt_at: row.get(1)?, meta })
            })?;
            Ok(learnt.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }
}

/// The endpoint whose partner stands in this column and whose name in the next.
fn name(row: &Row<'_>, column: usize) -> rusqlite::Result<EndpointName> {
    let (partner, endpoint): (String, String) = (row.get(column)?, row.get(column + 1)?);
    Ok(EndpointName::new(partner, endpoint))
}
