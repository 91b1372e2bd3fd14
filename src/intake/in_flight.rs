//! Room `intake`: what is in flight: requests not answered yet, and the bytes of their bodies. Backpressure is bounded
//! memory: beyond the bound a request is refused at once instead of queued.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use metrics::{Gauge, gauge};

use super::Refusal;
use crate::{
    partners::Endpoint,
    telemetry::metrics::{BYTES_IN_FLIGHT, REQUESTS_IN_FLIGHT},
};

/// Counts what all requests together hold.
pub(super) struct InFlight {
    requests: AtomicUsize,
    max_requests: usize,
    bytes: AtomicUsize,
    max_bytes: usize,
    bytes_gauge: Gauge,
    requests_gauge: Gauge,
}

impl std::fmt::Debug for InFlight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InFlight").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl InFlight {
    pub(super) fn new(max_requests: usize, max_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            requests: AtomicUsize::new(0),
            max_requests,
            bytes: AtomicUsize::new(0),
            max_bytes,
            bytes_gauge: gauge!(BYTES_IN_FLIGHT),
            requests_gauge: gauge!(REQUESTS_IN_FLIGHT),
        })
    }

    /// How many bytes one endpoint may hold: half of all, so that slow or large bodies of one leave room for the others.
    pub(super) fn share(&self) -> usize {
        self.max_bytes / 2
    }

    /// Counts a request until the returned guard is dropped.
    pub(super) fn count_request(self: &Arc<Self>) -> CountedRequest {
        self.requests_gauge.increment(1);
        CountedRequest { in_flight: Arc::clone(self), admitted: false }
    }

    fn reserve(&self, endpoint: &AtomicUsize, bytes: usize) -> Result<(), Refusal> {
        take(endpoint, bytes, self.share(), "bodies of one endpoint (half of intake.max_bytes_in_flight)")?;
        take(&self.bytes, bytes, self.max_bytes, "bodies held in memory (intake.max_bytes_in_flight)")
            .inspect_err(|_| give_back(endpoint, bytes))?;
        #[expect(
            clippy::cast_precision_loss,
            reason = "a gauge is a float; bodies are far below 2^52 bytes"
        )]
        self.bytes_gauge.increment(bytes as f64);
        Ok(())
    }

    fn release(&self, endpoint: &AtomicUsize, bytes: usize) {
        give_back(endpoint, bytes);
        give_back(&self.bytes, bytes);
        #[expect(
            clippy::cast_precision_loss,
            reason = "a gauge is a float; bodies are far below 2^52 bytes"
        )]
        self.bytes_gauge.decrement(bytes as f64);
    }
}

/// Takes so many of what there may be `max` of, or refuses.
fn take(held: &AtomicUsize, count: usize, max: usize, what: &'static str) -> Result<(), Refusal> {
    let within = |held: usize| held.checked_add(count).filter(|sum| *sum <= max);
    let taken = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within);
    taken.map(drop).map_err(|_| Refusal::Overloaded { what })
}

fn give_back(held: &AtomicUsize, count: usize) {
    held.fetch_sub(count, Ordering::Relaxed);
}

/// A request that counts as in flight.
#[derive(Debug)]
pub(super) struct CountedRequest {
    in_flight: Arc<InFlight>,
    admitted: bool,
}

impl CountedRequest {
    /// Takes one of the places that there are. A request that gets none takes up nothing while it is refused.
    pub(super) fn admit(&mut self) -> Result<(), Refusal> {
        let InFlight { requests, max_requests, .. } = &*self.in_flight;
        take(requests, 1, *max_requests, "requests being answered (intake.max_requests_in_flight)")?;
        self.admitted = true;
        Ok(())
    }
}

impl Drop for CountedRequest {
    fn drop(&mut self) {
        if self.admitted {
            give_back(&self.in_flight.requests, 1);
        }
        self.in_flight.requests_gauge.decrement(1);
    }
}

/// A body as it is read. The room made for it counts as in flight, before it is made and until the last copy of the body
/// is gone, wherever that is: a client that disconnects while its delivery waits for the fsync frees nothing early.
pub(super) struct HeldBody {
    bytes: Vec<u8>,
    reserved: usize,
    /// With its first bytes it gets this much room.
    expected: usize,
    /// It is not expected to grow beyond this.
    full: usize,
    in_flight: Arc<InFlight>,
    endpoint: Arc<AtomicUsize>,
}

impl HeldBody {
    /// An empty body of an endpoint, without any room yet; `full` is how large it may become.
    pub(super) fn new(in_flight: &Arc<InFlight>, endpoint: &Endpoint, full: usize) -> Self {
        let endpoint = Arc::clone(&endpoint.held_bytes);
        Self { bytes: Vec::new(), reserved: 0, expected: 0, full, in_flight: Arc::clone(in_flight), endpoint }
    }

