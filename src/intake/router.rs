//! Room `intake`: between HTTP and the story. One handler for every path, so that no router decodes or normalises one.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    response::Response,
};

use super::{Arrival, PublicDoor, body, receive, reply};

/// The public door as a service: `POST /in/<partner>[/<endpoint>]`, handshakes, and a refusal for all else.
pub fn router(door: Arc<PublicDoor>) -> Router {
    Router::new().fallback(answer).with_state(door)
}

async fn answer(State(door): State<Arc<PublicDoor>>, request: Request) -> Response {
    let mut arrival = Arrival::new(&door, request);
    match receive(&door, &mut arrival).await {
        Ok(answer) => reply::response(answer),
        Err(refusal) => {
            body::discard(&mut arrival).await;
            door.notes.refused(&door.partners.snapshot(), &arrival, &refusal, door.clock.now());
            refusal.response(door.limits.retry_after_seconds)
        }
    }
}
