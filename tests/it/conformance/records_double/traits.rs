//! The traits of the records, each method one question or one write.

use std::collections::BTreeMap;

use async_trait::async_trait;
use douane::{
    ledger::{
        ActRecords, BrokerState, Confirmation, ConfirmationRecords, ConfirmationState, Conservation,
        DamagedEntry, DeliveryFilter, DeliveryRow, EventFilter, EventRow, FeedRecords, InspectRecords,
        JournalEntry, JournalRow, Kept, LearningRecords, LearntSecret, Leave, MAX_REFUSALS, Owner,
        OwnerRecords, OwnersPage, Page, Publication, PublicationFilter, PublicationRecords, PublicationRow,
        RecordsError, RefusalFilter, Refused, ReplayTarget, Tenured, TokenRow, TranslationCommit,
        TranslationRecords, Visit, WorkedKind,
    },
    model::{
        DeliveryId, EndpointName, EntryNumber, EventNumber, EventRef, Incarnation, OutcomeKind, Revision,
        StoredEvent, Timestamp,
    },
};
use serde_json::json;

use super::{KeptEvent, RecordsDouble, State, refused};

/// As in every implementation: one answer of the feed is bounded in bytes, too.
const MAX_ANSWER_BYTES: usize = 8 * 1_024 * 1_024;

impl Tenured for RecordsDouble {}

#[async_trait]
impl TranslationRecords for RecordsDouble {
    async fn cursors(&self) -> Result<Vec<(EndpointName, EntryNumber)>, RecordsError> {
        self.read(|state| state.cursors.clone().into_iter().collect())
    }

    async fn owners(&self, ids: &[(EndpointName, String)]) -> Result<Vec<Option<Owner>>, RecordsError> {
        self.read(|state| ids.iter().map(|(endpoint, id)| state.owner(endpoint, id)).collect())
    }

    async fn same_bodies(
        &self,
        bodies: &[(EndpointName, [u8; 32])],
        since: Timestamp,
    ) -> Result<Vec<Option<EntryNumber>>, RecordsError> {
        self.read(|state| {
            bodies.iter().map(|(endpoint, body)| state.same_body(endpoint, body, since)).collect()
        })
    }

    async fn replay_targets(&self, events: &[EventRef]) -> Result<Vec<ReplayTarget>, RecordsError> {
        self.read(|state| events.iter().filter_map(|at| state.replay_target(*at)).collect())
    }

    async fn commit(&self, commit: TranslationCommit) -> Result<EventNumber, RecordsError> {
        self.write(|state| state.commit(commit))
    }
}

#[async_trait]
impl LearningRecords for RecordsDouble {
    async fn arm(
        &self,
        endpoint: &EndpointName,
        until: Timestamp,
        journal: JournalEntry,
    ) -> Result<(), RecordsError> {
        self.write(|state| {
            state.armed.insert(endpoint.clone(), until);
            state.journal.push(journal);
            Ok(())
        })
    }

    async fn disarm(&self, endpoint: &EndpointName, journal: JournalEntry) -> Result<bool, RecordsError> {
        self.write(|state| {
            let armed = state.armed.get(endpoint).is_some_and(|until| *until > journal.at);
            if armed {
                state.armed.insert(endpoint.clone(), journal.at);
                state.journal.push(journal);
            }
            Ok(armed)
        })
    }

    async fn armed(&self, now: Timestamp) -> Result<Vec<(EndpointName, Timestamp)>, RecordsError> {
        self.read(|state| state.armed.clone().into_iter().filter(|(_, until)| *until > now).collect())
    }

    async fn reveal(
        &self,
        endpoint: &EndpointName,
        secret_id: &str,
        journal: JournalEntry,
    ) -> Result<bool, RecordsError> {
        self.write(|state| {
            let first = state.revealed.insert((endpoint.clone(), secret_id.to_owned()));
            if first {
                state.journal.push(journal);
            }
            Ok(first)
        })
    }

