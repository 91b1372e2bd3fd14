//! Room `ledger`: what stands in a segment file, byte by byte. Pure: bytes in, bytes out, and never a panic on foreign
//! bytes. All integers are little-endian.
//!
//! ```text
//! segment  = header block, then batches; everything begins on a 4 KiB boundary
//! header   = "dSEG" version:u16 0:u16 incarnation:16 salt:u64 sequence:u64 first:u64 durable:u64 received_at:i64
//!            zeros … crc32c:u32 of all before, at the end of the block
//! batch    = "dBAT" version:u16 0:u16 salt:u64 first:u64 durable:u64 received_at:i64 length:u64 count:u32 key:u32
//!            payload_crc:u32 header_crc:u32 of all before; then the payload and zeros up to the boundary
//! payload  = entries; an entry = meta_length:u32 body_length:u32 meta (JSON) body (raw)
//! ```
//! The payload's checksum covers the zeros after it too, so that no bit of a batch can flip unnoticed.

use bytes::{Buf, BufMut, Bytes};
use uuid::Uuid;

use crate::{
    ledger::EncodedEntry,
    model::{EntryNumber, Incarnation, Timestamp},
};

/// Batches begin on multiples of this many bytes, so that a torn one never shares a block with a good one.
pub const BLOCK: usize = 4_096;
/// The size of a batch's header in bytes.
pub const BATCH_HEADER: usize = 64;
/// The version of this format.
pub const FORMAT_VERSION: u16 = 1;
/// The least bytes an entry can take: its two lengths and `{}`.
pub const MIN_ENTRY: u64 = 10;

const SEGMENT_MAGIC: [u8; 4] = *b"dSEG";
const BATCH_MAGIC: [u8; 4] = *b"dBAT";
const CHECKSUM: usize = 4;
const ENTRY_LENGTHS: usize = 8;
/// Payloads are stored as they are; another number will name the key that sealed them.
const UNSEALED: u32 = 0;

/// What a segment says about itself in its first block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The ledger it belongs to.
    pub incarnation: Incarnation,
    /// Random; every batch of the segment repeats it, so that bytes of another life are never taken for its own.
    pub salt: u64,
    /// Its place among the segments.
    pub sequence: u64,
    /// The number of its first entry.
    pub first: EntryNumber,
    /// Every number through this one was fsynced (here or before) when the segment was given its name.
    pub durable: EntryNumber,
    /// When the last entry before the segment's name was accepted.
    pub received_at: Timestamp,
}

/// Why a segment's first block cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// Not the bytes that were written.
    #[error("the header block is damaged")]
    Damaged,
    /// Written by a later douane.
    #[error("format version {0} is not known to this version of douane")]
    Version(u16),
}

impl SegmentHeader {
    /// The header block.
    pub fn encode(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(BLOCK);
        block.put_slice(&SEGMENT_MAGIC);
        block.put_u16_le(FORMAT_VERSION);
        block.put_u16_le(0);
        block.put_slice(self.incarnation.0.as_bytes());
        block.put_u64_le(self.salt);
        block.put_u64_le(self.sequence);
        block.put_u64_le(self.first.0);
        block.put_u64_le(self.durable.0);
        block.put_i64_le(self.received_at.micros());
        block.resize(BLOCK - CHECKSUM, 0);
        block.put_u32_le(crc32c::crc32c(&block));
        block
    }

    /// Reads a header block.
    pub fn decode(block: &[u8]) -> Result<Self, HeaderFault> {
        let mut fields = checked(block.get(..BLOCK).ok_or(HeaderFault::Damaged)?, SEGMENT_MAGIC)
            .ok_or(HeaderFault::Damaged)?;
        let version = fields.get_u16_le();
        if version != FORMAT_VERSION {
            return Err(HeaderFault::Version(version));
        }
        fields.advance(2);
        Ok(Self {
            incarnation: Incarnation(Uuid::from_u128(fields.get_u128())),
            salt: fields.get_u64_le(),
            sequence: fields.get_u64_le(),
            first: EntryNumber(fields.get_u64_le()),
            durable: EntryNumber(fields.get_u64_le()),
            received_at: Timestamp::from_micros(fields.get_i64_le()),
        })
    }
}

