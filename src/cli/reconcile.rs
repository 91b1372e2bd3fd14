//! Room `cli`: `douane reconcile` proves both conservation laws, at any instant, beside a running server.

use clap::Args;
use serde::Serialize;

use super::{
    Common, Verdict, block_on,
    output::{self, Format, counted},
    scrub::{self, Scrub},
};
use crate::{
    app,
    ledger::{Conservation, Ledger, LogItem, Records, RecordsError},
    model::EntryNumber,
};

const PAGE_BYTES: usize = 16 * 1024 * 1024;

#[derive(Debug, Args)]
pub(super) struct ReconcileArgs {
    /// Also read every byte of the intake log, hold it against the records, and check their file
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
    /// The feed has as many domain events as its last number says: none is missing.
    feed_holds: bool,
    /// Damaged and missing ranges of the log, and headers of segments that cannot be used.
    damaged: Vec<String>,
    /// What is wrong with the file of the records; looked for by a scrub only.
    broken: Vec<String>,
    /// What a scrub saw.
    scrub: Option<Scrub>,
    /// The figures of the records.
    records: Conservation,
}

pub(super) fn run(common: &Common, args: &ReconcileArgs) -> anyhow::Result<Verdict> {
    let config = common.load(Vec::new())?;
    block_on(async {
        let figures = figures(&*app::open_read_only(&config).await?.records, args.scrub).await?;
        // Opened after the figures were read: what a running server works in between can only be counted as waiting.
        let ledger = app::open_read_only(&config).await?;
        let report = report(&ledger, figures, args.scrub).await?;
        match args.format {
            Format::Json => output::json(&report)?,
            Format::Table => show(&report),
        }
        Ok(if report.is_sound() { Verdict::Fine } else { Verdict::FoundWrong })
    })
}

/// The figures of the records, or what keeps them from being read; and what else is wrong with their storage.
async fn figures(records: &dyn Records, scrub: bool) -> anyhow::Result<(Option<Conservation>, Vec<String>)> {
    let mut broken = if scrub { scrub::check(records).await? } else { Vec::new() };
    match records.conservation().await {
        Err(RecordsError::Broken(why)) if scrub => {
            broken.push(why);
            Ok((None, broken))
        }
        figures => Ok((Some(figures?), broken)),
    }
}

/// Puts the figures of the records beside what the log holds.
async fn report(
    ledger: &Ledger,
    (figures, broken): (Option<Conservation>, Vec<String>),
    scrub: bool,
) -> anyhow::Result<Report> {
    let log = &*ledger.log;
    let mut damaged = missing_start(ledger).await?;
    damaged.extend(log.frame().await?);
    let scrub = if scrub {
        let readable = figures.as_ref().filter(|_| broken.is_empty());
        let scrub = scrub::scrub(ledger, readable).await?;
        // Segments that do not join up were found already.
        let found = scrub.damaged.iter().filter(|range| !damaged.contains(range)).cloned();
        damaged.extend(found.collect::<Vec<_>>());
        Some(scrub)
    } else {
        None
    };
    let readable = figures.is_some();
    let records = figures.unwrap_or_default();
    let given = log.durable().0;
    let waiting = waiting(ledger, EntryNumber(given), &records).await?;
    let outcomes = records.outcomes.iter().map(|(_, count)| count).sum();
    Ok(Report {
        given,
        worked: records.worked,
        waiting,
        pruned: ledger.records.dropped_through().await?.0.min(log.first().0.saturating_sub(1)),
        numbers_hold: readable && given == records.worked + waiting,
        identified: records.identified,
        outcomes,
        events_hold: readable && records.identified == outcomes && records.orphans == 0,
        feed_holds: readable && records.domain_events == records.last_event.0,
        damaged,
        broken,
        scrub,
        records,
    })
}

