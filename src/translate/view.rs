//! Room `translate`: the event as a module sees it: `.` borrowed from the external event, `%` made for the run.
//! Read-only, and without anything that would let a mapping tell one run from another.

use std::{fmt, sync::Arc};

use vrl::{
    compiler::{ProgramInfo, SecretTarget, Target},
    path::{OwnedSegment, OwnedTargetPath, OwnedValuePath, PathPrefix},
    value::{
        Kind, ObjectMap, Value,
        kind::{Collection, Field},
    },
};

use super::run::MappingInput;
use crate::model::{Headers, is_credential_header};

/// The metadata there is.
pub(super) const METADATA: [&str; 7] =
    ["partner", "endpoint", "event_type", "external_id", "received_at", "headers", OUTER];

/// What the item of a batch stood in, from the body to the element around it.
const OUTER: &str = "outer";

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
        .with_known("headers", Kind::object(headers))
        .with_known(OUTER, Kind::array(Collection::from_unknown(Kind::any())));
    Kind::object(fields)
}

/// Which metadata a program asks for; what nobody asks for is not made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    metadata: bool,
    headers: bool,
    outer: bool,
}

impl Needs {
    /// What the queries of a program need.
    pub(super) fn of(info: &ProgramInfo) -> Self {
        let asked = info.target_queries.iter().filter(|path| path.prefix == PathPrefix::Metadata);
        asked.fold(Self::default(), |needs, path| {
            let asks = |name| match path.path.segments.first() {
                Some(OwnedSegment::Field(asked)) => asked.as_str() == name,
                _ => true,
            };
            let outer = asks(OUTER) && Outermost::of(path).is_none();
            Self { metadata: true, headers: needs.headers || asks("headers"), outer: needs.outer || outer }
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
    if needs.outer {
        let outer = event.outer.iter().map(|element| Value::clone(element));
        fields.insert(OUTER.into(), Value::Array(outer.collect()));
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

/// One of the elements that the item stood in, as `%outer[1].id` asks for it: borrowed, because a body is large and its
/// items are many. Below zero it counts from the item outwards.
struct Outermost<'p> {
    index: isize,
    below: &'p [OwnedSegment],
}

impl<'p> Outermost<'p> {
    fn of(path: &'p OwnedTargetPath) -> Option<Self> {
        match path.path.segments.as_slice() {
            [OwnedSegment::Field(name), OwnedSegment::Index(index), below @ ..] if name.as_str() == OUTER => {
                Some(Self { index: *index, below })
            }
            _ => None,
        }
    }

    fn get<'a>(&self, outer: &'a [Arc<Value>]) -> Option<&'a Value> {
        let index =
            usize::try_from(self.index).ok().or_else(|| outer.len().checked_add_signed(self.index))?;
        outer.get(index)?.get(&OwnedValuePath { segments: self.below.to_vec() })
    }
}

/// What a program runs against.
pub(super) struct EventView<'a> {
    /// `.`
    pub item: &'a Value,
    /// `%outer`
    pub outer: &'a [Arc<Value>],
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
            PathPrefix::Metadata => {
                if let Some(outer) = Outermost::of(path) {
                    return Ok(outer.get(self.outer));
                }
                self.metadata
            }
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
