//! Room `ledger`, PostgreSQL records: the figures of the two conservation laws. They are counted, not kept: a proof that
//! reads running totals would prove nothing. And what PostgreSQL itself says of its tables.

use tokio_postgres::Row;

use super::{columns::read, translation::cursors};
use crate::{
    ledger::{
        Conservation,
        postgres::{PostgresError, Session, column},
    },
    model::OutcomeKind,
};

/// One snapshot for all questions. They read everything, so they may take longer than a question otherwise may.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout TO '1h'";

/// Counts, in one snapshot.
pub(super) async fn conservation(session: &Session) -> Result<Conservation, PostgresError> {
    const ENTRIES: &str =
        "SELECT count(*), COALESCE(max(number), 0), COALESCE(sum(identified), 0)::bigint FROM entries";
    const OUTCOMES: &str = "SELECT outcome, count(*) FROM external_events GROUP BY outcome ORDER BY outcome";
    const EVENTS: &str = "SELECT count(*), COALESCE(max(number), 0) FROM domain_events";
    const ORPHANS: &str = "SELECT count(*) FROM external_events x WHERE NOT EXISTS \
        (SELECT FROM entries e WHERE e.number = x.place >> 16 AND e.received_at = x.received_at AND e.kind <> 1)";
    let counting = async {
        session.batch(BEGIN).await?;
        let entries = one(session, ENTRIES).await?;
        let outcomes = all(session, OUTCOMES).await?;
        let events = one(session, EVENTS).await?;
        let orphans = one(session, ORPHANS).await?;
        let cursors = cursors(session).await?.into_iter().map(|(name, through)| (name.to_string(), through));
        let figures = Conservation {
            worked: read(&entries, 0)?,
            highest_worked: read(&entries, 1)?,
            identified: read(&entries, 2)?,
            outcomes: outcomes.iter().map(outcome).collect::<Result<_, _>>()?,
            domain_events: read(&events, 0)?,
            last_event: read(&events, 1)?,
            cursors: cursors.collect(),
            orphans: read(&orphans, 0)?,
        };
        session.batch("COMMIT").await?;
        Ok(figures)
    };
    session.sound_after(counting).await
}

/// What is wrong with the tables: indexes that do not hold every row, partitions that were half taken away, events beyond
/// the counter that numbers them.
pub(super) async fn check(session: &Session) -> Result<Vec<String>, PostgresError> {
    const CHECK: &str = "SELECT format('the index %s is not valid', c.relname) FROM pg_index i
          JOIN pg_class c ON c.oid = i.indexrelid
          WHERE NOT i.indisvalid AND c.relnamespace = current_schema()::regnamespace
        UNION ALL SELECT format('the partition %s is half taken away', c.relname) FROM pg_inherits h
          JOIN pg_class c ON c.oid = h.inhrelid
          WHERE h.inhdetachpending AND c.relnamespace = current_schema()::regnamespace
        UNION ALL SELECT format('domain event %s is beyond the counter, which is at %s', e.number, c.last)
          FROM event_counter c JOIN LATERAL (SELECT number FROM domain_events ORDER BY number DESC LIMIT 1) e
          ON e.number > c.last";
    let rows = session.query(CHECK, &[]).await?;
    rows.iter().map(|row| column(row, 0)).collect()
}

fn outcome(row: &Row) -> Result<(OutcomeKind, u64), PostgresError> {
    Ok((read(row, 0)?, read(row, 1)?))
}

/// Without a limit on this side.
async fn all(session: &Session, sql: &str) -> Result<Vec<Row>, PostgresError> {
    Ok(session.client()?.query(sql, &[]).await?)
}

async fn one(session: &Session, sql: &str) -> Result<Row, PostgresError> {
    Ok(session.client()?.query_one(sql, &[]).await?)
}
