//! Room `app`: what is done now and then, beside the road: reload of mappings and secrets, the scrub, retention.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use metrics::{counter, gauge};
use serde_json::json;
use tokio::{
    signal::unix::Signal,
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use super::free_bytes;
use crate::{
    clock::Clock,
    config::{LedgerConfig, MappingsConfig, RetentionConfig},
    ledger::{JournalEntry, Ledger, LogItem, Records},
    model::EntryNumber,
    partners::{DeskSources, DeskState, Fingerprint, MappingsFolder, Registry, SecretsFrom, fingerprint},
    telemetry::metrics::{
        DESK_STATE, LEDGER_FREE_BYTES, RELOADS, Recorder, SCRUB_DAMAGED_ENTRIES, SCRUB_THROUGH_NUMBER,
        TIDY_EVERY,
    },
};

/// Retention looks this often for segments to drop.
const RETENTION_EVERY: Duration = Duration::from_mins(1);
/// The scrub reads this often; how much each time follows from `scrub_bytes_per_second`.
const SCRUB_EVERY: Duration = Duration::from_secs(10);

/// Keeps the registry as the folder is.
pub(super) struct Reloader {
    pub(super) registry: Arc<Registry>,
    pub(super) records: Arc<dyn Records>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) mappings: MappingsConfig,
    pub(super) secrets: SecretsFrom,
    pub(super) seen: Option<Fingerprint>,
}

/// The latest good desks that the ledger keeps.
pub(super) async fn last_good_desks(records: &dyn Records) -> anyhow::Result<BTreeMap<String, DeskSources>> {
    let mut desks = BTreeMap::new();
    for (key, _, sources) in records.last_desks().await? {
        desks.insert(key, serde_json::from_slice(&sources)?);
    }
    Ok(desks)
}

impl Reloader {
    /// Takes the folder in as it is now; keeps newly good desks in the ledger. Returns how many partners are broken.
    pub(super) async fn reload(&mut self) -> anyhow::Result<usize> {
        let folder = MappingsFolder::read(&self.mappings.path)?;
        let last_good = last_good_desks(&*self.records).await?;
        let report = self.registry.reload(&folder, &last_good, self.secrets);
        for desk in &report.good {
            let sources = serde_json::to_vec(&desk.sources)?;
            self.records.keep_desk(&desk.key, &desk.revision, &sources, self.clock.now()).await?;
            tracing::info!(desk = desk.key, revision = %desk.revision, "desk ready");
        }
        for (partner, problems) in &report.problems {
            let snapshot = self.registry.snapshot();
            let state = snapshot.desks.get(partner.as_str()).map_or("unreadable", DeskState::as_str);
            for problem in problems {
                tracing::error!(partner, state, code = problem.code, "{problem}");
            }
        }
        self.tell_desk_states();
        self.seen = Some(folder.fingerprint());
        let result = if report.problems.is_empty() { "ready" } else { "problems" };
        counter!(RELOADS, "result" => result).increment(1);
        Ok(report.problems.len())
    }

    fn tell_desk_states(&self) {
        for (partner, state) in &self.registry.snapshot().desks {
            for word in ["ready", "last_good", "broken"] {
                let value = f64::from(u8::from(word == state.as_str()));
                gauge!(DESK_STATE, "partner" => partner.to_string(), "state" => word).set(value);
            }
        }
    }

    /// Polls the folder's content hash, and reloads on SIGHUP at once. A folder that cannot be read changes nothing.
    pub(super) async fn run(
        mut self,
        mut hang_up: Signal,
        mut stop: watch::Receiver<bool>,
    ) -> anyhow::Result<()> {
        let mut poll = interval(self.mappings.poll.0.max(Duration::from_millis(10)));
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let forced = tokio::select! {
                _ = poll.tick() => false,
                _ = hang_up.recv() => true,
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
            };
            let now = fingerprint(&self.mappings.path).ok();
            if forced || (now.is_some() && now != self.seen) {
                if let Err(error) = self.reload().await {
                    tracing::error!("the mappings were not reloaded: {error:#}");
                }
            } else {
                self.registry.refresh_keys(self.secrets);
            }
        }
    }
}

/// Moves raw samples of metrics into their buckets, and looks at what nobody counts: the free space.
pub(super) async fn tidy_metrics(
    recorder: Recorder,
    data_dir: PathBuf,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let mut pace = interval(TIDY_EVERY);
    loop {
        tokio::select! {
            _ = pace.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
        recorder.tidy();
        if let Ok(free) = free_bytes(&data_dir) {
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
            gauge!(LEDGER_FREE_BYTES).set(free as f64);
        }
    }
}

/// Reads the whole log again and again, slowly, looking for damage.
pub(super) async fn scrub(
    ledger: Ledger,
    config: LedgerConfig,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let bytes = config.scrub_bytes_per_second.saturating_mul(SCRUB_EVERY.as_secs());
    if bytes == 0 {
        return Ok(());
    }
    let mut after = EntryNumber(0);
    let mut pace = interval(SCRUB_EVERY);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = pace.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
        after = after.max(EntryNumber(ledger.log.first().0.saturating_sub(1)));
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        match ledger.log.scrub(after, bytes).await {
            Ok((damage, through)) => {
                damage.iter().for_each(report_damage);
                // At the end it begins anew: bits rot in old segments too.
                after = if through > after { through } else { EntryNumber(0) };
                #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
                gauge!(SCRUB_THROUGH_NUMBER).set(after.0 as f64);
            }
            Err(error) => tracing::warn!("the scrub could not read: {error}"),
        }
    }
}

fn report_damage(item: &LogItem) {
    if let LogItem::Damaged { first, last, detail } = item {
        counter!(SCRUB_DAMAGED_ENTRIES).increment(last.0 - first.0 + 1);
        tracing::error!(%first, %last, "the intake log is damaged: {detail}");
    }
}

/// Drops segments whose deliveries are all older than the retention, never past a cursor or an open dead letter.
pub(super) async fn retention(
    ledger: Ledger,
    config: RetentionConfig,
    clock: Arc<dyn Clock>,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let Some(keep) = config.payloads else { return Ok(()) };
    let mut pace = interval(RETENTION_EVERY);
    loop {
        tokio::select! {
            _ = pace.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
        if let Err(error) = drop_old(&ledger, keep.0, &*clock).await {
            tracing::warn!("retention could not drop anything: {error:#}");
        }
    }
}

/// One round of retention. Returns the first number left.
pub(super) async fn drop_old(
    ledger: &Ledger,
    keep: Duration,
    clock: &dyn Clock,
) -> anyhow::Result<EntryNumber> {
    let cursors = ledger.records.cursors().await?;
    let mut through = cursors.iter().map(|(_, through)| *through).min().unwrap_or_default();
    if let Some(pinned) = ledger.records.lowest_open_dead_letter().await? {
        through = through.min(EntryNumber(pinned.0.saturating_sub(1)));
    }
    let before = ledger.log.first();
    let now = clock.now();
    let first = ledger.log.prune(now.minus(keep), through).await?;
    if first > before {
        let entry = JournalEntry {
            at: now,
            who: "system".to_owned(),
            act: "retention.dropped".to_owned(),
            subject: format!("entries {before} to {}", first.0 - 1),
            detail: json!({ "keep": keep.as_secs(), "first_left": first }),
        };
        ledger.records.journal(entry).await?;
    }
    Ok(first)
}