    async fn learnt(&self) -> Result<Vec<LearntSecret>, RecordsError> {
        self.read(|state| {
            let learnt = state.entries.iter().filter_map(|(number, entry)| match &entry.kind {
                WorkedKind::Learnt(meta) => Some(LearntSecret {
                    number: *number,
                    learnt_at: entry.received_at,
                    meta: meta.as_ref().clone(),
                }),
                _ => None,
            });
            learnt.collect()
        })
    }
}

#[async_trait]
impl ConfirmationRecords for RecordsDouble {
    async fn open_confirmations(&self) -> Result<Vec<Confirmation>, RecordsError> {
        let is_open = |one: &&Confirmation| one.state == ConfirmationState::Open;
        self.read(|state| state.confirmations.values().filter(is_open).cloned().collect())
    }

    async fn confirmations_of(
        &self,
        endpoint: &EndpointName,
        limit: usize,
    ) -> Result<Vec<Confirmation>, RecordsError> {
        self.read(|state| {
            let own = state.confirmations.values().rev().filter(|one| one.endpoint == *endpoint);
            own.take(limit).map(|one| Confirmation { link: None, ..one.clone() }).collect()
        })
    }

    async fn note_visit(
        &self,
        visited: &Confirmation,
        visit: Visit,
        journal: Option<JournalEntry>,
    ) -> Result<bool, RecordsError> {
        self.write(|state| {
            let is_meant = |one: &&mut Confirmation| {
                one.handshake == visited.handshake && one.state == ConfirmationState::Open
            };
            let Some(open) = state.confirmations.get_mut(&visited.number).filter(is_meant) else {
                return Ok(false);
            };
            (open.state, open.tries, open.tried_at) = (visit.state, open.tries + 1, Some(visit.at));
            open.why = visit.why;
            open.link = open.link.take().filter(|_| visit.state == ConfirmationState::Open);
            state.journal.extend(journal);
            Ok(true)
        })
    }
}

#[async_trait]
impl OwnerRecords for RecordsDouble {
    async fn owners_after(&self, after: EventRef, limit: usize) -> Result<OwnersPage, RecordsError> {
        self.read(|state| state.owners_after(after, limit))
    }

    async fn id_of(&self, number: EntryNumber) -> Result<Option<DeliveryId>, RecordsError> {
        self.read(|state| match state.kept(number)? {
            Kept::Received { id, .. } | Kept::Replay { id } | Kept::Learnt { id } | Kept::Link { id } => {
                Some(id)
            }
            Kept::Damaged => None,
        })
    }
}

#[async_trait]
impl FeedRecords for RecordsDouble {
    async fn last_event(&self) -> Result<EventNumber, RecordsError> {
        self.read(State::last_event)
    }

    async fn first_event(&self) -> Result<EventNumber, RecordsError> {
        Ok(EventNumber(1))
    }

    async fn events_after(
        &self,
        after: EventNumber,
        limit: usize,
        filter: &EventFilter,
    ) -> Result<Vec<StoredEvent>, RecordsError> {
        let is_meant = |event: &&StoredEvent| {
            event.number > after
                && filter.event_type.as_ref().is_none_or(|wanted| *wanted == event.event_type)
                && filter.partner.as_ref().is_none_or(|wanted| **wanted == *event.endpoint.partner)
        };
        self.read(|state| {
            let mut bytes = 0;
            let meant = state.feed.iter().map(|(event, _)| event).filter(is_meant).take(limit);
            let fits = meant.take_while(|event| {
                let before = bytes;
                bytes += event.body.len();
                before < MAX_ANSWER_BYTES
            });
            fits.cloned().collect()
        })
    }
}

#[async_trait]
impl PublicationRecords for RecordsDouble {
    async fn broker(&self, name: &str) -> Result<Option<BrokerState>, RecordsError> {
        self.read(|state| state.broker_state(name))
    }

