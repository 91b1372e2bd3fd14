//! Room `pipeline`: the one loop that waits to try again in the whole program. It steps a stage until there is nothing
//! to do, sleeps until something is new, backs off while the outside world fails, and rests while partners wait for what
//! the stage uses too. Adapters try once; only this loop tries again.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{sync::watch, time::Instant};
use tracing::{error, info, warn};

use super::{StageError, figures};

/// A rest is so many times as long as the step before it: a stage has about a tenth then, as its threads have of a busy processor.
const REST: u32 = 9;
/// And no longer, however long the step took.
const LONGEST_REST: Duration = Duration::from_secs(3);
/// How soon it ends when it need not be any more.
const REST_STEP: Duration = Duration::from_millis(10);

/// What one step of a stage achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There was nothing to do.
    Idle,
    /// It worked; there may be more.
    Worked,
    /// It worked, and its round goes on at once. Only the round's end tells whether the outside world is back.
    Underway,
}

/// A stage that can be stepped. Tests step it themselves; [`run`] does it for the program.
#[async_trait]
pub trait Stage: Send {
    /// Its name in logs and metrics, as `translation` or `publication:orders`.
    fn name(&self) -> String;

    /// Counts that it waits for the outside world and will be stepped again.
    fn count_retry(&self);

    /// Completes when something of its own says that there may be something to do, as another lease that is held.
    async fn woken(&mut self) {
        std::future::pending::<()>().await;
    }

    /// Works one batch, all or nothing.
    async fn step(&mut self) -> Result<Progress, StageError>;
}

/// How the loop waits.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The first pause after a failure; it doubles with each further one.
    pub min_backoff: Duration,
    /// The longest pause after a failure.
    pub max_backoff: Duration,
    /// Without news the stage looks again after so long: a desk may have come back.
    pub look_again: Duration,
}

impl Pace {
    /// The pause after a failure: the backoff, or what the outside world asked for if that is longer.
    fn pause(&self, failure: &StageError, failures: u32, chance: u32) -> Duration {
        let asked = match failure {
            StageError::WaitAtLeast { at_least, .. } => *at_least,
            _ => Duration::ZERO,
        };
        self.backoff(failures, chance).max(asked)
    }

    /// The pause after the `failures`th failure in a row: doubled each time, then between half and all of that by
    /// `chance`, so that many processes do not come back at once.
    fn backoff(&self, failures: u32, chance: u32) -> Duration {
        let doubled = self.min_backoff.saturating_mul(1_u32 << failures.saturating_sub(1).min(20));
        let half = doubled.min(self.max_backoff) / 2;
        half + half.mul_f64(f64::from(chance) / f64::from(u32::MAX))
    }
}

/// Whether partners wait, and would wait less if the stages asked for less. The stages' threads give way by their priority; what a
/// database does for them it does as for partners, and there only resting helps.
pub type PartnersWait = Arc<dyn Fn() -> bool + Send + Sync>;

/// Runs a stage until `shutdown` becomes true (a step under way is finished) or the process must stop.
/// `news` changes whenever there may be something to do. While `partners_wait` it rests after each step.
pub async fn run<T: Send + Sync>(
    stage: &mut dyn Stage,
    mut news: watch::Receiver<T>,
    mut shutdown: watch::Receiver<bool>,
    pace: Pace,
    partners_wait: &PartnersWait,
) -> Result<(), StageError> {
    let mut failures = 0;
    while !*shutdown.borrow() {
        news.mark_unchanged();
        let begun = Instant::now();
        match stage.step().await {
            Ok(Progress::Worked) => {
                recovered(stage, &mut failures);
                rest(stage, begun.elapsed(), partners_wait, &mut shutdown).await;
            }
            Ok(Progress::Underway) => rest(stage, begun.elapsed(), partners_wait, &mut shutdown).await,
            Ok(Progress::Idle) => {
                recovered(stage, &mut failures);
                wait_for_news(stage, &mut news, &mut shutdown, pace.look_again).await;
            }
            Err(error @ StageError::Fatal(_)) => return Err(error),
            Err(error) => {
                failures += 1;
                failed(stage, &error, failures);
                let chance = getrandom::u32().unwrap_or(u32::MAX);
                let pause = pace.pause(&error, failures, chance);
                match error {
                    StageError::Fenced(_) => wait_for_leases(stage, &mut shutdown, pause).await,
                    StageError::WaitInPart(_) => wait_for_news(stage, &mut news, &mut shutdown, pause).await,
                    _ => wait(&mut shutdown, pause).await,
                }
            }
        }
    }
    Ok(())
}

