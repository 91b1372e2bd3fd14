//! Room `ledger`, SQLite records: the connections that read. They wait for no writer, and no writer for them.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::schema::{self, OpenError};
use crate::{ledger::RecordsError, model::Incarnation};

/// At most so many questions are answered at once; further ones wait their turn.
const READERS: usize = 4;

/// Page cache of one connection. Small: every commit of the writer empties it.
const CACHE_KIB: i64 = 2 * 1_024;

/// The connections, opened as they are needed.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    incarnation: Incarnation,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    /// Opens the first connection, so that a file that cannot be read is known at once.
    pub(super) fn open(path: &Path, incarnation: Incarnation) -> Result<Arc<Self>, OpenError> {
        let first = connect(path, incarnation)?;
        Ok(Arc::new(Self {
            path: path.to_owned(),
            incarnation,
            idle: Mutex::new(vec![first]),
            permits: Arc::new(Semaphore::new(READERS)),
        }))
    }

    /// The right to ask one question.
    pub(super) async fn permit(&self) -> Result<OwnedSemaphorePermit, RecordsError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        permit.map_err(|closed| RecordsError::Unavailable(closed.to_string()))
    }

    /// Answers a question in one snapshot. A connection that failed is not used again.
    pub(super) fn answer<T>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, RecordsError>,
    ) -> Result<T, RecordsError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => connect(&self.path, self.incarnation).map_err(unreadable)?,
        };
        let snapshot = connection.unchecked_transaction()?;
        let answer = question(&snapshot)?;
        snapshot.finish()?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(answer)
    }
}

fn connect(path: &Path, incarnation: Incarnation) -> Result<Connection, OpenError> {
    let connection = schema::open_reader(path, incarnation)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    Ok(connection)
}

fn unreadable(error: OpenError) -> RecordsError {
    match error {
        OpenError::Records(error) => error,
        other => RecordsError::Broken(other.to_string()),
    }
}
