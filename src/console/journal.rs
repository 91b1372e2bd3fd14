//! Room `console`: what people and the system did.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Console,
    problem::{Params, Problem},
};
use crate::ledger::{JournalEntry, JournalRow};

const MAX_ROWS: usize = 1_000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct JournalParams {
    /// Continue below this number.
    before: Option<u64>,
    /// At most so many, 1 to 1000.
    limit: Option<usize>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct JournalList {
    items: Vec<JournalRow>,
}

/// The journal, newest first.
#[utoipa::path(get, path = "/api/v1/journal", params(JournalParams), responses((status = 200, body = JournalList)))]
pub(super) async fn list(
    State(console): State<Arc<Console>>,
    Params(params): Params<JournalParams>,
) -> Result<Json<JournalList>, Problem> {
    let limit = params.limit.unwrap_or(100).clamp(1, MAX_ROWS);
    Ok(Json(JournalList { items: console.ledger.records.journal_page(params.before, limit).await? }))
}

/// One line of the journal about what `who` did just now.
pub(super) fn act(
    console: &Console,
    who: &str,
    (act, subject): (&str, &str),
    detail: serde_json::Value,
) -> JournalEntry {
    JournalEntry {
        at: console.clock.now(),
        who: who.to_owned(),
        act: act.to_owned(),
        subject: subject.to_owned(),
        detail,
    }
}