    async fn brokers(&self) -> Result<Vec<BrokerState>, RecordsError> {
        self.read(|state| state.brokers.keys().filter_map(|name| state.broker_state(name)).collect())
    }

    async fn introduce_broker(
        &self,
        name: &str,
        cursor: EventNumber,
        now: Timestamp,
    ) -> Result<(), RecordsError> {
        self.write(|state| {
            if state.brokers.insert(name.to_owned(), (cursor, BTreeMap::new())).is_some() {
                return refused(format!("the broker {name} is known"));
            }
            state.journal.push(JournalEntry {
                at: now,
                who: "system".to_owned(),
                act: "broker.introduced".to_owned(),
                subject: name.to_owned(),
                detail: json!({ "after": cursor }),
            });
            Ok(())
        })
    }

    async fn note_published(
        &self,
        name: &str,
        published: &[Publication],
        cursor: EventNumber,
        _leave: Leave,
    ) -> Result<(), RecordsError> {
        self.write(|state| {
            let Some((through, publications)) = state.brokers.get_mut(name) else {
                return refused(format!("the broker {name} was never introduced"));
            };
            if cursor < *through {
                return Err(RecordsError::Stale(format!("the cursor of broker {name} is at {through}")));
            }
            *through = cursor;
            publications.extend(published.iter().map(|publication| match publication {
                Publication::Placed { event, .. } | Publication::DeadLetter { event, .. } => {
                    (*event, publication.clone())
                }
            }));
            Ok(())
        })
    }
}

#[async_trait]
impl ActRecords for RecordsDouble {
    async fn journal(&self, entry: JournalEntry) -> Result<(), RecordsError> {
        self.write(|state| {
            state.journal.push(entry);
            Ok(())
        })
    }

    async fn note_dropped(&self, through: EntryNumber, journal: JournalEntry) -> Result<(), RecordsError> {
        self.write(|state| {
            if through > state.dropped_through {
                state.dropped_through = through;
                state.journal.push(journal);
            }
            Ok(())
        })
    }

    async fn journal_page(&self, before: Option<u64>, limit: usize) -> Result<Vec<JournalRow>, RecordsError> {
        self.read(|state| {
            let rows = (1_u64..).zip(state.journal.clone()).map(|(number, entry)| {
                let JournalEntry { at, who, act, subject, detail } = entry;
                JournalRow { number, at, who, act, subject, detail }
            });
            let mut rows: Vec<_> =
                rows.filter(|row| before.is_none_or(|before| row.number < before)).collect();
            rows.reverse();
            rows.truncate(limit);
            rows
        })
    }

    async fn keep_refusals(&self, refused: &[Refused], keep: usize) -> Result<(), RecordsError> {
        self.write(|state| {
            state.refusals.extend_from_slice(refused);
            let mut seen = BTreeMap::new();
            let mut kept: Vec<_> = state.refusals.drain(..).rev().collect();
            kept.retain(|refused| {
                let count = seen.entry((refused.partner.clone(), refused.endpoint.clone())).or_insert(0);
                *count += 1;
                *count <= keep
            });
            kept.truncate(MAX_REFUSALS);
            state.refusals = kept.into_iter().rev().collect();
            Ok(())
        })
    }

    async fn refusals(&self, filter: &RefusalFilter) -> Result<Vec<Refused>, RecordsError> {
        let is =
            |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        self.read(|state| {
            let meant = state.refusals.iter().rev().filter(|refused| {
                is(&filter.partner, &refused.partner)
                    && is(&filter.endpoint, &refused.endpoint)
                    && is(&filter.code, &refused.code)
                    && is(&filter.request, refused.request.as_deref().unwrap_or_default())
            });
            meant.take(filter.limit).cloned().collect()
        })
    }

    async fn create_token(&self, token: TokenRow, journal: JournalEntry) -> Result<(), RecordsError> {
        self.write(|state| {
            state.journal.push(journal);
            match state.tokens.insert(token.name.clone(), token) {
                Some(known) => refused(format!("there is a token {}", known.name)),
                None => Ok(()),
            }
        })
    }

