//! Room `pipeline`: a stage that rests between its steps while partners wait for what both use. Its threads give way by their
//! priority; what a database does for it, it does as for partners, and there only asking for less helps. May not know
//! what partners wait for, and waits for nothing itself (`retry` does).

use std::sync::Arc;

use async_trait::async_trait;

use super::{Progress, Stage, StageError};

/// Whether partners wait, and would wait less if the stages asked for less.
pub type PartnersWait = Arc<dyn Fn() -> bool + Send + Sync>;

/// A stage that rests while partners wait.
pub struct Resting<S> {
    stage: S,
    partners_wait: PartnersWait,
}

impl<S: Stage> Resting<S> {
    /// The same stage, which asks after each step whether partners wait.
    pub fn while_partners_wait(stage: S, partners_wait: PartnersWait) -> Self {
        Self { stage, partners_wait }
    }
}

#[async_trait]
impl<S: Stage> Stage for Resting<S> {
    fn name(&self) -> String {
        self.stage.name()
    }

    fn count_retry(&self) {
        self.stage.count_retry();
    }

    fn must_rest(&self) -> bool {
        (self.partners_wait)()
    }

    async fn woken(&mut self) {
        self.stage.woken().await;
    }

    async fn step(&mut self) -> Result<Progress, StageError> {
        self.stage.step().await
    }
}
