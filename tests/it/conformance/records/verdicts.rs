//! What a verdict asks: owners of external ids, and earlier deliveries of a body.

use douane::{
    ledger::{Records, WorkedKind},
    model::{EndpointName, EntryNumber, Outcome, ReasonCode, Timestamp},
};

use super::worked::{Filled, at, commit, dead_letter, delivery, digest, github, stripe, time_of, translated};

const ALWAYS: Timestamp = Timestamp::from_micros(0);

fn ids(ids: &[&str]) -> Vec<(EndpointName, String)> {
    ids.iter().map(|id| (stripe(), (*id).to_owned())).collect()
}

pub(super) async fn know_no_owner_of_what_was_never_seen(records: &dyn Records) {
    assert_eq!(records.owners(&ids(&["a"])).await.expect("reads"), [None]);
    let one = delivery(1, github()).with("a", "push", translated(&["a1"]));
    records.commit(commit([one])).await.expect("commits");
    assert_eq!(records.owners(&ids(&["a"])).await.expect("reads"), [None], "another endpoint's id");
    assert_eq!(records.owners(&[]).await.expect("reads"), []);
}

pub(super) async fn find_the_latest_owner_with_its_generation(records: &dyn Records) {
    let first = delivery(1, stripe()).with("a", "paid", translated(&["a1"]));
    let duplicate = delivery(2, stripe()).with("a", "paid", Outcome::Duplicate { of: at(1, 0) });
    let mut anew =
        delivery(3, stripe()).with("x", "paid", Outcome::Unmapped).with("a", "paid", translated(&["a2"]));
    anew.events[1].owns = Some(1);
    let conflict = delivery(4, stripe()).with("a", "paid", Outcome::Conflict { with: at(3, 1) });
    records.commit(commit([first, duplicate])).await.expect("commits");
    let owners = records.owners(&ids(&["b", "a"])).await.expect("reads");
    assert_eq!(owners[0], None);
    let owner = owners[1].clone().expect("is owned");
    assert_eq!((owner.at, owner.generation, owner.received_at), (at(1, 0), 0, time_of(1)));
    assert_eq!(owner.identity_digest, digest("a"));

    records.commit(commit([anew, conflict])).await.expect("commits");
    let owners = records.owners(&ids(&["a", "a"])).await.expect("reads");
    let owner = owners[0].clone().expect("is owned");
    assert_eq!((owner.at, owner.generation, owner.received_at), (at(3, 1), 1, time_of(3)));
    assert_eq!(owners[0], owners[1]);
}

pub(super) async fn find_owners_that_could_not_be_translated(records: &dyn Records) {
    let failed = dead_letter(ReasonCode::ContractBroken, "amount is missing");
    let one = delivery(1, stripe()).with("a", "paid", failed).with("", "paid", Outcome::Unmapped);
    records.commit(commit([one])).await.expect("commits");
    let owners = records.owners(&ids(&["a", ""])).await.expect("reads");
    let places: Vec<_> = owners.into_iter().flatten().map(|owner| owner.at).collect();
    assert_eq!(places, [at(1, 0), at(1, 1)]);
}

pub(super) async fn find_the_latest_of_many_ids(records: &dyn Records) {
    const DELIVERIES: u64 = 6;
    const IDS: u64 = 200;
    let id = |n: u64| format!("evt_{n}");
    for number in 1..=DELIVERIES {
        // The first half of the ids was the latter half of the delivery before.
        let ids = (0..IDS).map(|n| id(n + IDS / 2 * number));
        let entry =
            ids.fold(delivery(number, stripe()), |entry, id| entry.with(&id, "paid", Outcome::Unmapped));
        records.commit(commit([entry])).await.expect("commits");
    }
    let asked: Vec<_> = (0..=DELIVERIES + 2).map(|half| (stripe(), id(half * IDS / 2 + 7))).collect();
    let owners = records.owners(&asked).await.expect("reads");
    for (half, owner) in (0_u64..).zip(owners) {
        let latest = (1..=DELIVERIES + 1).contains(&half).then_some(half.min(DELIVERIES));
        assert_eq!(owner.map(|owner| owner.at.number.0), latest, "half {half}");
    }
}

pub(super) async fn find_bodies_only_where_they_are_remembered(records: &dyn Records) {
    let mut forgotten = delivery(1, stripe()).remembered_as("forgotten");
    if let WorkedKind::Delivery { remember_body, .. } = &mut forgotten.kind {
        *remember_body = false;
    }
    let entries = [
        forgotten,
        delivery(2, stripe()).remembered_as("same"),
        delivery(3, github()).remembered_as("other"),
        delivery(4, stripe()).remembered_as("same"),
    ];
    records.commit(commit(entries)).await.expect("commits");
    let asked = ["forgotten", "same", "other", "never"].map(|body| (stripe(), digest(body)));
    let found = records.same_bodies(&asked, ALWAYS).await.expect("reads");
    assert_eq!(found, [None, Some(EntryNumber(4)), None, None]);
}

pub(super) async fn find_no_body_from_before_the_window(records: &dyn Records) {
    records.commit(commit([delivery(5, stripe()).remembered_as("same")])).await.expect("commits");
    let asked = [(stripe(), digest("same"))];
    assert_eq!(records.same_bodies(&asked, time_of(5)).await.expect("reads"), [Some(EntryNumber(5))]);
    assert_eq!(records.same_bodies(&asked, time_of(6)).await.expect("reads"), [None]);
}
