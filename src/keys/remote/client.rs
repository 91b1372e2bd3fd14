//! Room `keys`: one GET, within bounds. Follows no redirect, uses no proxy, sends nothing of ours but a name.

use std::{error::Error as _, sync::OnceLock};

use bytes::{Bytes, BytesMut};
use reqwest::{Certificate, Response, Url, redirect::Policy};

use super::resolver::{NotPublic, PublicHosts};
use crate::{config::KeysConfig, model::HttpsUrl};

/// Fetches documents.
#[derive(Debug)]
pub(super) struct Client {
    /// Made when it is first needed: most gateways fetch no keys, and it reads the system's authorities.
    built: OnceLock<Result<reqwest::Client, String>>,
    config: KeysConfig,
    roots: Vec<Certificate>,
}

impl Client {
    /// `roots`: PEM of authorities that are trusted beside the system's.
    pub(super) fn new(config: &KeysConfig, roots: Option<&[u8]>) -> Result<Self, String> {
        let roots = roots.map(Certificate::from_pem_bundle).transpose().map_err(|error| error.to_string())?;
        Ok(Self { built: OnceLock::new(), config: config.clone(), roots: roots.unwrap_or_default() })
    }

    fn build(&self) -> Result<reqwest::Client, String> {
        let config = &self.config;
        let client = reqwest::Client::builder()
            .https_only(true)
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            .user_agent(concat!("douane/", env!("CARGO_PKG_VERSION")))
            .timeout(config.fetch_timeout.0)
            .connect_timeout(config.fetch_timeout.0)
            .pool_max_idle_per_host(1)
            .dns_resolver(PublicHosts::new(config))
            .tls_certs_merge(self.roots.clone())
            .build();
        client.map_err(|error| error.to_string())
    }

    /// What stands at an address; else why it could not be had.
    pub(super) async fn get(&self, url: &HttpsUrl) -> Result<Bytes, String> {
        let parsed = Url::parse(url.as_str()).map_err(|error| error.to_string())?;
        // Two readers of one text: if they differ, the text is not what was checked.
        if parsed.as_str() != url.as_str() || parsed.host_str() != Some(url.host()) {
            return Err("it can be read in two ways".to_owned());
        }
        let client = self.built.get_or_init(|| self.build()).as_ref().map_err(Clone::clone)?;
        let answer = client.get(parsed).send().await.map_err(failed)?;
        if answer.status().as_u16() != 200 {
            return Err(format!("the host answers {}", answer.status()));
        }
        self.read(answer).await
    }

    async fn read(&self, mut answer: Response) -> Result<Bytes, String> {
        let mut bytes = BytesMut::new();
        while let Some(piece) = answer.chunk().await.map_err(failed)? {
            if bytes.len() + piece.len() > self.config.max_document_bytes {
                return Err("it is larger than keys.max_document_bytes".to_owned());
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes.freeze())
    }
}

/// The innermost cause, which says most.
fn failed(error: reqwest::Error) -> String {
    let timed_out = error.is_timeout();
    let error = error.without_url();
    let (mut why, mut cause) = (error.to_string(), error.source());
    while let Some(inner) = cause {
        why = inner.to_string();
        if inner.is::<NotPublic>() {
            break;
        }
        cause = inner.source();
    }
    if timed_out { "it took longer than keys.fetch_timeout".to_owned() } else { why }
}
