//! Room `ledger`, PostgreSQL: the pool, and what is lent from it.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use deadpool_postgres::{
    ClientWrapper, Manager, ManagerConfig, Object, Pool, QueueMode, RecyclingMethod, Runtime,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_postgres::{Row, types::ToSql};

use super::{
    PostgresError, column,
    connect::{Connector, Dedicated, GRACE},
    settings::DatabaseSettings,
};
use crate::model::{Incarnation, Tenure};

/// While one connection is waited for, no more than so many servers take over from one another.
const SERVERS_AT_ONCE: usize = 3;

/// Of so many connections one is kept from those who ask for people: their questions can be slow, and many.
const ONE_RESERVED_OF: usize = 4;

/// A database of PostgreSQL and the schema in it that is this ledger's. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Database {
    connector: Connector,
    lent_from: Arc<Mutex<Lending>>,
    for_people: Arc<Semaphore>,
}

/// The connections of one tenure. One that leads to another server ends the tenure, so none such is ever lent from it.
#[derive(Debug)]
struct Lending {
    tenure: Tenure,
    pool: Pool,
}

impl Database {
    /// Prepares the pool; connects to nothing yet. A server that is down is [`PostgresError`] when something is asked.
    pub fn new(settings: DatabaseSettings) -> Result<Self, PostgresError> {
        let connector = Connector::new(Arc::new(settings));
        let lending = Lending { tenure: connector.tenures.now(), pool: pool(&connector)? };
        let for_people = Arc::new(Semaphore::new(for_people(connector.settings.connections)));
        Ok(Self { connector, lent_from: Arc::new(Mutex::new(lending)), for_people })
    }

    /// Which of the servers that this process has met holds the ledger now; asks nobody.
    pub fn tenure(&self) -> Tenure {
        self.connector.tenures.now()
    }

    /// The schema's name.
    pub fn schema(&self) -> &str {
        &self.connector.settings.schema
    }

    /// The identity of the ledger in this schema; `None` before its first migration.
    pub async fn incarnation(&self) -> Result<Option<Incarnation>, PostgresError> {
        let session = self.session().await?;
        let there = session.query_one("SELECT to_regclass('ledger') IS NOT NULL", &[]).await?;
        if !column::<bool>(&there, 0)? {
            return Ok(None);
        }
        let row = session.query_one("SELECT incarnation FROM ledger", &[]).await?;
        Ok(Some(Incarnation(column(&row, 0)?)))
    }

    /// Lends a connection of the pool, to the server of the present tenure.
    pub async fn session(&self) -> Result<Session, PostgresError> {
        for _ in 0..SERVERS_AT_ONCE {
            let (tenure, pool) = self.lending()?;
            let lent = pool.get().await;
            if tenure == self.tenure() {
                let settings = Arc::clone(&self.connector.settings);
                let (lent, unsound) = (Some(lent?), AtomicBool::new(false));
                return Ok(Session { lent, tenure, unsound, settings, turn: None });
            }
        }
        Err(PostgresError::passing("several servers take over from one another"))
    }

    /// The same for what a person asks. A part of the pool is never lent this way, so that however many slow questions there
    /// are, the stages and the signs of readiness have connections left.
    pub async fn session_for_people(&self) -> Result<Session, PostgresError> {
        let turn =
            timeout(self.connector.settings.connect_timeout, Arc::clone(&self.for_people).acquire_owned());
        let turn = turn.await.map_err(|_| PostgresError::timed_out("finish other questions"))?;
        let mut session = self.session().await?;
        session.turn = turn.ok();
        Ok(session)
    }

    /// The pool of the present tenure. That of the one before is closed; what is lent of it is closed when it comes back.
    fn lending(&self) -> Result<(Tenure, Pool), PostgresError> {
        let mut lending = self.lent_from.lock().unwrap_or_else(PoisonError::into_inner);
        let tenure = self.tenure();
        if lending.tenure != tenure {
            let pool = pool(&self.connector)?;
            std::mem::replace(&mut *lending, Lending { tenure, pool }).pool.close();
        }
        Ok((lending.tenure, lending.pool.clone()))
    }

    /// A connection that is nobody else's: for what must not wait for the pool, or keeps a session's state.
    pub async fn dedicated(&self) -> Result<Dedicated, PostgresError> {
        self.connector.dedicated().await
    }
}

