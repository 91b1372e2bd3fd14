//! Room `brokers`: publishes to a stream of NATS JetStream, each event a message in the structured mode of the CloudEvents NATS
//! binding, its `Nats-Msg-Id` the event's id. What places an event is the stream's acknowledgement.

use std::{error::Error as _, fmt, io, path::PathBuf, sync::Arc, time::Duration};

use async_nats::{
    ConnectErrorKind, ConnectOptions, Event, ServerError,
    connection::State,
    jetstream::{
        self, Context, ErrorCode,
        context::{ContextBuilder, GetStreamErrorKind, PublishError, PublishErrorKind},
        message::PublishMessage,
    },
};
use async_trait::async_trait;
use tokio::sync::{Mutex, watch};

use super::{
    Address, Alphabet, Broker, BrokerError, Credential, Placement, PublishReport, by_key,
    cloudevent::STRUCTURED,
};
use crate::model::{AddressTemplate, StoredEvent};

/// What a value may be in a subject. A dot stays what it is: `{type}` is several words of a subject.
const SUBJECT: Alphabet = Alphabet { others: ".-_", escape: '%' };

/// What a `nats` broker is told.
#[derive(Clone, Debug)]
pub struct NatsSettings {
    /// Where servers listen.
    pub servers: Vec<String>,
    /// The stream that keeps the events.
    pub stream: String,
    /// The subject of an event.
    pub subject: AddressTemplate,
    /// Who we are.
    pub login: NatsLogin,
    /// Certificates to trust in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// Most events unconfirmed.
    pub max_in_flight: usize,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long a confirmation may take.
    pub ack_timeout: Duration,
}

/// What shows a NATS server who we are; any of them, or nothing.
#[derive(Clone, Debug, Default)]
pub struct NatsLogin {
    /// The content of a credentials file.
    pub credentials: Option<Credential>,
    /// A token.
    pub token: Option<Credential>,
    /// A user and the password.
    pub user: Option<(String, Credential)>,
}

/// Publishes to a stream. A position is `<stream>/<sequence>`; an event that the stream has within its duplicate window keeps
/// the one it has there.
pub struct NatsBroker {
    name: String,
    settings: NatsSettings,
    subject: Address,
    connected: Mutex<Option<Connected>>,
}

/// A connection, and what the server last forbade on it.
#[derive(Clone)]
struct Connected {
    jetstream: Context,
    forbidden: watch::Receiver<Option<String>>,
}

impl NatsBroker {
    /// A broker that publishes as `settings` say. It connects when the first event comes.
    pub fn new(name: impl Into<String>, settings: NatsSettings) -> Self {
        let subject = Address::new(settings.subject.clone(), SUBJECT, 1);
        Self { name: name.into(), settings, subject, connected: Mutex::new(None) }
    }

    /// The connection there is, or a new one. The client's own tries to come back are cut short: the one loop that waits is
    /// not here, and a new connection reads its secrets anew.
    async fn connected(&self) -> Result<Connected, BrokerError> {
        let mut connected = self.connected.lock().await;
        if let Some(known) = &*connected
            && known.jetstream.client().connection_state() == State::Connected
        {
            return Ok(known.clone());
        }
        *connected = None;
        let new = self.connect().await?;
        *connected = Some(new.clone());
        Ok(new)
    }

    async fn connect(&self) -> Result<Connected, BrokerError> {
        let (forbid, forbidden) = watch::channel(None);
        let forbid = Arc::new(forbid);
        let options = self.options()?.event_callback(move |event| {
            let forbid = Arc::clone(&forbid);
            async move {
                if let Event::ServerError(ServerError::Other(what)) = event
                    && what.to_ascii_lowercase().contains("permissions violation")
                {
                    forbid.send_replace(Some(what));
                }
            }
        });
        let connecting = options.connect(&self.settings.servers);
        let client = tokio::time::timeout(self.settings.connect_timeout, connecting)
            .await
            .map_err(|_| BrokerError::Unavailable("connecting took too long".to_owned()))?
            .map_err(|error| not_connected(&error))?;
        let jetstream = ContextBuilder::new()
            .timeout(self.settings.ack_timeout)
            .max_ack_inflight(self.settings.max_in_flight)
            .build(client);
        Ok(Connected { jetstream, forbidden })
    }

    fn options(&self) -> Result<ConnectOptions, BrokerError> {
        let mut options = ConnectOptions::new()
            .name(format!("douane {}", self.name))
            .connection_timeout(self.settings.connect_timeout)
            .request_timeout(Some(self.settings.ack_timeout))
            .max_reconnects(self.settings.servers.len());
        if let Some(ca_file) = &self.settings.ca_file {
            options = options.add_root_certificates(ca_file.clone());
        }
        let login = &self.settings.login;
        if let Some(token) = &login.token {
            options = options.token(token.text()?);
        }
        if let Some((user, password)) = &login.user {
            options = options.user_and_password(user.clone(), password.text()?);
        }
        if let Some(credentials) = &login.credentials {
            let refuses =
                |_| BrokerError::RefusesEveryone("its credentials are no credentials file".to_owned());
            options = options.credentials(&credentials.text()?).map_err(refuses)?;
        }
        Ok(options)
    }

