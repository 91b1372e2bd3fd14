//! Where domain events were published, asked both ways: by a broker's position, and by delivery and event.

use douane::{
    ledger::{Leave, Publication, PublicationFilter, PublicationRow, Records},
    model::{EntryNumber, EventNumber, EventRef, Outcome, StoredEvent},
};

use super::worked::{
    Filled, again, at, commit, delivery, delivery_id, domain_event, replay, stripe, time_of, translated,
};

const NONE: [(u64, &str); 0] = [];

fn everything() -> PublicationFilter {
    PublicationFilter { limit: 100, ..PublicationFilter::default() }
}

fn at_broker(broker: &str) -> PublicationFilter {
    PublicationFilter { broker: Some(broker.to_owned()), ..everything() }
}

fn at_position(position: &str) -> PublicationFilter {
    PublicationFilter { position: Some(position.to_owned()), ..everything() }
}

fn of_event(number: u64) -> PublicationFilter {
    PublicationFilter { event: Some(EventNumber(number)), ..everything() }
}

fn of_delivery(number: u64) -> PublicationFilter {
    PublicationFilter { delivery: Some(EntryNumber(number)), ..everything() }
}

fn placed(event: u64, position: &str) -> Publication {
    Publication::Placed { event: EventNumber(event), position: position.to_owned() }
}

fn refused(event: u64, reason: &str) -> Publication {
    Publication::DeadLetter { event: EventNumber(event), reason: reason.to_owned() }
}

async fn note(records: &dyn Records, broker: &str, published: &[Publication], cursor: u64) {
    records.note_published(broker, published, EventNumber(cursor), Leave::ALONE).await.expect("is noted");
}

async fn rows(records: &dyn Records, filter: PublicationFilter) -> Vec<PublicationRow> {
    records.publications(&filter).await.expect("reads")
}

/// What is found, as event and broker.
async fn found(records: &dyn Records, filter: PublicationFilter) -> Vec<(u64, String)> {
    rows(records, filter).await.into_iter().map(|row| (row.event.0, row.broker)).collect()
}

fn pairs(expected: &[(u64, &str)]) -> Vec<(u64, String)> {
    expected.iter().map(|(event, broker)| (*event, (*broker).to_owned())).collect()
}

fn made(id: &str, made_from: EventRef) -> StoredEvent {
    StoredEvent { made_from, ..domain_event(id) }
}

/// Two deliveries of three domain events, and two brokers: of `orders` everything is told, `audit` has the first two.
async fn some_history(records: &dyn Records) {
    let of = |events: Vec<StoredEvent>| Outcome::Translated { events };
    let first = delivery(1, stripe())
        .with("a", "paid", of(vec![made("a1", at(1, 0)), made("a2", at(1, 0))]))
        .with("b", "noise", Outcome::Unmapped);
    let second = delivery(2, stripe()).with("n", "noise", Outcome::Unmapped);
    let second = second.with("c", "paid", of(vec![made("c1", at(2, 1))]));
    records.commit(commit([first, second])).await.expect("commits");
    records.introduce_broker("orders", EventNumber(0), time_of(1)).await.expect("is introduced");
    records.introduce_broker("audit", EventNumber(0), time_of(1)).await.expect("is introduced");
    let orders = [placed(1, "orders/0/7"), placed(2, "orders/0/8"), refused(3, "larger than it takes")];
    note(records, "orders", &orders, 3).await;
    note(records, "audit", &[placed(1, "AUDIT/1"), placed(2, "AUDIT/2")], 2).await;
}

