//! Room `console`: `/livez`, `/readyz`, `/metrics`. Ready means: this process can keep a delivery. A broker, Redis or
//! mapping fault is told in the detail and never takes the process out of the load balancer.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::Console;

/// Whether this process can keep a delivery, and what else a person should know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Readiness {
    /// Whether this process can keep a delivery.
    pub ready: bool,
    /// Why not, when not.
    pub reasons: Vec<String>,
    /// Endpoints that answer 503, or whose handshakes do, because secrets are missing: each with all that it lacks.
    pub not_configured: Vec<String>,
    /// Partners whose desk is broken, with what goes on instead.
    pub desks: Vec<String>,
    /// Partners whose folder is gone, and what holds for them. No problem: it may be meant.
    pub removed: Vec<String>,
}

/// Whether the process runs.
#[utoipa::path(get, path = "/livez", operation_id = "live", tag = "health", security(()),
    responses((status = 200, description = "It does.", body = String, content_type = "text/plain")))]
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// Whether this process can keep a delivery, and what else a person should know.
#[utoipa::path(get, path = "/readyz", operation_id = "ready", tag = "health", security(()),
    responses((status = 200, description = "It can.", body = Readiness),
              (status = 503, description = "It cannot; `reasons` says why.", body = Readiness)))]
pub(super) async fn ready(State(console): State<Arc<Console>>) -> impl IntoResponse {
    let readiness = (console.readiness)();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness))
}

/// Every metric that has a figure, in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", tag = "health", security(()),
    responses((status = 200, description = "The metrics.", body = String, content_type = "text/plain")))]
pub(super) async fn metrics(State(console): State<Arc<Console>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (console.render_metrics)())
}
