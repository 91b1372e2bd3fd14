//! Room `app`: the whole house in one process on a throw-away folder, stepped by hand under a manual clock: for
//! `douane test` and for the project's own tests. The same rooms as in service; only nothing runs by itself.

use std::{path::Path, sync::Arc};

use anyhow::{Context, bail};
use axum::{
    body::Body,
    http::{Request, header::HeaderName},
};
use tempfile::TempDir;

use super::{House, Options};
use crate::{
    clock::ManualClock,
    config::Config,
    intake::{Answer, Arrival, receive},
    ledger::{DeliveryRow, EventFilter, Ledger},
    model::{DeliveryId, EventNumber, NewEntry, RawRequest, StoredEvent, Timestamp},
    partners::{Registry, SecretsFrom},
    pipeline::{Progress, Stage},
};

/// One segment of a rehearsal: small, so that a case costs little.
const SEGMENT_BYTES: u64 = 1024 * 1024;

/// How many events are read at once.
const PAGE: usize = 10_000;

/// How a delivered request was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The status.
    pub status: u16,
    /// The code of the refusal as the platform engineer sees it, when it was refused.
    pub refusal: Option<String>,
    /// The body of the answer.
    pub body: String,
    /// The delivery it became; `None` for a refusal or a handshake.
    pub delivery: Option<DeliveryId>,
}

/// A house that is stepped by hand.
pub struct Rehearsal {
    house: House,
    /// The clock everything goes by.
    pub clock: Arc<ManualClock>,
    last_seen: EventNumber,
    /// Kept until the end: dropping it removes the folder.
    _folder: Option<TempDir>,
}

impl Rehearsal {
    /// A house on a new folder, with the partners of `mappings` and their development secrets, at `now`.
    pub async fn begin(mappings: &Path, now: Timestamp) -> anyhow::Result<Self> {
        Self::begin_with(mappings, now, Arc::default()).await
    }

    /// The same, with the desks that an earlier house has compiled.
    pub async fn begin_with(
        mappings: &Path,
        now: Timestamp,
        registry: Arc<Registry>,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut config = Config::default();
        config.mappings.path = mappings.to_owned();
        config.ledger.data_dir = folder.path().join("data");
        config.ledger.segment_bytes = SEGMENT_BYTES;
        config.ledger.min_free_bytes = 0;
        let rehearsal = Self::compose(config, now, registry).await?;
        Ok(Self { _folder: Some(folder), ..rehearsal })
    }

    /// A house on the folders of a configuration.
    pub async fn on(config: Config, now: Timestamp) -> anyhow::Result<Self> {
        Self::on_with(config, now, Arc::default()).await
    }

    /// The same, with the desks that an earlier house has compiled.
    pub async fn on_with(config: Config, now: Timestamp, registry: Arc<Registry>) -> anyhow::Result<Self> {
        Self::compose(config, now, registry).await
    }

    async fn compose(config: Config, now: Timestamp, registry: Arc<Registry>) -> anyhow::Result<Self> {
        let clock = Arc::new(ManualClock::at(now));
        let options = Options { clock: Arc::clone(&clock) as _, secrets: SecretsFrom::TestTables, registry };
        let house = House::build(config, options).await?;
        Ok(Self { house, clock, last_seen: EventNumber(0), _folder: None })
    }

    /// The ledger, to look into.
    pub fn ledger(&self) -> &Ledger {
        &self.house.ledger
    }

    /// The partners.
    pub fn registry(&self) -> &Registry {
        &self.house.registry
    }

    /// Hands a request to the public door, as a partner would.
    pub async fn deliver(&self, request: &RawRequest) -> anyhow::Result<Answered> {
        let mut arrival = Arrival::new(&self.house.door, http_request(request)?, None);
        match receive(&self.house.door, &mut arrival).await {
            Err(refusal) => Ok(Answered {
                status: refusal.status().as_u16(),
                refusal: Some(refusal.cause().to_owned()),
                body: String::new(),
                delivery: None,
            }),
            Ok(Answer { reply, delivery, .. }) => {
                Ok(Answered { status: reply.status, refusal: None, body: reply.body, delivery })
            }
        }
    }

    /// Steps both stages until nothing is left to do.
    pub async fn settle(&mut self) -> anyhow::Result<()> {
        if let Some(leases) = &mut self.house.leases {
            leases.renew().await;
        }
        while self.house.translation.step().await? == Progress::Worked {}
        for publication in &mut self.house.publications {
            while publication.step().await? == Progress::Worked {}
        }
        Ok(())
    }

    /// Visits the links that handshakes asked for, once each: settling visits none. An error when one must be tried again.
    pub async fn confirm(&mut self) -> anyhow::Result<()> {
        while self.house.confirmation.step().await? != Progress::Idle {}
        Ok(())
    }

    /// Puts entries that are no deliveries (replay requests) into the intake log.
    pub async fn append(&self, entries: Vec<NewEntry>) -> anyhow::Result<()> {
        for entry in entries {
            self.house.log.append(entry).await?;
        }
        Ok(())
    }

    /// Takes the mappings folder in again.
    pub async fn reload(&mut self) -> anyhow::Result<usize> {
        self.house.reloader.reload().await
    }

    /// What became of a delivery. An error when stage 1 left it without an outcome.
    pub async fn outcome_of(&self, id: DeliveryId) -> anyhow::Result<DeliveryRow> {
        let row = self.house.ledger.records.delivery(id).await?;
        row.with_context(|| format!("the delivery {id} was left without an outcome"))
    }

    /// The domain events published since this was last asked.
    pub async fn published(&mut self) -> anyhow::Result<Vec<StoredEvent>> {
        let mut published = Vec::new();
        loop {
            let after = self.last_seen;
            let events = self.house.ledger.records.events_after(after, PAGE, &EventFilter::default()).await?;
            let Some(last) = events.last() else { return Ok(published) };
            self.last_seen = last.number;
            published.extend(events);
        }
    }

    /// Ends it without working what waits: the next house on the folder does.
    pub async fn abandon(self) {
        self.house.log.close().await;
    }

    /// Ends it. An error when a kept delivery was left without an outcome.
    pub async fn end(mut self) -> anyhow::Result<()> {
        self.settle().await?;
        let figures = self.house.ledger.records.conservation().await?;
        let given = self.house.ledger.log.durable().0;
        self.house.log.close().await;
        if let Some(leases) = self.house.leases {
            leases.leave().await;
        }
        if figures.worked != given {
            bail!("{} of {given} entries were left without an outcome", given - figures.worked);
        }
        Ok(())
    }
}

fn http_request(request: &RawRequest) -> anyhow::Result<Request<Body>> {
    let mut made = Request::builder().method(request.method.as_str()).uri(&request.target);
    for (name, value) in &request.headers.0 {
        made = made.header(HeaderName::try_from(name)?, value.0.as_ref());
    }
    Ok(made.body(Body::from(request.body.clone()))?)
}
