//! Room `brokers`: NDJSON in a file, one CloudEvent a line, fsynced before it is confirmed, rotated by size. After a
//! crash a torn last line is cut back; the stage then offers its event again.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;

use super::{Broker, BrokerError, Placement, PublishReport};
use crate::model::StoredEvent;

/// Appends events to `path`. A file that has reached its size is renamed to `<path>.<n>`, n counting from 1.
///
/// A position is `<file>:<offset>`, in bytes, where `<file>` is the name the file has once it is finished: the current
/// file is the one after the highest `n` there is. So a position stays true when the file is rotated.
#[derive(Debug)]
pub struct FileBroker {
    name: String,
    files: Arc<Mutex<Files>>,
}

#[derive(Debug)]
struct Files {
    path: PathBuf,
    rotate_bytes: u64,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    file: File,
    length: u64,
    n: u64,
}

impl FileBroker {
    /// A broker that appends to `path`. The file is opened when the first event comes, so that a folder that is not
    /// there yet makes this broker wait and nothing else.
    pub fn new(name: impl Into<String>, path: impl Into<PathBuf>, rotate_bytes: u64) -> Self {
        let files = Files { path: path.into(), rotate_bytes, current: None };
        Self { name: name.into(), files: Arc::new(Mutex::new(files)) }
    }
}

#[async_trait]
impl Broker for FileBroker {
    fn name(&self) -> &str {
        &self.name
    }

    async fn publish(&self, events: &[StoredEvent]) -> PublishReport {
        let (files, events) = (Arc::clone(&self.files), events.to_vec());
        let written = tokio::task::spawn_blocking(move || {
            files.lock().unwrap_or_else(PoisonError::into_inner).append(&events)
        });
        written.await.unwrap_or_else(|error| {
            PublishReport::nothing(BrokerError::Unavailable(format!("the writer ended: {error}")))
        })
    }

    /// That its folder opens, and the file too if it is there.
    async fn look(&self) -> Result<(), BrokerError> {
        let path = self.files.lock().unwrap_or_else(PoisonError::into_inner).path.clone();
        could_append(&path).map_err(|error| {
            BrokerError::Unavailable(format!("cannot append to {}: {error}", path.display()))
        })
    }
}

impl Files {
    fn append(&mut self, events: &[StoredEvent]) -> PublishReport {
        let mut placements = Vec::with_capacity(events.len());
        while placements.len() < events.len() {
            match self.append_some(&events[placements.len()..]) {
                Ok(placed) => placements.extend(placed),
                Err(error) => {
                    // What the file holds now is unknown: it is opened anew, and its torn end cut, before the next write.
                    self.current = None;
                    let what = format!("{}: {error}", self.path.display());
                    return PublishReport { placements, stopped: Some(BrokerError::Unavailable(what)) };
                }
            }
        }
        PublishReport { placements, stopped: None }
    }

    /// Writes as many events as the current file has room for, at least one, and makes them durable.
    fn append_some(&mut self, events: &[StoredEvent]) -> io::Result<Vec<Placement>> {
        let mut current = match self.current.take() {
            Some(current) if current.length < self.rotate_bytes => current,
            Some(current) => self.rotate(&current)?,
            None => self.open()?,
        };
        let finished = finished_name(&self.path, current.n);
        let label = finished.file_name().unwrap_or_default().to_string_lossy();
        let (mut lines, mut placements) = (Vec::new(), Vec::new());
        let mut end = current.length;
        for event in events {
            if end >= self.rotate_bytes {
                break;
            }
            placements.push(Placement::Placed { event: event.number, position: format!("{label}:{end}") });
            lines.extend_from_slice(&event.body);
            lines.push(b'\n');
            end = current.length + lines.len() as u64;
        }
        if let Err(error) = current.file.write_all(&lines).and_then(|()| current.file.sync_data()) {
            // Lines that were not confirmed must not stay between confirmed ones. If this fails too, opening cuts the torn end.
            let _ = current.file.set_len(current.length);
            return Err(error);
        }
        current.length = end;
        self.current = Some(current);
        Ok(placements)
    }

    fn open(&self) -> io::Result<Current> {
        let n = highest_finished(&self.path)? + 1;
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&self.path)?;
        let length = cut_torn_line(&mut file)?;
        sync_folder(&self.path)?;
        let current = Current { file, length, n };
        if length < self.rotate_bytes { Ok(current) } else { self.rotate(&current) }
    }

    fn rotate(&self, finished: &Current) -> io::Result<Current> {
        fs::rename(&self.path, finished_name(&self.path, finished.n))?;
        let file = OpenOptions::new().append(true).create_new(true).open(&self.path)?;
        sync_folder(&self.path)?;
        Ok(Current { file, length: 0, n: finished.n + 1 })
    }
}

