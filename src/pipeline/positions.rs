//! Room `pipeline`, step 4: how far each endpoint has been worked, and who is read for next. Endpoints that stand at the
//! same place are read for once, together: that place is the *frontier*. One without a desk stays behind, and when its
//! desk comes back it is read for alone until it has caught up. May not read the log itself.
//!
//! Where processes share the work there are only the endpoints that this one leases: the frontier is the furthest of them,
//! and others' entries are passed.

use std::collections::{BTreeMap, BTreeSet};

use tracing::{error, info};

use super::figures;
use crate::{
    ledger::CursorMove,
    model::{EndpointName, EntryNumber, Epoch},
};

/// The endpoint name under which the frontier itself is kept in the records of a process that works alone, and under which
/// damage counts. No partner can have it.
pub fn frontier_name() -> EndpointName {
    EndpointName::new("-", "-")
}

/// How far each endpoint has been worked.
#[derive(Debug, Default)]
pub(super) struct Positions {
    /// Through this number the log has been read for everyone who is not behind.
    frontier: EntryNumber,
    /// Endpoints that may have entries of theirs at or below the frontier yet to be worked.
    behind: BTreeMap<EndpointName, Rear>,
    /// Endpoints that have had an entry and stand at the frontier.
    abreast: BTreeSet<EndpointName>,
    /// What is leased, and by which epoch its cursors move; `None` for a process that works alone.
    leased: Option<BTreeMap<EndpointName, Epoch>>,
    /// Whose turn it was last, so that catching up and going on share the time.
    caught_up_last: bool,
}

/// Where an endpoint stands that is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rear {
    cursor: EntryNumber,
    /// It has no desk, as far as is known, and an entry that waits for one: without a desk it is not read for.
    waits: bool,
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
    /// Endpoints of the group that were met, with and without a desk, and how many entries of each.
    pub(super) met: BTreeMap<EndpointName, u64>,
    /// Of those, the ones without a desk: each stays before its first entry that waits.
    pub(super) left: BTreeMap<EndpointName, EntryNumber>,
}

impl Positions {
    /// Of a process that works alone, from the cursors the records hold.
    pub(super) fn from_cursors(cursors: Vec<(EndpointName, EntryNumber)>) -> Self {
        let frontier = cursors.iter().map(|(_, cursor)| *cursor).max().unwrap_or_default();
        let reserved = frontier_name();
        let (mut behind, mut abreast) = (BTreeMap::new(), BTreeSet::new());
        for (endpoint, cursor) in cursors.into_iter().filter(|(endpoint, _)| *endpoint != reserved) {
            if cursor < frontier {
                figures::standing_still(&endpoint, true);
                behind.insert(endpoint, Rear { cursor, waits: true });
            } else {
                abreast.insert(endpoint);
            }
        }
        Self { frontier, behind, abreast, leased: None, caught_up_last: false }
    }

    /// Of a process that leases these endpoints, from the cursors the records hold since then. Why one of them is behind is
    /// found out by reading for it, with a desk or without.
    pub(super) fn of_leases(
        cursors: Vec<(EndpointName, EntryNumber)>,
        leased: BTreeMap<EndpointName, Epoch>,
    ) -> Self {
        let own = cursors.into_iter().filter(|(endpoint, _)| leased.contains_key(endpoint));
        let own: Vec<_> = own.collect();
        let frontier = own.iter().map(|(_, cursor)| *cursor).max().unwrap_or_default();
        let (rear, abreast): (Vec<_>, Vec<_>) = own.into_iter().partition(|(_, cursor)| *cursor < frontier);
        let behind = rear.into_iter().map(|(endpoint, cursor)| (endpoint, Rear { cursor, waits: false }));
        Self {
            frontier,
            behind: behind.collect(),
            abreast: abreast.into_iter().map(|(endpoint, _)| endpoint).collect(),
            leased: Some(leased),
            caught_up_last: false,
        }
    }

    /// Whether these are the positions of exactly these leases.
    pub(super) fn are_of(&self, leased: &BTreeMap<EndpointName, Epoch>) -> bool {
        self.leased.as_ref() == Some(leased)
    }

