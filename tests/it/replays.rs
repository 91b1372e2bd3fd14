//! Replays: their place is in the log, the verdict is skipped, what was published stays what it was.

use douane::{
    console::replays::{ReplayRequest, plan},
    model::{DeliveryId, OutcomeKind},
};

use crate::{
    folder::{Folder, MAPPING},
    gateway::{Gateway, cloud_event, post},
};

fn measured(id: &str, size: u32) -> douane::model::RawRequest {
    post("/in/lab", format!(r#"{{"id":"{id}","type":"measured","thing":"t","size":{size}}}"#))
}

async fn replay(gateway: &mut Gateway, request: ReplayRequest) -> u64 {
    let planned = plan(&*gateway.house.ledger().records, &request).await.expect("planned");
    let (plan, entries) = planned.into_entries(&request, "test", DeliveryId::drawn_at(crate::gateway::NOON));
    gateway.house.append(entries).await.expect("kept");
    gateway.house.settle().await.expect("settled");
    plan.events
}

#[tokio::test]
async fn a_dead_letter_is_translated_afresh_by_the_mended_mapping() {
    let folder = Folder::new();
    folder.mapping("abort \"not yet\"\n");
    let mut gateway = Gateway::with(folder.path()).await;
    let first = gateway.deliver(measured("1", 3)).await;
    gateway.deliver(measured("2", 4)).await;
    assert!(gateway.published().await.is_empty());
    folder.mapping(MAPPING);
    gateway.house.reload().await.expect("read");
    let dead = ReplayRequest { outcome: Some(OutcomeKind::DeadLetter), ..ReplayRequest::default() };
    assert_eq!(replay(&mut gateway, dead.clone()).await, 2);
    assert_eq!(gateway.published().await, ["lab.ThingMeasured.v1", "lab.ThingMeasured.v1"]);
    assert_eq!(gateway.event(&first).await.outcome.as_str(), "translated");
    assert_eq!(replay(&mut gateway, dead).await, 0, "nothing is left to retry");
    gateway.end().await;
}

#[tokio::test]
async fn a_replay_of_one_delivery_is_of_no_other() {
    let folder = Folder::new();
    let mut gateway = Gateway::with(folder.path()).await;
    gateway.deliver(measured("1", 3)).await;
    let second = gateway.deliver(measured("2", 4)).await;
    gateway.deliver(measured("3", 5)).await;
    gateway.events().await;
    let id = second.delivery.expect("kept");
    // An id that stands twice, and another way to point at the same event.
    let one = ReplayRequest {
        deliveries: vec![id, id],
        external_ids: vec!["2".to_owned()],
        ..ReplayRequest::default()
    };
    assert_eq!(replay(&mut gateway, one).await, 1);
    let again: Vec<_> = gateway.events().await.iter().map(cloud_event).collect();
    assert_eq!(again.len(), 1);
    assert_eq!(again[0]["data"]["size"], 4);
    gateway.end().await;
}

#[tokio::test]
async fn two_events_of_one_id_are_not_published_as_two_facts_under_it() {
    let folder = Folder::new();
    folder.mapping("abort \"not yet\"\n");
    let mut gateway = Gateway::with(folder.path()).await;
    gateway.deliver(measured("1", 3)).await;
    let conflict = gateway.deliver(measured("1", 9)).await;
    folder.mapping(MAPPING);
    gateway.house.reload().await.expect("read");
    let both = ReplayRequest { external_ids: vec!["1".to_owned()], ..ReplayRequest::default() };
    assert_eq!(replay(&mut gateway, both).await, 2);
    let events: Vec<_> = gateway.events().await.iter().map(cloud_event).collect();
    assert_eq!(events.len(), 1, "the owner's");
    assert_eq!(events[0]["data"]["size"], 3);
    assert!(gateway.event(&conflict).await.reason.is_some_and(|reason| reason.starts_with("needs_reissue")));
    gateway.end().await;
}

#[tokio::test]
async fn a_conflict_is_left_alone_unless_it_is_pointed_at() {
    let folder = Folder::new();
    let mut gateway = Gateway::with(folder.path()).await;
    gateway.deliver(measured("1", 3)).await;
    let conflict = gateway.deliver(measured("1", 9)).await;
    gateway.events().await;
    for reissue in [false, true] {
        let everything =
            ReplayRequest { partner: Some("lab".to_owned()), reissue, ..ReplayRequest::default() };
        let planned = plan(&*gateway.house.ledger().records, &everything).await.expect("planned").plan;
        assert_eq!((planned.events, planned.conflicts_left_alone), (1, 1));
        assert_eq!((planned.repeated, planned.may_be_reissued), if reissue { (0, 1) } else { (1, 0) });
        assert_eq!(replay(&mut gateway, everything).await, 1);
        let again: Vec<_> = gateway.events().await.iter().map(cloud_event).collect();
        assert!(again.iter().all(|event| event["data"]["size"] == 3), "nobody has looked at the other");
        assert_eq!(gateway.event(&conflict).await.outcome.as_str(), "conflict");
    }
    let id = conflict.delivery.expect("kept");
    for pointed in [
        ReplayRequest { outcome: Some(OutcomeKind::Conflict), ..ReplayRequest::default() },
        ReplayRequest { deliveries: vec![id], ..ReplayRequest::default() },
        ReplayRequest { external_ids: vec!["1".to_owned()], ..ReplayRequest::default() },
    ] {
        let planned = plan(&*gateway.house.ledger().records, &pointed).await.expect("planned").plan;
        assert_eq!((planned.translated_afresh, planned.conflicts_left_alone), (1, 0), "{pointed:?}");
    }
    gateway.end().await;
}

#[tokio::test]
async fn what_was_translated_is_published_again_byte_for_byte() {
    let folder = Folder::new();
    let mut gateway = Gateway::with(folder.path()).await;
    gateway.deliver(measured("1", 3)).await;
    let original = gateway.events().await.remove(0);
    // The mapping has changed since; a replay of what was translated does not ask it.
    folder.mapping("abort \"gone\"\n");
    gateway.house.reload().await.expect("read");
    let everything = ReplayRequest { partner: Some("lab".to_owned()), ..ReplayRequest::default() };
    replay(&mut gateway, everything).await;
    let again = gateway.events().await.remove(0);
    assert_eq!((&again.id, &again.body), (&original.id, &original.body));
    assert!(again.number > original.number);
    gateway.end().await;
}

#[tokio::test]
async fn a_changed_result_of_something_published_needs_a_reissue() {
    let folder = Folder::new();
    let mut gateway = Gateway::with(folder.path()).await;
    gateway.deliver(measured("1", 3)).await;
    let original = gateway.events().await.remove(0);
    let conflict = gateway.deliver(measured("1", 9)).await;
    assert_eq!(gateway.event(&conflict).await.outcome.as_str(), "conflict");
    let conflicts = ReplayRequest { outcome: Some(OutcomeKind::Conflict), ..ReplayRequest::default() };
    replay(&mut gateway, conflicts).await;
    assert!(gateway.events().await.is_empty());
    assert!(gateway.event(&conflict).await.reason.is_some_and(|reason| reason.starts_with("needs_reissue")));
    let dead =
        ReplayRequest { outcome: Some(OutcomeKind::DeadLetter), reissue: true, ..ReplayRequest::default() };
    replay(&mut gateway, dead).await;
    let reissued = gateway.events().await.remove(0);
    assert_ne!(reissued.id, original.id);
    assert_eq!(cloud_event(&reissued)["replayof"], original.id.as_str());
    assert_eq!(cloud_event(&reissued)["data"]["size"], 9);
    gateway.end().await;
}
