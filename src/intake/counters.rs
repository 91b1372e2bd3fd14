//! Room `intake`: the counters of the ack path. A labelled counter is looked up once an endpoint, not once a request.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use metrics::{Counter, counter};

use crate::{
    model::EndpointName,
    telemetry::metrics::{DELIVERIES_ACCEPTED, DELIVERY_BYTES},
};

/// What is counted of each endpoint.
#[derive(Debug, Default)]
pub(super) struct Counters(RwLock<HashMap<EndpointName, Accepted>>);

#[derive(Clone, Debug)]
struct Accepted {
    deliveries: Counter,
    bytes: Counter,
}

impl Counters {
    /// Counts a delivery that was kept. Endpoints are as many as the partner files name, so the map is bounded.
    pub(super) fn accepted(&self, endpoint: &EndpointName, bytes: u64) {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(endpoint).cloned();
        let counters = known.unwrap_or_else(|| self.introduce(endpoint));
        counters.deliveries.increment(1);
        counters.bytes.increment(bytes);
    }

    fn introduce(&self, endpoint: &EndpointName) -> Accepted {
        let labels = || [("partner", endpoint.partner.clone()), ("endpoint", endpoint.endpoint.clone())];
        let counters = Accepted {
            deliveries: counter!(DELIVERIES_ACCEPTED, &labels()),
            bytes: counter!(DELIVERY_BYTES, &labels()),
        };
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(endpoint.clone(), counters.clone());
        counters
    }
}
