//! Room `signatures`: step 2. A scheme is data (a preset's TOML, or the same grammar spelled out in partner.toml);
//! this room reads the grammar and runs it on raw bytes. Pure: keys and now are arguments; no clock, socket or store.

pub mod explain;
mod grammar;
pub mod presets;
mod verify;

pub use grammar::{Scheme, SchemeError};
pub use verify::{Key, KeyError, SignatureError, accept_unsigned, verify};