/// How many connections people's questions may have of so many.
fn for_people(connections: usize) -> usize {
    connections.saturating_sub(connections.div_ceil(ONE_RESERVED_OF)).max(1)
}

fn pool(connector: &Connector) -> Result<Pool, PostgresError> {
    let settings = &connector.settings;
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_connect(settings.server.clone(), connector.clone(), recycling);
    let patience = Some(settings.connect_timeout);
    let pool = Pool::builder(manager)
        .max_size(settings.connections)
        // The one that was used last knows our statements and has our tables at hand. In turn all that were ever needed at once
        // would have to, each a process of the server's.
        .queue_mode(QueueMode::Lifo)
        .wait_timeout(patience)
        .create_timeout(patience)
        .runtime(Runtime::Tokio1)
        .build();
    pool.map_err(|error| PostgresError::broken(error.to_string()))
}

/// A connection lent by the pool. It goes back when dropped; if a call was given up midway, or a transaction failed, it is
/// closed instead, and with it whatever it held.
#[derive(Debug)]
pub struct Session {
    lent: Option<Object>,
    tenure: Tenure,
    unsound: AtomicBool,
    settings: Arc<DatabaseSettings>,
    /// Given back with the connection.
    turn: Option<OwnedSemaphorePermit>,
}

impl Session {
    /// Whose answers come.
    pub fn tenure(&self) -> Tenure {
        self.tenure
    }

    /// The rows that a statement gives. It is prepared once a connection.
    pub async fn query(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, PostgresError> {
        self.bounded(async {
            let client = self.client()?;
            let statement = client.prepare_cached(sql).await?;
            Ok(client.query(&statement, parameters).await?)
        })
        .await
    }

    /// The first row that a statement gives, if any.
    pub async fn query_opt(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, PostgresError> {
        Ok(self.query(sql, parameters).await?.into_iter().next())
    }

    /// The one row that a statement gives.
    pub async fn query_one(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, PostgresError> {
        let row = self.query_opt(sql, parameters).await?;
        row.ok_or_else(|| PostgresError::broken("PostgreSQL gave no row where there is always one"))
    }

    /// Runs statements without parameters, as written.
    pub async fn batch(&self, sql: &str) -> Result<(), PostgresError> {
        self.bounded(async { Ok(self.client()?.batch_execute(sql).await?) }).await
    }

    /// Runs `work`, which uses this session, in one transaction. When it fails the transaction is rolled back, by closing
    /// the connection. When the commit's own answer is lost, what was done may have been kept.
    pub async fn transaction<T>(
        &self,
        work: impl Future<Output = Result<T, PostgresError>>,
    ) -> Result<T, PostgresError> {
        self.sound_after(async {
            self.batch("BEGIN").await?;
            let done = work.await?;
            self.batch("COMMIT").await?;
            Ok(done)
        })
        .await
    }

    /// The connection itself, for what is sent in a pipeline: await it within [`bounded`](Self::bounded).
    pub fn client(&self) -> Result<&ClientWrapper, PostgresError> {
        let client: Option<&ClientWrapper> = self.lent.as_deref();
        client.ok_or_else(|| PostgresError::broken("a session of PostgreSQL was used after its end"))
    }

    /// Waits for answers, a little longer than the server may take for one statement.
    pub async fn bounded<T>(
        &self,
        work: impl Future<Output = Result<T, PostgresError>>,
    ) -> Result<T, PostgresError> {
        let was = self.unsound.swap(true, Ordering::SeqCst);
        let patience = self.settings.statement_timeout + GRACE;
        let answer = timeout(patience, work).await.map_err(|_| PostgresError::timed_out("answer"))?;
        // An answer came, whatever it says: the connection waits for nothing any more.
        self.unsound.store(was, Ordering::SeqCst);
        answer
    }

    /// Without a limit on this side, for what may take long; the session goes back only when it went well.
    pub async fn sound_after<T>(
        &self,
        work: impl Future<Output = Result<T, PostgresError>>,
    ) -> Result<T, PostgresError> {
        self.unsound.store(true, Ordering::SeqCst);
        let done = work.await?;
        self.unsound.store(false, Ordering::SeqCst);
        Ok(done)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.unsound.load(Ordering::SeqCst) {
            // Out of the pool, and closed.
            drop(self.lent.take().map(Object::take));
        }
        // The connection first: whoever has the turn next finds it.
        drop(self.lent.take());
        drop(self.turn.take());
    }
}
