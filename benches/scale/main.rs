//! `cargo bench --bench scale`: what one, two and four gateways reach over one PostgreSQL, Redis and NATS, beside what people
//! write by hand and what the database's procedure reaches alone, in one run on one machine.
//!
//! The hand-written handler checks the HMAC, asks Redis (`SET NX`) and inserts the delivery, one commit each. `append_entries`
//! alone is called by pgbench, with batches as large as one gateway made them in the same round, and by as many clients as
//! there are gateways beside it. It sends its batch with each call, as any client must; that is what the bars judge by. One
//! row more has the batch in a prepared statement instead: so much the procedure would do if nothing had to reach it.
//! Replicas that bring their own processors, as those of a cluster do, are the rows with a share of a core for each process;
//! they take root. In the rows without, the processes have to share the cores with one another, the load and all servers.
//!
//! Acks a second are those of a closed loop, once of a gateway that only takes deliveries, as the handler does; end to end
//! counts until the last domain event stands in the stream. Absolute figures drift with the machine; the ratios are what
//! counts.
//!
//! What a delivery costs on a large ledger is asked when that rests: what the filling left to PostgreSQL (its dead rows, its
//! statistics, the pages to write out) is done before, and the load runs for a while before it counts, because the first
//! touch of a page after a checkpoint writes the whole page to the log. The empty ledger is asked in the same way.
//!
//! `cargo bench --bench scale -- --full` keeps 2,000,000 deliveries before it asks what one costs (otherwise 200,000);
//! `--quick` shortens everything to about a minute, to see that it works. The servers are started on free ports, in folders
//! below `TMPDIR`, which must be a real disk: PostgreSQL syncs.
//!
//! It ends with the bars and whether each is reached. That is a report, not a verdict: the load shares the cores with all
//! servers, so a single BELOW is a reason to run it again, and the exit code is 0.

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
mod engines;
mod gateway;
mod handler;
#[path = "../parts/load.rs"]
mod load;
mod pgbench;
#[path = "../parts/process.rs"]
#[expect(dead_code, reason = "the road asks a server for more")]
mod process;
mod report;
mod share;
#[path = "../../tests/it/servers"]
#[expect(dead_code, reason = "tests do more to their servers")]
mod servers {
    pub mod certificate;
    pub mod nats;
    pub mod postgres;
    pub mod process;
    pub mod redis;
}
#[path = "../parts/stripe.rs"]
mod stripe;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use engines::Engines;
use load::Run;
use process::{Commits, Server};
use report::{Figures, Report};
use share::Share;

/// Open connections of the load, shared out among the processes. With a few only, each process would have a few to commit at
/// once, and would measure how long the disk takes.
const CONNECTIONS: u64 = 256;
/// Endpoints that they post to: one endpoint is translated by one process, so several processes need several to share.
const ENDPOINTS: u64 = 8;
/// Everything that a process can do.
const ALL: &str = "intake,translate,publish,console";
/// Hundredths of a core that each process has in the rows where it brings its own: of all that four need, no more than the
/// machine has.
const SHARE: u32 = 15;
/// Deliveries a second for latencies.
const PACE: u64 = 500;

/// So long everybody is paced before latencies count: a ledger makes its first partitions when it is first used.
const WARM_UP: Duration = Duration::from_secs(2);

/// How often and how long everything is measured.
#[derive(Clone, Copy, Debug)]
struct Plan {
    rounds: usize,
    /// How often again what is compared with its likes.
    more: usize,
    round: Duration,
    /// For latencies at a fixed rate.
    paced: Duration,
    /// What a delivery costs is asked before and after so many.
    keep: u64,
}

