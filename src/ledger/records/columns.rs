//! Room `ledger`, records: what every implementation keeps in the same columns: places as integers, codes, bounds. The
//! codes stand in every ledger: they are added to, never changed. Knows no database.

use serde_json::json;

use crate::{
    ledger::{ConfirmationState, JournalEntry, Publication, RecordsError, WorkedKind},
    model::{Assurance, EntryNumber, EventNumber, EventRef, OutcomeKind, Timestamp},
};

/// The kind of an entry that is a delivery.
pub(super) const DELIVERY: i16 = 0;
/// The kind of an entry that is a replay request.
pub(super) const REPLAY: i16 = 1;
/// The kind of an entry that is damaged.
pub(super) const DAMAGED: i16 = 2;

/// The kind of an entry that is a learnt secret.
pub(super) const LEARNT: i16 = 3;

/// The kind of an entry that is a link to visit.
pub(super) const LINK: i16 = 4;

/// How a link stands, as a code.
pub(super) const fn confirmation_code(state: ConfirmationState) -> i16 {
    match state {
        ConfirmationState::Open => 0,
        ConfirmationState::Confirmed => 1,
        ConfirmationState::GivenUp => 2,
    }
}

/// The state that a code means.
pub(super) const fn confirmation_of(code: i16) -> Option<ConfirmationState> {
    Some(match code {
        0 => ConfirmationState::Open,
        1 => ConfirmationState::Confirmed,
        2 => ConfirmationState::GivenUp,
        _ => return None,
    })
}

/// One answer of the feed holds about so many bytes of bodies at most, however many events were asked for.
pub(super) const MAX_ANSWER_BYTES: usize = 8 * 1_024 * 1_024;

/// The highest entry number that still leaves room for an ordinal beside it.
pub(super) const MAX_ENTRY: EntryNumber = EntryNumber((1 << 47) - 1);

const ORDINAL_BITS: u32 = 16;
const MAX_ORDINAL: u32 = (1 << ORDINAL_BITS) - 1;

/// Says that a number does not fit its column.
#[derive(Debug, thiserror::Error)]
#[error("{0} is beyond what the records can number")]
pub(super) struct TooLarge(pub(super) u64);

impl From<TooLarge> for RecordsError {
    fn from(error: TooLarge) -> Self {
        Self::Refused(error.to_string())
    }
}

/// A number of an entry as an integer.
pub(super) fn entry_integer(number: EntryNumber) -> Result<i64, TooLarge> {
    if number > MAX_ENTRY { Err(TooLarge(number.0)) } else { integer(number.0) }
}

/// A count, a size or the number of a domain event as an integer.
pub(super) fn integer(count: u64) -> Result<i64, TooLarge> {
    i64::try_from(count).map_err(|_| TooLarge(count))
}

/// An [`EventRef`] as one integer, so that the events of a delivery stand together and in order.
pub(super) fn place(at: EventRef) -> Result<i64, TooLarge> {
    if at.ordinal > MAX_ORDINAL {
        return Err(TooLarge(at.ordinal.into()));
    }
    Ok(entry_integer(at.number)? << ORDINAL_BITS | i64::from(at.ordinal))
}

/// What a place names; `None` when it is none.
pub(super) fn event_at(place: i64) -> Option<EventRef> {
    let number = EntryNumber(u64::try_from(place >> ORDINAL_BITS).ok()?);
    let ordinal = u32::try_from(place & i64::from(MAX_ORDINAL)).ok()?;
    Some(EventRef { number, ordinal })
}

