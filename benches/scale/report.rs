//! What was measured, as a table: medians of the rounds, ratios to the hand-written handler and to the procedure alone, and
//! the bars. A machine is not the same in every minute, so bars compare rows of the same round (latencies: the medians).

use std::{collections::BTreeMap, fmt};

use crate::{
    bars::{Bar, median, number},
    engines::Usage,
    load::Run,
    pgbench::Batches,
};

/// A row's title in the table.
pub type Row = &'static str;
pub const HANDLER: Row = "written by hand: INSERT + SET NX";
pub const INTAKE: Row = "douane, 1 process, intake alone";
pub const ONE_GATEWAY: Row = "douane, 1 process";
/// With how many processes.
pub const GATEWAYS: [(usize, Row); 3] =
    [(1, ONE_GATEWAY), (2, "douane, 2 processes"), (4, "douane, 4 processes")];
/// With how many processes, each of them held to `SHARE` hundredths of a core.
pub const HELD: [(usize, Row); 3] = [
    (1, "1 process of 0.15 cores"),
    (2, "2 processes of 0.15 cores each"),
    (4, "4 processes of 0.15 cores each"),
];
/// The procedure alone: by how many clients, and whether they send the batch.
pub const ALONE: [(Row, (usize, Batches)); 4] = [
    ("append_entries alone, 1 client", (1, Batches::Sent)),
    ("append_entries alone, 2 clients", (2, Batches::Sent)),
    ("append_entries alone, 4 clients", (4, Batches::Sent)),
    ("append_entries alone, nothing sent", (1, Batches::Held)),
];
pub const REDIS_PAUSED: Row = "1 process, Redis paused";
pub const EMPTY: Row = "1 process, empty, in turn with";
pub const KEPT: Row = "1 process on what was kept";

const MIB: f64 = 1_048_576.0;
/// Two runs of the same thing differ by so much.
const NOISE: f64 = 0.05;

/// What one round came to; what was not measured is NaN.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Acks a second.
    pub rate: f64,
    /// Deliveries a second, from the first one posted to the last event published.
    pub end_to_end: f64,
    /// Entries in a batch of the intake log.
    pub batch: f64,
    /// CPU time a delivery, of the servers that take them.
    pub cpu_micros: f64,
    /// CPU time a delivery, of PostgreSQL.
    pub postgres_micros: f64,
    /// The most memory that one of the servers ever had.
    pub rss_mib: f64,
}

impl Figures {
    /// Nothing is measured yet.
    pub fn nothing() -> Self {
        let nothing = f64::NAN;
        Self {
            rate: nothing,
            end_to_end: nothing,
            batch: nothing,
            cpu_micros: nothing,
            postgres_micros: nothing,
            rss_mib: nothing,
        }
    }

    /// The acks of a run, and what they used.
    pub fn of(run: &Run, usage: Usage) -> Self {
        let each = 1e6 / run.acks.max(1) as f64;
        Self {
            rate: run.rate(),
            cpu_micros: usage.ours.as_secs_f64() * each,
            postgres_micros: usage.postgres.as_secs_f64() * each,
            rss_mib: usage.peak_rss as f64 / MIB,
            ..Self::nothing()
        }
    }

    fn cpu(&self) -> f64 {
        self.cpu_micros + self.postgres_micros
    }
}

/// Everything measured so far.
#[derive(Debug, Default)]
pub struct Report {
    rounds: BTreeMap<Row, Vec<Figures>>,
    paced: BTreeMap<Row, Vec<Run>>,
}

impl Report {
    /// Notes a round.
    pub fn round(&mut self, row: Row, figures: Figures) {
        self.rounds.entry(row).or_default().push(figures);
    }

    /// Notes a round at a fixed rate.
    pub fn paced(&mut self, row: Row, run: Run) {
        self.paced.entry(row).or_default().push(run);
    }

    /// Entries in a batch of this row so far.
    pub fn batch(&self, row: Row) -> u64 {
        self.median(row, |figures| figures.batch).round().max(1.0) as u64
    }

    fn median(&self, row: Row, of: impl Fn(&Figures) -> f64) -> f64 {
        median(self.rounds.get(row).into_iter().flatten().map(of))
    }

    fn rate(&self, row: Row) -> f64 {
        self.median(row, |figures| figures.rate)
    }

    /// The median of the ratios in each round that has both rows.
    fn ratio(&self, row: Row, other: Row, of: impl Fn(&Figures) -> f64) -> f64 {
        let rounds = |row| self.rounds.get(row).into_iter().flatten();
        median(rounds(row).zip(rounds(other)).map(|(figures, others)| of(figures) / of(others)))
    }

