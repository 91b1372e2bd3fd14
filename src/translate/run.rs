//! Room `translate`: runs a [`Mapping`] on one external event, within bounds. Deterministic: the bounds are counted in
//! steps and bytes, never in time, so a replay decides the same.

use std::{
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
};

use vrl::{
    compiler::{
        ExpressionError,
        runtime::{Runtime, Terminate},
    },
    diagnostic::Span,
    value::Value,
};

use super::{Mapping, functions, limits, output, view};
use crate::model::{Diagnostic, DomainEvent, ExternalEvent, Headers, ReasonCode};

/// The bounds of one run.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Expressions evaluated, plus one for each 2 KiB that a read or a function copies.
    pub max_steps: u64,
    /// Domain events returned.
    pub max_events: usize,
    /// Bytes of JSON returned, all events together.
    pub max_output_bytes: usize,
}

/// What a module sees beside the event (`.`): `%partner`, `%endpoint`, `%event_type`, `%external_id`, `%received_at`,
/// `%headers`; and the contracts that its rule says it emits.
#[derive(Clone, Copy, Debug)]
pub struct MappingInput<'a> {
    /// The external event; its item is `.`.
    pub event: &'a ExternalEvent,
    /// The delivery's headers; those that carry credentials are kept from the module.
    pub headers: &'a Headers,
    /// The `emits` of the mapping rule: a type beside them is refused.
    pub emits: &'a [String],
}

/// Why a module gave no domain events. The detail never quotes a payload value: `abort` messages are literals, VRL's
/// own are told by place and kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct MappingError {
    /// The stable code.
    pub code: ReasonCode,
    /// What happened and where, as `payment_captured.vrl:3:10: to_int failed`.
    pub detail: String,
}

impl Mapping {
    /// Runs the module. `null` or `[]` is no event, by intent. A panic inside is contained and comes back as an error.
    pub fn run(&self, input: MappingInput<'_>, bounds: &Bounds) -> Result<Vec<DomainEvent>, MappingError> {
        self.contained(|| {
            let value = self.resolve(&input, bounds)?;
            output::domain_events(value, input.emits, bounds)
                .map_err(|fault| self.error(fault.code, None, &fault.detail))
        })
    }

    /// Nothing that a run touches outlives it, so a panic can leave nothing half done. Its text may quote the payload,
    /// so it is dropped.
    fn contained<T>(&self, work: impl FnOnce() -> Result<T, MappingError>) -> Result<T, MappingError> {
        let detail = "a function of the mapping panicked";
        catch_unwind(AssertUnwindSafe(work))
            .unwrap_or_else(|_| Err(self.error(ReasonCode::MappingPanicked, None, detail)))
    }

    fn resolve(&self, input: &MappingInput<'_>, bounds: &Bounds) -> Result<Value, MappingError> {
        let metadata = view::metadata(input, self.needs());
        let mut target =
            view::EventView { item: &input.event.item, outer: &input.event.outer, metadata: &metadata };
        let mut left = bounds.max_steps;
        let mut budget = || match left.checked_sub(1) {
            Some(rest) => {
                left = rest;
                ControlFlow::Continue(())
            }
            None => ControlFlow::Break(()),
        };
        let result = Runtime::default().resolve_with_control(
            &mut target,
            self.program(),
            self.timezone(),
            &mut budget,
        );
        result.map_err(|end| match end {
            Terminate::Interrupted if left > 0 => self.error(ReasonCode::OverLimit, None, &too_large()),
            Terminate::Interrupted => {
                let detail = format!("used up its {} steps", bounds.max_steps);
                self.error(ReasonCode::MappingExhausted, None, &detail)
            }
            Terminate::Abort(error) | Terminate::Error(error) => self.failure(error),
        })
    }

