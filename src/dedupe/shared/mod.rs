//! Room `dedupe`: holds a memory to the ledger: asks it while it provably has all of an endpoint's owners, tells it of every
//! commit, and fills it from the ledger when it has not. Whatever becomes of the memory, the ledger can answer instead:
//! nothing here fails. May not decide anything.
//!
//! One stage holds this, and calls one thing after another: verdicts are asked for when everything before was committed and
//! told. So the memory is complete as long as its mark is the one that was written here last.

mod filling;
mod state;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use metrics::{counter, gauge};
use tokio::sync::Mutex;
use tracing::warn;
use uuid::Uuid;

use self::state::{Standing, State};
use super::{
    Claim,
    memory::{Answer, Mark, Memory, MemoryError, Question, Recalled, Telling},
};
use crate::{
    clock::Clock,
    ledger::{Owner, OwnerRecords},
    model::{DeliveryId, EndpointName, EntryNumber},
    telemetry::metrics::{MEMORY_FAILURES, MEMORY_UP},
};

/// So many ids are asked about in one look.
const LOOK: usize = 1_024;

/// So many owners are told at once: the memory does nothing else meanwhile.
const TOLD_AT_ONCE: usize = 2_048;

/// What was committed of one endpoint.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Whose ids.
    pub endpoint: EndpointName,
    /// The last entry that made an owner.
    pub through: EntryNumber,
    /// What that number was given to.
    pub id: DeliveryId,
    /// The owners that were made.
    pub owners: Vec<(String, Owner)>,
    /// A replay changed who owns what: an owner may be gone, too.
    pub reworked: bool,
}

/// A shared memory and what this process knows of it.
pub struct SharedMemory {
    memory: Arc<dyn Memory>,
    records: Arc<dyn OwnerRecords>,
    clock: Arc<dyn Clock>,
    pause: Duration,
    state: Mutex<State>,
}

impl SharedMemory {
    /// Joins a memory with the ledger it belongs to. After a failure the memory is not asked for `pause`. An error when the
    /// operating system gives no randomness.
    pub fn new(
        memory: Arc<dyn Memory>,
        records: Arc<dyn OwnerRecords>,
        clock: Arc<dyn Clock>,
        pause: Duration,
    ) -> Result<Self, getrandom::Error> {
        let mut writer = [0; 16];
        getrandom::fill(&mut writer)?;
        let state = Mutex::new(State::new(Uuid::from_bytes(writer)));
        Ok(Self { memory, records, clock, pause, state })
    }

    /// The stage begins anew from these cursors: it may not know what became of its last commit.
    pub async fn begin(&self, cursors: &[(EndpointName, EntryNumber)]) {
        self.state.lock().await.begin(cursors);
    }

    /// Another server has the ledger now, which may lack the end of what was told: nothing that this process told is a fact any
    /// more. Call [`begin`](Self::begin) with the cursors that stand there.
    pub async fn disown(&self) {
        self.state.lock().await.disown();
    }

