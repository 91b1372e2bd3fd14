//! Room `translate`: what a run may copy. VRL counts the expressions it evaluates, and one expression can copy a value
//! of any size: twenty lines of `x = [x, x]` are a million copies in sixty steps. So every read of a variable or path
//! and every new result of a function is weighed here, and its weight is paid for in steps.
//!
//! May not know what a step costs or who counts it: that is the control a run is given.

use vrl::compiler::{function::closure, prelude::*};
use vrl::diagnostic::Label;

use super::limits::{
    BYTES_PER_STEP, MAX_KNOWN_TYPES, MAX_TEXT_TAKEN_APART, MAX_VALUE_BYTES, MAX_VALUE_DEPTH,
};

/// What a value weighs beside its text: itself and its place in an array or object.
const NODE_BYTES: usize = 64;

/// The hidden function around a read. No source can call it: an identifier has at least one character. An empty name
/// also reads well where VRL shows the expression: `upcase((x))`.
pub(super) const READ: &str = "";

/// The hidden function around an operand of `*`.
pub(super) const FACTOR: &str = " ";

/// The hidden function around an argument of a function that takes text apart.
pub(super) const TEXT: &str = "  ";

/// What makes many values of a text, or much more text, before its result can be weighed.
pub(super) const TAKES_TEXT_APART: [&str; 7] =
    ["chunks", "format_timestamp", "parse_json", "parse_query_string", "parse_regex", "replace", "split"];

/// What returns its argument or fails: what was paid for when it was read is not paid for again.
const HANDS_ON: [&str; 7] = ["array", "bool", "float", "int", "object", "string", "timestamp"];

/// The hidden functions.
pub(super) fn hidden() -> [Box<dyn Function>; 3] {
    [Box::new(Read), Box::new(Factor), Box::new(Text)]
}

/// Pays for `value`. A value beyond the limits ends the run outright, as used-up steps do: no `??` can catch either.
fn pay(ctx: &mut Context, value: &Value) -> Result<(), ExpressionError> {
    let mut bytes = 0;
    if !weigh(value, 0, &mut bytes) {
        return Err(ExpressionError::Interrupted);
    }
    for _ in 0..bytes / BYTES_PER_STEP {
        ctx.checkpoint()?;
    }
    Ok(())
}

/// Adds up the weight; `false` as soon as it is too heavy or too deep.
fn weigh(value: &Value, depth: usize, bytes: &mut usize) -> bool {
    *bytes += NODE_BYTES;
    match value {
        Value::Bytes(text) => *bytes += text.len(),
        Value::String(text) => *bytes += text.len(),
        Value::Array(items) => {
            return depth < MAX_VALUE_DEPTH && items.iter().all(|item| weigh(item, depth + 1, bytes));
        }
        Value::Object(fields) => {
            let mut within = |(name, field): (&KeyString, &Value)| {
                *bytes += name.len();
                weigh(field, depth + 1, bytes)
            };
            return depth < MAX_VALUE_DEPTH && fields.iter().all(&mut within);
        }
        _ => {}
    }
    *bytes <= MAX_VALUE_BYTES
}

/// An expression whose result is paid for.
#[derive(Clone, Debug)]
struct Paid(Box<dyn Expression>);

impl Expression for Paid {
    fn resolve(&self, ctx: &mut Context) -> Resolved {
        let value = self.0.resolve(ctx)?;
        pay(ctx, &value)?;
        Ok(value)
    }

    fn resolve_constant(&self, state: &TypeState) -> Option<Value> {
        self.0.resolve_constant(state)
    }

    fn type_info(&self, state: &TypeState) -> TypeInfo {
        self.0.type_info(state)
    }
}

/// A read, which is paid for, and whose type is forgotten where it has grown out of hand.
#[derive(Clone, Debug)]
struct PaidRead(Box<dyn Expression>);

impl Expression for PaidRead {
    fn resolve(&self, ctx: &mut Context) -> Resolved {
        let value = self.0.resolve(ctx)?;
        pay(ctx, &value)?;
        Ok(value)
    }

