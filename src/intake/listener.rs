//! Room `intake`: our own accept loop, with the timers and bounds that `axum::serve` does not set. Both doors are served
//! by it. Speaks HTTP/1.1 and HTTP/2 (prior knowledge) on one port; TLS is a proxy's business.

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, body::Body, response::Response};
use http::Request;
use hyper::{
    body::Incoming,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use metrics::gauge;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};

use super::{
    PublicDoor,
    activity::{Activity, Patience, Tracked},
    reception::reception,
};
use crate::{config::IntakeConfig, telemetry::metrics::CONNECTIONS};

/// How long accepting pauses when the process has no file left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a client may take to read its answers, beyond the time its bodies have.
const ANSWER_TAKEN: Duration = Duration::from_secs(30);

/// How long a connection that is asked to end may take to say so.
const GOODBYE: Duration = Duration::from_secs(1);

/// How often HTTP/2 asks a silent peer whether it is still there, and how long it waits for the answer.
const PING_EVERY: Duration = Duration::from_secs(20);

/// How much one HTTP/2 stream, and one connection, may send ahead of what is read. Bounds memory beside
/// `max_bytes_in_flight`, which counts what was read.
const HTTP2_STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;

/// hyper's smallest read buffer.
const MIN_READ_BUFFER_BYTES: usize = 8 * 1024;

/// The bounds and timers of one door.
#[derive(Clone, Debug)]
pub struct ListenerLimits {
    /// The door's name in metrics: `public` or `private`.
    pub door: &'static str,
    /// A connection on which no request is being answered has so long to bring the next one, headers and all.
    pub header_timeout: Duration,
    /// Most headers in a request.
    pub max_headers: usize,
    /// Most bytes of request line and headers together.
    pub max_header_bytes: usize,
    /// Most open connections; further ones wait in the operating system's queue.
    pub max_connections: usize,
    /// Most concurrent requests on one HTTP/2 connection.
    pub max_http2_streams: u32,
    /// A connection on which nothing is taken of the answers, while no further request comes, is closed after so long.
    pub answer_timeout: Duration,
    /// On shutdown, requests in flight have so long to finish.
    pub shutdown_grace: Duration,
}

impl ListenerLimits {
    /// The limits of a door, from the configuration of the public one.
    pub fn new(door: &'static str, config: &IntakeConfig) -> Self {
        Self {
            door,
            header_timeout: config.header_timeout.0,
            max_headers: config.max_headers,
            max_header_bytes: config.max_header_bytes,
            max_connections: config.max_connections,
            max_http2_streams: config.max_http2_streams,
            answer_timeout: config.body_timeout.0 + ANSWER_TAKEN,
            shutdown_grace: config.shutdown_grace.0,
        }
    }

    fn patience(&self) -> Patience {
        Patience { with_requests: self.header_timeout, with_answers: self.answer_timeout }
    }

    fn protocol(&self) -> Builder<TokioExecutor> {
        let mut protocol = Builder::new(TokioExecutor::new());
        // hyper's own header timer is left off: ours covers both protocols, and what comes before either is chosen.
        protocol
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_headers(self.max_headers)
            .max_buf_size(self.max_header_bytes.max(MIN_READ_BUFFER_BYTES));
        protocol
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_EVERY)
            .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
            .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
            .max_concurrent_streams(self.max_http2_streams)
            .max_header_list_size(u32::try_from(self.max_header_bytes).unwrap_or(u32::MAX));
        protocol
    }
}

/// Serves the public door until `shutdown` completes, then lets the requests in flight finish within the grace and returns.
pub async fn serve_partners(
    listener: TcpListener,
    door: Arc<PublicDoor>,
    limits: ListenerLimits,
    shutdown: impl Future<Output = ()>,
) {
    serve_peers(listener, |peer| reception(Arc::clone(&door), peer), limits, shutdown).await;
}

/// The same for a router.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ListenerLimits,
    shutdown: impl Future<Output = ()>,
) {
    serve_peers(listener, |_| TowerToHyperService::new(router.clone()), limits, shutdown).await;
}

async fn serve_peers<S>(
    listener: TcpListener,
    answers_to: impl Fn(SocketAddr) -> S,
    limits: ListenerLimits,
    shutdown: impl Future<Output = ()>,
) where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    let protocol = Arc::new(limits.protocol());
    let open = gauge!(CONNECTIONS, "door" => limits.door);
    let (close, closing) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < limits.max_connections => match accepted {
                Ok((stream, peer)) => {
                    let visitor = Visitor { service: answers_to(peer), patience: limits.patience() };
                    connections.spawn(visitor.serve(stream, Arc::clone(&protocol), closing.clone()));
                }
                Err(error) => survive(&error).await,
            },
            Some(_) = connections.join_next() => {}
            () = &mut shutdown => break,
        }
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; connections are few")]
        open.set(connections.len() as f64);
    }
    drop(listener);
    close.send_replace(true);
    let finished = async { while connections.join_next().await.is_some() {} };
    if timeout(limits.shutdown_grace, finished).await.is_err() {
        tracing::warn!(
            door = limits.door,
            connections = connections.len(),
            "shutdown did not wait any longer"
        );
    }
    connections.shutdown().await;
    open.set(0.0);
}

