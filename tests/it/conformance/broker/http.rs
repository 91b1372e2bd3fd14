//! The `http` broker, on a real HTTP server that the test starts in this process.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Response, Uri},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use douane::{
    brokers::{Broker, BrokerError, Credential, HttpBroker, HttpSettings, Placement},
    clock::ManualClock,
    model::{AddressTemplate, Secret, Timestamp},
};
use hmac::{Hmac, KeyInit, Mac};
use tokio::task::JoinHandle;

use super::{
    Stoppable, Subject, event, events, placed, refuses_one_that_is_too_large, satisfies_the_trait,
    survives_a_power_cut,
};
use crate::servers::process::free_address;

const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NOW: &str = "2026-11-23T07:41:05Z";

/// What a receiver got.
#[derive(Clone, Debug)]
struct Received {
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Received {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }
}

/// What a receiver has, and how it answers.
#[derive(Default)]
struct Book {
    received: Mutex<Vec<Received>>,
    answers: Mutex<VecDeque<(u16, &'static str, &'static str)>>,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
}

/// An HTTP server that keeps what it is posted, up to 64 KiB each.
struct Receiver {
    address: SocketAddr,
    book: Arc<Book>,
    serving: Option<JoinHandle<()>>,
}

impl Receiver {
    async fn start() -> Self {
        let mut receiver = Self { address: free_address(), book: Arc::default(), serving: None };
        receiver.restart().await;
        receiver
    }

    /// Answers the next requests so: a status, and a header.
    fn answers(&self, answers: &[(u16, &'static str, &'static str)]) {
        self.book.answers.lock().expect("the book").extend(answers);
    }

    fn received(&self) -> Vec<Received> {
        self.book.received.lock().expect("the book").clone()
    }

    fn settings(&self) -> HttpSettings {
        HttpSettings {
            url: template(&format!("http://{}/events/{{context}}/{{event}}?from={{partner}}", self.address)),
            binary: false,
            signing: Vec::new(),
            allow_private: true,
            max_in_flight: 4,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(20),
            max_retry_after: Duration::from_mins(5),
        }
    }
}

fn template(text: &str) -> AddressTemplate {
    AddressTemplate::parse(text).expect("a template")
}

fn now() -> Timestamp {
    Timestamp::from_rfc3339(NOW).expect("a time")
}

fn broker(settings: HttpSettings) -> HttpBroker {
    HttpBroker::new("subject", settings, Arc::new(ManualClock::at(now())))
}

async fn receive(State(book): State<Arc<Book>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let under_way = book.under_way.fetch_add(1, Ordering::SeqCst) + 1;
    book.most_under_way.fetch_max(under_way, Ordering::SeqCst);
    tokio::task::yield_now().await;
    let answer = book.answers.lock().expect("the book").pop_front();
    let (status, name, value) = match answer {
        Some(answer) => answer,
        None if body.len() > 65_536 => (413, "", ""),
        None => (202, "", ""),
    };
    if (200..300).contains(&status) {
        book.received.lock().expect("the book").push(Received { uri, headers, body });
    }
    book.under_way.fetch_sub(1, Ordering::SeqCst);
    let mut response = Response::builder().status(status);
    if !name.is_empty() {
        response = response.header(name, value);
    }
    response.body(Body::from("x".repeat(100_000))).expect("an answer")
}

#[async_trait]
impl Subject for Receiver {
    fn broker(&self) -> Arc<dyn Broker> {
        Arc::new(broker(self.settings()))
    }

    async fn holds(&self) -> Vec<String> {
        let body = |received: Received| String::from_utf8(received.body.to_vec()).expect("utf-8");
        self.received().into_iter().map(body).collect()
    }
}

#[async_trait]
impl Stoppable for Receiver {
    async fn kill(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            let _ = serving.await;
        }
    }

    async fn restart(&mut self) {
        let listener = tokio::net::TcpListener::bind(self.address).await.expect("the address is free");
        let app = Router::new().fallback(receive).with_state(Arc::clone(&self.book));
        self.serving = Some(tokio::spawn(async move {
            // Connections die with the server, as in a process of its own.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let service = hyper_util::service::TowerToHyperService::new(app.clone());
                let io = hyper_util::rt::TokioIo::new(stream);
                connections.spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
            }
        }));
    }
}

#[tokio::test]
async fn http() {
    satisfies_the_trait(&Receiver::start().await).await;
}