    fn resolve_constant(&self, state: &TypeState) -> Option<Value> {
        self.0.resolve_constant(state).filter(|value| !value.is_array() && !value.is_object())
    }

    fn type_info(&self, state: &TypeState) -> TypeInfo {
        self.0.type_info(state).map_result(|known| {
            if fits(known.kind(), &mut MAX_KNOWN_TYPES.clone()) {
                return known;
            }
            let kind = widened(known.kind());
            known.with_kind(kind)
        })
    }
}

/// An argument whose text must not be too long to be taken apart.
#[derive(Clone, Debug)]
struct Bounded(Box<dyn Expression>);

impl Expression for Bounded {
    fn resolve(&self, ctx: &mut Context) -> Resolved {
        let value = self.0.resolve(ctx)?;
        let length = match &value {
            Value::Bytes(text) => text.len(),
            Value::String(text) => text.len(),
            _ => 0,
        };
        if length > MAX_TEXT_TAKEN_APART { Err(ExpressionError::Interrupted) } else { Ok(value) }
    }

    fn resolve_constant(&self, state: &TypeState) -> Option<Value> {
        self.0.resolve_constant(state)
    }

    fn type_info(&self, state: &TypeState) -> TypeInfo {
        self.0.type_info(state)
    }
}

/// Whether a type has no more parts than are left.
fn fits(kind: &Kind, left: &mut usize) -> bool {
    match left.checked_sub(1) {
        Some(rest) => *left = rest,
        None => return false,
    }
    let object = kind.as_object().is_none_or(|fields| parts_fit(fields, left));
    object && kind.as_array().is_none_or(|items| parts_fit(items, left))
}

fn parts_fit<T: Ord + Clone>(parts: &Collection<T>, left: &mut usize) -> bool {
    parts.known().values().all(|part| fits(part, left))
        && (!parts.is_unknown_exact() || fits(&parts.unknown_kind(), left))
}

fn widened(kind: &Kind) -> Kind {
    let mut kind = kind.clone();
    if kind.remove_object() {
        kind.add_object(Collection::any());
    }
    if kind.remove_array() {
        kind.add_array(Collection::any());
    }
    kind
}

/// A function whose results are paid for, where they are not its argument.
#[derive(Debug)]
pub(super) struct Metered(pub(super) Box<dyn Function>);

impl Function for Metered {
    fn identifier(&self) -> &'static str {
        self.0.identifier()
    }

    fn usage(&self) -> &'static str {
        self.0.usage()
    }

    fn category(&self) -> &'static str {
        self.0.category()
    }

    fn return_kind(&self) -> u16 {
        self.0.return_kind()
    }

    fn pure(&self) -> bool {
        self.0.pure()
    }

    fn examples(&self) -> &'static [Example] {
        self.0.examples()
    }

    fn compile(
        &self,
        state: &TypeState,
        ctx: &mut FunctionCompileContext,
        arguments: ArgumentList,
    ) -> Compiled {
        let compiled = self.0.compile(state, ctx, arguments)?;
        if HANDS_ON.contains(&self.identifier()) { Ok(compiled) } else { Ok(Box::new(Paid(compiled))) }
    }

    fn parameters(&self) -> &'static [Parameter] {
        self.0.parameters()
    }

    fn closure(&self) -> Option<closure::Definition> {
        self.0.closure()
    }
}

const HIDDEN_PARAMETERS: &[Parameter] = &[Parameter::required("value", kind::ANY, "The value.")];

/// The hidden function around a read.
#[derive(Clone, Copy, Debug)]
struct Read;

