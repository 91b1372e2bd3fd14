//! Room `cli`: `douane partner ls|show`, and the way to its other verbs. Reads the folder and, where there is a ledger, which
//! desks were good last and what endpoints learnt.

use std::time::Duration;

use clap::Subcommand;

use super::{
    Common, Verdict, arm, block_on, new_partner,
    output::{self, Format},
    partner_show::{show, state},
    presets::{self, Listing},
    refusals,
};
use crate::{
    app,
    config::{Config, HumanDuration},
    ledger::{Confirmation, ConfirmationState, DeliveryFilter, LearntSecret},
    model::EndpointName,
    partners::{EndpointSummary, LearntSummary, PartnerSummary, SecretsFrom, SubscriptionSummary},
};

/// Among how many of an endpoint's latest deliveries a secret is looked for.
pub(super) const LATEST: usize = 500;
/// So many of an endpoint's latest subscriptions are shown.
const SUBSCRIPTIONS: usize = 5;

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
    /// List the providers whose way of signing is known
    Presets {
        /// Only those that have this word in their name or the provider's, as `whatsapp`, or are nearly called so
        word: Option<String>,
        #[arg(long, value_enum, default_value_t)]
        format: Listing,
    },
    /// Write the folder of a new partner by a preset, and its first case
    New(new_partner::NewArgs),
    /// Let the next handshake teach an endpoint its secret (Asana, Notion), for a while
    Arm {
        /// The endpoint, as `partner/endpoint`; of a partner with one, the partner
        #[arg(value_name = "ENDPOINT")]
        endpoint: String,
        /// For how long, at most 1h
        #[arg(long = "for", value_name = "DURATION", default_value = "10m", value_parser = humantime_duration)]
        duration: Duration,
    },
    /// Show the secret that an endpoint learnt last, once, where the partner's system asks a person for it (Notion)
    Reveal {
        /// The endpoint, as `partner/endpoint`; of a partner with one, the partner
        #[arg(value_name = "ENDPOINT")]
        endpoint: String,
    },
    /// Say why a partner's requests were turned away, newest first
    Refusals(refusals::RefusalsArgs),
}

pub(super) fn run(common: &Common, verb: &PartnerVerb) -> anyhow::Result<Verdict> {
    match verb {
        PartnerVerb::Ls { format } => ls(common, *format),
        PartnerVerb::Show { partner, format } => show_one(common, partner, *format),
        PartnerVerb::Presets { word, format } => presets::run(word.as_deref(), *format),
        PartnerVerb::New(args) => new_partner::run(common, args),
        PartnerVerb::Arm { endpoint, duration } => {
            block_on(arm::arm(&common.load(Vec::new())?, endpoint, *duration))
        }
        PartnerVerb::Reveal { endpoint } => block_on(arm::reveal(&common.load(Vec::new())?, endpoint)),
        PartnerVerb::Refusals(args) => refusals::run(common, args),
    }
}

fn ls(common: &Common, format: Format) -> anyhow::Result<Verdict> {
    let partners = block_on(summaries(&common.load(Vec::new())?, None))?;
    match format {
        Format::Json => output::json(&partners)?,
        Format::Table => list(&partners),
    }
    Ok(verdict(&partners))
}

fn show_one(common: &Common, partner: &str, format: Format) -> anyhow::Result<Verdict> {
    let config = common.load(Vec::new())?;
    let mut partners = block_on(summaries(&config, Some(partner)))?;
    block_on(note_matches(&config, &mut partners))?;
    let Some(found) = partners.iter().find(|it| it.partner == *partner) else {
        anyhow::bail!("there is no partner {partner:?}; `douane partner ls` lists them");
    };
    match format {
        Format::Json => output::json(found)?,
        Format::Table => show(found),
    }
    Ok(verdict(&partners))
}

