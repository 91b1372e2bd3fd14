//! Room `ledger`, PostgreSQL: the partitions of what grows: made ahead of time, dropped whole.

use std::time::Duration;

use tokio_postgres::Client;

use super::{PostgresError, Session, column};
use crate::model::Timestamp;

/// So many partitions after the present one are always there, so that nobody ever waits for one.
const AHEAD: u32 = 2;

/// A partition of a table, and which times it spans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The table's own name.
    pub name: String,
    /// The first time in it.
    pub starts: Timestamp,
    /// The first time after it.
    pub ends: Timestamp,
}

/// Makes the partition in which `now` lies, and those after it; what is there stays. Returns until when the first ends:
/// then it is time again.
pub async fn cover(
    client: &Client,
    parent: &str,
    now: Timestamp,
    span: Duration,
) -> Result<Timestamp, PostgresError> {
    let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    let (mut at, mut present) = (now, None);
    for _ in 0..=AHEAD {
        let row = client.query_one("SELECT cover($1, $2, $3)", &[&parent, &at.micros(), &micros]).await?;
        at = Timestamp::from_micros(column(&row, 0)?);
        present = present.or(Some(at));
    }
    Ok(present.unwrap_or(at))
}

/// The partitions of a table, oldest first.
pub async fn partitions(session: &Session, parent: &str) -> Result<Vec<Partition>, PostgresError> {
    const SPANS: &str = "SELECT name, starts, ends FROM partitions WHERE parent = $1 ORDER BY starts";
    let rows = session.query(SPANS, &[&parent]).await?;
    let partition = |row| {
        Ok(Partition {
            name: column(row, 0)?,
            starts: Timestamp::from_micros(column(row, 1)?),
            ends: Timestamp::from_micros(column(row, 2)?),
        })
    };
    rows.iter().map(partition).collect()
}

/// Takes a partition out of its table, without holding up those who write to its neighbours. When this returns nobody
/// writes to it any more, and what was being written is there or not. When it ends midway it can be called again, by any
/// process; for one that is out already it does nothing.
pub async fn detach(session: &Session, parent: &str, partition: &Partition) -> Result<(), PostgresError> {
    const ATTACHED: &str = "SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = to_regclass($1)";
    let name = &partition.name;
    if let Some(row) = session.query_opt(ATTACHED, &[name]).await? {
        // One that was begun and not ended must be ended so.
        let how = if column(&row, 0)? { "FINALIZE" } else { "CONCURRENTLY" };
        session.batch(&format!("ALTER TABLE \"{parent}\" DETACH PARTITION \"{name}\" {how}")).await?;
    }
    Ok(())
}

/// Puts a detached partition back.
pub async fn attach(session: &Session, parent: &str, partition: &Partition) -> Result<(), PostgresError> {
    let Partition { name, starts, ends } = partition;
    let (starts, ends) = (starts.micros(), ends.micros());
    let span = format!("FROM ({starts}) TO ({ends})");
    session.batch(&format!("ALTER TABLE \"{parent}\" ATTACH PARTITION \"{name}\" FOR VALUES {span}")).await
}

/// Drops a detached partition with all that is in it.
pub async fn drop_detached(session: &Session, partition: &Partition) -> Result<(), PostgresError> {
    session.query("SELECT drop_detached($1)", &[&partition.name]).await?;
    Ok(())
}
