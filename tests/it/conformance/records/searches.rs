//! What people look for.

use douane::{
    ledger::{DeliveryFilter, DeliveryRow, Records, WorkedEntry, WorkedKind},
    model::{Assurance, EndpointName, EntryNumber, EventRef, Outcome, OutcomeKind, ReasonCode},
};

use super::worked::{
    Filled, again, at, commit, damaged, dead_letter, delivery, delivery_id, digest, github, replay, stripe,
    time_of, translated,
};

const NONE: [u64; 0] = [];

fn everything() -> DeliveryFilter {
    DeliveryFilter { limit: 100, ..DeliveryFilter::default() }
}

fn of_partner(partner: &str) -> DeliveryFilter {
    DeliveryFilter { partner: Some(partner.to_owned()), ..everything() }
}

fn of_id(id: &str) -> DeliveryFilter {
    DeliveryFilter { external_id: Some(id.to_owned()), ..everything() }
}

fn of_type(event_type: &str) -> DeliveryFilter {
    DeliveryFilter { event_type: Some(event_type.to_owned()), ..everything() }
}

fn of_outcome(outcome: OutcomeKind) -> DeliveryFilter {
    DeliveryFilter { outcome: Some(outcome), ..everything() }
}

async fn numbers(records: &dyn Records, filter: DeliveryFilter) -> Vec<u64> {
    let page = records.deliveries(&filter).await.expect("reads");
    page.items.into_iter().map(|row| row.number.0).collect()
}

async fn places(records: &dyn Records, filter: DeliveryFilter, after: Option<EventRef>) -> Vec<String> {
    let events = records.events(&filter, after).await.expect("reads");
    events.into_iter().map(|event| event.at.to_string()).collect()
}

/// Eight entries: five deliveries with events, one without, a damaged one, a replay.
async fn some_history(records: &dyn Records) {
    let connect = EndpointName::new("stripe", "connect");
    let failed = dead_letter(ReasonCode::MappingFailed, "no such field");
    let entries: [WorkedEntry; 8] = [
        delivery(1, stripe()).with("a", "paid", translated(&["a1"])).with("b", "noise", Outcome::Unmapped),
        delivery(2, github()).with("a", "push", translated(&["g1"])),
        damaged(3),
        delivery(4, connect).with("a", "paid", failed).with("d", "paid", translated(&["d1"])),
        delivery(5, stripe()).with("a", "paid", Outcome::Duplicate { of: at(1, 0) }).with(
            "a",
            "paid",
            Outcome::Duplicate { of: at(1, 0) },
        ),
        delivery(6, stripe()),
        replay(7, github(), vec![again(at(2, 0), translated(&["g2"]))]),
        delivery(8, github()).with("c", "push", translated(&["c1"])),
    ];
    records.commit(commit(entries)).await.expect("commits");
}

pub(super) async fn page_newest_first(records: &dyn Records) {
    some_history(records).await;
    assert_eq!(numbers(records, everything()).await, [8, 6, 5, 4, 2, 1], "deliveries only");
    let mut filter = DeliveryFilter { limit: 2, ..everything() };
    let mut pages = Vec::new();
    loop {
        let page = records.deliveries(&filter).await.expect("reads");
        pages.push(page.items.iter().map(|row| row.number.0).collect::<Vec<_>>());
        filter.before = page.next;
        if page.next.is_none() {
            break;
        }
    }
    assert_eq!(pages, [[8, 6], [5, 4], [2, 1]], "and no empty page at the end");
    let one_payment = DeliveryFilter { limit: 1, before: Some(EntryNumber(5)), ..of_type("paid") };
    let page = records.deliveries(&one_payment).await.expect("reads");
    assert_eq!((page.items[0].number, page.next), (EntryNumber(4), Some(EntryNumber(4))));
    assert_eq!(numbers(records, DeliveryFilter { limit: 0, ..everything() }).await, NONE);
}

