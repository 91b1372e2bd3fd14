//! Room `cli`: what verbs that read or act on a ledger share: the choice of deliveries, and the journal's line.

use anyhow::bail;
use clap::Args;
use serde::Serialize;

use crate::{
    config::{self, Config},
    ledger::{DeliveryFilter, JournalEntry, Ledger},
    model::{EntryNumber, OutcomeKind, Timestamp},
    partners::{closest, folder_names},
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

/// For verbs that found nothing: an error where the partner that was asked for is neither in the mappings nor in the ledger, so
/// that nobody is reassured about a name that was misspelt.
pub(super) async fn must_be_known(
    config: &Config,
    ledger: &Ledger,
    partner: Option<&str>,
) -> anyhow::Result<()> {
    let folder = config.mappings.path.join("partners");
    let Some(partner) = partner.filter(|partner| *partner != UNKNOWN_ADDRESS && folder.is_dir()) else {
        return Ok(());
    };
    let mut known = folder_names(&folder);
    known.extend(ledger.records.cursors().await?.into_iter().map(|(name, _)| name.partner.to_string()));
    if known.contains(partner) {
        return Ok(());
    }
    let meant = closest(partner, known.iter().map(String::as_str));
    let help = meant.map_or_else(
        || "`douane partner ls` lists them".to_owned(),
        |meant| format!("did you mean {meant:?}?"),
    );
    bail!("there is no partner {partner:?}, neither in {} nor in the ledger; {help}", folder.display());
}

/// A line of the journal about what a person did with a verb.
pub(super) fn act(now: Timestamp, act: &str, subject: &str, detail: serde_json::Value) -> JournalEntry {
    JournalEntry { at: now, who: operator(), act: act.to_owned(), subject: subject.to_owned(), detail }
}

/// Who runs this verb, as the journal names them.
pub(super) fn operator() -> String {
    config::operator().map_or_else(|| "cli".to_owned(), |user| format!("cli:{user}"))
}
