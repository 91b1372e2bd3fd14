//! Room `ledger`, PostgreSQL records: what people and the system did: journal, refusals, tokens, desks. Never holds a
//! body, a secret or a token itself.

use async_trait::async_trait;
use tokio_postgres::{Row, types::ToSql};

use super::{
    PostgresRecords,
    columns::{read, read_some},
    query::Query,
};
use crate::{
    ledger::{
        ActRecords, JournalEntry, JournalRow, MAX_REFUSALS, RecordsError, RefusalFilter, Refused, TokenRow,
        postgres::{PostgresError, column},
        records::columns::{entry_integer, integer, whole},
    },
    model::{EntryNumber, Revision, Timestamp},
};

#[async_trait]
impl ActRecords for PostgresRecords {
    async fn journal(&self, entry: JournalEntry) -> Result<(), RecordsError> {
        self.act(&entry, "SELECT 1", &[]).await?;
        Ok(())
    }

    async fn note_dropped(&self, through: EntryNumber, journal: JournalEntry) -> Result<(), RecordsError> {
        let noted = "UPDATE retention SET dropped_through = $6 WHERE dropped_through < $6";
        self.act(&journal, noted, &[&entry_integer(through)?]).await?;
        Ok(())
    }

    async fn journal_page(&self, before: Option<u64>, limit: usize) -> Result<Vec<JournalRow>, RecordsError> {
        const PAGE: &str = "SELECT number, at, who, act, subject, detail FROM journal
            WHERE number < $1 ORDER BY number DESC LIMIT $2";
        let before = before.and_then(|number| i64::try_from(number).ok()).unwrap_or(i64::MAX);
        let rows = self.session().await?.query(PAGE, &[&before, &whole(limit)]).await?;
        Ok(rows.iter().map(journal_row).collect::<Result<_, _>>()?)
    }

    async fn keep_refusals(&self, refused: &[Refused], keep: usize) -> Result<(), RecordsError> {
        const KEEP: &str = "SELECT keep_named_refusals($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
        let words = |word: fn(&Refused) -> &str| refused.iter().map(|one| word(one).as_bytes()).collect();
        let times: Vec<_> = refused.iter().map(|one| one.at.micros()).collect();
        let partners: Vec<_> = words(|one| &one.partner);
        let endpoints: Vec<_> = words(|one| &one.endpoint);
        let codes: Vec<_> = words(|one| &one.code);
        let statuses: Vec<_> = refused.iter().map(|one| i32::from(one.status)).collect();
        let details: Vec<_> = words(|one| &one.detail);
        let peers: Vec<_> = refused.iter().map(|one| one.peer.as_deref().map(str::as_bytes)).collect();
        let sizes = refused.iter().map(|one| integer(one.size)).collect::<Result<Vec<_>, _>>()?;
        let requests: Vec<_> = refused.iter().map(|one| one.request.as_deref().map(str::as_bytes)).collect();
        let (keep, most) = (whole(keep), whole(MAX_REFUSALS));
        let parameters: [&(dyn ToSql + Sync); 11] = [
            &times, &partners, &endpoints, &codes, &statuses, &details, &peers, &sizes, &requests, &keep,
            &most,
        ];
        self.session().await?.query(KEEP, &parameters).await?;
        Ok(())
    }

    async fn refusals(&self, filter: &RefusalFilter) -> Result<Vec<Refused>, RecordsError> {
        let mut query = Query::default();
        let mut conditions = vec!["true".to_owned()];
        for (column, wanted) in [
            ("partner", &filter.partner),
            ("endpoint", &filter.endpoint),
            ("code", &filter.code),
            ("request", &filter.request),
        ] {
            if let Some(wanted) = wanted {
                let wanted = query.bind(wanted.clone().into_bytes());
                conditions.push(format!("{column} = {wanted}"));
            }
        }
        let limit = query.bind(whole(filter.limit));
        query.sql = format!(
            "SELECT at, partner, endpoint, code, status, detail, peer, size, request FROM refusals \
             WHERE {} ORDER BY number DESC LIMIT {limit}",
            conditions.join(" AND ")
        );
        let rows = self.session().await?.query(&query.sql, &query.parameters()).await?;
        Ok(rows.iter().map(refused).collect::<Result<_, _>>()?)
    }

    async fn create_token(&self, token: TokenRow, journal: JournalEntry) -> Result<(), RecordsError> {
        let made =
            "INSERT INTO tokens (name, role, sha256, created_at, revoked_at) VALUES ($6, $7, $8, $9, $10)";
        let (name, role, sha256) = (token.name.as_bytes(), token.role.as_bytes(), token.sha256.as_bytes());
        let (created_at, revoked_at) = (token.created_at.micros(), token.revoked_at.map(Timestamp::micros));
        self.act(&journal, made, &[&name, &role, &sha256, &created_at, &revoked_at]).await?;
        Ok(())
    }

