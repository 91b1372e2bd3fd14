//! Room `pipeline`: the crash note. A mapping can end the process in ways nobody can catch (stack, memory). So the range
//! of entries being worked stands in a small file while it is; what an unclean end leaves there is worked one event at
//! a time afterwards, each named in the note while it is tried, and one that killed three times is set aside.
//! May not decide what becomes of an event, only whether it may be tried. Processes that share a ledger have what they learn
//! from one another too (`suspicion`).

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use serde::{Deserialize, Serialize};
use tracing::{error, warn};

use crate::{ledger::Suspect, model::EntryNumber};

/// So many unclean ends make an event a dead letter. Not two: a machine that ends processes again and again, and gives them
/// little of its processor between, meets the same innocent twice sooner or later.
pub(super) const KILLS_ALLOWED: u32 = 3;

/// First and last number of a range of entries.
type Range = (EntryNumber, EntryNumber);

/// The note's text: one line of JSON, written over the previous one at the start of the file. It need not be durable,
/// because what aborts the process leaves the page cache alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Note {
    /// What is being worked.
    working: Option<Range>,
    /// What is worked one event at a time, because an earlier process ended uncleanly in it.
    suspected: Option<Range>,
    /// What is being tried alone.
    trying: Option<Suspect>,
    /// What an earlier process ended uncleanly with, and how often.
    kills: Vec<(Suspect, u32)>,
}

/// The crash note of a data folder.
#[derive(Debug)]
pub struct CrashNote {
    file: File,
    note: Note,
}

/// What became of something that was tried alone.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tried<T> {
    /// It came back.
    Done(T),
    /// It ended the process too often and was not tried again.
    SetAside,
}

impl CrashNote {
    /// Opens the note at `path` and learns from it how the last process ended. What was learnt is noted at once: a
    /// process that ends before it works anything must not make its predecessor's end count twice.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let note = read(&file)?.after_restart();
        if let Some((first, last)) = note.suspected {
            warn!(%first, %last, "the last process ended while it translated; these entries go one event at a time");
        }
        let learnt = Self { file, note };
        learnt.write()?;
        Ok(learnt)
    }

    /// Notes that the entries `first` to `last` are being worked.
    pub(super) fn begin(&mut self, first: EntryNumber, last: EntryNumber) -> io::Result<()> {
        self.note.working = Some((first, last));
        self.write()
    }

    /// Notes that nothing is being worked.
    pub(super) fn end(&mut self) -> io::Result<()> {
        self.note.working = None;
        self.write()
    }

    /// Whether any of these entries must go one event at a time.
    pub(super) fn suspects(&self, first: EntryNumber, last: EntryNumber) -> bool {
        self.note.suspected.is_some_and(|(from, through)| first <= through && from <= last)
    }

    /// Forgets the suspicion as far as a batch of these entries has been committed.
    pub(super) fn committed(&mut self, first: EntryNumber, last: EntryNumber) {
        self.note.suspected = match self.note.suspected {
            Some((from, through)) if first <= from && from <= last => {
                (last < through).then(|| (last.next(), through))
            }
            other => other,
        };
        if self.note.suspected.is_none() {
            self.note.kills.clear();
        }
    }

    /// Tries `work` alone, named in the note while it runs; not at all when it has killed too often.
    pub(super) fn alone<T>(&mut self, suspect: Suspect, work: impl FnOnce() -> T) -> Tried<T> {
        let kills =
            self.note.kills.iter().find(|(known, _)| *known == suspect).map_or(0, |(_, kills)| *kills);
        if kills >= KILLS_ALLOWED {
            error!(?suspect, kills, "ended the process again and again; it is set aside");
            return Tried::SetAside;
        }
        self.note.trying = Some(suspect);
        self.write_or_warn();
        let done = work();
        self.note.trying = None;
        self.write_or_warn();
        Tried::Done(done)
    }

    fn write(&self) -> io::Result<()> {
        let mut line = Vec::new();
        if self.note != Note::default() {
            line = serde_json::to_vec(&self.note)?;
        }
        line.push(b'\n');
        self.file.write_all_at(&line, 0)
    }

    /// `begin` has just written to the same file: a failure here is too unlikely to stop an event for it.
    fn write_or_warn(&self) {
        if let Err(error) = self.write() {
            warn!(%error, "the crash note could not be written");
        }
    }
}

