//! Room `brokers`: publishes to an exchange of RabbitMQ (AMQP 0-9-1), each event a persistent message in the structured or the
//! binary mode of the CloudEvents AMQP binding, its `message_id` the event's id. What places an event is the server's
//! confirmation that a queue has it. May not declare anything: exchanges, queues and bindings are for their owners to make.

mod link;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use lapin::{
    BasicProperties, Error, ErrorKind,
    protocol::{AMQPError, AMQPErrorKind, AMQPHardError, AMQPSoftError},
    types::{AMQPValue, FieldTable, ShortString, ShortStringError},
};
use tokio::sync::Mutex;

use super::{
    Address, Alphabet, Broker, BrokerError, Credential, Placement, PublishReport, by_key,
    cloudevent::{Parts, STRUCTURED},
};
use crate::model::{AddressTemplate, Part, StoredEvent};
use link::{Answer, Link, Message};

/// What a value may be in a routing key or in the name of an exchange. A dot stays what it is: `{type}` is several words of
/// a routing key.
const WORDS: Alphabet = Alphabet { others: ".-_", escape: '%' };

/// Delivery mode of a message that survives a restart of the server.
const PERSISTENT: u8 = 2;

/// What a `rabbitmq` broker is told.
#[derive(Clone, Debug)]
pub struct RabbitmqSettings {
    /// Where the server listens, and the virtual host, without credentials.
    pub url: String,
    /// A user and the password; none, and it is the server's `guest`.
    pub user: Option<(String, Credential)>,
    /// Certificates to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The exchange of an event.
    pub exchange: AddressTemplate,
    /// The routing key of an event.
    pub routing_key: AddressTemplate,
    /// Attributes in headers, the data alone as the body.
    pub binary: bool,
    /// Most events unconfirmed, each on a channel of its own.
    pub max_in_flight: usize,
    /// How long a connection may be silent, in whole seconds.
    pub heartbeat: Duration,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long a confirmation may take.
    pub confirm_timeout: Duration,
}

/// Publishes to an exchange. RabbitMQ has no lasting positions: noted is `<connection>/<channel>/<delivery tag>`, where
/// `<connection>` stands at the end of the name that the server lists the connection under.
pub struct RabbitmqBroker {
    name: String,
    settings: RabbitmqSettings,
    exchange: Address,
    routing_key: Address,
    link: Mutex<Option<Arc<Link>>>,
}

impl RabbitmqBroker {
    /// A broker that publishes as `settings` say. It connects when the first event comes.
    pub fn new(name: impl Into<String>, settings: RabbitmqSettings) -> Self {
        let exchange = Address::new(settings.exchange.clone(), WORDS, 1);
        let routing_key = Address::new(settings.routing_key.clone(), WORDS, 1);
        Self { name: name.into(), settings, exchange, routing_key, link: Mutex::new(None) }
    }

    /// The connection there is, or a new one, which reads its secrets anew.
    async fn link(&self) -> Result<Arc<Link>, BrokerError> {
        let mut link = self.link.lock().await;
        if let Some(known) = link.as_ref().filter(|link| link.is_usable()) {
            return Ok(Arc::clone(known));
        }
        *link = None;
        let new = Arc::new(self.connect().await?);
        *link = Some(Arc::clone(&new));
        Ok(new)
    }

    async fn connect(&self) -> Result<Link, BrokerError> {
        let opened =
            tokio::time::timeout(self.settings.connect_timeout, Link::open(&self.name, &self.settings));
        opened.await.unwrap_or_else(|_| Err(unavailable("connecting took too long")))
    }

    async fn place(&self, link: &Link, event: StoredEvent) -> Result<Placement, BrokerError> {
        let Some(parts) = Parts::of(&event) else {
            return Ok(refused(&event, "its bytes are no CloudEvent".to_owned()));
        };
        let Ok(message) = self.message(&event, &parts) else {
            return Ok(refused(
                &event,
                "its id or its address is longer than the 255 bytes of AMQP".to_owned(),
            ));
        };
        let answer = tokio::time::timeout(self.settings.confirm_timeout, link.publish(&message)).await;
        match answer {
            Ok(Ok(Answer::Confirmed(position))) => Ok(Placement::Placed { event: event.number, position }),
            Ok(Ok(Answer::Returned(why))) => Err(BrokerError::RefusesEveryone(format!(
                "no queue of the exchange {:?} is bound for the routing key {:?}: {why}",
                message.exchange.as_str(),
                message.routing_key.as_str()
            ))),
            Ok(Ok(Answer::Declined)) => Err(unavailable("the server declined a message (basic.nack)")),
            Ok(Err(error)) if is_about_one_message(&error) => Ok(refused(&event, error.to_string())),
            Ok(Err(error)) => Err(waits(&error)),
            Err(_) => Err(link.not_answered()),
        }
    }

