//! Room `contracts`: every contract there is, and the one place where a domain event becomes a checked one.

use std::{collections::BTreeMap, sync::Arc};

use super::{Contract, name::ContractName};
use crate::model::{CheckedEvent, Diagnostic, DomainEvent};

/// Every contract, by event type (`payments.PaymentCaptured.v1`); of one major the newest minor counts.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    contracts: BTreeMap<String, Arc<Contract>>,
}

/// How a domain event breaks its contract: the place in its data and the rule, never a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ContractBroken(pub String);

impl Catalog {
    /// Reads contract files: path relative to the mappings folder (`contracts/payments/PaymentCaptured.v1.0.json`) →
    /// text. All or nothing: the mistakes of every file come back together.
    pub fn load(files: &BTreeMap<String, String>) -> Result<Self, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let mut versions: BTreeMap<ContractName, Arc<Contract>> = BTreeMap::new();
        for (file, text) in files {
            match read(file, text) {
                Ok((name, contract)) => {
                    versions.insert(name, Arc::new(contract));
                }
                Err(mistakes) => problems.extend(mistakes),
            }
        }
        problems.extend(incompatible(&versions));
        if !problems.is_empty() {
            return Err(problems);
        }
        // In order of their names a newer minor comes after an older one and takes its place.
        let contracts = versions.into_values().map(|contract| (contract.event_type.clone(), contract));
        Ok(Self { contracts: contracts.collect() })
    }

    /// The contract of an event type.
    pub fn get(&self, event_type: &str) -> Option<&Contract> {
        self.contracts.get(event_type).map(Arc::as_ref)
    }

    /// Every contract, in order of event types.
    pub fn iter(&self) -> impl Iterator<Item = &Contract> {
        self.contracts.values().map(Arc::as_ref)
    }

    /// The path of the file that holds a contract.
    pub fn file_of(&self, event_type: &str) -> Option<&str> {
        self.get(event_type).map(|contract| contract.file.as_str())
    }

    /// The catalog of one desk: the contracts of `event_types`, those that there are.
    #[must_use]
    pub fn subset<'a>(&self, event_types: impl IntoIterator<Item = &'a str>) -> Self {
        let named = event_types.into_iter().filter_map(|event_type| self.contracts.get_key_value(event_type));
        Self {
            contracts: named
                .map(|(event_type, contract)| (event_type.clone(), Arc::clone(contract)))
                .collect(),
        }
    }

    /// Checks an event against the contract it claims.
    pub fn check(&self, event: DomainEvent) -> Result<CheckedEvent, ContractBroken> {
        let Some(contract) = self.contracts.get(&event.event_type) else {
            return Err(ContractBroken("the event's type has no contract".to_owned()));
        };
        match contract.broken_by(&event.data) {
            None => Ok(CheckedEvent::attest(event, Arc::clone(&contract.dataschema))),
            Some(rule) => Err(ContractBroken(rule)),
        }
    }
}

fn read(file: &str, text: &str) -> Result<(ContractName, Contract), Vec<Diagnostic>> {
    let Some(name) = ContractName::of(file) else {
        let message = "not the path of a contract";
        let help = "name it contracts/<context>/<Event>.v<major>.<minor>.json, as contracts/payments/PaymentCaptured.v1.0.json";
        return Err(vec![Diagnostic::new("contract_name", file, message, help)]);
    };
    let contract = Contract::read(file, text, &name)?;
    Ok((name, contract))
}

