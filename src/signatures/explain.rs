//! STUB
use super::{Key, Scheme};
use crate::model::{RawRequest, Timestamp};
/// One step of an explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub ok: bool,
    pub what: String,
    pub found: String,
}
/// Step by step why a request does or does not verify. Never a secret or an expected signature.
pub fn explain(scheme: &Scheme, keys: &[Key], request: &RawRequest, now: Timestamp) -> Vec<Step> {
    let _ = (scheme, keys, request, now);
    todo!()
}
