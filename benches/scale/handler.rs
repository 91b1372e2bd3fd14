//! What people write by hand: check the HMAC, ask Redis whether the id is new (`SET NX`), insert the delivery with a commit
//! of its own, answer. Nothing is translated or published. Pooled, pipelined where it can be, statements prepared once.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use deadpool_postgres::{Manager, Pool};
use redis::aio::MultiplexedConnection;
use serde::Deserialize;
use tokio_postgres::NoTls;

use crate::{
    engines::{Engines, FRESH},
    process::{self, Server},
    stripe,
};

/// Tried: 8, 16, 32 and 64. More share a sync; beyond these they only wait for a core.
const CONNECTIONS: usize = 32;
const INSERT: &str = "INSERT INTO deliveries (external_id, headers, body) VALUES ($1, $2::text::jsonb, $3)";
/// As long as a gateway remembers ids.
const WINDOW_SECONDS: u64 = 35 * 24 * 3_600;

#[derive(Clone)]
struct Handler {
    pool: Pool,
    redis: MultiplexedConnection,
}

#[derive(Deserialize)]
struct Event {
    id: String,
}

/// Starts one.
pub fn start(engines: &Engines, folder: &Path) -> Result<Server> {
    fs::write(folder.join("engines"), format!("{}\n{}\n", engines.postgres.url(), engines.redis(FRESH)))?;
    Server::start("handler", folder)
}

/// Runs it until it is killed.
pub async fn serve(folder: &Path) -> Result<()> {
    let text = fs::read_to_string(folder.join("engines"))?;
    let (postgres, redis) = text.trim_end().split_once('\n').context("two addresses")?;
    let pool = Pool::builder(Manager::new(postgres.parse()?, NoTls)).max_size(CONNECTIONS).build()?;
    let redis = redis::Client::open(redis)?.get_multiplexed_async_connection().await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    process::announce(address, address, "-", 0)?;
    let app = Router::new()
        .route("/in/stripe", post(accept))
        .route("/in/stripe/{account}", post(accept))
        .with_state(Handler { pool, redis });
    Ok(axum::serve(listener, app).await?)
}

async fn accept(State(handler): State<Handler>, headers: HeaderMap, body: Bytes) -> StatusCode {
    if !stripe::signed(&headers, &body) {
        return StatusCode::UNAUTHORIZED;
    }
    let Ok(event) = serde_json::from_slice::<Event>(&body) else { return StatusCode::BAD_REQUEST };
    match keep(handler, &event.id, &headers, &body).await {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn keep(mut handler: Handler, id: &str, headers: &HeaderMap, body: &[u8]) -> Result<()> {
    let mut set = redis::cmd("SET");
    set.arg(format!("stripe:{id}")).arg(1).arg("NX").arg("EX").arg(WINDOW_SECONDS);
    let new: Option<String> = set.query_async(&mut handler.redis).await?;
    if new.is_none() {
        return Ok(());
    }
    let headers: serde_json::Map<String, serde_json::Value> = headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().into()))
        .collect();
    let headers = serde_json::to_string(&headers)?;
    let client = handler.pool.get().await?;
    let insert = client.prepare_cached(INSERT).await?;
    client.execute(&insert, &[&id, &headers, &body]).await?;
    Ok(())
}
