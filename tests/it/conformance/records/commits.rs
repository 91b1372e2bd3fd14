//! Commits of stage 1: all of it or nothing, numbered without gaps.

use douane::{
    ledger::{
        Conservation, CursorMove, DeliveryFilter, EventFilter, Kept, Records, RecordsError,
        TranslationCommit, WorkedKind,
    },
    model::{EntryNumber, EventNumber, Outcome, OutcomeKind, ReasonCode},
};

use super::worked::{
    Filled, at, commit, damaged, dead_letter, delivery, delivery_id, digest, domain_event, github, replay,
    stripe, translated,
};

async fn ids_in_feed(records: &dyn Records) -> Vec<(u64, String)> {
    let feed = records.events_after(EventNumber(0), 100, &EventFilter::default()).await.expect("reads");
    feed.into_iter().map(|event| (event.number.0, event.id)).collect()
}

pub(super) async fn number_domain_events_without_gaps_in_the_order_given(records: &dyn Records) {
    let one = delivery(1, stripe()).with("a", "paid", translated(&["a1", "a2"])).with(
        "b",
        "noise",
        Outcome::Unmapped,
    );
    let two = delivery(2, github()).with("c", "push", translated(&["c1"]));
    assert_eq!(records.commit(commit([one, two])).await.expect("commits"), EventNumber(3));
    let none = delivery(3, stripe()).with("d", "noise", Outcome::Unmapped);
    assert_eq!(records.commit(commit([none])).await.expect("commits"), EventNumber(3));
    let four = delivery(4, stripe()).with("e", "paid", translated(&["e1"]));
    assert_eq!(records.commit(commit([four])).await.expect("commits"), EventNumber(4));
    let expected = [(1, "a1"), (2, "a2"), (3, "c1"), (4, "e1")].map(|(number, id)| (number, id.to_owned()));
    assert_eq!(ids_in_feed(records).await, expected);
    assert_eq!(records.last_event().await.expect("reads"), EventNumber(4));
    assert_eq!(records.first_event().await.expect("reads"), EventNumber(1));
}

pub(super) async fn that_are_refused_in_part_leave_nothing(records: &dyn Records) {
    let good = delivery(1, stripe()).with("a", "paid", translated(&["a1"])).remembered_as("body");
    let mut unknown = domain_event("never published");
    unknown.number = EventNumber(99);
    let bad = delivery(2, stripe()).with("b", "paid", Outcome::Translated { events: vec![unknown] });
    let whole = TranslationCommit {
        cursors: vec![CursorMove::unleased(stripe(), EntryNumber(2))],
        ..commit([good.clone(), bad])
    };
    assert!(matches!(records.commit(whole).await, Err(RecordsError::Refused(_))));

    assert_eq!(records.cursors().await.expect("reads"), []);
    assert_eq!(records.conservation().await.expect("reads"), Conservation::default());
    assert_eq!(ids_in_feed(records).await, []);
    assert_eq!(records.owners(&[(stripe(), "a".to_owned())]).await.expect("reads"), [None]);
    assert_eq!(records.commit(commit([good])).await.expect("commits"), EventNumber(1), "no number is lost");
}

pub(super) async fn of_damage_in_what_is_worked_already_change_nothing(records: &dyn Records) {
    let one = delivery(1, stripe()).with("a", "paid", translated(&["a1"]));
    records.commit(commit([one, damaged(2)])).await.expect("commits");
    let before = records.conservation().await.expect("reads");
    let again = TranslationCommit {
        cursors: vec![CursorMove::unleased(stripe(), EntryNumber(3))],
        ..commit([damaged(1), damaged(2), damaged(3)])
    };
    records.commit(again).await.expect("commits");
    let after = records.conservation().await.expect("reads");
    assert_eq!(
        (after.worked, after.identified),
        (before.worked + 1, before.identified + 1),
        "the third is news"
    );
    let row = records.delivery(delivery_id(1)).await.expect("reads").expect("is there");
    assert_eq!(row.external_events[0].outcome, OutcomeKind::Translated);
}

pub(super) async fn of_a_number_already_worked_are_stale(records: &dyn Records) {
    let one = delivery(1, stripe()).with("a", "paid", translated(&["a1"]));
    records.commit(commit([one.clone()])).await.expect("commits");
    for again in [one, replay(1, stripe(), Vec::new())] {
        let two = delivery(2, stripe()).with("b", "paid", translated(&["b1"]));
        let stale = TranslationCommit {
            cursors: vec![CursorMove::unleased(stripe(), EntryNumber(2))],
            ..commit([two, again])
        };
        assert!(matches!(records.commit(stale).await, Err(RecordsError::Stale(_))));
    }
    assert_eq!(records.conservation().await.expect("reads").worked, 1);
    assert_eq!(records.cursors().await.expect("reads"), []);
}