pub(super) async fn page_past_deliveries_of_many_events(records: &dyn Records) {
    let crowded = |number| {
        (0..700).fold(delivery(number, stripe()), |entry, n| {
            entry.with(&format!("{number} {n}"), "paid", Outcome::Unmapped)
        })
    };
    let entries = [delivery(1, stripe()).with("a", "paid", Outcome::Unmapped), crowded(2), crowded(3)];
    records.commit(commit(entries)).await.expect("commits");
    for filter in [of_type("paid"), of_outcome(OutcomeKind::Unmapped), of_partner("stripe"), everything()] {
        let filter = DeliveryFilter { limit: 2, ..filter };
        let page = records.deliveries(&filter).await.expect("reads");
        assert_eq!(page.items.iter().map(|row| row.number.0).collect::<Vec<_>>(), [3, 2]);
        assert_eq!(page.items[0].external_events.len(), 700);
        let rest = DeliveryFilter { before: page.next, ..filter };
        assert_eq!(numbers(records, rest).await, [1]);
    }
    assert_eq!(numbers(records, DeliveryFilter { limit: usize::MAX, ..of_type("paid") }).await, [3, 2, 1]);
    let all = DeliveryFilter { limit: usize::MAX, ..of_partner("stripe") };
    assert_eq!(places(records, all, Some(at(3, 697))).await, ["3.698", "3.699"]);
}

pub(super) async fn by_endpoint_and_time(records: &dyn Records) {
    some_history(records).await;
    assert_eq!(numbers(records, of_partner("stripe")).await, [6, 5, 4, 1]);
    let connect = DeliveryFilter { endpoint: Some("connect".to_owned()), ..of_partner("stripe") };
    assert_eq!(numbers(records, connect).await, [4]);
    let default = DeliveryFilter { endpoint: Some("default".to_owned()), ..everything() };
    assert_eq!(numbers(records, default).await, [8, 6, 5, 2, 1]);
    assert_eq!(numbers(records, of_partner("adyen")).await, NONE);
    let between =
        |from, to| DeliveryFilter { from: Some(time_of(from)), to: Some(time_of(to)), ..everything() };
    assert_eq!(numbers(records, between(2, 6)).await, [5, 4, 2], "from is included, to is not");
    assert_eq!(numbers(records, between(0, 100)).await.len(), 6);
    assert_eq!(numbers(records, between(9, 100)).await, NONE);
    assert_eq!(numbers(records, between(0, 1)).await, NONE);
    let late_duplicates = DeliveryFilter { from: Some(time_of(4)), ..of_outcome(OutcomeKind::Duplicate) };
    assert_eq!(numbers(records, late_duplicates).await, [5]);
}

pub(super) async fn by_external_id_type_and_outcome(records: &dyn Records) {
    some_history(records).await;
    assert_eq!(numbers(records, of_id("a")).await, [5, 4, 2, 1], "of any endpoint");
    let at_github = DeliveryFilter { external_id: Some("a".to_owned()), ..of_partner("github") };
    assert_eq!(numbers(records, at_github).await, [2]);
    assert_eq!(numbers(records, of_id("never")).await, NONE);
    assert_eq!(numbers(records, of_type("paid")).await, [5, 4, 1]);
    assert_eq!(numbers(records, of_outcome(OutcomeKind::Translated)).await, [8, 4, 2, 1]);
    assert_eq!(numbers(records, of_outcome(OutcomeKind::Duplicate)).await, [5]);
    assert_eq!(numbers(records, of_outcome(OutcomeKind::DeadLetter)).await, [4], "damaged is no delivery");
    assert_eq!(numbers(records, of_outcome(OutcomeKind::Conflict)).await, NONE);
}

pub(super) async fn of_one_delivery_alone(records: &dyn Records) {
    some_history(records).await;
    let only = |number| DeliveryFilter { number: Some(EntryNumber(number)), ..everything() };
    assert_eq!(numbers(records, only(4)).await, [4]);
    assert_eq!(numbers(records, only(7)).await, NONE, "a replay is no delivery");
    assert_eq!(places(records, only(4), None).await, ["4.0", "4.1"]);
    assert_eq!(
        places(records, DeliveryFilter { number: Some(EntryNumber(5)), ..of_id("a") }, None).await,
        ["5.0", "5.1"]
    );
    let elsewhere = DeliveryFilter { number: Some(EntryNumber(4)), ..of_partner("github") };
    assert_eq!(places(records, elsewhere, None).await, [""; 0]);
}

