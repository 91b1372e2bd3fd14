//! Room `ledger`: group commit. Requests that arrive while one fsync runs share the next: one writer on a thread of its
//! own. Under load it lets a moment pass between two commits, so that more requests share one; a request that comes
//! alone never waits for others. The same in front of every intake log.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use tokio::{
    runtime::Builder,
    sync::{mpsc, oneshot, watch},
};

use super::{AppendError, Appended, EncodedEntry, IntakeLog};
use crate::{
    clock::Clock,
    model::{EntryNumber, NewEntry},
    telemetry::metrics::{COMMIT_BATCH_ENTRIES, COMMIT_QUEUE_ENTRIES, COMMIT_SECONDS, LOG_BYTES},
};

/// Bounds of the queue and of a batch.
#[derive(Clone, Copy, Debug)]
pub struct GroupCommitLimits {
    /// At most so many entries share one fsync.
    pub batch_entries: usize,
    /// At most about so many bytes share one fsync; a larger entry goes alone.
    pub batch_bytes: usize,
    /// At most so many entries wait for the writer.
    pub queue_entries: usize,
    /// A commit begins no sooner than this after the one before it began, unless its batch is full.
    pub interval: Duration,
}

/// So many entries share a commit when partners queue for it.
const CROWD: usize = 8;
/// For so long a commit says something of now.
const LATELY: Duration = Duration::from_millis(50);

/// Whether partners queue for the log.
#[derive(Clone, Debug)]
pub struct Crowd(watch::Receiver<Option<Instant>>);

impl Crowd {
    /// Whether they do: one of the last commits was shared by many.
    pub fn is_there(&self) -> bool {
        self.0.borrow().is_some_and(|last| last.elapsed() < LATELY)
    }
}

/// Sends entries to the one writer. Clones send to the same one; it also stops when the last of them is dropped.
#[derive(Clone, Debug)]
pub struct GroupCommit {
    queue: mpsc::Sender<Message>,
    durable: watch::Receiver<EntryNumber>,
    fatal: watch::Receiver<Option<String>>,
    crowd: watch::Receiver<Option<Instant>>,
}

type Answer = oneshot::Sender<Result<Appended, AppendError>>;

#[derive(Debug)]
enum Message {
    Append(EncodedEntry, Answer),
    Close,
}

impl GroupCommit {
    /// Starts the writer on a thread of its own.
    pub fn start(log: Box<dyn IntakeLog>, clock: Arc<dyn Clock>, limits: GroupCommitLimits) -> Self {
        let (queue, receiver) = mpsc::channel(limits.queue_entries.max(1));
        let (durable_sender, durable) = watch::channel(EntryNumber(0));
        let (fatal_sender, fatal) = watch::channel(None);
        let (crowd_sender, crowd) = watch::channel(None);
        let not_started = fatal_sender.clone();
        let ends =
            WriterEnds { queue: receiver, durable: durable_sender, fatal: fatal_sender, crowd: crowd_sender };
        let writer = Writer::new(log, clock, limits, ends);
        // A runtime of its own too: an answer of the log's server wakes the writer, and nobody else before it.
        let started = Builder::new_current_thread().enable_all().build().and_then(|runtime| {
            let thread = std::thread::Builder::new().name("intake-log".to_owned());
            thread.spawn(move || runtime.block_on(writer.run()))
        });
        if let Err(error) = started {
            not_started
                .send_replace(Some(format!("the thread of the intake log cannot be started: {error}")));
        }
        Self { queue, durable, fatal, crowd }
    }

