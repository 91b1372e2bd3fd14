//! Room `keys`: how often one host may be asked, whatever is asked of it.

use std::{collections::HashMap, num::NonZeroU32, sync::Mutex, sync::PoisonError};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// One limiter a host. Hosts are those that rules name, so they are few.
#[derive(Debug)]
pub(super) struct HostLimits {
    quota: Quota,
    hosts: Mutex<HashMap<String, DefaultDirectRateLimiter>>,
}

impl HostLimits {
    /// So many a minute, for each host.
    pub(super) fn new(per_minute: u32) -> Self {
        let quota = Quota::per_minute(NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN));
        Self { quota, hosts: Mutex::default() }
    }

    /// Whether the host may be asked once more.
    pub(super) fn admit(&self, host: &str) -> bool {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let limiter = hosts.entry(host.to_owned()).or_insert_with(|| RateLimiter::direct(self.quota));
        limiter.check().is_ok()
    }
}