/// A newer minor must take what an older one took, as far as its examples tell.
fn incompatible(versions: &BTreeMap<ContractName, Arc<Contract>>) -> Vec<Diagnostic> {
    let older_and_newer = versions.values().zip(versions.values().skip(1));
    let pairs = older_and_newer.filter(|(older, newer)| older.event_type == newer.event_type);
    let broken = pairs.flat_map(|(older, newer)| {
        older.examples().iter().enumerate().filter_map(move |(index, example)| {
            let rule = newer.broken_by(example)?;
            let message = format!("it refuses example {index} of {}: {rule}", older.file);
            let help = "a new minor takes everything the older ones took; what does not is a new major";
            Some(Diagnostic::new("contract_incompatible", &newer.file, message, help))
        })
    });
    broken.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const FILE: &str = "contracts/payments/PaymentCaptured.v1.0.json";

    fn schema() -> Value {
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "PaymentCaptured",
            "description": "Money was captured.",
            "owner": "payments",
            "type": "object",
            "properties": {
                "amount": { "$ref": "#/$defs/money" },
                "captured_at": { "type": "string", "format": "date-time" },
                "lines": { "type": "array", "items": { "type": "string", "pattern": "^[a-z]+$" } },
                "rate": { "type": "number" },
                "note": { "type": ["string", "null"], "maxLength": 5 },
            },
            "required": ["amount"],
            "additionalProperties": false,
            "$defs": {
                "money": {
                    "type": "object",
                    "properties": { "minor_units": { "type": "integer" }, "currency": { "enum": ["EUR", "USD"] } },
                    "required": ["minor_units", "currency"],
                    "additionalProperties": false,
                },
            },
            "examples": [{ "amount": { "minor_units": 1, "currency": "EUR" } }],
        })
    }

    fn load(schema: &Value) -> Result<Catalog, Vec<Diagnostic>> {
        let text = serde_json::to_string_pretty(schema).expect("json");
        Catalog::load(&BTreeMap::from([(FILE.to_owned(), text)]))
    }

    fn check(data: Value) -> Result<CheckedEvent, String> {
        let catalog = load(&schema()).expect("a good contract");
        let event_type = "payments.PaymentCaptured.v1".to_owned();
        catalog.check(DomainEvent { event_type, subject: None, time: None, data }).map_err(|broken| broken.0)
    }

    /// The first mistake of the contract after `spoil`, with the source line it points at.
    fn mistake(spoil: impl FnOnce(&mut Value)) -> String {
        let mut schema = schema();
        spoil(&mut schema);
        let problems = load(&schema).expect_err("a mistake");
        let line = problems[0].source_line.clone().unwrap_or_default();
        format!("{}: {} | {}", problems[0].code, problems[0].message, line.trim())
    }

    #[test]
    fn an_event_that_satisfies_its_contract_is_checked() {
        let checked =
            check(json!({"amount": {"minor_units": 5, "currency": "USD"}, "rate": 2.0, "note": null}));
        assert_eq!(checked.expect("valid").dataschema(), "/contracts/payments/PaymentCaptured.v1.0.json");
    }

    #[test]
    fn what_breaks_a_contract_is_told_by_place_and_rule_alone() {
        let money = json!({"minor_units": 5, "currency": "USD"});
        for (data, told) in [
            (json!({}), "the data lacks \"amount\""),
            (json!({"amount": {"minor_units": 5}}), "/amount lacks \"currency\""),
            (
                json!({"amount": {"minor_units": "hush", "currency": "USD"}}),
                "/amount/minor_units breaks `type`",
            ),
            (json!({"amount": {"minor_units": 5, "currency": "hush"}}), "/amount/currency breaks `enum`"),
            (
                json!({"amount": money, "extra": "hush"}),
                "the data has the key \"extra\", which the contract does not know",
            ),
            (
                json!({"amount": {"minor_units": 5, "currency": "USD", "a": "hush", "b": 1}}),
                "/amount has the keys \"a\", \"b\", which the contract does not know",
            ),
            (json!({"amount": money, "captured_at": "hush"}), "/captured_at is no date-time"),
            (json!({"amount": money, "captured_at": "2026-02-30T00:00:00Z"}), "/captured_at is no date-time"),
            (json!({"amount": money, "lines": ["ok", "HUSH"]}), "/lines/1 breaks `pattern`"),
            (json!({"amount": money, "note": "hush hush"}), "/note breaks `maxLength`"),
            (json!(["hush"]), "the data breaks `type`"),
        ] {
            assert_eq!(check(data), Err(told.to_owned()));
        }
    }

    #[test]
    fn a_float_is_no_integer_even_when_it_is_whole() {
        let told = check(json!({"amount": {"minor_units": 5.0, "currency": "USD"}}));
        let expected = "/amount/minor_units is a number with a point where an integer is due";
        assert_eq!(told, Err(expected.to_owned()));
    }

    #[test]
    fn a_type_without_contract_is_refused() {
        let event_type = "payments.Other.v1".to_owned();
        let event = DomainEvent { event_type, subject: None, time: None, data: json!({}) };
        assert!(load(&schema()).expect("good").check(event).is_err());
    }

    #[test]
    fn each_mistake_is_shown_where_it_stands() {
        let told = [
            mistake(|schema| schema["$schema"] = json!("http://json-schema.org/draft-07/schema#")),
            mistake(|schema| drop(schema.as_object_mut().expect("object").remove("owner"))),
            mistake(|schema| schema["title"] = json!(" ")),
            mistake(|schema| schema["examples"] = json!([])),
            mistake(|schema| schema["type"] = json!("array")),
            mistake(|schema| schema["properties"]["rate"]["minimun"] = json!(0)),
            mistake(|schema| schema["properties"]["rate"]["patternProperties"] = json!({})),
            mistake(|schema| schema["properties"]["rate"]["owner"] = json!("x")),
            mistake(|schema| schema["properties"]["rate"] = json!({"description": "anything"})),
            mistake(|schema| schema["properties"]["rate"] = json!(true)),
            mistake(|schema| schema["properties"]["rate"] = json!({"type": "object", "properties": {}})),
            mistake(|schema| schema["$defs"]["money"]["additionalProperties"] = json!({"type": "string"})),
            mistake(|schema| schema["properties"]["lines"] = json!({"type": "array"})),
            mistake(|schema| {
                schema["properties"]["lines"]["items"] =
                    json!({"properties": {"a": {"type": "string"}}, "enum": [1]});
            }),
            mistake(|schema| schema["required"] = json!(["amount", "amuont"])),
            mistake(|schema| schema["properties"]["amount"]["$ref"] = json!("#/$defs/monney")),
            mistake(|schema| {
                schema["properties"]["amount"]["$ref"] = json!("https://example.com/money.json");
            }),
            mistake(|schema| schema["properties"]["amount"]["$ref"] = json!("file:///etc/passwd")),
            mistake(|schema| schema["$defs"]["money"] = json!({"$ref": "#/$defs/money"})),
            mistake(|schema| schema["properties"]["captured_at"]["format"] = json!("datetime")),
            mistake(|schema| schema["properties"]["rate"]["type"] = json!("decimal")),
            mistake(|schema| schema["properties"]["note"]["pattern"] = json!("(")),
            mistake(|schema| schema["properties"]["note"]["pattern"] = json!("(?=a)b")),
            mistake(|schema| schema["examples"][0]["amount"]["minor_units"] = json!("1")),
            mistake(|schema| schema["examples"][0]["amount"]["minor_units"] = json!(1.0)),
        ];
        insta::assert_snapshot!(told.join("\n"), @r##"
        contract_dialect: `$schema` is not JSON Schema 2020-12 | "$schema": "http://json-schema.org/draft-07/schema#",
        contract_undescribed: no `owner` | {
        contract_undescribed: no `title` | "title": " ",
        contract_undescribed: no example | "examples": [],
        contract_open: the data of an event is an object | "type": "array"
        contract_keyword: `minimun` is not in the list of keywords | "minimun": 0,
        contract_keyword: `patternProperties` is not in the list of keywords | "patternProperties": {},
        contract_keyword: `owner` stands only at the top | "owner": "x",
        contract_open: a schema that takes every value | "rate": {
        contract_open: not a schema | "rate": true
        contract_open: an object that takes any key | "rate": {
        contract_open: an object that takes any key | "money": {
        contract_open: an array that takes anything | "lines": {
        contract_open: `properties` without "type": "object" | "items": {
        contract_required: "amuont" is required and not in `properties` | "amuont"
        contract_ref: "#/$defs/monney" is not in this file's `$defs` | "$ref": "#/$defs/monney"
        contract_ref: "https://example.com/money.json" is not in this file's `$defs` | "$ref": "https://example.com/money.json"
        contract_ref: "file:///etc/passwd" is not in this file's `$defs` | "$ref": "file:///etc/passwd"
        contract_ref: a definition that contains itself | "money": {
        contract_format: the format "datetime" would not be checked | "format": "datetime",
        contract_invalid: "decimal" is not valid under any of the schemas listed in the 'anyOf' keyword | "type": "decimal"
        contract_invalid: "(" is not a "regex" | "pattern": "(",
        contract_invalid: "(?=a)b" is not a "regex" | "pattern": "(?=a)b",
        contract_example: example 0 breaks the contract: /amount/minor_units breaks `type` | "minor_units": "1"
        contract_example: example 0 breaks the contract: /amount/minor_units is a number with a point where an integer is due | "minor_units": 1.0
        "##);
    }

    #[test]
    fn text_that_is_no_json_or_repeats_a_key_is_shown_by_line() {
        let told = |text: &str| {
            let problems =
                Catalog::load(&BTreeMap::from([(FILE.to_owned(), text.to_owned())])).expect_err("no JSON");
            format!("{}:{} {}", problems[0].line, problems[0].column, problems[0].message)
        };
        assert_eq!(
            told("{\n  \"a\": 1,\n  \"a\": 2\n}"),
            "3:5 a key stands twice in one object at line 3 column 5"
        );
        assert_eq!(told("{\n  \"a\": oops\n}"), "2:8 not valid JSON at line 2 column 8");
        assert_eq!(told("[]"), "1:1 a contract is a JSON object");
    }

    #[test]
    fn a_path_that_is_no_contracts_is_refused() {
        let problems = Catalog::load(&BTreeMap::from([("contracts/x.json".to_owned(), "{}".to_owned())]));
        assert_eq!(problems.expect_err("no name")[0].code, "contract_name");
    }

    #[test]
    fn of_one_major_the_newest_minor_counts_and_takes_what_the_older_took() {
        let (old, mut new) = (schema(), schema());
        new["properties"]["note"]["maxLength"] = json!(9);
        let files = |new: &Value| {
            BTreeMap::from([
                ("contracts/payments/PaymentCaptured.v1.9.json".to_owned(), old.to_string()),
                ("contracts/payments/PaymentCaptured.v1.10.json".to_owned(), new.to_string()),
                ("contracts/payments/PaymentCaptured.v2.0.json".to_owned(), old.to_string()),
            ])
        };
        let catalog = Catalog::load(&files(&new)).expect("compatible");
        let newest = "contracts/payments/PaymentCaptured.v1.10.json";
        assert_eq!(catalog.file_of("payments.PaymentCaptured.v1"), Some(newest));
        assert_eq!(catalog.iter().count(), 2);
        let one = catalog.subset(["payments.PaymentCaptured.v2", "payments.Unknown.v1"]);
        assert_eq!(one.iter().map(|contract| contract.version.as_str()).collect::<Vec<_>>(), ["2.0"]);

        new["required"] = json!(["amount", "note"]);
        new["examples"][0]["note"] = json!("n");
        let problems = Catalog::load(&files(&new)).expect_err("incompatible");
        assert_eq!((problems[0].code, problems[0].file.as_str()), ("contract_incompatible", newest));
    }

    #[test]
    fn a_definition_that_leads_back_through_another_is_refused() {
        let told = mistake(|schema| {
            schema["$defs"]["a"] = json!({"type": "array", "items": {"$ref": "#/$defs/b"}});
            schema["$defs"]["b"] = json!({"anyOf": [{"type": "null"}, {"$ref": "#/$defs/a"}]});
        });
        assert!(told.starts_with("contract_ref: a definition that contains itself"), "{told}");
    }
}
