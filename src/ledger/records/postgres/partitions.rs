//! Room `ledger`, PostgreSQL records: that there is a partition for every row before it is written. Remembers which times
//! are covered, so that the database is asked once a partition and not once a commit.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound::{Excluded, Unbounded},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::{
    ledger::postgres::{PostgresError, Session, cover},
    model::Timestamp,
};

/// The SQLSTATE of a row that no partition takes.
const NO_PARTITION: &str = "23514";

/// Which times are covered.
#[derive(Debug)]
pub(super) struct Partitions {
    span: Duration,
    /// For each table, by where a partition ends: from when on it is known to be there.
    known: Mutex<HashMap<&'static str, BTreeMap<Timestamp, Timestamp>>>,
}

impl Partitions {
    /// Of `span` each, nothing known.
    pub(super) fn new(span: Duration) -> Self {
        Self { span, known: Mutex::default() }
    }

    /// Makes sure that rows of these times can be written to these tables.
    pub(super) async fn cover(
        &self,
        session: &Session,
        tables: &[&'static str],
        times: impl Iterator<Item = Timestamp> + Clone,
    ) -> Result<(), PostgresError> {
        for table in tables {
            for at in times.clone() {
                if !self.covers(table, at) {
                    let covering = async { cover(session.client()?, table, at, self.span).await };
                    let end = session.bounded(covering).await?;
                    self.learn(table, at, end);
                }
            }
        }
        Ok(())
    }

    fn covers(&self, table: &str, at: Timestamp) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let next = known.get(table).and_then(|table| table.range((Excluded(at), Unbounded)).next());
        next.is_some_and(|(_, from)| *from <= at)
    }

    fn learn(&self, table: &'static str, at: Timestamp, end: Timestamp) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let from = known.entry(table).or_default().entry(end).or_insert(at);
        *from = at.min(*from);
    }

    /// What a failed write means. When a partition was missing after all (somebody dropped it, or the database is an older
    /// copy), that says nothing of the data: what was known is forgotten, and the next attempt makes it.
    pub(super) fn after(&self, error: PostgresError) -> PostgresError {
        if error.state() != Some(NO_PARTITION) {
            return error;
        }
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
        PostgresError::passing("a partition is missing")
    }
}