pub(super) async fn whose_cursor_would_go_back_are_stale(records: &dyn Records) {
    let through = |number| TranslationCommit {
        cursors: vec![CursorMove::unleased(stripe(), EntryNumber(number))],
        ..TranslationCommit::default()
    };
    records.commit(through(5)).await.expect("commits");
    records.commit(through(5)).await.expect("standing still is allowed");
    let back = TranslationCommit { entries: vec![delivery(6, stripe())], ..through(4) };
    assert!(matches!(records.commit(back).await, Err(RecordsError::Stale(_))));
    assert_eq!(records.cursors().await.expect("reads"), [(stripe(), EntryNumber(5))]);
    assert_eq!(records.conservation().await.expect("reads").worked, 0);
}

pub(super) async fn move_each_endpoints_cursor(records: &dyn Records) {
    for (endpoint, through) in [(stripe(), 3), (github(), 1), (stripe(), 7)] {
        let cursors = vec![CursorMove::unleased(endpoint, EntryNumber(through))];
        records.commit(TranslationCommit { cursors, ..TranslationCommit::default() }).await.expect("commits");
    }
    let mut cursors = records.cursors().await.expect("reads");
    cursors.sort();
    assert_eq!(cursors, [(github(), EntryNumber(1)), (stripe(), EntryNumber(7))]);
}

pub(super) async fn may_name_a_cursor_twice_in_its_order(records: &dyn Records) {
    let twice = |first, second| TranslationCommit {
        cursors: [first, second].map(|to| CursorMove::unleased(stripe(), EntryNumber(to))).to_vec(),
        ..TranslationCommit::default()
    };
    records.commit(twice(3, 5)).await.expect("commits");
    assert!(matches!(records.commit(twice(7, 6)).await, Err(RecordsError::Stale(_))));
    assert_eq!(records.cursors().await.expect("reads"), [(stripe(), EntryNumber(5))]);
}

pub(super) async fn of_an_event_that_belongs_elsewhere_are_refused(records: &dyn Records) {
    let mut entry = delivery(1, stripe()).with("a", "paid", Outcome::Unmapped);
    entry.events[0].at = at(2, 0);
    assert!(matches!(records.commit(commit([entry])).await, Err(RecordsError::Refused(_))));
    let mut twice =
        delivery(1, stripe()).with("a", "paid", Outcome::Unmapped).with("b", "paid", Outcome::Unmapped);
    twice.events[1].at = at(1, 0);
    assert!(matches!(records.commit(commit([twice])).await, Err(RecordsError::Refused(_))));
    assert_eq!(records.conservation().await.expect("reads"), Conservation::default());
}

pub(super) async fn keep_every_outcome_with_its_reason(records: &dyn Records) {
    let outcomes = [
        translated(&["a1"]),
        Outcome::Duplicate { of: at(1, 0) },
        Outcome::Conflict { with: at(1, 0) },
        Outcome::Ignored { why: "customers are mastered elsewhere".to_owned() },
        Outcome::Unmapped,
        dead_letter(ReasonCode::MappingFailed, "payment.vrl:3:7: no such field"),
    ];
    let entry = outcomes.iter().fold(delivery(1, stripe()), |entry, outcome| {
        entry.with(&format!("id {}", outcome.kind()), "paid", outcome.clone())
    });
    records.commit(commit([entry])).await.expect("commits");
    let row = records.delivery(delivery_id(1)).await.expect("reads").expect("is there");
    for (event, outcome) in row.external_events.iter().zip(&outcomes) {
        assert_eq!(event.outcome, outcome.kind());
        assert_eq!(event.reason, outcome.reason());
        let repeats = matches!(outcome, Outcome::Duplicate { .. } | Outcome::Conflict { .. });
        assert_eq!(event.duplicate_of, repeats.then(|| delivery_id(1)));
    }
    assert_eq!(row.external_events[0].domain_events, ["a1"]);
    assert_eq!(row.external_events.len(), 6);
}

