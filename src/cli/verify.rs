//! Room `cli`: `douane verify --explain`: why a captured request does or does not verify. Never prints a secret.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use super::{
    Common, Verdict, block_on, cases,
    output::{self, Format},
    published_keys::{self, KeysFrom},
};
use crate::{
    app,
    config::Config,
    model::{EndpointName, RawRequest, Timestamp},
    partners::{Endpoint, SecretsFrom, SignatureCheck, Snapshot},
    signatures::{
        How, Key, Schemes, SignatureError,
        explain::{self, Published, Step},
    },
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
    /// Fetch the keys that the provider publishes (JWKS, certificates), from where and within the bounds that `serve` does
    #[arg(long, conflicts_with = "keys")]
    fetch_keys: bool,
    /// Take the keys that the provider publishes from this file: the JWKS or certificate as it is published, or one key as PEM
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
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
    let snapshot = registry.snapshot();
    let name = EndpointName::new(partner, endpoint);
    let (endpoint, schemes, keys) = asked(&snapshot, &name)?;
    let published = published(&config, args, endpoint, (schemes, keys, &request), now)?;
    let mut steps = if args.explain {
        explain::explain_schemes(schemes, keys, &published, &request, now)
    } else {
        Vec::new()
    };
    let (verified, why) = verdict(schemes, &published.with(keys), &published, request.clone(), now);
    if args.explain && !verified && !args.test_secrets {
        let told = development(&config, &name, request, now)?;
        // The verdict stays the last word.
        let last = steps.pop();
        steps.extend(told.into_iter().chain(last));
    }
    let unexplained = if args.explain { Vec::new() } else { published.told().collect() };
    say(args.format, &steps, (verified, &why), &unexplained)?;
    Ok(if verified { Verdict::Fine } else { Verdict::FoundWrong })
}

/// How the endpoint verifies, and its own keys.
fn asked<'s>(
    snapshot: &'s Snapshot,
    name: &EndpointName,
) -> anyhow::Result<(&'s Endpoint, &'s Schemes, &'s [Key])> {
    let Some(endpoint) = snapshot.endpoints.get(name) else { bail!("there is no endpoint {name}") };
    let SignatureCheck::Scheme(schemes) = &endpoint.check else {
        bail!("{name} is unsigned: nothing is verified there");
    };
    Ok((endpoint, schemes, endpoint.keys.as_ref().map_err(Clone::clone)?))
}

/// The keys that the provider publishes, as far as the person lets them be had.
fn published(
    config: &Config,
    args: &VerifyArgs,
    endpoint: &Endpoint,
    asked: (&Schemes, &[Key], &RawRequest),
    now: Timestamp,
) -> anyhow::Result<Published> {
    let from = match &args.keys {
        Some(file) => KeysFrom::file(file)?,
        None if args.fetch_keys => KeysFrom::Provider,
        None => KeysFrom::Nowhere,
    };
    published_keys::published(config, &from, endpoint, asked, now)
}

/// Whether it verifies, and by which secret or why not.
fn verdict(
    schemes: &Schemes,
    keys: &[Key],
    published: &Published,
    request: RawRequest,
    now: Timestamp,
) -> (bool, String) {
    if let Some(failure) = published.failure() {
        return (false, failure.code().to_owned());
    }
    match schemes.verify(keys, request, now) {
        Ok(verified) => (true, verified.verification().secret_id.as_deref().unwrap_or_default().to_owned()),
        Err(failure) => (false, failure.1.code().to_owned()),
    }
}

/// Whether a development secret made a signature that is not believed: who posts a case with `send` signs with one.
fn development(
    config: &Config,
    name: &EndpointName,
    request: RawRequest,
    now: Timestamp,
) -> anyhow::Result<Option<Step>> {
    let partner = Some(&*name.partner);
    let registry = block_on(app::load_partners(config, SecretsFrom::TestTables, partner))?;
    let snapshot = registry.snapshot();
    // Without [test], or with no secret for this endpoint there, none is to be tried.
    let Ok((_, schemes, keys)) = asked(&snapshot, name) else { return Ok(None) };
    let made_by = match schemes.verify(keys, request, now) {
        Ok(verified) => format!("{:?} ", verified.verification().secret_id.as_deref().unwrap_or_default()),
        Err(refused) if is_genuine(schemes, refused.1) => String::new(),
        Err(_) => return Ok(None),
    };
    let found = format!(
        "the signature was made with the development secret {made_by}of [test] in {}'s partner.toml, which counts only in \
         `douane test`, `send`, `demo` and `verify --test-secrets`: `serve` refuses it; sign with the real one, as \
         `send --real-secrets` does",
        name.partner
    );
    Ok(Some(Step { ok: false, what: "development secrets".to_owned(), found }))
}

/// Whether a refusal says that a key made the signature all the same. Of several signatures one may be another's.
fn is_genuine(schemes: &Schemes, refused: SignatureError) -> bool {
    let of_one = schemes.how() != How::AllOf;
    of_one && matches!(refused, SignatureError::Stale | SignatureError::Future | SignatureError::Claim(_))
}

fn say(
    format: Format,
    steps: &[Step],
    (verified, why): (bool, &str),
    unexplained: &[&str],
) -> anyhow::Result<()> {
    if format == Format::Json {
        let steps: Vec<_> = steps
            .iter()
            .map(|step| json!({ "ok": step.ok, "what": step.what, "found": step.found }))
            .collect();
        return output::json(&json!({ "verified": verified, "result": why, "steps": steps }));
    }
    for step in steps {
        output::say(&format!("{} {}: {}", if step.ok { "✓" } else { "✗" }, step.what, step.found));
    }
    if verified {
        output::say(&format!("verified with secret {why}"));
        return Ok(());
    }
    output::say(&format!("not verified: {why}"));
    for line in unexplained {
        output::say(line);
    }
    Ok(())
}

fn time(at: Option<&str>) -> anyhow::Result<Timestamp> {
    match at {
        None => Ok(app::now()),
        Some(text) => Timestamp::from_rfc3339(text).context("write --at as 2026-11-23T07:41:05Z"),
    }
}
