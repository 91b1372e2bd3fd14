//! The `redis_streams` broker, on a real Redis that fsyncs what it confirms.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use douane::{
    brokers::{Broker, BrokerError, Credential, RedisStreamsBroker, RedisStreamsSettings},
    model::{AddressTemplate, Secret},
};
use redis::{Cmd, FromRedisValue, cmd};

use super::{
    Stoppable, Subject, event, event_with, events, place, placed, refuses_one_that_is_too_large,
    satisfies_the_trait, survives_a_power_cut,
};
use crate::servers::redis::{self as servers, Redis};

/// An entry of a stream: its id, and its fields with their values one after another.
type Entry = (String, Vec<String>);

struct InRedis {
    redis: Redis,
}

impl InRedis {
    fn start(settings: &[&str]) -> Self {
        Self { redis: servers::start(settings) }
    }

    /// What the server answers.
    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> T {
        let client = redis::Client::open(self.redis.url()).expect("a url");
        let mut connection = client.get_multiplexed_async_connection().await.expect("it connects");
        command.query_async(&mut connection).await.expect("an answer")
    }

    async fn tell(&self, words: &[&str]) {
        let mut command = cmd(words[0]);
        command.arg(&words[1..]);
        let _: redis::Value = self.ask(&command).await;
    }

    async fn entries(&self, stream: &str) -> Vec<Entry> {
        self.ask(cmd("XRANGE").arg(stream).arg("-").arg("+")).await
    }

    async fn streams(&self) -> Vec<String> {
        let mut streams: Vec<String> = self.ask(cmd("KEYS").arg("events.*")).await;
        streams.sort();
        streams
    }

    fn settings(&self) -> RedisStreamsSettings {
        RedisStreamsSettings {
            url: self.redis.url(),
            user: None,
            password: None,
            ca_file: None,
            stream: template("events.{type}"),
            shards: 1,
            max_len: None,
            max_event_bytes: 512 * 1024 * 1024,
            max_in_flight: 64,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(5),
        }
    }
}

fn template(text: &str) -> AddressTemplate {
    AddressTemplate::parse(text).expect("a template")
}

fn broker(settings: RedisStreamsSettings) -> RedisStreamsBroker {
    RedisStreamsBroker::new("subject", settings)
}

#[async_trait]
impl Subject for InRedis {
    fn broker(&self) -> Arc<dyn Broker> {
        Arc::new(broker(self.settings()))
    }

    async fn holds(&self) -> Vec<String> {
        let mut bodies = Vec::new();
        for stream in self.streams().await {
            for (_, fields) in self.entries(&stream).await {
                assert_eq!((fields.len(), fields[0].as_str()), (2, "event"));
                bodies.push(fields[1].clone());
            }
        }
        bodies
    }
}

#[async_trait]
impl Stoppable for InRedis {
    async fn kill(&mut self) {
        self.redis.server.kill();
    }

    async fn restart(&mut self) {
        self.redis.server.restart();
    }
}

