//! Room `cli`: `douane partner refusals`: why requests were turned away, as the records say.

use anyhow::anyhow;
use clap::{Args, builder::PossibleValuesParser};

use super::{
    Common, Verdict, block_on, data,
    output::{self, Format},
    partner::split,
};
use crate::{
    app,
    config::Config,
    intake::Refusal,
    ledger::{RefusalFilter, Refused},
};

#[derive(Debug, Args)]
pub(super) struct RefusalsArgs {
    /// The partner, or `partner/endpoint`; `-`: what was sent to an address that nobody knows
    #[arg(value_name = "PARTNER")]
    partner: String,
    /// Only those of this cause, as `signature_mismatch`
    #[arg(long, value_parser = PossibleValuesParser::new(Refusal::CAUSES), hide_possible_values = true)]
    code: Option<String>,
    /// The one whose answer named this id (header douane-request)
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 20)]
    limit: usize,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn run(common: &Common, args: &RefusalsArgs) -> anyhow::Result<Verdict> {
    let (partner, endpoint) = split(&args.partner);
    let filter = RefusalFilter {
        partner: Some(partner.to_owned()),
        endpoint: endpoint.map(str::to_owned),
        code: args.code.clone(),
        request: args.request.clone(),
        limit: args.limit,
    };
    block_on(list(&common.load(Vec::new())?, &filter, args.format))
}

async fn list(config: &Config, filter: &RefusalFilter, format: Format) -> anyhow::Result<Verdict> {
    let ledger = app::open_read_only(config).await?;
    let refusals = ledger.records.refusals(filter).await?;
    if refusals.is_empty() {
        let names = (filter.partner.as_deref(), filter.endpoint.as_deref());
        let known = data::must_be_known(config, &ledger, names).await;
        known.map_err(|error| {
            anyhow!("{error:#}; what was sent to an unknown address stands under `-` or `<partner>/-`")
        })?;
    }
    match format {
        Format::Json => output::json(&refusals)?,
        Format::Table => {
            let head = ["at", "endpoint", "status", "code", "why", "peer", "request"];
            let row = |one: Refused| {
                let (peer, request) = (one.peer.unwrap_or_default(), one.request.unwrap_or_default());
                vec![
                    one.at.to_string(),
                    one.endpoint,
                    one.status.to_string(),
                    one.code,
                    one.detail,
                    peer,
                    request,
                ]
            };
            output::table(&head, refusals.into_iter().map(row).collect(), "nothing was turned away");
        }
    }
    Ok(Verdict::Fine)
}
