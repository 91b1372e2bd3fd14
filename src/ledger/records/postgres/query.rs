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

    /// The values, in order.
    pub(super) fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.values.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect()
    }
}
