//! Room `console`: deliveries, for auditors: what came in, what became of it, and the exact bytes.
//! Reading a payload is an act: it is journalled before the bytes leave.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Body,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Console,
    access::Caller,
    journal::act,
    problem::{Params, Problem},
    waiting::{self, WaitingError},
};
use crate::{
    keys::seal::SEALED_PREFIX,
    ledger::{DeliveryFilter, DeliveryRow, LogItem},
    model::{DeliveryId, DeliveryMeta, Entry, EntryMeta, EntryNumber, HeaderValue, OutcomeKind, Timestamp},
};

const MAX_ROWS: usize = 1_000;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct DeliveryParams {
    /// The partner.
    partner: Option<String>,
    /// The endpoint.
    endpoint: Option<String>,
    /// The partner's id of one of its events.
    external_id: Option<String>,
    /// The partner's type of one of its events.
    event_type: Option<String>,
    /// The latest outcome of one of its events.
    #[param(value_type = Option<String>)]
    outcome: Option<OutcomeKind>,
    /// Accepted at or after, RFC 3339.
    #[param(value_type = Option<String>)]
    from: Option<Timestamp>,
    /// Accepted before, RFC 3339.
    #[param(value_type = Option<String>)]
    to: Option<Timestamp>,
    /// At most so many, 1 to 1000.
    limit: Option<usize>,
    /// From the previous page's `next`.
    cursor: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeliveryList {
    items: Vec<DeliveryRow>,
    /// Give this as `cursor` for the next page.
    next: Option<u64>,
}

/// A delivery with everything the partner sent but the body.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeliveryDetail {
    #[serde(flatten)]
    row: DeliveryRow,
    method: String,
    target: String,
    /// Name and value in the order received; credentials are shown as `[sealed]`.
    #[schema(value_type = Vec<Vec<String>>)]
    headers: Vec<(String, HeaderValue)>,
}

pub(super) fn page_size(limit: Option<usize>) -> usize {
    limit.unwrap_or(100).clamp(1, MAX_ROWS)
}

impl From<WaitingError> for Problem {
    fn from(error: WaitingError) -> Self {
        match error {
            WaitingError::Records(error) => error.into(),
            WaitingError::Log(error) => error.into(),
        }
    }
}

/// Deliveries, newest first; those not worked yet stand first and say `waiting`.
#[utoipa::path(get, path = "/api/v1/deliveries", params(DeliveryParams), responses((status = 200, body = DeliveryList)))]
pub(super) async fn list(
    State(console): State<Arc<Console>>,
    Params(params): Params<DeliveryParams>,
) -> Result<Json<DeliveryList>, Problem> {
    let filter = DeliveryFilter {
        partner: params.partner,
        endpoint: params.endpoint,
        external_id: params.external_id,
        event_type: params.event_type,
        outcome: params.outcome,
        from: params.from,
        to: params.to,
        limit: page_size(params.limit),
        number: None,
        before: params.cursor.map(EntryNumber),
    };
    let page = newest_first(&console, &filter).await?;
    Ok(Json(page))
}

/// Waiting and worked deliveries interleave by number (an endpoint whose desk is broken waits while others go on).
async fn newest_first(console: &Console, filter: &DeliveryFilter) -> Result<DeliveryList, Problem> {
    let mut items = waiting::list(&console.ledger, filter).await?;
    let worked = console.ledger.records.deliveries(filter).await?;
    let more = worked.next.is_some() || items.len() + worked.items.len() > filter.limit;
    items.extend(worked.items);
    items.sort_by_key(|row| std::cmp::Reverse(row.number));
    // A delivery worked between the two reads stands in both; the worked row says more.
    items.dedup_by(|later, kept| {
        let same = later.number == kept.number;
        if same && kept.waiting {
            std::mem::swap(later, kept);
        }
        same
    });
    items.truncate(filter.limit);
    let next = more.then(|| items.last().map(|row| row.number.0)).flatten();
    Ok(DeliveryList { items, next })
}

/// One delivery with method, target and headers.
#[utoipa::path(get, path = "/api/v1/deliveries/{id}", params(("id" = String, Path)),
    responses((status = 200, body = DeliveryDetail), (status = 404), (status = 410)))]
pub(super) async fn show(
    State(console): State<Arc<Console>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<DeliveryDetail>, Problem> {
    let (row, entry) = find(&console, &id).await?;
    let entry = entry?;
    let EntryMeta::Delivery(meta) = entry.meta else { return Err(no_delivery(&id)) };
    record_read(&console, &caller, &id, "headers").await?;
    let headers = presentable(&meta);
    Ok(Json(DeliveryDetail { row, method: meta.method, target: meta.target, headers }))
}

/// The exact bytes of the body.
#[utoipa::path(get, path = "/api/v1/deliveries/{id}/body", params(("id" = String, Path)),
    responses((status = 200, content_type = "application/octet-stream"), (status = 404), (status = 410)))]
pub(super) async fn body(
    State(console): State<Arc<Console>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let (row, entry) = find(&console, &id).await?;
    let entry = entry?;
    record_read(&console, &caller, &id, "body").await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}.bin\"", row.delivery)),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::ETAG, format!("\"sha256:{}\"", row.body_sha256)),
    ];
    Ok((headers, Body::from(entry.body)).into_response())
}

/// The headers as people may see them: credentials stay sealed.
pub fn presentable(meta: &DeliveryMeta) -> Vec<(String, HeaderValue)> {
    let sealed = HeaderValue("[sealed]".into());
    meta.headers
        .0
        .iter()
        .map(|(name, value)| match is_sealed(value) {
            true => (name.clone(), sealed.clone()),
            false => (name.clone(), value.clone()),
        })
        .collect()
}

fn is_sealed(value: &HeaderValue) -> bool {
    value.0.starts_with(SEALED_PREFIX.as_bytes())
}

type Found = (DeliveryRow, Result<Entry, Problem>);

/// The delivery's row, and its entry as far as the log still has it.
async fn find(console: &Console, id: &str) -> Result<Found, Problem> {
    let parsed: DeliveryId = id.parse().map_err(|_| no_delivery(id))?;
    if let Some(row) = console.ledger.records.delivery(parsed).await? {
        let entry = match console.ledger.log.entry(row.number).await {
            Ok(Some(LogItem::Entry(entry))) => Ok(entry),
            Ok(Some(LogItem::Damaged { detail, .. })) => Err(damaged(&detail)),
            Ok(None) => Err(no_delivery(id)),
            Err(error) => Err(error.into()),
        };
        return Ok((row, entry));
    }
    let entry = waiting::find(&console.ledger, parsed).await?.ok_or_else(|| no_delivery(id))?;
    let row = waiting::row(&entry).ok_or_else(|| no_delivery(id))?;
    Ok((row, Ok(entry)))
}

fn no_delivery(id: &str) -> Problem {
    Problem::not_found(format!("no delivery has the id {id:?}"))
}

fn damaged(detail: &str) -> Problem {
    let (code, title) = ("damaged", "The stored bytes are damaged and are not served");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, code, title, detail)
}

async fn record_read(console: &Console, caller: &Caller, id: &str, what: &str) -> Result<(), Problem> {
    let entry = act(console, &caller.0, ("payload.read", id), serde_json::json!({ "what": what }));
    Ok(console.ledger.records.journal(entry).await?)
}
