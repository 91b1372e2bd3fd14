//! Room `config`: the sections. A field's doc comment is its text in the generated reference, so it is written for
//! the person who sets it: what it bounds, in which unit, and what happens at the bound.

use std::{net::SocketAddr, path::PathBuf};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

use super::{BrokerConfig, DedupeConfig, HumanDuration, KeysConfig, LedgerConfig, ProcessConfig};
use crate::model::PublicUrl;

/// The whole configuration. Precedence, strongest first: command line, `DOUANE_…` environment variables, file, defaults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What this process does.
    #[validate(nested)]
    pub process: ProcessConfig,
    /// Where the two doors listen.
    #[validate(nested)]
    pub listen: ListenConfig,
    /// Where partners, mappings and contracts are.
    #[validate(nested)]
    pub mappings: MappingsConfig,
    /// The ledger: intake log and records.
    #[validate(nested)]
    pub ledger: LedgerConfig,
    /// How long payloads are kept.
    #[validate(nested)]
    pub retention: RetentionConfig,
    /// The public door: limits and timers (steps 1 to 3).
    #[validate(nested)]
    pub intake: IntakeConfig,
    /// Keys that providers publish (JWKS, certificates), for the partners whose scheme says so: fetched over https from the hosts that the scheme names, from public addresses only.
    #[validate(nested)]
    pub keys: KeysConfig,
    /// Stage 1: identify, decide, translate (steps 4 to 8).
    #[validate(nested)]
    pub translation: TranslationConfig,
    /// How repeats are recognised. The ledger always can; Redis spares it the question.
    #[validate(nested)]
    pub dedupe: DedupeConfig,
    /// What a published event says about its origin.
    #[validate(nested)]
    pub events: EventsConfig,
    /// Stage 2: publish (steps 9 to 11).
    #[validate(nested)]
    pub publication: PublicationConfig,
    /// Logs.
    #[validate(nested)]
    pub telemetry: TelemetryConfig,
    /// Brokers beside the built-in feed. Each is `[[broker]]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[validate(nested)]
    pub broker: Vec<BrokerConfig>,
}

/// Where the two doors listen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListenConfig {
    /// The public door: partners post here.
    #[schemars(with = "String")]
    pub public: SocketAddr,
    /// The private door: API, feed, health and metrics. Loopback unless `private_without_tls` says otherwise.
    #[schemars(with = "String")]
    pub private: SocketAddr,
    /// An address of their own for `/livez`, `/readyz` and `/metrics`, which need no token. They answer on the private door too.
    #[schemars(with = "Option<String>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<SocketAddr>,
    /// Allow the private door on an address other than loopback although it speaks plain HTTP: only behind a proxy that adds TLS.
    pub private_without_tls: bool,
}

impl ListenConfig {
    /// The doors that are opened, each with its key and its address.
    pub fn doors(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        let always = [("listen.public", self.public), ("listen.private", self.private)];
        always.into_iter().chain(self.health.map(|address| ("listen.health", address)))
    }
}

impl Default for ListenConfig {
    fn default() -> Self {
        Self {
            public: SocketAddr::from(([127, 0, 0, 1], 8080)),
            private: SocketAddr::from(([127, 0, 0, 1], 8081)),
            health: None,
            private_without_tls: false,
        }
    }
}

/// Where partners, mappings and contracts are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MappingsConfig {
    /// The folder with `partners/` and `contracts/`.
    pub path: PathBuf,
    /// How often the folder's content hash is polled for changes (inotify misses ConfigMap and git-sync swaps). SIGHUP reloads at once.
    #[validate(range(min = HumanDuration::millis(10), max = HumanDuration::days(1)))]
    pub poll: HumanDuration,
    /// Refuse to start when any partner folder is broken, instead of going on with its last good revision.
    pub strict: bool,
}

impl Default for MappingsConfig {
    fn default() -> Self {
        Self { path: PathBuf::from("mappings"), poll: HumanDuration::seconds(2), strict: false }
    }
}

