//! Room `pipeline`, step 4: how far each endpoint has been worked, and who is read for next. Endpoints that stand at the
//! same place are read for once, together: that place is the *frontier*. One without a desk stays behind, and when its
//! desk comes back it is read for alone until it has caught up. May not read the log itself.

use std::collections::{BTreeMap, BTreeSet};

use tracing::{error, info};

use super::figures;
use crate::{
    ledger::CursorMove,
    model::{EndpointName, EntryNumber},
};

/// The endpoint name under which the frontier itself is kept in the records. No partner can have it.
pub(super) fn frontier_name() -> EndpointName {
    EndpointName::new("-", "-")
}

/// How far each endpoint has been worked.
#[derive(Debug, Default)]
pub(super) struct Positions {
    /// Through this number the log has been read for everyone who is not behind.
    frontier: EntryNumber,
    /// Endpoints with entries of theirs at or below the frontier that wait for a desk.
    behind: BTreeMap<EndpointName, EntryNumber>,
    /// Endpoints that have had an entry and stand at the frontier.
    abreast: BTreeSet<EndpointName>,
    /// Whose turn it was last, so that catching up and going on share the time.
    caught_up_last: bool,
}

/// Who is read for in one batch, and between which numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// Read after this number …
    pub(super) after: EntryNumber,
    /// … and not beyond this one.
    pub(super) until: EntryNumber,
    /// Only for these; `None`: for everyone at the frontier.
    pub(super) only: Option<BTreeSet<EndpointName>>,
}

/// How far a worked batch brings its group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Advance {
    /// The group has been worked through this number.
    pub(super) through: EntryNumber,
    /// Endpoints met at the frontier, with and without a desk.
    pub(super) met: BTreeSet<EndpointName>,
    /// Of those, the ones without a desk: each stays before its first entry that waits.
    pub(super) left: BTreeMap<EndpointName, EntryNumber>,
}

impl Positions {
    /// From the cursors the records hold.
    pub(super) fn from_cursors(cursors: Vec<(EndpointName, EntryNumber)>) -> Self {
        let frontier = cursors.iter().map(|(_, cursor)| *cursor).max().unwrap_or_default();
        let reserved = frontier_name();
        let (mut behind, mut abreast) = (BTreeMap::new(), BTreeSet::new());
        for (endpoint, cursor) in cursors.into_iter().filter(|(endpoint, _)| *endpoint != reserved) {
            if cursor < frontier {
                figures::standing_still(&endpoint, true);
                behind.insert(endpoint, cursor);
            } else {
                abreast.insert(endpoint);
            }
        }
        Self { frontier, behind, abreast, caught_up_last: false }
    }

    /// Through this number the log has been read.
    pub(super) fn frontier(&self) -> EntryNumber {
        self.frontier
    }

    /// Whether this endpoint is read for alone, or not at all.
    pub(super) fn is_behind(&self, endpoint: &EndpointName) -> bool {
        self.behind.contains_key(endpoint)
    }

    /// Who is read for next; `None` when nobody has anything to do. Catching up and going on take turns.
    pub(super) fn next_group(
        &mut self,
        durable: EntryNumber,
        has_desk: impl Fn(&EndpointName) -> bool,
    ) -> Option<Group> {
        let ahead =
            (self.frontier < durable).then_some(Group { after: self.frontier, until: durable, only: None });
        let rear = self.rear(has_desk);
        let group = if self.caught_up_last { ahead.or(rear) } else { rear.or(ahead) };
        self.caught_up_last = group.as_ref().is_some_and(|group| group.only.is_some());
        group
    }

    /// What follows a batch of `group` once that is committed, when it can be told before: at least `full` entries wait
    /// for everyone at the frontier, and nobody else's turn comes first.
    pub(super) fn following(
        &self,
        (group, advance): (&Group, &Advance),
        (durable, full): (EntryNumber, usize),
        has_desk: impl Fn(&EndpointName) -> bool,
    ) -> Option<Group> {
        let Advance { through, left, .. } = advance;
        let waiting = durable.0.saturating_sub(through.0);
        let known = group.only.is_none() && left.is_empty() && self.rear(has_desk).is_none();
        (known && waiting >= full as u64).then_some(Group { after: *through, until: durable, only: None })
    }