/// The fields after the magic, when magic and trailing checksum are right.
fn checked(bytes: &[u8], magic: [u8; 4]) -> Option<&[u8]> {
    let (content, mut checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM)?)?;
    let fields = content.strip_prefix(&magic)?;
    (crc32c::crc32c(content) == checksum.get_u32_le()).then_some(fields)
}

/// What a batch says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// The salt of its segment.
    pub salt: u64,
    /// The number of its first entry.
    pub first: EntryNumber,
    /// Every number through this one was fsynced when the batch was written.
    pub durable: EntryNumber,
    /// When its entries were accepted.
    pub received_at: Timestamp,
    /// How many entries it holds; at least 1.
    pub count: u32,
    length: u64,
    payload_crc: u32,
}

impl BatchHeader {
    /// Reads a batch's header; `None` when these are not the bytes of one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = checked(bytes.get(..BATCH_HEADER)?, BATCH_MAGIC)?;
        if fields.get_u16_le() != FORMAT_VERSION {
            return None;
        }
        fields.advance(2);
        let salt = fields.get_u64_le();
        let first = EntryNumber(fields.get_u64_le());
        let durable = EntryNumber(fields.get_u64_le());
        let received_at = Timestamp::from_micros(fields.get_i64_le());
        let length = fields.get_u64_le();
        let count = fields.get_u32_le();
        fields.advance(4);
        let payload_crc = fields.get_u32_le();
        let possible = count > 0 && first.0.checked_add(u64::from(count)).is_some() && length <= MAX_LENGTH;
        possible.then_some(Self { salt, first, durable, received_at, count, length, payload_crc })
    }

    /// The number of its last entry.
    pub fn last(&self) -> EntryNumber {
        EntryNumber(self.first.0 + u64::from(self.count) - 1)
    }

    /// How many bytes it takes in the file: header, payload and the zeros up to the boundary.
    pub fn size(&self) -> u64 {
        (BATCH_HEADER as u64 + self.length).next_multiple_of(BLOCK as u64)
    }

    /// The payload of this batch out of all its [`BatchHeader::size`] bytes; `None` when they are not what was written.
    pub fn payload(&self, batch: &Bytes) -> Option<Bytes> {
        let covered = batch.get(BATCH_HEADER..)?;
        let end = BATCH_HEADER.checked_add(usize::try_from(self.length).ok()?)?;
        let whole = batch.len() as u64 == self.size() && crc32c::crc32c(covered) == self.payload_crc;
        whole.then(|| batch.slice(BATCH_HEADER..end))
    }

    fn encode(&self) -> [u8; BATCH_HEADER] {
        let mut header = [0; BATCH_HEADER];
        let mut fields = &mut header[..];
        fields.put_slice(&BATCH_MAGIC);
        fields.put_u16_le(FORMAT_VERSION);
        fields.put_u16_le(0);
        fields.put_u64_le(self.salt);
        fields.put_u64_le(self.first.0);
        fields.put_u64_le(self.durable.0);
        fields.put_i64_le(self.received_at.micros());
        fields.put_u64_le(self.length);
        fields.put_u32_le(self.count);
        fields.put_u32_le(UNSEALED);
        fields.put_u32_le(self.payload_crc);
        let (content, checksum) = header.split_at_mut(BATCH_HEADER - CHECKSUM);
        checksum.copy_from_slice(&crc32c::crc32c(content).to_le_bytes());
        header
    }
}

/// No batch is longer: far beyond every limit of the configuration, near enough that sizes never overflow.
const MAX_LENGTH: u64 = 1 << 40;

/// What the writer stamps on a batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchStamp {
    /// The salt of the segment it goes to.
    pub salt: u64,
    /// The number of its first entry.
    pub first: EntryNumber,
    /// The highest number known to be fsynced.
    pub durable: EntryNumber,
    /// When its entries were accepted.
    pub received_at: Timestamp,
}