    /// Queues one entry and waits until it is durable. [`Appended::first`] is its number. Dropping the future does not
    /// take the entry back: it is kept whole or not at all. [`AppendError::Busy`] at once when the queue is full.
    pub async fn append(&self, entry: NewEntry) -> Result<Appended, AppendError> {
        let (answer, answered) = oneshot::channel();
        let message = Message::Append(EncodedEntry::try_from(entry)?, answer);
        match self.queue.try_send(message) {
            Ok(()) => answered.await.unwrap_or_else(|_| Err(self.gone())),
            Err(mpsc::error::TrySendError::Full(_)) => Err(AppendError::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(self.gone()),
        }
    }

    /// The highest number this writer made durable: wakes those who read the log. 0 until its first batch, so what is
    /// older is to be read without waiting for it.
    pub fn durable(&self) -> watch::Receiver<EntryNumber> {
        self.durable.clone()
    }

    /// Changes when the writer stopped because of [`AppendError::Unknown`]; the app then ends the process.
    pub fn fatal(&self) -> watch::Receiver<Option<String>> {
        self.fatal.clone()
    }

    /// Whether partners queue for the log.
    pub fn crowd(&self) -> Crowd {
        Crowd(self.crowd.clone())
    }

    /// Finishes what is queued and stops the writer. Whatever comes later is refused.
    pub async fn close(&self) {
        // Refused when the writer is gone already, which is what is wanted.
        let _ = self.queue.send(Message::Close).await;
        let mut durable = self.durable.clone();
        while durable.changed().await.is_ok() {}
    }

    fn gone(&self) -> AppendError {
        match &*self.fatal.borrow() {
            Some(reason) => AppendError::Unknown(reason.clone()),
            None => AppendError::Closed,
        }
    }
}

/// Tells everybody that the log's state is unknown; also when the writer's thread ends by a panic.
struct Fatal(watch::Sender<Option<String>>);

impl Drop for Fatal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.send_replace(Some("the writer of the intake log panicked".to_owned()));
        }
    }
}

/// The writer's ends of the channels.
struct WriterEnds {
    queue: mpsc::Receiver<Message>,
    durable: watch::Sender<EntryNumber>,
    fatal: watch::Sender<Option<String>>,
    crowd: watch::Sender<Option<Instant>>,
}

struct Metrics {
    batch_entries: Histogram,
    commit_seconds: Histogram,
    queue_entries: Gauge,
    intake_bytes: Counter,
}

impl Metrics {
    fn register() -> Self {
        Self {
            batch_entries: histogram!(COMMIT_BATCH_ENTRIES),
            commit_seconds: histogram!(COMMIT_SECONDS),
            queue_entries: gauge!(COMMIT_QUEUE_ENTRIES),
            intake_bytes: counter!(LOG_BYTES),
        }
    }
}

/// The writer's side of the queue. The order of the fields is the order in which they go when it ends.
struct Writer {
    /// First, so that whoever finds a channel closed can ask why.
    fatal: Fatal,
    queue: mpsc::Receiver<Message>,
    inbox: Vec<Message>,
    waiting: VecDeque<(EncodedEntry, Answer)>,
    entries: Vec<EncodedEntry>,
    answers: Vec<Answer>,
    log: Box<dyn IntakeLog>,
    clock: Arc<dyn Clock>,
    limits: GroupCommitLimits,
    /// When the last commit began.
    begun: Option<Instant>,
    /// Told when the last one began that many shared.
    crowd: watch::Sender<Option<Instant>>,
    /// The last append failed, and that was told.
    failing: bool,
    metrics: Metrics,
    /// Last, so that [`GroupCommit::close`] returns when the log is closed.
    durable: watch::Sender<EntryNumber>,
}

impl Writer {
    fn new(
        log: Box<dyn IntakeLog>,
        clock: Arc<dyn Clock>,
        limits: GroupCommitLimits,
        ends: WriterEnds,
    ) -> Self {
        Self {
            fatal: Fatal(ends.fatal),
            queue: ends.queue,
            inbox: Vec::new(),
            waiting: VecDeque::new(),
            entries: Vec::new(),
            answers: Vec::new(),
            log,
            clock,
            limits,
            begun: None,
            crowd: ends.crowd,
            failing: false,
            metrics: Metrics::register(),
            durable: ends.durable,
        }
    }