pub(super) async fn events_are_found_by_where_they_stand(records: &dyn Records) {
    assert_eq!(found(records, everything()).await, pairs(&NONE));
    some_history(records).await;
    let expected = PublicationRow {
        broker: "orders".to_owned(),
        position: Some("orders/0/8".to_owned()),
        refused: None,
        event: EventNumber(2),
        id: Some("a2".to_owned()),
        event_type: Some("com.example.payments.PaymentCaptured.v1".to_owned()),
        partition_key: Some("key of a2".to_owned()),
        delivery: Some(delivery_id(1)),
        ordinal: Some(0),
        external_id: Some("a".to_owned()),
    };
    assert_eq!(rows(records, at_position("orders/0/8")).await, [expected]);
    for nowhere in ["orders/0/", "orders/0/80", "ORDERS/0/8", "", "orders/0/9"] {
        assert_eq!(found(records, at_position(nowhere)).await, pairs(&NONE), "{nowhere:?}");
    }
    let elsewhere = PublicationFilter { broker: Some("audit".to_owned()), ..at_position("orders/0/8") };
    assert_eq!(found(records, elsewhere).await, pairs(&NONE));
    let third = &rows(records, of_event(3)).await[0];
    assert_eq!(
        (third.delivery, third.ordinal, third.external_id.as_deref()),
        (Some(delivery_id(2)), Some(1), Some("c"))
    );
    assert_eq!(found(records, of_event(1)).await, pairs(&[(1, "audit"), (1, "orders")]));
    for unheard in
        [of_event(9), of_event(u64::MAX), at_broker("nobody"), of_delivery(9), of_delivery(u64::MAX)]
    {
        assert_eq!(found(records, unheard).await, pairs(&NONE));
    }
}

pub(super) async fn positions_that_repeat_are_all_listed_newest_first(records: &dyn Records) {
    some_history(records).await;
    note(records, "audit", &[placed(3, "AUDIT/1")], 3).await;
    assert_eq!(found(records, at_position("AUDIT/1")).await, pairs(&[(3, "audit"), (1, "audit")]));
    note(records, "orders", &[placed(2, "AUDIT/1")], 3).await;
    let everywhere = pairs(&[(3, "audit"), (2, "orders"), (1, "audit")]);
    assert_eq!(found(records, at_position("AUDIT/1")).await, everywhere);
    let first = PublicationFilter { limit: 1, ..at_position("AUDIT/1") };
    assert_eq!(found(records, first).await, pairs(&[(3, "audit")]));
}

pub(super) async fn events_are_where_they_were_put_last(records: &dyn Records) {
    some_history(records).await;
    note(records, "orders", &[refused(1, "no"), placed(2, "orders/0/9"), placed(3, "orders/0/10")], 3).await;
    assert_eq!(found(records, at_position("orders/0/8")).await, pairs(&NONE));
    assert_eq!(found(records, at_position("orders/0/9")).await, pairs(&[(2, "orders")]));
    assert_eq!(found(records, at_position("orders/0/7")).await, pairs(&NONE));
    let third = &rows(records, of_event(3)).await[0];
    assert_eq!((third.position.as_deref(), third.refused.as_deref()), (Some("orders/0/10"), None));
}

pub(super) async fn events_of_a_delivery_are_found_with_their_replays(records: &dyn Records) {
    some_history(records).await;
    let repeat = |number, id| StoredEvent { number: EventNumber(number), ..made(id, at(1, 0)) };
    let events = vec![repeat(1, "a1"), repeat(2, "a2")];
    let work = vec![again(at(1, 0), Outcome::Translated { events }), again(at(1, 1), translated(&["b1"]))];
    records.commit(commit([replay(3, stripe(), work)])).await.expect("commits");
    note(records, "audit", &[placed(3, "AUDIT/3"), placed(4, "AUDIT/4"), placed(6, "AUDIT/6")], 6).await;
    let of_first =
        pairs(&[(6, "audit"), (4, "audit"), (2, "audit"), (2, "orders"), (1, "audit"), (1, "orders")]);
    assert_eq!(found(records, of_delivery(1)).await, of_first);
    assert_eq!(found(records, of_delivery(2)).await, pairs(&[(3, "audit"), (3, "orders")]));
    assert_eq!(found(records, of_delivery(3)).await, pairs(&NONE), "a replay request is no delivery");
    let there = PublicationFilter { broker: Some("orders".to_owned()), ..of_delivery(1) };
    assert_eq!(found(records, there).await, pairs(&[(2, "orders"), (1, "orders")]));
    let repeated = &rows(records, at_position("AUDIT/4")).await[0];
    assert_eq!((repeated.id.as_deref(), repeated.delivery), (Some("a1"), Some(delivery_id(1))));
}