pub(super) async fn of_damaged_entries_count_one_dead_letter_each(records: &dyn Records) {
    records.commit(commit([delivery(1, stripe()), damaged(2), damaged(3)])).await.expect("commits");
    let books = records.conservation().await.expect("reads");
    assert_eq!((books.worked, books.identified), (3, 2));
    assert_eq!(books.outcomes, [(OutcomeKind::DeadLetter, 2)]);
    assert_eq!(records.lowest_open_dead_letter().await.expect("reads"), None, "no payload is needed");
    let filter = DeliveryFilter { limit: 10, ..DeliveryFilter::default() };
    let events = records.events(&filter, None).await.expect("reads");
    assert_eq!(events.iter().map(|event| event.at).collect::<Vec<_>>(), [at(2, 0), at(3, 0)]);
    assert!(events.iter().all(|event| event.endpoint_name.partner.is_empty()));
    let page = records.deliveries(&filter).await.expect("reads");
    assert_eq!(page.items.len(), 1, "a damaged entry is no delivery");
}

pub(super) async fn balance_the_books(records: &dyn Records) {
    let duplicate = Outcome::Duplicate { of: at(1, 0) };
    let entries = [
        delivery(1, stripe()).with("a", "paid", translated(&["a1", "a2"])).with(
            "b",
            "paid",
            translated(&["b1"]),
        ),
        delivery(2, github()),
        delivery(3, stripe()).with("a", "paid", duplicate),
    ];
    let cursors =
        [(stripe(), 3), (github(), 2)].map(|(of, to)| CursorMove::unleased(of, EntryNumber(to))).to_vec();
    records.commit(TranslationCommit { cursors, ..commit(entries) }).await.expect("commits");
    let expected = Conservation {
        worked: 3,
        highest_worked: EntryNumber(3),
        identified: 3,
        outcomes: vec![(OutcomeKind::Translated, 2), (OutcomeKind::Duplicate, 1)],
        domain_events: 3,
        last_event: EventNumber(3),
        cursors: vec![
            ("github/default".to_owned(), EntryNumber(2)),
            ("stripe/default".to_owned(), EntryNumber(3)),
        ],
        orphans: 0,
    };
    assert_eq!(records.conservation().await.expect("reads"), expected);
}

pub(super) async fn are_kept_as_they_were_worked(records: &dyn Records) {
    let entries = [delivery(1, stripe()), damaged(2), replay(3, stripe(), vec![])];
    records.commit(commit(entries)).await.expect("commits");
    let kept = records.kept(&[3, 9, 1, 2].map(EntryNumber)).await.expect("reads");
    let first = Kept::Received { id: delivery_id(1), size: 2_048, body_sha256: digest("body 1") };
    assert_eq!(kept, [Some(Kept::Replay { id: delivery_id(3) }), None, Some(first), Some(Kept::Damaged)]);
    assert!(records.check().await.expect("reads").is_empty());
}

pub(super) async fn keep_any_words_that_a_partner_may_choose(records: &dyn Records) {
    let odd = "nul \0, quote ', backslash \\x41, emoji 🧾, right-to-left \u{202e}";
    let failed = dead_letter(ReasonCode::MappingAborted, odd);
    let mut one = delivery(1, stripe()).with(odd, odd, translated(&[odd])).with("b", "paid", failed);
    if let WorkedKind::Delivery { meta, .. } = &mut one.kind {
        meta.secret_id = Some(odd.to_owned());
    }
    records.commit(commit([one])).await.expect("commits");
    let filter = DeliveryFilter {
        external_id: Some(odd.to_owned()),
        event_type: Some(odd.to_owned()),
        limit: 1,
        ..DeliveryFilter::default()
    };
    let found = records.events(&filter, None).await.expect("reads");
    assert_eq!(found[0].external_id.as_deref(), Some(odd));
    assert_eq!(found[0].domain_events, [odd]);
    let owners = records.owners(&[(stripe(), odd.to_owned())]).await.expect("reads");
    assert_eq!(owners[0].as_ref().map(|owner| owner.at), Some(at(1, 0)));
    let row = records.delivery(delivery_id(1)).await.expect("reads").expect("is there");
    assert_eq!(row.secret_id.as_deref(), Some(odd));
    let reason = format!("mapping_aborted: {odd}");
    assert_eq!(row.external_events[1].reason.as_deref(), Some(reason.as_str()));
    let nobody = DeliveryFilter { partner: Some(odd.to_owned()), limit: 10, ..DeliveryFilter::default() };
    assert_eq!(records.deliveries(&nobody).await.expect("reads").items, []);
    let none = EventFilter { event_type: Some(odd.to_owned()), partner: Some(odd.to_owned()) };
    assert_eq!(records.events_after(EventNumber(0), 10, &none).await.expect("reads"), []);
}
