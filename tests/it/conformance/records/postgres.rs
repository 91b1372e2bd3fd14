//! What only records in a database promise: to be there again after its death, to be shared by processes, to lie in
//! partitions, and to lose nothing when an answer is lost.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Waker},
    time::Duration,
};

use douane::{
    ledger::{
        ActRecords, CursorMove, DeliveryFilter, EventFilter, FeedRecords, InspectRecords, JournalEntry,
        Leave, Publication, PublicationFilter, PublicationRecords, RecordsError, Tenured, TranslationCommit,
        TranslationRecords,
        postgres::{Database, Partition, detach, drop_detached, migrate, partitions},
        records::PostgresRecords,
    },
    model::{EndpointName, EntryNumber, EventNumber, Outcome, OutcomeKind},
};

use super::worked::{Filled, at, commit, damaged, delivery, digest, stripe, time_of, translated};
use crate::servers::postgres::Postgres;

const DAY: Duration = Duration::from_hours(24);

pub(super) async fn created() -> (Postgres, PostgresRecords) {
    let server = Postgres::start();
    let records = opened(&server).await;
    (server, records)
}

/// The records as one more process opens them.
async fn opened(server: &Postgres) -> PostgresRecords {
    let database = server.database("ledger");
    migrate(&database).await.expect("migrated");
    PostgresRecords::open(database, DAY).await.expect("open")
}

fn entry(number: u64) -> TranslationCommit {
    of(number, stripe())
}

fn of(number: u64, endpoint: EndpointName) -> TranslationCommit {
    let id = format!("id {number}");
    let entry = delivery(number, endpoint.clone()).with(&id, "paid", translated(&[id.as_str()]));
    let cursors = vec![CursorMove::unleased(endpoint, EntryNumber(number))];
    TranslationCommit { cursors, ..commit([entry.remembered_as(&id)]) }
}

#[tokio::test]
async fn everything_is_there_again() {
    let (mut server, records) = created().await;
    records.commit(entry(1)).await.expect("commits");
    let before = records.conservation().await.expect("reads");
    let ledger = records.incarnation();
    drop(records);
    server.stop_at_once();
    server.start_again();

    let records = opened(&server).await;
    assert_eq!(records.incarnation(), ledger);
    assert_eq!(records.conservation().await.expect("reads"), before);
    let owners = records.owners(&[(stripe(), "id 1".to_owned())]).await.expect("reads");
    assert_eq!(owners[0].as_ref().map(|owner| owner.at), Some(at(1, 0)));
    let bodies = records.same_bodies(&[(stripe(), digest("id 1"))], time_of(0)).await.expect("reads");
    assert_eq!(bodies, [Some(EntryNumber(1))]);
    assert!(matches!(records.commit(entry(1)).await, Err(RecordsError::Stale(_))));
    assert_eq!(records.commit(entry(2)).await.expect("commits"), EventNumber(2), "numbers go on");
}

#[tokio::test]
async fn records_of_a_schema_that_nobody_migrated_are_not_opened() {
    let server = Postgres::start();
    let unopened = PostgresRecords::open(server.database("ledger"), DAY).await.expect_err("nothing is there");
    assert!(unopened.to_string().contains("migrations are missing: ledger"), "{unopened}");
}

#[tokio::test]
async fn data_that_does_not_fit_is_refused() {
    let (_server, records) = created().await;
    let mut beyond = delivery(1, stripe()).with("a", "paid", Outcome::Unmapped);
    beyond.events[0].at.ordinal = 65_536;
    assert!(matches!(records.commit(commit([beyond])).await, Err(RecordsError::Refused(_))));
    let long = "x".repeat(1 << 20);
    let noise: String = (0..500).map(|n| hex::encode(digest(&n.to_string()))).collect();
    let indexed = delivery(1, stripe()).with(&noise, "paid", Outcome::Unmapped);
    let refused = records.commit(commit([indexed])).await.expect_err("no index takes it");
    assert!(matches!(&refused, RecordsError::Refused(why) if !why.contains(&noise[..8])), "{refused}");
    let fits = delivery(1, stripe()).with("a", "paid", Outcome::Ignored { why: long });
    records.commit(commit([fits])).await.expect("commits");
}

