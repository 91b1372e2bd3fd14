//! Room `translate`: from what a module returned to domain events. Strict about shape and size; what `data` must
//! say is the contract's business. May not quote a value, and keys and types may be values too.

use vrl::value::{ObjectMap, Value};

use super::{
    limits::{MAX_DATA_DEPTH, MAX_SUBJECT_BYTES},
    run::Bounds,
};
use crate::model::{DomainEvent, ReasonCode, Timestamp};

/// What a float counts for in the size: the longest text of one.
const FLOAT_BYTES: usize = 24;

/// What is wrong with a result, and how grave it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// `mapping_output` or `over_limit`.
    pub code: ReasonCode,
    /// What a person needs to know.
    pub detail: String,
}

fn malformed(detail: impl Into<String>) -> Fault {
    Fault { code: ReasonCode::MappingOutput, detail: detail.into() }
}

fn over_limit(detail: impl Into<String>) -> Fault {
    Fault { code: ReasonCode::OverLimit, detail: detail.into() }
}

/// One event, an array of events, or `null` for none by intent.
pub(super) fn domain_events(
    value: Value,
    emits: &[String],
    bounds: &Bounds,
) -> Result<Vec<DomainEvent>, Fault> {
    let values = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Array(values) => values,
        one => vec![one],
    };
    if values.len() > bounds.max_events {
        return Err(over_limit(format!("more than {} domain events", bounds.max_events)));
    }
    let mut json = Json { left: bounds.max_output_bytes, limit: bounds.max_output_bytes };
    let events = values.into_iter().enumerate().map(|(place, value)| {
        domain_event(value, emits, &mut json)
            .map_err(|fault| Fault { detail: format!("event {place}: {}", fault.detail), ..fault })
    });
    events.collect()
}

fn domain_event(value: Value, emits: &[String], json: &mut Json) -> Result<DomainEvent, Fault> {
    let Value::Object(mut fields) = value else {
        return Err(malformed("not an object with type, subject, time and data"));
    };
    let event = DomainEvent {
        event_type: event_type(fields.remove("type").as_ref(), emits)?,
        subject: subject(fields.remove("subject"), json)?,
        time: time(fields.remove("time").as_ref())?,
        data: data(fields.remove("data"), json)?,
    };
    if fields.is_empty() {
        Ok(event)
    } else {
        Err(malformed("a key other than type, subject, time and data"))
    }
}

fn event_type(value: Option<&Value>, emits: &[String]) -> Result<String, Fault> {
    let claimed = value
        .as_ref()
        .and_then(|value| value.to_str_lossy())
        .ok_or_else(|| malformed("no `type`, or not a string"))?;
    match emits.iter().find(|known| **known == claimed) {
        Some(known) => Ok(known.clone()),
        None => Err(malformed(format!("its `type` is not in `emits` ({})", emits.join(", ")))),
    }
}

fn subject(value: Option<Value>, json: &mut Json) -> Result<Option<String>, Fault> {
    let text = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(value @ (Value::Bytes(_) | Value::String(_))) => json.text(value, "subject")?,
        Some(_) => return Err(malformed("`subject` is not a string")),
    };
    if text.is_empty() || text.len() > MAX_SUBJECT_BYTES || text.chars().any(char::is_control) {
        let rule =
            format!("`subject` is empty, longer than {MAX_SUBJECT_BYTES} bytes or has control characters");
        return Err(malformed(rule));
    }
    Ok(Some(text))
}

fn time(value: Option<&Value>) -> Result<Option<Timestamp>, Fault> {
    let time = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Timestamp(time)) => Timestamp::from_micros(time.timestamp_micros()).writable(),
        Some(value) => value.to_str_lossy().and_then(|text| Timestamp::from_rfc3339(&text)),
    };
    time.map(Some).ok_or_else(|| {
        malformed("`time` is neither a timestamp nor RFC 3339 text, or beyond the years 1 to 9999")
    })
}

fn data(value: Option<Value>, json: &mut Json) -> Result<serde_json::Value, Fault> {
    match value {
        Some(Value::Object(fields)) => Ok(serde_json::Value::Object(json.object(fields, 0)?)),
        _ => Err(malformed("no `data`, or not an object")),
    }
}

/// Turns values into JSON and counts the bytes of its text on the way, so that too much is never built.
struct Json {
    left: usize,
    limit: usize,
}

impl Json {
    fn spend(&mut self, bytes: usize) -> Result<(), Fault> {
        let left = self.left.checked_sub(bytes);
        self.left = left.ok_or_else(|| over_limit(format!("more than {} bytes in all", self.limit)))?;
        Ok(())
    }

