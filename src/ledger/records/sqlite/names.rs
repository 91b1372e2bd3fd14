//! Room `ledger`, SQLite records: words that repeat on every row (endpoints, revisions, types of domain events) stand
//! once in a table and once in the writer's memory. Only words that configuration bounds; never a partner's.

use std::{collections::HashMap, hash::Hash};

use rusqlite::{Connection, ToSql};

use crate::{
    ledger::RecordsError,
    model::{EndpointName, Revision},
};

/// The known words and their ids.
#[derive(Debug)]
pub(super) struct Names {
    endpoints: HashMap<EndpointName, i64>,
    revisions: HashMap<Revision, i64>,
    event_types: HashMap<String, i64>,
}

impl Names {
    /// Reads the words known so far.
    pub(super) fn load(connection: &Connection) -> Result<Self, RecordsError> {
        let endpoints = load(connection, "SELECT id, partner, endpoint FROM endpoints", |row| {
            Ok(EndpointName::new(row.get::<_, String>(1)?, row.get::<_, String>(2)?))
        })?;
        let revisions = load(connection, "SELECT id, revision FROM revisions", |row| {
            row.get::<_, String>(1).map(|text| Revision(text.into()))
        })?;
        let event_types = load(connection, "SELECT id, name FROM event_types", |row| row.get(1))?;
        Ok(Self { endpoints, revisions, event_types })
    }

    /// The id of an endpoint, if it is known.
    pub(super) fn known_endpoint(&self, name: &EndpointName) -> Option<i64> {
        self.endpoints.get(name).copied()
    }

    /// The id of an endpoint; makes it known.
    pub(super) fn endpoint(
        &mut self,
        connection: &Connection,
        name: &EndpointName,
    ) -> Result<i64, RecordsError> {
        let sql = "INSERT INTO endpoints (partner, endpoint) VALUES (?1, ?2)";
        intern(connection, &mut self.endpoints, name, sql, &[&name.partner, &name.endpoint])
    }

    /// The id of a revision; makes it known.
    pub(super) fn revision(
        &mut self,
        connection: &Connection,
        revision: &Revision,
    ) -> Result<i64, RecordsError> {
        let sql = "INSERT INTO revisions (revision) VALUES (?1)";
        intern(connection, &mut self.revisions, revision, sql, &[&revision.0])
    }

    /// The id of a domain event's type; makes it known.
    pub(super) fn event_type(&mut self, connection: &Connection, name: &str) -> Result<i64, RecordsError> {
        if let Some(id) = self.event_types.get(name) {
            return Ok(*id);
        }
        let sql = "INSERT INTO event_types (name) VALUES (?1)";
        intern(connection, &mut self.event_types, &name.to_owned(), sql, &[&name])
    }
}

fn load<K: Eq + Hash>(
    connection: &Connection,
    sql: &str,
    word: impl Fn(&rusqlite::Row<'_>) -> rusqlite::Result<K>,
) -> Result<HashMap<K, i64>, RecordsError> {
    let mut statement = connection.prepare(sql)?;
    let words = statement.query_map([], |row| Ok((word(row)?, row.get(0)?)))?;
    Ok(words.collect::<rusqlite::Result<_>>()?)
}

fn intern<K: Clone + Eq + Hash>(
    connection: &Connection,
    known: &mut HashMap<K, i64>,
    word: &K,
    insert: &str,
    columns: &[&dyn ToSql],
) -> Result<i64, RecordsError> {
    if let Some(id) = known.get(word) {
        return Ok(*id);
    }
    connection.prepare_cached(insert)?.execute(columns)?;
    let id = connection.last_insert_rowid();
    known.insert(word.clone(), id);
    Ok(id)
}
