//! Room `contracts`: one contract version, from its file's text to a compiled validator.

use std::sync::Arc;

use jsonschema::{Keyword, PatternOptions, ValidationError, Validator, error::ValidationErrorKind};
use serde_json::{Map, Value};

use super::{keywords, name::ContractName, place};
use crate::model::{Diagnostic, strict_json};

/// How much memory one compiled pattern may take.
const MAX_PATTERN_BYTES: usize = 1024 * 1024;

/// How many keys that a contract does not know a reason names, and how many characters of each.
const MAX_KEYS_SHOWN: usize = 3;
const MAX_KEY_SHOWN: usize = 64;

/// The keyword that stands beside every `"type": "integer"` when a contract is compiled. To JSON Schema `1.0` is an
/// integer; to a consumer that reads integers it is not.
const WRITTEN_AS_INTEGER: &str = "writtenAsInteger";

/// One contract version.
#[derive(Debug)]
pub struct Contract {
    /// The type of its events, as `payments.PaymentCaptured.v1`.
    pub event_type: String,
    /// Its file, relative to the mappings folder.
    pub file: String,
    /// The version, as `1.0`.
    pub version: String,
    /// Its name for people.
    pub title: String,
    /// The team that answers for it.
    pub owner: String,
    /// What it says happened.
    pub description: String,
    /// The schema as written.
    pub schema: Value,
    /// The URI reference that events carry as `dataschema`.
    pub dataschema: Arc<str>,
    validator: Validator,
}

impl Contract {
    /// Reads, lints and compiles a contract file. Every example must satisfy it.
    pub(super) fn read(file: &str, text: &str, name: &ContractName) -> Result<Self, Vec<Diagnostic>> {
        let schema = parse(file, text)?;
        let mistakes = keywords::mistakes(&schema);
        if !mistakes.is_empty() {
            return Err(mistakes
                .into_iter()
                .map(|mistake| {
                    let offset = place::of(text, &mistake.path);
                    Diagnostic::new(mistake.code, file, mistake.message, mistake.help).at(text, offset)
                })
                .collect());
        }
        let validator = compile(&schema).map_err(|error| vec![uncompiled(file, text, &error)])?;
        let word = |key: &str| schema[key].as_str().unwrap_or_default().to_owned();
        let contract = Self {
            event_type: name.event_type(),
            file: file.to_owned(),
            version: format!("{}.{}", name.major, name.minor),
            title: word("title"),
            owner: word("owner"),
            description: word("description"),
            dataschema: format!("/{file}").into(),
            validator,
            schema,
        };
        let wrong = contract.wrong_examples(text);
        if wrong.is_empty() { Ok(contract) } else { Err(wrong) }
    }

    /// The examples, each a whole `data`.
    pub fn examples(&self) -> &[Value] {
        self.schema["examples"].as_array().map_or(&[], Vec::as_slice)
    }

    /// How `data` breaks this contract, if it does: the place in it, and the rule. Never a value.
    pub(super) fn broken_by(&self, data: &Value) -> Option<String> {
        if self.validator.is_valid(data) {
            return None;
        }
        self.validator.iter_errors(data).next().map(|error| rule(&error))
    }

    fn wrong_examples(&self, text: &str) -> Vec<Diagnostic> {
        let wrong = self.examples().iter().enumerate().filter_map(|(index, example)| {
            let error = self.validator.iter_errors(example).next()?;
            let mut path = vec!["examples".to_owned(), index.to_string()];
            path.extend(steps(error.instance_path().as_str()));
            let message = format!("example {index} breaks the contract: {}", rule(&error));
            let help = "correct the example, or the rule it breaks";
            Some(
                Diagnostic::new("contract_example", &self.file, message, help)
                    .at(text, place::of(text, &path)),
            )
        });
        wrong.collect()
    }
}

fn parse(file: &str, text: &str) -> Result<Value, Vec<Diagnostic>> {
    let help = "a contract is one JSON object; check commas, quotes and repeated keys";
    let refuse = |message: String| Diagnostic::new("contract_json", file, message, help);
    if let Err(error) = strict_json::read(text.as_bytes()) {
        let message = error.to_string();
        let offset = offset_in(text, &message);
        return Err(vec![refuse(message).at(text, offset)]);
    }
    serde_json::from_str(text).map_err(|_| vec![refuse("not JSON".to_owned())])
}

