//! Room `partners`: one `[[endpoint]]` of a partner file, with what its preset and its partner say below it. May not read
//! secrets: it only says where they come from.

use std::{collections::BTreeMap, sync::Arc};

use ipnet::IpNet;

use crate::model::{Diagnostic, InvalidPublicUrl, PublicUrl};

use super::{
    callers,
    desk::Identify,
    door::{ClientCertificate, Reply, SecretUse, SignatureCheck},
    handshake::Handshake,
    handshake_file::{self, Known},
    identify::{self, Findings},
    parameters::{self, Askers, Parameters},
    reading::{Entry, Source, Table, parse},
    secrets, signing,
};

/// The endpoint that also answers `/in/<partner>`, and the name of one that has none.
pub(super) const DEFAULT_ENDPOINT: &str = "default";
/// Longest name of a partner or an endpoint, in bytes.
const MAX_NAME_BYTES: usize = 63;
/// Largest `max_body_bytes`.
const MAX_BODY_BYTES: u64 = 268_435_456;
/// Largest `max_header_bytes`: more is never read, whatever `intake.max_header_bytes` says.
const MAX_HEADER_BYTES: u64 = 1_048_576;
/// Largest `requests_per_second`.
const MAX_RATE: u64 = 1_000_000;

const KEYS: [&str; 16] = [
    "name",
    "secrets",
    "public_url",
    "parameters",
    "handshake",
    "forget",
    "allow_from",
    "client_certificate",
    "self_test",
    "max_body_bytes",
    "max_header_bytes",
    "requests_per_second",
    "reply",
    "signature_failure_status",
    "signature",
    "identify",
];

/// An endpoint as its file says it: a door and a desk, each `None` where a mistake stands in the way.
#[derive(Debug)]
pub(super) struct EndpointPlan {
    /// Its name.
    pub(super) name: Arc<str>,
    /// Where it stands in the file.
    pub(super) at: usize,
    /// How requests are verified.
    pub(super) check: Option<SignatureCheck>,
    /// How its deliveries are identified.
    pub(super) identify: Option<Identify>,
    /// Where its secrets come from.
    pub(super) secrets: Vec<SecretUse>,
    /// The ids of learnt secrets that are not believed any more.
    pub(super) forgotten: Vec<String>,
    /// The networks that requests may come from.
    pub(super) allow_from: Vec<IpNet>,
    /// The client certificates that are taken.
    pub(super) client_certificate: Option<ClientCertificate>,
    /// Whether senders may test themselves.
    pub(super) self_test: bool,
    /// The presets that it verifies by.
    pub(super) presets: Vec<String>,
    /// What a preset wants to know of it, by name.
    pub(super) parameters: BTreeMap<String, String>,
    /// Where in the file its parameters and its `public_url` stand, by name.
    pub(super) places: BTreeMap<String, usize>,
    /// The address under which its partner reaches it, where it has one of its own.
    pub(super) public_url: Option<PublicUrl>,
    /// Largest body in bytes.
    pub(super) max_body_bytes: Option<usize>,
    /// Most bytes of target and headers together.
    pub(super) max_header_bytes: Option<usize>,
    /// Most requests a second.
    pub(super) requests_per_second: Option<u32>,
    /// What an accepted delivery is answered.
    pub(super) accepted: Option<Reply>,
    /// The status of a signature failure.
    pub(super) signature_failure_status: u16,
    /// Requests that are answered and not kept.
    pub(super) handshakes: Vec<Handshake>,
    /// What is wrong with its door.
    pub(super) door_problems: Vec<Diagnostic>,
    /// What is wrong with its desk.
    pub(super) desk_problems: Vec<Diagnostic>,
    /// What a person should look at.
    pub(super) warnings: Vec<Diagnostic>,
}

