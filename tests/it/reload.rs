//! Desks change while the gateway runs. A broken one never closes the door.

use douane::{cli::cases::Sign, config::Config, console::stored, ledger::DeliveryFilter};

use crate::{
    folder::{Folder, MAPPING},
    gateway::{Gateway, post},
};

fn measured(id: &str) -> douane::model::RawRequest {
    post("/in/lab", format!(r#"{{"id":"{id}","type":"measured","thing":"t","size":3}}"#))
}

const BROKEN: &str = "{ \"type\": \"lab.ThingMeasured.v1\", \"data\": { \"size\": nonsense(.size) } }\n";
const DOUBLED: &str =
    "{ \"type\": \"lab.ThingMeasured.v1\", \"subject\": \"s\", \"data\": { \"size\": int!(.size) * 2 } }\n";

async fn sizes(gateway: &mut Gateway) -> Vec<serde_json::Value> {
    let events = gateway.events().await;
    events.iter().map(|event| crate::gateway::cloud_event(event)["data"]["size"].clone()).collect()
}

#[tokio::test]
async fn a_changed_mapping_counts_from_the_next_delivery_on() {
    let folder = Folder::new();
    let mut gateway = Gateway::with(folder.path()).await;
    gateway.deliver(measured("1")).await;
    folder.mapping(DOUBLED);
    assert_eq!(gateway.house.reload().await.expect("read"), 0);
    gateway.deliver(measured("2")).await;
    assert_eq!(sizes(&mut gateway).await, [3, 6]);
    gateway.end().await;
}

#[tokio::test]
async fn a_broken_desk_goes_on_as_it_last_was_also_after_a_restart() {
    let (folder, data) = (Folder::new(), tempfile::tempdir().expect("a folder"));
    let mut config = Config::default();
    config.mappings.path = folder.path().to_owned();
    config.ledger.data_dir = data.path().join("data");
    config.ledger.segment_bytes = 1024 * 1024;
    config.ledger.min_free_bytes = 0;
    let mut gateway = Gateway::on(config.clone()).await;
    gateway.deliver(measured("1")).await;
    folder.mapping(BROKEN);
    assert_eq!(gateway.house.reload().await.expect("read"), 1);
    assert_eq!(gateway.outcome(measured("2")).await, "translated");
    gateway.house.abandon().await;

    let mut gateway = Gateway::on(config).await;
    assert_eq!(gateway.outcome(measured("3")).await, "translated");
    let partner = gateway.house.registry().snapshot().summaries().remove(0);
    assert_eq!(partner.state, "last_good");
    assert!(partner.problems[0].to_string().contains("measured.vrl:1:"), "{}", partner.problems[0]);
    gateway.end().await;
}

#[tokio::test]
async fn a_desk_that_never_was_good_lets_its_deliveries_wait() {
    let folder = Folder::new();
    folder.mapping(BROKEN);
    let mut gateway = Gateway::with_broken(folder.path()).await;
    let answered = gateway.deliver(measured("1")).await;
    assert_eq!(answered.status, 200, "the door stays open");
    assert!(gateway.house.outcome_of(answered.delivery.expect("kept")).await.is_err(), "it waits");
    let filter = DeliveryFilter { limit: 10, ..DeliveryFilter::default() };
    let page = stored::page(gateway.house.ledger(), &filter).await.expect("read");
    assert_eq!(page.items.iter().map(|row| row.waiting).collect::<Vec<_>>(), [true]);
    folder.mapping(MAPPING);
    gateway.house.reload().await.expect("read");
    gateway.house.settle().await.expect("settled");
    assert_eq!(gateway.event(&answered).await.outcome.as_str(), "translated");
    gateway.end().await;
}

#[tokio::test]
async fn a_removed_partner_is_worked_to_its_end() {
    let folder = Folder::new();
    folder.another_partner("annex");
    let mut gateway = Gateway::with(folder.path()).await;
    let waiting = gateway.accept(measured("1"), Sign::default()).await;
    std::fs::remove_dir_all(folder.path().join("partners/lab")).expect("removed");
    gateway.house.reload().await.expect("read");
    gateway.house.settle().await.expect("settled");
    assert_eq!(gateway.event(&waiting).await.outcome.as_str(), "translated");
    gateway.end().await;
}

#[tokio::test]
async fn a_folder_that_lost_every_partner_changes_nothing() {
    let folder = Folder::new();
    let mut gateway = Gateway::with(folder.path()).await;
    std::fs::remove_dir_all(folder.path().join("partners/lab")).expect("removed");
    let refused = gateway.house.reload().await.expect_err("most likely a mount that is not there");
    assert!(refused.to_string().contains("holds no partner at all"), "{refused}");
    assert_eq!(gateway.outcome(measured("1")).await, "translated", "the door stays open");
    gateway.end().await;
}

#[tokio::test]
async fn strict_refuses_to_start_with_a_broken_partner() {
    let (folder, data) = (Folder::new(), tempfile::tempdir().expect("a folder"));
    folder.mapping(BROKEN);
    let mut config = Config::default();
    config.mappings.path = folder.path().to_owned();
    config.mappings.strict = true;
    config.ledger.data_dir = data.path().join("data");
    let refused = douane::app::Rehearsal::on(config, crate::gateway::NOON).await;
    assert!(refused.err().expect("refused").to_string().contains("1 partner is broken"));
}
