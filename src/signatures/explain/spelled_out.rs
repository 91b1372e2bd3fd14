//! Room `signatures`: a request whose scheme is spelled out: signature, timestamp and signed message, item by item where items
//! are signed one by one.

use vrl::value::Value;

use super::{
    Step, mistakes,
    shown::{distance, from_now, human, shown},
    word_for_keys,
};
use crate::{
    model::{RawRequest, Timestamp},
    signatures::{
        Algorithm, Family, Key, Message, Place, Scheme, Stamp, View,
        evidence::{Evidence, candidates, check_required, gather, sent_at, views},
        verify::matching,
    },
};

/// How many items of a batch are explained one by one.
const MAX_EXPLAINED_ITEMS: usize = 10;

/// Everything but the verdict.
pub(super) fn explain(
    scheme: &Scheme,
    keys: &[Key],
    request: &RawRequest,
    body: &Value,
    now: Timestamp,
) -> Vec<Step> {
    match views(scheme, request, body) {
        Err(error) => vec![Step::new(false, "signed items", error.to_string())],
        Ok(views) => explain_views(scheme, keys, &views, now),
    }
}

fn explain_views(scheme: &Scheme, keys: &[Key], views: &[View<'_>], now: Timestamp) -> Vec<Step> {
    let Some(items) = scheme.signed_items() else {
        return views.iter().flat_map(|view| explain_view(scheme, keys, view, now)).collect();
    };
    let mut steps = vec![Step::new(true, "signed items", format!("{} at {items}", views.len()))];
    for (number, view) in views.iter().enumerate().take(MAX_EXPLAINED_ITEMS) {
        let item = explain_view(scheme, keys, view, now).into_iter();
        steps.extend(item.map(|step| Step { what: format!("item {number}: {}", step.what), ..step }));
    }
    steps.extend(explain_one_secret(scheme, keys, views, now));
    steps
}

/// Items that are each genuine can still be no batch: a sender signs a batch under one secret.
fn explain_one_secret(scheme: &Scheme, keys: &[Key], views: &[View<'_>], now: Timestamp) -> Option<Step> {
    let evidence = views.iter().map(|view| gather(scheme, view)).collect::<Result<Vec<_>, _>>().ok()?;
    let what = "one secret for all items";
    Some(match matching(scheme, keys, &evidence, now) {
        Some((key, _)) => Step::new(true, what, format!("{:?}", key.id)),
        None => Step::new(false, what, "no secret made all the signatures"),
    })
}

fn explain_view(scheme: &Scheme, keys: &[Key], view: &View<'_>, now: Timestamp) -> Vec<Step> {
    let mut steps = vec![explain_value(scheme, view)];
    if let Err(error) = check_required(scheme, view) {
        let wanted: Vec<_> =
            scheme.require().iter().map(|(path, text)| format!("{path} = {text:?}")).collect();
        steps.push(Step::new(false, "required texts", format!("{error}: {}", wanted.join(", "))));
    }
    steps.extend(scheme.timestamp().map(|stamp| explain_stamp(stamp, view, now)));
    match gather(scheme, view) {
        Ok(readings) => steps.extend(explain_match(scheme, keys, view, &readings, now)),
        Err(error) if steps.iter().all(|step| step.ok) => {
            steps.push(Step::new(
                false,
                "signed message",
                format!("{error}: needs {}", scheme.covers().join(", ")),
            ));
        }
        Err(_) => {}
    }
    steps
}

fn explain_value(scheme: &Scheme, view: &View<'_>) -> Step {
    let value = scheme.value();
    let what = format!("signature at {}", described(&value.place));
    match candidates(scheme, view) {
        Ok(found) => Step::new(
            true,
            what,
            format!("{} of {}, as {}", found.concat().len(), lengths(scheme.algorithm()), value.form),
        ),
        Err(error) => {
            let hint =
                mistakes::in_spelling(scheme, view).map(|hint| format!("; {hint}")).unwrap_or_default();
            Step::new(false, what, format!("{error}{hint}"))
        }
    }
}

fn lengths(algorithm: Algorithm) -> String {
    match algorithm.signature_len() {
        (from, to) if from == to => format!("{to} bytes"),
        (from, to) => format!("{from} to {to} bytes"),
    }
}

pub(super) fn described(place: &Place) -> String {
    let paths: Vec<String> = place.paths().map(ToString::to_string).collect();
    let paths = paths.join(" or ");
    let numbered = if place.numbered { "1 and so on" } else { "" };
    let pair = place.pair.as_ref().map(|pair| format!(", pieces named {:?}", pair.name));
    let prefix = place.prefix.as_ref().map(|prefix| format!(", after {prefix:?}"));
    format!("{paths}{numbered}{}{}", pair.unwrap_or_default(), prefix.unwrap_or_default())
}

fn explain_stamp(stamp: &Stamp, view: &View<'_>, now: Timestamp) -> Step {
    let what = format!("timestamp at {}", described(&stamp.at.place));
    let time = match sent_at(stamp, view) {
        Ok(times) => {
            times.into_iter().map(|(_, time)| time).min_by_key(|time| distance(*time, now)).unwrap_or(now)
        }
        Err(error) => return Step::new(false, what, error.to_string()),
    };
    let hint = mistakes::in_unit(stamp, view, now).map(|hint| format!("; {hint}")).unwrap_or_default();
    let found = format!("{}; {} is tolerated{hint}", from_now(time, now), human(stamp.tolerance));
    Step::new(distance(time, now) <= stamp.tolerance, what, found)
}

fn explain_match(
    scheme: &Scheme,
    keys: &[Key],
    view: &View<'_>,
    readings: &[Evidence<'_>],
    now: Timestamp,
) -> Vec<Step> {
    let algorithm = scheme.algorithm();
    let shown = |one: &Evidence<'_>| Step::new(true, "signed message", shown_message(&one.message));
    let mut steps: Vec<_> = match algorithm.family() {
        Family::Shared => Vec::new(),
        _ => readings.iter().map(shown).collect(),
    };
    let holds =
        |key: &Key, one: &Evidence<'_>| bool::from(algorithm.holds(key, &one.message, &one.candidates));
    let made = |key: &Key| key.counts_at(now) && readings.iter().any(|one| holds(key, one));
    let any = keys.iter().any(made);
    for key in keys {
        let found = if !key.counts_at(now) {
            "does not count at this time (not_before, not_after)"
        } else if made(key) {
            "made this signature"
        } else {
            "did not make this signature"
        };
        steps.push(Step::new(any, format!("{} {:?}", word_for_keys(scheme), key.id), found));
    }
    if !any && !keys.is_empty() {
        let candidates: Vec<_> = readings.iter().flat_map(|one| one.candidates.clone()).collect();
        steps.push(Step::new(
            false,
            "common mistakes",
            mistakes::in_signing(scheme, keys, view, &candidates),
        ));
    }
    steps
}

/// A message for people: the secret in it is named, not shown.
fn shown_message(message: &Message<'_>) -> String {
    shown(&message.pieces_with(b"{secret}").collect::<Vec<_>>().concat())
}
