//! Room `console`: deliveries, for auditors: what came in, what became of it, and the exact bytes.
//! Reading a payload is an act: it is journalled before the bytes leave.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    http::{HeaderName, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::{IntoParams, ToSchema};

use super::{
    Console,
    access::Caller,
    journal::act,
    problem::{Params, Problem, Segment},
    stored::{self, DeliveryDetail, Found, LookupError, Named, NoPayload},
};
use crate::{
    ledger::{DeliveryFilter, DeliveryRow},
    model::{EntryNumber, OutcomeKind, Timestamp},
};

const MAX_ROWS: usize = 1_000;
/// The digest of what is sent, so that whoever keeps it can show that it is what came in (RFC 9530).
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
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

pub(super) fn page_size(limit: Option<usize>) -> usize {
    limit.unwrap_or(100).clamp(1, MAX_ROWS)
}

/// Deliveries, newest first; those not worked yet stand first and say `waiting`.
#[utoipa::path(get, path = "/api/v1/deliveries", operation_id = "list_deliveries", tag = "deliveries",
    params(DeliveryParams),
    responses((status = 200, description = "A page of them.", body = DeliveryList),
              (status = 410, description = "The log was pruned while it was looked through; ask again.")))]
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
    let page = stored::page(&console.ledger, &filter).await?;
    Ok(Json(DeliveryList { items: page.items, next: page.next.map(|number| number.0) }))
}

/// One delivery, by its id or its number, with method, target and headers; without them when the payload is gone, and then
/// `payload` says why. And where its domain events were published.
#[utoipa::path(get, path = "/api/v1/deliveries/{id}", operation_id = "show_delivery", tag = "deliveries",
    params(("id" = String, Path, description = "Its id or its number.")),
    responses((status = 200, description = "The delivery.", body = DeliveryDetail),
              (status = 404, description = "No delivery has this id or number."),
              (status = 410, description = "The log was pruned while it was looked through; ask again."),
              (status = 500, description = "The number was given, and nobody knows any more whose it was (`damaged`).")))]
pub(super) async fn show(
    State(console): State<Arc<Console>>,
    Extension(caller): Extension<Caller>,
    Segment(id): Segment,
) -> Result<Json<DeliveryDetail>, Problem> {
    let Found { row, payload } = find(&console, &id).await?;
    record_read(&console, &caller, &row, "headers").await?;
    let publications = Some(stored::publications(&console.ledger, &row).await?);
    Ok(Json(DeliveryDetail { publications, ..DeliveryDetail::new(row, payload, false) }))
}

/// The exact bytes of the body.
#[utoipa::path(get, path = "/api/v1/deliveries/{id}/body", operation_id = "read_delivery_body", tag = "deliveries",
    params(("id" = String, Path, description = "Its id or its number.")),
    responses((status = 200, description = "The bytes, as an attachment.",
                body = serde_json::Value, content_type = "application/octet-stream",
                headers(("repr-digest" = String, description = "SHA-256 of the bytes (RFC 9530)."))),
              (status = 404, description = "No delivery has this id or number."),
              (status = 410, description = "Retention has dropped the payload."),
              (status = 500, description = "The stored bytes are damaged (`damaged`) and are not served.")))]
pub(super) async fn body(
    State(console): State<Arc<Console>>,
    Extension(caller): Extension<Caller>,
    Segment(id): Segment,
) -> Result<Response, Problem> {
    let Found { row, payload } = find(&console, &id).await?;
    let entry = payload?;
    record_read(&console, &caller, &row, "body").await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}.bin\"", row.delivery)),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (REPR_DIGEST, format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(&entry.body)))),
    ];
    Ok((headers, Body::from(entry.body)).into_response())
}

async fn find(console: &Console, id: &str) -> Result<Found, Problem> {
    let name: Named = id.parse().map_err(|_| no_delivery(id))?;
    stored::find(&console.ledger, name).await?.ok_or_else(|| no_delivery(id))
}

fn no_delivery(id: &str) -> Problem {
    Problem::not_found(format!("no delivery has the id or number {id:?}"))
}

impl From<LookupError> for Problem {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::Records(error) => error.into(),
            LookupError::Log(error) => error.into(),
            LookupError::Damaged(damaged) => Self::damaged(damaged.payload),
        }
    }
}

impl From<NoPayload> for Problem {
    fn from(why: NoPayload) -> Self {
        let detail = why.to_string();
        match why {
            NoPayload::Dropped { first } => Self::gone(detail, first.0),
            NoPayload::NotThere { .. } => Self::not_found(detail),
            NoPayload::Damaged { .. } => Self::damaged(detail),
        }
    }
}

/// Notes who read what. The bytes leave only after this.
async fn record_read(
    console: &Console,
    caller: &Caller,
    row: &DeliveryRow,
    what: &str,
) -> Result<(), Problem> {
    let subject = row.delivery.to_string();
    let entry = act(console, &caller.0, ("payload.read", &subject), serde_json::json!({ "what": what }));
    Ok(console.ledger.records.journal(entry).await?)
}
