//! What every [`Broker`] must do, run against each of them on its own server.

mod http;
#[cfg(feature = "kafka")]
mod kafka;
mod nats;
mod rabbitmq;
mod redis_streams;

use std::{
    collections::BTreeSet,
    io::{self, Write},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use douane::{
    brokers::{Broker, BrokerError, FileBroker, Placement, PublishReport, StdoutBroker},
    model::{EndpointName, EntryNumber, EventNumber, EventRef, Revision, StoredEvent},
};

/// How long a broker may take to come back after its server did. Generous: the machine may be busy.
const DEADLINE: Duration = Duration::from_mins(1);

/// A broker on its own server, and a way to see what it holds.
#[async_trait]
pub trait Subject: Send + Sync {
    /// A broker named `subject`.
    fn broker(&self) -> Arc<dyn Broker>;

    /// The bodies the server holds; those of one partition key in its order.
    async fn holds(&self) -> Vec<String>;

    /// Whether it keeps a repeat beside the first.
    fn keeps_repeats(&self) -> bool {
        true
    }
}

/// A subject whose server can be stopped.
#[async_trait]
pub trait Stoppable: Subject {
    /// Ends the server as a power cut would.
    async fn kill(&mut self);

    /// Starts it again with what it kept.
    async fn restart(&mut self);
}

/// An event as the ledger has it; those of one remainder by three have one partition key.
pub fn event(number: u64) -> StoredEvent {
    event_with(number, r"ünïcode \n")
}

/// An event with this text in its data.
pub fn event_with(number: u64, text: &str) -> StoredEvent {
    let key = key_of(number);
    let attributes = format!(
        r#""specversion":"1.0","id":"id-{number}","source":"/partners/acme/default","type":"com.example.payments.PaymentCaptured.v1","subject":"Müller \"&\" 5%","time":"2026-11-23T07:41:05Z","datacontenttype":"application/json","partitionkey":"{key}""#
    );
    StoredEvent {
        number: EventNumber(number),
        id: format!("id-{number}"),
        event_type: "com.example.payments.PaymentCaptured.v1".to_owned(),
        partition_key: key,
        endpoint: EndpointName::new("acme", "default"),
        made_from: EventRef { number: EntryNumber(number), ordinal: 0 },
        revision: Revision("r".into()),
        brokers: Vec::new(),
        body: format!(r#"{{{attributes},"data":{{"number":{number},"name":"{text}"}}}}"#).into(),
    }
}

fn key_of(number: u64) -> String {
    format!("acme/default/{}", number % 3)
}

/// Events of these numbers.
pub fn events(numbers: std::ops::RangeInclusive<u64>) -> Vec<StoredEvent> {
    numbers.map(event).collect()
}

fn bodies(events: &[StoredEvent]) -> Vec<String> {
    events.iter().map(|event| String::from_utf8_lossy(&event.body).into_owned()).collect()
}

/// What was placed, all of it: which event, and where.
pub fn placed(placements: &[Placement]) -> Vec<(u64, &str)> {
    placements
        .iter()
        .map(|placement| match placement {
            Placement::Placed { event, position } => (event.0, position.as_str()),
            Placement::Refused { event, reason } => panic!("refused {event}: {reason}"),
        })
        .collect()
}

/// The numbers of bodies, those of each key in their order.
fn by_key(bodies: &[String]) -> Vec<Vec<u64>> {
    let mut keys = vec![Vec::new(); 3];
    for body in bodies {
        let event: serde_json::Value = serde_json::from_str(body).expect("a stored event");
        let number = event["data"]["number"].as_u64().expect("its number");
        keys[usize::try_from(number % 3).expect("small")].push(number);
    }
    keys
}

fn same(mut held: Vec<String>, mut offered: Vec<String>, what: &str) {
    assert_eq!(by_key(&held), by_key(&offered), "{what}: those of one key in order");
    held.sort();
    offered.sort();
    assert_eq!(held, offered, "{what}: the stored bytes, as they are");
}

/// What every broker does.
pub async fn satisfies_the_trait(subject: &dyn Subject) {
    let broker = subject.broker();
    assert_eq!(broker.name(), "subject");
    broker.look().await.expect("it could publish");

    let nothing = broker.publish(&[]).await;
    assert!(nothing.placements.is_empty() && nothing.stopped.is_none(), "nothing offered, nothing placed");

    let first = events(1..=40);
    let report = broker.publish(&first).await;
    assert!(report.stopped.is_none(), "{report:?}");
    let numbers: Vec<_> = placed(&report.placements).iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=40).collect::<Vec<_>>(), "one placement for each, in order");
    same(subject.holds().await, bodies(&first), "a batch");

    let second = events(41..=45);
    let more = broker.publish(&second).await;
    let mut positions: Vec<_> = placed(&report.placements).iter().map(|(_, position)| *position).collect();
    positions.extend(placed(&more.placements).iter().map(|(_, position)| *position));
    positions.sort_unstable();
    positions.dedup();
    assert_eq!(positions.len(), 45, "every event has a place of its own");

    let again = broker.publish(&second).await;
    assert_eq!(placed(&again.placements).len(), 5, "a repeat is taken again: at least once");
    let repeats = if subject.keeps_repeats() { bodies(&second) } else { Vec::new() };
    same(subject.holds().await, [bodies(&first), bodies(&second), repeats].concat(), "and a repeat");

    let another = subject.broker();
    assert_eq!(
        placed(&another.publish(&events(46..=46)).await.placements).len(),
        1,
        "as after a restart of ours"
    );
}

