//! PostgreSQL that goes back under running processes: the server is lost, and one takes its place that lacks the end of what
//! was confirmed. Numbers are given again, to other deliveries; what a process remembers of the old ones must not pass the
//! new ones over, nor reach the new server.

use std::time::{Duration, Instant};

use douane::{
    ledger::Appended,
    pipeline::{Progress, Stage, StageError},
};

use serde_json::json;

use crate::{
    lab::measured,
    memory::single,
    servers::{
        postgres::{Backup, Postgres},
        redis,
    },
    several::{ALL, accept, outcome, post},
    sharing::{Process, Shared},
    site::Site,
};

/// A process that has not come to rest in this time never will.
const PATIENCE: Duration = Duration::from_mins(1);

/// How a server takes the place of the one that is lost.
type Replace = fn(&mut Postgres, Backup);

impl Shared {
    /// Comes again until it is answered 2xx, as partners do.
    async fn insist(&mut self, partner: &str, id: &str) -> Appended {
        let begun = Instant::now();
        loop {
            match self.try_to_deliver(partner, id, id).await {
                Ok(appended) => return appended,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "{id}: {error}"),
            }
        }
    }

    /// Deliveries `name 0`, `name 1` …; the numbers they were given.
    async fn insist_on(&mut self, name: &str, count: usize) -> Vec<u64> {
        let mut numbers = Vec::new();
        for n in 0..count {
            numbers.push(self.insist("acme", &format!("{name} {n}")).await.first.0);
        }
        numbers
    }
}

impl Process {
    /// What the program does all the time: asks how far the log reaches, renews its leases, steps both stages. Until nothing
    /// is left to do.
    async fn settle(&mut self) {
        let (begun, mut rested) = (Instant::now(), 0);
        while rested < 3 {
            assert!(begun.elapsed() < PATIENCE, "it never comes to rest");
            let _ = self.reader.look().await;
            self.renew().await;
            let worked = [self.stage.step().await, self.publication.step().await];
            rested = if worked.iter().all(|it| *it == Ok(Progress::Idle)) { rested + 1 } else { 0 };
            for ended in worked {
                assert!(!matches!(ended, Err(StageError::Fatal(_))), "{ended:?}");
            }
        }
    }
}

fn named(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{name} {n}")).collect()
}

/// Everything that the server holds has its outcome and its events, and all of it was published in order.
async fn holds_and_published(shared: &Shared, process: &Process, expected: &[String]) {
    assert_eq!(process.orders().await, expected);
    assert_eq!(process.worked().await, expected.len() as u64);
    assert!(process.cursors().await.iter().all(|cursor| *cursor == expected.len() as u64));
    let published: Vec<_> = shared.published().into_iter().filter(|order| expected.contains(order)).collect();
    assert_eq!(published, expected, "each once, in order");
}

/// A process at rest, all of whose memory is of numbers that are given again.
async fn goes_back_under_a_process_at_rest(replace: Replace) {
    let mut shared = Shared::new().await;
    let mut process = shared.process().await;
    assert_eq!(shared.insist_on("kept", 7).await, [1, 2, 3, 4, 5, 6, 7]);
    process.renew().await;
    process.settle().await;
    let backup = shared.server.back_up();
    let lost = shared.insist_on("lost", 6).await;
    process.settle().await;
    assert_eq!(process.worked().await, 13);

    replace(&mut shared.server, backup);
    assert_eq!(shared.insist_on("anew", 6).await, lost, "the numbers are given again");
    process.settle().await;
    let expected = [named("kept", 7), named("anew", 6)].concat();
    holds_and_published(&shared, &process, &expected).await;

    // From there on all is as ever.
    shared.insist_on("later", 7).await;
    process.settle().await;
    holds_and_published(&shared, &process, &[expected, named("later", 7)].concat()).await;
}

#[tokio::test]
async fn a_standby_that_lagged_is_promoted_under_a_process_at_rest() {
    goes_back_under_a_process_at_rest(Postgres::fail_over_to).await;
}

#[tokio::test]
async fn a_backup_is_put_back_under_a_process_at_rest() {
    goes_back_under_a_process_at_rest(Postgres::put_back).await;
}

