//! Room `app`: the embedded ledger: segment files and SQLite in one data folder, under one lock, of one incarnation.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::ledger::Opened;
use crate::{
    config::LedgerConfig,
    keys::seal::Sealer,
    ledger::{
        Ledger, LogReader, Records, TranslationRecords,
        log::{
            files::OsFolder,
            lock::FolderLock,
            segments::{self, OpenError, SegmentOptions, SegmentReader},
        },
        records::SqliteRecords,
    },
    model::{EndpointName, EntryNumber, Incarnation},
};

/// Names the ledger. It is written first and never again: both halves must carry the same incarnation.
const IDENTITY_FILE: &str = "ledger.json";
const RECORDS_FILE: &str = "records.sqlite";
const LOG_FOLDER: &str = "log";

#[derive(Serialize, Deserialize)]
struct Identity {
    incarnation: Incarnation,
}

/// Opens the ledger of a data folder for work, or begins one. A half that is missing, older than the other or of another
/// incarnation refuses, and says what to restore.
pub(super) async fn open(config: &LedgerConfig) -> anyhow::Result<Opened> {
    let lock = FolderLock::take(&config.data_dir)?;
    // The key before the log, so that a crash between them leaves no log without its key.
    let sealer = Sealer::open(&config.data_dir, log_folder(&config.data_dir).exists())?;
    let incarnation = identity_or_new(&config.data_dir)?;
    let records = Arc::new(open_records(&config.data_dir, incarnation)?);
    let cursors = records.cursors().await?;
    let options = SegmentOptions {
        incarnation,
        cursor: highest_cursor(&cursors),
        segment_bytes: config.segment_bytes,
        min_free_bytes: config.min_free_bytes,
        free_space_poll: config.free_space_poll.0,
    };
    let (writer, reader) =
        segments::open(Arc::new(OsFolder::create(&log_folder(&config.data_dir))?), options)?;
    let ledger = Ledger { log: Arc::new(reader), records };
    if let Some((first, last)) = ledger.missing_start().await? {
        tracing::error!(%first, %last, "the intake log is damaged: its oldest entries are missing, and retention did not drop them");
    }
    Ok(Opened { lock, writer: Box::new(writer), ledger, sealer, others: None })
}

/// There is no intake log yet: whoever acted on the records did so before the first start.
#[derive(Debug, thiserror::Error)]
#[error("the ledger in {} has no intake log yet: it begins with the first `douane serve`", .0.display())]
pub struct LogNotBegun(PathBuf);

/// Opens the ledger of a data folder to read, beside a running server or without one. Halves that do not belong together
/// refuse, as they would to work.
pub(super) async fn open_read_only(config: &LedgerConfig) -> anyhow::Result<Ledger> {
    let folder = &config.data_dir;
    if !has_begun(folder) {
        bail!("there is no ledger in {}; set ledger.data_dir or --data-dir", folder.display());
    }
    let incarnation = identity(folder)?.with_context(|| no_identity(folder))?;
    let path = folder.join(RECORDS_FILE);
    if !path.exists() {
        bail!(no_records(&path));
    }
    let records = SqliteRecords::open_read_only(&path, incarnation)?;
    // Before the log, which a running server makes longer meanwhile.
    let cursor = highest_cursor(&records.cursors().await?);
    if cursor.0 == 0 && !log_folder(folder).exists() {
        bail!(LogNotBegun(folder.clone()));
    }
    let reader = read_log(&log_folder(folder))?;
    match reader.incarnation() {
        Some(log) if log != incarnation => {
            Err(OpenError::OtherIncarnation { log, records: incarnation })?;
        }
        None if cursor.0 > 0 => Err(OpenError::Missing { cursor })?,
        _ if cursor > reader.durable() => {
            Err(OpenError::CursorBeyondEnd { cursor, end: reader.durable() })?;
        }
        _ => {}
    }
    Ok(Ledger { log: Arc::new(reader), records: Arc::new(records) })
}

fn read_log(folder: &Path) -> anyhow::Result<SegmentReader> {
    let files = OsFolder::open(folder)
        .with_context(|| format!("the intake log {} cannot be opened", folder.display()))?;
    Ok(segments::open_to_read(Arc::new(files))?)
}

/// Whether a ledger was begun in a folder, however little of it is left.
pub(super) fn has_begun(folder: &Path) -> bool {
    identity_file(folder).exists() || folder.join(RECORDS_FILE).exists() || log_folder(folder).exists()
}

/// Opens the records alone for an act of a person (a token, a journal line) while no server runs. Where there is nothing yet,
/// both halves are begun: one alone looks as if the other were lost.
pub(super) async fn open_records_for_acts(
    config: &LedgerConfig,
) -> anyhow::Result<(FolderLock, Arc<dyn Records>)> {
    if !has_begun(&config.data_dir) {
        let Opened { lock, ledger, .. } = open(config).await?;
        return Ok((lock, ledger.records));
    }
    let lock = FolderLock::take(&config.data_dir)?;
    let incarnation = identity_or_new(&config.data_dir)?;
    Ok((lock, Arc::new(open_records(&config.data_dir, incarnation)?)))
}