/// How long payloads are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionConfig {
    /// Whole segments (with `ledger.url` partitions) of the intake log whose deliveries are all older are dropped, never past a cursor or an open dead letter. Absent: everything is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[validate(range(min = HumanDuration::millis(1), max = HumanDuration::days(36_500)))]
    pub payloads: Option<HumanDuration>,
}

/// The public door: limits and timers (steps 1 to 3).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct IntakeConfig {
    /// The address under which partners reach this gateway, as `https://hooks.example.com`: scheme, host, and port and path prefix where there are any, with no `/` at the end. Only for partners who sign the address they post to; an endpoint may have a `public_url` of its own. It is never taken from a request.
    #[schemars(with = "Option<String>")]
    pub public_url: Option<PublicUrl>,
    /// Largest body in bytes; an endpoint may set a lower or higher `max_body_bytes`. Beyond: 413.
    #[validate(range(min = 1, max = 268_435_456))]
    pub max_body_bytes: usize,
    /// Most headers in a request. Beyond: 431, from the HTTP layer and without a body.
    #[validate(range(min = 8, max = 1_000))]
    pub max_headers: usize,
    /// Most bytes of request line and headers together. Beyond: 431, from the HTTP layer.
    #[validate(range(min = 8_192, max = 1_048_576))]
    pub max_header_bytes: usize,
    /// Time for the first byte of a new connection, for the headers of a request, and between requests of an idle connection. Then the connection is closed.
    #[validate(range(min = HumanDuration::millis(10), max = HumanDuration::seconds(3_600)))]
    pub header_timeout: HumanDuration,
    /// Time for the whole body, from the headers on. Then 408.
    #[validate(range(min = HumanDuration::millis(10), max = HumanDuration::seconds(3_600)))]
    pub body_timeout: HumanDuration,
    /// Most open connections; further ones wait in the operating system's queue.
    #[validate(range(min = 1, max = 1_000_000))]
    pub max_connections: usize,
    /// Most concurrent requests on one HTTP/2 connection.
    #[validate(range(min = 1, max = 10_000))]
    pub max_http2_streams: u32,
    /// Most requests being answered at once. Beyond: 503 with Retry-After.
    #[validate(range(min = 1, max = 1_000_000))]
    pub max_requests_in_flight: usize,
    /// Most bytes of bodies held in memory at once, from reading to fsync; one endpoint may hold at most half of them, so that it never keeps out the others. Beyond: 503 with Retry-After. No body may be larger than that half, whatever `max_body_bytes` says.
    #[validate(range(min = 65_536, max = 1_099_511_627_776_usize))]
    pub max_bytes_in_flight: usize,
    /// What Retry-After says on a 503 or 429, in whole seconds.
    #[validate(range(min = 1, max = 3_600))]
    pub retry_after_seconds: u32,
    /// How many refusals of each endpoint are kept for its platform team.
    #[validate(range(min = 1, max = 10_000))]
    pub refusals_kept: usize,
    /// On shutdown, requests in flight have so long to finish.
    #[validate(range(max = HumanDuration::seconds(3_600)))]
    pub shutdown_grace: HumanDuration,
    /// Networks whose members are believed when they say for whom they speak: `["10.0.0.0/8"]`. Nobody else is.
    #[schemars(with = "Vec<String>")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 100))]
    pub trusted_proxies: Vec<IpNet>,
    /// The header in which trusted proxies say so: `x-forwarded-for`, or `forwarded` (RFC 7239). Take the one that yours sets or appends to: the other is a stranger's, and is not read.
    pub client_address_header: ClientAddressHeader,
}

/// The header in which trusted proxies say for whom they speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAddressHeader {
    /// `X-Forwarded-For: client, proxy`.
    #[default]
    XForwardedFor,
    /// `Forwarded: for=client, for=proxy` (RFC 7239).
    Forwarded,
}

