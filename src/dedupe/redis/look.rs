//! Room `dedupe`, Redis: what `doctor` wants to know of a server. Reads, and changes nothing.

use std::collections::HashMap;

use redis::{Value, cmd, pipe};
use tokio::time::timeout;

use super::{
    link::{Line, RedisAccess, Topology},
    only,
};
use crate::dedupe::memory::MemoryError;

/// How a server is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Its version, as it says.
    pub version: String,
    /// What it does when its memory is full: anything but `noeviction` takes keys away.
    pub eviction: String,
    /// Bytes it may use; 0 is no limit.
    pub most_bytes: u64,
    /// Bytes it uses.
    pub used_bytes: u64,
}

/// Looks at the server, or at the first node of a cluster that is named.
pub async fn look(access: &RedisAccess) -> Result<Health, MemoryError> {
    let told = |error: redis::RedisError| MemoryError(error.to_string());
    let dialled = async {
        match access.topology {
            Topology::Cluster => Line::dial_first(access).await,
            Topology::Single | Topology::Sentinel { .. } => Line::dial(access).await,
        }
    };
    let mut info = pipe();
    info.add_command(cmd("INFO"));
    let answered = timeout(access.connect_timeout, async { dialled.await?.send(&info).await }).await;
    let answers =
        answered.map_err(|_| MemoryError(format!("no answer within {:?}", access.connect_timeout)))?;
    health(answers.map_err(told)?)
}

fn health(answers: Vec<Value>) -> Result<Health, MemoryError> {
    let text: String = only(answers)?;
    let lines: HashMap<&str, &str> = text.lines().filter_map(|line| line.trim().split_once(':')).collect();
    let word = |name| lines.get(name).copied().unwrap_or_default().to_owned();
    let number = |name| lines.get(name).and_then(|number| number.parse().ok()).unwrap_or_default();
    Ok(Health {
        version: word("redis_version"),
        eviction: word("maxmemory_policy"),
        most_bytes: number("maxmemory"),
        used_bytes: number("used_memory"),
    })
}