    /// The endpoints that stand furthest back and can be worked; read up to where the next ones stand.
    fn rear(&self, has_desk: impl Fn(&EndpointName) -> bool) -> Option<Group> {
        let workable = || self.behind.iter().filter(|(endpoint, _)| has_desk(endpoint));
        let after = workable().map(|(_, cursor)| *cursor).min()?;
        let next = workable().map(|(_, cursor)| *cursor).filter(|cursor| *cursor > after).min();
        let only = workable().filter(|(_, cursor)| **cursor == after).map(|(name, _)| name.clone()).collect();
        Some(Group { after, until: next.unwrap_or(self.frontier), only: Some(only) })
    }

    /// The cursors to commit with a batch of `group`.
    pub(super) fn cursors(&self, group: &Group, advance: &Advance) -> Vec<CursorMove> {
        let through = advance.through;
        if let Some(only) = &group.only {
            return only.iter().map(|endpoint| CursorMove::unleased(endpoint.clone(), through)).collect();
        }
        let moved = self.abreast.union(&advance.met).filter(|endpoint| !advance.left.contains_key(*endpoint));
        let mut cursors: Vec<_> =
            moved.map(|endpoint| CursorMove::unleased(endpoint.clone(), through)).collect();
        let left = advance.left.iter();
        cursors.extend(left.map(|(endpoint, cursor)| CursorMove::unleased(endpoint.clone(), *cursor)));
        cursors.push(CursorMove::unleased(frontier_name(), through));
        cursors
    }

    /// Takes note of what was committed.
    pub(super) fn advance(&mut self, group: &Group, advance: Advance) {
        match &group.only {
            None => self.advance_frontier(advance),
            Some(only) if advance.through >= self.frontier => self.rejoin(only),
            Some(only) => {
                self.behind.extend(only.iter().map(|endpoint| (endpoint.clone(), advance.through)));
            }
        }
    }

    fn advance_frontier(&mut self, advance: Advance) {
        self.frontier = advance.through;
        self.abreast.extend(advance.met);
        for (endpoint, cursor) in advance.left {
            error!(%endpoint, after = %cursor, "an endpoint has no desk that works; its deliveries are kept and wait");
            figures::standing_still(&endpoint, true);
            self.abreast.remove(&endpoint);
            self.behind.insert(endpoint, cursor);
        }
    }

