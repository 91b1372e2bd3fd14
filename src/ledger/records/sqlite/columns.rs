//! Room `ledger`, SQLite records: how the nouns become columns, and back. Codes written here stand in every ledger:
//! they are added to, never changed.

use rusqlite::{
    Error, Result,
    types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, Value, ValueRef},
};
use uuid::Uuid;

use crate::model::{
    Assurance, DeliveryId, EntryNumber, EventNumber, EventRef, Incarnation, OutcomeKind, Timestamp,
};

/// The highest entry number that still leaves room for an ordinal beside it.
pub(super) const MAX_ENTRY: EntryNumber = EntryNumber((1 << 47) - 1);

const ORDINAL_BITS: u32 = 16;

/// An [`EventRef`] as one integer, so that the events of a delivery stand together and in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(pub(super) EventRef);

impl Place {
    /// The first place a delivery can have.
    pub(super) fn first_of(number: EntryNumber) -> Self {
        Self(EventRef { number, ordinal: 0 })
    }

    /// The integer; refused when a part does not fit.
    pub(super) fn integer(self) -> Result<i64> {
        let Self(EventRef { number, ordinal }) = self;
        let number = integer(number.0, MAX_ENTRY.0)?;
        let ordinal = integer(u64::from(ordinal), (1 << ORDINAL_BITS) - 1)?;
        Ok(number << ORDINAL_BITS | ordinal)
    }
}

impl ToSql for Place {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        self.integer().map(ToSqlOutput::from)
    }
}

impl FromSql for Place {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let place = value.as_i64()?;
        let out_of_range = |_| FromSqlError::OutOfRange(place);
        let number = EntryNumber(u64::try_from(place >> ORDINAL_BITS).map_err(out_of_range)?);
        let ordinal = u32::try_from(place & ((1 << ORDINAL_BITS) - 1)).map_err(out_of_range)?;
        Ok(Self(EventRef { number, ordinal }))
    }
}

/// Says that a number does not fit its column.
#[derive(Debug, thiserror::Error)]
#[error("{0} is beyond what the records can number")]
struct TooLarge(u64);

fn integer(number: u64, most: u64) -> Result<i64> {
    let fits = (number <= most).then_some(number).and_then(|number| i64::try_from(number).ok());
    fits.ok_or_else(|| Error::ToSqlConversionFailure(Box::new(TooLarge(number))))
}

/// How many, for a `LIMIT` or a column that counts what was in memory.
pub(super) fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl From<OutcomeKind> for Value {
    fn from(kind: OutcomeKind) -> Self {
        Self::Integer(outcome_code(kind))
    }
}

/// A count or a size: whole, not negative.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count(pub(super) u64);

impl ToSql for Count {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        integer(self.0, u64::MAX).map(ToSqlOutput::from)
    }
}

impl FromSql for Count {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let count = value.as_i64()?;
        u64::try_from(count).map(Self).map_err(|_| FromSqlError::OutOfRange(count))
    }
}

impl ToSql for EntryNumber {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        integer(self.0, MAX_ENTRY.0).map(ToSqlOutput::from)
    }
}

impl FromSql for EntryNumber {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Count::column_result(value).map(|Count(number)| Self(number))
    }
}

impl ToSql for EventNumber {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        integer(self.0, u64::MAX).map(ToSqlOutput::from)
    }
}

impl FromSql for EventNumber {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Count::column_result(value).map(|Count(number)| Self(number))
    }
}

impl ToSql for Timestamp {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(self.micros().into())
    }
}

impl FromSql for Timestamp {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(Self::from_micros)
    }
}

impl ToSql for DeliveryId {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.0.as_bytes().as_slice()))
    }
}

impl FromSql for DeliveryId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        <[u8; 16]>::column_result(value).map(|bytes| Self(Uuid::from_bytes(bytes)))
    }
}

impl ToSql for Incarnation {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.0.as_bytes().as_slice()))
    }
}

impl FromSql for Incarnation {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        <[u8; 16]>::column_result(value).map(|bytes| Self(Uuid::from_bytes(bytes)))
    }
}

const fn outcome_code(kind: OutcomeKind) -> i64 {
    match kind {
        OutcomeKind::Translated => 0,
        OutcomeKind::Duplicate => 1,
        OutcomeKind::Conflict => 2,
        OutcomeKind::Ignored => 3,
        OutcomeKind::Unmapped => 4,
        OutcomeKind::DeadLetter => 5,
    }
}

impl ToSql for OutcomeKind {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(outcome_code(*self).into())
    }
}

impl FromSql for OutcomeKind {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let code = value.as_i64()?;
        let known = Self::ALL.into_iter().find(|kind| outcome_code(*kind) == code);
        known.ok_or(FromSqlError::OutOfRange(code))
    }
}

const ASSURANCES: [Assurance; 6] = [
    Assurance::Full,
    Assurance::Body,
    Assurance::Partial,
    Assurance::Origin,
    Assurance::Token,
    Assurance::None,
];

const fn assurance_code(assurance: Assurance) -> i64 {
    match assurance {
        Assurance::Full => 0,
        Assurance::Body => 1,
        Assurance::Partial => 2,
        Assurance::Origin => 3,
        Assurance::Token => 4,
        Assurance::None => 5,
    }
}

impl ToSql for Assurance {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(assurance_code(*self).into())
    }
}

impl FromSql for Assurance {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let code = value.as_i64()?;
        let known = ASSURANCES.into_iter().find(|assurance| assurance_code(*assurance) == code);
        known.ok_or(FromSqlError::OutOfRange(code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_sort_like_the_events_they_name_and_come_back() {
        let places = [(1, 0), (1, 65_535), (2, 0), (MAX_ENTRY.0, 65_535)]
            .map(|(number, ordinal)| Place(EventRef { number: EntryNumber(number), ordinal }));
        let integers = places.map(|place| place.integer().expect("fits"));
        assert!(integers.is_sorted());
        let back = integers.map(|place| Place::column_result(ValueRef::Integer(place)).expect("a place"));
        assert_eq!(back, places);
    }

    #[test]
    fn what_does_not_fit_is_refused_as_data() {
        for (number, ordinal) in [(1, 65_536), (MAX_ENTRY.0 + 1, 0)] {
            let place = Place(EventRef { number: EntryNumber(number), ordinal });
            assert!(matches!(place.integer(), Err(Error::ToSqlConversionFailure(_))), "{number}.{ordinal}");
        }
    }
}
