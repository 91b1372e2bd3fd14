//! Room `intake`: between HTTP and the story. Every path comes here as it is, because no router decodes or normalises one.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use axum::{body::Body, response::Response};
use http::Request;
use hyper::{
    body::Incoming,
    service::{Service, service_fn},
};

use super::{Arrival, PublicDoor, body, receive, reply};
use crate::model::DeliveryId;

/// The public door to one peer: `POST /in/<partner>[/<endpoint>]`, handshakes, and a refusal for all else.
pub(super) fn reception(
    door: Arc<PublicDoor>,
    peer: SocketAddr,
) -> impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> {
    service_fn(move |request: Request<Incoming>| {
        let door = Arc::clone(&door);
        async move {
            let arrival = Arrival::new(&door, request.map(Body::new), Some(peer.ip()));
            Ok::<_, Infallible>(answer(&door, arrival).await)
        }
    })
}

async fn answer(door: &PublicDoor, mut arrival: Arrival) -> Response {
    match receive(door, &mut arrival).await {
        Ok(answer) => reply::response(answer),
        Err(refusal) => {
            body::discard(&mut arrival).await;
            let now = door.clock.now();
            let request = DeliveryId::drawn_at(now);
            door.notes.refused(&door.partners.snapshot(), &arrival, &refusal, (request, now));
            reply::refused(&refusal, request, door.limits.retry_after_seconds)
        }
    }
}
