//! Room `brokers`: publishes to topics of Kafka, each event a record in the structured or the binary mode of the CloudEvents
//! Kafka binding, its key the partition key. What places an event is the acknowledgement of all in-sync replicas. May not
//! create topics: whether an unknown one appears is for the cluster to say.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex as Guarded, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use rdkafka::{
    ClientConfig, ClientContext,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord, Producer, future_producer::Delivery},
};
use tokio::sync::{Mutex, RwLock};

use super::{
    Address, Alphabet, Broker, BrokerError, Credential, Placement, PublishReport, by_key,
    cloudevent::{Parts, STRUCTURED},
};
use crate::model::{AddressTemplate, Part, StoredEvent};

/// What a value may be in a topic's name. The escape is one of the few characters that a name can have.
const TOPIC: Alphabet = Alphabet { others: ".-", escape: '_' };

/// What is too large is for the cluster to say, so the client's own limit is as high as it can be.
const NO_LIMIT_BYTES: &str = "1000000000";

/// What a `kafka` broker is told.
#[derive(Clone, Debug)]
pub struct KafkaSettings {
    /// Where to ask for the cluster first.
    pub servers: Vec<String>,
    /// The topic of an event.
    pub topic: AddressTemplate,
    /// Attributes in headers, the data alone as the value.
    pub binary: bool,
    /// TLS, if the servers speak it.
    pub tls: Option<KafkaTls>,
    /// Who we are, if the servers ask.
    pub login: Option<KafkaLogin>,
    /// Most events unconfirmed.
    pub max_in_flight: usize,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long placing an event may take, with whatever the client repeats meanwhile.
    pub message_timeout: Duration,
}

/// How Kafka's servers are known, and we to them.
#[derive(Clone, Debug, Default)]
pub struct KafkaTls {
    /// Certificates to trust in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// Our certificate and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// A login by SASL.
#[derive(Clone, Debug)]
pub struct KafkaLogin {
    /// As Kafka names it.
    pub mechanism: &'static str,
    /// The user.
    pub user: String,
    /// The user's password.
    pub password: Credential,
}

/// Publishes to topics. A position is `<topic>/<partition>/<offset>`.
pub struct KafkaBroker {
    name: String,
    settings: KafkaSettings,
    topic: Address,
    client: Mutex<Option<Arc<Client>>>,
}

/// A producer, and what the servers last said of us.
struct Client {
    producer: FutureProducer<Said>,
    said: Said,
    /// Held by one event to be alone in its batch, shared by all others.
    alone: RwLock<()>,
}

/// Listens to what concerns no record: logins and certificates.
#[derive(Clone, Default)]
struct Said(Arc<Guarded<Option<String>>>);

impl Said {
    fn refusal(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Said {
    fn error(&self, error: KafkaError, reason: &str) {
        let about_us = [
            RDKafkaErrorCode::Authentication,
            RDKafkaErrorCode::SSL,
            RDKafkaErrorCode::SaslAuthenticationFailed,
            RDKafkaErrorCode::UnsupportedSASLMechanism,
            RDKafkaErrorCode::ClusterAuthorizationFailed,
        ];
        if error.rdkafka_error_code().is_some_and(|code| about_us.contains(&code)) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
        }
        tracing::debug!(reason, "Kafka's client reports");
    }

    fn log(&self, _: RDKafkaLogLevel, facility: &str, text: &str) {
        tracing::debug!(facility, text, "Kafka's client logs");
    }
}

impl KafkaBroker {
    /// A broker that publishes as `settings` say. It connects when the first event comes.
    pub fn new(name: impl Into<String>, settings: KafkaSettings) -> Self {
        let topic = Address::new(settings.topic.clone(), TOPIC, 1);
        Self { name: name.into(), settings, topic, client: Mutex::new(None) }
    }

