//! Room `console`: the private door. Reads the ledger; all it ever writes are replay requests, tokens, armings, that a
//! secret was shown, and journal entries. May not know partners, mappings or the public door: what it must say about them is told to it.
//!
//! ```text
//! /livez /readyz /metrics          health        no token
//! /api/v1/deliveries…              deliveries    auditor
//! /api/v1/publications             publications  auditor
//! /api/v1/events                   events        consumer
//! /api/v1/dead-letters /refusals   dead_letters  auditor
//! /api/v1/armings                  armings       auditor; operator to arm
//! /api/v1/reveals                  reveals       operator
//! /api/v1/journal                  journal       auditor
//! /api/v1/replays                  replays       operator
//! /api/v1/tokens                   tokens        operator
//! /api/v1/openapi.json             openapi       no token
//! ```

mod access;
pub mod armings;
pub mod damaged;
mod dead_letters;
mod deliveries;
mod events;
mod health;
mod journal;
mod openapi;
mod problem;
pub mod publications;
mod refusals;
pub mod replays;
pub mod reveals;
pub mod stored;
pub mod tokens;
mod waiting;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    middleware::from_fn_with_state,
    routing::{delete, get, post},
};
use tokio::sync::watch;

pub use access::{OPERATOR_HEADER, Role};
pub use health::Readiness;
pub use reveals::{AskLearnt, Learnt};

use crate::{
    clock::Clock,
    ledger::{Ledger, group_commit::GroupCommit},
    model::{EventNumber, Secret},
};

/// Renders the metrics in Prometheus' text format.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;
/// Tells whether this process can keep a delivery, and what else a person should know.
pub type AskReadiness = Arc<dyn Fn() -> Readiness + Send + Sync>;

/// What the private door works with.
#[derive(Clone)]
pub struct Console {
    /// Where everything is read.
    pub ledger: Ledger,
    /// Where replay requests go.
    pub log: GroupCommit,
    /// The time, for tokens and journal.
    pub clock: Arc<dyn Clock>,
    /// Changes when domain events are committed.
    pub committed: watch::Receiver<EventNumber>,
    /// The token of verbs on this machine, made anew at each start and readable only by the data folder's owner.
    pub local_token: Secret,
    /// See [`AskReadiness`].
    pub readiness: AskReadiness,
    /// See [`AskLearnt`].
    pub learnt: AskLearnt,
    /// See [`RenderMetrics`].
    pub render_metrics: RenderMetrics,
    /// Goes before every event type; a consumer may leave it out.
    pub namespace: String,
    /// How long the feed may be silent before it sends a comment.
    pub heartbeat: Duration,
    /// Becomes true when the process shuts down: live feeds end, so that their connections do not hold it up.
    pub stop: watch::Receiver<bool>,
}

/// The private door's routes.
pub fn router(console: Console) -> Router {
    let state = Arc::new(console);
    let api = Router::new()
        .route("/deliveries", get(deliveries::list))
        .route("/deliveries/{id}", get(deliveries::show))
        .route("/deliveries/{id}/body", get(deliveries::body))
        .route("/publications", get(publications::list))
        .route("/events", get(events::feed))
        .route("/refusals", get(refusals::list))
        .route("/dead-letters", get(dead_letters::list))
        .route("/armings", get(armings::list).post(armings::arm))
        .route("/reveals", post(reveals::reveal))
        .route("/journal", get(journal::list).post(journal::note))
        .route("/replays", post(replays::request))
        .route("/tokens", get(tokens::list).post(tokens::create))
        .route("/tokens/{name}", delete(tokens::revoke))
        .layer(from_fn_with_state(state.clone(), access::require_token));
    Router::new()
        .nest("/api/v1", api.with_state(state.clone()))
        .route("/api/v1/openapi.json", get(openapi::document))
        .merge(health_router(state))
        .fallback(problem::no_such_address)
        .method_not_allowed_fallback(problem::no_such_method)
}

/// Health and metrics alone, for an address of their own.
pub fn health_only(console: Console) -> Router {
    health_router(Arc::new(console)).fallback(problem::no_such_address)
}

fn health_router(state: Arc<Console>) -> Router {
    Router::new()
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .with_state(state)
}
