//! Room `keys`: what is written to the log of fetches that fail. Anyone can have them fail, by names that are made up, so it is
//! so many lines a minute, and what senders name for the first time has a count of its own: it hides nothing of what is known.

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering},
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::limits::Standing;
use crate::model::HttpsUrl;

/// So many lines a minute, of each standing.
const LINES_PER_MINUTE: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);

/// Tells of failed fetches, within bounds.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    known: Lines,
    first: Lines,
}

#[derive(Debug)]
struct Lines {
    limiter: DefaultDirectRateLimiter,
    untold: AtomicU64,
}

impl Default for Lines {
    fn default() -> Self {
        Self { limiter: RateLimiter::direct(Quota::per_minute(LINES_PER_MINUTE)), untold: AtomicU64::new(0) }
    }
}

impl Lines {
    /// How many were not told since the last line, if there may be another.
    fn another(&self) -> Option<u64> {
        if self.limiter.check().is_ok() {
            return Some(self.untold.swap(0, Ordering::Relaxed));
        }
        self.untold.fetch_add(1, Ordering::Relaxed);
        None
    }
}

impl Warnings {
    /// One fetch failed.
    pub(super) fn tell(&self, standing: Standing, url: &HttpsUrl, why: &str) {
        let lines = match standing {
            Standing::Known => &self.known,
            Standing::First => &self.first,
        };
        if let Some(untold) = lines.another() {
            tracing::warn!(%url, why, untold, "a key could not be fetched");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_lines_whatever_anyone_makes_up() {
        let warnings = Warnings::default();
        let told = (0..10_000).filter(|_| warnings.first.another().is_some()).count();
        // A test that takes seconds is given another line or two.
        assert!((10..100).contains(&told), "{told}");
        assert!(warnings.first.untold.load(Ordering::Relaxed) > 9_000);
        assert_eq!(warnings.known.another(), Some(0), "what is known has lines of its own");
    }
}