    async fn tokens(&self) -> Result<Vec<TokenRow>, RecordsError> {
        self.read(|state| state.tokens.values().cloned().collect())
    }

    async fn revoke_token(&self, name: &str, journal: JournalEntry) -> Result<bool, RecordsError> {
        self.write(|state| {
            let token = state.tokens.get_mut(name).filter(|token| token.revoked_at.is_none());
            let Some(token) = token else { return Ok(false) };
            token.revoked_at = Some(journal.at);
            state.journal.push(journal);
            Ok(true)
        })
    }

    async fn keep_desk(
        &self,
        partner: &str,
        revision: &Revision,
        sources: &[u8],
        _now: Timestamp,
    ) -> Result<(), RecordsError> {
        self.write(|state| {
            state.desks.insert(partner.to_owned(), (revision.clone(), sources.to_vec()));
            Ok(())
        })
    }

    async fn last_desks(&self) -> Result<Vec<(String, Revision, Vec<u8>)>, RecordsError> {
        self.read(|state| {
            let desks = state.desks.iter();
            desks.map(|(key, (revision, sources))| (key.clone(), revision.clone(), sources.clone())).collect()
        })
    }
}

#[async_trait]
impl InspectRecords for RecordsDouble {
    fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    async fn deliveries(&self, filter: &DeliveryFilter) -> Result<Page<DeliveryRow>, RecordsError> {
        self.read(|state| state.deliveries(filter))
    }

    async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryRow>, RecordsError> {
        self.read(|state| {
            let mut rows = state.entries.keys().filter_map(|number| state.delivery_row(*number));
            rows.find(|row| row.delivery == id)
        })
    }

    async fn events(
        &self,
        filter: &DeliveryFilter,
        after: Option<EventRef>,
    ) -> Result<Vec<EventRow>, RecordsError> {
        self.read(|state| {
            let events = state.events(filter).filter(|row| after.is_none_or(|after| row.at > after));
            events.take(filter.limit).collect()
        })
    }

    async fn damaged(&self, limit: usize) -> Result<Vec<DamagedEntry>, RecordsError> {
        self.read(|state| state.damaged().take(limit).collect())
    }

    async fn dropped_through(&self) -> Result<EntryNumber, RecordsError> {
        self.read(|state| state.dropped_through)
    }

    async fn lowest_open_dead_letter(&self) -> Result<Option<EntryNumber>, RecordsError> {
        self.read(|state| {
            let is_open = |event: &KeptEvent| {
                event.endpoint.is_some() && event.outcome.kind() == OutcomeKind::DeadLetter
            };
            state.events.iter().find(|(_, event)| is_open(event)).map(|(at, _)| at.number)
        })
    }

    async fn publications(&self, filter: &PublicationFilter) -> Result<Vec<PublicationRow>, RecordsError> {
        self.read(|state| state.publications(filter))
    }

    async fn publication_dead_letters(
        &self,
        limit: usize,
    ) -> Result<Vec<(String, EventNumber, String)>, RecordsError> {
        self.read(|state| {
            let mut open = Vec::new();
            for (name, (_, publications)) in &state.brokers {
                for publication in publications.values() {
                    if let Publication::DeadLetter { event, reason } = publication {
                        open.push((name.clone(), *event, reason.clone()));
                    }
                }
            }
            open.sort_by_key(|(_, event, _)| *event);
            open.truncate(limit);
            open
        })
    }

    async fn kept(&self, numbers: &[EntryNumber]) -> Result<Vec<Option<Kept>>, RecordsError> {
        self.read(|state| numbers.iter().map(|number| state.kept(*number)).collect())
    }

    async fn check(&self) -> Result<Vec<String>, RecordsError> {
        Ok(Vec::new())
    }

    async fn conservation(&self) -> Result<Conservation, RecordsError> {
        self.read(State::conservation)
    }
}
