//! Room `ledger`, PostgreSQL records: the feed, domain events in order. Serves stored bytes, never makes any.

use async_trait::async_trait;
use bytes::Bytes;
use tokio_postgres::Row;

use super::{PostgresRecords, columns::read, query::Query};
use crate::{
    ledger::{
        EventFilter, FeedRecords, RecordsError,
        postgres::{PostgresError, Session, column},
        records::columns::{MAX_ANSWER_BYTES, brokers_of, integer, whole},
    },
    model::{EndpointName, EventNumber, StoredEvent},
};

/// A statement for the domain events `d` of `from`, in order, as [`stored_event`] reads them. Its last column is the place
/// that made the event.
pub(super) fn stored_events(from: &str) -> String {
    format!(
        "SELECT d.number, d.id, t.name, d.partition_key, p.partner, p.endpoint, d.made_from, r.revision, d.brokers, \
         COALESCE(d.body, (SELECT f.body FROM domain_events f WHERE f.number = d.repeats LIMIT 1)), d.made_by \
         FROM {from} JOIN event_types t ON t.id = d.event_type JOIN endpoints p ON p.id = d.endpoint \
         JOIN revisions r ON r.id = d.revision ORDER BY d.number"
    )
}

#[async_trait]
impl FeedRecords for PostgresRecords {
    async fn last_event(&self) -> Result<EventNumber, RecordsError> {
        let row = self.session().await?.query_one("SELECT last FROM event_counter", &[]).await?;
        Ok(read(&row, 0)?)
    }

    async fn first_event(&self) -> Result<EventNumber, RecordsError> {
        const FIRST: &str = "SELECT COALESCE((SELECT number FROM domain_events ORDER BY number LIMIT 1), 1)";
        let row = self.session().await?.query_one(FIRST, &[]).await?;
        Ok(read(&row, 0)?)
    }

    async fn events_after(
        &self,
        after: EventNumber,
        limit: usize,
        filter: &EventFilter,
    ) -> Result<Vec<StoredEvent>, RecordsError> {
        let session = self.session().await?;
        let event_type = match &filter.event_type {
            Some(name) => match event_type(&session, name).await? {
                Some(id) => Some(id),
                None => return Ok(Vec::new()),
            },
            None => None,
        };
        let query = fitting((after, limit), event_type, filter.partner.as_deref())?;
        let rows = session.query(&query.sql, &query.parameters()).await?;
        Ok(rows.iter().map(stored_event).collect::<Result<_, _>>()?)
    }
}

/// The id of a type. Asked beforehand, so that PostgreSQL knows whether it is a rare one.
async fn event_type(session: &Session, name: &str) -> Result<Option<i32>, PostgresError> {
    let row = session.query_opt("SELECT id FROM event_types WHERE name = $1", &[&name.as_bytes()]).await?;
    row.map(|row| column(&row, 0)).transpose()
}

/// The events that match, and of them those whose bytes fit into one answer. How many are looked at stands in the statement
/// itself, rounded up so that there are few such statements: of a number that it does not see the planner expects far too many.
fn fitting(
    (after, limit): (EventNumber, usize),
    event_type: Option<i32>,
    partner: Option<&str>,
) -> Result<Query, RecordsError> {
    let mut query = Query::default();
    // No answer has more events than bytes.
    let page = limit.clamp(1, MAX_ANSWER_BYTES).next_power_of_two();
    let after = query.bind_unseen(integer(after.0)?);
    let matching = matching(&mut query, (&after, page), event_type, partner);
    let (most, limit) = (query.bind(whole(MAX_ANSWER_BYTES)), query.bind_unseen(whole(limit)));
    let fitting = format!(
        "(SELECT m.* FROM (SELECT m.*, sum(size) OVER (ORDER BY number) - size AS before FROM ({matching}) m) m \
         WHERE before < {most} ORDER BY number LIMIT {limit}) d"
    );
    query.sql = stored_events(&fitting);
    Ok(query)
}

/// The first events that match: those of each endpoint of a partner, in their order, merged.
fn matching(
    query: &mut Query,
    (after, page): (&str, usize),
    event_type: Option<i32>,
    partner: Option<&str>,
) -> String {
    let of_type = event_type.map(|id| format!("d.event_type = {} AND ", query.bind(id))).unwrap_or_default();
    let select = "SELECT d.* FROM domain_events d WHERE";
    let end = format!("{of_type}d.number > {after} ORDER BY d.number LIMIT {page}");
    let Some(partner) = partner else { return format!("{select} {end}") };
    let partner = query.bind(partner.as_bytes().to_vec());
    format!(
        "SELECT w.* FROM endpoints e CROSS JOIN LATERAL ({select} d.endpoint = e.id AND {end}) w \
         WHERE e.partner = {partner} ORDER BY w.number LIMIT {page}"
    )
}

/// Reads a row of [`stored_events`].
pub(super) fn stored_event(row: &Row) -> Result<StoredEvent, PostgresError> {
    let brokers = brokers_of(column(row, 8)?).map_err(|error| PostgresError::broken(error.to_string()))?;
    Ok(StoredEvent {
        number: read(row, 0)?,
        id: read(row, 1)?,
        event_type: read(row, 2)?,
        partition_key: read(row, 3)?,
        endpoint: EndpointName::new(read::<String>(row, 4)?, read::<String>(row, 5)?),
        made_from: read(row, 6)?,
        revision: read(row, 7)?,
        brokers,
        body: Bytes::from(column::<Vec<u8>>(row, 9)?),
    })
}
