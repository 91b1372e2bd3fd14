//! Room `ledger`: an entry in the form in which a log keeps it.

use bytes::Bytes;

use super::AppendError;
use crate::model::{EndpointName, NewEntry};

/// An entry whose metadata is already JSON. Made in the task of the request, so that the one writer only copies bytes.
#[derive(Clone, Debug)]
pub struct EncodedEntry {
    endpoint: EndpointName,
    meta: Bytes,
    body: Bytes,
}

impl EncodedEntry {
    /// From the JSON of an [`EntryMeta`](crate::model::EntryMeta) of this endpoint and the raw body.
    pub fn from_parts(endpoint: EndpointName, meta: Bytes, body: Bytes) -> Self {
        Self { endpoint, meta, body }
    }

    /// The endpoint it belongs to: a log that is shared makes it known before its first entry.
    pub fn endpoint(&self) -> &EndpointName {
        &self.endpoint
    }

    /// The metadata as JSON.
    pub fn meta(&self) -> &Bytes {
        &self.meta
    }

    /// The raw body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Bytes of metadata and body together.
    pub fn size(&self) -> usize {
        self.meta.len() + self.body.len()
    }
}

/// Room made for the metadata at once: most partners' headers fit, and nothing is moved while it is written.
const META_BYTES: usize = 1_024;

impl TryFrom<NewEntry> for EncodedEntry {
    type Error = AppendError;

    fn try_from(entry: NewEntry) -> Result<Self, AppendError> {
        let mut meta = Vec::with_capacity(META_BYTES);
        serde_json::to_writer(&mut meta, &entry.meta)
            .map_err(|_| AppendError::NotWritten("the metadata cannot be written as JSON".to_owned()))?;
        Ok(Self { endpoint: entry.meta.endpoint().clone(), meta: meta.into(), body: entry.body })
    }
}
