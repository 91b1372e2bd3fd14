//! What a memory of owners is filled from: pages of owners in the order of their places.

use douane::{
    ledger::{OwnersPage, Records, WorkedKind},
    model::{EndpointName, EventRef, Outcome, ReasonCode},
};

use super::worked::{
    Filled, again, at, commit, damaged, dead_letter, delivery, delivery_id, digest, github, identified,
    replay, stripe, time_of, translated,
};

const BEGINNING: EventRef = EventRef { number: douane::model::EntryNumber(0), ordinal: 0 };

fn told(page: &OwnersPage) -> Vec<(String, String)> {
    let told = |(endpoint, id, owner): &(EndpointName, String, douane::ledger::Owner)| {
        (format!("{} {}", endpoint.partner, owner.at), id.clone())
    };
    page.owners.iter().map(told).collect()
}

fn owner(place: &str, id: &str) -> (String, String) {
    (place.to_owned(), id.to_owned())
}

pub(super) async fn are_paged_in_the_order_of_their_places(records: &dyn Records) {
    assert_eq!(records.owners_after(BEGINNING, 10).await.expect("reads"), OwnersPage::default());
    let entries = (1..=5).map(|number| {
        let entry = delivery(number, stripe()).with(&format!("a{number}"), "paid", Outcome::Unmapped);
        entry.with(&format!("b{number}"), "paid", Outcome::Unmapped)
    });
    records.commit(commit(entries)).await.expect("commits");
    let (mut after, mut ids) = (BEGINNING, Vec::new());
    loop {
        let page = records.owners_after(after, 3).await.expect("reads");
        ids.extend(page.owners.into_iter().map(|(_, id, _)| id));
        let Some(through) = page.through else { break };
        after = through;
    }
    assert_eq!(ids, ["a1", "b1", "a2", "b2", "a3", "b3", "a4", "b4", "a5", "b5"]);
}

pub(super) async fn are_those_of_every_endpoint_and_of_nothing_else(records: &dyn Records) {
    let first = delivery(1, stripe()).with("a", "paid", translated(&["a1"]));
    let repeat = delivery(2, stripe()).with("a", "paid", Outcome::Duplicate { of: at(1, 0) });
    let conflict = delivery(3, stripe()).with("a", "paid", Outcome::Conflict { with: at(1, 0) });
    let other = delivery(4, github()).with("a", "push", Outcome::Unmapped);
    let unidentified = delivery(5, stripe()).unidentified(dead_letter(ReasonCode::Unidentifiable, "no id"));
    let mut anew = delivery(7, stripe()).with("a", "paid", translated(&["a2"]));
    anew.events[0].owns = Some(1);
    let entries = [first, repeat, conflict, other, unidentified, damaged(6), anew];
    records.commit(commit(entries)).await.expect("commits");
    let page = records.owners_after(BEGINNING, 100).await.expect("reads");
    let expected = [owner("stripe 1.0", "a"), owner("github 4.0", "a"), owner("stripe 7.0", "a")];
    assert_eq!(told(&page), expected);
    assert_eq!((page.replayed.len(), page.through), (0, None));
    let (_, _, last) = &page.owners[2];
    assert_eq!((last.generation, last.received_at, last.identity_digest), (1, time_of(7), digest("a")));
    let page = records.owners_after(at(1, 0), 2).await.expect("reads");
    assert_eq!((page.owners.len(), page.through), (0, Some(at(3, 0))), "two places without an owner");
}

pub(super) async fn tell_which_endpoints_were_replayed(records: &dyn Records) {
    let failed = dead_letter(ReasonCode::Unidentifiable, "no id");
    let entries = [
        delivery(1, stripe()).unidentified(failed),
        delivery(2, stripe()).with("b", "paid", Outcome::Unmapped),
    ];
    records.commit(commit(entries)).await.expect("commits");
    let mut now = again(at(1, 0), translated(&["a1"]));
    (now.event, now.owns) = (Some(identified(stripe(), "a", "paid")), Some(0));
    let entries =
        [replay(3, stripe(), vec![now]), delivery(4, github()).with("c", "push", Outcome::Unmapped)];
    records.commit(commit(entries)).await.expect("commits");

    let page = records.owners_after(BEGINNING, 100).await.expect("reads");
    let places = [owner("stripe 1.0", "a"), owner("stripe 2.0", "b"), owner("github 4.0", "c")];
    assert_eq!((told(&page), page.replayed), (places.to_vec(), vec![stripe()]));
    let page = records.owners_after(at(2, 0), 100).await.expect("reads");
    assert_eq!((page.owners.len(), page.replayed), (1, vec![stripe()]), "its owner stands further back");
    let page = records.owners_after(BEGINNING, 2).await.expect("reads");
    assert_eq!((page.replayed.len(), page.through), (0, Some(at(2, 0))));
    let page = records.owners_after(at(3, 0), 100).await.expect("reads");
    assert_eq!(page.replayed, []);
}

pub(super) async fn of_what_is_committed_meanwhile_are_on_later_pages(records: &dyn Records) {
    let entry = |number: u64| delivery(number, stripe()).with(&number.to_string(), "paid", Outcome::Unmapped);
    records.commit(commit([entry(1), entry(2)])).await.expect("commits");
    let page = records.owners_after(BEGINNING, 2).await.expect("reads");
    records.commit(commit([entry(3)])).await.expect("commits");
    let page = records.owners_after(page.through.expect("perhaps more"), 2).await.expect("reads");
    assert_eq!((told(&page), page.through), (vec![owner("stripe 3.0", "3")], None));
}

pub(super) async fn know_which_delivery_has_a_number(records: &dyn Records) {
    let entries = [delivery(1, stripe()), damaged(2), replay(3, stripe(), Vec::new())];
    assert!(matches!(entries[0].kind, WorkedKind::Delivery { .. }));
    records.commit(commit(entries)).await.expect("commits");
    for (number, id) in [(1, Some(delivery_id(1))), (2, None), (3, Some(delivery_id(3))), (4, None)] {
        let found = records.id_of(douane::model::EntryNumber(number)).await.expect("reads");
        assert_eq!(found, id, "entry {number}");
    }
}