pub(super) async fn hold_conditions_against_one_event(records: &dyn Records) {
    some_history(records).await;
    let unmapped_payment =
        DeliveryFilter { event_type: Some("paid".to_owned()), ..of_outcome(OutcomeKind::Unmapped) };
    assert_eq!(numbers(records, unmapped_payment).await, NONE, "1 has both, but not in one event");
    let translated_a =
        DeliveryFilter { external_id: Some("a".to_owned()), ..of_outcome(OutcomeKind::Translated) };
    assert_eq!(numbers(records, translated_a).await, [2, 1]);
}

pub(super) async fn of_events_run_oldest_first_after_a_place(records: &dyn Records) {
    some_history(records).await;
    let all = places(records, everything(), None).await;
    assert_eq!(all, ["1.0", "1.1", "2.0", "3.0", "4.0", "4.1", "5.0", "5.1", "8.0"]);
    let three = DeliveryFilter { limit: 3, ..everything() };
    assert_eq!(places(records, three, Some(at(1, 1))).await, ["2.0", "3.0", "4.0"]);
    assert_eq!(places(records, of_id("a"), Some(at(1, 0))).await, ["2.0", "4.0", "5.0", "5.1"]);
    assert_eq!(places(records, of_outcome(OutcomeKind::DeadLetter), None).await, ["3.0", "4.0"]);
    assert_eq!(places(records, of_partner("github"), None).await, ["2.0", "8.0"]);
    let before = DeliveryFilter { before: Some(EntryNumber(4)), from: Some(time_of(2)), ..everything() };
    assert_eq!(places(records, before, None).await, ["2.0", "3.0"]);
    let rows = records.events(&of_partner("github"), None).await.expect("reads");
    assert_eq!(rows[0].domain_events, ["g1", "g2"], "the replay's among them");
    assert_eq!(rows[0].endpoint_name, github());
}

pub(super) async fn show_a_delivery_by_its_id(records: &dyn Records) {
    let mut entry = delivery(1, stripe()).with("a", "paid", translated(&["a1"]));
    if let WorkedKind::Delivery { meta, same_body_as, .. } = &mut entry.kind {
        meta.assurance = Assurance::Body;
        *same_body_as = Some(EntryNumber(9));
    }
    records.commit(commit([entry, replay(2, stripe(), Vec::new())])).await.expect("commits");
    let row = records.delivery(delivery_id(1)).await.expect("reads").expect("is there");
    let events = row.external_events.clone();
    let expected = DeliveryRow {
        delivery: delivery_id(1),
        number: EntryNumber(1),
        partner: "stripe".to_owned(),
        endpoint: "default".to_owned(),
        received_at: time_of(1),
        assurance: Assurance::Body,
        secret_id: Some("2026-11".to_owned()),
        size: 2_048,
        body_sha256: hex::encode(digest("body 1")),
        same_body_as: Some(EntryNumber(9)),
        waiting: false,
        external_events: events.clone(),
    };
    assert_eq!(row, expected);
    assert_eq!((events[0].at, events[0].ordinal), (at(1, 0), 0));
    assert_eq!(events[0].ordering_key.as_deref(), Some("key of a"));
    assert_eq!(records.delivery(delivery_id(2)).await.expect("reads"), None, "a replay is no delivery");
    assert_eq!(records.delivery(delivery_id(3)).await.expect("reads"), None);
}

pub(super) async fn show_what_is_damaged(records: &dyn Records) {
    some_history(records).await;
    records.commit(commit([damaged(9)])).await.expect("commits");
    let damaged = records.damaged(10).await.expect("reads");
    assert_eq!(damaged.iter().map(|entry| entry.number.0).collect::<Vec<_>>(), [9, 3], "newest first");
    assert!(damaged.iter().all(|entry| entry.reason.starts_with("damaged: ")), "{damaged:?}");
    assert_eq!((damaged[1].received_at, records.damaged(1).await.expect("reads").len()), (time_of(3), 1));
}

pub(super) async fn find_the_lowest_entry_an_open_dead_letter_needs(records: &dyn Records) {
    assert_eq!(records.lowest_open_dead_letter().await.expect("reads"), None);
    some_history(records).await;
    assert_eq!(records.lowest_open_dead_letter().await.expect("reads"), Some(EntryNumber(4)));
}
