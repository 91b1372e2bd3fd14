//! Room `ledger`, PostgreSQL: which server answers. What a server holds goes back only where one is started: a standby that is
//! promoted, a backup that is put back, a copy; or where it recovers from a crash, because what the intake log shows may not
//! be on the disk yet. So the moment at which it was started, and the one at which it last lost its memory, name a history
//! that only grows. Its timeline does not: two backups are promoted to the same one, and one that is only put back keeps its
//! own. Nor does anything that the ledger holds, because that goes back with it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_postgres::SimpleQueryMessage;

use crate::model::Tenure;

/// Asks for the present run. Everybody may, and every server can tell. One that recovers from a crash of a session is not
/// started anew, but its statistics begin again; a person who resets them begins a tenure, too, which costs a moment.
pub(super) const RUN: &str = "SELECT concat(extract(epoch FROM pg_postmaster_start_time()), ' ', \
     extract(epoch FROM stats_reset)) FROM pg_stat_bgwriter";

/// One run of one server: when it was started and when it last recovered, to the microsecond.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Run(String);

impl Run {
    /// From the answer to [`RUN`], asked last.
    pub(super) fn told(answers: &[SimpleQueryMessage]) -> Self {
        let started = answers.iter().rev().find_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        Self(started.unwrap_or_default().to_owned())
    }
}

/// The servers that a process meets.
#[derive(Debug, Default)]
pub(super) struct Tenures(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Who answered the latest connection; nobody yet, before the first.
    run: Option<Run>,
    now: Tenure,
}

impl Tenures {
    /// The present one: that of the latest connection.
    pub(super) fn now(&self) -> Tenure {
        self.known().now
    }

    /// Takes note of who answered a new connection, and says under which tenure that is. One who is met again after somebody
    /// else begins a new one.
    pub(super) fn met(&self, run: Run) -> Tenure {
        let mut known = self.known();
        let before = known.run.replace(run);
        if before.is_some() && before != known.run {
            known.now.0 += 1;
            tracing::warn!(
                "another PostgreSQL took over, or it was started anew: what was read from the one before is read again"
            );
        }
        known.now
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenure_lasts_until_somebody_else_answers() {
        let tenures = Tenures::default();
        let run = |started: &str| Run(started.to_owned());
        let met = ["a", "a", "b", "b", "a"].map(|started| tenures.met(run(started)).0);
        assert_eq!(met, [0, 0, 1, 1, 2], "who comes back may have gone back");
        assert_eq!(tenures.now(), Tenure(2));
    }
}
