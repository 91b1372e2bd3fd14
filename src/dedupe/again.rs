//! Room `dedupe`: the verdict on an event that a replay works again. An event that was decided keeps its verdict; one
//! that could not be identified the first time never had one, and gets it now.

use super::{Claim, Owners, repeated};
use crate::model::Verdict;

/// What is known of an event from the first time it was worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Earlier {
    /// It had its verdict, and whoever replays it knows: an owner, or a `conflict` that someone let through.
    pub decided: bool,
    /// The generation of its id then; 0 when it owned nothing.
    pub generation: u32,
}

/// The verdict on an event that is worked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again {
    /// How it stands now; an owner is translated.
    pub verdict: Verdict,
    /// It owns its id from now on, and did not before.
    pub newly: bool,
}

/// Decides a claim that is worked again. Its place may lie before the owner's: the desk that reads it now did not exist
/// then, so an owner within the window on either side makes it a repeat.
pub fn decide_again(owners: &Owners, claim: &Claim<'_>, earlier: Earlier) -> Again {
    let keeps = |generation| Again { verdict: Verdict::Owner { generation }, newly: false };
    let claims = |generation| Again { verdict: Verdict::Owner { generation }, newly: true };
    if earlier.decided {
        return keeps(earlier.generation);
    }
    let Some(owner) = owners.get(claim.endpoint, claim.external_id) else {
        return claims(0);
    };
    if owner.at == claim.at {
        return keeps(owner.generation);
    }
    let after = claim.received_at.since(owner.received_at);
    let before = owner.received_at.since(claim.received_at);
    if after > claim.window {
        claims(owner.generation.saturating_add(1))
    } else if before > claim.window && earlier.generation < owner.generation {
        keeps(earlier.generation)
    } else {
        Again { verdict: repeated(owner, claim), newly: false }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        ledger::Owner,
        model::{EndpointName, EntryNumber, EventRef, Timestamp},
    };

    const UNKNOWN: Earlier = Earlier { decided: false, generation: 0 };

    fn at(number: u64) -> EventRef {
        EventRef { number: EntryNumber(number), ordinal: 0 }
    }

    fn again(owner: Option<(u64, i64, u32)>, number: u64, received_at: i64, earlier: Earlier) -> Again {
        let endpoint = EndpointName::new("acme", "default");
        let mut owners = Owners::default();
        if let Some((number, received_at, generation)) = owner {
            let received_at = Timestamp::from_micros(received_at);
            let owner = Owner { at: at(number), received_at, identity_digest: [1; 32], generation };
            owners.know(endpoint.clone(), "1".to_owned(), owner);
        }
        let claim = Claim {
            at: at(number),
            endpoint: &endpoint,
            external_id: "1",
            received_at: Timestamp::from_micros(received_at),
            identity_digest: [1; 32],
            window: Duration::from_micros(100),
        };
        decide_again(&owners, &claim, earlier)
    }

    #[test]
    fn what_was_decided_keeps_its_verdict() {
        let keeps = |generation| Again { verdict: Verdict::Owner { generation }, newly: false };
        assert_eq!(again(Some((5, 0, 2)), 5, 0, UNKNOWN), keeps(2), "it is the owner");
        assert_eq!(again(Some((5, 0, 0)), 7, 10, Earlier { decided: true, generation: 0 }), keeps(0));
        assert_eq!(again(Some((9, 500, 1)), 5, 0, UNKNOWN), keeps(0), "owner of an older generation");
    }

    #[test]
    fn what_was_never_identified_gets_its_verdict_now() {
        let owns = |generation| Again { verdict: Verdict::Owner { generation }, newly: true };
        let repeats = |of| Again { verdict: Verdict::Duplicate { of: at(of) }, newly: false };
        assert_eq!(again(None, 5, 0, UNKNOWN), owns(0));
        assert_eq!(again(Some((3, 0, 0)), 5, 50, UNKNOWN), repeats(3));
        assert_eq!(again(Some((3, 0, 0)), 5, 101, UNKNOWN), owns(1));
        assert_eq!(again(Some((9, 50, 0)), 5, 0, UNKNOWN), repeats(9), "its retry was identified first");
        assert_eq!(again(Some((9, 500, 0)), 5, 0, UNKNOWN), repeats(9), "that generation is taken");
    }
}
