//! Room `cli`: `douane ledger`: the schema of a ledger in PostgreSQL: brought forward, and how far it is.

use anyhow::{Context, bail};
use clap::Subcommand;
use serde::Serialize;

use super::{
    Common, Verdict, block_on,
    output::{self, Format},
};
use crate::{
    app,
    ledger::{
        LogReader,
        log::postgres::open_to_read,
        postgres::{Applied, Database, MigrationState, migrate, migrations},
    },
    model::{EntryNumber, Incarnation},
};

#[derive(Debug, Subcommand)]
pub(super) enum LedgerVerb {
    /// Bring the schema forward to this release, or begin it; processes of this release and the one before may run meanwhile
    Migrate {
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Say whose ledger it is, how far its schema has come and what its intake log holds; exit code 1 when a migration is missing
    Status {
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

/// What `status` says.
#[derive(Debug, Serialize)]
struct Status {
    schema: String,
    /// Absent before the first migration.
    #[serde(skip_serializing_if = "Option::is_none")]
    incarnation: Option<Incarnation>,
    #[serde(flatten)]
    migrations: MigrationState,
    /// Absent while a migration is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<Reach>,
}

/// Which numbers the intake log holds.
#[derive(Debug, Serialize)]
struct Reach {
    first: EntryNumber,
    last: EntryNumber,
}

pub(super) fn run(common: &Common, verb: &LedgerVerb) -> anyhow::Result<Verdict> {
    let config = common.load(Vec::new())?.ledger;
    if config.url.is_none() {
        bail!("ledger.url is not set: the embedded ledger brings its schema forward when `serve` opens it");
    }
    block_on(async {
        let database = app::database(&config)?;
        match verb {
            LedgerVerb::Migrate { format } => bring_forward(&database, *format).await,
            LedgerVerb::Status { format } => tell(&database, *format).await,
        }
    })
}

async fn bring_forward(database: &Database, format: Format) -> anyhow::Result<Verdict> {
    let applied = migrate(database).await.context("the schema was not brought forward")?;
    match format {
        Format::Json => output::json(&applied)?,
        Format::Table => list(&applied, "nothing to do: the schema is that of this release"),
    }
    Ok(Verdict::Fine)
}

async fn tell(database: &Database, format: Format) -> anyhow::Result<Verdict> {
    let migrations = migrations(database).await?;
    let complete = migrations.missing.is_empty();
    let log = if complete {
        let reader = open_to_read(database).await?;
        Some(Reach { first: reader.first(), last: reader.durable() })
    } else {
        None
    };
    let incarnation = database.incarnation().await?;
    let status = Status { schema: database.schema().to_owned(), incarnation, migrations, log };
    match format {
        Format::Json => output::json(&status)?,
        Format::Table => show(&status),
    }
    Ok(if complete { Verdict::Fine } else { Verdict::FoundWrong })
}

fn show(status: &Status) {
    match status.incarnation {
        Some(incarnation) => output::say(&format!("ledger {incarnation} in schema {}", status.schema)),
        None => output::say(&format!("no ledger in schema {} yet", status.schema)),
    }
    list(&status.migrations.applied, "no migration was applied");
    for missing in &status.migrations.missing {
        output::say(&format!("missing: {missing}; run `douane ledger migrate`"));
    }
    if let Some(log) = &status.log {
        output::say(&format!("intake log: begins with {}, last number given {}", log.first, log.last));
    }
}

fn list(applied: &[Applied], when_empty: &str) {
    let row = |it: &Applied| vec![it.version.to_string(), it.name.clone(), it.at.to_string()];
    output::table(&["version", "migration", "applied"], applied.iter().map(row).collect(), when_empty);
}
