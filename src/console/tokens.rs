//! Room `console`: access tokens: shown once, kept as a hash.

use std::sync::Arc;

use axum::{Extension, Json, extract::State, http::StatusCode};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Console, Role,
    access::{Caller, LOCAL, fingerprint},
    journal::act,
    problem::{Body, Problem, Segment},
};
use crate::{
    ledger::{RecordsError, TokenRow},
    model::Timestamp,
};

/// What every token begins with, so that secret scanners and people recognise one.
pub const TOKEN_PREFIX: &str = "dou_";
const MAX_NAME: usize = 100;

/// A wish for a token.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// Who or what will use it; unique.
    pub name: String,
    /// What it allows.
    pub role: Role,
}

/// A new token. This is the only time it is shown.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct NewToken {
    /// Its name.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// The token itself.
    pub token: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TokenList {
    /// Revoked ones too.
    items: Vec<TokenRow>,
}

/// Why there is no new token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The name cannot be used.
    #[error(
        "a token's name is 1 to {MAX_NAME} letters, digits, dots, dashes or underscores, and not {LOCAL:?}"
    )]
    Name,
    /// The operating system gives no randomness.
    #[error("the operating system gives no randomness")]
    NoRandomness,
}

/// Makes a token: the row to keep and the text to show once.
pub fn mint(request: &TokenRequest, now: Timestamp) -> Result<(TokenRow, NewToken), TokenError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    if !request.name.starts_with(|c: char| c.is_ascii_alphanumeric())
        || request.name == LOCAL
        || request.name.len() > MAX_NAME
        || !request.name.chars().all(allowed)
    {
        return Err(TokenError::Name);
    }
    let mut chance = [0_u8; 32];
    getrandom::fill(&mut chance).map_err(|_| TokenError::NoRandomness)?;
    let token = format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(chance));
    let row = TokenRow {
        name: request.name.clone(),
        role: request.role.to_string(),
        sha256: fingerprint(&token),
        created_at: now,
        revoked_at: None,
    };
    Ok((row, NewToken { name: request.name.clone(), role: request.role, token }))
}

/// Every token, without the token itself.
#[utoipa::path(get, path = "/api/v1/tokens", operation_id = "list_tokens", tag = "tokens",
    responses((status = 200, description = "The tokens.", body = TokenList)))]
pub(super) async fn list(State(console): State<Arc<Console>>) -> Result<Json<TokenList>, Problem> {
    Ok(Json(TokenList { items: console.ledger.records.tokens().await? }))
}

/// Makes a token; the answer is the only place where it is ever shown.
#[utoipa::path(post, path = "/api/v1/tokens", operation_id = "create_token", tag = "tokens",
    request_body = TokenRequest,
    responses((status = 201, description = "The token.", body = NewToken),
              (status = 409, description = "The name is or was another token's.")))]
pub(super) async fn create(
    State(console): State<Arc<Console>>,
    Extension(caller): Extension<Caller>,
    Body(request): Body<TokenRequest>,
) -> Result<(StatusCode, Json<NewToken>), Problem> {
    let (row, token) =
        mint(&request, console.clock.now()).map_err(|error| Problem::invalid(error.to_string()))?;
    if console.ledger.records.tokens().await?.iter().any(|known| known.name == row.name) {
        return Err(name_taken(&row.name));
    }
    let detail = serde_json::json!({ "role": row.role });
    let journal = act(&console, &caller.0, ("token.created", &row.name), detail);
    match console.ledger.records.create_token(row, journal).await {
        Ok(()) => Ok((StatusCode::CREATED, Json(token))),
        // Somebody took the name in between.
        Err(RecordsError::Refused(_)) => Err(name_taken(&token.name)),
        Err(error) => Err(error.into()),
    }
}

fn name_taken(name: &str) -> Problem {
    let detail = format!("there is or was a token named {name:?}; choose another name");
    Problem::new(StatusCode::CONFLICT, "name_taken", "The name is taken", detail)
}

/// Revokes a token at once.
#[utoipa::path(delete, path = "/api/v1/tokens/{name}", operation_id = "revoke_token", tag = "tokens",
    params(("name" = String, Path, description = "The token's name.")),
    responses((status = 204, description = "It is revoked."),
              (status = 404, description = "No valid token has this name.")))]
pub(super) async fn revoke(
    State(console): State<Arc<Console>>,
    Extension(caller): Extension<Caller>,
    Segment(name): Segment,
) -> Result<StatusCode, Problem> {
    let journal = act(&console, &caller.0, ("token.revoked", &name), serde_json::json!({}));
    if console.ledger.records.revoke_token(&name, journal).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Problem::not_found(format!("no valid token is named {name:?}")))
}
