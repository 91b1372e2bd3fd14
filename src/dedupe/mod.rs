//! Room `dedupe`: step 6, the verdict: is this external event the owner of its id, a duplicate, or a conflict? A pure
//! function of the ledger. May not read a clock, a store or a desk: owners and windows are arguments. Beside it stands the
//! memory that processes share of who owns which id: its trait, its adapter (`redis/`) and what holds it to the ledger.

mod again;
mod memory;
mod redis;
mod shared;

use std::{collections::HashMap, time::Duration};

pub use again::{Again, Earlier, decide_again};
pub use memory::{Answer, Mark, Memory, MemoryError, Question, Recalled, Telling};
pub use redis::{Health, RedisAccess, RedisMemory, Topology, look};
pub use shared::{Committed, SharedMemory};

use crate::{
    ledger::Owner,
    model::{EndpointName, EventRef, Timestamp, Verdict},
};

/// An external event that asks for its id.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// Its place in the ledger.
    pub at: EventRef,
    /// Where it came in; ids of different endpoints have nothing to do with one another.
    pub endpoint: &'a EndpointName,
    /// The partner's id for it.
    pub external_id: &'a str,
    /// When its delivery was accepted.
    pub received_at: Timestamp,
    /// SHA-256 of the parts that must not differ between repeats.
    pub identity_digest: [u8; 32],
    /// How long the partner's ids are remembered.
    pub window: Duration,
}

/// The latest owner of each id that a batch asks about: those of the ledger, and those made within the batch.
#[derive(Debug, Default)]
pub struct Owners(HashMap<EndpointName, HashMap<String, Owner>>);

impl Owners {
    /// What is known of an id; the latest owner counts.
    pub fn get(&self, endpoint: &EndpointName, external_id: &str) -> Option<&Owner> {
        self.0.get(endpoint)?.get(external_id)
    }

    /// Takes in an owner the ledger holds. One made within the batch came later and stays.
    pub fn know(&mut self, endpoint: EndpointName, external_id: String, owner: Owner) {
        self.0.entry(endpoint).or_default().entry(external_id).or_insert(owner);
    }

    /// Makes a claim the owner of its id, for the verdicts that follow.
    pub fn own(&mut self, claim: &Claim<'_>, generation: u32) {
        let owner = Owner {
            at: claim.at,
            received_at: claim.received_at,
            identity_digest: claim.identity_digest,
            generation,
        };
        let ids = match self.0.get_mut(claim.endpoint) {
            Some(ids) => ids,
            None => self.0.entry(claim.endpoint.clone()).or_default(),
        };
        ids.insert(claim.external_id.to_owned(), owner);
    }
}

/// Decides a claim: `duplicate` when an owner of its id was accepted at most the window before it, `conflict` when that
/// owner's content differs; else it is the next owner. Ask in log order, and tell [`Owners::own`] of every new owner.
pub fn decide(owners: &Owners, claim: &Claim<'_>) -> Verdict {
    match owners.get(claim.endpoint, claim.external_id) {
        None => Verdict::Owner { generation: 0 },
        Some(owner) if claim.received_at.since(owner.received_at) > claim.window => {
            Verdict::Owner { generation: owner.generation.saturating_add(1) }
        }
        Some(owner) => repeated(owner, claim),
    }
}

fn repeated(owner: &Owner, claim: &Claim<'_>) -> Verdict {
    if owner.identity_digest == claim.identity_digest {
        Verdict::Duplicate { of: owner.at }
    } else {
        Verdict::Conflict { with: owner.at }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::EntryNumber;

    fn at(number: u64) -> EventRef {
        EventRef { number: EntryNumber(number), ordinal: 0 }
    }

    /// The verdict told slowly: look at everything accepted so far, take the last one that owned the id.
    fn naive(
        past: &[(u8, u8, i64, EventRef, Verdict)],
        id: u8,
        digest: u8,
        now: i64,
        window: i64,
    ) -> Verdict {
        let owner = past.iter().rev().find(|event| event.0 == id && matches!(event.4, Verdict::Owner { .. }));
        match owner {
            None => Verdict::Owner { generation: 0 },
            Some(&(_, _, then, _, Verdict::Owner { generation })) if now - then > window => {
                Verdict::Owner { generation: generation + 1 }
            }
            Some(&(_, known, _, of, _)) if known == digest => Verdict::Duplicate { of },
            Some(&(_, _, _, with, _)) => Verdict::Conflict { with },
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_naive_model(
            events in proptest::collection::vec((0_u8..3, 0_u8..2, 0_i64..4), 1..60),
            window in 0_i64..8,
        ) {
            let endpoint = EndpointName::new("acme", "default");
            let mut owners = Owners::default();
            let mut past = Vec::new();
            let mut now = 0;
            for (number, (id, digest, pause)) in events.into_iter().enumerate() {
                now += pause;
                let id_text = id.to_string();
                let claim = Claim {
                    at: at(number as u64 + 1),
                    endpoint: &endpoint,
                    external_id: &id_text,
                    received_at: Timestamp::from_micros(now),
                    identity_digest: [digest; 32],
                    window: Duration::from_micros(window.unsigned_abs()),
                };
                let verdict = decide(&owners, &claim);
                prop_assert_eq!(verdict, naive(&past, id, digest, now, window));
                if let Verdict::Owner { generation } = verdict {
                    owners.own(&claim, generation);
                }
                past.push((id, digest, now, claim.at, verdict));
            }
        }
    }

    #[test]
    fn the_last_moment_of_the_window_still_counts() {
        let endpoint = EndpointName::new("acme", "default");
        let claim = |number, received_at| Claim {
            at: at(number),
            endpoint: &endpoint,
            external_id: "evt_1",
            received_at: Timestamp::from_micros(received_at),
            identity_digest: [7; 32],
            window: Duration::from_micros(100),
        };
        let mut owners = Owners::default();
        owners.own(&claim(1, 0), 0);
        assert_eq!(decide(&owners, &claim(2, 100)), Verdict::Duplicate { of: at(1) });
        assert_eq!(decide(&owners, &claim(3, 101)), Verdict::Owner { generation: 1 });
    }

    #[test]
    fn ids_of_different_endpoints_have_nothing_to_do_with_one_another() {
        let (here, there) = (EndpointName::new("acme", "orders"), EndpointName::new("acme", "refunds"));
        let claim = |number, endpoint| Claim {
            at: at(number),
            endpoint,
            external_id: "1",
            received_at: Timestamp::default(),
            identity_digest: [0; 32],
            window: Duration::from_secs(1),
        };
        let mut owners = Owners::default();
        owners.own(&claim(1, &here), 0);
        assert_eq!(decide(&owners, &claim(2, &there)), Verdict::Owner { generation: 0 });
    }

    #[test]
    fn an_owner_made_within_the_batch_is_later_than_the_ledgers() {
        let endpoint = EndpointName::new("acme", "default");
        let claim = Claim {
            at: at(9),
            endpoint: &endpoint,
            external_id: "1",
            received_at: Timestamp::from_micros(50),
            identity_digest: [0; 32],
            window: Duration::from_micros(10),
        };
        let mut owners = Owners::default();
        owners.own(&claim, 1);
        let of_the_ledger =
            Owner { at: at(1), received_at: Timestamp::default(), identity_digest: [0; 32], generation: 0 };
        owners.know(endpoint.clone(), "1".to_owned(), of_the_ledger);
        assert_eq!(owners.get(&endpoint, "1").map(|owner| owner.generation), Some(1));
    }
}
