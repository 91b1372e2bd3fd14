//! Room `cli`: what `reconcile --scrub` does beside the figures: it reads the whole log, page by page, and holds each
//! entry against what the records keep of it.

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::output;
use crate::{
    ledger::{Conservation, Kept, Ledger, LogItem, Records, RecordsError},
    model::{Entry, EntryMeta, EntryNumber},
};

const PAGE_ENTRIES: usize = 10_000;
const PAGE_BYTES: usize = 16 * 1024 * 1024;
/// Two halves of different ledgers differ in every entry: so many are named, all are counted.
const MAX_NAMED: usize = 100;

/// What a scrub saw.
#[derive(Debug, Default, Serialize)]
pub(super) struct Scrub {
    /// Whole entries that were read.
    pub(super) entries: u64,
    /// The bytes of their bodies.
    pub(super) body_bytes: u64,
    /// How many of them are not what the records say they are.
    pub(super) differing: u64,
    /// The first of these, with what differs.
    pub(super) differences: Vec<String>,
    /// Damaged ranges of the log.
    #[serde(skip)]
    pub(super) damaged: Vec<String>,
}

/// What SQLite, or whatever keeps them, finds wrong with the records.
pub(super) async fn check(records: &dyn Records) -> anyhow::Result<Vec<String>> {
    match records.check().await {
        Err(RecordsError::Broken(why)) => Ok(vec![why]),
        found => Ok(found?),
    }
}

/// Reads the log. Holds it against the records where their `figures` are given: without them they cannot be read.
/// The figures are older than the log was opened, so that their cursors speak of entries the records hold.
pub(super) async fn scrub(ledger: &Ledger, figures: Option<&Conservation>) -> anyhow::Result<Scrub> {
    let durable = ledger.log.durable();
    let bar = output::progress(durable.0, "checking every byte");
    let mut after = EntryNumber(ledger.log.first().0.saturating_sub(1));
    let mut scrub = Scrub::default();
    while after < durable {
        let items = ledger.log.read_after(after, PAGE_ENTRIES, PAGE_BYTES).await?;
        let mut entries = Vec::with_capacity(items.len());
        for item in items {
            match item {
                LogItem::Entry(entry) => {
                    after = entry.number;
                    entries.push(entry);
                }
                LogItem::Damaged { first, last, detail } => {
                    after = last;
                    scrub.damaged.push(format!("{first} to {last}: {detail}"));
                }
            }
        }
        scrub.count(&entries);
        if let Some(figures) = figures {
            scrub.compare(&*ledger.records, figures, &entries).await?;
        }
        bar.set_position(after.0);
    }
    bar.finish_and_clear();
    Ok(scrub)
}

impl Scrub {
    fn count(&mut self, entries: &[Entry]) {
        self.entries += entries.len() as u64;
        self.body_bytes += entries.iter().map(|entry| entry.body.len() as u64).sum::<u64>();
    }

    async fn compare(
        &mut self,
        records: &dyn Records,
        figures: &Conservation,
        entries: &[Entry],
    ) -> anyhow::Result<()> {
        let numbers: Vec<_> = entries.iter().map(|entry| entry.number).collect();
        let kept = records.kept(&numbers).await?;
        for (entry, kept) in entries.iter().zip(&kept) {
            let differs = match kept {
                Some(kept) => difference(entry, kept),
                None => (entry.number <= figures.cursor(entry.meta.endpoint()))
                    .then(|| "it counts as worked, and the records do not hold it".to_owned()),
            };
            if let Some(differs) = differs {
                self.differing += 1;
                if self.differences.len() < MAX_NAMED {
                    self.differences.push(format!("{}: {differs}", entry.number));
                }
            }
        }
        Ok(())
    }
}

/// What the records keep otherwise than the log has it.
fn difference(entry: &Entry, kept: &Kept) -> Option<String> {
    let differs = match (&entry.meta, kept) {
        // It could not be read when it was worked; that it can be now takes nothing from anybody.
        (_, Kept::Damaged) => return None,
        (EntryMeta::Delivery(meta), Kept::Received { id, size, body_sha256 }) => vec![
            (meta.id != *id, "delivery id"),
            (entry.body.len() as u64 != *size, "size"),
            (Sha256::digest(&entry.body)[..] != body_sha256[..], "SHA-256 of the body"),
        ],
        (EntryMeta::Replay(meta), Kept::Replay { id }) => vec![(meta.id != *id, "replay id")],
        (EntryMeta::Confirm(meta), Kept::Link { id }) => vec![(meta.id != *id, "handshake id")],
        (EntryMeta::Learnt(meta), Kept::Learnt { id }) => vec![(meta.id != *id, "handshake id")],
        _ => vec![(true, "kind of entry")],
    };
    let names: Vec<_> = differs.into_iter().filter(|(differs, _)| *differs).map(|(_, name)| name).collect();
    (!names.is_empty()).then(|| format!("not what the records say: {}", names.join(", ")))
}
