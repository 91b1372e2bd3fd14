//! Room `intake`: what the partner is told when all went well.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
};

use super::Refusal;
use crate::{
    model::DeliveryId,
    partners::{Endpoint, Reply},
};

/// Names the delivery in every acceptance, also where the partner's system wants a body of its own.
const DELIVERY_HEADER: HeaderName = HeaderName::from_static("douane-delivery");

/// Names a refused request in its answer, so that whoever asks about it can say which one.
const REQUEST_HEADER: HeaderName = HeaderName::from_static("douane-request");

/// What the partner is told when all went well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status and body.
    pub reply: Reply,
    /// Further headers, in lower case; only handshakes have some.
    pub headers: Vec<(String, String)>,
    /// The delivery it became; `None` for a handshake.
    pub delivery: Option<DeliveryId>,
}

/// The answer to a delivery: the partner's own, or `200 {"delivery":"<id>"}`.
pub(super) fn accepted(endpoint: &Endpoint, delivery: DeliveryId) -> Answer {
    let reply = endpoint.accepted.clone().unwrap_or_else(|| Reply {
        status: StatusCode::OK.as_u16(),
        content_type: Some("application/json".to_owned()),
        body: format!(r#"{{"delivery":"{delivery}"}}"#),
    });
    Answer { reply, headers: Vec::new(), delivery: Some(delivery) }
}

/// A refusal on the wire.
pub(super) fn refused(refusal: &Refusal, request: DeliveryId, retry_after: u32) -> Response {
    let mut response = refusal.response(retry_after);
    let id = HeaderValue::try_from(request.to_string()).ok();
    response.headers_mut().extend(id.map(|id| (REQUEST_HEADER, id)));
    response
}

/// An answer on the wire. Browsers are told not to guess its type, because a handshake's reply repeats what a stranger sent.
pub(super) fn response(answer: Answer) -> Response {
    let Answer { reply, headers, delivery } = answer;
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::OK);
    let mut response = (status, Body::from(reply.body)).into_response();
    response.headers_mut().remove(CONTENT_TYPE);
    if let Some(media) = reply.content_type.and_then(|media| HeaderValue::try_from(media).ok()) {
        response.headers_mut().insert(CONTENT_TYPE, media);
    }
    for (name, value) in headers {
        let pair = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
        response.headers_mut().extend(pair.map(|(name, value)| (Some(name), value)));
    }
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(id) = delivery.and_then(|id| HeaderValue::try_from(id.to_string()).ok()) {
        response.headers_mut().insert(DELIVERY_HEADER, id);
    }
    response
}