    async fn tokens(&self) -> Result<Vec<TokenRow>, RecordsError> {
        const TOKENS: &str = "SELECT name, role, sha256, created_at, revoked_at FROM tokens ORDER BY name";
        let rows = self.session().await?.query(TOKENS, &[]).await?;
        Ok(rows.iter().map(token_row).collect::<Result<_, _>>()?)
    }

    async fn revoke_token(&self, name: &str, journal: JournalEntry) -> Result<bool, RecordsError> {
        let revoked = "UPDATE tokens SET revoked_at = $7 WHERE name = $6 AND revoked_at IS NULL";
        self.act(&journal, revoked, &[&name.as_bytes(), &journal.at.micros()]).await
    }

    async fn keep_desk(
        &self,
        partner: &str,
        revision: &Revision,
        sources: &[u8],
        now: Timestamp,
    ) -> Result<(), RecordsError> {
        const KEEP: &str = "WITH kept AS (INSERT INTO desks (partner, revision, sources, kept_at)
              VALUES ($1, $2, $3, $4) ON CONFLICT (partner, revision) DO NOTHING)
            INSERT INTO latest_desks (partner, revision) VALUES ($1, $2)
            ON CONFLICT (partner) DO UPDATE SET revision = excluded.revision";
        let parameters: [&(dyn ToSql + Sync); 4] =
            [&partner.as_bytes(), &revision.0.as_bytes(), &sources, &now.micros()];
        self.session().await?.query(KEEP, &parameters).await?;
        Ok(())
    }

    async fn last_desks(&self) -> Result<Vec<(String, Revision, Vec<u8>)>, RecordsError> {
        const LAST: &str = "SELECT l.partner, d.revision, d.sources FROM latest_desks l
            JOIN desks d ON d.partner = l.partner AND d.revision = l.revision ORDER BY l.partner";
        let rows = self.session().await?.query(LAST, &[]).await?;
        let desks =
            rows.iter().map(|row| Ok::<_, PostgresError>((read(row, 0)?, read(row, 1)?, column(row, 2)?)));
        Ok(desks.collect::<Result<_, _>>()?)
    }
}

impl PostgresRecords {
    /// Does something (`change`, whose values begin at `$6`) and journals it, both or neither; `false` when nothing changed,
    /// and then there is nothing in the journal either.
    pub(super) async fn act(
        &self,
        journal: &JournalEntry,
        change: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<bool, RecordsError> {
        let session = self.session().await?;
        self.partitions.cover(&session, &["journal"], std::iter::once(journal.at)).await?;
        let changed =
            if change.starts_with("SELECT") { change.to_owned() } else { format!("{change} RETURNING 1") };
        let sql = format!(
            "WITH changed AS ({changed}) INSERT INTO journal (number, at, who, act, subject, detail) \
             SELECT nextval('journal_numbers'), $1::bigint, $2::bytea, $3::bytea, $4::bytea, $5::bytea FROM changed \
             RETURNING number"
        );
        let (at, detail) = (journal.at.micros(), journal.detail.to_string().into_bytes());
        let (who, act, subject) =
            (journal.who.as_bytes(), journal.act.as_bytes(), journal.subject.as_bytes());
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&at, &who, &act, &subject, &detail];
        parameters.extend(values);
        let written = session.query(&sql, &parameters).await.map_err(|error| self.partitions.after(error))?;
        Ok(!written.is_empty())
    }
}

fn journal_row(row: &Row) -> Result<JournalRow, PostgresError> {
    let detail = serde_json::from_slice(column(row, 5)?);
    Ok(JournalRow {
        number: read(row, 0)?,
        at: read(row, 1)?,
        who: read(row, 2)?,
        act: read(row, 3)?,
        subject: read(row, 4)?,
        detail: detail.map_err(|error| PostgresError::broken(error.to_string()))?,
    })
}

fn refused(row: &Row) -> Result<Refused, PostgresError> {
    Ok(Refused {
        at: read(row, 0)?,
        partner: read(row, 1)?,
        endpoint: read(row, 2)?,
        code: read(row, 3)?,
        status: read(row, 4)?,
        detail: read(row, 5)?,
        peer: read_some(row, 6)?,
        size: read(row, 7)?,
        request: read_some(row, 8)?,
    })
}

fn token_row(row: &Row) -> Result<TokenRow, PostgresError> {
    Ok(TokenRow {
        name: read(row, 0)?,
        role: read(row, 1)?,
        sha256: read(row, 2)?,
        created_at: read(row, 3)?,
        revoked_at: read_some(row, 4)?,
    })
}
