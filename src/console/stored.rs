//! Room `console`: deliveries wherever they stand: worked ones in the records, waiting ones in the log alone. Pages, detail
//! and export all look them up here, and so do the verbs.

use std::str::FromStr;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Serialize;
use utoipa::{
    ToSchema,
    openapi::schema::{ArrayBuilder, ArrayItems, ObjectBuilder, OneOfBuilder, Schema, SchemaType, Type},
};

use super::{
    damaged::{self, DamagedNumber},
    waiting,
};
use crate::{
    ledger::{
        DeliveryFilter, DeliveryRow, Ledger, LogError, LogItem, PublicationFilter, PublicationRow,
        RecordsError,
    },
    model::{
        DeliveryId, DeliveryMeta, Entry, EntryMeta, EntryNumber, HeaderValue, is_credential_header,
        is_credential_parameter,
    },
};

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
    /// The number was given, and its bytes are damaged.
    #[error("number {}: {}", .0.number, .0.payload)]
    Damaged(DamagedNumber),
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

/// How people point at one delivery: by its id, or by its number, as reasons and the log of the process name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// Its id.
    Id(DeliveryId),
    /// Its place in the intake log.
    Number(EntryNumber),
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.parse().map(|number| Self::Number(EntryNumber(number)));
        let id = || text.parse().map(Self::Id);
        number
            .or_else(|_| id())
            .map_err(|_| format!("{text:?} is neither the id of a delivery nor its number"))
    }
}

/// A delivery with everything the partner sent, as far as there still is a payload.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DeliveryDetail {
    /// As listed.
    #[serde(flatten)]
    pub row: DeliveryRow,
    /// The request's method; absent without a payload, as are the next two.
    pub method: Option<String>,
    /// The request's target as sent, but for the values of query parameters that carry credentials: `[sealed]`.
    pub target: Option<String>,
    /// Name and value, those of one name in the order received; credentials are shown as `[sealed]`.
    #[schema(schema_with = pairs_schema)]
    pub headers: Option<Vec<(String, HeaderValue)>>,
    /// The exact body, in exports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
    /// Why there is no payload: dropped by retention, or damaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// Where its domain events were published, and which of them were refused: by event, newest first. Absent in exports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publications: Option<Vec<PublicationRow>>,
}

/// What JSON cannot say in text is told in base64, so a value is one of two things.
fn pairs_schema() -> Schema {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let bytes = ObjectBuilder::new().property("base64", text()).required("base64");
    let value = OneOfBuilder::new().item(text()).item(bytes);
    let pair =
        ArrayBuilder::new().prefix_items([text().into(), Schema::from(value)]).items(ArrayItems::False);
    let or_null = SchemaType::from_iter([Type::Array, Type::Null]);
    let shown = "Name and value, those of one name in the order received; credentials are shown as `[sealed]`, \
                 bytes that are not UTF-8 in base64.";
    ArrayBuilder::new().schema_type(or_null).items(pair).description(Some(shown)).into()
}

impl DeliveryDetail {
    /// What is known of a delivery.
    pub fn new(row: DeliveryRow, payload: Result<Entry, NoPayload>, with_body: bool) -> Self {
        let bare = Self {
            row,
            method: None,
            target: None,
            headers: None,
            body_base64: None,
            payload: None,
            publications: None,
        };
        match payload {
            Err(why) => Self { payload: Some(why.to_string()), ..bare },
            Ok(Entry { meta: EntryMeta::Delivery(meta), body, .. }) => Self {
                headers: Some(presentable(&meta)),
                method: Some(meta.method),
                target: Some(presentable_target(&meta.target)),
                body_base64: with_body.then(|| STANDARD.encode(&body)),
                ..bare
            },
            Ok(_) => bare,
        }
    }
}

/// Deliveries, newest first, as far as one look reaches.
#[derive(Debug)]
pub struct Listing {
    /// The deliveries.
    pub items: Vec<DeliveryRow>,
    /// Give this as [`DeliveryFilter::before`] for what follows; `None` at the end.
    pub next: Option<EntryNumber>,
    /// Numbers that were met among those that wait and cannot be read, for [`damaged::list`]; the next look may meet
    /// some of them again.
    pub unreadable: Vec<DamagedNumber>,
}

/// A page of deliveries, newest first. Waiting and worked ones interleave by number: an endpoint whose desk is broken
/// waits while others go on. A page may hold fewer than were asked for although there is a next one.
pub async fn page(ledger: &Ledger, filter: &DeliveryFilter) -> Result<Listing, LookupError> {
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
    Ok(Listing { items, next, unreadable: waiting.damaged })
}

