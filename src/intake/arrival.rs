//! Room `intake`: a request whose headers have arrived and whose body has not been read.

use std::net::IpAddr;

use axum::{body::Body, extract::Request};
use bytes::Bytes;
use http::{HeaderMap, Version, header::EXPECT, request::Parts};
use tokio::time::Instant;

use super::{PublicDoor, client::Client, in_flight::CountedRequest, self_test};
use crate::model::{Headers, RawRequest};

/// One request at the public door, from its headers to its answer.
#[derive(Debug)]
pub struct Arrival {
    pub(super) head: Parts,
    pub(super) body: Body,
    /// When the headers had arrived.
    pub(super) began: Instant,
    /// By when the body must have arrived.
    pub(super) deadline: Instant,
    /// How many bytes of the body came so far.
    pub(super) body_bytes: u64,
    pub(super) counted: CountedRequest,
    /// Who is at the other end.
    pub(super) client: Client,
}

impl Arrival {
    /// Takes a request in: from now on it counts as in flight, and its body has its time to arrive.
    pub fn new(door: &PublicDoor, request: Request, peer: Option<IpAddr>) -> Self {
        let (head, body) = request.into_parts();
        let began = Instant::now();
        let deadline = began + door.limits.body_timeout.0;
        let client = Client::of(peer, &head.headers, &door.limits);
        let counted = door.in_flight.count_request();
        Self { head, body, began, deadline, body_bytes: 0, counted, client }
    }

    /// The path of the endpoint.
    pub(super) fn path(&self) -> &str {
        let path = self.head.uri.path();
        self_test::address_in(path).unwrap_or(path)
    }

    /// Whether the sender only wants to know what would become of the request.
    pub(super) fn is_self_test(&self) -> bool {
        self_test::address_in(self.head.uri.path()).is_some()
    }

    /// Who sent it, as far as that is known.
    pub(super) fn peer(&self) -> Option<IpAddr> {
        self.client.address
    }

    /// The client holds its body back until it is asked for, and it has not been.
    pub(super) fn waits_to_send(&self) -> bool {
        self.body_bytes == 0 && self.head.headers.contains_key(EXPECT)
    }

    /// The request with its body, as the rooms behind the door know it.
    pub(super) fn raw(&self, body: Bytes) -> RawRequest {
        RawRequest {
            method: self.head.method.as_str().to_owned(),
            target: self
                .head
                .uri
                .path_and_query()
                .map_or_else(String::new, |target| target.as_str().to_owned()),
            version: version(self.head.version).to_owned(),
            headers: exact(&self.head.headers),
            body,
            peer: self.peer(),
        }
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}

/// Values are copied: a slice of the connection's read buffer would keep the whole buffer in memory.
fn exact(received: &HeaderMap) -> Headers {
    let mut headers = Vec::with_capacity(received.len());
    for (name, value) in received {
        let value = crate::model::HeaderValue(Bytes::copy_from_slice(value.as_bytes()));
        headers.push((name.as_str().to_owned(), value));
    }
    Headers(headers)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn headers_are_kept_exactly() {
        let mut received = HeaderMap::new();
        received.append("X-Event", HeaderValue::from_static("Ping "));
        received.append("x-twice", HeaderValue::from_static("1"));
        received.append("X-Twice", HeaderValue::from_bytes(b"\xff2").expect("a legal value"));
        let Headers(headers) = exact(&received);
        let flat: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.0.as_ref())).collect();
        assert_eq!(flat, [("x-event", &b"Ping "[..]), ("x-twice", b"1"), ("x-twice", b"\xff2")]);
    }
}
