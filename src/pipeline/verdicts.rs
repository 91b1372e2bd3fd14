//! Room `pipeline`, step 6: asks the records once what a batch needs to know, then takes the verdicts one after another in
//! log order. Where a memory is shared it is asked first, and the records for what it cannot tell. The verdict itself is
//! `dedupe`'s; here is also told what a known body under a new id is, and what a commit made.

use std::collections::{BTreeMap, HashMap};

use super::{
    StageError, figures,
    identify::Found,
    rungs::{Decided, Identified, Judged, Kept},
};
use crate::{
    dedupe::{Answer, Claim, Committed, Owners, SharedMemory, decide},
    ledger::{Owner, TranslationRecords, WorkedEntry, WorkedKind},
    model::{EndpointName, EntryNumber, EventRef, ExternalEvent, Timestamp, Verdict},
    partners::{Identify, SameBody},
};

/// Decides a batch.
pub(super) async fn decide_batch(
    records: &dyn TranslationRecords,
    memory: Option<&SharedMemory>,
    identified: Vec<Identified>,
) -> Result<Vec<Decided>, StageError> {
    let claims: Vec<Claim<'_>> = identified.iter().flat_map(claims_of).collect();
    let mut owners = Owners::default();
    let unsure = match memory {
        Some(memory) => recall(memory, &claims, &mut owners).await,
        None => claims.iter().collect(),
    };
    figures::owners_asked(claims.len() - unsure.len(), unsure.len());
    let unsure = unsure.into_iter().map(|claim| (claim.endpoint.clone(), claim.external_id.to_owned()));
    ask_ledger(records, &mut owners, unsure.collect()).await?;
    let mut bodies = Bodies::look_up(records, &identified).await?;
    Ok(identified.into_iter().map(|delivery| decide_delivery(delivery, &mut owners, &mut bodies)).collect())
}

/// Takes in the ledger's owners of all ids that were found.
pub(super) async fn know_owners<'a>(
    records: &dyn TranslationRecords,
    owners: &mut Owners,
    found: impl Iterator<Item = &'a Found>,
) -> Result<(), StageError> {
    let ids = found
        .filter_map(|found| found.as_ref().ok())
        .filter_map(|event| Some((event.endpoint.clone(), event.external_id.clone()?)));
    ask_ledger(records, owners, ids.collect()).await
}

fn claims_of(delivery: &Identified) -> impl Iterator<Item = Claim<'_>> {
    let found = delivery.found.iter().filter_map(|found| found.as_ref().ok());
    found.filter_map(|event| claim(event, delivery.kept.rules()?))
}

/// Takes in what the memory tells; returns the claims that it cannot tell about.
async fn recall<'a>(
    memory: &SharedMemory,
    claims: &'a [Claim<'a>],
    owners: &mut Owners,
) -> Vec<&'a Claim<'a>> {
    let mut unsure = Vec::new();
    for (claim, answer) in claims.iter().zip(memory.recall(claims).await) {
        match answer {
            Answer::Never => {}
            Answer::Owner(owner) => owners.know(claim.endpoint.clone(), claim.external_id.to_owned(), owner),
            Answer::Unsure => unsure.push(claim),
        }
    }
    unsure
}

async fn ask_ledger(
    records: &dyn TranslationRecords,
    owners: &mut Owners,
    ids: Vec<(EndpointName, String)>,
) -> Result<(), StageError> {
    if ids.is_empty() {
        return Ok(());
    }
    let known = records.owners(&ids).await?;
    for ((endpoint, id), owner) in ids.into_iter().zip(known) {
        if let Some(owner) = owner {
            owners.know(endpoint, id, owner);
        }
    }
    Ok(())
}

/// What an event claims; `None` without an external id.
pub(super) fn claim<'a>(event: &'a ExternalEvent, rules: &Identify) -> Option<Claim<'a>> {
    Some(Claim {
        at: event.at,
        endpoint: &event.endpoint,
        external_id: event.external_id.as_deref()?,
        received_at: event.received_at,
        identity_digest: event.identity_digest,
        window: rules.window,
    })
}

/// The owners that worked entries make, by endpoint, to be told when they are committed.
pub(super) fn owners_made(entries: &[WorkedEntry]) -> Vec<Committed> {
    let mut made = BTreeMap::<EndpointName, Committed>::new();
    for entry in entries {
        let (id, replayed) = match &entry.kind {
            WorkedKind::Delivery { meta, .. } => (meta.id, false),
            WorkedKind::Replay(meta) => (meta.id, true),
            WorkedKind::Learnt(_) | WorkedKind::Link(_) | WorkedKind::Damaged => continue,
        };
        for worked in &entry.events {
            let (Some(generation), Some(event)) = (worked.owns, &worked.event) else { continue };
            let Some(external_id) = event.external_id.clone() else { continue };
            let owner = Owner {
                at: worked.at,
                received_at: entry.received_at,
                identity_digest: event.identity_digest,
                generation,
            };
            let endpoint = event.endpoint.clone();
            let through = entry.number;
            let committed = made.entry(endpoint.clone()).or_insert_with(|| Committed {
                endpoint,
                through,
                id,
                owners: Vec::new(),
                reworked: false,
            });
            (committed.through, committed.id) = (through, id);
            committed.reworked |= replayed;
            committed.owners.push((external_id, owner));
        }
    }
    made.into_values().collect()
}

