//! Room `app`: from the settings of a broker to the broker. Nothing is connected here: a broker connects when it is first used,
//! so that one that is down keeps nobody from starting.

use std::{path::Path, sync::Arc};

use anyhow::Context;

use crate::{
    brokers::{
        Broker, Credential, FileBroker, HttpBroker, HttpSettings, NatsBroker, NatsLogin, NatsSettings,
        RabbitmqBroker, RabbitmqSettings, RedisStreamsBroker, RedisStreamsSettings, StdoutBroker,
    },
    clock::{Clock, SystemClock},
    config::{
        BrokerConfig, BrokerSettings, ContentMode, HttpConfig, LedgerConfig, NatsConfig, RabbitmqConfig,
        RedisStreamsConfig,
    },
    ledger::Ledger,
    model::SecretSource,
    pipeline::{BrokerStart, NotIntroduced},
};

#[cfg(not(feature = "kafka"))]
use crate::{brokers::UnbuiltBroker, config::NO_KAFKA};
#[cfg(feature = "kafka")]
use crate::{
    brokers::{KafkaBroker, KafkaLogin, KafkaSettings, KafkaTls},
    config::{KafkaConfig, SaslMechanism},
};

/// A broker, as its settings say. What it cannot work with makes it wait loudly when it is used, and nobody else.
pub(super) fn broker(config: &BrokerConfig, clock: &Arc<dyn Clock>) -> Arc<dyn Broker> {
    let name = &config.name;
    match &config.settings {
        BrokerSettings::Stdout => Arc::new(StdoutBroker::new(name)),
        BrokerSettings::File(file) => Arc::new(FileBroker::new(name, &file.path, file.rotate_bytes)),
        BrokerSettings::Http(config) => Arc::new(HttpBroker::new(name, http(config), Arc::clone(clock))),
        BrokerSettings::Nats(config) => Arc::new(NatsBroker::new(name, nats(config))),
        BrokerSettings::RedisStreams(config) => {
            Arc::new(RedisStreamsBroker::new(name, redis_streams(config)))
        }
        #[cfg(feature = "kafka")]
        BrokerSettings::Kafka(config) => Arc::new(KafkaBroker::new(name, kafka(config))),
        #[cfg(not(feature = "kafka"))]
        BrokerSettings::Kafka(_) => Arc::new(UnbuiltBroker::new(name, NO_KAFKA)),
        BrokerSettings::Rabbitmq(config) => Arc::new(RabbitmqBroker::new(name, rabbitmq(config))),
    }
}

fn http(config: &HttpConfig) -> HttpSettings {
    HttpSettings {
        url: config.url.clone(),
        binary: config.mode == ContentMode::Binary,
        signing: config.signing_secrets.iter().map(credential).collect(),
        allow_private: config.allow_private_addresses,
        max_in_flight: config.max_in_flight,
        connect_timeout: config.connect_timeout.0,
        timeout: config.timeout.0,
        max_retry_after: config.max_retry_after.0,
    }
}

fn nats(config: &NatsConfig) -> NatsSettings {
    NatsSettings {
        servers: config.servers.clone(),
        stream: config.stream.clone(),
        subject: config.subject.clone(),
        login: NatsLogin {
            credentials: config.credentials.as_ref().map(credential),
            token: config.token.as_ref().map(credential),
            user: config.user.clone().zip(config.password.as_ref().map(credential)),
        },
        ca_file: config.ca_file.clone(),
        max_in_flight: config.max_in_flight,
        connect_timeout: config.connect_timeout.0,
        ack_timeout: config.ack_timeout.0,
    }
}

fn redis_streams(config: &RedisStreamsConfig) -> RedisStreamsSettings {
    RedisStreamsSettings {
        url: config.url.clone(),
        user: config.user.clone(),
        password: config.password.as_ref().map(credential),
        ca_file: config.ca_file.clone(),
        stream: config.stream.clone(),
        shards: config.shards,
        max_len: config.max_len,
        max_event_bytes: config.max_event_bytes,
        max_in_flight: config.max_in_flight,
        connect_timeout: config.connect_timeout.0,
        response_timeout: config.response_timeout.0,
    }
}

fn rabbitmq(config: &RabbitmqConfig) -> RabbitmqSettings {
    RabbitmqSettings {
        url: config.url.clone(),
        user: config.user.clone().zip(config.password.as_ref().map(credential)),
        ca_file: config.ca_file.clone(),
        exchange: config.exchange.clone(),
        routing_key: config.routing_key.clone(),
        binary: config.mode == ContentMode::Binary,
        max_in_flight: config.max_in_flight,
        heartbeat: config.heartbeat.0,
        connect_timeout: config.connect_timeout.0,
        confirm_timeout: config.confirm_timeout.0,
    }
}

#[cfg(feature = "kafka")]
fn kafka(config: &KafkaConfig) -> KafkaSettings {
    let tls = KafkaTls {
        ca_file: config.ca_file.clone(),
        certificate: config.certificate_file.clone().zip(config.key_file.clone()),
    };
    let mechanism = config.sasl.map(|sasl| match sasl {
        SaslMechanism::Plain => "PLAIN",
        SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
        SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
    });
    let login = mechanism.zip(config.user.clone()).zip(config.password.as_ref().map(credential));
    KafkaSettings {
        servers: config.servers.clone(),
        topic: config.topic.clone(),
        binary: config.mode == ContentMode::Binary,
        tls: config.tls.then_some(tls),
        login: login.map(|((mechanism, user), password)| KafkaLogin { mechanism, user, password }),
        max_in_flight: config.max_in_flight,
        connect_timeout: config.connect_timeout.0,
        message_timeout: config.message_timeout.0,
    }
}

/// A way to read a secret each time it is needed.
fn credential(source: &SecretSource) -> Credential {
    let source = source.clone();
    Credential::new(move || source.resolve().map_err(|error| error.to_string()))
}

/// Looks whether a broker could take up its work, as `serve` would. Publishes nothing and changes nothing.
pub async fn try_broker(
    settings: &BrokerConfig,
    config: &LedgerConfig,
    ledger: Option<&Ledger>,
) -> anyhow::Result<()> {
    match ledger.map(|ledger| &*ledger.records) {
        Some(records) => {
            BrokerStart::find(&settings.name, settings.from, records, records).await?;
        }
        None if settings.from.is_none() => Err(NotIntroduced::NeedsFrom(settings.name.clone()))?,
        None => {}
    }
    if let BrokerSettings::File(file) = &settings.settings
        && begins_with_the_ledger(&file.path, config)?
    {
        return Ok(());
    }
    let looked = broker(settings, &(Arc::new(SystemClock) as _)).look().await;
    looked.with_context(|| format!("the broker {:?} could not publish now", settings.name))
}

/// Whether a file stands in the data folder that the first start is yet to make.
fn begins_with_the_ledger(path: &Path, config: &LedgerConfig) -> std::io::Result<bool> {
    let folder = std::path::absolute(path)?.parent().map(Path::to_owned);
    Ok(!config.data_dir.exists() && folder == Some(std::path::absolute(&config.data_dir)?))
}
