//! Room `app`: the composition root: configuration → adapters → a running gateway. The only room that names concrete
//! adapters. [`House`] is everything composed and nothing running; [`Gateway`] runs it; [`Rehearsal`] steps it by hand.

mod brokers;
mod database;
mod embedded;
mod gateway;
mod house;
mod lag;
mod readiness;
mod rehearsal;
mod reloader;
mod serving;
mod upkeep;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use tokio::signal::unix::{SignalKind, signal};

pub use brokers::try_broker;
pub use database::database;
pub use gateway::{Gateway, bind};
pub use house::{House, Options, Stages};
pub use rehearsal::{Answered, Rehearsal};
pub use serving::Serving;

use crate::{
    clock::{Clock, SystemClock},
    config::Config,
    ledger::{
        Ledger, Records,
        group_commit::GroupCommit,
        log::{
            files::{Files, OsFolder},
            lock::FolderLock,
        },
    },
    model::Timestamp,
    partners::{MappingsFolder, Registry, SecretsFrom},
};

/// Free bytes on the disk of a folder.
pub fn free_bytes(folder: &Path) -> std::io::Result<u64> {
    OsFolder::open(folder)?.free_bytes()
}

/// The present, for verbs.
pub fn now() -> Timestamp {
    SystemClock.now()
}

/// Listens from this call on for the wish to stop (SIGTERM or SIGINT); what it returns completes when it came. Call it
/// inside a tokio runtime, before the doors open, so that an early signal is not the end of the process.
pub fn asked_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Opens the ledger to read, beside a running server or without one.
pub async fn open_read_only(config: &Config) -> anyhow::Result<Ledger> {
    embedded::open_read_only(&config.ledger).await
}

/// Whether a data folder holds a ledger, or what is left of one.
pub fn has_ledger(config: &Config) -> bool {
    embedded::has_begun(&config.ledger.data_dir)
}

/// The records, open for an act of a person while no server runs.
pub struct Acts {
    /// The records.
    pub records: Arc<dyn Records>,
    _lock: FolderLock,
}

/// Opens the records for an act of a person while no server runs.
pub fn open_for_acts(config: &Config) -> anyhow::Result<Acts> {
    let (lock, records) = embedded::open_records_for_acts(&config.ledger)?;
    Ok(Acts { records, _lock: lock })
}

/// The ledger, open for replay requests while no server runs.
pub struct Entries {
    /// Where everything is read.
    pub ledger: Ledger,
    /// Where the requests go.
    pub log: GroupCommit,
    _lock: FolderLock,
}

/// Opens the ledger for replay requests while no server runs.
pub async fn open_for_entries(config: &Config) -> anyhow::Result<Entries> {
    let opened = embedded::open(&config.ledger).await?;
    let log = house::group_commit(Box::new(opened.writer), Arc::new(SystemClock), &config.ledger);
    Ok(Entries { ledger: opened.ledger, log, _lock: opened.lock })
}

/// Loads the partners as `serve` would, without serving: for verbs that list, verify and sign. `only` one of them, where
/// no other is asked about.
pub async fn load_partners(
    config: &Config,
    secrets: SecretsFrom,
    only: Option<&str>,
) -> anyhow::Result<Arc<Registry>> {
    let mut last_good = match open_read_only(config).await {
        Ok(ledger) => reloader::last_good_desks(&*ledger.records).await?,
        // None yet, or one that `doctor` has to look at: partners can be listed all the same.
        Err(_) => BTreeMap::new(),
    };
    let mut folder = MappingsFolder::read(&config.mappings.path)?;
    if let Some(only) = only {
        folder.partners.retain(|partner, _| partner == only);
        last_good.retain(|key, _| key.split('/').next() == Some(only));
    }
    let registry = Arc::new(Registry::default());
    registry.reload(&folder, &last_good, secrets);
    Ok(registry)
}
