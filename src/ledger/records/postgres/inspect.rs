//! Room `ledger`, PostgreSQL records: what people ask: deliveries, their events, what is open. Reads only.

use std::collections::HashMap;

use async_trait::async_trait;
use tokio_postgres::{Row, types::ToSql};

use super::{
    PostgresRecords,
    columns::{read, read_some},
    conservation::{check, conservation},
    publication, published,
    search::{self, Found},
};
use crate::{
    ledger::{
        Conservation, DamagedEntry, DeliveryFilter, DeliveryRow, EventRow, InspectRecords, Kept, Page,
        PublicationFilter, PublicationRow, RecordsError,
        postgres::{PostgresError, Session, column},
        records::columns::{DELIVERY, LEARNT, LINK, REPLAY, entry_integer, outcome_code, whole},
    },
    model::{DeliveryId, EndpointName, EntryNumber, EventNumber, EventRef, Incarnation, OutcomeKind},
};

// Each row is looked up by itself (LATERAL with OFFSET 0, which PostgreSQL does not rewrite): of many partitions it would
// rather read all than believe that one look-up finds its own.

/// Selects what [`delivery_row`] reads; the time says in which partition each lies.
const DELIVERY_ROWS: &str = "SELECT e.number, e.id, p.partner, p.endpoint, e.received_at, e.assurance, e.secret, e.size, e.body_sha256,
      e.same_body_as
    FROM unnest($1::bigint[], $2::bigint[]) AS w (number, received_at)
    CROSS JOIN LATERAL (SELECT * FROM entries k
      WHERE k.number = w.number AND k.received_at = w.received_at OFFSET 0) e
    JOIN endpoints p ON p.id = e.endpoint ORDER BY e.number DESC";

/// Selects what [`event_row`] reads of the external events between two places of one time. An owner is shown for duplicates
/// and conflicts (1, 2) only, because it stays on the row when a replay gives a conflict another outcome.
const EVENT_ROWS: &str =
    "SELECT x.place, p.partner, p.endpoint, x.external_id, x.event_type, x.ordering_key, x.outcome, x.reason,
      CASE WHEN x.outcome IN (1, 2) THEN
        (SELECT o.id FROM entries o WHERE o.number = x.owner >> 16 LIMIT 1) END,
      x.domain_events + x.replays > 0
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS w (first, last, received_at)
    CROSS JOIN LATERAL (SELECT * FROM external_events k
      WHERE k.place BETWEEN w.first AND w.last AND k.received_at = w.received_at OFFSET 0) x
    JOIN endpoints p ON p.id = x.endpoint ORDER BY x.place";

#[async_trait]
impl InspectRecords for PostgresRecords {
    fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    async fn deliveries(&self, filter: &DeliveryFilter) -> Result<Page<DeliveryRow>, RecordsError> {
        let session = self.session_for_people().await?;
        let mut found = search::deliveries(&session, filter, filter.limit.saturating_add(1)).await?;
        let more = found.integers.len() > filter.limit;
        found.integers.truncate(filter.limit);
        found.times.truncate(filter.limit);
        let items = delivery_rows(&session, &found).await?;
        let next = items.last().map(|row| row.number).filter(|_| more);
        Ok(Page { items, next })
    }

    async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryRow>, RecordsError> {
        const FIND: &str =
            "SELECT number, received_at FROM entries WHERE id = $1 AND kind = 0 ORDER BY number LIMIT 1";
        let session = self.session_for_people().await?;
        let Some(row) = session.query_opt(FIND, &[&id.0]).await? else { return Ok(None) };
        let found = Found { integers: vec![column(&row, 0)?], times: vec![column(&row, 1)?] };
        Ok(delivery_rows(&session, &found).await?.pop())
    }

    async fn events(
        &self,
        filter: &DeliveryFilter,
        after: Option<EventRef>,
    ) -> Result<Vec<EventRow>, RecordsError> {
        let session = self.session_for_people().await?;
        let found = search::events(&session, filter, after).await?;
        Ok(event_rows(&session, (&found.integers, &found.integers), &found.times).await?)
    }

    async fn lowest_open_dead_letter(&self) -> Result<Option<EntryNumber>, RecordsError> {
        const LOWEST: &str = "SELECT min(w.place) FROM endpoints p CROSS JOIN LATERAL
            (SELECT x.place FROM external_events x WHERE x.endpoint = p.id AND x.outcome = $1
             ORDER BY x.place LIMIT 1) w WHERE p.id > 0";
        let row = self
            .session_for_people()
            .await?
            .query_one(LOWEST, &[&outcome_code(OutcomeKind::DeadLetter)])
            .await?;
        let lowest: Option<EventRef> = read_some(&row, 0)?;
        Ok(lowest.map(|at| at.number))
    }

    async fn dropped_through(&self) -> Result<EntryNumber, RecordsError> {
        let row =
            self.session_for_people().await?.query_one("SELECT dropped_through FROM retention", &[]).await?;
        Ok(read(&row, 0)?)
    }

    async fn damaged(&self, limit: usize) -> Result<Vec<DamagedEntry>, RecordsError> {
        const DAMAGED: &str = "SELECT d.number, d.received_at, x.reason FROM damaged d
            CROSS JOIN LATERAL (SELECT * FROM external_events k WHERE k.received_at = d.received_at
              AND k.place BETWEEN d.number << 16 AND (d.number << 16) + 65535 OFFSET 0) x
            WHERE x.outcome = $1 ORDER BY d.number DESC LIMIT $2";
        let parameters: [&(dyn ToSql + Sync); 2] = [&outcome_code(OutcomeKind::DeadLetter), &whole(limit)];
        let rows = self.session_for_people().await?.query(DAMAGED, &parameters).await?;
        let damaged = |row| {
            let reason = read_some(row, 2)?.unwrap_or_default();
            Ok::<_, PostgresError>(DamagedEntry { number: read(row, 0)?, received_at: read(row, 1)?, reason })
        };
        Ok(rows.iter().map(damaged).collect::<Result<_, _>>()?)
    }

