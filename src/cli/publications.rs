//! Room `cli`: `douane publications ls`: from a message of a broker to the delivery it came from, and from a delivery or a
//! domain event to where it was published. Reads beside a running server.

use clap::Subcommand;

use super::{
    Common, Verdict, block_on,
    output::{self, Format},
};
use crate::{
    app,
    console::{publications, stored::Named},
    ledger::{Ledger, PublicationFilter, PublicationRow},
    model::EventNumber,
};

#[derive(Debug, Subcommand)]
pub(super) enum PublicationsVerb {
    /// List what brokers placed or refused, newest event first; everything given must hold
    Ls {
        #[command(flatten)]
        choice: Choice,
        /// At most so many
        #[arg(long, default_value_t = 20)]
        limit: usize,
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

/// Which publications are meant; everything given must hold.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Choice {
    /// The broker, also one that is no longer configured
    #[arg(long, value_name = "NAME")]
    broker: Option<String>,
    /// Where the broker put it, whole: `<file>:<offset>`, `<stream>/<sequence>` (NATS), `<stream>/<entry id>` (Redis),
    /// `<topic>/<partition>/<offset>` (Kafka), `<connection>/<channel>/<delivery tag>` (RabbitMQ), `<status> <event id>` (HTTP)
    #[arg(long, allow_hyphen_values = true)]
    position: Option<String>,
    /// The domain event's number, its `sequence` in the feed
    #[arg(long, value_name = "NUMBER")]
    event: Option<u64>,
    /// The delivery it came from, by id (a message's `correlationid`) or number
    #[arg(long, value_name = "ID")]
    delivery: Option<Named>,
    /// Only those that a broker refused for good
    #[arg(long)]
    refused: bool,
}

pub(super) fn run(common: &Common, verb: &PublicationsVerb) -> anyhow::Result<Verdict> {
    let config = common.load(Vec::new())?;
    let PublicationsVerb::Ls { choice, limit, format } = verb;
    block_on(async { list(&app::open_read_only(&config).await?, choice, *limit, *format).await })
}

async fn list(ledger: &Ledger, choice: &Choice, limit: usize, format: Format) -> anyhow::Result<Verdict> {
    let filter = PublicationFilter {
        broker: choice.broker.clone(),
        position: choice.position.clone(),
        event: choice.event.map(EventNumber),
        delivery: None,
        refused: choice.refused.then_some(true),
        // One more than is shown tells whether there are more.
        limit: limit.saturating_add(1),
        after: None,
    };
    let mut rows = publications::find(ledger, choice.delivery, filter).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let head = ["event", "broker", "position", "refused", "type", "partition key", "external id", "delivery"];
    match format {
        Format::Json => output::json(&rows)?,
        Format::Table => output::table(&head, rows.iter().map(cells).collect(), "no publication matches"),
    }
    if more {
        output::complain(&format!("the newest {limit} are shown; there are more: use --limit"));
    }
    Ok(Verdict::Fine)
}

fn cells(row: &PublicationRow) -> Vec<String> {
    let shown = |word: &Option<String>| word.clone().unwrap_or_default();
    vec![
        row.event.to_string(),
        row.broker.clone(),
        shown(&row.position),
        shown(&row.refused),
        shown(&row.event_type),
        shown(&row.partition_key),
        shown(&row.external_id),
        row.delivery.map(|id| id.to_string()).unwrap_or_default(),
    ]
}
