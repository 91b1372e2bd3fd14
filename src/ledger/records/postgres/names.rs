//! Room `ledger`, PostgreSQL records: words that repeat on every row (endpoints, revisions, types of domain events) stand
//! once in a table and once in this process's memory. Only words that configuration bounds; never a partner's.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
};

use tokio_postgres::types::ToSql;

use crate::{
    ledger::postgres::{PostgresError, Session, column},
    model::{EndpointName, Revision},
};

/// The known words and their ids. A word that was written once keeps its id, so no other process makes this stale.
#[derive(Debug, Default)]
pub(super) struct Names {
    endpoints: Mutex<HashMap<EndpointName, i32>>,
    revisions: Mutex<HashMap<Revision, i32>>,
    event_types: Mutex<HashMap<String, i32>>,
}

impl Names {
    /// The id of an endpoint; makes it known.
    pub(super) async fn endpoint(
        &self,
        session: &Session,
        name: &EndpointName,
    ) -> Result<i32, PostgresError> {
        const MAKE: &str = "INSERT INTO endpoints (partner, endpoint) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        if let Some(id) = known(&self.endpoints, name) {
            return Ok(id);
        }
        let words: [&(dyn ToSql + Sync); 2] = [&name.partner.as_bytes(), &name.endpoint.as_bytes()];
        session.query(MAKE, &words).await?;
        let id = self.known_endpoint(session, name).await?;
        id.ok_or_else(|| PostgresError::broken("an endpoint that was just made known is not there"))
    }

    /// The id of an endpoint, if it is known to anybody.
    pub(super) async fn known_endpoint(
        &self,
        session: &Session,
        name: &EndpointName,
    ) -> Result<Option<i32>, PostgresError> {
        const FIND: &str = "SELECT id FROM endpoints WHERE partner = $1 AND endpoint = $2";
        if let Some(id) = known(&self.endpoints, name) {
            return Ok(Some(id));
        }
        let words: [&(dyn ToSql + Sync); 2] = [&name.partner.as_bytes(), &name.endpoint.as_bytes()];
        let Some(row) = session.query_opt(FIND, &words).await? else { return Ok(None) };
        Ok(Some(learn(&self.endpoints, name, column(&row, 0)?)))
    }

    /// The id of a revision; makes it known.
    pub(super) async fn revision(
        &self,
        session: &Session,
        revision: &Revision,
    ) -> Result<i32, PostgresError> {
        const MAKE: &str = "INSERT INTO revisions (revision) VALUES ($1) ON CONFLICT DO NOTHING";
        const FIND: &str = "SELECT id FROM revisions WHERE revision = $1";
        if let Some(id) = known(&self.revisions, revision) {
            return Ok(id);
        }
        let id = made(session, (MAKE, FIND), &revision.0).await?;
        Ok(learn(&self.revisions, revision, id))
    }

    /// The id of a domain event's type; makes it known.
    pub(super) async fn event_type(&self, session: &Session, name: &str) -> Result<i32, PostgresError> {
        const MAKE: &str = "INSERT INTO event_types (name) VALUES ($1) ON CONFLICT DO NOTHING";
        const FIND: &str = "SELECT id FROM event_types WHERE name = $1";
        let name = name.to_owned();
        if let Some(id) = known(&self.event_types, &name) {
            return Ok(id);
        }
        let id = made(session, (MAKE, FIND), &name).await?;
        Ok(learn(&self.event_types, &name, id))
    }
}

fn known<K: Eq + Hash>(words: &Mutex<HashMap<K, i32>>, word: &K) -> Option<i32> {
    words.lock().unwrap_or_else(PoisonError::into_inner).get(word).copied()
}

fn learn<K: Clone + Eq + Hash>(words: &Mutex<HashMap<K, i32>>, word: &K, id: i32) -> i32 {
    words.lock().unwrap_or_else(PoisonError::into_inner).insert(word.clone(), id);
    id
}

async fn made(session: &Session, (make, find): (&str, &str), word: &str) -> Result<i32, PostgresError> {
    session.query(make, &[&word.as_bytes()]).await?;
    column(&session.query_one(find, &[&word.as_bytes()]).await?, 0)
}
