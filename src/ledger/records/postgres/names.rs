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
    model::{EndpointName, Revision, Tenure},
};

/// The known words and their ids. A word that was written once keeps its id as long as the server does, so no other process
/// makes this stale; a server that takes over may give the id to another word.
#[derive(Debug, Default)]
pub(super) struct Names {
    endpoints: Mutex<Words<EndpointName>>,
    revisions: Mutex<Words<Revision>>,
    event_types: Mutex<Words<String>>,
}

/// Words of one tenure.
#[derive(Debug)]
struct Words<K> {
    tenure: Tenure,
    ids: HashMap<K, i32>,
}

impl<K> Default for Words<K> {
    fn default() -> Self {
        Self { tenure: Tenure::default(), ids: HashMap::new() }
    }
}

impl Names {
    /// The id of an endpoint; makes it known.
    pub(super) async fn endpoint(
        &self,
        session: &Session,
        name: &EndpointName,
    ) -> Result<i32, PostgresError> {
        const MAKE: &str = "INSERT INTO endpoints (partner, endpoint) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        if let Some(id) = known(&self.endpoints, session, name) {
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
        if let Some(id) = known(&self.endpoints, session, name) {
            return Ok(Some(id));
        }
        let words: [&(dyn ToSql + Sync); 2] = [&name.partner.as_bytes(), &name.endpoint.as_bytes()];
        let Some(row) = session.query_opt(FIND, &words).await? else { return Ok(None) };
        Ok(Some(learn(&self.endpoints, session, name, column(&row, 0)?)))
    }

    /// The id of a revision; makes it known.
    pub(super) async fn revision(
        &self,
        session: &Session,
        revision: &Revision,
    ) -> Result<i32, PostgresError> {
        const MAKE: &str = "INSERT INTO revisions (revision) VALUES ($1) ON CONFLICT DO NOTHING";
        const FIND: &str = "SELECT id FROM revisions WHERE revision = $1";
        if let Some(id) = known(&self.revisions, session, revision) {
            return Ok(id);
        }
        let id = made(session, (MAKE, FIND), &revision.0).await?;
        Ok(learn(&self.revisions, session, revision, id))
    }

    /// The id of a domain event's type; makes it known.
    pub(super) async fn event_type(&self, session: &Session, name: &str) -> Result<i32, PostgresError> {
        const MAKE: &str = "INSERT INTO event_types (name) VALUES ($1) ON CONFLICT DO NOTHING";
        const FIND: &str = "SELECT id FROM event_types WHERE name = $1";
        let name = name.to_owned();
        if let Some(id) = known(&self.event_types, session, &name) {
            return Ok(id);
        }
        let id = made(session, (MAKE, FIND), &name).await?;
        Ok(learn(&self.event_types, session, &name, id))
    }
}

fn known<K: Eq + Hash>(words: &Mutex<Words<K>>, session: &Session, word: &K) -> Option<i32> {
    let words = words.lock().unwrap_or_else(PoisonError::into_inner);
    if words.tenure == session.tenure() { words.ids.get(word).copied() } else { None }
}

fn learn<K: Clone + Eq + Hash>(words: &Mutex<Words<K>>, session: &Session, word: &K, id: i32) -> i32 {
    let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
    if words.tenure < session.tenure() {
        *words = Words { tenure: session.tenure(), ids: HashMap::new() };
    }
    // What is left of an earlier tenure teaches nothing.
    if words.tenure == session.tenure() {
        words.ids.insert(word.clone(), id);
    }
    id
}

async fn made(session: &Session, (make, find): (&str, &str), word: &str) -> Result<i32, PostgresError> {
    session.query(make, &[&word.as_bytes()]).await?;
    column(&session.query_one(find, &[&word.as_bytes()]).await?, 0)
}
