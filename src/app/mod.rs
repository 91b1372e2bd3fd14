//! Room `app`: the composition root: configuration → adapters → a running gateway. The only room that names concrete
//! adapters. [`House`] is everything composed and nothing running; [`Gateway`] runs it; [`Rehearsal`] steps it by hand.

mod brokers;
mod confirmer;
mod database;
mod embedded;
mod gateway;
mod house;
mod lag;
mod learning;
mod ledger;
mod memory;
mod others;
mod processors;
mod readiness;
mod rehearsal;
mod reloader;
mod revealing;
mod serving;
mod shared;
mod stage_threads;
mod upkeep;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use tokio::signal::unix::{SignalKind, signal};

pub use brokers::try_broker;
pub use database::database;
pub use embedded::LogNotBegun;
pub use gateway::{Gateway, bind};
pub use house::{House, Options};
pub use ledger::{Acts, Entries, has_ledger, open_for_acts, open_for_entries, open_read_only};
pub use memory::{look_at_memory, memory_needed};
pub use rehearsal::{Answered, Rehearsal};
pub use serving::Serving;
pub use shared::{Examined, examine_database};

use crate::{
    clock::{Clock, SystemClock},
    config::Config,
    keys::remote::RemoteKeys,
    ledger::log::files::{Files, OsFolder},
    model::Timestamp,
    partners::{MappingsFolder, Registry, SecretsFrom},
    signatures::Roots,
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

/// Who fetches the keys that providers publish, and who may vouch for their certificates, as `serve` has them.
pub fn remote_keys(config: &Config) -> anyhow::Result<(RemoteKeys, Roots)> {
    let keys = RemoteKeys::new(&config.keys, Arc::new(SystemClock))?;
    let roots = house::roots(&keys)?;
    Ok((keys, roots))
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
    let mut folder = MappingsFolder::read(&config.mappings.path)?.at(config.intake.public_url.clone());
    if let Some(only) = only {
        folder.partners.retain(|partner, _| partner == only);
        last_good.retain(|key, _| key.split('/').next() == Some(only));
    }
    let registry = Arc::new(Registry::default());
    registry.reload(&folder, &last_good, secrets);
    Ok(registry)
}
