//! Room `brokers`: a stream of NATS JetStream as those have it who look after it: made, read and removed. The demo
//! shows with it what was published; the gateway itself only publishes.

use std::time::Duration;

use async_nats::{
    ConnectOptions,
    jetstream::{self, Context, context::ContextBuilder, stream::Config},
};
use bytes::Bytes;

use super::BrokerError;

/// How long connecting and each answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A stream that was made to be looked at.
#[derive(Debug)]
pub struct NatsStream {
    jetstream: Context,
    name: String,
}

impl NatsStream {
    /// Makes a stream that keeps what is published to `subjects`, on one server.
    pub async fn create(server: &str, name: &str, subjects: &str) -> Result<Self, BrokerError> {
        let connecting = ConnectOptions::new().connection_timeout(PATIENCE).connect(server);
        let connected = tokio::time::timeout(PATIENCE, connecting).await;
        let client = connected.map_err(unavailable)?.map_err(unavailable)?;
        let jetstream: Context = ContextBuilder::new().timeout(PATIENCE).build(client);
        let config =
            Config { name: name.to_owned(), subjects: vec![subjects.to_owned()], ..Config::default() };
        jetstream.create_stream(config).await.map_err(unavailable)?;
        Ok(Self { jetstream, name: name.to_owned() })
    }

    /// Everything in it, in the order of the stream.
    pub async fn messages(&self) -> Result<Vec<Bytes>, BrokerError> {
        let stream = self.stream().await?;
        let mut messages = Vec::new();
        for sequence in stream.cached_info().state.first_sequence..=stream.cached_info().state.last_sequence {
            messages.push(stream.get_raw_message(sequence).await.map_err(unavailable)?.payload);
        }
        Ok(messages)
    }

    /// Removes it with everything in it.
    pub async fn remove(&self) -> Result<(), BrokerError> {
        self.jetstream.delete_stream(&self.name).await.map(drop).map_err(unavailable)
    }

    async fn stream(&self) -> Result<jetstream::stream::Stream, BrokerError> {
        self.jetstream.get_stream(&self.name).await.map_err(unavailable)
    }
}

fn unavailable(error: impl std::fmt::Display) -> BrokerError {
    BrokerError::Unavailable(error.to_string())
}
