//! Room `ledger`, PostgreSQL records: a transaction that is sent whole before its first answer is waited for, so that no
//! lock is held while anything travels.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
};

use tokio_postgres::{Error, Row, types::ToSql};

use crate::ledger::postgres::{PostgresError, Session};

/// Whatever the server's default is: what a step reads must be what was committed when it began.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";

/// One statement of a transaction.
pub(super) struct Step<'a> {
    /// The statement.
    pub(super) sql: &'static str,
    /// Its values.
    pub(super) parameters: Vec<&'a (dyn ToSql + Sync)>,
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Vec<Row>, Error>> + Send + 'a>>;

/// Runs the steps in one transaction; returns the rows of the last. When one fails the server undoes all, and the first
/// failure is returned.
pub(super) async fn transact(session: &Session, steps: &[Step<'_>]) -> Result<Vec<Row>, PostgresError> {
    let answers = session.bounded(async {
        let client = session.client()?;
        let mut statements = Vec::with_capacity(steps.len());
        for step in steps {
            statements.push(client.prepare_cached(step.sql).await?);
        }
        let plain = |sql| async move { client.batch_execute(sql).await.map(|()| Vec::new()) };
        let mut answers: Vec<Answer<'_>> = vec![Box::pin(plain(BEGIN))];
        for (statement, step) in statements.iter().zip(steps) {
            answers.push(Box::pin(client.query(statement, &step.parameters)));
        }
        answers.push(Box::pin(plain("COMMIT")));
        Ok(in_order(answers).await)
    });
    let mut rows = answers.await?.into_iter().collect::<Result<Vec<_>, _>>()?;
    // The last answer is that of COMMIT.
    rows.pop();
    Ok(rows.pop().unwrap_or_default())
}

/// Begins each before the next, which is when a statement is sent, and waits for all.
async fn in_order(answers: Vec<Answer<'_>>) -> Vec<Result<Vec<Row>, Error>> {
    let mut waiting: Vec<_> = answers.into_iter().map(|answer| (answer, None)).collect();
    poll_fn(|context| {
        let mut all = true;
        for (answer, given) in &mut waiting {
            if given.is_none() {
                match answer.as_mut().poll(context) {
                    Poll::Ready(answer) => *given = Some(answer),
                    Poll::Pending => all = false,
                }
            }
        }
        if all { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    waiting.into_iter().filter_map(|(_, given)| given).collect()
}
