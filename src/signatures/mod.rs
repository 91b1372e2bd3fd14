//! Room `signatures`: step 2. A scheme is data (a preset's TOML, or the same grammar spelled out in partner.toml);
//! this room reads the grammar and runs it on raw bytes. Pure: keys and now are arguments; no clock, socket or store.
//! It verifies and explains; it never signs, but for what `challenge` lets a handshake sign.
//!
//! The way of one request: `evidence` reads the signatures, the timestamp and the signed message out of it as the
//! `scheme` says; `verify` compares under every key and then looks at the time; [`explain`](mod@explain)
//! tells a person the same story step by step.

mod algorithm;
mod challenge;
mod encoding;
mod evidence;
pub mod explain;
mod grammar;
mod key;
mod mistakes;
mod place;
pub mod presets;
mod scheme;
mod stamp;
mod template;
mod verify;

pub use algorithm::Algorithm;
pub use challenge::{
    ChallengeHash, Guard, GuardError, GuardUse, Harmless, digest_challenge, is_our_token, sign_challenge,
};
pub use encoding::Encoding;
pub use evidence::View;
pub use grammar::{SchemeError, SignatureTable};
pub use key::{Key, KeyEncoding, KeyError, SecretForm, sound_token};
pub use place::{Pair, Place, Placed, Position, Unwrap};
pub use scheme::{Items, Scheme};
pub use stamp::{DEFAULT_TOLERANCE, Stamp, StampUnit};
pub use template::{JsonType, Message, Template};
pub use verify::{SignatureError, accept_unsigned, verify};
