//! The load: keep-alive connections that post distinct 2 KB Stripe bodies, signed one by one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail, ensure};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use crate::{CONNECTIONS, process::Server, stripe};

/// The secret every server checks with.
pub const SECRET: &str = "whsec_bench_3f2b8c1d9e7a6f5b4c3d2e1f";
const BODY_BYTES: usize = 2_048;

/// What one run of load achieved.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Acks.
    pub acks: u64,
    /// How long it took.
    pub took: Duration,
    /// Every latency, sorted.
    pub latencies: Vec<Duration>,
}

impl Run {
    /// Acks a second.
    pub fn rate(&self) -> f64 {
        self.acks as f64 / self.took.as_secs_f64()
    }

    /// The latency that this share of requests stayed below.
    pub fn percentile(&self, share: f64) -> Duration {
        let at = (self.latencies.len() as f64 * share) as usize;
        self.latencies.get(at.min(self.latencies.len().saturating_sub(1))).copied().unwrap_or_default()
    }
}

/// Makes distinct requests: one template, a running number in the ids, a fresh signature.
struct Requests {
    address: String,
    template: Vec<u8>,
    marks: Vec<usize>,
    next: Arc<AtomicU64>,
}

impl Requests {
    fn new(address: String, next: Arc<AtomicU64>) -> Self {
        let filler = "x".repeat(BODY_BYTES - 820);
        let text = format!(
            r#"{{"id":"evt_################","object":"event","api_version":"2025-09-30.clover","created":1764072000,"livemode":true,"pending_webhooks":1,"request":{{"id":"req_################","idempotency_key":null}},"type":"payment_intent.succeeded","data":{{"object":{{"id":"pi_################","object":"payment_intent","amount":2599,"amount_capturable":0,"amount_received":2599,"capture_method":"automatic","currency":"eur","customer":"cus_QwErTyUiOp","created":1764071990,"description":null,"latest_charge":"ch_################","livemode":true,"metadata":{{"order_id":"A-1001","note":"{filler}"}},"payment_method":"pm_1QabcdEfGhIjKlMn","payment_method_types":["card"],"receipt_email":null,"status":"succeeded"}}}}}}"#
        );
        let marks = text.match_indices("################").map(|(at, _)| at).collect();
        Self { address, template: text.into_bytes(), marks, next }
    }

    fn next(&mut self) -> Vec<u8> {
        let number = format!("{:016}", self.next.fetch_add(1, Ordering::Relaxed));
        for mark in &self.marks {
            self.template[*mark..mark + 16].copy_from_slice(number.as_bytes());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length is a key");
        mac.update(format!("{now}.").as_bytes());
        mac.update(&self.template);
        let signature = hex::encode(mac.finalize().into_bytes());
        let mut request = format!(
            "POST {} HTTP/1.1\r\nhost: bench\r\nuser-agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)\r\n\
             accept: */*\r\ncontent-type: application/json; charset=utf-8\r\nstripe-signature: t={now},v1={signature}\r\n\
             content-length: {}\r\n\r\n",
            self.address,
            self.template.len()
        )
        .into_bytes();
        request.extend_from_slice(&self.template);
        request
    }
}

/// One keep-alive connection.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(server: &Server) -> Result<Self> {
        let stream = TcpStream::connect(server.public).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; 16 * 1024] })
    }

    /// Posts and waits for the whole answer, which must be 200.
    async fn post(&mut self, request: &[u8]) -> Result<()> {
        self.stream.write_all(request).await?;
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[filled..]).await?;
            ensure!(read > 0, "the server closed the connection");
            filled += read;
            if let Some(length) = whole_answer(&self.buffer[..filled])? {
                ensure!(length == filled, "more than one answer");
                return Ok(());
            }
        }
    }
}

/// The length of the answer when all of it is there.
fn whole_answer(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&bytes[..head])?;
    if !text.starts_with("HTTP/1.1 200") {
        bail!("refused: {}", text.lines().next().unwrap_or_default());
    }
    let length = text.lines().filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let whole = head + 4 + length.context("no content-length")?;
    Ok((bytes.len() >= whole).then_some(whole))
}

/// Every connection posts again as soon as it is answered. Connections are spread over the servers.
pub async fn closed_loop(servers: &[Server], how_long: Duration) -> Result<Run> {
    drive(servers, Until::Elapsed(how_long), None).await
}

/// A closed loop of so many requests.
pub async fn count(servers: &[Server], count: u64) -> Result<Run> {
    drive(servers, Until::Count(count), None).await
}

/// A fixed rate, spread over the connections; latency counts from when a request was due.
pub async fn paced(servers: &[Server], a_second: u64, how_long: Duration) -> Result<Run> {
    let gap = Duration::from_secs_f64(CONNECTIONS as f64 / a_second as f64);
    drive(servers, Until::Elapsed(how_long), Some(gap)).await
}

/// How many were sent by all runs together: no run repeats the ids of another.
static SENT: AtomicU64 = AtomicU64::new(0);

#[derive(Clone, Copy)]
enum Until {
    Elapsed(Duration),
    Count(u64),
}

async fn drive(servers: &[Server], until: Until, gap: Option<Duration>) -> Result<Run> {
    let kept = servers.iter().map(|server| server.kept).max().unwrap_or(0);
    let next = Arc::new(AtomicU64::new(kept.max(SENT.load(Ordering::Relaxed)) + 1));
    let left = Arc::new(AtomicU64::new(match until {
        Until::Count(count) => count,
        Until::Elapsed(_) => u64::MAX,
    }));
    let began = Instant::now();
    let deadline = match until {
        Until::Elapsed(how_long) => Some(began + how_long),
        Until::Count(_) => None,
    };
    let mut tasks = JoinSet::new();
    for (place, server) in (0..CONNECTIONS).zip(servers.iter().cycle()) {
        // Every server gets of everybody's.
        let address = stripe::address(place / servers.len() as u64);
        let connection = Connection::open(server).await?;
        let first_due = gap.map(|gap| began + gap.mul_f64(place as f64 / CONNECTIONS as f64));
        tasks.spawn(one_connection(
            connection,
            Requests::new(address, next.clone()),
            left.clone(),
            deadline,
            first_due.zip(gap),
        ));
    }
    let mut latencies = Vec::new();
    while let Some(done) = tasks.join_next().await {
        latencies.extend(done??);
    }
    let took = began.elapsed();
    SENT.fetch_max(next.load(Ordering::Relaxed), Ordering::Relaxed);
    latencies.sort_unstable();
    Ok(Run { acks: latencies.len() as u64, took, latencies })
}

async fn one_connection(
    mut connection: Connection,
    mut requests: Requests,
    left: Arc<AtomicU64>,
    deadline: Option<Instant>,
    pace: Option<(Instant, Duration)>,
) -> Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    let mut due = pace.map(|(first, _)| first);
    loop {
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) || !take_one(&left) {
            return Ok(latencies);
        }
        if let Some(due) = due {
            tokio::time::sleep_until(due.into()).await;
        }
        let request = requests.next();
        let began = due.unwrap_or_else(Instant::now);
        connection.post(&request).await?;
        latencies.push(began.elapsed());
        due = due.zip(pace).map(|(due, (_, gap))| due + gap);
    }
}

fn take_one(left: &AtomicU64) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}
