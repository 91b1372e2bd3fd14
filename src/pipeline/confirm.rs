//! Room `pipeline`: links that stage 1 visits, because a partner's handshake asked for it: a subscription is confirmed so. Not
//! the door's business: a link can be slow, and its handshake is answered before.

use async_trait::async_trait;

use crate::{
    ledger::{WorkedEntry, WorkedKind},
    model::ConfirmMeta,
};

/// Visits links, within the bounds of everything that is fetched, and notes in the journal how it went. It tries once: whoever
/// reads there that it failed can have the partner's system ask again.
#[async_trait]
pub trait Confirm: Send + Sync {
    /// Visits one.
    async fn confirm(&self, wanted: &ConfirmMeta);
}

/// Visits what a batch asks for. A batch that is worked again visits again: a link confirms the same subscription.
pub(super) async fn confirm_all(confirm: &dyn Confirm, entries: &[WorkedEntry]) {
    for entry in entries {
        if let WorkedKind::Confirmed(meta) = &entry.kind {
            confirm.confirm(meta).await;
        }
    }
}
