//! Room `translate`: step 7. A mapping module is VRL from an allow-list of functions; here it is compiled, linted and
//! run within bounds. Pure: no clock, no environment, no file, no network, no chance. May not know partners or the ledger.

mod allow_list;
mod compile;
mod functions;
mod lint;
mod run;

pub use compile::{Mapping, compile};
pub use run::{Bounds, MappingError, MappingInput};
