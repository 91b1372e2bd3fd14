//! Room `signatures`: how a signature is computed.

use serde::Deserialize;

/// How a signature is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Algorithm {
    /// HMAC with SHA-256 (RFC 2104).
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
}

impl Algorithm {
    /// The length of a signature in bytes.
    pub const fn signature_len(self) -> usize {
        match self {
            Self::HmacSha256 => 32,
        }
    }
}
