//! Room `console`: replays: first a plan with counts, then entries of the intake log, so that a replay's place among
//! live traffic is defined.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::{Extension, Json, extract::State, http::StatusCode};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Console,
    access::Caller,
    journal::act,
    problem::{Body, Problem},
};
use crate::{
    ledger::{DeliveryFilter, EventRow, Records, RecordsError},
    model::{DeliveryId, EndpointName, EntryMeta, EventRef, NewEntry, OutcomeKind, ReplayMeta, Timestamp},
};

/// Most external events that one entry of the log names; a larger replay is several entries.
const EVENTS_PER_ENTRY: usize = 10_000;
/// Most external events in one replay.
pub const MAX_REPLAYED: usize = 1_000_000;
const PAGE: usize = 10_000;

/// Which external events to work again, and how. At least one of the choices must be given.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReplayRequest {
    /// The partner.
    pub partner: Option<String>,
    /// The endpoint.
    pub endpoint: Option<String>,
    /// The partner's type.
    pub event_type: Option<String>,
    /// The latest outcome.
    #[schema(value_type = Option<String>)]
    pub outcome: Option<OutcomeKind>,
    /// Accepted at or after, RFC 3339.
    #[schema(value_type = Option<String>)]
    pub from: Option<Timestamp>,
    /// Accepted before, RFC 3339.
    #[schema(value_type = Option<String>)]
    pub to: Option<Timestamp>,
    /// Only these delivery ids.
    #[schema(value_type = Vec<String>)]
    pub deliveries: Vec<DeliveryId>,
    /// Only these external ids.
    pub external_ids: Vec<String>,
    /// Publish a changed result of something already published under a new id.
    pub reissue: bool,
    /// Publish to these brokers only; empty: to all. The built-in feed is the records themselves and always repeats it.
    pub brokers: Vec<String>,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What a replay does, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplayPlan {
    /// The replay's id; absent after a dry run.
    #[schema(value_type = Option<String>)]
    pub replay: Option<DeliveryId>,
    /// External events to be worked again.
    pub events: u64,
    /// Of those, published again as stored (`translated`, without `reissue`).
    pub repeated: u64,
    /// Of those, translated afresh (all outcomes but `translated`).
    pub translated_afresh: u64,
    /// Of those, translated afresh although they are published (`translated`, with `reissue`): a result that differs is
    /// published under a new id, one that does not again as stored.
    pub may_be_reissued: u64,
    /// Matching duplicates: left alone, for their owner speaks for them.
    pub duplicates_left_alone: u64,
    /// Matching conflicts: left alone, for a person must look first. To work them, choose the outcome `conflict` or name
    /// their deliveries or external ids.
    pub conflicts_left_alone: u64,
    /// Matching entries whose bytes are damaged: left alone, for nothing of them can be read any more.
    pub damaged_left_alone: u64,
    /// Events by endpoint.
    pub by_endpoint: BTreeMap<String, u64>,
}

/// Why a replay cannot be planned.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Nothing was chosen: a replay of everything must be asked for with a time range.
    #[error("choose at least one of partner, outcome, from, to, deliveries or external_ids")]
    NothingChosen,
    /// A broker that nobody knows would get nothing, silently.
    #[error("there is no broker {name:?}; known are: {known}")]
    UnknownBroker {
        /// The name that was given.
        name: String,
        /// The names there are.
        known: String,
    },
    /// More than one replay may hold.
    #[error("the choice holds more than {MAX_REPLAYED} events; narrow it by time")]
    TooMany,
    /// The records could not answer.
    #[error(transparent)]
    Records(#[from] RecordsError),
}

/// A planned replay: what to tell, and which events by endpoint in order of acceptance.
#[derive(Clone, Debug, Default)]
pub struct Planned {
    /// What to tell.
    pub plan: ReplayPlan,
    events: BTreeMap<EndpointName, BTreeSet<EventRef>>,
    left_alone: BTreeSet<EventRef>,
}

/// Finds the events of a replay.
pub async fn plan(records: &dyn Records, request: &ReplayRequest) -> Result<Planned, ReplayError> {
    if !chooses(request) {
        return Err(ReplayError::NothingChosen);
    }
    refuse_unknown_brokers(records, request).await?;
    let mut planned = Planned::default();
    for filter in filters(records, request).await? {
        let mut after = None;
        loop {
            let rows = records.events(&filter, after).await?;
            let Some(last) = rows.last() else { break };
            after = Some(last.at);
            for row in &rows {
                planned.add(row, request);
            }
            if planned.plan.events > MAX_REPLAYED as u64 {
                return Err(ReplayError::TooMany);
            }
        }
    }
    Ok(planned)
}

async fn refuse_unknown_brokers(records: &dyn Records, request: &ReplayRequest) -> Result<(), ReplayError> {
    if request.brokers.is_empty() {
        return Ok(());
    }
    let known: Vec<String> = records.brokers().await?.into_iter().map(|broker| broker.name).collect();
    match request.brokers.iter().find(|name| !known.contains(name)) {
        Some(name) => Err(ReplayError::UnknownBroker { name: name.clone(), known: known.join(", ") }),
        None => Ok(()),
    }
}

