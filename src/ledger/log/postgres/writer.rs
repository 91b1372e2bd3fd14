//! Room `ledger`, the log over PostgreSQL: the writing half. One call a batch; tries once, and says what is known of it. An
//! endpoint is made known before its first entry, so that every endpoint that has one has a cursor and can be leased.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use tokio_postgres::{Row, Statement, types::ToSql};

use super::{
    ENTRIES,
    progress::Progress,
    rows::{checksum, length, whose, whose_checksum},
    signed, unsigned,
};
use crate::{
    ledger::{
        AppendError, Appended, EncodedEntry, IntakeLog,
        postgres::{Database, Dedicated, PostgresError, column, cover},
    },
    model::{EndpointName, EntryNumber, Timestamp},
    telemetry::Outage,
};

const APPEND: &str = "CALL append_entries($1, $2, $3, $4, $5, $6, $7, $8, $9, NULL, NULL)";

const REGISTER: &str = "SELECT register_endpoints($1, $2)";

/// When partitions could not be made ahead of time, the next attempt comes so much later.
const COVER_AGAIN: Duration = Duration::from_mins(1);

/// The writer of a log over PostgreSQL. Connects when it has something to append, and again after any failure.
#[derive(Debug)]
pub struct PostgresLog {
    database: Database,
    progress: Arc<Progress>,
    partition: Duration,
    connection: Option<Connection>,
    /// For these times (the last one excluded) there are partitions.
    covered: Option<(Timestamp, Timestamp)>,
    uncovered: Outage,
}

#[derive(Debug)]
struct Connection {
    server: Dedicated,
    append: Statement,
    register: Statement,
    /// What the server knows, as batches name it. Not for longer than the connection: another server may take over that knows
    /// less.
    known: HashMap<EndpointName, i64>,
}

impl Connection {
    /// Makes the entries' endpoints known; costs nothing when they are. Committed when this returns.
    async fn register(&mut self, entries: &[EncodedEntry]) -> Result<(), PostgresError> {
        let new = entries.iter().map(EncodedEntry::endpoint).filter(|name| !self.known.contains_key(*name));
        let new: BTreeSet<_> = new.collect();
        if new.is_empty() {
            return Ok(());
        }
        let partners: Vec<_> = new.iter().map(|name| name.partner.as_bytes()).collect();
        let names: Vec<_> = new.iter().map(|name| name.endpoint.as_bytes()).collect();
        let parameters: [&(dyn ToSql + Sync); 2] = [&partners, &names];
        self.server.bounded(self.server.client().query(&self.register, &parameters)).await?;
        self.known.extend(new.into_iter().map(|name| (name.clone(), whose(name))));
        Ok(())
    }
}

impl PostgresLog {
    pub(super) fn new(database: Database, progress: Arc<Progress>, partition: Duration) -> Self {
        let uncovered = Outage::of("no partition of the intake log can be made ahead of time");
        Self { database, progress, partition, connection: None, covered: None, uncovered }
    }

    async fn connected(&mut self) -> Result<Connection, PostgresError> {
        if let Some(connection) = self.connection.take().filter(|connection| !connection.server.is_over()) {
            return Ok(connection);
        }
        // Another server may have taken over that has fewer.
        self.covered = None;
        let server = self.database.dedicated().await?;
        let append = server.prepare(APPEND).await?;
        let register = server.prepare(REGISTER).await?;
        Ok(Connection { server, append, register, known: HashMap::new() })
    }

    /// Sees to it that there is a partition for `now`. A failure is no reason not to try: there are some ahead of time.
    async fn cover(&mut self, server: &Dedicated, now: Timestamp) {
        if self.covered.is_some_and(|(from, to)| from <= now && now < to) {
            return;
        }
        let made = server.bounded(cover(server.client(), ENTRIES, now, self.partition)).await;
        let until = self.uncovered.told(made).unwrap_or_else(|| now.plus(COVER_AGAIN));
        self.covered = Some((now, until));
    }
}