#[tokio::test]
async fn http_refuses_one_that_is_too_large() {
    refuses_one_that_is_too_large(&Receiver::start().await, &"x".repeat(70_000)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_survives_a_power_cut() {
    survives_a_power_cut(&mut Receiver::start().await).await;
}

#[tokio::test]
async fn http_posts_to_the_events_address_and_signs_the_whole_event() {
    let receiver = Receiver::start().await;
    let another = "whsec_bm90LXRoZS1yaWdodC1rZXktYXQtYWxsLXNvcnJ5IQ==";
    let key = |text: &'static str| Credential::new(move || Ok(Secret::new(text)));
    let settings = HttpSettings { signing: vec![key(KEY), key(another)], ..receiver.settings() };
    let report = broker(settings).publish(&[event(7)]).await;
    assert_eq!(placed(&report.placements), [(7, "202 id-7")]);
    let post = &receiver.received()[0];
    assert_eq!(post.uri, "/events/payments/PaymentCaptured?from=acme");
    assert_eq!(post.header("content-type"), "application/cloudevents+json; charset=UTF-8");
    assert_eq!(post.header("webhook-id"), "id-7");
    assert_eq!(post.header("webhook-timestamp"), now().seconds().to_string());
    let signatures: Vec<_> = post.header("webhook-signature").split(' ').collect();
    assert_eq!(signatures, [signed(KEY, post), signed(another, post)]);
}

/// What Standard Webhooks asks for, made without the broker's code.
fn signed(secret: &str, received: &Received) -> String {
    let key = STANDARD.decode(secret.trim_start_matches("whsec_")).expect("base64");
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).expect("a key");
    let head = format!("{}.{}.", received.header("webhook-id"), received.header("webhook-timestamp"));
    mac.update(&[head.as_bytes(), &received.body].concat());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[tokio::test]
async fn http_in_binary_mode_has_the_attributes_in_headers() {
    let receiver = Receiver::start().await;
    let settings = HttpSettings { binary: true, ..receiver.settings() };
    assert_eq!(broker(settings).publish(&[event(7)]).await.placements.len(), 1);
    let post = &receiver.received()[0];
    assert_eq!(post.body, r#"{"number":7,"name":"ünïcode \n"}"#);
    assert_eq!(post.header("content-type"), "application/json");
    let headers = post.headers.iter();
    let attributes: BTreeMap<_, _> = headers
        .filter(|(name, _)| name.as_str().starts_with("ce-"))
        .map(|(name, value)| (name.as_str(), value.to_str().expect("text")))
        .collect();
    let expected = [
        ("ce-id", "id-7"),
        ("ce-partitionkey", "acme/default/1"),
        ("ce-source", "/partners/acme/default"),
        ("ce-specversion", "1.0"),
        ("ce-subject", "M%C3%BCller%20%22&%22%205%25"),
        ("ce-time", "2026-11-23T07:41:05Z"),
        ("ce-type", "com.example.payments.PaymentCaptured.v1"),
    ];
    assert_eq!(attributes, BTreeMap::from(expected));
    assert_eq!(post.header("webhook-signature"), "", "nobody asked for one");
}

#[tokio::test]
async fn http_statuses_say_whether_an_event_waits_or_is_refused() {
    let receiver = Receiver::start().await;
    let broker = broker(receiver.settings());
    for status in [408, 425, 429, 500, 502, 503, 504] {
        receiver.answers(&[(status, "", "")]);
        let report = broker.publish(&[event(1)]).await;
        assert!(
            report.placements.is_empty() && matches!(report.stopped, Some(BrokerError::Unavailable(_))),
            "{status}"
        );
    }
    for status in [400, 413, 414, 415, 422, 431] {
        receiver.answers(&[(status, "", "")]);
        let report = broker.publish(&[event(1)]).await;
        assert!(
            matches!(&report.placements[..], [Placement::Refused { .. }]) && report.stopped.is_none(),
            "{status}"
        );
    }
    for status in [300, 301, 302, 307, 308, 401, 402, 403, 404, 405, 406, 409, 410, 451] {
        receiver.answers(&[(status, "location", "http://127.0.0.1:1/elsewhere")]);
        let report = broker.publish(&[event(1)]).await;
        let loud = matches!(report.stopped, Some(BrokerError::RefusesEveryone(_)));
        assert!(report.placements.is_empty() && loud, "{status}: {report:?}");
    }
    assert!(receiver.received().is_empty());
}

#[tokio::test]
async fn http_is_left_alone_for_as_long_as_it_asks_within_bounds() {
    let receiver = Receiver::start().await;
    let broker = broker(receiver.settings());
    for (asked, seconds) in [("7", 7), ("Mon, 23 Nov 2026 07:42:05 GMT", 60), ("864000", 300)] {
        receiver.answers(&[(429, "retry-after", asked)]);
        match broker.publish(&[event(1)]).await.stopped {
            Some(BrokerError::Busy { leave_alone, .. }) => {
                assert_eq!(leave_alone, Duration::from_secs(seconds));
            }
            other => panic!("{asked}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn http_has_so_many_requests_under_way_and_no_more() {
    let receiver = Receiver::start().await;
    let settings = HttpSettings { max_in_flight: 2, ..receiver.settings() };
    assert_eq!(broker(settings).publish(&events(1..=60)).await.placements.len(), 60);
    assert_eq!(receiver.book.most_under_way.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn http_speaks_to_no_private_address_unasked() {
    let receiver = Receiver::start().await;
    let port = receiver.address.port();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0x7f.1", "2130706433"] {
        let url = template(&format!("http://{host}:{port}/"));
        let settings = HttpSettings { url, allow_private: false, ..receiver.settings() };
        let report = broker(settings).publish(&[event(1)]).await;
        let Some(BrokerError::RefusesEveryone(why)) = report.stopped else { panic!("{host}: {report:?}") };
        assert!(
            why.contains("no public address") && why.contains("allow_private_addresses"),
            "{host}: {why}"
        );
    }
    assert!(receiver.received().is_empty());
}

#[tokio::test]
async fn http_without_its_key_waits_and_never_shows_it() {
    let receiver = Receiver::start().await;
    let lost = Credential::new(|| Err("the environment variable HOOKS_KEY is not set".to_owned()));
    let wrong = Credential::new(|| Ok(Secret::new("swordfish")));
    for (key, told) in [(lost, "HOOKS_KEY"), (wrong, "whsec_")] {
        let broker = broker(HttpSettings { signing: vec![key], ..receiver.settings() });
        let Some(BrokerError::RefusesEveryone(why)) = broker.publish(&[event(1)]).await.stopped else {
            panic!("it publishes")
        };
        assert!(why.contains(told) && !why.contains("swordfish"), "{why}");
        assert!(broker.look().await.is_err());
        assert!(!format!("{broker:?}").contains("swordfish"));
    }
    assert!(receiver.received().is_empty());
}
