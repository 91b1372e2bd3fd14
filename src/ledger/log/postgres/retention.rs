//! Room `ledger`, the log over PostgreSQL: dropping whole partitions, and whether the numbers join up.

use super::{ENTRIES, signed, unsigned};
use crate::{
    ledger::postgres::{
        Database, Partition, PostgresError, Session, attach, column, detach, drop_detached, partitions,
    },
    model::{EntryNumber, Timestamp},
};

/// A look at the frame names so many faults of a kind at most.
const MAX_NAMED: i64 = 100;
/// Rows of batches are deleted so many at a time, so that no statement takes long.
const DELETED_AT_ONCE: i64 = 10_000;

/// What retention may drop.
#[derive(Debug)]
pub(super) struct Droppable {
    partitions: Vec<Partition>,
    /// The first number that would be left; 1 when nothing would go.
    pub(super) left: EntryNumber,
}

/// The oldest partitions whose entries are all older than `before` and at or below `through`; never the one with the last
/// entry. Whatever else is below what they leave is as old, because `received_at` never decreases along the log.
pub(super) async fn droppable(
    session: &Session,
    before: Timestamp,
    through: EntryNumber,
) -> Result<Droppable, PostgresError> {
    let mut droppable = Droppable { partitions: Vec::new(), left: EntryNumber(1) };
    for partition in partitions(session, ENTRIES).await? {
        match holds(session, &partition).await? {
            Holds::Nothing if partition.ends <= before => {}
            Holds::Through { last, received_at } if last <= through && received_at < Some(before) => {
                droppable.left = droppable.left.max(last.next());
            }
            _ => break,
        }
        droppable.partitions.push(partition);
    }
    Ok(droppable)
}

/// What a partition holds.
enum Holds {
    Nothing,
    /// Nothing above `last`, which was accepted then; no time when it is no longer known, because the log begins later.
    Through {
        last: EntryNumber,
        received_at: Option<Timestamp>,
    },
    /// The last entry of the log.
    End,
}

async fn holds(session: &Session, partition: &Partition) -> Result<Holds, PostgresError> {
    const TURN: &str =
        "SELECT log_end.starts = $1 AND log_end.last > 0, turn.last, b.received_at FROM log_end
        LEFT JOIN log_turns turn ON turn.starts = $1 LEFT JOIN log_batches b ON b.last = turn.last";
    let row = session.query_one(TURN, &[&partition.starts.micros()]).await?;
    if column(&row, 0)? {
        return Ok(Holds::End);
    }
    let Some(last) = column::<Option<i64>>(&row, 1)? else { return Ok(Holds::Nothing) };
    let received_at = column::<Option<i64>>(&row, 2)?.map(Timestamp::from_micros);
    Ok(Holds::Through { last: EntryNumber(unsigned(last)?), received_at })
}

/// Drops it. First the log says that it begins later, so that nobody takes for damage what is going; when this ends midway
/// the next time goes on. Several processes may do it at once.
pub(super) async fn drop(
    database: &Database,
    before: Timestamp,
    through: EntryNumber,
) -> Result<(), PostgresError> {
    const BEGINS: &str = "UPDATE log_start SET first = $1 WHERE first < $1";
    const FORGET: &str = "WITH gone AS (DELETE FROM log_batches WHERE last IN (
            SELECT last FROM log_batches WHERE last < (SELECT first FROM log_start) ORDER BY last LIMIT $1)
            RETURNING 1)
        SELECT count(*) FROM gone";
    let session = database.session().await?;
    let droppable = droppable(&session, before, through).await?;
    session.query(BEGINS, &[&signed(droppable.left.0)]).await?;
    for partition in &droppable.partitions {
        drop_partition(&session, partition, droppable.left).await?;
    }
    loop {
        let row = session.query_one(FORGET, &[&DELETED_AT_ONCE]).await?;
        if column::<i64>(&row, 0)? < DELETED_AT_ONCE {
            return Ok(());
        }
    }
}

/// A writer whose clock is far behind may have had a batch under way: once nobody writes any more, it is looked at again.
async fn drop_partition(
    session: &Session,
    partition: &Partition,
    left: EntryNumber,
) -> Result<(), PostgresError> {
    detach(session, ENTRIES, partition).await?;
    match holds(session, partition).await? {
        Holds::Nothing => {}
        Holds::Through { last, .. } if last < left => {}
        Holds::Through { .. } | Holds::End => return attach(session, ENTRIES, partition).await,
    }
    drop_detached(session, partition).await?;
    session.query("DELETE FROM log_turns WHERE starts = $1", &[&partition.starts.micros()]).await?;
    Ok(())
}

/// What is wrong with the numbers and the partitions, without looking at an entry.
pub(super) async fn frame(database: &Database) -> Result<Vec<String>, PostgresError> {
    const GAPS: &str = "SELECT format('%s to %s: no batch holds these numbers', after + 1, first - 1)
        FROM (SELECT first, lag(last) OVER (ORDER BY last) AS after FROM log_batches) joined
        WHERE first <> after + 1 ORDER BY first LIMIT $1";
    const ENDS: &str = "SELECT format('the batches hold %s to %s, and %s to %s is what they should hold',
            least_held, most_held, log_start.first, log_end.last)
        FROM log_start, log_end, (SELECT min(first) AS least_held, max(last) AS most_held FROM log_batches) held
        WHERE log_end.last >= log_start.first
            AND (least_held IS NULL OR least_held > log_start.first OR most_held <> log_end.last) LIMIT $1";
    const HOMELESS: &str = "SELECT format('%s to %s: their partition is missing', b.first, b.last)
        FROM log_batches b, log_start
        WHERE b.last >= log_start.first AND NOT EXISTS (
            SELECT FROM partitions p WHERE p.parent = 'log_entries'
                AND p.starts <= b.written_at AND b.written_at < p.ends
                AND EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass(p.name)))
        ORDER BY b.first LIMIT $1";
    let session = database.session().await?;
    let mut wrong = Vec::new();
    for question in [GAPS, ENDS, HOMELESS] {
        for row in session.query(question, &[&MAX_NAMED]).await? {
            wrong.push(column(&row, 0)?);
        }
    }
    Ok(wrong)
}
