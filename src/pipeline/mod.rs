//! Room `pipeline`: steps 4 to 11. Two stages, each a function from one log of the ledger to the next, plus a cursor. What
//! they need stands in the files beside; here is only the story.
//!
//! A step is all or nothing: whatever goes wrong before the commit, the same entries are read again. Nothing here waits,
//! but for the one loop in `retry`. One process works all endpoints of a data folder (its lock sees to it); those that share
//! a ledger in PostgreSQL work what they lease (`leases`).

mod batch;
mod canonical;
mod cloudevent;
mod confirm;
mod crash_note;
mod failure;
mod figures;
#[cfg(test)]
mod fixtures;
mod guard;
mod identify;
mod leases;
mod notices;
mod positions;
mod publication;
mod replay;
mod retry;
mod rungs;
mod set_aside;
mod suspicion;
mod threads;
mod translate;
mod translation;
mod verdicts;

pub use cloudevent::recorded_at;
pub use confirm::{Confirm, ConfirmationStage};
pub use crash_note::CrashNote;
pub use failure::{Failure, Remedy, StageError};
pub use leases::{LeaseKeeper, LeasePace};
pub use positions::frontier_name;
pub use publication::{BrokerStart, NotIntroduced, PublicationParts, PublicationStage};
pub use retry::{Pace, PartnersWait, Progress, Stage, run};
pub use threads::give_way;
pub use translation::{TranslationParts, TranslationStage};

use batch::Work;

/// Stage 1, one batch: from entries of the intake log to outcomes and domain events.
pub async fn translate_next(stage: &mut TranslationStage) -> Result<Progress, StageError> {
    let Some(batch) = stage.read().await? else { return Ok(Progress::Idle) }; // 4
    let guard = stage.begin(&batch.place)?;
    let worked = match batch.work {
        Work::Replay(request) => vec![replay::rework(stage, request, &guard).await?],
        Work::Deliveries(arrivals) => {
            let identified = stage.identify(arrivals, &guard).await?; // 5
            let decided = stage.decide(identified).await?; // 6
            stage.translate(decided, &guard).await? // 7
        }
        Work::ReadAhead(identified) => {
            let decided = stage.decide(identified).await?; // 6: step 5 went beside the commit of the batch before
            stage.translate(decided, &guard).await? // 7
        }
    };
    stage.end(&guard).await?;
    stage.commit(batch.place, worked, batch.settled).await // 8: outcomes, domain events and cursors, one transaction
}

/// Stage 2, one batch of one broker: from domain events to publications.
pub async fn publish_next(stage: &mut PublicationStage) -> Result<Progress, StageError> {
    let offered = stage.read().await?; // 9
    if offered.is_empty() {
        return Ok(Progress::Idle);
    }
    let report = stage.publish(&offered).await; // 10
    stage.note(&offered, report).await // 11: positions and cursor, one transaction
}
