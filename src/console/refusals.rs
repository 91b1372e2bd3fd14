//! Room `console`: why partners were turned away.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Console,
    problem::{Params, Problem},
};
use crate::ledger::{RefusalFilter, Refused};

const MAX_ROWS: usize = 1_000;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct RefusalParams {
    /// The partner as named in the path.
    partner: Option<String>,
    /// The endpoint as named in the path.
    endpoint: Option<String>,
    /// The stable code.
    code: Option<String>,
    /// The id that the answer named (header `douane-request`).
    request: Option<String>,
    /// At most so many, 1 to 1000.
    limit: Option<usize>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RefusalList {
    /// Newest first.
    items: Vec<Refused>,
}

/// The kept refusals, newest first: metadata, never a body.
#[utoipa::path(get, path = "/api/v1/refusals", operation_id = "list_refusals", tag = "refusals",
    params(RefusalParams),
    responses((status = 200, description = "The refusals.", body = RefusalList)))]
pub(super) async fn list(
    State(console): State<Arc<Console>>,
    Params(params): Params<RefusalParams>,
) -> Result<Json<RefusalList>, Problem> {
    let filter = RefusalFilter {
        partner: params.partner,
        endpoint: params.endpoint,
        code: params.code,
        request: params.request,
        limit: params.limit.unwrap_or(100).clamp(1, MAX_ROWS),
    };
    Ok(Json(RefusalList { items: console.ledger.records.refusals(&filter).await? }))
}
