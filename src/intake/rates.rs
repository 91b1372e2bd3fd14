//! Room `intake`: the rate of an endpoint, for those that set one. Only what was verified counts: a stranger who posts
//! rubbish must not use up what the partner may send.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::Refusal;
use crate::{model::EndpointName, partners::Endpoint};

/// Most handshakes a second that an endpoint answers unsigned: providers send one, strangers as many as they like.
const HANDSHAKES_PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(19);

/// Most self-tests a second of an endpoint: a person at work, not a machine.
const SELF_TESTS_PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(4);

/// One limiter for each endpoint that has a rate. A reload that leaves the rate alone leaves its limiter alone.
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<HashMap<EndpointName, Rate>>);

#[derive(Clone, Debug)]
struct Rate {
    per_second: NonZeroU32,
    limiter: Arc<DefaultDirectRateLimiter>,
}

impl Rates {
    /// Lets one more request of an endpoint through, or refuses it.
    pub(super) fn admit(&self, endpoint: &Endpoint) -> Result<(), Refusal> {
        let Some(per_second) = endpoint.requests_per_second.and_then(NonZeroU32::new) else { return Ok(()) };
        let limiter = self.limiter(&endpoint.name, per_second);
        limiter.check().map_err(|_| Refusal::RateLimited { per_second: per_second.get() })
    }

    /// Lets one more unsigned handshake of an endpoint through, or refuses it. Kept in limits of their own: what anyone may
    /// send does not use up what is verified.
    pub(super) fn admit_handshake(&self, endpoint: &Endpoint) -> Result<(), Refusal> {
        let limiter = self.limiter(&endpoint.name, HANDSHAKES_PER_SECOND);
        limiter.check().map_err(|_| Refusal::HandshakesLimited { per_second: HANDSHAKES_PER_SECOND.get() })
    }

    /// Lets one more self-test of an endpoint through, or refuses it.
    pub(super) fn admit_self_test(&self, endpoint: &Endpoint) -> Result<(), Refusal> {
        let limiter = self.limiter(&endpoint.name, SELF_TESTS_PER_SECOND);
        limiter.check().map_err(|_| Refusal::RateLimited { per_second: SELF_TESTS_PER_SECOND.get() })
    }

    fn limiter(&self, name: &EndpointName, per_second: NonZeroU32) -> Arc<DefaultDirectRateLimiter> {
        let mut rates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match rates.get(name) {
            Some(rate) if rate.per_second == per_second => Arc::clone(&rate.limiter),
            _ => {
                let limiter = Arc::new(RateLimiter::direct(Quota::per_second(per_second)));
                rates.insert(name.clone(), Rate { per_second, limiter: Arc::clone(&limiter) });
                limiter
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::handshake::tests::endpoint, *};

    #[test]
    fn a_burst_beyond_the_rate_is_refused_and_other_endpoints_are_not() {
        let rates = Rates::default();
        let mut limited = endpoint("acme", Vec::new());
        limited.requests_per_second = Some(1);
        assert_eq!(rates.admit(&limited), Ok(()));
        assert_eq!(rates.admit(&limited), Err(Refusal::RateLimited { per_second: 1 }));

        let mut other = endpoint("other", Vec::new());
        other.requests_per_second = Some(1);
        assert_eq!(rates.admit(&other), Ok(()));
        assert_eq!(rates.admit(&endpoint("unlimited", Vec::new())), Ok(()));
    }

    #[test]
    fn a_reload_keeps_the_count_unless_the_rate_changes() {
        let rates = Rates::default();
        let mut limited = endpoint("acme", Vec::new());
        limited.requests_per_second = Some(1);
        assert_eq!(rates.admit(&limited), Ok(()));
        assert!(rates.admit(&limited).is_err(), "the same rate goes on counting");
        limited.requests_per_second = Some(2);
        assert_eq!(rates.admit(&limited), Ok(()));
    }
}
