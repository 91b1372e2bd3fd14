//! What people and the system did.

use douane::{
    ledger::{JournalEntry, MAX_REFUSALS, Records, RecordsError, RefusalFilter, Refused, TokenRow},
    model::{EntryNumber, Revision},
};
use serde_json::json;

use super::worked::time_of;

const NO_TIMES: [i64; 0] = [];

fn act(number: u64, act: &str, subject: &str) -> JournalEntry {
    JournalEntry {
        at: time_of(number),
        who: "cli".to_owned(),
        act: act.to_owned(),
        subject: subject.to_owned(),
        detail: json!({ "n": number }),
    }
}

pub(super) async fn are_journalled_newest_first(records: &dyn Records) {
    for number in 1..=5 {
        records.journal(act(number, "payload.read", "a delivery")).await.expect("is kept");
    }
    let newest = records.journal_page(None, 2).await.expect("reads");
    let details: Vec<_> = newest.iter().map(|row| row.detail["n"].clone()).collect();
    assert_eq!(details, [5, 4]);
    let older = records.journal_page(Some(newest[1].number), 10).await.expect("reads");
    assert_eq!(older.iter().map(|row| row.at).collect::<Vec<_>>(), [3, 2, 1].map(time_of));
    assert_eq!(older[0].act, "payload.read");
    assert!(older.windows(2).all(|pair| pair[0].number > pair[1].number));
}

pub(super) async fn are_kept_in_any_words(records: &dyn Records) {
    let odd = "nul \0, emoji 🧾";
    let kept =
        JournalEntry { who: odd.to_owned(), detail: json!({ odd: odd }), ..act(1, "payload.read", odd) };
    records.journal(kept.clone()).await.expect("is kept");
    let row = &records.journal_page(Some(u64::MAX), usize::MAX).await.expect("reads")[0];
    assert_eq!((&row.who, &row.subject, &row.detail), (&kept.who, &kept.subject, &kept.detail));
    let refused = Refused { partner: odd.to_owned(), detail: odd.to_owned(), ..refusal(1, odd, odd) };
    records.keep_refusals(std::slice::from_ref(&refused), 10).await.expect("are kept");
    let filter =
        RefusalFilter { endpoint: Some(odd.to_owned()), limit: usize::MAX, ..RefusalFilter::default() };
    assert_eq!(records.refusals(&filter).await.expect("reads"), [refused]);
}

pub(super) async fn of_retention_are_noted_once_and_never_taken_back(records: &dyn Records) {
    assert_eq!(records.dropped_through().await.expect("reads"), EntryNumber(0));
    for through in [5, 3, 5, 8] {
        let noted = act(through, "retention.dropped", "entries");
        records.note_dropped(EntryNumber(through), noted).await.expect("is noted");
    }
    assert_eq!(records.dropped_through().await.expect("reads"), EntryNumber(8));
    let journal = records.journal_page(None, 10).await.expect("reads");
    assert_eq!(journal.iter().map(|row| row.detail["n"].clone()).collect::<Vec<_>>(), [8, 5]);
}

fn refusal(number: u64, endpoint: &str, code: &str) -> Refused {
    Refused {
        at: time_of(number),
        partner: "stripe".to_owned(),
        endpoint: endpoint.to_owned(),
        code: code.to_owned(),
        status: 401,
        detail: "no v1 value matches".to_owned(),
        peer: Some("192.0.2.1".to_owned()),
        size: 12,
        request: Some(format!("request-{number}")),
    }
}

async fn times(records: &dyn Records, filter: RefusalFilter) -> Vec<i64> {
    let kept = records.refusals(&filter).await.expect("reads");
    kept.into_iter().map(|refused| refused.at.seconds() - time_of(0).seconds()).collect()
}

pub(super) async fn keep_the_latest_refusals_of_each_endpoint(records: &dyn Records) {
    let noisy: Vec<_> = (1..=5).map(|number| refusal(number, "noisy", "signature_mismatch")).collect();
    records.keep_refusals(&noisy, 3).await.expect("are kept");
    let more = [
        refusal(6, "quiet", "signature_mismatch"),
        refusal(7, "noisy", "timestamp_too_old"),
        refusal(8, "noisy", "x"),
    ];
    records.keep_refusals(&more, 3).await.expect("are kept");
    let all = RefusalFilter { limit: 100, ..RefusalFilter::default() };
    assert_eq!(times(records, all.clone()).await, [8, 7, 6, 5]);
    let kept = records.refusals(&RefusalFilter { limit: 1, ..all }).await.expect("reads");
    assert_eq!(kept, [refusal(8, "noisy", "x")], "as it was given");
}

