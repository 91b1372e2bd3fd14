//! Room `signatures`: step 2. A scheme is data (a preset's TOML, or the same grammar spelled out in partner.toml);
//! this room reads the grammar and runs it on raw bytes. Pure: keys and now are arguments; no clock, socket or store.
//! It verifies and explains; it never signs, but for what `challenge` lets a handshake sign.
//!
//! The way of one request: `evidence` reads the signatures, the timestamp and the signed message out of it as the
//! `scheme` says; `verify` compares under every key and then looks at the time; [`explain`](mod@explain)
//! tells a person the same story step by step.

mod algorithm;
#[cfg(test)]
mod attacks;
mod certificate;
mod challenge;
mod encoding;
mod evidence;
pub mod explain;
mod grammar;
mod http_message;
mod in_words;
mod jose;
mod jwt;
mod key;
mod keyed;
mod listing;
mod place;
mod plivo;
pub mod presets;
mod published;
mod scheme;
mod schemes;
mod signed_headers;
mod sns;
mod special;
mod stamp;
mod template;
#[cfg(test)]
mod tests;
mod truelayer;
mod unisender;
mod url;
mod verify;

pub use algorithm::{Algorithm, Family, PublicKey};
pub use certificate::Roots;
pub use challenge::{
    ChallengeHash, Guard, GuardError, GuardUse, Harmless, digest_challenge, is_our_token, sign_challenge,
};
pub use encoding::Encoding;
pub use evidence::View;
pub use grammar::{SchemeError, SignatureTable};
pub use http_message::UnsignedMessage;
pub use in_words::InWords;
pub use jose::JwsAlgorithm;
pub use jwt::UnsignedToken;
pub use key::{Key, KeyDigest, KeyEncoding, KeyError, Normalize, SecretForm, private_key_der, sound_token};
pub use listing::PresetSummary;
pub use place::{Pair, Place, Placed, Position, Unwrap};
pub use presets::{Sample, SampleSecret};
pub use published::{Needed, Published, PublishedError};
pub use scheme::{Bound, Items, Scheme};
pub use schemes::{Branch, Condition, How, Schemes, keys_of};
pub use stamp::{DEFAULT_TOLERANCE, Stamp, StampUnit};
pub use template::{JsonType, Message, Template};
pub use verify::{SignatureError, accept_unsigned, verify};
