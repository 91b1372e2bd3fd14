//! What all gateways of a run share: one PostgreSQL that syncs, one Redis for each ledger, one NATS as it comes.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use async_nats::jetstream::{self, stream};
use douane::ledger::postgres::migrate;

use crate::{
    process::{Server, cpu},
    servers::{
        nats::{self, Nats},
        postgres::Postgres,
        redis::{self as redis_server, Redis},
    },
};

/// The schema of a ledger that begins empty with every row.
pub const FRESH: &str = "fresh";
/// The schema of the ledger that keeps many deliveries.
pub const KEPT: &str = "kept";
/// The stream that every gateway publishes to.
pub const STREAM: &str = "BENCH";

/// What a server of this size is given by those who run one.
const POSTGRES: [&str; 3] = ["shared_buffers=1GB", "max_wal_size=4GB", "checkpoint_completion_target=0.9"];
/// The memory of verdicts can be lost, so it is not written to disk.
const REDIS: [&str; 2] = ["--appendonly", "no"];
/// What was acked is published after so long, or never will be.
const PATIENCE: Duration = Duration::from_mins(10);

/// The running engines.
pub struct Engines {
    pub postgres: Postgres,
    /// The fresh ledger's.
    pub fresh: Redis,
    kept: Redis,
    pub nats: Nats,
    jetstream: jetstream::Context,
}

/// The CPU time used so far.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// By the servers that take deliveries.
    pub ours: Duration,
    /// By PostgreSQL.
    pub postgres: Duration,
    /// The most memory that one of the servers ever had, in bytes.
    pub peak_rss: u64,
}

impl Usage {
    /// What was used since an earlier look.
    pub fn since(self, earlier: Self) -> Self {
        let since = |now: Duration, then: Duration| now.saturating_sub(then);
        Self {
            ours: since(self.ours, earlier.ours),
            postgres: since(self.postgres, earlier.postgres),
            ..self
        }
    }
}

impl Engines {
    /// Starts them, with an empty ledger in both schemas.
    pub async fn start() -> Result<Self> {
        let (postgres, nats) = (Postgres::that_syncs(&POSTGRES), nats::start_as_it_comes());
        let (fresh, kept) = (redis_server::start(&REDIS), redis_server::start(&REDIS));
        let jetstream = jetstream::new(async_nats::connect(nats.url()).await?);
        let engines = Self { postgres, fresh, kept, nats, jetstream };
        migrate(&engines.postgres.database(KEPT)).await?;
        engines.empty().await?;
        Ok(engines)
    }

    /// Empties what belongs to a row: the fresh ledger and its Redis, the handler's table and the stream.
    pub async fn empty(&self) -> Result<()> {
        self.postgres.sql("DROP TABLE IF EXISTS deliveries");
        self.postgres.sql(
            "CREATE TABLE deliveries (number bigserial PRIMARY KEY, external_id text NOT NULL, \
             received_at timestamptz NOT NULL DEFAULT now(), headers jsonb NOT NULL, body bytea NOT NULL)",
        );
        self.postgres.sql("DROP SCHEMA IF EXISTS fresh CASCADE");
        migrate(&self.postgres.database(FRESH)).await?;
        self.fresh.tell(&["FLUSHALL"]);
        self.rest().await
    }

    /// Lets nothing of one row weigh on the next: PostgreSQL has done what it would do beside it for what was written before
    /// (a vacuum by hand ends those of its own), what it has to write out is written, and the stream is empty.
    pub async fn rest(&self) -> Result<()> {
        self.postgres.sql("VACUUM (ANALYZE)");
        self.postgres.sql("CHECKPOINT");
        let _ = self.jetstream.delete_stream(STREAM).await;
        let subjects = vec!["payments.>".to_owned()];
        let config = stream::Config { name: STREAM.to_owned(), subjects, ..stream::Config::default() };
        self.jetstream.create_stream(config).await?;
        Ok(())
    }

    /// The Redis of the ledger in this schema.
    pub fn redis(&self, schema: &str) -> String {
        if schema == KEPT { self.kept.url() } else { self.fresh.url() }
    }

    /// How many events the stream holds.
    pub async fn published(&self) -> Result<u64> {
        let mut stream = self.jetstream.get_stream(STREAM).await?;
        Ok(stream.info().await?.state.messages)
    }

    /// Waits until the stream holds so many events.
    pub async fn wait_until_published(&self, events: u64) -> Result<()> {
        let began = Instant::now();
        loop {
            let published = self.published().await?;
            if published >= events {
                return Ok(());
            }
            ensure!(began.elapsed() < PATIENCE, "{published} of {events} events were published");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What these servers and PostgreSQL have used.
    pub fn usage(&self, servers: &[Server]) -> Result<Usage> {
        let (mut ours, mut peak_rss) = (Duration::ZERO, 0);
        for server in servers {
            let usage = server.usage()?;
            ours += usage.cpu;
            peak_rss = usage.peak_rss.max(peak_rss);
        }
        // A process that ends while one looks is counted with its parent the next time.
        let processes =
            self.postgres.processes().into_iter().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
        let postgres = processes.filter_map(|process| cpu(process, 4).ok()).sum();
        Ok(Usage { ours, postgres, peak_rss })
    }
}
