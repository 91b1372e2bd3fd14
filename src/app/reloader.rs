//! Room `app`: keeps the registry as the mappings folder is: polled, hashed, compiled and put in place whole, while what
//! is good in the ledger stands in for what is broken. Files and compilers stay off the threads that serve.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::bail;
use metrics::{counter, gauge};
use tokio::{
    signal::unix::Signal,
    sync::watch,
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};

use super::{Options, readiness::REMOVED};
use crate::{
    clock::Clock,
    config::{Config, MappingsConfig},
    ledger::Records,
    model::{EndpointName, PublicUrl, Tenure},
    partners::{
        DeskSources, DeskState, Endpoint, Fingerprint, MappingsFolder, Registry, ReloadReport, SecretsFrom,
        fingerprint,
    },
    telemetry::metrics::{DESK_STATE, RELOADS},
};

/// Keeps the registry as the folder is.
pub(super) struct Reloader {
    registry: Arc<Registry>,
    records: Arc<dyn Records>,
    clock: Arc<dyn Clock>,
    mappings: MappingsConfig,
    secrets: SecretsFrom,
    public_url: Option<PublicUrl>,
    seen: Option<Fingerprint>,
    /// Under which tenure the ledger was told of the desks that work.
    told: Tenure,
    /// Why the folder could not be taken in when this was last tried, as it was told.
    failed: Option<String>,
    /// Whether this process answers partners: to one that does not, it makes no difference which secrets it has.
    answers: bool,
    /// The endpoints that answer 503 for want of a secret, and why, as it was told.
    closed: BTreeMap<EndpointName, String>,
}

/// The latest good desks that the ledger keeps.
pub(super) async fn last_good_desks(records: &dyn Records) -> anyhow::Result<BTreeMap<String, DeskSources>> {
    let mut desks = BTreeMap::new();
    for (key, _, sources) in records.last_desks().await? {
        desks.insert(key, serde_json::from_slice(&sources)?);
    }
    Ok(desks)
}

impl Reloader {
    /// Of the folder that the configuration names; nothing is read yet.
    pub(super) fn new(config: &Config, options: &Options, records: &Arc<dyn Records>) -> Self {
        Self {
            registry: Arc::clone(&options.registry),
            records: Arc::clone(records),
            clock: Arc::clone(&options.clock),
            mappings: config.mappings.clone(),
            secrets: options.secrets,
            public_url: config.intake.public_url.clone(),
            seen: None,
            told: records.tenure(),
            failed: None,
            answers: config.process.roles.intake,
            closed: BTreeMap::new(),
        }
    }

    /// Takes the folder in as it is now; keeps newly good desks in the ledger. Returns how many partners are broken.
    pub(super) async fn reload(&mut self) -> anyhow::Result<usize> {
        let path = self.mappings.path.clone();
        let folder = spawn_blocking(move || MappingsFolder::read(&path)).await??.at(self.public_url.clone());
        let last_good = last_good_desks(&*self.records).await?;
        if folder.partners.is_empty() && !last_good.is_empty() {
            let path = self.mappings.path.display();
            bail!(
                "{path} holds no partner at all, but the ledger knows some; is it the right folder, and there?"
            );
        }
        let fingerprint = folder.fingerprint();
        let (registry, secrets) = (Arc::clone(&self.registry), self.secrets);
        let report = spawn_blocking(move || registry.reload(&folder, &last_good, secrets)).await?;
        for desk in &report.good {
            let sources = serde_json::to_vec(&desk.sources)?;
            self.records.keep_desk(&desk.key, &desk.revision, &sources, self.clock.now()).await?;
            tracing::info!(desk = desk.key, revision = %desk.revision, "desk ready");
        }
        self.tell(&report);
        self.tell_closed();
        self.seen = Some(fingerprint);
        Ok(report.problems.len())
    }

