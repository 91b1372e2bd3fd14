//! Room `ledger`, PostgreSQL records: links that handshakes ask to be visited, and how that goes.

use async_trait::async_trait;
use tokio_postgres::{Row, types::ToSql};
use uuid::Uuid;

use super::{
    PostgresRecords,
    columns::{Column, read, read_some},
    pipeline::Step,
};
use crate::{
    ledger::{
        Confirmation, ConfirmationRecords, ConfirmationState, JournalEntry, RecordsError, Visit,
        postgres::PostgresError,
        records::columns::{confirmation_code, confirmation_of, entry_integer, whole},
    },
    model::EndpointName,
};

#[async_trait]
impl ConfirmationRecords for PostgresRecords {
    async fn open_confirmations(&self) -> Result<Vec<Confirmation>, RecordsError> {
        const OPEN: &str =
            "SELECT number, id, partner, endpoint, asked_at, until, state, tries, tried_at, why, link
            FROM confirmations WHERE state = 0 ORDER BY number";
        let rows = self.session().await?.query(OPEN, &[]).await?;
        let open =
            rows.iter().map(|row| Ok(Confirmation { link: read_some(row, 10)?, ..confirmation(row)? }));
        Ok(open.collect::<Result<_, PostgresError>>()?)
    }

    async fn confirmations_of(
        &self,
        endpoint: &EndpointName,
        limit: usize,
    ) -> Result<Vec<Confirmation>, RecordsError> {
        const LATEST: &str =
            "SELECT number, id, partner, endpoint, asked_at, until, state, tries, tried_at, why
            FROM confirmations WHERE partner = $1 AND endpoint = $2 ORDER BY number DESC LIMIT $3";
        let (partner, name) = (endpoint.partner.as_bytes(), endpoint.endpoint.as_bytes());
        let rows = self.session().await?.query(LATEST, &[&partner, &name, &whole(limit)]).await?;
        Ok(rows.iter().map(confirmation).collect::<Result<_, _>>()?)
    }

    async fn note_visit(
        &self,
        visited: &Confirmation,
        visit: Visit,
        journal: Option<JournalEntry>,
    ) -> Result<bool, RecordsError> {
        const TRIED: &str = "UPDATE confirmations SET tries = tries + 1, tried_at = $3, why = $4
            WHERE number = $1 AND id = $2 AND state = 0 RETURNING 1";
        const ENDED: &str =
            "UPDATE confirmations SET tries = tries + 1, tried_at = $8, why = $9, state = $10, link = NULL
            WHERE number = $6 AND id = $7 AND state = 0";
        let (number, id, at) = (entry_integer(visited.number)?, visited.handshake.0, visit.at.micros());
        let why = visit.why.as_deref().map(str::as_bytes);
        match journal {
            None => {
                let noted = self.session().await?.query(TRIED, &[&number, &id, &at, &why]).await?;
                Ok(!noted.is_empty())
            }
            Some(journal) => {
                let state = confirmation_code(visit.state);
                self.act(&journal, ENDED, &[&number, &id, &at, &why, &state]).await
            }
        }
    }
}

fn confirmation(row: &Row) -> Result<Confirmation, PostgresError> {
    let (partner, endpoint): (String, String) = (read(row, 2)?, read(row, 3)?);
    Ok(Confirmation {
        number: read(row, 0)?,
        handshake: read(row, 1)?,
        endpoint: EndpointName::new(partner, endpoint),
        asked_at: read(row, 4)?,
        until: read(row, 5)?,
        link: None,
        state: read(row, 6)?,
        tries: read(row, 7)?,
        tried_at: read_some(row, 8)?,
        why: read_some(row, 9)?,
    })
}

impl Column for ConfirmationState {
    type Stored = i16;

    fn of(stored: i16) -> Option<Self> {
        confirmation_of(stored)
    }
}

/// Rows of `confirmations` that a commit adds.
#[derive(Default)]
pub(super) struct Asked {
    numbers: Vec<i64>,
    ids: Vec<Uuid>,
    partners: Vec<Vec<u8>>,
    endpoints: Vec<Vec<u8>>,
    times: Vec<i64>,
    ends: Vec<i64>,
    links: Vec<Option<Vec<u8>>>,
}

impl Asked {
    /// Adds what an entry asks for.
    pub(super) fn push(&mut self, asked: &Confirmation) -> Result<(), RecordsError> {
        self.numbers.push(entry_integer(asked.number)?);
        self.ids.push(asked.handshake.0);
        self.partners.push(asked.endpoint.partner.as_bytes().to_vec());
        self.endpoints.push(asked.endpoint.endpoint.as_bytes().to_vec());
        self.times.push(asked.asked_at.micros());
        self.ends.push(asked.until.micros());
        self.links.push(asked.link.clone().map(String::into_bytes));
        Ok(())
    }

    /// The step that keeps them, if there are any.
    pub(super) fn step(&self) -> Option<Step<'_>> {
        let sql = "INSERT INTO confirmations (number, id, partner, endpoint, asked_at, until, link) \
                   SELECT w.* FROM unnest($1::bigint[], $2::uuid[], $3::bytea[], $4::bytea[], $5::bigint[], \
                   $6::bigint[], $7::bytea[]) AS w";
        let parameters: Vec<&(dyn ToSql + Sync)> = vec![
            &self.numbers,
            &self.ids,
            &self.partners,
            &self.endpoints,
            &self.times,
            &self.ends,
            &self.links,
        ];
        (!self.numbers.is_empty()).then_some(Step { sql, parameters })
    }
}
