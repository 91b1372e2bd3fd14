//! Room `ledger`, SQLite records: where an external id or a body was seen before, by a 64-bit hash. Knows nothing of
//! verdicts: whoever asks compares the text itself.
//!
//! Why not an index? Hashes arrive in random order, so in an index of a million rows every delivery would dirty a page
//! of its own: several kilobytes written for each, and more the longer the ledger is. Instead a batch's hashes go to the
//! end of `seen_recently` and into memory; when memory holds [`KEPT`] of them, a hand that goes round the hash space
//! merges a neighbourhood at a time into `seen`, many hashes to a page. `seen_recently` is what memory is read from
//! when the records are opened, but for what `seen_hand` knows to be merged; merging the same hash again changes nothing.
//! Its rows are deleted once the hand has been all the way round since they were written, however often the records were
//! opened meanwhile.

use std::collections::BTreeSet;

use rusqlite::{Connection, Row, params};
use sha2::{Digest, Sha256};

use crate::{ledger::RecordsError, model::EndpointName};

/// So many hashes wait in memory before they are merged (about 40 bytes each).
const KEPT: usize = 1 << 17;

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// An external event with an external id.
    Event,
    /// An external event that owns its external id.
    Owner,
    /// The body of a delivery.
    Body,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Event, Self::Owner, Self::Body];

    const fn code(self) -> i64 {
        match self {
            Self::Event => 0,
            Self::Owner => 1,
            Self::Body => 2,
        }
    }
}

/// One place where something was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sighting {
    /// From [`hash`].
    pub(super) hash: i64,
    /// What.
    pub(super) kind: Kind,
    /// The place, as stored.
    pub(super) place: i64,
}

/// The hash under which an external id or a body digest of an endpoint is remembered. Names hold no NUL, so no two
/// endpoints share an input.
pub(super) fn hash(endpoint: &EndpointName, what: &[u8]) -> i64 {
    let mut hasher = Sha256::new();
    for part in [endpoint.partner.as_bytes(), endpoint.endpoint.as_bytes()] {
        hasher.update(part);
        hasher.update([0]);
    }
    hasher.update(what);
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize()[..8]);
    i64::from_be_bytes(first)
}

/// What the writer remembers. Changes belong to the running transaction: when that fails, this is read anew.
#[derive(Debug)]
pub(super) struct Seen {
    recent: BTreeSet<Sighting>,
    kept: usize,
    hand: i64,
    first_row: i64,
    last_row: i64,
    merged_through: i64,
    round_began_at: i64,
}

impl Seen {
    /// Reads what is not known to be merged.
    pub(super) fn load(connection: &Connection) -> Result<Self, RecordsError> {
        Self::load_keeping(connection, KEPT)
    }

