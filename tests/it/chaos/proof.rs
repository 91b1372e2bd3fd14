//! What must hold after chaos: of the ledger, of what the broker holds, and of who moved the cursors.

use std::collections::{BTreeMap, HashMap, HashSet};

use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, pull},
};
use futures_util::StreamExt;
use serde_json::Value;

use super::{
    watch,
    world::{STREAM, World},
};
use crate::proofs;

/// Proves everything, and returns the ids of all domain events.
pub async fn prove(world: &mut World, acked: HashMap<String, Vec<u8>>) -> HashSet<String> {
    world.settle();
    let events = proofs::feed(world.replicas[0].gateway());
    world.stop();
    world.verb(&["reconcile", "--scrub"]).ended(0);
    let lines = proofs::lines(world.verb(&["deliveries", "export"]).ended(0).out.as_bytes());
    proofs::every_acked_delivery_is_there(&lines, &acked);
    let facts = proofs::every_event_has_one_outcome(&lines);
    proofs::domain_events_are_unique_and_in_order(&events, &lines);
    assert_eq!(events.len(), facts, "one domain event for each external id");
    first_published_in_order(&events, &published(world).await);
    watch::nobody_moved_what_was_not_theirs(world.postgres());
    events.iter().map(|event| event["id"].as_str().expect("an id").to_owned()).collect()
}

/// What the stream holds, in its order.
async fn published(world: &World) -> Vec<Value> {
    let jetstream = jetstream::new(async_nats::connect(world.nats.url()).await.expect("it connects"));
    let mut stream = jetstream.get_stream(STREAM).await.expect("the stream");
    let count = stream.info().await.expect("the stream").state.messages;
    let config = pull::Config { ack_policy: AckPolicy::None, ..pull::Config::default() };
    let consumer = stream.create_consumer(config).await.expect("a consumer");
    let mut messages = consumer.messages().await.expect("messages");
    let mut events = Vec::new();
    for _ in 0..count {
        let message = messages.next().await.expect("another message").expect("a message");
        events.push(serde_json::from_slice(&message.payload).expect("JSON"));
    }
    events
}

/// Everything in the feed was published as it stands there, and nothing else; of one key, what appears for the first time
/// comes after all that came before it in the feed. What is sent again is the same.
fn first_published_in_order(feed: &[Value], published: &[Value]) {
    let without_number = |event: &Value| {
        let mut event = event.clone();
        event.as_object_mut().expect("an event").remove("sequence");
        event
    };
    let id = |event: &Value| event["id"].as_str().expect("an id").to_owned();
    let kept: HashMap<String, (u64, Value)> =
        feed.iter().map(|event| (id(event), (proofs::sequence(event), without_number(event)))).collect();
    let (mut seen, mut last_of_key) = (HashSet::new(), BTreeMap::<String, u64>::new());
    for event in published {
        let (number, body) = kept.get(&id(event)).unwrap_or_else(|| panic!("not in the feed: {event}"));
        assert_eq!(body, event, "not as it was kept");
        if seen.insert(id(event)) {
            let last =
                last_of_key.entry(event["partitionkey"].as_str().expect("a key").to_owned()).or_default();
            assert!(number > last, "published out of order: {event}");
            *last = *number;
        }
    }
    assert_eq!(seen.len(), feed.len(), "not everything was published");
    println!("{} events, {} published again", feed.len(), published.len() - seen.len());
}