impl EndpointPlan {
    /// An endpoint of which only the name could be read.
    pub(super) fn named(name: &str, at: usize) -> Self {
        Self {
            name: name.into(),
            at,
            check: None,
            identify: None,
            secrets: Vec::new(),
            forgotten: Vec::new(),
            allow_from: Vec::new(),
            client_certificate: None,
            self_test: false,
            presets: Vec::new(),
            parameters: BTreeMap::new(),
            places: BTreeMap::new(),
            public_url: None,
            max_body_bytes: None,
            max_header_bytes: None,
            requests_per_second: None,
            accepted: None,
            signature_failure_status: 401,
            handshakes: Vec::new(),
            door_problems: Vec::new(),
            desk_problems: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

/// What the endpoints of a file have in common.
pub(super) struct Shared<'t, 'p> {
    /// The partner's `[signature]`.
    pub(super) signature: Option<Table<'t>>,
    /// The partner's `[identify]`.
    pub(super) identify: Option<Table<'t>>,
    /// The partner's `[[handshake]]`.
    pub(super) handshake: Option<Entry<'t>>,
    /// Where presets are.
    pub(super) presets: FindPreset<'p>,
}

/// Gives the text of a preset by its name.
pub(super) type FindPreset<'p> = &'p dyn Fn(&str) -> Option<&'p str>;

/// The name of an `[[endpoint]]`; `default` when it has none.
pub(super) fn name<'a>(table: &Table<'a>, problems: &mut Vec<Diagnostic>) -> &'a str {
    let Some(entry) = table.get("name") else { return DEFAULT_ENDPOINT };
    let Some(name) = entry.text(problems) else { return DEFAULT_ENDPOINT };
    if !is_name(name) {
        let message = format!("{name:?} cannot be part of an address");
        problems.push(entry.problem("bad_name", message, "use a to z, 0 to 9 and `-`, at most 63"));
    }
    name
}

/// Whether a text can be the name of a partner or an endpoint.
pub(super) fn is_name(text: &str) -> bool {
    let letters = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    letters && !text.is_empty() && text.len() <= MAX_NAME_BYTES
}

/// Reads one `[[endpoint]]`.
pub(super) fn read<'t>(table: &Table<'t>, shared: &Shared<'t, '_>) -> EndpointPlan {
    let mut problems = Vec::new();
    let mut plan = EndpointPlan::named(name(table, &mut problems), table.at);
    table.only(&KEYS, &mut problems);
    plan.max_body_bytes = bytes(table, "max_body_bytes", MAX_BODY_BYTES, &mut problems);
    plan.max_header_bytes = bytes(table, "max_header_bytes", MAX_HEADER_BYTES, &mut problems);
    plan.requests_per_second = table
        .number("requests_per_second", 1..=MAX_RATE, &mut problems)
        .and_then(|rate| u32::try_from(rate).ok());
    if let Some(status) = status(table, "signature_failure_status", 400..=499, &mut problems) {
        plan.signature_failure_status = status;
    }
    plan.secrets = secrets::read(table, "secrets", &mut problems);
    plan.public_url = public_url(table, &mut problems);
    plan.places = places(table);
    plan.allow_from = callers::networks(table, &mut problems);
    plan.client_certificate = callers::certificate(table, &mut problems);
    plan.self_test = table.truth("self_test", &mut problems);
    plan.forgotten = table.texts("forget", &mut problems).into_iter().map(|(id, _)| id.to_owned()).collect();
    plan.accepted = table.table("reply", &mut problems).map(|table| reply(&table, &mut problems));
    plan.door_problems = problems;
    verify_and_identify(&mut plan, table, shared);
    plan
}

fn bytes(table: &Table<'_>, key: &'static str, most: u64, problems: &mut Vec<Diagnostic>) -> Option<usize> {
    table.number(key, 1..=most, problems).and_then(|bytes| usize::try_from(bytes).ok())
}