fn verdict(partners: &[PartnerSummary]) -> Verdict {
    let broken = partners.iter().any(|partner| !partner.problems.is_empty());
    if broken { Verdict::FoundWrong } else { Verdict::Fine }
}

async fn summaries(config: &Config, only: Option<&str>) -> anyhow::Result<Vec<PartnerSummary>> {
    let registry = app::load_partners(config, SecretsFrom::Sources, only).await?;
    let snapshot = registry.snapshot();
    let mut summaries = snapshot.summaries();
    // None yet, or one that `doctor` has to look at: partners can be listed all the same.
    let ledger = app::open_read_only(config).await.ok();
    let learnt = match &ledger {
        Some(ledger) => ledger.records.learnt().await?,
        None => Vec::new(),
    };
    for summary in &mut summaries {
        for endpoint in &mut summary.endpoints {
            let name = EndpointName::new(summary.partner.as_str(), endpoint.name.as_str());
            let forgotten = snapshot.endpoints.get(&name).map_or(&[][..], |open| &open.forgotten);
            let own = learnt.iter().filter(|secret| secret.meta.endpoint == name);
            endpoint.learnt = own.map(|secret| told(secret, forgotten)).collect();
            if let Some(ledger) = &ledger {
                let latest = ledger.records.confirmations_of(&name, SUBSCRIPTIONS).await?;
                endpoint.subscriptions = latest.into_iter().map(subscription).collect();
            }
        }
    }
    Ok(summaries)
}

fn told(secret: &LearntSecret, forgotten: &[String]) -> LearntSummary {
    let id = secret.meta.secret_id.clone();
    LearntSummary { believed: !forgotten.contains(&id), id, since: secret.learnt_at }
}

fn subscription(asked: Confirmation) -> SubscriptionSummary {
    let state = match asked.state {
        ConfirmationState::Open => "open",
        ConfirmationState::Confirmed => "confirmed",
        ConfirmationState::GivenUp => "given_up",
    };
    let Confirmation { asked_at, until, tries, tried_at, why, .. } = asked;
    SubscriptionSummary { state, asked_at, until, tries, tried_at, why }
}

/// `partner/endpoint` taken apart.
pub(super) fn split(name: &str) -> (&str, Option<&str>) {
    name.split_once('/').map_or((name, None), |(partner, endpoint)| (partner, Some(endpoint)))
}

fn humantime_duration(text: &str) -> Result<Duration, String> {
    text.parse::<HumanDuration>().map(|duration| duration.0)
}

/// Notes when each secret matched last, as far as the latest deliveries of each endpoint tell.
async fn note_matches(config: &Config, partners: &mut [PartnerSummary]) -> anyhow::Result<()> {
    // None yet, or one that `doctor` has to look at: the partner can be shown all the same.
    let Ok(ledger) = app::open_read_only(config).await else { return Ok(()) };
    for partner in partners {
        for endpoint in &mut partner.endpoints {
            let filter = DeliveryFilter {
                partner: Some(partner.partner.clone()),
                endpoint: Some(endpoint.name.clone()),
                limit: LATEST,
                ..DeliveryFilter::default()
            };
            let latest = ledger.records.deliveries(&filter).await?.items;
            for secret in &mut endpoint.secrets {
                let matched = |ids: &str| ids.split('+').any(|id| id == secret.id);
                let found = latest.iter().find(|row| row.secret_id.as_deref().is_some_and(matched));
                secret.last_matched = found.map(|row| row.received_at);
            }
        }
    }
    Ok(())
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
    if partners.iter().flat_map(|partner| &partner.endpoints).any(|it| it.not_configured.is_some()) {
        output::complain(
            "what is not configured was looked for in this shell's environment; `douane doctor` asks a running server",
        );
    }
}

fn secrets(endpoint: &EndpointSummary) -> String {
    let ids: Vec<_> = endpoint.secrets.iter().map(|secret| secret.id.as_str()).collect();
    ids.join(", ")
}
