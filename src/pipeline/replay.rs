//! Room `pipeline`: a replay request of the intake log. What was translated is published again, the stored bytes; all
//! else is translated afresh by the desk of today. A changed result for something already published needs a reissue.
//! May not decide who may replay what: that was done when the request was appended.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tracing::warn;

use super::{
    StageError, TranslationStage,
    batch::{Arrival, ReplayRequest},
    cloudevent::{is_version_of, reissued, same_fact},
    guard::Guard,
    identify::{Found, Unidentified},
    rungs::{Identified, Judged, Kept},
    translate::{Terms, identify_all, translate_one},
    verdicts::{claim, know_owners},
};
use crate::{
    dedupe::{Earlier, Owners, decide_again},
    ledger::{LogError, LogItem, ReplayTarget, WorkedEntry, WorkedEvent, WorkedKind},
    model::{
        Entry, EntryMeta, EntryNumber, EventNumber, EventRef, Outcome, OutcomeKind, ReasonCode, ReplayMeta,
        StoredEvent, Verdict,
    },
};

/// So many events of a request are read and translated at a time, to bound the bodies in memory.
const CHUNK: usize = 64;

/// Works a replay request: each event it names, in its order, under its old place.
pub(super) async fn rework(
    stage: &TranslationStage,
    request: ReplayRequest,
    guard: &Guard,
) -> Result<WorkedEntry, StageError> {
    let mut events = Vec::with_capacity(request.meta.events.len());
    let mut owners = Owners::default();
    let mut made = Made::default();
    for places in request.meta.events.chunks(CHUNK) {
        let mut targets = stage.records.replay_targets(places).await?;
        let mut originals = originals(stage, &request, &targets, guard).await?;
        add_late(stage, &mut targets, &mut originals).await?;
        know_owners(&*stage.records, &mut owners, originals.values().map(|original| &original.found)).await?;
        let plans = plan(targets, originals, &mut owners, &request.meta);
        let (meta, terms, guard) = (request.meta.clone(), stage.terms.clone(), guard.clone());
        let worked = stage.threads.run(move || work(plans, &meta, &terms, &guard)).await?;
        events.extend(worked.into_iter().map(|worked| made.settle(worked, &request.meta)));
    }
    let ReplayRequest { number, received_at, meta, .. } = request;
    Ok(WorkedEntry { number, received_at, kind: WorkedKind::Replay(meta), events })
}

/// What will be done with one event.
enum Plan {
    /// The stored events are published again.
    Repeat(ReplayTarget),
    /// It is translated afresh.
    Afresh { target: ReplayTarget, kept: Arc<Kept>, judged: Judged },
    /// Its delivery is damaged.
    Damaged(EventRef),
}

/// An event as today's desk finds it in its delivery; nothing is kept of a damaged one.
struct Original {
    kept: Option<Arc<Kept>>,
    found: Found,
}

type Originals = BTreeMap<EventRef, Original>;

fn is_repeated(target: &ReplayTarget, meta: &ReplayMeta) -> bool {
    target.outcome == OutcomeKind::Translated && !meta.reissue
}

/// Reads and identifies again the deliveries of all events that are translated afresh.
async fn originals(
    stage: &TranslationStage,
    request: &ReplayRequest,
    targets: &[ReplayTarget],
    guard: &Guard,
) -> Result<Originals, StageError> {
    let afresh = targets
        .iter()
        .filter(|target| target.outcome != OutcomeKind::Duplicate && !is_repeated(target, &request.meta));
    let wanted: BTreeSet<EventRef> = afresh.map(|target| target.at).collect();
    let numbers: BTreeSet<EntryNumber> = wanted.iter().map(|at| at.number).collect();
    let mut originals = Originals::new();
    let mut arrivals = Vec::new();
    for number in numbers {
        match original_entry(stage, number).await? {
            Some(LogItem::Entry(entry)) => arrivals.extend(arrival(entry, request)),
            Some(LogItem::Damaged { .. }) => {
                let of_it = wanted.iter().filter(|at| at.number == number);
                originals.extend(of_it.map(|at| (*at, damaged())));
            }
            None => warn!(%number, "cannot be replayed: its delivery is not in the log any more"),
        }
    }
    let (terms, guard) = (stage.terms.clone(), guard.clone());
    let identified = stage.threads.run(move || identify_all(arrivals, &terms, &guard)).await?;
    for delivery in identified {
        originals.extend(originals_of(delivery, &wanted));
    }
    Ok(originals)
}

