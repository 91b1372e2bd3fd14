//! Room `ledger`, PostgreSQL records: tables that any number of processes share. This file opens them; each trait has a
//! file of its own. May not know what a verdict is, and keeps in memory only what never changes.

mod acts;
mod columns;
mod commit;
mod confirmations;
mod conservation;
mod feed;
mod inspect;
mod learning;
mod names;
mod owners;
mod partitions;
mod pipeline;
mod publication;
mod published;
mod query;
mod replays;
mod rows;
mod search;
mod suspects;
mod translation;

use std::time::Duration;

use self::{names::Names, partitions::Partitions};
use crate::{
    ledger::{
        RecordsError, Tenured,
        postgres::{Database, Session, migrations},
    },
    model::{Incarnation, Tenure},
};

/// The records in a schema of PostgreSQL. A commit is durable when its call returns: `synchronous_commit` is on.
///
/// When the answer to a commit is lost, its call is [`RecordsError::Unavailable`] whether or not it was kept: whoever
/// commits again finds it [`RecordsError::Stale`], or done by the cursors. Dropping a call's future closes its connection;
/// the server may have kept what was sent.
#[derive(Debug)]
pub struct PostgresRecords {
    database: Database,
    incarnation: Incarnation,
    names: Names,
    partitions: Partitions,
}

impl PostgresRecords {
    /// Opens the records of the ledger in the database's schema, which was migrated before. Partitions yet to be made span
    /// `partition`.
    pub async fn open(database: Database, partition: Duration) -> Result<Self, RecordsError> {
        let state =
            migrations(&database).await.map_err(|error| RecordsError::Unavailable(error.to_string()))?;
        let incarnation = database.incarnation().await?.filter(|_| state.missing.is_empty());
        let Some(incarnation) = incarnation else {
            let why = format!("migrations are missing: {}", state.missing.join(", "));
            return Err(RecordsError::Unavailable(why));
        };
        let partitions = Partitions::new(partition);
        Ok(Self { database, incarnation, names: Names::default(), partitions })
    }

    async fn session(&self) -> Result<Session, RecordsError> {
        Ok(self.database.session().await?)
    }

    async fn session_for_people(&self) -> Result<Session, RecordsError> {
        Ok(self.database.session_for_people().await?)
    }

    /// For what was read and decided under `tenure`: another server may lack what that stands on.
    async fn session_under(&self, tenure: Tenure) -> Result<Session, RecordsError> {
        let session = self.session().await?;
        if session.tenure() == tenure {
            Ok(session)
        } else {
            Err(RecordsError::Stale("another server took over since this was read".to_owned()))
        }
    }
}

impl Tenured for PostgresRecords {
    fn tenure(&self) -> Tenure {
        self.database.tenure()
    }
}
