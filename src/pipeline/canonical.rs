//! Room `pipeline`: canonical JSON and the digests made of it: keys sorted, no white space, numbers as the strict reader
//! kept them (`1` and `1.0` differ). Knows values only.

use sha2::{Digest, Sha256};
use vrl::{
    path::{OwnedSegment, OwnedValuePath},
    value::Value,
};

/// SHA-256 of a value's canonical JSON without what stands at `left_out`.
pub(super) fn digest_without(
    value: &Value,
    left_out: &[OwnedValuePath],
) -> Result<[u8; 32], serde_json::Error> {
    let paths: Vec<&[OwnedSegment]> = left_out.iter().map(|path| path.segments.as_slice()).collect();
    let mut json = Vec::with_capacity(2_048);
    write(&mut json, value, &paths)?;
    Ok(Sha256::digest(&json).into())
}

/// SHA-256 of the canonical JSON array of these values; an absent one counts as null.
pub(super) fn digest_of<'a>(
    values: impl Iterator<Item = Option<&'a Value>>,
) -> Result<[u8; 32], serde_json::Error> {
    let json = serde_json::to_vec(&values.map(|value| value.unwrap_or(&Value::Null)).collect::<Vec<_>>())?;
    Ok(Sha256::digest(&json).into())
}

/// Objects are sorted maps, so serde writes them canonically; only where a path leads further must we go ourselves.
fn write(out: &mut Vec<u8>, value: &Value, left_out: &[&[OwnedSegment]]) -> Result<(), serde_json::Error> {
    match value {
        Value::Object(fields) if !left_out.is_empty() => {
            let entries = fields.iter().filter_map(|(key, value)| {
                let below =
                    below(left_out, |segment| matches!(segment, OwnedSegment::Field(name) if name == key))?;
                Some((Some(key.as_str()), value, below))
            });
            write_all(out, *b"{}", entries)
        }
        Value::Array(items) if !left_out.is_empty() => {
            let entries = items.iter().enumerate().filter_map(|(index, value)| {
                let from_end = index.cast_signed() - items.len().cast_signed();
                let here = |at: &isize| *at == index.cast_signed() || *at == from_end;
                let below =
                    below(left_out, |segment| matches!(segment, OwnedSegment::Index(at) if here(at)))?;
                Some((None, value, below))
            });
            write_all(out, *b"[]", entries)
        }
        _ => serde_json::to_writer(out, value),
    }
}

fn write_all<'v, 'p>(
    out: &mut Vec<u8>,
    brackets: [u8; 2],
    entries: impl Iterator<Item = (Option<&'v str>, &'v Value, Vec<&'p [OwnedSegment]>)>,
) -> Result<(), serde_json::Error> {
    out.push(brackets[0]);
    for (place, (key, value, below)) in entries.enumerate() {
        if place > 0 {
            out.push(b',');
        }
        if let Some(key) = key {
            serde_json::to_writer(&mut *out, key)?;
            out.push(b':');
        }
        write(out, value, &below)?;
    }
    out.push(brackets[1]);
    Ok(())
}

/// What of the paths goes on below the segment that is `here`; `None` when a path ends there.
fn below<'p>(
    left_out: &[&'p [OwnedSegment]],
    here: impl Fn(&OwnedSegment) -> bool,
) -> Option<Vec<&'p [OwnedSegment]>> {
    let further: Vec<_> = left_out
        .iter()
        .filter_map(|path| path.split_first())
        .filter(|(first, _)| here(first))
        .map(|(_, rest)| rest)
        .collect();
    (!further.iter().any(|rest| rest.is_empty())).then_some(further)
}

#[cfg(test)]
mod tests {
    use vrl::path::parse_value_path;

    use super::*;
    use crate::model::strict_json;

    fn canonical(text: &str, left_out: &[&str]) -> String {
        let value = strict_json::read(text.as_bytes()).expect("valid");
        let paths: Vec<_> = left_out.iter().map(|path| parse_value_path(path).expect("a path")).collect();
        let paths: Vec<_> = paths.iter().map(|path| path.segments.as_slice()).collect();
        let mut json = Vec::new();
        write(&mut json, &value, &paths).expect("written");
        String::from_utf8(json).expect("utf-8")
    }

    #[test]
    fn keys_are_sorted_and_white_space_is_gone() {
        assert_eq!(canonical(r#" { "b" : [ 1 , 1.0 ], "a" : "é\n" } "#, &[]), r#"{"a":"é\n","b":[1,1.0]}"#);
    }

    #[test]
    fn volatile_paths_are_left_out_wherever_they_lead() {
        let text = r#"{"a":{"x":1,"y":2},"b":[{"t":1,"k":2},{"t":3}],"c":3}"#;
        let without = |paths: &[&str]| canonical(text, paths);
        assert_eq!(without(&["a.x", "c"]), r#"{"a":{"y":2},"b":[{"k":2,"t":1},{"t":3}]}"#);
        assert_eq!(without(&["b[0].t", "b[-1]"]), r#"{"a":{"x":1,"y":2},"b":[{"k":2}],"c":3}"#);
        assert_eq!(without(&["b"]), r#"{"a":{"x":1,"y":2},"c":3}"#);
        assert_eq!(without(&["nowhere.at.all"]), without(&[]));
    }

    #[test]
    fn the_same_fact_spelled_differently_has_one_digest() {
        let digest = |text: &str| {
            let value = strict_json::read(text.as_bytes()).expect("valid");
            digest_without(&value, &[parse_value_path("attempt").expect("a path")]).expect("digest")
        };
        assert_eq!(digest(r#"{"id":1,"attempt":1}"#), digest(r#"{ "attempt": 2, "id": 1 }"#));
        assert_ne!(digest(r#"{"id":1}"#), digest(r#"{"id":2}"#));
    }
}
