//! Room `cli`: `douane send`: posts a case to a gateway over real HTTP, signed as its partner would sign it.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use reqwest::{Client, Method, Url};
use serde_json::Value;

use super::{
    Common, Verdict, block_on, cases, output,
    signer::{self, Signer},
};
use crate::{
    app,
    model::{DeliveryId, RawRequest},
    partners::SecretsFrom,
};

#[derive(Debug, Args)]
pub(super) struct SendArgs {
    /// The case, as `partner/case`
    case: String,
    /// Where the gateway's public door is; what a proxy puts before its addresses is kept: `https://host/hooks`
    #[arg(long, default_value = "http://127.0.0.1:8080", value_name = "URL", value_parser = door)]
    to: Url,
    /// Send the case so many times
    #[arg(long, default_value_t = 1)]
    count: u32,
    /// Sign with the secrets the gateway has (env:, file:) instead of the development secrets, which `serve` answers 401
    #[arg(long)]
    real_secrets: bool,
    /// Where the endpoint has a public key, sign with this private one (PEM, PKCS#8) instead of the development one
    #[arg(long, value_name = "FILE")]
    private_key: Option<PathBuf>,
    /// The folder of cases
    #[arg(long, default_value = "fixtures", value_name = "FOLDER")]
    fixtures: PathBuf,
}

/// Reads where a public door is: the case says which address there.
fn door(text: &str) -> Result<Url, String> {
    let url = text.parse::<Url>().map_err(|error| format!("this is no URL: {error}"))?;
    if !["http", "https"].contains(&url.scheme()) {
        return Err("write it as http://host:port or https://host".to_owned());
    }
    if url.path().starts_with("/in/") || url.query().is_some() || url.fragment().is_some() {
        return Err(
            "the case says what follows the door, its address and query; leave them away here".to_owned()
        );
    }
    Ok(url)
}

pub(super) fn run(common: &Common, args: &SendArgs) -> anyhow::Result<Verdict> {
    let config = common.load(Vec::new())?;
    let case = cases::one(&args.fixtures, &args.case)?;
    let private_key = args.private_key.as_deref().map(signer::private_key).transpose()?;
    block_on(async {
        let secrets = if args.real_secrets { SecretsFrom::Sources } else { SecretsFrom::TestTables };
        let registry = app::load_partners(&config, secrets, Some(&case.partner)).await?;
        let (snapshot, client) = (registry.snapshot(), http_client()?);
        let signer = Signer { partners: &snapshot, private_key: private_key.as_ref() };
        for request in &case.requests {
            signer.passes_over_nothing(args.real_secrets, request)?;
        }
        let mut verdict = Verdict::Fine;
        for _ in 0..args.count {
            for (request, expected) in case.requests.iter().zip(&case.expected.requests) {
                let sent = Sent { signer, client: &client, to: &args.to };
                let reply = sent.send(request, expected.sign).await?;
                output::say(&format!("{} {}", reply.status, reply.body));
                if reply.status != expected.status {
                    output::complain(&format!("the case expects {}", expected.status));
                    explain(&reply, args);
                    verdict = Verdict::FoundWrong;
                }
            }
        }
        Ok(verdict)
    })
}

/// What a person can do about an answer that was not expected.
fn explain(reply: &Reply, args: &SendArgs) {
    if reply.status == 401 && !args.real_secrets && args.private_key.is_none() {
        output::complain(
            "`serve` does not believe development secrets: add --real-secrets, or for a public key --private-key",
        );
    }
    if reply.status == 503 {
        let code = problem_code(&reply.body).unwrap_or_else(|| "no code".to_owned());
        output::complain(&format!("the fault is the gateway's ({code}): `douane doctor` says what it is"));
    }
}

/// The code of a refusal; nothing when the body is no problem.
pub(super) fn problem_code(body: &str) -> Option<String> {
    let problem: Value = serde_json::from_str(body).ok()?;
    problem["code"].as_str().map(str::to_owned)
}

/// A client that does only what it is told: no redirects, no proxies, no decompression.
pub(super) fn http_client() -> anyhow::Result<Client> {
    let client = Client::builder()
        .timeout(std::time::Duration::from_secs(30))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    Ok(client.build()?)
}

/// What a gateway answered.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: String,
    /// The delivery it became.
    pub(super) delivery: Option<DeliveryId>,
}

/// Where and how requests are sent.
pub(super) struct Sent<'a> {
    pub(super) signer: Signer<'a>,
    pub(super) client: &'a Client,
    pub(super) to: &'a Url,
}

impl Sent<'_> {
    /// A target below the door, whatever stands before it there.
    fn address(&self, target: &str) -> anyhow::Result<Url> {
        Ok(format!("{}{target}", self.to.as_str().trim_end_matches('/')).parse()?)
    }

    /// Signs a request, sends it, and returns the answer.
    pub(super) async fn send(&self, request: &RawRequest, how: cases::Sign) -> anyhow::Result<Reply> {
        let signed = self.signer.signed(request, how, app::now())?;
        let url = self.address(&signed.target)?;
        let mut post = self.client.request(Method::from_bytes(signed.method.as_bytes())?, url);
        for (name, value) in &signed.headers.0 {
            // These two belong to the connection, which is not the one the case was written for.
            if name != "host" && name != "content-length" {
                post = post.header(name, value.0.as_ref());
            }
        }
        let answer =
            post.body(signed.body).send().await.with_context(|| format!("{} does not answer", self.to))?;
        let delivery = answer.headers().get("douane-delivery").and_then(|id| id.to_str().ok()?.parse().ok());
        Ok(Reply { status: answer.status().as_u16(), delivery, body: answer.text().await? })
    }
}
