//! What was measured, as a table: medians of the rounds (the most memory of any), ratios to the durable ceiling (b), and
//! the bars.

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::{
    bars::{Bar, median, number},
    load::Run,
    process::{Commits, Usage},
};

/// A row's title in the table.
pub type Row = &'static str;
pub const BARE: Row = "(a) bare handler, HMAC";
pub const CEILING: Row = "(b) durable ceiling";
pub const ACKS: Row = "(c) douane, stages off";
pub const ROAD: Row = "(d) douane, everything on";
pub const END_TO_END: Row = "(e) first ack → last event";
pub const EMPTY: Row = "(d) empty, in turn with the next";
pub const FULL: Row = "(d) on what --full kept";
const TABLE: [Row; 7] = [BARE, CEILING, ACKS, ROAD, END_TO_END, EMPTY, FULL];

const MIB: f64 = 1_048_576.0;
/// The bar on latency holds where the ceiling itself is at most this slow.
const FAST_CEILING_MS: f64 = 5.0;

/// What one round came to; what was not counted is NaN.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Acks.
    pub acks: u64,
    rate: f64,
    cpu_micros: f64,
    fsyncs: f64,
    batch: f64,
    rss_mib: f64,
    p50_ms: f64,
    p99_ms: f64,
}

impl Figures {
    /// The figures of a run: what the server's process used in it, and its commits.
    pub fn of(run: &Run, usage: Usage, commits: Commits) -> Self {
        let per = |count: u64, of: f64| if count == 0 { f64::NAN } else { count as f64 / of };
        let milliseconds = |share| run.percentile(share).as_secs_f64() * 1e3;
        Self {
            acks: run.acks,
            rate: run.rate(),
            cpu_micros: usage.cpu.as_secs_f64() * 1e6 / run.acks.max(1) as f64,
            fsyncs: per(commits.count, run.took.as_secs_f64()),
            batch: commits.batch(),
            rss_mib: usage.peak_rss as f64 / MIB,
            p50_ms: milliseconds(0.5),
            p99_ms: milliseconds(0.99),
        }
    }
}

/// Everything measured so far.
#[derive(Debug, Default)]
pub struct Report {
    rounds: BTreeMap<Row, Vec<Figures>>,
    paced: BTreeMap<Row, Vec<Figures>>,
    restarts: BTreeMap<u64, Vec<Duration>>,
}

impl Report {
    /// Notes a round.
    pub fn round(&mut self, row: Row, figures: Figures) {
        self.rounds.entry(row).or_default().push(figures);
    }

    /// Notes a round at a fixed rate.
    pub fn paced(&mut self, row: Row, figures: Figures) {
        self.paced.entry(row).or_default().push(figures);
    }

    /// Notes how long a restart took.
    pub fn restart(&mut self, kept: u64, ready_after: Duration) {
        self.restarts.entry(kept).or_default().push(ready_after);
    }

    fn median(&self, row: Row, of: impl Fn(&Figures) -> f64) -> f64 {
        median(self.rounds.get(row).into_iter().flatten().map(of))
    }

    fn rate(&self, row: Row) -> f64 {
        self.median(row, |figures| figures.rate)
    }

    fn most_rss(&self, rows: &[Row]) -> f64 {
        let figures = rows.iter().filter_map(|row| self.rounds.get(row)).flatten();
        figures.map(|figures| figures.rss_mib).fold(f64::NAN, f64::max)
    }

    fn row(&self, f: &mut fmt::Formatter<'_>, row: Row) -> fmt::Result {
        let Some(rounds) = self.rounds.get(row) else { return Ok(()) };
        writeln!(
            f,
            "{row:<34} {:>6} {:>9} {:>8} {:>9} {:>9} {:>7} {:>8}",
            rounds.len(),
            number(self.rate(row), 0),
            number(self.rate(row) / self.rate(CEILING), 2),
            number(self.median(row, |figures| figures.cpu_micros), 0),
            number(self.median(row, |figures| figures.fsyncs), 0),
            number(self.median(row, |figures| figures.batch), 1),
            number(self.most_rss(&[row]), 0),
        )
    }

    fn latency(&self, row: Row, of: impl Fn(&Figures) -> f64) -> f64 {
        median(self.paced.get(row).into_iter().flatten().map(of))
    }

    /// What the product must reach. A ratio of nothing measured is NaN.
    fn bars(&self) -> Vec<Bar> {
        let to_ceiling = |row| self.rate(row) / self.rate(CEILING);
        let ceiling = self.latency(CEILING, |figures| figures.p99_ms);
        let excuse =
            (ceiling > FAST_CEILING_MS).then(|| format!("not judged: (b) itself took {ceiling:.2} ms"));
        let p99 = self.latency(ROAD, |figures| figures.p99_ms);
        let rss = self.most_rss(&[ROAD, END_TO_END, EMPTY, FULL]);
        let restarts = self.restarts.get(&1_000_000).into_iter().flatten();
        let restart = median(restarts.map(Duration::as_secs_f64));
        let kept = if self.restarts.contains_key(&2_000_000) { self.rate(FULL) } else { f64::NAN };
        vec![
            Bar::at_least("(c) ÷ (b)", to_ceiling(ACKS), 0.85),
            Bar::at_least("(d) ÷ (b)", to_ceiling(ROAD), 0.5),
            Bar::at_least("(e) ÷ (b), aim 0.6", to_ceiling(END_TO_END), 0.45),
            Bar { excuse, ..Bar::at_most("(d) ack p99 at 2,000/s", p99, 10.0, " ms") },
            Bar::at_most("RSS at saturation", rss, 150.0, " MiB"),
            Bar::at_most("restart to ready, 1,000,000 kept", restart, 2.0, " s"),
            Bar::at_least("(d) with 2,000,000 kept ÷ empty", kept / self.rate(EMPTY), 0.85),
        ]
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{:<34} {:>6} {:>9} {:>8} {:>9} {:>9} {:>7} {:>8}",
            "", "rounds", "acks/s", "÷ (b)", "CPU µs", "fsyncs/s", "batch", "RSS MiB"
        )?;
        for row in TABLE {
            self.row(f, row)?;
        }
        writeln!(f, "\nack latency at a fixed 2,000/s")?;
        for row in TABLE.into_iter().filter(|row| self.paced.contains_key(row)) {
            let (p50, p99) =
                (self.latency(row, |figures| figures.p50_ms), self.latency(row, |figures| figures.p99_ms));
            writeln!(f, "  {row:<32} p50 {p50:>6.2} ms   p99 {p99:>6.2} ms")?;
        }
        for (kept, restarts) in &self.restarts {
            let ready = median(restarts.iter().map(Duration::as_secs_f64));
            writeln!(f, "restart to ready with {kept} deliveries: {ready:.2} s")?;
        }
        writeln!(f, "\nbars")?;
        for bar in self.bars() {
            writeln!(f, "{bar}")?;
        }
        Ok(())
    }
}
