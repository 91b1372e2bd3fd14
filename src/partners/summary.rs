//! Room `partners`: partners as `douane partner ls` and `show` list them. Names secrets, never shows one.

use serde::Serialize;

use super::{
    desk::{Desk, Ignore, MappingRule},
    door::{Door, Endpoint, SignatureCheck},
    patterns::TypePattern,
    registry::{DeskState, Snapshot},
};
use crate::model::{Assurance, Diagnostic, Revision};

/// A partner in a listing.
#[derive(Clone, Debug, Serialize)]
pub struct PartnerSummary {
    /// The folder's name.
    pub partner: String,
    /// The display name.
    pub name: String,
    /// The team that owns it.
    pub owner: String,
    /// Where the partner documents its webhooks.
    pub docs: Option<String>,
    /// `ready`; `last_good` when the folder is broken and an earlier revision works; `broken` when there is none;
    /// `removed` when the folder is gone and only what is waiting is worked.
    pub state: &'static str,
    /// The revision that works.
    pub revision: Option<Revision>,
    /// What is wrong with the folder.
    pub problems: Vec<Diagnostic>,
    /// Its endpoints.
    pub endpoints: Vec<EndpointSummary>,
    /// Its mappings, in the order in which they are asked.
    pub mappings: Vec<MappingSummary>,
    /// Its ignores, asked before the mappings.
    pub ignores: Vec<IgnoreSummary>,
}

/// An endpoint in a listing.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointSummary {
    /// Its name.
    pub name: String,
    /// Its address on the public listener.
    pub address: String,
    /// What a signature vouches for; `None` when nobody knows how it is verified.
    pub assurance: Option<Assurance>,
    /// What exactly the signature covers.
    pub covers: Vec<String>,
    /// The ids of the secrets, never the secrets.
    pub secrets: Vec<String>,
    /// Why it answers 503; `None` when it is configured.
    pub not_configured: Option<String>,
}

/// A mapping in a listing.
#[derive(Clone, Debug, Serialize)]
pub struct MappingSummary {
    /// The external types.
    pub on: Vec<String>,
    /// The endpoints; empty: all.
    pub endpoints: Vec<String>,
    /// The module.
    pub module: String,
    /// The contracts it may emit.
    pub emits: Vec<String>,
}

/// An ignore in a listing.
#[derive(Clone, Debug, Serialize)]
pub struct IgnoreSummary {
    /// The external types.
    pub on: Vec<String>,
    /// The endpoints; empty: all.
    pub endpoints: Vec<String>,
    /// Why.
    pub why: String,
}

impl Snapshot {
    /// Every partner, by name; removed ones whose desk is kept included.
    pub fn summaries(&self) -> Vec<PartnerSummary> {
        self.desks.iter().map(|(partner, state)| summary(partner, self.doors.get(partner), state)).collect()
    }
}

fn summary(partner: &str, door: Option<&Door>, state: &DeskState) -> PartnerSummary {
    let desk = state.desk();
    PartnerSummary {
        partner: partner.to_owned(),
        name: door.map_or(partner, |door| &door.title).to_owned(),
        owner: door.map(|door| door.owner.clone()).unwrap_or_default(),
        docs: door.and_then(|door| door.docs.clone()),
        state: state_of(door, state),
        revision: desk.map(|desk| desk.revision.clone()),
        problems: problems_of(door, state),
        endpoints: door
            .iter()
            .flat_map(|door| door.endpoints.iter().map(|found| endpoint(door, found)))
            .collect(),
        mappings: desk.iter().flat_map(|desk| mappings(desk)).collect(),
        ignores: desk.iter().flat_map(|desk| ignores(desk)).collect(),
    }
}

fn state_of(door: Option<&Door>, state: &DeskState) -> &'static str {
    match state {
        _ if door.is_none() => "removed",
        DeskState::Ready(_) => "ready",
        DeskState::LastGood { .. } => "last_good",
        DeskState::Broken { .. } => "broken",
    }
}

/// That a folder is gone is no problem while its desk works what is left.
fn problems_of(door: Option<&Door>, state: &DeskState) -> Vec<Diagnostic> {
    match state {
        DeskState::Ready(_) => Vec::new(),
        DeskState::LastGood { .. } if door.is_none() => Vec::new(),
        DeskState::LastGood { problems, .. } | DeskState::Broken { problems } => problems.clone(),
    }
}

fn endpoint(door: &Door, endpoint: &Endpoint) -> EndpointSummary {
    let (assurance, covers) = match &endpoint.check {
        SignatureCheck::Scheme(scheme) => (Some(scheme.assurance()), scheme.covers().to_vec()),
        SignatureCheck::Unsigned => (Some(Assurance::None), Vec::new()),
        SignatureCheck::Unknown => (None, Vec::new()),
    };
    let secrets = door.secrets.get(&endpoint.name.endpoint);
    EndpointSummary {
        name: endpoint.name.endpoint.to_string(),
        address: format!("/in/{}", endpoint.name),
        assurance,
        covers,
        secrets: secrets.iter().flat_map(|secrets| secrets.iter()).map(|secret| secret.id.clone()).collect(),
        not_configured: endpoint.keys.as_ref().err().map(ToString::to_string),
    }
}

fn mappings(desk: &Desk) -> Vec<MappingSummary> {
    let summary = |rule: &MappingRule| MappingSummary {
        on: texts(&rule.on),
        endpoints: rule.endpoints.clone(),
        module: rule.module.clone(),
        emits: rule.emits.clone(),
    };
    desk.mappings.iter().map(summary).collect()
}

fn ignores(desk: &Desk) -> Vec<IgnoreSummary> {
    let summary = |ignore: &Ignore| IgnoreSummary {
        on: texts(&ignore.on),
        endpoints: ignore.endpoints.clone(),
        why: ignore.why.clone(),
    };
    desk.ignores.iter().map(summary).collect()
}

fn texts(patterns: &[TypePattern]) -> Vec<String> {
    patterns.iter().map(|pattern| pattern.0.clone()).collect()
}
