//! The real binary as a process of its own, so that it can be killed.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::wire;

/// The secret that stands in the environment of every gateway started here.
pub const STRIPE_SECRET: &str = "whsec_it_9f8e7d6c5b4a39281706f5e4d3c2b1a0";

/// The shipped mappings.
pub fn mappings() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("mappings")
}

/// A running `douane serve`; killed when dropped.
pub struct Process {
    child: Child,
    /// Port 0 without the role intake.
    pub public: SocketAddr,
    pub private: SocketAddr,
    pub token: String,
    log: Log,
    _reader: std::thread::JoinHandle<()>,
}

/// The lines that a process wrote to its log.
type Log = Arc<Mutex<Vec<String>>>;

/// The binary with what every test gives it.
pub fn douane() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_douane"));
    command
        .env_clear()
        .env("STRIPE_WEBHOOK_SECRET", STRIPE_SECRET)
        .env("PATH", "/usr/bin:/bin")
        .env("USER", "ada");
    command
}

/// Whom the journal names for a verb that a test ran: the test's own account, and the name in the verb's environment.
pub fn who_runs_verbs() -> String {
    let uid = rustix::process::getuid().as_raw().to_string();
    let accounts = std::fs::read_to_string("/etc/passwd").expect("readable");
    let mut accounts = accounts.lines().map(|line| line.split(':').collect::<Vec<_>>());
    match accounts.find(|account| account.get(2) == Some(&uid.as_str())).map(|account| account[0]) {
        Some("ada") => format!("cli:uid={uid}(ada)"),
        Some(name) => format!("cli:uid={uid}({name}) named=ada"),
        None => format!("cli:uid={uid} named=ada"),
    }
}

/// Runs a verb to its end.
pub fn run(arguments: &[&str]) -> Output {
    douane().args(arguments).output().expect("the binary runs")
}

/// How a verb ended and what it said.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// What it wrote, as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Fails unless it ended with this code.
    pub fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.err);
        self
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// Runs a verb on a data folder and a mappings folder.
pub fn run_in(data: &Path, mappings: &Path, arguments: &[&str]) -> Ran {
    let mut command = douane();
    command.args(arguments).arg("--data-dir").arg(data).arg("--mappings").arg(mappings);
    command.output().expect("the binary runs").into()
}

impl Process {
    /// Starts a gateway on a data folder with the shipped mappings.
    pub fn start(data: &Path) -> Self {
        Self::start_with(data, &mappings(), &[])
    }

    /// Starts a gateway with more settings, as `("DOUANE_INTAKE_BODY_TIMEOUT", "1s")`.
    pub fn start_with(data: &Path, mappings: &Path, environment: &[(&str, &str)]) -> Self {
        let started = Self::try_start(douane().envs(environment.iter().copied()), data, mappings);
        started.unwrap_or_else(|ended| panic!("the gateway did not start: {ended}"))
    }

    /// Runs `serve` as `binary` says; or tells how it ended before it served.
    pub fn try_start(binary: &mut Command, data: &Path, mappings: &Path) -> Result<Self, ExitStatus> {
        let mut child = binary
            .args(["serve", "--listen", "127.0.0.1:0", "--private-listen", "127.0.0.1:0"])
            .args(["--log-format", "json"])
            .arg("--data-dir")
            .arg(data)
            .arg("--mappings")
            .arg(mappings)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let log = Log::default();
        let stderr = child.stderr.take().expect("standard error");
        let (ready, reader) = wait_until_serving(stderr, Arc::clone(&log));
        if !ready {
            let _ = child.kill();
            return Err(child.wait().expect("ended"));
        }
        let text = std::fs::read_to_string(data.join("serving.json")).expect("says where it serves");
        let serving: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let address = |name: &str| serving[name].as_str().unwrap_or("0.0.0.0:0").parse().expect("an address");
        Ok(Self {
            public: address("public"),
            private: address("private"),
            token: serving["token"].as_str().expect("a token").to_owned(),
            child,
            log,
            _reader: reader,
        })
    }

