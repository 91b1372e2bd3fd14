//! Room `cli`: `douane reconcile` proves both conservation laws, at any instant, beside a running server.

use clap::Args;
use serde::Serialize;

use super::{
    Common, Verdict, block_on,
    output::{self, Format},
};
use crate::{
    app,
    ledger::{Conservation, Ledger, LogItem, LogReader},
    model::EntryNumber,
};

const SCRUB_BYTES: usize = 16 * 1024 * 1024;

#[derive(Debug, Args)]
pub(super) struct ReconcileArgs {
    /// Also read every byte of the intake log and check it
    #[arg(long)]
    scrub: bool,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Both laws with their figures.
#[derive(Debug, Serialize)]
struct Report {
    /// Numbers the intake log has given.
    given: u64,
    /// Entries worked by stage 1.
    worked: u64,
    /// Entries not worked yet.
    waiting: u64,
    /// Payloads that retention dropped. Their records stay, so that `worked` counts them.
    pruned: u64,
    /// `given == worked + waiting`.
    numbers_hold: bool,
    /// External events identified.
    identified: u64,
    /// The sum of their latest outcomes.
    outcomes: u64,
    /// `identified == outcomes`, and no outcome without a delivery.
    events_hold: bool,
    /// Damaged and missing ranges of the log, and headers of segments that cannot be used.
    damaged: Vec<String>,
    /// The figures of the records.
    records: Conservation,
}

pub(super) fn run(common: &Common, args: &ReconcileArgs) -> anyhow::Result<Verdict> {
    let config = common.load(Vec::new())?;
    block_on(async {
        let records = app::open_read_only(&config).await?.records.conservation().await?;
        // Opened after the figures were read, for what it holds is fixed when it is opened: what a running server works
        // in between can only be counted as waiting.
        let ledger = app::open_read_only(&config).await?;
        let report = report(&ledger, records, args.scrub).await?;
        match args.format {
            Format::Json => output::json(&report)?,
            Format::Table => show(&report),
        }
        let sound = report.numbers_hold && report.events_hold && report.damaged.is_empty();
        Ok(if sound { Verdict::Fine } else { Verdict::FoundWrong })
    })
}

/// Puts the figures of the records beside what the log holds.
async fn report(ledger: &Ledger, records: Conservation, scrub: bool) -> anyhow::Result<Report> {
    let log = &*ledger.log;
    let given = log.durable().0;
    let waiting = waiting(log, &records).await?;
    let mut damaged = missing_start(ledger).await?;
    damaged.extend(log.frame().await?);
    if scrub {
        let found = damage(log).await?;
        // Segments that do not join up were found already.
        damaged.extend(found.into_iter().filter(|range| !damaged.contains(range)).collect::<Vec<_>>());
    }
    let dropped = ledger.records.dropped_through().await?.0;
    let outcomes = records.outcomes.iter().map(|(_, count)| count).sum();
    Ok(Report {
        given,
        worked: records.worked,
        waiting,
        pruned: dropped.min(log.first().0.saturating_sub(1)),
        numbers_hold: given == records.worked + waiting,
        identified: records.identified,
        outcomes,
        events_hold: records.identified == outcomes && records.orphans == 0,
        damaged,
        records,
    })
}

/// Counts, in the log itself, the entries beyond their endpoint's cursor. An independent count: subtracting would
/// prove nothing.
async fn waiting(log: &dyn LogReader, records: &Conservation) -> anyhow::Result<u64> {
    let cursor = |endpoint: &str| {
        let known = records.cursors.iter().find(|(name, _)| name == endpoint);
        known.map_or(EntryNumber(0), |(_, through)| *through)
    };
    let durable = log.durable();
    let lowest = records.cursors.iter().map(|(_, through)| *through).min().unwrap_or_default();
    let mut after = lowest.max(EntryNumber(log.first().0.saturating_sub(1)));
    let mut waiting = 0;
    while after < durable {
        let items = log.read_after(after, 10_000, SCRUB_BYTES).await?;
        if items.is_empty() {
            break;
        }
        for item in items {
            match item {
                LogItem::Entry(entry) => {
                    after = entry.number;
                    waiting += u64::from(entry.number > cursor(&entry.meta.endpoint().to_string()));
                }
                LogItem::Damaged { first, last, .. } => {
                    after = last;
                    let beyond = records.highest_worked.max(EntryNumber(first.0.saturating_sub(1)));
                    waiting += last.0.saturating_sub(beyond.0);
                }
            }
        }
    }
    Ok(waiting)
}

async fn missing_start(ledger: &Ledger) -> anyhow::Result<Vec<String>> {
    let told = |(first, last)| format!("{first} to {last}: missing, and retention did not drop them");
    Ok(ledger.missing_start().await?.map(told).into_iter().collect())
}

async fn damage(log: &dyn LogReader) -> anyhow::Result<Vec<String>> {
    let durable = log.durable();
    let bar = output::progress(durable.0, "checking every byte");
    let mut after = EntryNumber(log.first().0.saturating_sub(1));
    let mut damaged = Vec::new();
    while after < durable {
        let (items, through) = log.scrub(after, SCRUB_BYTES).await?;
        for item in items {
            if let LogItem::Damaged { first, last, detail } = item {
                damaged.push(format!("{first} to {last}: {detail}"));
            }
        }
        if through <= after {
            break;
        }
        after = through;
        bar.set_position(after.0);
    }
    bar.finish_and_clear();
    Ok(damaged)
}

fn show(report: &Report) {
    let mark = |holds: bool| if holds { "holds" } else { "BROKEN" };
    output::say(&format!(
        "numbers  {}: {} given = {} worked + {} waiting",
        mark(report.numbers_hold),
        report.given,
        report.worked,
        report.waiting
    ));
    output::say(&format!("         payloads pruned: {}", report.pruned));
    output::say(&format!(
        "events   {}: {} identified = {} outcomes",
        mark(report.events_hold),
        report.identified,
        report.outcomes
    ));
    for (kind, count) in &report.records.outcomes {
        output::say(&format!("           {count:>10} {kind}"));
    }
    output::say(&format!("         {} domain events", report.records.domain_events));
    for range in &report.damaged {
        output::say(&format!("DAMAGED  {range}"));
    }
}