    /// Other processes work these endpoints from now on; call [`begin`](Self::begin) with their cursors when they come back.
    pub async fn forget<'a>(&self, endpoints: impl Iterator<Item = &'a EndpointName>) {
        let mut state = self.state.lock().await;
        endpoints.for_each(|endpoint| state.forget(endpoint));
    }

    /// What is known of the ids that are claimed, in their order. All claims are of entries after the last commit.
    pub async fn recall(&self, claims: &[Claim<'_>]) -> Vec<Answer> {
        let mut answers = vec![Answer::Unsure; claims.len()];
        let mut places = BTreeMap::<&EndpointName, Vec<usize>>::new();
        for (place, claim) in claims.iter().enumerate() {
            places.entry(claim.endpoint).or_default().push(place);
        }
        let mut state = self.state.lock().await;
        for (endpoint, places) in places {
            for places in places.chunks(LOOK) {
                let asked: Vec<&Claim<'_>> = places.iter().map(|place| &claims[*place]).collect();
                let Some(known) = self.look(&mut state, endpoint, &asked).await else { break };
                places.iter().zip(known).for_each(|(place, known)| answers[*place] = known);
            }
        }
        answers
    }

    async fn look(
        &self,
        state: &mut State,
        endpoint: &EndpointName,
        asked: &[&Claim<'_>],
    ) -> Option<Vec<Answer>> {
        let window = asked.first()?.window;
        let until = asked.iter().map(|claim| claim.received_at).max()?;
        let mark = state.complete(endpoint, window)?;
        if self.rests(state) {
            return None;
        }
        let ids: Vec<_> = asked.iter().map(|claim| claim.external_id).collect();
        let question = Question { endpoint, window, since: until.minus(window), until, ids: &ids };
        match self.memory.recall(&question, &mark).await {
            Ok(Recalled::Answers(answers)) => {
                state.answered();
                Some(answers)
            }
            Ok(changed) => {
                state.answered();
                state.stand(endpoint, Standing::Unknown { afresh: changed == Recalled::Lost });
                None
            }
            Err(error) => {
                self.trip(state, &error);
                None
            }
        }
    }

    /// Tells what was committed, after it was.
    pub async fn tell(&self, committed: Vec<Committed>) {
        let mut state = self.state.lock().await;
        for news in committed {
            state.has_come_to(&news.endpoint, news.through);
            if state.mark_of(&news.endpoint).is_none() {
                continue;
            }
            let told = if news.reworked || self.rests(&state) {
                Ok(false)
            } else {
                self.tell_one(&mut state, &news).await
            };
            if !matches!(told, Ok(true)) {
                state.stand(&news.endpoint, Standing::Unknown { afresh: news.reworked });
            }
            if let Err(error) = told {
                self.trip(&mut state, &error);
            }
        }
    }

    async fn tell_one(&self, state: &mut State, news: &Committed) -> Result<bool, MemoryError> {
        let claim = |mark: &mut Mark| {
            if news.through > mark.through {
                (mark.through, mark.id) = (news.through, Some(news.id));
            }
        };
        self.write(state, &news.endpoint, &news.owners, claim).await
    }

    /// Tells owners under the mark that stands, and changes it with the last of them; `false` when another one stands there.
    async fn write(
        &self,
        state: &mut State,
        endpoint: &EndpointName,
        owners: &[(String, Owner)],
        change: impl FnOnce(&mut Mark),
    ) -> Result<bool, MemoryError> {
        let complete = state.mark_of(endpoint).is_some_and(|(_, mark)| mark.complete);
        let mut left = owners;
        while left.len() > TOLD_AT_ONCE {
            let (owners, rest) = left.split_at(TOLD_AT_ONCE);
            // It holds owners already that its mark does not speak of.
            let halfway = |mark: &mut Mark| mark.complete = false;
            if !self.write_once(state, endpoint, owners, halfway).await? {
                return Ok(false);
            }
            left = rest;
        }
        let whole = |mark: &mut Mark| {
            mark.complete = complete;
            change(mark);
        };
        self.write_once(state, endpoint, left, whole).await
    }

    async fn write_once(
        &self,
        state: &mut State,
        endpoint: &EndpointName,
        owners: &[(String, Owner)],
        change: impl FnOnce(&mut Mark),
    ) -> Result<bool, MemoryError> {
        let Some((window, before)) = state.mark_of(endpoint) else { return Ok(false) };
        let mut after = state.next(&before);
        after.ids += owners.len() as u64;
        change(&mut after);
        let since = self.clock.now().minus(window);
        let written = self.memory.tell(&Telling { endpoint, window, since, owners }, &before, &after).await?;
        if written {
            state.move_to(endpoint, after);
        }
        Ok(written)
    }

    fn rests(&self, state: &State) -> bool {
        self.clock.now() < state.rests_until
    }

    fn trip(&self, state: &mut State, error: &MemoryError) {
        counter!(MEMORY_FAILURES).increment(1);
        gauge!(MEMORY_UP).set(0);
        state.rests_until = self.clock.now().plus(self.pause);
        if std::mem::take(&mut state.up) {
            warn!(%error, "the memory of verdicts does not answer; the ledger answers for it");
        }
    }
}

impl fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedMemory").field("pause", &self.pause).finish_non_exhaustive()
    }
}
