//! Room `ledger`: the names of segment files. A name says where the segment stands and which number it begins with, so
//! that opening a log with a million entries reads a folder, not files.

use std::fmt;

use crate::model::EntryNumber;

const SUFFIX: &str = ".segment";
const DRAFT: &str = ".draft";

/// The name of a segment: `<sequence>-<first number>.segment`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SegmentName {
    /// Its place among the segments, from 1. A later one supersedes what an earlier one says about the same numbers.
    pub(super) sequence: u64,
    /// The number of its first entry.
    pub(super) first: EntryNumber,
}

impl SegmentName {
    /// Reads a file name; `None` when it is not a segment's.
    pub(super) fn parse(file_name: &str) -> Option<Self> {
        let (sequence, first) = file_name.strip_suffix(SUFFIX)?.split_once('-')?;
        let name = Self { sequence: sequence.parse().ok()?, first: EntryNumber(first.parse().ok()?) };
        (name.first.0 > 0 && name.to_string() == file_name).then_some(name)
    }

    /// The file name it has until it is complete and fsynced.
    pub(super) fn draft(self) -> String {
        format!("{self}{DRAFT}")
    }

    /// Whether a file is a draft: left behind by an interruption, and never part of the log.
    pub(super) fn is_draft(file_name: &str) -> bool {
        file_name.strip_suffix(DRAFT).and_then(Self::parse).is_some()
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010}-{:020}{SUFFIX}", self.sequence, self.first.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_nothing_else() {
        let name = SegmentName { sequence: 7, first: EntryNumber(12_345) };
        assert_eq!(name.to_string(), "0000000007-00000000000000012345.segment");
        assert_eq!(SegmentName::parse(&name.to_string()), Some(name));
        assert!(SegmentName::is_draft(&name.draft()));
        for other in ["", "lock", "7-12345.segment", "0000000007-00000000000000000000.segment", "x.draft"] {
            assert_eq!(SegmentName::parse(other), None, "{other}");
            assert!(!SegmentName::is_draft(other), "{other}");
        }
        assert_eq!(SegmentName::parse(&name.draft()), None);
    }
}