impl Default for IntakeConfig {
    fn default() -> Self {
        Self {
            public_url: None,
            max_body_bytes: 1024 * 1024,
            max_headers: 100,
            max_header_bytes: 32 * 1024,
            header_timeout: HumanDuration::seconds(10),
            body_timeout: HumanDuration::seconds(10),
            max_connections: 10_000,
            max_http2_streams: 100,
            max_requests_in_flight: 8_192,
            max_bytes_in_flight: 64 * 1024 * 1024,
            retry_after_seconds: 5,
            refusals_kept: 100,
            shutdown_grace: HumanDuration::seconds(20),
            trusted_proxies: Vec::new(),
            client_address_header: ClientAddressHeader::XForwardedFor,
        }
    }
}

/// Stage 1: identify, decide, translate (steps 4 to 8).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TranslationConfig {
    /// Most entries worked in one transaction.
    #[validate(range(min = 1, max = 65_536))]
    pub batch_entries: usize,
    /// About the most bytes of bodies worked in one transaction.
    #[validate(range(min = 4_096, max = 1_073_741_824))]
    pub batch_bytes: usize,
    /// Threads that run mappings. 0: one for each core.
    #[validate(range(max = 256))]
    pub threads: usize,
    /// Most external events in one delivery. Beyond: the delivery is one dead letter (`over_limit`).
    #[validate(range(min = 1, max = 65_536))]
    pub max_items: usize,
    /// Steps one mapping may take for one event: expressions evaluated, not time, so that a replay decides the same.
    #[validate(range(min = 100))]
    pub max_steps: u64,
    /// Most domain events one mapping may return for one event.
    #[validate(range(min = 1, max = 10_000))]
    pub max_events: usize,
    /// Most bytes of JSON one mapping may return for one event.
    #[validate(range(min = 1_024, max = 268_435_456))]
    pub max_output_bytes: usize,
}

impl Default for TranslationConfig {
    fn default() -> Self {
        Self {
            batch_entries: 512,
            batch_bytes: 8 * 1024 * 1024,
            threads: 0,
            max_items: 10_000,
            max_steps: 100_000,
            max_events: 100,
            max_output_bytes: 256 * 1024,
        }
    }
}

/// What a published event says about its origin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EventsConfig {
    /// Goes before every event type: `payments.PaymentCaptured.v1` becomes `<namespace>.payments.PaymentCaptured.v1`.
    #[validate(length(min = 1, max = 200))]
    pub namespace: String,
}

impl Default for EventsConfig {
    fn default() -> Self {
        Self { namespace: "com.example".to_owned() }
    }
}

/// Stage 2: publish (steps 9 to 11).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PublicationConfig {
    /// Most events offered to a broker at once.
    #[validate(range(min = 1, max = 65_536))]
    pub batch_events: usize,
    /// First pause after a failure of the outside world; doubles, with jitter, up to `max_backoff`.
    #[validate(range(min = HumanDuration::millis(1), max = HumanDuration::seconds(3_600)))]
    pub min_backoff: HumanDuration,
    /// Longest pause between two tries.
    #[validate(range(min = HumanDuration::millis(1), max = HumanDuration::days(1)))]
    pub max_backoff: HumanDuration,
    /// The feed sends an SSE comment when nothing else was sent for so long.
    #[validate(range(min = HumanDuration::millis(10), max = HumanDuration::seconds(3_600)))]
    pub feed_heartbeat: HumanDuration,
}

impl Default for PublicationConfig {
    fn default() -> Self {
        Self {
            batch_events: 512,
            min_backoff: HumanDuration::millis(100),
            max_backoff: HumanDuration::seconds(30),
            feed_heartbeat: HumanDuration::seconds(15),
        }
    }
}

/// Logs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// `human` or `json`.
    pub log_format: LogFormat,
    /// What is logged, as `info` or `douane=debug,warn`.
    pub log_level: String,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { log_format: LogFormat::Human, log_level: "info".to_owned() }
    }
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}
