//! Room `app`: the other processes of a ledger in PostgreSQL. What they append and commit is asked for, unless something this
//! process did tells it by the way. May not work anything itself.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use metrics::gauge;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use crate::{
    config::{Config, LedgerConfig},
    ledger::{Leases, Records, SuspectRecords, Takes, log::postgres::PostgresReader},
    model::{EntryNumber, EventNumber, Tenure},
    pipeline::{LeaseKeeper, LeasePace},
    telemetry::metrics::LEDGER_REACHABLE,
};

/// So often everything is asked, whatever was told by the way: a number says nothing of what others dropped, nor whether
/// PostgreSQL still answers those who ask.
const ASK_ANYWAY: Duration = Duration::from_secs(1);

/// The other processes of the ledger: what they append and commit, and how the work is shared with them.
pub(super) struct Others {
    pub(super) log: PostgresReader,
    pub(super) records: Arc<dyn Records>,
    pub(super) leases: Arc<dyn Leases>,
    pub(super) suspects: Arc<dyn SuspectRecords>,
}

impl Others {
    /// Changes with the last number of the intake log, whoever gave it.
    pub(super) fn news(&self) -> watch::Receiver<EntryNumber> {
        self.log.news()
    }

    /// What is known of processes that died at work.
    pub(super) fn suspects(&self) -> Arc<dyn SuspectRecords> {
        Arc::clone(&self.suspects)
    }

    /// Keeps this process's leases: of endpoints and of brokers, as its roles say.
    pub(super) fn keeper(&self, config: &Config) -> LeaseKeeper {
        let roles = config.process.roles;
        let brokers = config.broker.iter().filter(|_| roles.publish).map(|broker| broker.name.clone());
        let takes = Takes { endpoints: roles.translate, brokers: brokers.collect() };
        let pace = LeasePace { lasts: config.ledger.lease.0, renewal: config.ledger.lease_renewal.0 };
        LeaseKeeper::new(Arc::clone(&self.leases), takes, pace)
    }

    /// Asks again and again what others did, and tells those who wait for it. While PostgreSQL cannot be asked, `reachable`
    /// says why.
    pub(super) async fn follow(
        self,
        config: LedgerConfig,
        committed: watch::Sender<EventNumber>,
        reachable: watch::Sender<Option<String>>,
        mut stop: watch::Receiver<bool>,
    ) -> anyhow::Result<()> {
        let mut pace = interval(config.poll.0);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known = Known {
            entries: self.news(),
            events: committed.subscribe(),
            tenure: self.records.tenure(),
            asked: None,
        };
        loop {
            tokio::select! {
                _ = pace.tick() => {}
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
            }
            tell(&reachable, self.look(&mut known, &committed).await);
        }
    }

    async fn look(&self, known: &mut Known, committed: &watch::Sender<EventNumber>) -> anyhow::Result<()> {
        let (now, at) = (self.records.tenure(), Instant::now());
        let unknown = known.unknown(now, at);
        if unknown.entries {
            self.log.look().await.context("the intake log")?;
        }
        if unknown.events {
            let last = self.records.last_event().await.context("the records")?;
            let same = now == known.tenure;
            committed.send_if_modified(|told| {
                // Under another server the numbers may begin further back; otherwise this answer may be older than a commit.
                let news = *told < last || !same;
                *told = if same { last.max(*told) } else { last };
                news
            });
        }
        known.looked(now, (unknown, at));
        Ok(())
    }
}

/// What is known of others without asking.
struct Known {
    entries: watch::Receiver<EntryNumber>,
    events: watch::Receiver<EventNumber>,
    tenure: Tenure,
    /// When everything was asked last.
    asked: Option<Instant>,
}

/// What only asking tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unknown {
    entries: bool,
    events: bool,
}

impl Known {
    /// A number that this process was given since it last looked is behind those of everybody before, and so tells of them.
    fn unknown(&self, tenure: Tenure, at: Instant) -> Unknown {
        let lately = self.asked.is_some_and(|asked| at.duration_since(asked) < ASK_ANYWAY);
        let ask = !lately || tenure != self.tenure;
        let told = |changed: Result<bool, _>| changed.unwrap_or(false);
        Unknown {
            entries: ask || !told(self.entries.has_changed()),
            events: ask || !told(self.events.has_changed()),
        }
    }

    /// From here on something is news.
    fn looked(&mut self, tenure: Tenure, (asked, at): (Unknown, Instant)) {
        self.entries.mark_unchanged();
        self.events.mark_unchanged();
        self.tenure = tenure;
        if asked.entries && asked.events {
            self.asked = Some(at);
        }
    }
}

/// One line when it changes, and a metric.
fn tell(reachable: &watch::Sender<Option<String>>, looked: anyhow::Result<()>) {
    let why = looked.err().map(|error| format!("PostgreSQL cannot be asked: {error:#}"));
    gauge!(LEDGER_REACHABLE).set(if why.is_none() { 1.0 } else { 0.0 });
    reachable.send_if_modified(|known| {
        let changed = known.is_some() != why.is_some();
        match &why {
            Some(why) if changed => {
                tracing::error!("{why}; what cannot be kept is answered 503, and the stages wait");
            }
            None if changed => tracing::info!("PostgreSQL answers again"),
            _ => {}
        }
        *known = why;
        changed
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Unknown = Unknown { entries: true, events: true };
    const NONE: Unknown = Unknown { entries: false, events: false };

    #[test]
    fn what_is_told_by_the_way_is_not_asked_for_but_once_a_second_all_is() {
        let (entries, events) = (watch::Sender::new(EntryNumber(1)), watch::Sender::new(EventNumber(1)));
        let (tenure, begun) = (Tenure(1), Instant::now());
        let mut known =
            Known { entries: entries.subscribe(), events: events.subscribe(), tenure, asked: None };
        let mut look = |tenure, after: u64| {
            let at = begun + Duration::from_millis(after);
            let unknown = known.unknown(tenure, at);
            known.looked(tenure, (unknown, at));
            unknown
        };
        assert_eq!(look(tenure, 0), ALL, "nothing was asked yet");
        assert_eq!(look(tenure, 50), ALL, "nobody told anything");
        entries.send_replace(EntryNumber(2));
        assert_eq!(look(tenure, 100), Unknown { events: true, ..NONE });
        events.send_replace(EventNumber(2));
        assert_eq!(look(tenure, 150), Unknown { entries: true, ..NONE });
        for after in (200..1_050).step_by(50) {
            entries.send_modify(|last| *last = last.next());
            events.send_modify(|last| *last = last.next());
            assert_eq!(look(tenure, after), NONE, "after {after} ms");
        }
        entries.send_modify(|last| *last = last.next());
        events.send_modify(|last| *last = last.next());
        assert_eq!(look(tenure, 1_050), ALL, "what others dropped nobody tells");
        entries.send_modify(|last| *last = last.next());
        events.send_modify(|last| *last = last.next());
        assert_eq!(look(Tenure(2), 1_100), ALL, "another server");
    }
}
