//! Earlier events worked again.

use douane::{
    ledger::{DeliveryFilter, EventFilter, EventRow, Records, RecordsError, ReplayTarget},
    model::{EntryNumber, EventNumber, EventRef, Outcome, OutcomeKind, ReasonCode, StoredEvent},
};

use super::worked::{
    Filled, again, at, commit, dead_letter, delivery, delivery_id, domain_event, identified, replay, stripe,
    translated,
};

async fn target(records: &dyn Records, at: EventRef) -> ReplayTarget {
    let mut targets = records.replay_targets(&[at]).await.expect("reads");
    assert_eq!(targets.len(), 1);
    targets.remove(0)
}

fn published(target: &ReplayTarget) -> Vec<(u64, &str)> {
    target.published.iter().map(|event| (event.number.0, event.id.as_str())).collect()
}

async fn feed(records: &dyn Records) -> Vec<StoredEvent> {
    records.events_after(EventNumber(0), 100, &EventFilter::default()).await.expect("reads")
}

async fn events_of(records: &dyn Records, number: u64) -> Vec<EventRow> {
    records.delivery(delivery_id(number)).await.expect("reads").expect("is there").external_events
}

pub(super) async fn know_the_outcome_and_what_was_published(records: &dyn Records) {
    let one = delivery(1, stripe()).with("a", "paid", translated(&["a1", "a2"])).with(
        "b",
        "paid",
        Outcome::Unmapped,
    );
    records.commit(commit([one])).await.expect("commits");
    let targets = records.replay_targets(&[at(1, 1), at(1, 0)]).await.expect("reads");
    assert_eq!(targets[0].at, at(1, 1), "in the order asked");
    assert_eq!((targets[0].outcome, targets[0].published.len()), (OutcomeKind::Unmapped, 0));
    assert_eq!((targets[1].outcome, targets[1].generation), (OutcomeKind::Translated, 0));
    assert_eq!(targets[1].published, feed(records).await);
    assert_eq!(published(&targets[1]), [(1, "a1"), (2, "a2")]);
}

pub(super) async fn of_a_conflict_know_what_its_owner_published(records: &dyn Records) {
    let one = delivery(1, stripe()).with("a", "paid", translated(&["a1"]));
    let two = delivery(2, stripe()).with("a", "paid", Outcome::Conflict { with: at(1, 0) });
    records.commit(commit([one, two])).await.expect("commits");
    assert_eq!(published(&target(records, at(2, 0)).await), [(1, "a1")]);

    let reissued = again(at(2, 0), translated(&["a1'"]));
    records.commit(commit([replay(3, stripe(), vec![reissued])])).await.expect("commits");
    let seen_from_the_owner = target(records, at(1, 0)).await;
    assert_eq!(published(&seen_from_the_owner), [(1, "a1"), (2, "a1'")]);
    let seen_from_the_conflict = target(records, at(2, 0)).await;
    assert_eq!(seen_from_the_conflict.outcome, OutcomeKind::Translated);
    assert_eq!(published(&seen_from_the_conflict), [(1, "a1"), (2, "a1'")]);
    assert_eq!(events_of(records, 2).await[0].duplicate_of, None, "it is no conflict any more");
}

pub(super) async fn of_a_later_generation_know_only_its_own(records: &dyn Records) {
    let first = delivery(1, stripe()).with("a", "paid", translated(&["a1"]));
    let mut anew = delivery(2, stripe()).with("a", "paid", translated(&["a1 anew"]));
    anew.events[0].owns = Some(1);
    let conflict = delivery(3, stripe()).with("a", "paid", Outcome::Conflict { with: at(2, 0) });
    records.commit(commit([first, anew, conflict])).await.expect("commits");
    for (place, generation, ids) in
        [(at(1, 0), 0, [(1, "a1")]), (at(2, 0), 1, [(2, "a1 anew")]), (at(3, 0), 1, [(2, "a1 anew")])]
    {
        let target = target(records, place).await;
        assert_eq!((target.generation, published(&target)), (generation, ids.to_vec()), "{place}");
    }
}

pub(super) async fn of_places_nobody_knows_are_left_out(records: &dyn Records) {
    records
        .commit(commit([delivery(1, stripe()).with("a", "paid", Outcome::Unmapped)]))
        .await
        .expect("commits");
    let targets = records.replay_targets(&[at(1, 1), at(1, 0), at(9, 0)]).await.expect("reads");
    assert_eq!(targets.iter().map(|target| target.at).collect::<Vec<_>>(), [at(1, 0)]);
}

