//! Room `console`: deliveries that stage 1 has not worked yet. The records do not know them; the log does.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::{damaged::DamagedNumber, stored::LookupError};
use crate::{
    ledger::{DeliveryFilter, DeliveryRow, Ledger, LogItem},
    model::{DeliveryId, EndpointName, Entry, EntryMeta, EntryNumber, Timestamp},
};

/// The log is looked through in stretches of so many numbers, newest first.
const STRETCH: u64 = 1_000;
/// One page looks through at most so many stretches; the next page goes on where it stopped.
const MAX_STRETCHES: usize = 10;
/// A delivery stands at most so many numbers behind the first one accepted after its id was drawn: more never wait for
/// the writer at once.
const MAX_BEHIND_ITS_ID: u64 = 100_000;
const CHUNK_ENTRIES: usize = 1_000;
const CHUNK_BYTES: usize = 4 * 1024 * 1024;

/// Waiting deliveries, newest first, as far as the log was looked through.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) rows: Vec<DeliveryRow>,
    /// Numbers that were met on the way and cannot be read.
    pub(super) damaged: Vec<DamagedNumber>,
    /// The lowest number looked at; `None` when nothing waits below.
    pub(super) reached: Option<EntryNumber>,
}

/// Waiting deliveries that match the filter. One that names an event's id, type or outcome matches none: nothing is
/// known of their events yet.
pub(super) async fn list(ledger: &Ledger, filter: &DeliveryFilter) -> Result<Waiting, LookupError> {
    let mut found = Waiting::default();
    if filter.external_id.is_some() || filter.event_type.is_some() || filter.outcome.is_some() {
        return Ok(found);
    }
    let cursors: Cursors = ledger.records.cursors().await?.into_iter().collect();
    let worked = cursors.values().min().copied().unwrap_or_default();
    let floor = worked.max(before(ledger.log.first()));
    let mut end = filter.before.map_or(EntryNumber(u64::MAX), before).min(ledger.log.durable());
    for _ in 0..MAX_STRETCHES {
        if end <= floor || found.rows.len() >= filter.limit {
            break;
        }
        let begin = EntryNumber(end.0.saturating_sub(STRETCH)).max(floor);
        let stretch = between(ledger, begin, end, &cursors).await?;
        found.rows.extend(stretch.rows.into_iter().rev().filter(|row| matches(filter, row)));
        found.damaged.extend(stretch.damaged);
        end = begin;
    }
    found.reached = (end > floor).then(|| end.next());
    Ok(found)
}

type Cursors = HashMap<EndpointName, EntryNumber>;

const fn before(number: EntryNumber) -> EntryNumber {
    EntryNumber(number.0.saturating_sub(1))
}

/// What one stretch of the log holds, in order.
#[derive(Debug, Default)]
struct Stretch {
    rows: Vec<DeliveryRow>,
    damaged: Vec<DamagedNumber>,
}

/// What waits after `begin` and not beyond `end`. Bodies are let go at once: a queue may be large.
async fn between(
    ledger: &Ledger,
    begin: EntryNumber,
    end: EntryNumber,
    cursors: &Cursors,
) -> Result<Stretch, LookupError> {
    let waits = |entry: &Entry| {
        let cursor = cursors.get(entry.meta.endpoint());
        entry.number <= end && cursor.is_none_or(|through| entry.number > *through)
    };
    let (mut after, mut stretch, mut not_before) = (begin, Stretch::default(), None);
    while after < end {
        let items = ledger.log.read_after(after, CHUNK_ENTRIES, CHUNK_BYTES).await?;
        let Some(last) = items.last() else { break };
        after = last.last();
        for item in &items {
            match item {
                LogItem::Entry(entry) => {
                    not_before = Some(entry.received_at);
                    stretch.rows.extend(Some(entry).filter(|entry| waits(entry)).and_then(row));
                }
                LogItem::Damaged { first, last, detail } => {
                    let numbers = (first.0..=last.min(&end).0).map(EntryNumber);
                    stretch.damaged.extend(numbers.map(|it| DamagedNumber::new(it, not_before, detail)));
                }
            }
        }
    }
    Ok(stretch)
}

/// One delivery by its id, from the log alone. An id carries the time it was drawn, and times never decrease along the
/// log, so few entries are looked at.
pub(super) async fn find(ledger: &Ledger, id: DeliveryId) -> Result<Option<Entry>, LookupError> {
    let Some(drawn) = drawn_at(id) else { return Ok(None) };
    let mut after = last_before(ledger, drawn).await?;
    let end = ledger.log.durable().min(EntryNumber(after.0.saturating_add(MAX_BEHIND_ITS_ID)));
    while after < end {
        let items = ledger.log.read_after(after, CHUNK_ENTRIES, CHUNK_BYTES).await?;
        let Some(last) = items.last() else { break };
        after = last.last();
        if let Some(entry) = items.into_iter().filter_map(into_entry).find(|entry| is_delivery(entry, id)) {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

fn drawn_at(id: DeliveryId) -> Option<Timestamp> {
    let (seconds, nanos) = id.0.get_timestamp()?.to_unix();
    let seconds = Timestamp::from_seconds(i64::try_from(seconds).ok()?)?;
    Some(seconds.plus(std::time::Duration::from_nanos(nanos.into())))
}

/// The last number that was surely accepted before `time`, found by halving.
async fn last_before(ledger: &Ledger, time: Timestamp) -> Result<EntryNumber, LookupError> {
    let mut earlier = before(ledger.log.first());
    let mut later = ledger.log.durable().next();
    while later.0 - earlier.0 > 1 {
        let middle = EntryNumber(earlier.0.midpoint(later.0));
        match ledger.log.entry(middle).await? {
            Some(LogItem::Entry(entry)) if entry.received_at < time => earlier = middle,
            // Nobody knows when a damaged entry came: it may have been later.
            _ => later = middle,
        }
    }
    Ok(earlier)
}

fn is_delivery(entry: &Entry, id: DeliveryId) -> bool {
    matches!(&entry.meta, EntryMeta::Delivery(meta) if meta.id == id)
}

fn into_entry(item: LogItem) -> Option<Entry> {
    match item {
        LogItem::Entry(entry) => Some(entry),
        LogItem::Damaged { .. } => None,
    }
}

fn matches(filter: &DeliveryFilter, row: &DeliveryRow) -> bool {
    filter.partner.as_ref().is_none_or(|partner| *partner == row.partner)
        && filter.endpoint.as_ref().is_none_or(|endpoint| *endpoint == row.endpoint)
        && filter.from.is_none_or(|from| row.received_at >= from)
        && filter.to.is_none_or(|to| row.received_at < to)
        && filter.number.is_none_or(|number| row.number == number)
}

/// A waiting delivery as the API shows it; `None` for an entry that is no delivery.
pub(super) fn row(entry: &Entry) -> Option<DeliveryRow> {
    let EntryMeta::Delivery(meta) = &entry.meta else { return None };
    Some(DeliveryRow {
        delivery: meta.id,
        number: entry.number,
        partner: meta.endpoint.partner.to_string(),
        endpoint: meta.endpoint.endpoint.to_string(),
        received_at: entry.received_at,
        assurance: meta.assurance,
        secret_id: meta.secret_id.clone(),
        size: entry.body.len() as u64,
        body_sha256: hex::encode(Sha256::digest(&entry.body)),
        same_body_as: None,
        waiting: true,
        external_events: Vec::new(),
    })
}
