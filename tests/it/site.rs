//! What the processes of one ledger in PostgreSQL share: the server, a configuration, the mappings of the partner `lab`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

use douane::config::LedgerConfig;
use tempfile::TempDir;

use crate::{
    folder::Folder,
    process::{Process, Ran, douane},
    servers::postgres::Postgres,
};

/// Where processes over one PostgreSQL are started. Each has a name, and a data folder by it.
pub struct Site {
    pub postgres: Postgres,
    pub mappings: Folder,
    folder: TempDir,
}

impl Site {
    /// A PostgreSQL with a ledger whose schema is of this release.
    pub fn begin() -> Self {
        let site = Self::without_schema(&["fsync=on"], "");
        site.verb("ledger", &["ledger", "migrate"]).ended(0);
        site
    }

    /// A PostgreSQL with these settings, and more in the configuration; its schema is not there yet.
    pub fn without_schema(server: &[&str], settings: &str) -> Self {
        Self::on(Postgres::with(server), settings)
    }

    /// A server, and more in the configuration.
    pub fn on(postgres: Postgres, settings: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("sealing.key"), "5e".repeat(32)).expect("written");
        let site = Self { postgres, mappings: Folder::new(), folder };
        let (url, key) = (site.postgres.url(), site.folder.path().join("sealing.key"));
        let ledger = format!("[ledger]\nurl = {url:?}\nsealing_key = \"file:{}\"\n", key.display());
        fs::write(site.configuration(), ledger + settings).expect("written");
        site
    }

    /// The settings of a ledger on its server, in a schema and with a data folder of this name.
    pub fn ledger(&self, name: &str) -> LedgerConfig {
        let key = self.folder.path().join("sealing.key");
        LedgerConfig {
            data_dir: self.data(name),
            sealing_key: Some(format!("file:{}", key.display())),
            ..self.postgres.config(name)
        }
    }

    fn configuration(&self) -> PathBuf {
        self.folder.path().join("douane.toml")
    }

    /// The data folder of a process.
    pub fn data(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts a process with these roles.
    pub fn start(&self, name: &str, roles: &str) -> Process {
        self.start_on(self.mappings.path(), name, roles)
    }

    /// Starts a process with other mappings.
    pub fn start_on(&self, mappings: &Path, name: &str, roles: &str) -> Process {
        let mut binary = douane();
        binary.env("DOUANE_CONFIG", self.configuration()).env("DOUANE_PROCESS_ROLES", roles);
        self.started(&mut binary, mappings, name)
    }

    /// Starts a process with all roles and more settings, as `("DOUANE_LEDGER_URL", "postgres://…")`.
    pub fn start_with(&self, name: &str, settings: &[(&str, &str)]) -> Process {
        let mut binary = douane();
        binary.env("DOUANE_CONFIG", self.configuration()).envs(settings.iter().copied());
        self.started(&mut binary, self.mappings.path(), name)
    }

    /// Starts a process of this binary with these roles; an error when it ends at once.
    pub fn try_start(&self, binary: &mut Command, name: &str, roles: &str) -> Result<Process, ExitStatus> {
        binary.env("DOUANE_CONFIG", self.configuration()).env("DOUANE_PROCESS_ROLES", roles);
        Process::try_start(binary, &self.data(name), self.mappings.path())
    }

    fn started(&self, binary: &mut Command, mappings: &Path, name: &str) -> Process {
        let started = Process::try_start(binary, &self.data(name), mappings);
        started.unwrap_or_else(|ended| panic!("{name} did not start: {ended}"))
    }

    /// Runs a verb beside the process of this name, or without one.
    pub fn verb(&self, name: &str, arguments: &[&str]) -> Ran {
        let mut command = douane();
        command.env("DOUANE_CONFIG", self.configuration()).args(arguments);
        command.arg("--data-dir").arg(self.data(name)).arg("--mappings").arg(self.mappings.path());
        command.output().expect("the binary runs").into()
    }
}
