//! Room `brokers`: what a line of the built-in feed is. The feed is no [`Broker`](super::Broker): nothing is published
//! to it and nothing can be refused by it. The records *are* the feed; the console reads them after the consumer's own
//! number and writes each event as told here. May not read the records itself.

use crate::model::StoredEvent;

/// The event as a feed line, without line end: the stored CloudEvent with its feed number added as the extension
/// attribute `sequence` (CloudEvents sequence extension, a string).
pub fn line(event: &StoredEvent) -> Vec<u8> {
    let mut line = format!("{{\"sequence\":\"{}\"", event.number).into_bytes();
    let attributes = event.body.strip_prefix(b"{").unwrap_or(&event.body);
    if attributes != b"}" {
        line.push(b',');
    }
    line.extend_from_slice(attributes);
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EndpointName, EntryNumber, EventNumber, EventRef, Revision};

    fn line_of(body: &'static str) -> String {
        let event = StoredEvent {
            number: EventNumber(42),
            id: "x".to_owned(),
            event_type: "t".to_owned(),
            partition_key: "k".to_owned(),
            endpoint: EndpointName::new("acme", "default"),
            made_from: EventRef { number: EntryNumber(1), ordinal: 0 },
            revision: Revision("r".into()),
            brokers: Vec::new(),
            body: body.into(),
        };
        String::from_utf8(line(&event)).expect("utf-8")
    }

    #[test]
    fn the_stored_bytes_gain_their_number() {
        assert_eq!(line_of(r#"{"id":"x","data":{}}"#), r#"{"sequence":"42","id":"x","data":{}}"#);
        assert_eq!(line_of("{}"), r#"{"sequence":"42"}"#);
    }
}