fn could_append(path: &Path) -> io::Result<()> {
    fs::read_dir(folder_of(path))?;
    match OpenOptions::new().append(true).open(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn finished_name(path: &Path, n: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    PathBuf::from(name)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

fn highest_finished(path: &Path) -> io::Result<u64> {
    let prefix = format!("{}.", path.file_name().unwrap_or_default().to_string_lossy());
    let mut highest = 0;
    for entry in fs::read_dir(folder_of(path))? {
        let name = entry?.file_name();
        let n = name.to_str().and_then(|name| name.strip_prefix(&prefix)).and_then(|n| n.parse().ok());
        highest = highest.max(n.unwrap_or(0));
    }
    Ok(highest)
}

/// Cuts what stands after the last line end and returns the length that is left.
fn cut_torn_line(file: &mut File) -> io::Result<u64> {
    const BLOCK: u64 = 64 * 1024;
    let length = file.metadata()?.len();
    let mut end = length;
    let mut kept = 0;
    while end > 0 && kept == 0 {
        let start = end.saturating_sub(BLOCK);
        let mut block = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        Read::by_ref(file).take(end - start).read_to_end(&mut block)?;
        kept = block.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| start + at as u64 + 1);
        end = start;
    }
    if kept < length {
        file.set_len(kept)?;
        file.sync_all()?;
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{EndpointName, EntryNumber, EventNumber, EventRef, Revision};

    fn event(number: u64, data: &str) -> StoredEvent {
        StoredEvent {
            number: EventNumber(number),
            id: format!("id-{number}"),
            event_type: "com.example.x".to_owned(),
            partition_key: "k".to_owned(),
            endpoint: EndpointName::new("acme", "default"),
            made_from: EventRef { number: EntryNumber(number), ordinal: 0 },
            revision: Revision("r".into()),
            brokers: Vec::new(),
            body: format!(r#"{{"id":"id-{number}","data":"{data}"}}"#).into(),
        }
    }

    fn position(placement: &Placement) -> (&str, usize) {
        let Placement::Placed { position, .. } = placement else { panic!("refused: {placement:?}") };
        let (file, offset) = position.rsplit_once(':').expect("file:offset");
        (file, offset.parse().expect("an offset"))
    }

    #[tokio::test]
    async fn a_position_is_where_the_event_stands_before_and_after_rotation() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events.ndjson");
        let broker = FileBroker::new("file", &path, 100);
        let events: Vec<_> = (1..=9).map(|number| event(number, "0123456789")).collect();
        let report = broker.publish(&events).await;
        assert!(report.stopped.is_none());
        for (event, placement) in events.iter().zip(&report.placements) {
            let (file, offset) = position(placement);
            let finished = folder.path().join(file);
            let bytes = fs::read(if finished.exists() { finished } else { path.clone() }).expect("the file");
            assert_eq!(&bytes[offset..offset + event.body.len()], &event.body[..]);
            assert_eq!(bytes[offset + event.body.len()], b'\n');
        }
        assert!(folder.path().join("events.ndjson.2").exists(), "it was rotated more than once");
    }

    #[tokio::test]
    async fn after_a_crash_the_torn_line_is_cut_and_numbering_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events.ndjson");
        fs::write(folder.path().join("events.ndjson.7"), "old\n").expect("write");
        fs::write(&path, "{\"id\":\"a\"}\n{\"id\":\"b\",\"da").expect("write");
        let broker = FileBroker::new("file", &path, 4_096);
        let report = broker.publish(&[event(1, "x")]).await;
        assert_eq!(position(&report.placements[0]), ("events.ndjson.8", 11));
        let text = fs::read_to_string(&path).expect("the file");
        assert_eq!(text, "{\"id\":\"a\"}\n{\"id\":\"id-1\",\"data\":\"x\"}\n");
    }

    #[tokio::test]
    async fn a_missing_folder_is_for_now() {
        let folder = tempfile::tempdir().expect("a folder");
        let later = folder.path().join("later");
        let broker = FileBroker::new("file", later.join("events.ndjson"), 4_096);
        let report = broker.publish(&[event(1, "x")]).await;
        assert!(matches!(report.stopped, Some(BrokerError::Unavailable(_))), "{report:?}");
        assert!(report.placements.is_empty());
        fs::create_dir(&later).expect("a folder");
        assert_eq!(broker.publish(&[event(1, "x")]).await.placements.len(), 1);
    }

    proptest! {
        #[test]
        fn cutting_keeps_exactly_the_whole_lines(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'a')], 0..200),
        ) {
            let mut file = tempfile::tempfile().expect("a file");
            file.write_all(&bytes).expect("write");
            let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
            prop_assert_eq!(cut_torn_line(&mut file).expect("cut"), whole as u64);
            prop_assert_eq!(file.metadata().expect("metadata").len(), whole as u64);
        }
    }

    #[test]
    fn a_torn_line_may_be_longer_than_a_block() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"whole\n").expect("write");
        file.write_all(&vec![b'x'; 200_000]).expect("write");
        assert_eq!(cut_torn_line(&mut file).expect("cut"), 6);
    }
}
