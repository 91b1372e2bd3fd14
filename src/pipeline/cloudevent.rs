//! Room `pipeline`: a checked event as CloudEvents 1.0, structured JSON, one line. Every attribute comes from the ledger,
//! none from the clock, so that the same entry always gives the same bytes. The only place that makes a [`StoredEvent`].

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::model::{
    CheckedEvent, DeliveryId, EventNumber, ExternalEvent, Headers, Revision, StoredEvent, Timestamp,
};

/// Room made for an event at once: most fit, and nothing is moved while it is written.
const EVENT_BYTES: usize = 2_048;

/// What a domain event is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin<'a> {
    /// Goes before every type.
    pub(super) namespace: &'a str,
    /// The external event.
    pub(super) event: &'a ExternalEvent,
    /// How often its id was accepted anew.
    pub(super) generation: u32,
    /// Its delivery.
    pub(super) delivery: DeliveryId,
    /// The delivery's headers.
    pub(super) headers: &'a Headers,
    /// The desk that translated it.
    pub(super) revision: &'a Revision,
}

/// The wire format. The names are CloudEvents' and those of its extensions; the order is ours and part of the bytes.
#[derive(Serialize, Deserialize)]
struct CloudEvent<'a, D> {
    specversion: Cow<'a, str>,
    id: Cow<'a, str>,
    source: Cow<'a, str>,
    #[serde(rename = "type")]
    event_type: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<Cow<'a, str>>,
    time: Timestamp,
    recordedtime: Timestamp,
    datacontenttype: Cow<'a, str>,
    dataschema: Cow<'a, str>,
    partitionkey: Cow<'a, str>,
    traceparent: Cow<'a, str>,
    correlationid: Cow<'a, str>,
    mappingrevision: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replayof: Option<Cow<'a, str>>,
    data: D,
}

/// Writes the event, `ordinal` being its place among those of its type that the mapping returned.
pub(super) fn compose(
    origin: &Origin<'_>,
    checked: &CheckedEvent,
    ordinal: u32,
) -> Result<StoredEvent, serde_json::Error> {
    let (external, event) = (origin.event, checked.event());
    let id = fact_id(origin, &event.event_type, ordinal);
    let event_type = format!("{}.{}", origin.namespace, event.event_type);
    let partition_key = format!("{}/{}", external.endpoint, external.ordering_key);
    let cloud_event = CloudEvent {
        specversion: "1.0".into(),
        id: id.as_str().into(),
        source: format!("/partners/{}", external.endpoint).into(),
        event_type: event_type.as_str().into(),
        subject: event.subject.as_deref().filter(|subject| !subject.is_empty()).map(Cow::Borrowed),
        time: event.time.or(external.occurred_at).unwrap_or(external.received_at),
        recordedtime: external.received_at,
        datacontenttype: "application/json".into(),
        dataschema: checked.dataschema().into(),
        partitionkey: partition_key.as_str().into(),
        traceparent: traceparent(origin).into(),
        correlationid: origin.delivery.to_string().into(),
        mappingrevision: origin.revision.0.get(..12).unwrap_or(&origin.revision.0).into(),
        replayof: None,
        data: &event.data,
    };
    let mut body = Vec::with_capacity(EVENT_BYTES);
    serde_json::to_writer(&mut body, &cloud_event)?;
    Ok(StoredEvent {
        number: EventNumber::default(),
        id,
        event_type,
        partition_key,
        endpoint: external.endpoint.clone(),
        made_from: external.at,
        revision: origin.revision.clone(),
        brokers: Vec::new(),
        body: body.into(),
    })
}

/// The id of a fact: SHA-256, the first 16 bytes in hex, over these parts, each with its length before it (4 bytes, big
/// endian): `douane/fact/1`, partner, endpoint, `id` and the external id (without one: `at`, the delivery's id and
/// the item's ordinal), generation, contract type without namespace, ordinal. Changing this changes every id.
fn fact_id(origin: &Origin<'_>, contract: &str, ordinal: u32) -> String {
    let external = origin.event;
    let (kind, name) = match &external.external_id {
        Some(id) => ("id", Cow::Borrowed(id.as_str())),
        None => ("at", Cow::Owned(format!("{}/{}", origin.delivery, external.at.ordinal))),
    };
    hashed(&[
        "douane/fact/1",
        &external.endpoint.partner,
        &external.endpoint.endpoint,
        kind,
        &name,
        &origin.generation.to_string(),
        contract,
        &ordinal.to_string(),
    ])
}

