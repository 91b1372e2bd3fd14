//! Room `app`: visits the links by which partners have subscriptions confirmed, and notes in the journal how it went.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;

use crate::{
    clock::Clock,
    keys::remote::RemoteKeys,
    ledger::{ActRecords, JournalEntry},
    model::{ConfirmMeta, HttpsUrl},
    pipeline::Confirm,
};

/// Visits links within the bounds of everything that is fetched.
pub(super) struct Confirmer {
    pub(super) fetcher: RemoteKeys,
    pub(super) records: Arc<dyn ActRecords>,
    pub(super) clock: Arc<dyn Clock>,
}

#[async_trait]
impl Confirm for Confirmer {
    async fn confirm(&self, wanted: &ConfirmMeta) {
        let visited = match HttpsUrl::parse(&wanted.url) {
            Ok(url) => self.fetcher.visit(&url).await.map_err(|error| error.why),
            Err(refused) => Err(refused.to_string()),
        };
        let (endpoint, handshake) = (&wanted.endpoint, wanted.id);
        let act = match &visited {
            Ok(()) => "subscription.confirmed",
            Err(why) => {
                tracing::error!(%endpoint, why, "a subscription could not be confirmed; have the partner's system ask again");
                "subscription.not_confirmed"
            }
        };
        // Never the link: whoever reads it could confirm.
        let line = JournalEntry {
            at: self.clock.now(),
            who: "system".to_owned(),
            act: act.to_owned(),
            subject: endpoint.to_string(),
            detail: json!({ "handshake": handshake, "why": visited.err() }),
        };
        if let Err(error) = self.records.journal(line).await {
            tracing::warn!(%endpoint, %error, "the journal did not take that a subscription was visited");
        }
    }
}
