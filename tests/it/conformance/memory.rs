//! What a memory of verdicts promises, told once and held against Redis as people run it: alone, behind a Sentinel, and as a
//! cluster of three.

use std::{sync::Arc, time::Duration};

use douane::{
    dedupe::{Answer, Mark, Memory, Question, Recalled, RedisAccess, RedisMemory, Telling, Topology},
    ledger::Owner,
    model::{DeliveryId, EndpointName, EntryNumber, EventRef, Incarnation, Timestamp},
};
use uuid::Uuid;

use crate::servers::redis::{self, Redis};

const WINDOW: Duration = Duration::from_hours(1);

/// Redis, and how to reach it.
struct Stage {
    access: RedisAccess,
    redis: Vec<Redis>,
}

impl Stage {
    fn memory(&self, ledger: u128) -> Arc<dyn Memory> {
        Arc::new(RedisMemory::new(Incarnation(Uuid::from_u128(ledger)), self.access.clone()))
    }
}

/// Patient: the machine that runs the tests may be busy.
pub(crate) fn access(url: String, topology: Topology) -> RedisAccess {
    RedisAccess {
        url,
        topology,
        user: None,
        password: None,
        patience: Duration::from_secs(20),
        connect_timeout: Duration::from_secs(20),
    }
}

fn alone() -> Stage {
    let redis = redis::start(&[]);
    Stage { access: access(redis.url(), Topology::Single), redis: vec![redis] }
}

fn behind_a_sentinel() -> Stage {
    let primary = redis::start(&[]);
    let sentinel = redis::sentinel_of(&primary);
    let topology = Topology::Sentinel { master: "memory".to_owned(), password: None };
    Stage { access: access(sentinel.url(), topology), redis: vec![primary, sentinel] }
}

fn in_a_cluster() -> Stage {
    let nodes = redis::cluster();
    let hosts: Vec<_> = nodes.iter().map(|node| node.address().to_string()).collect();
    Stage { access: access(format!("redis://{}", hosts.join(",")), Topology::Cluster), redis: nodes }
}

macro_rules! suite {
    ($($story:ident)+) => {
        suite! { @ in_one_redis, alone; $($story)+ }
        suite! { @ in_redis_with_sentinel, behind_a_sentinel; $($story)+ }
        suite! { @ in_redis_cluster, in_a_cluster; $($story)+ }
    };
    (@ $module:ident, $stage:ident; $($story:ident)+) => {
        mod $module {
            $(#[tokio::test]
            async fn $story() {
                super::$story(&super::$stage()).await;
            })+
        }
    };
}

suite! {
    has_no_mark_before_it_was_begun
    knows_what_it_was_told_and_that_all_else_never_was
    is_unsure_where_an_owner_alone_does_not_tell
    keeps_any_id
    answers_and_is_told_under_its_mark_alone
    begins_anew_without_what_was_there
    drops_what_a_filling_left
    keeps_endpoints_and_ledgers_apart
    notices_that_a_part_was_evicted
    grows
}

fn acme() -> EndpointName {
    EndpointName::new("acme", "default")
}

fn time(second: i64) -> Timestamp {
    Timestamp::from_micros(1_795_435_200_000_000 + second * 1_000_000)
}

fn mark(step: u64) -> Mark {
    Mark {
        build: "a build".to_owned(),
        writer: Uuid::from_u128(9),
        step,
        through: EntryNumber(step),
        id: Some(DeliveryId(Uuid::from_u128(step.into()))),
        complete: true,
        ids: 0,
    }
}

fn owner(number: u64) -> Owner {
    Owner {
        at: EventRef { number: EntryNumber(number), ordinal: 3 },
        received_at: time(i64::try_from(number).expect("small")),
        identity_digest: [7; 32],
        generation: 0,
    }
}

fn named(ids: &[&str]) -> Vec<(String, Owner)> {
    (1..).zip(ids).map(|(number, id)| ((*id).to_owned(), owner(number))).collect()
}

async fn tell(memory: &dyn Memory, owners: &[(String, Owner)], before: &Mark) -> Mark {
    let after = Mark { step: before.step + 1, ids: before.ids + owners.len() as u64, ..before.clone() };
    let endpoint = acme();
    let telling = Telling { endpoint: &endpoint, window: WINDOW, since: time(-3_600), owners };
    assert!(memory.tell(&telling, before, &after).await.expect("answers"), "the mark stood");
    after
}

async fn begun(memory: &dyn Memory) -> Mark {
    memory.begin(&acme(), WINDOW, &mark(1)).await.expect("answers");
    mark(1)
}

