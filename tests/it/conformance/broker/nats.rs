//! The `nats` broker, on a real NATS server with JetStream.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_nats::jetstream::{self, message::StreamMessage, stream};
use async_trait::async_trait;
use douane::{
    brokers::{Broker, BrokerError, Credential, NatsBroker, NatsLogin, NatsSettings},
    model::{AddressTemplate, Secret},
};

use super::{
    Stoppable, Subject, event, events, placed, refuses_one_that_is_too_large, satisfies_the_trait,
    survives_a_power_cut,
};
use crate::servers::nats::{self, Nats};

/// A server with the stream `EVENTS`.
struct InNats {
    nats: Nats,
    login: NatsLogin,
}

impl InNats {
    async fn start() -> Self {
        Self::with("", stream::Config::default()).await
    }

    async fn with(settings: &str, stream: stream::Config) -> Self {
        let started = Self { nats: nats::start(settings), login: NatsLogin::default() };
        started.create(stream).await;
        started
    }

    async fn create(&self, stream: stream::Config) {
        let subjects = vec!["events.>".to_owned()];
        let stream = stream::Config { name: "EVENTS".to_owned(), subjects, ..stream };
        self.jetstream().await.create_stream(stream).await.expect("a stream");
    }

    async fn jetstream(&self) -> jetstream::Context {
        jetstream::new(async_nats::connect(self.nats.url()).await.expect("it connects"))
    }

    async fn message(&self, sequence: u64) -> StreamMessage {
        let stream = self.jetstream().await.get_stream("EVENTS").await.expect("the stream");
        stream.get_raw_message(sequence).await.expect("a message")
    }

    fn settings(&self) -> NatsSettings {
        NatsSettings {
            servers: vec![self.nats.url()],
            stream: "EVENTS".to_owned(),
            subject: AddressTemplate::parse("events.{type}").expect("a template"),
            login: self.login.clone(),
            ca_file: None,
            max_in_flight: 64,
            connect_timeout: Duration::from_secs(5),
            ack_timeout: Duration::from_secs(5),
        }
    }
}

fn broker(settings: NatsSettings) -> NatsBroker {
    NatsBroker::new("subject", settings)
}

#[async_trait]
impl Subject for InNats {
    fn broker(&self) -> Arc<dyn Broker> {
        Arc::new(broker(self.settings()))
    }

    async fn holds(&self) -> Vec<String> {
        let mut stream = self.jetstream().await.get_stream("EVENTS").await.expect("the stream");
        let state = stream.info().await.expect("the stream").state.clone();
        let mut bodies = Vec::new();
        for sequence in state.first_sequence..=state.last_sequence {
            let message = stream.get_raw_message(sequence).await.expect("a message");
            bodies.push(String::from_utf8(message.payload.to_vec()).expect("utf-8"));
        }
        bodies
    }

    fn keeps_repeats(&self) -> bool {
        false
    }
}

#[async_trait]
impl Stoppable for InNats {
    async fn kill(&mut self) {
        self.nats.server.kill();
    }

    async fn restart(&mut self) {
        self.nats.server.restart();
    }
}

