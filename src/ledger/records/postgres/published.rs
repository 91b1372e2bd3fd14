//! Room `ledger`, PostgreSQL records: from a filter to the publications it means. Positions, events and refusals are found
//! by index, a delivery's by the numbers of its domain events; what is not asked for by one is a walk by number that stops
//! at the limit.

use tokio_postgres::{Row, types::ToSql};

use super::{
    columns::{read, read_some},
    query::Query,
};
use crate::{
    ledger::{
        PublicationFilter, PublicationRow,
        postgres::{PostgresError, Session, column},
        records::columns::{at_most, entry_at_most, whole},
    },
    model::{EventNumber, EventRef},
};

/// The brokers that are meant, by name.
#[derive(Default)]
struct Brokers {
    ids: Vec<i32>,
    names: Vec<String>,
    /// The highest of their cursors: none has anything beyond.
    through: i64,
}

/// Publications that match: by event, newest first, and those of one event by the broker's name.
pub(super) async fn publications(
    session: &Session,
    filter: &PublicationFilter,
) -> Result<Vec<PublicationRow>, PostgresError> {
    let brokers = brokers(session, filter).await?;
    let query = query(session, filter, &brokers).await?;
    let rows = session.query(&query.sql, &query.parameters()).await?;
    rows.iter().map(|row| publication(row, &brokers)).collect()
}

async fn brokers(session: &Session, filter: &PublicationFilter) -> Result<Brokers, PostgresError> {
    const MEANT: &str =
        "SELECT id, name, through FROM brokers WHERE $1::bytea IS NULL OR name = $1 ORDER BY name";
    let mut brokers = Brokers::default();
    for row in session.query(MEANT, &[&filter.broker.as_deref().map(str::as_bytes)]).await? {
        brokers.ids.push(column(&row, 0)?);
        brokers.names.push(read(&row, 1)?);
        brokers.through = brokers.through.max(column(&row, 2)?);
    }
    Ok(brokers)
}

/// The publications `p` that match, and what their events came from, as far as it is still kept. Each is looked up by
/// itself, as in `inspect`.
async fn query(
    session: &Session,
    filter: &PublicationFilter,
    brokers: &Brokers,
) -> Result<Query, PostgresError> {
    let mut query = Query::default();
    let from = match filter.delivery {
        Some(number) => of_delivery(session, &mut query, entry_at_most(number)).await?,
        None => "publications p".to_owned(),
    };
    let ids = query.bind(brokers.ids.clone());
    let conditions = conditions(&mut query, filter, brokers, &ids).join(" AND ");
    let limit = query.bind(whole(filter.limit));
    query.sql = format!(
        "SELECT f.event, f.broker, f.position, f.refused, d.id, t.name, d.partition_key, d.made_from, e.id, x.external_id \
         FROM (SELECT p.event, p.broker, p.position, p.refused, p.committed_at FROM {from} WHERE {conditions} \
           ORDER BY p.event DESC, array_position({ids}::int[], p.broker) LIMIT {limit}) f \
         LEFT JOIN LATERAL (SELECT * FROM domain_events k \
           WHERE k.number = f.event AND k.committed_at = f.committed_at OFFSET 0) d ON true \
         LEFT JOIN event_types t ON t.id = d.event_type \
         LEFT JOIN LATERAL (SELECT k.id FROM entries k WHERE k.number = d.made_from >> 16 LIMIT 1) e ON true \
         LEFT JOIN LATERAL (SELECT k.external_id FROM external_events k WHERE k.place = d.made_from LIMIT 1) x ON true \
         ORDER BY f.event DESC, array_position({ids}::int[], f.broker)"
    );
    Ok(query)
}

/// The publications of the domain events that a delivery became, each with the time that says where it lies.
async fn of_delivery(session: &Session, query: &mut Query, number: i64) -> Result<String, PostgresError> {
    const MADE: &str = "SELECT number, committed_at FROM domain_events WHERE made_by BETWEEN $1 AND $2";
    let first = number << 16;
    let places: [&(dyn ToSql + Sync); 2] = [&first, &(first | 65_535)];
    let (mut events, mut times) = (Vec::new(), Vec::new());
    for row in session.query(MADE, &places).await? {
        events.push(column::<i64>(&row, 0)?);
        times.push(column::<i64>(&row, 1)?);
    }
    let (events, times) = (query.bind(events), query.bind(times));
    Ok(format!(
        "unnest({events}::bigint[], {times}::bigint[]) AS w (event, committed_at) CROSS JOIN LATERAL \
         (SELECT * FROM publications k WHERE k.event = w.event AND k.committed_at = w.committed_at OFFSET 0) p"
    ))
}

/// What must hold for a publication `p`; `ids` are the brokers that are meant.
fn conditions(query: &mut Query, filter: &PublicationFilter, brokers: &Brokers, ids: &str) -> Vec<String> {
    let through = query.bind(brokers.through);
    let mut conditions = vec![format!("p.broker = ANY ({ids}::int[]) AND p.event <= {through}")];
    if let Some(position) = &filter.position {
        let position = query.bind(position.clone().into_bytes());
        let beginning = |of: &str| format!("substring({of} FROM 1 FOR 512)");
        let is = (beginning("p.position"), beginning(&format!("{position}::bytea")));
        conditions.push(format!("{} = {} AND p.position = {position}", is.0, is.1));
    }
    if let Some(EventNumber(number)) = filter.event {
        conditions.push(format!("p.event = {}", query.bind(at_most(number))));
    }
    if let Some(refused) = filter.refused {
        conditions.push(format!("p.refused IS {}NULL", if refused { "NOT " } else { "" }));
    }
    if let Some((EventNumber(number), broker)) = &filter.after {
        let number = query.bind(at_most(*number));
        let known = brokers.names.partition_point(|name| name <= broker);
        let passed = query.bind(brokers.ids[..known].to_vec());
        conditions.push(format!(
            "p.event <= {number} AND (p.event < {number} OR p.broker <> ALL ({passed}::int[]))"
        ));
    }
    conditions
}

fn publication(row: &Row, brokers: &Brokers) -> Result<PublicationRow, PostgresError> {
    let broker: i32 = column(row, 1)?;
    let known = brokers.ids.iter().zip(&brokers.names).find(|(id, _)| **id == broker);
    let (_, name) =
        known.ok_or_else(|| PostgresError::broken("a publication is of a broker that is not there"))?;
    let made_from: Option<EventRef> = read_some(row, 7)?;
    Ok(PublicationRow {
        broker: name.clone(),
        position: read_some(row, 2)?,
        refused: read_some(row, 3)?,
        event: read(row, 0)?,
        id: read_some(row, 4)?,
        event_type: read_some(row, 5)?,
        partition_key: read_some(row, 6)?,
        delivery: read_some(row, 8)?,
        ordinal: made_from.map(|at| at.ordinal),
        external_id: read_some(row, 9)?,
    })
}
