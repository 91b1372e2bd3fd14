//! The `rabbitmq` broker, on a real RabbitMQ. It starts slowly, so the stories that do not end it share one.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use douane::{
    brokers::{Broker, BrokerError, Credential, Placement, PublishReport, RabbitmqBroker, RabbitmqSettings},
    model::{AddressTemplate, Secret},
};
use lapin::{
    Channel, Connection, ConnectionProperties, ExchangeKind,
    message::BasicGetMessage,
    options::{BasicGetOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};

use super::{
    Stoppable, Subject, event, events, place, placed, refuses_one_that_is_too_large, satisfies_the_trait,
    survives_a_power_cut,
};
use crate::servers::rabbitmq::{self, Rabbitmq};

/// A topic exchange, and a quorum queue that gets all of it.
struct Queue<'a> {
    server: &'a Rabbitmq,
    name: &'static str,
    taken: Mutex<Vec<String>>,
}

impl<'a> Queue<'a> {
    async fn declare(server: &'a Rabbitmq, name: &'static str) -> Self {
        Self::declare_with(server, name, &[("x-queue-type", AMQPValue::LongString("quorum".into()))]).await
    }

    async fn declare_with(server: &'a Rabbitmq, name: &'static str, arguments: &[(&str, AMQPValue)]) -> Self {
        let queue = Self { server, name, taken: Mutex::default() };
        let (_connection, channel) = queue.client().await;
        let mut table = FieldTable::default();
        for (key, value) in arguments {
            table.insert((*key).into(), value.clone());
        }
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let declared =
            channel.exchange_declare(name.into(), ExchangeKind::Topic, durable, FieldTable::default()).await;
        declared.expect("an exchange");
        channel.queue_declare(name.into(), QueueDeclareOptions::durable(), table).await.expect("a queue");
        queue.bind("#").await;
        queue
    }

    async fn client(&self) -> (Connection, Channel) {
        let url = self.server.url();
        let connection =
            Connection::connect(&url, ConnectionProperties::default()).await.expect("a connection");
        let channel = connection.create_channel().await.expect("a channel");
        (connection, channel)
    }

    async fn bind(&self, pattern: &str) {
        let (_connection, channel) = self.client().await;
        let (name, none) = (self.name, FieldTable::default());
        let bound =
            channel.queue_bind(name.into(), name.into(), pattern.into(), QueueBindOptions::default(), none);
        bound.await.expect("a binding");
    }

    async fn unbind(&self, pattern: &str) {
        let (_connection, channel) = self.client().await;
        let (name, none) = (self.name, FieldTable::default());
        channel.queue_unbind(name.into(), name.into(), pattern.into(), none).await.expect("no binding");
    }

    /// Takes what is in the queue.
    async fn take(&self) -> Vec<BasicGetMessage> {
        let (_connection, channel) = self.client().await;
        let mut taken = Vec::new();
        let next = || channel.basic_get(self.name.into(), BasicGetOptions { no_ack: true });
        while let Some(message) = next().await.expect("the queue") {
            taken.push(message);
        }
        taken
    }

    fn settings(&self) -> RabbitmqSettings {
        RabbitmqSettings {
            url: self.server.url(),
            user: None,
            ca_file: None,
            exchange: template(self.name),
            routing_key: template("{type}"),
            binary: false,
            max_in_flight: 8,
            heartbeat: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(20),
            confirm_timeout: Duration::from_secs(20),
        }
    }
}

fn template(text: &str) -> AddressTemplate {
    AddressTemplate::parse(text).expect("a template")
}

fn broker(settings: RabbitmqSettings) -> RabbitmqBroker {
    RabbitmqBroker::new("subject", settings)
}

fn refuses_us(report: &PublishReport, why: &str) {
    let told = matches!(&report.stopped, Some(BrokerError::RefusesEveryone(told)) if told.contains(why));
    assert!(report.placements.is_empty() && told, "{why}: {report:?}");
}

fn waits(report: &PublishReport) {
    let waits = matches!(report.stopped, Some(BrokerError::Unavailable(_)));
    assert!(report.placements.is_empty() && waits, "{report:?}");
}

