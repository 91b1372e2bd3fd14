//! Room `brokers`: a connection to RabbitMQ and its channels. Each channel carries one unconfirmed message at a time, so that
//! whatever comes back on it (the confirmation, the message itself, the channel's end) is about that message and no other.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, DefaultConnectionBuilder,
    Error, ExchangeKind,
    options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions},
    tcp::OwnedTLSConfig,
    types::{FieldTable, ShortString},
    uri::AMQPUri,
};

use super::{RabbitmqSettings, unavailable, waits};
use crate::brokers::BrokerError;

/// A message, and where it goes.
pub(super) struct Message {
    pub(super) exchange: ShortString,
    pub(super) routing_key: ShortString,
    pub(super) properties: BasicProperties,
    pub(super) body: Bytes,
}

/// What the server answers to a message.
pub(super) enum Answer {
    /// A queue has it, confirmed at this position.
    Confirmed(String),
    /// No queue is bound for it, in the server's words.
    Returned(String),
    /// The queue cannot have it now.
    Declined,
}

/// A connection.
pub(super) struct Link {
    connection: Connection,
    /// Tells this connection from all others, in positions and in the server's list of connections.
    id: String,
    idle: Mutex<Vec<Line>>,
    silent: AtomicBool,
}

/// A channel in confirm mode, on which nothing is unconfirmed.
struct Line {
    channel: Channel,
    published: u64,
}

impl Link {
    /// Connects.
    pub(super) async fn open(name: &str, settings: &RabbitmqSettings) -> Result<Self, BrokerError> {
        let chance = getrandom::u32().map_err(|error| unavailable(&error.to_string()))?;
        let id = format!("{chance:08x}");
        let properties =
            ConnectionProperties::default().with_connection_name(format!("douane {name} {id}").into());
        let builder = DefaultConnectionBuilder::new().map_err(|error| waits(&error))?;
        let builder = builder
            .with_uri(uri(settings)?)
            .with_properties(properties)
            .with_tls_config(tls(settings).await?);
        let connection = builder.connect().await.map_err(|error| waits(&error))?;
        Ok(Self { connection, id, idle: Mutex::default(), silent: AtomicBool::new(false) })
    }

    /// Whether it is connected, and answered as far as it was asked.
    pub(super) fn is_usable(&self) -> bool {
        self.connection.status().connected() && !self.silent.load(Ordering::Relaxed)
    }

    /// Whether the server reads nothing for now: it has no memory or no disk left.
    pub(super) fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// How many channels there can be.
    pub(super) fn most_channels(&self) -> usize {
        usize::from(self.connection.configuration().channel_max())
    }

    /// Publishes, and waits for the answer. A channel that failed, or was not waited for, is not used again.
    pub(super) async fn publish(&self, message: &Message) -> Result<Answer, Error> {
        let mut line = self.line().await?;
        line.published += 1;
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let confirm = line.channel.basic_publish(
            message.exchange.clone(),
            message.routing_key.clone(),
            options,
            &message.body,
            message.properties.clone(),
        );
        let answer = match confirm.await?.await? {
            Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)) => {
                Answer::Returned(returned.reply_text.to_string())
            }
            Confirmation::Ack(None) => {
                Answer::Confirmed(format!("{}/{}/{}", self.id, line.channel.id(), line.published))
            }
            Confirmation::Nack(None) | Confirmation::NotRequested => Answer::Declined,
        };
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        Ok(answer)
    }

    /// What follows from an answer that did not come. While the server is only blocked, the connection stays: a new one would
    /// wait like it.
    pub(super) fn not_answered(&self) -> BrokerError {
        if self.is_blocked() {
            return unavailable("the server takes nothing now (connection.blocked)");
        }
        self.silent.store(true, Ordering::Relaxed);
        unavailable("the server did not confirm in time")
    }

    /// That an exchange is there.
    pub(super) async fn look_for(&self, exchange: &str) -> Result<(), Error> {
        let channel = self.connection.create_channel().await?;
        let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
        let Ok(exchange) = ShortString::try_new(exchange) else { return Ok(()) };
        // Of what is only looked for, the kind is not compared.
        channel.exchange_declare(exchange, ExchangeKind::Topic, passive, FieldTable::default()).await
    }

    async fn line(&self) -> Result<Line, Error> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        while let Some(line) = idle() {
            if line.channel.status().connected() {
                return Ok(line);
            }
        }
        let channel = self.connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Line { channel, published: 0 })
    }
}

fn uri(settings: &RabbitmqSettings) -> Result<AMQPUri, BrokerError> {
    let parsed = settings.url.parse::<AMQPUri>();
    let mut uri = parsed.map_err(|why| BrokerError::RefusesEveryone(format!("its url: {why}")))?;
    if uri.vhost.is_empty() {
        "/".clone_into(&mut uri.vhost);
    }
    uri.query.heartbeat = Some(u16::try_from(settings.heartbeat.as_secs()).unwrap_or(u16::MAX));
    if let Some((user, password)) = &settings.user {
        uri.authority.userinfo.username.clone_from(user);
        uri.authority.userinfo.password = password.text()?;
    }
    Ok(uri)
}

async fn tls(settings: &RabbitmqSettings) -> Result<OwnedTLSConfig, BrokerError> {
    let cert_chain = match &settings.ca_file {
        None => None,
        Some(path) => Some(tokio::fs::read_to_string(path).await.map_err(|error| {
            BrokerError::RefusesEveryone(format!("its ca_file {}: {error}", path.display()))
        })?),
    };
    Ok(OwnedTLSConfig { identity: None, cert_chain })
}
