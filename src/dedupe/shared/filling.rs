//! Room `dedupe`: fills a memory from the ledger, page by page beside the road: a new one from the beginning, one that was left
//! behind from where it was told last. A memory is called complete only after the walk has passed everything that was
//! committed before it began; what is committed meanwhile is told as ever.

use std::collections::{BTreeMap, BTreeSet};

use metrics::gauge;
use tracing::info;

use super::{
    SharedMemory,
    state::{Filling, Standing, State},
};
use crate::{
    dedupe::memory::{Mark, MemoryError, Telling},
    ledger::{Owner, OwnersPage, RecordsError},
    model::{EndpointName, EntryNumber, EventRef, Tenure, Timestamp},
    telemetry::metrics::MEMORY_FILLING,
};

/// So many places of the ledger are read in one step.
const PAGE: usize = 2_000;

const BEGINNING: EventRef = EventRef { number: EntryNumber(0), ordinal: 0 };

/// Why a step ended.
enum Trouble {
    Memory(MemoryError),
    Ledger(RecordsError),
}

impl From<MemoryError> for Trouble {
    fn from(error: MemoryError) -> Self {
        Self::Memory(error)
    }
}

impl From<RecordsError> for Trouble {
    fn from(error: RecordsError) -> Self {
        Self::Ledger(error)
    }
}

impl SharedMemory {
    /// One bounded step beside the road: takes up what is left of the memory, or reads a page of owners into it. Everything
    /// through `frontier` is committed. Returns whether there may be more to do at once.
    pub async fn mend(&self, frontier: EntryNumber) -> bool {
        let mut state = self.state.lock().await;
        if self.rests(&state) {
            return false;
        }
        if self.probe_is_due(&state) && !self.probe(&mut state).await {
            return false;
        }
        let done = match state.filling.take() {
            None => self.take_up(&mut state, frontier).await,
            Some(filling) => self.read_on(&mut state, filling).await,
        };
        let more = match done {
            Ok(more) => more,
            Err(trouble) => {
                self.give_up(&mut state, trouble);
                false
            }
        };
        gauge!(MEMORY_FILLING).set(state.incomplete());
        more
    }

    fn probe_is_due(&self, state: &State) -> bool {
        self.clock.now() >= state.probed_at.plus(self.pause)
    }

    /// Whether it answers: asked without a need, so that what is told of it is true when nothing comes in, too.
    async fn probe(&self, state: &mut State) -> bool {
        state.probed_at = self.clock.now();
        match self.memory.mark(&nobodys()).await {
            Ok(_) => state.answered(),
            Err(error) => self.trip(state, &error),
        }
        state.up
    }

    fn give_up(&self, state: &mut State, trouble: Trouble) {
        state.give_up_filling();
        match trouble {
            Trouble::Memory(error) => self.trip(state, &error),
            Trouble::Ledger(error) => {
                state.unfilled.told::<(), _>(Err(error));
                state.rests_until = self.clock.now().plus(self.pause);
            }
        }
    }

    async fn take_up(&self, state: &mut State, until: EntryNumber) -> Result<bool, Trouble> {
        let (tenure, mut starts) = (self.records.tenure(), BTreeMap::new());
        for (endpoint, window, afresh) in state.unknown() {
            let left = self.memory.mark(&endpoint).await?;
            let found = left.clone().filter(|_| !afresh);
            let (standing, after) = if let Some(mark) = self.take_over(state, &endpoint, found).await? {
                let after = EventRef { number: mark.through, ordinal: 0 };
                (Standing::Filling { afresh: false, last: mark.through, mark }, after)
            } else {
                let mark = state.new_mark();
                self.memory.begin(&endpoint, window, &mark).await?;
                if let Some(left) = &left {
                    self.memory.drop_filling(&endpoint, window, left, self.clock.now()).await?;
                }
                (Standing::Filling { mark, afresh: true, last: EntryNumber(0) }, BEGINNING)
            };
            state.answered();
            state.stand(&endpoint, standing);
            starts.insert(endpoint, after);
        }
        let Some(after) = starts.values().min().copied() else { return Ok(false) };
        state.filling = Some(Filling { after, until, endpoints: starts.into_keys().collect(), tenure });
        Ok(true)
    }

