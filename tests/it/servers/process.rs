//! A server as a process: found, started, killed, paused, and waited for until it answers.

use std::{
    fs::File,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// How long a server may take to start, to end or to do what is waited for. Generous: the machine may be busy.
pub const DEADLINE: Duration = Duration::from_mins(1);

/// A running server; killed when dropped.
pub struct Server {
    command: Box<dyn Fn() -> Command + Send + Sync>,
    child: Option<Child>,
    address: SocketAddr,
    log: PathBuf,
}

impl Server {
    /// Starts what `command` says and waits until it listens at `address`. What it prints goes to `log`.
    pub fn start(
        address: SocketAddr,
        log: PathBuf,
        command: impl Fn() -> Command + Send + Sync + 'static,
    ) -> Self {
        let mut server = Self { command: Box::new(command), child: None, address, log };
        server.restart();
        server
    }

    /// Where it listens, before and after a restart.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // A paused process dies of this signal too.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again, in the same folder and at the same address.
    pub fn restart(&mut self) {
        self.kill();
        let log = File::options().create(true).append(true).open(&self.log).expect("a log");
        let mut command = (self.command)();
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        self.child = Some(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")));
        let started = until(|| TcpStream::connect(self.address).is_ok() || self.ended());
        assert!(started && !self.ended(), "{command:?} does not listen:\n{}", self.printed());
    }

    /// Stops it in the middle of whatever it does: it keeps its connections and answers nothing.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// What it has printed.
    pub fn printed(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn ended(&mut self) -> bool {
        let child = self.child.as_mut().expect("it was started");
        child.try_wait().expect("the process").is_some()
    }

    fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("it runs").id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &id]).status().expect("kill");
        assert!(sent.success(), "kill -{name} {id}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Looks again and again until it holds; false when it never does.
pub fn until(mut holds: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < DEADLINE {
        if holds() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

/// An address on loopback that nobody listens at.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

/// The program of this name: on the PATH, in the system's folders or among those that tests/run.sh has installed. A server
/// that is not there fails the test: what was not run was not tested.
pub fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"].map(PathBuf::from);
    let installed = cache().join("servers").join(name).join("bin");
    let mut folders = std::env::split_paths(&path).chain(system).chain([installed]);
    let found = folders.find_map(|folder| Some(folder.join(name)).filter(|program| program.is_file()));
    found.unwrap_or_else(|| {
        panic!("{name} is not installed: run tests/run.sh, which installs what tests need")
    })
}

/// A program that tests/run.sh installs whatever the system has: its version matters.
pub fn tool(name: &str) -> PathBuf {
    let program = cache().join("tools").join("bin").join(name);
    assert!(program.is_file(), "{name} is not installed: run tests/run.sh, which installs what tests need");
    program
}

/// Where tests/run.sh installs what the system has not.
fn cache() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || set("HOME").unwrap_or_default().join(".cache");
    set("XDG_CACHE_HOME").unwrap_or_else(home).join("douane")
}

/// A new folder, short enough for sockets in it.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// The log of a server in its folder.
pub fn log_in(folder: &Path) -> PathBuf {
    folder.join("server.log")
}