/// Reads the note. One that cannot be understood (a power loss can leave anything) says nothing.
fn read(file: &File) -> io::Result<Note> {
    let mut text = vec![0; usize::try_from(file.metadata()?.len()).unwrap_or(0)];
    file.read_exact_at(&mut text, 0)?;
    let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    Ok(serde_json::from_slice(line).unwrap_or_default())
}

impl Note {
    /// What the note of a process that is gone says to the next one.
    fn after_restart(mut self) -> Self {
        if let Some(suspect) = self.trying.take() {
            match self.kills.iter_mut().find(|(known, _)| *known == suspect) {
                Some((_, kills)) => *kills += 1,
                None => self.kills.push((suspect, 1)),
            }
        }
        self.suspected = match (self.working.take(), self.suspected) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (one, other) => one.or(other),
        };
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EventRef;

    const EVENT: Suspect = Suspect::Event(EventRef { number: EntryNumber(7), ordinal: 3 });

    fn number(number: u64) -> EntryNumber {
        EntryNumber(number)
    }

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a folder"))
        }

        fn start(&self) -> CrashNote {
            CrashNote::open(&self.0.path().join("translating.note")).expect("the note")
        }

        /// A process that dies while it tries `suspect`, as the note sees it.
        fn dies_with(&self, suspect: Suspect) {
            let mut note = self.start();
            note.begin(number(5), number(9)).expect("begin");
            note.note.trying = Some(suspect);
            note.write().expect("write");
        }
    }

    #[test]
    fn a_clean_end_leaves_no_suspicion() {
        let folder = Folder::new();
        let mut note = folder.start();
        note.begin(number(1), number(1_000_000_000)).expect("begin");
        note.end().expect("end");
        assert!(!folder.start().suspects(number(1), number(u64::MAX)));
    }

    #[test]
    fn an_unclean_end_makes_its_range_suspect_until_it_is_committed() {
        let folder = Folder::new();
        folder.start().begin(number(5), number(9)).expect("begin");
        let mut note = folder.start();
        assert!(note.suspects(number(9), number(20)) && note.suspects(number(1), number(5)));
        assert!(!note.suspects(number(10), number(20)) && !note.suspects(number(1), number(4)));
        assert_eq!(note.alone(EVENT, || 1), Tried::Done(1));
        note.committed(number(900), number(1_000));
        assert!(note.suspects(number(5), number(5)), "another group's entries say nothing about these");
        note.committed(number(3), number(8));
        assert!(note.suspects(number(9), number(9)) && !note.suspects(number(1), number(8)));
        note.committed(number(9), number(12));
        note.end().expect("end");
        assert!(!folder.start().suspects(number(5), number(9)));
    }

    #[test]
    fn what_killed_three_times_alone_is_set_aside_and_nothing_else() {
        let folder = Folder::new();
        for _ in 1..KILLS_ALLOWED {
            folder.dies_with(EVENT);
            assert_eq!(folder.start().alone(EVENT, || "tried"), Tried::Done("tried"), "it may be chance");
        }
        folder.dies_with(EVENT);
        let mut note = folder.start();
        assert_eq!(note.alone(EVENT, || "tried"), Tried::SetAside);
        let neighbour = Suspect::Event(EventRef { number: number(7), ordinal: 4 });
        assert_eq!(note.alone(neighbour, || "tried"), Tried::Done("tried"));
        assert_eq!(note.alone(Suspect::Delivery(number(7)), || "tried"), Tried::Done("tried"));
    }

    #[test]
    fn a_process_that_tried_nothing_killed_nothing() {
        let folder = Folder::new();
        folder.dies_with(EVENT);
        for _ in 0..3 {
            drop(folder.start());
        }
        let mut note = folder.start();
        assert!(note.suspects(number(5), number(9)), "and forgets nothing");
        assert_eq!(note.alone(EVENT, || "tried"), Tried::Done("tried"), "it was tried once");
    }

    #[test]
    fn a_second_crash_in_another_range_keeps_both() {
        let folder = Folder::new();
        folder.dies_with(EVENT);
        folder.start().begin(number(20), number(30)).expect("begin");
        let note = folder.start();
        assert!(note.suspects(number(5), number(5)) && note.suspects(number(30), number(30)));
    }

    #[test]
    fn rubbish_says_nothing() {
        let folder = Folder::new();
        std::fs::write(folder.0.path().join("translating.note"), b"\0\0{not json").expect("write");
        assert!(!folder.start().suspects(number(1), number(u64::MAX)));
    }
}
