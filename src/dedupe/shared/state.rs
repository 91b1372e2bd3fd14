//! Room `dedupe`: what this process knows of the shared memory: how each endpoint's stands, and whose marks are to be
//! believed. Asks nobody.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use metrics::gauge;
use tracing::info;
use uuid::Uuid;

use crate::{
    dedupe::memory::Mark,
    model::{EndpointName, EntryNumber, EventRef, Tenure, Timestamp},
    telemetry::{Outage, metrics::MEMORY_UP},
};

pub(super) struct State {
    /// Whether it answered last.
    pub(super) up: bool,
    /// When it was last asked whether it answers at all.
    pub(super) probed_at: Timestamp,
    /// Until then nobody asks, so that slowness is not paid for again and again.
    pub(super) rests_until: Timestamp,
    /// Whether the ledger can be walked through.
    pub(super) unfilled: Outage,
    /// The walk through the ledger that is under way.
    pub(super) filling: Option<Filling>,
    writer: Uuid,
    step: u64,
    /// Marks of this process through this step were written before its ledger was put back.
    disowned: u64,
    pasts: BTreeMap<EndpointName, Past>,
    endpoints: BTreeMap<EndpointName, Known>,
}

/// How far the ledger has come with an endpoint.
struct Past {
    /// When this process took it over.
    from: EntryNumber,
    /// As far as this process knows.
    highest: EntryNumber,
}

struct Known {
    window: Duration,
    standing: Standing,
}

/// How the memory of an endpoint stands.
pub(super) enum Standing {
    /// It may lack something, or be another ledger's past. `afresh`: what there is of it is worth nothing.
    Unknown { afresh: bool },
    /// Under this mark owners are being read from the ledger; what is committed is told too.
    Filling {
        mark: Mark,
        /// From the ledger's beginning; otherwise only what the memory lacks.
        afresh: bool,
        /// The last entry whose owner was read.
        last: EntryNumber,
    },
    /// It has every owner as long as this mark stands.
    Complete(Mark),
}

/// A walk through the ledger, for several endpoints at once.
pub(super) struct Filling {
    pub(super) after: EventRef,
    /// Owners made by later entries were told when they were committed.
    pub(super) until: EntryNumber,
    pub(super) endpoints: BTreeSet<EndpointName>,
    /// Under which it began.
    pub(super) tenure: Tenure,
}

impl State {
    pub(super) fn new(writer: Uuid) -> Self {
        Self {
            up: true,
            probed_at: Timestamp::from_micros(i64::MIN),
            rests_until: Timestamp::from_micros(i64::MIN),
            unfilled: Outage::of("the memory of verdicts cannot be filled"),
            filling: None,
            writer,
            step: 0,
            disowned: 0,
            pasts: BTreeMap::new(),
            endpoints: BTreeMap::new(),
        }
    }

    pub(super) fn begin(&mut self, cursors: &[(EndpointName, EntryNumber)]) {
        let behind = |(endpoint, cursor): &(EndpointName, EntryNumber)| {
            self.pasts.get(endpoint).is_some_and(|past| *cursor < past.highest)
        };
        if cursors.iter().any(behind) {
            self.disown();
        }
        for (endpoint, cursor) in cursors {
            let past = self.pasts.entry(endpoint.clone()).or_insert(Past { from: *cursor, highest: *cursor });
            past.highest = past.highest.max(*cursor);
        }
        // Those that this process still works are known again when they are asked about.
        self.filling = None;
        self.endpoints.clear();
    }

    /// The ledger was put back under this process: what it told since is no fact any more.
    pub(super) fn disown(&mut self) {
        self.disowned = self.step;
        self.pasts.clear();
        self.filling = None;
        self.endpoints.clear();
    }

    pub(super) fn forget(&mut self, endpoint: &EndpointName) {
        self.pasts.remove(endpoint);
        self.endpoints.remove(endpoint);
    }

    /// The ledger holds an entry of this endpoint with this number.
    pub(super) fn has_come_to(&mut self, endpoint: &EndpointName, number: EntryNumber) {
        let nothing = Past { from: EntryNumber(0), highest: EntryNumber(0) };
        let past = self.pasts.entry(endpoint.clone()).or_insert(nothing);
        past.highest = past.highest.max(number);
    }

