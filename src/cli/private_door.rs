//! Room `cli`: the private door of the server that holds the data folder, for verbs that act.

use std::{path::Path, time::Duration};

use anyhow::{Context, bail};
use reqwest::{Method, StatusCode};
use serde::{Serialize, de::DeserializeOwned};

use super::operator;
use crate::{app::Serving, console::OPERATOR_HEADER};

const TIMEOUT: Duration = Duration::from_secs(30);

/// A running server's private door.
pub(super) struct PrivateDoor {
    serving: Serving,
    client: reqwest::Client,
}

impl PrivateDoor {
    /// Finds the server that works on this data folder; `None` when there is none, or it has no console.
    pub(super) fn find(data_dir: &Path) -> anyhow::Result<Option<Self>> {
        let Some(serving) = Serving::read(data_dir)?.filter(|serving| serving.console) else {
            return Ok(None);
        };
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Some(Self { serving, client }))
    }

    /// Asks and reads the answer; a problem+json answer becomes an error with its detail.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> anyhow::Result<Option<T>> {
        let url = format!("http://{}/api/v1{path}", self.serving.private);
        let request = self.client.request(method, url).bearer_auth(&self.serving.token);
        let mut request = request.header(OPERATOR_HEADER, operator::operator());
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.context("the running server does not answer")?;
        let status = response.status();
        if status == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        let text = response.text().await?;
        if !status.is_success() {
            let problem: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            bail!("{}", problem["detail"].as_str().unwrap_or(status.as_str()));
        }
        Ok(Some(serde_json::from_str(&text)?))
    }
}
