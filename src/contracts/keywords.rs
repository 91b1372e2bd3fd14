//! Room `contracts`: which keywords of JSON Schema a contract may use, and how. A closed list: a validator passes over
//! keywords it does not know, so a typo would silently check nothing.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// The dialect of every contract.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Keywords of the file as a whole. `owner` is ours: the team that answers for the contract.
const AT_THE_ROOT: &[&str] = &["$defs", "$schema", "owner"];

/// Keywords of every schema.
const ANYWHERE: &[&str] = &[
    "$comment",
    "$ref",
    "additionalProperties",
    "anyOf",
    "const",
    "deprecated",
    "description",
    "enum",
    "examples",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "multipleOf",
    "oneOf",
    "pattern",
    "properties",
    "required",
    "title",
    "type",
    "uniqueItems",
];

/// What says which values a schema is for; a schema without any of them takes everything.
const NARROWING: &[&str] = &["$ref", "anyOf", "const", "enum", "oneOf", "type"];

/// Formats that the validator asserts.
const FORMATS: &[&str] = &[
    "date",
    "date-time",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "time",
    "uri",
    "uri-reference",
    "uuid",
];

/// One mistake: its code, where it stands, what is wrong and what to do.
#[derive(Debug)]
pub(super) struct Mistake {
    pub code: &'static str,
    pub path: Vec<String>,
    pub message: String,
    pub help: String,
}

/// Every mistake of a contract that is one of form.
pub(super) fn mistakes(contract: &Value) -> Vec<Mistake> {
    let mut lint = Lint { path: Vec::new(), found: Vec::new() };
    match contract.as_object() {
        Some(root) => lint.root(root),
        None => lint.report("contract_json", "a contract is a JSON object", "see mappings/README.md for one"),
    }
    lint.found
}

struct Lint {
    path: Vec<String>,
    found: Vec<Mistake>,
}

impl Lint {
    fn report(&mut self, code: &'static str, message: impl Into<String>, help: impl Into<String>) {
        let path = self.path.clone();
        self.found.push(Mistake { code, path, message: message.into(), help: help.into() });
    }

    fn below(&mut self, step: impl Into<String>, look: impl FnOnce(&mut Self)) {
        self.path.push(step.into());
        look(self);
        self.path.pop();
    }

    fn root(&mut self, root: &Map<String, Value>) {
        if root.get("$schema").and_then(Value::as_str) != Some(DIALECT) {
            self.below("$schema", |lint| {
                lint.report(
                    "contract_dialect",
                    "`$schema` is not JSON Schema 2020-12",
                    format!("write \"$schema\": \"{DIALECT}\""),
                );
            });
        }
        for (key, meaning) in [
            ("title", "its name"),
            ("description", "what it says happened"),
            ("owner", "the team that answers for it"),
        ] {
            if root.get(key).and_then(Value::as_str).is_none_or(|text| text.trim().is_empty()) {
                self.below(key, |lint| {
                    lint.report(
                        "contract_undescribed",
                        format!("no `{key}`"),
                        format!("add \"{key}\": {meaning}"),
                    );
                });
            }
        }
        if root.get("examples").and_then(Value::as_array).is_none_or(Vec::is_empty) {
            self.below("examples", |lint| {
                lint.report(
                    "contract_undescribed",
                    "no example",
                    "add \"examples\": [ … ] with at least one whole `data`",
                );
            });
        }
        if root.get("type").and_then(Value::as_str) != Some("object") {
            self.below("type", |lint| {
                lint.report(
                    "contract_open",
                    "the data of an event is an object",
                    "write \"type\": \"object\"",
                );
            });
        }
        self.schema(root, root);
        self.definitions(root);
        self.cycles(root);
    }

    fn definitions(&mut self, root: &Map<String, Value>) {
        let Some(definitions) = root.get("$defs") else { return };
        self.below("$defs", |lint| lint.schemas(definitions, root));
    }

    /// An object of schemas (`properties`, `$defs`).
    fn schemas(&mut self, schemas: &Value, root: &Map<String, Value>) {
        let Some(schemas) = schemas.as_object() else {
            return self.report("contract_invalid", "not an object of schemas", "write { \"name\": { … } }");
        };
        for (name, schema) in schemas {
            self.below(name, |lint| lint.subschema(schema, root));
        }
    }

    fn subschema(&mut self, schema: &Value, root: &Map<String, Value>) {
        let Some(schema) = schema.as_object() else {
            return self.report("contract_open", "not a schema", "write { \"type\": … }");
        };
        for key in AT_THE_ROOT.iter().filter(|key| schema.contains_key(**key)) {
            self.below(*key, |lint| {
                lint.report(
                    "contract_keyword",
                    format!("`{key}` stands only at the top"),
                    "move it to the top of the file",
                );
            });
        }
        self.schema(schema, root);
    }