/// An entry whose metadata or body is longer than 4 GiB, or a batch beyond all bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an entry is too large for the log")]
pub struct TooLarge;

/// How many bytes a batch of these entries takes in the file.
pub fn batch_size(entries: &[EncodedEntry]) -> u64 {
    let payload: usize = entries.iter().map(|entry| ENTRY_LENGTHS + entry.size()).sum();
    (BATCH_HEADER as u64 + payload as u64).next_multiple_of(BLOCK as u64)
}

/// Writes a batch over whatever `buffer` held; its memory is used again.
pub fn encode_batch(
    buffer: &mut Vec<u8>,
    stamp: BatchStamp,
    entries: &[EncodedEntry],
) -> Result<(), TooLarge> {
    buffer.clear();
    buffer.resize(BATCH_HEADER, 0);
    for entry in entries {
        buffer.put_u32_le(u32::try_from(entry.meta().len()).map_err(|_| TooLarge)?);
        buffer.put_u32_le(u32::try_from(entry.body().len()).map_err(|_| TooLarge)?);
        buffer.put_slice(entry.meta());
        buffer.put_slice(entry.body());
    }
    let length = (buffer.len() - BATCH_HEADER) as u64;
    if length > MAX_LENGTH {
        return Err(TooLarge);
    }
    buffer.resize(buffer.len().next_multiple_of(BLOCK), 0);
    let header = BatchHeader {
        salt: stamp.salt,
        first: stamp.first,
        durable: stamp.durable,
        received_at: stamp.received_at,
        count: u32::try_from(entries.len()).map_err(|_| TooLarge)?,
        length,
        payload_crc: crc32c::crc32c(&buffer[BATCH_HEADER..]),
    };
    buffer[..BATCH_HEADER].copy_from_slice(&header.encode());
    Ok(())
}

/// The same batch for another segment: only salt and claim change, the payload stays byte for byte.
pub fn restamp(batch: &mut [u8], header: &BatchHeader, salt: u64) -> Option<()> {
    let stamped = BatchHeader { salt, ..*header };
    batch.get_mut(..BATCH_HEADER)?.copy_from_slice(&stamped.encode());
    Some(())
}

/// One entry of a payload, not yet understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawEntry {
    /// The metadata as JSON.
    pub meta: Bytes,
    /// The raw body.
    pub body: Bytes,
}

/// The entries of a payload, in order; slices of it, nothing is copied. Ends early when the payload does.
#[derive(Clone, Debug)]
pub struct RawEntries {
    rest: Bytes,
}

impl RawEntries {
    /// Reads a payload.
    pub fn of(payload: Bytes) -> Self {
        Self { rest: payload }
    }
}

impl Iterator for RawEntries {
    type Item = RawEntry;