    fn load_keeping(connection: &Connection, kept: usize) -> Result<Self, RecordsError> {
        let noted = "SELECT hand, round_began_at, merged_through FROM seen_hand";
        let (hand, round_began_at, merged_through) =
            connection.query_row(noted, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let mut statement = connection.prepare(
            "SELECT hash, kind, place FROM seen_recently
             WHERE sequence > ?1 AND NOT (sequence <= ?2 AND hash < ?3)",
        )?;
        let unmerged = statement.query_map(params![merged_through, round_began_at, hand], sighting)?;
        let recent = unmerged.collect::<rusqlite::Result<_>>()?;
        let bounds = "SELECT COALESCE(min(sequence), 1), COALESCE(max(sequence), 0) FROM seen_recently";
        let (first_row, last_row) = connection.query_row(bounds, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(Self { recent, kept, hand, first_row, last_row, merged_through, round_began_at })
    }

    /// Remembers what a commit saw, and does this commit's share of the merging.
    pub(super) fn remember(
        &mut self,
        connection: &Connection,
        sightings: &[Sighting],
    ) -> Result<(), RecordsError> {
        if sightings.is_empty() {
            return Ok(());
        }
        let sql = "INSERT INTO seen_recently (sequence, hash, kind, place) VALUES (?1, ?2, ?3, ?4)";
        let mut insert = connection.prepare_cached(sql)?;
        for seen in sightings {
            self.last_row += 1;
            insert.execute(params![self.last_row, seen.hash, seen.kind.code(), seen.place])?;
            self.recent.insert(*seen);
        }
        if self.recent.len() > self.kept {
            // Twice what came in: memory shrinks below its bound again, and work stays even from commit to commit.
            let share = 2 * sightings.len();
            self.merge(connection, share)?;
            self.delete_merged(connection, share)?;
            self.note_hand(connection)?;
        }
        Ok(())
    }

    fn merge(&mut self, connection: &Connection, count: usize) -> Result<(), RecordsError> {
        let from = Sighting { hash: self.hand, kind: Kind::Event, place: i64::MIN };
        let neighbours: Vec<Sighting> = self.recent.range(from..).take(count).copied().collect();
        let mut insert = connection
            .prepare_cached("INSERT OR IGNORE INTO seen (hash, kind, place) VALUES (?1, ?2, ?3)")?;
        for seen in &neighbours {
            insert.execute(params![seen.hash, seen.kind.code(), seen.place])?;
            self.recent.remove(seen);
        }
        match neighbours.last() {
            Some(last) if neighbours.len() == count => self.hand = last.hash,
            _ => self.begin_round(),
        }
        Ok(())
    }

    fn begin_round(&mut self) {
        self.hand = i64::MIN;
        self.merged_through = self.round_began_at;
        self.round_began_at = self.last_row;
    }

    fn delete_merged(&mut self, connection: &Connection, count: usize) -> Result<(), RecordsError> {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let through = self.merged_through.min(self.first_row.saturating_add(count));
        connection.prepare_cached("DELETE FROM seen_recently WHERE sequence <= ?1")?.execute([through])?;
        self.first_row = self.first_row.max(through + 1);
        Ok(())
    }

    fn note_hand(&self, connection: &Connection) -> Result<(), RecordsError> {
        let sql = "UPDATE seen_hand SET hand = ?1, round_began_at = ?2, merged_through = ?3";
        let mut note = connection.prepare_cached(sql)?;
        note.execute(params![self.hand, self.round_began_at, self.merged_through])?;
        Ok(())
    }

    /// The first thing `found` makes of the places, latest first; `None` when it makes nothing of any.
    pub(super) fn latest<T>(
        &self,
        connection: &Connection,
        (hash, kind): (i64, Kind),
        mut found: impl FnMut(i64) -> Result<Option<T>, RecordsError>,
    ) -> Result<Option<T>, RecordsError> {
        let sql = "SELECT place FROM seen WHERE hash = ?1 AND kind = ?2 ORDER BY place DESC";
        let mut statement = connection.prepare_cached(sql)?;
        let mut merged = statement.query_map(params![hash, kind.code()], |row| row.get(0))?;
        let mut recent = self.recent_places(hash, kind).rev().peekable();
        let mut next_merged: Option<i64> = merged.next().transpose()?;
        loop {
            let place = match (recent.peek(), next_merged) {
                (None, None) => return Ok(None),
                (Some(newer), older) if older.is_none_or(|older| *newer >= older) => recent.next(),
                _ => std::mem::replace(&mut next_merged, merged.next().transpose()?),
            };
            let made = place.map(&mut found).transpose()?.flatten();
            if made.is_some() {
                return Ok(made);
            }
        }
    }

    /// Every place where an external id was seen, in no order, without repeats.
    pub(super) fn events(&self, connection: &Connection, hash: i64) -> Result<BTreeSet<i64>, RecordsError> {
        let mut statement =
            connection.prepare_cached("SELECT place FROM seen WHERE hash = ?1 AND kind <= 1")?;
        let merged = statement.query_map([hash], |row| row.get(0))?;
        let mut places = merged.collect::<rusqlite::Result<BTreeSet<i64>>>()?;
        places.extend(self.recent_places(hash, Kind::Event).chain(self.recent_places(hash, Kind::Owner)));
        Ok(places)
    }

    fn recent_places(&self, hash: i64, kind: Kind) -> impl DoubleEndedIterator<Item = i64> {
        let at = |place| Sighting { hash, kind, place };
        self.recent.range(at(i64::MIN)..=at(i64::MAX)).map(|seen| seen.place)
    }
}

fn sighting(row: &Row<'_>) -> rusqlite::Result<Sighting> {
    let code: i64 = row.get(1)?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.code() == code);
    let kind = kind.ok_or(rusqlite::Error::IntegralValueOutOfRange(1, code))?;
    Ok(Sighting { hash: row.get(0)?, kind, place: row.get(2)? })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn database() -> Connection {
        let connection = Connection::open_in_memory().expect("opens");
        for schema in [include_str!("schema_1.sql"), include_str!("schema_7.sql")] {
            connection.execute_batch(schema).expect("compiles");
        }
        connection
    }

    fn latest(seen: &Seen, connection: &Connection, hash: i64, kind: Kind) -> Option<i64> {
        seen.latest(connection, (hash, kind), |place| Ok(Some(place))).expect("reads")
    }

    #[test]
    fn endpoints_do_not_share_hashes() {
        let one = hash(&EndpointName::new("a", "b"), b"id");
        assert_ne!(one, hash(&EndpointName::new("a", "bi"), b"d"));
        assert_ne!(one, hash(&EndpointName::new("ab", ""), b"id"));
        assert_eq!(one, hash(&EndpointName::new("a", "b"), b"id"));
    }

    fn remember(seen: &mut Seen, connection: &Connection, place: i64) {
        let hash = hash(&EndpointName::new("p", "e"), &place.to_be_bytes());
        seen.remember(connection, &[Sighting { hash, kind: Kind::Event, place }]).expect("remembers");
    }

    fn rows(connection: &Connection) -> i64 {
        connection.query_row("SELECT count(*) FROM seen_recently", [], |row| row.get(0)).expect("counts")
    }

    #[test]
    fn rows_are_deleted_once_the_hand_has_been_round() {
        let connection = database();
        let mut seen = Seen::load_keeping(&connection, 100).expect("loads");
        for place in 0..5_000 {
            remember(&mut seen, &connection, place);
        }
        let rows = rows(&connection);
        assert!(seen.recent.len() <= 101, "{} in memory", seen.recent.len());
        assert!(rows <= 700, "{rows} rows wait");
    }

    #[test]
    fn records_that_are_opened_again_and_again_remember_no_more_than_others() {
        let connection = database();
        for life in 0..100 {
            let mut seen = Seen::load_keeping(&connection, 100).expect("loads");
            assert!(seen.recent.len() <= 400, "{} in memory", seen.recent.len());
            for place in 0..50 {
                remember(&mut seen, &connection, 50 * life + place);
            }
        }
        let rows = rows(&connection);
        assert!(rows <= 1_000, "{rows} rows wait");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever is merged, deleted or read anew in between: the latest place is the one a plain map would know.
        #[test]
        fn answers_like_a_map(
            kept in 0_usize..20,
            steps in prop::collection::vec(
                (prop::collection::vec((0_i64..30, 0_usize..3), 0..8), any::<bool>()), 1..40)
        ) {
            let connection = database();
            let mut seen = Seen::load_keeping(&connection, kept).expect("loads");
            let mut model: BTreeMap<(i64, Kind), BTreeSet<i64>> = BTreeMap::new();
            let mut place = 0;
            for (sightings, reopen) in steps {
                let sightings: Vec<_> = sightings.into_iter().map(|(hash, kind)| {
                    place += 1;
                    let hash = (hash - 15).wrapping_mul(i64::MAX / 15);
                    Sighting { hash, kind: Kind::ALL[kind], place }
                }).collect();
                seen.remember(&connection, &sightings).expect("remembers");
                for one in &sightings {
                    model.entry((one.hash, one.kind)).or_default().insert(one.place);
                }
                if reopen {
                    seen = Seen::load_keeping(&connection, kept).expect("loads");
                }
                for ((hash, kind), places) in &model {
                    prop_assert_eq!(latest(&seen, &connection, *hash, *kind), places.last().copied());
                }
            }
        }
    }
}
