//! Room `ledger`, PostgreSQL: what the intake log and the records share when PostgreSQL holds both: connections, time
//! limits, what its errors mean, the schema and its migrations. Knows no table but those that say what the schema is.
//!
//! Every connection is made alike (`connect`): TLS by the rules of the settings, `synchronous_commit` at least `on`,
//! statements, locks and idle transactions bounded by the server, the search path set to the ledger's schema, so that
//! no SQL of ours names it. [`Database`] lends connections from a pool as [`Session`]s: each call is bounded on this side
//! too, and a session that was left in the middle of something is closed instead of lent again.
//!
//! Every connection knows which run of which server it leads to (`tenure`). When a new one leads to another, those of the one
//! before are lent and used no more, so that all of a process moves to the new server at once.
//!
//! The schema goes forward only (`migrate`), while older processes run: a migration adds, and never changes or drops
//! what the release before it uses.

mod connect;
mod durability;
mod errors;
mod migrate;
mod partitions;
mod pool;
mod settings;
mod tenure;

pub use connect::Dedicated;
pub use durability::{Server, note_sealing_key, noted_sealing_key, server, unsafe_default, weaknesses};
pub use errors::PostgresError;
pub use errors::{REFUSED, STALE, column};
pub use migrate::{Applied, MigrationState, SchemaError, migrate, migrations};
pub use partitions::{Partition, attach, cover, detach, drop_detached, partitions};
pub use pool::Database;
pub use pool::Session;
pub use settings::{Access, DatabaseSettings, SettingsError};
