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

use super::Console;

/// Whether this process can keep a delivery, and what else a person should know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// Whether this process can keep a delivery.
    pub ready: bool,
    /// Why not, when not.
    pub reasons: Vec<String>,
    /// Endpoints that answer 503 because a secret is missing, with the reason.
    pub not_configured: Vec<String>,
    /// Partners whose desk is broken, with what goes on instead.
    pub desks: Vec<String>,
    /// Brokers that wait, with the reason.
    pub brokers: Vec<String>,
}

pub(super) async fn live() -> &'static str {
    "ok\n"
}

pub(super) async fn ready(State(console): State<Arc<Console>>) -> impl IntoResponse {
    let readiness = (console.readiness)();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness))
}

pub(super) async fn metrics(State(console): State<Arc<Console>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (console.render_metrics)())
}
