//! Chaos: replicas of the real binary over one real PostgreSQL, Redis and broker take a steady load while something is
//! killed, stopped, cut off or taken away; then everything that is promised is proven of what is left. SIGKILL keeps the page
//! cache, so this proves the protocol; `simulation` proves the fsync.

#![expect(clippy::print_stdout, reason = "what chance did, and how long it took, is told with a failure")]

mod load;
mod proof;
mod watch;
mod world;

use std::time::Duration;

use load::Load;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use world::{World, pass};

use crate::servers::process::until;

const REPLICAS: usize = 3;
/// Longer than a lease lasts.
const LEASE: Duration = Duration::from_secs(5);
/// How long each disturbance lasts, in seconds, unless `tests/run.sh --chaos` says otherwise.
const SECONDS: u64 = 60;

fn seconds() -> Duration {
    let seconds = std::env::var("DOUANE_CHAOS_SECONDS");
    Duration::from_secs(seconds.map_or(SECONDS, |seconds| seconds.parse().expect("a number")))
}

fn load() -> Load {
    Load::lasting(seconds())
}

/// A moment of chance between these milliseconds.
fn moment(chance: &mut StdRng, milliseconds: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(chance.random_range(milliseconds))
}

fn chance() -> StdRng {
    let seed = std::env::var("DOUANE_CRASH_SEED").map_or(2026, |seed| seed.parse().expect("a number"));
    println!("seed {seed}");
    StdRng::seed_from_u64(seed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_when_replicas_are_killed() {
    let (mut world, load, mut chance) = (World::start(REPLICAS).await, load(), chance());
    world.under(&load, |world| {
        pass(moment(&mut chance, 200..2_000));
        let place = chance.random_range(0..world.replicas.len());
        world.kill_replica(place);
        pass(moment(&mut chance, 0..2_000));
        world.start_replica(place);
    });
    proof::prove(&mut world, load.acked.take()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_stopped_past_its_lease_commits_nothing() {
    let (mut world, load) = (World::start(REPLICAS).await, load());
    let mut places = (0..REPLICAS).cycle();
    world.under(&load, |world| {
        let replica = &world.replicas[places.next().expect("a place")];
        replica.gateway().pause();
        let since = watch::now(world.postgres());
        pass(LEASE);
        // Every endpoint and the broker: what the stopped one had is worked by others.
        let everything = load::TARGETS.len() + 1;
        let taken = until(|| {
            !load.goes_on() || watch::moved_by_others(world.postgres(), &replica.name(), since) == everything
        });
        assert!(taken, "nobody took over from {}", replica.name());
        replica.gateway().resume();
        pass(Duration::from_secs(3));
    });
    proof::prove(&mut world, load.acked.take()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_when_postgresql_restarts() {
    let (mut world, load, mut chance) = (World::start(REPLICAS).await, load(), chance());
    world.under(&load, |world| {
        pass(moment(&mut chance, 2_000..6_000));
        if chance.random() {
            world.site.postgres.stop();
        } else {
            world.site.postgres.stop_at_once();
        }
        pass(moment(&mut chance, 0..1_000));
        world.site.postgres.start_again();
    });
    proof::prove(&mut world, load.acked.take()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_when_sessions_are_terminated() {
    let (mut world, load, mut chance) = (World::start(REPLICAS).await, load(), chance());
    world.under(&load, |world| {
        pass(moment(&mut chance, 50..500));
        world.postgres().terminate_one_session();
        if chance.random_ratio(1, 20) {
            world.postgres().terminate_sessions();
        }
    });
    proof::prove(&mut world, load.acked.take()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_when_the_broker_is_away() {
    let (mut world, load) = (World::start(REPLICAS).await, load());
    world.under(&load, |world| {
        pass(Duration::from_secs(10));
        world.nats.server.kill();
        pass(Duration::from_secs(20));
        world.nats.server.restart();
    });
    proof::prove(&mut world, load.acked.take()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_whatever_becomes_of_redis() {
    let (mut world, load, mut chance) = (World::start(REPLICAS).await, load(), chance());
    world.under(&load, |world| disturb_redis(world, &mut chance));
    proof::prove(&mut world, load.acked.take()).await;
}

fn disturb_redis(world: &mut World, chance: &mut StdRng) {
    pass(moment(chance, 1_000..3_000));
    match chance.random_range(0..5) {
        0 => {
            world.redis.server.kill();
            pass(moment(chance, 0..3_000));
            world.redis.server.restart();
        }
        1 => {
            world.redis.tell(&["FLUSHALL"]);
        }
        2 => {
            world.redis.server.pause();
            pass(Duration::from_secs(3));
            world.redis.server.resume();
        }
        3 => {
            world.redis.tell(&["CONFIG", "SET", "maxmemory", "1"]);
            pass(moment(chance, 1_000..3_000));
            world.redis.tell(&["CONFIG", "SET", "maxmemory", "0"]);
        }
        _ => {
            let older = world.redis.snapshot();
            pass(moment(chance, 1_000..3_000));
            world.redis.go_back_to(&older);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_changes_no_domain_event() {
    let facts = async |disturb: fn(&mut World, &mut StdRng)| {
        let (mut world, load, mut chance) =
            (World::start(REPLICAS).await, Load::lasting(seconds() / 4), chance());
        world.under(&load, |world| disturb(world, &mut chance));
        proof::prove(&mut world, load.acked.take()).await
    };
    let undisturbed = facts(|_, _| pass(Duration::from_millis(100))).await;
    let disturbed = facts(disturb_redis).await;
    let stopped = facts(|world, _| {
        world.redis.server.kill();
        pass(Duration::from_millis(100));
    })
    .await;
    assert_eq!(undisturbed, disturbed);
    assert_eq!(undisturbed, stopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_event_posted_ten_thousand_times_is_one_fact() {
    const SCHED_BATCH: u32 = 3;
    let mut world = World::start(4).await;
    let mut policies = world.replicas.iter().flat_map(|replica| replica.gateway().policies());
    assert!(policies.all(|policy| policy == SCHED_BATCH), "every thread takes turns on a busy processor");
    let acked = load::storm(&world.public(), 10_000).take();
    assert_eq!(acked.len(), 10_000, "every answer names a delivery of its own");
    let facts = proof::prove(&mut world, acked).await;
    assert_eq!(facts.len(), 1);
}