/// One event that the server will never take holds nobody up. `text` makes it too large.
pub async fn refuses_one_that_is_too_large(subject: &dyn Subject, text: &str) {
    let offered = [event(1), event_with(2, text), event(3), event(4), event(5)];
    let report = subject.broker().publish(&offered).await;
    assert!(report.stopped.is_none(), "{:?}", report.stopped);
    let refused: Vec<_> = report
        .placements
        .iter()
        .filter_map(|placement| match placement {
            Placement::Refused { event, reason } if !reason.is_empty() => Some(event.0),
            _ => None,
        })
        .collect();
    assert_eq!((report.placements.len(), refused), (5, vec![2]));
    same(subject.holds().await, bodies(&[event(1), event(3), event(4), event(5)]), "the others");
}

/// A server that dies in the middle of batches loses nothing that was confirmed, and gets the rest when it is back.
pub async fn survives_a_power_cut(subject: &mut dyn Stoppable) {
    let (broker, all) = (subject.broker(), events(1..=3_000));
    let mut done = place(&*broker, &all[..100]).await;
    assert_eq!(done, 100, "it works");
    let confirmed_by_now = Arc::new(AtomicUsize::new(0));
    let offering = {
        let (broker, all, by_now) = (Arc::clone(&broker), all.clone(), Arc::clone(&confirmed_by_now));
        tokio::spawn(async move {
            let mut done = 100;
            while done < all.len() {
                let report = broker.publish(&all[done..(done + 100).min(all.len())]).await;
                done += placed(&report.placements).len();
                by_now.store(done, Ordering::Relaxed);
                if let Some(error) = report.stopped {
                    return (done, Some(error));
                }
            }
            (done, None)
        })
    };
    while confirmed_by_now.load(Ordering::Relaxed) < 300 && !offering.is_finished() {
        tokio::task::yield_now().await;
    }
    subject.kill().await;
    let (confirmed, error) = offering.await.expect("it publishes");
    assert!(matches!(error, None | Some(BrokerError::Unavailable(_))), "{error:?}");
    done = confirmed;

    let away = broker.publish(&all[..1]).await;
    assert!(
        away.placements.is_empty() && matches!(away.stopped, Some(BrokerError::Unavailable(_))),
        "{away:?}"
    );
    assert!(broker.look().await.is_err(), "that it is away shows");

    subject.restart().await;
    done += place(&*broker, &all[done..]).await;
    assert_eq!(done, all.len());
    let mut seen = BTreeSet::new();
    let first: Vec<_> = subject.holds().await.into_iter().filter(|body| seen.insert(body.clone())).collect();
    same(first, bodies(&all), "first appearances");
}

/// Offers what is left again and again, as the stage does, until all is placed.
async fn place(broker: &dyn Broker, events: &[StoredEvent]) -> usize {
    let (begun, mut done) = (Instant::now(), 0);
    while done < events.len() {
        let report: PublishReport = broker.publish(&events[done..(done + 500).min(events.len())]).await;
        done += placed(&report.placements).len();
        assert!(begun.elapsed() < DEADLINE, "{done} of {}: {:?}", events.len(), report.stopped);
        if report.stopped.is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    done
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

#[async_trait]
impl Subject for InFile {
    fn broker(&self) -> Arc<dyn Broker> {
        Arc::new(FileBroker::new("subject", self.path(), self.rotate_bytes))
    }

    async fn holds(&self) -> Vec<String> {
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
    assert_eq!(subject.holds().await, bodies(&events(1..=20)));
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

#[async_trait]
impl Subject for Pipe {
    fn broker(&self) -> Arc<dyn Broker> {
        Arc::new(StdoutBroker::on("subject", self.clone()))
    }

    async fn holds(&self) -> Vec<String> {
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
    assert_eq!(pipe.holds().await[1..], bodies(&events(1..=2)));
}
