//! Room `ledger`, PostgreSQL: what a server promises: whether it keeps what it confirms, how many it serves, and which key
//! the ledger's credentials are sealed with.

use super::{Database, PostgresError, column};

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its version.
    pub version: String,
    /// How many connections it takes, of everybody together.
    pub max_connections: usize,
}

/// Asks the server about itself.
pub async fn server(database: &Database) -> Result<Server, PostgresError> {
    const ABOUT: &str =
        "SELECT current_setting('server_version'), current_setting('max_connections')::bigint";
    let row = database.session().await?.query_one(ABOUT, &[]).await?;
    let max_connections = usize::try_from(column::<i64>(&row, 1)?).unwrap_or_default();
    Ok(Server { version: column(&row, 0)?, max_connections })
}

/// Why this server may lose a commit that it confirmed to us; nothing when it keeps them. What others' sessions are told is
/// not looked at: every connection of ours has `synchronous_commit` at least `on`.
pub async fn weaknesses(database: &Database) -> Result<Vec<String>, PostgresError> {
    const SETTINGS: &str = "SELECT name FROM pg_settings
        WHERE name IN ('fsync', 'full_page_writes') AND setting <> 'on' ORDER BY name";
    let session = database.session().await?;
    let mut weak = Vec::new();
    for row in session.query(SETTINGS, &[]).await? {
        weak.push(format!("{} is off", column::<String>(&row, 0)?));
    }
    let row = session.query_one("SELECT current_setting('synchronous_commit')", &[]).await?;
    let commit: String = column(&row, 0)?;
    if commit != "on" && commit != "remote_apply" {
        weak.push(format!("synchronous_commit is {commit} although we set it"));
    }
    Ok(weak)
}

/// What the server, the database or the role says of `synchronous_commit` to those who do not set it themselves; `None` when
/// that is safe.
pub async fn unsafe_default(database: &Database) -> Result<Option<String>, PostgresError> {
    const DEFAULT: &str = "SELECT reset_val FROM pg_settings
        WHERE name = 'synchronous_commit' AND reset_val NOT IN ('on', 'remote_apply', 'remote_write')";
    let session = database.session().await?;
    session.query_opt(DEFAULT, &[]).await?.map(|row| column(&row, 0)).transpose()
}

/// Notes which key seals, unless one is noted; returns the one that is.
pub async fn note_sealing_key(database: &Database, key_id: &str) -> Result<String, PostgresError> {
    const NOTE: &str = "UPDATE ledger SET sealing_key = COALESCE(sealing_key, $1) RETURNING sealing_key";
    let row = database.session().await?.query_one(NOTE, &[&key_id]).await?;
    column(&row, 0)
}

/// Which key is noted to seal; `None` before the first process has sealed, or before the migration that notes it.
pub async fn noted_sealing_key(database: &Database) -> Result<Option<String>, PostgresError> {
    const THERE: &str = "SELECT EXISTS (SELECT FROM information_schema.columns
        WHERE table_schema = current_schema() AND table_name = 'ledger' AND column_name = 'sealing_key')";
    let session = database.session().await?;
    if !column::<bool>(&session.query_one(THERE, &[]).await?, 0)? {
        return Ok(None);
    }
    let row = session.query_opt("SELECT sealing_key FROM ledger", &[]).await?;
    Ok(row.map(|row| column(&row, 0)).transpose()?.flatten())
}
