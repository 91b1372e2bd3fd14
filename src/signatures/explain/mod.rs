//! Room `signatures`: why a request does or does not verify, step by step, for a person at `douane verify --explain`.
//! Shows what stands in the request; never a secret, and never the signature that would have been right.
//!
//! Each kind of scheme has a file: `spelled_out` has those whose value and message say it all, the others are standards of
//! their own. The verdict at the end is by the code that serves live requests.

mod bodies;
mod claims;
mod digests;
mod http_message;
mod known_keys;
mod mistakes;
mod published;
mod shown;
mod sns;
mod spelled_out;
mod token;
mod tried;

use super::{
    Branch, How, Key, Scheme, Schemes, View, evidence::read_body, keys_of, special::Special, verify::judge,
};
use crate::model::{PublicUrl, RawRequest, Timestamp};

pub use published::{Failure, Looked, Published};

/// One step of an explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was looked at.
    pub what: String,
    /// What was found.
    pub found: String,
}

impl Step {
    fn new(ok: bool, what: impl Into<String>, found: impl Into<String>) -> Self {
        Self { ok, what: what.into(), found: found.into() }
    }
}

/// Step by step why a request does or does not verify under an endpoint's own keys. The last step is the verdict.
pub fn explain(scheme: &Scheme, keys: &[Key], request: &RawRequest, now: Timestamp) -> Vec<Step> {
    let mut steps = steps_of(scheme, keys, request, now);
    steps.push(verdict_of_one(scheme, keys, request, now));
    steps
}

/// The same for an endpoint that may have several schemes, and keys that its provider publishes: which of the schemes counts
/// and why comes first.
pub fn explain_schemes(
    schemes: &Schemes,
    keys: &[Key],
    published: &Published,
    request: &RawRequest,
    now: Timestamp,
) -> Vec<Step> {
    let keys = published.with(keys);
    let mut steps = Vec::new();
    if schemes.single().is_none() {
        steps.push(selection(schemes, request));
    }
    for (at, branch) in schemes.branches().iter().enumerate() {
        if schemes.how() == How::AllOf || schemes.selected(request) == Ok(at) {
            let own = steps_of(&branch.scheme, keys_of(&keys, at), request, now);
            let own = published.steps(at).cloned().chain(own);
            steps.extend(own.map(|step| without_password(&branch.scheme, in_branch(&branch.name, step))));
        }
    }
    steps.push(match (published.failure(), schemes.single()) {
        (Some(failure), _) => Step::new(false, "verdict", failure.to_string()),
        (None, Some(scheme)) => verdict_of_one(scheme, &keys, request, now),
        (None, None) => verdict(schemes, &keys, request, now),
    });
    steps
}

fn in_branch(name: &str, step: Step) -> Step {
    if name.is_empty() { step } else { Step { what: format!("{name}: {}", step.what), ..step } }
}

/// A public address may have a password in it, which is a secret.
fn without_password(scheme: &Scheme, step: Step) -> Step {
    let of_special = match &scheme.special {
        Some(Special::Jwt(jwt)) => jwt.public_url.as_deref(),
        Some(Special::HttpMessage(message)) => message.public_url.as_deref(),
        _ => None,
    };
    let url = scheme.message().url().map(PublicUrl::as_str).or(of_special).unwrap_or_default();
    let authority = url.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let Some((userinfo, _)) = authority.rsplit_once('@') else { return step };
    let escaped = userinfo.as_bytes().escape_ascii().to_string();
    let found = step.found.replace(&format!("{userinfo}@"), "…@").replace(&format!("{escaped}@"), "…@");
    Step { found, ..step }
}

/// Everything but the verdict.
fn steps_of(scheme: &Scheme, keys: &[Key], request: &RawRequest, now: Timestamp) -> Vec<Step> {
    let body = match read_body(scheme, request) {
        Err(error) => return vec![Step::new(false, "body", body_hint(scheme, request, &error.to_string()))],
        Ok(body) => body,
    };
    let view = View { request, body: &body, item: &body };
    let address = published::address(scheme, &view);
    let own = match &scheme.special {
        None => spelled_out::explain(scheme, keys, request, &body, now),
        Some(Special::Jwt(jwt)) => token::explain(jwt, scheme, keys, &view, now),
        Some(Special::HttpMessage(message)) => http_message::explain(message, scheme, keys, request, now),
        Some(Special::Sns(sns)) => sns::explain(sns, scheme, keys, &view, now),
    };
    address.into_iter().chain(own).collect()
}

fn body_hint(scheme: &Scheme, request: &RawRequest, error: &str) -> String {
    let is_sns = matches!(&scheme.special, Some(Special::Sns(_)));
    shown::with_hint(error, sns::raw_delivery(request).filter(|_| is_sns))
}

/// Which scheme counts, and why.
fn selection(schemes: &Schemes, request: &RawRequest) -> Step {
    let names: Vec<&str> = schemes.branches().iter().map(|branch| branch.name.as_str()).collect();
    if schemes.how() == How::AllOf {
        return Step::new(true, "schemes", format!("each of {} must verify", names.join(", ")));
    }
    match schemes.selected(request).map(|at| &schemes.branches()[at]) {
        Ok(Branch { name, when: Some(when), .. }) => {
            Step::new(true, "scheme", format!("{name:?}, because {when}; its verdict is final"))
        }
        Ok(Branch { name, .. }) => {
            Step::new(true, "scheme", format!("{name:?}, because no earlier one is asked for"))
        }
        Err(error) => {
            Step::new(false, "scheme", format!("none of {} is asked for: {error}", names.join(", ")))
        }
    }
}

fn verdict_of_one(scheme: &Scheme, keys: &[Key], request: &RawRequest, now: Timestamp) -> Step {
    match judge(scheme, keys, request, now) {
        Ok(verification) => {
            let secret = verification.secret_id.unwrap_or_default();
            let covers = match scheme.covers() {
                [] => "nothing of the request".to_owned(),
                covers => covers.join(", "),
            };
            let found = format!(
                "verified by {} {secret:?}; assurance {}; covers {covers}",
                word_for_keys(scheme),
                scheme.assurance().as_str()
            );
            Step::new(true, "verdict", found)
        }
        Err(error) => Step::new(false, "verdict", format!("refused: {error} ({})", error.code())),
    }
}

fn verdict(schemes: &Schemes, keys: &[Key], request: &RawRequest, now: Timestamp) -> Step {
    match schemes.judge(keys, request, now) {
        Ok(held) => {
            let (secret, worth) = (held.secret_id.unwrap_or_default(), held.assurance.as_str());
            Step::new(true, "verdict", format!("verified by secret {secret:?}; assurance {worth}"))
        }
        Err(error) => Step::new(false, "verdict", format!("refused: {error} ({})", error.code())),
    }
}

/// What an endpoint calls its keys.
fn word_for_keys(scheme: &Scheme) -> &'static str {
    if scheme.has_published_keys() { "key" } else { "secret" }
}

#[cfg(test)]
mod tests;
