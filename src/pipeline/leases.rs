//! Room `pipeline`: the keeper of this process's leases. It renews them again and again and tells the stages what is held; they
//! work that and nothing else. When renewals fail for so long that a lease may have run out, by this process's own clock,
//! it tells that nothing is held: another process may be at work. What slips through the records refuse, by its epoch.

use std::{fmt, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, timeout_at},
};
use tracing::{debug, info, warn};

use super::figures;
use crate::{
    ledger::{Held, Leases, RecordsError, Renewed, Takes},
    model::Tenure,
    telemetry::Outage,
};

/// How long leases last, and how often they are renewed.
#[derive(Clone, Copy, Debug)]
pub struct LeasePace {
    /// A lease lasts so long after its last renewal, by the ledger's clock.
    pub lasts: Duration,
    /// Renewals begin so far apart: at most a quarter of that.
    pub renewal: Duration,
}

/// Renews this process's leases, and tells what it holds.
pub struct LeaseKeeper {
    leases: Arc<dyn Leases>,
    takes: Takes,
    pace: LeasePace,
    held: watch::Sender<Arc<Held>>,
    /// Told to nobody any more, and given up with the next renewal.
    surplus: Held,
    /// Until then a renewal must have gone through.
    due: Option<Instant>,
    outage: Outage,
}

impl LeaseKeeper {
    /// Holds nothing yet.
    pub fn new(leases: Arc<dyn Leases>, takes: Takes, pace: LeasePace) -> Self {
        let (held, outage) = (watch::Sender::default(), Outage::of("the leases cannot be renewed"));
        Self { leases, takes, pace, held, surplus: Held::default(), due: None, outage }
    }

    /// What is held, for the stages.
    pub fn held(&self) -> watch::Receiver<Arc<Held>> {
        self.held.subscribe()
    }

    /// Renews until `stop` becomes true, which must come after the stages ended; then gives everything up.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut pace = interval(self.pace.renewal);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = tokio::select! {
                _ = pace.tick() => true,
                // A sender that is gone means that nobody will stop us otherwise.
                _ = stop.wait_for(|stop| *stop) => false,
            };
            if !due {
                break;
            }
            self.renew().await;
        }
        self.leave().await;
    }

    /// Renews once.
    pub async fn renew(&mut self) {
        let begun = Instant::now();
        // After a stop of this process: the stages are told before others are asked.
        self.let_go_when_due(begun);
        // An answer that comes later is none: by then nothing is known to be held.
        let latest = self.due.filter(|due| *due > begun).unwrap_or(begun + self.pace.lasts);
        let asked = self.leases.renew(&self.takes, &self.surplus);
        let answer = timeout_at(latest, asked).await;
        let too_late = || Err(RecordsError::Unavailable("no answer came in time".to_owned()));
        match self.outage.told(answer.unwrap_or_else(|_| too_late())) {
            Some(renewed) => self.renewed(renewed, begun),
            None => self.let_go_when_due(Instant::now()),
        }
    }

    /// Gives everything up, so that others can take it at once. When that fails it runs out.
    pub async fn leave(self) {
        self.tell(Held::default());
        if let Err(error) = self.leases.leave().await {
            warn!("the leases could not be given up, and run out instead: {error}");
        }
    }

    fn renewed(&mut self, renewed: Renewed, begun: Instant) {
        let Renewed { held, surplus, taken_over } = renewed;
        self.due = Some(begun + self.pace.lasts.saturating_sub(self.pace.renewal));
        if taken_over > 0 {
            info!(leases = taken_over, "took over the work of a process that died");
        }
        figures::taken_over(taken_over);
        self.tell(held.without(&surplus));
        self.surplus = surplus;
    }

    fn let_go_when_due(&self, now: Instant) {
        if self.due.is_none_or(|due| now >= due) && !self.held.borrow().is_empty() {
            warn!("the leases may have run out; nothing is worked until they are renewed");
            self.tell(Held::default());
        }
    }

    fn tell(&self, held: Held) {
        figures::leases(&held);
        let changed = self.held.send_if_modified(|told| {
            let news = **told != held;
            if news {
                *told = Arc::new(held);
            }
            news
        });
        if changed {
            let held = self.held.borrow();
            debug!(endpoints = held.endpoints.len(), brokers = held.brokers.len(), "holds other leases");
        }
    }
}

