//! Room `config`: every setting with its default and its reason, typed and validated. The reference
//! (`deploy/douane.toml`) is generated from these types and is itself a valid configuration.

mod bounds;
mod brokers;
mod dedupe;
mod filter;
mod keys;
mod ledger;
mod load;
mod origins;
mod reference;
mod roles;
mod sections;
mod units;

pub use brokers::{
    BrokerConfig, BrokerFrom, BrokerSettings, ContentMode, FileConfig, HttpConfig, KafkaConfig, NO_KAFKA,
    NatsConfig, RabbitmqConfig, RedisStreamsConfig, SaslMechanism,
};
pub use dedupe::DedupeConfig;
pub use keys::KeysConfig;
pub use ledger::LedgerConfig;
pub use load::{
    ConfigError, ENVIRONMENT_PREFIX, Overrides, closest, load, operator, process_environment, program_folders,
};
pub use reference::reference;
pub use roles::{NoRoles, ProcessConfig, Roles};
pub use sections::{
    ClientAddressHeader, Config, EventsConfig, IntakeConfig, ListenConfig, LogFormat, MappingsConfig,
    PublicationConfig, RetentionConfig, TelemetryConfig, TranslationConfig,
};
pub use units::HumanDuration;
