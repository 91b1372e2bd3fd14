//! Room `ledger`, the log over PostgreSQL: the reading half. Serves what is committed, in order, and reports as damaged what
//! is not what was written.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use tokio::sync::watch;
use tokio_postgres::Row;

use super::{
    page::{Page, Step},
    progress::Progress,
    retention,
    rows::{Endpoints, Reach},
    signed,
};
use crate::{
    ledger::{
        LogError, LogItem, LogReader, Stretch,
        postgres::{Database, PostgresError, Session, column},
    },
    model::{EndpointName, EntryNumber, Timestamp},
};

/// Who reads for some endpoints asks at most so often before it tells how far it came: others' entries may be many.
const MAX_QUESTIONS: usize = 16;

/// One statement, so one moment: nothing is missing only because it came in between.
const REACH: &str = "SELECT reach.first, reach.last,
        b.last, b.first, b.received_at, b.written_at, b.batch, b.bytes,
        CASE WHEN $3 THEN b.endpoints END, CASE WHEN $3 THEN b.lengths END, b.whose_checksum
    FROM (SELECT (SELECT first FROM log_start) AS first, (SELECT last FROM log_end) AS last) reach
    LEFT JOIN LATERAL (
        SELECT * FROM log_batches WHERE log_batches.last > $1 ORDER BY log_batches.last LIMIT $2) b ON true
    ORDER BY b.last";

/// The rows of some places of some batches, in any order. Batch by batch (OFFSET 0 keeps it so), by the key of its
/// partition alone. How many batches are asked for the planner does not see, or it would make a new plan each time.
const ROWS: &str = "SELECT asked.batch_index, e.place, e.checksum, e.meta, e.body
    FROM unnest((SELECT $1::bigint[]), (SELECT $2::bigint[]), (SELECT $3::int[]), (SELECT $4::int[]))
        WITH ORDINALITY AS asked (written_at, batch, least, most, batch_index)
    CROSS JOIN LATERAL (
        SELECT place, checksum, meta, body FROM log_entries
        WHERE written_at = asked.written_at AND batch = asked.batch AND place BETWEEN asked.least AND asked.most
        OFFSET 0) e";

/// Whether the partition of any of these times is out of its table, and not yet dropped.
const OUT: &str = "SELECT EXISTS (SELECT FROM partitions p JOIN unnest($1::bigint[]) AS written (at)
    ON p.starts <= written.at AND written.at < p.ends
    WHERE p.parent = 'log_entries' AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass(p.name)))";

/// A reader of a log over PostgreSQL; clones share what they know.
#[derive(Clone, Debug)]
pub struct PostgresReader {
    pub(super) database: Database,
    pub(super) progress: Arc<Progress>,
}

impl PostgresReader {
    pub(super) fn new(database: Database, progress: Arc<Progress>) -> Self {
        Self { database, progress }
    }

    /// Asks how far the log reaches: so a process learns what others appended and dropped. To be called again and again.
    pub async fn look(&self) -> Result<(), LogError> {
        let session = self.database.session().await?;
        self.reach(&session, EntryNumber(u64::MAX), 1, false).await?;
        Ok(())
    }

    /// Changes when this process learns that the log reaches further, whoever appended.
    pub fn news(&self) -> watch::Receiver<EntryNumber> {
        self.progress.news()
    }

    /// The batches that follow, and if `whose`, what they say of whose their entries are.
    async fn reach(
        &self,
        session: &Session,
        after: EntryNumber,
        batches: usize,
        whose: bool,
    ) -> Result<Reach, PostgresError> {
        let question = self.progress.question();
        let rows = session.query(REACH, &[&signed(after.0), &signed(batches as u64), &whose]).await?;
        let reach = Reach::of(&rows)?;
        self.progress.answer(question, reach.first, reach.last);
        Ok(reach)
    }

    /// Adds what follows to a page; `false` when it is full or nothing follows.
    async fn fill(&self, session: &Session, page: &mut Page) -> Result<bool, LogError> {
        let most = page.asks();
        let reach = self.reach(session, page.after, most, !page.is_for_all()).await?;
        if page.after >= reach.last {
            return Ok(false);
        }
        if page.after.next() < reach.first {
            return Err(LogError::Pruned { first: reach.first });
        }
        let steps = page.plan(&reach, most);
        let rows = rows(session, &steps).await?;
        if rows.iter().flatten().any(Option::is_none) {
            self.is_missing(session, page.after, &steps).await?;
        }
        let mut rows = rows.into_iter();
        for step in &steps {
            let found = step.asked().and_then(|_| rows.next()).unwrap_or_default();
            page.add(step, &found)?;
        }
        Ok(!page.full)
    }