    fn failure(&self, error: ExpressionError) -> MappingError {
        match error {
            ExpressionError::Abort { span, message } => {
                let message = message.as_deref().unwrap_or("aborted");
                self.error(ReasonCode::MappingAborted, Some(span.start()), message)
            }
            ExpressionError::Error { message, labels, .. } => {
                let span = labels.iter().find(|label| label.primary).map(|label| label.span);
                let called = span.and_then(|span| called(self.source().get(span.range())?));
                let detail = describe(called, &message);
                self.error(ReasonCode::MappingFailed, span.map(Span::start), &detail)
            }
            _ => self.error(ReasonCode::MappingFailed, None, "an expression failed"),
        }
    }

    fn error(&self, code: ReasonCode, offset: Option<usize>, detail: &str) -> MappingError {
        let place = match offset {
            Some(offset) => {
                let place = Diagnostic::new("", "", "", "").at(self.source(), offset);
                format!("{}:{}:{}", self.file(), place.line, place.column)
            }
            None => self.file().to_owned(),
        };
        MappingError { code, detail: format!("{place}: {detail}") }
    }
}

fn too_large() -> String {
    let (bytes, depth) = (limits::MAX_VALUE_BYTES, limits::MAX_VALUE_DEPTH);
    let text = limits::MAX_TEXT_TAKEN_APART;
    format!(
        "a value grew beyond {bytes} bytes or nests deeper than {depth} levels, or a text beyond {text} bytes was to be \
         taken apart"
    )
}

/// The function called at a place of the source, as `to_int` of `to_int!(.amount)`.
fn called(source: &str) -> Option<&str> {
    let (name, _) = source.split_once('(')?;
    let name = name.trim_end_matches('!');
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name.then_some(name)
}

/// What can be said about a failure without a value: the function, and VRL's message where it is made of type names
/// or is one of ours.
fn describe(called: Option<&str>, message: &str) -> String {
    let what = called.map_or_else(|| "an expression failed".to_owned(), |name| format!("{name} failed"));
    let cause = message.rsplit_once("): ").map_or(message, |(_, cause)| cause);
    let ours = called.is_some_and(|name| functions::NAMES.contains(&name));
    if ours || names_types_only(cause) { format!("{what}: {cause}") } else { what }
}

