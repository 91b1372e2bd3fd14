//! Room `config`: where the ledger is, and what it may take. A field's doc comment is its text in the generated reference.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

use super::HumanDuration;

/// The ledger: intake log and records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LedgerConfig {
    /// The data folder: the whole ledger, or with `url` what belongs to this process alone (the crash note, how verbs reach the server). One process at a time writes to it.
    pub data_dir: PathBuf,
    /// PostgreSQL (14 or later) holds the ledger, for any number of processes: `postgres://user@host:5432/database`, or `env:NAME` or `file:/path` where the URL stands; only there may it hold a password. A pooler in between must keep sessions. TLS with a verified certificate unless the host is this machine or the URL says `sslmode=disable`. Absent: the ledger is in `data_dir`. `douane ledger migrate` begins the schema and brings it forward.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The password that belongs to `url`: `env:NAME` or `file:/path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// The key that seals credentials, for all processes of a ledger in PostgreSQL: `env:NAME` or `file:/path` where 64 hex digits stand. Needed with `url`; the embedded ledger makes its own in `data_dir`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sealing_key: Option<String>,
    /// Work with a PostgreSQL that may lose what it confirmed (`fsync` or `full_page_writes` off). A 2xx is then no promise any more.
    pub accept_lossy_database: bool,
    /// PEM file of the authorities that may vouch for the PostgreSQL server, instead of the operating system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_authorities: Option<PathBuf>,
    /// The PostgreSQL schema of this ledger: several ledgers can share a database. Lower-case letters, digits and underscores.
    #[validate(length(min = 1, max = 63))]
    pub schema: String,
    /// At most so many connections to PostgreSQL in the pool of this process, of which the console's questions never have the last quarter; intake and the leases have one more each.
    #[validate(range(min = 2, max = 1_000))]
    pub connections: usize,
    /// A connection to PostgreSQL, or a free one of the pool, is waited for so long.
    #[validate(range(min = HumanDuration::millis(10), max = HumanDuration::seconds(300)))]
    pub connect_timeout: HumanDuration,
    /// PostgreSQL gives up a statement after so long, and so does the wait for an unreachable standby: what was to be appended is answered 503.
    #[validate(range(min = HumanDuration::millis(100), max = HumanDuration::seconds(3_600)))]
    pub statement_timeout: HumanDuration,
    /// PostgreSQL gives up waiting for a lock after so long.
    #[validate(range(min = HumanDuration::millis(10), max = HumanDuration::seconds(3_600)))]
    pub lock_timeout: HumanDuration,
    /// PostgreSQL ends a transaction whose process says nothing for so long, so that a stopped process holds up nobody. Less than half of `lease`.
    #[validate(range(min = HumanDuration::millis(100), max = HumanDuration::seconds(60)))]
    pub idle_in_transaction_timeout: HumanDuration,
    /// Processes that share a ledger in PostgreSQL lease what they work. A lease lasts so long after its last renewal: when a process dies, others take over its work after this and a `lease_renewal` at most.
    #[validate(range(min = HumanDuration::millis(200), max = HumanDuration::seconds(300)))]
    pub lease: HumanDuration,
    /// How often leases are renewed, and what is free is looked for. At most a quarter of `lease`.
    #[validate(range(min = HumanDuration::millis(10), max = HumanDuration::seconds(60)))]
    pub lease_renewal: HumanDuration,
    /// How often PostgreSQL is asked what other processes appended and committed, unless something this process appends or commits tells it by the way.
    #[validate(range(min = HumanDuration::millis(1), max = HumanDuration::seconds(10)))]
    pub poll: HumanDuration,
    /// What one partition of a growing PostgreSQL table spans; retention drops whole partitions of the intake log. A change holds for partitions yet to be made.
    #[validate(range(min = HumanDuration::seconds(3_600), max = HumanDuration::days(366)))]
    pub partition: HumanDuration,
    /// Size of one segment file of the intake log, in bytes. Retention drops whole segments.
    #[validate(range(min = 1_048_576, max = 4_294_967_296_u64))]
    pub segment_bytes: u64,
    /// At most so many entries share one fsync.
    #[validate(range(min = 1, max = 65_536))]
    pub batch_entries: usize,
    /// At most about so many bytes share one fsync.
    #[validate(range(min = 4_096, max = 1_073_741_824))]
    pub batch_bytes: usize,
    /// Two fsyncs begin at least so far apart, so that under load more deliveries share one. A delivery that comes alone
    /// does not wait. 0: no pause.
    #[validate(range(max = HumanDuration::seconds(1)))]
    pub commit_interval: HumanDuration,
    /// At most so many requests wait for the writer; beyond, 503.
    #[validate(range(min = 1, max = 1_000_000))]
    pub queue_entries: usize,
    /// Below so many free bytes on the disk new deliveries are refused with 503, until there is space again.
    pub min_free_bytes: u64,
    /// How often the free space is looked at.
    #[validate(range(min = HumanDuration::millis(10), max = HumanDuration::seconds(3_600)))]
    pub free_space_poll: HumanDuration,
    /// The background scrub reads about so many bytes of the log a second, looking for damage; every process with the role translate does. 0 turns it off.
    pub scrub_bytes_per_second: u64,
}

impl Default for LedgerConfig {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("data"),
            url: None,
            password: None,
            sealing_key: None,
            accept_lossy_database: false,
            tls_authorities: None,
            schema: "douane".to_owned(),
            connections: 16,
            connect_timeout: HumanDuration::seconds(5),
            statement_timeout: HumanDuration::seconds(10),
            lock_timeout: HumanDuration::seconds(2),
            idle_in_transaction_timeout: HumanDuration::millis(1_500),
            lease: HumanDuration::seconds(4),
            lease_renewal: HumanDuration::millis(500),
            poll: HumanDuration::millis(50),
            partition: HumanDuration::days(30),
            segment_bytes: 128 * 1024 * 1024,
            batch_entries: 1_024,
            batch_bytes: 8 * 1024 * 1024,
            commit_interval: HumanDuration::micros(500),
            queue_entries: 4_096,
            min_free_bytes: 256 * 1024 * 1024,
            free_space_poll: HumanDuration::seconds(1),
            scrub_bytes_per_second: 1024 * 1024,
        }
    }
}
