//! Room `keys`: one request, within bounds. Follows no redirect, uses no proxy, sends nothing of ours but a name, and what a
//! question has in it.

use std::{error::Error as _, sync::OnceLock};

use bytes::{Bytes, BytesMut};
use reqwest::{
    Certificate, RequestBuilder, Response, Url,
    header::{CONTENT_TYPE, HeaderValue},
    redirect::Policy,
};

use super::resolver::{NotPublic, PublicHosts};
use crate::{
    config::KeysConfig,
    model::{HttpsUrl, Secret},
};

/// One request. All but its address is secret.
pub(super) struct Call {
    /// Where.
    pub(super) url: HttpsUrl,
    /// Its headers.
    pub(super) headers: Vec<(String, Secret)>,
    /// User and password.
    pub(super) basic: Option<(Secret, Secret)>,
    /// What is posted, and what kind it is; `None`: it is a GET.
    pub(super) body: Option<(&'static str, Secret)>,
}

impl Call {
    /// A plain GET.
    pub(super) fn get(url: &HttpsUrl) -> Self {
        Self { url: url.clone(), headers: Vec::new(), basic: None, body: None }
    }
}

/// Why nothing was had. Never shows what was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failed {
    /// Why.
    pub(super) why: String,
    /// What kind of reason that is.
    pub(super) cause: Cause,
}

/// What follows from a failure depends on this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The host does not believe the credentials.
    Unauthorized,
    /// The host says that nothing stands there.
    Absent,
    /// It was not tried: a bound of ours was reached.
    Bounded,
    /// Anything else.
    Other,
}

impl Cause {
    fn of(status: u16) -> Self {
        match status {
            401 | 403 => Self::Unauthorized,
            404 | 410 => Self::Absent,
            _ => Self::Other,
        }
    }
}

impl From<String> for Failed {
    fn from(why: String) -> Self {
        Self { why, cause: Cause::Other }
    }
}

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

    /// What is answered; else why there is nothing.
    pub(super) async fn call(&self, call: &Call) -> Result<Bytes, Failed> {
        let answer = self.request(call)?.send().await.map_err(failed)?;
        let status = answer.status();
        if status.as_u16() != 200 {
            let why = format!("the host answers {status}");
            return Err(Failed { why, cause: Cause::of(status.as_u16()) });
        }
        Ok(self.read(answer).await?)
    }

    fn request(&self, call: &Call) -> Result<RequestBuilder, String> {
        let url = Url::parse(call.url.as_str()).map_err(|error| error.to_string())?;
        // Two readers of one text: if they differ, the text is not what was checked.
        if url.as_str() != call.url.as_str() || url.host_str() != Some(call.url.host()) {
            return Err("it can be read in two ways".to_owned());
        }
        let client = self.built.get_or_init(|| self.build()).as_ref().map_err(Clone::clone)?;
        let mut request = match &call.body {
            None => client.get(url),
            Some((kind, body)) => client.post(url).header(CONTENT_TYPE, *kind).body(body.expose().to_vec()),
        };
        if let Some((user, password)) = &call.basic {
            request = request.basic_auth(text(user)?, Some(text(password)?));
        }
        for (name, value) in &call.headers {
            let mut value = HeaderValue::from_bytes(value.expose())
                .map_err(|_| format!("what stands for the header {name} cannot stand in one"))?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        Ok(request)
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

fn text(secret: &Secret) -> Result<&str, String> {
    std::str::from_utf8(secret.expose()).map_err(|_| "a credential is not text".to_owned())
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