fn damaged() -> Original {
    let found = Err(Unidentified::new(ReasonCode::Damaged, "the bytes of its delivery are damaged"));
    Original { kept: None, found }
}

async fn original_entry(
    stage: &TranslationStage,
    number: EntryNumber,
) -> Result<Option<LogItem>, StageError> {
    match stage.log.entry(number).await {
        // Retention dropped the payload after the event was settled: a replay cannot bring it back.
        Err(LogError::Pruned { .. }) => Ok(None),
        other => Ok(other?),
    }
}

fn arrival(entry: Entry, request: &ReplayRequest) -> Option<Arrival> {
    let Entry { number, received_at, meta, body } = entry;
    match meta {
        EntryMeta::Delivery(meta) if meta.endpoint == request.meta.endpoint => {
            let desk = Arc::clone(&request.desk);
            Some(Arrival::new((number, received_at), meta, body, desk))
        }
        _ => None,
    }
}

/// The wanted events of a delivery; and all of them when its first place is wanted, because that is where a delivery
/// stands that could not be split the first time. A wanted place where nothing is found fails as the whole does.
fn originals_of(delivery: Identified, wanted: &BTreeSet<EventRef>) -> Vec<(EventRef, Original)> {
    let Identified { kept, found } = delivery;
    let (number, kept) = (kept.number, Arc::new(kept));
    let place = |ordinal| EventRef { number, ordinal };
    let gone = || Unidentified::new(ReasonCode::Unidentifiable, "today's desk finds no event at this place");
    let whole = found.first().and_then(|found| found.as_ref().err()).cloned().unwrap_or_else(gone);
    let missing =
        wanted.range(place(0)..=place(u32::MAX)).skip_while(|at| (at.ordinal as usize) < found.len());
    let missing: Vec<_> = missing.map(|at| (*at, Err(whole.clone()))).collect();
    let all = wanted.contains(&place(0));
    let found = found.into_iter().zip(0..).map(|(found, ordinal)| (place(ordinal), found));
    let found = found.filter(|(at, _)| all || wanted.contains(at));
    found.chain(missing).map(|(at, found)| (at, Original { kept: Some(Arc::clone(&kept)), found })).collect()
}

/// Adds the events nobody knows yet of a delivery that could not be split the first time, each after the ones before it.
/// Those that are known but not wanted are left alone.
async fn add_late(
    stage: &TranslationStage,
    targets: &mut Vec<ReplayTarget>,
    originals: &mut Originals,
) -> Result<(), StageError> {
    let wanted: BTreeSet<EventRef> = targets.iter().map(|target| target.at).collect();
    let others: Vec<EventRef> = originals.keys().filter(|at| !wanted.contains(at)).copied().collect();
    if others.is_empty() {
        return Ok(());
    }
    let known = stage.records.replay_targets(&others).await?;
    let known: BTreeSet<EventRef> = known.into_iter().map(|target| target.at).collect();
    originals.retain(|at, _| !known.contains(at));
    for at in others.into_iter().filter(|at| !known.contains(at)) {
        let after = targets.iter().rposition(|target| target.at.number == at.number);
        let late =
            ReplayTarget { at, outcome: OutcomeKind::DeadLetter, generation: 0, published: Vec::new() };
        targets.insert(after.map_or(targets.len(), |index| index + 1), late);
    }
    Ok(())
}