pub(super) async fn repeat_the_first_bytes_under_a_new_number(records: &dyn Records) {
    let one = delivery(1, stripe()).with("a", "paid", translated(&["a1"]));
    records.commit(commit([one])).await.expect("commits");
    for (number, repeated) in [(2, 1), (3, 2)] {
        // The second repeats the repeat: the bytes still come from the first.
        let repeat = StoredEvent {
            number: EventNumber(repeated),
            brokers: vec!["audit".to_owned()],
            body: "not these bytes".into(),
            ..domain_event("a1")
        };
        let outcome = Outcome::Translated { events: vec![repeat] };
        let entry = replay(number, stripe(), vec![again(at(1, 0), outcome)]);
        assert_eq!(records.commit(commit([entry])).await.expect("commits"), EventNumber(number));
    }
    let feed = feed(records).await;
    assert_eq!(feed.len(), 3);
    assert_eq!(
        feed[2],
        StoredEvent { number: EventNumber(3), brokers: vec!["audit".to_owned()], ..feed[0].clone() }
    );
    assert_eq!(published(&target(records, at(1, 0)).await), [(1, "a1")], "first appearances only");
    assert_eq!(events_of(records, 1).await[0].domain_events, ["a1"], "one fact, one id");
}

pub(super) async fn of_a_stranger_are_refused(records: &dyn Records) {
    let one = delivery(1, stripe()).with("a", "paid", translated(&["a1"]));
    records.commit(commit([one])).await.expect("commits");
    let repeat = StoredEvent { number: EventNumber(1), ..domain_event("another id") };
    let outcome = Outcome::Translated { events: vec![repeat] };
    let entry = replay(2, stripe(), vec![again(at(1, 0), outcome)]);
    assert!(matches!(records.commit(commit([entry])).await, Err(RecordsError::Refused(_))));
}

pub(super) async fn change_the_latest_outcome_and_keep_the_books_balanced(records: &dyn Records) {
    let failed = dead_letter(ReasonCode::MappingFailed, "no such field");
    let one = delivery(1, stripe()).with("a", "paid", failed).with("b", "paid", Outcome::Unmapped);
    records.commit(commit([one])).await.expect("commits");
    assert_eq!(records.lowest_open_dead_letter().await.expect("reads"), Some(EntryNumber(1)));

    let events = vec![again(at(1, 0), translated(&["a1"]))];
    records.commit(commit([replay(2, stripe(), events)])).await.expect("commits");
    assert_eq!(records.lowest_open_dead_letter().await.expect("reads"), None);
    let row = &events_of(records, 1).await[0];
    assert_eq!((row.outcome, row.reason.as_deref()), (OutcomeKind::Translated, None));
    assert_eq!(row.external_id.as_deref(), Some("a"));
    assert_eq!(row.domain_events, ["a1"]);
    let books = records.conservation().await.expect("reads");
    assert_eq!((books.worked, books.identified, books.orphans), (2, 2, 0));
    assert_eq!(books.outcomes, [(OutcomeKind::Translated, 1), (OutcomeKind::Unmapped, 1)]);

    let events = vec![again(at(1, 0), Outcome::Ignored { why: "no longer ours".to_owned() })];
    records.commit(commit([replay(3, stripe(), events)])).await.expect("commits");
    let row = &events_of(records, 1).await[0];
    assert_eq!(row.outcome, OutcomeKind::Ignored);
    assert_eq!(row.domain_events, ["a1"], "what was published stays known");
    assert_eq!(published(&target(records, at(1, 0)).await), [(1, "a1")]);
}

