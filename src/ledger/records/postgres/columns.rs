//! Room `ledger`, PostgreSQL records: from PostgreSQL's values back to the nouns. What cannot be read is broken.

use tokio_postgres::{Row, types::FromSqlOwned};
use uuid::Uuid;

use crate::{
    ledger::{
        postgres::{PostgresError, column},
        records::columns::{assurance_of, event_at, outcome_of},
    },
    model::{Assurance, DeliveryId, EntryNumber, EventNumber, EventRef, OutcomeKind, Revision, Timestamp},
};

/// What a column can be read as.
pub(super) trait Column: Sized {
    /// How PostgreSQL keeps it.
    type Stored: FromSqlOwned;

    /// The noun; `None` when the value is none.
    fn of(stored: Self::Stored) -> Option<Self>;
}

/// A column that is never NULL.
pub(super) fn read<T: Column>(row: &Row, index: usize) -> Result<T, PostgresError> {
    T::of(column(row, index)?).ok_or_else(|| unreadable(index))
}

/// A column that may be NULL.
pub(super) fn read_some<T: Column>(row: &Row, index: usize) -> Result<Option<T>, PostgresError> {
    let stored: Option<T::Stored> = column(row, index)?;
    stored.map(|stored| T::of(stored).ok_or_else(|| unreadable(index))).transpose()
}

fn unreadable(index: usize) -> PostgresError {
    PostgresError::broken(format!("column {index} of a row holds what nobody wrote"))
}

impl Column for String {
    type Stored = Vec<u8>;

    fn of(stored: Vec<u8>) -> Option<Self> {
        Self::from_utf8(stored).ok()
    }
}

impl Column for Revision {
    type Stored = Vec<u8>;

    fn of(stored: Vec<u8>) -> Option<Self> {
        String::of(stored).map(|text| Self(text.into()))
    }
}

impl Column for [u8; 32] {
    type Stored = Vec<u8>;

    fn of(stored: Vec<u8>) -> Option<Self> {
        stored.try_into().ok()
    }
}

impl Column for u64 {
    type Stored = i64;

    fn of(stored: i64) -> Option<Self> {
        stored.try_into().ok()
    }
}

impl Column for u32 {
    type Stored = i64;

    fn of(stored: i64) -> Option<Self> {
        stored.try_into().ok()
    }
}

impl Column for EntryNumber {
    type Stored = i64;

    fn of(stored: i64) -> Option<Self> {
        u64::of(stored).map(Self)
    }
}

impl Column for EventNumber {
    type Stored = i64;

    fn of(stored: i64) -> Option<Self> {
        u64::of(stored).map(Self)
    }
}

impl Column for EventRef {
    type Stored = i64;

    fn of(stored: i64) -> Option<Self> {
        event_at(stored)
    }
}

impl Column for Timestamp {
    type Stored = i64;

    fn of(stored: i64) -> Option<Self> {
        Some(Self::from_micros(stored))
    }
}

impl Column for DeliveryId {
    type Stored = Uuid;

    fn of(stored: Uuid) -> Option<Self> {
        Some(Self(stored))
    }
}

impl Column for OutcomeKind {
    type Stored = i16;

    fn of(stored: i16) -> Option<Self> {
        outcome_of(stored)
    }
}

impl Column for Assurance {
    type Stored = i16;

    fn of(stored: i16) -> Option<Self> {
        assurance_of(stored)
    }
}

impl Column for u16 {
    type Stored = i32;

    fn of(stored: i32) -> Option<Self> {
        stored.try_into().ok()
    }
}
