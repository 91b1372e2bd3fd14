//! Room `partners`: partners as `douane partner ls` and `show` list them. Names secrets, never shows one.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::Serialize;

use super::{
    desk::{Desk, Identify, Ignore, MappingRule, SameBody},
    door::{Door, Endpoint, Reply, SecretUse, SignatureCheck},
    handshake::Handshake,
    opening,
    registry::{DeskState, Snapshot},
    rules,
    signature_summary::{PublishedKeys, SignatureSummary},
};
use crate::model::{Assurance, Diagnostic, FieldPath, Revision, Timestamp, TypePattern};

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
    /// How each scheme verifies; empty when nothing is verified, or nobody knows how.
    pub signatures: Vec<SignatureSummary>,
    /// Whether its sender publishes its keys, and they are fetched, or a secret here is pinned in their place.
    pub published_keys: Option<PublishedKeys>,
    /// What its preset asked of it, by name; filled into what its signatures and handshakes say.
    pub parameters: BTreeMap<String, String>,
    /// The networks that requests may come from; empty: anywhere.
    pub allow_from: Vec<String>,
    /// The client certificates that are taken, and which header of the proxy tells of them; `None`: none is asked for.
    pub client_certificate: Option<String>,
    /// Its secrets by id and source, never the secrets.
    pub secrets: Vec<SecretSummary>,
    /// Why it, or a handshake of it, answers 503; `None` when it is configured.
    pub not_configured: Option<String>,
    /// Largest body in bytes; `None`: `intake.max_body_bytes`.
    pub max_body_bytes: Option<usize>,
    /// Most bytes of target and headers; `None`: `intake.max_header_bytes`.
    pub max_header_bytes: Option<usize>,
    /// Most requests a second; `None`: no limit.
    pub requests_per_second: Option<u32>,
    /// What an accepted delivery is answered; `None`: `200 {"delivery":"<id>"}`.
    pub reply: Option<Reply>,
    /// The status of a signature failure.
    pub signature_failure_status: u16,
    /// Requests that are answered and not kept, in words.
    pub handshakes: Vec<String>,
    /// The secrets it was taught in handshakes, oldest first; kept sealed, never shown. `douane partner show` fills them in.
    pub learnt: Vec<LearntSummary>,
    /// The latest subscriptions that its partner's system asked to be confirmed, newest first. `douane partner show` fills them in.
    pub subscriptions: Vec<SubscriptionSummary>,
    /// How its deliveries are identified, the preset's defaults included; `None` while there is no desk.
    pub identify: Option<IdentifySummary>,
}

/// A secret in a listing.
#[derive(Clone, Debug, Serialize)]
pub struct SecretSummary {
    /// Its id, as deliveries note it.
    pub id: String,
    /// Where it comes from: `env:NAME`, `file:/path` or `public_key`.
    pub from: String,
    /// What it is for: of several schemes some, or the names by which handshakes use it.
    #[serde(rename = "for", skip_serializing_if = "Vec::is_empty")]
    pub purposes: Vec<String>,
    /// What uses it; nothing, where nobody knows how the endpoint verifies.
    pub used_by: Vec<UsedBy>,
    /// It counts from this time on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// It counts until this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
    /// When the latest delivery came that it verified, as far back as was looked; this room does not look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_matched: Option<Timestamp>,
}

/// What a secret is used by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UsedBy {
    /// Signatures are verified with it, so deliveries note when it matched.
    Signature,
    /// Handshakes compare a token with it or hash it into an answer. They are not kept, so nothing notes when.
    Handshake,
    /// The sender's keys are asked for with it.
    KeyQuestion,
}

/// A learnt secret in a listing.
#[derive(Clone, Debug, Serialize)]
pub struct LearntSummary {
    /// Its id, as deliveries note it.
    pub id: String,
    /// When it was learnt.
    pub since: Timestamp,
    /// Whether it is still believed: not when the file says `forget`.
    pub believed: bool,
}

/// A subscription in a listing.
#[derive(Clone, Debug, Serialize)]
pub struct SubscriptionSummary {
    /// `open` while its link is visited again and again; `confirmed`; `given_up` when its time was over.
    pub state: &'static str,
    /// When the partner's system asked.
    pub asked_at: Timestamp,
    /// Until when its link is good.
    pub until: Timestamp,
    /// How often the link was visited.
    pub tries: u64,
    /// When it was visited last.
    pub tried_at: Option<Timestamp>,
    /// Why the last visit failed.
    pub why: Option<String>,
}