#[async_trait]
impl IntakeLog for PostgresLog {
    async fn append(&mut self, now: Timestamp, entries: &[EncodedEntry]) -> Result<Appended, AppendError> {
        let mut connection = self.connected().await.map_err(|error| not_sent(&error))?;
        connection.register(entries).await.map_err(|error| not_sent(&error))?;
        let batch = Batch::of(entries, &connection.known)?;
        self.cover(&connection.server, now).await;
        // A failure leaves no connection: the next append begins with one that owes nobody an answer.
        let row = batch.send(&connection, now).await.map_err(|error| not_confirmed(&error))?;
        if connection.server.warned() {
            let why = "PostgreSQL no longer waited for a standby; the batch is on one machine only";
            return Err(AppendError::Unconfirmed(why.to_owned()));
        }
        let appended = appended(&row).map_err(|error| not_confirmed(&error))?;
        self.connection = Some(connection);
        self.progress.appended(EntryNumber(appended.first.0 + entries.len() as u64 - 1));
        Ok(appended)
    }
}

fn appended(row: &Row) -> Result<Appended, PostgresError> {
    let first = EntryNumber(unsigned(column(row, 0)?)?);
    Ok(Appended { first, received_at: Timestamp::from_micros(column(row, 1)?) })
}

/// A batch as the procedure takes it.
struct Batch<'a> {
    key: i64,
    size: i64,
    whose: Vec<i64>,
    lengths: Vec<i32>,
    checksums: Vec<i64>,
    metas: Vec<&'a [u8]>,
    bodies: Vec<&'a [u8]>,
}

impl<'a> Batch<'a> {
    fn of(entries: &'a [EncodedEntry], known: &HashMap<EndpointName, i64>) -> Result<Self, AppendError> {
        let mut chance = [0; 8];
        getrandom::fill(&mut chance).map_err(|error| AppendError::NotWritten(error.to_string()))?;
        let key = i64::from_le_bytes(chance);
        let parts = || (1..).zip(entries.iter());
        let named = |name: &EndpointName| known.get(name).copied().unwrap_or_else(|| whose(name));
        Ok(Self {
            key,
            size: signed(entries.iter().map(|entry| entry.size() as u64).sum()),
            whose: entries.iter().map(|entry| named(entry.endpoint())).collect(),
            lengths: entries.iter().map(|entry| length(entry.size())).collect(),
            checksums: parts().map(|(place, it)| checksum(key, place, it.meta(), it.body())).collect(),
            metas: entries.iter().map(|entry| &entry.meta()[..]).collect(),
            bodies: entries.iter().map(|entry| &entry.body()[..]).collect(),
        })
    }

    async fn send(&self, connection: &Connection, now: Timestamp) -> Result<Row, PostgresError> {
        let Self { key, size, whose, lengths, checksums, metas, bodies } = self;
        let (now, whose_checksum) = (now.micros(), whose_checksum(*key, whose, lengths));
        let client = connection.server.client();
        let parameters: [&(dyn ToSql + Sync); 9] =
            [&now, key, size, whose, lengths, &whose_checksum, checksums, metas, bodies];
        let call = client.query_one(&connection.append, &parameters);
        connection.server.bounded(call).await
    }
}

fn not_sent(error: &PostgresError) -> AppendError {
    AppendError::NotWritten(error.to_string())
}

/// What a failed call leaves. A statement that refuses its data or its terms does so before the first commit, so nothing was
/// kept. Whatever can come later too leaves that open: what the server lacks (class 53), an intervention (57), an error of
/// the system (58, XX), and an answer that never came.
fn not_confirmed(error: &PostgresError) -> AppendError {
    let later = |state: &str| ["53", "57", "58", "XX"].iter().any(|class| state.starts_with(class));
    match error.state() {
        Some(state) if !later(state) => AppendError::NotWritten(error.to_string()),
        _ => AppendError::Unconfirmed(error.to_string()),
    }
}
