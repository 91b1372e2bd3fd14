//! Room `app`: threads of their own for what comes after an answer (the stages, retention, the scrub): a runtime apart from
//! the one that answers partners. May not answer anybody.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::pipeline::give_way;

/// A runtime whose threads, those of its blocking calls too (a commit of the records), get less of a busy processor than
/// those that answer partners. Dropping it stops what still runs there, and waits for nothing.
pub(super) struct StageThreads {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl StageThreads {
    pub(super) fn start() -> io::Result<Self> {
        let mut threads = Builder::new_multi_thread();
        threads.enable_all().thread_name("stages").on_thread_start(give_way);
        let runtime = threads.build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// Where to spawn.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for StageThreads {
    fn drop(&mut self) {
        // A runtime may not be waited for inside another, where a gateway is dropped.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn niceness() -> i32 {
        rustix::process::getpriority_process(Some(rustix::thread::gettid())).expect("a priority")
    }

    #[tokio::test]
    async fn what_stages_do_gives_way_also_where_it_blocks() {
        let here = niceness();
        let threads = StageThreads::start().expect("threads");
        let theirs =
            async { (niceness(), tokio::task::spawn_blocking(niceness).await.expect("not panicked")) };
        let (works, blocks) = threads.handle().spawn(theirs).await.expect("not panicked");
        assert!(works > here && blocks > here, "{works} and {blocks} beside {here}");
    }

    #[tokio::test]
    async fn what_still_runs_there_ends_with_it() {
        let threads = StageThreads::start().expect("threads");
        let stuck = threads.handle().spawn(std::future::pending::<()>());
        drop(threads);
        assert!(stuck.await.expect_err("cannot have finished").is_cancelled());
    }
}