/// How deliveries are identified, each rule as partner files write it.
#[derive(Clone, Debug, Serialize)]
pub struct IdentifySummary {
    /// The field of a form whose JSON is the body.
    pub form_json: Option<String>,
    /// The name of the text that the body is, where it is no JSON and no form.
    pub text: Option<String>,
    /// Where one delivery is taken apart.
    pub split: Option<String>,
    /// The partner's id of an event; `None`: nothing is deduplicated.
    pub external_id: Option<String>,
    /// Whether the signature covers the id.
    pub external_id_signed: bool,
    /// The partner's word for what happened.
    pub event_type: String,
    /// What keeps its order; `None`: the external id.
    pub ordering_key: Option<String>,
    /// When it happened.
    pub occurred_at: Option<String>,
    /// The version of the partner's API.
    pub version: Option<String>,
    /// The parts that must not differ between repeats; empty: all but `volatile`.
    pub identity: Vec<String>,
    /// The parts that may differ.
    pub volatile: Vec<String>,
    /// How long an id is remembered.
    pub window: String,
    /// What the same body under a new id is, where the id is not signed.
    pub same_body: SameBody,
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
    /// What keeps the order of its events; `None`: the endpoint's `ordering_key`.
    pub ordering_key: Option<String>,
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
            .flat_map(|door| door.endpoints.iter().map(|found| endpoint(door, desk, found)))
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

fn endpoint(door: &Door, desk: Option<&Arc<Desk>>, endpoint: &Endpoint) -> EndpointSummary {
    let name = &endpoint.name.endpoint;
    let (assurance, covers) = match &endpoint.check {
        SignatureCheck::Scheme(scheme) => (Some(scheme.assurance()), scheme.covers().to_vec()),
        SignatureCheck::Unsigned => (Some(Assurance::None), Vec::new()),
        SignatureCheck::Unknown => (None, Vec::new()),
    };
    let secrets = door.secrets.get(name).map(Vec::as_slice).unwrap_or_default();
    let signatures = match &endpoint.check {
        SignatureCheck::Scheme(schemes) => SignatureSummary::all(schemes, secrets),
        SignatureCheck::Unsigned | SignatureCheck::Unknown => Vec::new(),
    };
    EndpointSummary {
        name: name.to_string(),
        address: format!("/in/{}", endpoint.name),
        assurance,
        covers,
        published_keys: PublishedKeys::of(&signatures),
        signatures,
        parameters: endpoint.parameters.clone(),
        allow_from: endpoint.allow_from.iter().map(ToString::to_string).collect(),
        client_certificate: endpoint.client_certificate.as_ref().map(ToString::to_string),
        secrets: secrets.iter().map(|one| secret(one, endpoint)).collect(),
        not_configured: endpoint.not_configured().map(|why| why.to_string()),
        max_body_bytes: endpoint.max_body_bytes,
        max_header_bytes: endpoint.max_header_bytes,
        requests_per_second: endpoint.requests_per_second,
        reply: endpoint.accepted.clone(),
        signature_failure_status: endpoint.signature_failure_status,
        handshakes: endpoint.handshakes.iter().map(ToString::to_string).collect(),
        learnt: Vec::new(),
        subscriptions: Vec::new(),
        identify: desk.and_then(|desk| desk.endpoints.get(name)).map(|found| identify(&found.identify)),
    }
}

fn secret(secret: &SecretUse, endpoint: &Endpoint) -> SecretSummary {
    SecretSummary {
        id: secret.id.clone(),
        from: opening::described(&secret.from),
        purposes: secret.purposes.clone(),
        used_by: used_by(secret, endpoint),
        not_before: secret.not_before,
        not_after: secret.not_after,
        last_matched: None,
    }
}

fn used_by(secret: &SecretUse, endpoint: &Endpoint) -> Vec<UsedBy> {
    let is_for = |name: &str| secret.purposes.iter().any(|purpose| purpose == name);
    let SignatureCheck::Scheme(schemes) = &endpoint.check else { return Vec::new() };
    let uses = [
        (UsedBy::Signature, !secret.branches(schemes).is_empty()),
        (UsedBy::Handshake, endpoint.handshakes.iter().flat_map(Handshake::secrets).any(is_for)),
        (UsedBy::KeyQuestion, schemes.asks_with().into_iter().any(is_for)),
    ];
    uses.into_iter().filter(|(_, used)| *used).map(|(by, _)| by).collect()
}

fn identify(identify: &Identify) -> IdentifySummary {
    let root = if identify.split.is_some() { "item" } else { "body" };
    let text = |rule: &Option<_>| rule.as_ref().map(ToString::to_string);
    IdentifySummary {
        form_json: identify.body.form_json.clone(),
        text: identify.body.text.clone(),
        split: identify.split.as_ref().map(ToString::to_string),
        external_id: text(&identify.external_id),
        external_id_signed: identify.id_is_covered,
        event_type: identify.event_type.to_string(),
        ordering_key: text(&identify.ordering_key),
        occurred_at: rules::times_text(&identify.occurred_at),
        version: text(&identify.version),
        identity: identify.identity.iter().map(FieldPath::to_string).collect(),
        volatile: identify.volatile.iter().map(|path| rules::below(root, path)).collect(),
        window: window(identify.window),
        same_body: identify.same_body,
    }
}

/// In the largest unit that divides it; humantime would write 35 days as a month and some.
pub(super) fn window(window: Duration) -> String {
    const UNITS: [(u64, char); 3] = [(86_400, 'd'), (3_600, 'h'), (60, 'm')];
    let seconds = window.as_secs();
    match UNITS.iter().find(|(unit, _)| seconds.is_multiple_of(*unit)) {
        _ if window.subsec_nanos() > 0 => humantime::format_duration(window).to_string(),
        Some((unit, letter)) => format!("{}{letter}", seconds / unit),
        None => format!("{seconds}s"),
    }
}

fn mappings(desk: &Desk) -> Vec<MappingSummary> {
    let summary = |rule: &MappingRule| MappingSummary {
        on: texts(&rule.on),
        endpoints: rule.endpoints.clone(),
        module: rule.module.clone(),
        emits: rule.emits.clone(),
        ordering_key: rule.ordering_key.as_ref().map(ToString::to_string),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_written_as_people_do() {
        let told = [3_024_000, 129_600, 5_400, 61].map(|seconds| window(Duration::from_secs(seconds)));
        assert_eq!(told, ["35d", "36h", "90m", "61s"]);
        assert_eq!(window(Duration::from_millis(1_500)), "1s 500ms");
    }
}