    /// So many bytes were announced. An announcement alone takes up nothing: it costs a client nothing either.
    pub(super) fn expect(&mut self, bytes: usize) {
        self.expected = bytes;
    }

    /// Makes room for so many bytes in all, if all bodies together may take it.
    fn make_room(&mut self, bytes: usize) -> Result<(), Refusal> {
        let more = bytes.saturating_sub(self.reserved);
        if more > 0 {
            self.in_flight.reserve(&self.endpoint, more)?;
            self.reserved += more;
            self.bytes.reserve_exact(self.reserved - self.bytes.len());
        }
        Ok(())
    }

    /// Adds what came in. The room at least doubles, so that a body is moved a few times only.
    pub(super) fn extend(&mut self, data: &[u8]) -> Result<(), Refusal> {
        let needed = self.bytes.len() + data.len();
        if needed > self.reserved {
            self.make_room((self.reserved * 2).max(self.expected).min(self.full).max(needed))?;
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    /// The whole body.
    pub(super) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for HeldBody {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for HeldBody {
    fn drop(&mut self) {
        self.bytes = Vec::new();
        self.in_flight.release(&self.endpoint, self.reserved);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::handshake::tests::endpoint, *};

    fn held(in_flight: &Arc<InFlight>, endpoint: &Endpoint, bytes: usize) -> Result<HeldBody, Refusal> {
        let mut body = HeldBody::new(in_flight, endpoint, bytes);
        body.extend(&vec![b'x'; bytes])?;
        Ok(body)
    }

    #[test]
    fn bytes_count_until_the_last_copy_is_gone() {
        let in_flight = InFlight::new(1, 20);
        let (acme, other) = (endpoint("acme", Vec::new()), endpoint("other", Vec::new()));
        let first = held(&in_flight, &acme, 7).expect("within the share");
        assert!(matches!(held(&in_flight, &acme, 4), Err(Refusal::Overloaded { .. })));
        held(&in_flight, &acme, 3).expect("exactly the share");

        let body = first.freeze();
        let copy = body.slice(2..4);
        drop(body);
        assert!(held(&in_flight, &acme, 4).is_err(), "the slice still holds the body");
        held(&in_flight, &other, 10).expect("another endpoint has room");
        drop(copy);
        held(&in_flight, &acme, 10).expect("freed");
        assert_eq!(in_flight.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn all_endpoints_together_hold_no_more_than_there_is() {
        let in_flight = InFlight::new(1, 20);
        let endpoints = ["a", "b", "c"].map(|name| endpoint(name, Vec::new()));
        let first = held(&in_flight, &endpoints[0], 10).expect("a half");
        let second = held(&in_flight, &endpoints[1], 9).expect("nearly the other");
        assert!(held(&in_flight, &endpoints[2], 2).is_err());
        assert_eq!(endpoints[2].held_bytes.load(Ordering::Relaxed), 0, "what is refused takes up nothing");
        drop((first, second));
        held(&in_flight, &endpoints[2], 2).expect("there is room again");
    }

    #[test]
    fn room_is_counted_before_it_is_made() {
        let in_flight = InFlight::new(1, 100);
        let acme = endpoint("acme", Vec::new());
        let counted = || acme.held_bytes.load(Ordering::Relaxed);
        let mut body = HeldBody::new(&in_flight, &acme, 40);
        assert!(body.make_room(51).is_err());
        assert_eq!((counted(), body.bytes.capacity()), (0, 0));
        body.make_room(16).expect("room");
        assert_eq!((counted(), body.bytes.capacity()), (16, 16));
        body.extend(&[b'x'; 17]).expect("room");
        assert_eq!((counted(), body.bytes.capacity()), (32, 32), "doubled");
        body.extend(&[b'x'; 17]).expect("room");
        assert_eq!((counted(), body.bytes.capacity()), (40, 40), "never beyond what it may become");
    }

    #[test]
    fn beyond_the_bound_a_request_gets_no_place_and_takes_none() {
        let in_flight = InFlight::new(1, 1);
        let mut first = in_flight.count_request();
        assert_eq!(first.admit(), Ok(()));
        let mut second = in_flight.count_request();
        assert!(matches!(second.admit(), Err(Refusal::Overloaded { .. })));
        drop(second);
        assert!(in_flight.count_request().admit().is_err(), "the first one is still there");
        drop(first);
        assert_eq!(in_flight.count_request().admit(), Ok(()));
    }
}
