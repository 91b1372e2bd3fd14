//! Room `cli`: `douane deliveries ls|show|export`. Reads beside a running server. Reading a payload is an act and is
//! journalled: through the private door when a server runs, else on the records.

use std::{
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Subcommand;
use reqwest::Method;
use serde::Serialize;
use serde_json::json;

use super::{
    Common, Verdict, block_on,
    data::{self, Choice},
    output::{self, Format, counted},
    private_door::PrivateDoor,
    whole_file::WholeFile,
};
use crate::{
    app,
    config::Config,
    console::{
        damaged::{self, DamagedNumber},
        stored::{self, DeliveryDetail, Found, LookupError, Named, NoPayload},
    },
    ledger::{DeliveryRow, Ledger},
    model::{DeliveryId, Entry},
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
    /// Show one delivery: what came, what became of it, where that was published; with --body the exact bytes
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
        /// Replace FILE if it is there
        #[arg(long, requires = "output")]
        force: bool,
    },
}

pub(super) fn run(common: &Common, verb: &DeliveriesVerb) -> anyhow::Result<Verdict> {
    let config = common.load(Vec::new())?;
    block_on(async {
        let ledger = app::open_read_only(&config).await?;
        match verb {
            DeliveriesVerb::Ls { choice, limit, format } => {
                list(&config, &ledger, &choice.clone().settled()?, *limit, *format).await
            }
            DeliveriesVerb::Show { name, body } => show(&config, &ledger, *name, *body).await,
            DeliveriesVerb::Export { choice, output, force } => {
                let place = output.as_deref().map(|path| (path, *force));
                export(&config, &ledger, &choice.clone().settled()?, place).await
            }
        }
    })
}

async fn list(
    config: &Config,
    ledger: &Ledger,
    choice: &Choice,
    limit: usize,
    format: Format,
) -> anyhow::Result<Verdict> {
    let Newest { rows, more, damaged } = newest(ledger, choice, limit).await?;
    if rows.is_empty() {
        data::must_be_known(config, ledger, choice.scope.names()).await?;
    }
    let head = ["number", "received", "endpoint", "delivery", "size", "assurance", "outcomes"];
    match format {
        Format::Json => output::json(&rows)?,
        Format::Table => output::table(&head, rows.iter().map(cells).collect(), "no delivery matches"),
    }
    if more {
        output::complain(&format!("the newest {} are shown; there are more: use --limit", rows.len()));
    }
    if damaged > 0 {
        let numbers = counted(damaged, "damaged number", "damaged numbers");
        output::complain(&format!(
            "{numbers} may belong here: nobody knows whose; `deliveries export` names each"
        ));
    }
    Ok(Verdict::Fine)
}

/// The newest deliveries that match, whether there are more, and how many damaged numbers may be among them.
struct Newest {
    rows: Vec<DeliveryRow>,
    more: bool,
    damaged: usize,
}

/// A page may be short although there is a next one.
async fn newest(ledger: &Ledger, choice: &Choice, limit: usize) -> anyhow::Result<Newest> {
    let (mut rows, mut unreadable, mut before) = (Vec::new(), Vec::new(), None);
    // One more than is shown tells whether there are more.
    let wanted = limit.saturating_add(1);
    while rows.len() < wanted {
        let page = stored::page(ledger, &choice.filter((wanted - rows.len()).min(PAGE), before)).await?;
        rows.extend(page.items);
        unreadable.extend(page.unreadable);
        let Some(next) = page.next else { break };
        before = Some(next.0);
    }
    let more = rows.len() > limit;
    rows.truncate(limit);
    let damaged = damaged::list(ledger, &choice.filter(PAGE, None), unreadable).await?.len();
    Ok(Newest { rows, more, damaged })
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
    let found = match stored::find(ledger, name).await {
        Err(LookupError::Damaged(damaged)) => return show_damaged(&damaged, body),
        found => found?,
    };
    let Found { row, payload } = found.context("there is no such delivery in this ledger")?;
    if let (true, Err(why @ NoPayload::Damaged { .. })) = (body, &payload) {
        output::complain(&why.to_string());
        return Ok(Verdict::FoundWrong);
    }
    journal_read(config, row.delivery, if body { "body" } else { "headers" }).await?;
    let verdict = verdict(&payload);
    match (body, payload) {
        (true, payload) => std::io::stdout().lock().write_all(&payload?.body)?,
        (false, payload) => {
            let publications = Some(stored::publications(ledger, &row).await?);
            output::json(&DeliveryDetail { publications, ..DeliveryDetail::new(row, payload, false) })?;
        }
    }
    Ok(verdict)
}

