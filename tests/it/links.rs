//! Links that stage 1 would visit, where a test has none.

use async_trait::async_trait;
use douane::{model::ConfirmMeta, pipeline::Confirm};

/// Nothing is to be visited.
pub struct NoLinks;

#[async_trait]
impl Confirm for NoLinks {
    async fn confirm(&self, wanted: &ConfirmMeta) {
        panic!("{wanted:?} was to be visited");
    }
}