impl Function for Read {
    fn identifier(&self) -> &'static str {
        READ
    }

    fn usage(&self) -> &'static str {
        "Pays for reading a variable or path."
    }

    fn category(&self) -> &'static str {
        Category::Debug.as_ref()
    }

    fn return_kind(&self) -> u16 {
        kind::ANY
    }

    fn examples(&self) -> &'static [Example] {
        &[]
    }

    fn compile(&self, _: &TypeState, _: &mut FunctionCompileContext, arguments: ArgumentList) -> Compiled {
        Ok(Box::new(PaidRead(arguments.required("value"))))
    }

    fn parameters(&self) -> &'static [Parameter] {
        HIDDEN_PARAMETERS
    }
}

/// The hidden function around an argument of a function that takes text apart.
#[derive(Clone, Copy, Debug)]
struct Text;

impl Function for Text {
    fn identifier(&self) -> &'static str {
        TEXT
    }

    fn usage(&self) -> &'static str {
        "Bounds a text that is to be taken apart."
    }

    fn category(&self) -> &'static str {
        Category::String.as_ref()
    }

    fn return_kind(&self) -> u16 {
        kind::ANY
    }

    fn examples(&self) -> &'static [Example] {
        &[]
    }

    fn compile(&self, _: &TypeState, _: &mut FunctionCompileContext, arguments: ArgumentList) -> Compiled {
        Ok(Box::new(Bounded(arguments.required("value"))))
    }

    fn parameters(&self) -> &'static [Parameter] {
        HIDDEN_PARAMETERS
    }
}

/// The hidden function around an operand of `*`: VRL repeats a string when it is multiplied, without a bound.
#[derive(Clone, Copy, Debug)]
struct Factor;

impl Function for Factor {
    fn identifier(&self) -> &'static str {
        FACTOR
    }

    fn usage(&self) -> &'static str {
        "Insists, at load, that an operand of `*` is a number."
    }

    fn category(&self) -> &'static str {
        Category::Number.as_ref()
    }

    fn return_kind(&self) -> u16 {
        kind::INTEGER | kind::FLOAT
    }

    fn examples(&self) -> &'static [Example] {
        &[]
    }

    fn compile(
        &self,
        state: &TypeState,
        ctx: &mut FunctionCompileContext,
        arguments: ArgumentList,
    ) -> Compiled {
        let operand = arguments.required("value");
        let numbers = Kind::integer().or_float();
        match numbers.is_superset(operand.type_def(state).kind()) {
            Ok(()) => Ok(operand),
            Err(_) => Err(Box::new(MayRepeat(ctx.span()))),
        }
    }

    fn parameters(&self) -> &'static [Parameter] {
        HIDDEN_PARAMETERS
    }
}

/// An operand of `*` that may be a string.
#[derive(Debug, thiserror::Error)]
#[error("{MAY_REPEAT}")]
struct MayRepeat(Span);

/// How a multiplication that may repeat a string is told.
pub(super) const MAY_REPEAT: &str =
    "an operand of `*` that may be a string, which `*` would repeat without a bound";

impl DiagnosticMessage for MayRepeat {
    fn code(&self) -> usize {
        0
    }

    fn labels(&self) -> Vec<Label> {
        vec![Label::primary(MAY_REPEAT, self.0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(depth: usize) -> Value {
        (0..depth).fold(Value::Null, |inner, _| Value::Array(vec![inner]))
    }

    #[test]
    fn weighs_text_keys_and_places() {
        let value = Value::from(vec![Value::from("12345"), Value::Null]);
        let mut bytes = 0;
        assert!(weigh(&value, 0, &mut bytes));
        assert_eq!(bytes, 3 * NODE_BYTES + 5);
    }

    #[test]
    fn too_heavy_and_too_deep_are_told_early() {
        let within = |value: &Value| weigh(value, 0, &mut 0);
        assert!(within(&nested(MAX_VALUE_DEPTH)));
        assert!(!within(&nested(MAX_VALUE_DEPTH + 1)));
        assert!(!within(&Value::from("x".repeat(MAX_VALUE_BYTES))));
        assert!(!within(&Value::from(vec![Value::Null; MAX_VALUE_BYTES / NODE_BYTES])));
    }
}
