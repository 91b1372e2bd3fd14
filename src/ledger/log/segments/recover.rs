//! Room `ledger`: opens a log. What an interruption left is judged by the survey of the last segment alone; what may be in
//! memory only is copied into a new segment and fsynced there before anything is served or appended. It may be
//! interrupted anywhere and begun again: until the new segment has its name, nothing has changed.

use std::sync::Arc;

use super::{
    OpenError, SegmentLog, SegmentOptions, SegmentReader,
    catalog::{Catalog, Segment},
    create::{Active, create, fresh_salt},
    failed_to,
    name::SegmentName,
    survey::{LogEnd, Survey, survey},
};
use crate::{
    ledger::log::{
        files::{Access, Files},
        format::{BatchHeader, SegmentHeader, restamp},
    },
    model::{EntryNumber, Incarnation, Timestamp},
};

/// Opens a log to write and read. The caller holds the [lock](crate::ledger::log::lock::FolderLock) of its folder.
pub fn open(
    files: Arc<dyn Files>,
    options: SegmentOptions,
) -> Result<(SegmentLog, SegmentReader), OpenError> {
    let found = segments(&*files)?;
    let last = survey_last(&*files, &found)?;
    let end = match &last {
        None if options.cursor.0 > 0 => return Err(OpenError::Missing { cursor: options.cursor }),
        None => LogEnd { last: EntryNumber(0), received_at: Timestamp::default(), tail: vec![], used: 0 },
        Some(survey) => {
            same_ledger(survey, options.incarnation)?;
            survey.conclude(options.cursor)?
        }
    };
    remove_drafts(&*files)?;
    let active = successor(&*files, &options, &found, last.as_ref(), &end)?;
    let kept = not_superseded(&found, end.next_first());
    clear_away(&*files, &found, &kept, &end)?;

    let mut segments: Vec<_> = kept.into_iter().map(Segment::sealed).collect();
    segments.push(Arc::clone(&active.segment));
    let catalog = Arc::new(Catalog::new(files, Some(options.incarnation), segments, end.last));
    let reader = SegmentReader::new(Arc::clone(&catalog));
    Ok((SegmentLog::new(catalog, options, active, end.last.next(), end.received_at), reader))
}

/// Opens a log to read, beside whatever process may be writing to it, and changes nothing.
///
/// It serves through the last batch that is whole at this moment. That is what [`open`] would keep if the writer ended
/// now; but as the last batch may not be fsynced yet, nothing that outlives the log may be built on it.
pub fn open_to_read(files: Arc<dyn Files>) -> Result<SegmentReader, OpenError> {
    let found = segments(&*files)?;
    let last = survey_last(&*files, &found)?;
    let end = last.as_ref().map(|survey| survey.conclude(EntryNumber(0))).transpose()?;
    let incarnation = last.and_then(|survey| survey.header).map(|header| header.incarnation);
    let kept = not_superseded(&found, EntryNumber(u64::MAX));
    let segments = kept.into_iter().map(Segment::sealed).collect();
    let durable = end.map_or(EntryNumber(0), |end| end.last);
    let catalog = Catalog::new(files, incarnation, segments, durable).read_only();
    Ok(SegmentReader::new(Arc::new(catalog)))
}

/// Every segment of the folder, oldest first.
fn segments(files: &dyn Files) -> Result<Vec<SegmentName>, OpenError> {
    let names = files.list().map_err(failed_to("list the folder of the intake log"))?;
    let mut segments: Vec<_> = names.iter().filter_map(|name| SegmentName::parse(name)).collect();
    segments.sort_unstable();
    Ok(segments)
}

fn survey_last(files: &dyn Files, found: &[SegmentName]) -> Result<Option<Survey>, OpenError> {
    let Some(name) = found.last() else { return Ok(None) };
    let file = files.open(&name.to_string(), Access::Read).map_err(failed_to(format!("open {name}")))?;
    survey(file, *name).map(Some)
}

/// A damaged header cannot disagree; the cursor still must fit.
fn same_ledger(last: &Survey, records: Incarnation) -> Result<(), OpenError> {
    match last.header.map(|header| header.incarnation) {
        Some(log) if log != records => Err(OpenError::OtherIncarnation { log, records }),
        _ => Ok(()),
    }
}

fn remove_drafts(files: &dyn Files) -> Result<(), OpenError> {
    let names = files.list().map_err(failed_to("list the folder of the intake log"))?;
    for draft in names.iter().filter(|name| SegmentName::is_draft(name)) {
        files.remove(draft).map_err(failed_to(format!("remove {draft}")))?;
    }
    Ok(())
}

/// Makes the segment that takes over from the last one, beginning with the tail.
fn successor(
    files: &dyn Files,
    options: &SegmentOptions,
    found: &[SegmentName],
    last: Option<&Survey>,
    end: &LogEnd,
) -> Result<Active, OpenError> {
    let header = SegmentHeader {
        incarnation: options.incarnation,
        salt: fresh_salt().map_err(failed_to("draw a random salt"))?,
        sequence: found.last().map_or(1, |name| name.sequence + 1),
        first: end.next_first(),
        durable: end.last,
        received_at: end.received_at,
    };
    let mut tail = Vec::with_capacity(end.tail.len());
    for (survey, extent) in last.iter().flat_map(|survey| end.tail.iter().map(move |extent| (survey, extent)))
    {
        let mut batch = survey.bytes(extent).map_err(failed_to("read the last batch again"))?;
        if let Some(old) = BatchHeader::decode(&batch) {
            restamp(&mut batch, &old, header.salt);
        }
        tail.push(batch);
    }
    create(files, header, options.segment_bytes, &tail)
        .map_err(|error| failed_to("begin a new segment")(error.into()))
}

/// The segments that still hold numbers, when the next one begins with `limit`; the newest always counts.
fn not_superseded(found: &[SegmentName], mut limit: EntryNumber) -> Vec<SegmentName> {
    let mut kept = Vec::with_capacity(found.len());
    for name in found.iter().rev() {
        if name.first < limit {
            limit = name.first;
            kept.push(*name);
        }
    }
    kept.reverse();
    kept
}

/// Gives back space: files that hold no number any more, and the blank end of the last one.
fn clear_away(
    files: &dyn Files,
    found: &[SegmentName],
    kept: &[SegmentName],
    end: &LogEnd,
) -> Result<(), OpenError> {
    let superseded: Vec<_> = found.iter().filter(|name| !kept.contains(name)).collect();
    for name in &superseded {
        files.remove(&name.to_string()).map_err(failed_to(format!("remove {name}")))?;
    }
    if !superseded.is_empty() {
        files.sync_folder().map_err(failed_to("fsync the folder of the intake log"))?;
    }
    if let Some(last) = found.last().filter(|last| kept.contains(last)) {
        let file =
            files.open(&last.to_string(), Access::Truncate).map_err(failed_to(format!("open {last}")))?;
        if file.size().is_ok_and(|size| size > end.used) {
            file.truncate(end.used).map_err(failed_to(format!("shorten {last}")))?;
        }
    }
    Ok(())
}