    fn schema(&mut self, schema: &Map<String, Value>, root: &Map<String, Value>) {
        for key in schema.keys().filter(|key| !is_known(key)) {
            let close = closest(key);
            self.below(key, |lint| {
                lint.report("contract_keyword", format!("`{key}` is not in the list of keywords"), close);
            });
        }
        if !NARROWING.iter().any(|key| schema.contains_key(*key)) {
            self.report(
                "contract_open",
                "a schema that takes every value",
                format!("say what it is: one of {}", NARROWING.join(", ")),
            );
        }
        self.object(schema);
        self.array(schema);
        self.reference(schema, root);
        self.format(schema);
        for (key, value) in schema {
            self.below(key, |lint| match key.as_str() {
                "properties" => lint.schemas(value, root),
                "items" => lint.subschema(value, root),
                "anyOf" | "oneOf" => lint.alternatives(value, root),
                _ => {}
            });
        }
    }

    fn alternatives(&mut self, schemas: &Value, root: &Map<String, Value>) {
        for (place, schema) in schemas.as_array().into_iter().flatten().enumerate() {
            self.below(place.to_string(), |lint| lint.subschema(schema, root));
        }
    }

    fn object(&mut self, schema: &Map<String, Value>) {
        let properties = schema.get("properties").and_then(Value::as_object);
        if is_for(schema, "object") && schema.get("additionalProperties") != Some(&Value::Bool(false)) {
            self.report(
                "contract_open",
                "an object that takes any key",
                "add \"additionalProperties\": false",
            );
        }
        if properties.is_some() && !is_for(schema, "object") {
            self.report(
                "contract_open",
                "`properties` without \"type\": \"object\"",
                "add \"type\": \"object\"",
            );
        }
        for (place, name) in
            schema.get("required").and_then(Value::as_array).into_iter().flatten().enumerate()
        {
            let known =
                name.as_str().is_some_and(|name| properties.is_some_and(|known| known.contains_key(name)));
            if !known {
                self.below("required", |lint| {
                    lint.below(place.to_string(), |lint| {
                        lint.report(
                            "contract_required",
                            format!("{name} is required and not in `properties`"),
                            "add it to `properties`, or correct the name",
                        );
                    });
                });
            }
        }
    }

    fn array(&mut self, schema: &Map<String, Value>) {
        if is_for(schema, "array") && !schema.contains_key("items") {
            self.report("contract_open", "an array that takes anything", "add \"items\": { … }");
        }
    }

    fn reference(&mut self, schema: &Map<String, Value>, root: &Map<String, Value>) {
        let Some(reference) = schema.get("$ref") else { return };
        let defined = |name: &str| root.get("$defs").and_then(|definitions| definitions.get(name)).is_some();
        if !definition(reference).is_some_and(defined) {
            self.below("$ref", |lint| {
                lint.report(
                    "contract_ref",
                    format!("{reference} is not in this file's `$defs`"),
                    "a contract stands alone: write \"#/$defs/<name>\" and define it in the same file",
                );
            });
        }
    }

    fn format(&mut self, schema: &Map<String, Value>) {
        let Some(format) = schema.get("format") else { return };
        if !format.as_str().is_some_and(|name| FORMATS.contains(&name)) {
            self.below("format", |lint| {
                lint.report(
                    "contract_format",
                    format!("the format {format} would not be checked"),
                    format!("there is {}; or use `pattern`", FORMATS.join(", ")),
                );
            });
        }
    }

    /// A definition that leads back to itself: the validator would follow it for ever.
    fn cycles(&mut self, root: &Map<String, Value>) {
        for name in root.get("$defs").and_then(Value::as_object).into_iter().flat_map(Map::keys) {
            let mut seen = BTreeSet::new();
            reachable(root, name, &mut seen);
            if seen.contains(name.as_str()) {
                let (message, help) =
                    ("a definition that contains itself", "write out as many levels as a fact has");
                self.below("$defs", |lint| {
                    lint.below(name, |lint| lint.report("contract_ref", message, help));
                });
            }
        }
    }
}

fn is_known(key: &str) -> bool {
    ANYWHERE.contains(&key) || AT_THE_ROOT.contains(&key)
}

fn closest(key: &str) -> String {
    let known = ANYWHERE.iter().chain(AT_THE_ROOT);
    let close = known.map(|known| (strsim::damerau_levenshtein(known, key), known)).min();
    match close {
        Some((distance, known)) if distance <= 2 => format!("did you mean `{known}`?"),
        _ => format!("there is {}", ANYWHERE.join(", ")),
    }
}

/// Whether `type` names a kind, alone or among others.
fn is_for(schema: &Map<String, Value>, kind: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(one)) => one == kind,
        Some(Value::Array(several)) => several.iter().any(|one| one == kind),
        _ => false,
    }
}

/// `money` of `#/$defs/money`; `None` for every other reference.
fn definition(reference: &Value) -> Option<&str> {
    reference.as_str()?.strip_prefix("#/$defs/").filter(|name| !name.contains(['/', '~', '%']))
}

/// Adds the definitions that a definition refers to, however far.
fn reachable<'a>(root: &'a Map<String, Value>, name: &str, seen: &mut BTreeSet<&'a str>) {
    let Some(schema) = root.get("$defs").and_then(|definitions| definitions.get(name)) else { return };
    for name in references(schema) {
        if seen.insert(name) {
            reachable(root, name, seen);
        }
    }
}

fn references(schema: &Value) -> Vec<&str> {
    match schema {
        Value::Object(fields) => {
            let own = fields.get("$ref").and_then(definition);
            own.into_iter().chain(fields.values().flat_map(references)).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}
