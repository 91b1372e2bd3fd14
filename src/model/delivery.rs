//! Room `model`: what the door makes of a request: first verified, then kept.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{DeliveryMeta, EntryNumber, RawRequest, Timestamp};

/// What the signature really covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Assurance {
    /// The body, and with it id and type.
    Full,
    /// The body; id or type come from unsigned headers.
    Body,
    /// Some fields of the body.
    Partial,
    /// Who sent it, not what.
    Origin,
    /// A shared token stood in the request.
    Token,
    /// Nothing was verified.
    None,
}

impl Assurance {
    /// The word of the design for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Body => "body",
            Self::Partial => "partial",
            Self::Origin => "origin",
            Self::Token => "token",
            Self::None => "none",
        }
    }
}

/// What verification found: how strong it is, and which secret matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// How much the signature vouches for.
    pub assurance: Assurance,
    /// The id of the secret that matched; `None` for an explicitly unsigned endpoint.
    pub secret_id: Option<Arc<str>>,
}

/// A request whose signature held. Only `signatures` makes one (the walls test sees to it).
#[derive(Clone, Debug)]
pub struct VerifiedRequest {
    request: RawRequest,
    verification: Verification,
}

impl VerifiedRequest {
    /// Attests that `request` was verified. Called by `signatures` alone.
    pub(crate) fn attest(request: RawRequest, verification: Verification) -> Self {
        Self { request, verification }
    }

    /// The request.
    pub fn request(&self) -> &RawRequest {
        &self.request
    }

    /// What verification found.
    pub fn verification(&self) -> &Verification {
        &self.verification
    }

    /// Gives both up, to be kept.
    pub fn into_parts(self) -> (RawRequest, Verification) {
        (self.request, self.verification)
    }
}

/// One accepted HTTP request, kept byte for byte and numbered. Only stage 1 makes one, of an entry that it read from the
/// intake log (the walls test sees to it).
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its place in the intake log.
    pub number: EntryNumber,
    /// When it was accepted; never decreases along the log.
    pub received_at: Timestamp,
    /// Who sent it, and how.
    pub meta: Box<DeliveryMeta>,
    /// The exact bytes.
    pub body: Bytes,
}
