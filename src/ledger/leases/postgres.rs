//! Room `ledger`, leases over PostgreSQL. The schema's procedures decide who holds what, by the server's clock; this asks
//! them, on a connection of its own, so that no other work can keep a renewal waiting for one.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio_postgres::{Row, Statement, types::ToSql};
use uuid::Uuid;

use super::{Held, Leases, Renewed, Takes};
use crate::{
    ledger::{
        RecordsError,
        postgres::{Database, Dedicated, PostgresError, column},
    },
    model::{EndpointName, Epoch, Tenure},
};

const RENEW: &str = "CALL renew_leases($1, $2, $3, $4, $5, $6, $7, NULL, NULL, NULL, NULL, NULL)";
const LEAVE: &str = "CALL leave_leases($1)";

/// A member of the processes that share a ledger over PostgreSQL. Connects when it is first asked, and again after any
/// failure.
#[derive(Debug)]
pub struct PostgresLeases {
    database: Database,
    member: Uuid,
    lasts: Duration,
    connection: Mutex<Option<Connection>>,
}

#[derive(Debug)]
struct Connection {
    server: Dedicated,
    renew: Statement,
    leave: Statement,
}

impl PostgresLeases {
    /// A new member of a migrated schema; its leases last so long after each renewal.
    pub fn new(database: Database, lasts: Duration) -> Result<Self, RecordsError> {
        let mut chance = [0; 16];
        getrandom::fill(&mut chance).map_err(|error| RecordsError::Unavailable(error.to_string()))?;
        let member = uuid::Builder::from_random_bytes(chance).into_uuid();
        Ok(Self { database, member, lasts, connection: Mutex::default() })
    }

    async fn connect(&self) -> Result<Connection, PostgresError> {
        let server = self.database.dedicated().await?;
        let renew = server.prepare(RENEW).await?;
        let leave = server.prepare(LEAVE).await?;
        Ok(Connection { server, renew, leave })
    }

    /// Asks on the member's connection; after a failure there is none, so that the next question owes nobody an answer.
    async fn ask(
        &self,
        statement: fn(&Connection) -> &Statement,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<(Vec<Row>, Tenure), PostgresError> {
        let mut kept = self.connection.lock().await;
        let connection = match kept.take().filter(|connection| !connection.server.is_over()) {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let call = connection.server.client().query(statement(&connection), parameters);
        let rows = connection.server.bounded(call).await?;
        let tenure = connection.server.tenure();
        *kept = Some(connection);
        Ok((rows, tenure))
    }
}

#[async_trait]
impl Leases for PostgresLeases {
    async fn renew(&self, takes: &Takes, given_up: &Held) -> Result<Renewed, RecordsError> {
        let lasts = i64::try_from(self.lasts.as_micros()).unwrap_or(i64::MAX);
        let brokers: Vec<_> = takes.brokers.iter().map(String::as_bytes).collect();
        let (partners, names, epochs) = columns(given_up);
        let parameters: [&(dyn ToSql + Sync); 7] =
            [&self.member, &lasts, &takes.endpoints, &brokers, &partners, &names, &epochs];
        let (rows, tenure) = self.ask(|connection| &connection.renew, &parameters).await?;
        let row = rows.first().ok_or_else(|| PostgresError::broken("a renewal gave no answer"))?;
        Ok(renewed(row, tenure)?)
    }

    async fn leave(&self) -> Result<(), RecordsError> {
        self.ask(|connection| &connection.leave, &[&self.member]).await?;
        Ok(())
    }
}

/// Leases as the procedure takes them: a broker has no partner.
fn columns(held: &Held) -> (Vec<&[u8]>, Vec<&[u8]>, Vec<i64>) {
    let endpoints = held.endpoints.iter();
    let endpoints = endpoints.map(|(name, epoch)| (name.partner.as_bytes(), name.endpoint.as_bytes(), epoch));
    let brokers = held.brokers.iter().map(|(name, epoch)| (&b""[..], name.as_bytes(), epoch));
    let (mut partners, mut names, mut epochs) = (Vec::new(), Vec::new(), Vec::new());
    for (partner, name, epoch) in endpoints.chain(brokers) {
        partners.push(partner);
        names.push(name);
        epochs.push(i64::try_from(epoch.0).unwrap_or(i64::MAX));
    }
    (partners, names, epochs)
}

fn renewed(row: &Row, tenure: Tenure) -> Result<Renewed, PostgresError> {
    // There is no array of nothing.
    let partners = column::<Option<Vec<Vec<u8>>>>(row, 0)?.unwrap_or_default();
    let names = column::<Option<Vec<Vec<u8>>>>(row, 1)?.unwrap_or_default();
    let epochs = column::<Option<Vec<i64>>>(row, 2)?.unwrap_or_default();
    let surplus = column::<Option<Vec<bool>>>(row, 3)?.unwrap_or_default();
    let taken_over = number(column(row, 4)?)?;
    let mut renewed = Renewed { taken_over, ..Renewed::default() };
    (renewed.held.tenure, renewed.surplus.tenure) = (tenure, tenure);
    for (((partner, name), epoch), surplus) in partners.into_iter().zip(names).zip(epochs).zip(surplus) {
        let (partner, name, epoch) = (text(partner)?, text(name)?, Epoch(number(epoch)?));
        renewed.held.add(&partner, &name, epoch);
        if surplus {
            renewed.surplus.add(&partner, &name, epoch);
        }
    }
    Ok(renewed)
}

impl Held {
    fn add(&mut self, partner: &str, name: &str, epoch: Epoch) {
        if partner.is_empty() {
            self.brokers.insert(name.to_owned(), epoch);
        } else {
            self.endpoints.insert(EndpointName::new(partner, name), epoch);
        }
    }
}

fn text(bytes: Vec<u8>) -> Result<String, PostgresError> {
    String::from_utf8(bytes).map_err(|_| PostgresError::broken("a lease has a name that nobody gave"))
}

fn number(stored: i64) -> Result<u64, PostgresError> {
    u64::try_from(stored).map_err(|_| PostgresError::broken("a lease has a negative number"))
}
