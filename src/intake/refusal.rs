//! Room `intake`: the one status table. Each way of turning a request away is a variant: what the partner is told
//! reveals nothing about the request's signature or about us; what the platform engineer reads (`Display`, kept with
//! the refusal) says what happened and what to do.

use axum::{body::Body, response::Response};
use http::{
    HeaderValue, StatusCode,
    header::{ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, RETRY_AFTER},
};
use serde::Serialize;

use std::net::IpAddr;

use crate::{config::HumanDuration, partners::Reply, signatures::SignatureError};

/// Why a request was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The path is no address of ours.
    #[error("the path is not /in/<partner> or /in/<partner>/<endpoint>; compare the URL set at the sender")]
    UnknownAddress,
    /// No such partner.
    #[error(
        "no partner has the name in the path; compare the URL set at the sender with `douane partner ls`"
    )]
    UnknownPartner,
    /// No such endpoint.
    #[error(
        "the partner has no endpoint of the name in the path; compare it with the [[endpoint]]s of partner.toml"
    )]
    UnknownEndpoint,
    /// The method is neither POST nor that of a handshake.
    #[error("the method is not one of {allow}; another one needs a [[handshake]] in the preset")]
    MethodNotAllowed {
        /// The methods that are, as `Allow` lists them.
        allow: String,
    },
    /// A method that only handshakes come with, and it is none.
    #[error("only a POST is a delivery, and no [[handshake]] of the endpoint matches this request")]
    NoHandshake,
    /// A handshake matched, but what it asks to be sent back is not safe to send.
    #[error(
        "a [[handshake]] matched, but a text to send back or to sign is missing, or its length or its characters are not those of its guard"
    )]
    UnsafeHandshake,
    /// A handshake matched, and its token is not ours.
    #[error(
        "a [[handshake]] matched, but its verify token is not the endpoint's; compare what is set at the sender with the secret that `token` names"
    )]
    WrongToken,
    /// A handshake matched, and it asks for something that nobody here has asked for.
    #[error("a [[handshake]] matched, but {path} is not one of the texts of the endpoint's parameter")]
    NotExpected {
        /// Where the text stands.
        path: String,
    },
    /// A handshake would teach the endpoint a secret, and nobody said that one is to come.
    #[error(
        "a handshake would teach a secret to an endpoint that is not armed; if you have just set the webhook up, run `douane partner arm` and set it up again"
    )]
    NotArmed,
    /// The endpoint does not take requests from this address.
    #[error("{} is in none of the networks of the endpoint's allow_from; behind a proxy, see intake.trusted_proxies", shown(*.address))]
    AddressNotAllowed {
        /// The client's address; `None` when a trusted proxy named none.
        address: Option<IpAddr>,
    },
    /// No client certificate that the endpoint takes.
    #[error("the header {header} shows none of the certificates that the endpoint takes{}", if *.trusted { "" } else { ", and it did not come through one of intake.trusted_proxies" })]
    ClientCertificate {
        /// The header in which a proxy tells of it.
        header: String,
        /// Whether it came through a trusted proxy.
        trusted: bool,
    },
    /// The body broke off.
    #[error("the body broke off before its end: the sender disconnected, or its framing is malformed")]
    BodyBroken,
    /// The body took too long.
    #[error("the body was not complete after {limit} (intake.body_timeout)")]
    BodyTimeout {
        /// The time it had.
        limit: HumanDuration,
    },
    /// The body is larger than the endpoint takes.
    #[error(
        "the body is larger than {limit} bytes (max_body_bytes of the endpoint, or intake.max_body_bytes; at most half of intake.max_bytes_in_flight)"
    )]
    BodyTooLarge {
        /// The endpoint's limit in bytes.
        limit: usize,
    },
    /// Target and headers are larger, or the headers more, than is taken.
    #[error("the head is beyond {bound}")]
    HeadTooLarge {
        /// Which bound, and where it is set.
        bound: String,
    },
    /// The body is compressed.
    #[error(
        "the body has a Content-Encoding other than identity, or a Transfer-Encoding other than chunked; turn compression off at the sender"
    )]
    EncodingUnsupported,
    /// The signature did not hold.
    #[error("{error}")]
    Signature {
        /// What exactly did not.
        error: SignatureError,
        /// The status this partner's system needs to see.
        status: u16,
    },
    /// More requests than the endpoint's rate.
    #[error("more than {per_second} requests a second (requests_per_second of the endpoint)")]
    RateLimited {
        /// The rate.
        per_second: u32,
    },
    /// More unsigned handshakes than an endpoint answers.
    #[error("more than {per_second} unsigned handshakes a second; a provider sends one now and then")]
    HandshakesLimited {
        /// The rate.
        per_second: u32,
    },
    /// The endpoint cannot verify anything: our fault.
    #[error("{why}; until it has a secret, the endpoint accepts nothing")]
    NotConfigured {
        /// What is missing.
        why: String,
    },
    /// A key that the provider publishes cannot be had: its fault or ours, not the sender's.
    #[error("the key that the signature needs cannot be had: {why}")]
    KeyUnavailable {
        /// Where it should be, and what happened.
        why: String,
    },
    /// A bound on memory or queue is reached.
    #[error("no room: {what}")]
    Overloaded {
        /// Which bound, and where it is set.
        what: &'static str,
    },
    /// The disk is nearly full.
    #[error(
        "the disk of the intake log has less than ledger.min_free_bytes free; free some, and requests are accepted again"
    )]
    LowSpace,
    /// Not known to be kept.
    #[error("the delivery is not known to be kept: {why}")]
    CannotCommit {
        /// What failed.
        why: String,
    },
    /// The process ends.
    #[error("the process is shutting down")]
    ShuttingDown,
}

