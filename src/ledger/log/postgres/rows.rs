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

/// CRC-32C of what a batch says of whose its entries are. Where that is not what was written, the batch is read whole.
pub(super) fn whose_checksum(batch: i64, whose: &[i64]) -> i64 {
    let keys = std::iter::once(&batch).chain(whose);
    i64::from(keys.fold(0, |crc, key| crc32c::crc32c_append(crc, &key.to_le_bytes())))
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
    /// For each entry, whose it is; `None` where that is not known.
    whose: Option<Vec<i64>>,
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
        let batch = Self {
            last: EntryNumber(unsigned(last)?),
            first: EntryNumber(unsigned(column(row, 3)?)?),
            received_at: Timestamp::from_micros(column(row, 4)?),
            written_at: column(row, 5)?,
            key: column(row, 6)?,
            bytes: unsigned(column(row, 7)?)?,
            whose: None,
        };
        let (whose, checksum): (Option<Vec<i64>>, Option<i64>) = (column(row, 8)?, column(row, 9)?);
        let is_sound = |whose: &Vec<i64>| {
            whose.len() as u64 == batch.count() && Some(whose_checksum(batch.key, whose)) == checksum
        };
        Ok(Some(Self { whose: whose.filter(is_sound), ..batch }))
    }

    /// How many numbers it has.
    fn count(&self) -> u64 {
        self.last.0.saturating_sub(self.first.0) + 1
    }

    /// About how many bytes so many of its entries have.
    pub(super) fn bytes_of(&self, entries: u64) -> usize {
        let share = u128::from(self.bytes) * u128::from(entries) / u128::from(self.count());
        usize::try_from(share).unwrap_or(usize::MAX)
    }

    /// The numbers after `after` that are to be read for these endpoints, as stretches: first and last. All, where none are
    /// named, or the batch does not say whose its entries are.
    pub(super) fn stretches(
        &self,
        after: EntryNumber,
        endpoints: Option<&Endpoints>,
    ) -> Vec<(EntryNumber, EntryNumber)> {
        let first = self.first.max(after.next());
        let (Some(Endpoints(endpoints)), Some(whose)) = (endpoints, &self.whose) else {
            return vec![(first, self.last)];
        };
        let numbered = (self.first.0..).zip(whose).skip_while(|(number, _)| *number < first.0);
        let mut stretches: Vec<(EntryNumber, EntryNumber)> = Vec::new();
        for (number, _) in numbered.filter(|(_, key)| endpoints.contains(key)) {
            match stretches.last_mut() {
                Some((_, last)) if last.0 + 1 == number => *last = EntryNumber(number),
                _ => stretches.push((EntryNumber(number), EntryNumber(number))),
            }
        }
        stretches
    }

    /// Whether the batch says of this entry whose it is, and it is another's.
    fn denies(&self, number: EntryNumber, endpoint: &EndpointName) -> bool {
        let place = usize::try_from(number.0.saturating_sub(self.first.0)).unwrap_or(usize::MAX);
        let said = self.whose.as_ref().and_then(|whose| whose.get(place));
        said.is_some_and(|said| *said != whose(endpoint))
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
        // Whoever it belongs to would pass it, so everybody who reads the whole log has to tell.
        if self.denies(number, meta.endpoint()) {
            return Ok(damaged(number, number, "its batch says that the entry is another endpoint's"));
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn name(partner: &str) -> EndpointName {
        EndpointName::new(partner, "default")
    }

    /// Numbers from 11 on.
    fn batch(partners: &[&str]) -> Batch {
        let whose: Vec<i64> = partners.iter().map(|partner| whose(&name(partner))).collect();
        Batch {
            first: EntryNumber(11),
            last: EntryNumber(10 + partners.len() as u64),
            received_at: Timestamp::from_micros(0),
            written_at: 0,
            key: 7,
            bytes: 1_000,
            whose: Some(whose),
        }
    }

    #[test]
    fn the_name_of_an_endpoint_in_batches_never_changes() {
        assert_eq!(whose(&name("acme")), -8_885_125_746_037_873_441);
        assert_eq!(whose_checksum(7, &[1, -2]), 3_529_487_299);
    }

    #[test]
    fn of_a_batch_stretches_are_read() {
        let batch = batch(&["a", "a", "b", "c", "a", "b", "b"]);
        let read = |after, partners: &[&str]| {
            let names = partners.iter().map(|partner| name(partner)).collect();
            let stretches = batch.stretches(EntryNumber(after), Some(&Endpoints::from(&names)));
            stretches.into_iter().map(|(first, last)| (first.0, last.0)).collect::<Vec<_>>()
        };
        assert_eq!(read(10, &["a"]), [(11, 12), (15, 15)]);
        assert_eq!(read(11, &["a"]), [(12, 12), (15, 15)]);
        assert_eq!(read(10, &["b", "c"]), [(13, 14), (16, 17)]);
        assert_eq!(read(10, &["d"]), []);
        assert_eq!(read(17, &["a", "b", "c"]), []);
        assert_eq!(batch.stretches(EntryNumber(12), None), [(EntryNumber(13), EntryNumber(17))]);
        let unsaid = Batch { whose: None, ..batch.clone() };
        let of_d = Endpoints::from(&BTreeSet::from([name("d")]));
        assert_eq!(unsaid.stretches(EntryNumber(0), Some(&of_d)), [(EntryNumber(11), EntryNumber(17))]);
    }

    #[test]
    fn a_batch_that_says_otherwise_denies_an_entry() {
        let batch = batch(&["a", "b"]);
        assert!(!batch.denies(EntryNumber(11), &name("a")) && !batch.denies(EntryNumber(12), &name("b")));
        assert!(batch.denies(EntryNumber(12), &name("a")));
        let unsaid = Batch { whose: None, ..batch };
        assert!(!unsaid.denies(EntryNumber(12), &name("a")));
    }
}
