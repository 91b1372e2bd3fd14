//! Room `translate`: step 7. A mapping module is VRL from an allow-list of functions; here it is compiled, linted and
//! run within bounds. Pure: no clock, no environment, no file, no network, no chance. May not know partners or the ledger.
//!
//! A module reaches a run in this order, and each step refuses what the next could not survive:
//! length ([`lint`]) → parse → depth, literals, functions ([`lint`]) → metering ([`meter`]) → types ([`compile`](mod@compile))
//! → [`run`] within [`Bounds`], beside the event as a read-only [`view`] → shape of the result ([`output`]).

mod allow_list;
mod compile;
mod diagnostics;
mod functions;
mod limits;
mod lint;
mod meter;
mod output;
mod run;
mod view;

pub use compile::{Mapping, compile};
pub use run::{Bounds, MappingError, MappingInput};

/// The stack a thread needs to run mappings: sixteen times what the deepest admissible module is tested on, without
/// optimisation. Virtual memory: only the pages touched are ever used.
pub const STACK_BYTES: usize = 16 * 1024 * 1024;
