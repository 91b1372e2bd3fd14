//! STUB
use super::Mapping;
use crate::model::{DomainEvent, ExternalEvent, Headers, ReasonCode};
/// The bounds of one run.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub max_steps: u64,
    pub max_events: usize,
    pub max_output_bytes: usize,
}
/// What a module sees beside the event (`.`): %partner, %endpoint, %event_type, %external_id, %received_at, %headers.
#[derive(Clone, Copy, Debug)]
pub struct MappingInput<'a> {
    pub event: &'a ExternalEvent,
    pub headers: &'a Headers,
    /// The `emits` of the mapping rule: a type beside them is refused.
    pub emits: &'a [String],
}
/// Why a module gave no domain events. The detail never quotes a payload value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct MappingError {
    pub code: ReasonCode,
    pub detail: String,
}
impl Mapping {
    /// Runs the module. A panic inside is contained and comes back as an error.
    pub fn run(&self, input: MappingInput<'_>, bounds: &Bounds) -> Result<Vec<DomainEvent>, MappingError> {
        let _ = (input, bounds);
        todo!()
    }
}
