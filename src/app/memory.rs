//! Room `app`: from the settings of the shared memory to the memory. Nothing is connected here: whatever Redis does, the
//! ledger can answer.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Context;

use crate::{
    clock::Clock,
    config::DedupeConfig,
    dedupe::{Health, RedisAccess, RedisMemory, SharedMemory, Topology, look},
    ledger::Records,
    model::{EndpointName, EntryNumber, EventRef, Secret, SecretSource},
    partners::Snapshot,
};

/// The rate is that of so many latest external events.
const LATEST: usize = 20_000;

/// What Redis needs for an owner beside its id, as measured: the owner, the hash's own, the filter.
const OWNER_BYTES: u64 = 110;

/// The memory that `[dedupe]` names, for the ledger of these records; `None` when it names none.
pub(super) fn memory(
    config: &DedupeConfig,
    records: &Arc<dyn Records>,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Option<Arc<SharedMemory>>> {
    let Some(access) = access(config)? else { return Ok(None) };
    let memory = Arc::new(RedisMemory::new(records.incarnation(), access));
    let shared = SharedMemory::new(memory, Arc::clone(records) as _, Arc::clone(clock), config.pause.0)?;
    Ok(Some(Arc::new(shared)))
}

/// How the server of the memory is doing; `None` when there is none.
pub async fn look_at_memory(config: &DedupeConfig) -> anyhow::Result<Option<Health>> {
    match access(config)? {
        Some(access) => Ok(Some(look(&access).await?)),
        None => Ok(None),
    }
}

/// About the bytes that Redis needs for the window of every endpoint at the rate of the latest events through `last`, were
/// there always so many; `None` when there are too few to tell.
pub async fn memory_needed(
    records: &dyn Records,
    partners: &Snapshot,
    last: EntryNumber,
) -> anyhow::Result<Option<u64>> {
    let from = EntryNumber(last.0.saturating_sub(LATEST as u64));
    let page = records.owners_after(EventRef { number: from, ordinal: 0 }, LATEST).await?;
    let times = || page.owners.iter().map(|(_, _, owner)| owner.received_at);
    let (Some(first), Some(last)) = (times().min(), times().max()) else { return Ok(None) };
    let span = last.since(first).as_secs();
    if span == 0 {
        return Ok(None);
    }
    let mut sizes = BTreeMap::<&EndpointName, u64>::new();
    for (endpoint, id, _) in &page.owners {
        *sizes.entry(endpoint).or_default() += id.len() as u64 + OWNER_BYTES;
    }
    let needed = sizes.into_iter().map(|(endpoint, bytes)| {
        // A part more than the window is kept.
        let kept = window(partners, endpoint).as_secs().saturating_mul(5) / 4;
        bytes.saturating_mul(kept) / span
    });
    Ok(Some(needed.fold(0, u64::saturating_add)))
}

fn window(partners: &Snapshot, endpoint: &EndpointName) -> Duration {
    let desk = partners.desk_of(endpoint).and_then(|desk| desk.endpoints.get(&endpoint.endpoint));
    desk.map_or(Duration::ZERO, |desk| desk.identify.window)
}

fn access(config: &DedupeConfig) -> anyhow::Result<Option<RedisAccess>> {
    let Some(url) = config.url.clone() else { return Ok(None) };
    let topology = match &config.sentinel_master {
        Some(master) => Topology::Sentinel {
            master: master.clone(),
            password: secret("dedupe.sentinel_password", config.sentinel_password.as_ref())?,
        },
        None if config.cluster => Topology::Cluster,
        None => Topology::Single,
    };
    Ok(Some(RedisAccess {
        url,
        topology,
        user: config.user.clone(),
        password: secret("dedupe.password", config.password.as_ref())?,
        patience: config.patience.0,
        connect_timeout: config.connect_timeout.0,
    }))
}

fn secret(key: &'static str, source: Option<&SecretSource>) -> anyhow::Result<Option<Secret>> {
    source.map(|source| source.resolve().context(key)).transpose()
}
