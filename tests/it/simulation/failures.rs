//! The failure table of the intake log, line by line, on a disk that fails when told.

use std::{sync::Arc, time::Duration};

use douane::{
    ledger::{
        AppendError, EncodedEntry, IntakeLog, LogReader,
        log::segments::{SegmentLog, SegmentOptions, SegmentReader, open},
    },
    model::{EndpointName, EntryNumber, Incarnation, Timestamp},
};
use uuid::Uuid;

use super::disk::{Death, Faults, SimDisk};

fn open_log(disk: &SimDisk) -> (SegmentLog, SegmentReader) {
    let options = SegmentOptions {
        incarnation: Incarnation(Uuid::from_u128(1)),
        cursor: EntryNumber(0),
        segment_bytes: 64 * 1024,
        min_free_bytes: 1_000,
        free_space_poll: Duration::from_secs(5),
    };
    open(Arc::new(disk.clone()), options).expect("opened")
}

fn one() -> Vec<EncodedEntry> {
    vec![EncodedEntry::from_parts(EndpointName::new("a", "b"), "{}".into(), vec![1; 10_000].into())]
}

fn second(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds).expect("a time")
}

#[tokio::test]
async fn a_failed_write_is_cut_back_and_the_next_one_goes_on() {
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let (mut log, reader) = open_log(&disk);
        log.append(second(1), &one()).await.expect("kept");
        disk.set_faults(Faults { write: 1, ..Faults::default() });
        // A failed write may still have taken every byte; it is one of the ways to fail.
        let failed = log.append(second(2), &one()).await;
        disk.set_faults(Faults::default());
        if failed.is_ok() {
            continue;
        }
        assert!(matches!(failed, Err(AppendError::NotWritten(_))), "{failed:?}");
        assert_eq!(reader.durable(), EntryNumber(1));
        assert_eq!(log.append(second(3), &one()).await.expect("kept").first, EntryNumber(2));
    }
}

#[tokio::test]
async fn a_failed_fsync_ends_the_writer_for_good() {
    let disk = SimDisk::new(1);
    let (mut log, reader) = open_log(&disk);
    log.append(second(1), &one()).await.expect("kept");
    disk.set_faults(Faults { sync: 1, ..Faults::default() });
    assert!(matches!(log.append(second(2), &one()).await, Err(AppendError::Unknown(_))));
    disk.set_faults(Faults::default());
    assert!(matches!(log.append(second(3), &one()).await, Err(AppendError::Unknown(_))), "never retried");
    assert_eq!(reader.durable(), EntryNumber(1));
}

#[tokio::test]
async fn failing_to_cut_back_ends_the_writer_for_good() {
    let disk = SimDisk::new(1);
    let (mut log, _) = open_log(&disk);
    disk.die_after(0, Death::Process);
    assert!(matches!(log.append(second(1), &one()).await, Err(AppendError::Unknown(_))));
    disk.restart(Death::Process);
    assert!(matches!(log.append(second(2), &one()).await, Err(AppendError::Unknown(_))));
}

#[tokio::test]
async fn low_space_refuses_until_there_is_space_again() {
    let disk = SimDisk::new(1);
    let (mut log, _) = open_log(&disk);
    log.append(second(0), &one()).await.expect("kept");
    disk.set_free_bytes(999);
    log.append(second(4), &one()).await.expect("not looked at again yet");
    assert!(matches!(log.append(second(5), &one()).await, Err(AppendError::LowSpace)));
    disk.set_free_bytes(1_000);
    assert!(matches!(log.append(second(6), &one()).await, Err(AppendError::LowSpace)));
    assert_eq!(log.append(second(10), &one()).await.expect("kept").first, EntryNumber(3));
    disk.set_free_bytes(0);
    let set_back = log.append(second(1), &one()).await;
    assert!(matches!(set_back, Err(AppendError::LowSpace)), "a clock set back does not stop the looking");
}

#[tokio::test]
async fn a_segment_that_cannot_be_begun_is_tried_again() {
    let disk = SimDisk::new(1);
    let (mut log, reader) = open_log(&disk);
    for _ in 0..5 {
        log.append(second(1), &one()).await.expect("kept");
    }
    disk.set_faults(Faults { other: 1, ..Faults::default() });
    assert!(matches!(log.append(second(2), &one()).await, Err(AppendError::NotWritten(_))));
    disk.set_faults(Faults::default());
    assert_eq!(log.append(second(2), &one()).await.expect("kept").first, EntryNumber(6));
    assert_eq!(reader.durable(), EntryNumber(6));
}
