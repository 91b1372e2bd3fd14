//! Room `cli`: `douane dead-letters ls|show|retry`.

use clap::Subcommand;

use super::{
    Common, Verdict, block_on,
    data::{self, Choice, Scope},
    deliveries,
    output::{self, Format},
    replay,
};
use crate::{
    app,
    config::Config,
    console::{replays::ReplayRequest, stored::Named},
    ledger::{DamagedEntry, DeliveryRow, EventRow},
    model::OutcomeKind,
};

#[derive(Debug, Subcommand)]
pub(super) enum DeadLettersVerb {
    /// List external events whose latest outcome is a dead letter, and publications a broker refused for good
    Ls {
        #[command(flatten)]
        scope: Scope,
        /// At most so many deliveries
        #[arg(long, default_value_t = 50)]
        limit: usize,
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Show one delivery with the reasons of its events
    Show {
        /// The delivery's id, or its number
        #[arg(value_name = "ID")]
        name: Named,
    },
    /// Translate them afresh, with the mappings as they are now
    ///
    /// It is a replay of what is a dead letter. What a broker refused for good is no dead letter of a mapping:
    /// `douane replay --broker NAME` sends it there again.
    Retry {
        #[command(flatten)]
        scope: Scope,
        /// Only these deliveries, by id or number (may be repeated)
        #[arg(long = "delivery", value_name = "ID")]
        deliveries: Vec<Named>,
        /// Publish a result that differs from what is published (`needs_reissue`) under a new id, as `douane replay` does
        #[arg(long)]
        reissue: bool,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

pub(super) fn run(common: &Common, verb: &DeadLettersVerb) -> anyhow::Result<Verdict> {
    let config = common.load(Vec::new())?;
    block_on(async {
        match verb {
            DeadLettersVerb::Ls { scope, limit, format } => {
                let scope = scope.clone().settled()?;
                list(&config, &scope, *limit, *format).await
            }
            DeadLettersVerb::Show { name } => {
                deliveries::show(&config, &app::open_read_only(&config).await?, *name, false).await
            }
            DeadLettersVerb::Retry { scope, deliveries, reissue, dry_run, format } => {
                let chosen = dead_letters(&scope.clone().settled()?);
                let request = replay::request(&config, &chosen, deliveries).await?;
                let request = ReplayRequest { reissue: *reissue, dry_run: *dry_run, ..request };
                replay::carry_out(&config, &request, *format).await
            }
        }
    })
}

/// Those of a scope that are dead letters.
fn dead_letters(scope: &Scope) -> Choice {
    Choice { scope: scope.clone(), outcome: Some(OutcomeKind::DeadLetter) }
}

async fn list(config: &Config, scope: &Scope, limit: usize, format: Format) -> anyhow::Result<Verdict> {
    let ledger = app::open_read_only(config).await?;
    let page = ledger.records.deliveries(&dead_letters(scope).filter(limit, None)).await?;
    if page.items.is_empty() {
        data::must_be_known(config, &ledger, scope.names()).await?;
    }
    let publications = ledger.records.publication_dead_letters(limit).await?;
    let damaged = match (&scope.partner, &scope.endpoint) {
        (None, None) => ledger.records.damaged(limit).await?,
        _ => Vec::new(),
    };
    if format == Format::Json {
        let all =
            serde_json::json!({ "items": page.items, "publications": publications, "damaged": damaged });
        output::json(&all)?;
        return Ok(Verdict::Fine);
    }
    let head = ["number", "received", "endpoint", "type", "external id", "reason", "delivery"];
    let rows = page.items.iter().flat_map(|row| {
        let dead = row.external_events.iter().filter(|event| event.outcome == OutcomeKind::DeadLetter);
        dead.map(|event| cells(row, event))
    });
    output::table(&head, rows.collect(), "there are no dead letters");
    if !publications.is_empty() {
        let rows = publications
            .into_iter()
            .map(|(broker, event, reason)| vec![broker, event.to_string(), reason])
            .collect();
        output::table(&["broker", "event", "reason"], rows, "");
    }
    if !damaged.is_empty() {
        let cells =
            |entry: DamagedEntry| vec![entry.number.to_string(), entry.received_at.to_string(), entry.reason];
        output::table(&["number", "not before", "damaged"], damaged.into_iter().map(cells).collect(), "");
    }
    Ok(Verdict::Fine)
}

fn cells(row: &DeliveryRow, event: &EventRow) -> Vec<String> {
    vec![
        row.number.to_string(),
        row.received_at.to_string(),
        format!("{}/{}", row.partner, row.endpoint),
        event.event_type.clone().unwrap_or_default(),
        event.external_id.clone().unwrap_or_default(),
        event.reason.clone().unwrap_or_default(),
        row.delivery.to_string(),
    ]
}