/// What hangs on the preset: signature, handshakes, and what is identified how.
fn verify_and_identify<'t>(plan: &mut EndpointPlan, table: &Table<'t>, shared: &Shared<'t, '_>) {
    let problems = &mut plan.door_problems;
    let own = table.table("signature", problems);
    let Some(signature) = signing::table_for(own, shared.signature.as_ref()) else {
        let help = "add [signature] with `preset = \"…\"`, the grammar spelled out, or `unsigned = true`";
        problems.push(table.problem("no_signature", "nothing says how requests are verified", help));
        return;
    };
    let named = signing::preset_of(&signature, shared.presets, problems);
    if named.is_none() && signature.has("preset") {
        return;
    }
    plan.presets = signing::presets_in(&signature).into_iter().map(str::to_owned).collect();
    let file = named.map(|(name, _)| preset_file(name)).unwrap_or_default();
    let source = Source { file: &file, text: named.map_or("", |(_, text)| text) };
    let (toml, preset_problems) = parse(source);
    problems.extend(preset_problems);
    let preset = Table::of(source, 0, toml.get_ref());
    let own = table.get("handshake").or(shared.handshake);
    let answered = own.or_else(|| preset.get("handshake"));
    plan.check = checked(plan, table, [&signature, &preset], answered.as_ref(), shared.presets);
    answers_of_the_preset(plan, table, &preset);
    let Some(check) = plan.check.clone() else { return };
    if !table.has("secrets") {
        plan.secrets = secrets::read(&preset, "public_keys", &mut plan.door_problems);
    }
    let check = with_own_keys(check, &plan.secrets);
    plan.check = Some(check.clone());
    plan.handshakes = handshakes(answered, plan, &check);
    look_at_secrets(plan, table, &check);
    plan.identify = identified(plan, table, shared, &preset, &check);
    plan.check = plan.check.take().map(|check| as_the_desk_reads(check, plan.identify.as_ref()));
}

/// What the provider's system needs to see, where the endpoint says nothing else.
fn answers_of_the_preset(plan: &mut EndpointPlan, table: &Table<'_>, preset: &Table<'_>) {
    let problems = &mut plan.door_problems;
    if !table.has("reply") {
        let parameters = Parameters(plan.parameters.clone());
        plan.accepted = preset.table("reply", problems).map(|table| {
            let reply = reply(&table, problems);
            Reply { body: parameters.fill(&reply.body), ..reply }
        });
    }
    if !table.has("signature_failure_status")
        && let Some(status) = status(preset, "signature_failure_status", 400..=499, problems)
    {
        plan.signature_failure_status = status;
    }
}

/// The endpoint's own handshakes, else the partner's, else the preset's.
fn handshakes(written: Option<Entry<'_>>, plan: &mut EndpointPlan, check: &SignatureCheck) -> Vec<Handshake> {
    let Some(written) = written else { return Vec::new() };
    let secrets: Vec<_> =
        plan.secrets.iter().flat_map(|secret| &secret.purposes).map(String::as_str).collect();
    let has_key = matches!(check, SignatureCheck::Scheme(_));
    let known = Known { parameters: &plan.parameters, secrets: &secrets, has_key };
    let problems = &mut plan.door_problems;
    let tables: Vec<_> =
        written.elements(problems).iter().filter_map(|element| element.table(problems)).collect();
    tables.iter().filter_map(|table| handshake_file::read(table, known, problems)).collect()
}

