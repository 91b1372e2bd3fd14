//! Room `ledger`, PostgreSQL records: what stage 1 asks before it decides. Facts only; the verdict is `dedupe`'s.

use async_trait::async_trait;

use super::{
    PostgresRecords,
    columns::{read, read_some},
    commit::commit,
    replays,
};
use crate::{
    ledger::{
        Owner, RecordsError, ReplayTarget, TranslationCommit, TranslationRecords,
        postgres::{PostgresError, Session},
    },
    model::{EndpointName, EntryNumber, EventNumber, EventRef, Timestamp},
};

const OWNERS: &str = "SELECT o.place, o.received_at, o.identity_digest, o.generation
    FROM unnest($1::int[], $2::bytea[]) WITH ORDINALITY AS w (endpoint, external_id, nth)
    LEFT JOIN LATERAL (SELECT * FROM owners k
      WHERE k.endpoint = w.endpoint AND k.external_id = w.external_id ORDER BY k.place DESC LIMIT 1) o ON true
    ORDER BY w.nth";

/// The time leaves the partitions from before it out. Compared and ordered as rows of the index are: an order by number alone
/// the planner would rather have from the numbers' own index, and search backwards through all entries.
const SAME_BODIES: &str = "SELECT e.number
    FROM unnest($1::int[], $2::bytea[]) WITH ORDINALITY AS w (endpoint, body_sha256, nth)
    LEFT JOIN LATERAL (SELECT k.number FROM entries k
      WHERE k.remembered AND (k.body_sha256, k.number) >= (w.body_sha256, 0)
        AND (k.body_sha256, k.number) <= (w.body_sha256, 9223372036854775807)
        AND k.endpoint = w.endpoint AND k.received_at >= $3
      ORDER BY k.body_sha256 DESC, k.number DESC LIMIT 1) e ON true
    ORDER BY w.nth";

#[async_trait]
impl TranslationRecords for PostgresRecords {
    async fn cursors(&self) -> Result<Vec<(EndpointName, EntryNumber)>, RecordsError> {
        Ok(cursors(&self.session().await?).await?)
    }

    async fn owners(&self, ids: &[(EndpointName, String)]) -> Result<Vec<Option<Owner>>, RecordsError> {
        let session = self.session().await?;
        let endpoints = self.known(&session, ids.iter().map(|(endpoint, _)| endpoint)).await?;
        let ids: Vec<_> = ids.iter().map(|(_, id)| id.as_bytes()).collect();
        let rows = session.query(OWNERS, &[&endpoints, &ids]).await?;
        let owners = rows.iter().map(|row| {
            let Some(at) = read_some(row, 0)? else { return Ok(None) };
            let owner = Owner {
                at,
                received_at: read(row, 1)?,
                identity_digest: read(row, 2)?,
                generation: read(row, 3)?,
            };
            Ok::<_, PostgresError>(Some(owner))
        });
        Ok(owners.collect::<Result<_, _>>()?)
    }

    async fn same_bodies(
        &self,
        bodies: &[(EndpointName, [u8; 32])],
        since: Timestamp,
    ) -> Result<Vec<Option<EntryNumber>>, RecordsError> {
        let session = self.session().await?;
        let endpoints = self.known(&session, bodies.iter().map(|(endpoint, _)| endpoint)).await?;
        let bodies: Vec<_> = bodies.iter().map(|(_, body)| body.as_slice()).collect();
        let rows = session.query(SAME_BODIES, &[&endpoints, &bodies, &since.micros()]).await?;
        Ok(rows.iter().map(|row| read_some(row, 0)).collect::<Result<_, _>>()?)
    }

    async fn replay_targets(&self, events: &[EventRef]) -> Result<Vec<ReplayTarget>, RecordsError> {
        replays::targets(&self.session().await?, events).await
    }

    async fn commit(&self, worked: TranslationCommit) -> Result<EventNumber, RecordsError> {
        commit(self, &worked).await
    }
}

impl PostgresRecords {
    /// The ids of endpoints; `None` for those that nothing came in at.
    async fn known(
        &self,
        session: &Session,
        endpoints: impl Iterator<Item = &EndpointName> + Send,
    ) -> Result<Vec<Option<i32>>, PostgresError> {
        let mut ids = Vec::new();
        for endpoint in endpoints {
            ids.push(self.names.known_endpoint(session, endpoint).await?);
        }
        Ok(ids)
    }
}

/// The cursor of every endpoint that has one, by name.
pub(super) async fn cursors(session: &Session) -> Result<Vec<(EndpointName, EntryNumber)>, PostgresError> {
    const CURSORS: &str = "SELECT p.partner, p.endpoint, c.through FROM cursors c \
        JOIN endpoints p ON p.id = c.endpoint ORDER BY p.partner, p.endpoint";
    let rows = session.query(CURSORS, &[]).await?;
    let cursor = |row| {
        let name = EndpointName::new(read::<String>(row, 0)?, read::<String>(row, 1)?);
        Ok((name, read(row, 2)?))
    };
    rows.iter().map(cursor).collect()
}