/// The offset that `… at line 3 column 7` names.
fn offset_in(text: &str, message: &str) -> usize {
    let mut numbers = message.rsplit(' ').filter_map(|word| word.parse::<usize>().ok());
    let (column, line) = (numbers.next().unwrap_or(1), numbers.next().unwrap_or(1));
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    before + column.saturating_sub(1)
}

fn compile(schema: &Value) -> Result<Validator, ValidationError<'static>> {
    jsonschema::draft202012::options()
        .should_validate_formats(true)
        .should_ignore_unknown_formats(false)
        .with_pattern_options(PatternOptions::regex().size_limit(MAX_PATTERN_BYTES))
        .with_keyword(WRITTEN_AS_INTEGER, |_, _, _| Ok(Box::new(WrittenAsInteger)))
        .build(&with_strict_integers(schema))
}

fn uncompiled(file: &str, text: &str, error: &ValidationError<'_>) -> Diagnostic {
    let path: Vec<String> = steps(error.instance_path().as_str()).collect();
    let help = "see https://json-schema.org/understanding-json-schema/reference for what the keyword takes";
    // What the validator objects to is text of the contract, which is no secret.
    Diagnostic::new("contract_invalid", file, error.to_string(), help).at(text, place::of(text, &path))
}

/// A copy of the schema with [`WRITTEN_AS_INTEGER`] where a schema is for integers and not for numbers. Follows the
/// keywords that hold schemas, and leaves data (`const`, `enum`, `examples`) alone.
fn with_strict_integers(schema: &Value) -> Value {
    let Some(fields) = schema.as_object() else { return schema.clone() };
    let fields = fields.iter().map(|(key, value)| {
        let value = match (key.as_str(), value) {
            ("properties" | "$defs", Value::Object(named)) => {
                let strict = named.iter().map(|(name, schema)| (name.clone(), with_strict_integers(schema)));
                Value::Object(strict.collect())
            }
            ("anyOf" | "oneOf", Value::Array(schemas)) => schemas.iter().map(with_strict_integers).collect(),
            ("items", schema) => with_strict_integers(schema),
            _ => value.clone(),
        };
        (key.clone(), value)
    });
    let mut strict: Map<String, Value> = fields.collect();
    if is_for_integers(strict.get("type")) {
        strict.insert(WRITTEN_AS_INTEGER.to_owned(), Value::Bool(true));
    }
    Value::Object(strict)
}

fn is_for_integers(kinds: Option<&Value>) -> bool {
    match kinds {
        Some(Value::String(kind)) => kind == "integer",
        Some(Value::Array(kinds)) => {
            kinds.iter().any(|kind| kind == "integer") && !kinds.iter().any(|kind| kind == "number")
        }
        _ => false,
    }
}

struct WrittenAsInteger;

impl<'i> Keyword<'i> for WrittenAsInteger {
    fn validate(&self, instance: &'i Value) -> Result<(), ValidationError<'i>> {
        if self.is_valid(instance) {
            Ok(())
        } else {
            Err(ValidationError::custom("not written as an integer"))
        }
    }

    fn is_valid(&self, instance: &'i Value) -> bool {
        !instance.is_f64()
    }
}

/// The rule an error names, in words made of the contract's own text.
fn rule(error: &ValidationError<'_>) -> String {
    let place = match error.instance_path().as_str() {
        "" => "the data",
        path => path,
    };
    match error.kind() {
        ValidationErrorKind::Required { property } => format!("{place} lacks {property}"),
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            format!("{place} has {}, which the contract does not know", keys(unexpected))
        }
        ValidationErrorKind::Format { format } => format!("{place} is no {format}"),
        ValidationErrorKind::Custom { .. } => {
            format!("{place} is a number with a point where an integer is due")
        }
        kind => format!("{place} breaks `{}`", kind.keyword()),
    }
}

/// The first few of these keys, each as far as a person reads: a mapping may make keys of what it was sent.
fn keys(names: &[String]) -> String {
    let quoted = |name: &String| format!("{:?}", name.chars().take(MAX_KEY_SHOWN).collect::<String>());
    let shown: Vec<String> = names.iter().take(MAX_KEYS_SHOWN).map(quoted).collect();
    let word = if names.len() == 1 { "the key" } else { "the keys" };
    let more = if names.len() > MAX_KEYS_SHOWN { " and others" } else { "" };
    format!("{word} {}{more}", shown.join(", "))
}

/// The steps of a JSON pointer (RFC 6901).
fn steps(pointer: &str) -> impl Iterator<Item = String> + '_ {
    pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~"))
}
