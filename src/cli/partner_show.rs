//! Room `cli`: one partner for people, as `douane partner show` writes it. Only shows: what it says was read elsewhere.

use super::{
    output::{self, counted},
    partner::LATEST,
};
use crate::{
    model::Assurance,
    partners::{
        EndpointSummary, IdentifySummary, PartnerSummary, SameBody, SecretSummary, SignatureSummary,
        SubscriptionSummary, UsedBy,
    },
};

/// The state of its desk, and whether its door is open.
pub(super) fn state(partner: &PartnerSummary) -> String {
    let closed = partner.endpoints.iter().filter(|endpoint| endpoint.not_configured.is_some()).count();
    match closed {
        0 => partner.state.to_owned(),
        _ => format!("{}, {} not configured", partner.state, counted(closed, "endpoint", "endpoints")),
    }
}

/// Shows one partner as it is read.
pub(super) fn show(partner: &PartnerSummary) {
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

fn show_endpoint(endpoint: &EndpointSummary) {
    output::say(&format!("\nPOST {}", endpoint.address));
    let assurance = endpoint.assurance.map_or("nobody knows how", |assurance| assurance.as_str());
    line("assurance", assurance);
    line("signed is", covered(endpoint));
    for signature in &endpoint.signatures {
        show_signature(signature);
    }
    line("comes from", endpoint.allow_from.join(" or "));
    line("certificate", endpoint.client_certificate.as_deref().unwrap_or_default());
    for (name, value) in &endpoint.parameters {
        line("parameter", format!("{name} = {value:?}"));
    }
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

/// What every delivery's signature vouches for.
fn covered(endpoint: &EndpointSummary) -> String {
    match (endpoint.covers.as_slice(), endpoint.assurance) {
        ([], None) => String::new(),
        ([], Some(Assurance::Origin)) => "nothing of the request: it is known who sends, not what".to_owned(),
        ([], _) if endpoint.signatures.len() > 1 => "nothing that each of the schemes signs".to_owned(),
        ([], _) => "nothing".to_owned(),
        (covers, _) => covers.join(", "),
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
    ];
    let uses = secret.used_by.iter().map(|by| used(*by, secret));
    parts.into_iter().flatten().chain(uses).collect::<Vec<_>>().join(", ")
}

/// What a use of a secret tells of when it may go.
fn used(by: UsedBy, secret: &SecretSummary) -> String {
    match (by, secret.last_matched) {
        (UsedBy::Signature, Some(at)) => format!("last matched {at}"),
        (UsedBy::Signature, None) => format!("matched none of the latest {LATEST} deliveries"),
        (UsedBy::Handshake, _) => "used by its handshakes, of which none is kept".to_owned(),
        (UsedBy::KeyQuestion, _) => "used to ask for the sender's keys".to_owned(),
    }
}

fn show_signature(signature: &SignatureSummary) {
    if let Some(name) = &signature.name {
        let when = signature.when.as_ref().map(|when| format!(", where {when}")).unwrap_or_default();
        line("scheme", format!("{name}{when}"));
    }
    let algorithms = signature.algorithms.join(" or ");
    let of = if algorithms.is_empty() { "" } else { ": " };
    line("algorithm", format!("{}{of}{algorithms}", signature.algorithm));
    line("signature", &signature.value);
    line("signed text", &signature.message);
    line("signed items", signature.items.as_deref().unwrap_or_default());
    if let (Some(stands), Some(tolerance)) = (&signature.timestamp, &signature.tolerance) {
        line("sent at", format!("{stands}; at most {tolerance} from now"));
    }
    line("our address", signature.address.as_deref().unwrap_or_default());
    for demand in &signature.demands {
        line("demanded", demand);
    }
    line("keys", signature.keys.as_deref().unwrap_or_default());
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
