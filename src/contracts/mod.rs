//! Room `contracts`: the published language. JSON Schema 2020-12 files from a closed list of keywords; a domain event
//! becomes a checked event here and nowhere else. Pure: files come in as text. May not know partners or the ledger.
//!
//! A contract file is named ([`name`]), read ([`contract`]), linted ([`keywords`]) and compiled ([`contract`]); the
//! [`catalog`] holds the newest minor of each major and checks events against them.

mod catalog;
mod contract;
mod keywords;
mod name;
mod place;

pub use catalog::{Catalog, ContractBroken};
pub use contract::Contract;
