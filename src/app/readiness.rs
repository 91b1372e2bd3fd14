//! Room `app`: what `/readyz` says: whether this process can keep a delivery, and what a person should know besides.

use std::sync::Arc;

use tokio::sync::watch;

use crate::{
    console::{AskReadiness, Readiness},
    partners::{DeskState, Registry},
};

/// Answers for a running gateway.
pub(super) fn ask(
    registry: Arc<Registry>,
    fatal: watch::Receiver<Option<String>>,
    stopping: watch::Receiver<bool>,
) -> AskReadiness {
    Arc::new(move || {
        let mut reasons: Vec<String> = fatal.borrow().iter().cloned().collect();
        if *stopping.borrow() {
            reasons.push("the process is shutting down".to_owned());
        }
        Readiness { ready: reasons.is_empty(), reasons, ..partners(&registry) }
    })
}

fn partners(registry: &Registry) -> Readiness {
    let snapshot = registry.snapshot();
    let mut readiness = Readiness::default();
    for endpoint in snapshot.endpoints.values() {
        if let Err(why) = &endpoint.keys {
            readiness.not_configured.push(format!("{}: {why}", endpoint.name));
        }
    }
    readiness.not_configured.sort();
    for (partner, state) in &snapshot.desks {
        let (what, problems) = match state {
            DeskState::Ready(_) => continue,
            DeskState::LastGood { desk, problems } => {
                (format!("revision {} goes on", desk.revision), problems)
            }
            DeskState::Broken { problems } => ("deliveries wait".to_owned(), problems),
        };
        let first = problems.first().map_or("the folder is gone", |problem| problem.message.as_str());
        readiness.desks.push(format!("{partner}: {what}: {first}"));
    }
    readiness
}