/// What one process told the memory of verdicts before, another finds there after, and so does the first.
#[tokio::test]
async fn a_memory_that_was_told_of_the_lost_server_makes_nothing_a_duplicate_on_the_next() {
    let redis = redis::start(&[]);
    let mut shared = Shared::new().await;
    shared.remember = Some(single(&redis));
    let mut processes = [shared.process().await, shared.process().await];
    shared.insist_on("kept", 7).await;
    processes[0].renew().await;
    processes[0].settle().await;
    let standby = shared.server.back_up();
    let lost = shared.insist_on("lost", 6).await;
    processes[0].settle().await;
    shared.server.fail_over_to(standby);
    assert_eq!(shared.insist_on("anew", 6).await, lost);
    processes[0].settle().await;
    // The partner comes again with what the gateway forgot, and with what it did not.
    shared.insist_on("lost", 3).await;
    shared.insist_on("anew", 3).await;
    processes[0].settle().await;
    shared.let_leases_run_out();
    processes[1].renew().await;
    shared.insist_on("lost", 6).await;
    shared.insist_on("kept", 7).await;
    processes[1].settle().await;
    let expected = [named("kept", 7), named("anew", 6), named("lost", 6)].concat();
    assert_eq!(processes[1].orders().await, expected);
    assert_eq!(processes[1].worked().await, 7 + 6 + 6 + 6 + 7);
}

#[tokio::test]
async fn what_was_read_before_the_failover_is_not_committed_after_it() {
    let mut shared = Shared::new().await;
    let mut process = shared.process().await;
    shared.insist_on("kept", 5).await;
    process.renew().await;
    process.settle().await;
    let standby = shared.server.back_up();
    let lost = shared.insist_on("lost", 10).await;
    assert_eq!(process.step().await, Ok(Progress::Worked), "one batch is committed, the next is read ahead");
    shared.server.fail_over_to(standby);
    assert_eq!(shared.insist_on("anew", 10).await, lost);
    // Nothing has told it yet: it works what it read.
    let begun = Instant::now();
    while !matches!(process.stage.step().await, Err(StageError::Fenced(_))) {
        assert!(begun.elapsed() < PATIENCE, "it is not fenced");
        assert_eq!(process.worked().await, 5, "nothing of the lost is committed");
    }
    process.settle().await;
    holds_and_published(&shared, &process, &[named("kept", 5), named("anew", 10)].concat()).await;
}

#[tokio::test]
async fn what_a_name_stood_for_on_the_lost_server_it_does_not_on_the_next() {
    let mut shared = Shared::new().await;
    // Nor does that one know the broker.
    let standby = shared.server.back_up();
    let mut process = shared.process().await;
    // Endpoints, revisions and types are known by numbers, and those are given again too.
    for partner in ["acme", "bolt", "crow"] {
        shared.insist(partner, partner).await;
    }
    process.renew().await;
    process.settle().await;
    shared.server.fail_over_to(standby);
    for partner in ["crow", "bolt", "acme"] {
        shared.insist(partner, partner).await;
    }
    process.settle().await;
    let partners = shared.server.sql(
        "SELECT convert_from(e.partner, 'UTF8') FROM ledger.domain_events d
        JOIN ledger.endpoints e ON e.id = d.endpoint ORDER BY d.number",
    );
    let mut orders = process.orders().await;
    assert_eq!(orders, partners.lines().collect::<Vec<_>>(), "each is named after its partner");
    assert_eq!(shared.published()[3..], orders);
    orders.sort_unstable();
    assert_eq!(orders, ["acme", "bolt", "crow"]);
}

#[test]
fn whole_gateways_go_on_with_what_the_next_server_knows() {
    let mut site = Site::begin();
    // It knows nobody yet, not even the desks.
    let standby = site.postgres.back_up();
    let gateways = [site.start("one", ALL), site.start("another", ALL)];
    let turns = || gateways.iter().cycle();
    for (n, gateway) in (0..20).zip(turns()) {
        accept(gateway, &measured(&format!("lost {n}"), 1));
    }
    gateways[0].wait_for_event(20);
    let desks = "SELECT partner, revision FROM douane.desks ORDER BY 1, 2";
    let known = site.postgres.sql(desks);
    site.postgres.fail_over_to(standby);
    let begun = Instant::now();
    let insist = |gateway, n| loop {
        let answer = post(gateway, &measured(&format!("anew {n}"), 1));
        if answer.status == 200 {
            return answer.delivery();
        }
        assert!(answer.status == 503 && begun.elapsed() < PATIENCE, "{}", answer.head);
    };
    let anew: Vec<_> = (0..30).zip(turns()).map(|(n, gateway)| insist(gateway, n)).collect();
    for delivery in &anew {
        assert_eq!(outcome(&gateways[0], delivery), "translated");
    }
    gateways[1].wait_for_event(30);
    while site.postgres.sql(desks) != known {
        assert!(begun.elapsed() < PATIENCE, "the desks are not kept again");
    }
    for gateway in gateways {
        assert!(gateway.terminate().success());
    }
    let figures = site.verb("one", &["reconcile", "--format", "json"]).ended(0).json();
    assert_eq!((&figures["given"], &figures["waiting"]), (&json!(30), &json!(0)), "{figures}");
}