    async fn send(&self, connected: &Connected, event: StoredEvent) -> Result<Placement, BrokerError> {
        let message = PublishMessage::build()
            .payload(event.body.clone())
            .message_id(&event.id)
            .expected_stream(&self.settings.stream)
            .header("content-type", STRUCTURED);
        let confirmed = match connected.jetstream.send_publish(self.subject.of(&event), message).await {
            Ok(confirmed) => confirmed.await,
            Err(error) => Err(error),
        };
        match confirmed {
            Ok(ack) => Ok(Placement::Placed {
                event: event.number,
                position: format!("{}/{}", ack.stream, ack.sequence),
            }),
            Err(error) => match refusal(&error) {
                Some(reason) => Ok(Placement::Refused { event: event.number, reason }),
                None => Err(connected.not_confirmed(&error)),
            },
        }
    }
}

impl Connected {
    /// Why no confirmation came. What is forbidden is never answered: the server only says so beside.
    fn not_confirmed(&self, error: &PublishError) -> BrokerError {
        let forbidden = self.forbidden.borrow().clone();
        match (forbidden, error.kind()) {
            (Some(what), PublishErrorKind::TimedOut) => BrokerError::RefusesEveryone(what),
            _ => waits(error),
        }
    }
}

#[async_trait]
impl Broker for NatsBroker {
    fn name(&self) -> &str {
        &self.name
    }

    async fn publish(&self, events: &[StoredEvent]) -> PublishReport {
        if events.is_empty() {
            return PublishReport { placements: Vec::new(), stopped: None };
        }
        match self.connected().await {
            Ok(connected) => {
                by_key(events, self.settings.max_in_flight, |event| self.send(&connected, event)).await
            }
            Err(error) => PublishReport::nothing(error),
        }
    }

    /// That it connects and the stream is there.
    async fn look(&self) -> Result<(), BrokerError> {
        let connected = self.connect().await?;
        let stream = connected.jetstream.get_stream(&self.settings.stream).await;
        stream.map(drop).map_err(|error| {
            let why = format!("the stream {:?}: {}", self.settings.stream, reasons(&error));
            match error.kind() {
                GetStreamErrorKind::Request => BrokerError::Unavailable(why),
                _ => BrokerError::RefusesEveryone(why),
            }
        })
    }
}

fn not_connected(error: &async_nats::ConnectError) -> BrokerError {
    let why = reasons(error);
    let io = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    match error.kind() {
        // How TLS says that it does not trust the server, or that a server does not speak it.
        ConnectErrorKind::Io if io.is_some_and(|io| io.kind() == io::ErrorKind::InvalidData) => {
            BrokerError::RefusesEveryone(why)
        }
        ConnectErrorKind::Authentication
        | ConnectErrorKind::AuthorizationViolation
        | ConnectErrorKind::ServerParse
        | ConnectErrorKind::Tls => BrokerError::RefusesEveryone(why),
        ConnectErrorKind::Dns
        | ConnectErrorKind::TimedOut
        | ConnectErrorKind::Io
        | ConnectErrorKind::MaxReconnects => BrokerError::Unavailable(why),
    }
}

/// Why the stream will never take this event, if that is it.
fn refusal(error: &PublishError) -> Option<String> {
    let too_large = [ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM, ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM];
    let refuses = error.kind() == PublishErrorKind::MaxPayloadExceeded
        || answer(error).is_some_and(|answer| too_large.contains(&answer.error_code()));
    refuses.then(|| reasons(error))
}

/// Why the stream takes nothing now.
fn waits(error: &PublishError) -> BrokerError {
    let mend = [
        ErrorCode::STREAM_NOT_MATCH,
        ErrorCode::STREAM_NOT_FOUND,
        ErrorCode::STREAM_SEALED,
        ErrorCode::JETSTREAM_NOT_ENABLED,
        ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT,
    ];
    let why = reasons(error);
    let nobody_listens = error.kind() == PublishErrorKind::StreamNotFound;
    if nobody_listens || answer(error).is_some_and(|answer| mend.contains(&answer.error_code())) {
        BrokerError::RefusesEveryone(why)
    } else {
        BrokerError::Unavailable(why)
    }
}

/// What the stream answered, if it did.
fn answer(error: &PublishError) -> Option<&jetstream::Error> {
    error.source()?.downcast_ref()
}

/// An error with its causes.
fn reasons(error: &dyn std::error::Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

impl fmt::Debug for NatsBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsBroker").field("name", &self.name).finish_non_exhaustive()
    }
}
