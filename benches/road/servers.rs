//! The four servers. Each prints one line when it listens: public address, private address, token or `-`, and how many
//! deliveries it already holds.

use std::{
    fs::File,
    io::Write,
    net::SocketAddr,
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context, Result, bail};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use douane::{
    app::{Gateway, Options},
    config::{Config, Roles},
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::sync::{mpsc, oneshot};

use crate::{
    load::SECRET,
    report::{self, Row},
};

/// The closed-loop servers and their rows, in the order of the report.
pub const KINDS: [(&str, Row); 4] =
    [("bare", report::BARE), ("ceiling", report::CEILING), ("acks", report::ACKS), ("road", report::ROAD)];
const MOST_WAITING: usize = 1_024;

/// Runs one server until it is killed.
pub fn run(kind: &str, folder: &Path) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match kind {
            "bare" => serve_ceiling(None).await,
            "ceiling" => serve_ceiling(Some(Writer::start(folder)?)).await,
            "acks" => serve_douane(folder, Roles { translate: false, publish: false, ..Roles::ALL }).await,
            "road" => serve_douane(folder, Roles::ALL).await,
            other => bail!("no server is called {other}"),
        }
    })
}

fn announce(public: SocketAddr, private: SocketAddr, token: &str, kept: u64) -> Result<()> {
    println!("{public} {private} {token} {kept}");
    Ok(std::io::stdout().flush()?)
}

async fn serve_ceiling(writer: Option<Writer>) -> Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    announce(address, address, "-", 0)?;
    let app =
        Router::new().route("/in/stripe", post(accept)).route("/metrics", get(commits)).with_state(writer);
    Ok(axum::serve(listener, app).await?)
}

/// The two lines of douane's metrics that the report reads.
async fn commits(State(writer): State<Option<Writer>>) -> String {
    let Some(writer) = writer else { return String::new() };
    let (count, entries) =
        (writer.tally.commits.load(Ordering::Relaxed), writer.tally.entries.load(Ordering::Relaxed));
    format!("douane_commit_batch_entries_count {count}\ndouane_commit_batch_entries_sum {entries}\n")
}

async fn accept(State(writer): State<Option<Writer>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    if !signed(&headers, &body) {
        return StatusCode::UNAUTHORIZED;
    }
    match writer {
        None => StatusCode::OK,
        Some(writer) if writer.append(body).await => StatusCode::OK,
        Some(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn signed(headers: &HeaderMap, body: &[u8]) -> bool {
    let header = headers.get("stripe-signature").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let part = |name: &str| header.split(',').find_map(|part| part.strip_prefix(name));
    let (Some(time), Some(signature)) = (part("t="), part("v1=")) else { return false };
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length is a key");
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(body);
    hex::decode(signature).is_ok_and(|signature| mac.verify_slice(&signature).is_ok())
}

/// A body that waits, and whom to tell when it is kept.
type Waiting = (Bytes, oneshot::Sender<()>);

/// The durable ceiling: one `write` and one `fdatasync` for all that wait.
#[derive(Clone)]
struct Writer {
    queue: mpsc::Sender<Waiting>,
    tally: Arc<Tally>,
}

#[derive(Default)]
struct Tally {
    commits: AtomicU64,
    entries: AtomicU64,
}

impl Writer {
    fn start(folder: &Path) -> Result<Self> {
        let file = File::create(folder.join("ceiling"))?;
        let (queue, receiver) = mpsc::channel(4_096);
        let tally = Arc::new(Tally::default());
        let writer = Self { queue, tally: tally.clone() };
        std::thread::spawn(move || write_all(&file, receiver, &tally));
        Ok(writer)
    }

    async fn append(&self, body: Bytes) -> bool {
        let (done, wait) = oneshot::channel();
        self.queue.send((body, done)).await.is_ok() && wait.await.is_ok()
    }
}

fn write_all(file: &File, mut receiver: mpsc::Receiver<Waiting>, tally: &Tally) {
    let (mut waiting, mut buffer, mut end) = (Vec::new(), Vec::new(), 0_u64);
    while receiver.blocking_recv_many(&mut waiting, MOST_WAITING) > 0 {
        buffer.clear();
        for (body, _) in &waiting {
            buffer.extend_from_slice(body);
        }
        file.write_all_at(&buffer, end).expect("the disk takes it");
        file.sync_data().expect("the disk keeps it");
        end += buffer.len() as u64;
        tally.commits.fetch_add(1, Ordering::Relaxed);
        tally.entries.fetch_add(waiting.len() as u64, Ordering::Relaxed);
        for (_, done) in waiting.drain(..) {
            let _ = done.send(());
        }
    }
}

async fn serve_douane(folder: &Path, roles: Roles) -> Result<()> {
    let mut config = Config::default();
    config.listen.public = "127.0.0.1:0".parse()?;
    config.listen.private = "127.0.0.1:0".parse()?;
    config.ledger.data_dir = folder.join("data");
    config.mappings.path = mappings(folder)?;
    config.process.roles = roles;
    let gateway = Gateway::start(config, Options::for_development()).await?;
    let kept = gateway.ledger().log.durable().0;
    announce(
        gateway.public().context("the public door is open")?,
        gateway.private(),
        gateway.local_token(),
        kept,
    )?;
    gateway.run(std::future::pending()).await
}

/// The shipped mappings, with the load's secret for Stripe.
fn mappings(folder: &Path) -> Result<std::path::PathBuf> {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("mappings");
    let copy = folder.join("mappings");
    copy_folder(&shipped.join("contracts"), &copy.join("contracts"))?;
    copy_folder(&shipped.join("partners/stripe"), &copy.join("partners/stripe"))?;
    let file = copy.join("partners/stripe/partner.toml");
    let text: Arc<str> = std::fs::read_to_string(&file)?.into();
    let mut partner: toml::Table = toml::from_str(&text)?;
    for (_, secret) in partner["test"]["secrets"].as_table_mut().into_iter().flatten() {
        *secret = SECRET.into();
    }
    std::fs::write(&file, toml::to_string(&partner)?)?;
    Ok(copy)
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
