//! The private API's description of itself: a document that holds to the rules of OpenAPI 3.1, and answers that hold to it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::{
    folder::Folder,
    handshakes,
    lab::{Lab, event, measured},
    wire::{self, Answer},
};

/// Addresses that anybody who reaches the private door may ask.
const WITHOUT_TOKEN: [&str; 4] = ["/livez", "/readyz", "/metrics", "/api/v1/openapi.json"];
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

fn document(lab: &Lab) -> Value {
    wire::exchange(lab.gateway.private, "GET", "/api/v1/openapi.json", &[], b"").json()
}

/// Every operation, as `get /api/v1/events`, with its path.
fn operations(document: &Value) -> Vec<(String, &str, &Value)> {
    let paths = document["paths"].as_object().expect("paths");
    let of_path = paths.iter().flat_map(|(path, item)| {
        let item = item.as_object().expect("a path item");
        let known = item.iter().filter(|(key, _)| METHODS.contains(&key.as_str()));
        known.map(move |(method, operation)| (format!("{method} {path}"), path.as_str(), operation))
    });
    of_path.collect()
}

fn is_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.trim().is_empty())
}

/// The names between braces of a path.
fn variables(path: &str) -> BTreeSet<&str> {
    path.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect()
}

fn every_ref<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            for field in fields.values() {
                every_ref(field, found);
            }
        }
        Value::Array(items) => {
            for item in items {
                every_ref(item, found);
            }
        }
        _ => {}
    }
}

#[test]
fn every_operation_is_named_once_and_told() {
    let document = document(&Lab::start());
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1.")));
    assert!(is_text(&document["info"]["title"]) && is_text(&document["info"]["version"]));
    let operations = operations(&document);
    let mut ids = BTreeSet::new();
    for (name, _, operation) in &operations {
        assert!(is_text(&operation["summary"]) || is_text(&operation["description"]), "{name} says nothing");
        assert!(ids.insert(operation["operationId"].as_str().expect("an id")), "{name}: its id is taken");
    }
    assert_eq!(operations.len(), 20);
}

#[test]
fn every_parameter_stands_where_it_says() {
    let document = document(&Lab::start());
    for (name, path, operation) in operations(&document) {
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let mut in_path = BTreeSet::new();
        for parameter in &parameters {
            let known = parameter["name"].as_str().expect("a name");
            assert!(is_text(&parameter["description"]), "{name}: {known} is not described");
            assert!(parameter["schema"].is_object(), "{name}: {known} has no schema");
            let place = parameter["in"].as_str().expect("a place");
            assert!(["path", "query", "header"].contains(&place), "{name}: {known} stands in {place}");
            assert_eq!(place == "path", variables(path).contains(known), "{name}: {known} stands in {place}");
            let required = parameter["required"] == true;
            assert_eq!(required, place == "path", "{name}: {known} required = {required}");
            if place == "path" {
                in_path.insert(known);
            }
        }
        assert_eq!(in_path, variables(path), "{name}");
    }
}

#[test]
fn every_answer_is_described_and_every_failure_is_a_problem() {
    let document = document(&Lab::start());
    for (name, path, operation) in operations(&document) {
        let responses = operation["responses"].as_object().expect("responses");
        for (status, response) in responses {
            assert!(is_text(&response["description"]), "{name}: {status} is not described");
            let failed = status.starts_with(['4', '5']) && !WITHOUT_TOKEN.contains(&path);
            let schema = &response["content"]["application/problem+json"]["schema"]["$ref"];
            assert_eq!(*schema == "#/components/schemas/Problem", failed, "{name}: {status}");
        }
        assert!(responses.keys().any(|status| status.starts_with('2')), "{name} never succeeds");
        let needs_token = !WITHOUT_TOKEN.contains(&path);
        for status in ["401", "403", "503"] {
            assert!(responses.contains_key(status) || !needs_token, "{name} lacks {status}");
        }
        let is_told = operation.get("requestBody").is_some()
            || operation["parameters"]
                .as_array()
                .is_some_and(|all| all.iter().any(|one| one["in"] != "path"));
        assert_eq!(responses.contains_key("400"), is_told, "{name}: 400");
        assert_eq!(
            operation.get("security"),
            (!needs_token).then(|| json!([{}])).as_ref(),
            "{name}: security"
        );
    }
    assert_eq!(document["security"], json!([{ "bearer": [] }]));
    let bearer = &document["components"]["securitySchemes"]["bearer"];
    assert_eq!((&bearer["type"], &bearer["scheme"]), (&json!("http"), &json!("bearer")));
}

