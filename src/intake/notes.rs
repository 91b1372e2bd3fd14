//! Room `intake`: what is noted beside the road: refusals, so that a platform engineer sees why a partner is turned
//! away, and handshakes. A note is counted at once, kept when the records get to it, and never waited for.

use std::{collections::HashMap, sync::Arc, time::Duration};

use metrics::counter;
use tokio::{sync::mpsc, time::interval};

use super::{Arrival, Refusal, address};
use crate::{
    ledger::{ActRecords, JournalEntry, RecordsError, Refused},
    model::{DeliveryId, EndpointName, Timestamp},
    partners::{Endpoint, Snapshot},
    telemetry::{
        Outage,
        metrics::{HANDSHAKES, NOTES_DROPPED, REQUESTS_REFUSED},
    },
};

/// How many notes wait for the records. Beyond, they are dropped and counted.
const QUEUE_NOTES: usize = 1_024;

/// Notes are kept in one transaction at most this often, so that a flood of refusals cannot occupy the records.
const KEEP_EVERY: Duration = Duration::from_millis(500);

/// One journal line an endpoint and this long: anyone may knock with an unsigned handshake.
const HANDSHAKE_LINE_EVERY: Duration = Duration::from_mins(1);

#[derive(Debug)]
enum Note {
    Refused(Refused),
    Handshake { endpoint: EndpointName, signed: bool, at: Timestamp },
}

/// Takes notes. Cloned freely; when the last one is gone, the keeper finishes.
#[derive(Clone, Debug)]
pub struct Notes(mpsc::Sender<Note>);

/// Keeps notes in the records.
pub struct NoteKeeper {
    notes: mpsc::Receiver<Note>,
    records: Arc<dyn ActRecords>,
    refusals_kept: usize,
    handshakes: HandshakeLines,
}

/// When each endpoint's handshakes were last written to the journal, and how many were not since.
#[derive(Debug, Default)]
struct HandshakeLines(HashMap<(EndpointName, bool), (Timestamp, u64)>);

impl Notes {
    /// Notes, and who keeps them; `refusals_kept` is how many refusals of each endpoint are.
    pub fn new(records: Arc<dyn ActRecords>, refusals_kept: usize) -> (Self, NoteKeeper) {
        let (sender, notes) = mpsc::channel(QUEUE_NOTES);
        (Self(sender), NoteKeeper { notes, records, refusals_kept, handshakes: HandshakeLines::default() })
    }

    /// Counts a refusal and notes it: metadata, never the body.
    pub(super) fn refused(
        &self,
        partners: &Snapshot,
        arrival: &Arrival,
        refusal: &Refusal,
        (request, now): (DeliveryId, Timestamp),
    ) {
        let name = address::known_names(partners, arrival.path());
        let (partner, endpoint) = (name.partner.clone(), name.endpoint.clone());
        counter!(REQUESTS_REFUSED, "partner" => partner, "endpoint" => endpoint, "code" => refusal.cause())
            .increment(1);
        tracing::debug!(partner = %name.partner, endpoint = %name.endpoint, code = refusal.cause(), "refused");
        self.note(Note::Refused(Refused {
            at: now,
            partner: name.partner.to_string(),
            endpoint: name.endpoint.to_string(),
            code: refusal.cause().to_owned(),
            status: refusal.status().as_u16(),
            detail: refusal.to_string(),
            peer: arrival.peer().map(|peer| peer.to_string()),
            size: arrival.body_bytes,
            request: Some(request.to_string()),
        }));
    }

    /// Counts a handshake and notes it.
    pub(super) fn handshake(&self, endpoint: &Endpoint, signed: bool, now: Timestamp) {
        let EndpointName { partner, endpoint } = endpoint.name.clone();
        counter!(HANDSHAKES, "partner" => partner.clone(), "endpoint" => endpoint.clone()).increment(1);
        self.note(Note::Handshake { endpoint: EndpointName { partner, endpoint }, signed, at: now });
    }

    fn note(&self, note: Note) {
        if self.0.try_send(note).is_err() {
            counter!(NOTES_DROPPED).increment(1);
        }
    }
}

impl NoteKeeper {
    /// Keeps notes until the last [`Notes`] is gone. Records that fail lose notes, counted, and nothing else.
    pub async fn run(mut self) {
        let mut batch = Vec::with_capacity(QUEUE_NOTES);
        let mut pace = interval(KEEP_EVERY);
        let mut outage = Outage::of("refusals and handshakes are not kept");
        while self.notes.recv_many(&mut batch, QUEUE_NOTES).await > 0 {
            let count = batch.len() as u64;
            if outage.told(self.keep(batch.drain(..)).await).is_none() {
                counter!(NOTES_DROPPED).increment(count);
            }
            pace.tick().await;
        }
    }

    async fn keep(&mut self, notes: impl Iterator<Item = Note>) -> Result<(), RecordsError> {
        let (mut refused, mut lines) = (Vec::new(), Vec::new());
        for note in notes {
            match note {
                Note::Refused(refusal) => refused.push(refusal),
                Note::Handshake { endpoint, signed, at } => {
                    lines.extend(self.handshakes.due(endpoint, signed, at));
                }
            }
        }
        if !refused.is_empty() {
            self.records.keep_refusals(&refused, self.refusals_kept).await?;
        }
        for line in lines {
            self.records.journal(line).await?;
        }
        Ok(())
    }
}

impl HandshakeLines {
    /// The journal line that is due with this handshake, if one is. It counts those before it that had none.
    fn due(&mut self, endpoint: EndpointName, signed: bool, at: Timestamp) -> Option<JournalEntry> {
        let subject = endpoint.to_string();
        let mut count = 1;
        if let Some((written_at, unwritten)) = self.0.get_mut(&(endpoint.clone(), signed)) {
            if at.since(*written_at) < HANDSHAKE_LINE_EVERY {
                *unwritten += 1;
                return None;
            }
            count += *unwritten;
        }
        self.0.insert((endpoint, signed), (at, 0));
        let detail = serde_json::json!({ "signed": signed, "count": count });
        let (who, act) = ("system".to_owned(), "handshake.answered".to_owned());
        Some(JournalEntry { at, who, act, subject, detail })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes_are_journalled_once_a_minute_with_their_count() {
        let mut lines = HandshakeLines::default();
        let endpoint = EndpointName::new("slack", "default");
        let start = Timestamp::from_rfc3339("2026-11-23T07:00:00Z").expect("a time");
        let mut line = |seconds| {
            let at = start.plus(Duration::from_secs(seconds));
            lines.due(endpoint.clone(), true, at).map(|line| line.detail["count"].clone())
        };
        assert_eq!(line(0), Some(1.into()));
        assert_eq!(line(1), None);
        assert_eq!(line(59), None);
        assert_eq!(line(60), Some(3.into()));
        assert_eq!(line(61), None);
    }
}