    /// One append for whatever waits, until the queue is closed and empty.
    async fn run(mut self) {
        while self.gather().await {
            self.fill_batch();
            let committed = self.commit().await;
            if let Err(AppendError::Unknown(reason)) = committed {
                tracing::error!(%reason, "the intake log is in an unknown state; nothing more is appended");
                self.fatal.0.send_replace(Some(reason.clone()));
                self.answer(&Err(AppendError::Unknown(reason)));
                return;
            }
            self.tell(committed.as_ref().err());
            self.answer(&committed);
        }
    }

    /// One line when appending begins to fail, and one when it succeeds again.
    fn tell(&mut self, error: Option<&AppendError>) {
        if self.failing == error.is_some() {
            return;
        }
        self.failing = error.is_some();
        if let Some(error) = error {
            tracing::error!(%error, "deliveries are not kept, and answered 503");
        } else {
            tracing::info!("deliveries are kept again");
        }
    }

    /// Waits until there is something to append, and takes what else is there; `false` when nothing will come.
    async fn gather(&mut self) -> bool {
        let most = self.limits.batch_entries.max(1);
        while self.waiting.is_empty() {
            if self.queue.recv_many(&mut self.inbox, most).await == 0 {
                return false;
            }
            self.sort_inbox();
        }
        self.take_waiting(most);
        if self.waiting.len() < most {
            self.let_a_moment_pass();
            self.take_waiting(most);
        }
        true
    }

    fn take_waiting(&mut self, most: usize) {
        while self.waiting.len() < most {
            let Ok(message) = self.queue.try_recv() else { break };
            self.inbox.push(message);
            self.sort_inbox();
        }
    }

    /// Waits out the rest of the interval since the last commit began: each fsync costs the same for one entry as for many.
    #[expect(
        clippy::disallowed_methods,
        reason = "a pause of the writer's own thread, finer than the runtime's timer"
    )]
    fn let_a_moment_pass(&self) {
        let rest = self.begun.and_then(|begun| self.limits.interval.checked_sub(begun.elapsed()));
        if let Some(rest) = rest.filter(|_| !self.queue.is_closed()) {
            std::thread::sleep(rest);
        }
    }

    fn sort_inbox(&mut self) {
        for message in self.inbox.drain(..) {
            match message {
                Message::Append(entry, answer) => self.waiting.push_back((entry, answer)),
                Message::Close => self.queue.close(),
            }
        }
    }

    fn fill_batch(&mut self) {
        let mut bytes = 0;
        while let Some((entry, answer)) = self.waiting.pop_front() {
            bytes += entry.size();
            if bytes > self.limits.batch_bytes && !self.entries.is_empty() {
                self.waiting.push_front((entry, answer));
                break;
            }
            self.entries.push(entry);
            self.answers.push(answer);
        }
    }

    async fn commit(&mut self) -> Result<Appended, AppendError> {
        let begun = Instant::now();
        self.begun = Some(begun);
        if self.entries.len() >= CROWD {
            self.crowd.send_replace(Some(begun));
        }
        let appended = self.log.append(self.clock.now(), &self.entries).await?;
        let bytes: usize = self.entries.iter().map(|entry| entry.body().len()).sum();
        self.metrics.commit_seconds.record(begun.elapsed());
        self.metrics.batch_entries.record(u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
        self.metrics.queue_entries.set(u32::try_from(self.queue.len()).unwrap_or(u32::MAX));
        self.metrics.intake_bytes.increment(bytes as u64);
        Ok(appended)
    }

    /// The requests first: they wait for it; readers of the log only follow.
    fn answer(&mut self, committed: &Result<Appended, AppendError>) {
        for (place, answer) in self.answers.drain(..).enumerate() {
            // A request that is gone does not take its entry back.
            let _ = answer.send(committed.clone().map(|batch| batch.entry(place as u64)));
        }
        if let Ok(batch) = committed {
            self.durable.send_replace(EntryNumber(batch.first.0 + self.entries.len() as u64 - 1));
        }
        // Not at the next batch, which may be long in coming: the bodies count as held in memory until they are gone.
        self.entries.clear();
    }
}

