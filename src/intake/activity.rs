//! Room `intake`: whether a connection is being used. One timer a connection covers the first byte, slow headers and
//! idleness on both protocols, and costs a request nothing.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Instant;

/// How many requests of a connection are being answered, and since when there have been none.
#[derive(Debug)]
pub(super) struct Activity {
    opened: Instant,
    answering: AtomicUsize,
    /// Microseconds after `opened`.
    idle_since: AtomicU64,
}

impl Activity {
    /// A connection just opened.
    pub(super) fn new() -> Self {
        Self { opened: Instant::now(), answering: AtomicUsize::new(0), idle_since: AtomicU64::new(0) }
    }

    /// A request came, and is being answered until the returned guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Answering {
        self.answering.fetch_add(1, Ordering::Relaxed);
        Answering(Arc::clone(self))
    }

    /// Until when the connection may wait for its next request; `None` when that time is over.
    pub(super) fn deadline(&self, patience: Duration) -> Option<Instant> {
        let now = Instant::now();
        if self.answering.load(Ordering::Relaxed) > 0 {
            return Some(now + patience);
        }
        let idle_since = Duration::from_micros(self.idle_since.load(Ordering::Relaxed));
        let deadline = self.opened + idle_since + patience;
        (deadline > now).then_some(deadline)
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Answering(Arc<Activity>);

impl Drop for Answering {
    fn drop(&mut self) {
        let idle_since = u64::try_from(self.0.opened.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.0.idle_since.store(idle_since, Ordering::Relaxed);
        self.0.answering.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A response body that counts as being answered until it is sent: a stream of events is not an idle connection.
#[derive(Debug)]
pub(super) struct Tracked<B> {
    body: B,
    _answering: Answering,
}

impl<B> Tracked<B> {
    pub(super) fn new(body: B, answering: Answering) -> Self {
        Self { body, _answering: answering }
    }
}

impl<B: Body + Unpin> Body for Tracked<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