fn shown(address: Option<IpAddr>) -> String {
    address.map_or_else(|| "the address that the proxy names".to_owned(), |address| address.to_string())
}

/// An answer's body: problem details (RFC 9457).
#[derive(Serialize)]
struct Problem<'a> {
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
}

impl Refusal {
    /// Every code of a precise cause.
    pub const CAUSES: [&str; 32] = [
        "address_not_allowed",
        "body_broken",
        "body_timeout",
        "body_too_large",
        "body_unreadable",
        "cannot_commit",
        "claim_mismatch",
        "client_certificate",
        "encoding_unsupported",
        "handshake_not_expected",
        "handshake_token",
        "handshakes_limited",
        "head_too_large",
        "key_unavailable",
        "low_space",
        "method_not_allowed",
        "no_handshake",
        "not_armed",
        "not_configured",
        "overloaded",
        "rate_limited",
        "shutting_down",
        "signature_duplicated",
        "signature_malformed",
        "signature_mismatch",
        "signature_missing",
        "timestamp_future",
        "timestamp_stale",
        "unknown_address",
        "unknown_endpoint",
        "unknown_partner",
        "unsafe_handshake",
    ];

    /// The stable code of the precise cause: for metrics and kept refusals. The partner sees one code for every
    /// failure of a signature.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Signature { error, .. } => error.code(),
            other => other.answer().1,
        }
    }

    /// The status the partner gets.
    pub fn status(&self) -> StatusCode {
        self.answer().0
    }

    /// The answer as problem+json. `retry_after` is in seconds, for refusals that a later try may escape.
    pub fn response(&self, retry_after: u32) -> Response {
        let ((status, code), (title, detail)) = (self.answer(), self.words());
        let problem = Problem { title, status: status.as_u16(), detail, code };
        // A struct of texts and a number always serialises.
        let mut response = Response::new(Body::from(serde_json::to_vec(&problem).unwrap_or_default()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            headers.insert(RETRY_AFTER, retry_after.into());
        }
        match self {
            Self::MethodNotAllowed { allow } => {
                headers.extend(HeaderValue::try_from(allow).ok().map(|allow| (ALLOW, allow)));
            }
            Self::EncodingUnsupported => {
                headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            }
            _ => {}
        }
        response
    }

    /// The answer to a self-test: the same, but with the precise cause of a signature that did not hold. What is our fault is
    /// told as little as ever.
    pub(super) fn told_precisely(&self) -> Reply {
        let (status, code) = (self.status().as_u16(), self.cause());
        let (title, detail) = match self {
            Self::Signature { error, .. } => ("Not authenticated", error.to_string()),
            other => (other.words().0, other.words().1.to_owned()),
        };
        let problem = Problem { title, status, detail: &detail, code };
        Reply {
            status,
            content_type: Some("application/problem+json".to_owned()),
            body: serde_json::to_string(&problem).unwrap_or_default(),
        }
    }

    /// The one status table.
    fn answer(&self) -> (StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::UnknownAddress => (S::NOT_FOUND, "unknown_address"),
            Self::UnknownPartner => (S::NOT_FOUND, "unknown_partner"),
            Self::UnknownEndpoint => (S::NOT_FOUND, "unknown_endpoint"),
            Self::MethodNotAllowed { .. } => (S::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::NoHandshake => (S::BAD_REQUEST, "no_handshake"),
            Self::UnsafeHandshake => (S::BAD_REQUEST, "unsafe_handshake"),
            Self::WrongToken => (S::FORBIDDEN, "handshake_token"),
            Self::NotArmed => (S::FORBIDDEN, "not_armed"),
            Self::AddressNotAllowed { .. } => (S::FORBIDDEN, "address_not_allowed"),
            Self::ClientCertificate { .. } => (S::FORBIDDEN, "client_certificate"),
            Self::NotExpected { .. } => (S::NOT_FOUND, "handshake_not_expected"),
            Self::BodyBroken => (S::BAD_REQUEST, "body_broken"),
            Self::BodyTimeout { .. } => (S::REQUEST_TIMEOUT, "body_timeout"),
            Self::BodyTooLarge { .. } => (S::PAYLOAD_TOO_LARGE, "body_too_large"),
            Self::HeadTooLarge { .. } => (S::REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large"),
            Self::EncodingUnsupported => (S::UNSUPPORTED_MEDIA_TYPE, "encoding_unsupported"),
            Self::Signature { status, .. } => {
                (S::from_u16(*status).unwrap_or(S::UNAUTHORIZED), "signature_failed")
            }
            Self::RateLimited { .. } => (S::TOO_MANY_REQUESTS, "rate_limited"),
            Self::HandshakesLimited { .. } => (S::TOO_MANY_REQUESTS, "handshakes_limited"),
            Self::NotConfigured { .. } => (S::SERVICE_UNAVAILABLE, "not_configured"),
            Self::KeyUnavailable { .. } => (S::SERVICE_UNAVAILABLE, "key_unavailable"),
            Self::Overloaded { .. } => (S::SERVICE_UNAVAILABLE, "overloaded"),
            Self::LowSpace => (S::SERVICE_UNAVAILABLE, "low_space"),
            Self::CannotCommit { .. } => (S::SERVICE_UNAVAILABLE, "cannot_commit"),
            Self::ShuttingDown => (S::SERVICE_UNAVAILABLE, "shutting_down"),
        }
    }

    /// Title and detail for the partner.
    fn words(&self) -> (&'static str, &'static str) {
        match self {
            Self::UnknownAddress => ("Not an address", "Webhooks are received at /in/<partner>/<endpoint>."),
            Self::UnknownPartner => ("Unknown partner", "No partner of this name is known here."),
            Self::UnknownEndpoint => ("Unknown endpoint", "The partner has no endpoint of this name."),
            Self::MethodNotAllowed { .. } => ("Method not allowed", "Allow lists what is answered here."),
            Self::NoHandshake => {
                ("Not a handshake", "Only a POST is a delivery, and no handshake here is like this.")
            }
            Self::UnsafeHandshake => ("Handshake refused", "What it asks to be sent back is not."),
            Self::WrongToken => ("Handshake refused", "Its verify token is not the one that is known here."),
            Self::NotArmed => ("Handshake refused", "No secret is expected here now."),
            Self::NotExpected { .. } => ("Handshake refused", "Nobody here has asked for this."),
            Self::AddressNotAllowed { .. } => {
                ("Address not allowed", "This address takes requests from known networks only.")
            }
            Self::ClientCertificate { .. } => (
                "Certificate not accepted",
                "This address takes requests with a known client certificate only.",
            ),
            Self::BodyBroken => ("Incomplete body", "The body broke off before its end."),
            Self::BodyTimeout { .. } => ("Too slow", "The body did not arrive in time."),
            Self::BodyTooLarge { .. } => ("Body too large", "The body is larger than this address takes."),
            Self::HeadTooLarge { .. } => {
                ("Head too large", "Target and headers are larger than this address takes.")
            }
            Self::EncodingUnsupported => {
                ("Encoding not supported", "Send the body without Content-Encoding.")
            }
            Self::Signature { .. } => ("Not authenticated", "The request could not be authenticated."),
            Self::RateLimited { .. } | Self::HandshakesLimited { .. } => {
                ("Too many requests", "Send it again after Retry-After, and more slowly.")
            }
            Self::NotConfigured { .. }
            | Self::KeyUnavailable { .. }
            | Self::Overloaded { .. }
            | Self::LowSpace
            | Self::CannotCommit { .. }
            | Self::ShuttingDown => ("Not available", "Not your fault. Send it again after Retry-After."),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn every_refusal() -> Vec<Refusal> {
        vec![
            Refusal::UnknownAddress,
            Refusal::UnknownPartner,
            Refusal::UnknownEndpoint,
            Refusal::MethodNotAllowed { allow: "POST, GET".to_owned() },
            Refusal::NoHandshake,
            Refusal::UnsafeHandshake,
            Refusal::WrongToken,
            Refusal::NotArmed,
            Refusal::NotExpected { path: "query.hub.topic".to_owned() },
            Refusal::AddressNotAllowed { address: None },
            Refusal::ClientCertificate { header: "x-client-cert".to_owned(), trusted: true },
            Refusal::BodyBroken,
            Refusal::BodyTimeout { limit: HumanDuration::seconds(10) },
            Refusal::BodyTooLarge { limit: 1_048_576 },
            Refusal::HeadTooLarge { bound: "4096 bytes (max_header_bytes of the endpoint)".to_owned() },
            Refusal::EncodingUnsupported,
            Refusal::Signature { error: SignatureError::Mismatch, status: 401 },
            Refusal::Signature { error: SignatureError::Missing, status: 403 },
            Refusal::RateLimited { per_second: 10 },
            Refusal::HandshakesLimited { per_second: 20 },
            Refusal::NotConfigured { why: "secret 2026-11: env:ACME_SECRET is not set".to_owned() },
            Refusal::KeyUnavailable { why: "https://api.acme.example/jwks: the host answers 500".to_owned() },
            Refusal::Overloaded { what: "the queue" },
            Refusal::LowSpace,
            Refusal::CannotCommit { why: "no space left on device".to_owned() },
            Refusal::ShuttingDown,
        ]
    }

    async fn on_the_wire(refusal: &Refusal) -> String {
        let response = refusal.response(5);
        let extra: Vec<_> = [RETRY_AFTER, ALLOW, ACCEPT_ENCODING]
            .iter()
            .filter_map(|name| Some(format!("{name}: {}", response.headers().get(name)?.to_str().ok()?)))
            .collect();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        format!("{} {}", String::from_utf8_lossy(&body), extra.join(" "))
    }

    #[tokio::test]
    async fn the_table_as_partners_see_it() {
        let mut lines = String::new();
        for refusal in every_refusal() {
            lines += on_the_wire(&refusal).await.trim_end();
            lines.push('\n');
        }
        insta::assert_snapshot!(lines);
    }

    #[tokio::test]
    async fn every_signature_failure_is_one_answer() {
        let of = |error| Refusal::Signature { error, status: 401 };
        let one = on_the_wire(&of(SignatureError::Missing)).await;
        for error in [SignatureError::Mismatch, SignatureError::Stale, SignatureError::Malformed("v1")] {
            assert_eq!(on_the_wire(&of(error)).await, one);
        }
    }

    #[test]
    fn no_cause_is_left_out_and_none_invented() {
        let mut causes: Vec<_> = every_refusal().iter().map(Refusal::cause).collect();
        for error in [
            SignatureError::Missing,
            SignatureError::Duplicated,
            SignatureError::Malformed("v1"),
            SignatureError::Mismatch,
            SignatureError::Stale,
            SignatureError::Future,
            SignatureError::Unreadable,
            SignatureError::Claim("aud is another"),
            SignatureError::NoKey,
        ] {
            causes.push(Refusal::Signature { error, status: 401 }.cause());
        }
        causes.sort_unstable();
        causes.dedup();
        assert_eq!(causes, Refusal::CAUSES);
    }

    #[test]
    fn an_impossible_override_falls_back_to_401() {
        let refusal = Refusal::Signature { error: SignatureError::Mismatch, status: 42 };
        assert_eq!(refusal.status(), StatusCode::UNAUTHORIZED);
    }

    #[test]
    fn the_platform_engineer_learns_more_than_the_partner() {
        let refusal = Refusal::NotConfigured { why: "secret 2026-11: env:ACME_SECRET is not set".to_owned() };
        assert!(refusal.to_string().contains("ACME_SECRET"));
        assert!(!refusal.words().1.contains("ACME_SECRET"));
        assert_eq!(refusal.cause(), "not_configured");
    }
}