#[tokio::test]
async fn redis_streams() {
    satisfies_the_trait(&InRedis::start(&[])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_streams_survive_a_power_cut() {
    survives_a_power_cut(&mut InRedis::start(&[])).await;
}

#[tokio::test]
async fn redis_streams_refuse_one_that_is_too_large() {
    let subject = InRedis::start(&["--proto-max-bulk-len", "1mb"]);
    let settings = RedisStreamsSettings { max_event_bytes: 1024 * 1024, ..subject.settings() };
    refuses_one_that_is_too_large(&Bounded { subject, settings }, &"x".repeat(1_100_000)).await;
}

/// Redis with other settings of ours.
struct Bounded {
    subject: InRedis,
    settings: RedisStreamsSettings,
}

#[async_trait]
impl Subject for Bounded {
    fn broker(&self) -> Arc<dyn Broker> {
        Arc::new(broker(self.settings.clone()))
    }

    async fn holds(&self) -> Vec<String> {
        self.subject.holds().await
    }
}

#[tokio::test]
async fn redis_streams_have_an_event_where_the_position_says() {
    let subject = InRedis::start(&[]);
    let all = events(1..=9);
    let report = subject.broker().publish(&all).await;
    let entries = subject.entries("events.payments.PaymentCaptured.v1").await;
    for (event, (_, position)) in all.iter().zip(placed(&report.placements)) {
        let (stream, id) = position.split_once('/').expect("stream/id");
        assert_eq!(stream, "events.payments.PaymentCaptured.v1");
        let entry = entries.iter().find(|(entry, _)| entry == id).expect("it is there");
        assert_eq!(entry.1[1].as_bytes(), &event.body[..]);
    }
}

#[tokio::test]
async fn redis_streams_of_a_shard_have_whole_keys() {
    let subject = InRedis::start(&[]);
    let settings =
        RedisStreamsSettings { stream: template("events.{shard}"), shards: 3, ..subject.settings() };
    assert_eq!(broker(settings).publish(&events(1..=60)).await.placements.len(), 60);
    // The shards of the three keys, by SHA-256 made elsewhere.
    assert_eq!(subject.streams().await, ["events.0", "events.1"]);
    assert_eq!(subject.entries("events.0").await.len(), 20, "of key 0");
    assert_eq!(subject.entries("events.1").await.len(), 40, "of keys 1 and 2");
}

#[tokio::test]
async fn redis_streams_are_trimmed_when_told() {
    let subject = InRedis::start(&["--stream-node-max-entries", "10"]);
    let settings = RedisStreamsSettings { max_len: Some(50), ..subject.settings() };
    assert_eq!(broker(settings).publish(&events(1..=500)).await.placements.len(), 500);
    let kept = subject.holds().await.len();
    assert!((50..=60).contains(&kept), "about 50: {kept}");
}

#[tokio::test]
async fn redis_streams_wait_for_what_passes() {
    let subject = InRedis::start(&["--maxmemory", "4mb", "--maxmemory-policy", "noeviction"]);
    let broker = subject.broker();
    let filler: Vec<_> = (1..=8).map(|number| event_with(number, &"x".repeat(1_000_000))).collect();
    let full = broker.publish(&filler).await;
    assert!(full.placements.len() < 8, "it is full");
    assert!(matches!(&full.stopped, Some(BrokerError::Unavailable(why)) if why.contains("OOM")), "{full:?}");
    subject.tell(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_eq!(place(&*broker, &filler[full.placements.len()..]).await, 8 - full.placements.len());

    subject.tell(&["REPLICAOF", "127.0.0.1", "1"]).await;
    let replica = broker.publish(&[event(9)]).await;
    assert!(matches!(&replica.stopped, Some(BrokerError::Unavailable(_))), "{replica:?}");
    subject.tell(&["REPLICAOF", "NO", "ONE"]).await;
    assert_eq!(place(&*broker, &[event(9)]).await, 1);
}

#[tokio::test]
async fn redis_streams_wait_loudly_for_a_person() {
    let subject = InRedis::start(&[]);
    let (loud, stream) = (loud_of, "events.payments.PaymentCaptured.v1");
    subject.tell(&["SET", stream, "a text"]).await;
    assert!(loud(subject.broker().publish(&[event(1)]).await.stopped).contains("WRONGTYPE"));
    subject.tell(&["DEL", stream]).await;
    subject.tell(&["ACL", "SETUSER", "reader", "on", ">swordfish", "~*", "+@read", "+ping"]).await;
    let login = |password: &'static str| RedisStreamsSettings {
        user: Some("reader".to_owned()),
        password: Some(Credential::new(move || Ok(Secret::new(password)))),
        ..subject.settings()
    };
    let reader = broker(login("swordfish"));
    reader.look().await.expect("it connects");
    let why = loud(reader.publish(&[event(1)]).await.stopped);
    assert!(why.contains("permission") && !format!("{reader:?}").contains("swordfish"), "{why}");
    let why = loud(broker(login("marlin")).publish(&[event(1)]).await.stopped);
    assert!(!why.contains("marlin"), "{why}");
    subject.tell(&["CONFIG", "SET", "requirepass", "secret"]).await;
    loud(subject.broker().publish(&[event(1)]).await.stopped);
}

fn loud_of(stopped: Option<BrokerError>) -> String {
    match stopped {
        Some(BrokerError::RefusesEveryone(why)) => why,
        other => panic!("it does not wait loudly: {other:?}"),
    }
}

#[tokio::test]
async fn redis_streams_speak_tls_with_whom_we_trust() {
    let (redis, url, certificates) = servers::with_tls();
    let subject = InRedis { redis };
    let at = |url: String, ca_file: Option<PathBuf>| {
        broker(RedisStreamsSettings { url, ca_file, ..subject.settings() })
    };
    let authority = certificates.authority();
    let trusting = at(url.clone(), Some(authority.clone()));
    trusting.look().await.expect("it connects");
    assert_eq!(placed(&trusting.publish(&[event(1)]).await.placements).len(), 1);

    let other_name = at(url.replace("127.0.0.1", "localhost"), Some(authority));
    let why = loud_of(other_name.publish(&[event(2)]).await.stopped);
    assert!(why.contains("not valid for name"), "{why}");
    let why = loud_of(at(url.clone(), None).publish(&[event(2)]).await.stopped);
    assert!(why.contains("invalid peer certificate"), "{why}");
    let why = loud_of(at(url, Some("/nowhere/ca.pem".into())).publish(&[event(2)]).await.stopped);
    assert!(why.contains("its ca_file /nowhere/ca.pem"), "{why}");
    assert_eq!(subject.holds().await.len(), 1);
}

#[tokio::test]
async fn redis_that_answers_nothing_is_waited_for_no_longer_than_told() {
    let subject = InRedis::start(&[]);
    let broker =
        broker(RedisStreamsSettings { response_timeout: Duration::from_millis(300), ..subject.settings() });
    assert_eq!(broker.publish(&events(1..=3)).await.placements.len(), 3);
    subject.redis.server.pause();
    let report = broker.publish(&events(4..=6)).await;
    assert!(matches!(report.stopped, Some(BrokerError::Unavailable(_))), "{report:?}");
    subject.redis.server.resume();
    assert_eq!(place(&broker, &events(4..=6)).await, 3);
}