impl Appended {
    /// Where the entry stands that was `place`-th in the batch, from 0.
    fn entry(self, place: u64) -> Self {
        Self { first: EntryNumber(self.first.0 + place), ..self }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc as blocking};

    use async_trait::async_trait;
    use bytes::Bytes;
    use tokio::task::JoinHandle;
    use uuid::Uuid;

    use super::*;
    use crate::{
        clock::ManualClock,
        model::{DeliveryId, EndpointName, EntryMeta, ReplayMeta, Timestamp},
    };

    /// A log that keeps nothing but the sizes of its batches, and waits to be told how each append ends.
    struct Scripted {
        next: u64,
        batches: Arc<Mutex<Vec<Vec<usize>>>>,
        outcomes: Mutex<blocking::Receiver<Option<AppendError>>>,
    }

    #[async_trait]
    impl IntakeLog for Scripted {
        async fn append(
            &mut self,
            now: Timestamp,
            entries: &[EncodedEntry],
        ) -> Result<Appended, AppendError> {
            let sizes = entries.iter().map(|entry| entry.body().len()).collect();
            self.batches.lock().expect("never poisoned").push(sizes);
            let outcome = self.outcomes.lock().expect("never poisoned").recv().expect("the script goes on");
            if let Some(error) = outcome {
                return Err(error);
            }
            let first = EntryNumber(self.next);
            self.next += entries.len() as u64;
            Ok(Appended { first, received_at: now })
        }
    }

    struct Stage {
        commit: GroupCommit,
        batches: Arc<Mutex<Vec<Vec<usize>>>>,
        outcomes: blocking::Sender<Option<AppendError>>,
    }

    impl Stage {
        fn with(batch_bytes: usize, queue_entries: usize) -> Self {
            let interval = Duration::ZERO;
            Self::within(GroupCommitLimits { batch_entries: 4, batch_bytes, queue_entries, interval })
        }

        fn within(limits: GroupCommitLimits) -> Self {
            let batches = Arc::<Mutex<Vec<Vec<usize>>>>::default();
            let (outcomes, script) = blocking::channel();
            let log = Scripted { next: 1, batches: Arc::clone(&batches), outcomes: Mutex::new(script) };
            let clock = Arc::new(ManualClock::at(Timestamp::from_micros(7)));
            Self { commit: GroupCommit::start(Box::new(log), clock, limits), batches, outcomes }
        }

        fn append(&self, size: usize) -> JoinHandle<Result<Appended, AppendError>> {
            let commit = self.commit.clone();
            tokio::spawn(async move { commit.append(entry(size)).await })
        }

        /// Until the writer appends its batch of this number, from 1: what is queued from then on is for the next.
        async fn has_begun(&self, batch: usize) {
            while self.batches().len() < batch {
                tokio::task::yield_now().await;
            }
        }

        fn batches(&self) -> Vec<Vec<usize>> {
            self.batches.lock().expect("never poisoned").clone()
        }
    }

    fn entry(size: usize) -> NewEntry {
        let meta = EntryMeta::Replay(ReplayMeta {
            id: DeliveryId(Uuid::nil()),
            endpoint: EndpointName::new("acme", "default"),
            events: vec![],
            reissue: false,
            brokers: vec![],
            by: "test".to_owned(),
        });
        NewEntry { meta, body: Bytes::from(vec![0; size]) }
    }

    #[tokio::test]
    async fn what_arrives_during_an_fsync_shares_the_next() {
        let stage = Stage::with(1_000_000, 100);
        let first = stage.append(1);
        stage.has_begun(1).await;
        let later: Vec<_> = (2..=7).map(|size| stage.append(size)).collect();
        tokio::task::yield_now().await;
        for _ in 0..3 {
            stage.outcomes.send(None).expect("listens");
        }
        assert_eq!(first.await.expect("ran").expect("kept").first, EntryNumber(1));
        for (number, append) in (2..).zip(later) {
            let appended = append.await.expect("ran").expect("kept");
            assert_eq!((appended.first, appended.received_at.micros()), (EntryNumber(number), 7));
        }
        assert_eq!(stage.batches(), [vec![1], vec![2, 3, 4, 5], vec![6, 7]], "at most four share one");
        stage.commit.durable().wait_for(|durable| *durable == EntryNumber(7)).await.expect("told");
    }

