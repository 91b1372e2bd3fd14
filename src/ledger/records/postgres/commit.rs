//! Room `ledger`, PostgreSQL records: the transaction of stage 1. Writes what the stage decided; decides nothing itself but
//! what would contradict the ledger, and leaves that to the schema's functions, which see what others commit meanwhile.

use std::collections::HashMap;

use super::{
    PostgresRecords,
    columns::read,
    confirmations::Asked,
    learning::Learnt,
    names::Names,
    pipeline::{Step, transact},
    rows::{Cursors, Damage, DomainEvents, Entries, Events, Repeated, Words},
};
use crate::{
    ledger::{
        Confirmation, CursorMove, RecordsError, TranslationCommit, WorkedEntry, WorkedEvent, WorkedKind,
        postgres::{PostgresError, Session, column},
        records::columns::{
            DELIVERY, LEARNT, LINK, REPLAY, belongs_elsewhere, entry_integer, integer, no_such_event,
        },
    },
    model::{EventNumber, Outcome, StoredEvent, Timestamp},
};

/// Writes one commit; returns the highest event number.
pub(super) async fn commit(
    records: &PostgresRecords,
    commit: &TranslationCommit,
) -> Result<EventNumber, RecordsError> {
    let session = records.session_under(commit.tenure).await?;
    let repeated = repeated(&session, &commit.entries).await?;
    let mut batch = Batch::of(&session, &records.names, repeated);
    for entry in &commit.entries {
        batch.entry(entry).await?;
    }
    for cursor in &commit.cursors {
        batch.advance(cursor).await?;
    }
    batch.cover(records, commit).await?;
    let now = commit.now.micros();
    let rows =
        transact(&session, &batch.steps(&now)).await.map_err(|error| records.partitions.after(error))?;
    let row = rows.first().ok_or_else(|| PostgresError::broken("a commit gave no number"))?;
    Ok(read(row, 0)?)
}

/// A commit being made ready.
struct Batch<'a> {
    session: &'a Session,
    names: &'a Names,
    /// The stored events that are repeated: id, number of the first appearance, size.
    stored: HashMap<i64, (Vec<u8>, i64, i32)>,
    cursors: Cursors,
    entries: Entries<'a>,
    events: Events<'a>,
    damage: Damage,
    learnt: Learnt<'a>,
    asked: Asked,
    again: Events<'a>,
    domain_events: DomainEvents<'a>,
}

impl<'a> Batch<'a> {
    fn of(session: &'a Session, names: &'a Names, stored: HashMap<i64, (Vec<u8>, i64, i32)>) -> Self {
        Self {
            session,
            names,
            stored,
            cursors: Cursors::default(),
            entries: Entries::default(),
            events: Events::default(),
            damage: Damage::default(),
            learnt: Learnt::default(),
            asked: Asked::default(),
            again: Events::default(),
            domain_events: DomainEvents::default(),
        }
    }

    async fn entry(&mut self, entry: &'a WorkedEntry) -> Result<(), RecordsError> {
        match &entry.kind {
            WorkedKind::Delivery { meta, remember_body, .. } => {
                let endpoint = self.names.endpoint(self.session, &meta.endpoint).await?;
                let counts = (entry.events.len(), *remember_body);
                self.entries.push(entry, (DELIVERY, endpoint, meta.id), counts)?;
                for worked in &entry.events {
                    in_its_entry(entry, worked)?;
                    let ids = self.words_of(endpoint, worked).await?;
                    self.events.push_new(entry.received_at, ids, worked)?;
                }
            }
            WorkedKind::Replay(meta) => {
                let endpoint = self.names.endpoint(self.session, &meta.endpoint).await?;
                self.entries.push(entry, (REPLAY, endpoint, meta.id), (0, false))?;
                for worked in &entry.events {
                    let ids = self.words_of(endpoint, worked).await?;
                    self.again.push_again(entry, ids, worked)?;
                }
            }
            WorkedKind::Learnt(meta) => {
                let endpoint = self.names.endpoint(self.session, &meta.endpoint).await?;
                self.entries.push(entry, (LEARNT, endpoint, meta.id), (0, false))?;
                self.learnt.push(entry, meta)?;
            }
            WorkedKind::Link(meta) => {
                let endpoint = self.names.endpoint(self.session, &meta.endpoint).await?;
                self.entries.push(entry, (LINK, endpoint, meta.id), (0, false))?;
                self.asked.push(&Confirmation::asked((entry.number, entry.received_at), meta))?;
            }
            WorkedKind::Damaged => {
                entry.events.iter().try_for_each(|worked| in_its_entry(entry, worked))?;
                self.damage.push(entry)?;
            }
        }
        Ok(())
    }

