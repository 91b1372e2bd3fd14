//! Room `console`: what people and the system did.

use std::sync::Arc;

use axum::{Extension, Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Console,
    access::Caller,
    problem::{Body, Params, Problem},
};
use crate::ledger::{JournalEntry, JournalRow};

const MAX_ROWS: usize = 1_000;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct JournalParams {
    /// At most so many, 1 to 1000.
    limit: Option<usize>,
    /// From the previous page's `next`.
    cursor: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct JournalList {
    items: Vec<JournalRow>,
    /// Give this as `cursor` for the next page.
    next: Option<u64>,
}

/// The journal, newest first.
#[utoipa::path(get, path = "/api/v1/journal", operation_id = "list_journal", tag = "journal",
    params(JournalParams),
    responses((status = 200, description = "A page of it.", body = JournalList)))]
pub(super) async fn list(
    State(console): State<Arc<Console>>,
    Params(params): Params<JournalParams>,
) -> Result<Json<JournalList>, Problem> {
    let limit = params.limit.unwrap_or(100).clamp(1, MAX_ROWS);
    let items = console.ledger.records.journal_page(params.cursor, limit).await?;
    let next = items.last().filter(|_| items.len() == limit).map(|row| row.number);
    Ok(Json(JournalList { items, next }))
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

/// Notes an act of a verb on this machine, which reads the data folder itself. Nobody else may write to the journal.
#[utoipa::path(post, path = "/api/v1/journal", operation_id = "note_act", tag = "journal",
    request_body = Object,
    responses((status = 204, description = "It is noted.")))]
pub(super) async fn note(
    State(console): State<Arc<Console>>,
    Extension(caller): Extension<Caller>,
    Body(entry): Body<JournalEntry>,
) -> Result<StatusCode, Problem> {
    if !caller.is_local() {
        let (code, title) = ("forbidden", "The token does not allow this");
        return Err(Problem::new(StatusCode::FORBIDDEN, code, title, "only verbs on this machine note acts"));
    }
    console.ledger.records.journal(JournalEntry { who: caller.0, ..entry }).await?;
    Ok(StatusCode::NO_CONTENT)
}