fn hashed(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // Parts are names of at most some hundred bytes.
        hash.update(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hex::encode(&hash.finalize()[..16])
}

/// The sender's trace (W3C Trace Context, version 00) when it sent a valid one; else one made from the delivery's id, so
/// that the trace of a delivery can be found by it.
fn traceparent(origin: &Origin<'_>) -> String {
    let sent = origin.headers.single("traceparent").and_then(|value| value.as_str());
    if let Some(sent) = sent.filter(|text| is_traceparent(text)) {
        return sent.to_owned();
    }
    let trace = origin.delivery.0.simple().to_string();
    format!("00-{trace}-{}-00", &trace[16..])
}

fn is_traceparent(text: &str) -> bool {
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let some = |part: &str| part.bytes().any(|byte| byte != b'0');
    let parts: Vec<&str> = text.split('-').collect();
    match parts.as_slice() {
        ["00", trace, parent, flags] => {
            hex(trace, 32) && some(trace) && hex(parent, 16) && some(parent) && hex(flags, 2)
        }
        _ => false,
    }
}

/// Whether two events of one id state the same fact: subject, time and data, byte for byte. The rest of the envelope may
/// differ, because another desk or another delivery made it.
pub(super) fn same_fact(one: &StoredEvent, other: &StoredEvent) -> bool {
    let (Ok(one), Ok(other)) = (read(one), read(other)) else { return one.body == other.body };
    (one.subject, one.time, one.data.get()) == (other.subject, other.time, other.data.get())
}

/// When the delivery behind an event was accepted.
pub fn recorded_at(event: &StoredEvent) -> Option<Timestamp> {
    read(event).ok().map(|event| event.recordedtime)
}

/// Whether an event states the fact of this id, under the id itself or reissued.
pub(super) fn is_version_of(event: &StoredEvent, id: &str) -> bool {
    event.id == id || read(event).is_ok_and(|event| event.replayof.as_deref() == Some(id))
}

/// The event under a new id, because its id is already published with another content: `id' = f(id, replay, place)`,
/// `replayof = id`. The same replay always gives the same id', and two events that share an id each their own.
pub(super) fn reissued(event: &StoredEvent, replay: DeliveryId) -> Result<StoredEvent, serde_json::Error> {
    let id = hashed(&["douane/reissue/1", &event.id, &replay.to_string(), &event.made_from.to_string()]);
    let cloud_event =
        CloudEvent { id: id.as_str().into(), replayof: Some(event.id.as_str().into()), ..read(event)? };
    let body = Bytes::from(serde_json::to_vec(&cloud_event)?);
    Ok(StoredEvent { id, body, ..event.clone() })
}

fn read(event: &StoredEvent) -> Result<CloudEvent<'_, Box<RawValue>>, serde_json::Error> {
    serde_json::from_slice(&event.body)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::sync::Arc;

    use vrl::value::Value;

    use super::*;
    use crate::model::{DomainEvent, EndpointName, EntryNumber, EventRef};

    fn external(external_id: Option<&str>) -> ExternalEvent {
        ExternalEvent {
            at: EventRef { number: EntryNumber(42), ordinal: 1 },
            endpoint: EndpointName::new("stripe", "default"),
            received_at: Timestamp::from_micros(1_795_435_200_000_000),
            external_id: external_id.map(str::to_owned),
            event_type: "payment_intent.succeeded".to_owned(),
            ordering_key: "pi_1".to_owned(),
            occurred_at: Timestamp::from_seconds(1_795_435_100),
            version: None,
            identity_digest: [0; 32],
            item: Value::Null,
            outer: Arc::default(),
        }
    }

    fn checked(data: serde_json::Value) -> CheckedEvent {
        let event = DomainEvent {
            event_type: "payments.PaymentCaptured.v1".to_owned(),
            subject: Some("payment/pi_1".to_owned()),
            time: None,
            data,
        };
        CheckedEvent::attest(event, "/contracts/payments/PaymentCaptured.v1.0.json".into())
    }

    fn stored(external: &ExternalEvent, generation: u32, ordinal: u32, headers: &Headers) -> StoredEvent {
        let revision = Revision("0123456789abcdef".repeat(4).into());
        let origin = Origin {
            namespace: "com.example",
            event: external,
            generation,
            delivery: "0193584e-0b2a-7cc1-8d3e-5f6a7b8c9d0e".parse().expect("an id"),
            headers,
            revision: &revision,
        };
        compose(&origin, &checked(serde_json::json!({"amount": 1998})), ordinal).expect("composed")
    }

    fn id(external_id: Option<&str>, generation: u32, ordinal: u32) -> String {
        stored(&external(external_id), generation, ordinal, &Headers::default()).id
    }

    #[test]
    fn the_bytes_are_what_they_always_were() {
        let event = stored(&external(Some("evt_1")), 0, 0, &Headers::default());
        let golden = concat!(
            r#"{"specversion":"1.0","id":"eef740f7487dd9d49fe8c047226d3d3c","source":"/partners/stripe/default","#,
            r#""type":"com.example.payments.PaymentCaptured.v1","subject":"payment/pi_1","#,
            r#""time":"2026-11-23T11:58:20Z","recordedtime":"2026-11-23T12:00:00Z","#,
            r#""datacontenttype":"application/json","dataschema":"/contracts/payments/PaymentCaptured.v1.0.json","#,
            r#""partitionkey":"stripe/default/pi_1","traceparent":"00-0193584e0b2a7cc18d3e5f6a7b8c9d0e-8d3e5f6a7b8c9d0e-00","#,
            r#""correlationid":"0193584e-0b2a-7cc1-8d3e-5f6a7b8c9d0e","mappingrevision":"0123456789ab","#,
            r#""data":{"amount":1998}}"#,
        );
        assert_eq!(String::from_utf8_lossy(&event.body), golden);
    }

    #[test]
    fn an_id_is_the_same_for_the_same_fact_only() {
        let ids = [
            id(Some("evt_1"), 0, 0),
            id(Some("evt_1"), 1, 0),
            id(Some("evt_1"), 0, 1),
            id(Some("evt_2"), 0, 0),
            id(None, 0, 0),
            id(Some("0193584e-0b2a-7cc1-8d3e-5f6a7b8c9d0e/1"), 0, 0),
        ];
        let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
        assert_eq!(id(Some("evt_1"), 0, 0), ids[0]);
    }

    #[test]
    fn the_parts_of_an_id_cannot_run_together() {
        assert_ne!(hashed(&["ab", "c"]), hashed(&["a", "bc"]));
        assert_ne!(hashed(&["ab"]), hashed(&["ab", ""]));
    }

    #[test]
    fn a_valid_trace_is_carried_on_and_an_invalid_one_is_not() {
        let trace_of = |sent: &str| {
            let mut headers = Headers::default();
            headers.push("traceparent", sent.to_owned());
            let event = stored(&external(None), 0, 0, &headers);
            read(&event).expect("a cloud event").traceparent.into_owned()
        };
        let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(trace_of(valid), valid);
        for bad in
            ["", "00-0-0-01", &valid.to_uppercase(), &valid.replace("00-4", "ff-4"), &format!("{valid}-x")]
        {
            assert!(trace_of(bad).starts_with("00-0193584e"), "{bad}");
        }
    }

    #[test]
    fn a_reissue_has_a_new_id_and_names_the_old_one() {
        let event = stored(&external(Some("evt_1")), 0, 0, &Headers::default());
        let replay = "0193584e-0000-7cc1-8d3e-5f6a7b8c9d0e".parse().expect("an id");
        let again = reissued(&event, replay).expect("reissued");
        assert_ne!(again.id, event.id);
        assert_eq!(reissued(&event, replay).expect("reissued").id, again.id);
        let json: serde_json::Value = serde_json::from_slice(&again.body).expect("json");
        assert_eq!((json["id"].as_str(), json["replayof"].as_str()), (Some(&*again.id), Some(&*event.id)));
        assert!(same_fact(&event, &again));
    }

    #[test]
    fn the_same_fact_may_come_in_another_envelope() {
        let one = stored(&external(Some("evt_1")), 0, 0, &Headers::default());
        let mut later = external(Some("evt_1"));
        later.received_at = later.received_at.plus(std::time::Duration::from_secs(5));
        assert!(same_fact(&one, &stored(&later, 0, 0, &Headers::default())));
        later.occurred_at = None;
        assert!(!same_fact(&one, &stored(&later, 0, 0, &Headers::default())));
    }

    proptest! {
        #[test]
        fn one_line_whatever_the_data(text in ".{0,40}", key in "[a-z]{1,5}") {
            let mut external = external(Some(&text));
            external.ordering_key = text.clone();
            let mut event = stored(&external, 0, 0, &Headers::default());
            prop_assert!(!event.body.contains(&b'\n'));
            prop_assert!(read(&event).is_ok());
            event.body = serde_json::to_vec(&serde_json::json!({key: text})).expect("json").into();
            prop_assert!(reissued(&event, DeliveryId(uuid::Uuid::nil())).is_err());
        }
    }
}