    fn latency(&self, row: Row, share: f64) -> f64 {
        let runs = self.paced.get(row).into_iter().flatten();
        median(runs.map(|run| run.percentile(share).as_secs_f64() * 1e3))
    }

    fn row(&self, f: &mut fmt::Formatter<'_>, row: Row) -> fmt::Result {
        let Some(rounds) = self.rounds.get(row) else { return Ok(()) };
        writeln!(
            f,
            "{row:<34} {:>6} {:>8} {:>7} {:>10} {:>7} {:>8} {:>8} {:>8}",
            rounds.len(),
            number(self.rate(row), 0),
            number(self.rate(row) / self.rate(HANDLER), 2),
            number(self.median(row, |figures| figures.end_to_end), 0),
            number(self.median(row, |figures| figures.batch), 1),
            number(self.median(row, |figures| figures.cpu_micros), 0),
            number(self.median(row, |figures| figures.postgres_micros), 0),
            number(self.median(row, |figures| figures.rss_mib), 0),
        )
    }

    /// What the product must reach. A ratio of nothing measured is NaN.
    fn bars(&self) -> Vec<Bar> {
        let [(_, one), (_, two), (_, four)] = GATEWAYS;
        let [(_, one_held), (_, two_held), (_, four_held)] = HELD;
        let acks = |row, other| self.ratio(row, other, |figures| figures.rate);
        let events = |row, other| self.ratio(row, other, |figures| figures.end_to_end);
        let paused = self.latency(REDIS_PAUSED, 0.99) / self.latency(ONE_GATEWAY, 0.99);
        let never_slower = |what, ratio| Bar::at_least(what, ratio, 1.0 - NOISE);
        let held = |what, ratio: f64| {
            let excuse = ratio.is_nan().then(|| "not measured (takes root)".to_owned());
            Bar { excuse, ..never_slower(what, ratio) }
        };
        vec![
            Bar::at_least("acks: intake ÷ by hand, aim 3.5", acks(INTAKE, HANDLER), 2.0),
            Bar::at_least("acks: 1 process ÷ by hand, aim 3.5", acks(one, HANDLER), 2.0),
            Bar::at_least("acks: intake ÷ append_entries", acks(INTAKE, ALONE[0].0), 0.6),
            Bar::at_least("acks: 1 process ÷ append_entries", acks(one, ALONE[0].0), 0.6),
            never_slower("acks: 2 processes ÷ 1", acks(two, one)),
            never_slower("acks: 4 processes ÷ 2", acks(four, two)),
            never_slower("end to end: 2 processes ÷ 1", events(two, one)),
            never_slower("end to end: 4 processes ÷ 2", events(four, two)),
            held("acks, own cores: 2 processes ÷ 1", acks(two_held, one_held)),
            held("acks, own cores: 4 processes ÷ 2", acks(four_held, two_held)),
            held("events, own cores: 2 ÷ 1", events(two_held, one_held)),
            held("events, own cores: 4 ÷ 2", events(four_held, two_held)),
            Bar::at_most("ack p99: Redis paused ÷ healthy", paused, 1.5, ""),
            Bar::at_most("time of a delivery: kept ÷ empty", events(EMPTY, KEPT), 1.15, ""),
            Bar::at_most("CPU of a delivery: kept ÷ empty", self.ratio(KEPT, EMPTY, Figures::cpu), 1.15, ""),
        ]
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{:<34} {:>6} {:>8} {:>7} {:>10} {:>7} {:>8} {:>8} {:>8}",
            "", "rounds", "acks/s", "÷ hand", "end to end", "batch", "CPU µs", "PG µs", "RSS MiB"
        )?;
        self.row(f, HANDLER)?;
        self.row(f, INTAKE)?;
        for row in GATEWAYS.into_iter().chain(HELD).map(|(_, row)| row).chain(ALONE.map(|(row, _)| row)) {
            self.row(f, row)?;
        }
        self.row(f, EMPTY)?;
        self.row(f, KEPT)?;
        writeln!(f, "\nack latency at a fixed {}/s", crate::PACE)?;
        for row in [HANDLER, ONE_GATEWAY, REDIS_PAUSED] {
            let (p50, p99) = (self.latency(row, 0.5), self.latency(row, 0.99));
            writeln!(f, "  {row:<32} p50 {p50:>6.2} ms   p99 {p99:>6.2} ms")?;
        }
        writeln!(f, "\nbars (never slower: {:.0} % is noise)", NOISE * 100.0)?;
        for bar in self.bars() {
            writeln!(f, "{bar}")?;
        }
        Ok(())
    }
}
