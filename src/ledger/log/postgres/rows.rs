//! Room `ledger`, the log over PostgreSQL: its rows, and whether they are what was written.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio_postgres::Row;

use super::unsigned;
use crate::{
    ledger::{
        LogItem,
        postgres::{PostgresError, column},
    },
    model::{EndpointName, Entry, EntryMeta, EntryNumber, Timestamp},
};

/// An endpoint as batches name it. Two may have one name: then more is read than was asked for.
pub(super) fn whose(endpoint: &EndpointName) -> i64 {
    let digest: [u8; 32] = Sha256::digest(endpoint.to_string()).into();
    i64::from_be_bytes(digest.first_chunk().copied().unwrap_or_default())
}

/// How many bytes an entry has, as batches say it.
pub(super) fn length(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}

/// CRC-32C of what a batch says of whose its entries are. Where that is not what was written, the batch is read whole.
pub(super) fn whose_checksum(batch: i64, whose: &[i64], lengths: &[i32]) -> i64 {
    let keys = std::iter::once(&batch).chain(whose);
    let of_keys = keys.fold(0, |crc, key| crc32c::crc32c_append(crc, &key.to_le_bytes()));
    i64::from(lengths.iter().fold(of_keys, |crc, length| crc32c::crc32c_append(crc, &length.to_le_bytes())))
}

/// Endpoints, as batches name them.
#[derive(Clone, Debug)]
pub(super) struct Endpoints(HashSet<i64>);

impl From<&BTreeSet<EndpointName>> for Endpoints {
    fn from(names: &BTreeSet<EndpointName>) -> Self {
        Self(names.iter().map(whose).collect())
    }
}

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
    pub(super) batches: Vec<Arc<Batch>>,
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
    /// For each entry, whose it is; `None` where that is not known, or was not asked.
    shares: Option<Vec<Share>>,
}

/// What a batch says of one of its entries.
#[derive(Clone, Copy, Debug)]
struct Share {
    endpoint: i64,
    bytes: usize,
}

impl Reach {
    /// Reads the rows of the question: the first two columns say the same in each.
    pub(super) fn of(rows: &[Row]) -> Result<Self, PostgresError> {
        let row =
            rows.first().ok_or_else(|| PostgresError::broken("the intake log has no beginning or no end"))?;
        let first = EntryNumber(unsigned(column(row, 0)?)?);
        let last = EntryNumber(unsigned(column(row, 1)?)?);
        let batches = rows.iter().filter_map(|row| Batch::of(row).transpose());
        let batches = batches.map(|batch| batch.map(Arc::new)).collect::<Result<_, _>>()?;
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
            shares: shares(row),
        }))
    }

    /// The entries of these endpoints, each with its bytes; `None` where the batch does not say whose its entries are.
    pub(super) fn entries_of<'b>(
        &'b self,
        Endpoints(endpoints): &'b Endpoints,
    ) -> Option<impl Iterator<Item = (EntryNumber, usize)> + 'b> {
        let shares = self.shares.as_ref()?;
        let numbered = (self.first.0..).map(EntryNumber).zip(shares);
        let own = numbered.filter(|(_, share)| endpoints.contains(&share.endpoint));
        Some(own.map(|(number, share)| (number, share.bytes)))
    }

    /// Whether the batch says of this entry whose it is, and it is another's.
    fn denies(&self, number: EntryNumber, endpoint: &EndpointName) -> bool {
        let place = usize::try_from(number.0.saturating_sub(self.first.0)).unwrap_or(usize::MAX);
        let said = self.shares.as_ref().and_then(|shares| shares.get(place));
        said.is_some_and(|said| said.endpoint != whose(endpoint))
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
        // Whoever it belongs to passes it.
        if self.denies(number, meta.endpoint()) {
            return Ok(damaged(number, number, "its batch says that the entry is another endpoint's"));
        }
        let body = Bytes::copy_from_slice(body);
        Ok(LogItem::Entry(Entry { number, received_at: self.received_at, meta, body }))
    }
}

/// What a row says of whose the batch's entries are, if that is what was written.
fn shares(row: &Row) -> Option<Vec<Share>> {
    let (last, first, key): (i64, i64, i64) =
        (row.try_get(2).ok()?, row.try_get(3).ok()?, row.try_get(6).ok()?);
    let (whose, lengths): (Vec<i64>, Vec<i32>) = (row.try_get(8).ok()?, row.try_get(9).ok()?);
    let count = usize::try_from(last.checked_sub(first)?).ok()?.checked_add(1)?;
    let is_whole = whose.len() == count && lengths.len() == count;
    if !is_whole || row.try_get::<_, i64>(10).ok()? != whose_checksum(key, &whose, &lengths) {
        return None;
    }
    let bytes = lengths.into_iter().map(|length| usize::try_from(length).unwrap_or_default());
    Some(whose.into_iter().zip(bytes).map(|(endpoint, bytes)| Share { endpoint, bytes }).collect())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn name(partner: &str) -> EndpointName {
        EndpointName::new(partner, "default")
    }

    /// Numbers from 11 on, a hundred bytes more each.
    fn batch(partners: &[&str]) -> Batch {
        let share =
            |(place, partner): (usize, &&str)| Share { endpoint: whose(&name(partner)), bytes: 100 * place };
        Batch {
            first: EntryNumber(11),
            last: EntryNumber(10 + partners.len() as u64),
            received_at: Timestamp::from_micros(0),
            written_at: 0,
            key: 7,
            bytes: 1_000,
            shares: Some((1..).zip(partners).map(share).collect()),
        }
    }

    #[test]
    fn the_name_of_an_endpoint_in_batches_never_changes() {
        assert_eq!(whose(&name("acme")), -8_885_125_746_037_873_441);
        assert_eq!(whose_checksum(7, &[1, -2], &[]), 3_529_487_299);
        assert_ne!(whose_checksum(7, &[1, -2], &[5]), whose_checksum(7, &[1, -2], &[6]));
    }

    #[test]
    fn of_a_batch_those_entries_are_read_that_are_asked_for() {
        let batch = batch(&["a", "a", "b", "c"]);
        let read = |partners: &[&str]| {
            let names = partners.iter().map(|partner| name(partner)).collect();
            let endpoints = Endpoints::from(&names);
            let own = batch.entries_of(&endpoints).expect("said");
            own.map(|(number, bytes)| (number.0, bytes)).collect::<Vec<_>>()
        };
        assert_eq!(read(&["a"]), [(11, 100), (12, 200)]);
        assert_eq!(read(&["c", "a"]), [(11, 100), (12, 200), (14, 400)]);
        assert_eq!(read(&["d"]), []);
        let unsaid = Batch { shares: None, ..batch.clone() };
        assert!(unsaid.entries_of(&Endpoints::from(&BTreeSet::from([name("a")]))).is_none());
    }

    #[test]
    fn a_batch_that_says_otherwise_denies_an_entry() {
        let batch = batch(&["a", "b"]);
        assert!(!batch.denies(EntryNumber(11), &name("a")) && !batch.denies(EntryNumber(12), &name("b")));
        assert!(batch.denies(EntryNumber(12), &name("a")));
        let unsaid = Batch { shares: None, ..batch };
        assert!(!unsaid.denies(EntryNumber(12), &name("a")));
    }
}
