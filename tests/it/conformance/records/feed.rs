//! The feed: domain events in order.

use douane::{
    ledger::{EventFilter, Records},
    model::{EndpointName, EventNumber, Outcome, StoredEvent},
};

use super::worked::{Filled, commit, delivery, domain_event, github, stripe, translated};

const NONE: [u64; 0] = [];

async fn numbers(records: &dyn Records, after: u64, limit: usize, filter: &EventFilter) -> Vec<u64> {
    let events = records.events_after(EventNumber(after), limit, filter).await.expect("reads");
    events.into_iter().map(|event| event.number.0).collect()
}

pub(super) async fn is_read_in_order_after_a_number(records: &dyn Records) {
    let all = EventFilter::default();
    assert_eq!(numbers(records, 0, 10, &all).await, NONE);
    assert_eq!(records.last_event().await.expect("reads"), EventNumber(0));
    let one = delivery(1, stripe()).with("a", "paid", translated(&["a1", "a2", "a3"]));
    records.commit(commit([one])).await.expect("commits");
    assert_eq!(numbers(records, 0, 10, &all).await, [1, 2, 3]);
    assert_eq!(numbers(records, 1, 1, &all).await, [2]);
    assert_eq!(numbers(records, 3, 10, &all).await, NONE);
    let events = records.events_after(EventNumber(2), 10, &all).await.expect("reads");
    assert_eq!(events, [StoredEvent { number: EventNumber(3), ..domain_event("a3") }], "as it was given");
}

pub(super) async fn is_filtered_by_type_and_partner(records: &dyn Records) {
    let event = |endpoint: EndpointName, event_type: &str| StoredEvent {
        endpoint,
        event_type: event_type.to_owned(),
        ..domain_event("x")
    };
    let events = vec![
        event(stripe(), "com.example.payments.PaymentCaptured.v1"),
        event(github(), "com.example.engineering.CodePushed.v1"),
        event(EndpointName::new("stripe", "connect"), "com.example.payments.RefundIssued.v1"),
    ];
    let one = delivery(1, stripe()).with("a", "paid", Outcome::Translated { events });
    records.commit(commit([one])).await.expect("commits");
    let of = |event_type: Option<&str>, partner: Option<&str>| EventFilter {
        event_type: event_type.map(str::to_owned),
        partner: partner.map(str::to_owned),
    };
    assert_eq!(numbers(records, 0, 10, &of(None, Some("stripe"))).await, [1, 3]);
    assert_eq!(numbers(records, 0, 10, &of(Some("com.example.engineering.CodePushed.v1"), None)).await, [2]);
    let both = of(Some("com.example.payments.RefundIssued.v1"), Some("stripe"));
    assert_eq!(numbers(records, 0, 10, &both).await, [3]);
    assert_eq!(numbers(records, 0, 10, &of(Some("PaymentCaptured"), None)).await, NONE, "the exact type");
    assert_eq!(numbers(records, 0, 10, &of(None, Some("adyen"))).await, NONE);
}

pub(super) async fn ends_an_answer_before_it_grows_too_large(records: &dyn Records) {
    let large = StoredEvent { body: vec![b' '; 1_000_000].into(), ..domain_event("large") };
    let one = delivery(1, stripe()).with("a", "paid", Outcome::Translated { events: vec![large; 30] });
    records.commit(commit([one])).await.expect("commits");
    let mut after = 0;
    let mut answers = Vec::new();
    loop {
        let answer = numbers(records, after, 100, &EventFilter::default()).await;
        let Some(last) = answer.last() else { break };
        after = *last;
        answers.push(answer);
    }
    assert!(answers.iter().all(|answer| answer.len() <= 10), "{answers:?}");
    assert_eq!(answers.concat(), (1..=30).collect::<Vec<_>>());
}
