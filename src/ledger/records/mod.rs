//! Room `ledger`, the records: what was made of the intake log, and what people and the system did. Knows the
//! nouns and the traits of [`crate::ledger`]; may not know partners, mappings or brokers, and reads no clock.
//!
//! The road writes here at three places, each one transaction:
//!
//! 1. Stage 1 commits a batch: the worked entries, the external events found in them with their outcomes, the domain
//!    events (numbered without gaps), and the endpoints' cursors. All of it or nothing.
//! 2. Stage 2 notes where a broker put a batch of domain events, and moves that broker's cursor.
//! 3. People and the system act: the journal, refusals, tokens, desks.
//!
//! Nothing is updated in place but the latest outcome of an event that was replayed; what it was before is kept
//! beside it. Rows stay when retention drops payloads: who sent what, and what became of it, outlives the bytes.
//!
//! [`SqliteRecords`] keeps them in one file beside the segments: one connection writes, a few read. [`PostgresRecords`]
//! keeps them in a database that any number of processes share. What both keep in the same columns stands in `columns`.

mod columns;
mod postgres;
mod sqlite;

pub use postgres::PostgresRecords;
pub use sqlite::{OpenError, SqliteRecords};
