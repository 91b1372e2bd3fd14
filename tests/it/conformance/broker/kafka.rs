//! The `kafka` broker. Kafka itself is not among what the system's packages have, so these stories run on librdkafka's own
//! mock cluster: its protocol and its log, but not Kafka's servers. It neither checks sizes nor knows logins, so errors are
//! given to it to answer. With `DOUANE_KAFKA_BROKERS` (`tests/run.sh --kafka` says more) the suite runs on a real one too.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use douane::{
    brokers::Credential,
    brokers::{
        Broker, BrokerError, KafkaBroker, KafkaLogin, KafkaSettings, KafkaTls, Placement, PublishReport,
    },
    model::{AddressTemplate, Secret},
};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::{Headers, OwnedMessage},
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};

use super::{Stoppable, Subject, event, events, place, placed, satisfies_the_trait, survives_a_power_cut};

type Mock = MockCluster<'static, DefaultProducerContext>;
type Act = Box<dyn FnOnce(&Mock) + Send>;

/// How long reading back may take. Generous: the machine may be busy.
const DEADLINE: Duration = Duration::from_mins(1);

/// Servers that speak Kafka's protocol, and a topic with several partitions.
struct Cluster {
    servers: String,
    topic: String,
    /// What is done to a mock cluster, which stays in a thread of its own; nothing can be done to a real one.
    acts: Option<mpsc::Sender<Act>>,
}

impl Cluster {
    fn mock() -> Self {
        let (acts, todo) = mpsc::channel::<Act>();
        let (tell, servers) = mpsc::channel();
        thread::spawn(move || {
            let mock = MockCluster::new(1).expect("a mock cluster");
            mock.create_topic("events", 4, 1).expect("a topic");
            tell.send(mock.bootstrap_servers()).expect("somebody listens");
            for act in todo {
                act(&mock);
            }
        });
        let servers = servers.recv().expect("it started");
        Self { servers, topic: "events".to_owned(), acts: Some(acts) }
    }

    fn act(&self, act: impl FnOnce(&Mock) + Send + 'static) {
        let (done, wait) = mpsc::channel();
        let act = move |mock: &Mock| {
            act(mock);
            done.send(()).expect("somebody waits");
        };
        self.acts.as_ref().expect("a mock cluster").send(Box::new(act)).expect("it runs");
        wait.recv().expect("it was done");
    }

    /// The next requests to produce are answered so.
    fn answers(&self, errors: &'static [RDKafkaRespErr]) {
        self.act(move |mock| mock.request_errors(RDKafkaApiKey::Produce, errors));
    }

    fn settings(&self) -> KafkaSettings {
        KafkaSettings {
            servers: vec![self.servers.clone()],
            topic: template(&self.topic),
            binary: false,
            tls: None,
            login: None,
            max_in_flight: 8,
            connect_timeout: Duration::from_secs(10),
            message_timeout: Duration::from_secs(20),
        }
    }

    /// All records of the topic, partition by partition.
    fn records(&self) -> Vec<OwnedMessage> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers).set("group.id", "test");
        let consumer: BaseConsumer = config.create().expect("a consumer");
        let metadata = consumer.fetch_metadata(Some(&self.topic), DEADLINE).expect("the topic");
        let (mut all, mut expected) = (TopicPartitionList::new(), 0);
        for partition in metadata.topics()[0].partitions() {
            let (low, high) =
                consumer.fetch_watermarks(&self.topic, partition.id(), DEADLINE).expect("its ends");
            expected += usize::try_from(high - low).expect("a count");
            all.add_partition_offset(&self.topic, partition.id(), Offset::Beginning).expect("a partition");
        }
        consumer.assign(&all).expect("assigned");
        let (begun, mut records) = (Instant::now(), Vec::new());
        while records.len() < expected {
            assert!(begun.elapsed() < DEADLINE, "{} of {expected}", records.len());
            if let Some(record) = consumer.poll(Duration::from_millis(100)) {
                records.push(record.expect("a record").detach());
            }
        }
        records
    }
}

fn template(text: &str) -> AddressTemplate {
    AddressTemplate::parse(text).expect("a template")
}

fn broker(settings: KafkaSettings) -> KafkaBroker {
    KafkaBroker::new("subject", settings)
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8(bytes.expect("it is there").to_vec()).expect("utf-8")
}

#[async_trait]
impl Subject for Cluster {
    fn broker(&self) -> Arc<dyn Broker> {
        Arc::new(broker(self.settings()))
    }

    async fn holds(&self) -> Vec<String> {
        let records = tokio::task::block_in_place(|| self.records());
        records.iter().map(|record| text(record.payload())).collect()
    }
}

/// The mock keeps its log while its servers are away.
struct Dying(Cluster);

#[async_trait]
impl Subject for Dying {
    fn broker(&self) -> Arc<dyn Broker> {
        let message_timeout = Duration::from_secs(3);
        let connect_timeout = Duration::from_secs(1);
        Arc::new(broker(KafkaSettings { message_timeout, connect_timeout, ..self.0.settings() }))
    }

    async fn holds(&self) -> Vec<String> {
        self.0.holds().await
    }
}

