//! Room `keys`: how often one host may be asked. What a sender names for the first time has a count of its own: whoever makes
//! names up can use up that one, and never keeps us from what is known.

use std::{collections::HashMap, num::NonZeroU32, sync::Mutex, sync::PoisonError};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::config::KeysConfig;

/// What is known of an address before it is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Standing {
    /// A file of ours names it, or it was fetched before.
    Known,
    /// A sender names it, and nobody has fetched it yet.
    First,
}

/// Two limiters a host. Hosts are those that rules name, so they are few.
#[derive(Debug)]
pub(super) struct HostLimits {
    known: Quota,
    first: Quota,
    hosts: Mutex<HashMap<(String, Standing), DefaultDirectRateLimiter>>,
}

impl HostLimits {
    pub(super) fn new(config: &KeysConfig) -> Self {
        let quota =
            |per_minute: u32| Quota::per_minute(NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN));
        Self {
            known: quota(config.fetches_per_minute),
            first: quota(config.first_fetches_per_minute),
            hosts: Mutex::default(),
        }
    }

    /// Whether the host may be asked once more for an address of this standing.
    pub(super) fn admit(&self, host: &str, standing: Standing) -> bool {
        let quota = match standing {
            Standing::Known => self.known,
            Standing::First => self.first,
        };
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let limiter = hosts.entry((host.to_owned(), standing)).or_insert_with(|| RateLimiter::direct(quota));
        limiter.check().is_ok()
    }
}
