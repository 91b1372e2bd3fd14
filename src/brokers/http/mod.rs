//! Room `brokers`: posts each event to an HTTP receiver, as the CloudEvents HTTP binding says, signed as Standard Webhooks
//! says. A 2xx is what places an event. May not follow redirects, speak to addresses it was not allowed, or read more of an
//! answer than its status needs.

mod public;
mod sign;

use std::{error::Error as _, sync::Arc, time::Duration};

use async_trait::async_trait;
use reqwest::{
    Client, RequestBuilder, Response, Url,
    header::{CONTENT_TYPE, RETRY_AFTER},
    redirect::Policy,
};

use super::{
    Address, Alphabet, Broker, BrokerError, Credential, Placement, PublishReport, by_key,
    cloudevent::{Parts, STRUCTURED},
};
use crate::{
    clock::Clock,
    model::{AddressTemplate, Part, StoredEvent, Timestamp, is_public},
};
use public::{NotPublic, PublicOnly};
use sign::signature;

/// What a value may be in a path or a query without being percent-encoded (RFC 3986, unreserved).
const UNRESERVED: Alphabet = Alphabet { others: "-._~", escape: '%' };

/// So much of an answer's body is read, to keep the connection; beyond it the connection is closed.
const MAX_ANSWER_BYTES: usize = 16 * 1024;

/// What an `http` broker is told.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Where to post.
    pub url: AddressTemplate,
    /// Attributes in `ce-` headers, the data alone as the body.
    pub binary: bool,
    /// The keys to sign with; none, and requests are not signed.
    pub signing: Vec<Credential>,
    /// Whether addresses that are not public are spoken to.
    pub allow_private: bool,
    /// Most requests under way.
    pub max_in_flight: usize,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long a request may take.
    pub timeout: Duration,
    /// A longer Retry-After is not waited for.
    pub max_retry_after: Duration,
}

/// Posts events. The receiver gives no position: noted are its status and the `webhook-id`, as `202 7c2a…`.
#[derive(Debug)]
pub struct HttpBroker {
    name: String,
    settings: HttpSettings,
    address: Address,
    clock: Arc<dyn Clock>,
    client: Result<Client, String>,
}

