//! Room `pipeline`: the tests of step 5.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use proptest::prelude::*;
use vrl::path::parse_value_path;

use super::{
    super::fixtures::{endpoint_desk, rule},
    *,
};
use crate::{
    contracts::Catalog,
    model::{
        Assurance, DeliveryId, DeliveryMeta, EndpointName, EntryNumber, FieldPath, Headers, Revision,
        Timestamp,
    },
    partners::{DeskSources, EndpointDesk, split_of},
};

fn path(text: &str) -> FieldPath {
    FieldPath::parse(text).expect("a path")
}

fn rules() -> Identify {
    endpoint_desk().identify
}

fn batch_rules(split: &str) -> Identify {
    Identify {
        split: split_of(&[split]),
        external_id: Some(rule("item.id")),
        event_type: rule("item.type"),
        ordering_key: None,
        ..rules()
    }
}

fn desk(identify: Identify) -> Desk {
    Desk {
        partner: "acme".into(),
        revision: Revision("0".repeat(64).into()),
        sources: DeskSources::default(),
        endpoints: BTreeMap::from([("default".into(), EndpointDesk { identify })]),
        mappings: Vec::new(),
        ignores: Vec::new(),
        catalog: Arc::new(Catalog::default()),
    }
}

fn found(rules: Identify, body: &[u8]) -> Vec<Found> {
    found_with(Headers::default(), rules, body)
}

fn found_with(headers: Headers, rules: Identify, body: &[u8]) -> Vec<Found> {
    found_by(headers, rules, body, 3)
}

fn found_of(rules: Identify, body: &[u8], max_items: usize) -> Vec<Found> {
    found_by(Headers::default(), rules, body, max_items)
}

fn found_by(headers: Headers, rules: Identify, body: &[u8], max_items: usize) -> Vec<Found> {
    let meta = DeliveryMeta {
        id: DeliveryId(uuid::Uuid::nil()),
        endpoint: EndpointName::new("acme", "default"),
        method: "POST".to_owned(),
        target: "/in/acme?shop=here".to_owned(),
        version: "HTTP/1.1".to_owned(),
        headers,
        assurance: Assurance::Full,
        secret_id: None,
    };
    let delivery = Delivery {
        number: EntryNumber(4),
        received_at: Timestamp::from_micros(9),
        meta: Box::new(meta),
        body: Bytes::copy_from_slice(body),
    };
    identify(&Opened { delivery: &delivery, desk: &desk(rules) }, max_items)
}

fn one(rules: Identify, body: &str) -> Found {
    let mut found = found(rules, body.as_bytes());
    assert_eq!(found.len(), 1);
    found.remove(0)
}

fn refusal(rules: Identify, body: &str) -> (ReasonCode, String) {
    let unidentified = one(rules, body).expect_err("must not be identified");
    (unidentified.code, unidentified.detail)
}

#[test]
fn what_was_read_as_a_form_is_told_so() {
    let mut headers = Headers::default();
    headers.push("content-type", "application/x-www-form-urlencoded");
    let batch = batch_rules("body.items[]");
    for (rules, told) in [(batch, "there is no array at body.items"), (rules(), "event_type: nothing stands")]
    {
        let found = found_with(headers.clone(), rules, b"kind=paid&items=none").remove(0);
        let detail = found.expect_err("unidentified").detail;
        assert!(detail.starts_with(told), "{detail}");
        assert!(detail.ends_with(" (the body was read as a form, by its content type)"), "{detail}");
    }
}

