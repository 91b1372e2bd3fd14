//! Room `translate`: every bound of a mapping that is not a setting, with its reason. The settings are
//! [`Bounds`](super::Bounds).

// A module, before it is compiled.

/// The longest source. The parser is given no more, so what it builds, and the stack to drop that, have a bound.
pub(super) const MAX_SOURCE_BYTES: usize = 32 * 1024;
/// How deep expressions may nest, chains of operators and of `else if` included: compiling and running recurse on it.
pub(super) const MAX_DEPTH: usize = 64;
/// How deep brackets may nest. The parser needs time in the square of it.
pub(super) const MAX_BRACKET_DEPTH: usize = 2 * MAX_DEPTH;
/// How many `return` and `abort` a module may have: the parser needs time in the cube of how deep they nest.
pub(super) const MAX_ENDINGS: usize = 128;
/// How many expressions a module may have: the compiler keeps every variable's type for each.
pub(super) const MAX_EXPRESSIONS: usize = 4_000;
/// How deep calls may nest in calls: VRL's type inference doubles its work with each.
pub(super) const MAX_CALL_DEPTH: usize = 10;
/// The highest array index: assigning beyond an array's end fills it with nulls up to there.
pub(super) const MAX_INDEX: isize = 255;
/// The longest path.
pub(super) const MAX_PATH_SEGMENTS: usize = 32;
/// The longest string literal, templates included: each evaluation may copy it for one step.
pub(super) const MAX_LITERAL_BYTES: usize = 4 * 1024;
/// How many `{{variables}}` and texts one string literal may alternate: it is compiled as a chain of `+`.
pub(super) const MAX_TEMPLATE_SEGMENTS: usize = 32;
/// The longest text that `join` and `replace` may put in, once for each element or match.
pub(super) const MAX_INSERTED_BYTES: usize = 32;
/// How many regular expressions a module may have: each may take megabytes when compiled.
pub(super) const MAX_REGEXES: usize = 32;
/// The longest `abort` message.
pub(super) const MAX_ABORT_CHARS: usize = 200;

// A value, while a module runs.

/// How deep a value may nest while a mapping runs: cloning, comparing and dropping it recurse.
pub(super) const MAX_VALUE_DEPTH: usize = 128;
/// The heaviest single value. Above any body we take, far below what would hurt the process.
pub(super) const MAX_VALUE_BYTES: usize = 16 * 1024 * 1024;
/// The longest text that a function may make many values or copies of: it becomes up to a hundred times as much, and is
/// weighed only then.
pub(super) const MAX_TEXT_TAKEN_APART: usize = 1024 * 1024;
/// How many bytes one more step copies.
pub(super) const BYTES_PER_STEP: usize = 2 * 1024;
/// How many types of elements and fields the compiler may remember of one variable. Types double as values do, and at
/// load no step is counted.
pub(super) const MAX_KNOWN_TYPES: usize = 32;

// A result.

/// How deep `data` may nest.
pub(super) const MAX_DATA_DEPTH: usize = 32;
/// The longest subject in bytes; it becomes a CloudEvents attribute.
pub(super) const MAX_SUBJECT_BYTES: usize = 512;
