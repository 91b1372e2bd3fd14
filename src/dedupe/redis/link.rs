//! Room `dedupe`, Redis: the way to it: one server, the primary that Sentinels name, or a cluster. Connecting goes on beside
//! the road, and no call outlasts the patience, but by what this process itself waits for a processor. Tries once; when to try
//! again is for `shared` to say.

use std::{fmt, future::Future, pin::pin, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, IntoConnectionInfo, Pipeline, RedisConnectionInfo,
    RedisError, TlsMode, Value,
    aio::MultiplexedConnection,
    cluster::ClusterClientBuilder,
    cluster_async::ClusterConnection,
    sentinel::{SentinelClientBuilder, SentinelServerType},
};
use tokio::{task::JoinHandle, time::timeout};

use crate::{dedupe::memory::MemoryError, model::Secret};

/// A cluster's client follows so many redirections.
const REDIRECTIONS: u32 = 3;
/// In so many parts patience is spent.
const PARTS: u32 = 5;
/// Our patience ends first, but where this process gets no processor for so many times as long.
const CLIENTS_OWN: u32 = 20;

/// How the servers are arranged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    /// One server.
    Single,
    /// Sentinels, and what they call the primary.
    Sentinel {
        /// The primary's name.
        master: String,
        /// The Sentinels' own password.
        password: Option<Secret>,
    },
    /// Nodes of a cluster.
    Cluster,
}

/// What is needed to reach Redis.
#[derive(Clone, Debug)]
pub struct RedisAccess {
    /// `redis://` or `rediss://`, and one or several hosts with commas between.
    pub url: String,
    /// How they are arranged.
    pub topology: Topology,
    /// A user, where not the default one.
    pub user: Option<String>,
    /// The password, if there is one.
    pub password: Option<Secret>,
    /// An answer is waited for so long.
    pub patience: Duration,
    /// Connecting may take so long, beside the road.
    pub connect_timeout: Duration,
}

impl RedisAccess {
    /// One URL a host.
    fn nodes(&self) -> Vec<String> {
        let (scheme, rest) = self.url.split_once("://").unwrap_or(("redis", &self.url));
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (hosts, path) = rest.split_at(end);
        hosts.split(',').map(|host| format!("{scheme}://{}{path}", host.trim())).collect()
    }

    fn password(&self) -> Option<&str> {
        self.password.as_ref().and_then(text)
    }

    fn login(&self, given: &RedisConnectionInfo) -> RedisConnectionInfo {
        let mut login = given.clone();
        if let Some(user) = &self.user {
            login = login.set_username(user);
        }
        if let Some(password) = self.password() {
            login = login.set_password(password);
        }
        login
    }

    fn first_node(&self) -> Result<ConnectionInfo, RedisError> {
        let info = self.nodes().swap_remove(0).into_connection_info()?;
        let login = self.login(info.redis_settings());
        Ok(info.set_redis_settings(login))
    }
}

/// A secret that is no text is none that Redis could have.
fn text(secret: &Secret) -> Option<&str> {
    std::str::from_utf8(secret.expose()).ok()
}

/// A connection.
pub(super) enum Line {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Line {
    /// Connects as the topology says.
    pub(super) async fn dial(access: &RedisAccess) -> Result<Self, RedisError> {
        match &access.topology {
            Topology::Single => Self::dial_first(access).await,
            Topology::Cluster => Ok(Self::Cluster(dial_cluster(access).await?)),
            Topology::Sentinel { master, password } => {
                Ok(Self::One(dial_primary(access, master, password.as_ref().and_then(text)).await?))
            }
        }
    }

    /// Connects to the first server that is named, whatever it is.
    pub(super) async fn dial_first(access: &RedisAccess) -> Result<Self, RedisError> {
        let client = Client::open(access.first_node()?)?;
        Ok(Self::One(client.get_multiplexed_async_connection_with_config(&bounds(access)).await?))
    }

    pub(super) async fn send(&mut self, pipeline: &Pipeline) -> Result<Vec<Value>, RedisError> {
        match self {
            Self::One(connection) => pipeline.query_async(connection).await,
            Self::Cluster(connection) => pipeline.query_async(connection).await,
        }
    }
}

fn bounds(access: &RedisAccess) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(access.connect_timeout))
        .set_response_timeout(Some(access.patience * CLIENTS_OWN))
}

async fn dial_primary(
    access: &RedisAccess,
    master: &str,
    password: Option<&str>,
) -> Result<MultiplexedConnection, RedisError> {
    let nodes = access.nodes().into_iter().map(IntoConnectionInfo::into_connection_info);
    let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
    let db = nodes.first().map_or(0, |node| node.redis_settings().db());
    let sentinels = nodes.iter().map(|node| node.addr().clone());
    let mut client =
        SentinelClientBuilder::new(sentinels, master, SentinelServerType::Master)?.set_client_to_redis_db(db);
    if access.url.starts_with("rediss:") {
        client = client.set_client_to_redis_tls_mode(TlsMode::Secure);
    }
    if let Some(user) = &access.user {
        client = client.set_client_to_redis_username(user);
    }
    if let Some(password) = access.password() {
        client = client.set_client_to_redis_password(password);
    }
    if let Some(password) = password {
        client = client.set_client_to_sentinel_password(password);
    }
    client.build()?.get_async_connection_with_config(&bounds(access)).await
}

