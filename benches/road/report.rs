//! What was measured, as a table: medians of the rounds, and ratios to the durable ceiling (b).

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::{load::Run, process::Usage};

/// Everything measured so far.
#[derive(Debug, Default)]
pub struct Report {
    closed: BTreeMap<String, Vec<(Run, Usage, Option<(u64, u64)>)>>,
    paced: Vec<(String, Run)>,
    end_to_end: Option<(Run, Usage)>,
    restarts: Vec<(u64, Duration)>,
}

impl Report {
    /// Notes a closed-loop round.
    pub fn closed(&mut self, kind: &str, run: Run, usage: Usage, commits: Option<(u64, u64)>) {
        self.closed.entry(kind.to_owned()).or_default().push((run, usage, commits));
    }

    /// Notes a run at a fixed rate.
    pub fn paced(&mut self, kind: &str, run: Run) {
        self.paced.push((kind.to_owned(), run));
    }

    /// Notes the end-to-end run.
    pub fn end_to_end(&mut self, run: Run, usage: Usage) {
        self.end_to_end = Some((run, usage));
    }

    /// Notes how long a restart took.
    pub fn restart(&mut self, kept: u64, ready_after: Duration) {
        self.restarts.push((kept, ready_after));
    }

    fn median_rate(&self, kind: &str) -> f64 {
        let mut rates: Vec<f64> =
            self.closed.get(kind).into_iter().flatten().map(|(run, ..)| run.rate()).collect();
        rates.sort_by(f64::total_cmp);
        rates.get(rates.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn row(&self, f: &mut fmt::Formatter<'_>, name: &str, kind: &str) -> fmt::Result {
        let Some((run, usage, commits)) = self.closed.get(kind).and_then(|rounds| rounds.last()) else {
            return Ok(());
        };
        let rate = self.median_rate(kind);
        let ratio = rate / self.median_rate("ceiling");
        let cpu = usage.cpu.as_secs_f64() * 1e6 / run.acks.max(1) as f64;
        let mib = usage.peak_rss / (1024 * 1024);
        let (fsyncs, batch) = match commits {
            Some((count, sum)) if *count > 0 => (
                format!("{:.0}", *count as f64 / run.took.as_secs_f64()),
                format!("{:.1}", *sum as f64 / *count as f64),
            ),
            _ => ("-".to_owned(), "-".to_owned()),
        };
        writeln!(f, "{name:<34} {rate:>9.0} {ratio:>8.2} {cpu:>9.0} {fsyncs:>9} {batch:>7} {mib:>8}")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{:<34} {:>9} {:>8} {:>9} {:>9} {:>7} {:>8}",
            "", "acks/s", "÷ (b)", "CPU µs", "fsyncs/s", "batch", "RSS MiB"
        )?;
        self.row(f, "(a) bare handler, HMAC", "bare")?;
        self.row(f, "(b) durable ceiling", "ceiling")?;
        self.row(f, "(c) douane, stages off", "acks")?;
        self.row(f, "(d) douane, everything on", "road")?;
        self.row(f, "(d) on 2,000,000 deliveries", "road on 2,000,000")?;
        if let Some((run, usage)) = &self.end_to_end {
            let ratio = run.rate() / self.median_rate("ceiling");
            let cpu = usage.cpu.as_secs_f64() * 1e6 / run.acks.max(1) as f64;
            let mib = usage.peak_rss / (1024 * 1024);
            let name = "(e) first ack → last event";
            writeln!(
                f,
                "{name:<34} {:>9.0} {ratio:>8.2} {cpu:>9.0} {:>9} {:>7} {mib:>8}",
                run.rate(),
                "-",
                "-"
            )?;
        }
        writeln!(f, "\nack latency at a fixed 2,000/s")?;
        for (kind, run) in &self.paced {
            let (p50, p99) = (run.percentile(0.5), run.percentile(0.99));
            writeln!(f, "  {kind:<10} p50 {p50:>10.2?}  p99 {p99:>10.2?}")?;
        }
        for (kept, after) in &self.restarts {
            writeln!(f, "restart to ready with {kept} deliveries: {after:.2?}")?;
        }
        Ok(())
    }
}