impl fmt::Debug for LeaseKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseKeeper").field("held", &*self.held.borrow()).finish_non_exhaustive()
    }
}

/// What a stage knows of the leases; a stage without leases works everything.
#[derive(Debug, Default)]
pub(super) struct HeldLeases(Option<watch::Receiver<Arc<Held>>>);

impl HeldLeases {
    /// What the keeper tells.
    pub(super) fn told(held: watch::Receiver<Arc<Held>>) -> Self {
        Self(Some(held))
    }

    /// What is held under this tenure; `None` where there are no leases. What was held under another is to be taken anew.
    pub(super) fn under(&self, tenure: Tenure) -> Option<Arc<Held>> {
        let held = Arc::clone(&self.0.as_ref()?.borrow());
        Some(if held.tenure == tenure { held } else { Arc::default() })
    }

    /// Whether there are leases at all.
    pub(super) fn are_kept(&self) -> bool {
        self.0.is_some()
    }

    /// Completes when other leases are held than when this completed last.
    pub(super) async fn changed(&mut self) {
        if let Some(held) = &mut self.0
            && held.changed().await.is_ok()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::*;
    use crate::model::{EndpointName, Epoch};

    /// Answers as it is told, and then not at all.
    #[derive(Default)]
    struct Scripted {
        answers: Mutex<Vec<Renewed>>,
        given_up: Mutex<Vec<usize>>,
        left: Mutex<bool>,
    }

    #[async_trait]
    impl Leases for Scripted {
        async fn renew(&self, _: &Takes, given_up: &Held) -> Result<Renewed, RecordsError> {
            let answer = self.answers.lock().expect("the answers").pop();
            let Some(answer) = answer else { return std::future::pending().await };
            self.given_up.lock().expect("a list").push(given_up.endpoints.len());
            Ok(answer)
        }

        async fn leave(&self) -> Result<(), RecordsError> {
            *self.left.lock().expect("a word") = true;
            Ok(())
        }
    }

    fn held(names: &[&str]) -> Held {
        let endpoints = names.iter().map(|name| (EndpointName::new("acme", *name), Epoch(1)));
        Held { endpoints: endpoints.collect(), ..Held::default() }
    }

    fn keeper(mut answers: Vec<Renewed>) -> (Arc<Scripted>, LeaseKeeper) {
        answers.reverse();
        let leases = Arc::new(Scripted { answers: Mutex::new(answers), ..Scripted::default() });
        let pace = LeasePace { lasts: Duration::from_millis(40), renewal: Duration::from_millis(10) };
        let keeper = LeaseKeeper::new(Arc::clone(&leases) as _, Takes::default(), pace);
        (leases, keeper)
    }

    #[tokio::test]
    async fn what_is_surplus_is_told_no_more_and_given_up_with_the_next_renewal() {
        let told = Renewed { held: held(&["a", "b"]), surplus: held(&["b"]), taken_over: 0 };
        let then = Renewed { held: held(&["a"]), ..Renewed::default() };
        let (leases, mut keeper) = keeper(vec![told, then]);
        let mut heard = keeper.held();
        for _ in 0..2 {
            keeper.renew().await;
            assert_eq!(**heard.borrow_and_update(), held(&["a"]));
        }
        assert_eq!(*leases.given_up.lock().expect("a list"), [0, 1]);
        keeper.leave().await;
        assert!(heard.borrow_and_update().is_empty() && *leases.left.lock().expect("a word"));
    }

    #[tokio::test]
    async fn without_an_answer_nothing_is_held_before_the_lease_is_over() {
        let (_leases, mut keeper) = keeper(vec![Renewed { held: held(&["a"]), ..Renewed::default() }]);
        keeper.renew().await;
        assert!(!keeper.held().borrow().is_empty());
        keeper.renew().await;
        assert!(keeper.held().borrow().is_empty(), "the wait for the answer ends in time");
    }

    #[tokio::test]
    async fn a_stage_whose_keeper_is_gone_is_woken_by_nothing() {
        let (sender, held) = watch::channel(Arc::default());
        let mut leases = HeldLeases::told(held);
        drop(sender);
        let woken = timeout_at(Instant::now() + Duration::from_millis(1), leases.changed()).await;
        assert!(woken.is_err());
    }
}
