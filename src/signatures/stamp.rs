//! Room `signatures`: the time of sending: where it stands, how it is written, and how far from now it may be.

use std::time::Duration;

use serde::Deserialize;

use super::Placed;
use crate::model::Timestamp;

/// How far a timestamp may be from now, in the past or the future, where a scheme does not say.
pub const DEFAULT_TOLERANCE: Duration = Duration::from_mins(5);

/// The time of sending: where it stands, and how far from now it may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Where it stands and how it is written.
    pub at: Placed<StampUnit>,
    /// How far it may be from now, in the past and in the future.
    pub tolerance: Duration,
}

/// How a time of sending is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StampUnit {
    /// Whole seconds since the Unix epoch.
    UnixS,
    /// Whole milliseconds since the Unix epoch.
    UnixMs,
    /// RFC 3339.
    Rfc3339,
    /// The same without a zone, and taken for UTC; how far off that may be is the tolerance's to say.
    Utc,
}

impl StampUnit {
    /// Reads a time strictly: a number is digits only, without leading zeros. `None` when it is not one, or beyond what a clock can say.
    pub fn read(self, text: &str) -> Option<Timestamp> {
        match self {
            Self::Rfc3339 => return Timestamp::from_rfc3339(text),
            Self::Utc if text.ends_with(|last: char| last.is_ascii_digit()) => {
                return Timestamp::from_rfc3339(&format!("{text}Z"));
            }
            Self::Utc => return None,
            Self::UnixS | Self::UnixMs => {}
        }
        let one_spelling =
            text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        let number = one_spelling.then(|| text.parse().ok())??;
        match self {
            Self::UnixS => Timestamp::from_seconds(number),
            _ => Timestamp::from_millis(number),
        }
    }

    /// Writes a time as [`StampUnit::read`] reads it.
    pub fn write(self, at: Timestamp) -> String {
        match self {
            Self::UnixS => at.seconds().to_string(),
            Self::UnixMs => at.millis().to_string(),
            Self::Rfc3339 => at.to_string(),
            Self::Utc => at.to_string().trim_end_matches('Z').to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_time_without_a_zone_is_utc() {
        let read = |text| StampUnit::Utc.read(text).map(|time| StampUnit::Utc.write(time));
        assert_eq!(read("2025-11-06T09:30:01.551").as_deref(), Some("2025-11-06T09:30:01.551"));
        for bad in ["2025-11-06T09:30:01Z", "2025-11-06T09:30:01+01:00", "2025-11-06", "1762420801", "", "Z"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_time_is_digits_and_nothing_else() {
        let seconds = |text| StampUnit::UnixS.read(text).map(Timestamp::seconds);
        assert_eq!(seconds("1531420618"), Some(1_531_420_618));
        for bad in [
            "",
            "01",
            "00",
            "+1",
            "-1",
            " 1",
            "1 ",
            "1.0",
            "1e3",
            "0x1",
            "9223372036854775807",
            "99999999999999999999",
        ] {
            assert_eq!(seconds(bad), None, "{bad:?}");
        }
        assert_eq!(StampUnit::UnixMs.read("1531420618123").map(Timestamp::millis), Some(1_531_420_618_123));
        assert!(StampUnit::Rfc3339.read("2026-11-23T07:41:05.5+01:00").is_some());
        assert!(StampUnit::Rfc3339.read("1531420618").is_none());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".*") {
            for unit in [StampUnit::UnixS, StampUnit::UnixMs, StampUnit::Rfc3339] {
                let _ = unit.read(&text);
            }
        }

        #[test]
        fn a_written_time_reads_back(seconds in 0_i64..4_000_000_000) {
            let at = Timestamp::from_seconds(seconds).expect("in range");
            for unit in [StampUnit::UnixS, StampUnit::UnixMs, StampUnit::Rfc3339] {
                prop_assert_eq!(unit.read(&unit.write(at)), Some(at));
            }
        }
    }
}
