//! Room `app`: what waits for the stages, told from the ledger and not by the stages: one that is stuck, or that runs nowhere,
//! tells nothing. Every process tells it.

use std::{collections::HashMap, time::Duration};

use metrics::gauge;

use crate::{
    clock::Clock,
    ledger::{EventFilter, Ledger, LogItem},
    model::{EndpointName, EntryNumber, EventNumber, Timestamp},
    pipeline::{frontier_name, recorded_at},
    telemetry::metrics::{
        PUBLICATION_LAG_EVENTS, PUBLICATION_LAG_SECONDS, TRANSLATION_LAG_ENTRIES, TRANSLATION_LAG_SECONDS,
    },
};

/// So many entries are looked at for the oldest that waits, at most.
const LOOKED_AT: usize = 1_000;
const LOOKED_AT_BYTES: usize = 1024 * 1024;

type Cursors = HashMap<EndpointName, EntryNumber>;

/// Tells how many entries wait for stage 1, and how old the oldest of them is. How many wait where processes share the work,
/// each stage tells of its own endpoints: there is no frontier of everybody's.
pub(super) async fn tell(ledger: &Ledger, clock: &dyn Clock) -> anyhow::Result<()> {
    let cursors: Cursors = ledger.records.cursors().await?.into_iter().collect();
    let frontier = cursors.get(&frontier_name()).copied();
    if let Some(frontier) = frontier.or(cursors.is_empty().then_some(EntryNumber(0))) {
        let waiting = ledger.log.durable().0.saturating_sub(frontier.0);
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; lags are far below 2^52")]
        gauge!(TRANSLATION_LAG_ENTRIES).set(waiting as f64);
    }
    gauge!(TRANSLATION_LAG_SECONDS).set(age(ledger, &cursors, clock).await?.as_secs_f64());
    Ok(())
}

/// Tells how many events wait for each of these brokers, and how old the first of them is. A broker that nobody introduced
/// yet has no lag.
pub(super) async fn tell_of_brokers(
    ledger: &Ledger,
    brokers: &[String],
    clock: &dyn Clock,
) -> anyhow::Result<()> {
    if brokers.is_empty() {
        return Ok(());
    }
    let last = ledger.records.last_event().await?;
    for broker in ledger.records.brokers().await?.into_iter().filter(|known| brokers.contains(&known.name)) {
        let waiting = last.0.saturating_sub(broker.cursor.0);
        let since = if waiting > 0 { first_after(ledger, broker.cursor).await? } else { None };
        let age = since.map_or(Duration::ZERO, |since| clock.now().since(since));
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; lags are far below 2^52")]
        gauge!(PUBLICATION_LAG_EVENTS, "broker" => broker.name.clone()).set(waiting as f64);
        gauge!(PUBLICATION_LAG_SECONDS, "broker" => broker.name).set(age.as_secs_f64());
    }
    Ok(())
}

async fn first_after(ledger: &Ledger, cursor: EventNumber) -> anyhow::Result<Option<Timestamp>> {
    let next = ledger.records.events_after(cursor, 1, &EventFilter::default()).await?;
    Ok(next.first().and_then(recorded_at))
}

/// How long ago the oldest entry that waits was accepted; nothing when none does, or its time cannot be read any more. When
/// many follow the lowest cursor and none of them waits, the last that was looked at speaks for those beyond.
async fn age(ledger: &Ledger, cursors: &Cursors, clock: &dyn Clock) -> anyhow::Result<Duration> {
    let lowest = cursors.values().min().copied().unwrap_or_default();
    let after = lowest.max(EntryNumber(ledger.log.first().0.saturating_sub(1)));
    let items = ledger.log.read_after(after, LOOKED_AT, LOOKED_AT_BYTES).await?;
    let mut last = None;
    for item in &items {
        let LogItem::Entry(entry) = item else { continue };
        last = Some(entry);
        let cursor = cursors.get(entry.meta.endpoint()).copied().unwrap_or_default();
        if entry.number > cursor {
            return Ok(clock.now().since(entry.received_at));
        }
    }
    let more = last.filter(|entry| entry.number < ledger.log.durable());
    Ok(more.map_or(Duration::ZERO, |entry| clock.now().since(entry.received_at)))
}