async fn ask(memory: &dyn Memory, ids: &[&str], mark: &Mark) -> Recalled {
    let endpoint = acme();
    let (since, until) = (time(-3_000), time(600));
    let question = Question { endpoint: &endpoint, window: WINDOW, since, until, ids };
    memory.recall(&question, mark).await.expect("answers")
}

async fn answers(memory: &dyn Memory, ids: &[&str], mark: &Mark) -> Vec<Answer> {
    match ask(memory, ids, mark).await {
        Recalled::Answers(answers) => answers,
        other => panic!("{other:?}"),
    }
}

async fn has_no_mark_before_it_was_begun(stage: &Stage) {
    let memory = stage.memory(1);
    assert_eq!(memory.mark(&acme()).await.expect("answers"), None);
    assert_eq!(ask(&*memory, &["a"], &mark(1)).await, Recalled::Changed);
    begun(&*memory).await;
    assert_eq!(memory.mark(&acme()).await.expect("answers"), Some(mark(1)));
}

async fn knows_what_it_was_told_and_that_all_else_never_was(stage: &Stage) {
    let memory = stage.memory(1);
    let mark = begun(&*memory).await;
    let mark = tell(&*memory, &named(&["a", "b"]), &mark).await;
    let mark = tell(&*memory, &[], &mark).await;
    let expected = [Answer::Owner(owner(2)), Answer::Never, Answer::Owner(owner(1)), Answer::Owner(owner(2))];
    assert_eq!(answers(&*memory, &["b", "c", "a", "b"], &mark).await, expected);
}

async fn is_unsure_where_an_owner_alone_does_not_tell(stage: &Stage) {
    let memory = stage.memory(1);
    let mut owners = named(&["renewed", "forgotten", "before the window"]);
    owners[0].1.generation = 1;
    owners[1].1.received_at = time(-4_000);
    owners[2].1.received_at = time(-3_100);
    let mark = tell(&*memory, &owners, &begun(&*memory).await).await;
    let asked = ["renewed", "forgotten", "before the window", "never"];
    let expected = [Answer::Unsure, Answer::Unsure, Answer::Unsure, Answer::Never];
    assert_eq!(answers(&*memory, &asked, &mark).await, expected);
    // The first owner of an id that had another since.
    let mark = tell(&*memory, &named(&["renewed"]), &mark).await;
    assert_eq!(answers(&*memory, &["renewed"], &mark).await, [Answer::Unsure]);
}

async fn keeps_any_id(stage: &Stage) {
    let memory = stage.memory(1);
    let long = "é".repeat(256);
    let ids = ["", "mark", " ", "a b\"{}'\\", "*", "{acme/default}", "0", "\u{1F6C3}", &long];
    let owners = named(&ids);
    let mark = tell(&*memory, &owners, &begun(&*memory).await).await;
    let expected: Vec<_> = owners.into_iter().map(|(_, owner)| Answer::Owner(owner)).collect();
    assert_eq!(answers(&*memory, &ids, &mark).await, expected);
    assert_eq!(answers(&*memory, &["é", "Mark", "  "], &mark).await, vec![Answer::Never; 3]);
}

async fn answers_and_is_told_under_its_mark_alone(stage: &Stage) {
    let memory = stage.memory(1);
    let first = begun(&*memory).await;
    let second = tell(&*memory, &named(&["a"]), &first).await;
    assert_eq!(ask(&*memory, &["a"], &first).await, Recalled::Changed);
    let (endpoint, owners) = (acme(), named(&["b"]));
    let telling = Telling { endpoint: &endpoint, window: WINDOW, since: time(0), owners: &owners };
    assert!(!memory.tell(&telling, &first, &mark(9)).await.expect("answers"), "another wrote meanwhile");
    assert_eq!(memory.mark(&endpoint).await.expect("answers").as_ref(), Some(&second));
    assert_eq!(answers(&*memory, &["b"], &second).await, [Answer::Never], "nothing of it was written");
}

async fn begins_anew_without_what_was_there(stage: &Stage) {
    let memory = stage.memory(1);
    let old = tell(&*memory, &named(&["a"]), &begun(&*memory).await).await;
    let new = Mark { build: "another build".to_owned(), ..mark(1) };
    memory.begin(&acme(), WINDOW, &new).await.expect("answers");
    assert_eq!(ask(&*memory, &["a"], &old).await, Recalled::Changed);
    assert_eq!(answers(&*memory, &["a"], &new).await, [Answer::Never]);
}

