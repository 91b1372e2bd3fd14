//! Room `ledger`, PostgreSQL records: what a replay needs to know of earlier events.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tokio_postgres::Row;

use super::{
    columns::read,
    feed::{stored_event, stored_events},
};
use crate::{
    ledger::{
        RecordsError, ReplayTarget,
        postgres::{PostgresError, Session, column},
        records::columns::place,
    },
    model::{EventRef, OutcomeKind, StoredEvent},
};

const KNOWN: &str = "SELECT x.place, x.outcome, COALESCE(x.generation,
      (SELECT o.generation FROM external_events o WHERE o.place = x.owner LIMIT 1), 0), x.endpoint, x.external_id
    FROM unnest($1::bigint[]) AS w (place)
    CROSS JOIN LATERAL (SELECT * FROM external_events k WHERE k.place = w.place OFFSET 0) x";

/// The places of the external events that share id and generation and were ever translated.
const SAME_FACT: &str = "SELECT w.place, x.place
    FROM unnest($1::bigint[], $2::int[], $3::bytea[], $4::bigint[]) AS w (place, endpoint, external_id, generation)
    CROSS JOIN LATERAL (
      SELECT k.place, k.received_at FROM owners k
      WHERE k.endpoint = w.endpoint AND k.external_id = w.external_id AND k.generation = w.generation
      UNION ALL
      SELECT k.place, k.received_at FROM external_events k
      WHERE k.generation IS NULL AND k.external_id = w.external_id AND k.endpoint = w.endpoint AND w.generation =
        COALESCE((SELECT o.generation FROM external_events o WHERE o.place = k.owner LIMIT 1), 0)) f
    CROSS JOIN LATERAL (SELECT k.place FROM external_events k WHERE k.place = f.place
      AND k.received_at = f.received_at AND (k.domain_events > 0 OR k.replays > 0) OFFSET 0) x";

/// An external event that a replay names.
struct Known {
    outcome: OutcomeKind,
    generation: u32,
    endpoint: i32,
    external_id: Option<Vec<u8>>,
}

/// What a replay needs of the events it names; unknown places are left out.
pub(super) async fn targets(
    session: &Session,
    events: &[EventRef],
) -> Result<Vec<ReplayTarget>, RecordsError> {
    let places = events.iter().map(|at| place(*at)).collect::<Result<Vec<_>, _>>()?;
    let rows = session.query(KNOWN, &[&places]).await?;
    let known = rows.iter().map(known).collect::<Result<HashMap<_, _>, _>>()?;
    let facts = facts(session, &known).await?;
    let published = published(session, &facts).await?;
    let target = |(at, place): (&EventRef, &i64)| {
        let known = known.get(place)?;
        let mut made: Vec<_> =
            facts.get(place)?.iter().filter_map(|place| published.get(place)).flatten().collect();
        made.sort_by_key(|event| event.number);
        let published = made.into_iter().cloned().collect();
        Some(ReplayTarget { at: *at, outcome: known.outcome, generation: known.generation, published })
    };
    Ok(events.iter().zip(&places).filter_map(target).collect())
}

fn known(row: &Row) -> Result<(i64, Known), PostgresError> {
    let known = Known {
        outcome: read(row, 1)?,
        generation: read(row, 2)?,
        endpoint: column(row, 3)?,
        external_id: column(row, 4)?,
    };
    Ok((column(row, 0)?, known))
}

/// For each place, the places whose domain events tell the same fact.
async fn facts(
    session: &Session,
    known: &HashMap<i64, Known>,
) -> Result<BTreeMap<i64, BTreeSet<i64>>, PostgresError> {
    let nameless = known.iter().filter(|(_, event)| event.external_id.is_none());
    let mut facts: BTreeMap<_, _> = nameless.map(|(place, _)| (*place, BTreeSet::from([*place]))).collect();
    let (mut places, mut endpoints, mut ids, mut generations) = (vec![], vec![], vec![], vec![]);
    for (place, event) in known {
        if let Some(id) = &event.external_id {
            facts.insert(*place, BTreeSet::new());
            places.push(*place);
            endpoints.push(event.endpoint);
            ids.push(id.as_slice());
            generations.push(i64::from(event.generation));
        }
    }
    for row in session.query(SAME_FACT, &[&places, &endpoints, &ids, &generations]).await? {
        facts.entry(column(&row, 0)?).or_default().insert(column(&row, 1)?);
    }
    Ok(facts)
}

/// The domain events made by the places, first appearances only.
async fn published(
    session: &Session,
    facts: &BTreeMap<i64, BTreeSet<i64>>,
) -> Result<HashMap<i64, Vec<StoredEvent>>, PostgresError> {
    let places: Vec<i64> = facts.values().flatten().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let of = "unnest($1::bigint[]) AS w (place) \
              CROSS JOIN LATERAL (SELECT * FROM domain_events k \
              WHERE k.made_by = w.place AND k.repeats IS NULL OFFSET 0) d";
    let sql = stored_events(of);
    let mut published: HashMap<i64, Vec<StoredEvent>> = HashMap::new();
    for row in session.query(&sql, &[&places]).await? {
        published.entry(column(&row, 10)?).or_default().push(stored_event(&row)?);
    }
    Ok(published)
}
