//! Room `cli`: `douane partner refusals`: why requests were turned away, as the records say.

use anyhow::Context;

use super::{
    Verdict, data,
    output::{self, Format},
};
use crate::{
    app,
    config::Config,
    ledger::{RefusalFilter, Refused},
};

pub(super) async fn list(config: &Config, filter: &RefusalFilter, format: Format) -> anyhow::Result<Verdict> {
    let ledger = app::open_read_only(config).await?;
    let refusals = ledger.records.refusals(filter).await?;
    if refusals.is_empty() {
        let known = data::must_be_known(config, &ledger, filter.partner.as_deref()).await;
        known.context("what was sent to an address that nobody knows stands under `-`")?;
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
