//! What must be true of a ledger whatever happened to those who wrote it: asked of an export of its deliveries and of the
//! feed, beside what the load was told.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Mutex, PoisonError},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::{process::Process, wire::Answer};

/// What a load was told: delivery id → body.
#[derive(Default)]
pub struct Acked(Mutex<HashMap<String, Vec<u8>>>);

impl Acked {
    /// Notes an answer that says that a body is kept.
    pub fn note(&self, answer: &Answer, body: Vec<u8>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(answer.delivery(), body);
    }

    /// Everything that was said to be kept.
    pub fn take(self) -> HashMap<String, Vec<u8>> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lines of an export.
pub fn lines(export: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(export).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn id(line: &Value) -> &str {
    line["delivery"].as_str().expect("an id")
}

/// No acked delivery is lost, byte for byte.
pub fn every_acked_delivery_is_there(lines: &[Value], acked: &HashMap<String, Vec<u8>>) {
    let kept: HashMap<&str, &Value> = lines.iter().map(|line| (id(line), line)).collect();
    for (id, body) in acked {
        let line = kept.get(id.as_str()).unwrap_or_else(|| panic!("acked and lost: {id}"));
        let stored = STANDARD.decode(line["body_base64"].as_str().expect("a body")).expect("base64");
        assert!(stored == *body, "not byte for byte: {id}");
    }
}

/// Each delivery holds one event with one outcome; of each external id of an endpoint exactly one is translated, the others
/// are duplicates. Returns how many external ids there are.
pub fn every_event_has_one_outcome(lines: &[Value]) -> usize {
    let (mut all, mut translated) = (HashSet::new(), HashSet::new());
    for line in lines {
        let events = line["external_events"].as_array().expect("events");
        assert_eq!(events.len(), 1, "{line}");
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{value}: {line}")).to_owned();
        let name = (text(&line["partner"]), text(&line["endpoint"]), text(&events[0]["external_id"]));
        all.insert(name.clone());
        match events[0]["outcome"].as_str().expect("an outcome") {
            "translated" => assert!(translated.insert(name), "translated twice: {line}"),
            "duplicate" => {}
            other => panic!("{other}: {line}"),
        }
    }
    assert_eq!(translated.len(), all.len(), "an id without a translated event");
    translated.len()
}

/// The domain events of the feed, in order and without a gap.
pub fn feed(gateway: &Process) -> Vec<Value> {
    let mut events: Vec<Value> = Vec::new();
    loop {
        let page = gateway.get(&format!("/api/v1/events?limit=10000&after={}", events.len()));
        let page = lines(&page.body);
        if page.is_empty() {
            return events;
        }
        for event in page {
            assert_eq!(sequence(&event), events.len() as u64 + 1, "the feed has a gap");
            events.push(event);
        }
    }
}

/// The number of a domain event.
pub fn sequence(event: &Value) -> u64 {
    event["sequence"].as_str().expect("a number").parse().expect("a number")
}

/// The same fact never stands twice, and events of one key have the order of their deliveries.
pub fn domain_events_are_unique_and_in_order(events: &[Value], lines: &[Value]) {
    let number = |line: &Value| line["number"].as_u64().expect("a number");
    let numbers: HashMap<&str, u64> = lines.iter().map(|line| (id(line), number(line))).collect();
    let (mut seen, mut last_of_key) = (HashSet::new(), BTreeMap::<&str, u64>::new());
    for event in events {
        assert!(seen.insert(event["id"].as_str().expect("an id")), "the same fact twice: {event}");
        let last = last_of_key.entry(event["partitionkey"].as_str().expect("a key")).or_default();
        let number = numbers[event["correlationid"].as_str().expect("a delivery")];
        assert!(number > *last, "out of order: {event}");
        *last = number;
    }
}
