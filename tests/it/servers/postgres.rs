//! A real PostgreSQL, started by the test that needs it: it can be stopped as by a power cut, paused, and started again.
//! It never runs as root. `fsync` is off unless asked for, because no test takes the operating system down with it.

use std::{
    fs::{self, File},
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use douane::{
    config::LedgerConfig,
    ledger::postgres::{Access, Database, DatabaseSettings},
    model::Secret,
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::certificate::Certificates;

/// A server that does not come up or go down in this time never will.
const PATIENCE: Duration = Duration::from_mins(1);

/// The user that the server runs as, when that is not who runs the tests.
#[derive(Clone, Copy)]
struct Owner {
    uid: u32,
    gid: u32,
}

/// The size of the files that its log is cut into, in megabytes.
#[derive(Clone, Copy)]
enum Segments {
    /// Quick to copy.
    Small = 1,
    /// What everybody has.
    Usual = 16,
}

/// A server's data folder as it once was.
pub struct Backup(TempDir);

/// A running server.
pub struct Postgres {
    folder: TempDir,
    binaries: PathBuf,
    owner: Option<Owner>,
    port: u16,
    settings: Vec<String>,
    server: Option<Child>,
}

impl Postgres {
    /// Starts one.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts one with settings of its own, as `max_connections=10`.
    pub fn with(settings: &[&str]) -> Self {
        let mut prepared = Self::prepare(Segments::Small, settings);
        prepared.start_again();
        prepared
    }

    /// Starts one as those do who mean it: it syncs, and its log is cut as everybody's.
    pub fn that_syncs(settings: &[&str]) -> Self {
        let mut prepared = Self::prepare(Segments::Usual, &[&["fsync=on"], settings].concat());
        prepared.start_again();
        prepared
    }

    /// Starts one that speaks TLS too, with a certificate for `127.0.0.1`; gives the authority that vouches for it, as PEM.
    pub fn with_tls() -> (Self, Vec<u8>) {
        let mut prepared = Self::prepare(Segments::Small, &["ssl=on"]);
        let authority = certify(&prepared.folder.path().join("data"), prepared.owner);
        prepared.start_again();
        (prepared, authority)
    }

    fn prepare(segments: Segments, settings: &[&str]) -> Self {
        let (binaries, owner) = (binaries(), owner());
        let folder = tempfile::tempdir().expect("a folder");
        give(folder.path(), owner);
        let template = template(&binaries, owner, segments);
        copy(&template, &folder.path().join("data"));
        let settings = settings.iter().map(ToString::to_string).collect();
        Self { folder, binaries, owner, port: free_port(), settings, server: None }
    }

    /// Starts it again after it was stopped, at the same address.
    pub fn start_again(&mut self) {
        let path = self.folder.path();
        let log = File::options().create(true).append(true).open(path.join("log")).expect("a log");
        let mut command = owned(&self.binaries.join("postgres"), self.owner);
        command.current_dir(path).arg("-D").arg(path.join("data")).arg("-k").arg(path);
        command.args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]);
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        let log_too = log.try_clone().expect("a log");
        let server =
            command.stdin(Stdio::null()).stdout(log).stderr(log_too).spawn().expect("postgres starts");
        self.server = Some(server);
        self.wait_until_it_answers();
    }

    fn wait_until_it_answers(&mut self) {
        let begun = Instant::now();
        while !self.client("pg_isready").arg("-q").status().expect("pg_isready runs").success() {
            let ended = self.server.as_mut().expect("started").try_wait().expect("a child");
            let log = || fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(ended.is_none() && begun.elapsed() < PATIENCE, "PostgreSQL does not answer:\n{}", log());
            std::thread::yield_now();
        }
    }

    /// Ends every process of it at once, as a power cut would; it recovers when started again.
    pub fn stop_at_once(&mut self) {
        self.stop_by(Signal::QUIT);
    }

    /// Stops it as its operator would: sessions are ended, what they did is written out.
    pub fn stop(&mut self) {
        self.stop_by(Signal::INT);
    }

    /// One of its processes dies, as one that ran out of memory. It ends all others, recovers, and goes on by itself.
    pub fn crash(&self) {
        // The first that the postmaster started is always there; the last may be a session that has just ended.
        let oldest = self.processes().into_iter().nth(1).expect("it has some");
        kill_process(oldest, Signal::KILL).expect("it ran");
    }

    /// A copy of it as it is now, taken while it runs; what is done later is not in it.
    pub fn back_up(&self) -> Backup {
        let folder = tempfile::tempdir().expect("a folder");
        give(folder.path(), self.owner);
        let mut command = owned(&self.binaries.join("pg_basebackup"), self.owner);
        command.current_dir(folder.path()).args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        command.args(["-U", "postgres", "--checkpoint=fast", "--no-sync", "-D"]);
        let ran = command.arg(folder.path().join("data")).output().expect("pg_basebackup runs");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        Backup(folder)
    }

    /// It is lost, and a standby that had come as far as this backup is promoted: the same address, another timeline.
    pub fn fail_over_to(&mut self, standby: Backup) {
        File::create(standby.0.path().join("data/standby.signal")).expect("a file");
        self.put_back(standby);
        assert_eq!(self.sql("SELECT pg_promote()"), "t");
    }

    /// It is lost, and a backup is put in its place: the same address, and the same timeline, told differently.
    pub fn put_back(&mut self, backup: Backup) {
        self.stop_at_once();
        self.folder = backup.0;
        self.start_again();
    }

    fn stop_by(&mut self, signal: Signal) {
        if let Some(mut server) = self.server.take() {
            let _ = kill_process(Pid::from_child(&server), signal);
            server.wait().expect("ends");
        }
    }

    /// Stops every process of it in its tracks.
    pub fn pause(&self) {
        self.signal_all(Signal::STOP);
    }

    /// Lets every process go on.
    pub fn resume(&self) {
        self.signal_all(Signal::CONT);
    }

    fn signal_all(&self, signal: Signal) {
        for pid in self.processes() {
            let _ = kill_process(pid, signal);
        }
    }

    /// Every process of it; the first one started the others.
    pub fn processes(&self) -> Vec<Pid> {
        let postmaster = Pid::from_child(self.server.as_ref().expect("runs"));
        std::iter::once(postmaster).chain(children(postmaster)).collect()
    }

    /// The address, in the open.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Runs SQL as its superuser; what it gives, one line a row.
    pub fn sql(&self, sql: &str) -> String {
        let ran = self.client("psql").args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql]).output();
        let ran = ran.expect("psql runs");
        assert!(ran.status.success(), "{sql}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).expect("text").trim_end().to_owned()
    }

    /// Ends every session of the gateway, as `pg_terminate_backend` does; returns how many there were.
    pub fn terminate_sessions(&self) -> usize {
        let ended = self.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'douane%'",
        );
        ended.lines().count()
    }

    /// Ends one session of a gateway, whichever chance finds.
    pub fn terminate_one_session(&self) {
        self.sql(
            "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity
             WHERE application_name LIKE 'douane%' ORDER BY random() LIMIT 1) AS session",
        );
    }

    /// The settings of a ledger on this server.
    pub fn config(&self, schema: &str) -> LedgerConfig {
        LedgerConfig { url: Some(self.url()), schema: schema.to_owned(), ..LedgerConfig::default() }
    }

    /// A ledger's database, as `serve` would have it.
    pub fn database(&self, schema: &str) -> Database {
        database(&self.config(schema))
    }

    /// One of its own client programs, told where it is.
    pub fn client(&self, binary: &str) -> Command {
        let mut command = Command::new(self.binaries.join(binary));
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "postgres", "-d", "postgres"]);
        command.stdin(Stdio::null());
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.server.is_some() {
            self.resume();
            self.stop_at_once();
        }
    }
}

