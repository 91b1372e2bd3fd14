//! Room `intake`: step 1, reading a body: frame by frame, within the endpoint's size, the body's time and the memory of
//! all requests together.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderName, TRANSFER_ENCODING};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::time::{Instant, timeout_at};

use super::{Arrival, PublicDoor, Refusal, in_flight::HeldBody};
use crate::{model::RawRequest, partners::Endpoint};

/// Room made for a body with its first bytes. A larger one grows as it arrives: an announced length alone must not cost
/// memory.
const MAX_EXPECTED_BYTES: usize = 16 * 1024;

/// How much of a refused body is still read and thrown away, and how long a pause in it is waited for.
const MAX_DISCARDED_BYTES: u64 = 16 * 1024 * 1024;
const DISCARD_PAUSE: Duration = Duration::from_millis(250);

/// Reads the whole request. Content encodings are refused rather than decoded: what is verified, kept and translated
/// are the same bytes.
pub(super) async fn read(
    door: &PublicDoor,
    endpoint: &Endpoint,
    arrival: &mut Arrival,
) -> Result<RawRequest, Refusal> {
    let limit = endpoint.max_body_bytes.unwrap_or(door.limits.max_body_bytes).min(door.in_flight.share());
    refuse_large_head(door, endpoint, arrival)?;
    refuse_encoded(arrival)?;
    let announced = announced_bytes(arrival);
    if announced.is_some_and(|bytes| bytes > limit) {
        return Err(Refusal::BodyTooLarge { limit });
    }
    let mut held = HeldBody::new(&door.in_flight, endpoint, announced.unwrap_or(limit));
    held.expect(announced.unwrap_or(0).min(MAX_EXPECTED_BYTES));
    let body = timeout_at(arrival.deadline, collect(arrival, held, limit))
        .await
        .map_err(|_| Refusal::BodyTimeout { limit: door.limits.body_timeout })??;
    Ok(arrival.raw(body))
}

/// Reads on after a refusal, without keeping anything: closing a connection on which the client still sends resets
/// it, and the client would never see why it was refused. One that only promised to send is not waited for.
pub(super) async fn discard(arrival: &mut Arrival) {
    if arrival.waits_to_send() {
        return;
    }
    while arrival.body_bytes < MAX_DISCARDED_BYTES && !arrival.body.is_end_stream() {
        let patience = arrival.deadline.min(Instant::now() + DISCARD_PAUSE);
        let Ok(Some(Ok(frame))) = timeout_at(patience, arrival.body.frame()).await else { return };
        arrival.body_bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
}

async fn collect(arrival: &mut Arrival, mut held: HeldBody, limit: usize) -> Result<Bytes, Refusal> {
    while let Some(frame) = arrival.body.frame().await {
        let frame = frame.map_err(|_| Refusal::BodyBroken)?;
        // Trailers are not part of what anyone signs.
        let Ok(data) = frame.into_data() else { continue };
        arrival.body_bytes += data.len() as u64;
        if arrival.body_bytes > limit as u64 {
            return Err(Refusal::BodyTooLarge { limit });
        }
        held.extend(&data)?;
    }
    Ok(held.freeze())
}

/// The listener bounds every head, but not the number of headers of HTTP/2; and an endpoint can have a bound of its own.
fn refuse_large_head(door: &PublicDoor, endpoint: &Endpoint, arrival: &Arrival) -> Result<(), Refusal> {
    if arrival.head.headers.len() > door.limits.max_headers {
        let bound = format!("{} headers (intake.max_headers)", door.limits.max_headers);
        return Err(Refusal::HeadTooLarge { bound });
    }
    let Some(limit) = endpoint.max_header_bytes else { return Ok(()) };
    let target = arrival.head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let headers = arrival.head.headers.iter().map(|(name, value)| name.as_str().len() + value.len());
    if target + headers.sum::<usize>() <= limit {
        return Ok(());
    }
    Err(Refusal::HeadTooLarge { bound: format!("{limit} bytes (max_header_bytes of the endpoint)") })
}

fn refuse_encoded(arrival: &Arrival) -> Result<(), Refusal> {
    let all_are = |name: HeaderName, only: &[u8]| {
        arrival.head.headers.get_all(name).iter().all(|value| value.as_bytes().eq_ignore_ascii_case(only))
    };
    if all_are(CONTENT_ENCODING, b"identity") && all_are(TRANSFER_ENCODING, b"chunked") {
        Ok(())
    } else {
        Err(Refusal::EncodingUnsupported)
    }
}

fn announced_bytes(arrival: &Arrival) -> Option<usize> {
    arrival.head.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