fn failed(stage: &dyn Stage, failure: &StageError, failures: u32) {
    stage.count_retry();
    match failure {
        StageError::Fenced(_) => info!(stage = stage.name(), failures, "{failure}"),
        StageError::WaitLoudly(_) => error!(stage = stage.name(), failures, "{failure}"),
        // Said once, not with every try.
        _ if failures == 1 => warn!(stage = stage.name(), "{failure}"),
        _ => {}
    }
}

fn recovered(stage: &dyn Stage, failures: &mut u32) {
    if *failures > 0 {
        info!(stage = stage.name(), failures = *failures, "goes on");
        *failures = 0;
    }
}

/// After a step that took so long.
async fn rest(
    stage: &mut dyn Stage,
    took: Duration,
    partners_wait: &PartnersWait,
    shutdown: &mut watch::Receiver<bool>,
) {
    let (begun, longest) = (Instant::now(), took.saturating_mul(REST).min(LONGEST_REST));
    let mut rested = false;
    while partners_wait() && begun.elapsed() < longest && !*shutdown.borrow() {
        wait(shutdown, REST_STEP).await;
        rested = true;
    }
    if rested {
        figures::rested(stage.name(), begun.elapsed());
    }
}

async fn wait_for_news<T>(
    stage: &mut dyn Stage,
    news: &mut watch::Receiver<T>,
    shutdown: &mut watch::Receiver<bool>,
    at_most: Duration,
) {
    tokio::select! {
        // When nobody is left to tell news, only the pause ends the wait.
        Ok(()) = news.changed() => {}
        () = stage.woken() => {}
        () = wait(shutdown, at_most) => {}
    }
}

/// What is held now tells whether the lease was lost; until that is known, it is not tried again at once.
async fn wait_for_leases(stage: &mut dyn Stage, shutdown: &mut watch::Receiver<bool>, at_most: Duration) {
    tokio::select! {
        () = stage.woken() => {}
        () = wait(shutdown, at_most) => {}
    }
}