async fn drops_what_a_filling_left(stage: &Stage) {
    let memory = stage.memory(1);
    let old = tell(&*memory, &named(&["a"]), &begun(&*memory).await).await;
    let new = Mark { build: "another build".to_owned(), ..mark(1) };
    memory.begin(&acme(), WINDOW, &new).await.expect("answers");
    let new = tell(&*memory, &named(&["b"]), &new).await;
    assert!(stage.keys("*:a build:*").len() >= 2, "a filter and a shelf");
    memory.drop_filling(&acme(), WINDOW, &old, time(60)).await.expect("answers");
    assert_eq!(stage.keys("*:a build:*"), Vec::<String>::new());
    assert_eq!(answers(&*memory, &["a", "b"], &new).await, [Answer::Never, Answer::Owner(owner(1))]);
}

async fn keeps_endpoints_and_ledgers_apart(stage: &Stage) {
    let (memory, of_another) = (stage.memory(1), stage.memory(2));
    let mark = tell(&*memory, &named(&["a"]), &begun(&*memory).await).await;
    let other = EndpointName::new("acme", "refunds");
    assert_eq!(memory.mark(&other).await.expect("answers"), None);
    assert_eq!(of_another.mark(&acme()).await.expect("answers"), None);
    begun(&*of_another).await;
    assert_eq!(answers(&*memory, &["a"], &mark).await, [Answer::Owner(owner(1))]);
}

async fn notices_that_a_part_was_evicted(stage: &Stage) {
    let memory = stage.memory(1);
    let mark = tell(&*memory, &named(&["a"]), &begun(&*memory).await).await;
    stage.drop_keys(":owners:");
    assert_eq!(answers(&*memory, &["a", "b"], &mark).await, [Answer::Unsure, Answer::Never]);
    stage.drop_keys(":filter:");
    assert_eq!(ask(&*memory, &["a", "b"], &mark).await, Recalled::Lost);
    let (endpoint, owners) = (acme(), named(&["b"]));
    let telling = Telling { endpoint: &endpoint, window: WINDOW, since: time(0), owners: &owners };
    let after = Mark { step: 9, ids: 2, ..mark.clone() };
    assert!(!memory.tell(&telling, &mark, &after).await.expect("answers"));
    assert_eq!(memory.mark(&endpoint).await.expect("answers"), None, "nobody believes it again");
}

impl Stage {
    /// The keys of this pattern, wherever they are.
    fn keys(&self, pattern: &str) -> Vec<String> {
        let nodes = self.redis.iter().filter(|redis| !redis.info("server").contains("redis_mode:sentinel"));
        let found = nodes.map(|redis| redis.tell(&["KEYS", pattern]));
        found
            .flat_map(|keys| keys.lines().map(str::to_owned).collect::<Vec<_>>())
            .filter(|key| !key.is_empty())
            .collect()
    }

    /// As eviction does it: whole keys.
    fn drop_keys(&self, part: &str) {
        let mut dropped = 0;
        for redis in self.redis.iter().filter(|redis| !redis.info("server").contains("redis_mode:sentinel")) {
            for key in redis.tell(&["KEYS", &format!("*{part}*")]).lines().filter(|key| !key.is_empty()) {
                redis.tell(&["DEL", key]);
                dropped += 1;
            }
        }
        assert!(dropped > 0, "there is no {part}");
    }
}

async fn grows(stage: &Stage) {
    const CALL: u64 = 2_048;
    let memory = stage.memory(1);
    let mut mark = begun(&*memory).await;
    for call in 0..34 {
        let owners: Vec<_> = (0..CALL).map(|nth| (format!("evt_{}", call * CALL + nth), owner(1))).collect();
        mark = tell(&*memory, &owners, &mark).await;
    }
    let known: Vec<_> = (0..1_000).map(|nth| format!("evt_{}", nth * CALL * 34 / 1_000)).collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let known = answers(&*memory, &known, &mark).await;
    assert!(!known.contains(&Answer::Never), "whatever it was told it knows of");
    let unsure = known.iter().filter(|answer| **answer == Answer::Unsure).count();
    assert!(unsure < 20, "{unsure} of 1,000");
    let new: Vec<_> = (0..1_000).map(|nth| format!("new_{nth}")).collect();
    let new: Vec<&str> = new.iter().map(String::as_str).collect();
    let taken_for_known = answers(&*memory, &new, &mark).await;
    let taken_for_known = taken_for_known.iter().filter(|answer| **answer != Answer::Never).count();
    assert!(taken_for_known < 20, "{taken_for_known} of 1,000");
}