/// Decides, in the request's order, what is done with each event. Nothing is done with duplicates, with places nobody
/// knows and with payloads that are gone: their outcome stays.
fn plan(
    targets: Vec<ReplayTarget>,
    mut originals: Originals,
    owners: &mut Owners,
    meta: &ReplayMeta,
) -> Vec<Plan> {
    let mut plans = Vec::with_capacity(targets.len());
    for target in targets {
        if is_repeated(&target, meta) {
            plans.push(Plan::Repeat(target));
            continue;
        }
        match originals.remove(&target.at) {
            Some(Original { kept: Some(kept), found }) => {
                let judged = judge(found, &kept, &target, owners);
                plans.push(Plan::Afresh { target, kept, judged });
            }
            Some(Original { kept: None, .. }) => plans.push(Plan::Damaged(target.at)),
            None => {}
        }
    }
    plans
}

/// A replay skips the verdict; only an event that was never identified before gets its first one.
fn judge(found: Found, kept: &Kept, target: &ReplayTarget, owners: &mut Owners) -> Judged {
    let event = match found {
        Ok(event) => Box::new(event),
        Err(unidentified) => return Judged::Unidentified(unidentified),
    };
    let earlier = Earlier { decided: was_decided(target), generation: target.generation };
    let Some(claim) = kept.rules().and_then(|rules| claim(&event, rules)) else {
        let verdict = Verdict::Owner { generation: target.generation };
        return Judged::Stands { event, verdict, claims: false };
    };
    let again = decide_again(owners, &claim, earlier);
    if let (Verdict::Owner { generation }, true) = (again.verdict, again.newly) {
        owners.own(&claim, generation);
    }
    Judged::Stands { event, verdict: again.verdict, claims: again.newly }
}

/// Only a dead letter may have come before its verdict. One whose id others published under has had it.
fn was_decided(target: &ReplayTarget) -> bool {
    target.outcome != OutcomeKind::DeadLetter
        || target.published.iter().any(|event| event.made_from != target.at)
}

/// An event that was worked again, and what is published of its fact; not held against it yet.
struct Reworked {
    worked: WorkedEvent,
    published: Vec<StoredEvent>,
}

impl From<WorkedEvent> for Reworked {
    fn from(worked: WorkedEvent) -> Self {
        Self { worked, published: Vec::new() }
    }
}

fn work(plans: Vec<Plan>, meta: &ReplayMeta, terms: &Terms, guard: &Guard) -> Vec<Reworked> {
    guard.each(plans, |plan| match plan {
        Plan::Repeat(target) => repeat(target, meta).into(),
        Plan::Damaged(at) => {
            let detail = "the bytes of its delivery are damaged".to_owned();
            let outcome = Outcome::DeadLetter { code: ReasonCode::Damaged, detail };
            WorkedEvent { event: None, at, owns: None, outcome, revision: None }.into()
        }
        Plan::Afresh { target, kept, judged } => {
            let worked = translate_one(&kept, target.at, judged, terms, guard);
            Reworked { worked, published: target.published }
        }
    })
}

fn repeat(target: ReplayTarget, meta: &ReplayMeta) -> WorkedEvent {
    let events = target.published.into_iter().map(|event| to_brokers(event, meta)).collect();
    let outcome = Outcome::Translated { events };
    WorkedEvent { event: None, at: target.at, owns: None, outcome, revision: None }
}

fn to_brokers(event: StoredEvent, meta: &ReplayMeta) -> StoredEvent {
    StoredEvent { brokers: meta.brokers.clone(), ..event }
}

/// The facts that one request publishes anew, by id: two events of it may share an external id, and must not say
/// different things under one id.
#[derive(Default)]
struct Made(BTreeMap<String, StoredEvent>);

impl Made {
    /// Holds what was translated afresh against what is published of its fact, all of it or nothing. What was repeated
    /// is published already.
    fn settle(&mut self, reworked: Reworked, meta: &ReplayMeta) -> WorkedEvent {
        let Reworked { worked, published } = reworked;
        let outcome = match worked.outcome {
            Outcome::Translated { events } if events.iter().all(|event| event.number == EventNumber(0)) => {
                self.settle_all(events, &published, meta)
            }
            other => other,
        };
        WorkedEvent { outcome, ..worked }
    }

