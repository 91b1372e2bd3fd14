//! Room `ledger`: looks at the frame of a log: each segment's header, and whether the segments join up. Reads the first
//! and the last blocks of each file; what stands between is for the scrub.

use std::io;

use super::{
    catalog::{Catalog, Segment},
    reader::{ENDS_BEFORE, SegmentReader, unavailable},
};
use crate::{
    ledger::{
        LogError,
        log::format::{BLOCK, BatchHeader},
    },
    model::EntryNumber,
};

/// So much is read at once, from the end of a file backwards.
const CHUNK: u64 = 16 * BLOCK as u64;

impl SegmentReader {
    /// [`LogReader::frame`](crate::ledger::LogReader::frame) on the caller's thread.
    pub fn frame_blocking(&self) -> Result<Vec<String>, LogError> {
        let segments = self.catalog.all();
        let mut wrong = Vec::new();
        for (at, segment) in segments.iter().enumerate() {
            let next = segments.get(at + 1).map(|next| next.name.first);
            match look(&self.catalog, segment, next) {
                Ok(found) => wrong.extend(found),
                // Retention may have dropped it since the folder was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(unavailable(segment.name, &error)),
            }
        }
        Ok(wrong)
    }
}

/// What is wrong with a segment; `next` is the number that the one after it begins with.
fn look(catalog: &Catalog, segment: &Segment, next: Option<EntryNumber>) -> io::Result<Vec<String>> {
    let name = segment.name;
    let mut wrong = Vec::new();
    match segment.header(&*catalog.files)? {
        Err(fault) => wrong.push(format!("{name}: {fault}")),
        Ok(header) if catalog.incarnation.is_some_and(|ledger| ledger != header.incarnation) => {
            return Ok(vec![format!("{name}: it belongs to another ledger")]);
        }
        Ok(header) if (header.sequence, header.first) != (name.sequence, name.first) => {
            wrong.push(format!("{name}: its header is that of another segment"));
        }
        Ok(_) => {}
    }
    let Some(next) = next else { return Ok(wrong) };
    let missing = last_number(catalog, segment)?.map_or(name.first, EntryNumber::next);
    if missing < next {
        wrong.push(format!("{missing} to {}: {ENDS_BEFORE}", next.0 - 1));
    }
    Ok(wrong)
}

/// The last number a segment holds, as its last whole batch says.
fn last_number(catalog: &Catalog, segment: &Segment) -> io::Result<Option<EntryNumber>> {
    let file = segment.file(&*catalog.files)?;
    let salt = segment.salt(&*file, catalog.incarnation)?;
    let size = file.size()?;
    let own = |header: &BatchHeader| salt.is_none_or(|salt| salt == header.salt);
    let mut end = size;
    while end > BLOCK as u64 {
        let start = ((end - 1) / CHUNK * CHUNK).max(BLOCK as u64);
        let mut bytes = vec![0; usize::try_from(end - start).map_err(io::Error::other)?];
        let read = file.read_at(&mut bytes, start)?;
        for (at, block) in bytes[..read].chunks(BLOCK).enumerate().rev() {
            let offset = start + (at * BLOCK) as u64;
            let whole = |header: &BatchHeader| offset + header.size() <= size;
            if let Some(header) = BatchHeader::decode(block).filter(|header| own(header) && whole(header)) {
                return Ok(Some(header.last()));
            }
        }
        end = start;
    }
    Ok(None)
}
