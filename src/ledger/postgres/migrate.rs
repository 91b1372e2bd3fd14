//! Room `ledger`, PostgreSQL: bringing the schema forward. Migrations are embedded, only ever added to, each one
//! transaction; processes that start together take turns.

use sha2::{Digest, Sha256};

use super::{Database, PostgresError, Session, column};
use crate::model::Timestamp;

struct Migration {
    version: i32,
    name: &'static str,
    sql: &'static str,
}

/// Oldest first; versions go up by one from 1.
const MIGRATIONS: [Migration; 15] = [
    Migration { version: 1, name: "ledger", sql: include_str!("migrations/0001_ledger.sql") },
    Migration { version: 2, name: "intake_log", sql: include_str!("migrations/0002_intake_log.sql") },
    Migration { version: 3, name: "records", sql: include_str!("migrations/0003_records.sql") },
    Migration { version: 4, name: "sealing", sql: include_str!("migrations/0004_sealing.sql") },
    Migration { version: 5, name: "leases", sql: include_str!("migrations/0005_leases.sql") },
    Migration { version: 6, name: "positions", sql: include_str!("migrations/0006_positions.sql") },
    Migration { version: 7, name: "learning", sql: include_str!("migrations/0007_learning.sql") },
    Migration { version: 8, name: "append", sql: include_str!("migrations/0008_append.sql") },
    Migration { version: 9, name: "publications", sql: include_str!("migrations/0009_publications.sql") },
    Migration { version: 10, name: "times", sql: include_str!("migrations/0010_times.sql") },
    Migration { version: 11, name: "confirmations", sql: include_str!("migrations/0011_confirmations.sql") },
    Migration { version: 12, name: "revealing", sql: include_str!("migrations/0012_revealing.sql") },
    Migration { version: 13, name: "suspects", sql: include_str!("migrations/0013_suspects.sql") },
    Migration { version: 14, name: "tries", sql: include_str!("migrations/0014_tries.sql") },
    Migration { version: 15, name: "whose", sql: include_str!("migrations/0015_whose.sql") },
];

/// What says which migrations were applied. Never changed: every release reads it.
const BOOTSTRAP: &str = "CREATE TABLE IF NOT EXISTS migration (
    version int PRIMARY KEY,
    name text NOT NULL,
    sha256 bytea NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp())";

/// A migration may take so long, with the wait for another process that migrates.
const PATIENTLY: &str = "BEGIN; SET LOCAL lock_timeout TO 0; SET LOCAL statement_timeout TO '1h'";

/// Two that migrate one schema take turns. The first number is only ours.
const TAKE_TURNS: &str = "SELECT pg_advisory_xact_lock(7233139, hashtext(current_setting('search_path')))";

/// The oldest PostgreSQL that can drop a partition without stopping those who append.
const OLDEST_SERVER: i32 = 140_000;

/// A migration that the database has.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Applied {
    /// Its place in the order, from 1.
    pub version: i32,
    /// Its name.
    pub name: String,
    /// When it was applied, by the database's clock.
    pub at: Timestamp,
}

/// How far a schema has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct MigrationState {
    /// What was applied, oldest first. More than this program knows when a later release migrated: that is allowed.
    pub applied: Vec<Applied>,
    /// What this program has and the database has not, oldest first.
    pub missing: Vec<String>,
}

/// Why a schema cannot be used or brought forward.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SchemaError {
    /// The server is older than what is needed.
    #[error("PostgreSQL {found} is too old; 14 is the oldest that is supported")]
    Server {
        /// Its version.
        found: String,
    },
    /// What was applied under this version is not what this program has.
    #[error(
        "migration {version} ({name}) of the schema is not the one that this program knows; was it edited?"
    )]
    Differs {
        /// Its version.
        version: i32,
        /// Its name, as this program has it.
        name: &'static str,
    },
    /// The database refused or could not be reached.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
}

