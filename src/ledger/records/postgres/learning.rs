//! Room `ledger`, PostgreSQL records: endpoints that are taught their secrets: which are armed, and what they learnt,
//! sealed.

use async_trait::async_trait;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{PostgresRecords, columns::read, pipeline::Step};
use crate::{
    ledger::{
        JournalEntry, LearningRecords, LearntSecret, RecordsError, WorkedEntry, postgres::PostgresError,
        records::columns::entry_integer,
    },
    model::{EndpointName, LearntMeta, Timestamp},
};

#[async_trait]
impl LearningRecords for PostgresRecords {
    async fn arm(
        &self,
        endpoint: &EndpointName,
        until: Timestamp,
        journal: JournalEntry,
    ) -> Result<(), RecordsError> {
        let armed = "INSERT INTO armed_endpoints (partner, endpoint, armed_until) VALUES ($6, $7, $8) \
                     ON CONFLICT (partner, endpoint) DO UPDATE SET armed_until = excluded.armed_until";
        let (partner, name) = (endpoint.partner.as_bytes(), endpoint.endpoint.as_bytes());
        self.act(&journal, armed, &[&partner, &name, &until.micros()]).await?;
        Ok(())
    }

    async fn disarm(&self, endpoint: &EndpointName, journal: JournalEntry) -> Result<bool, RecordsError> {
        let disarmed = "UPDATE armed_endpoints SET armed_until = $8 \
                        WHERE partner = $6 AND endpoint = $7 AND armed_until > $8";
        let (partner, name) = (endpoint.partner.as_bytes(), endpoint.endpoint.as_bytes());
        self.act(&journal, disarmed, &[&partner, &name, &journal.at.micros()]).await
    }

    async fn armed(&self, now: Timestamp) -> Result<Vec<(EndpointName, Timestamp)>, RecordsError> {
        const ARMED: &str = "SELECT partner, endpoint, armed_until FROM armed_endpoints
            WHERE armed_until > $1 ORDER BY partner, endpoint";
        let rows = self.session().await?.query(ARMED, &[&now.micros()]).await?;
        let armed = rows.iter().map(|row| Ok::<_, PostgresError>((name(row, 0)?, read(row, 2)?)));
        Ok(armed.collect::<Result<_, _>>()?)
    }

    async fn reveal(
        &self,
        endpoint: &EndpointName,
        secret_id: &str,
        journal: JournalEntry,
    ) -> Result<bool, RecordsError> {
        let revealed = "INSERT INTO revealed_secrets (partner, endpoint, secret, revealed_at) \
                        VALUES ($6, $7, $8, $9) ON CONFLICT DO NOTHING";
        let (partner, name) = (endpoint.partner.as_bytes(), endpoint.endpoint.as_bytes());
        let at = journal.at.micros();
        self.act(&journal, revealed, &[&partner, &name, &secret_id.as_bytes(), &at]).await
    }

    async fn learnt(&self) -> Result<Vec<LearntSecret>, RecordsError> {
        const LEARNT: &str = "SELECT number, learnt_at, id, partner, endpoint, secret, sealed
            FROM learnt_secrets ORDER BY number";
        let rows = self.session().await?.query(LEARNT, &[]).await?;
        Ok(rows.iter().map(learnt).collect::<Result<_, _>>()?)
    }
}

fn learnt(row: &Row) -> Result<LearntSecret, PostgresError> {
    let (id, endpoint) = (read(row, 2)?, name(row, 3)?);
    let meta = LearntMeta { id, endpoint, secret_id: read(row, 5)?, sealed: read(row, 6)? };
    Ok(LearntSecret { number: read(row, 0)?, learnt_at: read(row, 1)?, meta })
}

/// The endpoint whose partner stands in this column and whose name in the next.
fn name(row: &Row, column: usize) -> Result<EndpointName, PostgresError> {
    let (partner, endpoint): (String, String) = (read(row, column)?, read(row, column + 1)?);
    Ok(EndpointName::new(partner, endpoint))
}

/// Rows of `learnt_secrets`.
#[derive(Default)]
pub(super) struct Learnt<'a> {
    numbers: Vec<i64>,
    times: Vec<i64>,
    ids: Vec<Uuid>,
    partners: Vec<&'a [u8]>,
    endpoints: Vec<&'a [u8]>,
    secrets: Vec<&'a [u8]>,
    seals: Vec<&'a [u8]>,
}

impl<'a> Learnt<'a> {
    /// Adds what an entry taught.
    pub(super) fn push(&mut self, entry: &'a WorkedEntry, meta: &'a LearntMeta) -> Result<(), RecordsError> {
        self.numbers.push(entry_integer(entry.number)?);
        self.times.push(entry.received_at.micros());
        self.ids.push(meta.id.0);
        self.partners.push(meta.endpoint.partner.as_bytes());
        self.endpoints.push(meta.endpoint.endpoint.as_bytes());
        self.secrets.push(meta.secret_id.as_bytes());
        self.seals.push(meta.sealed.as_bytes());
        Ok(())
    }

    /// The step that keeps them, if there are any.
    pub(super) fn step(&self) -> Option<Step<'_>> {
        let sql = "SELECT keep_learnt_secrets($1, $2, $3, $4, $5, $6, $7)";
        let parameters: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> = vec![
            &self.numbers,
            &self.times,
            &self.ids,
            &self.partners,
            &self.endpoints,
            &self.secrets,
            &self.seals,
        ];
        (!self.numbers.is_empty()).then_some(Step { sql, parameters })
    }
}
