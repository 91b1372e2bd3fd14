//! Room `ledger`, PostgreSQL records: from a filter to the rows it means. Every way in is an index: external ids, the types
//! and outcomes of an endpoint, times. What is not asked for by one is a walk by number that stops at the limit.

use std::ops::Range;

use tokio_postgres::types::ToSql;

use super::query::Query;
use crate::{
    ledger::{
        DeliveryFilter, RecordsError,
        postgres::{PostgresError, Session, column},
        records::columns::{MAX_ENTRY, outcome_code, place, whole},
    },
    model::{EntryNumber, EventRef, OutcomeKind, Timestamp},
};

/// So many external events are looked through at a time, at least, for the deliveries they belong to.
const CHUNK: usize = 512;

/// Numbers of entries or places of external events, each with the time its entry was accepted, which says where it lies.
#[derive(Default)]
pub(super) struct Found {
    /// The numbers or places, in the order asked for.
    pub(super) integers: Vec<i64>,
    /// The times.
    pub(super) times: Vec<i64>,
}

impl Found {
    fn push(&mut self, integer: i64, time: i64) {
        self.integers.push(integer);
        self.times.push(time);
    }
}

/// What of the records a filter leaves: numbers, and where they lie.
struct Bounds {
    numbers: Range<i64>,
    from: Option<i64>,
    to: Option<i64>,
}

/// The deliveries a filter means, newest first, at most `limit`.
pub(super) async fn deliveries(
    session: &Session,
    filter: &DeliveryFilter,
    limit: usize,
) -> Result<Found, PostgresError> {
    let bounds = bounds(session, filter).await?;
    let of_events = filter.external_id.is_some() || filter.event_type.is_some() || filter.outcome.is_some();
    if of_events {
        deliveries_by_event(session, filter, bounds, limit).await
    } else {
        walk(session, filter, &bounds, limit).await
    }
}

/// The external events a filter means, oldest first, those after `after`.
pub(super) async fn events(
    session: &Session,
    filter: &DeliveryFilter,
    after: Option<EventRef>,
) -> Result<Found, RecordsError> {
    let bounds = bounds(session, filter).await?;
    let after = after.map(place).transpose()?;
    // The dead letters of damaged entries came in nowhere.
    let nowhere = filter.partner.is_none() && filter.endpoint.is_none();
    let endpoints = endpoints(session, filter, nowhere).await?;
    let mut query = Query::default();
    let mut conditions = conditions(&mut query, filter, &bounds);
    if let Some(after) = after {
        let after = query.bind(after);
        conditions.push(format!("x.place > {after}"));
    }
    let conditions = conditions.join(" AND ");
    by_best_path(&mut query, filter, (endpoints, nowhere), (&conditions, "ASC", filter.limit));
    Ok(found(session, &query).await?)
}

async fn walk(
    session: &Session,
    filter: &DeliveryFilter,
    bounds: &Bounds,
    limit: usize,
) -> Result<Found, PostgresError> {
    let mut query = Query::default();
    let (start, end) = (query.bind(bounds.numbers.start), query.bind(bounds.numbers.end));
    let limit = query.bind(whole(limit));
    let mut conditions = vec![format!("e.number >= {start} AND e.number < {end}")];
    conditions.extend(times(&mut query, "e", bounds));
    let conditions = conditions.join(" AND ");
    let one = |of: &str| {
        format!(
            "SELECT e.number, e.received_at FROM entries e WHERE {of} e.kind = 0 AND {conditions} \
             ORDER BY e.number DESC LIMIT {limit}"
        )
    };
    query.sql = if filter.partner.is_some() || filter.endpoint.is_some() {
        let endpoints = query.bind(endpoints(session, filter, false).await?);
        format!(
            "SELECT w.* FROM unnest({endpoints}::int[]) AS p (id) CROSS JOIN LATERAL ({}) w \
             ORDER BY w.number DESC LIMIT {limit}",
            one("e.endpoint = p.id AND")
        )
    } else {
        one("")
    };
    found(session, &query).await
}

