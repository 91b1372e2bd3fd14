//! Room `ledger`, SQLite records: making the file, recognising it, and bringing an older one forward. Migrations are
//! embedded, only ever added to, and each is one transaction.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use crate::{
    ledger::{RecordsError, records::columns::whole},
    model::Incarnation,
};

/// `doua`: what SQLite's header says these files are.
const APPLICATION_ID: i64 = 0x646f_7561;

/// Large enough that sequential rows fill pages well, small enough that a merged hash costs little.
const PAGE_BYTES: i64 = 8_192;

/// The migrations, oldest first. The schema's version is how many were applied.
const MIGRATIONS: [&str; 7] = [
    include_str!("schema_1.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
    include_str!("schema_6.sql"),
    include_str!("schema_7.sql"),
];

/// How long a connection waits for a lock. Locks are short: only a process that reads beside us can hold one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// Why records were not opened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no file.
    #[error("there are no records at {0}")]
    Missing(PathBuf),
    /// There is a file already.
    #[error("there are records at {0} already")]
    Exists(PathBuf),
    /// The file is not what a douane wrote.
    #[error("{0} does not hold records of a ledger")]
    NotRecords(PathBuf),
    /// The records belong to another ledger than the intake log.
    #[error("the records belong to ledger {found}, the intake log to ledger {expected}")]
    AnotherIncarnation {
        /// Whose records these are.
        found: Incarnation,
        /// Whose were expected.
        expected: Incarnation,
    },
    /// The schema is newer than this program, or older and nobody may write.
    #[error("the records have schema {found}, this program reads schema {known}")]
    Schema {
        /// The file's.
        found: i64,
        /// This program's.
        known: i64,
    },
    /// The folder or the file could not be made.
    #[error("the records could not be made: {0}")]
    Io(String),
    /// SQLite could not open or read the file.
    #[error(transparent)]
    Records(#[from] RecordsError),
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Records(error.into())
    }
}

impl From<std::io::Error> for OpenError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error.to_string())
    }
}

