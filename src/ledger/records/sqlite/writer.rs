//! Room `ledger`, SQLite records: the one connection that writes, what it keeps in memory, and the bound of the WAL.
//! May not know what is written.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::{
    names::Names,
    schema::{self, OpenError},
    seen::Seen,
};
use crate::{
    ledger::RecordsError,
    model::{EventNumber, Incarnation},
};

/// Page cache of the writing connection: the ends of the tables, and the neighbourhood that is being merged.
const CACHE_KIB: i64 = 8 * 1_024;

/// Pages in the WAL before they are copied into the file (32 MiB).
const CHECKPOINT_PAGES: i64 = 4_096;

/// At so many times that, a commit waits for readers, so that the WAL can begin anew (128 MiB). Without this it grows
/// without bound when readers overlap and commits never pause.
const RESTART_FACTOR: i64 = 4;

/// What the writer knows without asking. It mirrors the tables as of the last commit.
#[derive(Debug)]
pub(super) struct Memory {
    /// Words that repeat.
    pub(super) names: Names,
    /// External ids and bodies seen before.
    pub(super) seen: Seen,
    /// The highest number of a domain event.
    pub(super) last_event: EventNumber,
}

impl Memory {
    fn load(connection: &Connection) -> Result<Self, RecordsError> {
        let last = "SELECT COALESCE(max(number), 0) FROM domain_events";
        Ok(Self {
            names: Names::load(connection)?,
            seen: Seen::load(connection)?,
            last_event: connection.query_row(last, [], |row| row.get(0))?,
        })
    }
}

/// The writing connection.
#[derive(Debug)]
pub(super) struct Writer {
    connection: Connection,
    /// `None` after a transaction failed: then the tables are asked again.
    memory: Option<Memory>,
    /// Why nothing more is written. What failed once below SQLite is not tried again: nobody knows what the disk holds.
    broken: Option<String>,
    checkpoint_pages: i64,
    pages_checkpointed: i64,
}

impl Writer {
    /// Opens the file and reads what is kept in memory.
    pub(super) fn open(path: &Path, incarnation: Incarnation) -> Result<Self, OpenError> {
        let connection = schema::open_writer(path, incarnation)?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        let memory = Some(Memory::load(&connection)?);
        let checkpoint_pages = CHECKPOINT_PAGES;
        Ok(Self { connection, memory, broken: None, checkpoint_pages, pages_checkpointed: 0 })
    }

    /// Does `work` in one transaction and returns when it is durable. On an error nothing of it is kept, neither in
    /// the tables nor in memory.
    pub(super) fn transact<T>(
        &mut self,
        work: impl FnOnce(&Connection, &mut Memory) -> Result<T, RecordsError>,
    ) -> Result<T, RecordsError> {
        self.refuse_when_broken()?;
        let done = self.attempt(work);
        self.note_breakage(done.as_ref().err());
        if done.is_ok() {
            let bounded = self.bound_wal();
            self.note_breakage(bounded.err().as_ref());
        }
        done
    }

