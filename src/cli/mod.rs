//! Room `cli`: one file a verb, each thin: it asks `app` for a part of the house, uses it, and says what it found.
//! Exit codes: 0 done, 1 found something wrong, 2 could not run.

mod arm;
pub mod cases;
mod check;
mod config;
mod data;
mod dead_letters;
mod deliveries;
mod demo;
mod doctor;
mod doctor_memory;
mod ledger;
mod new_partner;
mod operator;
mod output;
mod partner;
mod partner_show;
mod presets;
mod private_door;
mod publications;
mod published_keys;
mod ready;
mod reconcile;
mod refusals;
mod replay;
mod scrub;
mod send;
mod serve;
pub mod sign;
mod sign_in_body;
mod sign_message;
mod sign_places;
mod sign_sns;
mod sign_token;
pub mod signer;
mod signing_jws;
pub mod signing_key;
mod signing_sha1;
pub mod test;
mod token;
mod turns;
mod verify;
mod whole_file;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
pub use turns::take_turns;

use crate::config::{Config, Overrides, load, process_environment};

const EXIT_CODES: &str = "Exit codes: 0 done, 1 found something wrong, 2 could not run";

/// What a verb found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Done, nothing wrong.
    Fine,
    /// Done, and something is wrong: the output says what.
    FoundWrong,
}

impl Verdict {
    /// Wrong if either is.
    pub(crate) fn and(self, other: Self) -> Self {
        if self == Self::Fine { other } else { self }
    }
}

/// Anti-corruption ingestion gateway: verifies, keeps, recognises, translates and publishes third-party webhooks.
#[derive(Debug, Parser)]
#[command(name = "douane", version, arg_required_else_help = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

/// Where things are; the same for every verb.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    /// The configuration file (default: douane.toml when it is there).
    #[arg(long, global = true, env = "DOUANE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data folder, instead of ledger.data_dir.
    #[arg(long, global = true, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// The mappings folder, instead of mappings.path.
    #[arg(long, global = true, value_name = "FOLDER")]
    mappings: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the whole road on a temporary folder: every fixture delivered over real HTTP, signed as its partner would
    Demo(demo::DemoArgs),
    /// Run the gateway
    Serve(serve::ServeArgs),
    /// Check partners, mappings and contracts; names file, line, what is wrong and what to do
    Check(check::CheckArgs),
    /// Run the fixtures of one partner or of all
    Test(test::TestArgs),
    /// Send a fixture to a running gateway, signed as its partner would
    Send(send::SendArgs),
    /// Say step by step why a captured request does or does not verify
    Verify(verify::VerifyArgs),
    /// List and show partners
    #[command(subcommand)]
    Partner(partner::PartnerVerb),
    /// List, show and export deliveries
    #[command(subcommand)]
    Deliveries(deliveries::DeliveriesVerb),
    /// Say where domain events were published, and what a message of a broker came from
    #[command(subcommand)]
    Publications(publications::PublicationsVerb),
    /// List, show and retry what could not be translated
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLettersVerb),
    /// Work earlier external events again
    Replay(replay::ReplayArgs),
    /// Prove that nothing was lost: numbers given = worked + waiting + pruned; events = the sum of their outcomes
    Reconcile(reconcile::ReconcileArgs),
    /// Bring the schema of a ledger in PostgreSQL forward, and say how far it is
    #[command(subcommand)]
    Ledger(ledger::LedgerVerb),
    /// Make, list and revoke tokens of the private door
    #[command(subcommand)]
    Token(token::TokenVerb),
    /// Look at configuration, secrets, disk and ledger, and explain what would keep the gateway from working
    ///
    /// Exit codes: 0 nothing does, though there may be warnings (`!`): an endpoint without its secret answers 503, and the
    /// others are served; 1 something does (`✗`), or with --strict there are warnings; 2 it could not look.
    Doctor(doctor::DoctorArgs),
    /// Say whether the running server of this data folder can keep a delivery, as /readyz does
    ///
    /// Exit codes: 0 it can; 1 it cannot, and says why; 2 no server runs on this data folder, or it does not answer.
    Ready,
    /// Print every setting with its default and documentation
    Config,
}

/// Parses the command line and runs one verb.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    match dispatch(&cli.common, cli.verb) {
        Ok(Verdict::Fine) => ExitCode::SUCCESS,
        Ok(Verdict::FoundWrong) => ExitCode::from(1),
        Err(error) => {
            output::complain(&format!("{error:#}"));
            ExitCode::from(2)
        }
    }
}

fn dispatch(common: &Common, verb: Verb) -> anyhow::Result<Verdict> {
    match verb {
        Verb::Demo(args) => demo::run(common, &args),
        Verb::Serve(args) => serve::run(common, &args),
        Verb::Check(args) => check::run(common, &args),
        Verb::Test(args) => test::run(common, &args),
        Verb::Send(args) => send::run(common, &args),
        Verb::Verify(args) => verify::run(common, &args),
        Verb::Partner(verb) => partner::run(common, &verb),
        Verb::Deliveries(verb) => deliveries::run(common, &verb),
        Verb::Publications(verb) => publications::run(common, &verb),
        Verb::DeadLetters(verb) => dead_letters::run(common, &verb),
        Verb::Replay(args) => replay::run(common, &args),
        Verb::Reconcile(args) => reconcile::run(common, &args),
        Verb::Ledger(verb) => ledger::run(common, &verb),
        Verb::Token(verb) => token::run(common, &verb),
        Verb::Doctor(args) => doctor::run(common, &args),
        Verb::Ready => ready::run(common),
        Verb::Config => Ok(config::run()),
    }
}

impl Common {
    /// The configuration, with this verb's own settings on top.
    pub(crate) fn load(&self, mut overrides: Overrides) -> anyhow::Result<Config> {
        if let Some(folder) = &self.data_dir {
            overrides.push(("ledger.data_dir", folder.display().to_string()));
        }
        if let Some(folder) = &self.mappings {
            overrides.push(("mappings.path", folder.display().to_string()));
        }
        let standard = PathBuf::from("douane.toml");
        let file = self.config.clone().or_else(|| standard.exists().then_some(standard));
        Ok(load(file.as_deref(), &process_environment(), &overrides)?)
    }
}

/// Runs a verb's asynchronous part.
pub(crate) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}
