//! Room `app`: what waits for stage 1, told from the ledger and not by the stage: one that is stuck tells nothing.

use std::time::Duration;

use metrics::gauge;

use crate::{
    clock::Clock,
    ledger::{Ledger, LogItem},
    model::EntryNumber,
    telemetry::metrics::{TRANSLATION_LAG_ENTRIES, TRANSLATION_LAG_SECONDS},
};

/// Tells how many entries wait for stage 1, and how old the oldest of them is.
pub(super) async fn tell(ledger: &Ledger, clock: &dyn Clock) -> anyhow::Result<()> {
    let cursors = ledger.records.cursors().await?;
    let durable = ledger.log.durable();
    let numbers = || cursors.iter().map(|(_, through)| *through);
    let waiting = durable.0.saturating_sub(numbers().max().unwrap_or_default().0);
    // An endpoint that stands still keeps its cursor right before its first entry that waits.
    let oldest = numbers().min().unwrap_or_default().next();
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; lags are far below 2^52")]
    gauge!(TRANSLATION_LAG_ENTRIES).set(waiting as f64);
    gauge!(TRANSLATION_LAG_SECONDS).set(age(ledger, oldest, clock).await?.as_secs_f64());
    Ok(())
}

/// How long ago an entry was accepted; nothing when there is none, or its time cannot be read any more.
async fn age(ledger: &Ledger, number: EntryNumber, clock: &dyn Clock) -> anyhow::Result<Duration> {
    if number > ledger.log.durable() || number < ledger.log.first() {
        return Ok(Duration::ZERO);
    }
    Ok(match ledger.log.entry(number).await? {
        Some(LogItem::Entry(entry)) => clock.now().since(entry.received_at),
        _ => Duration::ZERO,
    })
}
