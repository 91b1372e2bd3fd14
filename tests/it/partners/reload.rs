//! Reloads: what is broken goes on as it last was good, across restarts too, and never costs another partner anything.

use std::{collections::BTreeMap, sync::Arc};

use douane::{
    model::EndpointName,
    partners::{
        Desk, DeskSources, DeskState, MappingsFolder, PartnerSummary, Registry, ReloadReport, SecretsFrom,
        SignatureCheck,
    },
};

use super::sample::{CONTRACT, Files, MODULE, PARTNER};

/// A registry, and the ledger's memory of desks beside it.
#[derive(Default)]
struct World {
    registry: Registry,
    ledger: BTreeMap<String, DeskSources>,
}

impl World {
    fn reload(&mut self, files: &Files) -> ReloadReport {
        self.take(&files.folder(), SecretsFrom::TestTables)
    }

    fn take(&mut self, folder: &MappingsFolder, secrets: SecretsFrom) -> ReloadReport {
        let report = self.registry.reload(folder, &self.ledger, secrets);
        self.ledger.extend(report.good.iter().map(|good| (good.key.clone(), good.sources.clone())));
        report
    }

    /// The process ends and begins again; the ledger stays.
    fn restart(self) -> Self {
        Self { registry: Registry::default(), ledger: self.ledger }
    }

    fn desk(&self) -> DeskState {
        self.registry.snapshot().desks["acme"].clone()
    }

    fn works(&self, endpoint: &str) -> Option<Arc<Desk>> {
        self.registry.snapshot().desk_of(&EndpointName::new("acme", endpoint)).cloned()
    }

    /// Whether an endpoint is open, and has keys to verify with.
    fn door(&self, endpoint: &str) -> Option<bool> {
        let snapshot = self.registry.snapshot();
        snapshot.endpoints.get(&EndpointName::new("acme", endpoint)).map(|endpoint| endpoint.keys.is_ok())
    }

    fn summary(&self) -> PartnerSummary {
        self.registry.snapshot().summaries().remove(0)
    }
}

fn broken_mapping() -> Files {
    Files::sound().add(MODULE, "\noops(\n")
}

fn broken_toml() -> Files {
    Files::sound().replace(PARTNER, "owner = \"warehouse\"", "owner = =")
}

#[test]
fn a_sound_folder_opens_its_doors_and_is_kept_once() {
    let mut world = World::default();
    let report = world.reload(&Files::sound());
    assert!(report.problems.is_empty(), "{report:#?}");
    let kept: Vec<_> = report.good.iter().map(|good| good.key.as_str()).collect();
    assert_eq!(kept, ["acme"]);
    assert_eq!(
        (world.door("default"), world.door("returns"), world.door("other")),
        (Some(true), Some(true), None)
    );
    let desk = world.works("default").expect("a desk");
    assert_eq!(desk.revision, desk.sources.revision());
    assert!(desk.endpoints["default"].identify.id_is_covered, "the id is in a header that is signed");
    assert_eq!(desk.mapping_for("default", "parcel.sent").expect("mapped").module, "parcel_sent.vrl");
    assert_eq!(desk.ignore_for("returns", "ping").expect("ignored").why, "says nothing");
    assert!(desk.mapping_for("default", "parcel.lost").is_none());
    assert!(world.reload(&Files::sound()).good.is_empty(), "nothing is new");
    assert!(world.restart().reload(&Files::sound()).good.is_empty(), "the ledger has it");
}

#[test]
fn a_desk_that_did_not_change_is_not_compiled_again() {
    let mut world = World::default();
    world.reload(&Files::sound());
    let before = world.works("default").expect("a desk");
    world.reload(&Files::sound().add("partners/other/partner.toml", "name = 'broken'"));
    assert!(Arc::ptr_eq(&before, &world.works("default").expect("a desk")));
    world.reload(&Files::sound().add("contracts/logistics/Unused.v1.0.json", "no JSON"));
    assert!(
        Arc::ptr_eq(&before, &world.works("default").expect("a desk")),
        "an unused contract is no part of it"
    );
}

