//! Room `ledger`, SQLite records: from a filter to the publications it means. Each broker is asked by itself, because its
//! rows stand together, and what all say is merged. Positions are found by index; what is not asked for by one is a walk
//! by number that stops at the limit.

use std::cmp::Reverse;

use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::{columns::Place, search::Query};
use crate::{
    ledger::{
        PublicationFilter, PublicationRow, RecordsError,
        records::columns::{at_most, entry_at_most, whole},
    },
    model::EventNumber,
};

/// The numbers of the domain events that a delivery became, as first and last, and their publications.
const OF_A_DELIVERY: &str = "WITH made (first, last) AS ( \
       SELECT first_event, first_event + domain_events - 1 FROM external_events \
       WHERE place BETWEEN ?1 << 16 AND ?1 << 16 | 65535 AND domain_events > 0 \
       UNION ALL SELECT first_event, first_event + domain_events - 1 FROM superseded \
       WHERE place BETWEEN ?1 << 16 AND ?1 << 16 | 65535 AND domain_events > 0) \
     SELECT p.event, p.position, p.refused FROM made CROSS JOIN publications p \
     WHERE p.event BETWEEN made.first AND made.last";

/// Publications that match: by event, newest first, and those of one event by the broker's name.
pub(super) fn publications(
    connection: &Connection,
    filter: &PublicationFilter,
) -> Result<Vec<PublicationRow>, RecordsError> {
    let mut found = Vec::new();
    for (id, name) in brokers(connection, filter)? {
        let query = of_broker(filter, id, filter.end(&name));
        let mut statement = connection.prepare_cached(&query.sql)?;
        let rows = statement.query_map(params_from_iter(query.values), |row| noted(row, &name))?;
        found.extend(rows.collect::<rusqlite::Result<Vec<_>>>()?);
    }
    // Brokers come by name, and the sort is stable.
    found.sort_by_key(|row| Reverse(row.event));
    found.truncate(filter.limit);
    found.into_iter().map(|row| with_origin(connection, row)).collect()
}

fn brokers(connection: &Connection, filter: &PublicationFilter) -> Result<Vec<(i64, String)>, RecordsError> {
    let sql = "SELECT id, name FROM brokers WHERE ?1 IS NULL OR name = ?1 ORDER BY name";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(params![filter.broker], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// A query for the publications at one broker, those below `end`, newest first.
fn of_broker(filter: &PublicationFilter, broker: i64, end: Option<u64>) -> Query {
    let mut query = if let Some(number) = filter.delivery {
        let mut query = Query::new(OF_A_DELIVERY);
        query.values.push(entry_at_most(number).into());
        query
    } else {
        // SQLite would rather walk all rows of the broker, which stand in the order asked for.
        let index = match filter {
            PublicationFilter { event: Some(_), .. } => "",
            PublicationFilter { position: Some(_), .. } => " INDEXED BY publications_by_position",
            PublicationFilter { refused: Some(true), .. } => " INDEXED BY refused_publications",
            _ => "",
        };
        Query::new(&format!("SELECT p.event, p.position, p.refused FROM publications p{index} WHERE true"))
    };
    query.and("p.broker = ?", broker);
    if let Some(position) = &filter.position {
        query.and("p.position = ?", position.clone());
    }
    if let Some(EventNumber(number)) = filter.event {
        query.and("p.event = ?", at_most(number));
    }
    if let Some(refused) = filter.refused {
        query.sql += if refused { " AND p.refused IS NOT NULL" } else { " AND p.refused IS NULL" };
    }
    if let Some(end) = end {
        query.and("p.event < ?", at_most(end));
    }
    query.end("ORDER BY p.event DESC LIMIT ?", whole(filter.limit));
    query
}

/// What was noted of an event; what it came from is not known yet.
fn noted(row: &Row<'_>, broker: &str) -> rusqlite::Result<PublicationRow> {
    Ok(PublicationRow {
        broker: broker.to_owned(),
        position: row.get(1)?,
        refused: row.get(2)?,
        event: row.get(0)?,
        id: None,
        event_type: None,
        partition_key: None,
        delivery: None,
        ordinal: None,
        external_id: None,
    })
}

/// Adds what the event came from, as far as it is still kept.
fn with_origin(connection: &Connection, row: PublicationRow) -> Result<PublicationRow, RecordsError> {
    let sql = "SELECT d.id, t.name, d.partition_key, d.made_from, e.id, x.external_id FROM domain_events d \
               JOIN event_types t ON t.id = d.event_type \
               LEFT JOIN entries e ON e.number = d.made_from >> 16 \
               LEFT JOIN external_events x ON x.place = d.made_from WHERE d.number = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let origin = statement.query_row([row.event], |origin| {
        let Place(made_from) = origin.get(3)?;
        Ok(PublicationRow {
            id: origin.get(0)?,
            event_type: origin.get(1)?,
            partition_key: origin.get(2)?,
            delivery: origin.get(4)?,
            ordinal: Some(made_from.ordinal),
            external_id: origin.get(5)?,
            ..row.clone()
        })
    });
    Ok(origin.optional()?.unwrap_or(row))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EntryNumber;

    fn plan(filter: &PublicationFilter) -> String {
        let connection = Connection::open_in_memory().expect("opens");
        for schema in [include_str!("schema_1.sql"), include_str!("schema_3.sql")] {
            connection.execute_batch(schema).expect("compiles");
        }
        let query = of_broker(filter, 1, Some(9));
        let mut statement =
            connection.prepare(&format!("EXPLAIN QUERY PLAN {}", query.sql)).expect("compiles");
        let steps = statement.query_map(params_from_iter(query.values), |row| row.get::<_, String>(3));
        steps.expect("plans").collect::<rusqlite::Result<Vec<_>>>().expect("reads").join("\n")
    }

    #[test]
    fn positions_refusals_and_deliveries_are_looked_up_and_the_rest_is_walked_in_order() {
        let all = PublicationFilter { limit: 10, ..PublicationFilter::default() };
        let at = PublicationFilter { position: Some("LAB/1".to_owned()), ..all.clone() };
        for (filter, step) in [
            (at.clone(), "publications_by_position (broker=? AND position=? AND event<?)"),
            (PublicationFilter { refused: Some(false), ..at }, "publications_by_position (broker=? AND"),
            (PublicationFilter { refused: Some(true), ..all.clone() }, "refused_publications (event<?)"),
            (PublicationFilter { event: Some(EventNumber(1)), ..all.clone() }, "(broker=? AND event=?)"),
            (all.clone(), "PRIMARY KEY (broker=? AND event<?)"),
        ] {
            let plan = plan(&filter);
            assert!(plan.contains(step) && !plan.contains("TEMP B-TREE"), "{filter:?}: {plan}");
        }
        let of_delivery = plan(&PublicationFilter { delivery: Some(EntryNumber(1)), ..all });
        for step in ["external_events USING INTEGER PRIMARY KEY", "superseded USING PRIMARY KEY", "event>?"] {
            assert!(of_delivery.contains(step), "{of_delivery}");
        }
    }
}
