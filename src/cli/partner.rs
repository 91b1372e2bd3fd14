//! Room `cli`: `douane partner ls|show`. Reads the folder and, where there is a ledger, which desks were good last.

use clap::Subcommand;

use super::{
    Common, Verdict, block_on,
    output::{self, Format},
};
use crate::{
    app,
    config::Config,
    partners::{PartnerSummary, SecretsFrom},
};

#[derive(Debug, Subcommand)]
pub(super) enum PartnerVerb {
    /// List partners and their endpoints
    Ls {
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Show one partner: endpoints, what their signatures cover, secrets by id, mappings, ignores, problems
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
                partner.state.to_owned(),
                endpoint.address.clone(),
                endpoint.assurance.map_or("?", |assurance| assurance.as_str()).to_owned(),
                endpoint.not_configured.clone().unwrap_or_else(|| endpoint.secrets.join(", ")),
            ]
        })
    });
    let head = ["partner", "owner", "state", "address", "assurance", "secrets"];
    output::table(&head, rows.collect(), "there are no partners");
}

fn show(partner: &PartnerSummary) {
    output::say(&format!("{} ({}), owned by {}", partner.name, partner.partner, partner.owner));
    if let Some(docs) = &partner.docs {
        output::say(&format!("docs      {docs}"));
    }
    let revision = partner.revision.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
    output::say(&format!("state     {}, revision {revision}", partner.state));
    let endpoints = partner.endpoints.iter().map(|endpoint| {
        vec![
            endpoint.address.clone(),
            endpoint.assurance.map_or("?", |assurance| assurance.as_str()).to_owned(),
            endpoint.covers.join(", "),
            endpoint.not_configured.clone().unwrap_or_else(|| endpoint.secrets.join(", ")),
        ]
    });
    output::table(
        &["address", "assurance", "the signature covers", "secrets"],
        endpoints.collect(),
        "no endpoints",
    );
    let mappings = partner
        .mappings
        .iter()
        .map(|mapping| vec![mapping.on.join(", "), mapping.module.clone(), mapping.emits.join(", ")]);
    output::table(&["external types", "module", "emits"], mappings.collect(), "no mappings");
    let ignores = partner.ignores.iter().map(|ignore| vec![ignore.on.join(", "), ignore.why.clone()]);
    output::table(&["ignored", "why"], ignores.collect(), "nothing is ignored");
    for problem in &partner.problems {
        output::say(&format!("problem: {problem}"));
    }
}
