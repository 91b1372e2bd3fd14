//! Room `pipeline`: how the work of a batch is contained. Together: in parallel, a panic costs one event. Alone: one after
//! another, each named in the crash note, after an earlier process ended in this range; or in the ledger, those of an endpoint
//! at which another did.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
};

use rayon::prelude::*;
use tokio::runtime::Handle;

use super::{
    crash_note::{CrashNote, Tried},
    suspicion::SharedNote,
};
use crate::{
    ledger::Suspect,
    model::{EndpointName, ReasonCode},
};

/// How the work of a batch is contained.
#[derive(Clone, Debug)]
pub(super) enum Guard {
    /// In parallel.
    Together,
    /// One after another, under the crash note.
    Alone(Arc<Mutex<CrashNote>>),
    /// One after another, and each of these endpoints' told to the processes that share the work.
    Watched(Arc<SharedNote>, Handle, Arc<BTreeSet<EndpointName>>),
}

impl Guard {
    /// Works every item and returns the results in order.
    pub(super) fn each<T: Send, R: Send>(
        &self,
        items: Vec<T>,
        work: impl Fn(T) -> R + Sync + Send,
    ) -> Vec<R> {
        match self {
            Self::Together if items.len() > 1 => items.into_par_iter().map(work).collect(),
            Self::Together | Self::Alone(_) | Self::Watched(..) => items.into_iter().map(work).collect(),
        }
    }

    /// How the work for one of the batch's endpoints is contained.
    pub(super) fn of(&self, endpoint: &EndpointName) -> &Self {
        match self {
            Self::Watched(_, _, suspected) if !suspected.contains(endpoint) => &Self::Together,
            guard => guard,
        }
    }

    /// Does one piece of work, or says with which code its event is a dead letter.
    pub(super) fn contain<T>(&self, suspect: Suspect, work: impl FnOnce() -> T) -> Result<T, ReasonCode> {
        let contained = || catch_unwind(AssertUnwindSafe(work)).map_err(|_| ReasonCode::MappingPanicked);
        match self {
            Self::Together => contained(),
            Self::Alone(note) => {
                tried(note.lock().unwrap_or_else(PoisonError::into_inner).alone(suspect, contained))
            }
            Self::Watched(note, runtime, _) => tried(note.alone(runtime, suspect, contained)),
        }
    }
}

fn tried<T>(tried: Tried<Result<T, ReasonCode>>) -> Result<T, ReasonCode> {
    match tried {
        Tried::Done(done) => done,
        Tried::SetAside => Err(ReasonCode::CrashedTheTranslator),
    }
}

/// What a person needs to know of a piece of work that did not come back.
pub(super) fn explain(code: ReasonCode) -> &'static str {
    match code {
        ReasonCode::CrashedTheTranslator => {
            "the process ended three times while it worked on this alone; simplify the mapping, then replay"
        }
        _ => "the work on this panicked; that is a defect of douane, not of the event",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EntryNumber;

    #[test]
    fn a_panic_costs_one_event() {
        let guard = Guard::Together;
        let done = guard.each((0..100).collect(), |number: u64| {
            guard.contain(Suspect::Delivery(EntryNumber(number)), || {
                assert!(number != 42, "the one that panics");
                number
            })
        });
        assert_eq!(done[42], Err(ReasonCode::MappingPanicked));
        assert_eq!(done[41], Ok(41));
        assert_eq!(done.iter().filter(|done| done.is_err()).count(), 1);
    }
}