#[test]
fn every_reference_leads_somewhere_and_every_schema_is_one() {
    let document = document(&Lab::start());
    let mut references = Vec::new();
    every_ref(&document, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.strip_prefix('#').expect("a place in this document");
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    for (name, schema) in document["components"]["schemas"].as_object().expect("schemas") {
        let mistakes = jsonschema::draft202012::meta::validate(schema).err();
        assert!(mistakes.is_none(), "{name}: {mistakes:?}");
    }
}

/// Holds answers to what the document says of their operation, and remembers which it has held.
struct Reader {
    document: Value,
    held: BTreeMap<String, BTreeSet<u16>>,
}

impl Reader {
    /// `name` is the operation, as `get /api/v1/events`.
    fn hold(&mut self, name: &str, answer: &Answer) -> &mut Self {
        let (_, _, operation) =
            operations(&self.document).into_iter().find(|(known, ..)| known == name).expect("described");
        let response = &operation["responses"][answer.status.to_string()];
        assert!(response.is_object(), "{name} answers {}, which is not described", answer.status);
        let media = answer.header("content-type").split(';').next().unwrap_or_default().trim();
        let content = response["content"].get(media);
        assert!(content.is_some() || answer.body.is_empty(), "{name}: {media:?} is not described");
        if let Some(content) = content.filter(|_| media.ends_with("json") && !media.contains("ndjson")) {
            self.satisfies(name, &content["schema"], &answer.json());
        }
        self.held.entry(name.to_owned()).or_default().insert(answer.status);
        self
    }

    fn satisfies(&self, name: &str, schema: &Value, answer: &Value) {
        let whole = json!({ "allOf": [schema], "components": self.document["components"] });
        let validator = jsonschema::draft202012::new(&whole).expect("a schema");
        let wrong: Vec<_> = validator.iter_errors(answer).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{name}: {wrong:?}\n{answer}");
        self.knows_every_key(name, schema, answer);
    }

    /// An object's keys are all described: a key that is not would never be missed.
    fn knows_every_key(&self, name: &str, schema: &Value, answer: &Value) {
        match answer {
            Value::Array(items) => {
                let schema = self.follow(&schema["items"]);
                for item in items {
                    self.knows_every_key(name, schema, item);
                }
            }
            Value::Object(fields) => {
                let parts = self.parts(schema);
                for (key, value) in fields.iter().filter(|_| !parts.is_empty()) {
                    let known = parts.iter().find_map(|part| part["properties"].get(key));
                    let known = known.unwrap_or_else(|| panic!("{name}: {key} is not described"));
                    self.knows_every_key(name, self.follow(known), value);
                }
            }
            _ => {}
        }
    }

    /// The parts of an object's schema that name properties; none for an open one.
    fn parts<'a>(&'a self, schema: &'a Value) -> Vec<&'a Value> {
        let schema = self.follow(schema);
        let all = schema["allOf"].as_array().map_or_else(|| vec![schema], |all| all.iter().collect());
        let parts = all.into_iter().map(|part| self.follow(part));
        parts.filter(|part| part["properties"].is_object()).collect()
    }

    fn follow<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let pointer = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
        pointer.map_or(schema, |pointer| self.document.pointer(pointer).expect("resolved"))
    }
}

