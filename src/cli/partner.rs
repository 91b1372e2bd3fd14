//! Room `cli`: `douane partner ls|show`. Reads the folder and, where there is a ledger, which desks were good last.

use clap::Subcommand;

use super::{
    Common, Verdict, block_on,
    output::{self, Format},
};
use crate::{
    app,
    config::Config,
    partners::{EndpointSummary, IdentifySummary, PartnerSummary, SameBody, SecretsFrom, SignatureSummary},
};

#[derive(Debug, Subcommand)]
pub(super) enum PartnerVerb {
    /// List partners and their endpoints
    Ls {
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Show one partner as it is read, presets included: endpoints with signature, secrets by id and source, answers and
    /// limits; how events are identified; mappings, ignores, problems
    Show {
        /// The partner's folder name
        partner: String,
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

pub(super) fn run(common: &Common, verb: &PartnerVerb) -> anyhow::Result<Verdict> {
    let config = common.load(Vec::new())?;
    let only = match verb {
        PartnerVerb::Ls { .. } => None,
        PartnerVerb::Show { partner, .. } => Some(partner.as_str()),
    };
    let partners = block_on(summaries(&config, only))?;
    match verb {
        PartnerVerb::Ls { format: Format::Json } => output::json(&partners)?,
        PartnerVerb::Ls { format: Format::Table } => list(&partners),
        PartnerVerb::Show { partner, format } => {
            let Some(found) = partners.iter().find(|it| it.partner == *partner) else {
                anyhow::bail!("there is no partner {partner:?}; `douane partner ls` lists them");
            };
            match format {
                Format::Json => output::json(found)?,
                Format::Table => show(found),
            }
        }
    }
    let broken = partners.iter().any(|partner| !partner.problems.is_empty());
    Ok(if broken { Verdict::FoundWrong } else { Verdict::Fine })
}

async fn summaries(config: &Config, only: Option<&str>) -> anyhow::Result<Vec<PartnerSummary>> {
    let registry = app::load_partners(config, SecretsFrom::Sources, only).await?;
    Ok(registry.snapshot().summaries())
}

fn list(partners: &[PartnerSummary]) {
    let rows = partners.iter().flat_map(|partner| {
        partner.endpoints.iter().map(|endpoint| {
            vec![
                partner.partner.clone(),
                partner.owner.clone(),
                state(partner),
                endpoint.address.clone(),
                endpoint.assurance.map_or("?", |assurance| assurance.as_str()).to_owned(),
                endpoint.not_configured.clone().unwrap_or_else(|| secrets(endpoint)),
            ]
        })
    });
    let head = ["partner", "owner", "state", "address", "assurance", "secrets"];
    output::table(&head, rows.collect(), "there are no partners");
}

/// The state of its desk, and whether its door is open.
fn state(partner: &PartnerSummary) -> String {
    let closed = partner.endpoints.iter().filter(|endpoint| endpoint.not_configured.is_some()).count();
    match closed {
        0 => partner.state.to_owned(),
        1 => format!("{}, 1 endpoint not configured", partner.state),
        _ => format!("{}, {closed} endpoints not configured", partner.state),
    }
}

fn show(partner: &PartnerSummary) {
    output::say(&format!("{} ({}), owned by {}", partner.name, partner.partner, partner.owner));
    if let Some(docs) = &partner.docs {
        output::say(&format!("docs      {docs}"));
    }
    let revision = partner.revision.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
    output::say(&format!("state     {}; revision {revision}", state(partner)));
    for endpoint in &partner.endpoints {
        show_endpoint(endpoint);
    }
    let mappings = partner.mappings.iter().map(|mapping| {
        let key = mapping.ordering_key.clone().unwrap_or_default();
        vec![mapping.on.join(", "), mapping.module.clone(), mapping.emits.join(", "), key]
    });
    output::say("");
    output::table(
        &["external types", "module", "emits", "ordering_key of its own"],
        mappings.collect(),
        "no mappings",
    );
    let ignores = partner.ignores.iter().map(|ignore| vec![ignore.on.join(", "), ignore.why.clone()]);
    output::table(&["ignored", "why"], ignores.collect(), "nothing is ignored");
    for problem in &partner.problems {
        output::say(&format!("problem: {problem}"));
    }
}

fn secrets(endpoint: &EndpointSummary) -> String {
    let ids: Vec<_> = endpoint.secrets.iter().map(|secret| secret.id.as_str()).collect();
    ids.join(", ")
}

fn show_endpoint(endpoint: &EndpointSummary) {
    output::say(&format!("\nPOST {}", endpoint.address));
    let assurance = endpoint.assurance.map_or("nobody knows how", |assurance| assurance.as_str());
    line("assurance", assurance);
    line("signed is", endpoint.covers.join(", "));
    if let Some(signature) = &endpoint.signature {
        show_signature(signature);
    }
    for secret in &endpoint.secrets {
        line("secret", format!("{} from {}", secret.id, secret.from));
    }
    line("answers 503", endpoint.not_configured.clone().unwrap_or_default());
    line("accepted", accepted(endpoint));
    line("not verified", endpoint.signature_failure_status.to_string());
    for handshake in &endpoint.handshakes {
        line("handshake", handshake);
    }
    let bytes = endpoint.max_body_bytes.map(|bytes| format!("{bytes} bytes"));
    line("largest body", bytes.unwrap_or_else(|| "intake.max_body_bytes".to_owned()));
    let bytes = endpoint.max_header_bytes.map(|bytes| format!("{bytes} bytes"));
    line("largest head", bytes.unwrap_or_else(|| "intake.max_header_bytes".to_owned()));
    let rate = endpoint.requests_per_second.map(|rate| format!("{rate} requests a second"));
    line("rate", rate.unwrap_or_else(|| "no limit".to_owned()));
    if let Some(identify) = &endpoint.identify {
        show_identify(identify);
    }
}

fn show_signature(signature: &SignatureSummary) {
    line("signature", &signature.value);
    line("signed text", &signature.message);
    line("signed items", signature.items.as_deref().unwrap_or_default());
    if let (Some(stands), Some(tolerance)) = (&signature.timestamp, &signature.tolerance) {
        line("sent at", format!("{stands}; at most {tolerance} from now"));
    }
}

fn accepted(endpoint: &EndpointSummary) -> String {
    match &endpoint.reply {
        None => "200 {\"delivery\":\"<id>\"}".to_owned(),
        Some(reply) => format!("{} {}", reply.status, reply.body).trim_end().to_owned(),
    }
}

fn show_identify(identify: &IdentifySummary) {
    let or = |rule: &Option<String>, without: &str| rule.clone().unwrap_or_else(|| without.to_owned());
    line("form_json", or(&identify.form_json, ""));
    line("split", or(&identify.split, ""));
    line("external_id", or(&identify.external_id, "none: nothing is deduplicated"));
    line("event_type", &identify.event_type);
    line("ordering_key", or(&identify.ordering_key, "the external id"));
    line("occurred_at", or(&identify.occurred_at, "not told: the time of receipt"));
    line("version", or(&identify.version, ""));
    let whole = if identify.identity.is_empty() { "everything" } else { "" };
    line("identity", format!("{whole}{}", identify.identity.join(", ")));
    line("volatile", identify.volatile.join(", "));
    line("window", &identify.window);
    if identify.external_id.is_some() && !identify.external_id_signed {
        let told = match identify.same_body {
            SameBody::Flag => "flag",
            SameBody::Duplicate => "duplicate",
        };
        line("same_body", format!("{told} (the id is not signed)"));
    }
}

/// One fact of an endpoint; nothing where there is none.
fn line(what: &str, told: impl AsRef<str>) {
    let told = told.as_ref();
    if !told.is_empty() {
        output::say(&format!("  {what:<13} {told}"));
    }
}