    fn tell(&self, report: &ReloadReport) {
        let snapshot = self.registry.snapshot();
        for partner in &report.removed {
            tracing::warn!(partner, "partner removed: {REMOVED}");
        }
        for (partner, problems) in &report.problems {
            let state = snapshot.desks.get(partner.as_str()).map_or("unreadable", DeskState::as_str);
            for problem in problems {
                tracing::error!(partner, state, code = problem.code, "{problem}");
            }
        }
        for (partner, state) in &snapshot.desks {
            for word in DeskState::WORDS {
                let value = f64::from(u8::from(word == state.as_str()));
                gauge!(DESK_STATE, "partner" => partner.to_string(), "state" => word).set(value);
            }
        }
        let result = if report.problems.is_empty() { "ready" } else { "problems" };
        counter!(RELOADS, "result" => result).increment(1);
    }

    /// Polls the folder's content hash, and reloads on SIGHUP at once. A folder that cannot be read changes nothing.
    pub(super) async fn run(
        mut self,
        mut hang_up: Signal,
        mut stop: watch::Receiver<bool>,
    ) -> anyhow::Result<()> {
        let mut poll = interval(self.mappings.poll.0.max(Duration::from_millis(10)));
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let forced = tokio::select! {
                _ = poll.tick() => false,
                _ = hang_up.recv() => true,
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
            };
            let taken_in = match self.has_changed().await {
                Ok(changed) if forced || changed => self.reload().await.map(drop),
                looked => looked.map(drop),
            };
            let taken_in = match taken_in {
                Ok(()) => self.keep_again().await,
                failed => failed,
            };
            self.tell_whether(&taken_in, forced);
            let (registry, secrets) = (Arc::clone(&self.registry), self.secrets);
            spawn_blocking(move || registry.refresh_keys(secrets)).await?;
            self.tell_closed();
        }
    }

    /// Tells of each endpoint that answers 503 for want of a secret when that begins or changes, and when it is over.
    fn tell_closed(&mut self) {
        let snapshot = self.registry.snapshot();
        let open = snapshot.endpoints.values().filter(|_| self.answers);
        let lacks = |endpoint: &Arc<Endpoint>| Some((endpoint.name.clone(), endpoint.not_configured()?.0));
        let closed: BTreeMap<_, _> = open.filter_map(lacks).collect();
        for (name, why) in closed.iter().filter(|(name, why)| self.closed.get(*name) != Some(*why)) {
            tracing::warn!(endpoint = %name, "not configured, answers 503: {why}");
        }
        let configured = self.closed.keys().filter(|name| !closed.contains_key(*name));
        for name in configured.filter(|name| snapshot.endpoints.contains_key(*name)) {
            tracing::info!(endpoint = %name, "endpoint configured");
        }
        self.closed = closed;
    }

    /// Another server took over: it may lack desks that the one before was told of.
    async fn keep_again(&mut self) -> anyhow::Result<()> {
        let tenure = self.records.tenure();
        if tenure == self.told {
            return Ok(());
        }
        for (partner, state) in &self.registry.snapshot().desks {
            let DeskState::Ready(desk) = state else { continue };
            let sources = serde_json::to_vec(&desk.sources)?;
            self.records.keep_desk(partner, &desk.revision, &sources, self.clock.now()).await?;
        }
        self.told = tenure;
        Ok(())
    }

    async fn has_changed(&self) -> anyhow::Result<bool> {
        let path = self.mappings.path.clone();
        let now = spawn_blocking(move || fingerprint(&path)).await??;
        Ok(Some(now) != self.seen)
    }

    /// Tells a failure when it begins, changes or was `asked` about, and when it is over: the folder is looked at too often
    /// to tell it each time.
    fn tell_whether(&mut self, taken_in: &anyhow::Result<()>, asked: bool) {
        let failed = taken_in.as_ref().err().map(|error| format!("{error:#}"));
        match &failed {
            Some(why) if asked || failed != self.failed => {
                tracing::error!("the mappings were not taken in, what was read last goes on: {why}");
            }
            None if self.failed.is_some() => tracing::info!("the mappings can be taken in again"),
            _ => {}
        }
        self.failed = failed;
    }
}