#[tokio::test]
async fn of_two_processes_that_work_the_same_entries_one_is_stale() {
    let (server, one) = created().await;
    let other = opened(&server).await;
    for number in 1..=20 {
        let (first, second) = tokio::join!(one.commit(entry(number)), other.commit(entry(number)));
        let outcomes = [&first, &second];
        assert_eq!(outcomes.iter().filter(|done| done.is_ok()).count(), 1, "{outcomes:?}");
        assert_eq!(outcomes.iter().filter(|done| matches!(done, Err(RecordsError::Stale(_)))).count(), 1);
    }
    let books = one.conservation().await.expect("reads");
    assert_eq!((books.worked, books.domain_events, books.last_event), (20, 20, EventNumber(20)));
}

#[tokio::test]
async fn whoever_reads_after_a_number_misses_none_although_many_commit_at_once() {
    const WRITERS: u64 = 4;
    const COMMITS: u64 = 40;
    let (server, reader) = created().await;
    let writers: Vec<_> = (0..WRITERS).map(|_| opened(&server)).collect();
    let mut writing = Vec::new();
    for (writer, records) in (0_u64..).zip(writers) {
        let records = records.await;
        writing.push(tokio::spawn(async move {
            let endpoint = EndpointName::new("stripe", format!("endpoint {writer}"));
            for n in 0..COMMITS {
                records.commit(of(1 + n * WRITERS + writer, endpoint.clone())).await.expect("commits");
            }
        }));
    }
    let mut seen = 0;
    while seen < WRITERS * COMMITS {
        let feed = reader.events_after(EventNumber(seen), 7, &EventFilter::default()).await.expect("reads");
        for event in feed {
            seen += 1;
            assert_eq!(event.number.0, seen);
        }
    }
    for writer in writing {
        writer.await.expect("wrote");
    }
}

async fn partitions_of(database: &Database, table: &str) -> Vec<Partition> {
    let session = database.session().await.expect("lent");
    partitions(&session, table).await.expect("listed")
}

async fn drop_one(database: &Database, table: &str, partition: &Partition) {
    let session = database.session().await.expect("lent");
    detach(&session, table, partition).await.expect("detached");
    drop_detached(&session, partition).await.expect("dropped");
}

/// Commits entries `1..=last` one after another as the stage does: when an answer is lost, the cursors say what to do next.
async fn commit_all(records: &PostgresRecords, last: u64) {
    let (mut next, mut tenure) = (1, records.tenure());
    while next <= last {
        match records.commit(TranslationCommit { tenure, ..entry(next) }).await {
            Ok(_) => next += 1,
            Err(RecordsError::Unavailable(_) | RecordsError::Stale(_)) => {
                tenure = records.tenure();
                if let Ok(cursors) = records.cursors().await {
                    next = cursors.first().map_or(1, |(_, through)| through.0 + 1);
                }
            }
            Err(other) => panic!("{other}"),
        }
    }
}

