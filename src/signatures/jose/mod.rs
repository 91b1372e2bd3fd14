//! Room `signatures`: JSON Web Signatures (RFC 7515), as strictly as everything else here: `compact` takes a token apart in
//! the one way there is, `algorithm` verifies, `jwk` reads published keys, `claims` holds what a token says against a
//! request. Own readers over aws-lc: libraries for JOSE take duplicate members, unknown `crit` and several spellings of
//! base64url, and read the claims with another reader of JSON than the one that mappings trust.

pub(super) mod algorithm;
pub(super) mod claims;
pub(super) mod compact;
pub(super) mod jwk;
pub(super) mod qsh;

pub use algorithm::JwsAlgorithm;
