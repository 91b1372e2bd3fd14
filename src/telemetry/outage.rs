//! Room `telemetry`: what is said of a thing that is done again and again and fails for a while: one line when that begins and one
//! when it is over, however often it was tried meanwhile. May not try anything itself.

use std::fmt::Display;

use tokio::time::Instant;
use tracing::{debug, info, warn};

/// Whether a thing that is done again and again fails now.
#[derive(Debug)]
pub struct Outage {
    what: &'static str,
    since: Option<Instant>,
}

impl Outage {
    /// It has not failed yet. `what` says what fails when it does, for a person: `the scrub cannot read`.
    pub const fn of(what: &'static str) -> Self {
        Self { what, since: None }
    }

    /// Takes note of how it went, and gives what came of it. The first failure is a warning; a success after one says for how
    /// long it lasted.
    pub fn told<T, E: Display>(&mut self, done: Result<T, E>) -> Option<T> {
        match done {
            Ok(done) => {
                if let Some(since) = self.since.take() {
                    info!(lasted = ?since.elapsed(), "over: {}", self.what);
                }
                Some(done)
            }
            Err(error) => {
                if self.since.is_none() {
                    warn!("{}: {error:#}", self.what);
                } else {
                    debug!("{}: {error:#}", self.what);
                }
                self.since.get_or_insert_with(Instant::now);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::{Level, Metadata, Subscriber, span, subscriber::with_default};

    use super::*;

    /// Counts what is told, by level.
    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Vec<Level>>>);

    impl Subscriber for Heard {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            *metadata.level() <= Level::INFO
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

        fn event(&self, event: &tracing::Event<'_>) {
            self.0.lock().expect("a list").push(*event.metadata().level());
        }

        fn enter(&self, _: &span::Id) {}

        fn exit(&self, _: &span::Id) {}
    }

    #[test]
    fn an_outage_is_told_when_it_begins_and_when_it_is_over() {
        let heard = Heard::default();
        let mut outage = Outage::of("it cannot be done");
        with_default(heard.clone(), || {
            for done in [Ok(1), Err("away"), Err("away"), Err("still away"), Ok(2), Ok(3), Err("again")] {
                assert_eq!(outage.told(done), done.ok());
            }
        });
        assert_eq!(*heard.0.lock().expect("a list"), [Level::WARN, Level::INFO, Level::WARN]);
    }
}