async fn deliveries_by_event(
    session: &Session,
    filter: &DeliveryFilter,
    mut bounds: Bounds,
    limit: usize,
) -> Result<Found, PostgresError> {
    let endpoints = endpoints(session, filter, false).await?;
    let chunk = limit.max(CHUNK);
    let mut deliveries = Found::default();
    while deliveries.integers.len() < limit {
        let mut query = Query::default();
        let conditions = conditions(&mut query, filter, &bounds).join(" AND ");
        by_best_path(&mut query, filter, (endpoints.clone(), false), (&conditions, "DESC", chunk));
        let events = found(session, &query).await?;
        for (place, time) in events.integers.iter().zip(&events.times) {
            let number = place >> 16;
            if deliveries.integers.last() != Some(&number) && deliveries.integers.len() < limit {
                deliveries.push(number, *time);
            }
        }
        match events.integers.last() {
            // More events of the last delivery add nothing.
            Some(last) if events.integers.len() == chunk => bounds.numbers.end = last >> 16,
            _ => break,
        }
    }
    Ok(deliveries)
}

/// What must hold for an external event `x`.
fn conditions(query: &mut Query, filter: &DeliveryFilter, bounds: &Bounds) -> Vec<String> {
    let (start, end) = (query.bind(bounds.numbers.start << 16), query.bind(bounds.numbers.end << 16));
    let mut conditions = vec![format!("x.place >= {start} AND x.place < {end}")];
    conditions.extend(times(query, "x", bounds));
    for (column, word) in [("external_id", &filter.external_id), ("event_type", &filter.event_type)] {
        if let Some(word) = word {
            let word = query.bind(word.clone().into_bytes());
            conditions.push(format!("x.{column} = {word}"));
        }
    }
    if let Some(outcome) = filter.outcome {
        let outcome = query.bind(outcome_code(outcome));
        conditions.push(format!("x.outcome = {outcome}"));
    }
    conditions
}

/// Leaves out the partitions of other times.
fn times(query: &mut Query, table: &str, bounds: &Bounds) -> Vec<String> {
    let bounds = [(">=", bounds.from), ("<", bounds.to)];
    let given = bounds.into_iter().filter_map(|(is, time)| Some((is, time?)));
    given.map(|(is, time)| format!("{table}.received_at {is} {}", query.bind(time))).collect()
}

/// Completes the query by the way in that leaves the fewest events to look at. Endpoints and outcomes are few: each is
/// looked up in the order of places, and the ends of all are merged.
fn by_best_path(
    query: &mut Query,
    filter: &DeliveryFilter,
    (endpoints, nowhere): (Vec<i32>, bool),
    (conditions, order, limit): (&str, &str, usize),
) {
    let (endpoints, limit) = (query.bind(endpoints), query.bind(whole(limit)));
    let select = "SELECT x.place, x.received_at FROM external_events x WHERE";
    let end = format!("ORDER BY x.place {order} LIMIT {limit}");
    let lookups = format!("SELECT w.* FROM unnest({endpoints}::int[]) AS p (id) CROSS JOIN LATERAL");
    let merged = format!("w ORDER BY w.place {order} LIMIT {limit}");
    let rare = filter.outcome.is_some_and(|outcome| outcome != OutcomeKind::Translated);
    let somewhere = filter.outcome.is_some() || !nowhere;
    query.sql = if let Some(id) = &filter.external_id {
        let id = query.bind(id.clone().into_bytes());
        format!(
            "SELECT w.* FROM (SELECT k.place, k.received_at FROM owners k \
             WHERE k.endpoint = ANY ({endpoints}) AND k.external_id = {id} \
             UNION ALL SELECT k.place, k.received_at FROM external_events k \
             WHERE k.generation IS NULL AND k.external_id = {id} AND k.endpoint = ANY ({endpoints})) f \
             CROSS JOIN LATERAL ({select} x.place = f.place AND x.received_at = f.received_at AND {conditions} \
             OFFSET 0) {merged}"
        )
    } else if filter.event_type.is_some() && !rare {
        format!("{lookups} ({select} x.endpoint = p.id AND {conditions} {end}) {merged}")
    } else if somewhere {
        let outcomes =
            OutcomeKind::ALL.into_iter().filter(|kind| filter.outcome.is_none_or(|only| only == *kind));
        let outcomes = query.bind(outcomes.map(outcome_code).collect::<Vec<_>>());
        let one = format!("{select} x.endpoint = p.id AND x.outcome = o.code AND {conditions} {end}");
        format!(
            "SELECT w.* FROM unnest({endpoints}::int[]) AS p (id) CROSS JOIN unnest({outcomes}::smallint[]) AS o (code) \
             CROSS JOIN LATERAL ({one}) {merged}"
        )
    } else {
        format!("{select} x.endpoint = ANY ({endpoints}) AND {conditions} {end}")
    };
}

