//! Room `ledger`: the lock that lets one process at a time write to a data folder. Readers need none.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
};

use super::files::create_folder;

/// The name of the lock file in the data folder. It stays when the process ends; only the lock on it goes.
const LOCK_FILE: &str = "lock";

/// Why the data folder cannot be written to.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process writes to it.
    #[error("another process holds the data folder {}; stop it, or use the verbs that go through it", .0.display())]
    Held(PathBuf),
    /// The lock file cannot be made or locked.
    #[error("the lock of the data folder {} cannot be taken: {source}", .folder.display())]
    Io {
        /// The data folder.
        folder: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// The right to write to a data folder: held until dropped, and given back by the operating system however the
/// process ends.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes the lock of a data folder at once, or says who stands in the way. Creates the folder.
    pub fn take(folder: &Path) -> Result<Self, LockError> {
        let failed = |source| LockError::Io { folder: folder.to_owned(), source };
        create_folder(folder).map_err(failed)?;
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(folder.join(LOCK_FILE))
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(LockError::Held(folder.to_owned())),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// Whether a process holds the lock of a data folder. Needs no right to write there, and creates nothing.
    pub fn is_held(folder: &Path) -> Result<bool, LockError> {
        let failed = |source| LockError::Io { folder: folder.to_owned(), source };
        let file = match File::open(folder.join(LOCK_FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed(error)),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_free_again_when_dropped() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        assert!(!FolderLock::is_held(&data).expect("asked"), "nobody was there yet");
        assert!(!data.exists(), "asking makes nothing");
        let held = FolderLock::take(&data).expect("the first takes it");
        assert!(FolderLock::is_held(&data).expect("asked"));
        assert!(matches!(FolderLock::take(&data), Err(LockError::Held(at)) if at == data));
        drop(held);
        assert!(!FolderLock::is_held(&data).expect("asked"));
        FolderLock::take(&data).expect("free again");
    }

    #[test]
    fn says_which_folder_it_could_not_lock() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, b"").expect("written");
        let error = FolderLock::take(&file).expect_err("a file is no folder");
        assert!(error.to_string().contains("file"), "{error}");
    }
}
