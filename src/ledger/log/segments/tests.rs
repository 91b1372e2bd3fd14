//! Room `ledger`: segments on the real file system, after every kind of end that can be made by hand. What only a
//! failing disk can do is in the seeded simulation.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use uuid::Uuid;

use super::*;
use crate::{
    ledger::{
        Appended, EncodedEntry, IntakeLog, LogError, LogItem, LogReader,
        log::{
            files::OsFolder,
            format::{BATCH_HEADER, BLOCK, BatchHeader},
        },
    },
    model::{EndpointName, Timestamp},
};

const OURS: Incarnation = Incarnation(Uuid::from_u128(1));

/// A log in a folder, and hands to tamper with it.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn files(&self) -> Arc<OsFolder> {
        Arc::new(OsFolder::create(self.0.path()).expect("a folder"))
    }

    fn try_open(
        &self,
        incarnation: Incarnation,
        cursor: u64,
    ) -> Result<(SegmentLog, SegmentReader), OpenError> {
        let options = SegmentOptions {
            incarnation,
            cursor: EntryNumber(cursor),
            segment_bytes: 10 * BLOCK as u64,
            min_free_bytes: 0,
            free_space_poll: Duration::from_secs(1),
        };
        open(self.files(), options)
    }

    fn open(&self) -> (SegmentLog, SegmentReader) {
        self.try_open(OURS, 0).expect("opened")
    }

    /// The segments' files, oldest first.
    fn segments(&self) -> Vec<PathBuf> {
        let mut paths: Vec<_> =
            fs::read_dir(self.0.path()).expect("listed").map(|entry| entry.expect("listed").path()).collect();
        paths.sort();
        paths
    }

    /// Changes the bytes of the newest file that holds a batch, from its `batch`-th batch on.
    fn tamper(&self, batch: usize, change: impl FnOnce(&mut [u8])) {
        let begins = |bytes: &[u8]| -> Vec<usize> {
            (0..bytes.len())
                .step_by(BLOCK)
                .filter(|at| BatchHeader::decode(&bytes[*at..]).is_some())
                .collect()
        };
        for path in self.segments().into_iter().rev() {
            let mut bytes = fs::read(&path).expect("read");
            if let Some(at) = begins(&bytes).get(batch).copied() {
                change(&mut bytes[at..]);
                return fs::write(&path, bytes).expect("written");
            }
        }
        panic!("no such batch");
    }
}

/// Appends a batch of this many entries, each a block and more.
async fn append(log: &mut SegmentLog, count: usize) -> Appended {
    let meta = r#"{"kind":"replay","id":"00000000-0000-0000-0000-000000000001","endpoint":"a/b","events":[],"reissue":false,"by":"x"}"#;
    let entry = |at: usize| {
        EncodedEntry::from_parts(
            EndpointName::new("a", "b"),
            Bytes::from_static(meta.as_bytes()),
            vec![u8::try_from(at).expect("few"); 5_000].into(),
        )
    };
    log.append(Timestamp::from_micros(9), &(0..count).map(entry).collect::<Vec<_>>()).await.expect("kept")
}

/// What stands in the log: `1`, `2` … for entries, `3-5!` for damage.
fn told(reader: &SegmentReader) -> String {
    let items = reader.read_after_blocking(EntryNumber(reader.first().0 - 1), usize::MAX, usize::MAX);
    let tell = |item: LogItem| match item {
        LogItem::Entry(entry) => entry.number.to_string(),
        LogItem::Damaged { first, last, .. } => format!("{first}-{last}!"),
    };
    items.expect("read").into_iter().map(tell).collect::<Vec<_>>().join(" ")
}

fn flip(bytes: &mut [u8]) {
    bytes[BATCH_HEADER + 100] ^= 1;
}

fn flip_header(bytes: &mut [u8]) {
    bytes[20] ^= 1;
}

