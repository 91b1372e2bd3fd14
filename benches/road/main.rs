//! `cargo bench --bench road`: what the road costs, beside its own ceilings, in one run on one machine.
//!
//! (a) a bare handler that reads and checks the HMAC, (b) the same plus one writer that does one `write` and one
//! `fdatasync` per ≤ 1,024 waiting: the durable ceiling, (c) douane's acks with stages 1–2 off, (d) douane's acks with
//! everything on, (e) deliveries ÷ (first ack → last event in the feed) over a minute's closed loop. Absolute figures
//! drift with the machine; the ratios to (b) are what counts. Every server is a process of its own (this binary again),
//! so that its CPU time and memory are its own.
//!
//! `cargo bench --bench road -- --full` also keeps 2,000,000 deliveries first and measures (d) and a restart on top;
//! `--quick` shortens every round to see that it works.

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

mod load;
mod process;
mod report;
mod servers;

use std::time::Duration;

use anyhow::Result;

/// How long everything takes.
#[derive(Clone, Copy, Debug)]
struct Plan {
    rounds: usize,
    round: Duration,
    end_to_end: Duration,
    paced: Duration,
    full: bool,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, kind, folder] = arguments.as_slice()
        && flag == "--server"
    {
        return servers::run(kind, folder.as_ref());
    }
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let plan = Plan {
        rounds: 3,
        round: Duration::from_secs(if has("--quick") { 2 } else { 8 }),
        end_to_end: Duration::from_secs(if has("--quick") { 5 } else { 60 }),
        paced: Duration::from_secs(if has("--quick") { 2 } else { 10 }),
        full: has("--full"),
    };
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(measure(plan))
}

async fn measure(plan: Plan) -> Result<()> {
    let mut report = report::Report::default();
    for round in 1..=plan.rounds {
        for kind in servers::KINDS {
            println!("round {round}: {kind}");
            let folder = tempfile::tempdir()?;
            let server = process::Server::start(kind, folder.path())?;
            let run = load::closed_loop(&server, plan.round).await?;
            report.closed(kind, run, server.usage()?, server.commits().await?);
        }
    }
    for kind in ["ceiling", "acks", "road"] {
        println!("paced at 2,000/s: {kind}");
        let folder = tempfile::tempdir()?;
        let server = process::Server::start(kind, folder.path())?;
        report.paced(kind, load::paced(&server, 2_000, plan.paced).await?);
    }
    println!("end to end, closed loop");
    let folder = tempfile::tempdir()?;
    let server = process::Server::start("road", folder.path())?;
    report.end_to_end(load::end_to_end(&server, plan.end_to_end).await?, server.usage()?);
    drop(server);
    if plan.full {
        full(&mut report, folder.path(), plan).await?;
    }
    println!("{report}");
    Ok(())
}

/// Keeps deliveries through the road until there are 1,000,000 and then 2,000,000, and measures on top of them.
async fn full(report: &mut report::Report, folder: &std::path::Path, plan: Plan) -> Result<()> {
    for kept in [1_000_000, 2_000_000] {
        println!("filling to {kept} deliveries through the road");
        let server = process::Server::start("road", folder)?;
        load::fill(&server, kept).await?;
        drop(server);
        let server = process::Server::start("road", folder)?;
        report.restart(kept, server.ready_after);
        if kept == 2_000_000 {
            let run = load::closed_loop(&server, plan.round).await?;
            report.closed("road on 2,000,000", run, server.usage()?, server.commits().await?);
        }
    }
    Ok(())
}
