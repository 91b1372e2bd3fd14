//! Endpoints that are taught their secrets in handshakes.

use douane::{
    ledger::{CursorMove, JournalEntry, Kept, Records, TranslationCommit, WorkedKind},
    model::EntryNumber,
};
use serde_json::json;

use super::worked::{delivery, delivery_id, github, learnt, stripe, time_of};

fn act(number: u64, act: &str) -> JournalEntry {
    JournalEntry {
        at: time_of(number),
        who: "cli".to_owned(),
        act: act.to_owned(),
        subject: "stripe/default".to_owned(),
        detail: json!({}),
    }
}

async fn acts(records: &dyn Records) -> Vec<String> {
    let journal = records.journal_page(None, 10).await.expect("reads");
    journal.into_iter().rev().map(|row| row.act).collect()
}

pub(super) async fn arms_an_endpoint_once_and_for_a_while(records: &dyn Records) {
    let disarm = async |number| records.disarm(&stripe(), act(number, "disarmed")).await.expect("is asked");
    assert!(!disarm(1).await, "never armed");
    records.arm(&stripe(), time_of(10), act(2, "armed")).await.expect("is armed");
    records.arm(&stripe(), time_of(20), act(3, "armed")).await.expect("is armed for longer");
    records.arm(&github(), time_of(5), act(4, "armed")).await.expect("is armed");
    assert_eq!(records.armed(time_of(4)).await.expect("reads").len(), 2);
    assert_eq!(records.armed(time_of(5)).await.expect("reads"), [(stripe(), time_of(20))]);
    assert!(!disarm(20).await, "the time is over");
    assert!(disarm(19).await);
    assert!(!disarm(19).await, "one of any number gets it");
    assert_eq!(records.armed(time_of(19)).await.expect("reads"), []);
    let lately = records.armed(time_of(18)).await.expect("reads");
    assert_eq!(lately, [(stripe(), time_of(19))], "until when it was armed");
    assert_eq!(acts(records).await, ["armed", "armed", "armed", "disarmed"]);
}

pub(super) async fn keeps_what_was_learnt_and_counts_it_as_worked(records: &dyn Records) {
    let entries = vec![learnt(1, stripe()), delivery(2, stripe()), learnt(3, github())];
    let metas: Vec<_> = entries
        .iter()
        .filter_map(|entry| match &entry.kind {
            WorkedKind::Learnt(meta) => Some(meta.as_ref().clone()),
            _ => None,
        })
        .collect();
    let cursors = vec![CursorMove::unleased(stripe(), EntryNumber(3))];
    records
        .commit(TranslationCommit { now: time_of(9), entries, cursors, ..TranslationCommit::default() })
        .await
        .expect("commits");

    let kept = records.learnt().await.expect("reads");
    assert_eq!(
        kept.iter().map(|one| (one.number.0, one.learnt_at)).collect::<Vec<_>>(),
        [(1, time_of(1)), (3, time_of(3))]
    );
    assert_eq!(kept.into_iter().map(|one| one.meta).collect::<Vec<_>>(), metas);
    let of_log = records.kept(&[EntryNumber(1), EntryNumber(4)]).await.expect("reads");
    assert_eq!(of_log, [Some(Kept::Learnt { id: delivery_id(1) }), None]);
    let conservation = records.conservation().await.expect("reads");
    assert_eq!((conservation.worked, conservation.identified, conservation.orphans), (3, 0, 0));
}

pub(super) async fn shows_a_secret_once(records: &dyn Records) {
    let reveal = async |endpoint, secret, number| {
        records.reveal(&endpoint, secret, act(number, "revealed")).await.expect("is asked")
    };
    assert!(reveal(stripe(), "learnt-1", 1).await);
    assert!(!reveal(stripe(), "learnt-1", 2).await, "once");
    assert!(reveal(github(), "learnt-1", 3).await, "another endpoint's");
    assert!(reveal(stripe(), "learnt-2", 4).await, "another secret");
    assert_eq!(acts(records).await, ["revealed"; 3]);
}
