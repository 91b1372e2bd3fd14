//! Room `ledger`, SQLite records: one file, one connection that writes, a few that read. This file opens it and says
//! on which connection a question is answered; each trait has a file of its own. May not know what a verdict is.

mod acts;
mod columns;
mod commit;
mod confirmations;
mod conservation;
mod errors;
mod feed;
mod inspect;
mod learning;
mod names;
mod owners;
mod publication;
mod published;
mod readers;
mod replays;
mod schema;
mod search;
mod seen;
mod translation;
mod writer;

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use rusqlite::Connection;

pub use schema::OpenError;

use self::{
    readers::Readers,
    writer::{Memory, Writer},
};
use crate::{
    ledger::{RecordsError, Tenured},
    model::Incarnation,
};

/// The records in an SQLite file. A commit is durable when its call returns: WAL, `synchronous=FULL`.
///
/// Questions that belong to a verdict go to the writing connection, whose page cache stays warm between commits; all
/// others go to reading connections and wait for nobody. Every call does its work on a blocking thread of the tokio
/// runtime it is made in. Dropping a call's future does not take its write back.
#[derive(Debug)]
pub struct SqliteRecords {
    incarnation: Incarnation,
    // Before the writer, so that they close before it: the last connection to close folds the WAL into the file, and
    // only one that writes can.
    readers: Arc<Readers>,
    writer: Option<Arc<Mutex<Writer>>>,
}

impl Tenured for SqliteRecords {}

impl SqliteRecords {
    /// Makes new records for a ledger. They appear under `path` whole or not at all.
    pub fn create(path: &Path, incarnation: Incarnation) -> Result<Self, OpenError> {
        schema::create(path, incarnation)?;
        Self::open(path, incarnation)
    }

    /// Opens the records of a ledger for work, bringing an older schema forward. The caller holds the lock of the
    /// data folder: there is one writer.
    pub fn open(path: &Path, incarnation: Incarnation) -> Result<Self, OpenError> {
        let writer = Writer::open(path, incarnation)?;
        let readers = Readers::open(path, incarnation)?;
        Ok(Self { incarnation, readers, writer: Some(Arc::new(Mutex::new(writer))) })
    }

    /// Opens the records beside their writer, or while nobody writes. Everything that writes, and every question of a
    /// verdict, answers [`RecordsError::Unavailable`].
    pub fn open_read_only(path: &Path, incarnation: Incarnation) -> Result<Self, OpenError> {
        Ok(Self { incarnation, readers: Readers::open(path, incarnation)?, writer: None })
    }

    /// Does `work` in one transaction; it is durable when this returns `Ok`.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection, &mut Memory) -> Result<T, RecordsError> + Send + 'static,
    ) -> Result<T, RecordsError> {
        self.with_writer(|writer| writer.transact(work)).await
    }

    /// Asks `question` of the writing connection, where the latest commit is already in memory.
    async fn ask_writer<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection, &Memory) -> Result<T, RecordsError> + Send + 'static,
    ) -> Result<T, RecordsError> {
        self.with_writer(|writer| writer.answer(question)).await
    }

    async fn with_writer<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writer) -> Result<T, RecordsError> + Send + 'static,
    ) -> Result<T, RecordsError> {
        let Some(writer) = self.writer.clone() else {
            let why = "they are open for reading only; ask the server that writes them";
            return Err(RecordsError::Unavailable(why.to_owned()));
        };
        on_blocking_thread(move || match writer.lock() {
            Ok(mut writer) => work(&mut writer),
            Err(_) => Err(RecordsError::Broken("an earlier write panicked".to_owned())),
        })
        .await
    }

    /// Asks `question` of a reading connection, in one snapshot.
    async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, RecordsError> + Send + 'static,
    ) -> Result<T, RecordsError> {
        let permit = self.readers.permit().await?;
        let readers = Arc::clone(&self.readers);
        on_blocking_thread(move || {
            // Held until the work is done, also when nobody waits for it any more.
            let _permit = permit;
            readers.answer(question)
        })
        .await
    }
}

async fn on_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RecordsError> + Send + 'static,
) -> Result<T, RecordsError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(stopped) if stopped.is_cancelled() => {
            Err(RecordsError::Unavailable("the process is shutting down".to_owned()))
        }
        Err(_) => Err(RecordsError::Broken("reading or writing panicked".to_owned())),
    }
}