pub(super) async fn hold_the_refusals_of_made_up_endpoints_within_bounds(records: &dyn Records) {
    let made_up = |number| refusal(number, &format!("made-up-{number}"), "unknown_endpoint");
    let many: Vec<_> = (1..=MAX_REFUSALS as u64 + 10).map(made_up).collect();
    records.keep_refusals(&many, 5).await.expect("are kept");
    let kept = times(records, RefusalFilter { limit: usize::MAX, ..RefusalFilter::default() }).await;
    assert_eq!((kept.len(), kept.last()), (MAX_REFUSALS, Some(&11)), "the oldest went");
}

pub(super) async fn filter_refusals(records: &dyn Records) {
    let other = Refused { partner: "github".to_owned(), ..refusal(3, "default", "body_too_large") };
    let refused =
        [refusal(1, "default", "signature_mismatch"), refusal(2, "connect", "signature_mismatch"), other];
    records.keep_refusals(&refused, 10).await.expect("are kept");
    let filter = |partner: Option<&str>, endpoint: Option<&str>, code: Option<&str>| RefusalFilter {
        partner: partner.map(str::to_owned),
        endpoint: endpoint.map(str::to_owned),
        code: code.map(str::to_owned),
        request: None,
        limit: 10,
    };
    assert_eq!(times(records, filter(Some("stripe"), None, None)).await, [2, 1]);
    assert_eq!(times(records, filter(None, Some("default"), None)).await, [3, 1]);
    assert_eq!(
        times(records, filter(Some("stripe"), Some("default"), Some("signature_mismatch"))).await,
        [1]
    );
    assert_eq!(times(records, filter(Some("github"), None, Some("signature_mismatch"))).await, NO_TIMES);
}

fn token(name: &str) -> TokenRow {
    TokenRow {
        name: name.to_owned(),
        role: "auditor".to_owned(),
        sha256: "ab".repeat(32),
        created_at: time_of(1),
        revoked_at: None,
    }
}

pub(super) async fn create_and_revoke_tokens(records: &dyn Records) {
    for name in ["zoe", "ada"] {
        records.create_token(token(name), act(1, "token.created", name)).await.expect("is made");
    }
    let again = records.create_token(token("ada"), act(2, "token.created", "ada")).await;
    assert!(matches!(again, Err(RecordsError::Refused(_))));
    assert_eq!(records.tokens().await.expect("reads"), [token("ada"), token("zoe")]);

    assert!(records.revoke_token("ada", act(3, "token.revoked", "ada")).await.expect("is asked"));
    assert!(!records.revoke_token("ada", act(4, "token.revoked", "ada")).await.expect("is asked"));
    assert!(!records.revoke_token("bob", act(5, "token.revoked", "bob")).await.expect("is asked"));
    let tokens = records.tokens().await.expect("reads");
    assert_eq!(tokens, [TokenRow { revoked_at: Some(time_of(3)), ..token("ada") }, token("zoe")]);
    let journal = records.journal_page(None, 10).await.expect("reads");
    let acts: Vec<_> = journal.iter().map(|row| (row.act.as_str(), row.subject.as_str())).collect();
    assert_eq!(acts, [("token.revoked", "ada"), ("token.created", "ada"), ("token.created", "zoe")]);
}

pub(super) async fn keep_desks_and_the_latest_good_one(records: &dyn Records) {
    assert_eq!(records.last_desks().await.expect("reads"), []);
    let (one, two) = (Revision("1".repeat(64).into()), Revision("2".repeat(64).into()));
    for (partner, revision, sources) in
        [("stripe", &one, "first"), ("stripe", &two, "second"), ("github", &two, "another partner's")]
    {
        records.keep_desk(partner, revision, sources.as_bytes(), time_of(1)).await.expect("is kept");
    }
    let github = ("github".to_owned(), two.clone(), b"another partner's".to_vec());
    let stripe = ("stripe".to_owned(), two, b"second".to_vec());
    assert_eq!(records.last_desks().await.expect("reads"), [github.clone(), stripe]);
    records.keep_desk("stripe", &one, b"first", time_of(2)).await.expect("is kept");
    let stripe = ("stripe".to_owned(), one, b"first".to_vec());
    assert_eq!(records.last_desks().await.expect("reads"), [github, stripe], "back again");
}
