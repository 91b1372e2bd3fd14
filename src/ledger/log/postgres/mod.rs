//! Room `ledger`, the intake log over PostgreSQL: batches appended by one call of a server-side procedure, by any number of
//! processes. Knows the nouns and what `ledger::postgres` shares.
//!
//! A [`PostgresLog`] is the one writer of its process, on a connection of its own, so that no stage and no console can keep
//! it waiting for one. Rows come first, beside those of other writers; the number last, and with it the commit, so that no
//! number is skipped and none is readable before a smaller one. No client ever holds a lock: the procedure commits itself.
//! It returns when the batch is durable; others can read it a moment before that.
//!
//! A [`PostgresReader`] serves what is committed. It learns what other processes appended by asking
//! ([`PostgresReader::look`]), not by NOTIFY, whose lock every commit of the server would queue for. Each batch says whose its
//! entries are, so who asks for some endpoints' reads no more than those.

mod page;
mod progress;
mod reader;
mod retention;
mod rows;
mod writer;

use std::{sync::Arc, time::Duration};

use progress::Progress;
pub use reader::PostgresReader;
pub use writer::PostgresLog;

use crate::ledger::{
    LogError,
    postgres::{Database, PostgresError},
};

/// The table whose partitions hold the entries.
const ENTRIES: &str = "log_entries";

/// Opens the log of a migrated schema; what is there already can be read at once. `partition` is what a partition yet to be
/// made will span.
pub async fn open(
    database: &Database,
    partition: Duration,
) -> Result<(PostgresLog, PostgresReader), LogError> {
    let reader = open_to_read(database).await?;
    let log = PostgresLog::new(database.clone(), Arc::clone(&reader.progress), partition);
    Ok((log, reader))
}

/// Opens the log to read.
pub async fn open_to_read(database: &Database) -> Result<PostgresReader, LogError> {
    let reader = PostgresReader::new(database.clone(), Arc::new(Progress::default()));
    reader.look().await?;
    Ok(reader)
}

/// A number as PostgreSQL knows it; beyond its range there is none, so the nearest will do.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number that PostgreSQL gave; the schema has no negative one.
fn unsigned(number: i64) -> Result<u64, PostgresError> {
    u64::try_from(number).map_err(|_| PostgresError::broken("the intake log holds a negative number"))
}