/// One delivery, worked or waiting. A number that was given and cannot be read is [`LookupError::Damaged`].
pub async fn find(ledger: &Ledger, name: Named) -> Result<Option<Found>, LookupError> {
    let id = match name {
        Named::Id(id) => id,
        Named::Number(number) => return find_by_number(ledger, number).await,
    };
    if let Some(row) = ledger.records.delivery(id).await? {
        let payload = payload(ledger, row.number).await?;
        return Ok(Some(Found { row, payload }));
    }
    let Some(entry) = waiting::find(ledger, id).await? else { return Ok(None) };
    Ok(waiting::row(&entry).map(|row| Found { row, payload: Ok(entry) }))
}

async fn find_by_number(ledger: &Ledger, number: EntryNumber) -> Result<Option<Found>, LookupError> {
    let only = DeliveryFilter {
        number: Some(number),
        before: Some(number.next()),
        limit: 1,
        ..DeliveryFilter::default()
    };
    if let Some(row) = page(ledger, &only).await?.items.into_iter().next() {
        let payload = payload(ledger, number).await?;
        return Ok(Some(Found { row, payload }));
    }
    damaged::find(ledger, number).await?.map_or(Ok(None), |damaged| Err(LookupError::Damaged(damaged)))
}

/// Where the domain events of a delivery were published, by event, newest first.
pub async fn publications(ledger: &Ledger, row: &DeliveryRow) -> Result<Vec<PublicationRow>, RecordsError> {
    if row.external_events.iter().all(|event| event.domain_events.is_empty()) {
        return Ok(Vec::new());
    }
    // As many as there are: the row names every one of their events already.
    let of_it = PublicationFilter { delivery: Some(row.number), limit: usize::MAX, ..Default::default() };
    ledger.records.publications(&of_it).await
}

/// The number of a delivery, worked or waiting; `None` when nobody was ever given the id or the number.
pub async fn number(ledger: &Ledger, name: Named) -> Result<Option<EntryNumber>, LookupError> {
    let id = match name {
        Named::Id(id) => id,
        Named::Number(number) => return Ok(Some(number).filter(|number| *number <= ledger.log.durable())),
    };
    if let Some(row) = ledger.records.delivery(id).await? {
        return Ok(Some(row.number));
    }
    Ok(waiting::find(ledger, id).await?.map(|entry| entry.number))
}

/// The payload of a delivery, or why there is none.
pub async fn payload(ledger: &Ledger, number: EntryNumber) -> Result<Result<Entry, NoPayload>, LookupError> {
    Ok(match ledger.log.entry(number).await {
        Ok(Some(LogItem::Entry(entry))) => Ok(entry),
        Ok(Some(LogItem::Damaged { detail, .. })) => Err(NoPayload::Damaged { detail }),
        Ok(None) => Err(NoPayload::NotThere { number }),
        Err(LogError::Pruned { first }) => Err(gone(ledger, number, first).await?),
        Err(error) => return Err(error.into()),
    })
}

/// The target as people may see it. The log keeps it as it came, and rules may read it.
fn presentable_target(target: &str) -> String {
    let Some((path, query)) = target.split_once('?') else { return target.to_owned() };
    let shown = |pair: &str| match pair.split_once('=') {
        Some((name, value)) if !value.is_empty() && is_credential_parameter(name) => {
            format!("{name}={SEALED}")
        }
        _ => pair.to_owned(),
    };
    let pairs: Vec<String> = query.split('&').map(shown).collect();
    format!("{path}?{}", pairs.join("&"))
}

/// Why an entry before the log's first is not there.
async fn gone(ledger: &Ledger, number: EntryNumber, first: EntryNumber) -> Result<NoPayload, RecordsError> {
    if number <= ledger.records.dropped_through().await? {
        return Ok(NoPayload::Dropped { first });
    }
    let detail =
        format!("the intake log begins at number {first} although retention did not drop number {number}");
    Ok(NoPayload::Damaged { detail })
}

/// The headers as people may see them: credentials stay sealed.
fn presentable(meta: &DeliveryMeta) -> Vec<(String, HeaderValue)> {
    let shown = |(name, value): &(String, HeaderValue)| {
        let value = if is_credential_header(name) { HeaderValue(SEALED.into()) } else { value.clone() };
        (name.clone(), value)
    };
    meta.headers.0.iter().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_shown_without_the_credentials_in_it() {
        for (sent, shown) in [
            ("/in/lab", "/in/lab"),
            ("/in/lab?", "/in/lab?"),
            ("/in/lab?a=1&a=%20&b", "/in/lab?a=1&a=%20&b"),
            ("/in/lab?token=hush&a=1&Api_Key=hush", "/in/lab?token=[sealed]&a=1&Api_Key=[sealed]"),
            ("/in/lab?%74oken=hu=sh&token&token=", "/in/lab?%74oken=[sealed]&token&token="),
            ("/in/lab?signature=5f?&x?token=hush", "/in/lab?signature=5f?&x?token=[sealed]"),
        ] {
            assert_eq!(presentable_target(sent), shown);
        }
    }
}
