//! Room `cli`: `douane partner ls|show`, and the way to its other verbs. Reads the folder and, where there is a ledger, which
//! desks were good last and what endpoints learnt.

use std::time::Duration;

use clap::Subcommand;

use super::{
    Common, Verdict, arm, block_on, new_partner,
    output::{self, Format, counted},
    presets::{self, Listing},
    refusals,
};
use crate::{
    app,
    config::{Config, HumanDuration},
    ledger::{Confirmation, ConfirmationState, DeliveryFilter, LearntSecret},
    model::EndpointName,
    partners::{
        EndpointSummary, IdentifySummary, LearntSummary, PartnerSummary, PublishedKeys, SameBody,
        SecretSummary, SecretsFrom, SignatureSummary, SubscriptionSummary,
    },
};

/// Among how many of an endpoint's latest deliveries a secret is looked for.
const LATEST: usize = 500;
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

/// The state of its desk, and whether its door is open.
fn state(partner: &PartnerSummary) -> String {
    let closed = partner.endpoints.iter().filter(|endpoint| endpoint.not_configured.is_some()).count();
    match closed {
        0 => partner.state.to_owned(),
        _ => format!("{}, {} not configured", partner.state, counted(closed, "endpoint", "endpoints")),
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
    for signature in &endpoint.signatures {
        show_signature(signature);
    }
    line("keys", endpoint.published_keys.map(keys).unwrap_or_default());
    for secret in &endpoint.secrets {
        line("secret", shown(secret));
    }
    for learnt in &endpoint.learnt {
        let state = if learnt.believed { "sealed" } else { "sealed, and forgotten" };
        line("learnt", format!("{} since {}, {state}", learnt.id, learnt.since));
    }
    for subscription in &endpoint.subscriptions {
        line("subscription", how_it_stands(subscription));
    }
    let lacks = endpoint.not_configured.as_ref();
    line("answers 503", lacks.map(|why| format!("in this shell's environment: {why}")).unwrap_or_default());
    line("accepted", accepted(endpoint));
    line("not verified", endpoint.signature_failure_status.to_string());
    for handshake in &endpoint.handshakes {
        line("handshake", handshake);
    }
    let bytes = endpoint.max_body_bytes.map(|bytes| counted(bytes, "byte", "bytes"));
    line("largest body", bytes.unwrap_or_else(|| "intake.max_body_bytes".to_owned()));
    let bytes = endpoint.max_header_bytes.map(|bytes| counted(bytes, "byte", "bytes"));
    line("largest head", bytes.unwrap_or_else(|| "intake.max_header_bytes".to_owned()));
    let rate =
        endpoint.requests_per_second.map(|rate| counted(rate, "request a second", "requests a second"));
    line("rate", rate.unwrap_or_else(|| "no limit".to_owned()));
    if let Some(identify) = &endpoint.identify {
        show_identify(identify);
    }
}

fn keys(keys: PublishedKeys) -> &'static str {
    match keys {
        PublishedKeys::Fetched => "fetched from where the sender publishes them",
        PublishedKeys::Pinned => "pinned here: those that the sender publishes are not fetched",
    }
}

fn how_it_stands(asked: &SubscriptionSummary) -> String {
    let SubscriptionSummary { asked_at, until, tries, .. } = asked;
    let visits = if *tries == 1 { "visit".to_owned() } else { format!("{tries} visits") };
    let at = asked.tried_at.map(|at| at.to_string()).unwrap_or_default();
    let why = asked.why.as_deref().unwrap_or_default();
    match (asked.state, tries) {
        ("confirmed", _) => format!("asked for at {asked_at}, confirmed at {at} with the {visits}"),
        ("given_up", _) => format!(
            "asked for at {asked_at}, given up at {at} after the {visits}: {why}; have the partner's system ask again"
        ),
        (_, 0) => format!("asked for at {asked_at}, its link is to be visited"),
        _ => format!(
            "asked for at {asked_at}, not confirmed after the {visits}, the last at {at}: {why}; tried again until {until}"
        ),
    }
}

fn shown(secret: &SecretSummary) -> String {
    let parts = [
        Some(format!("{} from {}", secret.id, secret.from)),
        (!secret.purposes.is_empty()).then(|| format!("for {}", secret.purposes.join(" and "))),
        secret.not_before.map(|from| format!("from {from} on")),
        secret.not_after.map(|until| format!("until {until}")),
        Some(secret.last_matched.map_or_else(
            || format!("matched none of the latest {LATEST} deliveries"),
            |at| format!("last matched {at}"),
        )),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn show_signature(signature: &SignatureSummary) {
    if let Some(name) = &signature.name {
        let when = signature.when.as_ref().map(|when| format!(", where {when}")).unwrap_or_default();
        line("scheme", format!("{name}{when}"));
    }
    line("algorithm", &signature.algorithm);
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
    line("text", or(&identify.text, ""));
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
