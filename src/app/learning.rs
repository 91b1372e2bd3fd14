//! Room `app`: what endpoints learnt in handshakes, read out of the ledger into the public door: at the start, and while other
//! processes may be taught something. The log is the truth; the records hold a copy of what was worked, because the log
//! drops its entries.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use crate::{
    clock::Clock,
    intake::LearntSecrets,
    keys::seal::Sealer,
    ledger::{Ledger, LogError, LogItem},
    model::{EndpointName, EntryMeta, EntryNumber, LearntMeta},
    partners::Registry,
};

/// How often the ledger is asked.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// So long after an endpoint was last armed, an entry may still come that teaches it something.
const AFTERWARDS: Duration = Duration::from_mins(1);
/// How much of the log is read at once.
const READ_ENTRIES: usize = 1_000;
const READ_BYTES: usize = 4 * 1024 * 1024;

/// Follows what endpoints learn.
pub(super) struct Learning {
    pub(super) learnt: LearntSecrets,
    sealer: Sealer,
    ledger: Ledger,
    registry: Arc<Registry>,
    clock: Arc<dyn Clock>,
    /// Through this number the log was looked through; `None`: not yet.
    looked_through: Option<EntryNumber>,
    /// For these.
    looked_for: BTreeSet<EndpointName>,
}

impl Learning {
    /// With everything that the ledger knows by now.
    pub(super) async fn begin(
        ledger: &Ledger,
        sealer: &Sealer,
        (registry, clock): (&Arc<Registry>, &Arc<dyn Clock>),
    ) -> anyhow::Result<Self> {
        let mut learning = Self {
            learnt: LearntSecrets::default(),
            sealer: sealer.clone(),
            ledger: ledger.clone(),
            registry: Arc::clone(registry),
            clock: Arc::clone(clock),
            looked_through: None,
            looked_for: BTreeSet::new(),
        };
        learning.catch_up().await.context("cannot read what endpoints learnt")?;
        Ok(learning)
    }

    /// Takes in everything that the ledger knows by now.
    async fn catch_up(&mut self) -> anyhow::Result<()> {
        let learners = self.learners();
        if learners.is_empty() {
            self.looked_through = None;
            return Ok(());
        }
        // One that is new here may have been taught by way of another process before.
        if !learners.is_subset(&self.looked_for) {
            self.looked_through = None;
        }
        let end = self.ledger.log.durable();
        for secret in self.ledger.records.learnt().await? {
            self.take_in(&secret.meta);
        }
        let lately = self.clock.now().minus(AFTERWARDS);
        let quiet = self.ledger.records.armed(lately).await?.is_empty();
        self.looked_through = Some(match self.looked_through {
            // Only an armed endpoint learns.
            Some(_) if quiet => end,
            Some(through) => self.look_through(&learners, (through, end)).await?,
            None => {
                let worked = self.worked_through(&learners).await?;
                self.look_through(&learners, (worked, end)).await?
            }
        });
        self.looked_for = learners;
        Ok(())
    }

    /// Follows until `stop`. A ledger that does not answer is asked again.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
        let mut pace = interval(LOOK_EVERY);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = pace.tick() => {}
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
            }
            if let Err(error) = self.catch_up().await {
                tracing::warn!("what endpoints learnt could not be read: {error:#}");
            }
        }
    }

    fn learners(&self) -> BTreeSet<EndpointName> {
        let snapshot = self.registry.snapshot();
        let learners = snapshot.endpoints.values().filter(|endpoint| endpoint.learns());
        learners.map(|endpoint| endpoint.name.clone()).collect()
    }

    /// Through which number everything that these were taught is in the records.
    async fn worked_through(&self, learners: &BTreeSet<EndpointName>) -> anyhow::Result<EntryNumber> {
        let cursors = self.ledger.records.cursors().await?;
        let all = cursors.iter().map(|(_, through)| *through).min().unwrap_or_default();
        let of = |name: &EndpointName| cursors.iter().find(|(other, _)| other == name).map(|(_, at)| *at);
        Ok(learners.iter().map(|name| of(name).unwrap_or(all)).min().unwrap_or(all))
    }

    async fn look_through(
        &self,
        learners: &BTreeSet<EndpointName>,
        (after, end): (EntryNumber, EntryNumber),
    ) -> anyhow::Result<EntryNumber> {
        let mut through = after;
        while through < end {
            let read =
                match self.ledger.log.read_for(learners, (through, end), READ_ENTRIES, READ_BYTES).await {
                    Err(LogError::Pruned { first }) => {
                        through = EntryNumber(first.0.saturating_sub(1)).max(through.next());
                        continue;
                    }
                    read => read?,
                };
            if read.through == through {
                break;
            }
            for item in &read.items {
                if let LogItem::Entry(entry) = item
                    && let EntryMeta::Learnt(meta) = &entry.meta
                {
                    self.take_in(meta);
                }
            }
            through = read.through;
        }
        Ok(through)
    }

    fn take_in(&self, meta: &LearntMeta) {
        if !self.learnt.take_in(meta, &self.sealer) {
            let (endpoint, secret) = (&meta.endpoint, &meta.secret_id);
            tracing::error!(%endpoint, secret, "a learnt secret does not open with the sealing key of this ledger");
        }
    }
}