fn loud(stopped: Option<BrokerError>) -> String {
    match stopped {
        Some(BrokerError::RefusesEveryone(why)) => why,
        other => panic!("it does not wait loudly: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats() {
    satisfies_the_trait(&InNats::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_survives_a_power_cut() {
    survives_a_power_cut(&mut InNats::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_refuses_one_that_is_too_large_for_the_server_or_the_stream() {
    let small_payloads = InNats::with("max_payload: 65536", stream::Config::default()).await;
    refuses_one_that_is_too_large(&small_payloads, &"x".repeat(70_000)).await;
    let small_messages = stream::Config { max_message_size: 4_096, ..stream::Config::default() };
    refuses_one_that_is_too_large(&InNats::with("", small_messages).await, &"x".repeat(5_000)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_has_an_event_where_the_position_says() {
    let subject = InNats::start().await;
    let (broker, all) = (subject.broker(), events(1..=9));
    let report = broker.publish(&all).await;
    for (event, (_, position)) in all.iter().zip(placed(&report.placements)) {
        let sequence = position.strip_prefix("EVENTS/").and_then(|sequence| sequence.parse().ok());
        let message = subject.message(sequence.expect("a sequence")).await;
        assert_eq!(message.payload, event.body);
        assert_eq!(message.subject.as_str(), "events.payments.PaymentCaptured.v1");
        let header = |name: &str| message.headers.get(name).map(|value| value.as_str().to_owned());
        assert_eq!(header("Nats-Msg-Id").as_deref(), Some(event.id.as_str()));
        assert_eq!(header("content-type").as_deref(), Some("application/cloudevents+json; charset=UTF-8"));
    }
    let again = broker.publish(&all).await;
    assert_eq!(placed(&again.placements), placed(&report.placements), "a repeat is where it was");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_waits_loudly_for_its_stream() {
    let subject = InNats { nats: nats::start(""), login: NatsLogin::default() };
    let broker = subject.broker();
    assert!(broker.look().await.is_err(), "there is no stream");
    loud(broker.publish(&[event(1)]).await.stopped);
    subject.create(stream::Config::default()).await;
    broker.look().await.expect("there is one now");
    assert_eq!(broker.publish(&[event(1)]).await.placements.len(), 1);

    let another = NatsSettings { stream: "ORDERS".to_owned(), ..subject.settings() };
    let why = loud(self::broker(another).publish(&[event(2)]).await.stopped);
    assert!(why.contains("expected stream"), "{why}");
    assert_eq!(subject.holds().await.len(), 1, "what landed in another stream than meant was not kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_waits_loudly_when_it_may_not_publish() {
    let users = "authorization { users: [
        { user: good, password: right },
        { user: weak, password: right, permissions: { publish: \"$JS.API.>\" } },
    ] }";
    let login = |user: &str, password: &'static str| NatsLogin {
        user: Some((user.to_owned(), Credential::new(move || Ok(Secret::new(password))))),
        ..NatsLogin::default()
    };
    let nats = nats::start(users);
    let options = async_nats::ConnectOptions::with_user_and_password("good".to_owned(), "right".to_owned());
    let stream = stream::Config {
        name: "EVENTS".to_owned(),
        subjects: vec!["events.>".to_owned()],
        ..stream::Config::default()
    };
    let jetstream = jetstream::new(options.connect(nats.url()).await.expect("it connects"));
    jetstream.create_stream(stream).await.expect("a stream");

    let mut subject = InNats { nats, login: login("good", "wrong") };
    let why = loud(subject.broker().publish(&[event(1)]).await.stopped);
    assert!(why.contains("authorization") && !why.contains("wrong"), "{why}");
    subject.login = login("weak", "right");
    let quick = NatsSettings { ack_timeout: Duration::from_millis(300), ..subject.settings() };
    let why = loud(broker(quick).publish(&[event(1)]).await.stopped);
    assert!(why.to_ascii_lowercase().contains("permissions violation"), "{why}");
    subject.login = login("good", "right");
    assert_eq!(subject.broker().publish(&[event(1)]).await.placements.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_speaks_tls_with_whom_we_trust() {
    let (nats, certificates) = nats::with_tls();
    let subject = InNats { nats, login: NatsLogin::default() };
    subject.create(stream::Config::default()).await;
    let at = |server: String, ca_file: Option<PathBuf>| {
        broker(NatsSettings { servers: vec![server], ca_file, ..subject.settings() })
    };
    let (url, authority) = (subject.nats.tls_url(), certificates.authority());
    let trusting = at(url.clone(), Some(authority.clone()));
    trusting.look().await.expect("it connects");
    assert_eq!(placed(&trusting.publish(&[event(1)]).await.placements).len(), 1);

    let other_name = at(url.replace("127.0.0.1", "localhost"), Some(authority));
    let why = loud(other_name.publish(&[event(2)]).await.stopped);
    assert!(why.contains("not valid for name"), "{why}");
    let why = loud(at(url.clone(), None).publish(&[event(2)]).await.stopped);
    assert!(why.contains("invalid peer certificate"), "{why}");
    let why = loud(at(url, Some("/nowhere/ca.pem".into())).publish(&[event(2)]).await.stopped);
    assert!(why.contains("os error 2"), "{why}");
    assert_eq!(subject.holds().await.len(), 1);

    let in_the_open = InNats::start().await;
    loud(at(in_the_open.nats.tls_url(), None).publish(&[event(1)]).await.stopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_that_answers_nothing_is_waited_for_no_longer_than_told() {
    let subject = InNats::start().await;
    let broker = broker(NatsSettings { ack_timeout: Duration::from_millis(300), ..subject.settings() });
    assert_eq!(broker.publish(&events(1..=3)).await.placements.len(), 3);
    subject.nats.server.pause();
    let report = broker.publish(&events(4..=6)).await;
    assert!(matches!(report.stopped, Some(BrokerError::Unavailable(_))), "{report:?}");
    subject.nats.server.resume();
    let all = super::place(&broker, &events(4..=6)).await;
    assert_eq!((all, subject.holds().await.len()), (3, 6), "what was under way is kept once");
}
