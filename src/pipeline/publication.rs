//! Room `pipeline`: what stage 2 holds for one broker, and how its steps reach the feed, the broker and the records. The
//! story is in `pipeline::publish_next`. A broker's name is its identity: the cursor belongs to it.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::sync::watch;
use tracing::warn;

use super::{Progress, Stage, StageError, cloudevent, figures, leases::HeldLeases, publish_next};
use crate::{
    brokers::{Broker, BrokerError, Placement, PublishReport},
    clock::Clock,
    config::BrokerFrom,
    ledger::{EventFilter, FeedRecords, Held, Leave, Publication, PublicationRecords, RecordsError},
    model::{Epoch, EventNumber, StoredEvent, Tenure, TypePattern},
};

/// What stage 2 is made of, for one broker.
pub struct PublicationParts {
    /// Where domain events are read.
    pub feed: Arc<dyn FeedRecords>,
    /// Where publications are noted.
    pub records: Arc<dyn PublicationRecords>,
    /// The broker.
    pub broker: Arc<dyn Broker>,
    /// Which events it gets, by type without our namespace; empty means all.
    pub matching: Vec<TypePattern>,
    /// Most events offered at once.
    pub batch_events: usize,
    /// When a new broker was introduced, and how old what waits is.
    pub clock: Arc<dyn Clock>,
}

/// Stage 2 for one broker: read, publish, note.
pub struct PublicationStage {
    parts: PublicationParts,
    cursor: EventNumber,
    leases: HeldLeases,
    /// By which epoch the cursor moves; `None` while another process publishes to the broker.
    epoch: Option<Epoch>,
    /// Under which the cursor was read.
    tenure: Tenure,
    /// Where the broker starts if it is new.
    from: Option<BrokerFrom>,
}

/// Why a broker cannot take up its work.
#[derive(Debug, thiserror::Error)]
pub enum NotIntroduced {
    /// It was never seen, and nobody said where it starts.
    #[error(
        "the broker {0:?} is new: say where it starts with `from = \"now\"`, \"beginning\" or an event number"
    )]
    NeedsFrom(String),
    /// The records did not answer.
    #[error(transparent)]
    Records(#[from] RecordsError),
}

/// After which event a broker takes up its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerStart {
    /// Where its cursor stands.
    Known(EventNumber),
    /// It was never seen: where it is told to start.
    New(EventNumber),
}

impl BrokerStart {
    /// Looks it up; changes nothing.
    pub async fn find(
        name: &str,
        from: Option<BrokerFrom>,
        feed: &dyn FeedRecords,
        records: &dyn PublicationRecords,
    ) -> Result<Self, NotIntroduced> {
        if let Some(known) = records.broker(name).await? {
            return Ok(Self::Known(known.cursor));
        }
        Ok(Self::New(match from {
            None => return Err(NotIntroduced::NeedsFrom(name.to_owned())),
            Some(BrokerFrom::Now) => feed.last_event().await?,
            Some(BrokerFrom::Beginning) => before(feed.first_event().await?),
            Some(BrokerFrom::Number(number)) => before(EventNumber(number)),
        }))
    }
}

/// Events read for a broker, and which of them are its own.
#[derive(Debug, Default)]
pub(super) struct Offered {
    own: Vec<StoredEvent>,
    /// The last event read, its own or not; `None` when nothing was read.
    through: Option<EventNumber>,
}

impl Offered {
    /// Nothing was read.
    pub(super) fn is_empty(&self) -> bool {
        self.through.is_none()
    }
}

impl PublicationParts {
    /// Whether an event goes to this broker. A replay that names it wins over its patterns.
    fn takes(&self, event: &StoredEvent) -> bool {
        let name = self.broker.name();
        if !event.brokers.is_empty() {
            return event.brokers.iter().any(|to| to == name);
        }
        let contract = event.contract();
        self.matching.is_empty() || self.matching.iter().any(|pattern| pattern.matches(contract))
    }
}