    fn value(&mut self, value: Value, depth: usize) -> Result<serde_json::Value, Fault> {
        Ok(match value {
            Value::Null => self.spend(4).map(|()| serde_json::Value::Null)?,
            Value::Boolean(truth) => self.spend(5).map(|()| truth.into())?,
            Value::Integer(number) => self.spend(integer_bytes(number)).map(|()| number.into())?,
            Value::Float(number) => self.float(number.into_inner())?,
            Value::Timestamp(time) => {
                let time = Timestamp::from_micros(time.timestamp_micros()).writable();
                let time = time.ok_or_else(|| malformed("`data` holds a time beyond the years 1 to 9999"))?;
                let text = time.to_string();
                self.spend(text.len() + 2).map(|()| text.into())?
            }
            Value::Object(fields) => serde_json::Value::Object(self.object(fields, depth)?),
            Value::Array(items) => serde_json::Value::Array(self.array(items, depth)?),
            Value::Regex(_) => return Err(malformed("`data` holds a regular expression")),
            text => self.text(text, "data")?.into(),
        })
    }

    fn float(&mut self, number: f64) -> Result<serde_json::Value, Fault> {
        self.spend(FLOAT_BYTES)?;
        let number = serde_json::Number::from_f64(number);
        number.map(Into::into).ok_or_else(|| malformed("`data` holds a number that is not finite"))
    }

    fn object(
        &mut self,
        fields: ObjectMap,
        depth: usize,
    ) -> Result<serde_json::Map<String, serde_json::Value>, Fault> {
        self.deeper(depth)?;
        let mut object = serde_json::Map::new();
        for (key, value) in fields {
            self.spend(text_bytes(&key) + 2)?;
            object.insert(key.into(), self.value(value, depth + 1)?);
        }
        Ok(object)
    }

    fn array(&mut self, items: Vec<Value>, depth: usize) -> Result<Vec<serde_json::Value>, Fault> {
        self.deeper(depth)?;
        let items = items.into_iter().map(|item| {
            self.spend(1)?;
            self.value(item, depth + 1)
        });
        items.collect()
    }

    fn deeper(&mut self, depth: usize) -> Result<(), Fault> {
        if depth == MAX_DATA_DEPTH {
            return Err(over_limit(format!("`data` nests deeper than {MAX_DATA_DEPTH} levels")));
        }
        self.spend(2)
    }

    fn text(&mut self, value: Value, place: &str) -> Result<String, Fault> {
        let text = match value {
            Value::Bytes(bytes) => String::from_utf8(bytes.into()).ok(),
            Value::String(text) => Some(text.to_string()),
            _ => None,
        };
        let text = text.ok_or_else(|| malformed(format!("`{place}` holds a string that is not UTF-8")))?;
        self.spend(text_bytes(&text))?;
        Ok(text)
    }
}

fn integer_bytes(number: i64) -> usize {
    let digits = number.unsigned_abs().checked_ilog10().unwrap_or(0) + 1;
    usize::from(number < 0) + usize::try_from(digits).unwrap_or(usize::MAX)
}