#[test]
fn a_door_stays_as_it_was_where_the_desk_would_read_what_nobody_signed() {
    let signed_items = |world: &World| {
        let snapshot = world.registry.snapshot();
        match &snapshot.endpoints[&EndpointName::new("acme", "default")].check {
            SignatureCheck::Scheme(scheme) => scheme.signed_items().map(str::to_owned),
            other => panic!("{other:?}"),
        }
    };
    let adyen = || {
        Files::sound()
            .replace(PARTNER, "preset = \"standard-webhooks\"\ntolerance = \"5m\"", "preset = \"adyen\"")
            .replace(PARTNER, "body.type", "item.type")
    };
    for (key, code) in
        [("split = \"body.items[]\"", "split_not_signed"), ("form_json = \"payload\"", "form_not_signed")]
    {
        let mut world = World::default();
        world.reload(&Files::sound());
        let report = world.reload(&adyen().replace(PARTNER, "window = \"35d\"", key));
        assert!(report.problems["acme"].iter().any(|problem| problem.code == code), "{report:#?}");
        assert_eq!(signed_items(&world), None, "the door that was open");
        world.reload(&adyen());
        assert!(signed_items(&world).is_some(), "the door that was meant");
    }
}

#[test]
fn the_revision_is_of_the_content_alone() {
    let sources =
        |files: &Files| DeskSources::of(&files.folder().partners["acme"], &files.folder().contracts);
    let sound = sources(&Files::sound());
    assert!(sound.files.contains_key("presets/standard-webhooks.toml"));
    assert_eq!(sound.revision().0.len(), 64);
    assert_eq!(sources(&Files::sound().remove("partners/acme/setup.md")).revision(), sound.revision());
    for changed in [
        Files::sound().add(MODULE, "\n"),
        Files::sound().add(PARTNER, "\n"),
        Files::sound().add(CONTRACT, "\n"),
        Files::sound().add("contracts/logistics/ParcelSent.v1.1.json", "{}"),
    ] {
        assert_ne!(sources(&changed).revision(), sound.revision());
    }
    let again = serde_json::to_vec(&sound).expect("json");
    let again: DeskSources = serde_json::from_slice(&again).expect("json");
    assert_eq!(Desk::compile(again).expect("compiles").revision, sound.revision());
}

#[test]
fn a_broken_desk_keeps_its_last_good_revision_across_restarts() {
    let mut world = World::default();
    world.reload(&Files::sound());
    let good = world.works("default").expect("a desk").revision.clone();
    for _ in 0..2 {
        let report = world.reload(&broken_mapping());
        assert!(report.good.is_empty());
        assert_eq!(report.problems["acme"][0].file, MODULE);
        assert!(matches!(world.desk(), DeskState::LastGood { .. }));
        assert_eq!(world.works("default").expect("a desk").revision, good);
        assert_eq!(world.door("default"), Some(true));
        world = world.restart();
    }
    world.reload(&Files::sound());
    assert!(matches!(world.desk(), DeskState::Ready(_)));
}

#[test]
fn a_desk_that_never_was_good_lets_deliveries_wait() {
    let mut world = World::default();
    world.reload(&broken_mapping());
    assert!(matches!(world.desk(), DeskState::Broken { .. }));
    assert!(world.works("default").is_none());
    assert_eq!(world.door("default"), Some(true), "the door is sound, so deliveries are kept");
    assert_eq!(world.summary().state, "broken");
}

#[test]
fn going_back_to_an_earlier_revision_makes_it_the_latest() {
    let mut world = World::default();
    world.reload(&Files::sound());
    let first = world.ledger.clone();
    world.reload(&Files::sound().add(MODULE, "\n"));
    assert_ne!(world.ledger, first);
    world.reload(&Files::sound());
    assert_eq!(world.ledger, first);
}

