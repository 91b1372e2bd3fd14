//! Room `model`: the one JSON reader. What was verified is what is translated, so every room that looks
//! inside a body reads it here: duplicate keys are refused, depth is bounded, integers must fit `i64`.

use std::{
    cell::Cell,
    collections::{BTreeMap, btree_map::Entry},
    fmt,
};

use bytes::Bytes;
use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};
use vrl::value::{KeyString, Value};

/// How deep arrays and objects may nest. Far above real payloads, far below what a stack can hold.
pub const MAX_DEPTH: usize = 64;

/// How much a body may hold: a value counts 1 and an object [`OBJECT_WEIGHT`] more. A value takes some 60 bytes of memory and
/// an object, however small, some 700: without a bound a body becomes a hundred times as large as it came. Ten thousand
/// items of thirty fields stay below it.
pub const MAX_WEIGHT: u32 = 500_000;
const OBJECT_WEIGHT: u32 = 11;

/// Why bytes are not JSON for us. The text names the place (line, column), never a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidJson(String);

/// Reads one JSON text (RFC 8259) whole; trailing bytes other than white space are refused.
pub fn read(bytes: &[u8]) -> Result<Value, InvalidJson> {
    read_with(bytes, None)
}

/// The same; texts without escapes are slices of `bytes`, not copies, so the value keeps them in memory while it lives.
pub fn read_shared(bytes: &Bytes) -> Result<Value, InvalidJson> {
    read_with(bytes, Some(bytes))
}

fn read_with(bytes: &[u8], shared: Option<&Bytes>) -> Result<Value, InvalidJson> {
    let (fault, weight) = (Fault::default(), Cell::new(0));
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: 0, fault: &fault, weight: &weight, shared }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    value.map_err(|error| InvalidJson(describe(&error, &fault)))
}

/// serde_json's own messages can quote the input; ours name the place and the kind of mistake only.
fn describe(error: &serde_json::Error, fault: &Fault) -> String {
    let what = fault.0.get().unwrap_or(match error.classify() {
        serde_json::error::Category::Eof => "the JSON ends too early",
        serde_json::error::Category::Io => "the bytes could not be read",
        _ => "not valid JSON",
    });
    format!("{what} at line {} column {}", error.line(), error.column())
}

#[derive(Default)]
struct Fault(Cell<Option<&'static str>>);

impl Fault {
    fn raise<E: Error>(&self, what: &'static str) -> E {
        self.0.set(Some(what));
        E::custom(what)
    }
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    fault: &'a Fault,
    weight: &'a Cell<u32>,
    /// What is read, when texts may be slices of it.
    shared: Option<&'a Bytes>,
}

impl Strict<'_> {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(self.fault.raise("nested deeper than 64 levels"));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }

    fn weigh<E: Error>(self, more: u32) -> Result<(), E> {
        self.weight.set(self.weight.get() + more);
        if self.weight.get() > MAX_WEIGHT {
            return Err(self.fault.raise("more values and objects than are read"));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Boolean(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        i64::try_from(value)
            .map(Value::Integer)
            .map_err(|_| self.fault.raise("an integer beyond 64 bits with sign"))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        // serde_json reads an integer too large for u64 as a float: 2^63 and beyond is what we refuse.
        if value.fract() == 0.0 && value.abs() >= 9_223_372_036_854_775_808.0 {
            return Err(self.fault.raise("a number beyond 64 bits with sign"));
        }
        Ok(Value::from_f64_or_zero(value))
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Value, E> {
        match self.shared {
            Some(shared) => Ok(Value::Bytes(shared.slice_ref(value.as_bytes()))),
            None => self.visit_str(value),
        }
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Bytes(Bytes::copy_from_slice(value.as_bytes())))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::Bytes(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(inner)? {
            self.weigh(1)?;
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        self.weigh(OBJECT_WEIGHT)?;
        let mut fields = BTreeMap::<KeyString, Value>::new();
        while let Some(key) = map.next_key::<String>()? {
            self.weigh(1)?;
            let Entry::Vacant(field) = fields.entry(KeyString::from(key)) else {
                return Err(self.fault.raise("a key stands twice in one object"));
            };
            field.insert(map.next_value_seed(inner)?);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refusal(text: &str) -> String {
        read(text.as_bytes()).expect_err("must be refused").to_string()
    }

    #[test]
    fn reads_what_serde_json_reads() {
        let text = r#"{"a":[1,-2,3.5,"x",null,true],"b":{"c":""}}"#;
        let ours = serde_json::to_value(read(text.as_bytes()).expect("valid")).expect("json");
        assert_eq!(ours, serde_json::from_str::<serde_json::Value>(text).expect("valid"));
    }

    #[test]
    fn shared_texts_are_slices_and_escaped_ones_are_not() {
        let bytes = Bytes::from_static(br#"{"plain":"text","escaped":"a\u0020b","":""}"#);
        assert_eq!(read_shared(&bytes), read(&bytes));
        let Ok(Value::Object(fields)) = read_shared(&bytes) else { panic!("an object") };
        let Some(Value::Bytes(plain)) = fields.get("plain") else { panic!("a text") };
        assert!(bytes.as_ptr_range().contains(&plain.as_ptr()), "no copy");
    }

    #[test]
    fn refuses_with_place_and_without_value() {
        assert_eq!(refusal(r#"{"a":1,"a":2}"#), "a key stands twice in one object at line 1 column 10");
        assert_eq!(refusal("{\n\"secret\" oops}"), "not valid JSON at line 2 column 10");
        assert_eq!(refusal(r#"{"a":"#), "the JSON ends too early at line 1 column 5");
        assert!(refusal("[9223372036854775808]").starts_with("an integer beyond 64 bits"));
        assert!(refusal("[1e400]").starts_with("not valid JSON"));
        assert!(refusal("[123456789012345678901234567890]").starts_with("a number beyond 64 bits"));
        assert!(refusal("{} {}").starts_with("not valid JSON"));
        assert!(refusal("\u{feff}{}").starts_with("not valid JSON"));
    }

    #[test]
    fn bounds_depth() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(read(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert!(refusal(&nested(MAX_DEPTH + 1)).starts_with("nested deeper"));
        assert!(refusal(&"[".repeat(1_000_000)).starts_with("nested deeper"));
    }

    #[test]
    fn bounds_what_it_takes_in_memory() {
        let objects = |count: usize| format!("[{}]", vec![r#"{"":0}"#; count].join(","));
        assert!(read(objects(38_000).as_bytes()).is_ok());
        assert!(refusal(&objects(39_000)).starts_with("more values and objects"));
        assert!(refusal(&format!("[{}0]", "0,".repeat(500_000))).starts_with("more values and objects"));
        let batch = (0..10_000).map(|n| {
            let fields: Vec<_> = (0..30).map(|field| format!(r#""field {field}":{n}"#)).collect();
            format!("{{{}}}", fields.join(","))
        });
        let batch = format!("[{}]", batch.collect::<Vec<_>>().join(","));
        assert!(read(batch.as_bytes()).is_ok(), "an honest batch is read");
    }

    #[test]
    fn invalid_utf8_is_refused() {
        assert!(read(b"{\"a\":\"\xff\"}").is_err());
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let shared = read_shared(&Bytes::copy_from_slice(&bytes));
            prop_assert_eq!(shared, read(&bytes));
        }
    }
}
