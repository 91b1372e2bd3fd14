//! Room `partners`: the desk of a partner, as the pipeline uses it. A desk is compiled from its sources alone, so
//! that a revision kept in the ledger compiles to the same desk after a restart.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use vrl::path::OwnedValuePath;

use super::folder::content_hash;
use crate::{
    contracts::Catalog,
    model::{BodyRules, FieldPath, Revision, TypePattern},
    translate::Mapping,
};

/// The files a desk is compiled from, by path relative to the mappings folder: `partners/<partner>/partner.toml`, its
/// modules and the contracts it emits; the presets it names stand beside them as `presets/<name>.toml`. Nothing else
/// counts: another partner's files or an unused contract never change a revision. The door is part of `partner.toml`, so a
/// new secret source or limit is a new revision too: an auditor reads the file as it was, not an extract of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeskSources {
    /// Path → text.
    pub files: BTreeMap<String, String>,
}

impl DeskSources {
    /// The content hash: SHA-256 (hex) over the files in the order of their paths, each path and text after its length
    /// as eight bytes, little end first.
    pub fn revision(&self) -> Revision {
        Revision(content_hash(&self.files).into())
    }
}

/// A partner's desk: identify, mappings, contracts.
#[derive(Debug)]
pub struct Desk {
    /// The partner's folder name.
    pub partner: Arc<str>,
    /// The content hash of `sources`.
    pub revision: Revision,
    /// What it was compiled from.
    pub sources: DeskSources,
    /// How each endpoint's deliveries are identified.
    pub endpoints: BTreeMap<Arc<str>, EndpointDesk>,
    /// The mappings, in file order; the first whose patterns match is taken.
    pub mappings: Vec<MappingRule>,
    /// The types that are ignored by intent; asked before the mappings.
    pub ignores: Vec<Ignore>,
    /// The contracts it emits.
    pub catalog: Arc<Catalog>,
}

impl Desk {
    /// The ignore that takes an external type at an endpoint; asked before the mappings.
    pub fn ignore_for(&self, endpoint: &str, event_type: &str) -> Option<&Ignore> {
        self.ignores.iter().find(|ignore| takes(&ignore.on, &ignore.endpoints, endpoint, event_type))
    }

    /// The first mapping that takes an external type at an endpoint.
    pub fn mapping_for(&self, endpoint: &str, event_type: &str) -> Option<&MappingRule> {
        self.mappings.iter().find(|mapping| takes(&mapping.on, &mapping.endpoints, endpoint, event_type))
    }
}

fn takes(on: &[TypePattern], endpoints: &[String], endpoint: &str, event_type: &str) -> bool {
    let here = endpoints.is_empty() || endpoints.iter().any(|name| name == endpoint);
    here && on.iter().any(|pattern| pattern.matches(event_type))
}

/// The desk of one endpoint.
#[derive(Clone, Debug)]
pub struct EndpointDesk {
    /// How its deliveries are identified.
    pub identify: Identify,
}

/// How external events are found in a delivery and named.
#[derive(Clone, Debug)]
pub struct Identify {
    /// How the bytes become a value.
    pub body: BodyRules,
    /// Where the items of a batch stand.
    pub split: Option<Split>,
    /// The partner's id of an event.
    pub external_id: Option<ValueRule>,
    /// The partner's word for what happened.
    pub event_type: ValueRule,
    /// The ordering key; `None`: the external id.
    pub ordering_key: Option<ValueRule>,
    /// When it happened: the first of these that tells a time.
    pub occurred_at: Vec<TimeRule>,
    /// The version of the partner's API.
    pub version: Option<ValueRule>,
    /// The parts that must not differ between repeats; empty: the whole item less `volatile`.
    pub identity: Vec<FieldPath>,
    /// Paths below the item that may differ between repeats.
    pub volatile: Vec<OwnedValuePath>,
    /// How long an external id is remembered for verdicts.
    pub window: Duration,
    /// What a second delivery of the same body under a new id is.
    pub same_body: SameBody,
    /// Whether the signature covers the external id; when it does, bodies are not compared.
    pub id_is_covered: bool,
}

/// Where the items of a batch stand: in lists, which may stand in elements of lists (`body.entry[].changes[]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// What is looked for in the body.
    pub body: Level,
    /// The paths as they are written.
    pub paths: Vec<FieldPath>,
}

/// What is looked for in the body, or in an element of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// The lists that may stand in it, in the order they are written.
    pub lists: Vec<List>,
    /// Where the one item stands when no list has an element; root: it is the item itself. `None`: there must be a list.
    pub item: Option<OwnedValuePath>,
}

/// A list, and what is looked for in each of its elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Where it stands in the body or in an element.
    pub path: OwnedValuePath,
    /// What is looked for in its elements.
    pub element: Level,
}

/// A value of a delivery, as partner files write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueRule {
    /// `"body.id"`.
    Path(FieldPath),
    /// `{ join = [values], by = ":" }`: absent parts count as empty, trailing empty parts are left out; absent when all are.
    Join(Vec<ValueRule>, String),
    /// `{ first_of = [values] }`: the first that is there and not empty; absent when none is.
    FirstOf(Vec<ValueRule>),
    /// `{ digest = [paths] }`: SHA-256 (hex) of the values as canonical JSON.
    Digest(Vec<FieldPath>),
    /// `{ name_of = [paths] }`: the last name of the first path where something stands: `message` of `body.message`. For
    /// senders whose type is the key under which the event stands.
    NameOf(Vec<FieldPath>),
}

/// Where a time stands, and how it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeRule {
    /// Where.
    pub path: FieldPath,
    /// How.
    pub unit: TimeUnit,
}

/// How a time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeUnit {
    /// Seconds since the Unix epoch (a fraction is allowed and kept).
    UnixS,
    /// Milliseconds since the Unix epoch.
    UnixMs,
    /// RFC 3339 text.
    Rfc3339,
}

/// What a second delivery of the same body under a new external id is, where the signature does not cover the id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SameBody {
    /// Flagged (`same_body_as`) and counted.
    #[default]
    Flag,
    /// A duplicate.
    Duplicate,
}

/// A `[[mapping]]` with its compiled module.
#[derive(Debug)]
pub struct MappingRule {
    /// The external types it is for.
    pub on: Vec<TypePattern>,
    /// The endpoints it is for; empty: all.
    pub endpoints: Vec<String>,
    /// The module's file name.
    pub module: String,
    /// The compiled module.
    pub mapping: Mapping,
    /// The contracts it may emit, as `payments.PaymentCaptured.v1`.
    pub emits: Vec<String>,
    /// Its own ordering key, instead of the endpoint's.
    pub ordering_key: Option<ValueRule>,
}

/// An `[[ignore]]`.
#[derive(Clone, Debug)]
pub struct Ignore {
    /// The external types it is for.
    pub on: Vec<TypePattern>,
    /// The endpoints it is for; empty: all.
    pub endpoints: Vec<String>,
    /// Why they are ignored.
    pub why: String,
}