    /// The client there is, or a new one, which reads its secrets anew.
    async fn client(&self) -> Result<Arc<Client>, BrokerError> {
        let mut client = self.client.lock().await;
        if let Some(known) = &*client
            && known.is_usable()
        {
            return Ok(Arc::clone(known));
        }
        if let Some(old) = client.take() {
            // It waits for its threads.
            let _ended = tokio::task::spawn_blocking(move || drop(old)).await;
        }
        let new = Arc::new(Client::new(&self.settings)?);
        *client = Some(Arc::clone(&new));
        Ok(new)
    }

    async fn place(&self, client: &Client, event: StoredEvent) -> Result<Placement, BrokerError> {
        let Some((headers, value)) = self.headers_and_value(&event) else {
            return Ok(refused(&event, "its bytes are no CloudEvent".to_owned()));
        };
        let topic = self.topic.of(&event);
        let send = || client.send(&topic, &event.partition_key, &value, headers.clone());
        let mut acknowledged = {
            let _among_others = client.alone.read().await;
            send().await
        };
        // A batch is refused whole. Which of its records is meant shows when each is sent by itself.
        if acknowledged.as_ref().is_err_and(|code| is_about_the_batch(*code)) {
            let _alone = client.alone.write().await;
            acknowledged = send().await;
        }
        match acknowledged {
            Ok(placed) => {
                let position = format!("{topic}/{}/{}", placed.partition, placed.offset);
                Ok(Placement::Placed { event: event.number, position })
            }
            Err(code) if is_about_one_record(code) => Ok(refused(&event, code.to_string())),
            Err(code) => Err(client.waits(&topic, code)),
        }
    }

    /// As the Kafka binding says: what a header has is UTF-8 as it is.
    fn headers_and_value(&self, event: &StoredEvent) -> Option<(OwnedHeaders, bytes::Bytes)> {
        let header = |headers: OwnedHeaders, name: &str, value: &str| {
            headers.insert(Header { key: name, value: Some(value) })
        };
        let parts = Parts::of(event)?;
        if !self.settings.binary {
            return Some((header(OwnedHeaders::new(), "content-type", STRUCTURED), event.body.clone()));
        }
        let mut headers = OwnedHeaders::new();
        for (name, value) in &parts.attributes {
            headers = match name.as_str() {
                "datacontenttype" => header(headers, "content-type", value),
                _ => header(headers, &format!("ce_{name}"), value),
            };
        }
        Some((headers, event.body.slice_ref(parts.data.as_bytes())))
    }
}

impl Client {
    fn new(settings: &KafkaSettings) -> Result<Self, BrokerError> {
        let config = config(settings)?;
        let refuses = |error: KafkaError| BrokerError::RefusesEveryone(error.to_string());
        let said = Said::default();
        let producer = config.create_with_context(said.clone()).map_err(refuses)?;
        Ok(Self { producer, said, alone: RwLock::default() })
    }

    /// A client that lost its place among its own records is done for, and so is one with a login that was refused.
    fn is_usable(&self) -> bool {
        self.said.refusal().is_none() && self.producer.client().fatal_error().is_none()
    }

    /// Sends a record and waits for its acknowledgement. A full queue is not waited for: the one loop that waits is not here.
    async fn send(
        &self,
        topic: &str,
        key: &str,
        value: &[u8],
        headers: OwnedHeaders,
    ) -> Result<Delivery, RDKafkaErrorCode> {
        let code = |error: &KafkaError| error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        let record = FutureRecord::to(topic).key(key).payload(value).headers(headers);
        let acknowledged = self.producer.send_result(record).map_err(|(error, _)| code(&error))?;
        match acknowledged.await {
            Ok(acknowledged) => acknowledged.map_err(|(error, _)| code(&error)),
            Err(_) => Err(RDKafkaErrorCode::PurgeQueue),
        }
    }

    /// Why the cluster takes nothing now. That a login was refused is never said of a record, which only waits in vain.
    fn waits(&self, topic: &str, code: RDKafkaErrorCode) -> BrokerError {
        if let Some(said) = self.said.refusal() {
            return BrokerError::RefusesEveryone(said);
        }
        let why = format!("the topic {topic:?}: {code}");
        match code {
            RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::InvalidTopic
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::UnsupportedForMessageFormat
            | RDKafkaErrorCode::PolicyViolation => BrokerError::RefusesEveryone(why),
            _ => BrokerError::Unavailable(why),
        }
    }

