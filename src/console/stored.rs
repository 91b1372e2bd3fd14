//! Room `console`: deliveries wherever they stand: worked ones in the records, waiting ones in the log alone. Pages, detail
//! and export all look them up here, and so do the verbs.

use crate::{
    ledger::{DeliveryFilter, DeliveryRow, Ledger, LogError, LogItem, Page, RecordsError},
    model::{DeliveryId, DeliveryMeta, Entry, EntryNumber, HeaderValue, is_credential_header},
};

use super::waiting;

/// What stands in place of a credential.
const SEALED: &str = "[sealed]";

/// Why deliveries could not be looked up.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LookupError {
    /// The records could not answer.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Why a known delivery has no payload to show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPayload {
    /// Retention has dropped it.
    #[error("the payload was dropped by retention; the first one left is number {first}")]
    Dropped {
        /// The first number still in the log.
        first: EntryNumber,
    },
    /// It is not served, because nobody knows whether it is what came in.
    #[error("the stored bytes are damaged: {detail}")]
    Damaged {
        /// What was found.
        detail: String,
    },
    /// The log, as it was when it was opened, ends before it.
    #[error("the intake log does not hold number {number}")]
    NotThere {
        /// The delivery's number.
        number: EntryNumber,
    },
}

/// A delivery: what is known of it, and its payload as far as there is one.
#[derive(Clone, Debug)]
pub struct Found {
    /// As listed.
    pub row: DeliveryRow,
    /// The entry of the log, or why it cannot be had.
    pub payload: Result<Entry, NoPayload>,
}

/// A page of deliveries, newest first. Waiting and worked ones interleave by number: an endpoint whose desk is broken
/// waits while others go on. A page may hold fewer than were asked for although there is a next one.
pub async fn page(ledger: &Ledger, filter: &DeliveryFilter) -> Result<Page<DeliveryRow>, LookupError> {
    // In this order: what is worked in between stands in both rather than in neither.
    let waiting = waiting::list(ledger, filter).await?;
    let worked = ledger.records.deliveries(filter).await?;
    let mut items = waiting.rows;
    items.extend(worked.items);
    if let Some(reached) = waiting.reached {
        items.retain(|row| row.number >= reached);
    }
    // Of two rows of one delivery the worked one says more.
    items.sort_by_key(|row| (std::cmp::Reverse(row.number), row.waiting));
    items.dedup_by_key(|row| row.number);
    let more = items.len() > filter.limit || worked.next.is_some() || waiting.reached.is_some();
    items.truncate(filter.limit);
    let next = match items.last() {
        _ if !more => None,
        Some(last) if items.len() == filter.limit => Some(last.number),
        _ => waiting.reached,
    };
    Ok(Page { items, next })
}

/// One delivery by its id, worked or waiting.
pub async fn find(ledger: &Ledger, id: DeliveryId) -> Result<Option<Found>, LookupError> {
    if let Some(row) = ledger.records.delivery(id).await? {
        let payload = payload(ledger, row.number).await?;
        return Ok(Some(Found { row, payload }));
    }
    let Some(entry) = waiting::find(ledger, id).await? else { return Ok(None) };
    Ok(waiting::row(&entry).map(|row| Found { row, payload: Ok(entry) }))
}

/// The payload of a delivery, or why there is none.
pub async fn payload(ledger: &Ledger, number: EntryNumber) -> Result<Result<Entry, NoPayload>, LookupError> {
    Ok(match ledger.log.entry(number).await {
        Ok(Some(LogItem::Entry(entry))) => Ok(entry),
        Ok(Some(LogItem::Damaged { detail, .. })) => Err(NoPayload::Damaged { detail }),
        Ok(None) => Err(NoPayload::NotThere { number }),
        Err(LogError::Pruned { first }) => Err(NoPayload::Dropped { first }),
        Err(error) => return Err(error.into()),
    })
}

/// The headers as people may see them: credentials stay sealed.
pub fn presentable(meta: &DeliveryMeta) -> Vec<(String, HeaderValue)> {
    let shown = |(name, value): &(String, HeaderValue)| {
        let value = if is_credential_header(name) { HeaderValue(SEALED.into()) } else { value.clone() };
        (name.clone(), value)
    };
    meta.headers.0.iter().map(shown).collect()
}
