//! STUB
use crate::model::{CheckedEvent, Diagnostic, DomainEvent};
use std::collections::BTreeMap;
/// One contract version.
#[derive(Debug)]
pub struct Contract {
    pub event_type: String,
    pub title: String,
    pub owner: String,
    pub description: String,
    pub schema: serde_json::Value,
}
/// Every contract, by event type (`payments.PaymentCaptured.v1`); of one major the newest minor counts.
#[derive(Debug, Default)]
pub struct Catalog {
    contracts: BTreeMap<String, Contract>,
}
/// How a domain event breaks its contract: field path and rule, never a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ContractBroken(pub String);
impl Catalog {
    /// Reads contract files: path relative to the mappings folder (`contracts/payments/PaymentCaptured.v1.0.json`) → text.
    pub fn load(files: &BTreeMap<String, String>) -> Result<Self, Vec<Diagnostic>> {
        let _ = files;
        todo!()
    }
    pub fn get(&self, event_type: &str) -> Option<&Contract> {
        self.contracts.get(event_type)
    }
    pub fn iter(&self) -> impl Iterator<Item = &Contract> {
        self.contracts.values()
    }
    /// The path of the file that holds a contract.
    pub fn file_of(&self, event_type: &str) -> Option<&str> {
        let _ = event_type;
        todo!()
    }
    /// Checks an event against the contract it claims.
    pub fn check(&self, event: DomainEvent) -> Result<CheckedEvent, ContractBroken> {
        let _ = event;
        todo!()
    }
}