#[async_trait]
impl Stoppable for Dying {
    async fn kill(&mut self) {
        self.0.act(|mock| mock.broker_down(-1).expect("down"));
    }

    async fn restart(&mut self) {
        self.0.act(|mock| mock.broker_up(-1).expect("up"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka() {
    satisfies_the_trait(&Cluster::mock()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it needs a cluster: DOUANE_KAFKA_BROKERS names one with a topic `events` that is empty"]
async fn kafka_on_a_real_cluster() {
    let servers = std::env::var("DOUANE_KAFKA_BROKERS").expect("DOUANE_KAFKA_BROKERS");
    satisfies_the_trait(&Cluster { servers, topic: "events".to_owned(), acts: None }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_survives_a_power_cut() {
    survives_a_power_cut(&mut Dying(Cluster::mock())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_records_are_as_the_kafka_binding_says() {
    let cluster = Cluster::mock();
    let report = broker(cluster.settings()).publish(&[event(7)]).await;
    let binary = KafkaSettings { binary: true, ..cluster.settings() };
    assert_eq!(placed(&broker(binary).publish(&[event(7)]).await.placements).len(), 1);
    let records = tokio::task::block_in_place(|| cluster.records());
    let [structured, binary] = &records[..] else { panic!("{} records", records.len()) };
    let position = format!("events/{}/{}", structured.partition(), structured.offset());
    assert_eq!(placed(&report.placements), [(7, position.as_str())]);
    assert_eq!(structured.partition(), binary.partition(), "one key, one partition");
    assert_eq!(text(structured.key()), "acme/default/1");
    assert_eq!(
        headers(structured),
        [("content-type".to_owned(), "application/cloudevents+json; charset=UTF-8".to_owned())]
    );

    assert_eq!(text(binary.payload()), r#"{"number":7,"name":"ünïcode \n"}"#);
    let expected = [
        ("content-type", "application/json"),
        ("ce_id", "id-7"),
        ("ce_partitionkey", "acme/default/1"),
        ("ce_source", "/partners/acme/default"),
        ("ce_specversion", "1.0"),
        ("ce_subject", "Müller \"&\" 5%"),
        ("ce_time", "2026-11-23T07:41:05Z"),
        ("ce_type", "com.example.payments.PaymentCaptured.v1"),
    ];
    assert_eq!(headers(binary), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

fn headers(record: &OwnedMessage) -> Vec<(String, String)> {
    let headers = record.headers().expect("headers").iter();
    headers.map(|header| (header.key.to_owned(), text(header.value))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_refuses_the_one_record_that_is_too_large_and_not_its_batch() {
    use RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE as TOO_LARGE;
    let cluster = Cluster::mock();
    let broker = broker(cluster.settings());
    cluster.answers(&[TOO_LARGE, TOO_LARGE]);
    let alone = broker.publish(&[event(1)]).await;
    assert!(
        matches!(&alone.placements[..], [Placement::Refused { .. }]) && alone.stopped.is_none(),
        "{alone:?}"
    );
    cluster.answers(&[TOO_LARGE]);
    let others = events(2..=4);
    assert_eq!(placed(&broker.publish(&others).await.placements).len(), 3, "each is asked for by itself");
    assert_eq!(cluster.holds().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_tells_what_a_person_must_mend() {
    use RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED as FORBIDDEN;
    let cluster = Cluster::mock();
    let refuses_us = |report: &PublishReport| {
        let told = matches!(report.stopped, Some(BrokerError::RefusesEveryone(_)));
        assert!(report.placements.is_empty() && told, "{report:?}");
    };
    cluster.answers(&[FORBIDDEN]);
    let mended = broker(cluster.settings());
    refuses_us(&mended.publish(&[event(1)]).await);
    assert_eq!(place(&mended, &events(1..=1)).await, 1, "and goes on when it is mended");

    let message_timeout = Duration::from_secs(4);
    cluster.act(|mock| {
        let unknown = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
        mock.topic_error("nowhere", unknown).expect("an error");
    });
    let nowhere = KafkaSettings { topic: template("nowhere"), message_timeout, ..cluster.settings() };
    refuses_us(&broker(nowhere.clone()).publish(&[event(1)]).await);
    assert!(matches!(broker(nowhere).look().await, Err(BrokerError::RefusesEveryone(_))));

    let ca_file = Some("/nowhere/ca.pem".into());
    let tls = Some(KafkaTls { ca_file, certificate: None });
    refuses_us(&broker(KafkaSettings { tls, ..cluster.settings() }).publish(&[event(1)]).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_waits_for_a_cluster_that_is_away() {
    let cluster = Cluster::mock();
    cluster.act(|mock| mock.broker_down(-1).expect("down"));
    let password = Credential::new(|| Ok(Secret::new("secret")));
    let login = Some(KafkaLogin { mechanism: "SCRAM-SHA-512", user: "douane".to_owned(), password });
    for login in [None, login] {
        let message_timeout = Duration::from_secs(1);
        let report =
            broker(KafkaSettings { login, message_timeout, ..cluster.settings() }).publish(&[event(1)]).await;
        assert!(matches!(report.stopped, Some(BrokerError::Unavailable(_))), "{report:?}");
    }
}
