//! Room `app`: a ledger in PostgreSQL, which any number of processes share. The data folder keeps only what belongs to this
//! process: the crash note, and how verbs on this machine reach it.

use std::sync::Arc;

use anyhow::{Context, bail};
use metrics::gauge;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use super::{
    database::{database, sealing_key},
    ledger::Opened,
};
use crate::{
    config::{Config, LedgerConfig},
    keys::seal::Sealer,
    ledger::{
        IntakeLog, Leases, Ledger, PostgresLeases, Records, SuspectRecords, Takes,
        log::{
            lock::FolderLock,
            postgres::{self, PostgresReader},
        },
        postgres::{
            Database, migrations, note_sealing_key, noted_sealing_key, server, unsafe_default, weaknesses,
        },
        records::PostgresRecords,
    },
    model::{EntryNumber, EventNumber, Tenure},
    pipeline::{LeaseKeeper, LeasePace},
    telemetry::metrics::LEDGER_REACHABLE,
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

/// The other processes of the ledger: what they append and commit, and how the work is shared with them.
pub(super) struct Others {
    log: PostgresReader,
    records: Arc<dyn Records>,
    leases: Arc<dyn Leases>,
    suspects: Arc<dyn SuspectRecords>,
}

impl Others {
    /// Changes with the last number of the intake log, whoever gave it.
    pub(super) fn news(&self) -> watch::Receiver<EntryNumber> {
        self.log.news()
    }

    /// What is known of processes that died at work.
    pub(super) fn suspects(&self) -> Arc<dyn SuspectRecords> {
        Arc::clone(&self.suspects)
    }

    /// Keeps this process's leases: of endpoints and of brokers, as its roles say.
    pub(super) fn keeper(&self, config: &Config) -> LeaseKeeper {
        let roles = config.process.roles;
        let brokers = config.broker.iter().filter(|_| roles.publish).map(|broker| broker.name.clone());
        let takes = Takes { endpoints: roles.translate, brokers: brokers.collect() };
        let pace = LeasePace { lasts: config.ledger.lease.0, renewal: config.ledger.lease_renewal.0 };
        LeaseKeeper::new(Arc::clone(&self.leases), takes, pace)
    }

    /// Asks again and again what others did, and tells those who wait for it. While PostgreSQL cannot be asked, `reachable`
    /// says why.
    pub(super) async fn follow(
        self,
        config: LedgerConfig,
        committed: watch::Sender<EventNumber>,
        reachable: watch::Sender<Option<String>>,
        mut stop: watch::Receiver<bool>,
    ) -> anyhow::Result<()> {
        let mut pace = interval(config.poll.0);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut tenure = self.records.tenure();
        loop {
            tokio::select! {
                _ = pace.tick() => {}
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
            }
            tell(&reachable, self.look(&mut tenure, &committed).await);
        }
    }

    async fn look(&self, tenure: &mut Tenure, committed: &watch::Sender<EventNumber>) -> anyhow::Result<()> {
        let now = self.records.tenure();
        self.log.look().await.context("the intake log")?;
        let last = self.records.last_event().await.context("the records")?;
        committed.send_if_modified(|known| {
            // Under another server the numbers may begin further back; otherwise this answer may be older than a commit.
            let news = *known < last || now != *tenure;
            *known = if now == *tenure { last.max(*known) } else { last };
            news
        });
        *tenure = now;
        Ok(())
    }
}

/// One line when it changes, and a metric.
fn tell(reachable: &watch::Sender<Option<String>>, looked: anyhow::Result<()>) {
    let why = looked.err().map(|error| format!("PostgreSQL cannot be asked: {error:#}"));
    gauge!(LEDGER_REACHABLE).set(if why.is_none() { 1.0 } else { 0.0 });
    reachable.send_if_modified(|known| {
        let changed = known.is_some() != why.is_some();
        match &why {
            Some(why) if changed => {
                tracing::error!("{why}; what cannot be kept is answered 503, and the stages wait");
            }
            None if changed => tracing::info!("PostgreSQL answers again"),
            _ => {}
        }
        *known = why;
        changed
    });
}
