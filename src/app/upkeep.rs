//! Room `app`: what is done now and then, beside the road: metrics nobody else can tell, the scrub, retention.

use std::{path::PathBuf, sync::Arc, time::Duration};

use metrics::{counter, gauge};
use serde_json::json;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use super::{free_bytes, lag};
use crate::{
    clock::Clock,
    config::{LedgerConfig, RetentionConfig},
    ledger::{JournalEntry, Ledger, LogItem},
    model::{EntryNumber, Timestamp},
    telemetry::{
        Outage,
        metrics::{LEDGER_FREE_BYTES, Recorder, SCRUB_DAMAGED_ENTRIES, SCRUB_THROUGH_NUMBER, TIDY_EVERY},
    },
};

/// Retention looks this often for segments to drop.
const RETENTION_EVERY: Duration = Duration::from_mins(1);
/// The scrub reads this often; how much each time follows from `scrub_bytes_per_second`.
const SCRUB_EVERY: Duration = Duration::from_secs(10);

/// Moves raw samples of metrics into their buckets, and looks at what nobody counts: the free space, and what waits for
/// a stage that may be stuck. `disk` is the folder of the intake log, where it is in one; `brokers` are those that events are for.
pub(super) async fn tidy_metrics(
    recorder: Recorder,
    (disk, brokers): (Option<PathBuf>, Vec<String>),
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let mut pace = interval(TIDY_EVERY);
    let mut outage = Outage::of("the lag of translation is not known");
    let mut unpublished = Outage::of("the lag of the brokers is not known");
    loop {
        tokio::select! {
            _ = pace.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
        recorder.tidy();
        if let Some(Ok(free)) = disk.as_deref().map(free_bytes) {
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
            gauge!(LEDGER_FREE_BYTES).set(free as f64);
        }
        outage.told(lag::tell(&ledger, &*clock).await);
        unpublished.told(lag::tell_of_brokers(&ledger, &brokers, &*clock).await);
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
    let mut outage = Outage::of("the scrub cannot read");
    let mut pace = interval(SCRUB_EVERY);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = pace.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
        after = after.max(EntryNumber(ledger.log.first().0.saturating_sub(1)));
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let scrubbed = outage.told(ledger.log.scrub(after, bytes).await);
        let Some((damage, through)) = scrubbed else { continue };
        damage.iter().for_each(report_damage);
        // At the end it begins anew: bits rot in old segments too.
        after = if through > after { through } else { EntryNumber(0) };
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        gauge!(SCRUB_THROUGH_NUMBER).set(after.0 as f64);
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
    let mut outage = Outage::of("retention cannot drop anything");
    loop {
        tokio::select! {
            _ = pace.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
        outage.told(drop_old(&ledger, keep.0, &*clock).await);
    }
}

/// One round of retention.
async fn drop_old(ledger: &Ledger, keep: Duration, clock: &dyn Clock) -> anyhow::Result<()> {
    let (now, tenure) = (clock.now(), ledger.records.tenure());
    let through = droppable_through(ledger).await?;
    let left = ledger.log.prunable(now.minus(keep), through).await?;
    // Not by the cursors of a server that was lost since.
    if left > ledger.log.first() && ledger.records.tenure() == tenure {
        let through = EntryNumber(left.0 - 1);
        // Before any file goes: what a crash leaves in between is a file too many, never a log that begins too late.
        note_dropped(ledger, through, keep, now).await?;
        ledger.log.prune(now.minus(keep), through).await?;
    }
    Ok(())
}

async fn droppable_through(ledger: &Ledger) -> anyhow::Result<EntryNumber> {
    let cursors = ledger.records.cursors().await?;
    let through = cursors.iter().map(|(_, through)| *through).min().unwrap_or_default();
    let pinned = ledger.records.lowest_open_dead_letter().await?;
    Ok(pinned.map_or(through, |pinned| through.min(EntryNumber(pinned.0.saturating_sub(1)))))
}

async fn note_dropped(
    ledger: &Ledger,
    through: EntryNumber,
    keep: Duration,
    now: Timestamp,
) -> anyhow::Result<()> {
    let missing = ledger.missing_start().await?;
    let first = ledger.log.first().max(ledger.records.dropped_through().await?.next());
    let mut detail = json!({ "keep": keep.as_secs(), "first_left": through.next() });
    if let Some((from, to)) = missing {
        // From now on nothing else tells these from what retention dropped.
        detail["missing_before"] = json!(format!("{from} to {to}"));
    }
    let entry = JournalEntry {
        at: now,
        who: "system".to_owned(),
        act: "retention.dropped".to_owned(),
        subject: format!("entries {first} to {through}"),
        detail,
    };
    Ok(ledger.records.note_dropped(through, entry).await?)
}
