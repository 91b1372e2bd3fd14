//! Room `intake`: what is in flight: requests not answered yet, and the bytes of their bodies. Backpressure is bounded
//! memory: beyond the bound a request is refused at once instead of queued.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use metrics::{Gauge, gauge};

use super::Refusal;
use crate::telemetry::metrics::{BYTES_IN_FLIGHT, REQUESTS_IN_FLIGHT};

/// Counts what all requests together hold.
pub(super) struct InFlight {
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
    pub(super) fn new(max_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes: AtomicUsize::new(0),
            max_bytes,
            bytes_gauge: gauge!(BYTES_IN_FLIGHT),
            requests_gauge: gauge!(REQUESTS_IN_FLIGHT),
        })
    }

    /// Counts a request until the returned guard is dropped.
    pub(super) fn count_request(self: &Arc<Self>) -> CountedRequest {
        self.requests_gauge.increment(1);
        CountedRequest(Arc::clone(self))
    }

    fn reserve(&self, bytes: usize) -> Result<(), Refusal> {
        let within = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= self.max_bytes);
        self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).map_err(|_| {
            Refusal::Overloaded { what: "bodies held in memory (intake.max_bytes_in_flight)" }
        })?;
        #[expect(
            clippy::cast_precision_loss,
            reason = "a gauge is a float; bodies are far below 2^52 bytes"
        )]
        self.bytes_gauge.increment(bytes as f64);
        Ok(())
    }

    fn release(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        #[expect(
            clippy::cast_precision_loss,
            reason = "a gauge is a float; bodies are far below 2^52 bytes"
        )]
        self.bytes_gauge.decrement(bytes as f64);
    }
}

/// A request that counts as in flight.
#[derive(Debug)]
pub(super) struct CountedRequest(Arc<InFlight>);

impl Drop for CountedRequest {
    fn drop(&mut self) {
        self.0.requests_gauge.decrement(1);
    }
}

/// A body as it is read. Its bytes count as in flight until the last copy of it is gone, wherever that is: a client
/// that disconnects while its delivery waits for the fsync frees nothing early.
pub(super) struct HeldBody {
    bytes: Vec<u8>,
    in_flight: Arc<InFlight>,
}

impl HeldBody {
    /// An empty body with room for `expected` bytes.
    pub(super) fn new(in_flight: &Arc<InFlight>, expected: usize) -> Self {
        Self { bytes: Vec::with_capacity(expected), in_flight: Arc::clone(in_flight) }
    }

    /// Adds what came in, if all bodies together may hold it.
    pub(super) fn extend(&mut self, data: &[u8]) -> Result<(), Refusal> {
        self.in_flight.reserve(data.len())?;
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
        self.in_flight.release(self.bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_count_until_the_last_copy_is_gone() {
        let in_flight = InFlight::new(10);
        let mut first = HeldBody::new(&in_flight, 0);
        first.extend(b"1234567").expect("within the bound");
        let mut second = HeldBody::new(&in_flight, 0);
        assert!(matches!(second.extend(b"1234"), Err(Refusal::Overloaded { .. })));
        second.extend(b"123").expect("exactly the bound");

        let body = first.freeze();
        let copy = body.slice(2..4);
        drop(body);
        assert!(second.extend(b"1").is_err(), "the slice still holds the body");
        drop(copy);
        second.extend(b"1234567").expect("freed");
        drop(second);
        assert_eq!(in_flight.bytes.load(Ordering::Relaxed), 0);
    }
}