fn chooses(request: &ReplayRequest) -> bool {
    request.partner.is_some()
        || request.event_type.is_some()
        || request.outcome.is_some()
        || request.from.is_some()
        || request.to.is_some()
        || !request.deliveries.is_empty()
        || !request.external_ids.is_empty()
}

/// Whether conflicts are meant. Nobody has looked at those that a replay merely happens upon.
fn points_at_conflicts(request: &ReplayRequest) -> bool {
    request.outcome == Some(OutcomeKind::Conflict)
        || !request.deliveries.is_empty()
        || !request.external_ids.is_empty()
}

/// One filter for each way in which the request points at events; ids that nobody knows point at none.
async fn filters(
    records: &dyn Records,
    request: &ReplayRequest,
) -> Result<Vec<DeliveryFilter>, RecordsError> {
    let common = DeliveryFilter {
        partner: request.partner.clone(),
        endpoint: request.endpoint.clone(),
        event_type: request.event_type.clone(),
        outcome: request.outcome,
        from: request.from,
        to: request.to,
        limit: PAGE,
        ..DeliveryFilter::default()
    };
    if request.deliveries.is_empty() && request.external_ids.is_empty() {
        return Ok(vec![common]);
    }
    let mut filters = Vec::new();
    for id in &request.external_ids {
        filters.push(DeliveryFilter { external_id: Some(id.clone()), ..common.clone() });
    }
    for id in &request.deliveries {
        if let Some(row) = records.delivery(*id).await? {
            filters.push(DeliveryFilter { number: Some(row.number), ..common.clone() });
        }
    }
    Ok(filters)
}

impl Planned {
    /// Adds an event; one that several of the request's ids point at counts once.
    fn add(&mut self, row: &EventRow, request: &ReplayRequest) {
        let left_alone = match row.outcome {
            _ if row.endpoint_name.partner.is_empty() => Some(&mut self.plan.damaged_left_alone),
            OutcomeKind::Duplicate => Some(&mut self.plan.duplicates_left_alone),
            OutcomeKind::Conflict if !points_at_conflicts(request) => {
                Some(&mut self.plan.conflicts_left_alone)
            }
            _ => None,
        };
        if let Some(count) = left_alone {
            *count += u64::from(self.left_alone.insert(row.at));
            return;
        }
        if !self.events.entry(row.endpoint_name.clone()).or_default().insert(row.at) {
            return;
        }
        self.plan.events += 1;
        match row.outcome {
            OutcomeKind::Translated if request.reissue => self.plan.may_be_reissued += 1,
            OutcomeKind::Translated => self.plan.repeated += 1,
            _ => self.plan.translated_afresh += 1,
        }
        *self.plan.by_endpoint.entry(row.endpoint_name.to_string()).or_default() += 1;
    }

    /// The entries that carry the replay out; the plan is told its id.
    pub fn into_entries(
        mut self,
        request: &ReplayRequest,
        by: &str,
        id: DeliveryId,
    ) -> (ReplayPlan, Vec<NewEntry>) {
        self.plan.replay = Some(id);
        let mut entries = Vec::new();
        for (endpoint, events) in self.events {
            let events: Vec<EventRef> = events.into_iter().collect();
            for events in events.chunks(EVENTS_PER_ENTRY) {
                let meta = ReplayMeta {
                    id,
                    endpoint: endpoint.clone(),
                    events: events.to_vec(),
                    reissue: request.reissue,
                    brokers: request.brokers.clone(),
                    by: by.to_owned(),
                };
                entries.push(NewEntry { meta: EntryMeta::Replay(meta), body: Bytes::new() });
            }
        }
        (self.plan, entries)
    }
}

/// Plans a replay and, unless it is a dry run, requests it.
#[utoipa::path(post, path = "/api/v1/replays", operation_id = "request_replay", tag = "replays",
    request_body = ReplayRequest,
    responses((status = 200, body = ReplayPlan, description = "The plan of a dry run, or of a replay without events."),
              (status = 202, body = ReplayPlan, description = "The replay is requested.")))]
pub(super) async fn request(
    State(console): State<Arc<Console>>,
    Extension(caller): Extension<Caller>,
    Body(request): Body<ReplayRequest>,
) -> Result<(StatusCode, Json<ReplayPlan>), Problem> {
    let planned = plan(&*console.ledger.records, &request).await?;
    if request.dry_run || planned.plan.events == 0 {
        return Ok((StatusCode::OK, Json(planned.plan)));
    }
    let id = DeliveryId::drawn_at(console.clock.now());
    let (plan, entries) = planned.into_entries(&request, &caller.0, id);
    let detail = serde_json::to_value(&request).unwrap_or_default();
    let journal = act(&console, &caller.0, ("replay.requested", &id.to_string()), detail);
    console.ledger.records.journal(journal).await?;
    for entry in entries {
        console.log.append(entry).await?;
    }
    Ok((StatusCode::ACCEPTED, Json(plan)))
}

impl From<ReplayError> for Problem {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::Records(error) => error.into(),
            other => Self::invalid(other.to_string()),
        }
    }
}