impl Report {
    fn is_sound(&self) -> bool {
        let laws = self.numbers_hold && self.events_hold && self.feed_holds;
        let differing = self.scrub.as_ref().map_or(0, |scrub| scrub.differing);
        laws && self.damaged.is_empty() && self.broken.is_empty() && differing == 0
    }
}

/// Counts, in the log itself, the entries through `given` that are beyond their endpoint's cursor. An independent count:
/// subtracting would prove nothing. A log that others go on appending to hands out more than was asked for.
async fn waiting(ledger: &Ledger, given: EntryNumber, records: &Conservation) -> anyhow::Result<u64> {
    let log = &*ledger.log;
    let lowest = records.cursors.iter().map(|(_, through)| *through).min().unwrap_or_default();
    let mut after = lowest.max(EntryNumber(log.first().0.saturating_sub(1)));
    let mut waiting = 0;
    while after < given {
        let items = log.read_after(after, 10_000, PAGE_BYTES).await?;
        if items.is_empty() {
            break;
        }
        for item in items {
            match item {
                LogItem::Entry(entry) => {
                    after = entry.number;
                    if after > given {
                        break;
                    }
                    waiting += u64::from(entry.number > records.cursor(entry.meta.endpoint()));
                }
                LogItem::Damaged { first, last, .. } => {
                    after = last;
                    let last = last.min(given);
                    let beyond = records.highest_worked.max(EntryNumber(first.0.saturating_sub(1)));
                    waiting += last.0.saturating_sub(beyond.0);
                    waiting += unworked(ledger, first, last.min(records.highest_worked)).await?;
                }
            }
        }
    }
    Ok(waiting)
}

/// How many damaged numbers nobody has worked although others beyond them were: where processes share the work, those that
/// read on are not those that stand before the damage.
async fn unworked(ledger: &Ledger, first: EntryNumber, last: EntryNumber) -> anyhow::Result<u64> {
    let (mut unworked, mut from) = (0, first.0);
    while from <= last.0 {
        let to = last.0.min(from.saturating_add(10_000));
        let numbers: Vec<_> = (from..=to).map(EntryNumber).collect();
        let kept = ledger.records.kept(&numbers).await?;
        unworked += kept.iter().filter(|kept| kept.is_none()).count() as u64;
        from = to + 1;
    }
    Ok(unworked)
}

async fn missing_start(ledger: &Ledger) -> anyhow::Result<Vec<String>> {
    let told = |(first, last)| format!("{first} to {last}: missing, and retention did not drop them");
    Ok(ledger.missing_start().await?.map(told).into_iter().collect())
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
        "events   {}: {} identified = {}",
        mark(report.events_hold),
        report.identified,
        counted(report.outcomes, "outcome", "outcomes")
    ));
    for (kind, count) in &report.records.outcomes {
        output::say(&format!("           {count:>10} {kind}"));
    }
    output::say(&format!(
        "feed     {}: {}, the last one numbered {}",
        mark(report.feed_holds),
        counted(report.records.domain_events, "domain event", "domain events"),
        report.records.last_event
    ));
    if let Some(scrub) = &report.scrub {
        let holds = report.damaged.is_empty() && scrub.differing == 0;
        let entries = counted(scrub.entries, "entry", "entries");
        let bytes = counted(scrub.body_bytes, "body byte", "body bytes");
        output::say(&format!("log      {}: {entries}, {bytes} checked", mark(holds)));
    }
    show_wrong(report);
}

fn show_wrong(report: &Report) {
    for range in &report.damaged {
        output::say(&format!("DAMAGED  {range}"));
    }
    for line in &report.broken {
        output::say(&format!("BROKEN   records: {line}"));
    }
    if let Some(scrub) = &report.scrub {
        for difference in &scrub.differences {
            output::say(&format!("DIFFERS  {difference}"));
        }
        if scrub.differing > scrub.differences.len() as u64 {
            output::say(&format!("DIFFERS  {} entries in all", scrub.differing));
        }
    }
}