    async fn publications(&self, filter: &PublicationFilter) -> Result<Vec<PublicationRow>, RecordsError> {
        Ok(published::publications(&self.session_for_people().await?, filter).await?)
    }

    async fn publication_dead_letters(
        &self,
        limit: usize,
    ) -> Result<Vec<(String, EventNumber, String)>, RecordsError> {
        Ok(publication::dead_letters(&self.session_for_people().await?, limit).await?)
    }

    async fn kept(&self, numbers: &[EntryNumber]) -> Result<Vec<Option<Kept>>, RecordsError> {
        const KEPT: &str =
            "SELECT e.number, e.kind, e.id, e.size, e.body_sha256 FROM unnest($1::bigint[]) AS w (number)
            CROSS JOIN LATERAL (SELECT * FROM entries k WHERE k.number = w.number OFFSET 0) e";
        let numbers = numbers.iter().map(|number| entry_integer(*number)).collect::<Result<Vec<_>, _>>()?;
        let rows = self.session_for_people().await?.query(KEPT, &[&numbers]).await?;
        let kept = rows.iter().map(|row| Ok::<_, PostgresError>((column(row, 0)?, kept(row)?)));
        let kept = kept.collect::<Result<HashMap<i64, _>, _>>()?;
        Ok(numbers.iter().map(|number| kept.get(number).cloned()).collect())
    }

    async fn check(&self) -> Result<Vec<String>, RecordsError> {
        Ok(check(&self.session_for_people().await?).await?)
    }

    async fn conservation(&self) -> Result<Conservation, RecordsError> {
        Ok(conservation(&self.session_for_people().await?).await?)
    }
}

fn kept(row: &Row) -> Result<Kept, PostgresError> {
    Ok(match column(row, 1)? {
        DELIVERY => Kept::Received { id: read(row, 2)?, size: read(row, 3)?, body_sha256: read(row, 4)? },
        REPLAY => Kept::Replay { id: read(row, 2)? },
        LEARNT => Kept::Learnt { id: read(row, 2)? },
        LINK => Kept::Link { id: read(row, 2)? },
        _ => Kept::Damaged,
    })
}

/// The deliveries of these numbers, newest first, with their events.
async fn delivery_rows(session: &Session, found: &Found) -> Result<Vec<DeliveryRow>, PostgresError> {
    let rows = session.query(DELIVERY_ROWS, &[&found.integers, &found.times]).await?;
    let mut deliveries = rows.iter().map(delivery_row).collect::<Result<Vec<_>, _>>()?;
    let first: Vec<_> = found.integers.iter().map(|number| number << 16).collect();
    let last: Vec<_> = first.iter().map(|place| place + 65_535).collect();
    let mut events: HashMap<EntryNumber, Vec<EventRow>> = HashMap::new();
    for event in event_rows(session, (&first, &last), &found.times).await? {
        events.entry(event.at.number).or_default().push(event);
    }
    for delivery in &mut deliveries {
        delivery.external_events = events.remove(&delivery.number).unwrap_or_default();
    }
    Ok(deliveries)
}

fn delivery_row(row: &Row) -> Result<DeliveryRow, PostgresError> {
    Ok(DeliveryRow {
        number: read(row, 0)?,
        delivery: read(row, 1)?,
        partner: read(row, 2)?,
        endpoint: read(row, 3)?,
        received_at: read(row, 4)?,
        assurance: read(row, 5)?,
        secret_id: read_some(row, 6)?,
        size: read(row, 7)?,
        body_sha256: hex::encode(read::<[u8; 32]>(row, 8)?),
        same_body_as: read_some(row, 9)?,
        waiting: false,
        external_events: Vec::new(),
    })
}

/// The external events between each two places, oldest first, with the ids of their domain events.
async fn event_rows(
    session: &Session,
    (first, last): (&[i64], &[i64]),
    times: &[i64],
) -> Result<Vec<EventRow>, PostgresError> {
    const MADE: &str = "SELECT d.made_by, d.id FROM unnest($1::bigint[]) AS w (place)
        CROSS JOIN LATERAL (SELECT made_by, id, number FROM domain_events k WHERE k.made_by = w.place OFFSET 0) d
        ORDER BY d.number";
    let rows = session.query(EVENT_ROWS, &[&first, &last, &times]).await?;
    let mut made: HashMap<i64, Vec<String>> = HashMap::new();
    for row in &rows {
        if column(row, 9)? {
            made.insert(column(row, 0)?, Vec::new());
        }
    }
    let places: Vec<_> = made.keys().copied().collect();
    for row in session.query(MADE, &[&places]).await? {
        let ids = made.entry(column(&row, 0)?).or_default();
        let id = read(&row, 1)?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    rows.iter().map(|row| event_row(row, &mut made)).collect()
}

fn event_row(row: &Row, made: &mut HashMap<i64, Vec<String>>) -> Result<EventRow, PostgresError> {
    let at: EventRef = read(row, 0)?;
    Ok(EventRow {
        at,
        endpoint_name: EndpointName::new(read::<String>(row, 1)?, read::<String>(row, 2)?),
        ordinal: at.ordinal,
        external_id: read_some(row, 3)?,
        event_type: read_some(row, 4)?,
        ordering_key: read_some(row, 5)?,
        outcome: read(row, 6)?,
        reason: read_some(row, 7)?,
        duplicate_of: read_some(row, 8)?,
        domain_events: made.remove(&column(row, 0)?).unwrap_or_default(),
    })
}