#[test]
fn what_is_answered_is_what_is_described() {
    let lab = with_a_broker();
    let mut reader = Reader { document: document(&lab), held: BTreeMap::new() };
    lab.deliver(&measured("1", 1));
    for sent in
        [measured("1", 1), measured("1", 2), event("2", "noise.hum"), event("3", "unheard"), json!([])]
    {
        lab.deliver(&sent);
    }
    let delivery = accept_strange_header(&lab);
    lab.gateway
        .wait_until(&format!("/api/v1/deliveries/{delivery}"), |answer| answer.json()["waiting"] == false);
    wire::exchange(lab.gateway.public, "POST", "/in/nobody", &[], b"{}");
    for listed in ["/api/v1/refusals", "/api/v1/publications"] {
        lab.gateway.wait_until(listed, |answer| answer.json()["items"] != json!([]));
    }
    let (auditor, consumer) = (lab.token("anna", "auditor"), lab.token("carl", "consumer"));

    let (one, body) = ("/api/v1/deliveries/{id}", "/api/v1/deliveries/{id}/body");
    for path in ["/livez", "/readyz", "/metrics", "/api/v1/openapi.json", "/api/v1/tokens"] {
        reader.hold(&format!("get {path}"), &lab.gateway.get(path));
    }
    for path in ["deliveries", "publications", "events", "refusals", "dead-letters", "journal"] {
        let (path, name) = (format!("/api/v1/{path}"), format!("get /api/v1/{path}"));
        let answer = lab.gateway.get(&path);
        assert!(!answer.body.is_empty() && (path.ends_with("events") || answer.json()["items"] != json!([])));
        reader.hold(&name, &answer);
        reader.hold(&name, &lab.gateway.get(&format!("{path}?limit=1")));
        reader.hold(&name, &lab.gateway.get(&format!("{path}?nonsense=1")));
        reader.hold(&name, &lab.gateway.ask("GET", &path, "dou_unknown", &Value::Null));
        if !path.ends_with("events") {
            reader.hold(&name, &lab.gateway.ask("GET", &path, &consumer, &Value::Null));
        }
    }
    for (name, suffix) in [(one, ""), (body, "/body")] {
        let name = format!("get {name}");
        let ask = |id: &str| lab.gateway.get(&format!("/api/v1/deliveries/{id}{suffix}"));
        reader.hold(&name, &ask(&delivery)).hold(&name, &ask("1")).hold(&name, &ask("999"));
    }
    let publications = |query: &str| lab.gateway.get(&format!("/api/v1/publications?{query}"));
    for query in ["broker=file", "broker=nobody", "delivery=999", "delivery=x", "cursor=x"] {
        reader.hold("get /api/v1/publications", &publications(query));
    }
    let detail = lab.gateway.get(&format!("/api/v1/deliveries/{delivery}")).json();
    assert!(detail["headers"].to_string().contains(r#"{"base64":"#), "{detail}");

    hold_acts(&mut reader, &lab, &auditor);

    let asked: BTreeSet<&str> = reader.held.keys().map(String::as_str).collect();
    let all = operations(&reader.document);
    assert_eq!(asked, all.iter().map(|(name, ..)| name.as_str()).collect());
    let succeeded = |held: &BTreeSet<u16>| held.iter().any(|status| *status < 300);
    assert!(reader.held.values().all(succeeded), "{:?}", reader.held);
}

/// A gateway that publishes to a file.
fn with_a_broker() -> Lab {
    let mappings = Folder::new();
    handshakes::add_learner(&mappings, "school");
    let (config, file) = (mappings.path().join("douane.toml"), mappings.path().join("events.ndjson"));
    let broker = format!(
        "[[broker]]\nname = \"file\"\nkind = \"file\"\nfrom = \"beginning\"\npath = \"{}\"\n",
        file.display()
    );
    std::fs::write(&config, broker).expect("written");
    let config = config.display().to_string();
    Lab::with(mappings, &[("DOUANE_CONFIG", &config)])
}

/// The operations that change something, as an operator asks and as an auditor may not.
fn hold_acts(reader: &mut Reader, lab: &Lab, auditor: &str) {
    let ask =
        |method: &str, path: &str, token: &str, sent: &Value| lab.gateway.ask(method, path, token, sent);
    let mine = lab.gateway.token.as_str();
    let (replay, wish) = (json!({ "partner": "lab" }), json!({ "name": "new", "role": "consumer" }));
    let dry = json!({ "partner": "lab", "dry_run": true });
    let arm = json!({ "endpoint": "lab/default", "seconds": 60 });
    let reveal = json!({ "endpoint": "lab/default" });
    let school = json!({ "endpoint": "school/default" });
    ask("POST", "/api/v1/armings", mine, &json!({ "endpoint": "school/default", "seconds": 60 }));
    wire::exchange(lab.gateway.public, "POST", "/in/school", &[("x-hook-secret", handshakes::TAUGHT)], b"{}");
    let note = json!({ "at": "2026-11-23T12:00:00Z", "who": "x", "act": "x", "subject": "x", "detail": {} });
    for (method, path, token, sent) in [
        ("post", "/api/v1/replays", mine, &dry),
        ("post", "/api/v1/replays", mine, &replay),
        ("post", "/api/v1/replays", mine, &json!({})),
        ("post", "/api/v1/replays", auditor, &dry),
        ("post", "/api/v1/tokens", mine, &wish),
        ("post", "/api/v1/tokens", mine, &wish),
        ("post", "/api/v1/tokens", mine, &json!({ "name": "" })),
        ("post", "/api/v1/armings", mine, &arm),
        ("post", "/api/v1/armings", mine, &json!({ "endpoint": "lab", "seconds": 60 })),
        ("post", "/api/v1/armings", auditor, &arm),
        ("post", "/api/v1/reveals", mine, &school),
        ("post", "/api/v1/reveals", mine, &school),
        ("post", "/api/v1/reveals", mine, &reveal),
        ("post", "/api/v1/reveals", mine, &json!({ "endpoint": "lab/nothing" })),
        ("post", "/api/v1/reveals", mine, &json!({ "endpoint": "lab" })),
        ("post", "/api/v1/reveals", auditor, &reveal),
        ("post", "/api/v1/journal", mine, &note),
        ("post", "/api/v1/journal", auditor, &note),
    ] {
        reader.hold(&format!("{method} {path}"), &ask(&method.to_uppercase(), path, token, sent));
    }
    reader.hold("get /api/v1/armings", &lab.gateway.get("/api/v1/armings"));
    for _ in 0..2 {
        let answer = ask("DELETE", "/api/v1/tokens/new", mine, &Value::Null);
        reader.hold("delete /api/v1/tokens/{name}", &answer);
    }
}

/// A delivery with a header whose value is no UTF-8.
fn accept_strange_header(lab: &Lab) -> String {
    let body = measured("4", 4).to_string();
    let mut request =
        format!("POST /in/lab HTTP/1.1\r\nhost: lab\r\ncontent-length: {}\r\nx-strange: ", body.len())
            .into_bytes();
    request.extend(b"\xff\xfe\r\n\r\n");
    request.extend(body.as_bytes());
    wire::try_exchange(lab.gateway.public, &request).expect("answered").delivery()
}