/// A connection that is gone before it was accepted is nothing; without files or memory, trying again at once would
/// only spin.
async fn survive(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
        return;
    }
    tracing::warn!(%error, "a connection could not be accepted");
    let _ = timeout(ACCEPT_PAUSE, std::future::pending::<()>()).await;
}

/// Who came in by one connection.
struct Visitor<S> {
    service: S,
    patience: Patience,
}

impl<S> Visitor<S>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + 'static,
    S::Future: Send + 'static,
{
    async fn serve(
        self,
        stream: TcpStream,
        protocol: Arc<Builder<TokioExecutor>>,
        mut closing: watch::Receiver<bool>,
    ) {
        // A socket that refuses the option still works, only slower.
        let _ = stream.set_nodelay(true);
        let activity = Arc::new(Activity::new());
        let service = service_fn(|request| self.answer(request, &activity));
        let mut connection = pin!(protocol.serve_connection(TokioIo::new(stream), service));
        let mut deadline = Instant::now() + self.patience.with_requests;
        let mut leaving = false;
        loop {
            tokio::select! {
                ended = timeout_at(deadline, connection.as_mut()) => match ended {
                    // How a connection ended (well, reset, not HTTP) changes nothing on our side.
                    Ok(_) => return,
                    Err(_) => match activity.deadline(self.patience) {
                        Some(later) => { deadline = later; continue }
                        None if leaving => return,
                        None => deadline = Instant::now() + GOODBYE,
                    },
                },
                _ = closing.wait_for(|closing| *closing), if !leaving => {}
            }
            leaving = true;
            connection.as_mut().graceful_shutdown();
        }
    }

    fn answer(
        &self,
        request: Request<Incoming>,
        activity: &Arc<Activity>,
    ) -> impl Future<Output = Result<Response<Tracked<Body>>, Infallible>> + Send + use<S> {
        let answering = activity.begin();
        let answer = self.service.call(request);
        async move { answer.await.map(|response| response.map(|body| Tracked::new(body, answering))) }
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::any;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        sync::{Notify, oneshot},
        task::JoinHandle,
    };

    use super::*;

    const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

    fn limits() -> ListenerLimits {
        ListenerLimits {
            header_timeout: Duration::from_millis(300),
            max_headers: 20,
            max_header_bytes: 8 * 1024,
            max_connections: 10_000,
            shutdown_grace: Duration::from_secs(20),
            ..ListenerLimits::new("public", &IntakeConfig::default())
        }
    }

    /// A running door whose handler says hello, or at `/wait` waits until it is let go.
    struct Served {
        address: SocketAddr,
        let_go: Arc<Notify>,
        shutdown: oneshot::Sender<()>,
        finished: JoinHandle<()>,
    }

    async fn served(limits: ListenerLimits) -> Served {
        let let_go = Arc::new(Notify::new());
        let waiting = Arc::clone(&let_go);
        let router = Router::new().route("/", any(|| async { "hello" })).route(
            "/wait",
            any(move || async move {
                waiting.notified().await;
                "let go"
            }),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (shutdown, asked) = oneshot::channel();
        let stop = async move {
            let _ = asked.await;
        };
        let finished = tokio::spawn(serve(listener, router, limits, stop));
        Served { address, let_go, shutdown, finished }
    }

    impl Served {
        async fn sent(&self, bytes: &[u8]) -> TcpStream {
            let mut stream = TcpStream::connect(self.address).await.expect("connected");
            stream.write_all(bytes).await.expect("sent");
            stream
        }
    }

    /// Everything the server sends until it closes the connection.
    async fn until_closed(mut stream: TcpStream) -> Vec<u8> {
        let mut received = Vec::new();
        // A reset is a close, too.
        let _ = stream.read_to_end(&mut received).await;
        received
    }

    async fn text_until_closed(stream: TcpStream) -> String {
        String::from_utf8(until_closed(stream).await).expect("text")
    }

    async fn reply(stream: &mut TcpStream) -> String {
        let mut received = vec![0; 4096];
        let length = stream.read(&mut received).await.expect("a reply");
        String::from_utf8_lossy(&received[..length]).into_owned()
    }

    #[tokio::test]
    async fn a_connection_that_brings_no_whole_request_is_closed() {
        let door = served(limits()).await;
        for beginning in [&b""[..], b"PRI", b"PRI * HTTP/2.0\r\n", b"POST / HTTP/1.1\r\nhost: x\r\nslow"] {
            assert_eq!(text_until_closed(door.sent(beginning).await).await, "", "{beginning:?}");
        }
    }

    #[tokio::test]
    async fn an_idle_connection_is_closed_after_its_reply() {
        let door = served(limits()).await;
        let text = text_until_closed(door.sent(GET).await).await;
        assert!(text.starts_with("HTTP/1.1 200 OK") && text.ends_with("hello"), "{text}");
    }

    #[tokio::test]
    async fn a_request_being_answered_outlives_the_header_timeout() {
        let door = served(limits()).await;
        let waiting = door.sent(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n").await;
        // Two idle connections closed one after the other: more than two header timeouts have passed.
        for _ in 0..2 {
            until_closed(door.sent(b"").await).await;
        }
        door.let_go.notify_one();
        assert!(text_until_closed(waiting).await.ends_with("let go"));
    }

    #[tokio::test]
    async fn a_connection_that_does_not_take_its_answer_is_closed_in_the_end() {
        let limits = ListenerLimits { answer_timeout: Duration::from_millis(300), ..limits() };
        let door = served(limits).await;
        let waiting = door.sent(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert_eq!(until_closed(waiting).await, b"");
    }

    #[tokio::test]
    async fn too_many_or_too_large_headers_are_refused() {
        let door = served(limits()).await;
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(30));
        let large = format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "b".repeat(10 * 1024));
        for request in [many, large] {
            let text = text_until_closed(door.sent(request.as_bytes()).await).await;
            assert!(text.starts_with("HTTP/1.1 431 "), "{text}");
        }
    }

    #[tokio::test]
    async fn beyond_the_cap_a_connection_waits_for_its_turn() {
        let door = served(ListenerLimits { max_connections: 1, ..limits() }).await;
        let first = door.sent(b"").await;
        let mut second = door.sent(GET).await;
        drop(first);
        assert!(reply(&mut second).await.starts_with("HTTP/1.1 200 OK"));
    }

    #[tokio::test]
    async fn shutdown_finishes_what_is_in_flight_and_nothing_else() {
        let door = served(ListenerLimits { header_timeout: Duration::from_mins(1), ..limits() }).await;
        let mut waiting = door.sent(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let mut idle = door.sent(GET).await;
        reply(&mut idle).await;
        let silent = door.sent(b"").await;

        door.shutdown.send(()).expect("still serving");
        assert_eq!(until_closed(idle).await, b"");
        assert_eq!(until_closed(silent).await, b"");
        assert!(TcpStream::connect(door.address).await.is_err(), "no longer accepting");
        door.let_go.notify_one();
        assert!(reply(&mut waiting).await.ends_with("let go"));
        door.finished.await.expect("returned");
    }

    #[tokio::test]
    async fn shutdown_waits_no_longer_than_the_grace() {
        let door = served(ListenerLimits { shutdown_grace: Duration::from_millis(50), ..limits() }).await;
        let waiting = door.sent(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let mut known = door.sent(GET).await;
        reply(&mut known).await;
        door.shutdown.send(()).expect("still serving");
        door.finished.await.expect("returned");
        assert_eq!(until_closed(waiting).await, b"");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn five_thousand_idle_connections_hold_up_nobody() {
        let files = super::super::raise_open_files_limit(10_200);
        let count = usize::try_from(files.saturating_sub(200) / 2).expect("small").min(5_000);
        let door = served(ListenerLimits { header_timeout: Duration::from_secs(5), ..limits() }).await;
        let mut idle = Vec::with_capacity(count);
        for _ in 0..count {
            idle.push(door.sent(b"").await);
        }
        let mut guest = door.sent(GET).await;
        assert!(reply(&mut guest).await.ends_with("hello"));
        for stream in idle {
            assert_eq!(until_closed(stream).await, b"");
        }
    }

    /// HTTP/2 frames: length, type, flags, stream, payload (RFC 9113).
    mod http2 {
        use super::*;

        const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
        /// HEADERS, end of stream and headers: `GET / http` from the static table.
        const GET: &[u8] = b"\x00\x00\x03\x01\x05\x00\x00\x00\x01\x82\x86\x84";
        const HEADERS: u8 = 1;
        const SETTINGS: u8 = 4;
        const GO_AWAY: u8 = 7;

        /// The type and payload of every frame until the connection is closed.
        async fn frames(stream: TcpStream) -> Vec<(u8, Vec<u8>)> {
            let bytes = until_closed(stream).await;
            let (mut rest, mut frames) = (bytes.as_slice(), Vec::new());
            while let [a, b, c, kind, _, _, _, _, _, after @ ..] = rest {
                let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
                frames.push((*kind, after[..length].to_vec()));
                rest = &after[length..];
            }
            frames
        }

        #[tokio::test]
        async fn is_spoken_with_prior_knowledge_and_bounded() {
            let door = served(ListenerLimits { max_http2_streams: 7, ..limits() }).await;
            let frames = frames(door.sent(&[PREFACE, GET].concat()).await).await;
            let (_, settings) = frames.iter().find(|(kind, _)| *kind == SETTINGS).expect("settings");
            let max_concurrent_streams = [0, 3, 0, 0, 0, 7];
            assert!(settings.chunks(6).any(|setting| setting == max_concurrent_streams), "{settings:?}");
            let (_, headers) = frames.iter().find(|(kind, _)| *kind == HEADERS).expect("a response");
            assert_eq!(headers[0], 0x88, ":status 200");
        }

        #[tokio::test]
        async fn an_idle_connection_is_told_to_go_away() {
            let door = served(limits()).await;
            let frames = frames(door.sent(PREFACE).await).await;
            assert!(frames.iter().any(|(kind, _)| *kind == GO_AWAY), "{frames:?}");
        }
    }
}
