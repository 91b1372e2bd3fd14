//! Room `app`: what `/readyz` says: whether this process can keep a delivery, and what a person should know besides.

use std::sync::Arc;

use tokio::sync::watch;

use super::free_bytes;
use crate::{
    config::LedgerConfig,
    console::{AskReadiness, Readiness},
    partners::{DeskState, Registry},
};

/// What holds for a partner whose folder is gone: it may well be meant, so it is no problem.
pub(super) const REMOVED: &str = "its address answers 404; its last desk works what is waiting";

/// What readiness is read off.
pub(super) struct Signs {
    pub(super) registry: Arc<Registry>,
    pub(super) fatal: watch::Receiver<Option<String>>,
    pub(super) stopping: watch::Receiver<bool>,
    /// Why PostgreSQL cannot be asked, while it cannot.
    pub(super) reachable: watch::Receiver<Option<String>>,
    /// The settings of the intake log's disk, where it is on one of ours.
    pub(super) disk: Option<LedgerConfig>,
}

impl Signs {
    /// Answers for a running gateway.
    pub(super) fn asked(self) -> AskReadiness {
        Arc::new(move || {
            let reasons = self.against_keeping();
            Readiness { ready: reasons.is_empty(), reasons, ..partners(&self.registry) }
        })
    }

    /// Why this process cannot keep a delivery.
    fn against_keeping(&self) -> Vec<String> {
        let mut reasons: Vec<String> = self.fatal.borrow().iter().cloned().collect();
        reasons.extend(self.reachable.borrow().iter().cloned());
        if *self.stopping.borrow() {
            reasons.push("the process is shutting down".to_owned());
        }
        // A disk that cannot say how full it is will say so when it is written to.
        let low =
            |disk: &LedgerConfig| free_bytes(&disk.data_dir).is_ok_and(|free| free < disk.min_free_bytes);
        if self.disk.as_ref().is_some_and(low) {
            reasons.push("the disk of the intake log has less than ledger.min_free_bytes free".to_owned());
        }
        reasons
    }
}

fn partners(registry: &Registry) -> Readiness {
    let snapshot = registry.snapshot();
    let mut readiness = Readiness::default();
    for endpoint in snapshot.endpoints.values() {
        if let Some(why) = endpoint.not_configured() {
            readiness.not_configured.push(format!("{}: {why}", endpoint.name));
        }
    }
    readiness.not_configured.sort();
    for (partner, state) in &snapshot.desks {
        let (what, problems) = match state {
            DeskState::Ready(_) => continue,
            DeskState::LastGood { .. } if !snapshot.doors.contains_key(partner) => {
                readiness.removed.push(format!("{partner}: {REMOVED}"));
                continue;
            }
            DeskState::LastGood { desk, problems } => {
                (format!("revision {} goes on", desk.revision), problems)
            }
            DeskState::Broken { problems } => ("deliveries wait".to_owned(), problems),
        };
        let first = problems.first().map(|problem| format!(": {}: {}", problem.place(), problem.message));
        readiness.desks.push(format!("{partner}: {what}{}", first.unwrap_or_default()));
    }
    readiness
}
