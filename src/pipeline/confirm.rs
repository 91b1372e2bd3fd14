//! Room `pipeline`: links that partners' handshakes asked to be visited, because that confirms a subscription. A stage of its
//! own beside the road, so that a slow host holds up no delivery. A step visits one link, so that a shutdown waits for no more
//! than one, and those that were never visited come first, so that no new one waits behind dead ones. What is open stands in
//! the records: a crash between a visit and its note only repeats the visit, and a link confirms the same subscription. May not
//! fetch by itself.

use std::{collections::HashSet, fmt, mem, sync::Arc};

use async_trait::async_trait;
use serde_json::json;
use tokio::sync::watch;
use tracing::{error, info};

use super::{Progress, Stage, StageError, figures, leases::HeldLeases};
use crate::{
    clock::Clock,
    ledger::{Confirmation, ConfirmationRecords, ConfirmationState, Held, JournalEntry, Visit},
    model::EntryNumber,
};

/// Visits links, within the bounds of everything that is fetched. It tries once: the stage tries again.
#[async_trait]
pub trait Confirm: Send + Sync {
    /// Visits one, or says why that failed, without the link.
    async fn visit(&self, link: &str) -> Result<(), String>;
}

/// Visits every open link until the visit succeeds or the link's time is over.
pub struct ConfirmationStage {
    records: Arc<dyn ConfirmationRecords>,
    confirm: Arc<dyn Confirm>,
    clock: Arc<dyn Clock>,
    leases: HeldLeases,
    round: Round,
}

/// Every link that is open is visited once a round.
#[derive(Debug, Default)]
struct Round {
    visited: HashSet<EntryNumber>,
    failed: Vec<String>,
}

impl Round {
    /// What is visited next: what never was, else what was longest ago.
    fn next<'a>(&self, open: &'a [Confirmation]) -> Option<&'a Confirmation> {
        let left = open.iter().filter(|one| !self.visited.contains(&one.number));
        left.min_by_key(|one| one.tried_at)
    }

    fn end(self) -> Result<Progress, StageError> {
        figures::confirmations_open(self.failed.len());
        match self.failed.first() {
            None => Ok(Progress::Worked),
            Some(first) => {
                let count = self.failed.len();
                let what = format!("{count} not confirmed yet, tried again; the first is {first}");
                Err(StageError::WaitInPart(what))
            }
        }
    }
}

impl ConfirmationStage {
    /// Reads nothing yet.
    pub fn new(
        records: Arc<dyn ConfirmationRecords>,
        confirm: Arc<dyn Confirm>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { records, confirm, clock, leases: HeldLeases::default(), round: Round::default() }
    }

    /// Shares the work with other processes: only links of endpoints that are held are visited. Two that do so after all, in
    /// the moment when a lease changes hands, confirm the same.
    #[must_use]
    pub fn sharing(self, held: watch::Receiver<Arc<Held>>) -> Self {
        Self { leases: HeldLeases::told(held), ..self }
    }

    async fn open(&self) -> Result<Vec<Confirmation>, StageError> {
        let held = self.leases.under(self.records.tenure());
        let mut open = self.records.open_confirmations().await?;
        open.retain(|one| held.as_ref().is_none_or(|held| held.endpoints.contains_key(&one.endpoint)));
        Ok(open)
    }

    /// Visits one; `Some` with the reason when it must be tried again.
    async fn visit(&self, open: &Confirmation) -> Result<Option<String>, StageError> {
        let visited = self.confirm.visit(open.link.as_deref().unwrap_or_default()).await;
        let (at, why) = (self.clock.now(), visited.err());
        let state = match &why {
            None => ConfirmationState::Confirmed,
            Some(_) if at >= open.until => ConfirmationState::GivenUp,
            Some(_) => ConfirmationState::Open,
        };
        let visit = Visit { at, state, why: why.clone() };
        let journal = journal(open, &visit);
        let noted = self.records.note_visit(open, visit, journal).await?;
        if noted {
            tell(open, state, why.as_deref());
        }
        Ok(why.filter(|_| noted && state == ConfirmationState::Open))
    }
}

/// What a person finds in the journal of a link that is open no longer. Never the link: whoever reads it could confirm.
fn journal(open: &Confirmation, visit: &Visit) -> Option<JournalEntry> {
    let act = match visit.state {
        ConfirmationState::Open => return None,
        ConfirmationState::Confirmed => "subscription.confirmed",
        ConfirmationState::GivenUp => "subscription.not_confirmed",
    };
    Some(JournalEntry {
        at: visit.at,
        who: "system".to_owned(),
        act: act.to_owned(),
        subject: open.endpoint.to_string(),
        detail: json!({ "handshake": open.handshake, "tries": open.tries + 1, "why": visit.why }),
    })
}

fn tell(open: &Confirmation, state: ConfirmationState, why: Option<&str>) {
    let (endpoint, tries) = (&open.endpoint, open.tries + 1);
    figures::visited(endpoint, state);
    match state {
        ConfirmationState::Open => {}
        ConfirmationState::Confirmed => info!(%endpoint, tries, "a subscription is confirmed"),
        ConfirmationState::GivenUp => {
            error!(%endpoint, tries, why, "a subscription could not be confirmed while its link was good; have the partner's system ask again");
        }
    }
}

#[async_trait]
impl Stage for ConfirmationStage {
    fn name(&self) -> String {
        "confirmation".to_owned()
    }

    fn count_retry(&self) {
        figures::confirmation_retry();
    }

    async fn woken(&mut self) {
        self.leases.changed().await;
    }

    async fn step(&mut self) -> Result<Progress, StageError> {
        let open = self.open().await?;
        let Some(next) = self.round.next(&open) else {
            let began = !self.round.visited.is_empty();
            let ended = mem::take(&mut self.round).end()?;
            return Ok(if began { ended } else { Progress::Idle });
        };
        let why = self.visit(next).await?;
        self.round.visited.insert(next.number);
        self.round.failed.extend(why.map(|why| format!("{} until {}: {why}", next.endpoint, next.until)));
        if self.round.next(&open).is_some() {
            return Ok(Progress::Underway);
        }
        mem::take(&mut self.round).end()
    }
}

impl fmt::Debug for ConfirmationStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfirmationStage").field("leases", &self.leases).finish_non_exhaustive()
    }
}
