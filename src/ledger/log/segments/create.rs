//! Room `ledger`: makes a segment file. It is written as a draft, fsynced, given its name, and the folder fsynced: a file
//! with a segment's name was on the disk whole, so whatever is wrong with what it began with is damage.

use std::{io, sync::Arc};

use super::{catalog::Segment, name::SegmentName};
use crate::ledger::log::{
    files::{File, Files},
    format::SegmentHeader,
};

/// The segment being written.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) segment: Arc<Segment>,
    pub(super) file: Arc<dyn File>,
    pub(super) salt: u64,
    /// Where the next batch begins.
    pub(super) end: u64,
    /// Through here zeros are written, so that the fsync of a batch finds its blocks as they will stay.
    pub(super) blank_through: u64,
}

/// Why there is no new segment.
#[derive(Debug)]
pub(super) enum CreateError {
    /// The draft could not be written; there is no trace of it that matters.
    NotMade(io::Error),
    /// An fsync or the naming failed: nobody knows what the disk holds.
    Unknown(io::Error),
}

impl From<CreateError> for io::Error {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::NotMade(source) | CreateError::Unknown(source) => source,
        }
    }
}

/// Makes the segment of `header`, beginning with the batches of `tail`, and returns when it is durable.
pub(super) fn create(
    files: &dyn Files,
    header: SegmentHeader,
    segment_bytes: u64,
    tail: &[Vec<u8>],
) -> Result<Active, CreateError> {
    let name = SegmentName { sequence: header.sequence, first: header.first };
    // A draft of an attempt that failed may still be there; it is no part of the log.
    let _ = files.remove(&name.draft());
    let (file, end) = write_draft(files, name, &header, segment_bytes, tail).map_err(CreateError::NotMade)?;
    publish(files, name, &*file).map_err(CreateError::Unknown)?;
    let segment = Segment::live(name, header, Arc::clone(&file), end);
    Ok(Active { segment, file, salt: header.salt, end, blank_through: end })
}

/// A salt nobody outside can guess, so that no body can be made to look like a batch.
pub(super) fn fresh_salt() -> io::Result<u64> {
    getrandom::u64().map_err(|error| io::Error::other(error.to_string()))
}

fn write_draft(
    files: &dyn Files,
    name: SegmentName,
    header: &SegmentHeader,
    segment_bytes: u64,
    tail: &[Vec<u8>],
) -> io::Result<(Arc<dyn File>, u64)> {
    let file = files.create(&name.draft())?;
    // Without reserved space an append also changes the file's size: slower, but as durable.
    let _ = file.preallocate(segment_bytes);
    let mut end = 0;
    for part in std::iter::once(&header.encode()).chain(tail) {
        if file.write_at(part, end)? < part.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        end += part.len() as u64;
    }
    Ok((file, end))
}

fn publish(files: &dyn Files, name: SegmentName, file: &dyn File) -> io::Result<()> {
    file.sync_all()?;
    files.rename(&name.draft(), &name.to_string())?;
    files.sync_folder()
}
