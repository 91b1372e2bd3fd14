//! What brokers have, and how far they have come.

use douane::{
    ledger::{BrokerState, Leave, Publication, Records, RecordsError},
    model::EventNumber,
};

use super::worked::{Filled, commit, delivery, stripe, time_of, translated};

fn placed(event: u64) -> Publication {
    Publication::Placed { event: EventNumber(event), position: format!("partition 0, offset {event}") }
}

fn refused(event: u64) -> Publication {
    Publication::DeadLetter { event: EventNumber(event), reason: "larger than the broker takes".to_owned() }
}

async fn state(records: &dyn Records) -> (u64, u64) {
    let state = records.broker("audit").await.expect("reads").expect("is known");
    (state.cursor.0, state.dead_letters)
}

pub(super) async fn begin_where_the_broker_was_introduced_and_that_is_journalled(records: &dyn Records) {
    assert_eq!(records.broker("audit").await.expect("reads"), None);
    records.introduce_broker("stock", EventNumber(0), time_of(1)).await.expect("is introduced");
    records.introduce_broker("audit", EventNumber(41), time_of(2)).await.expect("is introduced");
    let audit = BrokerState { name: "audit".to_owned(), cursor: EventNumber(41), dead_letters: 0 };
    assert_eq!(records.broker("audit").await.expect("reads").as_ref(), Some(&audit));
    let names: Vec<_> =
        records.brokers().await.expect("reads").into_iter().map(|broker| broker.name).collect();
    assert_eq!(names, ["audit", "stock"]);
    let journal = records.journal_page(None, 1).await.expect("reads");
    assert_eq!((journal[0].act.as_str(), journal[0].who.as_str()), ("broker.introduced", "system"));
    assert_eq!((journal[0].subject.as_str(), journal[0].at), ("audit", time_of(2)));
}

pub(super) async fn refuse_a_second_introduction(records: &dyn Records) {
    records.introduce_broker("audit", EventNumber(5), time_of(1)).await.expect("is introduced");
    let second = records.introduce_broker("audit", EventNumber(0), time_of(2)).await;
    assert!(matches!(second, Err(RecordsError::Refused(_))));
    assert_eq!(state(records).await, (5, 0));
    assert_eq!(records.journal_page(None, 10).await.expect("reads").len(), 1);
}

pub(super) async fn move_the_cursor_and_keep_dead_letters(records: &dyn Records) {
    records.introduce_broker("audit", EventNumber(0), time_of(1)).await.expect("is introduced");
    let first = [placed(1), refused(2), placed(3)];
    records.note_published("audit", &first, EventNumber(3), Leave::ALONE).await.expect("is noted");
    assert_eq!(state(records).await, (3, 1));
    records.note_published("audit", &[refused(5)], EventNumber(6), Leave::ALONE).await.expect("is noted");
    assert_eq!(state(records).await, (6, 2));
    let open = records.publication_dead_letters(10).await.expect("reads");
    let reason = "larger than the broker takes".to_owned();
    let expected = [2, 5].map(|event| ("audit".to_owned(), EventNumber(event), reason.clone()));
    assert_eq!(open, expected);
    assert_eq!(records.publication_dead_letters(1).await.expect("reads").len(), 1);
}

pub(super) async fn noted_again_close_a_dead_letter(records: &dyn Records) {
    records.introduce_broker("audit", EventNumber(0), time_of(1)).await.expect("is introduced");
    records.note_published("audit", &[refused(1)], EventNumber(1), Leave::ALONE).await.expect("is noted");
    records.note_published("audit", &[placed(1)], EventNumber(1), Leave::ALONE).await.expect("is noted");
    assert_eq!(state(records).await, (1, 0));
    assert_eq!(records.publication_dead_letters(10).await.expect("reads"), []);
}

pub(super) async fn of_the_feeds_events_keep_the_latest_word(records: &dyn Records) {
    let one = delivery(1, stripe()).with("a", "paid", translated(&["a1", "a2", "a3"]));
    records.commit(commit([one])).await.expect("commits");
    records.introduce_broker("audit", EventNumber(0), time_of(1)).await.expect("is introduced");
    let twice = [placed(1), refused(1), refused(2), placed(2), refused(3)];
    records.note_published("audit", &twice, EventNumber(3), Leave::ALONE).await.expect("is noted");
    assert_eq!(state(records).await, (3, 2));
    records.note_published("audit", &[placed(3)], EventNumber(3), Leave::ALONE).await.expect("is noted");
    let open = records.publication_dead_letters(usize::MAX).await.expect("reads");
    assert_eq!(open.iter().map(|(_, event, _)| event.0).collect::<Vec<_>>(), [1]);
    let odd = "nul \0".to_owned();
    let odd = Publication::DeadLetter { event: EventNumber(2), reason: odd };
    records.note_published("audit", &[odd], EventNumber(3), Leave::ALONE).await.expect("is noted");
    assert_eq!(records.publication_dead_letters(2).await.expect("reads")[1].2, "nul \0");
}

pub(super) async fn behind_the_cursor_are_stale(records: &dyn Records) {
    records.introduce_broker("audit", EventNumber(7), time_of(1)).await.expect("is introduced");
    let back = records.note_published("audit", &[refused(6)], EventNumber(6), Leave::ALONE).await;
    assert!(matches!(back, Err(RecordsError::Stale(_))));
    assert_eq!(state(records).await, (7, 0), "nothing of it is kept");
}

pub(super) async fn of_an_unknown_broker_are_refused(records: &dyn Records) {
    let unknown = records.note_published("audit", &[placed(1)], EventNumber(1), Leave::ALONE).await;
    assert!(matches!(unknown, Err(RecordsError::Refused(_))));
    assert_eq!(records.broker("audit").await.expect("reads"), None);
}