    fn settle_all(
        &mut self,
        fresh: Vec<StoredEvent>,
        published: &[StoredEvent],
        meta: &ReplayMeta,
    ) -> Outcome {
        let mut events = Vec::with_capacity(fresh.len());
        for event in fresh {
            match self.settle_one(event, published, meta) {
                Settled::Publish(event) => events.push(to_brokers(*event, meta)),
                Settled::Said => {}
                Settled::NeedsReissue => {
                    let detail =
                        "the result differs from what was published under this id; replay it with --reissue";
                    return Outcome::DeadLetter { code: ReasonCode::NeedsReissue, detail: detail.to_owned() };
                }
            }
        }
        let new = events.iter().filter(|event| event.number == EventNumber(0));
        self.0.extend(new.map(|event| (event.id.clone(), event.clone())));
        Outcome::Translated { events }
    }

    fn settle_one(&self, fresh: StoredEvent, published: &[StoredEvent], meta: &ReplayMeta) -> Settled {
        match believed(&fresh, published).or(self.0.get(&fresh.id)) {
            None => Settled::Publish(fresh.into()),
            Some(known) if !same_fact(known, &fresh) => match reissued(&fresh, meta.id) {
                Ok(event) if meta.reissue => Settled::Publish(event.into()),
                _ => Settled::NeedsReissue,
            },
            Some(known) if known.number == EventNumber(0) => Settled::Said,
            Some(known) => Settled::Publish(known.clone().into()),
        }
    }
}

/// How a fresh result stands to what is published of its fact.
enum Settled {
    /// A new fact, a changed one under a new id, or the stored bytes once more.
    Publish(Box<StoredEvent>),
    /// Another event of this request says the same under the same id.
    Said,
    /// It says something else, and the request has no leave to.
    NeedsReissue,
}

