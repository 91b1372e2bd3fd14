//! What waits for the feed: published is what stands in it.

use std::{
    slice::from_ref,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    load::{self, Run},
    process::Server,
};

/// Posts until the server has kept this many deliveries and published them all.
pub async fn fill(server: &Server, total: u64) -> Result<()> {
    load::count(from_ref(server), total.saturating_sub(server.kept)).await?;
    wait_for_event(server, total).await
}

/// Waits until what was acked since the server started is in the feed, so that the next one does not begin with its work.
pub async fn settle(server: &Server, acks: u64) -> Result<()> {
    wait_for_event(server, server.kept + acks).await
}

/// A closed loop, and then the wait for the last event in the feed. `took` is first ack → last event.
pub async fn end_to_end(server: &Server, how_long: Duration) -> Result<Run> {
    let began = Instant::now();
    let watch = tokio::spawn(print_lag(server.private));
    let mut run = load::closed_loop(from_ref(server), how_long).await?;
    settle(server, run.acks).await?;
    watch.abort();
    run.took = began.elapsed();
    Ok(run)
}

/// Waits until the feed holds this event. Every body of the load becomes one domain event.
async fn wait_for_event(server: &Server, number: u64) -> Result<()> {
    let url = format!("http://{}/api/v1/events?limit=1&after={}", server.private, number - 1);
    let client = reqwest::Client::builder().no_proxy().build()?;
    loop {
        let answer = client.get(&url).bearer_auth(&server.token).send().await?;
        // Until the feed comes near it refuses a cursor beyond its end.
        let ahead = answer.status() == reqwest::StatusCode::CONFLICT;
        if !ahead && !answer.error_for_status()?.bytes().await?.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn print_lag(private: std::net::SocketAddr) {
    let mut second = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        second += 1;
        let Ok(answer) = reqwest::get(format!("http://{private}/metrics")).await else { return };
        let text = answer.text().await.unwrap_or_default();
        let lag = text.lines().find(|line| line.starts_with("douane_translation_lag_entries"));
        let lag = lag.and_then(|line| line.rsplit(' ').next()).unwrap_or("?");
        println!("  {second:>3} s: {lag} entries behind");
    }
}
