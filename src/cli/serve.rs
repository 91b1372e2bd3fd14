//! Room `cli`: `douane serve`.

use std::net::SocketAddr;

use clap::Args;

use super::{Common, Verdict, block_on, take_turns};
use crate::{
    app::{self, Gateway, Options},
    config::{LogFormat, Roles},
    telemetry,
};

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// The public door, instead of listen.public
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The private door, instead of listen.private
    #[arg(long, value_name = "ADDRESS")]
    private_listen: Option<SocketAddr>,
    /// An address of their own for /livez, /readyz and /metrics, instead of listen.health
    #[arg(long, value_name = "ADDRESS")]
    health_listen: Option<SocketAddr>,
    /// What this process does, instead of process.roles: some of intake,translate,publish,console
    #[arg(long, value_name = "ROLES")]
    roles: Option<Roles>,
    /// How log lines are written, instead of telemetry.log_format
    #[arg(long, value_enum)]
    log_format: Option<LogFormat>,
    /// Refuse to start when any partner folder is broken
    #[arg(long)]
    strict: bool,
}

pub(super) fn run(common: &Common, args: &ServeArgs) -> anyhow::Result<Verdict> {
    let mut overrides = Vec::new();
    let addresses = [
        ("listen.public", args.listen),
        ("listen.private", args.private_listen),
        ("listen.health", args.health_listen),
    ];
    for (key, address) in addresses {
        overrides.extend(address.map(|address| (key, address.to_string())));
    }
    overrides.extend(args.roles.map(|roles| ("process.roles", roles.to_string())));
    if args.strict {
        overrides.push(("mappings.strict", "true".to_owned()));
    }
    let mut config = common.load(overrides)?;
    config.telemetry.log_format = args.log_format.unwrap_or(config.telemetry.log_format);
    telemetry::logs::init(config.telemetry.log_format, &config.telemetry.log_level)?;
    telemetry::logs::log_panics_by_place();
    // Before the first thread: those started from this one do as it does. With the ledger in this process its one writer has
    // to interrupt the stages, or commits wait for them.
    if config.ledger.url.is_some() {
        take_turns();
    }
    block_on(async {
        let stop = app::asked_to_stop()?;
        let gateway = Gateway::start(config, Options::for_service()).await?;
        gateway.run(stop).await?;
        Ok(Verdict::Fine)
    })
}