    /// The ids of an event's endpoint and revision. Its domain events are added on the way.
    async fn words_of(
        &mut self,
        endpoint: i32,
        worked: &'a WorkedEvent,
    ) -> Result<(i32, Option<i32>), RecordsError> {
        if let Outcome::Translated { events } = &worked.outcome {
            for event in events {
                self.domain_event(worked, event).await?;
            }
        }
        let revision = match &worked.revision {
            Some(revision) => Some(self.names.revision(self.session, revision).await?),
            None => None,
        };
        let endpoint = match &worked.event {
            Some(event) => self.names.endpoint(self.session, &event.endpoint).await?,
            None => endpoint,
        };
        Ok((endpoint, revision))
    }

    async fn domain_event(
        &mut self,
        by: &'a WorkedEvent,
        event: &'a StoredEvent,
    ) -> Result<(), RecordsError> {
        let words = Words {
            event_type: self.names.event_type(self.session, &event.event_type).await?,
            endpoint: self.names.endpoint(self.session, &event.endpoint).await?,
            revision: self.names.revision(self.session, &event.revision).await?,
        };
        let repeated = self.first_appearance(event)?;
        self.domain_events.push((by, event), &words, repeated)
    }

    /// The event whose bytes this one has, unless they are its own.
    fn first_appearance(&self, event: &StoredEvent) -> Result<Repeated, RecordsError> {
        if event.number == EventNumber(0) {
            return Ok(None);
        }
        match self.stored.get(&integer(event.number.0)?) {
            Some((id, first, size)) if *id == event.id.as_bytes() => Ok(Some((*first, *size))),
            _ => Err(no_such_event(event.number, &event.id)),
        }
    }

    async fn advance(&mut self, cursor: &CursorMove) -> Result<(), RecordsError> {
        let endpoint = self.names.endpoint(self.session, &cursor.endpoint).await?;
        self.cursors.push(endpoint, entry_integer(cursor.through)?, integer(cursor.epoch.0)?)
    }

    /// Sees to it that every row has its partition. Publications go with their events, so theirs are made with them.
    async fn cover(&self, records: &PostgresRecords, commit: &TranslationCommit) -> Result<(), RecordsError> {
        let times = commit.entries.iter().map(|entry| entry.received_at);
        let now: Option<Timestamp> = (!self.domain_events.is_empty()).then_some(commit.now);
        let partitions = &records.partitions;
        partitions.cover(self.session, &["entries", "external_events", "superseded"], times).await?;
        partitions.cover(self.session, &["domain_events", "publications"], now.into_iter()).await?;
        Ok(())
    }

    /// The counter's step is the last: from there on other commits wait for this one.
    fn steps<'s>(&'s self, now: &'s i64) -> Vec<Step<'s>> {
        let rows = [
            self.cursors.step(),
            self.entries.step(),
            self.events.step_of_new(),
            self.damage.step(),
            self.learnt.step(),
            self.asked.step(),
            self.again.step_of_again(),
        ];
        rows.into_iter().flatten().chain([self.domain_events.step(now)]).collect()
    }
}

fn in_its_entry(entry: &WorkedEntry, worked: &WorkedEvent) -> Result<(), RecordsError> {
    if worked.at.number == entry.number { Ok(()) } else { Err(belongs_elsewhere(entry.number, worked.at)) }
}

/// What is known of the stored events that a commit repeats. They never change, so it need not be asked in the transaction.
async fn repeated(
    session: &Session,
    entries: &[WorkedEntry],
) -> Result<HashMap<i64, (Vec<u8>, i64, i32)>, RecordsError> {
    const STORED: &str = "SELECT d.number, d.id, COALESCE(d.repeats, d.number), d.size
        FROM unnest($1::bigint[]) AS w (number)
        CROSS JOIN LATERAL (SELECT * FROM domain_events k WHERE k.number = w.number OFFSET 0) d";
    let outcomes = entries.iter().flat_map(|entry| &entry.events).map(|worked| &worked.outcome);
    let events = outcomes.filter_map(|outcome| match outcome {
        Outcome::Translated { events } => Some(events),
        _ => None,
    });
    let numbers = events.flatten().map(|event| event.number).filter(|number| *number != EventNumber(0));
    let numbers = numbers.map(|number| integer(number.0)).collect::<Result<Vec<_>, _>>()?;
    if numbers.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = session.query(STORED, &[&numbers]).await?;
    let stored = rows.iter().map(|row| {
        Ok::<_, PostgresError>((column(row, 0)?, (column(row, 1)?, column(row, 2)?, column(row, 3)?)))
    });
    Ok(stored.collect::<Result<_, _>>()?)
}
