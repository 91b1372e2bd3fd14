//! Room `cli`, the demo: the engines it runs over: those whose addresses were given, and for the others servers that are
//! installed on this machine, started on free ports and in temporary folders, and ended with the demo.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::Write,
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{
    app,
    brokers::NatsStream,
    cli::output,
    config::{BrokerConfig, Config, program_folders},
    ledger::postgres::migrate,
};

/// A server that was just started is asked so often, so far apart, whether it answers.
const TRIES: u32 = 300;
const BETWEEN: Duration = Duration::from_millis(100);

/// The broker of the demo, its stream and its subjects.
pub(super) const BROKER: &str = "nats";
const STREAM: &str = "DOUANE_DEMO";

#[derive(Debug, Args)]
pub(super) struct EngineArgs {
    /// Run over PostgreSQL, Redis and NATS JetStream: those given, or the servers installed on this machine, started for the demo
    #[arg(long)]
    pub(super) engines: bool,
    /// The PostgreSQL to use; a schema of the demo's own is made in it, and stays
    #[arg(long, value_name = "URL", requires = "engines")]
    postgres: Option<String>,
    /// The Redis to use; what is remembered in it for the demo expires
    #[arg(long, value_name = "URL", requires = "engines")]
    redis: Option<String>,
    /// The NATS server to use, with JetStream; a stream of the demo's own is made, and removed at the end
    #[arg(long, value_name = "URL", requires = "engines")]
    nats: Option<String>,
}

/// The engines of a demo.
pub(super) struct Engines {
    /// Where what was published can be read back.
    pub(super) stream: NatsStream,
    /// A schema in somebody's PostgreSQL, which stays.
    pub(super) left: Option<String>,
    _started: Vec<Server>,
}

impl Engines {
    /// Finds or starts them, and writes into the configuration where they are.
    pub(super) async fn set_up(
        args: &EngineArgs,
        config: &mut Config,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        for given in [&args.redis, &args.nats].into_iter().flatten() {
            // They stand in messages and on the screen.
            if given.contains('@') {
                bail!("the demo takes no login in --redis and --nats: give it servers that ask for none");
            }
        }
        let mut started = Vec::new();
        let url = match &args.postgres {
            Some(url) => url.clone(),
            None => start(&mut started, postgres().await?),
        };
        config.dedupe.url = Some(match &args.redis {
            Some(url) => url.clone(),
            None => start(&mut started, redis().await?),
        });
        let nats = match &args.nats {
            Some(url) => url.clone(),
            None => start(&mut started, nats().await?),
        };
        let unique = uuid::Uuid::from_u128(chance()?).simple().to_string();
        ledger_in(config, &url, &unique[..8], folder).await?;
        let left = args.postgres.as_ref().map(|_| config.ledger.schema.clone());
        let (stream, subjects) = (format!("{STREAM}_{}", &unique[..8]), format!("demo.{}", &unique[..8]));
        config.broker = vec![broker(&nats, &stream, &subjects)?];
        let stream = NatsStream::create(&nats, &stream, &format!("{subjects}.>")).await;
        let stream = stream.with_context(|| format!("the NATS server {nats}"))?;
        Ok(Self { stream, left, _started: started })
    }
}

fn start(started: &mut Vec<Server>, (server, url): (Server, String)) -> String {
    started.push(server);
    url
}

/// A ledger of the demo's own in this PostgreSQL.
async fn ledger_in(config: &mut Config, url: &str, unique: &str, folder: &Path) -> anyhow::Result<()> {
    let (schema, key) = (format!("douane_demo_{unique}"), folder.join("demo.key"));
    let digits = hex::encode([chance()?.to_be_bytes(), chance()?.to_be_bytes()].concat());
    // In a file, because it may hold a password, and the demo shows how to reach the ledger.
    config.ledger.url = Some(private_file(&folder.join("ledger.url"), url)?);
    config.ledger.schema.clone_from(&schema);
    config.ledger.sealing_key = Some(private_file(&key, &digits)?);
    let database = app::database(&config.ledger)?;
    migrate(&database).await.context("the schema of the demo's ledger was not made")?;
    Ok(())
}

fn broker(nats: &str, stream: &str, subjects: &str) -> anyhow::Result<BrokerConfig> {
    let subject = format!("{subjects}.{{context}}.{{event}}");
    let broker = toml::toml! {
        name = "nats"
        from = "beginning"
        kind = "nats"
        servers = [nats]
        stream = stream
        subject = subject
    };
    Ok(serde::Deserialize::deserialize(toml::Value::Table(broker))?)
}

/// Writes what only its owner may read; gives where it stands, as a setting says it.
fn private_file(path: &Path, text: &str) -> anyhow::Result<String> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    Ok(format!("file:{}", path.display()))
}

fn chance() -> anyhow::Result<u128> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(u128::from_be_bytes(bytes))
}

/// A server that the demo started; ended with it.
struct Server {
    child: Child,
    _folder: TempDir,
}

