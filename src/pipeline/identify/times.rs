//! Room `pipeline`: when an event happened, as the partner writes it. A time that cannot be read, or that
//! RFC 3339 cannot write, is absent: the event's time is then that of its delivery, and nothing is lost for it.

use vrl::value::Value;

use super::around::Places;
use crate::{
    model::Timestamp,
    partners::{TimeRule, TimeUnit},
};

/// Reads the time a rule points at.
pub(super) fn read(rule: &TimeRule, places: &Places<'_>) -> Option<Timestamp> {
    let value = places.get(&rule.path)?;
    let time = match (rule.unit, value.as_ref()) {
        (TimeUnit::Rfc3339, value) => Timestamp::from_rfc3339(text(value)?),
        (TimeUnit::UnixS, Value::Integer(seconds)) => Timestamp::from_seconds(*seconds),
        (TimeUnit::UnixMs, Value::Integer(millis)) => Timestamp::from_millis(*millis),
        (TimeUnit::UnixS, Value::Float(seconds)) => rounded(seconds.into_inner() * 1e6),
        (TimeUnit::UnixMs, Value::Float(millis)) => rounded(millis.into_inner() * 1e3),
        (TimeUnit::UnixS, value) => decimal(text(value)?, 6),
        (TimeUnit::UnixMs, value) => decimal(text(value)?, 3),
    };
    time?.writable()
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
        Value::String(text) => Some(text),
        _ => None,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "bounded just before")]
fn rounded(micros: f64) -> Option<Timestamp> {
    (micros.abs() < 9.0e18).then(|| Timestamp::from_micros(micros.round() as i64))
}

/// Decimal text as microseconds, where one unit has `places` decimals of microseconds; further decimals are cut.
fn decimal(text: &str, places: usize) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction: String = fraction.chars().chain(std::iter::repeat('0')).take(places).collect();
    format!("{whole}{fraction}").parse().ok().map(Timestamp::from_micros)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{FieldPath, Fields, Headers, strict_json};

    fn time(json: &str, unit: TimeUnit) -> Option<String> {
        let body = strict_json::read(format!("{{\"at\":{json}}}").as_bytes()).expect("valid");
        let rule = TimeRule { path: FieldPath::parse("body.at").expect("a path"), unit };
        let fields = Fields { headers: &Headers::default(), query: "", body: &body, item: &body };
        read(&rule, &Places { fields, around: &[] }).map(|time| time.to_string())
    }

    #[test]
    fn every_unit_in_every_spelling() {
        let noon = Some("2026-11-23T12:00:00Z".to_owned());
        assert_eq!(time("1795435200", TimeUnit::UnixS), noon);
        assert_eq!(time("\"1795435200\"", TimeUnit::UnixS), noon);
        assert_eq!(time("1795435200.0", TimeUnit::UnixS), noon);
        assert_eq!(time("1795435200000", TimeUnit::UnixMs), noon);
        assert_eq!(time("\"2026-11-23T13:00:00+01:00\"", TimeUnit::Rfc3339), noon);
        let fraction = Some("2026-11-23T12:00:00.000200Z".to_owned());
        assert_eq!(time("\"1795435200.000200\"", TimeUnit::UnixS), fraction);
        assert_eq!(time("\"1795435200000.2\"", TimeUnit::UnixMs), fraction);
    }

    #[test]
    fn what_is_no_time_is_absent() {
        for json in ["\"soon\"", "\"\"", "\"-1\"", "\"1e9\"", "{}", "null", "9223372036854775807", "9e17"] {
            assert_eq!(time(json, TimeUnit::UnixS), None, "{json}");
        }
        assert_eq!(time("1795435200", TimeUnit::Rfc3339), None);
    }

    #[test]
    fn a_time_in_the_wrong_unit_is_absent() {
        for json in ["1795435200000", "\"1795435200000\"", "1795435200000.5", "\"1795435200000.5\""] {
            assert_eq!(time(json, TimeUnit::UnixS), None, "{json}");
        }
        assert_eq!(time("-99999999999999", TimeUnit::UnixMs), None);
        assert_eq!(time("\"9999-12-31T23:59:59-01:00\"", TimeUnit::Rfc3339), None);
    }

    proptest! {
        #[test]
        fn a_time_that_is_there_is_rfc_3339(
            number: i64, exponent in 0_u32..19, fraction in 0_u32..1_000_000,
        ) {
            let number = number / 10_i64.pow(exponent);
            for json in [format!("{number}"), format!("{number}.{fraction}"), format!("\"{number}.{fraction}\"")] {
                for unit in [TimeUnit::UnixS, TimeUnit::UnixMs] {
                    if let Some(text) = time(&json, unit) {
                        let back = Timestamp::from_rfc3339(&text);
                        prop_assert_eq!(back.map(|time| time.to_string()), Some(text));
                    }
                }
            }
        }

        #[test]
        fn decimal_never_panics(text in ".{0,40}") {
            let _ = decimal(&text, 6);
        }
    }
}
