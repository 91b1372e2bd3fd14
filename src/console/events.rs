//! Room `console`: the feed: domain events since a cursor, as NDJSON or server-sent events. For consumers without a broker.

use std::{convert::Infallible, num::NonZeroUsize, sync::Arc};

use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{Stream, StreamExt, stream};
use serde::Deserialize;
use tokio::time::timeout;
use utoipa::IntoParams;

use super::{
    Console,
    access::Pass,
    problem::{Params, Problem},
};
use crate::{
    brokers::feed,
    ledger::EventFilter,
    model::{EventNumber, StoredEvent, Tenure},
};

const MAX_EVENTS: usize = 10_000;
const SSE_BATCH: usize = 500;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct FeedParams {
    /// The number of the last event you have; 0 or absent: from the beginning.
    after: Option<u64>,
    /// NDJSON only: at most so many, 1 to 10000. Fewer may come although there are more, because bytes are bounded too.
    #[param(value_type = Option<usize>, minimum = 1)]
    limit: Option<NonZeroUsize>,
    /// Only this CloudEvents type, with or without the namespace.
    r#type: Option<String>,
    /// Only this partner's.
    partner: Option<String>,
}

/// The feed. Each line is a CloudEvent with its feed number as `sequence`; with `Accept: text/event-stream` it goes on
/// as events come, `id:` is the number, and `Last-Event-ID` continues. It ends when its token is revoked.
#[utoipa::path(get, path = "/api/v1/events", operation_id = "read_feed", tag = "events",
    params(FeedParams,
        ("last-event-id" = Option<u64>, Header,
            description = "Goes before `after`: what a consumer of the live feed sends that comes back.")),
    responses((status = 200, description = "The events: one a line, or live.",
                content((String = "application/x-ndjson"), (String = "text/event-stream"))),
              (status = 409, description = "No event has that number yet (`cursor_beyond_end`): was it another ledger's?"),
              (status = 410,
                description = "Events up to there have been dropped; `first_available` is the first one left.")))]
pub(super) async fn feed(
    State(console): State<Arc<Console>>,
    Extension(pass): Extension<Pass>,
    headers: HeaderMap,
    Params(params): Params<FeedParams>,
) -> Result<Response, Problem> {
    let after = EventNumber(last_event_id(&headers)?.or(params.after).unwrap_or(0));
    let limit = params.limit.map_or(1_000, NonZeroUsize::get).min(MAX_EVENTS);
    refuse_pruned(&console, after).await?;
    let tenure = console.ledger.records.tenure();
    refuse_beyond_end(&console, after).await?;
    let event_type = params.r#type.map(|name| with_namespace(&console.namespace, name));
    let filter = EventFilter { event_type, partner: params.partner };
    if wants_event_stream(&headers) {
        let events = live(Cursor { console: console.clone(), pass, after, filter, tenure });
        let heartbeat = KeepAlive::new().interval(console.heartbeat);
        return Ok(Sse::new(events).keep_alive(heartbeat).into_response());
    }
    let events = console.ledger.records.events_after(after, limit, &filter).await?;
    let lines: Vec<u8> = events.iter().flat_map(ndjson_line).collect();
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], lines).into_response())
}

/// What a consumer sends that comes back. One that cannot be read is told so: starting over would flood it.
fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| Problem::invalid("Last-Event-ID must be an `id` of this feed, a number"))
}

fn with_namespace(namespace: &str, name: String) -> String {
    let has_it = name.strip_prefix(namespace).is_some_and(|rest| rest.starts_with('.'));
    if has_it { name } else { format!("{namespace}.{name}") }
}

fn wants_event_stream(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .any(|value| value.to_str().is_ok_and(|text| text.contains("text/event-stream")))
}

fn ndjson_line(event: &StoredEvent) -> Vec<u8> {
    let mut line = feed::line(event);
    line.push(b'\n');
    line
}

async fn refuse_pruned(console: &Console, after: EventNumber) -> Result<(), Problem> {
    let first = console.ledger.records.first_event().await?;
    if after.next() < first {
        return Err(Problem::gone("events up to there have been dropped", first.0));
    }
    Ok(())
}

/// A consumer that is ahead has its cursor from another ledger, or from this one before it was put back from a backup:
/// it would miss every event up to there without a word.
async fn refuse_beyond_end(console: &Console, after: EventNumber) -> Result<(), Problem> {
    let last = console.ledger.records.last_event().await?;
    if after <= last {
        return Ok(());
    }
    let (code, title) = ("cursor_beyond_end", "The feed does not reach that far");
    let detail =
        format!("there is no event {after} yet: the last one is {last}; is the cursor another ledger's?");
    Err(Problem::new(StatusCode::CONFLICT, code, title, detail))
}

/// Where a live reader stands.
struct Cursor {
    console: Arc<Console>,
    pass: Pass,
    after: EventNumber,
    filter: EventFilter,
    /// What `after` counts in: another server may give its numbers again.
    tenure: Tenure,
}

/// Batches as they are committed. The reader's cursor is all the state there is: a slow consumer holds up nobody.
fn live(cursor: Cursor) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(cursor, |mut cursor| async {
        let batch = next_batch(&mut cursor).await?;
        Some((stream::iter(batch), cursor))
    })
    .flatten()
}

/// Waits for the next matching events; `None` when the token is revoked, the process shuts down, the records fail or another
/// server took over: the consumer reconnects with `Last-Event-ID`.
async fn next_batch(cursor: &mut Cursor) -> Option<Vec<Result<Event, Infallible>>> {
    let mut committed = cursor.console.committed.clone();
    loop {
        let newest = *committed.borrow_and_update();
        let records = &cursor.console.ledger.records;
        let events = records.events_after(cursor.after, SSE_BATCH, &cursor.filter).await.ok()?;
        if records.tenure() != cursor.tenure {
            return None;
        }
        // After the events were read: what was committed after the token was revoked is never sent.
        if !cursor.pass.holds(&cursor.console).await.ok()? {
            return None;
        }
        if let Some(last) = events.last() {
            cursor.after = last.number;
            return Some(events.iter().map(|event| Ok(sse_event(event))).collect());
        }
        // Nothing up to `newest` matches the filter, so it need not be looked at again.
        cursor.after = cursor.after.max(newest);
        let mut stop = cursor.console.stop.clone();
        tokio::select! {
            // At least with each heartbeat the token is looked at again.
            changed = timeout(cursor.console.heartbeat, committed.changed()) => changed.unwrap_or(Ok(())).ok()?,
            _ = stop.wait_for(|stop| *stop) => return None,
        }
    }
}

fn sse_event(event: &StoredEvent) -> Event {
    let text = String::from_utf8_lossy(&feed::line(event)).into_owned();
    Event::default().id(event.number.to_string()).event(&event.event_type).data(text)
}