impl HttpBroker {
    /// A broker that posts as `settings` say. It connects when the first event comes.
    pub fn new(name: impl Into<String>, settings: HttpSettings, clock: Arc<dyn Clock>) -> Self {
        let client = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            .user_agent(concat!("douane/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(settings.connect_timeout)
            .timeout(settings.timeout)
            .pool_max_idle_per_host(settings.max_in_flight)
            .dns_resolver(PublicOnly { allow_private: settings.allow_private })
            .build();
        let address = Address::new(settings.url.clone(), UNRESERVED, 1);
        Self {
            name: name.into(),
            settings,
            address,
            clock,
            client: client.map_err(|error| error.to_string()),
        }
    }

    /// Posts one event.
    async fn post(&self, event: StoredEvent) -> Result<Placement, BrokerError> {
        let client = self.client.as_ref().map_err(|error| BrokerError::RefusesEveryone(error.clone()))?;
        let url = self.url(&event)?;
        let Some((request, body)) = self.request(client, url, &event) else {
            return Ok(refused(&event, "its bytes are no CloudEvent that headers can carry"));
        };
        let request = self.signed(request, &event, &body)?.body(body);
        let answer = request.send().await.map_err(unanswered)?;
        let status = answer.status();
        let verdict = self.verdict(&event, &answer);
        drain(answer).await;
        tracing::debug!(broker = self.name, event = %event.number, status = status.as_u16(), "posted");
        verdict
    }

    async fn reach(&self) -> Result<(), BrokerError> {
        let refuses = |why: &str| BrokerError::RefusesEveryone(why.to_owned());
        let Some(Part::Text(text)) = self.settings.url.parts().first() else {
            return Err(refuses("its url has no host"));
        };
        let url = Url::parse(text).map_err(|error| refuses(&format!("its url: {error}")))?;
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let port = url.port_or_known_default().unwrap_or_default();
        let found = public::addresses(host, port, self.settings.allow_private).await;
        let found = found.map_err(|error| match error.downcast_ref::<NotPublic>() {
            Some(not_public) => refuses(&not_public.to_string()),
            None => BrokerError::Unavailable(error.to_string()),
        })?;
        let reached = tokio::net::TcpStream::connect(&found[..]).await;
        reached.map(drop).map_err(|error| BrokerError::Unavailable(error.to_string()))
    }

    fn url(&self, event: &StoredEvent) -> Result<Url, BrokerError> {
        let refuses = |why: String| BrokerError::RefusesEveryone(why);
        let url =
            Url::parse(&self.address.of(event)).map_err(|error| refuses(format!("its url: {error}")))?;
        let literal = url.host_str().and_then(|host| host.trim_matches(['[', ']']).parse().ok());
        match literal {
            // A number in place of a name is never resolved, so it is looked at here.
            Some(ip) if !self.settings.allow_private && !is_public(ip) => {
                Err(refuses(NotPublic(ip.to_string()).to_string()))
            }
            _ => Ok(url),
        }
    }

    fn request(
        &self,
        client: &Client,
        url: Url,
        event: &StoredEvent,
    ) -> Option<(RequestBuilder, bytes::Bytes)> {
        let request = client.post(url);
        if !self.settings.binary {
            return Some((request.header(CONTENT_TYPE, STRUCTURED), event.body.clone()));
        }
        let parts = Parts::of(event)?;
        let mut request = request;
        for (name, value) in &parts.attributes {
            request = match name.as_str() {
                "datacontenttype" => request.header(CONTENT_TYPE, value),
                _ => request.header(format!("ce-{name}"), header_text(value)),
            };
        }
        Some((request, event.body.slice_ref(parts.data.as_bytes())))
    }

    /// The three headers of Standard Webhooks; all but the signature are there unsigned too.
    fn signed(
        &self,
        request: RequestBuilder,
        event: &StoredEvent,
        body: &[u8],
    ) -> Result<RequestBuilder, BrokerError> {
        let seconds = self.clock.now().seconds();
        let request = request.header("webhook-id", &event.id).header("webhook-timestamp", seconds);
        if self.settings.signing.is_empty() {
            return Ok(request);
        }
        let mut signatures = Vec::new();
        for key in &self.settings.signing {
            let signed = signature(&key.get()?, &event.id, seconds, body);
            signatures.push(signed.map_err(|why| BrokerError::RefusesEveryone(why.to_owned()))?);
        }
        Ok(request.header("webhook-signature", signatures.join(" ")))
    }

    /// What an answer means. Statuses that are about this request alone refuse the event; those that would meet the next one
    /// too make the broker wait; those that pass are tried again.
    fn verdict(&self, event: &StoredEvent, answer: &Response) -> Result<Placement, BrokerError> {
        let status = answer.status();
        match status.as_u16() {
            200..=299 => {
                let position = format!("{} {}", status.as_u16(), event.id);
                Ok(Placement::Placed { event: event.number, position })
            }
            408 | 425 | 429 | 500..=599 => Err(self.comes_back(answer)),
            // Of the others that are about one request: its URL or its headers are too long.
            400 | 413 | 415 | 422 | 414 | 431 => {
                Ok(refused(event, &format!("the receiver answers {status}")))
            }
            300..=399 => Err(BrokerError::RefusesEveryone(format!(
                "the receiver answers {status}, and redirects are not followed: set url to where it leads"
            ))),
            _ => Err(BrokerError::RefusesEveryone(format!("the receiver answers {status}"))),
        }
    }

    fn comes_back(&self, answer: &Response) -> BrokerError {
        let reason = format!("the receiver answers {}", answer.status());
        let asked = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        match asked.and_then(|text| retry_after(text, self.clock.now())) {
            Some(asked) => {
                BrokerError::Busy { reason, leave_alone: asked.min(self.settings.max_retry_after) }
            }
            None => BrokerError::Unavailable(reason),
        }
    }
}

#[async_trait]
impl Broker for HttpBroker {
    fn name(&self) -> &str {
        &self.name
    }

    async fn publish(&self, events: &[StoredEvent]) -> PublishReport {
        by_key(events, self.settings.max_in_flight, |event| self.post(event)).await
    }

    /// That its keys can be had and the receiver listens. It is not asked more: every request to it would be an event.
    async fn look(&self) -> Result<(), BrokerError> {
        self.client.as_ref().map_err(|error| BrokerError::RefusesEveryone(error.clone()))?;
        for key in &self.settings.signing {
            signature(&key.get()?, "", 0, b"").map_err(|why| BrokerError::RefusesEveryone(why.to_owned()))?;
        }
        let reached = tokio::time::timeout(self.settings.connect_timeout, self.reach()).await;
        reached.unwrap_or_else(|_| Err(BrokerError::Unavailable("connecting took too long".to_owned())))
    }
}

fn refused(event: &StoredEvent, reason: &str) -> Placement {
    Placement::Refused { event: event.number, reason: reason.to_owned() }
}

/// Seconds or an HTTP date, from `now`.
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = Timestamp::from_http_date(text.trim())?;
    Some(date.since(now))
}

/// Why no answer came. The text never has the URL's query, nor anything of the event.
fn unanswered(error: reqwest::Error) -> BrokerError {
    let error = error.without_url();
    let mut cause = error.source();
    let mut why = error.to_string();
    while let Some(inner) = cause {
        if let Some(refused) = inner.downcast_ref::<NotPublic>() {
            return BrokerError::RefusesEveryone(refused.to_string());
        }
        why = inner.to_string();
        cause = inner.source();
    }
    if error.is_builder() { BrokerError::RefusesEveryone(why) } else { BrokerError::Unavailable(why) }
}

/// Reads a short answer to its end, so that its connection can be used again.
async fn drain(mut answer: Response) {
    let mut read = 0;
    while let Ok(Some(piece)) = answer.chunk().await {
        read += piece.len();
        if read > MAX_ANSWER_BYTES {
            return;
        }
    }
}

/// An attribute as a header, as the HTTP binding says: what is no printable ASCII, the space, the quote and the percent
/// sign become percent-encoded UTF-8.
fn header_text(value: &str) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_graphic() && byte != b'"' && byte != b'%' {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_after_is_seconds_or_a_date() {
        let now = Timestamp::from_rfc3339("2026-11-23T07:41:05Z").expect("a time");
        for (text, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Mon, 23 Nov 2026 07:42:05 GMT", Some(60)),
            ("Mon, 23 Nov 2026 07:40:05 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(retry_after(text, now), seconds.map(Duration::from_secs), "{text:?}");
        }
    }

    #[test]
    fn a_header_has_printable_ascii_only() {
        assert_eq!(
            header_text("Euro \u{20ac} \u{1f600}\"%\r\n"),
            "Euro%20%E2%82%AC%20%F0%9F%98%80%22%25%0D%0A"
        );
    }
}
