//! Room `cli`: `douane deliveries ls|show|export`. Reads beside a running server. Reading a payload is an act and is
//! journalled: through the private door when a server runs, else on the records.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Subcommand;
use reqwest::Method;
use serde_json::json;

use super::{
    Common, Verdict, block_on,
    data::{self, Choice},
    output::{self, Format},
    private_door::PrivateDoor,
};
use crate::{
    app,
    config::Config,
    console::stored::{self, DeliveryDetail, Found, Named},
    ledger::{DeliveryRow, Ledger},
    model::DeliveryId,
};

const PAGE: usize = 1_000;

#[derive(Debug, Subcommand)]
pub(super) enum DeliveriesVerb {
    /// List deliveries, newest first
    Ls {
        #[command(flatten)]
        choice: Choice,
        /// At most so many
        #[arg(long, default_value_t = 20)]
        limit: usize,
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Show one delivery: what came, what became of it; with --body the exact bytes
    Show {
        /// The delivery's id, or its number
        #[arg(value_name = "ID")]
        name: Named,
        /// Write the exact body to standard output, nothing else
        #[arg(long)]
        body: bool,
    },
    /// Write deliveries as NDJSON: the API's fields, the headers and the body in base64
    Export {
        #[command(flatten)]
        choice: Choice,
        /// The file to write; standard output when absent
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

pub(super) fn run(common: &Common, verb: &DeliveriesVerb) -> anyhow::Result<Verdict> {
    let config = common.load(Vec::new())?;
    block_on(async {
        let ledger = app::open_read_only(&config).await?;
        match verb {
            DeliveriesVerb::Ls { choice, limit, format } => list(&ledger, choice, *limit, *format).await,
            DeliveriesVerb::Show { name, body } => show(&config, &ledger, *name, *body).await,
            DeliveriesVerb::Export { choice, output } => {
                export(&config, &ledger, choice, output.as_deref()).await
            }
        }
    })
}

async fn list(ledger: &Ledger, choice: &Choice, limit: usize, format: Format) -> anyhow::Result<Verdict> {
    let rows = newest(ledger, choice, limit).await?;
    if format == Format::Json {
        output::json(&rows)?;
        return Ok(Verdict::Fine);
    }
    let head = ["number", "received", "endpoint", "delivery", "size", "assurance", "outcomes"];
    output::table(&head, rows.iter().map(cells).collect(), "no delivery matches");
    Ok(Verdict::Fine)
}

/// The newest that match. A page may be short although there is a next one.
async fn newest(ledger: &Ledger, choice: &Choice, limit: usize) -> anyhow::Result<Vec<DeliveryRow>> {
    let (mut rows, mut before) = (Vec::new(), None);
    while rows.len() < limit {
        let page = stored::page(ledger, &choice.filter((limit - rows.len()).min(PAGE), before)).await?;
        rows.extend(page.items);
        let Some(next) = page.next else { break };
        before = Some(next.0);
    }
    Ok(rows)
}

fn cells(row: &DeliveryRow) -> Vec<String> {
    let outcomes = if row.waiting {
        "waiting".to_owned()
    } else {
        row.external_events.iter().map(|event| event.outcome.as_str()).collect::<Vec<_>>().join(", ")
    };
    vec![
        row.number.to_string(),
        row.received_at.to_string(),
        format!("{}/{}", row.partner, row.endpoint),
        row.delivery.to_string(),
        row.size.to_string(),
        row.assurance.as_str().to_owned(),
        outcomes,
    ]
}

pub(super) async fn show(
    config: &Config,
    ledger: &Ledger,
    name: Named,
    body: bool,
) -> anyhow::Result<Verdict> {
    let found = stored::find(ledger, name).await?;
    let Found { row, payload } = found.context("there is no such delivery in this ledger")?;
    journal_read(config, row.delivery, if body { "body" } else { "headers" }).await?;
    match (body, payload) {
        (true, payload) => std::io::stdout().lock().write_all(&payload?.body)?,
        (false, payload) => output::json(&DeliveryDetail::new(row, payload, false))?,
    }
    Ok(Verdict::Fine)
}

async fn export(
    config: &Config,
    ledger: &Ledger,
    choice: &Choice,
    output: Option<&Path>,
) -> anyhow::Result<Verdict> {
    let mut sink: Box<dyn Write> = match output {
        Some(path) => Box::new(BufWriter::new(File::create(path)?)),
        None => Box::new(BufWriter::new(std::io::stdout())),
    };
    journal(config, "payload.exported", "deliveries", json!(choice)).await?;
    let end = ledger.log.durable();
    let bar = output::progress(end.0, "exporting");
    // Nothing beyond the log as it was when it was opened: what comes in meanwhile belongs to the next export.
    let (mut before, mut incomplete) = (end.next(), false);
    loop {
        let page = stored::page(ledger, &choice.filter(PAGE, Some(before.0))).await?;
        for row in page.items {
            bar.set_position(end.0.saturating_sub(row.number.0));
            let payload = stored::payload(ledger, row.number).await?;
            incomplete |= payload.is_err();
            serde_json::to_writer(&mut sink, &DeliveryDetail::new(row, payload, true))?;
            sink.write_all(b"\n")?;
        }
        let Some(next) = page.next else { break };
        before = next;
    }
    sink.flush()?;
    bar.finish_and_clear();
    Ok(if incomplete { Verdict::FoundWrong } else { Verdict::Fine })
}

async fn journal_read(config: &Config, id: DeliveryId, what: &str) -> anyhow::Result<()> {
    journal(config, "payload.read", &id.to_string(), json!({ "what": what })).await
}

/// With a server on the data folder the act goes through its private door; without one, the records are opened for acts.
async fn journal(config: &Config, act: &str, subject: &str, detail: serde_json::Value) -> anyhow::Result<()> {
    let entry = data::act(app::now(), act, subject, detail);
    match PrivateDoor::find(&config.ledger.data_dir)? {
        Some(door) => {
            door.ask::<serde_json::Value>(Method::POST, "/journal", Some(&entry)).await?;
        }
        None => app::open_for_acts(config)?.records.journal(entry).await?,
    }
    Ok(())
}