    /// That rows are not there is no damage when they were dropped since we asked, or their partition is on its way out.
    async fn is_missing(
        &self,
        session: &Session,
        after: EntryNumber,
        steps: &[Step],
    ) -> Result<(), LogError> {
        let first = self.reach(session, after, 1, false).await?.first;
        if after.next() < first {
            return Err(LogError::Pruned { first });
        }
        let written: Vec<i64> = steps.iter().filter_map(Step::written_at).collect();
        let row = session.query_one(OUT, &[&written]).await?;
        if column(&row, 0)? {
            return Err(LogError::Unavailable("a partition is being dropped".to_owned()));
        }
        Ok(())
    }

    async fn page(&self, mut page: Page) -> Result<Page, LogError> {
        let session = self.database.session().await?;
        let mut questions = 1;
        while !page.full
            && self.fill(&session, &mut page).await?
            && (page.is_for_all() || questions < MAX_QUESTIONS)
        {
            questions += 1;
        }
        Ok(page)
    }
}

/// For each step that asks, the rows of its numbers, in order; `None` where there is none.
async fn rows(session: &Session, steps: &[Step]) -> Result<Vec<Vec<Option<Row>>>, PostgresError> {
    let (mut written, mut keys, mut least, mut most) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut found: Vec<Vec<Option<Row>>> = Vec::new();
    for (at, key, from, to) in steps.iter().filter_map(Step::asked) {
        found.push((from..=to).map(|_| None).collect());
        written.push(at);
        keys.push(key);
        least.push(from);
        most.push(to);
    }
    if found.is_empty() {
        return Ok(found);
    }
    for row in session.query(ROWS, &[&written, &keys, &least, &most]).await? {
        let step = usize::try_from(column::<i64>(&row, 0)? - 1).unwrap_or(usize::MAX);
        let place = column::<i32>(&row, 1)? - least.get(step).copied().unwrap_or_default();
        let slot = found.get_mut(step).and_then(|rows| rows.get_mut(usize::try_from(place).ok()?));
        if let Some(slot) = slot {
            *slot = Some(row);
        }
    }
    Ok(found)
}

#[async_trait]
impl LogReader for PostgresReader {
    fn durable(&self) -> EntryNumber {
        self.progress.last()
    }

    fn first(&self) -> EntryNumber {
        self.progress.first()
    }

    async fn read_after(
        &self,
        after: EntryNumber,
        max_entries: usize,
        max_bytes: usize,
    ) -> Result<Vec<LogItem>, LogError> {
        Ok(self.page(Page::after(after, max_entries, max_bytes)).await?.items)
    }

    async fn read_for(
        &self,
        endpoints: &BTreeSet<EndpointName>,
        (after, until): (EntryNumber, EntryNumber),
        max_entries: usize,
        max_bytes: usize,
    ) -> Result<Stretch, LogError> {
        let page = Page::after(after, max_entries, max_bytes).of(Endpoints::from(endpoints), until);
        let page = self.page(page).await?;
        Ok(Stretch { items: page.items, through: page.after })
    }

    async fn entry(&self, number: EntryNumber) -> Result<Option<LogItem>, LogError> {
        let Some(before) = number.0.checked_sub(1) else { return Ok(None) };
        Ok(self.page(Page::after(EntryNumber(before), 1, 0)).await?.items.into_iter().next())
    }

    async fn scrub(
        &self,
        after: EntryNumber,
        max_bytes: usize,
    ) -> Result<(Vec<LogItem>, EntryNumber), LogError> {
        let after = after.max(EntryNumber(self.first().0.saturating_sub(1)));
        let mut page = self.page(Page::after(after, usize::MAX, max_bytes)).await?;
        page.items.retain(|item| matches!(item, LogItem::Damaged { .. }));
        Ok((page.items, page.after))
    }

    async fn frame(&self) -> Result<Vec<String>, LogError> {
        Ok(retention::frame(&self.database).await?)
    }

    async fn prunable(&self, before: Timestamp, through: EntryNumber) -> Result<EntryNumber, LogError> {
        let session = self.database.session().await?;
        let first = self.reach(&session, EntryNumber(u64::MAX), 1, false).await?.first;
        Ok(retention::droppable(&session, before, through).await?.left.max(first))
    }

    async fn prune(&self, before: Timestamp, through: EntryNumber) -> Result<EntryNumber, LogError> {
        retention::drop(&self.database, before, through).await?;
        self.look().await?;
        Ok(self.first())
    }
}