async fn holds_exactly(records: &PostgresRecords, last: u64) {
    let books = records.conservation().await.expect("reads");
    assert_eq!((books.worked, books.highest_worked, books.identified), (last, EntryNumber(last), last));
    assert_eq!((books.domain_events, books.last_event, books.orphans), (last, EventNumber(last), 0));
    assert_eq!(books.outcomes, [(OutcomeKind::Translated, last)]);
    let feed =
        records.events_after(EventNumber(0), usize::MAX, &EventFilter::default()).await.expect("reads");
    let ids: Vec<_> = feed.into_iter().map(|event| event.id).collect();
    assert_eq!(ids, (1..=last).map(|number| format!("id {number}")).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_answers_are_lost_nothing_is_lost_and_nothing_is_there_twice() {
    let (server, records) = created().await;
    let (server, done) = (Arc::new(server), Arc::new(AtomicBool::new(false)));
    let (target, over) = (Arc::clone(&server), Arc::clone(&done));
    let killer = tokio::task::spawn_blocking(move || {
        let mut ended = 0;
        while !over.load(Ordering::SeqCst) {
            ended += target.terminate_sessions();
        }
        ended
    });
    commit_all(&records, 150).await;
    done.store(true, Ordering::SeqCst);
    assert!(killer.await.expect("ran") > 3);
    holds_exactly(&opened(&server).await, 150).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_amid_commits_loses_none() {
    let (mut server, records) = created().await;
    let records = Arc::new(records);
    let working = Arc::clone(&records);
    let commits = tokio::spawn(async move { commit_all(&working, 300).await });
    for reached in [20, 60, 120] {
        while records.last_event().await.is_ok_and(|last| last.0 < reached) {}
        server.stop_at_once();
        server.start_again();
    }
    commits.await.expect("ran");
    holds_exactly(&records, 300).await;
}

#[tokio::test]
async fn a_call_nobody_waits_for_is_done_whole_or_not_at_all() {
    let (_server, records) = created().await;
    for number in 1..=10 {
        let mut abandoned = Box::pin(records.commit(entry(number)));
        let _ = abandoned.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let _ = tokio::time::timeout(Duration::from_millis(number), abandoned).await;
        let second = records.commit(entry(number)).await;
        assert!(matches!(second, Ok(_) | Err(RecordsError::Stale(_))), "{second:?}");
    }
    holds_exactly(&records, 10).await;
}

#[tokio::test]
async fn another_epoch_makes_a_commit_stale() {
    let (server, records) = created().await;
    records.commit(entry(1)).await.expect("commits");
    records.introduce_broker("audit", EventNumber(0), time_of(1)).await.expect("is introduced");
    server.sql("UPDATE ledger.cursors SET epoch = 1; UPDATE ledger.brokers SET epoch = 1");
    assert!(matches!(records.commit(entry(2)).await, Err(RecordsError::Stale(_))));
    assert!(matches!(
        records.note_published("audit", &[], EventNumber(1), Leave::ALONE).await,
        Err(RecordsError::Stale(_))
    ));
    assert_eq!(records.conservation().await.expect("reads").worked, 1);
}

#[tokio::test]
async fn another_tenure_makes_a_commit_stale() {
    let (mut server, records) = created().await;
    records.commit(entry(1)).await.expect("commits");
    records.introduce_broker("audit", EventNumber(0), time_of(1)).await.expect("is introduced");
    let before = records.tenure();
    server.stop();
    server.start_again();
    // Reading is enough to learn it, once the old connection has said that it ended.
    while records.tenure() == before {
        let _ = records.last_event().await;
    }
    let (late, now) =
        (Leave { tenure: before, ..Leave::ALONE }, Leave { tenure: records.tenure(), ..Leave::ALONE });
    for (leave, is_stale) in [(late, true), (now, false)] {
        let committed = records.commit(TranslationCommit { tenure: leave.tenure, ..entry(2) }).await;
        let noted = records.note_published("audit", &[], EventNumber(1), leave).await;
        assert_eq!(matches!(committed, Err(RecordsError::Stale(_))), is_stale, "{committed:?}");
        assert_eq!(matches!(noted, Err(RecordsError::Stale(_))), is_stale, "{noted:?}");
    }
    holds_exactly(&records, 2).await;
}

#[tokio::test]
async fn damage_that_several_meet_is_worked_once_whatever_time_they_guess() {
    let (server, one) = created().await;
    let other = opened(&server).await;
    let mut guessed = damaged(2);
    guessed.received_at = time_of(0).minus(DAY * 3);
    let (first, second) = tokio::join!(one.commit(commit([damaged(2)])), other.commit(commit([guessed])));
    first.expect("commits");
    second.expect("commits");
    let books = one.conservation().await.expect("reads");
    assert_eq!((books.worked, books.identified, books.orphans), (1, 1, 0));
    assert_eq!(one.damaged(10).await.expect("reads").len(), 1);
    let late = one.commit(commit([delivery(2, stripe())])).await;
    assert!(matches!(late, Err(RecordsError::Stale(_))), "the number is worked");
}

#[tokio::test]
async fn what_grows_lies_in_partitions_that_can_be_dropped() {
    let (server, records) = created().await;
    let days = [0, 1, 2, 40];
    for (number, day) in (1..).zip(days) {
        let mut later = entry(number);
        later.now = time_of(number).plus(DAY * day);
        later.entries[0].received_at = later.now;
        records.commit(later).await.expect("commits");
    }
    let journalled = JournalEntry {
        at: time_of(1),
        who: "cli".to_owned(),
        act: "payload.read".to_owned(),
        subject: "a delivery".to_owned(),
        detail: serde_json::json!({}),
    };
    records.journal(journalled).await.expect("is kept");
    let database = server.database("ledger");
    let grows = ["entries", "external_events", "superseded", "domain_events", "publications", "journal"];
    for table in grows {
        let parts = partitions_of(&database, table).await;
        assert!(parts.iter().any(|part| part.starts <= time_of(1) && time_of(1) < part.ends), "{table}");
        drop_one(&database, table, &parts[0]).await;
    }
    let books = records.conservation().await.expect("reads");
    assert_eq!((books.worked, books.domain_events, books.last_event), (3, 3, EventNumber(4)));
    assert_eq!(records.first_event().await.expect("reads"), EventNumber(2));
    let all = DeliveryFilter { limit: 10, ..DeliveryFilter::default() };
    let left = records.deliveries(&all).await.expect("reads").items;
    assert_eq!(left.iter().map(|row| row.number.0).collect::<Vec<_>>(), [4, 3, 2]);
    let from = DeliveryFilter { from: Some(time_of(3).plus(DAY * 2)), ..all };
    assert_eq!(records.deliveries(&from).await.expect("reads").items.len(), 2);
    let owners = records.owners(&[(stripe(), "id 1".to_owned())]).await.expect("reads");
    assert!(owners[0].is_some(), "ids outlive what they were found in");
}

#[tokio::test]
async fn a_partition_that_somebody_dropped_is_made_again() {
    let (server, records) = created().await;
    records.commit(entry(1)).await.expect("commits");
    let database = server.database("ledger");
    for table in ["entries", "external_events"] {
        for partition in partitions_of(&database, table).await {
            drop_one(&database, table, &partition).await;
        }
    }
    let missing = records.commit(entry(2)).await;
    assert!(
        matches!(missing, Err(RecordsError::Unavailable(_))),
        "nothing is wrong with the data: {missing:?}"
    );
    assert_eq!(records.commit(entry(2)).await.expect("commits"), EventNumber(2));
}

#[tokio::test]
async fn what_was_published_is_told_when_the_event_was_dropped() {
    let (server, records) = created().await;
    records.commit(entry(1)).await.expect("commits");
    records.introduce_broker("audit", EventNumber(0), time_of(1)).await.expect("is introduced");
    let placed = Publication::Placed { event: EventNumber(1), position: "AUDIT/1".to_owned() };
    records.note_published("audit", &[placed], EventNumber(1), Leave::ALONE).await.expect("is noted");
    let filter =
        PublicationFilter { position: Some("AUDIT/1".to_owned()), limit: 10, ..PublicationFilter::default() };
    let before = records.publications(&filter).await.expect("reads");
    assert_eq!((before[0].id.as_deref(), before[0].external_id.as_deref()), (Some("id 1"), Some("id 1")));
    let database = server.database("ledger");
    for partition in partitions_of(&database, "domain_events").await {
        drop_one(&database, "domain_events", &partition).await;
    }
    let after = records.publications(&filter).await.expect("reads");
    assert_eq!((after.len(), after[0].event, &after[0].id), (1, EventNumber(1), &None));
}
