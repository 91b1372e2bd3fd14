//! Room `ledger`, PostgreSQL records: SQL that depends on what is asked, and its values.

use tokio_postgres::types::ToSql;

type Value = Box<dyn ToSql + Sync + Send>;

/// A statement being put together.
#[derive(Default)]
pub(super) struct Query {
    /// The statement.
    pub(super) sql: String,
    values: Vec<Value>,
}

impl Query {
    /// Adds a value; returns what stands for it in the statement.
    pub(super) fn bind(&mut self, value: impl ToSql + Sync + Send + 'static) -> String {
        self.values.push(Box::new(value));
        format!("${}", self.values.len())
    }

    /// As [`bind`](Self::bind), but hidden from the planner. It would make a plan for each value that it sees, as long as that
    /// looks cheaper than one for all, and for a short question that takes longer than the answer.
    pub(super) fn bind_unseen(&mut self, value: i64) -> String {
        format!("(SELECT {}::bigint)", self.bind(value))
    }

    /// The values, in order.
    pub(super) fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.values.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect()
    }
}
