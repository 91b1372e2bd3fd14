//! Room `cli`: `douane ready`: the health check of images that have nothing else to ask with.

use std::time::Duration;

use anyhow::{Context, bail};

use super::{Common, Verdict, block_on, output};
use crate::app::Serving;

const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn run(common: &Common) -> anyhow::Result<Verdict> {
    let data_dir = common.load(Vec::new())?.ledger.data_dir;
    let Some(serving) = Serving::read(&data_dir)? else {
        bail!("no server runs on {}", data_dir.display());
    };
    let url = format!("http://{}/readyz", serving.private);
    block_on(async {
        let client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build()?;
        let response = client.get(url).send().await.context("the running server does not answer")?;
        let ready = response.status().is_success();
        output::say(&response.text().await?);
        Ok(if ready { Verdict::Fine } else { Verdict::FoundWrong })
    })
}