#[test]
fn a_broken_file_keeps_its_doors_as_they_were() {
    let mut world = World::default();
    world.reload(&Files::sound());
    for _ in 0..2 {
        world.reload(&broken_toml());
        assert_eq!((world.door("default"), world.door("returns")), (Some(true), Some(true)));
        world = world.restart();
    }
    world.reload(&Files::sound().remove(PARTNER));
    assert_eq!(world.door("returns"), Some(true), "a file that vanished closes nothing");
}

#[test]
fn a_door_that_never_was_good_answers_503_and_is_no_unsigned_one() {
    let unknown_preset = Files::sound().replace(PARTNER, "standard-webhooks", "standart");
    for files in [broken_toml(), unknown_preset] {
        let mut world = World::default();
        world.reload(&files);
        assert_eq!((world.door("default"), world.door("returns")), (Some(false), Some(false)));
        let snapshot = world.registry.snapshot();
        assert!(snapshot.endpoints.values().all(|found| matches!(found.check, SignatureCheck::Unknown)));
    }
    let mut world = World::default();
    world.reload(&Files::sound().remove(PARTNER));
    assert_eq!(world.door("default"), Some(false), "a folder without a file still has a name");
}

#[test]
fn one_endpoints_mistake_is_not_the_others() {
    let mut world = World::default();
    world.reload(&Files::sound().replace(PARTNER, "env:DOUANE_TEST_ACME_RETURNS", "oops"));
    assert_eq!((world.door("default"), world.door("returns")), (Some(true), Some(false)));
}

#[test]
fn a_secret_that_is_not_there_is_our_fault() {
    let mut world = World::default();
    world.take(&Files::sound().folder(), SecretsFrom::Sources);
    assert_eq!((world.door("default"), world.door("returns")), (Some(false), Some(false)));
    let endpoint = world.summary().endpoints.remove(0);
    let why = endpoint.not_configured.expect("not configured");
    assert!(why.contains("env:DOUANE_TEST_ACME_SECRET"), "{why}");
    assert!(matches!(world.desk(), DeskState::Ready(_)), "a missing secret is no mistake of the folder");
}

#[test]
fn a_changed_secret_file_counts_without_a_reload() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("secret");
    let from = format!("file:{}", path.display());
    let files = Files::sound().replace(PARTNER, "env:DOUANE_TEST_ACME_SECRET", &from).replace(
        PARTNER,
        "env:DOUANE_TEST_ACME_RETURNS",
        &from,
    );
    let mut world = World::default();
    world.take(&files.folder(), SecretsFrom::Sources);
    assert_eq!(world.door("default"), Some(false));
    std::fs::write(&path, "whsec_Zm9yIHRoaXMgdGVzdCBhbG9uZSwgbm90IGluIFt0ZXN0XQ==\n").expect("written");
    world.registry.refresh_keys(SecretsFrom::Sources);
    assert_eq!((world.door("default"), world.door("returns")), (Some(true), Some(true)));
}

#[test]
fn an_endpoint_is_what_its_file_and_its_preset_say() {
    let files = Files::sound().add(
        PARTNER,
        "[[endpoint]]\nname = \"chat\"\nsecrets = [{ id = \"chat\", from = \"env:X\" }]\nmax_body_bytes = 1000\n\
         requests_per_second = 5\nsignature_failure_status = 403\nreply = { status = 204 }\n\
         signature = { preset = \"slack\" }\nidentify = { window = \"2d\", event_type = \"body.kind\" }\n",
    );
    let files = files.replace(
        PARTNER,
        "[test]\nsecrets = { ",
        "[test]\nsecrets = { chat = \"0f1e2d3c4b5a69788796a5b4c3d2e1f0\", ",
    );
    let mut world = World::default();
    let report = world.reload(&files);
    assert!(report.problems.is_empty(), "{report:#?}");
    let snapshot = world.registry.snapshot();
    let chat = &snapshot.endpoints[&EndpointName::new("acme", "chat")];
    assert!(chat.keys.is_ok(), "{:?}", chat.keys);
    assert_eq!((chat.max_body_bytes, chat.requests_per_second), (Some(1000), Some(5)));
    assert_eq!(chat.signature_failure_status, 403);
    assert_eq!(chat.accepted.as_ref().expect("a reply").status, 204);
    let handshake = &chat.handshakes[0];
    assert!(handshake.signed);
    assert_eq!((handshake.method.as_str(), handshake.status), ("POST", 200));
    assert_eq!(handshake.condition.when[0].1, "url_verification");
    assert!(handshake.to_string().ends_with("answered 200 with the text of body.challenge"), "{handshake}");
    let identify = &world.works("chat").expect("a desk").endpoints["chat"].identify;
    assert_eq!(identify.window.as_secs(), 2 * 86_400);
    assert_eq!(identify.body.form_json.as_deref(), Some("payload"), "the preset fills the gaps");
    let default = &world.works("default").expect("a desk").endpoints["default"].identify;
    assert_eq!((default.window.as_secs(), &default.body.form_json), (35 * 86_400, &None));
}