/// A database by its settings alone.
pub fn database(config: &LedgerConfig) -> Database {
    let url = config.url.as_deref().expect("a URL");
    let access = Access { url: Secret::new(url), password: None, authorities: None };
    Database::new(DatabaseSettings::new(config, &access).expect("settings")).expect("a pool")
}

fn binaries() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("initdb"));
    let mut packaged: Vec<_> = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().collect();
    packaged.sort_by_key(|entry| std::cmp::Reverse(entry.file_name()));
    let packaged = packaged.iter().map(|entry| entry.path().join("bin/initdb"));
    // A link on the path leads to where the others are.
    let found = on_path.chain(packaged).find_map(|initdb| initdb.canonicalize().ok());
    let found = found.expect("no PostgreSQL on this machine; tests/run.sh installs it");
    found.parent().expect("a folder").to_owned()
}

/// PostgreSQL refuses root.
fn owner() -> Option<Owner> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("readable");
    let named = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut ids = line.split(':').skip(2).map(|id| id.parse().ok());
        Some(Owner { uid: ids.next()??, gid: ids.next()?? })
    };
    Some(named("postgres").or_else(|| named("nobody")).expect("a user that is not root"))
}

fn owned(program: &Path, owner: Option<Owner>) -> Command {
    let mut command = Command::new(program);
    if let Some(owner) = owner {
        command.gid(owner.gid).uid(owner.uid);
    }
    command
}

