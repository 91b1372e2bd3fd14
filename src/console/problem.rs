//! Room `console`: what the private door answers when it cannot do what was asked: problem+json (RFC 9457).

use axum::{
    Json,
    extract::{FromRequest, FromRequestParts, Path, Query, Request, rejection::JsonRejection},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::ledger::{AppendError, LogError, RecordsError};

/// A refused or failed request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(super) struct Problem {
    /// The status answered.
    pub(super) status: u16,
    /// What a program goes by; it does not change.
    pub(super) code: &'static str,
    /// The code in words.
    pub(super) title: &'static str,
    /// What was wrong this time.
    pub(super) detail: String,
    /// The first number that can still be had, on 410.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) first_available: Option<u64>,
}

impl Problem {
    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self { status: status.as_u16(), code, title, detail: detail.into(), first_available: None }
    }

    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", "The request cannot be understood", detail)
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is no such thing here", detail)
    }

    pub(super) fn gone(detail: impl Into<String>, first_available: u64) -> Self {
        let problem = Self::new(StatusCode::GONE, "pruned", "Retention has dropped it", detail);
        Self { first_available: Some(first_available), ..problem }
    }

    pub(super) fn damaged(detail: impl Into<String>) -> Self {
        let (code, title) = ("damaged", "The stored bytes are damaged and are not served");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, code, title, detail)
    }

    fn unavailable(detail: String) -> Self {
        let (code, title) = ("unavailable", "The ledger cannot answer now");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, title, detail)
    }
}

impl From<RecordsError> for Problem {
    fn from(error: RecordsError) -> Self {
        Self::unavailable(error.to_string())
    }
}

impl From<LogError> for Problem {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Pruned { first } => Self::gone(error.to_string(), first.0),
            LogError::Unavailable(_) => Self::unavailable(error.to_string()),
        }
    }
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        Self::unavailable(error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        let problem_json = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, problem_json);
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

pub(super) async fn no_such_address() -> Problem {
    Problem::not_found("the private door knows /api/v1/openapi.json, which lists every address")
}

pub(super) async fn no_such_method() -> Problem {
    let (code, title) = ("method_not_allowed", "The address does not know this method");
    let detail = "Allow lists the methods; /api/v1/openapi.json describes them";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, code, title, detail)
}

/// The one variable segment of a path.
pub(super) struct Segment(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Path::<String>::from_request_parts(parts, state)
            .await
            .map(|Path(segment)| Self(segment))
            .map_err(|rejection| Problem::invalid(rejection.body_text()))
    }
}

/// Query parameters, with unknown ones refused in the same words as everything else.
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Query::<T>::from_request_parts(parts, state)
            .await
            .map(|Query(params)| Self(params))
            .map_err(|rejection| Problem::invalid(rejection.body_text()))
    }
}

/// A JSON body, with mistakes told in the same words as everything else.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        Json::<T>::from_request(request, state)
            .await
            .map(|Json(body)| Self(body))
            .map_err(|rejection: JsonRejection| Problem::invalid(rejection.body_text()))
    }
}