    fn next(&mut self) -> Option<RawEntry> {
        if self.rest.len() < ENTRY_LENGTHS {
            return None;
        }
        let meta = self.rest.get_u32_le() as usize;
        let body = self.rest.get_u32_le() as usize;
        if self.rest.len() < meta.checked_add(body)? {
            return None;
        }
        Some(RawEntry { meta: self.rest.split_to(meta), body: self.rest.split_to(body) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::model::EndpointName;

    fn entry() -> impl Strategy<Value = EncodedEntry> {
        (vec(any::<u8>(), 0..200), vec(any::<u8>(), 0..6_000)).prop_map(|(meta, body)| {
            EncodedEntry::from_parts(EndpointName::new("a", "b"), meta.into(), body.into())
        })
    }

    fn stamp() -> impl Strategy<Value = BatchStamp> {
        (any::<u64>(), 1..u64::MAX / 2, any::<u64>(), any::<i64>()).prop_map(|(salt, first, durable, at)| {
            BatchStamp {
                salt,
                first: EntryNumber(first),
                durable: EntryNumber(durable),
                received_at: Timestamp::from_micros(at),
            }
        })
    }

    fn encoded(stamp: BatchStamp, entries: &[EncodedEntry]) -> Vec<u8> {
        let mut buffer = vec![0xAA; 100];
        encode_batch(&mut buffer, stamp, entries).expect("small enough");
        buffer
    }

    fn read(batch: &[u8]) -> Option<(BatchHeader, Vec<RawEntry>)> {
        let header = BatchHeader::decode(batch)?;
        let size = usize::try_from(header.size()).ok()?;
        let payload = header.payload(&Bytes::copy_from_slice(batch.get(..size)?))?;
        Some((header, RawEntries::of(payload).collect()))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

        #[test]
        fn a_batch_comes_back_as_it_was(stamp in stamp(), entries in vec(entry(), 1..8)) {
            let batch = encoded(stamp, &entries);
            prop_assert_eq!(batch.len() as u64, batch_size(&entries));
            let (header, raw) = read(&batch).expect("good");
            prop_assert_eq!(header.first, stamp.first);
            prop_assert_eq!(header.durable, stamp.durable);
            prop_assert_eq!(header.received_at, stamp.received_at);
            prop_assert_eq!(header.last().0, stamp.first.0 + entries.len() as u64 - 1);
            let expected: Vec<_> = entries
                .iter()
                .map(|entry| RawEntry { meta: entry.meta().clone(), body: entry.body().clone() })
                .collect();
            prop_assert_eq!(raw, expected);
        }

        #[test]
        fn any_flipped_bit_of_a_batch_is_noticed(
            stamp in stamp(),
            entries in vec(entry(), 1..4),
            bit in any::<prop::sample::Index>(),
        ) {
            let mut batch = encoded(stamp, &entries);
            let bit = bit.index(batch.len() * 8);
            batch[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(read(&batch).is_none());
        }

        #[test]
        fn any_flipped_bit_of_a_header_block_is_noticed(bit in 0..BLOCK * 8) {
            let mut block = header().encode();
            block[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(SegmentHeader::decode(&block).is_err());
        }

        #[test]
        fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..9_000)) {
            let _ = SegmentHeader::decode(&bytes);
            let _ = read(&bytes);
            let _ = RawEntries::of(bytes.into()).count();
        }

        #[test]
        fn random_fields_under_a_right_checksum_never_panic(fields in vec(any::<u8>(), 54)) {
            let mut bytes = [BATCH_MAGIC.as_slice(), &FORMAT_VERSION.to_le_bytes(), &fields].concat();
            bytes.put_u32_le(crc32c::crc32c(&bytes));
            if let Some(header) = BatchHeader::decode(&bytes) {
                let _ = (header.last(), header.size(), header.payload(&bytes.into()));
            }
        }
    }

    fn header() -> SegmentHeader {
        SegmentHeader {
            incarnation: Incarnation(Uuid::from_u128(7)),
            salt: 11,
            sequence: 3,
            first: EntryNumber(100),
            durable: EntryNumber(120),
            received_at: Timestamp::from_micros(-5),
        }
    }

    #[test]
    fn a_header_block_comes_back_as_it_was() {
        assert_eq!(SegmentHeader::decode(&header().encode()), Ok(header()));
    }

    #[test]
    fn a_later_version_is_told_from_damage() {
        let mut block = header().encode();
        block[4] = 9;
        block.truncate(BLOCK - CHECKSUM);
        block.put_u32_le(crc32c::crc32c(&block));
        assert_eq!(SegmentHeader::decode(&block), Err(HeaderFault::Version(9)));
    }

    #[test]
    fn a_restamped_batch_keeps_its_entries() {
        let stamp = BatchStamp {
            salt: 1,
            first: EntryNumber(5),
            durable: EntryNumber(4),
            received_at: Timestamp::default(),
        };
        let mut batch = encoded(
            stamp,
            &[EncodedEntry::from_parts(EndpointName::new("a", "b"), "{}".into(), "body".into())],
        );
        let old = BatchHeader::decode(&batch).expect("good");
        restamp(&mut batch, &old, 2).expect("long enough");
        let (header, raw) = read(&batch).expect("good");
        assert_eq!((header.salt, header.first), (2, EntryNumber(5)));
        assert_eq!(&raw[0].body[..], b"body");
    }
}
