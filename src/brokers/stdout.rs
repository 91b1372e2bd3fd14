//! Room `brokers`: NDJSON on standard output, one CloudEvent a line, flushed before it is confirmed. For development and
//! for pipes; what reads the pipe may still lose it, so a broker that must keep events is `file` or a real one.

use std::{
    fmt,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;

use super::{Broker, BrokerError, Placement, PublishReport};
use crate::model::StoredEvent;

/// Writes events to standard output, or to any other writer.
pub struct StdoutBroker<W> {
    name: String,
    out: Arc<Mutex<Output<W>>>,
}

struct Output<W> {
    writer: W,
    lines: u64,
    torn: bool,
}

impl StdoutBroker<io::Stdout> {
    /// A broker on this process's standard output.
    pub fn new(name: impl Into<String>) -> Self {
        Self::on(name, io::stdout())
    }
}

impl<W: Write + Send + 'static> StdoutBroker<W> {
    /// A broker on another writer.
    pub fn on(name: impl Into<String>, writer: W) -> Self {
        Self { name: name.into(), out: Arc::new(Mutex::new(Output { writer, lines: 0, torn: false })) }
    }
}

impl<W: Write> Output<W> {
    /// Writes one batch; the position of each event is its line since the process started, as `line:7`.
    fn write(&mut self, events: &[StoredEvent]) -> io::Result<Vec<Placement>> {
        let mut text = Vec::new();
        if self.torn {
            text.push(b'\n');
        }
        for event in events {
            text.extend_from_slice(&event.body);
            text.push(b'\n');
        }
        // A failed write may have left half a line: the next batch then begins on a line of its own.
        self.torn = true;
        self.writer.write_all(&text)?;
        self.writer.flush()?;
        self.torn = false;
        Ok(events.iter().map(|event| self.place(event)).collect())
    }

    fn place(&mut self, event: &StoredEvent) -> Placement {
        self.lines += 1;
        Placement::Placed { event: event.number, position: format!("line:{}", self.lines) }
    }
}

#[async_trait]
impl<W: Write + Send + 'static> Broker for StdoutBroker<W> {
    fn name(&self) -> &str {
        &self.name
    }

    async fn publish(&self, events: &[StoredEvent]) -> PublishReport {
        let (out, events) = (Arc::clone(&self.out), events.to_vec());
        // A pipe that nobody reads blocks; it must not block the runtime.
        let written = tokio::task::spawn_blocking(move || {
            out.lock().unwrap_or_else(PoisonError::into_inner).write(&events)
        });
        match written.await {
            Ok(Ok(placements)) => PublishReport { placements, stopped: None },
            Ok(Err(error)) => PublishReport::nothing(BrokerError::Unavailable(error.to_string())),
            Err(error) => PublishReport::nothing(BrokerError::Unavailable(error.to_string())),
        }
    }
}

impl<W> fmt::Debug for StdoutBroker<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StdoutBroker").field("name", &self.name).finish_non_exhaustive()
    }
}