async fn wait(shutdown: &mut watch::Receiver<bool>, pause: Duration) {
    #[expect(clippy::disallowed_methods, reason = "this is the one loop that waits")]
    let pause = tokio::time::sleep(pause);
    tokio::select! {
        () = pause => {}
        Ok(_) = shutdown.wait_for(|stop| *stop) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    const PACE: Pace = Pace {
        min_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(30),
        look_again: Duration::from_hours(1),
    };

    fn nobody_waits() -> PartnersWait {
        Arc::new(|| false)
    }

    /// Plays its script; at the end it asks for shutdown.
    struct Scripted {
        script: VecDeque<Result<Progress, StageError>>,
        news: watch::Sender<u64>,
        shutdown: watch::Sender<bool>,
        steps: usize,
        retries: AtomicUsize,
    }

    #[async_trait]
    impl Stage for Scripted {
        fn name(&self) -> String {
            "scripted".to_owned()
        }

        fn count_retry(&self) {
            self.retries.fetch_add(1, Ordering::Relaxed);
        }

        async fn step(&mut self) -> Result<Progress, StageError> {
            self.steps += 1;
            let next = self.script.pop_front();
            if self.script.is_empty() {
                self.shutdown.send_replace(true);
            }
            // News that arrives while a step runs must not be slept through.
            self.news.send_modify(|number| *number += 1);
            next.unwrap_or(Ok(Progress::Idle))
        }
    }

    async fn play(script: Vec<Result<Progress, StageError>>) -> (usize, usize, Result<(), StageError>) {
        play_at(Pace { min_backoff: Duration::ZERO, max_backoff: Duration::ZERO, ..PACE }, script).await
    }

    async fn play_at(
        pace: Pace,
        script: Vec<Result<Progress, StageError>>,
    ) -> (usize, usize, Result<(), StageError>) {
        let (news, heard) = watch::channel(0);
        let (shutdown, stop) = watch::channel(false);
        let mut stage =
            Scripted { script: script.into(), news, shutdown, steps: 0, retries: AtomicUsize::new(0) };
        let ended = run(&mut stage, heard, stop, pace, &nobody_waits()).await;
        (stage.steps, stage.retries.into_inner(), ended)
    }

    #[tokio::test]
    async fn goes_on_after_failures_and_wakes_for_news() {
        let wait = || Err(StageError::Wait("the database is away".to_owned()));
        let loud = || Err(StageError::WaitLoudly("no such topic".to_owned()));
        let script =
            vec![Ok(Progress::Worked), wait(), wait(), loud(), Ok(Progress::Idle), Ok(Progress::Idle)];
        assert_eq!(play(script).await, (6, 3, Ok(())));
    }

    #[tokio::test]
    async fn news_end_the_pause_of_a_stage_that_waits_in_part() {
        let hours = Duration::from_hours(1);
        let pace = Pace { min_backoff: hours, max_backoff: hours, look_again: hours };
        let in_part = || Err(StageError::WaitInPart("one link is dead".to_owned()));
        let script = vec![in_part(), Ok(Progress::Underway), in_part(), Ok(Progress::Worked)];
        assert_eq!(play_at(pace, script).await, (4, 2, Ok(())));
    }

    /// One whose leases change whenever it waits.
    struct Leased {
        script: VecDeque<Result<Progress, StageError>>,
        shutdown: watch::Sender<bool>,
        woken: usize,
    }

    #[async_trait]
    impl Stage for Leased {
        fn name(&self) -> String {
            "leased".to_owned()
        }

        fn count_retry(&self) {}

        async fn woken(&mut self) {
            self.woken += 1;
        }

        async fn step(&mut self) -> Result<Progress, StageError> {
            let next = self.script.pop_front();
            self.shutdown.send_replace(self.script.is_empty());
            next.unwrap_or(Ok(Progress::Idle))
        }
    }

    #[tokio::test]
    async fn other_leases_wake_a_stage_without_work_and_one_that_was_fenced() {
        let hours = Duration::from_hours(1);
        let pace = Pace { min_backoff: hours, max_backoff: hours, look_again: hours };
        let fenced = || Err(StageError::Fenced("another process has its lease".to_owned()));
        let script = [Ok(Progress::Idle), fenced(), fenced(), Ok(Progress::Worked)];
        let (_news, heard) = watch::channel(0);
        let (shutdown, stop) = watch::channel(false);
        let mut stage = Leased { script: script.into(), shutdown, woken: 0 };
        assert_eq!(run(&mut stage, heard, stop, pace, &nobody_waits()).await, Ok(()));
        assert_eq!(stage.woken, 3);
    }

    /// One whose steps take so long and say when they were taken; after three it is shut down.
    struct Hasty {
        takes: Duration,
        began: Instant,
        steps: Vec<u128>,
        shutdown: watch::Sender<bool>,
    }

    #[async_trait]
    impl Stage for Hasty {
        fn name(&self) -> String {
            "hasty".to_owned()
        }

        fn count_retry(&self) {}

        async fn step(&mut self) -> Result<Progress, StageError> {
            self.steps.push(self.began.elapsed().as_millis());
            tokio::time::advance(self.takes).await;
            self.shutdown.send_replace(self.steps.len() == 3);
            Ok(Progress::Worked)
        }
    }

    /// When the steps are taken, and when the loop ends, in milliseconds; partners wait so long.
    async fn steps_at(takes: u64, wait: u64) -> (Vec<u128>, u128) {
        let (_news, heard) = watch::channel(0);
        let (shutdown, stop) = watch::channel(false);
        let (takes, wait, began) =
            (Duration::from_millis(takes), Duration::from_millis(wait), Instant::now());
        let partners_wait: PartnersWait = Arc::new(move || began.elapsed() < wait);
        let mut stage = Hasty { takes, began, steps: Vec::new(), shutdown };
        assert_eq!(run(&mut stage, heard, stop, PACE, &partners_wait).await, Ok(()));
        (stage.steps, began.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn a_stage_rests_while_partners_wait_and_for_three_seconds_at_most() {
        assert_eq!(steps_at(40, 0).await, (vec![0, 40, 80], 120), "nobody waits");
        assert_eq!(steps_at(40, 10_000).await, (vec![0, 400, 800], 840), "and a shutdown ends a rest");
        assert_eq!(steps_at(40, 200).await, (vec![0, 200, 240], 280), "until nobody waits any more");
        assert_eq!(steps_at(500, 10_000).await, (vec![0, 3_500, 7_000], 7_500));
    }

    #[tokio::test]
    async fn stops_when_the_process_must() {
        let fatal = StageError::Fatal("corrupt".to_owned());
        let script = vec![Ok(Progress::Worked), Err(fatal.clone()), Ok(Progress::Worked)];
        assert_eq!(play(script).await, (2, 0, Err(fatal)));
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_are_spread() {
        let longest: Vec<_> = (1..=4).map(|failures| PACE.backoff(failures, u32::MAX).as_millis()).collect();
        assert_eq!(longest, [100, 200, 400, 800]);
        assert_eq!(PACE.backoff(1, 0), Duration::from_millis(50));
        assert_eq!(PACE.backoff(1_000, u32::MAX), PACE.max_backoff);
    }

    #[test]
    fn who_asks_for_time_is_given_it() {
        let asks = |seconds| StageError::WaitAtLeast {
            what: "429".to_owned(),
            at_least: Duration::from_secs(seconds),
        };
        assert_eq!(PACE.pause(&asks(90), 1, u32::MAX), Duration::from_secs(90));
        assert_eq!(PACE.pause(&asks(0), 1, u32::MAX), Duration::from_millis(100));
    }
}
