//! The four servers. Each prints one line when it listens: public address, private address or `-`, token or `-`, and
//! how many deliveries it already holds.

use std::{fs::File, io::Write, os::unix::fs::FileExt, path::Path, sync::Arc};

use anyhow::{Result, bail};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use douane::{
    app::{Gateway, Options, Stages},
    config::Config,
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::sync::{mpsc, oneshot};

use crate::load::SECRET;

/// The closed-loop servers, in the order of the report.
pub const KINDS: [&str; 4] = ["bare", "ceiling", "acks", "road"];
const MOST_WAITING: usize = 1_024;

/// Runs one server until it is killed.
pub fn run(kind: &str, folder: &Path) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match kind {
            "bare" => serve_ceiling(None).await,
            "ceiling" => serve_ceiling(Some(Writer::start(folder)?)).await,
            "acks" => serve_douane(folder, Stages { translate: false, publish: false }).await,
            "road" => serve_douane(folder, Stages::default()).await,
            other => bail!("no server is called {other}"),
        }
    })
}

fn announce(public: impl std::fmt::Display, private: &str, token: &str, kept: u64) -> Result<()> {
    println!("{public} {private} {token} {kept}");
    Ok(std::io::stdout().flush()?)
}

async fn serve_ceiling(writer: Option<Writer>) -> Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    announce(listener.local_addr()?, "-", "-", 0)?;
    let app = Router::new().route("/in/stripe", post(accept)).with_state(writer);
    Ok(axum::serve(listener, app).await?)
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

/// The durable ceiling: one `write` and one `fdatasync` for all that wait.
#[derive(Clone)]
struct Writer(mpsc::Sender<(Bytes, oneshot::Sender<()>)>);

impl Writer {
    fn start(folder: &Path) -> Result<Self> {
        let file = File::create(folder.join("ceiling"))?;
        let (sender, receiver) = mpsc::channel(4_096);
        std::thread::spawn(move || write_all(&file, receiver));
        Ok(Self(sender))
    }

    async fn append(&self, body: Bytes) -> bool {
        let (done, wait) = oneshot::channel();
        self.0.send((body, done)).await.is_ok() && wait.await.is_ok()
    }
}

fn write_all(file: &File, mut receiver: mpsc::Receiver<(Bytes, oneshot::Sender<()>)>) {
    let (mut waiting, mut buffer, mut end) = (Vec::new(), Vec::new(), 0_u64);
    while receiver.blocking_recv_many(&mut waiting, MOST_WAITING) > 0 {
        buffer.clear();
        waiting.iter().for_each(|(body, _)| buffer.extend_from_slice(body));
        file.write_all_at(&buffer, end).expect("the disk takes it");
        file.sync_data().expect("the disk keeps it");
        end += buffer.len() as u64;
        for (_, done) in waiting.drain(..) {
            let _ = done.send(());
        }
    }
}

async fn serve_douane(folder: &Path, stages: Stages) -> Result<()> {
    let mut config = Config::default();
    config.listen.public = "127.0.0.1:0".parse()?;
    config.listen.private = "127.0.0.1:0".parse()?;
    config.ledger.data_dir = folder.join("data");
    config.mappings.path = mappings(folder)?;
    let gateway = Gateway::start(config, Options { stages, ..Options::for_development() }).await?;
    let kept = gateway.ledger().log.durable().0;
    announce(gateway.public(), &gateway.private().to_string(), gateway.local_token(), kept)?;
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
    let secrets = partner["test"]["secrets"].as_table_mut().into_iter().flatten();
    secrets.for_each(|(_, secret)| *secret = SECRET.into());
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
