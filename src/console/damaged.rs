//! Room `console`: numbers of the log that cannot be read any more and of which no delivery is known: they were damaged
//! before stage 1 worked them. They must not vanish from what is listed, shown and exported.

use std::collections::BTreeMap;

use serde::Serialize;

use super::stored::{LookupError, NoPayload, payload};
use crate::{
    ledger::{DamagedEntry, DeliveryFilter, Ledger, LogItem},
    model::{EntryNumber, OutcomeKind, Timestamp},
};

/// A number of the log whose bytes are damaged; nobody knows any more whose it was.
#[derive(Clone, Debug, Serialize)]
pub struct DamagedNumber {
    /// Its number.
    pub number: EntryNumber,
    /// It was not accepted before, as far as that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Why there is nothing to show, in the words of a delivery without a payload.
    pub payload: String,
}

impl DamagedNumber {
    pub(super) fn new(number: EntryNumber, not_before: Option<Timestamp>, detail: &str) -> Self {
        let payload = NoPayload::Damaged { detail: detail.to_owned() }.to_string();
        Self { number, not_before, payload }
    }
}

impl From<DamagedEntry> for DamagedNumber {
    fn from(entry: DamagedEntry) -> Self {
        let detail = entry.reason.strip_prefix("damaged: ").unwrap_or(&entry.reason);
        Self::new(entry.number, Some(entry.received_at), detail)
    }
}

/// The damaged numbers that may be among what a filter means, newest first: whose they were nobody knows, so a partner or
/// an endpoint excludes none. `unreadable` is what was met while listing.
pub async fn list(
    ledger: &Ledger,
    filter: &DeliveryFilter,
    unreadable: Vec<DamagedNumber>,
) -> Result<Vec<DamagedNumber>, LookupError> {
    if !may_mean_damaged(filter) {
        return Ok(Vec::new());
    }
    let mut known: BTreeMap<_, _> = unreadable.into_iter().map(|damaged| (damaged.number, damaged)).collect();
    // After the log: what is worked in between stands in both rather than in neither.
    let worked = ledger.records.damaged(usize::MAX).await?;
    known.extend(worked.into_iter().map(|entry| (entry.number, entry.into())));
    let mut matching = Vec::new();
    for damaged in known.into_values().rev() {
        let early = filter.before.is_none_or(|before| damaged.number < before);
        if early && within(ledger, filter, &damaged).await? && !is_delivery(ledger, damaged.number).await? {
            matching.push(damaged);
        }
    }
    Ok(matching)
}

/// One number, if it is damaged.
pub(super) async fn find(ledger: &Ledger, number: EntryNumber) -> Result<Option<DamagedNumber>, LookupError> {
    let worked = ledger.records.damaged(usize::MAX).await?;
    if let Some(entry) = worked.into_iter().find(|entry| entry.number == number) {
        return Ok(Some(entry.into()));
    }
    Ok(match payload(ledger, number).await? {
        Err(NoPayload::Damaged { detail }) => Some(DamagedNumber::new(number, None, &detail)),
        _ => None,
    })
}

/// Nothing is known of its events but that they count as one dead letter.
fn may_mean_damaged(filter: &DeliveryFilter) -> bool {
    filter.external_id.is_none()
        && filter.event_type.is_none()
        && filter.outcome.is_none_or(|outcome| outcome == OutcomeKind::DeadLetter)
}

/// What was worked while it could be read is a delivery like any other.
async fn is_delivery(ledger: &Ledger, number: EntryNumber) -> Result<bool, LookupError> {
    let only = DeliveryFilter { number: Some(number), limit: 1, ..DeliveryFilter::default() };
    Ok(!ledger.records.deliveries(&only).await?.items.is_empty())
}

/// Whether it may have been accepted in the time that is meant.
async fn within(
    ledger: &Ledger,
    filter: &DeliveryFilter,
    damaged: &DamagedNumber,
) -> Result<bool, LookupError> {
    let not_before = damaged.not_before;
    if filter.to.is_some_and(|to| not_before.is_some_and(|time| time >= to)) {
        return Ok(false);
    }
    let Some(from) = filter.from.filter(|from| not_before.is_none_or(|time| time < *from)) else {
        return Ok(true);
    };
    Ok(not_after(ledger, damaged.number).await?.is_none_or(|time| time >= from))
}

/// When the first readable entry after a number was accepted, for times never decrease along the log.
async fn not_after(ledger: &Ledger, number: EntryNumber) -> Result<Option<Timestamp>, LookupError> {
    let mut after = number.max(EntryNumber(ledger.log.first().0.saturating_sub(1)));
    loop {
        match ledger.log.read_after(after, 1, 1).await?.pop() {
            Some(LogItem::Entry(entry)) => return Ok(Some(entry.received_at)),
            Some(LogItem::Damaged { last, .. }) => after = last,
            None => return Ok(None),
        }
    }
}
