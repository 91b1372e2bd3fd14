//! Room `console`: publications, asked both ways: what a message of a broker came from, and where a domain event or a
//! delivery went. The verb asks here too.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Console, deliveries,
    problem::{Params, Problem},
    stored::{self, LookupError, Named},
};
use crate::{
    ledger::{Ledger, PublicationFilter, PublicationRow, RecordsError},
    model::EventNumber,
};

/// Why publications cannot be looked up. What nobody knows would match nothing, silently.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PublicationsError {
    /// A broker of this name was never seen.
    #[error("there is no broker {name:?}; known are: {known}")]
    UnknownBroker {
        /// The name that was given.
        name: String,
        /// The names there are.
        known: String,
    },
    /// No delivery has the id or number.
    #[error("there is no such delivery in this ledger")]
    UnknownDelivery,
    /// The ledger could not answer.
    #[error(transparent)]
    Lookup(#[from] LookupError),
}

impl From<RecordsError> for PublicationsError {
    fn from(error: RecordsError) -> Self {
        Self::Lookup(error.into())
    }
}

/// Publications that match, newest event first; of one delivery, if it is named.
pub async fn find(
    ledger: &Ledger,
    delivery: Option<Named>,
    mut filter: PublicationFilter,
) -> Result<Vec<PublicationRow>, PublicationsError> {
    if let Some(name) = delivery {
        let number = stored::number(ledger, name).await?;
        filter.delivery = Some(number.ok_or(PublicationsError::UnknownDelivery)?);
    }
    let rows = ledger.records.publications(&filter).await?;
    match filter.broker {
        Some(name) if rows.is_empty() => refuse_unknown_broker(ledger, name).await.map(|()| rows),
        _ => Ok(rows),
    }
}

async fn refuse_unknown_broker(ledger: &Ledger, name: String) -> Result<(), PublicationsError> {
    let known: Vec<String> = ledger.records.brokers().await?.into_iter().map(|broker| broker.name).collect();
    if known.contains(&name) {
        return Ok(());
    }
    Err(PublicationsError::UnknownBroker { name, known: known.join(", ") })
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct PublicationParams {
    /// The broker, parked or not.
    broker: Option<String>,
    /// Where the broker put it: the whole position, as it was noted. One that repeats (a stream that was made anew) matches
    /// several.
    position: Option<String>,
    /// The domain event's number, its `sequence` in the feed.
    event: Option<u64>,
    /// Of the domain events that this delivery became, replays included: its id or its number.
    delivery: Option<String>,
    /// `true`: those that the broker refused for good; `false`: those that it placed.
    refused: Option<bool>,
    /// At most so many, 1 to 1000.
    limit: Option<usize>,
    /// From the previous page's `next`.
    cursor: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PublicationList {
    items: Vec<PublicationRow>,
    /// Give this as `cursor` for the next page.
    next: Option<String>,
}

/// Where domain events were published, and what was refused: by event, newest first. An event that a broker has not come to,
/// or that its `match` passes over, has no publication there.
#[utoipa::path(get, path = "/api/v1/publications", operation_id = "list_publications", tag = "publications",
    params(PublicationParams),
    responses((status = 200, description = "A page of them.", body = PublicationList),
              (status = 404, description = "No broker has this name, or no delivery this id or number.")))]
pub(super) async fn list(
    State(console): State<Arc<Console>>,
    Params(params): Params<PublicationParams>,
) -> Result<Json<PublicationList>, Problem> {
    let delivery = params.delivery.as_deref().map(str::parse).transpose().map_err(Problem::invalid)?;
    let filter = PublicationFilter {
        broker: params.broker,
        position: params.position,
        event: params.event.map(EventNumber),
        delivery: None,
        refused: params.refused,
        limit: deliveries::page_size(params.limit),
        after: params.cursor.as_deref().map(passed).transpose()?,
    };
    let limit = filter.limit;
    let items = find(&console.ledger, delivery, filter).await?;
    let last = items.last().filter(|_| items.len() == limit);
    let next = last.map(|row| format!("{}:{}", row.event, row.broker));
    Ok(Json(PublicationList { items, next }))
}

/// The event and the broker that a cursor stands at.
fn passed(cursor: &str) -> Result<(EventNumber, String), Problem> {
    let parts = cursor.split_once(':').and_then(|(event, broker)| Some((event.parse().ok()?, broker)));
    let (event, broker) = parts.ok_or_else(|| Problem::invalid("cursor must be a previous page's `next`"))?;
    Ok((EventNumber(event), broker.to_owned()))
}

impl From<PublicationsError> for Problem {
    fn from(error: PublicationsError) -> Self {
        match error {
            PublicationsError::Lookup(error) => error.into(),
            unknown => Self::not_found(unknown.to_string()),
        }
    }
}
