//! Room `ledger`, PostgreSQL: how a connection is made, and the one way to have one of its own.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{task::JoinHandle, time::timeout};
use tokio_postgres::{AsyncMessage, Client, Config, Error, Statement, error::SqlState};

use super::{
    PostgresError,
    settings::DatabaseSettings,
    tenure::{RUN, Run, Tenures},
};
use crate::model::Tenure;

/// Beyond the server's own limit on a statement we wait so much longer for its answer.
pub(super) const GRACE: Duration = Duration::from_secs(2);

/// Makes connections, all alike.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    pub(super) settings: Arc<DatabaseSettings>,
    pub(super) tenures: Arc<Tenures>,
    session: Arc<str>,
}

/// A connection as it was made.
struct Made {
    client: Client,
    driver: JoinHandle<()>,
    tenure: Tenure,
}

impl Connector {
    pub(super) fn new(settings: Arc<DatabaseSettings>) -> Self {
        let session = session(&settings).into();
        Self { settings, tenures: Arc::default(), session }
    }

    /// Connects and sets the session up. `warned` is set when the server says that it no longer waits for a standby.
    async fn connect(&self, warned: Arc<AtomicBool>) -> Result<Made, Error> {
        let (client, mut connection) = self.settings.server.connect(self.settings.tls.clone()).await?;
        let driver = tokio::spawn(async move {
            while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
                match message {
                    Ok(AsyncMessage::Notice(notice)) if notice.code() == &SqlState::WARNING => {
                        tracing::warn!("PostgreSQL: {}", notice.message());
                        warned.store(true, Ordering::SeqCst);
                    }
                    Ok(_) => {}
                    Err(error) => {
                        tracing::debug!("a connection to PostgreSQL ended: {}", PostgresError::from(error));
                        return;
                    }
                }
            }
        });
        match client.simple_query(&self.session).await {
            Ok(answers) => Ok(Made { client, driver, tenure: self.tenures.met(Run::told(&answers)) }),
            Err(error) => {
                driver.abort();
                Err(error)
            }
        }
    }

    /// A connection that is nobody else's.
    pub(super) async fn dedicated(&self) -> Result<Dedicated, PostgresError> {
        let warned = Arc::new(AtomicBool::new(false));
        let made = timeout(self.settings.connect_timeout, self.connect(Arc::clone(&warned))).await;
        let Made { client, driver, tenure } =
            made.map_err(|_| PostgresError::timed_out("let us connect"))??;
        let patience = self.settings.statement_timeout + GRACE;
        Ok(Dedicated { client, driver, tenure, tenures: Arc::clone(&self.tenures), warned, patience })
    }
}

impl deadpool_postgres::Connect for Connector {
    fn connect(
        &self,
        _: &Config,
    ) -> Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), Error>> + Send + '_>> {
        Box::pin(async {
            let made = Self::connect(self, Arc::default()).await?;
            Ok((made.client, made.driver))
        })
    }
}

/// What every session begins with, and last the question which server this is. Set after connecting, because poolers in between
/// refuse options at the start.
/// Our questions are short: compiling one takes longer than answering it.
/// A server that waits for its standbys to apply a commit is not told to wait for less.
fn session(settings: &DatabaseSettings) -> String {
    let millis = |limit: Duration| limit.as_millis();
    format!(
        "SET search_path TO \"{}\", pg_temp;
         SET statement_timeout TO {};
         SET lock_timeout TO {};
         SET idle_in_transaction_session_timeout TO {};
         SET client_min_messages TO warning;
         SET jit TO off;
         SELECT set_config('synchronous_commit', 'on', false)
         WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply');
         {RUN};",
        settings.schema,
        millis(settings.statement_timeout),
        millis(settings.lock_timeout),
        millis(settings.idle_in_transaction_timeout),
    )
}

/// A connection that is nobody else's, and closes when it is dropped.
#[derive(Debug)]
pub struct Dedicated {
    client: Client,
    driver: JoinHandle<()>,
    tenure: Tenure,
    tenures: Arc<Tenures>,
    warned: Arc<AtomicBool>,
    patience: Duration,
}

impl Dedicated {
    /// The connection itself.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Whether nothing more may be asked on it: it was closed, by whomever, or another server took over.
    pub fn is_over(&self) -> bool {
        self.client.is_closed() || self.tenure != self.tenures.now()
    }

    /// Whose answers come.
    pub fn tenure(&self) -> Tenure {
        self.tenure
    }

    /// Prepares a statement for later.
    pub async fn prepare(&self, sql: &str) -> Result<Statement, PostgresError> {
        self.bounded(self.client.prepare(sql)).await
    }

    /// Waits for an answer, a little longer than the server may take for it.
    pub async fn bounded<T, E: Into<PostgresError>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, PostgresError> {
        let answer = timeout(self.patience, work).await.map_err(|_| PostgresError::timed_out("answer"))?;
        answer.map_err(Into::into)
    }

    /// Whether the server said since the last time that it no longer waits for a standby (a WARNING, 01000): what was
    /// committed meanwhile is on one machine only.
    pub fn warned(&self) -> bool {
        self.warned.swap(false, Ordering::SeqCst)
    }
}

impl Drop for Dedicated {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
