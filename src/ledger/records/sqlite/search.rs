//! Room `ledger`, SQLite records: from a filter to the rows it means. External ids are found by hash, outcomes other
//! than `translated` by index, times by bisection; everything else is a walk by number that stops at the limit.

use std::ops::Range;

use rusqlite::{Connection, OptionalExtension, params, params_from_iter, types::Value};

use super::{columns::Place, seen::hash};
use crate::{
    ledger::{
        DeliveryFilter, RecordsError,
        records::columns::{MAX_ENTRY, whole},
    },
    model::{EndpointName, EntryNumber, EventRef, OutcomeKind, Timestamp},
};

/// The numbers of the deliveries a filter means, newest first, at most `limit`.
pub(super) fn deliveries(
    connection: &Connection,
    filter: &DeliveryFilter,
    limit: usize,
) -> Result<Vec<EntryNumber>, RecordsError> {
    let of_events = filter.external_id.is_some() || filter.event_type.is_some() || filter.outcome.is_some();
    if of_events { deliveries_by_event(connection, filter, limit) } else { walk(connection, filter, limit) }
}

fn walk(
    connection: &Connection,
    filter: &DeliveryFilter,
    limit: usize,
) -> Result<Vec<EntryNumber>, RecordsError> {
    let numbers = numbers(connection, filter)?;
    let mut query = Query::new("SELECT e.number FROM entries e WHERE e.kind = 0");
    query.and("e.number >= ?", numbers.start);
    query.and("e.number < ?", numbers.end);
    query.endpoints("e.endpoint", filter);
    query.end("ORDER BY e.number DESC LIMIT ?", whole(limit));
    let mut statement = connection.prepare_cached(&query.sql)?;
    let rows = statement.query_map(params_from_iter(query.values), |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn deliveries_by_event(
    connection: &Connection,
    filter: &DeliveryFilter,
    limit: usize,
) -> Result<Vec<EntryNumber>, RecordsError> {
    let mut query = events(connection, "SELECT x.place", filter)?;
    query.sql += " AND x.endpoint IS NOT NULL ORDER BY x.place DESC";
    let mut statement = connection.prepare_cached(&query.sql)?;
    let places = statement.query_map(params_from_iter(query.values), |row| row.get(0))?;
    let mut numbers: Vec<EntryNumber> = Vec::new();
    for place in places {
        let Place(EventRef { number, .. }) = place?;
        if numbers.last() == Some(&number) {
            continue;
        }
        if numbers.len() == limit {
            break;
        }
        numbers.push(number);
    }
    Ok(numbers)
}

/// A query for the external events `x` a filter means, without order and limit.
pub(super) fn events(
    connection: &Connection,
    select: &str,
    filter: &DeliveryFilter,
) -> Result<Query, RecordsError> {
    let mut query = by_best_path(connection, select, filter)?;
    let numbers = numbers(connection, filter)?;
    // The plus keeps SQLite from preferring the range of places over the few places found by hash.
    let place = if filter.external_id.is_some() { "+x.place" } else { "x.place" };
    query.and(&format!("{place} >= ? << 16"), numbers.start);
    query.and(&format!("{place} < ? << 16"), numbers.end);
    query.endpoints("x.endpoint", filter);
    if let Some(id) = &filter.external_id {
        query.and("x.external_id = ?", id.clone());
    }
    if let Some(event_type) = &filter.event_type {
        query.and("x.event_type = ?", event_type.clone());
    }
    if let Some(outcome) = filter.outcome {
        query.and("x.outcome = ?", outcome);
    }
    Ok(query)
}

fn by_best_path(
    connection: &Connection,
    select: &str,
    filter: &DeliveryFilter,
) -> Result<Query, RecordsError> {
    let joined = "LEFT JOIN endpoints p ON p.id = x.endpoint WHERE";
    if let Some(id) = &filter.external_id {
        let hashes = hashes(connection, filter, id)?;
        let found = "SELECT place FROM seen, json_each(?1) WHERE hash = value AND kind <= 1 \
                     UNION SELECT place FROM seen_recently WHERE kind <= 1 \
                     AND hash IN (SELECT value FROM json_each(?1))";
        let mut query = Query::new(&format!("{select} FROM external_events x {joined} x.place IN ({found})"));
        query.values.push(hashes.into());
        return Ok(query);
    }
    Ok(match filter.outcome {
        None | Some(OutcomeKind::Translated) => {
            Query::new(&format!("{select} FROM external_events x {joined} true"))
        }
        Some(_) => Query::new(&format!(
            "{select} FROM external_events x INDEXED BY not_translated {joined} x.outcome <> 0"
        )),
    })
}

/// The hashes an external id can have, as a JSON array: one for each endpoint that is meant.
fn hashes(connection: &Connection, filter: &DeliveryFilter, id: &str) -> Result<String, RecordsError> {
    let sql = "SELECT partner, endpoint FROM endpoints WHERE (?1 IS NULL OR partner = ?1) \
               AND (?2 IS NULL OR endpoint = ?2)";
    let mut statement = connection.prepare_cached(sql)?;
    let hashes = statement.query_map(params![filter.partner, filter.endpoint], |row| {
        let endpoint = EndpointName::new(row.get::<_, String>(0)?, row.get::<_, String>(1)?);
        Ok(hash(&endpoint, id.as_bytes()))
    })?;
    let hashes = hashes.collect::<rusqlite::Result<Vec<i64>>>()?;
    Ok(serde_json::Value::from(hashes).to_string())
}

/// The entry numbers a filter leaves.
fn numbers(connection: &Connection, filter: &DeliveryFilter) -> Result<Range<i64>, RecordsError> {
    let first = filter.from.map(|time| first_at_or_after(connection, time)).transpose()?;
    let end = filter.to.map(|time| first_at_or_after(connection, time)).transpose()?;
    let most = i64::try_from(MAX_ENTRY.0).unwrap_or(i64::MAX);
    let number = |number: EntryNumber| i64::try_from(number.0).unwrap_or(most).min(most);
    let (only, before) = (filter.number.map(number), filter.before.map(number));
    let first = first.into_iter().chain(only).max().unwrap_or(0);
    let after_only = only.map(|number| number + 1);
    Ok(first..end.into_iter().chain(before).chain(after_only).min().unwrap_or(most))
}

/// The first number whose entry was accepted at `time` or later, by bisection: times never decrease along the log.
fn first_at_or_after(connection: &Connection, time: Timestamp) -> Result<i64, RecordsError> {
    let bounds = "SELECT COALESCE(min(number), 0), COALESCE(max(number) + 1, 0) FROM \
                  (SELECT min(number) AS number FROM entries UNION ALL SELECT max(number) FROM entries)";
    let (mut low, mut high): (i64, i64) =
        connection.prepare_cached(bounds)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let probe = "SELECT number, received_at FROM entries WHERE number >= ?1 ORDER BY number LIMIT 1";
    let mut probe = connection.prepare_cached(probe)?;
    while low < high {
        let middle = low + (high - low) / 2;
        let entry: Option<(i64, Timestamp)> =
            probe.query_row([middle], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        match entry {
            Some((number, received_at)) if received_at < time => low = number + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// SQL and its values, in order.
pub(super) struct Query {
    /// The statement so far.
    pub(super) sql: String,
    /// What its question marks stand for.
    pub(super) values: Vec<Value>,
}

impl Query {
    /// Begins with this.
    pub(super) fn new(sql: &str) -> Self {
        Self { sql: sql.to_owned(), values: Vec::new() }
    }

    /// Adds a condition with one question mark.
    pub(super) fn and(&mut self, condition: &str, value: impl Into<Value>) {
        self.sql += " AND ";
        self.end(condition, value);
    }

    /// Adds a last clause with one question mark.
    pub(super) fn end(&mut self, clause: &str, value: impl Into<Value>) {
        self.sql += " ";
        self.sql += clause;
        self.values.push(value.into());
    }

    fn endpoints(&mut self, column: &str, filter: &DeliveryFilter) {
        if let Some(partner) = &filter.partner {
            self.and(&format!("{column} IN (SELECT id FROM endpoints WHERE partner = ?)"), partner.clone());
        }
        if let Some(endpoint) = &filter.endpoint {
            self.and(&format!("{column} IN (SELECT id FROM endpoints WHERE endpoint = ?)"), endpoint.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(times: &[(i64, i64)]) -> Connection {
        let connection = Connection::open_in_memory().expect("opens");
        connection.execute_batch(include_str!("schema_1.sql")).expect("compiles");
        for (number, at) in times {
            let sql = "INSERT INTO entries (number, kind, received_at, events) VALUES (?1, 2, ?2, 0)";
            connection.execute(sql, [number, at]).expect("inserts");
        }
        connection
    }

    #[test]
    fn a_time_is_found_between_equal_times_and_missing_numbers() {
        let times = [(3, 10), (4, 10), (7, 20), (8, 20), (9, 20), (15, 30)];
        let connection = database(&times);
        for (time, expected) in [(0, 3), (10, 3), (11, 7), (20, 7), (21, 15), (30, 15), (31, 16)] {
            let found = first_at_or_after(&connection, Timestamp::from_micros(time)).expect("reads");
            let covered = |number: i64| times.iter().filter(|(known, _)| *known >= number).count();
            assert_eq!(covered(found), covered(expected), "{time} → {found}");
        }
        assert_eq!(first_at_or_after(&database(&[]), Timestamp::from_micros(1)).expect("reads"), 0);
    }

    fn plan(filter: &DeliveryFilter) -> String {
        let connection = database(&[]);
        let mut query = events(&connection, "SELECT x.place", filter).expect("builds");
        query.sql = format!("EXPLAIN QUERY PLAN {} ORDER BY x.place DESC", query.sql);
        let mut statement = connection.prepare(&query.sql).expect("compiles");
        let steps = statement.query_map(params_from_iter(query.values), |row| row.get::<_, String>(3));
        steps.expect("plans").collect::<rusqlite::Result<Vec<_>>>().expect("reads").join("\n")
    }

    #[test]
    fn ids_and_outcomes_are_looked_up_and_the_rest_is_walked_in_order() {
        let by_id = DeliveryFilter { external_id: Some("x".to_owned()), ..DeliveryFilter::default() };
        let by_id = plan(&by_id);
        assert!(by_id.contains("SEARCH x USING INTEGER PRIMARY KEY (rowid=?)"), "{by_id}");
        assert!(by_id.contains("SEARCH seen USING PRIMARY KEY (hash=?"), "{by_id}");
        let by_outcome =
            DeliveryFilter { outcome: Some(OutcomeKind::DeadLetter), ..DeliveryFilter::default() };
        let by_outcome = plan(&by_outcome);
        assert!(by_outcome.contains("not_translated (outcome=? AND place>? AND place<?)"), "{by_outcome}");
        assert!(!by_outcome.contains("TEMP B-TREE"), "{by_outcome}");
        let walked = plan(&DeliveryFilter { event_type: Some("t".to_owned()), ..DeliveryFilter::default() });
        assert!(walked.contains("SEARCH x USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"), "{walked}");
        assert!(!walked.contains("TEMP B-TREE"), "{walked}");
    }
}
