//! Room `cli`: `douane verify --explain`: why a captured request does or does not verify. Never prints a secret.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use super::{
    Common, Verdict, block_on, cases,
    output::{self, Format},
};
use crate::{
    app,
    model::{EndpointName, Timestamp},
    partners::{SecretsFrom, SignatureCheck},
    signatures::explain,
};

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The endpoint, as `partner` or `partner/endpoint`
    endpoint: String,
    /// The captured request: request line, headers (CRLF, or LF alone), blank line, exact body
    request: PathBuf,
    /// Say step by step what was extracted, what was signed, and which common mistake would explain it
    #[arg(long)]
    explain: bool,
    /// Verify as of this time (RFC 3339) instead of now
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Use the development secrets of the partner's [test] table
    #[arg(long)]
    test_secrets: bool,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn run(common: &Common, args: &VerifyArgs) -> anyhow::Result<Verdict> {
    let config = common.load(Vec::new())?;
    let now = time(args.at.as_deref())?;
    let bytes =
        std::fs::read(&args.request).with_context(|| format!("cannot read {}", args.request.display()))?;
    let request = cases::parse(&bytes).with_context(|| args.request.display().to_string())?;
    let secrets = if args.test_secrets { SecretsFrom::TestTables } else { SecretsFrom::Sources };
    let (partner, endpoint) = args.endpoint.split_once('/').unwrap_or((&args.endpoint, "default"));
    let registry = block_on(app::load_partners(&config, secrets, Some(partner)))?;
    let name = EndpointName::new(partner, endpoint);
    let snapshot = registry.snapshot();
    let Some(endpoint) = snapshot.endpoints.get(&name) else { bail!("there is no endpoint {name}") };
    let SignatureCheck::Scheme(schemes) = &endpoint.check else {
        bail!("{name} is unsigned: nothing is verified there");
    };
    let keys = endpoint.keys.as_ref().map_err(Clone::clone)?;
    let steps =
        if args.explain { explain::explain_schemes(schemes, keys, &request, now) } else { Vec::new() };
    let verdict = schemes.verify(keys, request, now);
    let (verified, why) = match &verdict {
        Ok(verified) => (true, verified.verification().secret_id.clone().unwrap_or_default()),
        Err(failure) => (false, failure.1.code().to_owned()),
    };
    if args.format == Format::Json {
        let steps: Vec<_> = steps
            .iter()
            .map(|step| json!({ "ok": step.ok, "what": step.what, "found": step.found }))
            .collect();
        output::json(&json!({ "verified": verified, "result": why, "steps": steps }))?;
    } else {
        for step in &steps {
            output::say(&format!("{} {}: {}", if step.ok { "✓" } else { "✗" }, step.what, step.found));
        }
        let line =
            if verified { format!("verified with secret {why}") } else { format!("not verified: {why}") };
        output::say(&line);
    }
    Ok(if verified { Verdict::Fine } else { Verdict::FoundWrong })
}

fn time(at: Option<&str>) -> anyhow::Result<Timestamp> {
    match at {
        None => Ok(app::now()),
        Some(text) => Timestamp::from_rfc3339(text).context("write --at as 2026-11-23T07:41:05Z"),
    }
}
