//! Room `console`: showing a person the secret that an endpoint learnt last, once, because the partner's system asks for it. May
//! not know partners: whether it may be shown is told to it. Never in a log, and journalled before it is shown.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{
    Console,
    access::Caller,
    armings,
    journal::act,
    problem::{Body, Problem},
};
use crate::model::{EndpointName, Secret};

/// Tells the secret that an endpoint learnt last, if it may be shown at all.
pub type AskLearnt = Arc<dyn Fn(&EndpointName) -> Learnt + Send + Sync>;

/// What an endpoint has that could be shown.
#[derive(Clone, Debug)]
pub enum Learnt {
    /// There is no such endpoint.
    NoEndpoint,
    /// No handshake of it says that a person must see the secret.
    NeverShown,
    /// It has learnt nothing.
    Nothing,
    /// This one.
    Secret {
        /// Its id, as deliveries note it.
        id: String,
        /// The secret.
        secret: Secret,
    },
}

/// A wish to see what an endpoint learnt last.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevealRequest {
    /// `partner/endpoint`.
    pub endpoint: String,
}

/// What it learnt, shown this once.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct Revealed {
    /// `partner/endpoint`.
    pub endpoint: String,
    /// The secret's id, as deliveries note it.
    pub secret_id: String,
    /// The secret.
    pub secret: String,
}

/// Shows the secret that an endpoint learnt last. Each is shown once, and only where the partner's system asks a person for it.
#[utoipa::path(post, path = "/api/v1/reveals", operation_id = "reveal_learnt_secret", tag = "armings",
    request_body = RevealRequest,
    responses(
        (status = 200, description = "The secret, this once.", body = Revealed),
        (status = 404, description = "There is no such endpoint, or it has learnt nothing."),
        (status = 409, description = "It was shown before, or is never shown.")))]
pub(super) async fn reveal(
    State(console): State<Arc<Console>>,
    Extension(caller): Extension<Caller>,
    Body(request): Body<RevealRequest>,
) -> Result<Response, Problem> {
    let name = armings::named(&request.endpoint).map_err(Problem::invalid)?;
    let (id, secret) = match (console.learnt)(&name) {
        Learnt::Secret { id, secret } => (id, secret),
        Learnt::NoEndpoint => return Err(Problem::not_found(format!("there is no endpoint {name}"))),
        Learnt::Nothing => {
            let detail =
                format!("{name} has learnt nothing; arm it, and have the partner's system send its secret");
            return Err(Problem::not_found(detail));
        }
        Learnt::NeverShown => {
            let detail =
                format!("no handshake of {name} says that its partner's system asks a person for the secret");
            return Err(conflict("never_shown", "What this endpoint learns is shown to nobody", detail));
        }
    };
    let text = std::str::from_utf8(secret.expose()).unwrap_or_default().to_owned();
    let subject = name.to_string();
    let journal = act(&console, &caller.0, ("secret.revealed", &subject), json!({ "secret": id }));
    if !console.ledger.records.reveal(&name, &id, journal).await? {
        let detail = format!(
            "the secret {id} was shown before, the journal says to whom; to see one, arm {name} and have it taught anew"
        );
        return Err(conflict("shown_before", "A secret is shown once", detail));
    }
    let revealed = Revealed { endpoint: subject, secret_id: id, secret: text };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(revealed)).into_response())
}

fn conflict(code: &'static str, title: &'static str, detail: String) -> Problem {
    Problem::new(StatusCode::CONFLICT, code, title, detail)
}
