//! What every [`Broker`] must do, run against each of them.

use std::{
    io::{self, Write},
    path::PathBuf,
    sync::{Arc, Mutex},
};

use douane::{
    brokers::{Broker, BrokerError, FileBroker, Placement, StdoutBroker},
    model::{EndpointName, EntryNumber, EventNumber, EventRef, Revision, StoredEvent},
};

/// A broker on its own server, and a way to see what it holds.
trait Subject {
    fn broker(&self) -> Arc<dyn Broker>;

    /// The bodies the broker holds, in its order.
    fn holds(&self) -> Vec<String>;
}

fn event(number: u64) -> StoredEvent {
    StoredEvent {
        number: EventNumber(number),
        id: format!("id-{number}"),
        event_type: "com.example.payments.PaymentCaptured.v1".to_owned(),
        partition_key: format!("acme/default/{}", number % 3),
        endpoint: EndpointName::new("acme", "default"),
        made_from: EventRef { number: EntryNumber(number), ordinal: 0 },
        revision: Revision("r".into()),
        brokers: Vec::new(),
        body: format!(r#"{{"id":"id-{number}","data":{{"name":"ünïcode \n"}}}}"#).into(),
    }
}

fn events(numbers: std::ops::RangeInclusive<u64>) -> Vec<StoredEvent> {
    numbers.map(event).collect()
}

fn bodies(events: &[StoredEvent]) -> Vec<String> {
    events.iter().map(|event| String::from_utf8_lossy(&event.body).into_owned()).collect()
}

fn placed(placements: &[Placement]) -> Vec<(u64, &str)> {
    placements
        .iter()
        .map(|placement| match placement {
            Placement::Placed { event, position } => (event.0, position.as_str()),
            Placement::Refused { event, reason } => panic!("refused {event}: {reason}"),
        })
        .collect()
}

async fn satisfies_the_trait(subject: &dyn Subject) {
    let broker = subject.broker();
    assert_eq!(broker.name(), "subject");

    let nothing = broker.publish(&[]).await;
    assert!(nothing.placements.is_empty() && nothing.stopped.is_none(), "nothing offered, nothing placed");

    let first = events(1..=40);
    let report = broker.publish(&first).await;
    assert!(report.stopped.is_none());
    let numbers: Vec<_> = placed(&report.placements).iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=40).collect::<Vec<_>>(), "one placement for each, in order");
    assert_eq!(subject.holds(), bodies(&first), "the stored bytes, as they are, in order");

    let second = events(41..=45);
    let more = broker.publish(&second).await;
    let mut positions: Vec<_> = placed(&report.placements).iter().map(|(_, position)| *position).collect();
    positions.extend(placed(&more.placements).iter().map(|(_, position)| *position));
    positions.sort_unstable();
    positions.dedup();
    assert_eq!(positions.len(), 45, "every event has a place of its own");

    let again = broker.publish(&second).await;
    assert_eq!(again.placements.len(), 5, "a repeat is taken again: at least once");
    let all = [bodies(&first), bodies(&second), bodies(&second)].concat();
    assert_eq!(subject.holds(), all);
}

struct InFile {
    folder: tempfile::TempDir,
    rotate_bytes: u64,
}

impl InFile {
    fn path(&self) -> PathBuf {
        self.folder.path().join("events.ndjson")
    }
}

impl Subject for InFile {
    fn broker(&self) -> Arc<dyn Broker> {
        Arc::new(FileBroker::new("subject", self.path(), self.rotate_bytes))
    }

    fn holds(&self) -> Vec<String> {
        let finished = (1..).map(|n| self.folder.path().join(format!("events.ndjson.{n}")));
        let finished = finished.take_while(|path| path.exists());
        let texts = finished.chain([self.path()]).map(|path| std::fs::read_to_string(path).expect("a file"));
        texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    }
}

#[tokio::test]
async fn file() {
    for rotate_bytes in [4_096, 200] {
        let folder = tempfile::tempdir().expect("a folder");
        satisfies_the_trait(&InFile { folder, rotate_bytes }).await;
    }
}

#[tokio::test]
async fn file_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let subject = InFile { folder, rotate_bytes: 200 };
    subject.broker().publish(&events(1..=10)).await;
    subject.broker().publish(&events(11..=20)).await;
    assert_eq!(subject.holds(), bodies(&events(1..=20)));
}

/// A pipe: keeps what was flushed, and breaks when told to.
#[derive(Clone, Default)]
struct Pipe(Arc<Mutex<PipeState>>);

#[derive(Default)]
struct PipeState {
    written: Vec<u8>,
    flushed: usize,
    breaks_after: Option<usize>,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut pipe = self.0.lock().expect("the pipe");
        let room = match pipe.breaks_after.as_mut() {
            Some(0) => return Err(io::ErrorKind::BrokenPipe.into()),
            Some(left) => {
                let room = bytes.len().min(*left);
                *left -= room;
                room
            }
            None => bytes.len(),
        };
        pipe.written.extend_from_slice(&bytes[..room]);
        Ok(room)
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut pipe = self.0.lock().expect("the pipe");
        pipe.flushed = pipe.written.len();
        Ok(())
    }
}

impl Subject for Pipe {
    fn broker(&self) -> Arc<dyn Broker> {
        Arc::new(StdoutBroker::on("subject", self.clone()))
    }

    fn holds(&self) -> Vec<String> {
        let pipe = self.0.lock().expect("the pipe");
        let text = std::str::from_utf8(&pipe.written[..pipe.flushed]).expect("utf-8");
        text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn stdout() {
    satisfies_the_trait(&Pipe::default()).await;
}

#[tokio::test]
async fn stdout_that_breaks_places_nothing_and_starts_on_a_line_of_its_own() {
    let pipe = Pipe::default();
    let broker = pipe.broker();
    pipe.0.lock().expect("the pipe").breaks_after = Some(10);
    let report = broker.publish(&events(1..=2)).await;
    assert!(report.placements.is_empty());
    assert!(matches!(report.stopped, Some(BrokerError::Unavailable(_))));
    pipe.0.lock().expect("the pipe").breaks_after = None;
    broker.publish(&events(1..=2)).await;
    assert_eq!(pipe.holds()[1..], bodies(&events(1..=2)));
}