    /// The mark that was found, made incomplete until what it lacks is read, if it belongs to this ledger's past.
    async fn take_over(
        &self,
        state: &mut State,
        endpoint: &EndpointName,
        found: Option<Mark>,
    ) -> Result<Option<Mark>, Trouble> {
        let Some(found) = found.filter(|mark| mark.complete && state.may_be_ours(endpoint, mark)) else {
            return Ok(None);
        };
        if found.through.0 > 0 && self.records.id_of(found.through).await? != found.id {
            return Ok(None);
        }
        let Some(window) = state.window_of(endpoint) else { return Ok(None) };
        let open = Mark { complete: false, ..state.next(&found) };
        let nothing = Telling { endpoint, window, since: Timestamp::default(), owners: &[] };
        Ok(self.memory.tell(&nothing, &found, &open).await?.then_some(open))
    }

    async fn read_on(&self, state: &mut State, filling: Filling) -> Result<bool, Trouble> {
        let page = self.records.owners_after(filling.after, PAGE).await?;
        state.unfilled.told(Ok::<_, RecordsError>(()));
        let through = page.through.filter(|at| at.number <= filling.until);
        for endpoint in &page.replayed {
            // What a replay made stands further back, where a walk from the middle does not come.
            if let Some(standing @ Standing::Filling { afresh: false, .. }) = state.standing(endpoint) {
                *standing = Standing::Unknown { afresh: true };
            }
        }
        for (endpoint, owners) in by_endpoint(page, &filling.endpoints) {
            self.fill(state, &endpoint, &owners).await?;
        }
        if let Some(after) = through {
            state.filling = Some(Filling { after, ..filling });
            return Ok(true);
        }
        for endpoint in &filling.endpoints {
            self.finish(state, endpoint, filling.tenure).await?;
        }
        Ok(true)
    }

    async fn fill(
        &self,
        state: &mut State,
        endpoint: &EndpointName,
        owners: &[(String, Owner)],
    ) -> Result<(), Trouble> {
        let Some(Standing::Filling { last, .. }) = state.standing(endpoint) else { return Ok(()) };
        *last = owners.iter().map(|(_, owner)| owner.at.number).fold(*last, EntryNumber::max);
        if !self.write(state, endpoint, owners, |_| {}).await? {
            state.stand(endpoint, Standing::Unknown { afresh: false });
        }
        Ok(())
    }

    /// Says that the memory of an endpoint is complete, unless another server took over while it was read.
    async fn finish(
        &self,
        state: &mut State,
        endpoint: &EndpointName,
        tenure: Tenure,
    ) -> Result<(), Trouble> {
        let Some(Standing::Filling { mark, last, .. }) = state.standing(endpoint) else { return Ok(()) };
        let (claimed, last) = (mark.through, *last);
        let id = if last > claimed { self.records.id_of(last).await? } else { None };
        if self.records.tenure() != tenure {
            state.stand(endpoint, Standing::Unknown { afresh: true });
            return Ok(());
        }
        let complete = |mark: &mut Mark| {
            mark.complete = true;
            if id.is_some() {
                (mark.through, mark.id) = (last, id);
            }
        };
        let written = self.write(state, endpoint, &[], complete).await?;
        let standing = match state.mark_of(endpoint).filter(|_| written) {
            Some((_, mark)) => {
                info!(%endpoint, ids = mark.ids, "the memory of verdicts is complete");
                Standing::Complete(mark)
            }
            None => Standing::Unknown { afresh: false },
        };
        state.stand(endpoint, standing);
        Ok(())
    }
}

/// No partner has this endpoint.
fn nobodys() -> EndpointName {
    EndpointName::new("-", "-")
}

/// The owners of a page that are wanted.
fn by_endpoint(
    page: OwnersPage,
    wanted: &BTreeSet<EndpointName>,
) -> BTreeMap<EndpointName, Vec<(String, Owner)>> {
    let mut owners = BTreeMap::<_, Vec<_>>::new();
    for (endpoint, id, owner) in page.owners {
        if wanted.contains(&endpoint) {
            owners.entry(endpoint).or_default().push((id, owner));
        }
    }
    owners
}