async fn dial_cluster(access: &RedisAccess) -> Result<ClusterConnection, RedisError> {
    let mut client = ClusterClientBuilder::new(access.nodes())
        .retries(REDIRECTIONS)
        .connection_timeout(access.connect_timeout)
        .response_timeout(access.patience * CLIENTS_OWN);
    if let Some(user) = &access.user {
        client = client.username(user);
    }
    if let Some(password) = access.password() {
        client = client.password(password);
    }
    client.build()?.get_async_connection().await
}

/// The connection as it stands.
pub(super) struct Link {
    access: RedisAccess,
    state: State,
}

enum State {
    Down,
    Dialling(JoinHandle<Result<Line, RedisError>>),
    Up(Line),
}

impl Link {
    pub(super) fn new(access: RedisAccess) -> Self {
        Self { access, state: State::Down }
    }

    /// Asks once. After anything but an answer the next call begins with a new connection: this one may owe answers, or lead
    /// to a server that is no primary any more.
    pub(super) async fn ask(&mut self, pipeline: &Pipeline) -> Result<Vec<Value>, MemoryError> {
        let mut line = self.line().await?;
        match patiently(self.access.patience, line.send(pipeline)).await {
            Some(Ok(answers)) => {
                self.state = State::Up(line);
                Ok(answers)
            }
            Some(Err(error)) => Err(MemoryError(error.to_string())),
            None => Err(MemoryError(format!("no answer within {:?}", self.access.patience))),
        }
    }

    /// The connection, taken out of its place until it has answered.
    async fn line(&mut self) -> Result<Line, MemoryError> {
        let mut dialling = match std::mem::replace(&mut self.state, State::Down) {
            State::Up(line) => return Ok(line),
            State::Dialling(dialling) => dialling,
            State::Down => {
                let access = self.access.clone();
                tokio::spawn(async move { Line::dial(&access).await })
            }
        };
        match patiently(self.access.patience, &mut dialling).await {
            Some(Ok(Ok(line))) => Ok(line),
            Some(Ok(Err(error))) => Err(MemoryError(error.to_string())),
            Some(Err(ended)) => Err(MemoryError(ended.to_string())),
            None => {
                self.state = State::Dialling(dialling);
                Err(MemoryError(format!("not connected within {:?}", self.access.patience)))
            }
        }
    }
}

/// What comes within our patience. That is spent in parts: on a busy machine this thread may be kept waiting itself, and what it
/// sleeps over is a part at most, for the answer may be there.
async fn patiently<T>(patience: Duration, answer: impl Future<Output = T>) -> Option<T> {
    let mut answer = pin!(answer);
    for _ in 0..PARTS {
        if let Ok(answer) = timeout(patience / PARTS, &mut answer).await {
            return Some(answer);
        }
    }
    None
}

impl Drop for Link {
    fn drop(&mut self) {
        if let State::Dialling(dialling) = &self.state {
            dialling.abort();
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("url", &self.access.url).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        sync::oneshot,
        time::{Instant, advance},
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(50);

    /// An answer after so long, handed on by the one who reads the connection.
    async fn handed_on(after: Duration) -> u8 {
        let (read, reads) = oneshot::channel();
        let (hand_on, handed) = oneshot::channel();
        tokio::spawn(async move {
            let _ = timeout(after, std::future::pending::<()>()).await;
            read.send(7)
        });
        tokio::spawn(async move { hand_on.send(reads.await.expect("read")) });
        handed.await.expect("handed on")
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_waited_for_longer_than_patience_reaches() {
        let began = Instant::now();
        assert_eq!(patiently(PATIENCE, std::future::pending::<u8>()).await, None);
        assert_eq!(began.elapsed(), PATIENCE);
        assert_eq!(patiently(PATIENCE, handed_on(PATIENCE / 2)).await, Some(7));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_slept_over_is_no_slowness_of_redis() {
        // The machine has no processor for this process meanwhile, so nobody reads the answer before.
        tokio::spawn(advance(PATIENCE * 10));
        assert_eq!(patiently(PATIENCE, handed_on(PATIENCE / 2)).await, Some(7));
    }

    #[test]
    fn hosts_become_urls() {
        let nodes = |url: &str| {
            let access = RedisAccess {
                url: url.to_owned(),
                topology: Topology::Single,
                user: None,
                password: None,
                patience: Duration::from_millis(50),
                connect_timeout: Duration::from_secs(1),
            };
            access.nodes()
        };
        assert_eq!(nodes("redis://a:1"), ["redis://a:1"]);
        assert_eq!(nodes("rediss://a:1, b:2/3"), ["rediss://a:1/3", "rediss://b:2/3"]);
        assert_eq!(
            nodes("redis://a,[::1]:2?protocol=resp3"),
            ["redis://a?protocol=resp3", "redis://[::1]:2?protocol=resp3"]
        );
    }
}
