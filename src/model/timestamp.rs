//! Room `model`: a point in time, as a number. Only the `clock` room makes one from the present.

use std::{fmt, time::Duration};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `0001-01-01T00:00:00Z`.
const FIRST_WRITABLE: i64 = -62_135_596_800_000_000;
/// `9999-12-31T23:59:59.999999Z`.
const LAST_WRITABLE: i64 = 253_402_300_799_999_999;

/// Microseconds since the Unix epoch, UTC. Written as RFC 3339 wherever a person or a consumer reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From whole seconds since the Unix epoch; `None` beyond what microseconds can hold.
    pub fn from_seconds(seconds: i64) -> Option<Self> {
        seconds.checked_mul(1_000_000).map(Self)
    }

    /// From milliseconds since the Unix epoch; `None` beyond what microseconds can hold.
    pub fn from_millis(millis: i64) -> Option<Self> {
        millis.checked_mul(1_000).map(Self)
    }

    /// From RFC 3339 text; `None` when it is not that, or in UTC no longer in the years 1 to 9999.
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        Self(DateTime::parse_from_rfc3339(text).ok()?.timestamp_micros()).writable()
    }

    /// From the date of an HTTP header (RFC 9110, IMF-fixdate), as `Mon, 23 Nov 2026 07:41:05 GMT`.
    pub fn from_http_date(text: &str) -> Option<Self> {
        Self::from_seconds(DateTime::parse_from_rfc2822(text).ok()?.timestamp())
    }

    /// This time, where RFC 3339 can write it: in the years 1 to 9999. What a partner or a mapping says comes through here
    /// before it can become the time of an event.
    pub fn writable(self) -> Option<Self> {
        (FIRST_WRITABLE..=LAST_WRITABLE).contains(&self.0).then_some(self)
    }

    /// Microseconds since the Unix epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Milliseconds since the Unix epoch, rounded down.
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// This point moved by a duration into the future; stops at the end of time.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// This point moved by a duration into the past; stops at the beginning of time.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is not after.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::<Utc>::from_timestamp_micros(self.0) {
            Some(time) => f.write_str(&time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
            None => write!(f, "{}us", self.0),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_rfc3339(&text)
            .ok_or_else(|| serde::de::Error::custom("not an RFC 3339 time, as 2026-11-23T07:41:05Z"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_time_that_was_read_is_within_the_years_that_rfc_3339_can_write() {
        let read = |text| Timestamp::from_rfc3339(text).map(|time| time.to_string());
        for edge in ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"] {
            assert_eq!(read(edge).as_deref(), Some(edge));
        }
        for beyond in [
            "0000-12-31T23:59:59Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "9999-12-31T23:59:60Z",
        ] {
            assert_eq!(read(beyond), None, "{beyond}");
        }
        let writable = |seconds| Timestamp::from_seconds(seconds).and_then(Timestamp::writable).is_some();
        assert!(writable(253_402_300_799) && !writable(253_402_300_800));
        assert!(writable(-62_135_596_800) && !writable(-62_135_596_801));
    }

    proptest! {
        #[test]
        fn what_can_be_written_reads_back(
            micros in prop_oneof![any::<i64>(), -62_135_596_900_000_000_i64..=253_402_300_900_000_000],
        ) {
            if let Some(time) = Timestamp::from_micros(micros).writable() {
                let text = time.to_string();
                prop_assert!(text.len() >= 20 && text.as_bytes()[4] == b'-' && text.ends_with('Z'), "{}", text);
                prop_assert_eq!(Timestamp::from_rfc3339(&text), Some(time));
            }
        }
    }
}
