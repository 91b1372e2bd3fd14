//! `cargo bench --bench road`: what the road costs, beside its own ceilings, in one run on one machine.
//!
//! (a) a bare handler that reads and checks the HMAC, (b) the same plus one writer that does one `write` and one
//! `fdatasync` per ≤ 1,024 waiting: the durable ceiling, (c) douane's acks with stages 1–2 off, (d) douane's acks with
//! everything on, (e) deliveries ÷ (first ack → last event in the feed) over a minute's closed loop. Absolute figures
//! drift with the machine; the ratios to (b) are what counts. Every server is a process of its own (this binary again),
//! so that its CPU time and memory are its own.
//!
//! `cargo bench --bench road -- --full` also keeps 2,000,000 deliveries and measures restarts and (d) on top of them;
//! `--quick` shortens everything to see that it works. What is kept goes below `TMPDIR`, which must be a real disk.
//!
//! It ends with the bars and whether each is reached. That is a report, not a verdict: the load shares the cores with
//! the servers and other programs with both, so a single BELOW is a reason to run it again, and the exit code is 0.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    unreachable_pub,
    reason = "a benchmark prints, measures real time, and ends when something is not as it must be"
)]

#[path = "../parts/bars.rs"]
mod bars;
mod feed;
#[path = "../parts/load.rs"]
mod load;
#[path = "../parts/process.rs"]
mod process;
mod report;
mod servers;
#[path = "../parts/stripe.rs"]
mod stripe;

use std::{path::Path, slice::from_ref, time::Duration};

use anyhow::Result;
use process::{Commits, Server};
use report::{Figures, Report};

/// Open connections of the load.
const CONNECTIONS: u64 = 64;
/// Endpoints that they post to.
const ENDPOINTS: u64 = 1;

/// How often and how long everything is measured.
#[derive(Clone, Copy, Debug)]
struct Plan {
    rounds: usize,
    round: Duration,
    paced: Duration,
    end_to_end_runs: usize,
    end_to_end: Duration,
    /// With `--full`: restarts on so many deliveries, and on the last of them (d) again.
    keep: Option<[u64; 2]>,
}

impl Plan {
    fn new(quick: bool, full: bool) -> Self {
        let seconds = |thorough, hasty| Duration::from_secs(if quick { hasty } else { thorough });
        Self {
            rounds: 3,
            round: seconds(8, 2),
            paced: seconds(5, 1),
            end_to_end_runs: if quick { 1 } else { 3 },
            end_to_end: seconds(60, 5),
            keep: full.then_some(if quick { [50_000, 100_000] } else { [1_000_000, 2_000_000] }),
        }
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, kind, folder] = arguments.as_slice()
        && flag == "--server"
    {
        return servers::run(kind, folder.as_ref());
    }
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let plan = Plan::new(has("--quick"), has("--full"));
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(measure(plan))
}

async fn measure(plan: Plan) -> Result<()> {
    let mut report = Report::default();
    println!("keeping what is kept below {}", std::env::temp_dir().display());
    for round in 1..=plan.rounds {
        for (kind, row) in servers::KINDS {
            println!("round {round}: {row}");
            let folder = tempfile::tempdir()?;
            let server = Server::start(kind, folder.path())?;
            report.round(row, closed_round(&server, plan.round).await?);
        }
    }
    for round in 1..=plan.rounds {
        for (kind, row) in servers::KINDS.into_iter().skip(1) {
            println!("paced at 2,000/s, round {round}: {row}");
            let folder = tempfile::tempdir()?;
            let server = Server::start(kind, folder.path())?;
            let run = load::paced(from_ref(&server), 2_000, plan.paced).await?;
            report.paced(row, Figures::of(&run, server.usage()?, server.commits().await?));
        }
    }
    for run in 1..=plan.end_to_end_runs {
        println!("end to end, run {run}");
        let folder = tempfile::tempdir()?;
        report.round(report::END_TO_END, end_to_end(folder.path(), plan.end_to_end).await?);
    }
    if let Some(keep) = plan.keep {
        full(&mut report, plan, keep).await?;
    }
    println!("{report}");
    Ok(())
}

async fn closed_round(server: &Server, how_long: Duration) -> Result<Figures> {
    let before = server.usage()?;
    let run = load::closed_loop(from_ref(server), how_long).await?;
    Ok(Figures::of(&run, server.usage()?.since(before), server.commits().await?))
}

async fn end_to_end(folder: &Path, how_long: Duration) -> Result<Figures> {
    let server = Server::start("road", folder)?;
    let run = feed::end_to_end(&server, how_long).await?;
    // Its commits stop before its time does, so a rate of them would say nothing.
    Ok(Figures::of(&run, server.usage()?, Commits::default()))
}

/// Keeps deliveries through the road, restarts on them, and measures (d) in turn without and with them.
async fn full(report: &mut Report, plan: Plan, keep: [u64; 2]) -> Result<()> {
    let folder = tempfile::tempdir()?;
    for kept in keep {
        println!("filling to {kept} deliveries through the road");
        feed::fill(&Server::start("road", folder.path())?, kept).await?;
        for _ in 0..plan.rounds {
            report.restart(kept, Server::start("road", folder.path())?.ready_after);
        }
    }
    for round in 1..=plan.rounds {
        let empty = tempfile::tempdir()?;
        for (row, folder) in [(report::EMPTY, empty.path()), (report::FULL, folder.path())] {
            println!("round {round}: {row}");
            let server = Server::start("road", folder)?;
            let figures = closed_round(&server, plan.round).await?;
            report.round(row, figures);
            feed::settle(&server, figures.acks).await?;
        }
    }
    Ok(())
}
