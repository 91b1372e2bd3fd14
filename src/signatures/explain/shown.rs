//! Room `signatures`: how what stands in a request is shown to people: escaped, shortened, and times by how far they are from
//! now.

use std::time::Duration;

use vrl::value::Value;

use crate::model::Timestamp;

/// How many bytes of a message are shown.
const SHOWN_BYTES: usize = 200;

/// How many letters are shown of a list or of what is no message.
const SHOWN_CHARS: usize = 1_000;

/// The beginning of a message, escaped.
pub(super) fn shown(message: &[u8]) -> String {
    shortened(message, SHOWN_BYTES)
}

/// At most so many bytes of a message, escaped, and how many there are beyond.
pub(super) fn shortened(message: &[u8], most: usize) -> String {
    let start = message.get(..most).unwrap_or(message).escape_ascii();
    match message.len().checked_sub(most) {
        Some(rest) if rest > 0 => format!("{start} … and {rest} bytes more"),
        _ => start.to_string(),
    }
}

/// Text that may have come from anyone, so that a terminal shows it and obeys nothing in it. Quotes stay as they are.
pub(super) fn printable(text: &str) -> String {
    let plain = |letter: &char| letter.is_ascii_graphic() || *letter == ' ';
    let letters = text.chars().take(SHOWN_CHARS);
    let start: String = letters
        .map(|letter| if plain(&letter) { letter.to_string() } else { letter.escape_default().to_string() })
        .collect();
    if text.chars().nth(SHOWN_CHARS).is_some() { format!("{start} …") } else { start }
}

/// A value of a JSON document, shortened; texts in quotes.
pub(super) fn value(value: &Value) -> String {
    match value.as_bytes() {
        Some(text) => format!("\"{}\"", shown(text)),
        None => printable(&value.to_string()),
    }
}

/// A duration in whole seconds.
pub(super) fn human(duration: Duration) -> String {
    humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string()
}

/// A time and how far it is from now, on which side.
pub(super) fn from_now(time: Timestamp, now: Timestamp) -> String {
    let (distance, side) =
        if time > now { (time.since(now), "after now") } else { (now.since(time), "before now") };
    format!("{time}, {} {side}", human(distance))
}

/// How far apart two times are.
pub(super) fn distance(one: Timestamp, other: Timestamp) -> Duration {
    one.since(other).max(other.since(one))
}

/// What was found, and what may explain it.
pub(super) fn with_hint(found: impl std::fmt::Display, hint: Option<impl std::fmt::Display>) -> String {
    match hint {
        Some(hint) => format!("{found}; {hint}"),
        None => found.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut() {
        assert_eq!(shown(&[b'a'; 250]), format!("{} … and 50 bytes more", "a".repeat(200)));
        assert_eq!(shown(b"a\n\xff"), "a\\n\\xff");
    }

    #[test]
    fn a_value_is_shown_as_json_has_it_and_commands_no_terminal() {
        let list = Value::from(vec![Value::from(1), Value::from(&b"x"[..])]);
        assert_eq!(value(&list), "[1, \"x\"]");
        assert_eq!(value(&Value::from(&b"a\"\x1b"[..])), "\"a\\\"\\x1b\"");
        assert_eq!(printable("\"a\" \u{1b}[2J\u{9b}"), "\"a\" \\u{1b}[2J\\u{9b}");
        assert!(printable(&"a".repeat(2_000)).ends_with("a …"));
    }
}