#[test]
fn names_the_one_event_of_a_delivery() {
    let event = one(rules(), r#"{"id":"evt_1","type":"paid","order":7}"#).expect("identified");
    assert_eq!((event.at.to_string().as_str(), event.endpoint.to_string().as_str()), ("4.0", "acme/default"));
    assert_eq!(event.external_id.as_deref(), Some("evt_1"));
    assert_eq!((event.event_type.as_str(), event.ordering_key.as_str()), ("paid", "7"));
    let order = parse_value_path("order").expect("a path");
    assert!(event.item.get(&order).is_some(), "the item is the body");
}

#[test]
fn without_a_key_the_id_is_the_key_and_without_an_id_the_place() {
    let key = |body| one(rules(), body).expect("identified").ordering_key;
    assert_eq!(key(r#"{"id":"evt_1","type":"paid"}"#), "evt_1");
    assert_eq!(key(r#"{"type":"paid"}"#), "4.0");
}

#[test]
fn a_missing_id_is_no_error_but_an_unusable_one_is() {
    assert_eq!(one(rules(), r#"{"id":null,"type":"paid"}"#).expect("identified").external_id, None);
    let cases = [
        (r#"{"id":"","type":"paid"}"#.to_owned(), "external_id: the text is empty"),
        (r#"{"id":{},"type":"paid"}"#.to_owned(), "external_id: what stands there is no text"),
        (r#"{"id":"a\u0000b","type":"paid"}"#.to_owned(), "external_id: the text has control characters"),
        (format!(r#"{{"id":"{}","type":"paid"}}"#, "x".repeat(513)), "external_id: the text is longer"),
        (r#"{"id":"1"}"#.to_owned(), "event_type: nothing stands where the rule looks"),
        (r#"{"id":"1","type":"paid","order":1.5}"#.to_owned(), "ordering_key: what stands there is no text"),
    ];
    for (body, says) in cases {
        let (code, detail) = refusal(rules(), &body);
        assert_eq!(code, ReasonCode::Unidentifiable);
        assert!(detail.starts_with(says), "{detail}");
    }
    assert!(one(rules(), &format!(r#"{{"id":"{}","type":"paid"}}"#, "x".repeat(512))).is_ok());
}

#[test]
fn an_unreadable_body_is_one_dead_letter_that_quotes_nothing() {
    let (code, detail) = refusal(rules(), r#"{"id":"secret","id":1}"#);
    assert_eq!(code, ReasonCode::Unreadable);
    assert!(detail.contains("line 1") && !detail.contains("secret"), "{detail}");
}

#[test]
fn every_kind_of_rule_gives_its_value() {
    let body = r#"{"id":"1","type":"paid","a":"x","b":2,"c":null,"e":""}"#;
    let id = |rule| {
        let rules = Identify { external_id: Some(rule), ..rules() };
        one(rules, body).expect("identified").external_id
    };
    let paths = |texts: &[&str]| texts.iter().map(|text| path(text)).collect::<Vec<_>>();
    let values = |texts: &[&str]| texts.iter().map(|text| rule(text)).collect::<Vec<_>>();
    let join = |texts: &[&str]| id(ValueRule::Join(values(texts), ":".to_owned()));
    assert_eq!(join(&["body.a", "body.b"]).as_deref(), Some("x:2"));
    assert_eq!(join(&["body.c", "body.b"]).as_deref(), Some(":2"), "an absent part is empty");
    assert_eq!(join(&["body.a", "body.c", "body.z"]).as_deref(), Some("x"), "trailing empty parts go");
    assert_eq!(join(&["body.c", "body.z"]), None);
    assert_eq!(id(ValueRule::FirstOf(values(&["body.z", "body.b", "body.a"]))).as_deref(), Some("2"));
    let first = |texts: &[&str]| id(ValueRule::FirstOf(values(texts)));
    assert_eq!(first(&["body.e", "body.c", "body.a"]).as_deref(), Some("x"), "an empty one is passed over");
    assert_eq!(first(&["body.z", "body.e"]), None, "none that is there and not empty");
    assert_eq!(id(rule("query.shop")).as_deref(), Some("here"));
    assert_eq!(id(ValueRule::Digest(paths(&["body.z"]))), None);
    let digest = id(ValueRule::Digest(paths(&["body.a", "body.z", "body.b"]))).expect("a digest");
    assert_eq!(digest, hex::encode(<sha2::Sha256 as sha2::Digest>::digest(br#"["x",null,2]"#)));
    let name_of = |texts: &[&str]| id(ValueRule::NameOf(paths(texts)));
    assert_eq!(
        name_of(&["body.z", "body.c", "body.b"]).as_deref(),
        Some("b"),
        "the key, not what stands there"
    );
    assert_eq!(name_of(&["header.x-nothing", "query.shop"]).as_deref(), Some("shop"));
    assert_eq!(name_of(&["body.z", "body.c"]), None);
}

#[test]
fn the_identity_digest_holds_what_must_not_differ() {
    let digest = |rules: Identify, body: &str| one(rules, body).expect("identified").identity_digest;
    let (first, again) = (r#"{"id":"1","type":"t","try":1}"#, r#"{"try":2,"type":"t","id":"1"}"#);
    assert_ne!(digest(rules(), first), digest(rules(), again));
    let volatile = || Identify { volatile: vec![parse_value_path("try").expect("a path")], ..rules() };
    assert_eq!(digest(volatile(), first), digest(volatile(), again));
    let named = || Identify { identity: vec![path("body.id"), path("body.type")], ..rules() };
    assert_eq!(digest(named(), first), digest(named(), again));
}

#[test]
fn a_batch_is_split_and_each_item_stands_for_itself() {
    let rules = batch_rules("body.items[].it");
    let body = r#"{"items":[{"it":{"id":"1","type":"t"}},{"x":1},{"it":{"id":"2"}}]}"#;
    let found = found(rules, body.as_bytes());
    let first = found[0].as_ref().expect("identified");
    assert_eq!((first.external_id.as_deref(), first.at.ordinal), (Some("1"), 0));
    assert_eq!(first.item, crate::model::strict_json::read(br#"{"id":"1","type":"t"}"#).expect("valid"));
    assert!(found[1].as_ref().expect_err("no item").detail.contains("nothing at it"));
    assert!(found[2].as_ref().expect_err("no type").detail.starts_with("event_type"));
}

#[test]
fn the_size_of_a_batch_is_bounded() {
    let rules = || batch_rules("body.items[]");
    let items = |count| format!(r#"{{"items":[{}]}}"#, vec![r#"{"id":"1","type":"t"}"#; count].join(","));
    assert_eq!(found(rules(), items(0).as_bytes()).len(), 0, "an empty batch has no events");
    assert!(found(rules(), items(3).as_bytes()).iter().all(Result::is_ok));
    assert_eq!(refusal(rules(), &items(4)).0, ReasonCode::OverLimit);
    assert_eq!(refusal(rules(), r#"{"items":{}}"#).0, ReasonCode::Unidentifiable);
    assert_eq!(refusal(rules(), "[]").0, ReasonCode::Unidentifiable);
}

/// What Meta sends, the innermost first: WhatsApp's messages and statuses, changes, Messenger's messages, and an entry alone.
const META: [&str; 5] = [
    "body.entry[].changes[].value.messages[]",
    "body.entry[].changes[].value.statuses[]",
    "body.entry[].changes[]",
    "body.entry[].messaging[]",
    "body.entry[]",
];

fn in_batch(text: &str) -> ValueRule {
    ValueRule::Path(FieldPath::parse_in_batch(text).expect("a path"))
}

fn nested_rules() -> Identify {
    let status = ["item.id", "item.status"].map(rule).to_vec();
    let id = vec![
        in_batch("body.entry[].changes[].value.messages[].id"),
        ValueRule::Join(status, ":".to_owned()),
        ValueRule::Digest(vec![path("item")]),
    ];
    let kind = vec![rule("body.object"), in_batch("body.entry[].changes[].field")];
    Identify {
        split: split_of(&META),
        external_id: Some(ValueRule::FirstOf(id)),
        event_type: ValueRule::Join(kind, ".".to_owned()),
        ordering_key: Some(in_batch("body.entry[].id")),
        ..rules()
    }
}

#[test]
fn lists_in_elements_of_lists_give_their_items_in_the_order_of_the_elements() {
    let body = r#"{"object":"o","entry":[
        {"id":"A","changes":[{"field":"f","value":{"n":1,"statuses":[{"id":"s","status":"read"}],"messages":[{"id":"m1"},{"id":"m2"}]}},
                             {"field":"g","value":{"messages":[]}}]},
        {"id":"B","messaging":[{"mid":"x"}]},
        {"id":"C"}]}"#;
    let found = found_of(nested_rules(), body.as_bytes(), 10);
    let events: Vec<_> = found.iter().map(|found| found.as_ref().expect("identified")).collect();
    let told: Vec<_> = events
        .iter()
        .map(|event| {
            format!("{} {} {} {}", event.at.ordinal, event.event_type, event.ordering_key, event.item)
        })
        .collect();
    assert_eq!(
        told,
        [
            r#"0 o.f A { "id": "m1" }"#,
            r#"1 o.f A { "id": "m2" }"#,
            r#"2 o.f A { "id": "s", "status": "read" }"#,
            r#"3 o.g A { "field": "g", "value": { "messages": [] } }"#,
            r#"4 o B { "mid": "x" }"#,
            r#"5 o C { "id": "C" }"#,
        ]
    );
    assert_eq!(events[0].external_id.as_deref(), Some("m1"));
    assert_eq!(events[2].external_id.as_deref(), Some("s:read"));
    let outer = |event: &ExternalEvent| event.outer.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        outer(events[1])[2],
        r#"{ "field": "f", "value": { "messages": [], "n": 1, "statuses": [] } }"#
    );
    assert_eq!(outer(events[5]), [r#"{ "entry": [], "object": "o" }"#]);
    assert!(Arc::ptr_eq(&events[0].outer, &events[2].outer), "shared by the items of one element");
}

#[test]
fn the_bound_is_on_the_events_of_a_delivery_however_they_are_nested() {
    let entry = r#"{"id":"A","changes":[{"value":{"messages":[{"id":"1"},{"id":"2"}]}}]}"#;
    let of = |entries: usize| format!(r#"{{"object":"o","entry":[{}]}}"#, vec![entry; entries].join(","));
    assert_eq!(found_of(nested_rules(), of(2).as_bytes(), 4).len(), 4);
    let over = found_of(nested_rules(), of(2).as_bytes(), 3).remove(0).expect_err("too many");
    assert_eq!(
        (over.code, over.detail.as_str()),
        (ReasonCode::OverLimit, "more than 3 items in one delivery")
    );
    assert_eq!(found_of(nested_rules(), of(0).as_bytes(), 4).len(), 0, "an empty batch has no events");
}

#[test]
fn an_element_that_has_none_of_the_lists_is_told_of() {
    let split = split_of(&["body.entry[].changes[]", "body.entry[].messaging[]"]);
    let rules = Identify { split, event_type: rule("body.object"), ..nested_rules() };
    let body = br#"{"object":"o","entry":[{"changes":[{}]},{"id":"B"},{"messaging":[]},7]}"#;
    let found = found_of(rules, body, 10);
    assert_eq!(found.len(), 3, "an empty list is an empty batch");
    for found in &found[1..] {
        let detail = &found.as_ref().expect_err("no list").detail;
        let says = "there is no array at body.entry[].changes or body.entry[].messaging";
        assert!(detail.starts_with(says), "{detail}");
    }
}

#[test]
fn a_body_without_its_list_may_be_the_item() {
    let rules = || Identify { split: split_of(&["body.events[]", "body"]), ..rules() };
    let found = |body: &str| found_of(rules(), body.as_bytes(), 10);
    assert_eq!(found(r#"{"id":"1","type":"t","events":[{},{}]}"#).len(), 2);
    let whole = found(r#"{"id":"1","type":"t"}"#).remove(0).expect("identified");
    assert_eq!((whole.item.to_string().as_str(), whole.outer.len()), (r#"{ "id": "1", "type": "t" }"#, 0));
}

/// Any JSON, its keys mostly those that a batch of Meta's has.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<i32>().prop_map(serde_json::Value::from),
        "[a-c]{0,2}".prop_map(serde_json::Value::from),
    ];
    let key =
        prop::sample::select(vec!["entry", "changes", "messaging", "value", "messages", "statuses", "id"]);
    leaf.prop_recursive(8, 64, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::btree_map(key.clone().prop_map(str::to_owned), inner, 0..5)
                .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Bodies that are batches as far as their outermost list.
fn batch_json() -> impl Strategy<Value = serde_json::Value> {
    (json(), prop::collection::vec(json(), 0..4)).prop_map(|(other, entries)| {
        if entries.is_empty() {
            other
        } else {
            serde_json::json!({"object": "o", "entry": entries, "value": other})
        }
    })
}

proptest! {
    #[test]
    fn places_are_dense_and_stable_and_items_are_what_was_named(body in batch_json(), max_items in 1_usize..20) {
        let bytes = body.to_string();
        let found = found_of(nested_rules(), bytes.as_bytes(), max_items);
        prop_assert!(found.len() <= max_items);
        prop_assert_eq!(&format!("{:?}", found_of(nested_rules(), bytes.as_bytes(), max_items)), &format!("{found:?}"));
        for (index, found) in found.iter().enumerate() {
            let Ok(event) = found else { continue };
            prop_assert_eq!(event.at.ordinal as usize, index);
            let digest = canonical::digest_without(&event.item, &[]).expect("canonical");
            prop_assert_eq!(event.identity_digest, digest);
        }
    }

    #[test]
    fn never_panics(body in proptest::collection::vec(any::<u8>(), 0..120), split: bool) {
        let rules = if split { batch_rules("body.items[]") } else { rules() };
        found(rules, &body);
    }
}
