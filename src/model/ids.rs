//! Room `model`: names and numbers. Each is a type of its own, so that one can never stand for another.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use uuid::{NoContext, Uuid};

use super::Timestamp;

/// The id of a delivery, as partners and auditors see it: a UUIDv7 (RFC 9562), so that ids sort by time
/// and tell a partner nothing about other partners' traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeliveryId(pub Uuid);

impl DeliveryId {
    /// A new id: its time is `now`, the rest random.
    pub fn drawn_at(now: Timestamp) -> Self {
        let seconds = u64::try_from(now.seconds()).unwrap_or(0);
        let nanos = u32::try_from(now.micros().rem_euclid(1_000_000) * 1_000).unwrap_or(0);
        Self(Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, seconds, nanos)))
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for DeliveryId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

/// The place of an entry in the intake log. The first is 1; numbers are never skipped and never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EntryNumber(pub u64);

impl EntryNumber {
    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for EntryNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The place of a domain event in the feed. The first is 1; given at commit, never skipped, never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventNumber(pub u64);

impl EventNumber {
    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for EventNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which of a lease's holders this is: every holder has a higher one, and a cursor moves only by leave of the present one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// That of what nobody ever leased: where one process works alone.
    pub const UNLEASED: Self = Self(0);
}

/// Which of the servers that hold the ledger one after another, as this process has met them: counted from 0, and never back.
/// What was read under one tenure is not acted upon under the next: the server that took over may lack the end of what the
/// one before it confirmed, and give its numbers again. A ledger in the data folder has the first tenure and no other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tenure(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One external event of the ledger: the delivery's number and the event's place in that delivery (from 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EventRef {
    /// The delivery's number in the intake log.
    pub number: EntryNumber,
    /// The event's place among the delivery's items, from 0.
    pub ordinal: u32,
}

impl fmt::Display for EventRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.number, self.ordinal)
    }
}

/// `partner/endpoint`: one address of a partner, and the unit in which translation is shared out.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EndpointName {
    /// The partner's folder name.
    pub partner: Arc<str>,
    /// The endpoint's name; `default` answers `/in/<partner>` too.
    pub endpoint: Arc<str>,
}

impl EndpointName {
    /// Names an endpoint.
    pub fn new(partner: impl Into<Arc<str>>, endpoint: impl Into<Arc<str>>) -> Self {
        Self { partner: partner.into(), endpoint: endpoint.into() }
    }
}

impl fmt::Display for EndpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.partner, self.endpoint)
    }
}

/// The content hash of a desk: 64 hex digits of SHA-256 over its files.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub Arc<str>);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The random identity of a ledger. Segments and records carry it, so that halves of two ledgers never mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(pub Uuid);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delivery_ids_carry_the_clocks_time_and_differ() {
        let now = Timestamp::from_rfc3339("2026-11-23T07:41:05.123Z").expect("a time");
        let (a, b) = (DeliveryId::drawn_at(now), DeliveryId::drawn_at(now));
        assert_ne!(a, b);
        assert_eq!(a.0.get_version_num(), 7);
        assert_eq!(a.0.get_timestamp().expect("v7").to_unix(), (now.seconds().unsigned_abs(), 123_000_000));
        assert!(DeliveryId::drawn_at(now.plus(std::time::Duration::from_millis(1))) > a);
    }

    #[test]
    fn a_clock_before_the_epoch_is_no_panic() {
        assert_eq!(DeliveryId::drawn_at(Timestamp::from_micros(-1)).0.get_version_num(), 7);
    }
}
