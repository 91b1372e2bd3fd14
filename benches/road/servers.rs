//! The four servers. Each prints one line when it listens: public address, private address, token or `-`, and how many
//! deliveries it already holds.

use std::{
    fs::File,
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
use tokio::sync::{mpsc, oneshot};

use crate::{
    process,
    report::{self, Row},
    stripe,
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

async fn serve_ceiling(writer: Option<Writer>) -> Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    process::announce(address, address, "-", 0)?;
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
    if !stripe::signed(&headers, &body) {
        return StatusCode::UNAUTHORIZED;
    }
    match writer {
        None => StatusCode::OK,
        Some(writer) if writer.append(body).await => StatusCode::OK,
        Some(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
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
    config.mappings.path = stripe::mappings(folder)?;
    config.process.roles = roles;
    let gateway = Gateway::start(config, Options::for_development()).await?;
    let kept = gateway.ledger().log.durable().0;
    let public = gateway.public().context("the public door is open")?;
    process::announce(public, gateway.private(), gateway.local_token(), kept)?;
    gateway.run(std::future::pending()).await
}
