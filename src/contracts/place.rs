//! Room `contracts`: where in a JSON text a value stands, so that a mistake is shown with its line.

use std::collections::HashMap;

use serde_json::value::RawValue;

/// The byte offset of the value at `path` (keys and array indexes), or of the closest one above it that is there.
pub(super) fn of<S: AsRef<str>>(text: &str, path: &[S]) -> usize {
    let mut found = text.trim_start();
    for step in path {
        match below(found, step.as_ref()) {
            Some(value) => found = value,
            None => break,
        }
    }
    found.as_ptr().addr() - text.as_ptr().addr()
}

fn below<'a>(text: &'a str, step: &str) -> Option<&'a str> {
    if text.starts_with('[') {
        let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
        return items.get(step.parse::<usize>().ok()?).map(|item| item.get());
    }
    let fields: HashMap<String, &RawValue> = serde_json::from_str(text).ok()?;
    fields.get(step).map(|field| field.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_values_by_path() {
        let text = "\n{ \"a\": {\"é\": [1, {\"b\": true}]},\n \"c\": 2 }";
        let rest = |path: &[&str]| &text[of(text, path)..];
        assert!(rest(&["a", "é", "1", "b"]).starts_with("true"));
        assert!(rest(&["c"]).starts_with("2 }"));
        assert!(rest(&[]).starts_with("{ \"a\""));
        assert!(rest(&["a", "é", "7"]).starts_with("[1,"));
        assert_eq!(of("not json", &["a"]), 0);
    }
}
