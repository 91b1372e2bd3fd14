//! Room `brokers`: how a batch is offered to a broker that confirms event by event: many keys at once, and of each key one
//! unconfirmed event, however deep the pipeline, so that none overtakes an earlier one of its key.

use std::{
    collections::HashMap,
    future::Future,
    sync::atomic::{AtomicBool, Ordering},
};

use futures_util::{StreamExt, stream};

use super::{BrokerError, Placement, PublishReport};
use crate::model::StoredEvent;

/// Offers `events` with `place`, at most `at_once` unconfirmed and of each partition key one. After the first failure
/// nothing more is begun; what is under way is waited for. Reported is the prefix that was placed or refused: what was placed
/// beyond it is offered again with the rest, as a repeat behind its own first appearance.
pub async fn by_key<F, P>(events: &[StoredEvent], at_once: usize, place: F) -> PublishReport
where
    F: Fn(StoredEvent) -> P,
    P: Future<Output = Result<Placement, BrokerError>>,
{
    let stopped = AtomicBool::new(false);
    let (place, stopped) = (&place, &stopped);
    let in_order = |key: Vec<usize>| async move {
        let mut done = Vec::with_capacity(key.len());
        for index in key {
            if stopped.load(Ordering::Relaxed) {
                break;
            }
            let placed = place(events[index].clone()).await;
            let failed = placed.is_err();
            done.push((index, placed));
            if failed {
                stopped.store(true, Ordering::Relaxed);
                break;
            }
        }
        done
    };
    let keys = stream::iter(keys(events)).map(in_order).buffer_unordered(at_once.max(1));
    let mut done: Vec<_> = keys.collect::<Vec<_>>().await.into_iter().flatten().collect();
    done.sort_unstable_by_key(|(index, _)| *index);
    report(done)
}

/// The places of each key in the batch, in order; keys by their first event.
fn keys(events: &[StoredEvent]) -> Vec<Vec<usize>> {
    let (mut known, mut keys) = (HashMap::new(), Vec::<Vec<usize>>::new());
    for (index, event) in events.iter().enumerate() {
        let key = *known.entry(event.partition_key.as_str()).or_insert(keys.len());
        match keys.get_mut(key) {
            Some(places) => places.push(index),
            None => keys.push(vec![index]),
        }
    }
    keys
}

fn report(done: Vec<(usize, Result<Placement, BrokerError>)>) -> PublishReport {
    let (mut placements, mut stopped) = (Vec::new(), None);
    for (index, placed) in done {
        match placed {
            Ok(placement) if placements.len() == index => placements.push(placement),
            Ok(_) => {}
            // What a person must mend is said before what passes.
            Err(error @ BrokerError::RefusesEveryone(_)) => stopped = Some(error),
            Err(error) => stopped = stopped.or(Some(error)),
        }
    }
    PublishReport { placements, stopped }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        sync::{
            Mutex,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use proptest::prelude::*;

    use super::*;
    use crate::model::{EndpointName, EntryNumber, EventNumber, EventRef, Revision};

    fn event(number: u64, key: u8) -> StoredEvent {
        StoredEvent {
            number: EventNumber(number),
            id: format!("id-{number}"),
            event_type: "t".to_owned(),
            partition_key: key.to_string(),
            endpoint: EndpointName::new("acme", "default"),
            made_from: EventRef { number: EntryNumber(number), ordinal: 0 },
            revision: Revision("r".into()),
            brokers: Vec::new(),
            body: "{}".into(),
        }
    }

    fn events(keys: &[u8]) -> Vec<StoredEvent> {
        (1..).zip(keys).map(|(number, key)| event(number, *key)).collect()
    }

    /// A server that answers late, and fails the calls it is told to.
    #[derive(Default)]
    struct Server {
        calls: AtomicUsize,
        fails: BTreeSet<usize>,
        under_way: Mutex<Vec<String>>,
        most_under_way: AtomicUsize,
        holds: Mutex<Vec<StoredEvent>>,
    }

    impl Server {
        async fn place(&self, event: StoredEvent) -> Result<Placement, BrokerError> {
            let call = self.calls.fetch_add(1, Ordering::Relaxed);
            {
                let mut under_way = self.under_way.lock().expect("the server");
                assert!(!under_way.contains(&event.partition_key), "two of one key are unconfirmed");
                under_way.push(event.partition_key.clone());
                self.most_under_way.fetch_max(under_way.len(), Ordering::Relaxed);
            }
            for _ in 0..(call * 7) % 5 {
                tokio::task::yield_now().await;
            }
            self.under_way.lock().expect("the server").retain(|key| *key != event.partition_key);
            if self.fails.contains(&call) {
                return Err(BrokerError::Unavailable("told to".to_owned()));
            }
            self.holds.lock().expect("the server").push(event.clone());
            Ok(Placement::Placed { event: event.number, position: call.to_string() })
        }
    }

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(work)
    }

    proptest! {
        #[test]
        fn a_key_first_appears_in_order_whatever_fails(
            keys in proptest::collection::vec(0_u8..4, 0..24),
            fails in proptest::collection::btree_set(0_usize..40, 0..6),
            at_once in 1_usize..8,
        ) {
            let (server, all) = (Server { fails, ..Server::default() }, events(&keys));
            let mut placed = 0;
            while placed < all.len() {
                let report = block_on(by_key(&all[placed..], at_once, |event| server.place(event)));
                for (event, placement) in all[placed..].iter().zip(&report.placements) {
                    let Placement::Placed { event: number, .. } = placement else { panic!("refused") };
                    prop_assert_eq!(*number, event.number, "a prefix, in order");
                }
                placed += report.placements.len();
                prop_assert!(report.stopped.is_some() || placed == all.len());
            }
            prop_assert!(server.most_under_way.into_inner() <= at_once);
            let holds = server.holds.into_inner().expect("the server");
            for key in 0..4_u8 {
                let key = key.to_string();
                let mut seen = BTreeSet::new();
                let of_key = holds.iter().filter(|event| event.partition_key == key);
                let first: Vec<_> = of_key.map(|event| event.number).filter(|number| seen.insert(*number)).collect();
                let offered: Vec<_> =
                    all.iter().filter(|event| event.partition_key == key).map(|event| event.number).collect();
                prop_assert_eq!(first, offered);
            }
        }
    }

    #[test]
    fn what_a_person_must_mend_is_said_first() {
        let all = events(&[1, 2]);
        let report = block_on(by_key(&all, 2, |event| async move {
            tokio::task::yield_now().await;
            Err(match event.number.0 {
                1 => BrokerError::Unavailable("later".to_owned()),
                _ => BrokerError::RefusesEveryone("no topic".to_owned()),
            })
        }));
        assert!(matches!(report.stopped, Some(BrokerError::RefusesEveryone(_))), "{report:?}");
    }
}
