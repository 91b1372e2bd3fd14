//! Room `intake`: the counters of the ack path. A labelled counter is looked up once an endpoint, not once a request.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use metrics::{Counter, counter};

use crate::{
    model::EndpointName,
    telemetry::metrics::{DELIVERIES_ACCEPTED, DELIVERY_BYTES, SECRET_MATCHES},
};

/// What is counted of each endpoint.
#[derive(Debug, Default)]
pub(super) struct Counters(RwLock<HashMap<EndpointName, Accepted>>);

#[derive(Clone, Debug)]
struct Accepted {
    deliveries: Counter,
    bytes: Counter,
    secrets: Vec<(String, Counter)>,
}

impl Counters {
    /// Counts a delivery that was kept. Endpoints and secrets are as many as the partner files name, so the map is bounded.
    pub(super) fn accepted(&self, endpoint: &EndpointName, bytes: u64, secret: Option<&str>) {
        if !self.count(endpoint, bytes, secret) {
            self.introduce(endpoint, secret);
            self.count(endpoint, bytes, secret);
        }
    }

    /// Whether the endpoint and the secret were known, so that it is counted.
    fn count(&self, endpoint: &EndpointName, bytes: u64, secret: Option<&str>) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(counters) = known.get(endpoint) else { return false };
        if let Some(secret) = secret {
            let Some((_, matches)) = counters.secrets.iter().find(|(id, _)| id == secret) else {
                return false;
            };
            matches.increment(1);
        }
        counters.deliveries.increment(1);
        counters.bytes.increment(bytes);
        true
    }

    fn introduce(&self, endpoint: &EndpointName, secret: Option<&str>) {
        let labels = || [("partner", endpoint.partner.clone()), ("endpoint", endpoint.endpoint.clone())];
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let counters = known.entry(endpoint.clone()).or_insert_with(|| Accepted {
            deliveries: counter!(DELIVERIES_ACCEPTED, &labels()),
            bytes: counter!(DELIVERY_BYTES, &labels()),
            secrets: Vec::new(),
        });
        let Some(secret) = secret.filter(|secret| counters.secrets.iter().all(|(id, _)| id != secret)) else {
            return;
        };
        let [partner, endpoint] = labels();
        let matches = counter!(SECRET_MATCHES, &[partner, endpoint, ("secret", secret.into())]);
        counters.secrets.push((secret.to_owned(), matches));
    }
}