    /// The endpoints that were leased and are no longer, or by another epoch.
    pub(super) fn lost<'a>(
        &'a self,
        held: &'a BTreeMap<EndpointName, Epoch>,
    ) -> impl Iterator<Item = &'a EndpointName> {
        let known = self.leased.iter().flatten();
        known.filter(|(endpoint, epoch)| held.get(*endpoint) != Some(*epoch)).map(|(endpoint, _)| endpoint)
    }

    /// They are others' to tell of now.
    pub(super) fn forget(self) {
        for (endpoint, _) in self.behind.iter().filter(|(_, rear)| rear.waits) {
            figures::standing_still(endpoint, false);
        }
    }

    /// Through this number the log has been read.
    pub(super) fn frontier(&self) -> EntryNumber {
        self.frontier
    }

    /// Through this number everything was worked that can be: what waits for a desk is told apart.
    pub(super) fn worked_through(&self) -> EntryNumber {
        let rear = self.behind.values().filter(|rear| !rear.waits).map(|rear| rear.cursor);
        rear.min().map_or(self.frontier, |rear| rear.min(self.frontier))
    }

    /// Whether this endpoint's entries beyond the frontier are read for everyone there. One that is behind is read for alone,
    /// and one that others lease not at all.
    pub(super) fn is_at_frontier(&self, endpoint: &EndpointName) -> bool {
        if self.leased.is_some() {
            self.abreast.contains(endpoint)
        } else {
            !self.behind.contains_key(endpoint)
        }
    }

    /// Whose entries are read for a group; `None`: everybody's, by a process that works alone.
    pub(super) fn read_for<'a>(&'a self, group: &'a Group) -> Option<&'a BTreeSet<EndpointName>> {
        group.only.as_ref().or(self.leased.is_some().then_some(&self.abreast))
    }

    /// Whether somebody is there to read for at the frontier: a process that works alone meets endpoints there.
    fn anyone_at_frontier(&self) -> bool {
        self.leased.is_none() || !self.abreast.is_empty()
    }

    /// Who is read for next; `None` when nobody has anything to do. Catching up and going on take turns.
    pub(super) fn next_group(
        &mut self,
        durable: EntryNumber,
        has_desk: impl Fn(&EndpointName) -> bool,
    ) -> Option<Group> {
        let more = self.frontier < durable && self.anyone_at_frontier();
        let ahead = more.then_some(Group { after: self.frontier, until: durable, only: None });
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
        let workable = || self.behind.iter().filter(|(endpoint, rear)| !rear.waits || has_desk(endpoint));
        let after = workable().map(|(_, rear)| rear.cursor).min()?;
        let next = workable().map(|(_, rear)| rear.cursor).filter(|cursor| *cursor > after).min();
        let only = workable().filter(|(_, rear)| rear.cursor == after).map(|(name, _)| name.clone());
        let only = only.collect();
        Some(Group { after, until: next.unwrap_or(self.frontier), only: Some(only) })
    }

    /// The cursors to commit with a batch of `group`.
    pub(super) fn cursors(&self, group: &Group, advance: &Advance) -> Vec<CursorMove> {
        let Advance { through, met, left } = advance;
        let read_for: Vec<_> = match &group.only {
            Some(only) => only.iter().collect(),
            None => self.abreast.iter().chain(met.keys()).collect::<BTreeSet<_>>().into_iter().collect(),
        };
        let moved = read_for.into_iter().filter(|endpoint| !left.contains_key(*endpoint));
        let mut cursors: Vec<_> = moved.map(|endpoint| self.to(endpoint, *through)).collect();
        cursors.extend(left.iter().map(|(endpoint, cursor)| self.to(endpoint, *cursor)));
        if self.leased.is_none() && group.only.is_none() {
            cursors.push(CursorMove::unleased(frontier_name(), *through));
        }
        cursors
    }

    /// Where everybody stands, committed or not.
    pub(super) fn standing(&self) -> Vec<CursorMove> {
        let abreast = self.abreast.iter().map(|endpoint| self.to(endpoint, self.frontier));
        let behind = self.behind.iter().map(|(endpoint, rear)| self.to(endpoint, rear.cursor));
        abreast.chain(behind).collect()
    }

    fn to(&self, endpoint: &EndpointName, through: EntryNumber) -> CursorMove {
        let epoch = self.leased.as_ref().and_then(|leased| leased.get(endpoint));
        CursorMove { endpoint: endpoint.clone(), through, epoch: epoch.copied().unwrap_or(Epoch::UNLEASED) }
    }

    /// Takes note of what was committed.
    pub(super) fn advance(&mut self, group: &Group, advance: Advance) {
        match &group.only {
            None => self.advance_frontier(advance),
            Some(only) => {
                for endpoint in only.iter().filter(|endpoint| !advance.left.contains_key(*endpoint)) {
                    self.advance_rear(endpoint, advance.through);
                }
                self.leave(advance.left);
            }
        }
    }

    fn advance_frontier(&mut self, advance: Advance) {
        self.frontier = advance.through;
        self.abreast.extend(advance.met.into_keys());
        self.leave(advance.left);
    }

    fn leave(&mut self, left: BTreeMap<EndpointName, EntryNumber>) {
        for (endpoint, cursor) in left {
            error!(%endpoint, after = %cursor, "an endpoint has no desk that works; its deliveries are kept and wait");
            figures::standing_still(&endpoint, true);
            self.abreast.remove(&endpoint);
            self.behind.insert(endpoint, Rear { cursor, waits: true });
        }
    }

    fn advance_rear(&mut self, endpoint: &EndpointName, through: EntryNumber) {
        let waited = self.behind.get(endpoint).is_some_and(|rear| rear.waits);
        let caught_up = through >= self.frontier;
        // Of a process that works alone the rear was always seen to wait, also from cursors.
        let waits = waited && self.leased.is_none() && !caught_up;
        if waited && !waits {
            info!(%endpoint, caught_up, "stands still no longer");
            figures::standing_still(endpoint, false);
        }
        if caught_up {
            self.behind.remove(endpoint);
            self.abreast.insert(endpoint.clone());
        } else {
            self.behind.insert(endpoint.clone(), Rear { cursor: through, waits });
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

    fn met(partners: &[&str]) -> BTreeMap<EndpointName, u64> {
        partners.iter().map(|partner| (name(partner), 1)).collect()
    }

    fn after_restart(cursors: &[(EndpointName, EntryNumber)]) -> Positions {
        Positions::from_cursors(cursors.to_vec())
    }

    fn unleased(cursors: Vec<CursorMove>) -> Vec<(EndpointName, EntryNumber)> {
        let told = |cursor: CursorMove| {
            assert_eq!(cursor.epoch, Epoch::UNLEASED);
            (cursor.endpoint, cursor.through)
        };
        cursors.into_iter().map(told).collect()
    }

    #[test]
    fn everyone_at_the_frontier_is_read_for_together() {
        let mut positions = Positions::default();
        assert_eq!(positions.next_group(n(0), |_| true), None);
        let group = positions.next_group(n(9), |_| true).expect("work");
        assert_eq!(group, Group { after: n(0), until: n(9), only: None });
        let advance = Advance { through: n(9), met: met(&["a", "b"]), ..Advance::default() };
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
            Advance { through: n(9), met: met(&["a", "b"]), left: BTreeMap::from([(name("b"), n(3))]) };
        let cursors = unleased(positions.cursors(&group, &advance));
        positions.advance(&group, advance);
        for mut positions in [positions, after_restart(&cursors)] {
            assert!(!positions.is_at_frontier(&name("b")) && positions.is_at_frontier(&name("a")));
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
            assert!(positions.is_at_frontier(&name("b")));
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
        let through = |number| Advance { through: n(number), met: met(&["a"]), ..Advance::default() };
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

    fn leases(held: &[(&str, u64)]) -> BTreeMap<EndpointName, Epoch> {
        held.iter().map(|(partner, epoch)| (name(partner), Epoch(*epoch))).collect()
    }

    fn told(cursors: &[CursorMove]) -> Vec<String> {
        let told = |it: &CursorMove| format!("{} {} by {}", it.endpoint.partner, it.through, it.epoch);
        cursors.iter().map(told).collect()
    }

    #[test]
    fn whoever_holds_nothing_reads_nothing() {
        let cursors = vec![(name("a"), n(3))];
        let mut positions = Positions::of_leases(cursors, BTreeMap::new());
        assert_eq!(positions.next_group(n(9), |_| true), None);
        assert!(!positions.is_at_frontier(&name("a")));
    }

    #[test]
    fn of_leases_the_furthest_is_the_frontier_and_the_rest_catches_up_first() {
        let cursors = vec![(name("a"), n(3)), (name("b"), n(6)), (name("others"), n(9))];
        let mut positions = Positions::of_leases(cursors, leases(&[("a", 2), ("b", 5)]));
        assert!(positions.is_at_frontier(&name("b")) && !positions.is_at_frontier(&name("others")));
        assert_eq!(positions.worked_through(), n(3), "the lag is that of the one behind");
        let rear = positions.next_group(n(9), |_| true).expect("work");
        assert_eq!(rear, Group { after: n(3), until: n(6), only: Some(names(&["a"])) });
        let advance = Advance { through: n(6), ..Advance::default() };
        assert_eq!(told(&positions.cursors(&rear, &advance)), ["a 6 by 2"]);
        positions.advance(&rear, advance);
        let ahead = positions.next_group(n(9), |_| true).expect("work");
        assert_eq!(ahead, Group { after: n(6), until: n(9), only: None });
        let advance = Advance { through: n(9), met: met(&["b"]), ..Advance::default() };
        let cursors = positions.cursors(&ahead, &advance);
        assert_eq!(told(&cursors), ["a 9 by 2", "b 9 by 5"], "no frontier of everybody's");
    }

    #[test]
    fn an_endpoint_that_was_taken_over_without_a_desk_moves_up_to_what_waits() {
        let cursors = vec![(name("gone"), n(3)), (name("b"), n(9))];
        let mut positions = Positions::of_leases(cursors, leases(&[("gone", 1), ("b", 1)]));
        let no_desk = |endpoint: &EndpointName| *endpoint != name("gone");
        let rear = positions.next_group(n(9), no_desk).expect("why it is behind is not known");
        assert_eq!(rear.only, Some(names(&["gone"])));
        let left = BTreeMap::from([(name("gone"), n(6))]);
        let advance = Advance { through: n(9), met: met(&["gone"]), left };
        assert_eq!(told(&positions.cursors(&rear, &advance)), ["gone 6 by 1"]);
        positions.advance(&rear, advance);
        assert_eq!(positions.next_group(n(9), no_desk), None, "it waits");
        let rear = positions.next_group(n(9), |_| true).expect("its desk is back");
        assert_eq!(rear, Group { after: n(6), until: n(9), only: Some(names(&["gone"])) });
        positions.advance(&rear, Advance { through: n(9), ..Advance::default() });
        assert!(positions.is_at_frontier(&name("gone")));
    }
}
