//! Room `ledger`, PostgreSQL: what its answers mean to the stages. The one place that knows SQLSTATEs. What it says names
//! no value: the server quotes values of refused data, and those are a partner's.

use std::error::Error as _;

use deadpool_postgres::PoolError;
use tokio_postgres::{Row, error::DbError, types::FromSql};

use crate::ledger::{LogError, RecordsError};

/// What our own SQL raises when a commit is behind the records: [`RecordsError::Stale`].
pub const STALE: &str = "DO001";
/// What our own SQL raises when it refuses data: [`RecordsError::Refused`]. Its message must name no value of a partner.
pub const REFUSED: &str = "DO002";

/// No message is longer, in characters.
const MAX_TEXT: usize = 300;

/// What a failure means to whoever asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// The outside world: wait.
    Unavailable,
    /// The data itself.
    Refused,
    /// The commit is behind.
    Stale,
    /// What the database holds is not what was written.
    Broken,
}

/// PostgreSQL refused or could not be reached. Prints no value and no secret.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct PostgresError {
    meaning: Meaning,
    state: Option<String>,
    text: String,
}

impl PostgresError {
    /// The answer did not come in time.
    pub fn timed_out(what: &str) -> Self {
        Self {
            meaning: Meaning::Unavailable,
            state: None,
            text: format!("PostgreSQL did not {what} in time"),
        }
    }

    /// What passes when it is tried again.
    pub fn passing(what: impl Into<String>) -> Self {
        Self { meaning: Meaning::Unavailable, state: None, text: what.into() }
    }

    /// What the database holds cannot be understood.
    pub fn broken(what: impl Into<String>) -> Self {
        Self { meaning: Meaning::Broken, state: None, text: what.into() }
    }

    /// The SQLSTATE, when the server gave one.
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }
}

impl From<tokio_postgres::Error> for PostgresError {
    fn from(error: tokio_postgres::Error) -> Self {
        if let Some(answer) = error.as_db_error() {
            return answer.into();
        }
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Self { meaning: Meaning::Unavailable, state: None, text: shortened(&text) }
    }
}

impl From<&DbError> for PostgresError {
    fn from(answer: &DbError) -> Self {
        let state = answer.code().code();
        let meaning = meaning(state);
        let text = match meaning {
            Meaning::Refused if state == REFUSED => answer.message().to_owned(),
            Meaning::Refused => format!("SQLSTATE {state}{}", place(answer)),
            _ => format!("{} (SQLSTATE {state})", answer.message()),
        };
        Self { meaning, state: Some(state.to_owned()), text: shortened(&text) }
    }
}

impl From<PoolError> for PostgresError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => error.into(),
            PoolError::Timeout(_) => Self::timed_out("give a connection"),
            other => Self { meaning: Meaning::Unavailable, state: None, text: other.to_string() },
        }
    }
}

/// Class 22 is about values, 23 about constraints, 54 about sizes. Whatever is neither ours nor the data's passes, or a
/// person mends it on the server: a process that stops would help nobody.
fn meaning(state: &str) -> Meaning {
    match state.get(..2) {
        _ if state == STALE => Meaning::Stale,
        _ if state == REFUSED => Meaning::Refused,
        Some("22" | "23" | "54") => Meaning::Refused,
        _ => Meaning::Unavailable,
    }
}

/// Where the data was refused, in the words of the schema.
fn place(answer: &DbError) -> String {
    let parts = [("table", answer.table()), ("column", answer.column()), ("constraint", answer.constraint())];
    let known = parts.iter().filter_map(|(what, name)| name.map(|name| format!(", {what} {name}")));
    known.collect()
}

fn shortened(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

impl From<PostgresError> for RecordsError {
    fn from(error: PostgresError) -> Self {
        match error.meaning {
            Meaning::Unavailable => Self::Unavailable(error.text),
            Meaning::Refused => Self::Refused(error.text),
            Meaning::Stale => Self::Stale(error.text),
            Meaning::Broken => Self::Broken(error.text),
        }
    }
}

/// The log is read with numbers alone, so nothing is ever wrong with the question.
impl From<PostgresError> for LogError {
    fn from(error: PostgresError) -> Self {
        Self::Unavailable(error.text)
    }
}

/// A column of a row. What cannot be read is broken: going on would be a guess.
pub fn column<'a, T: FromSql<'a>>(row: &'a Row, index: usize) -> Result<T, PostgresError> {
    row.try_get(index).map_err(|error| PostgresError::broken(format!("column {index} of a row: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_speaks_of_the_data_what_is_stale_and_what_passes() {
        for state in ["22021", "22003", "23505", "23502", "54000", REFUSED] {
            assert_eq!(meaning(state), Meaning::Refused, "{state}");
        }
        for state in [
            "08006", "53100", "53300", "57P01", "57P03", "57014", "40001", "40P01", "55P03", "25006", "42P01",
        ] {
            assert_eq!(meaning(state), Meaning::Unavailable, "{state}");
        }
        assert_eq!(meaning(STALE), Meaning::Stale);
        assert_eq!(meaning(""), Meaning::Unavailable);
    }
}
