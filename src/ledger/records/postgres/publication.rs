//! Room `ledger`, PostgreSQL records: where brokers have put domain events, and how far each has come.

use async_trait::async_trait;
use tokio_postgres::{Row, types::ToSql};

use super::{PostgresRecords, columns::read};
use crate::{
    ledger::{
        BrokerState, Leave, Publication, PublicationRecords, RecordsError,
        postgres::{PostgresError, Session, column},
        records::columns::{integer, introduced, publication_columns, unknown_broker, whole},
    },
    model::{EventNumber, Timestamp},
};

const BROKER_STATE: &str = "SELECT b.name, b.through, (SELECT count(*) FROM publications p \
     WHERE p.broker = b.id AND p.refused IS NOT NULL) FROM brokers b";

#[async_trait]
impl PublicationRecords for PostgresRecords {
    async fn broker(&self, name: &str) -> Result<Option<BrokerState>, RecordsError> {
        let sql = format!("{BROKER_STATE} WHERE b.name = $1");
        let row = self.session().await?.query_opt(&sql, &[&name.as_bytes()]).await?;
        Ok(row.as_ref().map(broker_state).transpose()?)
    }

    async fn brokers(&self) -> Result<Vec<BrokerState>, RecordsError> {
        let rows = self.session().await?.query(&format!("{BROKER_STATE} ORDER BY b.name"), &[]).await?;
        Ok(rows.iter().map(broker_state).collect::<Result<_, _>>()?)
    }

    async fn introduce_broker(
        &self,
        name: &str,
        cursor: EventNumber,
        now: Timestamp,
    ) -> Result<(), RecordsError> {
        let made = "INSERT INTO brokers (name, through) VALUES ($6, $7)";
        self.act(&introduced(name, cursor, now), made, &[&name.as_bytes(), &integer(cursor.0)?]).await?;
        Ok(())
    }

    async fn note_published(
        &self,
        name: &str,
        published: &[Publication],
        cursor: EventNumber,
        leave: Leave,
    ) -> Result<(), RecordsError> {
        const NOTE: &str = "SELECT note_placements($1, $2, $3, $4, $5, $6)";
        let (mut events, mut positions, mut refusals) = (Vec::new(), Vec::new(), Vec::new());
        for publication in published {
            let (event, position, refused) = publication_columns(publication);
            events.push(integer(event.0)?);
            positions.push(position.map(str::as_bytes));
            refusals.push(refused.map(str::as_bytes));
        }
        let (cursor, epoch) = (integer(cursor.0)?, integer(leave.epoch.0)?);
        let parameters: [&(dyn ToSql + Sync); 6] =
            [&name.as_bytes(), &cursor, &epoch, &events, &positions, &refusals];
        let noted = self.session_under(leave.tenure).await?.query_one(NOTE, &parameters).await;
        let row = noted.map_err(|error| self.partitions.after(error))?;
        if column(&row, 0)? { Ok(()) } else { Err(unknown_broker(name)) }
    }
}

fn broker_state(row: &Row) -> Result<BrokerState, PostgresError> {
    Ok(BrokerState { name: read(row, 0)?, cursor: read(row, 1)?, dead_letters: read(row, 2)? })
}

/// Open dead letters of publications, oldest first.
pub(super) async fn dead_letters(
    session: &Session,
    limit: usize,
) -> Result<Vec<(String, EventNumber, String)>, PostgresError> {
    const OPEN: &str =
        "SELECT b.name, p.event, p.refused FROM publications p JOIN brokers b ON b.id = p.broker
        WHERE p.refused IS NOT NULL ORDER BY p.event, p.broker LIMIT $1";
    let rows = session.query(OPEN, &[&whole(limit)]).await?;
    rows.iter().map(|row| Ok((read(row, 0)?, read(row, 1)?, read(row, 2)?))).collect()
}
