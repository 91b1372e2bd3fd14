//! Room `console`: deliveries that stage 1 has not worked yet. The records do not know them; the log does.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use crate::{
    ledger::{DeliveryFilter, DeliveryRow, Ledger, LogError, LogItem, RecordsError},
    model::{DeliveryId, EndpointName, Entry, EntryMeta, EntryNumber},
};

/// How far back from the log's end waiting deliveries are looked for. A longer queue shows its newest part.
const MAX_WAITING_SCANNED: u64 = 10_000;
const CHUNK_BYTES: usize = 4 * 1024 * 1024;

/// Why waiting deliveries could not be listed.
#[derive(Debug, thiserror::Error)]
pub enum WaitingError {
    /// The records could not tell the cursors.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Waiting deliveries that match the filter, newest first. A filter that names an event's id, type or outcome
/// matches none: nothing is known of their events yet.
pub async fn list(ledger: &Ledger, filter: &DeliveryFilter) -> Result<Vec<DeliveryRow>, WaitingError> {
    if filter.external_id.is_some() || filter.event_type.is_some() || filter.outcome.is_some() {
        return Ok(Vec::new());
    }
    let mut rows: Vec<_> = entries(ledger).await?.iter().filter_map(row).collect();
    rows.retain(|row| matches(filter, row));
    rows.reverse();
    Ok(rows)
}

/// One waiting delivery by its id.
pub async fn find(ledger: &Ledger, id: DeliveryId) -> Result<Option<Entry>, WaitingError> {
    let mut waiting = entries(ledger).await?;
    let at = waiting.iter().position(|entry| is_delivery(entry, id));
    Ok(at.map(|at| waiting.swap_remove(at)))
}

fn is_delivery(entry: &Entry, id: DeliveryId) -> bool {
    matches!(&entry.meta, EntryMeta::Delivery(meta) if meta.id == id)
}

async fn entries(ledger: &Ledger) -> Result<Vec<Entry>, WaitingError> {
    let cursors: HashMap<EndpointName, EntryNumber> = ledger.records.cursors().await?.into_iter().collect();
    let durable = ledger.log.durable();
    let oldest = EntryNumber(durable.0.saturating_sub(MAX_WAITING_SCANNED));
    let lowest = cursors.values().min().copied().unwrap_or_default();
    let mut after = oldest.max(lowest).max(EntryNumber(ledger.log.first().0.saturating_sub(1)));
    let mut waiting = Vec::new();
    while after < durable {
        let items = ledger.log.read_after(after, 1_000, CHUNK_BYTES).await?;
        if items.is_empty() {
            break;
        }
        for item in items {
            after = last_number(&item);
            let LogItem::Entry(entry) = item else { continue };
            if cursors.get(entry.meta.endpoint()).is_none_or(|through| entry.number > *through) {
                waiting.push(entry);
            }
        }
    }
    Ok(waiting)
}

fn last_number(item: &LogItem) -> EntryNumber {
    match item {
        LogItem::Entry(entry) => entry.number,
        LogItem::Damaged { last, .. } => *last,
    }
}

fn matches(filter: &DeliveryFilter, row: &DeliveryRow) -> bool {
    filter.partner.as_ref().is_none_or(|partner| *partner == row.partner)
        && filter.endpoint.as_ref().is_none_or(|endpoint| *endpoint == row.endpoint)
        && filter.from.is_none_or(|from| row.received_at >= from)
        && filter.to.is_none_or(|to| row.received_at < to)
        && filter.before.is_none_or(|before| row.number < before)
}

/// A waiting delivery as the API shows it; `None` for an entry that is no delivery.
pub fn row(entry: &Entry) -> Option<DeliveryRow> {
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