    /// Asks what topics there are, all of them: to ask for one could create it.
    fn look(&self, topic: Option<&str>, timeout: Duration) -> Result<(), BrokerError> {
        let metadata = self.producer.client().fetch_metadata(None, timeout).map_err(|error| {
            match self.said.refusal() {
                Some(said) => BrokerError::RefusesEveryone(said),
                None => BrokerError::Unavailable(error.to_string()),
            }
        })?;
        let known =
            |topic: &str| metadata.topics().iter().any(|it| it.name() == topic && it.error().is_none());
        match topic {
            Some(topic) if !known(topic) => {
                Err(BrokerError::RefusesEveryone(format!("there is no topic {topic:?} that we may see")))
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Broker for KafkaBroker {
    fn name(&self) -> &str {
        &self.name
    }

    async fn publish(&self, events: &[StoredEvent]) -> PublishReport {
        if events.is_empty() {
            return PublishReport { placements: Vec::new(), stopped: None };
        }
        match self.client().await {
            Ok(client) => {
                by_key(events, self.settings.max_in_flight, |event| self.place(&client, event)).await
            }
            Err(error) => PublishReport::nothing(error),
        }
    }

    /// That the cluster answers and the topic is there, as far as its name does not depend on the event.
    async fn look(&self) -> Result<(), BrokerError> {
        let settings = self.settings.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let topic = match settings.topic.parts() {
                [Part::Text(topic)] => Some(topic.as_str()),
                _ => None,
            };
            Client::new(&settings)?.look(topic, settings.connect_timeout)
        });
        looked.await.unwrap_or_else(|error| Err(BrokerError::Unavailable(error.to_string())))
    }
}

fn refused(event: &StoredEvent, reason: String) -> Placement {
    Placement::Refused { event: event.number, reason }
}

/// Whether a batch was refused for what one of its records may be.
fn is_about_the_batch(code: RDKafkaErrorCode) -> bool {
    is_about_one_record(code) || code == RDKafkaErrorCode::InvalidDifferentRecord
}

fn is_about_one_record(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidRecord)
}

fn config(settings: &KafkaSettings) -> Result<ClientConfig, BrokerError> {
    let millis = |duration: Duration| duration.as_millis().to_string();
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", settings.servers.join(","))
        .set("client.id", "douane")
        .set("enable.idempotence", "true")
        .set("acks", "all")
        // As Java's clients choose, so that all that write a topic agree on where a key belongs.
        .set("partitioner", "murmur2")
        .set("linger.ms", "0")
        .set("socket.nagle.disable", "true")
        .set("message.max.bytes", NO_LIMIT_BYTES)
        .set("message.timeout.ms", millis(settings.message_timeout))
        .set("topic.metadata.propagation.max.ms", millis(settings.message_timeout / 2))
        .set("socket.connection.setup.timeout.ms", millis(settings.connect_timeout));
    let protocol = match (&settings.tls, &settings.login) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    config.set("security.protocol", protocol);
    if let Some(tls) = &settings.tls {
        // What is linked in does not know where this system keeps its certificates.
        let ca = tls.ca_file.as_ref().map_or("probe".to_owned(), |path| path.display().to_string());
        config.set("ssl.ca.location", ca);
        if let Some((certificate, key)) = &tls.certificate {
            config.set("ssl.certificate.location", certificate.display().to_string());
            config.set("ssl.key.location", key.display().to_string());
        }
    }
    if let Some(login) = &settings.login {
        config.set("sasl.mechanism", login.mechanism).set("sasl.username", &login.user);
        config.set("sasl.password", login.password.text()?);
    }
    Ok(config)
}

impl fmt::Debug for KafkaBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaBroker").field("name", &self.name).finish_non_exhaustive()
    }
}
