//! Room `app`: which ledger: the one in the data folder, or the one in PostgreSQL that several processes share. Everybody
//! else holds traits and cannot tell.

use std::sync::Arc;

use super::{embedded, house, others::Others, shared};
use crate::{
    clock::SystemClock,
    config::{Config, LedgerConfig},
    keys::seal::Sealer,
    ledger::{IntakeLog, Ledger, Records, group_commit::GroupCommit, log::lock::FolderLock},
};

/// A ledger, open for work.
pub(super) struct Opened {
    /// The right to the data folder; held as long as anything may be written.
    pub(super) lock: FolderLock,
    /// The one writer of the intake log in this process.
    pub(super) writer: Box<dyn IntakeLog>,
    /// Where everything is read.
    pub(super) ledger: Ledger,
    /// What seals the credentials of its deliveries.
    pub(super) sealer: Sealer,
    /// The other processes that share it; `None` where there are none.
    pub(super) others: Option<Others>,
}

/// Opens the ledger for work. The embedded one is begun when there is none.
pub(super) async fn open(config: &LedgerConfig) -> anyhow::Result<Opened> {
    if config.url.is_some() { shared::open(config).await } else { embedded::open(config).await }
}

/// Opens the ledger to read, beside running servers or without one.
pub async fn open_read_only(config: &Config) -> anyhow::Result<Ledger> {
    let config = &config.ledger;
    if config.url.is_some() {
        shared::open_read_only(config).await
    } else {
        embedded::open_read_only(config).await
    }
}

/// Whether there is a ledger, or what is left of one.
pub async fn has_ledger(config: &Config) -> anyhow::Result<bool> {
    match &config.ledger.url {
        Some(_) => shared::has_begun(&config.ledger).await,
        None => Ok(embedded::has_begun(&config.ledger.data_dir)),
    }
}

/// The records, open for an act of a person while no server runs on the data folder.
pub struct Acts {
    /// The records.
    pub records: Arc<dyn Records>,
    /// Nobody else may write to embedded records; PostgreSQL sees to it itself.
    _lock: Option<FolderLock>,
}

/// Opens the records for an act of a person while no server runs on the data folder.
pub async fn open_for_acts(config: &Config) -> anyhow::Result<Acts> {
    if config.ledger.url.is_some() {
        return Ok(Acts { records: shared::open_read_only(&config.ledger).await?.records, _lock: None });
    }
    let (lock, records) = embedded::open_records_for_acts(&config.ledger).await?;
    Ok(Acts { records, _lock: Some(lock) })
}

/// The ledger, open for replay requests while no server runs on the data folder.
pub struct Entries {
    /// Where everything is read.
    pub ledger: Ledger,
    /// Where the requests go.
    pub log: GroupCommit,
    _lock: Option<FolderLock>,
}

/// Opens the ledger for replay requests while no server runs on the data folder. One that is not there is not begun.
pub async fn open_for_entries(config: &Config) -> anyhow::Result<Entries> {
    let config = &config.ledger;
    let (writer, ledger, lock) = if config.url.is_some() {
        let (writer, ledger) = shared::open_for_entries(config).await?;
        (writer, ledger, None)
    } else {
        drop(embedded::open_read_only(config).await?);
        let opened = embedded::open(config).await?;
        (opened.writer, opened.ledger, Some(opened.lock))
    };
    let log = house::group_commit(writer, Arc::new(SystemClock), config);
    Ok(Entries { ledger, log, _lock: lock })
}