impl PublicationStage {
    /// Takes up a broker where its cursor stands. One that was never seen starts at `from`, and that is journalled.
    pub async fn open(parts: PublicationParts, from: Option<BrokerFrom>) -> Result<Self, NotIntroduced> {
        let tenure = parts.records.tenure();
        let cursor = start(&parts, from).await?;
        let (leases, epoch) = (HeldLeases::default(), Some(Epoch::UNLEASED));
        Ok(Self { parts, cursor, leases, epoch, tenure, from })
    }

    /// Shares the work with other processes: the broker is published to only while it is held, by leave of its epoch.
    #[must_use]
    pub fn sharing(self, held: watch::Receiver<Arc<Held>>) -> Self {
        Self { leases: HeldLeases::told(held), epoch: None, ..self }
    }

    /// When another server took over, the broker goes on where its cursor stands there, and starts there anew if that knows it not.
    async fn follow_tenure(&mut self) -> Result<(), StageError> {
        let tenure = self.parts.records.tenure();
        if tenure != self.tenure {
            self.cursor = start(&self.parts, self.from).await?;
            self.tenure = tenure;
        }
        Ok(())
    }

    /// Takes note of what is held now. A broker that was gained goes on where its cursor stands.
    async fn take_up(&mut self) -> Result<(), StageError> {
        self.follow_tenure().await?;
        let Some(held) = self.leases.under(self.tenure) else { return Ok(()) };
        let name = self.parts.broker.name();
        let epoch = held.brokers.get(name).copied();
        if epoch == self.epoch {
            return Ok(());
        }
        if epoch.is_some()
            && let Some(known) = self.parts.records.broker(name).await?
        {
            self.cursor = known.cursor;
        }
        self.epoch = epoch;
        Ok(())
    }

    /// Step 9: the next events, and which of them go to this broker.
    pub(super) async fn read(&mut self) -> Result<Offered, StageError> {
        self.take_up().await?;
        if self.epoch.is_none() {
            return Ok(Offered::default());
        }
        let filter = EventFilter::default();
        let events = self.parts.feed.events_after(self.cursor, self.parts.batch_events, &filter).await?;
        // Not after another server's cursor: that would leave events out, or place later ones first.
        if self.parts.records.tenure() != self.tenure {
            return Err(StageError::Fenced("another server took over since the cursor was read".to_owned()));
        }
        let through = events.last().map(|event| event.number);
        let own = events.into_iter().filter(|event| self.parts.takes(event)).collect();
        Ok(Offered { own, through })
    }

    /// Step 10.
    pub(super) async fn publish(&self, offered: &Offered) -> PublishReport {
        if offered.own.is_empty() {
            return PublishReport { placements: Vec::new(), stopped: None };
        }
        self.parts.broker.publish(&offered.own).await
    }

    /// Step 11: notes what the broker took. When it took only a part, the rest is offered again.
    pub(super) async fn note(
        &mut self,
        offered: &Offered,
        report: PublishReport,
    ) -> Result<Progress, StageError> {
        let cursor = reached(offered, &report, self.cursor);
        let waits = offered.own.get(report.placements.len());
        let published: Vec<_> = report.placements.into_iter().map(publication).collect();
        if cursor > self.cursor {
            self.keep(&published, cursor).await?;
        }
        self.tell(&published, waits.or(offered.own.last())).await?;
        match report.stopped {
            Some(stopped) => Err(stopped.into()),
            None if waits.is_none() => Ok(Progress::Worked),
            None => Err(BrokerError::Unavailable("it confirmed only a part".to_owned()).into()),
        }
    }

    async fn keep(&mut self, published: &[Publication], cursor: EventNumber) -> Result<(), StageError> {
        let name = self.parts.broker.name();
        let leave = Leave { epoch: self.epoch.unwrap_or(Epoch::UNLEASED), tenure: self.tenure };
        let kept = self.parts.records.note_published(name, published, cursor, leave).await;
        if self.leases.are_kept()
            && let Err(RecordsError::Stale(why)) = kept
        {
            figures::fenced("publication");
            self.epoch = None;
            return Err(StageError::Fenced(why));
        }
        if let Err(RecordsError::Stale(_)) = &kept
            && let Some(known) = self.parts.records.broker(name).await?
        {
            self.cursor = known.cursor;
        }
        kept?;
        self.cursor = cursor;
        Ok(())
    }

