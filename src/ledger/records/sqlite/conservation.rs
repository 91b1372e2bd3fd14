//! Room `ledger`, SQLite records: the figures of the two conservation laws. They are counted, not kept: a proof that
//! reads running totals would prove nothing. And what SQLite itself says of its file.

use rusqlite::Connection;

use super::{columns::Count, feed::last_event, translation::cursors};
use crate::{
    ledger::{Conservation, RecordsError},
    model::OutcomeKind,
};

/// Counts, in the connection's snapshot.
pub(super) fn conservation(connection: &Connection) -> Result<Conservation, RecordsError> {
    let entries = "SELECT count(*), COALESCE(max(number), 0), COALESCE(sum(events), 0) FROM entries";
    let (Count(worked), highest_worked, Count(identified)) = connection
        .prepare_cached(entries)?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let orphans = "SELECT count(*) FROM external_events x WHERE NOT EXISTS \
                   (SELECT 1 FROM entries e WHERE e.number = x.place >> 16 AND e.kind <> 1)";
    let cursors = cursors(connection)?.into_iter().map(|(name, through)| (name.to_string(), through));
    Ok(Conservation {
        worked,
        highest_worked,
        identified,
        outcomes: outcomes(connection)?,
        domain_events: count(connection, "SELECT count(*) FROM domain_events")?,
        last_event: last_event(connection)?,
        cursors: cursors.collect(),
        orphans: count(connection, orphans)?,
    })
}

/// What SQLite finds wrong with its file.
pub(super) fn check(connection: &Connection) -> Result<Vec<String>, RecordsError> {
    let mut statement = connection.prepare("PRAGMA quick_check")?;
    let lines = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    Ok(lines.into_iter().filter(|line| line != "ok").collect())
}

fn outcomes(connection: &Connection) -> Result<Vec<(OutcomeKind, u64)>, RecordsError> {
    let sql = "SELECT outcome, count(*) FROM external_events GROUP BY outcome ORDER BY outcome";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| {
        let Count(events) = row.get(1)?;
        Ok((row.get(0)?, events))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn count(connection: &Connection, sql: &str) -> Result<u64, RecordsError> {
    let Count(rows) = connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    Ok(rows)
}
