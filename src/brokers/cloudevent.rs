//! Room `brokers`: a stored CloudEvent taken apart, for bindings that carry its attributes beside its data (binary mode). May
//! not change either: an attribute is the text it was, the data the bytes it was.

use std::collections::BTreeMap;

use serde_json::{Value, value::RawValue};

use crate::model::StoredEvent;

/// The media type of a stored event as it is (structured mode).
pub const STRUCTURED: &str = "application/cloudevents+json; charset=UTF-8";

/// A CloudEvent in two halves.
#[derive(Debug)]
pub struct Parts<'a> {
    /// Every attribute but the data, by name, as `("id", "7c2a…")`; `datacontenttype` is among them.
    pub attributes: Vec<(String, String)>,
    /// The data, as it stands in the stored bytes.
    pub data: &'a str,
}

impl<'a> Parts<'a> {
    /// Takes an event apart; `None` when its bytes are no CloudEvent of ours.
    pub fn of(event: &'a StoredEvent) -> Option<Self> {
        let mut members: BTreeMap<String, &'a RawValue> = serde_json::from_slice(&event.body).ok()?;
        let data = members.remove("data")?.get();
        let attributes = members.into_iter().map(|(name, value)| Some((name, text(value)?)));
        Some(Self { attributes: attributes.collect::<Option<_>>()?, data })
    }
}

/// An attribute as text: strings without their quotes, numbers and booleans as they stand.
fn text(value: &RawValue) -> Option<String> {
    match serde_json::from_str(value.get()).ok()? {
        Value::String(text) => Some(text),
        Value::Number(_) | Value::Bool(_) => Some(value.get().to_owned()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EndpointName, EntryNumber, EventNumber, EventRef, Revision};

    fn event(body: &'static str) -> StoredEvent {
        StoredEvent {
            number: EventNumber(1),
            id: "x".to_owned(),
            event_type: "t".to_owned(),
            partition_key: "k".to_owned(),
            endpoint: EndpointName::new("acme", "default"),
            made_from: EventRef { number: EntryNumber(1), ordinal: 0 },
            revision: Revision("r".into()),
            brokers: Vec::new(),
            body: body.into(),
        }
    }

    #[test]
    fn attributes_are_texts_and_the_data_is_what_it_was() {
        let event = event(r#"{"id":"a\"b","n":7,"data":{"price": 19.990,"name":"\u00fc"}}"#);
        let parts = Parts::of(&event).expect("a CloudEvent");
        let attributes =
            [("id", "a\"b"), ("n", "7")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(parts.attributes, attributes);
        assert_eq!(parts.data, r#"{"price": 19.990,"name":"\u00fc"}"#);
    }

    #[test]
    fn what_is_no_cloud_event_has_no_parts() {
        for body in ["[]", r#"{"id":"x"}"#, r#"{"id":{},"data":1}"#, "{"] {
            assert!(Parts::of(&event(body)).is_none(), "{body}");
        }
    }
}
