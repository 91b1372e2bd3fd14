//! Room `brokers`: a kind that this build lacks. A configuration that names one is refused when it is loaded; whoever comes past
//! that waits, loudly.

use async_trait::async_trait;

use super::{Broker, BrokerError, PublishReport};
use crate::model::StoredEvent;

/// A broker of a kind that was not built in.
#[derive(Debug)]
pub struct UnbuiltBroker {
    name: String,
    why: &'static str,
}

impl UnbuiltBroker {
    /// One that says why.
    pub fn new(name: impl Into<String>, why: &'static str) -> Self {
        Self { name: name.into(), why }
    }
}

#[async_trait]
impl Broker for UnbuiltBroker {
    fn name(&self) -> &str {
        &self.name
    }

    async fn publish(&self, _: &[StoredEvent]) -> PublishReport {
        PublishReport::nothing(BrokerError::RefusesEveryone(self.why.to_owned()))
    }

    async fn look(&self) -> Result<(), BrokerError> {
        Err(BrokerError::RefusesEveryone(self.why.to_owned()))
    }
}
