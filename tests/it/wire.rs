//! Raw bytes on a socket: what a well-behaved client would never let a test send.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How long a test waits for bytes before it gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// An answer, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// The `code` of a problem+json answer; empty for anything else.
    pub fn code(&self) -> String {
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        problem["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The delivery id of an accepted request.
    pub fn delivery(&self) -> String {
        let accepted: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        accepted["delivery"].as_str().unwrap_or_default().to_owned()
    }

    /// The value of a header; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value.trim())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// A connection that keeps what it read beyond one answer.
pub struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Wire {
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        Self::open_for(address, PATIENCE)
    }

    /// Opens one that waits for bytes no longer than this.
    pub fn open_for(address: SocketAddr, patience: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Self { stream, read: Vec::new() })
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads one answer; an error when the server closes first.
    pub fn answer(&mut self) -> io::Result<Answer> {
        loop {
            if let Some((answer, length)) = parse(&self.read) {
                self.read.drain(..length);
                return Ok(answer);
            }
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads on until this text has come, and returns everything up to and with it.
    pub fn until(&mut self, text: &str) -> String {
        loop {
            let read = String::from_utf8_lossy(&self.read).into_owned();
            if let Some(at) = read.find(text) {
                let end = at + text.len();
                self.read.drain(..end);
                return read[..end].to_owned();
            }
            assert!(self.fill().expect("readable") > 0, "it ended before {text:?}: {read}");
        }
    }

    /// Waits until the server closes the connection.
    pub fn closed(&mut self) -> io::Result<()> {
        while self.fill()? > 0 {}
        Ok(())
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 16 * 1024];
        let read = self.stream.read(&mut chunk)?;
        self.read.extend_from_slice(&chunk[..read]);
        Ok(read)
    }
}

fn parse(bytes: &[u8]) -> Option<(Answer, usize)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status: u16 = head.split(' ').nth(1)?.parse().ok()?;
    if status == 100 {
        return parse(&bytes[end + 4..]).map(|(answer, length)| (answer, length + end + 4));
    }
    let length = head.lines().find_map(|line| {
        line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok()
    });
    let body = end + 4..end + 4 + length.unwrap_or(0);
    let answer = Answer { status, head, body: bytes.get(body.clone())?.to_vec() };
    Some((answer, body.end))
}

/// A whole request as bytes.
pub fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\nhost: test\r\n");
    for (name, value) in headers {
        text += &[name, ": ", value, "\r\n"].concat();
    }
    text += &["content-length: ", &body.len().to_string(), "\r\n\r\n"].concat();
    [text.as_bytes(), body].concat()
}

/// One request on a connection of its own.
pub fn exchange(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    try_exchange(address, &request(method, target, headers, body)).expect("answered")
}

/// One request to a server that may be gone.
pub fn try_exchange(address: SocketAddr, request: &[u8]) -> io::Result<Answer> {
    let mut wire = Wire::open(address)?;
    wire.send(request)?;
    wire.answer()
}

/// The Stripe-Signature header, made here from the provider's formula and not by the code under test.
pub fn stripe_signature(secret: &str, body: &[u8], at_seconds: i64) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length is a key");
    mac.update(format!("{at_seconds}.").as_bytes());
    mac.update(body);
    format!("t={at_seconds},v1={}", hex::encode(mac.finalize().into_bytes()))
}

/// A Slack signature of a body, `v0=…`.
pub fn slack_signature(secret: &str, body: &[u8], at_seconds: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length is a key");
    mac.update(["v0:", at_seconds, ":"].concat().as_bytes());
    mac.update(body);
    format!("v0={}", hex::encode(mac.finalize().into_bytes()))
}

/// The time as the system has it, for signatures to the real binary.
pub fn now_seconds() -> i64 {
    use douane::clock::Clock;
    douane::clock::SystemClock.now().seconds()
}
