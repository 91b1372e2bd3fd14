//! Room `pipeline`, step 7: what becomes of each event: the verdict stands, or an ignore names it, or its mapping turns it
//! into domain events that keep their contracts. Errors are permanent here: each is a dead letter with its reason.

use std::{collections::BTreeMap, fmt::Display, sync::Arc};

use sha2::{Digest, Sha256};

use super::{
    batch::Arrival,
    cloudevent::{Origin, compose},
    guard::{Guard, explain},
    identify::{Opened, Unidentified, identify},
    rungs::{Decided, Identified, Judged, Kept},
};
use crate::{
    ledger::{IdentifiedEvent, Suspect, WorkedEntry, WorkedEvent, WorkedKind},
    model::{Delivery, DomainEvent, EventRef, ExternalEvent, Outcome, ReasonCode, StoredEvent, Verdict},
    partners::{Desk, MappingRule},
    translate::{Bounds, MappingInput},
};

/// What holds for every event: the namespace of our types, and the bounds.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) namespace: Arc<str>,
    pub(super) bounds: Bounds,
    pub(super) max_items: usize,
}

/// Reads deliveries: hashes each body and finds its events.
pub(super) fn identify_all(arrivals: Vec<Arrival>, terms: &Terms, guard: &Guard) -> Vec<Identified> {
    guard.each(arrivals, |arrival| {
        let Arrival { delivery, desk } = arrival;
        let found = guard.of(&delivery.meta.endpoint).contain(Suspect::Delivery(delivery.number), || {
            identify(&Opened { delivery: &delivery, desk: &desk }, terms.max_items)
        });
        let Delivery { number, received_at, meta, body } = delivery;
        let found = found.unwrap_or_else(|code| vec![Err(Unidentified::new(code, explain(code)))]);
        let (size, body_sha256) = (body.len() as u64, Sha256::digest(&body).into());
        Identified { kept: Kept { number, received_at, meta, desk, size, body_sha256 }, found }
    })
}

/// Works decided deliveries to their outcomes.
pub(super) fn translate_all(decided: Vec<Decided>, terms: &Terms, guard: &Guard) -> Vec<WorkedEntry> {
    guard.each(decided, |delivery| {
        let Decided { kept, same_body_as, judged } = delivery;
        let places: Vec<_> = judged.into_iter().zip(0..).collect();
        let events = guard.each(places, |(judged, ordinal)| {
            let at = EventRef { number: kept.number, ordinal };
            translate_one(&kept, at, judged, terms, guard.of(&kept.meta.endpoint))
        });
        let remember_body = kept.compares_bodies();
        let Kept { number, received_at, meta, size, body_sha256, .. } = kept;
        let kind = WorkedKind::Delivery { meta, size, body_sha256, same_body_as, remember_body };
        WorkedEntry { number, received_at, kind, events }
    })
}

/// Works one event to its outcome.
pub(super) fn translate_one(
    kept: &Kept,
    at: EventRef,
    judged: Judged,
    terms: &Terms,
    guard: &Guard,
) -> WorkedEvent {
    let revision = Some(kept.desk.revision.clone());
    match judged {
        Judged::Unidentified(Unidentified { code, detail }) => WorkedEvent {
            event: None,
            at,
            owns: None,
            outcome: Outcome::DeadLetter { code, detail },
            revision,
        },
        Judged::Stands { event, verdict, claims } => {
            let owns = match verdict {
                Verdict::Owner { generation } if claims => Some(generation),
                _ => None,
            };
            let outcome = match verdict {
                Verdict::Duplicate { of } => Outcome::Duplicate { of },
                Verdict::Conflict { with } => Outcome::Conflict { with },
                Verdict::Owner { generation } => {
                    let work = || outcome_at_desk(kept, &event, generation, terms);
                    guard
                        .contain(Suspect::Event(at), work)
                        .unwrap_or_else(|code| dead_letter(code, explain(code)))
                }
            };
            WorkedEvent { event: Some(IdentifiedEvent::from(&*event)), at, owns, outcome, revision }
        }
    }
}

fn dead_letter(code: ReasonCode, detail: impl Into<String>) -> Outcome {
    Outcome::DeadLetter { code, detail: detail.into() }
}

/// Ignores are asked first, then the mappings.
fn outcome_at_desk(kept: &Kept, event: &ExternalEvent, generation: u32, terms: &Terms) -> Outcome {
    let endpoint = &event.endpoint.endpoint;
    if let Some(ignore) = kept.desk.ignore_for(endpoint, &event.event_type) {
        return Outcome::Ignored { why: ignore.why.clone() };
    }
    let Some(rule) = kept.desk.mapping_for(endpoint, &event.event_type) else {
        return Outcome::Unmapped;
    };
    let origin = Origin {
        namespace: &terms.namespace,
        event,
        generation,
        delivery: kept.meta.id,
        headers: &kept.meta.headers,
        revision: &kept.desk.revision,
    };
    match map(rule, &kept.desk, &origin, &terms.bounds) {
        Ok(events) => Outcome::Translated { events },
        Err((code, detail)) => dead_letter(code, detail),
    }
}

/// Runs the mapping and holds what it returned to its contracts. All events or none.
fn map(
    rule: &MappingRule,
    desk: &Desk,
    origin: &Origin<'_>,
    bounds: &Bounds,
) -> Result<Vec<StoredEvent>, (ReasonCode, String)> {
    let input = MappingInput { event: origin.event, headers: origin.headers, emits: &rule.emits };
    let events = rule.mapping.run(input, bounds).map_err(|error| (error.code, error.detail))?;
    let mut of_type = BTreeMap::<String, u32>::new();
    let mut stored = Vec::with_capacity(events.len());
    for event in events {
        let next = of_type.entry(event.event_type.clone()).or_default();
        stored.push(check(rule, desk, origin, event, *next)?);
        *next += 1;
    }
    Ok(stored)
}

fn check(
    rule: &MappingRule,
    desk: &Desk,
    origin: &Origin<'_>,
    event: DomainEvent,
    ordinal: u32,
) -> Result<StoredEvent, (ReasonCode, String)> {
    let event_type = event.event_type.clone();
    let module = format_args!("partners/{}/{}", desk.partner, rule.module);
    let broken = |why: &dyn Display| format!("{module}: {event_type}: {why}");
    let checked = desk.catalog.check(event).map_err(|why| (ReasonCode::ContractBroken, broken(&why)))?;
    compose(origin, &checked, ordinal)
        .map_err(|_| (ReasonCode::MappingOutput, broken(&"cannot be written as JSON")))
}
