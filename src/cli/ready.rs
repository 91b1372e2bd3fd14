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
    block_on(async {
        let answer = ask(&serving).await?;
        output::say(&answer.text);
        Ok(if answer.ready { Verdict::Fine } else { Verdict::FoundWrong })
    })
}

/// What a server's `/readyz` answers.
pub(super) struct Answer {
    /// Whether it can keep a delivery.
    pub(super) ready: bool,
    /// What else it says, as JSON.
    pub(super) text: String,
}

/// Asks a running server.
pub(super) async fn ask(serving: &Serving) -> anyhow::Result<Answer> {
    let client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build()?;
    let url = format!("http://{}/readyz", serving.private);
    let response = client.get(url).send().await.context("the running server does not answer")?;
    Ok(Answer { ready: response.status().is_success(), text: response.text().await? })
}