/// `expected string, got null` tells no value; `unable to coerce "4111…" into integer` does.
fn names_types_only(cause: &str) -> bool {
    const WORDS: [&str; 15] = [
        "expected",
        "got",
        "one",
        "of",
        "or",
        "any",
        "string",
        "integer",
        "float",
        "boolean",
        "timestamp",
        "regex",
        "null",
        "array",
        "object",
    ];
    !cause.is_empty()
        && cause.split([' ', ',']).filter(|word| !word.is_empty()).all(|word| WORDS.contains(&word))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vrl::value;

    use super::*;
    use crate::{
        model::{EndpointName, EntryNumber, EventRef, Timestamp, strict_json},
        translate::{STACK_BYTES, compile},
    };

    const BOUNDS: Bounds = Bounds { max_steps: 100_000, max_events: 100, max_output_bytes: 256 * 1024 };

    fn event(item: Value) -> ExternalEvent {
        ExternalEvent {
            at: EventRef { number: EntryNumber(1), ordinal: 0 },
            endpoint: EndpointName::new("acme", "default"),
            received_at: Timestamp::from_seconds(1_700_000_000).expect("a time"),
            external_id: Some("evt_1".to_owned()),
            event_type: "order.paid".to_owned(),
            ordering_key: "evt_1".to_owned(),
            occurred_at: None,
            version: None,
            identity_digest: [0; 32],
            item,
            outer: Arc::default(),
        }
    }

    fn run(source: &str, item: Value) -> Result<Vec<DomainEvent>, MappingError> {
        let mapping = compile("m.vrl", source).unwrap_or_else(|problems| panic!("{}", problems[0]));
        let mut headers = Headers::default();
        headers.push("X-Event", "paid");
        let emits = ["a.B.v1".to_owned()];
        mapping.run(MappingInput { event: &event(item), headers: &headers, emits: &emits }, &BOUNDS)
    }

    fn failure(source: &str, item: Value) -> String {
        run(source, item).expect_err("a failure").to_string()
    }

    fn data(source: &str, item: Value) -> serde_json::Value {
        let source = format!("x = {{ {source} }}\n{{ \"type\": \"a.B.v1\", \"data\": {{ \"x\": x }} }}");
        run(&source, item).expect("an event")[0].data["x"].clone()
    }

    /// A whole number of items, as a partner may send.
    fn items(count: i64) -> Value {
        value!({"items": ((0..count).map(Value::from).collect::<Vec<_>>())})
    }

    #[test]
    fn a_module_sees_the_event_and_its_metadata() {
        let seen = data(
            "[.name, %partner, %endpoint, %event_type, %external_id, %received_at, %headers.\"x-event\"]",
            value!({"name": "Ada"}),
        );
        let expected = serde_json::json!([
            "Ada",
            "acme",
            "default",
            "order.paid",
            "evt_1",
            "2023-11-14T22:13:20Z",
            "paid"
        ]);
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_module_sees_what_an_item_stood_in() {
        let outer = [value!({"object": "page"}), value!({"id": 7, "changes": []})];
        let event = ExternalEvent { outer: outer.map(Arc::new).into(), ..event(value!({"a": 1})) };
        let (headers, emits) = (Headers::default(), ["a.B.v1".to_owned()]);
        let input = MappingInput { event: &event, headers: &headers, emits: &emits };
        for (source, expected) in [
            (
                "[%outer[0].object, %outer[1].id, %outer[-1].id, %outer[2], %outer[-3]]",
                serde_json::json!(["page", 7, 7, null, null]),
            ),
            ("[length(%outer), %outer[1].changes]", serde_json::json!([2, []])),
            (
                "o = %outer\n{\"o\": o}",
                serde_json::json!({"o": [{"object": "page"}, {"id": 7, "changes": []}]}),
            ),
        ] {
            let last = source.lines().last().expect("a line");
            let module =
                source.replace(last, &format!("{{ \"type\": \"a.B.v1\", \"data\": {{\"it\": {last}}} }}"));
            let mapping = compile("m.vrl", &module).unwrap_or_else(|problems| panic!("{}", problems[0]));
            let events = mapping.run(input, &BOUNDS).expect("an event");
            assert_eq!(events[0].data["it"], expected, "{source}");
        }
    }

    #[test]
    fn a_run_leaves_the_event_as_it_was_and_the_next_run_alike() {
        let source = "x = .\nx.a = 2\n{ \"type\": \"a.B.v1\", \"data\": x }";
        let mapping = compile("m.vrl", source).expect("compiles");
        let (event, headers, emits) = (event(value!({"a": 1})), Headers::default(), ["a.B.v1".to_owned()]);
        let input = MappingInput { event: &event, headers: &headers, emits: &emits };
        let first = mapping.run(input, &BOUNDS).expect("an event");
        assert_eq!(event.item, value!({"a": 1}));
        assert_eq!(first[0].data, serde_json::json!({"a": 2}));
        assert_eq!(mapping.run(input, &BOUNDS).expect("an event"), first);
    }

    #[test]
    fn no_event_by_intent() {
        assert_eq!(run("null", value!({})), Ok(vec![]));
        assert_eq!(run("[]", value!({})), Ok(vec![]));
        assert_eq!(
            run("if .kind == \"ping\" { return null }\nabort \"odd\"", value!({"kind": "ping"})),
            Ok(vec![])
        );
    }

    #[test]
    fn an_abort_is_told_in_the_authors_words() {
        let source = "x = .a\nif x == 1 { abort \"the refund names no charge\" }\nnull";
        assert_eq!(
            failure(source, value!({"a": 1})),
            "mapping_aborted: m.vrl:2:13: the refund names no charge"
        );
    }

    #[test]
    fn failures_name_function_and_place_but_no_value() {
        let secret = value!({"a": "4111 1111 1111 1111"});
        assert_eq!(
            failure("x = 1\nto_int!(.a) + x", secret.clone()),
            "mapping_failed: m.vrl:2:1: to_int failed"
        );
        assert_eq!(
            failure("int!(.a)", secret.clone()),
            "mapping_failed: m.vrl:1:1: int failed: expected integer, got string"
        );
        assert_eq!(
            failure("minor_units!(.a, \"XXX\")", secret.clone()),
            "mapping_failed: m.vrl:1:1: minor_units failed: the currency is no ISO 4217 code with an exponent"
        );
        assert_eq!(
            failure("map_values([.a]) -> |v| { to_int!(v) }", secret.clone()),
            "mapping_failed: m.vrl:1:27: to_int failed"
        );
        for source in [
            "parse_json!(.a)",
            "parse_timestamp!(.a, \"%F\")",
            "to_bool!(.a)",
            "parse_url!(.a)",
            "to_float!(.b)",
            "decode_base64!(.a)",
            "get!(., [.a, {}])",
            "array!(.a)",
            "timestamp!(.a)",
        ] {
            let mapping = compile("m.vrl", source).unwrap_or_else(|problems| panic!("{}", problems[0]));
            let emits = [];
            let input =
                MappingInput { event: &event(secret.clone()), headers: &Headers::default(), emits: &emits };
            let error = mapping.run(input, &BOUNDS).expect_err("no event");
            assert!(!error.detail.contains("4111"), "{source}: {error}");
        }
    }

    #[test]
    fn a_result_is_held_to_emits_and_shape() {
        let wrong = "{ \"type\": \"a.C.v1\", \"data\": {} }";
        assert_eq!(
            failure(wrong, value!({})),
            "mapping_output: m.vrl: event 0: its `type` is not in `emits` (a.B.v1)"
        );
        assert_eq!(
            failure("1", value!({})),
            "mapping_output: m.vrl: event 0: not an object with type, subject, time and data"
        );
    }

    #[test]
    fn loops_use_up_their_steps() {
        let source = "n = 0\nfor_each(array!(.items)) -> |_, _| { for_each(array!(.items)) -> |_, _| { n = n + 1 } }\nnull";
        assert_eq!(failure(source, items(1_000)), "mapping_exhausted: m.vrl: used up its 100000 steps");
    }

    #[test]
    fn no_error_handling_catches_the_end_of_the_steps() {
        let burn = "for_each(array!(.items)) -> |_, _| { for_each(array!(.items)) -> |_, _| { n = n + 1 } }";
        let source = format!(
            "n = 0\nx, err = {{ {burn}; to_int(.x) }}\ny = {{ {burn}; to_int(.x) }} ?? 1\n[x, y, err]"
        );
        assert!(failure(&source, items(1_000)).starts_with("mapping_exhausted"));
    }

    #[test]
    fn self_doubling_is_paid_for() {
        let doubling = [
            "x = [x, x]",
            "x = [{\"a\": x, \"b\": x}]",
            "x = push(x, x)",
            "x = append(x, x)",
            "y = [x, x]\nx = [y, y]",
            "x = map_values(x) -> |_| { x }",
            "x = [merge({\"a\": x}, {\"b\": x}), x]",
            "y = {}\ny |= {\"a\": x, \"b\": x}\nx = [y]",
            "x = zip(x, append(x, x))\nx = append(x, x)",
        ];
        for double in doubling {
            let source = format!("x = [1, 2]\nfor_each(array!(.items)) -> |_, _| {{\n{double}\n}}\nx");
            let error = failure(&source, items(500));
            assert!(error.starts_with("over_limit"), "{double}: {error}");
        }
    }

    #[test]
    fn doubling_line_by_line_is_paid_for_and_does_not_swell_the_compiler() {
        let source = format!("x = [1, 2]\n{}x", "y = [x, x]\nx = {\"a\": y, \"b\": y}\n".repeat(40));
        assert!(failure(&source, items(0)).starts_with("over_limit"));
    }

    #[test]
    fn text_that_doubles_is_paid_for() {
        for double in [
            "s = s + s",
            "s = \"{{s}}{{s}}\"",
            "s = encode_json([s, s])",
            "s = join([s, s])",
            "s = replace(s, \"\", \"xxxxxxxx\")",
            "s = encode_percent(s + \"%\") + s",
        ] {
            let source = format!("s = \"%\\\"\"\nfor_each(array!(.items)) -> |_, _| {{\n{double}\n}}\nnull");
            let error = failure(&source, items(500));
            assert!(
                error.starts_with("over_limit") || error.starts_with("mapping_exhausted"),
                "{double}: {error}"
            );
        }
    }

    #[test]
    fn a_long_text_is_not_taken_apart() {
        let long = || value!({"s": ("[".repeat(limits::MAX_TEXT_TAKEN_APART + 1))});
        for apart in [
            "split(string!(.s), \"\")",
            "split(pattern: \"x\", value: string!(.s))",
            "replace(string!(.s), \"\", \"x\")",
            "chunks!(.s, 1)",
            "parse_json!(.s)",
            "parse_query_string!(.s)",
            "format_timestamp!(from_unix_timestamp!(0), format: string!(.s))",
        ] {
            let error = failure(&format!("x = {apart}\n[x]"), long());
            assert!(error.starts_with("over_limit"), "{apart}: {error}");
        }
        let fits = value!({"s": ("a,b".repeat(1_000))});
        assert_eq!(data("length(split(string!(.s), \",\"))", fits), 1_001);
    }

    #[test]
    fn functions_in_functions_are_paid_for_each() {
        let nested = (0..9).fold("string!(.s)".to_owned(), |inner, _| format!("encode_json({inner})"));
        let source = format!("s = {nested}\nlength(s)");
        let error = failure(&source, value!({"s": ("\"".repeat(1024 * 1024))}));
        assert!(error.starts_with("over_limit") || error.starts_with("mapping_exhausted"), "{error}");
    }

    #[test]
    fn nesting_that_grows_is_stopped_before_the_stack_is_in_danger() {
        for deepen in ["x = [x]", "x = {\"a\": x}", "y = {\"a\": {}}\ny.a.b = x\nx = y"] {
            let source = format!("x = null\nfor_each(array!(.items)) -> |_, _| {{\n{deepen}\n}}\nnull");
            assert_eq!(
                failure(&source, items(10_000)),
                "over_limit: m.vrl: a value grew beyond 16777216 bytes or nests deeper than 128 levels, or a text \
                 beyond 1048576 bytes was to be taken apart"
            );
        }
    }

    #[test]
    fn the_deepest_module_runs_on_the_stack_that_translation_threads_have() {
        let blocks = "{ x = [x];".repeat(limits::MAX_DEPTH / 2) + "x" + &"}".repeat(limits::MAX_DEPTH / 2);
        let source = format!("x = .\n{blocks}\nnull");
        let deep =
            strict_json::read(("{\"a\":".repeat(64) + "1" + &"}".repeat(64)).as_bytes()).expect("valid");
        let work = move || run(&source, deep);
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES / 16).spawn(work).expect("a thread");
        assert_eq!(thread.join().expect("no overflow"), Ok(vec![]));
    }

    #[test]
    fn large_but_honest_events_are_translated() {
        let lines: Vec<Value> =
            (0..1_000_i64).map(|n| value!({"sku": "a-b-c", "quantity": n, "price": "19.99"})).collect();
        let source = "map_values(array!(.lines)) -> |line| { { \"sku\": line.sku, \"cents\": minor_units!(line.price, \"EUR\") } }";
        assert_eq!(data(source, value!({"lines": lines}))[999]["cents"], 1_999);
    }

    #[test]
    fn a_panic_is_contained() {
        let mapping = compile("m.vrl", "null").expect("compiles");
        let error = mapping.contained::<()>(|| panic!("4111 1111 1111 1111")).expect_err("a panic");
        assert_eq!(error.to_string(), "mapping_panicked: m.vrl: a function of the mapping panicked");
    }
}