#[async_trait]
impl Subject for Queue<'_> {
    fn broker(&self) -> Arc<dyn Broker> {
        Arc::new(broker(self.settings()))
    }

    /// What was taken from the queue stays in mind.
    async fn holds(&self) -> Vec<String> {
        let taken = self.take().await.into_iter().map(|message| message.delivery.data);
        let bodies = taken.map(|body| String::from_utf8(body).expect("utf-8"));
        let bodies: Vec<_> = bodies.collect();
        let mut known = self.taken.lock().expect("what was taken");
        known.extend(bodies);
        known.clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq() {
    let server = rabbitmq::start("max_message_size = 65536");
    satisfies_the_trait(&Queue::declare(&server, "suite").await).await;
    refuses_one_that_is_too_large(&Queue::declare(&server, "large").await, &"x".repeat(70_000)).await;
    messages_are_as_the_amqp_binding_says(&server).await;
    what_no_queue_is_bound_for_is_not_placed(&server).await;
    what_is_missing_or_forbidden_is_told(&server).await;
    an_address_that_amqp_cannot_say_refuses_its_event(&server).await;
    a_queue_that_declines_is_for_now(&server).await;
    tls_is_spoken_with_whom_we_trust(&server).await;
    a_server_out_of_memory_is_waited_for(&server).await;
}

struct Dying {
    server: Rabbitmq,
    taken: Mutex<Vec<String>>,
}

impl Dying {
    fn queue(&self) -> Queue<'_> {
        Queue { server: &self.server, name: "suite", taken: Mutex::default() }
    }
}

#[async_trait]
impl Subject for Dying {
    fn broker(&self) -> Arc<dyn Broker> {
        self.queue().broker()
    }

    async fn holds(&self) -> Vec<String> {
        let bodies = self.queue().holds().await;
        let mut known = self.taken.lock().expect("what was taken");
        known.extend(bodies);
        known.clone()
    }
}

#[async_trait]
impl Stoppable for Dying {
    async fn kill(&mut self) {
        self.server.server.kill();
    }

