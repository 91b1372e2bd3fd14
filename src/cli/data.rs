//! Room `cli`: what verbs that read or act on a ledger share: the choice of deliveries, and the journal's line.

use std::{collections::BTreeSet, path::Path};

use anyhow::bail;
use clap::Args;
use serde::Serialize;

use super::operator;
use crate::{
    app,
    config::Config,
    ledger::{DeliveryFilter, JournalEntry, Ledger},
    model::{EndpointName, EntryNumber, OutcomeKind, Timestamp},
    partners::{Endpoint, SecretsFrom, SignatureCheck, closest, folder_names},
};

/// Under this name stands what was sent to an address that nobody knows.
const UNKNOWN_ADDRESS: &str = "-";

/// Which deliveries are meant, whatever became of them; everything given must hold.
#[derive(Clone, Debug, Default, Args, Serialize)]
pub(super) struct Scope {
    /// The partner
    #[arg(long)]
    pub(super) partner: Option<String>,
    /// The endpoint; with its partner as listings print it, `partner/endpoint`, if you like
    #[arg(long)]
    pub(super) endpoint: Option<String>,
    /// The partner's id of one of the events
    #[arg(long, value_name = "ID")]
    pub(super) external_id: Option<String>,
    /// The partner's type of one of the events
    #[arg(long, value_name = "TYPE")]
    pub(super) event_type: Option<String>,
    /// Accepted at or after (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = clap::builder::ValueParser::new(time))]
    pub(super) from: Option<Timestamp>,
    /// Accepted before (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = clap::builder::ValueParser::new(time))]
    pub(super) to: Option<Timestamp>,
}

/// Which deliveries are meant; everything given must hold.
#[derive(Clone, Debug, Default, Args, Serialize)]
pub(super) struct Choice {
    #[command(flatten)]
    #[serde(flatten)]
    pub(super) scope: Scope,
    /// The latest outcome of one of the events
    #[arg(long)]
    pub(super) outcome: Option<OutcomeKind>,
}

fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::from_rfc3339(text).ok_or_else(|| "write a time as 2026-11-23T07:41:05Z".to_owned())
}

impl Scope {
    /// The partner and the endpoint.
    pub(super) fn names(&self) -> (Option<&str>, Option<&str>) {
        (self.partner.as_deref(), self.endpoint.as_deref())
    }

    /// With an endpoint written as `partner/endpoint` taken apart.
    pub(super) fn settled(mut self) -> anyhow::Result<Self> {
        let Some((partner, endpoint)) = self.endpoint.as_deref().and_then(|name| name.split_once('/')) else {
            return Ok(self);
        };
        if self.partner.as_deref().is_some_and(|other| other != partner) {
            bail!("--partner and --endpoint name different partners");
        }
        (self.partner, self.endpoint) = (Some(partner.to_owned()), Some(endpoint.to_owned()));
        Ok(self)
    }
}

impl Choice {
    /// With an endpoint written as `partner/endpoint` taken apart.
    pub(super) fn settled(self) -> anyhow::Result<Self> {
        Ok(Self { scope: self.scope.settled()?, ..self })
    }

    pub(super) fn filter(&self, limit: usize, before: Option<u64>) -> DeliveryFilter {
        let Self { scope, outcome } = self;
        DeliveryFilter {
            partner: scope.partner.clone(),
            endpoint: scope.endpoint.clone(),
            external_id: scope.external_id.clone(),
            event_type: scope.event_type.clone(),
            outcome: *outcome,
            from: scope.from,
            to: scope.to,
            limit,
            number: None,
            before: before.map(EntryNumber),
        }
    }
}

/// For verbs that found nothing: an error where the partner or the endpoint that was asked for is neither in the mappings nor in
/// the ledger, so that nobody is reassured about a name that was misspelt.
pub(super) async fn must_be_known(
    config: &Config,
    ledger: &Ledger,
    (partner, endpoint): (Option<&str>, Option<&str>),
) -> anyhow::Result<()> {
    let folder = config.mappings.path.join("partners");
    if !folder.is_dir() {
        return Ok(());
    }
    let worked: Vec<EndpointName> =
        ledger.records.cursors().await?.into_iter().map(|(name, _)| name).collect();
    if let Some(partner) = partner.filter(|partner| *partner != UNKNOWN_ADDRESS) {
        partner_must_be_known(&folder, &worked, partner)?;
    }
    match endpoint.filter(|endpoint| *endpoint != UNKNOWN_ADDRESS) {
        Some(endpoint) => endpoint_must_be_known(config, &worked, (partner, endpoint)).await,
        None => Ok(()),
    }
}

fn partner_must_be_known(folder: &Path, worked: &[EndpointName], partner: &str) -> anyhow::Result<()> {
    let mut known = folder_names(folder);
    known.extend(worked.iter().map(|name| name.partner.to_string()));
    if known.contains(partner) {
        return Ok(());
    }
    let help = meant(partner, known.iter().map(String::as_str));
    let help = help.unwrap_or_else(|| "`douane partner ls` lists them".to_owned());
    bail!("there is no partner {partner:?}, neither in {} nor in the ledger; {help}", folder.display());
}

/// Of any partner, where none is named.
async fn endpoint_must_be_known(
    config: &Config,
    worked: &[EndpointName],
    (partner, endpoint): (Option<&str>, &str),
) -> anyhow::Result<()> {
    let snapshot = app::load_partners(config, SecretsFrom::Sources, partner).await?.snapshot();
    let asked = |name: &EndpointName| partner.is_none_or(|partner| *name.partner == *partner);
    let unreadable = |open: &Endpoint| matches!(open.check, SignatureCheck::Unknown) && asked(&open.name);
    let names =
        snapshot.endpoints.keys().chain(worked).filter(|name| asked(name)).map(|name| &*name.endpoint);
    let known: BTreeSet<&str> = names.filter(|name| *name != UNKNOWN_ADDRESS).collect();
    // Which endpoints a broken file has, nobody knows.
    if known.contains(endpoint) || snapshot.endpoints.values().any(|open| unreadable(open)) {
        return Ok(());
    }
    let of = partner.map(|partner| format!(" of {partner:?}")).unwrap_or_default();
    let help = meant(endpoint, known.iter().copied());
    let help =
        help.unwrap_or_else(|| format!("known are: {}", known.into_iter().collect::<Vec<_>>().join(", ")));
    bail!(
        "there is no endpoint {endpoint:?}{of}, neither in {} nor in the ledger; {help}",
        config.mappings.path.display()
    );
}

fn meant<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    closest(name, known).map(|meant| format!("did you mean {meant:?}?"))
}

/// A line of the journal about what a person did with a verb.
pub(super) fn act(now: Timestamp, act: &str, subject: &str, detail: serde_json::Value) -> JournalEntry {
    JournalEntry { at: now, who: operator(), act: act.to_owned(), subject: subject.to_owned(), detail }
}

/// Who runs this verb, as the journal names them.
pub(super) fn operator() -> String {
    format!("cli:{}", operator::operator())
}