pub(super) async fn events_that_were_refused_say_why(records: &dyn Records) {
    some_history(records).await;
    let of = |refused| PublicationFilter { refused: Some(refused), ..everything() };
    let refused_ones = rows(records, of(true)).await;
    assert_eq!(refused_ones.len(), 1);
    let row = &refused_ones[0];
    assert_eq!((row.event, row.broker.as_str(), row.position.as_deref()), (EventNumber(3), "orders", None));
    assert_eq!((row.refused.as_deref(), row.id.as_deref()), (Some("larger than it takes"), Some("c1")));
    assert_eq!(found(records, of(false)).await.len(), 4);
    for (filter, count) in
        [(of_delivery(2), 1), (of_delivery(1), 0), (of_event(3), 1), (at_position("AUDIT/1"), 0)]
    {
        let filter = PublicationFilter { refused: Some(true), ..filter };
        assert_eq!(found(records, filter).await.len(), count);
    }
    let elsewhere = PublicationFilter { refused: Some(true), ..at_broker("audit") };
    assert_eq!(found(records, elsewhere).await, pairs(&NONE));
}

/// Every page of `limit` rows, one after another.
async fn pages(records: &dyn Records, filter: &PublicationFilter, limit: usize) -> Vec<Vec<(u64, String)>> {
    let mut pages = Vec::new();
    let mut filter = PublicationFilter { limit, ..filter.clone() };
    loop {
        let page = found(records, filter.clone()).await;
        let Some((event, broker)) = page.last() else { return pages };
        filter.after = Some((EventNumber(*event), broker.clone()));
        pages.push(page);
    }
}

pub(super) async fn events_page_newest_first_and_then_by_broker(records: &dyn Records) {
    some_history(records).await;
    let all = pairs(&[(3, "orders"), (2, "audit"), (2, "orders"), (1, "audit"), (1, "orders")]);
    assert_eq!(found(records, everything()).await, all);
    for limit in 1..=6 {
        let pages = pages(records, &everything(), limit).await;
        assert!(pages.iter().all(|page| page.len() <= limit));
        assert_eq!(pages.concat(), all, "{limit} at a time");
    }
    for filter in [at_broker("audit"), of_delivery(1), of_event(2), at_position("AUDIT/2")] {
        let whole = found(records, filter.clone()).await;
        assert!(!whole.is_empty());
        assert_eq!(pages(records, &filter, 1).await.concat(), whole, "{filter:?}");
    }
    assert_eq!(found(records, PublicationFilter { limit: 0, ..everything() }).await, pairs(&NONE));
    let after_all = Some((EventNumber(2), "zoo".to_owned()));
    let after_all = PublicationFilter { after: after_all, ..everything() };
    assert_eq!(found(records, after_all).await, pairs(&[(1, "audit"), (1, "orders")]), "nobody need know it");
}

pub(super) async fn positions_may_be_any_words(records: &dyn Records) {
    some_history(records).await;
    let long = "x".repeat(100_000);
    let other = format!("{long}y");
    for position in ["", "nul \0", "é/'%_\\", &long, &other] {
        note(records, "orders", &[placed(2, position)], 3).await;
        assert_eq!(found(records, at_position(position)).await, pairs(&[(2, "orders")]), "{position:.10}");
    }
    assert_eq!(
        found(records, at_position(&long)).await,
        pairs(&NONE),
        "it is the whole position that counts"
    );
}

pub(super) async fn events_that_are_gone_still_say_what_was_noted(records: &dyn Records) {
    records.introduce_broker("audit", EventNumber(0), time_of(1)).await.expect("is introduced");
    note(records, "audit", &[placed(1, "AUDIT/1"), refused(2, "no")], 2).await;
    let row = &rows(records, at_position("AUDIT/1")).await[0];
    assert_eq!((row.event, row.broker.as_str(), &row.id), (EventNumber(1), "audit", &None));
    assert_eq!((&row.event_type, row.delivery, row.ordinal, &row.external_id), (&None, None, None, &None));
    let refused = &rows(records, PublicationFilter { refused: Some(true), ..everything() }).await[0];
    assert_eq!((refused.event, refused.refused.as_deref()), (EventNumber(2), Some("no")));
}
