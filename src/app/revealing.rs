//! Room `app`: what the console may show of learnt secrets: the last one of an endpoint, where its handshake says that the
//! partner's system asks a person for it. That each is shown once is the records' business.

use std::sync::Arc;

use super::House;
use crate::{
    console::{AskLearnt, Learnt},
    model::EndpointName,
};

/// Asks the public door's memory of what was taught, of the partners of this moment.
pub(super) fn learnt(house: &House) -> AskLearnt {
    let (registry, learnt) = (Arc::clone(&house.registry), house.learning.learnt.clone());
    Arc::new(move |name: &EndpointName| {
        let snapshot = registry.snapshot();
        let Some(endpoint) = snapshot.endpoints.get(name) else { return Learnt::NoEndpoint };
        if !endpoint.reveals() {
            return Learnt::NeverShown;
        }
        learnt.last(endpoint).map_or(Learnt::Nothing, |(id, secret)| Learnt::Secret { id, secret })
    })
}
