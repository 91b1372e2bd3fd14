//! Room `cli`: cases: `fixtures/<partner>/<case>/`: exact requests and what must become of them. Adding a case is adding
//! files. `test`, `demo`, `send` and the project's own tests all read them here.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::output::counted;
use crate::model::{Headers, RawRequest};

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// The partner's folder name.
    pub partner: String,
    /// The case's folder name.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// The requests in the order they are sent.
    pub requests: Vec<RawRequest>,
    /// What must become of them.
    pub expected: Expected,
}

/// `expected.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// What the case shows, for people.
    pub description: String,
    /// One for each request.
    pub requests: Vec<ExpectedRequest>,
}

/// How a request is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    /// As the partner would.
    #[default]
    Valid,
    /// With a secret the endpoint does not have.
    WrongSecret,
    /// An hour ago.
    Stale,
    /// An hour ahead.
    Future,
    /// Not at all.
    None,
    /// The file carries its own signature.
    AsIs,
}

/// What must become of one request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedRequest {
    /// How it is signed.
    #[serde(default)]
    pub sign: Sign,
    /// The status it is answered.
    pub status: u16,
    /// The code of the refusal, when it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// The exact body of the answer, where the partner's system reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_body: Option<String>,
    /// What became of its external events, in item order; none for a refusal or a handshake.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outcomes: Vec<ExpectedOutcome>,
}

/// What must become of one external event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedOutcome {
    /// The partner's id for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The partner's word for what happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// How it ends.
    pub outcome: String,
    /// A part of the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The domain events, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<ExpectedEvent>,
}

/// A domain event that must come of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedEvent {
    /// The contract, without namespace.
    #[serde(rename = "type")]
    pub event_type: String,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The fact.
    pub data: serde_json::Value,
}

/// Every case below `fixtures`, in order of partner and name; of one partner when it is given.
pub fn all(fixtures: &Path, partner: Option<&str>) -> anyhow::Result<Vec<Case>> {
    let cases = all_to_bless(fixtures, partner)?;
    cases.iter().try_for_each(Case::names_each_request)?;
    Ok(cases)
}

/// The same, for who will write what is found as what is expected: entries may be missing, or left over.
pub(super) fn all_to_bless(fixtures: &Path, partner: Option<&str>) -> anyhow::Result<Vec<Case>> {
    let mut cases = Vec::new();
    for folder in folders(fixtures)? {
        let name = file_name(&folder);
        if partner.is_none_or(|wanted| wanted == name) {
            for case in folders(&folder)? {
                cases.push(read(&name, &case)?);
            }
        }
    }
    if let (Some(partner), true) = (partner, cases.is_empty()) {
        bail!("there are no cases in {}", fixtures.join(partner).display());
    }
    if cases.is_empty() {
        bail!("there are no cases in {}", fixtures.display());
    }
    Ok(cases)
}

/// One case, as `<partner>/<case>`.
pub fn one(fixtures: &Path, path: &str) -> anyhow::Result<Case> {
    let (partner, _) = path.split_once('/').context("a case is named <partner>/<case>")?;
    let case = read(partner, &fixtures.join(path))?;
    case.names_each_request()?;
    Ok(case)
}

fn folders(parent: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(parent).with_context(|| format!("cannot read {}", parent.display()))?;
    let mut folders: Vec<_> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    Ok(folders)
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn read(partner: &str, folder: &Path) -> anyhow::Result<Case> {
    let expected = folder.join("expected.json");
    let text = fs::read(&expected).with_context(|| format!("cannot read {}", expected.display()))?;
    let expected: Expected = serde_json::from_slice(&text).with_context(|| expected.display().to_string())?;
    let mut requests = Vec::new();
    for number in 1..=request_files(folder)?.max(1) {
        let file = folder.join(request_file(number));
        let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let request = parse(&bytes).and_then(|request| posted_to(partner, request));
        requests.push(request.with_context(|| file.display().to_string())?);
    }
    Ok(Case {
        partner: partner.to_owned(),
        name: file_name(folder),
        folder: folder.to_path_buf(),
        requests,
        expected,
    })
}

/// The request, when it goes to its partner: a case that was copied from another one's would test that one.
fn posted_to(partner: &str, request: RawRequest) -> anyhow::Result<RawRequest> {
    let path = request.target.split('?').next().unwrap_or_default();
    if path.split('/').nth(2) != Some(partner) {
        bail!("the case is of {partner}, and its request goes to {path}; write /in/{partner}");
    }
    Ok(request)
}

/// How many files of the folder are requests.
fn request_files(folder: &Path) -> anyhow::Result<usize> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let names = entries.flatten().map(|entry| file_name(&entry.path()));
    let numbered = |rest: &str| rest == "http" || rest.strip_suffix(".http").is_some();
    Ok(names.filter(|name| name.strip_prefix("request.").is_some_and(numbered)).count())
}

fn request_file(number: usize) -> String {
    if number == 1 { "request.http".to_owned() } else { format!("request.{number}.http") }
}

/// How the lines of the head end: CRLF, or LF when a tool on the way has turned all of them into that. The body is as
/// it is.
fn line_end(bytes: &[u8]) -> &'static str {
    let first = bytes.iter().position(|byte| *byte == b'\n');
    match first.and_then(|at| bytes.get(at.checked_sub(1)?)) {
        None | Some(b'\r') => "\r\n",
        Some(_) => "\n",
    }
}

