//! Room `ledger`, PostgreSQL records: deaths at work, for whoever goes on.

use async_trait::async_trait;
use tokio_postgres::types::ToSql;

use super::{PostgresRecords, columns::read};
use crate::{
    ledger::{
        RecordsError, Suspect, SuspectRecords, Try,
        postgres::{PostgresError, column},
        records::columns::{entry_integer, integer},
    },
    model::{EndpointName, EntryNumber, Epoch},
};

/// The ordinal of what is the reading of a whole delivery.
const READING: i32 = -1;

#[async_trait]
impl SuspectRecords for PostgresRecords {
    async fn suspected(&self) -> Result<Vec<EndpointName>, RecordsError> {
        const SUSPECTED: &str = "SELECT e.partner, e.endpoint FROM suspected_endpoints d
            JOIN endpoints e ON e.id = d.endpoint";
        let rows = self.session().await?.query(SUSPECTED, &[]).await?;
        let names = rows.iter().map(|row| {
            let (partner, name): (String, String) = (read(row, 0)?, read(row, 1)?);
            Ok::<_, PostgresError>(EndpointName::new(partner, name))
        });
        Ok(names.collect::<Result<_, _>>()?)
    }

    async fn try_alone(&self, done: Option<Try>, next: Option<Try>) -> Result<u32, RecordsError> {
        const TRY: &str = "SELECT note_try($1, $2, $3, $4, $5, $6)";
        let of = |tried: Option<Try>| tried.map(|tried| place(tried.suspect)).transpose();
        let (done_number, done_ordinal) = of(done)?.unzip();
        let (next_number, next_ordinal) = of(next)?.unzip();
        let (done_id, next_id) = (done.map(|tried| tried.id), next.map(|tried| tried.id));
        let told: [&(dyn ToSql + Sync); 6] =
            [&done_number, &done_ordinal, &done_id, &next_number, &next_ordinal, &next_id];
        let row = self.session().await?.query_one(TRY, &told).await?;
        Ok(u32::try_from(column::<i32>(&row, 0)?).unwrap_or_default())
    }

    async fn absolve(
        &self,
        endpoints: &[(EndpointName, Epoch)],
        suspects: &[Suspect],
    ) -> Result<(), RecordsError> {
        const ABSOLVE: &str = "SELECT absolve($1, $2, $3, $4, $5)";
        let partners: Vec<_> = endpoints.iter().map(|(name, _)| name.partner.as_bytes()).collect();
        let names: Vec<_> = endpoints.iter().map(|(name, _)| name.endpoint.as_bytes()).collect();
        let epochs = endpoints.iter().map(|(_, epoch)| integer(epoch.0));
        let epochs = epochs.collect::<Result<Vec<_>, _>>()?;
        let places = suspects.iter().map(|suspect| place(*suspect)).collect::<Result<Vec<_>, _>>()?;
        let (numbers, ordinals): (Vec<_>, Vec<_>) = places.into_iter().unzip();
        self.session().await?.query(ABSOLVE, &[&partners, &names, &epochs, &numbers, &ordinals]).await?;
        Ok(())
    }
}

fn place(suspect: Suspect) -> Result<(i64, i32), RecordsError> {
    let (number, ordinal): (EntryNumber, i32) = match suspect {
        Suspect::Delivery(number) => (number, READING),
        // A delivery has no more events than fit; one beyond would be taken for its last.
        Suspect::Event(at) => (at.number, i32::try_from(at.ordinal).unwrap_or(i32::MAX)),
    };
    Ok((entry_integer(number)?, ordinal))
}
