//! A Redis of a test's own, which fsyncs what it confirms.

use std::{net::SocketAddr, process::Command};

use super::process::{Server, folder, free_address, log_in, program};

/// A running Redis.
pub struct Redis {
    pub server: Server,
    _folder: tempfile::TempDir,
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
    Redis { server, _folder: folder }
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
}
