//! What only records in a file promise: to be there again, and to be read beside their writer.

use std::{
    future::Future,
    path::PathBuf,
    sync::Arc,
    task::{Context, Waker},
};

use douane::{
    ledger::{
        CursorMove, DeliveryFilter, EventFilter, FeedRecords, InspectRecords, RecordsError,
        TranslationCommit, TranslationRecords,
        records::{OpenError, SqliteRecords},
    },
    model::{EntryNumber, EventNumber, Incarnation, Outcome},
};
use uuid::Uuid;

use super::{
    LEDGER,
    worked::{Filled, at, commit, delivery, digest, stripe, time_of, translated},
};

fn created() -> (tempfile::TempDir, PathBuf, SqliteRecords) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("records.sqlite");
    let records = SqliteRecords::create(&path, LEDGER).expect("are made");
    (folder, path, records)
}

fn entry(number: u64) -> TranslationCommit {
    let id = format!("id {number}");
    let entry = delivery(number, stripe()).with(&id, "paid", translated(&[id.as_str()]));
    let cursors = vec![CursorMove::unleased(stripe(), EntryNumber(number))];
    TranslationCommit { cursors, ..commit([entry.remembered_as(&id)]) }
}

#[tokio::test]
async fn everything_is_there_again() {
    let (folder, path, records) = created();
    records.commit(entry(1)).await.expect("commits");
    let before = records.conservation().await.expect("reads");
    drop(records);
    let files: Vec<_> = folder.path().read_dir().expect("lists").flatten().collect();
    assert_eq!(files.len(), 1, "one file holds it all: {files:?}");

    let records = SqliteRecords::open(&path, LEDGER).expect("opens");
    assert_eq!(records.incarnation(), LEDGER);
    assert_eq!(records.conservation().await.expect("reads"), before);
    let owners = records.owners(&[(stripe(), "id 1".to_owned())]).await.expect("reads");
    assert_eq!(owners[0].as_ref().map(|owner| owner.at), Some(at(1, 0)));
    let bodies = records.same_bodies(&[(stripe(), digest("id 1"))], time_of(0)).await.expect("reads");
    assert_eq!(bodies, [Some(EntryNumber(1))]);
    assert!(matches!(records.commit(entry(1)).await, Err(RecordsError::Stale(_))));
    assert_eq!(records.commit(entry(2)).await.expect("commits"), EventNumber(2), "numbers go on");
}

#[tokio::test]
async fn another_ledgers_records_are_refused() {
    let (_folder, path, records) = created();
    drop(records);
    let other = Incarnation(Uuid::from_u128(8));
    assert!(matches!(SqliteRecords::open(&path, other), Err(OpenError::AnotherIncarnation { .. })));
    assert!(matches!(SqliteRecords::open_read_only(&path, other), Err(OpenError::AnotherIncarnation { .. })));
    assert!(matches!(SqliteRecords::create(&path, LEDGER), Err(OpenError::Exists(_))));
    let elsewhere = path.with_file_name("elsewhere.sqlite");
    assert!(matches!(SqliteRecords::open(&elsewhere, LEDGER), Err(OpenError::Missing(_))));
    assert!(!elsewhere.exists());
}

#[tokio::test]
async fn readers_stand_beside_the_writer_and_write_nothing() {
    let (_folder, path, writer) = created();
    let reader = SqliteRecords::open_read_only(&path, LEDGER).expect("opens");
    let filter =
        DeliveryFilter { external_id: Some("id 2".to_owned()), limit: 10, ..DeliveryFilter::default() };
    for number in 1..=2 {
        writer.commit(entry(number)).await.expect("commits");
        assert_eq!(reader.last_event().await.expect("reads"), EventNumber(number), "sees each commit");
    }
    assert_eq!(reader.deliveries(&filter).await.expect("reads").items.len(), 1);
    assert_eq!(reader.cursors().await.expect("reads"), [(stripe(), EntryNumber(2))]);
    assert!(matches!(reader.commit(entry(3)).await, Err(RecordsError::Unavailable(_))));
    assert!(matches!(reader.owners(&[]).await, Err(RecordsError::Unavailable(_))));

    drop(writer);
    let feed = reader.events_after(EventNumber(0), 10, &EventFilter::default()).await.expect("reads");
    assert_eq!(feed.len(), 2, "also when the writer has gone");
    drop(reader);
    let reader = SqliteRecords::open_read_only(&path, LEDGER).expect("opens without a writer");
    assert_eq!(reader.last_event().await.expect("reads"), EventNumber(2));
}

#[tokio::test]
async fn many_readers_and_a_writer_at_once() {
    let (_folder, _path, records) = created();
    let records = Arc::new(records);
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let records = Arc::clone(&records);
            tokio::spawn(async move {
                for _ in 0..20 {
                    let books = records.conservation().await.expect("reads");
                    assert_eq!(books.identified, books.domain_events, "never half a commit");
                    assert_eq!(books.highest_worked.0, books.worked);
                }
            })
        })
        .collect();
    for number in 1..=20 {
        records.commit(entry(number)).await.expect("commits");
    }
    for reader in readers {
        reader.await.expect("reads");
    }
}

#[tokio::test]
async fn data_that_does_not_fit_is_refused() {
    let (_folder, _path, records) = created();
    let mut beyond = delivery(1, stripe()).with("a", "paid", Outcome::Unmapped);
    beyond.events[0].at.ordinal = 65_536;
    assert!(matches!(records.commit(commit([beyond])).await, Err(RecordsError::Refused(_))));
}

#[tokio::test]
async fn a_call_nobody_waits_for_is_done_whole_or_not_at_all() {
    let (_folder, _path, records) = created();
    let mut abandoned = Box::pin(records.commit(entry(1)));
    let _ = abandoned.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    drop(abandoned);
    // Whichever of the two comes first, the other finds all of it.
    let second = records.commit(entry(1)).await;
    assert!(matches!(second, Ok(EventNumber(1)) | Err(RecordsError::Stale(_))), "{second:?}");
    let books = records.conservation().await.expect("reads");
    assert_eq!((books.worked, books.domain_events), (1, 1));
}
