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

/// How many requests of a connection are being answered, and when that or an answer last moved.
#[derive(Debug)]
pub(super) struct Activity {
    opened: Instant,
    answering: AtomicUsize,
    /// When a request last came, or a part of an answer was last taken, in microseconds after `opened`.
    moved: AtomicU64,
}

/// How long a connection may be of no use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// With the next request, headers and all.
    pub(super) with_requests: Duration,
    /// With taking the answers, while no further request comes and no part of one is taken.
    pub(super) with_answers: Duration,
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
        let deadline = match self.answering.load(Ordering::Relaxed) {
            0 => moved + patience.with_requests,
            _ => moved + patience.with_answers,
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

/// A response body that counts as being answered until it is sent, and moves whenever a part of it is taken: a stream of
/// events is not an idle connection while somebody reads it.
#[derive(Debug)]
pub(super) struct Tracked<B> {
    body: B,
    answering: Answering,
}

impl<B> Tracked<B> {
    pub(super) fn new(body: B, answering: Answering) -> Self {
        Self { body, answering }
    }
}

impl<B: Body + Unpin> Body for Tracked<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_ready() {
            self.answering.0.move_on();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
