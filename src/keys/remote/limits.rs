//! Room `keys`: how often hosts may be asked. What a sender names for the first time has a count of its own: whoever makes
//! names up can use up that one, and never keeps us from what is known.

use std::num::NonZeroU32;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::config::KeysConfig;

/// From so many hosts on, those are let go that were not asked of late.
const MANY_HOSTS: usize = 1_000;

/// What is known of an address before it is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// A file of ours names it, or it was fetched before.
    Known,
    /// A sender names it, and nobody has fetched it yet.
    First,
}

/// How often hosts may be asked: counted by the pattern that a rule has for them, where a sender names one. It may name as many
/// of a pattern as it likes.
#[derive(Debug)]
pub(super) struct HostLimits {
    known: DefaultKeyedRateLimiter<String>,
    first: DefaultKeyedRateLimiter<String>,
}

impl HostLimits {
    pub(super) fn new(config: &KeysConfig) -> Self {
        let limiter = |per_minute: u32| {
            RateLimiter::keyed(Quota::per_minute(NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN)))
        };
        Self { known: limiter(config.fetches_per_minute), first: limiter(config.first_fetches_per_minute) }
    }

    /// Whether these hosts may be asked once more for an address of this standing.
    pub(super) fn admit(&self, hosts: &str, standing: Standing) -> bool {
        let limiter = match standing {
            Standing::Known => &self.known,
            Standing::First => &self.first,
        };
        if limiter.len() >= MANY_HOSTS {
            limiter.retain_recent();
        }
        limiter.check_key(&hosts.to_owned()).is_ok()
    }
}