/// How many, for a `LIMIT` or a column that counts what was in memory.
pub(super) fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A number of a domain event that somebody asks for. One beyond what the records can number names none.
pub(super) fn at_most(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number of an entry that somebody asks for, so that there is room for an ordinal beside it.
pub(super) fn entry_at_most(number: EntryNumber) -> i64 {
    at_most(number.min(MAX_ENTRY).0)
}

/// The code of an outcome.
pub(super) const fn outcome_code(kind: OutcomeKind) -> i16 {
    match kind {
        OutcomeKind::Translated => 0,
        OutcomeKind::Duplicate => 1,
        OutcomeKind::Conflict => 2,
        OutcomeKind::Ignored => 3,
        OutcomeKind::Unmapped => 4,
        OutcomeKind::DeadLetter => 5,
    }
}

/// The outcome of a code.
pub(super) fn outcome_of(code: i16) -> Option<OutcomeKind> {
    OutcomeKind::ALL.into_iter().find(|kind| outcome_code(*kind) == code)
}

const ASSURANCES: [Assurance; 6] = [
    Assurance::Full,
    Assurance::Body,
    Assurance::Partial,
    Assurance::Origin,
    Assurance::Token,
    Assurance::None,
];

/// The code of an assurance.
pub(super) const fn assurance_code(assurance: Assurance) -> i16 {
    match assurance {
        Assurance::Full => 0,
        Assurance::Body => 1,
        Assurance::Partial => 2,
        Assurance::Origin => 3,
        Assurance::Token => 4,
        Assurance::None => 5,
    }
}

/// The assurance of a code.
pub(super) fn assurance_of(code: i16) -> Option<Assurance> {
    ASSURANCES.into_iter().find(|assurance| assurance_code(*assurance) == code)
}

/// The columns only a delivery has.
#[derive(Default)]
pub(super) struct DeliveryColumns<'a> {
    /// How much its signature vouches for.
    pub(super) assurance: Option<Assurance>,
    /// The id of the secret that matched.
    pub(super) secret: Option<&'a str>,
    /// The body's length.
    pub(super) size: Option<u64>,
    /// The body's digest.
    pub(super) body_sha256: Option<&'a [u8; 32]>,
    /// An earlier delivery of the same body.
    pub(super) same_body_as: Option<EntryNumber>,
}

impl<'a> From<&'a WorkedKind> for DeliveryColumns<'a> {
    fn from(kind: &'a WorkedKind) -> Self {
        let WorkedKind::Delivery { meta, size, body_sha256, same_body_as, .. } = kind else {
            return Self::default();
        };
        Self {
            assurance: Some(meta.assurance),
            secret: meta.secret_id.as_deref(),
            size: Some(*size),
            body_sha256: Some(body_sha256),
            same_body_as: *same_body_as,
        }
    }
}

/// The brokers an event is for; `None` when it is for all.
pub(super) fn brokers_column(brokers: &[String]) -> Option<String> {
    (!brokers.is_empty()).then(|| serde_json::Value::from(brokers).to_string())
}

/// The brokers of a column.
pub(super) fn brokers_of(column: Option<&[u8]>) -> Result<Vec<String>, serde_json::Error> {
    column.map_or(Ok(Vec::new()), serde_json::from_slice)
}

/// A publication in columns: the event, its position, why it was refused.
pub(super) fn publication_columns(publication: &Publication) -> (EventNumber, Option<&str>, Option<&str>) {
    match publication {
        Publication::Placed { event, position } => (*event, Some(position), None),
        Publication::DeadLetter { event, reason } => (*event, None, Some(reason)),
    }
}

/// What the journal says of a broker that becomes known.
pub(super) fn introduced(broker: &str, cursor: EventNumber, now: Timestamp) -> JournalEntry {
    JournalEntry {
        at: now,
        who: "system".to_owned(),
        act: "broker.introduced".to_owned(),
        subject: broker.to_owned(),
        detail: json!({ "after": cursor }),
    }
}

/// Says that an event cannot be repeated because it is not the one that is named.
pub(super) fn no_such_event(number: EventNumber, id: &str) -> RecordsError {
    RecordsError::Refused(format!("domain event {number} is not {id}, it cannot be repeated"))
}

/// Says that an event was handed in with an entry that is not its own.
pub(super) fn belongs_elsewhere(number: EntryNumber, at: EventRef) -> RecordsError {
    RecordsError::Refused(format!("entry {number} has no event {at}"))
}

/// Says that a broker was never introduced.
pub(super) fn unknown_broker(name: &str) -> RecordsError {
    RecordsError::Refused(format!("the broker {name} was never introduced"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_sort_like_the_events_they_name_and_come_back() {
        let events = [(1, 0), (1, 65_535), (2, 0), (MAX_ENTRY.0, 65_535)]
            .map(|(number, ordinal)| EventRef { number: EntryNumber(number), ordinal });
        let places = events.map(|at| place(at).expect("fits"));
        assert!(places.is_sorted());
        assert_eq!(places.map(|place| event_at(place).expect("a place")), events);
        assert_eq!(event_at(-1), None);
    }

    #[test]
    fn what_does_not_fit_is_refused_as_data() {
        for (number, ordinal) in [(1, 65_536), (MAX_ENTRY.0 + 1, 0)] {
            let refused = place(EventRef { number: EntryNumber(number), ordinal }).expect_err("too large");
            assert!(matches!(refused.into(), RecordsError::Refused(_)), "{number}.{ordinal}");
        }
    }
}