    /// `oldest` is the oldest event that still waits, or the last that does not: the next one is hardly younger.
    async fn tell(&self, published: &[Publication], oldest: Option<&StoredEvent>) -> Result<(), StageError> {
        let name = self.parts.broker.name();
        let mut dead_letters = 0;
        for publication in published {
            if let Publication::DeadLetter { event, reason } = publication {
                warn!(broker = name, %event, reason, "the broker refuses this event for good");
                dead_letters += 1;
            }
        }
        figures::published(name, published.len() as u64 - dead_letters, dead_letters);
        let lag = self.parts.feed.last_event().await?.0.saturating_sub(self.cursor.0);
        let since = oldest.filter(|_| lag > 0).and_then(cloudevent::recorded_at);
        let age = since.map_or(Duration::ZERO, |since| self.parts.clock.now().since(since));
        figures::publication_lag(name, lag, age);
        Ok(())
    }
}

/// After which event a broker takes up its work; one that was never seen is made known.
async fn start(parts: &PublicationParts, from: Option<BrokerFrom>) -> Result<EventNumber, NotIntroduced> {
    match BrokerStart::find(parts.broker.name(), from, &*parts.feed, &*parts.records).await? {
        BrokerStart::Known(cursor) => Ok(cursor),
        BrokerStart::New(cursor) => Ok(introduce(parts, cursor).await?),
    }
}

/// Makes a broker known; returns where it starts, which another process may have said at the same time.
async fn introduce(parts: &PublicationParts, cursor: EventNumber) -> Result<EventNumber, RecordsError> {
    let name = parts.broker.name();
    let refused = match parts.records.introduce_broker(name, cursor, parts.clock.now()).await {
        Err(RecordsError::Refused(why)) => RecordsError::Refused(why),
        introduced => return introduced.map(|()| cursor),
    };
    parts.records.broker(name).await?.map(|known| known.cursor).ok_or(refused)
}

/// Through which number this broker has been worked: all that was read, or up to before the first event it did not take.
fn reached(offered: &Offered, report: &PublishReport, cursor: EventNumber) -> EventNumber {
    let reached = match offered.own.get(report.placements.len()) {
        Some(not_taken) => before(not_taken.number),
        None => offered.through.unwrap_or(cursor),
    };
    reached.max(cursor)
}

fn before(number: EventNumber) -> EventNumber {
    EventNumber(number.0.saturating_sub(1))
}

fn publication(placement: Placement) -> Publication {
    match placement {
        Placement::Placed { event, position } => Publication::Placed { event, position },
        Placement::Refused { event, reason } => Publication::DeadLetter { event, reason },
    }
}

impl From<NotIntroduced> for StageError {
    fn from(error: NotIntroduced) -> Self {
        match error {
            NotIntroduced::NeedsFrom(_) => Self::WaitLoudly(error.to_string()),
            NotIntroduced::Records(error) => error.into(),
        }
    }
}

#[async_trait]
impl Stage for PublicationStage {
    fn name(&self) -> String {
        format!("publication:{}", self.parts.broker.name())
    }

    fn count_retry(&self) {
        figures::broker_retry(self.parts.broker.name());
    }

    async fn woken(&mut self) {
        self.leases.changed().await;
    }

    async fn step(&mut self) -> Result<Progress, StageError> {
        publish_next(self).await
    }
}

impl fmt::Debug for PublicationStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicationStage").field("cursor", &self.cursor).finish_non_exhaustive()
    }
}

impl fmt::Debug for PublicationParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicationParts").field("broker", &self.broker.name()).finish_non_exhaustive()
    }
}