    /// A log somewhere else, which answers a moment later.
    struct Remote(blocking::Sender<()>);

    #[async_trait]
    impl IntakeLog for Remote {
        async fn append(&mut self, now: Timestamp, _: &[EncodedEntry]) -> Result<Appended, AppendError> {
            let nothing = std::future::pending::<()>();
            let _ = tokio::time::timeout(Duration::from_millis(1), nothing).await;
            self.0.send(()).expect("the test goes on");
            Ok(Appended { first: EntryNumber(1), received_at: now })
        }
    }

    #[tokio::test]
    async fn the_writer_hears_of_its_commit_while_requests_keep_every_other_thread() {
        let (answered, answers) = blocking::channel();
        let clock = Arc::new(ManualClock::at(Timestamp::from_micros(7)));
        let limits = GroupCommitLimits {
            batch_entries: 4,
            batch_bytes: 1_000,
            queue_entries: 100,
            interval: Duration::ZERO,
        };
        let commit = GroupCommit::start(Box::new(Remote(answered)), clock, limits);
        let append = tokio::spawn(async move { commit.append(entry(1)).await });
        tokio::task::yield_now().await;
        // From here on the only thread of this runtime waits for nothing else.
        answers.recv_timeout(Duration::from_secs(30)).expect("the writer goes on");
        append.await.expect("ran").expect("kept");
    }

    #[tokio::test]
    async fn what_arrives_soon_after_a_commit_waits_for_company() {
        let interval = Duration::from_secs(1);
        let limits = GroupCommitLimits { batch_entries: 4, batch_bytes: 1_000, queue_entries: 100, interval };
        let stage = Stage::within(limits);
        for _ in 0..2 {
            stage.outcomes.send(None).expect("listens");
        }
        stage.append(1).await.expect("ran").expect("the first waits for nobody");
        let early = stage.append(2);
        tokio::task::yield_now().await;
        stage.append(3).await.expect("ran").expect("kept");
        early.await.expect("ran").expect("kept");
        assert_eq!(stage.batches(), [vec![1], vec![2, 3]]);
    }

    #[tokio::test]
    async fn partners_queue_while_many_share_a_commit() {
        let limits = GroupCommitLimits {
            batch_entries: 100,
            batch_bytes: 100_000,
            queue_entries: 100,
            interval: Duration::ZERO,
        };
        let stage = Stage::within(limits);
        let crowd = stage.commit.crowd();
        let first = stage.append(1);
        stage.has_begun(1).await;
        assert_eq!(*crowd.0.borrow(), None, "one came alone");
        let later: Vec<_> = (0..CROWD).map(|_| stage.append(1)).collect();
        while stage.commit.queue.max_capacity() - stage.commit.queue.capacity() < CROWD {
            tokio::task::yield_now().await;
        }
        stage.outcomes.send(None).expect("listens");
        stage.has_begun(2).await;
        assert!(crowd.0.borrow().is_some(), "many shared one");
        stage.outcomes.send(None).expect("listens");
        for append in later.into_iter().chain([first]) {
            append.await.expect("ran").expect("kept");
        }
    }

    #[tokio::test]
    async fn a_batch_is_bounded_in_bytes_and_a_large_entry_goes_alone() {
        let stage = Stage::with(10_000, 100);
        let first = stage.append(1);
        stage.has_begun(1).await;
        let later: Vec<_> = [6_000, 3_000, 3_000, 50_000].map(|size| stage.append(size)).into();
        tokio::task::yield_now().await;
        for _ in 0..4 {
            stage.outcomes.send(None).expect("listens");
        }
        first.await.expect("ran").expect("kept");
        for append in later {
            append.await.expect("ran").expect("kept");
        }
        assert_eq!(stage.batches(), [vec![1], vec![6_000, 3_000], vec![3_000], vec![50_000]]);
    }