    fn attempt<T>(
        &mut self,
        work: impl FnOnce(&Connection, &mut Memory) -> Result<T, RecordsError>,
    ) -> Result<T, RecordsError> {
        let mut memory = match self.memory.take() {
            Some(memory) => memory,
            None => Memory::load(&self.connection)?,
        };
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&transaction, &mut memory)?;
        transaction.commit()?;
        self.memory = Some(memory);
        Ok(done)
    }

    /// Answers a question as of the last commit.
    pub(super) fn answer<T>(
        &mut self,
        question: impl FnOnce(&Connection, &Memory) -> Result<T, RecordsError>,
    ) -> Result<T, RecordsError> {
        self.refuse_when_broken()?;
        let memory = match self.memory.take() {
            Some(memory) => memory,
            None => Memory::load(&self.connection)?,
        };
        let memory = self.memory.insert(memory);
        // One snapshot for all of its statements: opening one costs as much as a look-up.
        let snapshot = self.connection.transaction()?;
        let answer = question(&snapshot, memory)?;
        snapshot.finish()?;
        Ok(answer)
    }

    fn refuse_when_broken(&self) -> Result<(), RecordsError> {
        self.broken.clone().map_or(Ok(()), |why| Err(RecordsError::Broken(why)))
    }

    fn note_breakage(&mut self, error: Option<&RecordsError>) {
        if let Some(RecordsError::Broken(why)) = error {
            self.broken = Some(why.clone());
        }
    }

    /// Copies the WAL into the file now and then. Not by SQLite's own hook: that one hides a failed fsync. When the
    /// disk is full or a reader is in the way the WAL just stays longer, and the next commit tries again.
    fn bound_wal(&mut self) -> Result<(), RecordsError> {
        let pages = self.checkpoint("PRAGMA wal_checkpoint(NOOP)")?;
        // The WAL began anew.
        self.pages_checkpointed = self.pages_checkpointed.min(pages);
        if pages - self.pages_checkpointed >= self.checkpoint_pages {
            let wait = pages >= RESTART_FACTOR * self.checkpoint_pages;
            let mode =
                if wait { "PRAGMA wal_checkpoint(TRUNCATE)" } else { "PRAGMA wal_checkpoint(PASSIVE)" };
            self.pages_checkpointed = self.checkpoint(mode)?;
        }
        Ok(())
    }

    /// Runs a checkpoint; returns how many pages the WAL holds then.
    fn checkpoint(&self, sql: &str) -> Result<i64, RecordsError> {
        Ok(self.connection.prepare_cached(sql)?.query_row([], |row| row.get(1))?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use uuid::Uuid;

    use super::*;

    const OURS: Incarnation = Incarnation(Uuid::from_u128(1));
    const PAGE: u64 = 8_192;

    fn opened() -> (tempfile::TempDir, std::path::PathBuf, Writer) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("records.sqlite");
        schema::create(&path, OURS).expect("is made");
        let mut writer = Writer::open(&path, OURS).expect("opens");
        writer.checkpoint_pages = 100;
        writer.connection.busy_timeout(std::time::Duration::ZERO).expect("waits for nobody");
        (folder, path, writer)
    }

    fn write_pages(writer: &mut Writer, pages: u64) {
        let sql = "INSERT INTO desks VALUES ('p', hex(randomblob(8)), zeroblob(?1), 0)";
        let size = i64::try_from(pages * PAGE).expect("small");
        writer.transact(|tx, _| Ok(tx.execute(sql, [size])?)).expect("writes");
    }

    fn wal_pages(path: &Path) -> u64 {
        fs::metadata(path.with_extension("sqlite-wal")).map_or(0, |file| file.len() / PAGE)
    }

    #[test]
    fn the_wal_is_bounded_although_commits_never_pause() {
        let (_folder, path, mut writer) = opened();
        for _ in 0..50 {
            write_pages(&mut writer, 30);
        }
        assert!(wal_pages(&path) < 200, "{} pages", wal_pages(&path));
    }

    #[test]
    fn the_wal_shrinks_again_after_a_reader_kept_it_from_beginning_anew() {
        let (_folder, path, mut writer) = opened();
        let reader = schema::open_reader(&path, OURS).expect("opens");
        let snapshot = reader.unchecked_transaction().expect("begins");
        let count = "SELECT count(*) FROM desks";
        let _: i64 = snapshot.query_row(count, [], |row| row.get(0)).expect("reads");
        for _ in 0..30 {
            write_pages(&mut writer, 30);
        }
        assert!(wal_pages(&path) > 800, "the reader holds it: {} pages", wal_pages(&path));
        snapshot.finish().expect("ends");
        for _ in 0..5 {
            write_pages(&mut writer, 30);
        }
        assert!(wal_pages(&path) < 200, "{} pages", wal_pages(&path));
    }

    #[test]
    fn a_failed_transaction_leaves_nothing_in_memory() {
        let (_folder, _path, mut writer) = opened();
        let stays_out = crate::model::Revision("r".into());
        let failed: Result<(), _> = writer.transact(|tx, memory| {
            memory.names.revision(tx, &stays_out)?;
            memory.last_event = EventNumber(7);
            Err(RecordsError::Refused("no".to_owned()))
        });
        assert!(matches!(failed, Err(RecordsError::Refused(_))));
        assert_eq!(writer.answer(|_, memory| Ok(memory.last_event)).expect("answers"), EventNumber(0));
        let rows = "SELECT count(*) FROM revisions";
        let rows: i64 =
            writer.answer(|tx, _| Ok(tx.query_row(rows, [], |row| row.get(0))?)).expect("answers");
        assert_eq!(rows, 0);
        let id = writer.transact(|tx, memory| memory.names.revision(tx, &stays_out)).expect("writes");
        assert_eq!(id, 1, "interned anew, not remembered from the transaction that failed");
    }

    #[test]
    fn what_broke_once_is_not_tried_again() {
        let (_folder, _path, mut writer) = opened();
        let broken = || RecordsError::Broken("an fsync failed".to_owned());
        assert!(writer.transact(|_, _| Err::<(), _>(broken())).is_err());
        assert!(matches!(writer.transact(|_, _| Ok(())), Err(RecordsError::Broken(_))));
        assert!(matches!(writer.answer(|_, _| Ok(())), Err(RecordsError::Broken(_))));
    }
}
