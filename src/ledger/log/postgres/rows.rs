//! Room `ledger`, the log over PostgreSQL: its rows, and whether they are what was written.

use bytes::Bytes;
use tokio_postgres::Row;

use super::unsigned;
use crate::{
    ledger::{
        LogItem,
        postgres::{PostgresError, column},
    },
    model::{Entry, EntryMeta, EntryNumber, Timestamp},
};

/// CRC-32C of an entry and of its place, so that neither its bytes nor its row can change unnoticed.
pub(super) fn checksum(batch: i64, place: i32, meta: &[u8], body: &[u8]) -> i64 {
    let parts: [&[u8]; 5] =
        [&batch.to_le_bytes(), &place.to_le_bytes(), &(meta.len() as u64).to_le_bytes(), meta, body];
    i64::from(parts.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part)))
}

/// How far the log reaches, and the batch that follows a number; all of one moment.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    /// The first number still kept.
    pub(super) first: EntryNumber,
    /// The last one given.
    pub(super) last: EntryNumber,
    /// The batches that follow, in order, as many as were asked for.
    pub(super) batches: Vec<Batch>,
}

/// Which numbers a batch has, and where its entries are.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) first: EntryNumber,
    pub(super) last: EntryNumber,
    pub(super) received_at: Timestamp,
    pub(super) written_at: i64,
    pub(super) key: i64,
    pub(super) bytes: u64,
}

impl Reach {
    /// Reads the rows of the question: the first two columns say the same in each.
    pub(super) fn of(rows: &[Row]) -> Result<Self, PostgresError> {
        let row =
            rows.first().ok_or_else(|| PostgresError::broken("the intake log has no beginning or no end"))?;
        let first = EntryNumber(unsigned(column(row, 0)?)?);
        let last = EntryNumber(unsigned(column(row, 1)?)?);
        let batches = rows.iter().filter_map(|row| Batch::of(row).transpose()).collect::<Result<_, _>>()?;
        Ok(Self { first, last, batches })
    }
}

impl Batch {
    /// `None` when nothing follows.
    fn of(row: &Row) -> Result<Option<Self>, PostgresError> {
        let Some(last) = column::<Option<i64>>(row, 2)? else { return Ok(None) };
        Ok(Some(Self {
            last: EntryNumber(unsigned(last)?),
            first: EntryNumber(unsigned(column(row, 3)?)?),
            received_at: Timestamp::from_micros(column(row, 4)?),
            written_at: column(row, 5)?,
            key: column(row, 6)?,
            bytes: unsigned(column(row, 7)?)?,
        }))
    }

    /// The place of a number in this batch, from 1.
    pub(super) fn place(&self, number: EntryNumber) -> i32 {
        i32::try_from(number.0.saturating_sub(self.first.0) + 1).unwrap_or(i32::MAX)
    }

    /// What a row holds for a number of this batch.
    pub(super) fn item(&self, number: EntryNumber, row: Option<&Row>) -> Result<LogItem, PostgresError> {
        let Some(row) = row else { return Ok(damaged(number, number, "the entry's row is missing")) };
        let (meta, body): (&[u8], &[u8]) = (column(row, 3)?, column(row, 4)?);
        if column::<i64>(row, 2)? != checksum(self.key, self.place(number), meta, body) {
            return Ok(damaged(number, number, "the entry's bytes are not those that were written"));
        }
        // What was written is what is there: a later release wrote it, and whoever is of that release can read it.
        let Ok(meta) = EntryMeta::from_json(meta) else {
            return Err(PostgresError::passing(format!(
                "entry {number} is of a kind that this release does not know"
            )));
        };
        let body = Bytes::copy_from_slice(body);
        Ok(LogItem::Entry(Entry { number, received_at: self.received_at, meta, body }))
    }
}

pub(super) fn damaged(first: EntryNumber, last: EntryNumber, detail: &str) -> LogItem {
    LogItem::Damaged { first, last, detail: detail.to_owned() }
}

/// Adds an item; damage that goes on is one item.
pub(super) fn push(items: &mut Vec<LogItem>, item: LogItem) {
    if let (
        Some(LogItem::Damaged { last, detail, .. }),
        LogItem::Damaged { first: next, last: end, detail: again },
    ) = (items.last_mut(), &item)
        && last.next() == *next
        && detail == again
    {
        *last = *end;
        return;
    }
    items.push(item);
}
