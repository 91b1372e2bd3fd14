//! Room `ledger`, PostgreSQL records: the owners of external ids in the order of their places, for whoever remembers them
//! outside. A walk by place that stops at the limit.

use async_trait::async_trait;
use tokio_postgres::Row;

use super::{
    PostgresRecords,
    columns::{read, read_some},
};
use crate::{
    ledger::{
        Owner, OwnerRecords, OwnersPage, RecordsError,
        postgres::{PostgresError, Session},
        records::columns::{MAX_ENTRY, REPLAY, entry_integer, place, whole},
    },
    model::{DeliveryId, EndpointName, EntryNumber, EventRef},
};

/// Not from the owners: they are found by id alone. Each partition has an index by place.
const OWNERS: &str =
    "SELECT w.place, w.received_at, w.identity_digest, w.generation, w.external_id, p.partner, p.endpoint
    FROM (SELECT x.place, x.received_at, x.identity_digest, x.generation, x.external_id, x.endpoint
      FROM external_events x WHERE x.place > $1 ORDER BY x.place LIMIT $2) w
    LEFT JOIN endpoints p ON p.id = w.endpoint ORDER BY w.place";

const REPLAYED: &str =
    "SELECT DISTINCT p.partner, p.endpoint FROM entries e JOIN endpoints p ON p.id = e.endpoint
    WHERE e.number > $1 AND e.number <= $2 AND e.kind = $3";

#[async_trait]
impl OwnerRecords for PostgresRecords {
    async fn owners_after(&self, after: EventRef, limit: usize) -> Result<OwnersPage, RecordsError> {
        let session = self.session().await?;
        let rows = session.query(OWNERS, &[&place(after)?, &whole(limit)]).await?;
        let owners = rows.iter().filter_map(|row| owned(row).transpose());
        let mut page = OwnersPage { owners: owners.collect::<Result<_, _>>()?, ..OwnersPage::default() };
        if let Some(last) = rows.last().filter(|_| rows.len() == limit) {
            page.through = Some(read(last, 0)?);
        }
        let until = page.through.map_or(MAX_ENTRY, |at| at.number);
        page.replayed = replayed(&session, after.number, until).await?;
        Ok(page)
    }

    async fn id_of(&self, number: EntryNumber) -> Result<Option<DeliveryId>, RecordsError> {
        const ID: &str = "SELECT e.id FROM entries e WHERE e.number = $1 AND e.id IS NOT NULL";
        let rows = self.session().await?.query(ID, &[&entry_integer(number)?]).await?;
        Ok(rows.first().map(|row| read(row, 0)).transpose()?)
    }
}

/// The owner in a row; `None` when its event owns nothing.
fn owned(row: &Row) -> Result<Option<(EndpointName, String, Owner)>, PostgresError> {
    let (Some(generation), Some(id)) = (read_some(row, 3)?, read_some(row, 4)?) else { return Ok(None) };
    let owner =
        Owner { at: read(row, 0)?, received_at: read(row, 1)?, identity_digest: read(row, 2)?, generation };
    let endpoint = EndpointName::new(read::<String>(row, 5)?, read::<String>(row, 6)?);
    Ok(Some((endpoint, id, owner)))
}

async fn replayed(
    session: &Session,
    after: EntryNumber,
    until: EntryNumber,
) -> Result<Vec<EndpointName>, RecordsError> {
    let rows = session.query(REPLAYED, &[&entry_integer(after)?, &entry_integer(until)?, &REPLAY]).await?;
    let name =
        |row| Ok::<_, PostgresError>(EndpointName::new(read::<String>(row, 0)?, read::<String>(row, 1)?));
    Ok(rows.iter().map(name).collect::<Result<_, _>>()?)
}
