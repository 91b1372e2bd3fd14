//! Room `ledger`, SQLite records: what people and the system did: journal, refusals, tokens, desks. Never holds a
//! body, a secret or a token itself.

use async_trait::async_trait;
use rusqlite::{Connection, Row, params};

use super::{SqliteRecords, columns::Count};
use crate::{
    ledger::{
        ActRecords, JournalEntry, JournalRow, MAX_REFUSALS, RecordsError, RefusalFilter, Refused, TokenRow,
        records::columns::whole,
    },
    model::{EntryNumber, Revision, Timestamp},
};

#[async_trait]
impl ActRecords for SqliteRecords {
    async fn journal(&self, entry: JournalEntry) -> Result<(), RecordsError> {
        self.write(move |connection, _| write_journal(connection, &entry)).await
    }

    async fn note_dropped(&self, through: EntryNumber, journal: JournalEntry) -> Result<(), RecordsError> {
        self.write(move |connection, _| {
            let sql = "UPDATE retention SET dropped_through = ?1 WHERE dropped_through < ?1";
            if connection.prepare_cached(sql)?.execute([through])? > 0 {
                write_journal(connection, &journal)?;
            }
            Ok(())
        })
        .await
    }

    async fn journal_page(&self, before: Option<u64>, limit: usize) -> Result<Vec<JournalRow>, RecordsError> {
        self.read(move |connection| {
            let sql = "SELECT number, at, who, act, subject, detail FROM journal \
                       WHERE ?1 IS NULL OR number < ?1 ORDER BY number DESC LIMIT ?2";
            let mut statement = connection.prepare_cached(sql)?;
            let before = before.map(|number| i64::try_from(number).unwrap_or(i64::MAX));
            let rows = statement.query_map(params![before, whole(limit)], journal_row)?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn keep_refusals(&self, refused: &[Refused], keep: usize) -> Result<(), RecordsError> {
        let refused = refused.to_vec();
        self.write(move |connection, _| keep_refusals(connection, &refused, keep)).await
    }

    async fn refusals(&self, filter: &RefusalFilter) -> Result<Vec<Refused>, RecordsError> {
        let filter = filter.clone();
        self.read(move |connection| refusals(connection, &filter)).await
    }

    async fn create_token(&self, token: TokenRow, journal: JournalEntry) -> Result<(), RecordsError> {
        self.write(move |connection, _| {
            let sql =
                "INSERT INTO tokens (name, role, sha256, created_at, revoked_at) VALUES (?1, ?2, ?3, ?4, ?5)";
            let TokenRow { name, role, sha256, created_at, revoked_at } = token;
            connection.prepare_cached(sql)?.execute(params![name, role, sha256, created_at, revoked_at])?;
            write_journal(connection, &journal)
        })
        .await
    }

    async fn tokens(&self) -> Result<Vec<TokenRow>, RecordsError> {
        self.read(|connection| {
            let sql = "SELECT name, role, sha256, created_at, revoked_at FROM tokens ORDER BY name";
            let mut statement = connection.prepare_cached(sql)?;
            Ok(statement.query_map([], token_row)?.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn revoke_token(&self, name: &str, journal: JournalEntry) -> Result<bool, RecordsError> {
        let name = name.to_owned();
        self.write(move |connection, _| {
            let sql = "UPDATE tokens SET revoked_at = ?2 WHERE name = ?1 AND revoked_at IS NULL";
            let revoked = connection.prepare_cached(sql)?.execute(params![name, journal.at])? > 0;
            if revoked {
                write_journal(connection, &journal)?;
            }
            Ok(revoked)
        })
        .await
    }

    async fn keep_desk(
        &self,
        partner: &str,
        revision: &Revision,
        sources: &[u8],
        now: Timestamp,
    ) -> Result<(), RecordsError> {
        let (partner, revision, sources) = (partner.to_owned(), revision.clone(), sources.to_vec());
        self.write(move |connection, _| {
            let keep = "INSERT INTO desks (partner, revision, sources, kept_at) VALUES (?1, ?2, ?3, ?4) \
                        ON CONFLICT (partner, revision) DO NOTHING";
            connection.prepare_cached(keep)?.execute(params![partner, revision.0, sources, now])?;
            let point = "INSERT INTO latest_desks (partner, revision) VALUES (?1, ?2) \
                         ON CONFLICT (partner) DO UPDATE SET revision = excluded.revision";
            connection.prepare_cached(point)?.execute(params![partner, revision.0])?;
            Ok(())
        })
        .await
    }

    async fn last_desks(&self) -> Result<Vec<(String, Revision, Vec<u8>)>, RecordsError> {
        self.read(|connection| {
            let sql = "SELECT l.partner, d.revision, d.sources FROM latest_desks l \
                       JOIN desks d ON d.partner = l.partner AND d.revision = l.revision ORDER BY l.partner";
            let mut statement = connection.prepare_cached(sql)?;
            let desks =
                statement.query_map([], |row| Ok((row.get(0)?, Revision(row.get(1)?), row.get(2)?)))?;
            Ok(desks.collect::<Result<_, _>>()?)
        })
        .await
    }
}

/// Adds to the journal.
pub(super) fn write_journal(connection: &Connection, entry: &JournalEntry) -> Result<(), RecordsError> {
    let sql = "INSERT INTO journal (at, who, act, subject, detail) VALUES (?1, ?2, ?3, ?4, ?5)";
    let detail = entry.detail.to_string();
    let columns = params![entry.at, entry.who, entry.act, entry.subject, detail];
    connection.prepare_cached(sql)?.execute(columns)?;
    Ok(())
}

fn journal_row(row: &Row<'_>) -> rusqlite::Result<JournalRow> {
    let Count(number) = row.get(0)?;
    let detail: String = row.get(5)?;
    let unreadable =
        |error| rusqlite::Error::FromSqlConversionFailure(5, rusqlite::types::Type::Text, Box::new(error));
    Ok(JournalRow {
        number,
        at: row.get(1)?,
        who: row.get(2)?,
        act: row.get(3)?,
        subject: row.get(4)?,
        detail: serde_json::from_str(&detail).map_err(unreadable)?,
    })
}

fn token_row(row: &Row<'_>) -> rusqlite::Result<TokenRow> {
    Ok(TokenRow {
        name: row.get(0)?,
        role: row.get(1)?,
        sha256: row.get(2)?,
        created_at: row.get(3)?,
        revoked_at: row.get(4)?,
    })
}

fn keep_refusals(connection: &Connection, refused: &[Refused], keep: usize) -> Result<(), RecordsError> {
    let insert = "INSERT INTO refusals (at, partner, endpoint, code, status, detail, peer, size, request) \
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let mut insert = connection.prepare_cached(insert)?;
    for one in refused {
        insert.execute(params![
            one.at,
            one.partner,
            one.endpoint,
            one.code,
            one.status,
            one.detail,
            one.peer,
            Count(one.size),
            one.request
        ])?;
    }
    let mut endpoints: Vec<_> = refused.iter().map(|one| (&one.partner, &one.endpoint)).collect();
    endpoints.sort_unstable();
    endpoints.dedup();
    let forget = "DELETE FROM refusals WHERE partner = ?1 AND endpoint = ?2 AND number <= \
                  (SELECT number FROM refusals WHERE partner = ?1 AND endpoint = ?2 \
                   ORDER BY number DESC LIMIT 1 OFFSET ?3)";
    let mut forget = connection.prepare_cached(forget)?;
    for (partner, endpoint) in endpoints {
        forget.execute(params![partner, endpoint, whole(keep)])?;
    }
    let forget = "DELETE FROM refusals WHERE number <= \
                  (SELECT number FROM refusals ORDER BY number DESC LIMIT 1 OFFSET ?1)";
    connection.prepare_cached(forget)?.execute([whole(MAX_REFUSALS)])?;
    Ok(())
}

fn refusals(connection: &Connection, filter: &RefusalFilter) -> Result<Vec<Refused>, RecordsError> {
    let sql = "SELECT at, partner, endpoint, code, status, detail, peer, size, request FROM refusals \
               WHERE (?1 IS NULL OR partner = ?1) AND (?2 IS NULL OR endpoint = ?2) \
               AND (?3 IS NULL OR code = ?3) AND (?4 IS NULL OR request = ?4) ORDER BY number DESC LIMIT ?5";
    let mut statement = connection.prepare_cached(sql)?;
    let values = params![filter.partner, filter.endpoint, filter.code, filter.request, whole(filter.limit)];
    let rows = statement.query_map(values, refused)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn refused(row: &Row<'_>) -> rusqlite::Result<Refused> {
    let Count(size) = row.get(7)?;
    Ok(Refused {
        at: row.get(0)?,
        partner: row.get(1)?,
        endpoint: row.get(2)?,
        code: row.get(3)?,
        status: row.get(4)?,
        detail: row.get(5)?,
        peer: row.get(6)?,
        size,
        request: row.get(8)?,
    })
}