fn decide_delivery(delivery: Identified, owners: &mut Owners, bodies: &mut Bodies) -> Decided {
    let Identified { kept, found } = delivery;
    let earlier = bodies.earlier(&kept);
    let mut same_body_as = None;
    let judged = found.into_iter().map(|found| match found {
        Err(unidentified) => Judged::Unidentified(unidentified),
        Ok(event) => {
            let stand = decide_event(&event, &kept, owners, earlier);
            same_body_as = same_body_as.or(stand.same_body_as);
            Judged::Stands { event: Box::new(event), verdict: stand.verdict, claims: stand.claims }
        }
    });
    let judged = judged.collect();
    bodies.remember(&kept);
    Decided { kept, same_body_as, judged }
}

struct Stand {
    verdict: Verdict,
    claims: bool,
    same_body_as: Option<EntryNumber>,
}

fn decide_event(
    event: &ExternalEvent,
    kept: &Kept,
    owners: &mut Owners,
    earlier: Option<EntryNumber>,
) -> Stand {
    let rules = kept.rules();
    let claim = rules.and_then(|rules| claim(event, rules));
    let verdict = claim.as_ref().map_or(Verdict::Owner { generation: 0 }, |claim| decide(owners, claim));
    let same_body_as = earlier.filter(|_| is_new_id(verdict));
    let refuse = rules.is_some_and(|rules| rules.same_body == SameBody::Duplicate);
    if let (Some(number), true) = (same_body_as, refuse) {
        let of = EventRef { number, ordinal: event.at.ordinal };
        return Stand { verdict: Verdict::Duplicate { of }, claims: false, same_body_as };
    }
    let (Verdict::Owner { generation }, Some(claim)) = (verdict, claim) else {
        return Stand { verdict, claims: false, same_body_as };
    };
    owners.own(&claim, generation);
    Stand { verdict, claims: true, same_body_as }
}

/// The ledger has never seen this id: only then is a known body suspicious. A later generation is an old id come back.
fn is_new_id(verdict: Verdict) -> bool {
    verdict == Verdict::Owner { generation: 0 }
}

type Body = (EndpointName, [u8; 32]);

/// Which bodies came before, at endpoints whose signature does not cover the id.
#[derive(Debug, Default)]
struct Bodies {
    in_ledger: HashMap<EntryNumber, EntryNumber>,
    in_batch: HashMap<Body, (EntryNumber, Timestamp)>,
}

impl Bodies {
    /// Asks the records once for each beginning of a window; entries of one intake batch share theirs.
    async fn look_up(
        records: &dyn TranslationRecords,
        identified: &[Identified],
    ) -> Result<Self, StageError> {
        let mut questions = BTreeMap::<Timestamp, Vec<(EntryNumber, Body)>>::new();
        for Identified { kept, .. } in identified {
            if let Some(since) = window_start(kept) {
                questions.entry(since).or_default().push((kept.number, kept.body()));
            }
        }
        let mut bodies = Self::default();
        for (since, asked) in questions {
            let (numbers, asked): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
            let known = records.same_bodies(&asked, since).await?;
            bodies
                .in_ledger
                .extend(numbers.into_iter().zip(known).filter_map(|(number, known)| Some((number, known?))));
        }
        Ok(bodies)
    }

    /// The latest earlier delivery of the same body within the window.
    fn earlier(&self, kept: &Kept) -> Option<EntryNumber> {
        let since = window_start(kept)?;
        let in_batch = self.in_batch.get(&kept.body()).filter(|(_, received_at)| *received_at >= since);
        in_batch.map(|(number, _)| *number).or_else(|| self.in_ledger.get(&kept.number).copied())
    }

    fn remember(&mut self, kept: &Kept) {
        if window_start(kept).is_some() {
            self.in_batch.insert(kept.body(), (kept.number, kept.received_at));
        }
    }
}

/// From when on bodies are compared with this delivery's; `None` when its id is signed, or it has no ids at all.
fn window_start(kept: &Kept) -> Option<Timestamp> {
    let rules = kept.rules().filter(|_| kept.compares_bodies())?;
    Some(kept.received_at.minus(rules.window))
}