    fn rejoin(&mut self, caught_up: &BTreeSet<EndpointName>) {
        for endpoint in caught_up {
            info!(%endpoint, "has caught up");
            figures::standing_still(endpoint, false);
            self.behind.remove(endpoint);
            self.abreast.insert(endpoint.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(partner: &str) -> EndpointName {
        EndpointName::new(partner, "default")
    }

    fn n(number: u64) -> EntryNumber {
        EntryNumber(number)
    }

    fn names(partners: &[&str]) -> BTreeSet<EndpointName> {
        partners.iter().map(|partner| name(partner)).collect()
    }

    fn after_restart(cursors: &[(EndpointName, EntryNumber)]) -> Positions {
        Positions::from_cursors(cursors.to_vec())
    }

    fn unleased(cursors: Vec<CursorMove>) -> Vec<(EndpointName, EntryNumber)> {
        cursors.into_iter().map(|cursor| (cursor.endpoint, cursor.through)).collect()
    }

    #[test]
    fn everyone_at_the_frontier_is_read_for_together() {
        let mut positions = Positions::default();
        assert_eq!(positions.next_group(n(0), |_| true), None);
        let group = positions.next_group(n(9), |_| true).expect("work");
        assert_eq!(group, Group { after: n(0), until: n(9), only: None });
        let advance = Advance { through: n(9), met: names(&["a", "b"]), ..Advance::default() };
        let cursors = unleased(positions.cursors(&group, &advance));
        assert_eq!(cursors, [(name("a"), n(9)), (name("b"), n(9)), (frontier_name(), n(9))]);
        positions.advance(&group, advance);
        assert_eq!(positions.next_group(n(9), |_| true), None);
        assert_eq!(after_restart(&cursors).frontier(), n(9));
    }

    #[test]
    fn an_endpoint_without_a_desk_stays_and_later_catches_up() {
        let mut positions = Positions::default();
        let group = positions.next_group(n(9), |_| true).expect("work");
        let advance =
            Advance { through: n(9), met: names(&["a", "b"]), left: BTreeMap::from([(name("b"), n(3))]) };
        let cursors = unleased(positions.cursors(&group, &advance));
        positions.advance(&group, advance);
        for mut positions in [positions, after_restart(&cursors)] {
            assert!(positions.is_behind(&name("b")) && !positions.is_behind(&name("a")));
            assert_eq!(positions.next_group(n(9), |endpoint| *endpoint != name("b")), None, "it waits");

            let rear = Group { after: n(3), until: n(9), only: Some(names(&["b"])) };
            assert_eq!(positions.next_group(n(12), |_| true), Some(rear.clone()));
            let ahead = positions.next_group(n(12), |_| true).expect("the others have their turn");
            assert_eq!(ahead.only, None);
            positions.advance(&ahead, Advance { through: n(12), ..Advance::default() });

            let rest = positions.next_group(n(12), |_| true).expect("still behind");
            assert_eq!((rest.after, rest.until), (n(3), n(12)));
            let part = Advance { through: n(7), ..Advance::default() };
            assert_eq!(unleased(positions.cursors(&rest, &part)), [(name("b"), n(7))]);
            positions.advance(&rest, part);
            let rest = positions.next_group(n(12), |_| true).expect("still behind");
            positions.advance(&rest, Advance { through: n(12), ..Advance::default() });
            assert!(!positions.is_behind(&name("b")));
            assert_eq!(positions.next_group(n(12), |_| true), None);
        }
    }

    #[test]
    fn the_rear_is_read_only_up_to_where_the_next_one_stands() {
        let cursors = [
            (frontier_name(), n(20)),
            (name("a"), n(5)),
            (name("b"), n(2)),
            (name("c"), n(2)),
            (name("d"), n(1)),
        ];
        let mut positions = after_restart(&cursors);
        let has_desk = |endpoint: &EndpointName| *endpoint != name("d");
        let group = positions.next_group(n(20), has_desk).expect("work");
        assert_eq!(group, Group { after: n(2), until: n(5), only: Some(names(&["b", "c"])) });
        positions.advance(&group, Advance { through: n(5), ..Advance::default() });
        let group = positions.next_group(n(20), has_desk).expect("work");
        assert_eq!(group, Group { after: n(5), until: n(20), only: Some(names(&["a", "b", "c"])) });
    }

    #[test]
    fn what_follows_is_known_only_when_a_batch_waits_and_nobody_comes_first() {
        let frontier = Group { after: n(0), until: n(9), only: None };
        let through = |number| Advance { through: n(number), met: names(&["a"]), ..Advance::default() };
        let desks = |_: &EndpointName| true;
        let nobody_behind = Positions::default();
        let following = nobody_behind.following((&frontier, &through(9)), (n(12), 3), desks);
        assert_eq!(following, Some(Group { after: n(9), until: n(12), only: None }));
        assert_eq!(nobody_behind.following((&frontier, &through(9)), (n(11), 3), desks), None, "too few");
        let left = Advance { left: BTreeMap::from([(name("b"), n(3))]), ..through(9) };
        assert_eq!(nobody_behind.following((&frontier, &left), (n(99), 3), desks), None);
        let only = Group { only: Some(names(&["b"])), ..frontier.clone() };
        assert_eq!(nobody_behind.following((&only, &through(9)), (n(99), 3), desks), None);
        let waits = after_restart(&[(name("b"), n(3)), (frontier_name(), n(9))]);
        assert_eq!(waits.following((&frontier, &through(12)), (n(99), 3), desks), None, "its desk is back");
        let no_desk = |endpoint: &EndpointName| *endpoint != name("b");
        assert!(waits.following((&frontier, &through(12)), (n(99), 3), no_desk).is_some());
    }
}