impl Server {
    /// Starts it and waits until it takes connections.
    async fn start(mut command: Command, folder: TempDir, address: SocketAddr) -> anyhow::Result<Self> {
        let log = File::create(folder.path().join("server.log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child =
            command.spawn().with_context(|| format!("{} does not start", command.get_program().display()))?;
        let mut server = Self { child, _folder: folder };
        let mut look = tokio::time::interval(BETWEEN);
        for _ in 0..TRIES {
            look.tick().await;
            if TcpStream::connect(address).is_ok() {
                return Ok(server);
            }
            if let Some(status) = server.child.try_wait()? {
                bail!("{} ended at once ({status})", command.get_program().display());
            }
        }
        bail!("{} does not answer", command.get_program().display())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // For PostgreSQL this ends its children too, and for NATS it is an end like any other.
        let asked = kill_process(Pid::from_child(&self.child), Signal::INT);
        if asked.is_err() || self.child.wait().is_err() {
            let _ = self.child.kill();
        }
    }
}

async fn redis() -> anyhow::Result<(Server, String)> {
    let program = program("redis-server", &[])
        .context("no Redis is installed (tests/run.sh installs one), and --redis names none")?;
    let (folder, address) = (tempfile::tempdir()?, free_address()?);
    let mut command = Command::new(program);
    command.args(["--bind", "127.0.0.1", "--port", &address.port().to_string(), "--save", ""]);
    command.arg("--dir").arg(folder.path());
    let server = Server::start(command, folder, address).await?;
    output::say(&format!("Redis runs for the demo at {address}."));
    Ok((server, format!("redis://{address}")))
}

async fn nats() -> anyhow::Result<(Server, String)> {
    let program = program("nats-server", &[])
        .context("no NATS server is installed (tests/run.sh installs one), and --nats names none")?;
    let (folder, address) = (tempfile::tempdir()?, free_address()?);
    let mut command = Command::new(program);
    command.args(["--jetstream", "--addr", "127.0.0.1", "--port", &address.port().to_string()]);
    command.arg("--store_dir").arg(folder.path());
    let server = Server::start(command, folder, address).await?;
    output::say(&format!("NATS runs for the demo at {address}."));
    Ok((server, format!("nats://{address}")))
}

async fn postgres() -> anyhow::Result<(Server, String)> {
    let mut packaged: Vec<_> = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().collect();
    packaged.sort_by_key(|entry| std::cmp::Reverse(entry.file_name()));
    let packaged: Vec<_> = packaged.iter().map(|entry| entry.path().join("bin")).collect();
    let initdb = program("initdb", &packaged)
        .context("no PostgreSQL is installed (tests/run.sh installs one), and --postgres names none")?;
    // A link on the path leads to where the others are.
    let postgres = initdb.canonicalize()?.with_file_name("postgres");
    let (folder, address, user) = (tempfile::tempdir()?, free_address()?, user()?);
    let data = folder.path().join("data");
    if let Some(user) = user {
        std::os::unix::fs::chown(folder.path(), Some(user.uid), Some(user.gid))?;
    }
    let mut initdb = as_user(&initdb, user, folder.path());
    initdb.arg("-D").arg(&data).args([
        "-A",
        "trust",
        "-U",
        "postgres",
        "-E",
        "UTF8",
        "--locale=C",
        "--no-sync",
    ]);
    let made = initdb.stdin(Stdio::null()).output()?;
    if !made.status.success() {
        bail!("initdb: {}", String::from_utf8_lossy(&made.stderr).trim());
    }
    let mut command = as_user(&postgres, user, folder.path());
    command.arg("-D").arg(&data).arg("-k").arg(folder.path());
    command.args(["-p", &address.port().to_string(), "-c", "listen_addresses=127.0.0.1"]);
    let server = Server::start(command, folder, address).await?;
    output::say(&format!("PostgreSQL runs for the demo at {address}."));
    Ok((server, format!("postgres://postgres@{address}/postgres")))
}

#[derive(Clone, Copy)]
struct User {
    uid: u32,
    gid: u32,
}

/// PostgreSQL refuses root: as whom it runs then.
fn user() -> anyhow::Result<Option<User>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")?;
    let named = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut ids = line.split(':').skip(2).map(|id| id.parse().ok());
        Some(User { uid: ids.next()??, gid: ids.next()?? })
    };
    let user = named("postgres").or_else(|| named("nobody"));
    Ok(Some(user.ok_or_else(|| anyhow!("PostgreSQL refuses root, and there is no user postgres or nobody"))?))
}

fn as_user(program: &Path, user: Option<User>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder);
    if let Some(user) = user {
        command.gid(user.gid).uid(user.uid);
    }
    command
}

fn program(name: &str, more: &[PathBuf]) -> Option<PathBuf> {
    let named = OsString::from(name);
    let mut folders = program_folders(name).into_iter().chain(more.iter().cloned());
    folders.find_map(|folder| Some(folder.join(&named)).filter(|program| program.is_file()))
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