/// How far the schema has come. Changes nothing.
pub async fn migrations(database: &Database) -> Result<MigrationState, SchemaError> {
    let session = database.session().await?;
    server_is_young_enough(&session).await?;
    let there = session.query_one("SELECT to_regclass('migration') IS NOT NULL", &[]).await?;
    let applied = if column(&there, 0)? { applied(&session).await? } else { Vec::new() };
    let missing = MIGRATIONS.iter().skip(applied.len()).map(|it| it.name.to_owned()).collect();
    Ok(MigrationState { applied, missing })
}

/// Applies what is missing and returns it. Any number of processes may do this at once, and older ones may be at work.
pub async fn migrate(database: &Database) -> Result<Vec<Applied>, SchemaError> {
    let before = migrations(database).await?.applied.len();
    for migration in MIGRATIONS.iter().skip(before) {
        let session = database.session().await?;
        session.sound_after(apply(&session, database.schema(), migration)).await?;
    }
    Ok(migrations(database).await?.applied.split_off(before))
}

async fn server_is_young_enough(session: &Session) -> Result<(), SchemaError> {
    let row = session
        .query_one(
            "SELECT current_setting('server_version_num')::int, current_setting('server_version')",
            &[],
        )
        .await?;
    if column::<i32>(&row, 0)? < OLDEST_SERVER {
        return Err(SchemaError::Server { found: column(&row, 1)? });
    }
    Ok(())
}

/// What was applied, held against what this program has.
async fn applied(session: &Session) -> Result<Vec<Applied>, SchemaError> {
    const APPLIED: &str = "SELECT version, name, sha256,
        floor(extract(epoch FROM applied_at) * 1000000)::bigint FROM migration ORDER BY version";
    let mut found = Vec::new();
    for row in session.query(APPLIED, &[]).await? {
        let version = column(&row, 0)?;
        let known = MIGRATIONS.iter().find(|migration| migration.version == version);
        if let Some(known) = known.filter(|known| column::<&[u8]>(&row, 2).ok() != Some(&digest(known)[..])) {
            return Err(SchemaError::Differs { version, name: known.name });
        }
        let at = Timestamp::from_micros(column(&row, 3)?);
        found.push(Applied { version, name: column(&row, 1)?, at });
    }
    Ok(found)
}

/// Not bounded on this side: an index over a large table takes its time.
async fn apply(session: &Session, schema: &str, migration: &Migration) -> Result<(), PostgresError> {
    let client = session.client()?;
    let lock_timeout = client.query_one("SELECT current_setting('lock_timeout')", &[]).await?;
    let lock_timeout: String = column(&lock_timeout, 0)?;
    client.batch_execute(PATIENTLY).await?;
    client.batch_execute(TAKE_TURNS).await?;
    // What appends need is not waited for so long: they would queue behind us.
    client.batch_execute(&format!("SET LOCAL lock_timeout TO '{lock_timeout}'")).await?;
    // Asked first, because IF NOT EXISTS wants the right to make one even where there is one.
    let there = client.query_opt("SELECT FROM pg_namespace WHERE nspname = $1", &[&schema]).await?;
    if there.is_none() {
        client.batch_execute(&format!("CREATE SCHEMA \"{schema}\"")).await?;
    }
    client.batch_execute(BOOTSTRAP).await?;
    let done = client.query_opt("SELECT FROM migration WHERE version = $1", &[&migration.version]).await?;
    if done.is_none() {
        client.batch_execute(migration.sql).await?;
        let note = "INSERT INTO migration (version, name, sha256) VALUES ($1, $2, $3)";
        let digest = digest(migration);
        client.execute(note, &[&migration.version, &migration.name, &&digest[..]]).await?;
    }
    Ok(client.batch_execute("COMMIT").await?)
}

fn digest(migration: &Migration) -> [u8; 32] {
    Sha256::digest(migration.sql).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_go_up_by_one() {
        let versions: Vec<_> = MIGRATIONS.iter().map(|migration| migration.version).collect();
        assert_eq!(
            versions,
            (1..=versions.len()).map(|version| i32::try_from(version).expect("few")).collect::<Vec<_>>()
        );
    }
}
