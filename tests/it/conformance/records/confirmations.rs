//! Links that handshakes ask to be visited.

use std::time::Duration;

use douane::{
    ledger::{Confirmation, ConfirmationState, JournalEntry, Kept, Records, TranslationCommit, Visit},
    model::EntryNumber,
};
use serde_json::json;

use super::worked::{delivery, delivery_id, github, link, stripe, time_of};

async fn asked(records: &dyn Records) -> Vec<Confirmation> {
    let entries = vec![link(1, stripe()), delivery(2, stripe()), link(3, github()), link(4, stripe())];
    let commit = TranslationCommit { now: time_of(9), entries, ..TranslationCommit::default() };
    records.commit(commit).await.expect("commits");
    records.open_confirmations().await.expect("reads")
}

fn visit(number: u64, state: ConfirmationState, why: Option<&str>) -> Visit {
    Visit { at: time_of(number), state, why: why.map(str::to_owned) }
}

fn act(number: u64, act: &str) -> JournalEntry {
    JournalEntry {
        at: time_of(number),
        who: "system".to_owned(),
        act: act.to_owned(),
        subject: "stripe/default".to_owned(),
        detail: json!({}),
    }
}

pub(super) async fn are_open_until_they_are_confirmed_or_given_up(records: &dyn Records) {
    let open = asked(records).await;
    assert_eq!(open.iter().map(|one| one.number.0).collect::<Vec<_>>(), [1, 3, 4], "oldest first");
    let first = &open[0];
    assert_eq!(first.link.as_deref(), Some("https://sns.example.com/?Token=1"));
    assert_eq!((first.handshake, &first.endpoint), (delivery_id(1), &stripe()));
    assert_eq!((first.asked_at, first.until), (time_of(1), time_of(1).plus(Duration::from_hours(1))));
    assert_eq!((first.tries, first.tried_at, &first.why), (0, None, &None));

    let away = visit(10, ConfirmationState::Open, Some("the host answers 503"));
    assert!(records.note_visit(first, away, None).await.expect("notes"));
    let again = records.open_confirmations().await.expect("reads").remove(0);
    assert_eq!((again.tries, again.tried_at), (1, Some(time_of(10))));
    assert_eq!((again.why.as_deref(), &again.link), (Some("the host answers 503"), &first.link));

    let confirmed = visit(11, ConfirmationState::Confirmed, None);
    assert!(records.note_visit(first, confirmed.clone(), Some(act(11, "confirmed"))).await.expect("notes"));
    assert!(
        !records.note_visit(first, confirmed, Some(act(12, "confirmed"))).await.expect("is asked"),
        "once"
    );
    let given_up = visit(13, ConfirmationState::GivenUp, Some("the host answers 404"));
    assert!(records.note_visit(&open[2], given_up, Some(act(13, "given up"))).await.expect("notes"));
    assert_eq!(records.open_confirmations().await.expect("reads").len(), 1);

    let own = records.confirmations_of(&stripe(), 9).await.expect("reads");
    let told = |one: &Confirmation| (one.number.0, one.state, one.tries, one.why.clone(), one.link.clone());
    let due = [
        (4, ConfirmationState::GivenUp, 1, Some("the host answers 404".to_owned()), None),
        (1, ConfirmationState::Confirmed, 2, None, None),
    ];
    assert_eq!(own.iter().map(told).collect::<Vec<_>>(), due);
    assert_eq!(records.confirmations_of(&stripe(), 1).await.expect("reads").len(), 1);
    let journal = records.journal_page(None, 9).await.expect("reads");
    assert_eq!(journal.into_iter().map(|row| row.act).collect::<Vec<_>>(), ["given up", "confirmed"]);
    let kept = records.kept(&[EntryNumber(1)]).await.expect("reads");
    assert_eq!(kept, [Some(Kept::Link { id: delivery_id(1) })]);
    assert_eq!(
        records.conservation().await.expect("reads").worked,
        4,
        "a link is worked when it is committed"
    );
}

/// A server that took over may have given the number to another link.
pub(super) async fn are_noted_for_the_handshake_that_was_visited(records: &dyn Records) {
    let open = asked(records).await;
    let another = Confirmation { handshake: delivery_id(77), ..open[0].clone() };
    let confirmed = visit(11, ConfirmationState::Confirmed, None);
    assert!(!records.note_visit(&another, confirmed, Some(act(11, "confirmed"))).await.expect("is asked"));
    assert_eq!(records.open_confirmations().await.expect("reads"), open);
    assert!(records.journal_page(None, 9).await.expect("reads").is_empty());
}