fn give(path: &Path, owner: Option<Owner>) {
    if let Some(owner) = owner {
        chown(path, Some(owner.uid), Some(owner.gid)).expect("given");
    }
}

/// A data folder to copy: to make one takes longer than to copy it. Made once a build, by whichever test is first.
fn template(binaries: &Path, owner: Option<Owner>, segments: Segments) -> PathBuf {
    let megabytes = segments as u32;
    let version = Command::new(binaries.join("postgres")).arg("--version").output().expect("runs").stdout;
    let version: String = String::from_utf8_lossy(&version).chars().filter(char::is_ascii_digit).collect();
    let shared = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(shared).expect("a folder");
    let lock = File::create(shared.join("postgres.lock")).expect("a lock");
    lock.lock().expect("locked");
    let template = shared.join(format!("postgres-{version}-{megabytes}"));
    if !template.exists() {
        // Where its owner can write; the other place may lie in somebody's home.
        let made = tempfile::tempdir().expect("a folder");
        give(made.path(), owner);
        let mut command = owned(&binaries.join("initdb"), owner);
        command.current_dir(made.path()).arg("-D").arg(made.path().join("data"));
        command.args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync"]);
        command.arg(format!("--wal-segsize={megabytes}"));
        let ran = command.output().expect("initdb runs");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        let unfinished = shared.join("postgres-unfinished");
        let _ = fs::remove_dir_all(&unfinished);
        copy(&made.path().join("data"), &unfinished);
        fs::rename(&unfinished, &template).expect("moved");
    }
    template
}

/// Copies a folder with its owners.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp runs");
    assert!(copied.success(), "{} was not copied", from.display());
}

/// Gives a server a certificate in its data folder; returns the authority's.
fn certify(data: &Path, owner: Option<Owner>) -> Vec<u8> {
    let made = Certificates::make();
    for (from, to) in [(made.key(), "server.key"), (made.server(), "server.crt")] {
        fs::copy(from, data.join(to)).expect("copied");
        fs::set_permissions(data.join(to), fs::Permissions::from_mode(0o600)).expect("set");
        give(&data.join(to), owner);
    }
    fs::read(made.authority()).expect("readable")
}

fn free_port() -> u16 {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    socket.local_addr().expect("an address").port()
}

/// The processes that a process started.
fn children(parent: Pid) -> Vec<Pid> {
    let folders = fs::read_dir("/proc").into_iter().flatten().flatten();
    let child = |folder: fs::DirEntry| {
        let pid: i32 = folder.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(folder.path().join("stat")).ok()?;
        // After the name, which may hold anything, come the state and the parent.
        let of: i32 = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
        (of == parent.as_raw_nonzero().get()).then(|| Pid::from_raw(pid)).flatten()
    };
    folders.filter_map(child).collect()
}