fn blank(bytes: &mut [u8]) {
    bytes.fill(0);
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_its_numbers_are_given_again() {
    for tear in [flip, flip_header, blank] {
        let home = Home::new();
        let (mut log, _) = home.open();
        append(&mut log, 2).await;
        append(&mut log, 2).await;
        drop(log);
        home.tamper(1, tear);
        let (mut log, reader) = home.open();
        assert_eq!(told(&reader), "1 2");
        assert_eq!(append(&mut log, 1).await.first, EntryNumber(3));
        assert_eq!(told(&reader), "1 2 3");
    }
}

#[tokio::test]
async fn what_a_later_batch_claims_is_damage() {
    for tear in [flip, flip_header] {
        let home = Home::new();
        let (mut log, reader) = home.open();
        append(&mut log, 1).await;
        append(&mut log, 2).await;
        append(&mut log, 1).await;
        home.tamper(1, tear);
        assert_eq!(told(&reader), "1 2-3! 4", "while the writer lives");
        let (damaged, through) = reader.scrub_blocking(EntryNumber(0), usize::MAX).expect("read");
        assert!(matches!(
            &damaged[..],
            [LogItem::Damaged { first: EntryNumber(2), last: EntryNumber(3), .. }]
        ));
        assert_eq!(through, EntryNumber(4));
        let looked_up = reader.entry_blocking(EntryNumber(3)).expect("read");
        assert!(matches!(looked_up, Some(LogItem::Damaged { first: EntryNumber(3), .. })), "{looked_up:?}");
        drop(log);
        for _ in 0..3 {
            let (_, reader) = home.open();
            assert_eq!(told(&reader), "1 2-3! 4", "and after each restart");
        }
    }
}

#[tokio::test]
async fn what_a_cursor_claims_is_damage() {
    for (tear, cursor) in [(flip as fn(&mut [u8]), 2), (flip, 3), (flip_header, 3)] {
        let home = Home::new();
        let (mut log, _) = home.open();
        append(&mut log, 1).await;
        append(&mut log, 2).await;
        drop(log);
        home.tamper(1, tear);
        let (mut log, reader) = home.try_open(OURS, cursor).expect("opened");
        assert_eq!(told(&reader), "1 2-3!");
        assert_eq!(append(&mut log, 1).await.first, EntryNumber(4), "a number is never reused");
        assert_eq!(told(&reader), "1 2-3! 4");
    }
}

#[tokio::test]
async fn a_full_segment_was_fsynced_whatever_it_holds_now() {
    let home = Home::new();
    let (mut log, reader) = home.open();
    for _ in 0..8 {
        append(&mut log, 1).await;
    }
    let oldest = home.segments().remove(0);
    let bytes = fs::read(&oldest).expect("read");
    fs::write(&oldest, &bytes[..bytes.len() - 2 * BLOCK]).expect("written");
    assert_eq!(told(&reader), "1 2 3 4-4! 5 6 7 8");
    let frame = reader.frame_blocking().expect("read");
    assert_eq!(frame, ["4 to 4: the segment ends before these numbers"]);
    drop(log);
    assert_eq!(told(&home.open().1), "1 2 3 4-4! 5 6 7 8");
}

#[tokio::test]
async fn a_damaged_segment_header_costs_no_entry() {
    for restart in [false, true] {
        let home = Home::new();
        let (mut log, _) = home.open();
        for _ in 0..6 {
            append(&mut log, 1).await;
        }
        drop(log);
        if restart {
            drop(home.open());
        }
        for path in home.segments() {
            let mut bytes = fs::read(&path).expect("read");
            bytes[30] ^= 1;
            fs::write(&path, bytes).expect("written");
        }
        let (mut log, reader) = home.open();
        assert_eq!(told(&reader), "1 2 3 4 5 6");
        let damaged = reader.frame_blocking().expect("read");
        assert_eq!(damaged.len(), home.segments().len() - 1, "{damaged:?}");
        assert_eq!(append(&mut log, 1).await.first, EntryNumber(7));
    }
}

#[tokio::test]
async fn restarts_leave_neither_empty_files_nor_reserved_space() {
    let home = Home::new();
    let (mut log, _) = home.open();
    append(&mut log, 1).await;
    drop(log);
    for _ in 0..10 {
        drop(home.open());
    }
    let (_log, reader) = home.open();
    assert_eq!(told(&reader), "1");
    assert_eq!(reader.frame_blocking().expect("read"), [""; 0]);
    let segments = home.segments();
    assert_eq!(segments.len(), 2, "one with the entry, one to write to: {segments:?}");
    assert_eq!(fs::metadata(&segments[0]).expect("there").len(), 3 * BLOCK as u64, "header and batch");
}

#[tokio::test]
async fn a_draft_is_no_segment() {
    let home = Home::new();
    let (mut log, _) = home.open();
    append(&mut log, 1).await;
    drop(log);
    let draft = home.0.path().join("0000000009-00000000000000000009.segment.draft");
    fs::write(&draft, b"half").expect("written");
    assert_eq!(told(&home.open().1), "1");
    assert!(!draft.exists());
}

#[tokio::test]
async fn refuses_what_does_not_belong_together() {
    let home = Home::new();
    let missing = home.try_open(OURS, 5).expect_err("no log");
    assert!(matches!(missing, OpenError::Missing { cursor: EntryNumber(5) }), "{missing}");

    let (mut log, _) = home.open();
    append(&mut log, 2).await;
    drop(log);
    let theirs = Incarnation(Uuid::from_u128(2));
    let other = home.try_open(theirs, 0).expect_err("another ledger");
    assert!(
        matches!(other, OpenError::OtherIncarnation { log: OURS, records } if records == theirs),
        "{other}"
    );
    let beyond = home.try_open(OURS, 3).expect_err("an older log");
    assert!(
        matches!(beyond, OpenError::CursorBeyondEnd { cursor: EntryNumber(3), end: EntryNumber(2) }),
        "{beyond}"
    );
    home.try_open(OURS, 2).expect("nothing was changed by the refusals");
}

#[tokio::test]
async fn a_cursor_far_beyond_a_torn_tail_is_an_older_log() {
    let home = Home::new();
    let (mut log, _) = home.open();
    append(&mut log, 1).await;
    append(&mut log, 1).await;
    drop(log);
    home.tamper(1, flip_header);
    let beyond = home.try_open(OURS, 100_000).expect_err("no bytes that could have held them");
    assert!(matches!(beyond, OpenError::CursorBeyondEnd { end: EntryNumber(1), .. }), "{beyond}");
}

#[tokio::test]
async fn another_process_reads_beside_the_writer_and_changes_nothing() {
    let home = Home::new();
    assert_eq!(told(&open_to_read(home.files()).expect("opened")), "", "an empty folder is an empty log");
    let (mut log, _) = home.open();
    for _ in 0..6 {
        append(&mut log, 1).await;
    }
    let before = home.segments();
    let reader = open_to_read(home.files()).expect("opened");
    assert_eq!(told(&reader), "1 2 3 4 5 6");
    assert_eq!(reader.incarnation(), Some(OURS));
    append(&mut log, 1).await;
    assert_eq!(reader.durable(), EntryNumber(6), "as it was when it was opened");
    let pruned = reader.prune_blocking(Timestamp::from_micros(i64::MAX), EntryNumber(6));
    assert!(matches!(pruned, Err(LogError::Unavailable(_))));
    assert_eq!(home.segments(), before);
}

#[tokio::test]
async fn a_foreign_segment_is_not_served() {
    let (home, other) = (Home::new(), Home::new());
    let (mut log, _) = home.open();
    let (mut theirs, _) = other.try_open(Incarnation(Uuid::from_u128(2)), 0).expect("opened");
    for _ in 0..5 {
        append(&mut log, 1).await;
        append(&mut theirs, 1).await;
    }
    drop(log);
    fs::copy(&other.segments()[0], &home.segments()[0]).expect("swapped");
    let (_, reader) = home.open();
    let read = reader.read_after_blocking(EntryNumber(0), 1, 1);
    assert!(matches!(&read, Err(LogError::Unavailable(why)) if why.contains("another ledger")), "{read:?}");
}

#[tokio::test]
async fn a_later_format_is_refused_by_name() {
    let home = Home::new();
    drop(home.open());
    let path = home.segments().remove(0);
    let mut bytes = fs::read(&path).expect("read");
    bytes[4] = 9;
    let checksum = crc32c::crc32c(&bytes[..BLOCK - 4]).to_le_bytes();
    bytes[BLOCK - 4..BLOCK].copy_from_slice(&checksum);
    fs::write(&path, bytes).expect("written");
    let error = home.try_open(OURS, 0).expect_err("written by a later version");
    assert!(
        matches!(&error, OpenError::Version { version: 9, segment } if path.ends_with(segment)),
        "{error}"
    );
}

#[tokio::test]
async fn a_segment_under_another_name_is_noticed() {
    let home = Home::new();
    let (mut log, reader) = home.open();
    for _ in 0..12 {
        append(&mut log, 1).await;
    }
    assert_eq!(reader.frame_blocking().expect("read"), [""; 0]);
    drop(log);
    let [first, second, ..] = &home.segments()[..] else { panic!("several") };
    fs::copy(second, first).expect("copied");
    let wrong = open_to_read(home.files()).expect("opened").frame_blocking().expect("read");
    assert!(
        matches!(&wrong[..], [one] if one.ends_with("its header is that of another segment")),
        "{wrong:?}"
    );
}