pub(super) async fn identify_what_the_first_attempt_could_not(records: &dyn Records) {
    let unreadable = dead_letter(ReasonCode::Unidentifiable, "body.id is missing");
    let one = delivery(1, stripe()).unidentified(unreadable).with("b", "paid", Outcome::Unmapped);
    records.commit(commit([one])).await.expect("commits");
    let mut found = again(at(1, 0), translated(&["a1"]));
    found.event = Some(identified(stripe(), "a", "paid"));
    found.owns = Some(0);
    let mut renamed = again(at(1, 1), Outcome::Unmapped);
    renamed.event = Some(identified(stripe(), "another", "renamed"));
    records.commit(commit([replay(2, stripe(), vec![found, renamed])])).await.expect("commits");

    let rows = events_of(records, 1).await;
    assert_eq!((rows[0].external_id.as_deref(), rows[0].event_type.as_deref()), (Some("a"), Some("paid")));
    assert_eq!(rows[1].external_id.as_deref(), Some("b"), "what is known does not change");
    let asked = ["a", "b", "another"].map(|id| (stripe(), id.to_owned()));
    let owners = records.owners(&asked).await.expect("reads");
    let places: Vec<_> = owners.into_iter().map(|owner| owner.map(|owner| owner.at)).collect();
    assert_eq!(places, [Some(at(1, 0)), Some(at(1, 1)), None]);
}

pub(super) async fn claim_an_id_that_was_not_known_before(records: &dyn Records) {
    let failed = dead_letter(ReasonCode::MappingFailed, "no such field");
    let mut one = delivery(1, stripe()).with("a", "paid", failed.clone()).with("b", "paid", failed);
    let nameless = one.events[0].event.as_mut().expect("identified");
    nameless.external_id = None;
    one.events[0].owns = None;
    records.commit(commit([one])).await.expect("commits");
    // Today's desk names the first, and gives the second another name.
    let claims = |place, id: &str| {
        let mut claiming = again(place, translated(&[id]));
        claiming.event = Some(identified(stripe(), id, "paid"));
        claiming.owns = Some(0);
        claiming
    };
    let events = vec![claims(at(1, 0), "x"), claims(at(1, 1), "y")];
    records.commit(commit([replay(2, stripe(), events)])).await.expect("commits");

    let ids: Vec<_> = events_of(records, 1).await.into_iter().map(|row| row.external_id).collect();
    assert_eq!(ids, [Some("x".to_owned()), Some("y".to_owned())]);
    let asked = ["x", "y", "b"].map(|id| (stripe(), id.to_owned()));
    let owners = records.owners(&asked).await.expect("reads");
    let places: Vec<_> = owners.into_iter().map(|owner| owner.map(|owner| owner.at)).collect();
    assert_eq!(places, [Some(at(1, 0)), Some(at(1, 1)), None]);
}

pub(super) async fn add_items_the_first_attempt_did_not_find(records: &dyn Records) {
    let one = delivery(1, stripe()).unidentified(dead_letter(ReasonCode::Unreadable, "no items"));
    records.commit(commit([one])).await.expect("commits");
    let mut events = vec![again(at(1, 0), Outcome::Unmapped), again(at(1, 1), translated(&["b1"]))];
    events[1].event = Some(identified(stripe(), "b", "paid"));
    events[1].owns = Some(0);
    records.commit(commit([replay(2, stripe(), events)])).await.expect("commits");
    assert_eq!(events_of(records, 1).await.len(), 2);
    let books = records.conservation().await.expect("reads");
    assert_eq!((books.identified, books.orphans), (2, 0));
    assert_eq!(books.outcomes, [(OutcomeKind::Translated, 1), (OutcomeKind::Unmapped, 1)]);
    let filter = DeliveryFilter { external_id: Some("b".to_owned()), limit: 10, ..DeliveryFilter::default() };
    let found = records.events(&filter, None).await.expect("reads");
    assert_eq!((found.len(), found[0].at), (1, at(1, 1)));
}

pub(super) async fn may_name_a_place_twice(records: &dyn Records) {
    records
        .commit(commit([delivery(1, stripe()).with("a", "paid", Outcome::Unmapped)]))
        .await
        .expect("commits");
    let twice = vec![again(at(1, 0), translated(&["a1"])), again(at(1, 0), translated(&["a2"]))];
    records.commit(commit([replay(2, stripe(), twice)])).await.expect("commits");
    assert_eq!(events_of(records, 1).await[0].domain_events, ["a1", "a2"]);
}

pub(super) async fn of_an_unknown_place_are_refused(records: &dyn Records) {
    records.commit(commit([replay(1, stripe(), Vec::new())])).await.expect("commits");
    for place in [at(9, 0), at(1, 0)] {
        let entry = replay(2, stripe(), vec![again(place, Outcome::Unmapped)]);
        assert!(matches!(records.commit(commit([entry])).await, Err(RecordsError::Refused(_))), "{place}");
    }
    assert_eq!(records.conservation().await.expect("reads").worked, 1);
}