    /// How often its log says something.
    pub fn told(&self, text: &str) -> usize {
        self.log.lock().expect("not poisoned").iter().filter(|line| line.contains(text)).count()
    }

    /// How it ended by itself, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("known")
    }

    /// Ends it where it stands, as the runtime does when a stack overflows: SIGABRT.
    pub fn abort(&self) {
        self.signal(Signal::ABORT);
    }

    /// Stops it in the middle of whatever it does: SIGSTOP.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on: SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills it as a power switch would: SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("reaped");
    }

    /// Asks it to stop and waits for it to end: SIGTERM.
    pub fn terminate(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.child.wait().expect("ended")
    }

    /// Tells it to reload: SIGHUP.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// The scheduling policy of each of its threads, as proc_pid_stat(5) has it.
    pub fn policies(&self) -> Vec<u32> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it runs");
        // A thread may end while one looks.
        let stats = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok());
        // After the name, which may hold anything, the fields begin with the third; the policy is the 41st.
        let policy = |stat: String| stat.rsplit_once(')')?.1.split_whitespace().nth(38)?.parse().ok();
        stats.map(|stat| policy(stat).expect("a policy")).collect()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("signalled");
    }

    /// Posts a body as Stripe would.
    pub fn post_stripe(&self, body: &[u8]) -> wire::Answer {
        let signature = wire::stripe_signature(STRIPE_SECRET, body, wire::now_seconds());
        let headers = [("content-type", "application/json"), ("stripe-signature", signature.as_str())];
        wire::exchange(self.public, "POST", "/in/stripe", &headers, body)
    }

    /// Asks the private door.
    pub fn get(&self, path: &str) -> wire::Answer {
        self.try_get(path).expect("answered")
    }

    /// Asks the private door of a process that may be gone.
    pub fn try_get(&self, path: &str) -> std::io::Result<wire::Answer> {
        let bearer = format!("Bearer {}", self.token);
        let request = wire::request("GET", path, &[("authorization", &bearer)], b"");
        wire::try_exchange(self.private, &request)
    }

    /// Asks the private door for something, with a token and a JSON body.
    pub fn ask(&self, method: &str, path: &str, token: &str, body: &serde_json::Value) -> wire::Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        wire::exchange(self.private, method, path, &headers, body.to_string().as_bytes())
    }

    /// A figure of /metrics; 0 when it has not appeared.
    pub fn metric(&self, name: &str) -> f64 {
        let text = String::from_utf8(self.get("/metrics").body).expect("text");
        let lines = text.lines().filter(|line| line.starts_with(name) && !line.starts_with('#'));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits until the feed holds so many events or a deadline passes.
    pub fn wait_for_event(&self, number: u64) {
        let path = format!("/api/v1/events?limit=1&after={}", number.saturating_sub(1));
        self.wait_until(&path, |answer| answer.status == 200 && !answer.body.is_empty());
    }

    /// Asks again and again until the answer is as wanted; panics after a while.
    pub fn wait_until(&self, path: &str, wanted: impl Fn(&wire::Answer) -> bool) {
        let began = Instant::now();
        while !wanted(&self.get(path)) {
            assert!(began.elapsed() < Duration::from_mins(1), "waited in vain for {path}");
            std::thread::yield_now();
        }
    }
}

/// Reads the log until it says that the gateway serves; goes on reading so that the pipe never fills.
fn wait_until_serving(stderr: ChildStderr, log: Log) -> (bool, std::thread::JoinHandle<()>) {
    let (told, heard) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if line.contains("\"serving\"") {
                let _ = told.send(());
            } else if std::env::var_os("DOUANE_TEST_LOG").is_some() {
                eprintln!("{line}");
            }
            log.lock().expect("not poisoned").push(line);
        }
    });
    (heard.recv_timeout(Duration::from_mins(1)).is_ok(), reader)
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
