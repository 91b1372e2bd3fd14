//! Room `app`: visits the links by which partners have subscriptions confirmed.

use async_trait::async_trait;

use crate::{keys::remote::RemoteKeys, model::HttpsUrl, pipeline::Confirm};

/// Visits links within the bounds of everything that is fetched.
pub(super) struct Confirmer(pub(super) RemoteKeys);

#[async_trait]
impl Confirm for Confirmer {
    async fn visit(&self, link: &str) -> Result<(), String> {
        let url = HttpsUrl::parse(link).map_err(|refused| refused.to_string())?;
        self.0.visit(&url).await.map_err(|error| error.why)
    }
}
