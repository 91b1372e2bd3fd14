//! Room `ledger`: where in a segment a number stands, about. Sparse and filled as batches are written or passed, so
//! that a look-up reads at most about a mebibyte of headers and a segment costs a few kilobytes of memory.

use std::sync::{Mutex, PoisonError};

use crate::model::EntryNumber;

/// At least so many bytes lie between two points that are kept.
const SPACING: u64 = 1024 * 1024;

/// A batch: the number of its first entry, and where in the file it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    /// The batch's first number.
    pub(super) number: EntryNumber,
    /// Its first byte in the file.
    pub(super) offset: u64,
}

/// Some of a segment's batches, in order.
#[derive(Debug, Default)]
pub(super) struct Index {
    points: Mutex<Points>,
}

#[derive(Debug, Default)]
struct Points {
    spaced: Vec<Point>,
    resume: Option<Point>,
}

impl Index {
    /// Keeps a batch when it is far enough behind the last one kept.
    pub(super) fn pass(&self, point: Point) {
        let mut points = self.points.lock().unwrap_or_else(PoisonError::into_inner);
        if points.spaced.last().is_none_or(|last| point.offset >= last.offset + SPACING) {
            points.spaced.push(point);
        }
    }

    /// Keeps where a reader stopped: it will probably go on there.
    pub(super) fn pause(&self, point: Point) {
        self.points.lock().unwrap_or_else(PoisonError::into_inner).resume = Some(point);
    }

    /// The nearest known batch at or before a number.
    pub(super) fn before(&self, number: EntryNumber) -> Option<Point> {
        let points = self.points.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = points.spaced.partition_point(|point| point.number <= number);
        let spaced = behind.checked_sub(1).and_then(|at| points.spaced.get(at)).copied();
        let resume = points.resume.filter(|point| point.number <= number);
        spaced.into_iter().chain(resume).max_by_key(|point| point.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(number: u64, offset: u64) -> Point {
        Point { number: EntryNumber(number), offset }
    }

    #[test]
    fn finds_the_nearest_batch_before() {
        let index = Index::default();
        assert_eq!(index.before(EntryNumber(5)), None);
        index.pass(point(1, 4_096));
        index.pass(point(2, 8_192));
        index.pass(point(9, SPACING + 4_096));
        assert_eq!(index.before(EntryNumber(8)), Some(point(1, 4_096)), "2 was too near to be kept");
        assert_eq!(index.before(EntryNumber(9)), Some(point(9, SPACING + 4_096)));
        index.pause(point(6, 20_000));
        assert_eq!(index.before(EntryNumber(8)), Some(point(6, 20_000)));
        assert_eq!(index.before(EntryNumber(5)), Some(point(1, 4_096)));
    }
}
