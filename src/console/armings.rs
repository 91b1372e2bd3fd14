//! Room `console`: arming: a person says that an endpoint may be taught a secret by the next handshake. May not know
//! partners: whoever asks knows which endpoint learns.

use std::{sync::Arc, time::Duration};

use axum::{Extension, Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Console,
    access::Caller,
    journal::act,
    problem::{Body, Problem},
};
use crate::model::{EndpointName, Timestamp};

/// The longest that an endpoint is armed, in seconds: as long as it is, a stranger could teach it, too.
pub const MAX_ARMED_SECONDS: u64 = 3_600;

/// A wish to arm an endpoint.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ArmRequest {
    /// `partner/endpoint`.
    pub endpoint: String,
    /// For how long, 1 to 3600.
    pub seconds: u64,
}

/// An endpoint that is armed: the next handshake that teaches a secret is believed.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Armed {
    /// `partner/endpoint`.
    pub endpoint: String,
    /// Until when, or until it learnt one.
    #[schema(value_type = String)]
    pub until: Timestamp,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ArmedList {
    items: Vec<Armed>,
}

impl ArmRequest {
    /// Which endpoint and until when, or what is wrong with the wish.
    pub fn settled(&self, now: Timestamp) -> Result<(EndpointName, Timestamp), String> {
        let name = named(&self.endpoint)?;
        if !(1..=MAX_ARMED_SECONDS).contains(&self.seconds) {
            return Err(format!("an endpoint is armed for 1 to {MAX_ARMED_SECONDS} seconds"));
        }
        Ok((name, now.plus(Duration::from_secs(self.seconds))))
    }
}

/// `partner/endpoint` taken apart.
pub(super) fn named(text: &str) -> Result<EndpointName, String> {
    let parts = text
        .split_once('/')
        .filter(|(partner, endpoint)| !partner.is_empty() && !endpoint.is_empty() && !endpoint.contains('/'));
    let (partner, endpoint) = parts.ok_or("name the endpoint as \"partner/endpoint\"")?;
    Ok(EndpointName::new(partner, endpoint))
}

/// The endpoints that are armed.
#[utoipa::path(get, path = "/api/v1/armings", operation_id = "list_armings", tag = "armings",
    responses((status = 200, description = "The armed endpoints.", body = ArmedList)))]
pub(super) async fn list(State(console): State<Arc<Console>>) -> Result<Json<ArmedList>, Problem> {
    let armed = console.ledger.records.armed(console.clock.now()).await?;
    let armed = armed.into_iter().map(|(name, until)| Armed { endpoint: name.to_string(), until });
    Ok(Json(ArmedList { items: armed.collect() }))
}

/// Arms an endpoint, so that one handshake may teach it a secret.
#[utoipa::path(post, path = "/api/v1/armings", operation_id = "arm_endpoint", tag = "armings",
    request_body = ArmRequest,
    responses((status = 201, description = "It is armed.", body = Armed)))]
pub(super) async fn arm(
    State(console): State<Arc<Console>>,
    Extension(caller): Extension<Caller>,
    Body(request): Body<ArmRequest>,
) -> Result<(StatusCode, Json<Armed>), Problem> {
    let (name, until) = request.settled(console.clock.now()).map_err(Problem::invalid)?;
    let (subject, detail) = (name.to_string(), serde_json::json!({ "until": until }));
    let journal = act(&console, &caller.0, ("endpoint.armed", &subject), detail);
    console.ledger.records.arm(&name, until, journal).await?;
    Ok((StatusCode::CREATED, Json(Armed { endpoint: subject, until })))
}