/// A request as HTTP/1.1 writes it: request line, CRLF headers, blank line, exact body. Headers that end with LF alone
/// are read too, as people paste them.
pub fn parse(bytes: &[u8]) -> anyhow::Result<RawRequest> {
    let line_end = line_end(bytes);
    let blank = line_end.repeat(2);
    let end = bytes.windows(blank.len()).position(|window| window == blank.as_bytes());
    let end = end.context("no blank line ends the headers (lines end with CRLF)")?;
    let head = std::str::from_utf8(&bytes[..end]).context("the headers are not UTF-8")?;
    let mut lines = head.split(line_end);
    let mut request_line = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target)) = (request_line.next(), request_line.next()) else {
        bail!("the first line is METHOD TARGET HTTP/1.1");
    };
    let mut headers = Headers::default();
    for line in lines {
        let (name, value) =
            line.split_once(':').with_context(|| format!("no colon in the header {line:?}"))?;
        headers.push(name.trim(), value.trim().to_owned());
    }
    Ok(RawRequest {
        method: method.to_owned(),
        target: target.to_owned(),
        version: "HTTP/1.1".to_owned(),
        headers,
        body: Bytes::copy_from_slice(&bytes[end + blank.len()..]),
        peer: None,
    })
}

impl Case {
    /// `<partner>/<case>`.
    pub fn path(&self) -> String {
        format!("{}/{}", self.partner, self.name)
    }

    /// An error when requests and entries of `expected.json` differ in number: one without the other tests nothing.
    fn names_each_request(&self) -> anyhow::Result<()> {
        let (requests, entries) = (self.requests.len(), self.expected.requests.len());
        if requests != entries {
            let (expected, last) = (self.folder.join("expected.json"), request_file(requests));
            let entries = counted(entries, "entry", "entries");
            let are = if requests == 1 { "is" } else { "are" };
            let requests = counted(requests, "request", "requests");
            bail!(
                "{} has {entries}, and there {are} {requests} (the last is {last}); \
                 `douane test {} --bless` evens them",
                expected.display(),
                self.partner
            );
        }
        Ok(())
    }

    /// Writes what was found as what is expected from now on.
    pub fn bless(&self, found: Vec<ExpectedRequest>) -> anyhow::Result<()> {
        let expected = Expected { description: self.expected.description.clone(), requests: found };
        let text = serde_json::to_string_pretty(&expected)? + "\n";
        Ok(fs::write(self.folder.join("expected.json"), text)?)
    }
}

impl ExpectedRequest {
    /// Where what was found differs; empty when it is as expected. A reason is expected in part, an id or
    /// type only where the case names one, all else exactly.
    pub fn differences(&self, found: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        let mut compare = |what: String, expected: String, found: String| {
            if expected != found {
                differences.push(format!("{what}: expected {expected}, found {found}"));
            }
        };
        compare("status".to_owned(), self.status.to_string(), found.status.to_string());
        compare("refusal".to_owned(), debug(self.refusal.as_ref()), debug(found.refusal.as_ref()));
        if self.reply_body.is_some() {
            compare(
                "reply body".to_owned(),
                debug(self.reply_body.as_ref()),
                debug(found.reply_body.as_ref()),
            );
        }
        compare("outcomes".to_owned(), self.outcomes.len().to_string(), found.outcomes.len().to_string());
        for (ordinal, (expected, found)) in self.outcomes.iter().zip(&found.outcomes).enumerate() {
            let mut field = |name: &str, expected: String, found: String| {
                compare(format!("event {ordinal}: {name}"), expected, found);
            };
            field("outcome", expected.outcome.clone(), outcome_with_reason(expected, found));
            if expected.external_id.is_some() {
                field("external_id", debug(expected.external_id.as_ref()), debug(found.external_id.as_ref()));
            }
            if expected.event_type.is_some() {
                field("event_type", debug(expected.event_type.as_ref()), debug(found.event_type.as_ref()));
            }
            field(
                "reason",
                debug(expected.reason.as_ref()),
                debug(matching_reason(expected, found).as_ref()),
            );
            field("domain events", json(&expected.events), json(&found.events));
        }
        differences
    }
}

fn outcome_with_reason(expected: &ExpectedOutcome, found: &ExpectedOutcome) -> String {
    match &found.reason {
        Some(reason) if expected.outcome != found.outcome => format!("{} ({reason})", found.outcome),
        _ => found.outcome.clone(),
    }
}

/// The expected part of the reason when the found reason holds it, else the whole found reason.
fn matching_reason(expected: &ExpectedOutcome, found: &ExpectedOutcome) -> Option<String> {
    match (&expected.reason, &found.reason) {
        (None, _) => None,
        (Some(part), Some(reason)) if reason.contains(part.as_str()) => Some(part.clone()),
        (Some(_), reason) => reason.clone(),
    }
}

fn debug(value: Option<&String>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |text| format!("{text:?}"))
}

fn json(events: &[ExpectedEvent]) -> String {
    serde_json::to_string_pretty(events).unwrap_or_default()
}
