//! Room `app`: how verbs on this machine find the running server: a file in the data folder that only its owner may read.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::ledger::log::lock::FolderLock;

const FILE: &str = "serving.json";

/// Where a server listens, and the token of verbs on this machine.
#[derive(Clone, Serialize, Deserialize)]
pub struct Serving {
    /// The public door; `None` without the role intake.
    pub public: Option<SocketAddr>,
    /// The private door.
    pub private: SocketAddr,
    /// Whether the API answers there: it does with the role console.
    pub console: bool,
    /// Made anew at each start.
    pub token: String,
}

impl Serving {
    /// Where the server of this data folder listens; `None` when none does. The lock is only tried when a server said
    /// where it is, so that a verb does not stand in the way of one that starts.
    pub fn read(data_dir: &Path) -> anyhow::Result<Option<Self>> {
        let path = path(data_dir);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        // Without it, what a killed server left behind.
        if !FolderLock::is_held(data_dir)? {
            return Ok(None);
        }
        Ok(Some(serde_json::from_slice(&text).with_context(|| path.display().to_string())?))
    }

    /// Tells verbs on this machine; replaces what an earlier server left.
    pub(super) fn write(&self, data_dir: &Path) -> io::Result<()> {
        let draft = data_dir.join(format!("{FILE}.new"));
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        fs::rename(draft, path(data_dir))
    }

    /// At a graceful end.
    pub(super) fn remove(data_dir: &Path) {
        // What is left behind after a crash is told apart by the lock.
        let _ = fs::remove_file(path(data_dir));
    }
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE)
}