/// The length of a string as JSON writes it: quotes, and escapes where RFC 8259 demands them.
fn text_bytes(text: &str) -> usize {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    };
    2 + text.bytes().map(escaped).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vrl::value;

    use super::*;

    const BOUNDS: Bounds = Bounds { max_steps: 1_000, max_events: 3, max_output_bytes: 1_000 };

    fn events(value: Value) -> Result<Vec<DomainEvent>, Fault> {
        domain_events(value, &["a.B.v1".to_owned()], &BOUNDS)
    }

    fn fault(value: Value) -> (ReasonCode, String) {
        let fault = events(value).expect_err("a fault");
        (fault.code, fault.detail)
    }

    #[test]
    fn one_several_or_none() {
        assert_eq!(events(value!(null)), Ok(vec![]));
        assert_eq!(events(value!([])), Ok(vec![]));
        let one = events(value!({"type": "a.B.v1", "data": {"n": 1}})).expect("well formed");
        assert_eq!(one[0].data, serde_json::json!({"n": 1}));
        assert_eq!((one[0].subject.as_deref(), one[0].time), (None, None));
        let all = events(
            value!([{"type": "a.B.v1", "data": {}}, {"type": "a.B.v1", "subject": "s", "time": "2026-01-01T00:00:00Z", "data": {}}]),
        );
        let all = all.expect("well formed");
        assert_eq!(all.len(), 2);
        assert_eq!(all[1].time.map(|time| time.to_string()).as_deref(), Some("2026-01-01T00:00:00Z"));
    }

    #[test]
    fn shape_is_strict_and_faults_quote_nothing() {
        let malformed: [(Value, &str); 10] = [
            (value!("hush"), "event 0: not an object with type, subject, time and data"),
            (value!({"data": {}}), "event 0: no `type`, or not a string"),
            (value!({"type": "hush.Hush.v1", "data": {}}), "event 0: its `type` is not in `emits` (a.B.v1)"),
            (value!({"type": "a.B.v1"}), "event 0: no `data`, or not an object"),
            (value!({"type": "a.B.v1", "data": ["hush"]}), "event 0: no `data`, or not an object"),
            (
                value!({"type": "a.B.v1", "data": {}, "hush": 1}),
                "event 0: a key other than type, subject, time and data",
            ),
            (value!({"type": "a.B.v1", "data": {}, "subject": 7}), "event 0: `subject` is not a string"),
            (
                value!({"type": "a.B.v1", "data": {}, "subject": "hush\n"}),
                "event 0: `subject` is empty, longer than 512 bytes or has control characters",
            ),
            (
                value!({"type": "a.B.v1", "data": {}, "time": "hush"}),
                "event 0: `time` is neither a timestamp nor RFC 3339 text, or beyond the years 1 to 9999",
            ),
            (
                value!({"type": "a.B.v1", "data": {"x": (Value::Bytes(vec![0xff].into()))}}),
                "event 0: `data` holds a string that is not UTF-8",
            ),
        ];
        for (value, detail) in malformed {
            assert_eq!(fault(value), (ReasonCode::MappingOutput, detail.to_owned()));
        }
    }

    #[test]
    fn size_count_and_depth_are_bounded() {
        let event = value!({"type": "a.B.v1", "data": {}});
        assert_eq!(
            fault(Value::Array(vec![event; 4])),
            (ReasonCode::OverLimit, "more than 3 domain events".to_owned())
        );
        let large = value!({"type": "a.B.v1", "data": {"x": ("x".repeat(1_000))}});
        assert_eq!(fault(large), (ReasonCode::OverLimit, "event 0: more than 1000 bytes in all".to_owned()));
        let deep = (0..MAX_DATA_DEPTH).fold(value!({}), |inner, _| value!({"d": inner}));
        let deep = value!({"type": "a.B.v1", "data": deep});
        assert_eq!(
            fault(deep),
            (ReasonCode::OverLimit, "event 0: `data` nests deeper than 32 levels".to_owned())
        );
    }

    #[test]
    fn timestamps_become_rfc_3339() {
        let time = chrono::DateTime::from_timestamp(1_700_000_000, 0).expect("a time");
        let value = value!({"type": "a.B.v1", "time": time, "data": {"at": time}});
        let events = events(value).expect("well formed");
        assert_eq!(events[0].data, serde_json::json!({"at": "2023-11-14T22:13:20Z"}));
        assert_eq!(events[0].time, Timestamp::from_seconds(1_700_000_000));
    }

    #[test]
    fn times_beyond_what_rfc_3339_can_write_are_malformed() {
        let far = chrono::DateTime::from_timestamp(1_795_435_200_000, 0).expect("the year 58865");
        let time = "event 0: `time` is neither a timestamp nor RFC 3339 text, or beyond the years 1 to 9999";
        for event in [
            value!({"type": "a.B.v1", "time": far, "data": {}}),
            value!({"type": "a.B.v1", "time": "9999-12-31T23:59:59-01:00", "data": {}}),
        ] {
            assert_eq!(fault(event), (ReasonCode::MappingOutput, time.to_owned()));
        }
        let data = "event 0: `data` holds a time beyond the years 1 to 9999";
        let event = value!({"type": "a.B.v1", "data": {"at": far}});
        assert_eq!(fault(event), (ReasonCode::MappingOutput, data.to_owned()));
    }

    proptest! {
        #[test]
        fn every_time_that_comes_out_is_rfc_3339(seconds in -99_999_999_999_i64..=999_999_999_999, nanos in 0_u32..1_000_000_000) {
            let time = chrono::DateTime::from_timestamp(seconds, nanos).expect("a time");
            if let Ok(events) = events(value!({"type": "a.B.v1", "time": time, "data": {"at": time}})) {
                let told = events[0].time.expect("a time");
                prop_assert_eq!(Timestamp::from_rfc3339(&told.to_string()), Some(told));
                prop_assert_eq!(&events[0].data["at"], &serde_json::json!(told.to_string()));
            }
        }

        #[test]
        fn text_is_counted_as_serde_json_writes_it(text in ".{0,40}", number: i64) {
            prop_assert_eq!(text_bytes(&text), serde_json::to_string(&text).expect("json").len());
            prop_assert_eq!(integer_bytes(number), number.to_string().len());
        }
    }
}
