//! Room `brokers`: step 10. The trait every broker satisfies, and one file a broker. Adapters try once and never
//! wait: the one retry loop lives in `pipeline`. They connect when they are first used and again when a connection was lost;
//! within one try every wait is bounded. May not know partners, records or the log.

pub mod address;
pub mod by_key;
pub mod cloudevent;
pub mod credential;
pub mod feed;
pub mod file;
pub mod http;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod nats;
pub mod nats_stream;
pub mod rabbitmq;
pub mod redis_streams;
pub mod stdout;
#[cfg(not(feature = "kafka"))]
pub mod unbuilt;

pub use address::{Address, Alphabet};
pub use by_key::by_key;
pub use credential::Credential;
pub use file::FileBroker;
pub use http::{HttpBroker, HttpSettings};
#[cfg(feature = "kafka")]
pub use kafka::{KafkaBroker, KafkaLogin, KafkaSettings, KafkaTls};
pub use nats::{NatsBroker, NatsLogin, NatsSettings};
pub use nats_stream::NatsStream;
pub use rabbitmq::{RabbitmqBroker, RabbitmqSettings};
pub use redis_streams::{RedisStreamsBroker, RedisStreamsSettings};
pub use stdout::StdoutBroker;
#[cfg(not(feature = "kafka"))]
pub use unbuilt::UnbuiltBroker;

use std::time::Duration;

use async_trait::async_trait;

use crate::model::{EventNumber, StoredEvent};

/// What became of one event at a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// The broker confirmed it, at this position (in the broker's own words).
    Placed {
        /// Which event.
        event: EventNumber,
        /// Where it stands.
        position: String,
    },
    /// The broker refuses this event for good (too large, malformed to it).
    Refused {
        /// Which event.
        event: EventNumber,
        /// Why, for a person.
        reason: String,
    },
}

/// Why a broker could not take the rest of a batch. Nothing is lost: the stage waits and offers it again.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BrokerError {
    /// Unreachable, busy, out of space: for now.
    #[error("the broker is not available: {0}")]
    Unavailable(String),
    /// The same, and it said when to come back: not before so long.
    #[error("the broker is busy: {reason}")]
    Busy {
        /// Why, for a person.
        reason: String,
        /// How long it wants to be left alone.
        leave_alone: Duration,
    },
    /// It refuses everyone (credentials, missing topic): waits loudly until someone changes that.
    #[error("the broker refuses us: {0}")]
    RefusesEveryone(String),
}

/// What one call of [`Broker::publish`] achieved: a prefix of the batch, and what stopped it there, if anything did.
#[derive(Debug)]
pub struct PublishReport {
    /// One placement for each event of a prefix of the batch, in order.
    pub placements: Vec<Placement>,
    /// Why the rest was not placed.
    pub stopped: Option<BrokerError>,
}

impl PublishReport {
    /// Nothing was placed.
    pub fn nothing(stopped: BrokerError) -> Self {
        Self { placements: Vec::new(), stopped: Some(stopped) }
    }
}

/// A place domain events are published to. Its name is its identity: the cursor belongs to it.
#[async_trait]
pub trait Broker: Send + Sync {
    /// The name from the configuration.
    fn name(&self) -> &str;

    /// Offers events in order and returns when the broker has confirmed what it took. At most one unconfirmed
    /// event per partition key, so that none overtakes an earlier one of its key. The bytes of
    /// [`StoredEvent::body`] are placed as they are.
    async fn publish(&self, events: &[StoredEvent]) -> PublishReport;

    /// Looks whether it could publish now, as far as that shows without publishing.
    async fn look(&self) -> Result<(), BrokerError> {
        Ok(())
    }
}