    fn message(&self, event: &StoredEvent, parts: &Parts<'_>) -> Result<Message, ShortStringError> {
        let properties = BasicProperties::default()
            .with_message_id(ShortString::try_new(&event.id)?)
            .with_delivery_mode(PERSISTENT);
        let (properties, body) = if self.settings.binary {
            let (headers, content_type) = headers(parts)?;
            let properties = properties.with_headers(headers);
            let properties = match content_type {
                Some(content_type) => properties.with_content_type(content_type),
                None => properties,
            };
            (properties, event.body.slice_ref(parts.data.as_bytes()))
        } else {
            (properties.with_content_type(ShortString::try_new(STRUCTURED)?), event.body.clone())
        };
        Ok(Message {
            exchange: ShortString::try_new(self.exchange.of(event))?,
            routing_key: ShortString::try_new(self.routing_key.of(event))?,
            properties,
            body,
        })
    }
}

/// The attributes as the AMQP binding names them, with the separator that it prefers, and the content type beside them.
fn headers(parts: &Parts<'_>) -> Result<(FieldTable, Option<ShortString>), ShortStringError> {
    let (mut headers, mut content_type) = (FieldTable::default(), None);
    for (name, value) in &parts.attributes {
        if name == "datacontenttype" {
            content_type = Some(ShortString::try_new(value)?);
        } else {
            let name = ShortString::try_new(format!("cloudEvents_{name}"))?;
            headers.insert(name, AMQPValue::LongString(value.as_str().into()));
        }
    }
    Ok((headers, content_type))
}

#[async_trait]
impl Broker for RabbitmqBroker {
    fn name(&self) -> &str {
        &self.name
    }

    async fn publish(&self, events: &[StoredEvent]) -> PublishReport {
        if events.is_empty() {
            return PublishReport { placements: Vec::new(), stopped: None };
        }
        let link = match self.link().await {
            Ok(link) if link.is_blocked() => return PublishReport::nothing(link.not_answered()),
            Ok(link) => link,
            Err(error) => return PublishReport::nothing(error),
        };
        let at_once = self.settings.max_in_flight.min(link.most_channels());
        by_key(events, at_once, |event| self.place(&link, event)).await
    }

    /// That it connects and the exchange is there, as far as its name does not depend on the event.
    async fn look(&self) -> Result<(), BrokerError> {
        let looked = async {
            let link = self.connect().await?;
            match self.settings.exchange.parts() {
                [Part::Text(exchange)] => link.look_for(exchange).await.map_err(|error| waits(&error)),
                _ => Ok(()),
            }
        };
        let looked = tokio::time::timeout(self.settings.connect_timeout, looked).await;
        looked.unwrap_or_else(|_| Err(unavailable("looking for the exchange took too long")))
    }
}

fn refused(event: &StoredEvent, reason: String) -> Placement {
    Placement::Refused { event: event.number, reason }
}

fn unavailable(why: &str) -> BrokerError {
    BrokerError::Unavailable(why.to_owned())
}

/// What the server said when it closed the channel or the connection, if that is what happened.
fn said(error: &Error) -> Option<&AMQPError> {
    match error.kind() {
        ErrorKind::ProtocolError(said) => Some(said),
        _ => None,
    }
}

/// Whether the server refuses this one message. That it is larger than `max_message_size` is a failed precondition among
/// others, told apart by its text alone.
fn is_about_one_message(error: &Error) -> bool {
    said(error).is_some_and(|said| match said.kind() {
        AMQPErrorKind::Soft(AMQPSoftError::CONTENTTOOLARGE) => true,
        AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => {
            said.get_message().as_str().contains("message size")
        }
        _ => false,
    })
}

/// Why the server takes nothing now.
fn waits(error: &Error) -> BrokerError {
    let why = error.to_string();
    let mend = match error.kind() {
        ErrorKind::ProtocolError(said) => matches!(
            said.kind(),
            AMQPErrorKind::Soft(
                AMQPSoftError::ACCESSREFUSED | AMQPSoftError::NOTFOUND | AMQPSoftError::PRECONDITIONFAILED
            ) | AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED | AMQPHardError::INVALIDPATH)
        ),
        // How TLS says that it does not trust the server, or that a certificate is none.
        ErrorKind::IOError(error) => error.kind() == std::io::ErrorKind::InvalidData,
        ErrorKind::InvalidProtocolVersion(_) | ErrorKind::AuthProviderError(_) => true,
        _ => false,
    };
    if mend { BrokerError::RefusesEveryone(why) } else { BrokerError::Unavailable(why) }
}

impl fmt::Debug for RabbitmqBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitmqBroker").field("name", &self.name).finish_non_exhaustive()
    }
}
