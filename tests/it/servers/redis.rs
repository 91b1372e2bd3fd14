//! A Redis of a test's own, which fsyncs what it confirms; alone, with Sentinels, or as a cluster.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use super::{
    certificate::Certificates,
    process::{Server, folder, free_address, log_in, program, until},
};

/// A running Redis.
pub struct Redis {
    pub server: Server,
    folder: tempfile::TempDir,
}

/// Starts one with these settings beside the usual, as `["--maxmemory", "1mb"]`.
pub fn start(settings: &[&str]) -> Redis {
    let (folder, address) = (folder(), free_address());
    let log = log_in(folder.path());
    let settings: Vec<_> = settings.iter().map(|&setting| setting.to_owned()).collect();
    let dir = folder.path().to_owned();
    let server = Server::start(address, log, move || {
        let mut command = Command::new(program("redis-server"));
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", "always"]);
        command.arg("--port").arg(address.port().to_string()).arg("--dir").arg(&dir).args(&settings);
        command
    });
    Redis { server, folder }
}

/// Starts one that keeps snapshots only, so that it can be given an older one.
pub fn with_snapshots() -> Redis {
    start(&["--appendonly", "no"])
}

/// Starts one that copies another, and waits until it has everything.
pub fn replica_of(primary: &Redis) -> Redis {
    let port = primary.address().port().to_string();
    let replica = start(&["--replicaof", "127.0.0.1", &port, "--repl-diskless-sync-delay", "0"]);
    assert!(
        until(|| replica.info("replication").contains("master_link_status:up")),
        "the replica never syncs"
    );
    replica
}

/// Starts a Sentinel that watches a primary under the name `memory`, and decides alone.
pub fn sentinel_of(primary: &Redis) -> Redis {
    let (folder, address) = (folder(), free_address());
    let file = folder.path().join("sentinel.conf");
    let primary = primary.address();
    let settings = format!(
        "port {}\nbind 127.0.0.1\ndir {}\nsentinel monitor memory {} {} 1\n\
         sentinel down-after-milliseconds memory 500\nsentinel failover-timeout memory 3000\n",
        address.port(),
        folder.path().display(),
        primary.ip(),
        primary.port()
    );
    fs::write(&file, settings).expect("a configuration");
    let server = Server::start(address, log_in(folder.path()), move || {
        let mut command = Command::new(program("redis-server"));
        command.arg(&file).arg("--sentinel");
        command
    });
    Redis { server, folder }
}

/// Starts a cluster of three.
pub fn cluster() -> Vec<Redis> {
    let buses: Vec<_> = (0..3).map(|_| free_address().port().to_string()).collect();
    let node = |bus: &String| start(&["--cluster-enabled", "yes", "--cluster-port", bus]);
    let nodes: Vec<Redis> = buses.iter().map(node).collect();
    for (node, slots) in nodes.iter().zip([("0", "5460"), ("5461", "10922"), ("10923", "16383")]) {
        node.tell(&["CLUSTER", "ADDSLOTSRANGE", slots.0, slots.1]);
    }
    for (other, bus) in nodes.iter().zip(&buses).skip(1) {
        nodes[0].tell(&["CLUSTER", "MEET", "127.0.0.1", &other.address().port().to_string(), bus]);
    }
    let formed = |node: &Redis| {
        let state = node.tell(&["CLUSTER", "INFO"]);
        state.contains("cluster_state:ok") && state.contains("cluster_known_nodes:3")
    };
    assert!(until(|| nodes.iter().all(formed)), "the cluster never forms");
    nodes
}

/// Starts one that speaks TLS too: gives where it does, as a client names it, and the certificates.
pub fn with_tls() -> (Redis, String, Certificates) {
    let (made, address) = (Certificates::make(), free_address());
    let path = |file: PathBuf| file.display().to_string();
    let (port, server) = (address.port().to_string(), path(made.server()));
    let (key, authority) = (path(made.key()), path(made.authority()));
    let redis = start(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        &server,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &authority,
        "--tls-auth-clients",
        "no",
    ]);
    (redis, format!("rediss://{address}"), made)
}

impl Redis {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// As a client names it.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// Says something to it with its own client; what it answered.
    pub fn tell(&self, words: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.client(words);
        let (answer, error) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        assert!(status.success() && !answer.starts_with("ERR"), "{words:?}: {answer}{error}");
        answer.trim_end().to_owned()
    }

    fn client(&self, words: &[&str]) -> Output {
        let mut command = Command::new(program("redis-cli"));
        command.args(["-h", "127.0.0.1", "-p", &self.address().port().to_string()]).args(words);
        command.output().expect("redis-cli runs")
    }

    /// One section of what it says of itself.
    pub fn info(&self, section: &str) -> String {
        self.tell(&["INFO", section])
    }

    /// A copy of its data as they are now.
    pub fn snapshot(&self) -> Vec<u8> {
        self.tell(&["SAVE"]);
        fs::read(self.dump()).expect("a snapshot")
    }

    /// Puts an older copy in the place of its data.
    pub fn go_back_to(&mut self, snapshot: &[u8]) {
        self.server.kill();
        fs::write(self.dump(), snapshot).expect("written");
        self.server.restart();
        assert!(until(|| self.client(&["PING"]).stdout.starts_with(b"PONG")), "it never loads the copy");
    }

    fn dump(&self) -> std::path::PathBuf {
        Path::join(self.folder.path(), "dump.rdb")
    }
}
