//! Room `partners`: how an endpoint verifies, as `douane partner show` says it. Names what is signed, what is demanded and whence
//! keys come; never a secret.

use serde::Serialize;

use super::{door::SecretUse, summary::window};
use crate::signatures::{Branch, Schemes};

/// A scheme in a listing.
#[derive(Clone, Debug, Serialize)]
pub struct SignatureSummary {
    /// The scheme's name, where there are several.
    pub name: Option<String>,
    /// What selects it, where there are several.
    pub when: Option<String>,
    /// How it is computed.
    pub algorithm: String,
    /// Where that is a standard that leaves its algorithms open, those that count.
    pub algorithms: Vec<String>,
    /// Where the signature stands, with the name and prefix of its text.
    pub value: String,
    /// The bytes that are signed, in words.
    pub message: String,
    /// What else a request must show.
    pub demands: Vec<String>,
    /// Our public address, where it is signed.
    pub address: Option<String>,
    /// Where the time of sending stands.
    pub timestamp: Option<String>,
    /// How far that time may be from now.
    pub tolerance: Option<String>,
    /// The items that are signed one by one.
    pub items: Option<String>,
    /// Whence the keys come that its sender publishes, or what is believed in their place; `None` where the endpoint has keys
    /// of its own.
    pub keys: Option<String>,
    /// What becomes of the keys that its sender publishes.
    #[serde(skip)]
    published: Option<PublishedKeys>,
}

/// What becomes of the keys that a sender publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PublishedKeys {
    /// They are fetched.
    Fetched,
    /// They are not: a secret of the endpoint stands in their place.
    Pinned,
}

impl PublishedKeys {
    /// What becomes of those of an endpoint: pinned, where one scheme's are.
    pub(super) fn of(signatures: &[SignatureSummary]) -> Option<Self> {
        let mut each = signatures.iter().filter_map(|signature| signature.published);
        let first = each.next()?;
        Some(if each.any(|other| other == Self::Pinned) { Self::Pinned } else { first })
    }
}

impl SignatureSummary {
    /// Each scheme of an endpoint that has these secrets.
    pub(super) fn all(schemes: &Schemes, secrets: &[SecretUse]) -> Vec<Self> {
        let is_pinned = |at: usize| secrets.iter().any(|secret| secret.branches(schemes).contains(&at));
        schemes.branches().iter().enumerate().map(|(at, branch)| Self::of(branch, is_pinned(at))).collect()
    }

    fn of(branch: &Branch, has_secret: bool) -> Self {
        let (scheme, told) = (&branch.scheme, branch.scheme.in_words());
        let stamp = scheme.timestamp();
        let published = told
            .keys
            .as_ref()
            .map(|_| if has_secret { PublishedKeys::Pinned } else { PublishedKeys::Fetched });
        let pinned = "pinned here: those that the sender publishes are not fetched";
        Self {
            name: Some(branch.name.clone()).filter(|name| !name.is_empty()),
            when: branch.when.as_ref().map(ToString::to_string),
            algorithm: scheme.algorithm().to_string(),
            algorithms: told.algorithms,
            value: scheme.value().place.in_words(),
            message: told.signed,
            demands: told.demands,
            address: told.address,
            timestamp: stamp.map(|stamp| stamp.at.place.in_words()),
            tolerance: stamp.map(|stamp| window(stamp.tolerance)),
            items: scheme.signed_items().map(str::to_owned),
            keys: told.keys.map(|keys| if has_secret { pinned.to_owned() } else { keys }),
            published,
        }
    }
}
