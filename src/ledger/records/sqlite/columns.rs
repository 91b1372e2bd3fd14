//! Room `ledger`, SQLite records: how the nouns become SQLite's values, and back.

use rusqlite::{
    Error, Result,
    types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, Value, ValueRef},
};
use uuid::Uuid;

use crate::{
    ledger::records::columns::{
        TooLarge, assurance_code, assurance_of, entry_integer, event_at, integer, outcome_code, outcome_of,
        place,
    },
    model::{Assurance, DeliveryId, EntryNumber, EventNumber, EventRef, Incarnation, OutcomeKind, Timestamp},
};

/// An [`EventRef`] as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(pub(super) EventRef);

impl Place {
    /// The first place a delivery can have.
    pub(super) fn first_of(number: EntryNumber) -> Self {
        Self(EventRef { number, ordinal: 0 })
    }

    /// The integer; refused when a part does not fit.
    pub(super) fn integer(self) -> Result<i64> {
        fits(place(self.0))
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
        event_at(place).map(Self).ok_or(FromSqlError::OutOfRange(place))
    }
}

fn fits<T>(integer: std::result::Result<T, TooLarge>) -> Result<T> {
    integer.map_err(|error| Error::ToSqlConversionFailure(Box::new(error)))
}

impl From<OutcomeKind> for Value {
    fn from(kind: OutcomeKind) -> Self {
        Self::Integer(outcome_code(kind).into())
    }
}

/// A count or a size: whole, not negative.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count(pub(super) u64);

impl ToSql for Count {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        fits(integer(self.0)).map(ToSqlOutput::from)
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
        fits(entry_integer(*self)).map(ToSqlOutput::from)
    }
}

impl FromSql for EntryNumber {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Count::column_result(value).map(|Count(number)| Self(number))
    }
}

impl ToSql for EventNumber {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        fits(integer(self.0)).map(ToSqlOutput::from)
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

impl ToSql for OutcomeKind {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(outcome_code(*self).into())
    }
}

impl FromSql for OutcomeKind {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let code = value.as_i64()?;
        let known = i16::try_from(code).ok().and_then(outcome_of);
        known.ok_or(FromSqlError::OutOfRange(code))
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
        let known = i16::try_from(code).ok().and_then(assurance_of);
        known.ok_or(FromSqlError::OutOfRange(code))
    }
}
