//! Room `pipeline`: the threads that parse and translate, apart from those that serve requests. Their stacks are large,
//! because a mapping may recurse deeper than any bound on its input suggests.

use tokio::sync::oneshot;

use super::{StageError, failure::Failure};
use crate::translate::STACK_BYTES;

/// The translation threads.
#[derive(Debug)]
pub(super) struct Threads(rayon::ThreadPool);

/// How much less of a busy processor such threads get than those that answer partners (`nice`): what a stage does can come
/// later, an answer cannot.
const NICE: i32 = 10;

/// Lowers the priority of the calling thread: the stages work on such ones. Where that is not allowed it works like any other.
pub fn give_way() {
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
}

impl Threads {
    /// Starts `count` threads; 0: one for each core.
    pub(super) fn start(count: usize) -> Result<Self, StageError> {
        rayon::ThreadPoolBuilder::new()
            .num_threads(count)
            .stack_size(STACK_BYTES)
            .thread_name(|number| format!("translate-{number}"))
            .start_handler(|_| give_way())
            // What is not contained ends its batch, not the process: `run` then reports the threads as gone.
            .panic_handler(|_| ())
            .build()
            .map(Self)
            .map_err(|error| Failure::Threads.ends_step(format!("no translation threads: {error}")))
    }

    /// Runs `work` there and waits for it without blocking the runtime.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StageError> {
        let (done, result) = oneshot::channel();
        // Nobody listens any more when the process shuts down in the middle of a step.
        self.0.spawn(move || drop(done.send(work())));
        result.await.map_err(|_| Failure::Threads.ends_step("the work of a batch panicked outside its guard"))
    }
}
