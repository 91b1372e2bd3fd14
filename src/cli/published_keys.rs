//! Room `cli`: the keys that a provider publishes, for `verify`: fetched as `serve` does when the person asks for it, or from a
//! file of theirs, so that it works offline.

use std::{fs, path::Path};

use anyhow::Context;

use super::block_on;
use crate::{
    app,
    config::Config,
    intake::wanted,
    keys::remote::RemoteKeys,
    model::{RawRequest, Timestamp},
    partners::Endpoint,
    signatures::{
        Key, Needed, Schemes,
        explain::{Looked, Published},
    },
};

/// Where they come from.
pub(super) enum KeysFrom {
    /// Nobody said.
    Nowhere,
    /// Their address.
    Provider,
    /// A file of this name.
    File(String, Vec<u8>),
}

impl KeysFrom {
    /// What stands in a file.
    pub(super) fn file(path: &Path) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let bytes = fs::read(path).with_context(|| format!("cannot read {name}"))?;
        Ok(Self::File(name, bytes))
    }

    fn look(&self, keys: &RemoteKeys, endpoint: &Endpoint, needed: &Needed) -> Looked {
        match self {
            Self::Nowhere => {
                let hint =
                    "not looked for; pass --fetch-keys to fetch it, or --keys FILE with what stands there";
                Looked::Nothing(hint.to_owned())
            }
            Self::File(name, bytes) => Looked::Given(name.clone(), bytes.clone()),
            Self::Provider => match block_on(async { Ok(keys.document(&wanted(endpoint, needed)).await?) }) {
                Ok(document) => Looked::Fetched(document.bytes.to_vec()),
                Err(error) => Looked::Nothing(error.to_string()),
            },
        }
    }
}

/// The published keys that a request needs, as far as they can be had.
pub(super) fn published(
    config: &Config,
    from: &KeysFrom,
    endpoint: &Endpoint,
    (schemes, own, request): (&Schemes, &[Key], &RawRequest),
    now: Timestamp,
) -> anyhow::Result<Published> {
    let (keys, roots) = app::remote_keys(config)?;
    Ok(Published::of((schemes, own), request, &roots, now, |needed| from.look(&keys, endpoint, needed)))
}
