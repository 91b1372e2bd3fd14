//! STUB
use crate::model::{CheckedEvent, Diagnostic, DomainEvent};
use std::collections::BTreeMap;
#[derive(Debug)]
pub struct Contract {
    pub event_type: String,
    pub title: String,
    pub owner: String,
    pub description: String,
    pub schema: serde_json::Value,
    v: jsonschema::Validator,
    path: String,
}
#[derive(Debug, Default)]
pub struct Catalog {
    contracts: BTreeMap<String, Contract>,
}
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ContractBroken(pub String);
impl Catalog {
    pub fn load(files: &BTreeMap<String, String>) -> Result<Self, Vec<Diagnostic>> {
        let mut contracts = BTreeMap::new();
        for (path, text) in files {
            let schema: serde_json::Value = serde_json::from_str(text).unwrap();
            let mut parts = path.split('/').rev();
            let file = parts.next().unwrap();
            let ctx = parts.next().unwrap();
            let mut p = file.split('.');
            let name = p.next().unwrap();
            let v = p.next().unwrap();
            let event_type = format!("{ctx}.{name}.{v}");
            let v = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
            contracts.insert(
                event_type.clone(),
                Contract {
                    event_type,
                    title: "".into(),
                    owner: "".into(),
                    description: "".into(),
                    schema,
                    v,
                    path: path.clone(),
                },
            );
        }
        Ok(Self { contracts })
    }
    pub fn get(&self, event_type: &str) -> Option<&Contract> {
        self.contracts.get(event_type)
    }
    pub fn iter(&self) -> impl Iterator<Item = &Contract> {
        self.contracts.values()
    }
    pub fn file_of(&self, event_type: &str) -> Option<&str> {
        self.contracts.get(event_type).map(|c| c.path.as_str())
    }
    pub fn check(&self, event: DomainEvent) -> Result<CheckedEvent, ContractBroken> {
        let c = self.contracts.get(&event.event_type).ok_or_else(|| ContractBroken("unknown".into()))?;
        if let Err(e) = c.v.validate(&event.data) {
            return Err(ContractBroken(format!("{} {:?}", e.instance_path(), e.schema_path())));
        }
        Ok(CheckedEvent::attest(event, c.path.as_str().into()))
    }
}
