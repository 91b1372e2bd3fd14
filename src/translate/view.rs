//! Room `translate`: the event as a module sees it: `.` borrowed from the external event, `%` made for the run.
//! Read-only, and without anything that would let a mapping tell one run from another.

use std::fmt;

use vrl::{
    compiler::{ProgramInfo, SecretTarget, Target},
    path::{OwnedSegment, OwnedTargetPath, PathPrefix},
    value::{
        Kind, ObjectMap, Value,
        kind::{Collection, Field},
    },
};

use super::run::MappingInput;
use crate::model::{Headers, is_credential_header};

/// The metadata there is.
pub(super) const METADATA: [&str; 6] =
    ["partner", "endpoint", "event_type", "external_id", "received_at", "headers"];

/// The type of `.`: any object. (An item that is something else reads as `null` wherever it is asked for a field.)
pub(super) fn event_kind() -> Kind {
    Kind::object(Collection::any())
}

/// The type of `%`: known to the compiler, so that `%event_type` needs no conversion.
pub(super) fn metadata_kind() -> Kind {
    let values = Kind::bytes().or_array(Collection::from_unknown(Kind::bytes()));
    let headers: Collection<Field> = Collection::from_unknown(values);
    let fields: Collection<Field> = Collection::empty()
        .with_known("partner", Kind::bytes())
        .with_known("endpoint", Kind::bytes())
        .with_known("event_type", Kind::bytes())
        .with_known("external_id", Kind::bytes().or_null())
        .with_known("received_at", Kind::timestamp())
        .with_known("headers", Kind::object(headers));
    Kind::object(fields)
}

/// Which metadata a program asks for; what nobody asks for is not made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    metadata: bool,
    headers: bool,
}

impl Needs {
    /// What the queries of a program need.
    pub(super) fn of(info: &ProgramInfo) -> Self {
        let asked = info.target_queries.iter().filter(|path| path.prefix == PathPrefix::Metadata);
        asked.fold(Self::default(), |needs, path| {
            let headers = match path.path.segments.first() {
                Some(OwnedSegment::Field(name)) => name.as_str() == "headers",
                _ => true,
            };
            Self { metadata: true, headers: needs.headers || headers }
        })
    }
}

/// `%` for one run.
pub(super) fn metadata(input: &MappingInput<'_>, needs: Needs) -> Value {
    if !needs.metadata {
        return Value::Object(ObjectMap::new());
    }
    let event = input.event;
    let received_at = chrono::DateTime::from_timestamp_micros(event.received_at.micros());
    let mut fields = ObjectMap::new();
    fields.insert("partner".into(), Value::from(&*event.endpoint.partner));
    fields.insert("endpoint".into(), Value::from(&*event.endpoint.endpoint));
    fields.insert("event_type".into(), Value::from(event.event_type.as_str()));
    fields.insert("external_id".into(), event.external_id.as_deref().map_or(Value::Null, Value::from));
    fields.insert("received_at".into(), received_at.map_or(Value::Null, Value::Timestamp));
    if needs.headers {
        fields.insert("headers".into(), Value::Object(headers(input.headers)));
    }
    Value::Object(fields)
}

/// Each header once: its value as text, or an array of them where it stood more than once.
fn headers(headers: &Headers) -> ObjectMap {
    let mut fields = ObjectMap::new();
    for (name, value) in headers.0.iter().filter(|(name, _)| !is_credential_header(name)) {
        let value = Value::Bytes(value.0.clone());
        match fields.get_mut(name.as_str()) {
            None => {
                fields.insert(name.as_str().into(), value);
            }
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.clone(), value]),
        }
    }
    fields
}

/// What a program runs against.
pub(super) struct EventView<'a> {
    /// `.`
    pub item: &'a Value,
    /// `%`
    pub metadata: &'a Value,
}

impl fmt::Debug for EventView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventView")
    }
}

const READ_ONLY: &str = "the event is read-only";

impl Target for EventView<'_> {
    fn target_insert(&mut self, _: &OwnedTargetPath, _: Value) -> Result<(), String> {
        Err(READ_ONLY.to_owned())
    }

    fn target_get(&self, path: &OwnedTargetPath) -> Result<Option<&Value>, String> {
        let root = match path.prefix {
            PathPrefix::Event => self.item,
            PathPrefix::Metadata => self.metadata,
        };
        Ok(root.get(&path.path))
    }

    fn target_get_mut(&mut self, _: &OwnedTargetPath) -> Result<Option<&mut Value>, String> {
        Err(READ_ONLY.to_owned())
    }

    fn target_remove(&mut self, _: &OwnedTargetPath, _: bool) -> Result<Option<Value>, String> {
        Err(READ_ONLY.to_owned())
    }
}

impl SecretTarget for EventView<'_> {
    fn get_secret(&self, _: &str) -> Option<&str> {
        None
    }

    fn insert_secret(&mut self, _: &str, _: &str) {}

    fn remove_secret(&mut self, _: &str) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_without_credentials_and_repeated_ones_together() {
        let mut received = Headers::default();
        for (name, value) in [
            ("X-Event", "ping"),
            ("Via", "a"),
            ("Via", "b"),
            ("Authorization", "Bearer s"),
            ("Proxy-Authorization", "s"),
            ("Cookie", "s"),
            ("X-Api-Key", "s"),
            ("X-Gitlab-Token", "s"),
        ] {
            received.push(name, value);
        }
        let seen = serde_json::to_value(Value::Object(headers(&received))).expect("json");
        assert_eq!(seen, serde_json::json!({"x-event": "ping", "via": ["a", "b"]}));
    }

    #[test]
    fn what_the_compiler_knows_is_what_there_is() {
        let kind = metadata_kind();
        let known = kind.as_object().expect("an object").known();
        assert_eq!(known.len(), METADATA.len());
        assert!(METADATA.iter().all(|name| known.contains_key(&Field::from(*name))));
    }
}