/// The version of a fact that counts: the latest that this event published, or else the latest of anyone.
fn believed<'a>(fresh: &StoredEvent, published: &'a [StoredEvent]) -> Option<&'a StoredEvent> {
    let versions = || published.iter().rev().filter(|known| is_version_of(known, &fresh.id));
    versions().find(|known| known.made_from == fresh.made_from).or_else(|| versions().next())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DeliveryId, EndpointName, EventNumber, Revision};

    fn meta(reissue: bool) -> ReplayMeta {
        ReplayMeta {
            id: DeliveryId(uuid::Uuid::from_u128(7)),
            endpoint: EndpointName::new("acme", "default"),
            events: Vec::new(),
            reissue,
            brokers: vec!["archive".to_owned()],
            by: "ops".to_owned(),
        }
    }

    fn event(number: u64, id: &str, amount: u32) -> StoredEvent {
        let body = format!(
            concat!(
                r#"{{"specversion":"1.0","id":"{}","source":"/partners/acme/default","type":"t","#,
                r#""time":"2026-11-23T12:00:00Z","recordedtime":"2026-11-23T12:00:00Z","#,
                r#""datacontenttype":"application/json","dataschema":"s","partitionkey":"k","traceparent":"tp","#,
                r#""correlationid":"c","mappingrevision":"m","data":{{"amount":{}}}}}"#
            ),
            id, amount
        );
        StoredEvent {
            number: EventNumber(number),
            id: id.to_owned(),
            event_type: "t".to_owned(),
            partition_key: "k".to_owned(),
            endpoint: EndpointName::new("acme", "default"),
            made_from: EventRef { number: EntryNumber(1), ordinal: 0 },
            revision: Revision("r".into()),
            brokers: Vec::new(),
            body: body.into(),
        }
    }

    fn settle(fresh: Vec<StoredEvent>, published: &[StoredEvent], meta: &ReplayMeta) -> Outcome {
        Made::default().settle_all(fresh, published, meta)
    }

    fn events(outcome: Outcome) -> Vec<StoredEvent> {
        let Outcome::Translated { events } = outcome else { panic!("{outcome:?}") };
        events
    }

    #[test]
    fn the_same_fact_is_repeated_byte_for_byte_and_a_new_one_is_published() {
        let published = [event(5, "a", 1)];
        let settled = events(settle(vec![event(0, "a", 1), event(0, "b", 2)], &published, &meta(false)));
        assert_eq!((settled[0].number.0, &settled[0].body), (5, &published[0].body));
        assert_eq!((settled[1].number.0, settled[1].id.as_str()), (0, "b"));
        assert!(settled.iter().all(|event| event.brokers == ["archive"]));
    }

    #[test]
    fn a_changed_fact_needs_leave_to_be_reissued() {
        let published = [event(5, "a", 1)];
        let refused = settle(vec![event(0, "b", 1), event(0, "a", 2)], &published, &meta(false));
        assert!(matches!(refused, Outcome::DeadLetter { code: ReasonCode::NeedsReissue, .. }));
        let reissued = events(settle(vec![event(0, "a", 2)], &published, &meta(true)));
        assert_eq!(reissued[0].number.0, 0);
        assert_ne!(reissued[0].id, "a");
    }

    #[test]
    fn two_events_of_one_request_do_not_say_different_things_under_one_id() {
        let other_place =
            |event| StoredEvent { made_from: EventRef { number: EntryNumber(2), ordinal: 0 }, ..event };
        let mut made = Made::default();
        assert_eq!(events(made.settle_all(vec![event(0, "a", 1)], &[], &meta(false))).len(), 1);
        let alike = made.settle_all(vec![other_place(event(0, "a", 1))], &[], &meta(false));
        assert!(events(alike).is_empty(), "the first one said it");
        let refused = made.settle_all(vec![other_place(event(0, "a", 2))], &[], &meta(false));
        assert!(matches!(refused, Outcome::DeadLetter { code: ReasonCode::NeedsReissue, .. }));

        let published = [event(5, "a", 1)];
        let one = events(made.settle_all(vec![event(0, "a", 2)], &published, &meta(true)));
        let other = events(made.settle_all(vec![other_place(event(0, "a", 3))], &published, &meta(true)));
        assert_ne!(one[0].id, other[0].id);
    }

    #[test]
    fn the_latest_version_counts_and_can_be_corrected_back() {
        let reissued = |number, amount| {
            let fresh = reissued(&event(0, "a", amount), DeliveryId(uuid::Uuid::from_u128(3))).expect("JSON");
            StoredEvent { number: EventNumber(number), ..fresh }
        };
        let published = [event(5, "a", 1), reissued(6, 2)];
        let again = events(settle(vec![event(0, "a", 2)], &published, &meta(true)));
        assert_eq!(again[0].number.0, 6, "that is what everybody believes");
        let back = events(settle(vec![event(0, "a", 1)], &published, &meta(true)));
        assert_eq!(back[0].number.0, 0);
        assert!(
            !["a", &published[1].id].contains(&back[0].id.as_str()),
            "an old id would be taken for a repeat"
        );
        let refused = settle(vec![event(0, "a", 1)], &published, &meta(false));
        assert!(matches!(refused, Outcome::DeadLetter { code: ReasonCode::NeedsReissue, .. }));
    }

    #[test]
    fn what_was_translated_repeats_everything_it_published() {
        let target = ReplayTarget {
            at: EventRef { number: EntryNumber(1), ordinal: 0 },
            outcome: OutcomeKind::Translated,
            generation: 0,
            published: vec![event(5, "a", 1), event(6, "b", 1)],
        };
        assert!(is_repeated(&target, &meta(false)) && !is_repeated(&target, &meta(true)));
        let numbers: Vec<_> =
            events(repeat(target, &meta(false)).outcome).iter().map(|event| event.number.0).collect();
        assert_eq!(numbers, [5, 6]);
    }
}