    #[tokio::test]
    async fn a_full_queue_answers_at_once() {
        let stage = Stage::with(1_000_000, 2);
        let first = stage.append(1);
        stage.has_begun(1).await;
        let waiting = [stage.append(2), stage.append(3)];
        while stage.commit.queue.capacity() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(stage.commit.append(entry(4)).await, Err(AppendError::Busy)));
        // One for the first batch, one or two for those who waited: however the writer took them.
        for _ in 0..3 {
            stage.outcomes.send(None).expect("listens");
        }
        for append in waiting.into_iter().chain([first]) {
            append.await.expect("ran").expect("kept");
        }
    }

    #[tokio::test]
    async fn a_failed_write_fails_its_batch_alone() {
        let stage = Stage::with(1_000_000, 10);
        stage.outcomes.send(Some(AppendError::NotWritten("no space".to_owned()))).expect("listens");
        assert!(matches!(stage.commit.append(entry(1)).await, Err(AppendError::NotWritten(_))));
        stage.outcomes.send(None).expect("listens");
        assert_eq!(stage.commit.append(entry(1)).await.expect("kept").first, EntryNumber(1));
        assert_eq!(*stage.commit.fatal().borrow(), None);
    }

    #[tokio::test]
    async fn an_unknown_state_is_the_end() {
        let stage = Stage::with(1_000_000, 10);
        let first = stage.append(1);
        stage.has_begun(1).await;
        let queued = stage.append(2);
        tokio::task::yield_now().await;
        stage.outcomes.send(Some(AppendError::Unknown("EIO".to_owned()))).expect("listens");
        for append in [first, queued] {
            assert!(matches!(append.await.expect("ran"), Err(AppendError::Unknown(_))));
        }
        let mut fatal = stage.commit.fatal();
        let reason = fatal.wait_for(Option::is_some).await.expect("told").clone();
        assert_eq!(reason.as_deref(), Some("EIO"));
        assert!(matches!(stage.commit.append(entry(3)).await, Err(AppendError::Unknown(_))));
        stage.commit.close().await;
    }

    #[tokio::test]
    async fn a_panic_of_the_writer_is_the_end_too() {
        let stage = Stage::with(1_000_000, 10);
        let Stage { commit, outcomes, .. } = stage;
        drop(outcomes);
        assert!(matches!(commit.append(entry(1)).await, Err(AppendError::Unknown(_))));
        commit.fatal().wait_for(Option::is_some).await.expect("told");
    }

    #[tokio::test]
    async fn a_request_that_goes_away_does_not_take_its_entry_back() {
        let stage = Stage::with(1_000_000, 10);
        let gone = stage.append(1);
        stage.has_begun(1).await;
        gone.abort();
        stage.outcomes.send(None).expect("listens");
        stage.commit.durable().wait_for(|durable| *durable == EntryNumber(1)).await.expect("told");
    }

    #[tokio::test]
    async fn closing_finishes_what_is_queued() {
        let stage = Stage::with(1_000_000, 10);
        let first = stage.append(1);
        stage.has_begun(1).await;
        let queued: Vec<_> = (2..=6).map(|size| stage.append(size)).collect();
        tokio::task::yield_now().await;
        let closing = tokio::spawn({
            let commit = stage.commit.clone();
            async move { commit.close().await }
        });
        tokio::task::yield_now().await;
        for _ in 0..3 {
            stage.outcomes.send(None).expect("listens");
        }
        closing.await.expect("closed");
        for append in queued.into_iter().chain([first]) {
            append.await.expect("ran").expect("kept");
        }
        assert!(matches!(stage.commit.append(entry(1)).await, Err(AppendError::Closed)));
    }
}
