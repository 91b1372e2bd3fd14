//! Room `contracts`: the published language. JSON Schema 2020-12 files from a closed list of keywords; a domain event
//! becomes a checked event here and nowhere else. Pure: files come in as text. May not know partners or the ledger.

mod catalog;
mod keywords;

pub use catalog::{Catalog, Contract, ContractBroken};
