//! A RabbitMQ of a test's own, with its own epmd (Erlang's port mapper) and cookie, so that it knows no other node.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::process::{Server, folder, free_address, log_in, program};

/// A running RabbitMQ. It ends before the port mapper that it is known to.
pub struct Rabbitmq {
    pub server: Server,
    _epmd: Server,
    folder: tempfile::TempDir,
    environment: Vec<(&'static str, String)>,
    tls: SocketAddr,
}

/// Starts one with these lines in its configuration beside the usual, as `max_message_size = 65536`. It listens with TLS too.
pub fn start(settings: &str) -> Rabbitmq {
    let (folder, address, tls) = (folder(), free_address(), free_address());
    certificate(folder.path());
    let port_mapper = free_address();
    let epmd = Server::start(port_mapper, folder.path().join("epmd.log"), move || {
        let mut command = Command::new(program("epmd"));
        command.args(["-address", "127.0.0.1", "-port", &port_mapper.port().to_string()]);
        command
    });
    let environment = environment(folder.path(), address, port_mapper);
    let conf = format!(
        "listeners.tcp.1 = {address}\nlisteners.ssl.1 = {tls}\n\
         ssl_options.certfile = {0}/cert.pem\nssl_options.keyfile = {0}/key.pem\nssl_options.cacertfile = {0}/cert.pem\n\
         {settings}\n",
        folder.path().display()
    );
    fs::write(folder.path().join("rabbitmq.conf"), conf).expect("a configuration");
    fs::write(folder.path().join("plugins"), "[].\n").expect("a list of plugins");
    let server = {
        let (environment, home) = (environment.clone(), folder.path().to_owned());
        Server::start(address, log_in(folder.path()), move || {
            let mut command = Command::new(part("rabbitmq-server"));
            // Where it dies it leaves a dump.
            command.current_dir(&home);
            command.envs(environment.iter().map(|(name, value)| (name, value)));
            command
        })
    };
    Rabbitmq { server, _epmd: epmd, folder, environment, tls }
}

/// A part of RabbitMQ. The programs on the PATH want to be the system's user and its node; what they call does not.
fn part(name: &str) -> PathBuf {
    let on_path = program(name);
    let called = Path::new("/usr/lib/rabbitmq/bin").join(name);
    if called.is_file() { called } else { on_path }
}

fn environment(folder: &Path, address: SocketAddr, port_mapper: SocketAddr) -> Vec<(&'static str, String)> {
    let path = |name: &str| folder.join(name).display().to_string();
    vec![
        ("HOME", path("")),
        ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
        ("ERL_EPMD_PORT", port_mapper.port().to_string()),
        ("RABBITMQ_NODENAME", format!("test{}@localhost", address.port())),
        ("RABBITMQ_DIST_PORT", free_address().port().to_string()),
        ("RABBITMQ_MNESIA_BASE", path("mnesia")),
        ("RABBITMQ_LOG_BASE", path("log")),
        ("RABBITMQ_LOGS", "-".to_owned()),
        ("RABBITMQ_CONF_ENV_FILE", "/dev/null".to_owned()),
        ("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf")),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", path("plugins")),
        // So that the script becomes the server, which can then be killed as one process.
        ("RABBITMQ_ALLOW_INPUT", "true".to_owned()),
        ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-noinput -start_epmd false".to_owned()),
    ]
}

fn certificate(folder: &Path) {
    let mut command = Command::new(program("openssl"));
    command.current_dir(folder).args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]);
    command.args(["-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=localhost"]);
    command.args([
        "-addext",
        "subjectAltName=DNS:localhost",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
    ]);
    let made = command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("openssl");
    assert!(made.success(), "a certificate");
}

impl Rabbitmq {
    /// As a client names it.
    pub fn url(&self) -> String {
        format!("amqp://{}", self.server.address())
    }

    /// As a client names it that wants TLS.
    pub fn tls_url(&self) -> String {
        format!("amqps://localhost:{}", self.tls.port())
    }

    /// Its certificate, which no system trusts.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// What its operator does, as `["set_vm_memory_high_watermark", "0"]`.
    pub fn control(&self, arguments: &[&str]) {
        let mut command = Command::new(part("rabbitmqctl"));
        command.current_dir(self.folder.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value))).args(arguments);
        let done = command.stdin(Stdio::null()).output().expect("rabbitmqctl");
        assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
}