/// Makes the file. It is written beside its place and moved there, so that a crash leaves no half of it.
pub(super) fn create(path: &Path, incarnation: Incarnation) -> Result<(), OpenError> {
    if path.exists() {
        return Err(OpenError::Exists(path.to_owned()));
    }
    let unfinished = path.with_extension("unfinished");
    for leftover in ["unfinished", "unfinished-wal", "unfinished-shm"] {
        remove(&path.with_extension(leftover))?;
    }
    write_new(&unfinished, incarnation)?;
    File::open(&unfinished)?.sync_all()?;
    fs::rename(&unfinished, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    Ok(File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?)
}

fn remove(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn write_new(path: &Path, incarnation: Incarnation) -> Result<(), OpenError> {
    let mut connection = Connection::open(path)?;
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    migrate(&mut connection, 0)?;
    connection.execute("INSERT INTO ledger (incarnation) VALUES (?1)", [incarnation])?;
    // Closing folds the WAL into the file; only then can the file be moved alone.
    connection.close().map_err(|(_, error)| error.into())
}

/// Opens the file for the one writer, and brings its schema forward.
pub(super) fn open_writer(path: &Path, incarnation: Incarnation) -> Result<Connection, OpenError> {
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let version = recognise(&connection, path)?;
    if version > known() {
        return Err(OpenError::Schema { found: version, known: known() });
    }
    // Whose they are comes before touching them.
    belongs_to(&connection, incarnation)?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    migrate(&mut connection, version)?;
    Ok(connection)
}

/// Opens the file for reading.
pub(super) fn open_reader(path: &Path, incarnation: Incarnation) -> Result<Connection, OpenError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let version = recognise(&connection, path)?;
    if version != known() {
        return Err(OpenError::Schema { found: version, known: known() });
    }
    belongs_to(&connection, incarnation)?;
    Ok(connection)
}

fn connect(path: &Path, access: OpenFlags) -> Result<Connection, OpenError> {
    if !path.exists() {
        return Err(OpenError::Missing(path.to_owned()));
    }
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(128);
    // The bundled SQLite turns them on; the commit itself sees to what they would check.
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    // Otherwise a statement is prepared anew for every value that is bound to it, in the hope of a better plan.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

fn recognise(connection: &Connection, path: &Path) -> Result<i64, OpenError> {
    let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if application != APPLICATION_ID {
        return Err(OpenError::NotRecords(path.to_owned()));
    }
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

fn belongs_to(connection: &Connection, expected: Incarnation) -> Result<(), OpenError> {
    let found = connection.query_row("SELECT incarnation FROM ledger", [], |row| row.get(0))?;
    if found == expected { Ok(()) } else { Err(OpenError::AnotherIncarnation { found, expected }) }
}

fn known() -> i64 {
    whole(MIGRATIONS.len())
}

fn migrate(connection: &mut Connection, from: i64) -> Result<(), OpenError> {
    for (version, migration) in (1_i64..).zip(MIGRATIONS).skip_while(|(version, _)| *version <= from) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const OURS: Incarnation = Incarnation(Uuid::from_u128(1));

    fn made() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("records.sqlite");
        create(&path, OURS).expect("is made");
        (folder, path)
    }

    #[test]
    fn is_made_whole_and_once() {
        let (folder, path) = made();
        let names: Vec<_> = fs::read_dir(folder.path()).expect("lists").flatten().collect();
        assert_eq!(names.len(), 1, "nothing is left beside it: {names:?}");
        assert!(matches!(create(&path, OURS), Err(OpenError::Exists(_))));
    }

    #[test]
    fn a_crash_while_it_was_made_does_not_stand_in_the_way() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("records.unfinished"), b"half").expect("writes");
        fs::write(folder.path().join("records.unfinished-wal"), b"half").expect("writes");
        create(&folder.path().join("records.sqlite"), OURS).expect("is made");
    }

    #[test]
    fn records_of_another_ledger_are_refused_and_named() {
        let (_folder, path) = made();
        let other = Incarnation(Uuid::from_u128(2));
        for refused in [open_writer(&path, other), open_reader(&path, other)] {
            assert!(matches!(
                refused,
                Err(OpenError::AnotherIncarnation { found: OURS, expected }) if expected == other
            ));
        }
    }

    #[test]
    fn what_is_not_there_and_what_is_something_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("records.sqlite");
        assert!(matches!(open_writer(&path, OURS), Err(OpenError::Missing(_))));
        Connection::open(&path).expect("opens").execute_batch("CREATE TABLE t (x)").expect("writes");
        assert!(matches!(open_writer(&path, OURS), Err(OpenError::NotRecords(_))));
        fs::write(&path, [b'x'; 8_192]).expect("writes");
        assert!(matches!(open_writer(&path, OURS), Err(OpenError::Records(RecordsError::Broken(_)))));
    }

    #[test]
    fn a_newer_schema_is_left_alone() {
        let (_folder, path) = made();
        Connection::open(&path).expect("opens").pragma_update(None, "user_version", 99).expect("writes");
        for refused in [open_writer(&path, OURS), open_reader(&path, OURS)] {
            assert!(matches!(refused, Err(OpenError::Schema { found: 99, known: 7 })));
        }
    }

    #[test]
    fn a_ledger_of_schema_1_remembers_what_its_journal_says_was_dropped() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("records.sqlite");
        let old = Connection::open(&path).expect("opens");
        old.pragma_update(None, "application_id", APPLICATION_ID).expect("writes");
        old.execute_batch(MIGRATIONS[0]).expect("writes");
        old.pragma_update(None, "user_version", 1).expect("writes");
        old.execute("INSERT INTO ledger (incarnation) VALUES (?1)", [OURS]).expect("writes");
        let journal = "INSERT INTO journal (at, who, act, subject, detail) VALUES (0, 'system', ?1, '', ?2)";
        for (act, first_left) in [("retention.dropped", 7), ("retention.dropped", 12), ("payload.read", 99)] {
            let detail = format!("{{\"first_left\":{first_left}}}");
            old.execute(journal, [act, &detail]).expect("writes");
        }
        drop(old);
        let dropped = "SELECT dropped_through FROM retention";
        let opened = open_writer(&path, OURS).expect("opens");
        assert_eq!(opened.query_row(dropped, [], |row| row.get(0)), Ok(11_i64));
        let (_folder, path) = made();
        let opened = open_writer(&path, OURS).expect("opens");
        assert_eq!(opened.query_row(dropped, [], |row| row.get(0)), Ok(0_i64));
    }
}