fn checked(
    plan: &mut EndpointPlan,
    endpoint: &Table<'_>,
    [signature, preset]: [&Table<'_>; 2],
    handshakes: Option<&Entry<'_>>,
    find: FindPreset<'_>,
) -> Option<SignatureCheck> {
    let problems = &mut plan.door_problems;
    let base = signature.has("preset").then(|| preset.table("signature", problems)).flatten();
    let schemes: Vec<_> = base.iter().chain([signature]).collect();
    let before = problems.len();
    let among_schemes = signing::asked_among_schemes(signature, find);
    let askers = Askers { preset, schemes: &schemes, among_schemes: &among_schemes, handshakes };
    let parameters = parameters::read(endpoint, &askers, problems);
    plan.parameters = parameters.0.clone();
    if problems.len() > before {
        return None;
    }
    signing::check(signature, base.as_ref(), (&parameters, find), problems)
}

/// What is verified is what is translated: the scheme looks into the field that the desk takes for the body.
fn as_the_desk_reads(check: SignatureCheck, identify: Option<&Identify>) -> SignatureCheck {
    match (check, identify) {
        (SignatureCheck::Scheme(schemes), Some(identify)) => {
            SignatureCheck::Scheme(Arc::new(schemes.reading(&identify.body)))
        }
        (check, _) => check,
    }
}

/// An endpoint that has its partner's keys itself asks for none.
fn with_own_keys(check: SignatureCheck, secrets: &[SecretUse]) -> SignatureCheck {
    match check {
        SignatureCheck::Scheme(schemes) => {
            let places: Vec<usize> = secrets.iter().flat_map(|secret| secret.branches(&schemes)).collect();
            SignatureCheck::Scheme(Arc::new(schemes.with_own_keys(&places)))
        }
        check => check,
    }
}

fn public_url(table: &Table<'_>, problems: &mut Vec<Diagnostic>) -> Option<PublicUrl> {
    let entry = table.get("public_url")?;
    let url = PublicUrl::parse(entry.text(problems)?);
    let wrong =
        |why: InvalidPublicUrl| entry.problem("bad_public_url", "this is no public address", why.to_string());
    url.map_err(|why| problems.push(wrong(why))).ok()
}

fn places(table: &Table<'_>) -> BTreeMap<String, usize> {
    let parameters = table.table("parameters", &mut Vec::new());
    let parameters = parameters.iter().flat_map(Table::iter).map(|entry| (entry.key.to_owned(), entry.at));
    let public_url = table.get("public_url").map(|entry| (entry.key.to_owned(), entry.at));
    parameters.chain(public_url).collect()
}

/// The name under which a preset stands among a desk's sources and in diagnostics.
pub(super) fn preset_file(name: &str) -> String {
    format!("presets/{name}.toml")
}

fn look_at_secrets(plan: &mut EndpointPlan, table: &Table<'_>, check: &SignatureCheck) {
    match check {
        SignatureCheck::Unsigned => {
            let message = format!("`{}` believes anyone: nothing is verified (`unsigned = true`)", plan.name);
            let help =
                "use the partner's signature if it has one; if not, close the address to everyone else";
            plan.warnings.push(table.problem("unsigned", message, help));
        }
        SignatureCheck::Scheme(schemes) if schemes.has_published_keys() => {
            secrets::check(plan, table, schemes);
            secrets::check_asking(plan, table, schemes);
        }
        _ if lacks_a_secret(plan, table) => {
            let help = "add `secrets = [{ id = \"2026-11\", from = \"env:NAME\" }]`";
            let message = format!("`{}` has no secret to verify with", plan.name);
            plan.door_problems.push(table.problem("no_secrets", message, help));
        }
        SignatureCheck::Scheme(schemes) => secrets::check(plan, table, schemes),
        SignatureCheck::Unknown => {}
    }
}

/// Whether no secret is for the signature: there is none, or handshakes use them all. One that could not be read has been
/// told already.
fn lacks_a_secret(plan: &EndpointPlan, table: &Table<'_>) -> bool {
    let of_handshakes: Vec<_> = plan.handshakes.iter().flat_map(Handshake::secrets).collect();
    let is_theirs = |secret: &SecretUse| {
        let theirs = |name: &String| of_handshakes.contains(&name.as_str());
        !secret.purposes.is_empty() && secret.purposes.iter().all(theirs)
    };
    let learns = plan.handshakes.iter().any(|handshake| handshake.learn.is_some());
    let unread = plan.secrets.is_empty() && table.has("secrets");
    !learns && !unread && plan.secrets.iter().all(is_theirs)
}

fn identified(
    plan: &mut EndpointPlan,
    table: &Table<'_>,
    shared: &Shared<'_, '_>,
    preset: &Table<'_>,
    check: &SignatureCheck,
) -> Option<Identify> {
    let mut found = Findings::default();
    let mut layers = table.table("identify", &mut found.problems).unwrap_or_else(|| {
        Table::empty(table.source, shared.identify.as_ref().map_or(table.at, |partner| partner.at))
    });
    if let Some(partner) = &shared.identify {
        layers = layers.over(partner);
    }
    if let Some(preset) = preset.table("identify", &mut found.problems) {
        layers = layers.over(&preset);
    }
    let identify = identify::read(&layers, check, &mut found);
    plan.door_problems.extend(found.unsafe_door);
    plan.desk_problems.extend(found.problems);
    plan.warnings.extend(found.warnings);
    identify
}

fn status(
    table: &Table<'_>,
    key: &str,
    bounds: std::ops::RangeInclusive<u64>,
    problems: &mut Vec<Diagnostic>,
) -> Option<u16> {
    table.number(key, bounds, problems).and_then(|status| u16::try_from(status).ok())
}

fn reply(table: &Table<'_>, problems: &mut Vec<Diagnostic>) -> Reply {
    table.only(&["status", "content_type", "body"], problems);
    let body = table.text("body", problems).unwrap_or_default().to_owned();
    let content_type = table.text("content_type", problems).map(str::to_owned);
    let status = status(table, "status", 200..=299, problems).unwrap_or(200);
    Reply { status, content_type, body }
}
