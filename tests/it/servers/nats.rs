//! A NATS server of a test's own, with JetStream.

use std::{fs, net::SocketAddr, path::PathBuf, process::Command};

use super::{
    certificate::Certificates,
    process::{Server, folder, free_address, log_in, program},
};

/// A running NATS server.
pub struct Nats {
    pub server: Server,
    _folder: tempfile::TempDir,
}

/// Starts one with these lines in its configuration beside the usual, as `max_payload: 65536`. Every write is synced.
pub fn start(settings: &str) -> Nats {
    start_syncing("sync_interval: always", settings)
}

/// Starts one as it comes: writes are synced every two minutes, which only a power cut can tell.
pub fn start_as_it_comes() -> Nats {
    start_syncing("", "")
}

fn start_syncing(syncing: &str, settings: &str) -> Nats {
    let (folder, address) = (folder(), free_address());
    let (store, file) = (folder.path().join("store"), folder.path().join("nats.conf"));
    let jetstream = format!("jetstream {{ store_dir: {:?}\n {syncing} }}", store.display().to_string());
    fs::write(&file, format!("listen: \"{address}\"\n{jetstream}\n{settings}\n")).expect("a configuration");
    let server = Server::start(address, log_in(folder.path()), move || {
        let mut command = Command::new(program("nats-server"));
        command.arg("--config").arg(&file);
        command
    });
    Nats { server, _folder: folder }
}

/// Starts one that speaks TLS with whoever wants it, and gives the certificates.
pub fn with_tls() -> (Nats, Certificates) {
    let made = Certificates::make();
    let path = |file: PathBuf| format!("{:?}", file.display().to_string());
    let tls = format!("tls {{ cert_file: {}, key_file: {} }}", path(made.server()), path(made.key()));
    (start(&format!("{tls}\nallow_non_tls: true")), made)
}

impl Nats {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// As a client names it.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address())
    }

    /// As a client names it that wants TLS.
    pub fn tls_url(&self) -> String {
        format!("tls://{}", self.address())
    }
}
