//! Room `app`: a ledger in PostgreSQL, which any number of processes share. The data folder keeps only what belongs to this
//! process: the crash note, and how verbs on this machine reach it.

use std::sync::Arc;

use anyhow::bail;

use super::{
    database::{database, sealing_key},
    ledger::Opened,
    others::Others,
};
use crate::{
    config::LedgerConfig,
    keys::seal::Sealer,
    ledger::{
        IntakeLog, Ledger, PostgresLeases,
        log::{lock::FolderLock, postgres},
        postgres::{
            Database, migrations, note_sealing_key, noted_sealing_key, server, unsafe_default, weaknesses,
        },
        records::PostgresRecords,
    },
};

/// Opens the ledger for work. Its schema was migrated before; a server that does not keep what it confirms is refused.
pub(super) async fn open(config: &LedgerConfig) -> anyhow::Result<Opened> {
    let lock = FolderLock::take(&config.data_dir)?;
    let database = database(config)?;
    migrated(&database).await?;
    durable(&database, config).await?;
    let sealer = sealer(&database, config).await?;
    let (writer, reader) = postgres::open(&database, config.partition.0).await?;
    let records = Arc::new(PostgresRecords::open(database.clone(), config.partition.0).await?);
    let leases = Arc::new(PostgresLeases::new(database, config.lease.0)?);
    let others = Others {
        log: reader.clone(),
        records: Arc::clone(&records) as _,
        leases,
        suspects: Arc::clone(&records) as _,
    };
    let ledger = Ledger { log: Arc::new(reader), records };
    Ok(Opened { lock, writer: Box::new(writer), ledger, sealer, others: Some(others) })
}

/// Opens the ledger for replay requests.
pub(super) async fn open_for_entries(config: &LedgerConfig) -> anyhow::Result<(Box<dyn IntakeLog>, Ledger)> {
    let database = database(config)?;
    migrated(&database).await?;
    durable(&database, config).await?;
    let (writer, reader) = postgres::open(&database, config.partition.0).await?;
    let records = Arc::new(PostgresRecords::open(database, config.partition.0).await?);
    Ok((Box::new(writer), Ledger { log: Arc::new(reader), records }))
}

/// Opens the ledger to read, and its records for acts: PostgreSQL orders what several do.
pub(super) async fn open_read_only(config: &LedgerConfig) -> anyhow::Result<Ledger> {
    let database = database(config)?;
    migrated(&database).await?;
    let records = Arc::new(PostgresRecords::open(database.clone(), config.partition.0).await?);
    // After the records, so that no cursor speaks of entries that the log is not known to hold.
    let log = Arc::new(postgres::open_to_read(&database).await?);
    Ok(Ledger { log, records })
}

/// What `doctor` says of a database.
pub struct Examined {
    /// Which server, and what the ledger takes of it.
    pub server: String,
    /// What is wrong, each with what to do.
    pub wrong: Vec<(String, String)>,
}

/// Looks at the database of the ledger. Changes nothing.
pub async fn examine_database(config: &LedgerConfig) -> anyhow::Result<Examined> {
    let database = database(config)?;
    let server = server(&database).await?;
    let mut wrong = Vec::new();
    if !config.accept_lossy_database {
        let help = "turn it on in PostgreSQL; a deliberate choice is said with ledger.accept_lossy_database";
        wrong.extend(weaknesses(&database).await?.into_iter().map(|weak| (weak, help.to_owned())));
        wrong.extend(unsafe_default(&database).await?.map(|default| {
            let found = format!("synchronous_commit is {default} for sessions that do not say otherwise");
            (found, format!("ours say otherwise, but a backup tool or a person may not; {help}"))
        }));
    }
    // Intake and the leases have one each beside the pool.
    let ours = config.connections + 2;
    if ours > server.max_connections {
        let found = format!(
            "one process takes up to {ours} connections, and the server has {}",
            server.max_connections
        );
        wrong.push((found, "lower ledger.connections or raise max_connections".to_owned()));
    }
    let noted = noted_sealing_key(&database).await?;
    match sealing_key(config) {
        Err(error) => wrong.push((format!("{error:#}"), "without it no process starts".to_owned())),
        Ok(sealer) => wrong.extend(noted.filter(|noted| noted != sealer.key_id()).map(|noted| {
            let found = format!("ledger.sealing_key is the key {}, the ledger's is {noted}", sealer.key_id());
            (found, "every process of a ledger needs the same key".to_owned())
        })),
    }
    let found = format!(
        "PostgreSQL {}; this process takes up to {ours} of its {} connections",
        server.version, server.max_connections
    );
    Ok(Examined { server: found, wrong })
}

/// Whether the schema holds a ledger, however far its migrations have come.
pub(super) async fn has_begun(config: &LedgerConfig) -> anyhow::Result<bool> {
    Ok(database(config)?.incarnation().await?.is_some())
}

async fn migrated(database: &Database) -> anyhow::Result<()> {
    let missing = migrations(database).await?.missing;
    if !missing.is_empty() {
        bail!(
            "the schema {} lacks migrations ({}); run `douane ledger migrate`",
            database.schema(),
            missing.join(", ")
        );
    }
    Ok(())
}

/// A 2xx says that a delivery is kept: a server that may forget what it confirmed is not worked with, unless someone who
/// knows says so.
async fn durable(database: &Database, config: &LedgerConfig) -> anyhow::Result<()> {
    let weak = weaknesses(database).await?;
    if weak.is_empty() {
        return Ok(());
    }
    let weak = weak.join("; ");
    if !config.accept_lossy_database {
        bail!(
            "this PostgreSQL may lose what it confirmed: {weak}; mend that, or set ledger.accept_lossy_database"
        );
    }
    tracing::error!(
        "deliveries answered with 2xx may be lost, as ledger.accept_lossy_database allows: {weak}"
    );
    Ok(())
}

/// All processes of a ledger seal with one key: the first one notes which.
async fn sealer(database: &Database, config: &LedgerConfig) -> anyhow::Result<Sealer> {
    let sealer = sealing_key(config)?;
    let noted = note_sealing_key(database, sealer.key_id()).await?;
    if noted != sealer.key_id() {
        bail!(
            "ledger.sealing_key is the key {}, and this ledger's credentials are sealed with the key {noted}: \
             every process of a ledger needs the same one",
            sealer.key_id()
        );
    }
    Ok(sealer)
}
