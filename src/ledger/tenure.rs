//! Room `ledger`: what a reader can know of the server behind it: whether it is still the one that was read from. May not know
//! what a server is.

use crate::model::{Epoch, Tenure};

/// What is held by a server that another can take the place of, under running processes.
pub trait Tenured: Send + Sync {
    /// Under which tenure it is held now, as far as this process has met its servers; asks nobody. Whoever asks before reading, and
    /// finds the same after it, has read under that one alone.
    fn tenure(&self) -> Tenure {
        Tenure::default()
    }
}

/// By leave of what a cursor moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leave {
    /// The epoch of its lease. Records of one process have no leases and pass it over.
    pub epoch: Epoch,
    /// The tenure under which it was read, and all that was made of it.
    pub tenure: Tenure,
}

impl Leave {
    /// Of a process that works alone, on a ledger that no other server can take over.
    pub const ALONE: Self = Self { epoch: Epoch::UNLEASED, tenure: Tenure(0) };
}
