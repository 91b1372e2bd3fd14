//! Room `console`: what could not be translated or published, and waits for a person.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Console, deliveries,
    problem::{Params, Problem},
};
use crate::{
    ledger::{DamagedEntry, DeliveryFilter, DeliveryRow},
    model::{EntryNumber, OutcomeKind},
};

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct DeadLetterParams {
    /// The partner.
    partner: Option<String>,
    /// The endpoint.
    endpoint: Option<String>,
    /// At most so many deliveries, 1 to 1000.
    limit: Option<usize>,
    /// From the previous page's `next`.
    cursor: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeadLetterList {
    /// Deliveries with at least one event whose latest outcome is `dead_letter`.
    items: Vec<DeliveryRow>,
    /// Publications that a broker refused for good.
    publications: Vec<PublicationDeadLetter>,
    /// Entries of the log whose bytes are damaged; only without partner and endpoint, for nobody knows whose they were.
    damaged: Vec<DamagedEntry>,
    /// Give this as `cursor` for the next page.
    next: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PublicationDeadLetter {
    /// The broker that refused it.
    broker: String,
    /// The domain event's number.
    event_number: u64,
    /// Why.
    reason: String,
}

/// Open dead letters, newest first.
#[utoipa::path(get, path = "/api/v1/dead-letters", operation_id = "list_dead_letters", tag = "dead letters",
    params(DeadLetterParams),
    responses((status = 200, description = "A page of them.", body = DeadLetterList)))]
pub(super) async fn list(
    State(console): State<Arc<Console>>,
    Params(params): Params<DeadLetterParams>,
) -> Result<Json<DeadLetterList>, Problem> {
    let filter = DeliveryFilter {
        partner: params.partner,
        endpoint: params.endpoint,
        outcome: Some(OutcomeKind::DeadLetter),
        limit: deliveries::page_size(params.limit),
        before: params.cursor.map(EntryNumber),
        ..DeliveryFilter::default()
    };
    let page = console.ledger.records.deliveries(&filter).await?;
    let damaged = match (&filter.partner, &filter.endpoint) {
        (None, None) => console.ledger.records.damaged(filter.limit).await?,
        _ => Vec::new(),
    };
    let publications = console.ledger.records.publication_dead_letters(filter.limit).await?;
    let publications = publications
        .into_iter()
        .map(|(broker, event, reason)| PublicationDeadLetter { broker, event_number: event.0, reason })
        .collect();
    let next = page.next.map(|number| number.0);
    Ok(Json(DeadLetterList { items: page.items, publications, damaged, next }))
}