#[test]
fn a_removed_partner_closes_its_doors_and_works_what_is_waiting() {
    let mut world = World::default();
    world.reload(&Files::sound());
    let nothing = Files(BTreeMap::new());
    for told in [&["acme"][..], &[]] {
        let report = world.reload(&nothing);
        assert!(report.problems.is_empty(), "it may be meant to go");
        assert_eq!(report.removed, told, "it is told when its door closes, and not after a restart");
        assert!(world.reload(&nothing).removed.is_empty(), "it is told once");
        assert_eq!(world.door("default"), None);
        assert!(world.works("default").is_some());
        assert_eq!(world.summary().state, "removed");
        world = world.restart();
    }
}

#[test]
fn a_removed_endpoint_keeps_its_last_desk_until_it_comes_back() {
    let returns = "[[endpoint]]\nname = \"returns\"\nsecrets = [{ id = \"returns-1\", from = \"env:DOUANE_TEST_ACME_RETURNS\" }]\n";
    let without = Files::sound().replace(PARTNER, returns, "");
    let mut world = World::default();
    world.reload(&Files::sound());
    let last = world.works("returns").expect("a desk").revision.clone();
    for _ in 0..2 {
        world.reload(&without);
        assert_eq!(world.door("returns"), None);
        assert_eq!(world.works("returns").expect("a desk").revision, last);
        assert_ne!(world.works("default").expect("a desk").revision, last);
        world = world.restart();
    }
    world.reload(&Files::sound());
    assert!(world.registry.snapshot().retired.is_empty());
}

#[test]
fn an_endpoint_removed_while_nothing_ran_keeps_its_last_desk_too() {
    let returns = "[[endpoint]]\nname = \"returns\"\nsecrets = [{ id = \"returns-1\", from = \"env:DOUANE_TEST_ACME_RETURNS\" }]\n";
    let mut world = World::default();
    world.reload(&Files::sound());
    let mut world = world.restart();
    world.reload(&Files::sound().replace(PARTNER, returns, ""));
    assert!(world.works("returns").is_some());
    assert!(world.ledger.contains_key("acme/returns"));
}

#[test]
fn a_summary_names_secrets_and_shows_none() {
    let mut world = World::default();
    world.reload(&Files::sound());
    let summary = world.summary();
    assert_eq!(
        (summary.name.as_str(), summary.owner.as_str(), summary.state),
        ("Acme", "warehouse", "ready")
    );
    assert_eq!(summary.endpoints[0].secrets[0].id, "2026-11");
    assert_eq!(summary.endpoints[0].address, "/in/acme/default");
    assert!(summary.endpoints[0].covers.iter().any(|part| part == "body"));
    assert_eq!(summary.mappings[0].emits, ["logistics.ParcelSent.v1"]);
    let shown = format!("{summary:?}{}", serde_json::to_string(&summary).expect("json"));
    assert!(!shown.contains("yWkEqJ0v3oTn5"), "{shown}");
}
