//! Room `brokers`: appends to streams of Redis, each event an entry with one field, `event`: the CloudEvent as it is stored.
//! What places an event is the id Redis gave its entry. What Redis keeps of it after a crash is for its own settings to say
//! (`appendonly yes`, `appendfsync always`).

use std::{error::Error, fmt, io, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisError,
    TlsCertificates, aio::MultiplexedConnection, cmd,
};
use tokio::sync::Mutex;

use super::{Address, Alphabet, Broker, BrokerError, Credential, Placement, PublishReport, by_key};
use crate::model::{AddressTemplate, StoredEvent};

/// What a value may be in a stream's name. Redis takes anything; this is what people can type.
const STREAM: Alphabet = Alphabet { others: ".-_", escape: '%' };

/// What a `redis_streams` broker is told.
#[derive(Clone, Debug)]
pub struct RedisStreamsSettings {
    /// Where the server is.
    pub url: String,
    /// A user, where not the default one.
    pub user: Option<String>,
    /// The password, if there is one.
    pub password: Option<Credential>,
    /// Certificates to trust in place of the system's, where the url asks for TLS.
    pub ca_file: Option<PathBuf>,
    /// The stream of an event.
    pub stream: AddressTemplate,
    /// What `{shard}` counts to.
    pub shards: u32,
    /// About how many entries a stream keeps.
    pub max_len: Option<u64>,
    /// A larger event is refused.
    pub max_event_bytes: usize,
    /// Most events unconfirmed.
    pub max_in_flight: usize,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long an answer may take.
    pub response_timeout: Duration,
}

/// Appends to streams. A position is `<stream>/<entry id>`.
pub struct RedisStreamsBroker {
    name: String,
    settings: RedisStreamsSettings,
    stream: Address,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl RedisStreamsBroker {
    /// A broker that appends as `settings` say. It connects when the first event comes.
    pub fn new(name: impl Into<String>, settings: RedisStreamsSettings) -> Self {
        let stream = Address::new(settings.stream.clone(), STREAM, settings.shards);
        Self { name: name.into(), settings, stream, connection: Mutex::new(None) }
    }

    async fn connected(&self) -> Result<MultiplexedConnection, BrokerError> {
        let mut connection = self.connection.lock().await;
        if let Some(known) = &*connection {
            return Ok(known.clone());
        }
        let new = self.connect().await?;
        *connection = Some(new.clone());
        Ok(new)
    }

    async fn connect(&self) -> Result<MultiplexedConnection, BrokerError> {
        let refuses = |error: RedisError| BrokerError::RefusesEveryone(error.to_string());
        let client = match self.authorities().await? {
            None => Client::open(self.address()?),
            root_cert => {
                Client::build_with_tls(self.address()?, TlsCertificates { client_tls: None, root_cert })
            }
        };
        let client = client.map_err(refuses)?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.settings.connect_timeout))
            .set_response_timeout(Some(self.settings.response_timeout));
        client.get_multiplexed_async_connection_with_config(&config).await.map_err(|error| failure(&error))
    }

    /// What `ca_file` holds.
    async fn authorities(&self) -> Result<Option<Vec<u8>>, BrokerError> {
        let Some(path) = &self.settings.ca_file else { return Ok(None) };
        let unreadable = |error: io::Error| {
            BrokerError::RefusesEveryone(format!("its ca_file {}: {error}", path.display()))
        };
        tokio::fs::read(path).await.map(Some).map_err(unreadable)
    }

    fn address(&self) -> Result<ConnectionInfo, BrokerError> {
        let refuses = |error: RedisError| BrokerError::RefusesEveryone(error.to_string());
        let info = self.settings.url.as_str().into_connection_info().map_err(refuses)?;
        let mut login = info.redis_settings().clone();
        if let Some(user) = &self.settings.user {
            login = login.set_username(user);
        }
        if let Some(password) = &self.settings.password {
            login = login.set_password(password.text()?);
        }
        Ok(info.set_redis_settings(login))
    }

    async fn append(
        &self,
        mut connection: MultiplexedConnection,
        event: StoredEvent,
    ) -> Result<Placement, BrokerError> {
        if event.body.len() > self.settings.max_event_bytes {
            let reason = format!("{} bytes are more than max_event_bytes", event.body.len());
            return Ok(Placement::Refused { event: event.number, reason });
        }
        let stream = self.stream.of(&event);
        let answer: Result<String, RedisError> =
            self.command(&stream, &event).query_async(&mut connection).await;
        match answer {
            Ok(id) => Ok(Placement::Placed { event: event.number, position: format!("{stream}/{id}") }),
            Err(error) => Err(failure(&error)),
        }
    }

    fn command(&self, stream: &str, event: &StoredEvent) -> Cmd {
        let mut append = cmd("XADD");
        append.arg(stream);
        if let Some(max_len) = self.settings.max_len {
            append.arg("MAXLEN").arg("~").arg(max_len);
        }
        append.arg("*").arg("event").arg(&event.body[..]);
        append
    }
}

#[async_trait]
impl Broker for RedisStreamsBroker {
    fn name(&self) -> &str {
        &self.name
    }

    async fn publish(&self, events: &[StoredEvent]) -> PublishReport {
        if events.is_empty() {
            return PublishReport { placements: Vec::new(), stopped: None };
        }
        let connection = match self.connected().await {
            Ok(connection) => connection,
            Err(error) => return PublishReport::nothing(error),
        };
        // Commands that are under way at once share the connection's pipeline.
        let append = |event| self.append(connection.clone(), event);
        let report = by_key(events, self.settings.max_in_flight, append).await;
        if report.stopped.is_some() {
            // Whatever it was, the next try begins with a connection that owes no answers, and reads its secrets anew.
            *self.connection.lock().await = None;
        }
        report
    }

    /// That it connects and the server answers.
    async fn look(&self) -> Result<(), BrokerError> {
        let mut connection = self.connect().await?;
        let answer: Result<String, RedisError> = cmd("PING").query_async(&mut connection).await;
        answer.map(drop).map_err(|error| failure(&error))
    }
}

/// What an error means: some pass by themselves, the others a person must mend.
fn failure(error: &RedisError) -> BrokerError {
    const PASSING: [&str; 10] = [
        "OOM",
        "READONLY",
        "LOADING",
        "MASTERDOWN",
        "CLUSTERDOWN",
        "TRYAGAIN",
        "BUSY",
        "MISCONF",
        "NOREPLICAS",
        "UNBLOCKED",
    ];
    let why = error.to_string();
    let passes = match (error.kind(), error.code()) {
        (ErrorKind::Io, _) => !is_distrust(error),
        _ if why.contains("max number of clients") => true,
        (_, Some(code)) => PASSING.contains(&code),
        _ => error.is_timeout() || error.is_connection_dropped() || error.is_connection_refusal(),
    };
    if passes { BrokerError::Unavailable(why) } else { BrokerError::RefusesEveryone(why) }
}

/// How TLS says that it does not trust the server, or that a server does not speak it.
fn is_distrust(error: &RedisError) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<Arc<dyn Error + Send + Sync>>());
    let cause = cause.and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::InvalidData)
}

impl fmt::Debug for RedisStreamsBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStreamsBroker").field("name", &self.name).finish_non_exhaustive()
    }
}
