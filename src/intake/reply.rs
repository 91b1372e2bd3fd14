//! Room `intake`: what the partner is told when all went well.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
};

use crate::{
    model::DeliveryId,
    partners::{Endpoint, Reply},
};

/// The reply to a delivery: the partner's own, or `200 {"delivery":"<id>"}`.
pub(super) fn accepted(endpoint: &Endpoint, delivery: DeliveryId) -> Reply {
    endpoint.accepted.clone().unwrap_or_else(|| Reply {
        status: StatusCode::OK.as_u16(),
        content_type: Some("application/json".to_owned()),
        body: format!(r#"{{"delivery":"{delivery}"}}"#),
    })
}

/// A reply on the wire. Browsers are told not to guess its type, because a handshake's reply repeats what a stranger sent.
pub(super) fn response(reply: Reply) -> Response {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::OK);
    let mut response = (status, Body::from(reply.body)).into_response();
    response.headers_mut().remove(CONTENT_TYPE);
    if let Some(media) = reply.content_type.and_then(|media| HeaderValue::try_from(media).ok()) {
        response.headers_mut().insert(CONTENT_TYPE, media);
    }
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