fn open_records(folder: &Path, incarnation: Incarnation) -> anyhow::Result<SqliteRecords> {
    let path = folder.join(RECORDS_FILE);
    if path.exists() {
        return Ok(SqliteRecords::open(&path, incarnation)?);
    }
    if fs::read_dir(log_folder(folder)).is_ok_and(|mut entries| entries.next().is_some()) {
        bail!(no_records(&path));
    }
    Ok(SqliteRecords::create(&path, incarnation)?)
}

fn no_records(path: &Path) -> String {
    let path = path.display();
    format!(
        "{path} is missing although there is an intake log; restore it from the backup of this data folder"
    )
}

fn no_identity(folder: &Path) -> String {
    let path = identity_file(folder);
    format!("{} is missing; restore it from the backup of this data folder", path.display())
}

fn log_folder(folder: &Path) -> PathBuf {
    folder.join(LOG_FOLDER)
}

fn identity_file(folder: &Path) -> PathBuf {
    folder.join(IDENTITY_FILE)
}

fn identity(folder: &Path) -> anyhow::Result<Option<Incarnation>> {
    let path = identity_file(folder);
    match fs::read(&path) {
        Ok(text) => {
            let identity: Identity =
                serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
            Ok(Some(identity.incarnation))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

fn identity_or_new(folder: &Path) -> anyhow::Result<Incarnation> {
    if let Some(incarnation) = identity(folder)? {
        return Ok(incarnation);
    }
    if has_begun(folder) {
        bail!(no_identity(folder));
    }
    let mut chance = [0; 16];
    getrandom::fill(&mut chance)?;
    let incarnation = Incarnation(Uuid::from_bytes(chance));
    write_durably(folder, &serde_json::to_vec(&Identity { incarnation })?)?;
    Ok(incarnation)
}

/// Under a temporary name first: a torn identity would be no ledger at all.
fn write_durably(folder: &Path, text: &[u8]) -> io::Result<()> {
    let draft = folder.join(format!("{IDENTITY_FILE}.new"));
    let mut file = File::create(&draft)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&draft, identity_file(folder))?;
    File::open(folder)?.sync_all()
}

/// The highest cursor of any endpoint.
fn highest_cursor(cursors: &[(EndpointName, EntryNumber)]) -> EntryNumber {
    cursors.iter().map(|(_, through)| *through).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::keys::seal::SEALING_KEY_FILE;

    fn config(home: &tempfile::TempDir) -> LedgerConfig {
        LedgerConfig { data_dir: home.path().join("state/data"), ..LedgerConfig::default() }
    }

    #[tokio::test]
    async fn a_restored_folder_without_its_sealing_key_is_refused() {
        let home = tempfile::tempdir().expect("a folder");
        let config = config(&home);
        drop(open(&config).await.expect("begun"));
        drop(open_records_for_acts(&config).await.expect("records alone need no key"));
        drop(open(&config).await.expect("opened again"));
        let key = config.data_dir.join(SEALING_KEY_FILE);
        fs::remove_file(&key).expect("removed");
        let refused = open(&config).await.err().expect("must be refused").to_string();
        assert!(refused.contains("sealing.key is missing") && refused.contains("restore"), "{refused}");
        assert!(!key.exists());
    }

    #[tokio::test]
    async fn an_act_before_the_first_start_begins_both_halves() {
        let home = tempfile::tempdir().expect("a folder");
        let config = config(&home);
        drop(open_records_for_acts(&config).await.expect("begun"));
        let ledger = open_read_only(&config).await.expect("a whole ledger");
        assert_eq!(ledger.log.durable(), EntryNumber(0));
        // As older releases left it, or a process that was killed between the halves.
        fs::remove_dir_all(log_folder(&config.data_dir)).expect("removed");
        let refused = open_read_only(&config).await.expect_err("must be refused");
        assert!(refused.is::<LogNotBegun>(), "{refused:#}");
        drop(open(&config).await.expect("begun"));
        drop(open_read_only(&config).await.expect("a whole ledger"));
    }

    #[tokio::test]
    async fn a_data_folder_that_we_make_is_its_owners_only() {
        let home = tempfile::tempdir().expect("a folder");
        let config = config(&home);
        drop(open(&config).await.expect("begun"));
        let mode = |path: &Path| fs::metadata(path).expect("is there").permissions().mode() & 0o777;
        assert_eq!(mode(&config.data_dir), 0o700);

        let given = home.path().join("given");
        fs::create_dir(&given).expect("a folder");
        fs::set_permissions(&given, fs::Permissions::from_mode(0o750)).expect("set");
        let config = LedgerConfig { data_dir: given.clone(), ..config };
        drop(open(&config).await.expect("begun"));
        assert_eq!(mode(&given), 0o750, "what someone else made is theirs to say");
    }
}