impl Plan {
    fn new(quick: bool, full: bool) -> Self {
        let seconds = |thorough, hasty| Duration::from_secs(if quick { hasty } else { thorough });
        let keep = match (quick, full) {
            (_, true) => 2_000_000,
            (true, false) => 20_000,
            (false, false) => 200_000,
        };
        let (rounds, more) = if quick { (1, 0) } else { (3, 2) };
        Self { rounds, more, round: seconds(10, 3), paced: seconds(10, 3), keep }
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "gateway") {
        // As `serve` does, before the first thread.
        douane::cli::take_turns();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if let [flag, kind, folder] = arguments.as_slice()
        && flag == "--server"
    {
        return runtime.block_on(serve(kind, folder.as_ref()));
    }
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    runtime.block_on(measure(Plan::new(has("--quick"), has("--full"))))
}

async fn serve(kind: &str, folder: &Path) -> Result<()> {
    match kind {
        "handler" => handler::serve(folder).await,
        "gateway" => gateway::serve(folder).await,
        other => bail!("no server is called {other}"),
    }
}

async fn measure(plan: Plan) -> Result<()> {
    let mut report = Report::default();
    println!("keeping what is kept below {}", std::env::temp_dir().display());
    let engines = Engines::start().await?;
    for round in 1..=plan.rounds {
        println!("round {round}: {}", report::HANDLER);
        report.round(report::HANDLER, by_hand(&engines, plan).await?);
        println!("round {round}: {}", report::INTAKE);
        report.round(report::INTAKE, intake(&engines, plan).await?);
        for (processes, row) in report::GATEWAYS {
            println!("round {round}: {row}");
            report.round(row, gateways(&engines, processes, plan).await?);
        }
        for (processes, row) in report::HELD {
            println!("round {round}: {row}");
            match held(&engines, processes, plan).await? {
                Ok(figures) => report.round(row, figures),
                Err(reason) => println!("not measured, shares of a core cannot be given: {reason}"),
            }
        }
        let batch = pgbench::sample(&engines, report.batch(report::ONE_GATEWAY))?;
        for (row, calls) in report::ALONE {
            println!("round {round}: {row}, batches of {}", batch.entries());
            engines.empty().await?;
            report.round(row, pgbench::run(&engines, &batch, calls, plan.round)?);
        }
    }
    for round in plan.rounds + 1..=plan.rounds + plan.more {
        for (processes, row) in report::GATEWAYS {
            println!("round {round}: {row}");
            report.round(row, gateways(&engines, processes, plan).await?);
        }
    }
    for round in 1..=plan.rounds {
        println!("paced at {PACE}/s, round {round}");
        paced(&mut report, &engines, plan).await?;
    }
    flat(&mut report, &engines, plan).await?;
    println!("{report}");
    Ok(())
}

async fn by_hand(engines: &Engines, plan: Plan) -> Result<Figures> {
    engines.empty().await?;
    let folder = tempfile::tempdir()?;
    let handler = [handler::start(engines, folder.path())?];
    let before = engines.usage(&handler)?;
    let run = load::closed_loop(&handler, plan.round).await?;
    Ok(Figures::of(&run, engines.usage(&handler)?.since(before)))
}

/// One gateway that only takes deliveries, as the handler does.
async fn intake(engines: &Engines, plan: Plan) -> Result<Figures> {
    engines.empty().await?;
    let folder = tempfile::tempdir()?;
    let gateway = gateway::start(engines, engines::FRESH, &["intake"], folder.path())?;
    let before = engines.usage(&gateway)?;
    let run = load::closed_loop(&gateway, plan.round).await?;
    let figures = Figures::of(&run, engines.usage(&gateway)?.since(before));
    Ok(Figures { batch: commits(&gateway).await?.batch(), ..figures })
}

async fn gateways(engines: &Engines, processes: usize, plan: Plan) -> Result<Figures> {
    engines.empty().await?;
    let folder = tempfile::tempdir()?;
    let gateways = gateway::start(engines, engines::FRESH, &vec![ALL; processes], folder.path())?;
    on_the_road(engines, &gateways, plan.round).await
}

/// The same with a share of a core for each, where they can be given; they may start as they can.
async fn held(engines: &Engines, processes: usize, plan: Plan) -> Result<std::io::Result<Figures>> {
    engines.empty().await?;
    let folder = tempfile::tempdir()?;
    // Before the gateways, and so dropped after them: a share goes when its process has ended.
    let mut shares = Vec::new();
    let gateways = gateway::start(engines, engines::FRESH, &vec![ALL; processes], folder.path())?;
    for gateway in &gateways {
        match Share::hold(gateway.id(), SHARE) {
            Ok(share) => shares.push(share),
            Err(reason) => return Ok(Err(reason)),
        }
    }
    Ok(Ok(on_the_road(engines, &gateways, plan.round).await?))
}

/// A closed loop, and then the wait for the last event in the stream.
async fn on_the_road(engines: &Engines, gateways: &[Server], how_long: Duration) -> Result<Figures> {
    let (published, before) = (engines.published().await?, engines.usage(gateways)?);
    let began = Instant::now();
    let run = load::closed_loop(gateways, how_long).await?;
    engines.wait_until_published(published + run.acks).await?;
    let whole = Run { took: began.elapsed(), ..run.clone() };
    let figures = Figures::of(&run, engines.usage(gateways)?.since(before));
    Ok(Figures { end_to_end: whole.rate(), batch: commits(gateways).await?.batch(), ..figures })
}

async fn commits(gateways: &[Server]) -> Result<Commits> {
    let mut all = Commits::default();
    for gateway in gateways {
        let Commits { count, entries } = gateway.commits().await?;
        all = Commits { count: all.count + count, entries: all.entries + entries };
    }
    Ok(all)
}

/// Latencies of acks at a rate that nobody is pressed by, in turn.
async fn paced(report: &mut Report, engines: &Engines, plan: Plan) -> Result<()> {
    engines.empty().await?;
    let folder = tempfile::tempdir()?;
    let handler = [handler::start(engines, folder.path())?];
    load::paced(&handler, PACE, WARM_UP).await?;
    report.paced(report::HANDLER, load::paced(&handler, PACE, plan.paced).await?);
    drop(handler);
    let gateways = gateway::start(engines, engines::FRESH, &[ALL], folder.path())?;
    load::paced(&gateways, PACE, WARM_UP).await?;
    report.paced(report::ONE_GATEWAY, load::paced(&gateways, PACE, plan.paced).await?);
    engines.fresh.server.pause();
    report.paced(report::REDIS_PAUSED, load::paced(&gateways, PACE, plan.paced).await?);
    engines.fresh.server.resume();
    Ok(())
}

/// What a delivery costs one gateway, in turn on an empty ledger and on one that keeps many.
async fn flat(report: &mut Report, engines: &Engines, plan: Plan) -> Result<()> {
    engines.empty().await?;
    let folder = tempfile::tempdir()?;
    println!("filling to {} deliveries", plan.keep);
    let begun = gateway::start(engines, engines::KEPT, &[ALL], folder.path())?;
    load::count(&begun, plan.keep).await?;
    engines.wait_until_published(plan.keep).await?;
    drop(begun);
    for round in 1..=plan.rounds {
        println!("round {round}: {}", report::EMPTY);
        engines.empty().await?;
        let own = tempfile::tempdir()?;
        report.round(report::EMPTY, warm(engines, engines::FRESH, own.path(), plan).await?);
        println!("round {round}: {}", report::KEPT);
        engines.rest().await?;
        report.round(report::KEPT, warm(engines, engines::KEPT, folder.path(), plan).await?);
    }
    Ok(())
}

/// One gateway on the ledger in this schema, measured when it has run for a while.
async fn warm(engines: &Engines, schema: &str, folder: &Path, plan: Plan) -> Result<Figures> {
    let gateways = gateway::start(engines, schema, &[ALL], folder)?;
    let before = load::closed_loop(&gateways, plan.round / 2).await?;
    engines.wait_until_published(before.acks).await?;
    on_the_road(engines, &gateways, plan.round).await
}