fn show_damaged(damaged: &DamagedNumber, body: bool) -> anyhow::Result<Verdict> {
    if body {
        output::complain(&damaged.payload);
    } else {
        output::json(damaged)?;
    }
    Ok(Verdict::FoundWrong)
}

/// What retention dropped went by intent; any other payload that is not there is lost.
fn verdict(payload: &Result<Entry, NoPayload>) -> Verdict {
    match payload {
        Ok(_) | Err(NoPayload::Dropped { .. }) => Verdict::Fine,
        Err(NoPayload::Damaged { .. } | NoPayload::NotThere { .. }) => Verdict::FoundWrong,
    }
}

async fn export(
    config: &Config,
    ledger: &Ledger,
    choice: &Choice,
    place: Option<(&Path, bool)>,
) -> anyhow::Result<Verdict> {
    if newest(ledger, choice, 1).await?.rows.is_empty() {
        data::must_be_known(config, ledger, choice.scope.names()).await?;
    }
    let cannot = |path: &Path| format!("cannot write {}", path.display());
    let file = match place {
        Some((path, force)) => Some((WholeFile::create(path, force).with_context(|| cannot(path))?, path)),
        None => None,
    };
    journal(config, "payload.exported", "deliveries", json!(choice)).await?;
    let Some((file, path)) = file else {
        return write_lines(ledger, choice, &mut Lines::to(BufWriter::new(std::io::stdout()))).await;
    };
    write_file(ledger, choice, file, path).await.with_context(|| cannot(path))
}

async fn write_file(
    ledger: &Ledger,
    choice: &Choice,
    file: WholeFile,
    path: &Path,
) -> anyhow::Result<Verdict> {
    let mut lines = Lines::to(file);
    let found = write_lines(ledger, choice, &mut lines).await?;
    let Lines { sink, count, bytes } = lines;
    sink.finish()?;
    let (lines, bytes) = (counted(count, "line", "lines"), counted(bytes, "byte", "bytes"));
    output::complain(&format!("{lines}, {bytes}, written to {}", path.display()));
    Ok(found)
}

/// Lines of JSON on their way out, counted.
struct Lines<W> {
    sink: W,
    count: u64,
    bytes: u64,
}

impl<W: Write> Lines<W> {
    fn to(sink: W) -> Self {
        Self { sink, count: 0, bytes: 0 }
    }

    fn write(&mut self, line: &impl Serialize) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(line)?;
        line.push(b'\n');
        (self.count, self.bytes) = (self.count + 1, self.bytes + line.len() as u64);
        Ok(self.sink.write_all(&line)?)
    }
}

/// Deliveries, newest first, and after them a line for each damaged number that may have been one.
async fn write_lines(
    ledger: &Ledger,
    choice: &Choice,
    lines: &mut Lines<impl Write>,
) -> anyhow::Result<Verdict> {
    let end = ledger.log.durable();
    let bar = output::progress(end.0, "exporting");
    // Nothing beyond the log as it was when it was opened: what comes in meanwhile belongs to the next export.
    let all = choice.filter(PAGE, Some(end.next().0));
    let (mut filter, mut unreadable, mut found) = (all.clone(), Vec::new(), Verdict::Fine);
    loop {
        let page = stored::page(ledger, &filter).await?;
        for row in page.items {
            bar.set_position(end.0.saturating_sub(row.number.0));
            let payload = stored::payload(ledger, row.number).await?;
            found = found.and(verdict(&payload));
            lines.write(&DeliveryDetail::new(row, payload, true))?;
        }
        unreadable.extend(page.unreadable);
        filter.before = page.next;
        if page.next.is_none() {
            break;
        }
    }
    for damaged in damaged::list(ledger, &all, unreadable).await? {
        found = Verdict::FoundWrong;
        lines.write(&damaged)?;
    }
    lines.sink.flush()?;
    bar.finish_and_clear();
    Ok(found)
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
        None => app::open_for_acts(config).await?.records.journal(entry).await?,
    }
    Ok(())
}
