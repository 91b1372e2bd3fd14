//! An HTTPS server on this machine, with a certificate of an authority that the test made.

use std::{
    collections::HashMap,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::PrivateKeyDer};

/// An authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, as PEM.
    pub pem: String,
}

impl Authority {
    /// A new one.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for a key, with these names; `change` may change what it says.
    pub fn certify(
        &self,
        names: &[&str],
        key: &KeyPair,
        change: impl Fn(&mut CertificateParams),
    ) -> rcgen::Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("parameters");
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        params.signed_by(key, &self.issuer).expect("a certificate")
    }

    /// Writes its certificate where `keys.extra_roots` can name it.
    pub fn file(&self, folder: &Path) -> PathBuf {
        let path = folder.join("roots.pem");
        fs::write(&path, &self.pem).expect("written");
        path
    }
}

/// What a server answers at a path.
#[derive(Clone)]
pub enum Page {
    /// 200 and this body.
    Body(Vec<u8>),
    /// This status; with a `Location` where it is a redirect.
    Status(u16, String),
    /// 200 and this body, if this text stands in the request; else 401.
    Knowing(String, Vec<u8>),
    /// Nothing, for as long as the other side waits.
    Silence,
}

type Pages = Arc<Mutex<HashMap<String, Page>>>;

/// A running server; it ends when it is dropped.
pub struct TlsServer {
    pub address: SocketAddr,
    pages: Pages,
    requests: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
}

impl TlsServer {
    /// Serves the host names of `names`, with a certificate of this authority.
    pub fn start(authority: &Authority, names: &[&str]) -> Self {
        let key = KeyPair::generate().expect("a key");
        let certificate = authority.certify(names, &key, |_| {});
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a certificate");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let server = Self {
            address: listener.local_addr().expect("an address"),
            pages: Pages::default(),
            requests: Arc::default(),
            seen: Arc::default(),
            stop: Arc::default(),
        };
        let (pages, requests, stop) = (server.pages.clone(), server.requests.clone(), server.stop.clone());
        let seen = server.seen.clone();
        let config = Arc::new(config);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let (pages, requests, config, stop) =
                    (pages.clone(), requests.clone(), config.clone(), stop.clone());
                let seen = seen.clone();
                std::thread::spawn(move || answer(stream, &config, &pages, (&requests, &seen), &stop));
            }
        });
        server
    }

    /// From now on answers a path so.
    pub fn set(&self, path: &str, page: Page) {
        self.pages.lock().expect("pages").insert(path.to_owned(), page);
    }

    /// How many requests it has had.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// What it was asked, whole, in the order in which it came.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("seen").clone()
    }

    /// The entry of `keys.connect_to` for a host.
    pub fn connect_to(&self, host: &str) -> String {
        format!("{host}={}", self.address)
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn answer(
    stream: TcpStream,
    config: &Arc<ServerConfig>,
    pages: &Pages,
    (requests, seen): (&AtomicUsize, &Mutex<Vec<String>>),
    stop: &AtomicBool,
) {
    let Ok(connection) = ServerConnection::new(config.clone()) else { return };
    let mut stream = StreamOwned::new(connection, stream);
    let mut head = Vec::new();
    let mut byte = [0; 1];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head);
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    if stream.read_exact(&mut body).is_err() {
        return;
    }
    let whole = format!("{head}{}", String::from_utf8_lossy(&body));
    seen.lock().expect("seen").push(whole.clone());
    requests.fetch_add(1, Ordering::SeqCst);
    let path = head.split(' ').nth(1).unwrap_or_default();
    let page = pages.lock().expect("pages").get(path).cloned();
    let page = match page.unwrap_or(Page::Status(404, String::new())) {
        Page::Knowing(text, body) if whole.contains(&text) => Page::Body(body),
        Page::Knowing(..) => Page::Status(401, String::new()),
        page => page,
    };
    let reply = match page {
        Page::Body(body) => {
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            [head.into_bytes(), body].concat()
        }
        Page::Status(status, location) => format!(
            "HTTP/1.1 {status} X\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )
        .into_bytes(),
        Page::Silence | Page::Knowing(..) => {
            while !stop.load(Ordering::SeqCst) && stream.sock.peek(&mut byte).is_ok_and(|read| read > 0) {
                std::thread::park_timeout(Duration::from_millis(20));
            }
            return;
        }
    };
    let _ = stream.write_all(&reply);
    stream.conn.send_close_notify();
    let _ = stream.flush();
}
