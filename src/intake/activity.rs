//! Room `intake`: whether a connection is being used. One timer a connection covers the first byte, slow headers, idleness
//! and answers that are not taken, on both protocols, and costs a request nothing.

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

/// How many requests of a connection are being answered, and when that last changed.
#[derive(Debug)]
pub(super) struct Activity {
    opened: Instant,
    answering: AtomicUsize,
    /// When a request last came or was last answered, in microseconds after `opened`.
    moved: AtomicU64,
}

/// How long a connection may be of no use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// With the next request, headers and all.
    pub(super) with_requests: Duration,
    /// With taking the answers, while no further request comes; `None`: as long as it likes, as the live feed does.
    pub(super) with_answers: Option<Duration>,
}

impl Activity {
    /// A connection just opened.
    pub(super) fn new() -> Self {
        Self { opened: Instant::now(), answering: AtomicUsize::new(0), moved: AtomicU64::new(0) }
    }

    /// A request came, and is being answered until the returned guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Answering {
        self.move_on();
        self.answering.fetch_add(1, Ordering::Relaxed);
        Answering(Arc::clone(self))
    }

    fn move_on(&self) {
        let moved = u64::try_from(self.opened.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.moved.store(moved, Ordering::Relaxed);
    }

    /// Until when the connection may go on without moving; `None` when that time is over.
    pub(super) fn deadline(&self, patience: Patience) -> Option<Instant> {
        let now = Instant::now();
        let moved = self.opened + Duration::from_micros(self.moved.load(Ordering::Relaxed));
        let deadline = match (self.answering.load(Ordering::Relaxed), patience.with_answers) {
            (0, _) => moved + patience.with_requests,
            (_, Some(with_answers)) => moved + with_answers,
            (_, None) => now + patience.with_requests,
        };
        (deadline > now).then_some(deadline)
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Answering(Arc<Activity>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.move_on();
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