    async fn restart(&mut self) {
        self.server.server.restart();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_survives_a_power_cut() {
    let server = rabbitmq::start("");
    // A quorum of one has no leader for long after it was killed; what is confirmed in a classic queue is on disk too.
    Queue::declare_with(&server, "suite", &[]).await;
    survives_a_power_cut(&mut Dying { server, taken: Mutex::default() }).await;
}

async fn messages_are_as_the_amqp_binding_says(server: &Rabbitmq) {
    let queue = Queue::declare(server, "binding").await;
    assert_eq!(broker(queue.settings()).publish(&[event(7)]).await.placements.len(), 1);
    let settings =
        RabbitmqSettings { binary: true, routing_key: template("{partner}.{event}"), ..queue.settings() };
    assert_eq!(broker(settings).publish(&[event(7)]).await.placements.len(), 1);
    let taken = queue.take().await;
    let [structured, binary] = &taken[..] else { panic!("{} messages", taken.len()) };
    let text = |value: Option<&lapin::types::ShortString>| value.expect("a property").to_string();

    assert_eq!(structured.routing_key.as_str(), "payments.PaymentCaptured.v1");
    let media_type = text(structured.properties.content_type().as_ref());
    assert_eq!(media_type, "application/cloudevents+json; charset=UTF-8");
    assert_eq!(text(structured.properties.message_id().as_ref()), "id-7");
    assert_eq!(structured.properties.delivery_mode(), &Some(2), "it outlives a restart");
    let headers = structured.properties.headers().clone().unwrap_or_default();
    assert!(!headers.inner().keys().any(|name| name.as_str().starts_with("cloudEvents")));

    assert_eq!(binary.routing_key.as_str(), "acme.PaymentCaptured");
    assert_eq!(binary.data, r#"{"number":7,"name":"ünïcode \n"}"#.as_bytes());
    assert_eq!(text(binary.properties.content_type().as_ref()), "application/json");
    let headers = binary.properties.headers().clone().expect("headers");
    let headers = headers.inner().iter().map(|(name, value)| (name.as_str(), value.clone()));
    let attributes: Vec<_> = headers.filter(|(name, _)| name.starts_with("cloudEvents")).collect();
    let expected = [
        ("cloudEvents_id", "id-7"),
        ("cloudEvents_partitionkey", "acme/default/1"),
        ("cloudEvents_source", "/partners/acme/default"),
        ("cloudEvents_specversion", "1.0"),
        ("cloudEvents_subject", "Müller \"&\" 5%"),
        ("cloudEvents_time", "2026-11-23T07:41:05Z"),
        ("cloudEvents_type", "com.example.payments.PaymentCaptured.v1"),
    ];
    assert_eq!(attributes, expected.map(|(name, value)| (name, AMQPValue::LongString(value.into()))));
}

async fn what_no_queue_is_bound_for_is_not_placed(server: &Rabbitmq) {
    let queue = Queue::declare(server, "unbound").await;
    let broker = broker(queue.settings());
    assert_eq!(broker.publish(&events(1..=10)).await.placements.len(), 10);
    queue.unbind("#").await;
    refuses_us(&broker.publish(&events(11..=20)).await, "no queue of the exchange \"unbound\" is bound");
    queue.bind("payments.#").await;
    assert_eq!(placed(&broker.publish(&events(11..=20)).await.placements).len(), 10);
    let numbers = queue.holds().await.len();
    assert_eq!(numbers, 20, "nothing that was returned counted as placed");
}

async fn what_is_missing_or_forbidden_is_told(server: &Rabbitmq) {
    let queue = Queue::declare(server, "guarded").await;
    let none = RabbitmqSettings { exchange: template("nowhere"), ..queue.settings() };
    refuses_us(&broker(none.clone()).publish(&[event(1)]).await, "no exchange 'nowhere'");
    assert!(matches!(broker(none).look().await, Err(BrokerError::RefusesEveryone(_))));

    let wrong = Credential::new(|| Ok(Secret::new("wrong")));
    let stranger = RabbitmqSettings { user: Some(("guest".to_owned(), wrong)), ..queue.settings() };
    refuses_us(&broker(stranger.clone()).publish(&[event(1)]).await, "ACCESS");
    assert!(matches!(broker(stranger).look().await, Err(BrokerError::RefusesEveryone(_))));

    let elsewhere = RabbitmqSettings { url: format!("{}/nowhere", server.url()), ..queue.settings() };
    refuses_us(&broker(elsewhere).publish(&[event(1)]).await, "vhost");

    let (_connection, channel) = queue.client().await;
    let internal = ExchangeDeclareOptions { internal: true, ..ExchangeDeclareOptions::default() };
    let declared =
        channel.exchange_declare("inner".into(), ExchangeKind::Topic, internal, FieldTable::default()).await;
    declared.expect("an exchange");
    let inner = RabbitmqSettings { exchange: template("inner"), ..queue.settings() };
    refuses_us(&broker(inner).publish(&[event(1)]).await, "internal");

    let broker = broker(queue.settings());
    assert_eq!(broker.publish(&[event(1)]).await.placements.len(), 1, "and others are not touched by it");
}

async fn an_address_that_amqp_cannot_say_refuses_its_event(server: &Rabbitmq) {
    let queue = Queue::declare(server, "long").await;
    let routing_key = template(&"{type}.".repeat(10));
    let report = broker(RabbitmqSettings { routing_key, ..queue.settings() }).publish(&[event(1)]).await;
    assert!(matches!(&report.placements[..], [Placement::Refused { .. }]), "{report:?}");
    assert!(report.stopped.is_none());
}

async fn a_queue_that_declines_is_for_now(server: &Rabbitmq) {
    let full = [
        ("x-max-length", AMQPValue::LongInt(3)),
        ("x-overflow", AMQPValue::LongString("reject-publish".into())),
    ];
    let queue = Queue::declare_with(server, "full", &full).await;
    let broker = broker(RabbitmqSettings { max_in_flight: 1, ..queue.settings() });
    let report = broker.publish(&events(1..=10)).await;
    assert!(matches!(report.stopped, Some(BrokerError::Unavailable(_))), "{report:?}");
    let before = report.placements.len();
    assert!(before < 10, "{report:?}");
    queue.holds().await;
    assert!(broker.publish(&events(10..=10)).await.stopped.is_none(), "it has room again");
}

async fn tls_is_spoken_with_whom_we_trust(server: &Rabbitmq) {
    let queue = Queue::declare(server, "tls").await;
    let settings = RabbitmqSettings { url: server.tls_url(), ..queue.settings() };
    let trusting = RabbitmqSettings { ca_file: Some(server.certificate()), ..settings.clone() };
    assert_eq!(placed(&broker(trusting).publish(&[event(1)]).await.placements).len(), 1);
    refuses_us(&broker(settings.clone()).publish(&[event(1)]).await, "certificate");
    let nothing = RabbitmqSettings { ca_file: Some("/nowhere/ca.pem".into()), ..settings };
    refuses_us(&broker(nothing).publish(&[event(1)]).await, "its ca_file");
}

async fn a_server_out_of_memory_is_waited_for(server: &Rabbitmq) {
    let queue = Queue::declare(server, "memory").await;
    let patience = Duration::from_secs(2);
    let broker = broker(RabbitmqSettings { confirm_timeout: patience, ..queue.settings() });
    assert_eq!(place(&broker, &events(1..=1)).await, 1);
    server.control(&["set_vm_memory_high_watermark", "0"]);
    waits(&broker.publish(&events(2..=2)).await);
    let report = broker.publish(&events(2..=2)).await;
    waits(&report);
    let told =
        matches!(&report.stopped, Some(BrokerError::Unavailable(why)) if why.contains("connection.blocked"));
    assert!(told, "{report:?}");
    server.control(&["set_vm_memory_high_watermark", "0.9"]);
    assert_eq!(place(&broker, &events(2..=20)).await, 19);
}
