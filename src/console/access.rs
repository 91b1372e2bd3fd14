//! Room `console`: who may do what. Bearer tokens (RFC 6750), kept as SHA-256, compared by hash.

use std::{fmt, str::FromStr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Console, problem::Problem};
use crate::ledger::{RecordsError, TokenRow};

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads the feed, nothing else.
    Consumer,
    /// Reads everything.
    Auditor,
    /// Reads everything, requests replays, makes and revokes tokens.
    Operator,
}

impl Role {
    /// Its word, as stored and typed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Consumer => "consumer",
            Self::Auditor => "auditor",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Consumer, Self::Auditor, Self::Operator]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| format!("unknown role {text:?}; known are consumer, auditor, operator"))
    }
}

/// Who asks, as the journal names them.
#[derive(Clone, Debug)]
pub(super) struct Caller(pub(super) String);

impl Caller {
    /// Whether it is a verb on this machine. No token can have that name: it is taken, and a colon is in none.
    pub(super) fn is_local(&self) -> bool {
        self.0 == LOCAL || self.0.strip_prefix(LOCAL).is_some_and(|rest| rest.starts_with(':'))
    }

    /// A verb on this machine, and which account ran it, if the verb says so and it looks like that. The verb asked the
    /// operating system; that it did, its token vouches for, which stands in the data folder.
    fn local(headers: &HeaderMap) -> Self {
        let user = headers.get(OPERATOR_HEADER).and_then(|value| value.to_str().ok());
        let is_sound = |user: &&str| {
            (1..=200).contains(&user.len())
                && user.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-=() ".contains(&byte))
        };
        Self(user.filter(is_sound).map_or_else(|| LOCAL.to_owned(), |user| format!("{LOCAL}:{user}")))
    }
}

/// The token a request came with, for what goes on after it was let in.
#[derive(Clone, Debug)]
pub(super) struct Pass {
    /// `None` for a verb on this machine: its token holds as long as the process.
    sha256: Option<String>,
}

impl Pass {
    /// Whether the token has not been revoked since.
    pub(super) async fn holds(&self, console: &Console) -> Result<bool, RecordsError> {
        let Some(sha256) = &self.sha256 else { return Ok(true) };
        Ok(valid(console, sha256).await?.is_some())
    }
}

/// The name under which verbs on this machine appear in the journal, with the user behind it where it is known.
pub(super) const LOCAL: &str = "cli";
/// Names the user of this machine who ran a verb. Only believed beside the token that verbs on this machine have.
pub const OPERATOR_HEADER: &str = "douane-operator";

pub(super) async fn require_token(
    State(console): State<Arc<Console>>,
    mut request: Request,
    next: Next,
) -> Response {
    let needed = needed_role(request.method(), request.uri().path());
    let (token, local) = (bearer_token(&request).map(str::to_owned), Caller::local(request.headers()));
    match caller(&console, token, local, needed).await {
        Ok((caller, pass)) => {
            request.extensions_mut().insert(caller);
            request.extensions_mut().insert(pass);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// `path` is below `/api/v1`.
fn needed_role(method: &Method, path: &str) -> Role {
    if path == "/events" {
        Role::Consumer
    } else if (method == Method::GET || method == Method::HEAD) && path != "/tokens" {
        Role::Auditor
    } else {
        Role::Operator
    }
}

fn bearer_token(request: &Request) -> Option<&str> {
    let credentials = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = credentials.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

async fn caller(
    console: &Console,
    token: Option<String>,
    local: Caller,
    needed: Role,
) -> Result<(Caller, Pass), Problem> {
    let token = token
        .ok_or_else(|| unauthorised("send Authorization: Bearer <token>; `douane token create` makes one"))?;
    if bool::from(token.as_bytes().ct_eq(console.local_token.expose())) {
        return Ok((local, Pass { sha256: None }));
    }
    let sha256 = fingerprint(&token);
    let known = valid(console, &sha256).await?;
    let known = known.ok_or_else(|| unauthorised("the token is unknown or revoked"))?;
    match known.role.parse::<Role>() {
        Ok(role) if role >= needed => Ok((Caller(known.name), Pass { sha256: Some(sha256) })),
        _ => Err(forbidden(needed)),
    }
}

async fn valid(console: &Console, sha256: &str) -> Result<Option<TokenRow>, RecordsError> {
    let tokens = console.ledger.records.tokens().await?;
    Ok(tokens.into_iter().find(|known| known.sha256 == sha256 && known.revoked_at.is_none()))
}

/// SHA-256 of a token, hex: what is kept of it. Tokens have 256 bits of chance, so a plain hash is enough.
pub(super) fn fingerprint(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}

fn unauthorised(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorised", "A token is needed", detail)
}

fn forbidden(needed: Role) -> Problem {
    let detail = format!("this needs the role {needed}");
    Problem::new(StatusCode::FORBIDDEN, "forbidden", "The token does not allow this", detail)
}