async fn found(session: &Session, query: &Query) -> Result<Found, PostgresError> {
    let mut found = Found::default();
    for row in session.query(&query.sql, &query.parameters()).await? {
        found.push(column(&row, 0)?, column(&row, 1)?);
    }
    Ok(found)
}

/// The endpoints that are meant, and that of damaged entries if it is, too.
async fn endpoints(
    session: &Session,
    filter: &DeliveryFilter,
    nowhere: bool,
) -> Result<Vec<i32>, PostgresError> {
    const MEANT: &str = "SELECT id FROM endpoints WHERE ($1::bytea IS NULL OR partner = $1)
        AND ($2::bytea IS NULL OR endpoint = $2) AND (id > 0 OR $3)";
    let (partner, endpoint) = (bytes(filter.partner.as_ref()), bytes(filter.endpoint.as_ref()));
    let parameters: [&(dyn ToSql + Sync); 3] = [&partner, &endpoint, &nowhere];
    let rows = session.query(MEANT, &parameters).await?;
    rows.iter().map(|row| column(row, 0)).collect()
}

fn bytes(word: Option<&String>) -> Option<&[u8]> {
    word.map(String::as_bytes)
}

/// What a filter leaves.
async fn bounds(session: &Session, filter: &DeliveryFilter) -> Result<Bounds, PostgresError> {
    let most = i64::try_from(MAX_ENTRY.0).unwrap_or(i64::MAX);
    let number = |number: EntryNumber| i64::try_from(number.0).unwrap_or(most).min(most);
    let first = match filter.from {
        Some(time) => entries_since(session, time).await?.lowest,
        None => 0,
    };
    let end = match filter.to {
        Some(time) => entries_since(session, time).await?.highest.unwrap_or(most),
        None => most,
    };
    let (only, before) = (filter.number.map(number), filter.before.map(number));
    let first = only.map_or(first, |only| first.max(only));
    let after_only = only.map(|number| number + 1);
    let end = before.into_iter().chain(after_only).fold(end, i64::min);
    let micros = |time: Option<Timestamp>| time.map(Timestamp::micros);
    Ok(Bounds { numbers: first..end, from: micros(filter.from), to: micros(filter.to) })
}

/// Where a time begins in the log. Between the two lie damaged entries only, whose times are guesses.
struct Since {
    /// At the earliest.
    lowest: i64,
    /// At the latest: the first entry that is known to be accepted then or later.
    highest: Option<i64>,
}

async fn entries_since(session: &Session, time: Timestamp) -> Result<Since, PostgresError> {
    let row = session.query_one("SELECT lowest, highest FROM entries_since($1)", &[&time.micros()]).await?;
    Ok(Since { lowest: column(&row, 0)?, highest: column(&row, 1)? })
}