    /// What was told beyond the place where this process took the endpoint over, and not by this process, was told of a ledger
    /// that was put back since.
    pub(super) fn may_be_ours(&self, endpoint: &EndpointName, mark: &Mark) -> bool {
        let from = self.pasts.get(endpoint).map_or(EntryNumber(0), |past| past.from);
        mark.through <= from || (mark.writer == self.writer && mark.step > self.disowned)
    }

    pub(super) fn answered(&mut self) {
        gauge!(MEMORY_UP).set(1);
        if !std::mem::replace(&mut self.up, true) {
            info!("the memory of verdicts answers again");
        }
    }

    pub(super) fn next(&mut self, mark: &Mark) -> Mark {
        self.step += 1;
        Mark { writer: self.writer, step: self.step, ..mark.clone() }
    }

    pub(super) fn new_mark(&mut self) -> Mark {
        self.step += 1;
        Mark {
            build: format!("{}-{}", self.writer.simple(), self.step),
            writer: self.writer,
            step: self.step,
            through: EntryNumber(0),
            id: None,
            complete: false,
            ids: 0,
        }
    }

    /// The mark under which an endpoint's memory is complete. From the first time on, it is being filled.
    pub(super) fn complete(&mut self, endpoint: &EndpointName, window: Duration) -> Option<Mark> {
        let known = self
            .endpoints
            .entry(endpoint.clone())
            .or_insert_with(|| Known { window, standing: Standing::Unknown { afresh: false } });
        known.window = window;
        match &known.standing {
            Standing::Complete(mark) => Some(mark.clone()),
            Standing::Unknown { .. } | Standing::Filling { .. } => None,
        }
    }

    /// The mark that what is committed is told under, and the endpoint's window.
    pub(super) fn mark_of(&self, endpoint: &EndpointName) -> Option<(Duration, Mark)> {
        let known = self.endpoints.get(endpoint)?;
        match &known.standing {
            Standing::Unknown { .. } => None,
            Standing::Filling { mark, .. } | Standing::Complete(mark) => Some((known.window, mark.clone())),
        }
    }

    pub(super) fn window_of(&self, endpoint: &EndpointName) -> Option<Duration> {
        self.endpoints.get(endpoint).map(|known| known.window)
    }

    pub(super) fn move_to(&mut self, endpoint: &EndpointName, after: Mark) {
        if let Some(Standing::Filling { mark, .. } | Standing::Complete(mark)) = self.standing(endpoint) {
            *mark = after;
        }
    }

    pub(super) fn standing(&mut self, endpoint: &EndpointName) -> Option<&mut Standing> {
        self.endpoints.get_mut(endpoint).map(|known| &mut known.standing)
    }

    pub(super) fn stand(&mut self, endpoint: &EndpointName, standing: Standing) {
        if let Some(known) = self.endpoints.get_mut(endpoint) {
            known.standing = standing;
        }
    }

    /// The endpoints of which nothing is known: window, and whether to begin afresh.
    pub(super) fn unknown(&self) -> Vec<(EndpointName, Duration, bool)> {
        let unknown = self.endpoints.iter().filter_map(|(endpoint, known)| match known.standing {
            Standing::Unknown { afresh } => Some((endpoint.clone(), known.window, afresh)),
            Standing::Filling { .. } | Standing::Complete(_) => None,
        });
        unknown.collect()
    }

    /// The walk has ended before its end.
    pub(super) fn give_up_filling(&mut self) {
        self.filling = None;
        let begun = |known: &&mut Known| matches!(known.standing, Standing::Filling { .. });
        for known in self.endpoints.values_mut().filter(begun) {
            known.standing = Standing::Unknown { afresh: false };
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "endpoints are few")]
    pub(super) fn incomplete(&self) -> f64 {
        let incomplete = |known: &&Known| !matches!(known.standing, Standing::Complete(_));
        self.endpoints.values().filter(incomplete).count() as f64
    }
}
