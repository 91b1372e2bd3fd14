//! STUB
use crate::model::StoredEvent;
use bytes::Bytes;
/// The event with its feed number as `sequence`.
pub fn with_sequence(event: &StoredEvent) -> Bytes {
    let _ = event;
    todo!()
}
