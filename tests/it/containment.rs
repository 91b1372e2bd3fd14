//! A mapping that fails in whatever way is one event's dead letter; nothing else notices.

use douane::model::RawRequest;

use crate::{
    folder::Folder,
    gateway::{Gateway, post},
};

fn measured(id: u32) -> RawRequest {
    post(
        "/in/lab",
        format!(
            r#"{{"id":"{id}","type":"measured","thing":"t","size":{id},"text":"{}"}}"#,
            "x".repeat(1_000)
        ),
    )
}

/// Outcome of an event whose size is 1 under this mapping; the one after it must be as always.
async fn outcome_of(body: &str) -> String {
    let folder = Folder::new();
    folder.mapping(&format!(
        "if int!(.size) == 1 {{ {body} }} else {{ {{ \"type\": \"lab.ThingMeasured.v1\", \"data\": {{ \"size\": int!(.size) }} }} }}\n"
    ));
    let mut gateway = Gateway::with(folder.path()).await;
    let outcome = gateway.outcome(measured(1)).await;
    assert_eq!(gateway.outcome(measured(2)).await, "translated", "the next one is as always");
    gateway.end().await;
    outcome
}

#[tokio::test]
async fn a_mapping_that_fails_is_one_dead_letter_without_the_value() {
    let outcome = outcome_of("int!(.text)").await;
    assert!(outcome.starts_with("dead_letter: mapping_failed: "), "{outcome}");
    assert!(outcome.contains("measured.vrl:1:") && !outcome.contains("xxxx"), "{outcome}");
}

#[tokio::test]
async fn a_mapping_may_end_itself() {
    let outcome = outcome_of("abort \"not for us\"").await;
    assert!(
        outcome.starts_with("dead_letter: mapping_aborted: ") && outcome.contains("not for us"),
        "{outcome}"
    );
}

#[tokio::test]
async fn steps_output_and_number_of_events_are_bounded() {
    let spin =
        "n = split(string!(.text), \"\")\n for_each(n) -> |_a, _b| { for_each(n) -> |_c, _d| { true } }\n {}";
    assert!(outcome_of(spin).await.starts_with("dead_letter: mapping_exhausted"));
    let one = r#"{ "type": "lab.ThingMeasured.v1", "data": { "size": 1 } }"#;
    let many = format!("map_values(split(string!(.text), \"\")) -> |_v| {{ {one} }}");
    assert!(outcome_of(&many).await.starts_with("dead_letter: over_limit"));
    let wide = r#"t = string!(.text)
        p = split(t, "")
        big = join(map_values(p) -> |_v| { t })
        { "type": "lab.ThingMeasured.v1", "data": { "size": 1, "note": big } }"#;
    assert!(outcome_of(wide).await.starts_with("dead_letter: over_limit"));
}

#[tokio::test]
async fn what_is_no_domain_event_or_breaks_its_contract_is_told() {
    for no_event in ["42", r#"{ "type": "lab.ThingMeasured.v1" }"#, r#"{ "type": "x.Y.v1", "data": {} }"#] {
        let outcome = outcome_of(no_event).await;
        assert!(outcome.starts_with("dead_letter: mapping_output"), "{outcome}");
    }
    let broken = r#"{ "type": "lab.ThingMeasured.v1", "data": { "size": "large", "extra": true } }"#;
    let outcome = outcome_of(broken).await;
    assert!(outcome.starts_with("dead_letter: contract_broken") && outcome.contains("/size"), "{outcome}");
    assert!(!outcome.contains("large"), "a reason never quotes the payload: {outcome}");
}

#[tokio::test]
async fn a_broken_contract_is_told_once_by_place_rule_and_key() {
    let told = async |data: &str| {
        let outcome = outcome_of(&format!(r#"{{ "type": "lab.ThingMeasured.v1", "data": {data} }}"#)).await;
        let told = "dead_letter: contract_broken: partners/lab/measured.vrl: lab.ThingMeasured.v1: ";
        let reason = outcome.strip_prefix(told);
        reason.unwrap_or_else(|| panic!("{outcome}")).to_owned()
    };
    assert_eq!(told(r#"{ "size": "hush" }"#).await, "/size breaks `type`");
    assert_eq!(told("{}").await, "the data lacks \"size\"");
    let unknown = told(r#"{ "size": 1, "colour": "hush" }"#).await;
    assert_eq!(unknown, "the data has the key \"colour\", which the contract does not know");
}

#[tokio::test]
async fn ten_thousand_items_are_worked_and_one_more_is_over_the_limit() {
    let folder = Folder::new();
    folder.change_partner(
        "external_id  = \"body.id\"\nevent_type   = \"body.type\"\nordering_key = \"body.thing\"",
        "split = \"body.items[]\"\nexternal_id  = \"item.id\"\nevent_type   = \"item.type\"\nordering_key = \"item.thing\"",
    );
    folder.write(
        "partners/lab/partner.toml",
        &std::fs::read_to_string(folder.path().join("partners/lab/partner.toml"))
            .expect("readable")
            .replace("name = \"default\"", "name = \"default\"\nmax_body_bytes = 2000000"),
    );
    let mut gateway = Gateway::with(folder.path()).await;
    let batch = |count: usize| {
        let items: Vec<String> = (0..count)
            .map(|n| format!(r#"{{"id":"i{n}","type":"measured","thing":"t","size":{n}}}"#))
            .collect();
        post("/in/lab", format!(r#"{{"items":[{}]}}"#, items.join(",")))
    };
    let kept = gateway.deliver(batch(10_000)).await;
    let row = gateway.row(&kept).await;
    assert_eq!(row.external_events.len(), 10_000);
    assert!(row.external_events.iter().all(|event| event.outcome.as_str() == "translated"));
    let outcome = gateway.outcome(batch(10_001)).await;
    assert!(outcome.starts_with("dead_letter: over_limit"), "{outcome}");
    gateway.end().await;
}

#[tokio::test]
async fn ignored_and_unmapped_say_why() {
    let folder = Folder::new();
    let mut gateway = Gateway::with(folder.path()).await;
    let of_type =
        |event_type: &str| post("/in/lab", format!(r#"{{"id":"{event_type}","type":"{event_type}"}}"#));
    assert_eq!(gateway.outcome(of_type("noise.loud")).await, "ignored: nobody listens to it");
    assert!(gateway.outcome(of_type("unheard")).await.starts_with("unmapped: "));
    assert!(gateway.published().await.is_empty());
    gateway.end().await;
}
