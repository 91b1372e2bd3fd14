//! A server under load: this binary again, as a process of its own, and what the kernel says it used.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    /// Where deliveries go.
    pub public: SocketAddr,
    /// Metrics and feed; the ceilings tell their commits here too, at their one address.
    pub private: SocketAddr,
    /// The token of the private door.
    pub token: String,
    /// From the start of the process until it accepts.
    pub ready_after: Duration,
    /// Deliveries already kept when it started.
    pub kept: u64,
}

/// What a process has used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU time of all its threads.
    pub cpu: Duration,
    /// The most resident memory it ever had, in bytes.
    pub peak_rss: u64,
}

impl Usage {
    /// What was used since an earlier look.
    pub fn since(self, earlier: Self) -> Self {
        Self { cpu: self.cpu.saturating_sub(earlier.cpu), ..self }
    }
}

/// How often a server committed, and what.
#[derive(Clone, Copy, Debug, Default)]
pub struct Commits {
    /// Commits, each one fsync.
    pub count: u64,
    /// Entries in all of them.
    pub entries: u64,
}

impl Commits {
    /// Entries in a commit; NaN without commits.
    pub fn batch(self) -> f64 {
        self.entries as f64 / self.count as f64
    }
}

impl Server {
    /// Starts a server of this kind on a folder and waits for the line that says where it listens.
    pub fn start(kind: &str, folder: &Path) -> Result<Self> {
        let began = Instant::now();
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--server", kind])
            .arg(folder)
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take().context("no standard output")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let mut words = line.split_whitespace();
        let mut next = || words.next().unwrap_or_default().to_owned();
        let mut address = || next().parse().with_context(|| format!("{kind} did not start: {line:?}"));
        let (public, private) = (address()?, address()?);
        let token = next();
        let kept = next().parse().unwrap_or(0);
        Ok(Self { child, public, private, token, ready_after: began.elapsed(), kept })
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has used so far.
    pub fn usage(&self) -> Result<Usage> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        let kib: u64 = peak.trim().trim_end_matches(" kB").trim().parse().unwrap_or(0);
        Ok(Usage { cpu: cpu(self.id(), 2)?, peak_rss: kib * 1024 })
    }

    /// Its commits so far, by its own count; none where it does not commit.
    pub async fn commits(&self) -> Result<Commits> {
        let text = reqwest::get(format!("http://{}/metrics", self.private)).await?.text().await?;
        let value = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            line.rsplit(' ').next()?.parse::<f64>().ok().map(|it| it as u64)
        };
        Ok(Commits {
            count: value("douane_commit_batch_entries_count").unwrap_or(0),
            entries: value("douane_commit_batch_entries_sum").unwrap_or(0),
        })
    }
}

/// The CPU time of all threads of a process: the sum of so many of user time, system time, and the same two of its children
/// that have ended.
pub fn cpu(process: u32, times: usize) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // Fields 14 to 17 (in ticks, 100 a second) count from behind the name, which may hold spaces.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11);
    let ticks = fields.take(times).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}

/// Says, in a server's own process, that it listens and where, and how many deliveries it already holds.
pub fn announce(public: SocketAddr, private: SocketAddr, token: &str, kept: u64) -> Result<()> {
    println!("{public} {private} {token} {kept}");
    Ok(std::io::stdout().flush()?)
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
