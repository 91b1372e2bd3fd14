//! Room `model`: the entries of the intake log.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Assurance, DeliveryId, EndpointName, EntryNumber, EventRef, Headers, Timestamp};

/// What an entry of the intake log says about itself. Stored as JSON beside the raw body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EntryMeta {
    /// An accepted request; the entry's body is the request's.
    Delivery(DeliveryMeta),
    /// A request to work on earlier external events again; the entry has no body.
    Replay(ReplayMeta),
    /// A secret that the partner taught its endpoint in a handshake; the entry has no body.
    Learnt(LearntMeta),
    /// A link that is to be visited, because the partner asked for it in a handshake; the entry has no body.
    Confirm(ConfirmMeta),
}

/// How a delivery's JSON begins, as serde writes it.
const DELIVERY_BEGINS: &[u8] = br#"{"kind":"delivery","#;

impl EntryMeta {
    /// Reads the JSON that a log keeps. A delivery, which nearly every entry is, is read without looking for its kind
    /// first: that would cost as much again.
    pub fn from_json(text: &[u8]) -> serde_json::Result<Self> {
        if text.starts_with(DELIVERY_BEGINS) {
            return serde_json::from_slice(text).map(Self::Delivery);
        }
        serde_json::from_slice(text)
    }

    /// The endpoint whose order this entry belongs to.
    pub fn endpoint(&self) -> &EndpointName {
        match self {
            Self::Delivery(meta) => &meta.endpoint,
            Self::Replay(meta) => &meta.endpoint,
            Self::Learnt(meta) => &meta.endpoint,
            Self::Confirm(meta) => &meta.endpoint,
        }
    }
}

/// The metadata of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryMeta {
    /// The id the partner was told.
    pub id: DeliveryId,
    /// Where it came in.
    #[serde(with = "endpoint_text")]
    pub endpoint: EndpointName,
    /// The HTTP method.
    pub method: String,
    /// Path and query as received.
    pub target: String,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub version: String,
    /// Every header; credentials are sealed.
    pub headers: Headers,
    /// How much the signature vouches for.
    pub assurance: Assurance,
    /// The id of the secret that matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_id: Option<String>,
}

/// The metadata of a replay request. One entry names external events of one endpoint, so that its place
/// among that endpoint's live traffic is defined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayMeta {
    /// The replay's id, shared by its entries.
    pub id: DeliveryId,
    /// The endpoint whose events these are.
    #[serde(with = "endpoint_text")]
    pub endpoint: EndpointName,
    /// The external events, in order of acceptance.
    pub events: Vec<EventRef>,
    /// Publish a changed result under a new id.
    pub reissue: bool,
    /// The brokers to publish to; empty means all.
    #[serde(default)]
    pub brokers: Vec<String>,
    /// Who asked.
    pub by: String,
}

/// A secret that a partner taught its endpoint in a handshake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LearntMeta {
    /// The handshake's id.
    pub id: DeliveryId,
    /// The endpoint that it is a secret of.
    #[serde(with = "endpoint_text")]
    pub endpoint: EndpointName,
    /// The secret's id, as deliveries note it when it matches.
    pub secret_id: String,
    /// The secret, sealed.
    pub sealed: String,
}

/// A link by which a partner's system has a subscription confirmed. Its handshake was verified, and the link has the host that
/// the handshake's table allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfirmMeta {
    /// The handshake's id.
    pub id: DeliveryId,
    /// The endpoint that is subscribed.
    #[serde(with = "endpoint_text")]
    pub endpoint: EndpointName,
    /// The link.
    pub url: String,
    /// The partner's system takes it for so many seconds after the handshake.
    #[serde(default = "three_days")]
    pub valid_seconds: u64,
}

/// What entries meant that were written before they said so.
const fn three_days() -> u64 {
    3 * 86_400
}

/// An entry on its way into the log: the log gives it its number and its time.
#[derive(Clone, Debug)]
pub struct NewEntry {
    /// What it is.
    pub meta: EntryMeta,
    /// The raw body; empty for a replay request.
    pub body: Bytes,
}

/// An entry of the intake log, as read back.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its place in the log.
    pub number: EntryNumber,
    /// When it was accepted; never decreases along the log.
    pub received_at: Timestamp,
    /// What it is.
    pub meta: EntryMeta,
    /// The raw body.
    pub body: Bytes,
}

mod endpoint_text {
    //! `partner/endpoint` as one JSON string.
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::model::EndpointName;

    pub(super) fn serialize<S: Serializer>(name: &EndpointName, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(name)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<EndpointName, D::Error> {
        let text = String::deserialize(d)?;
        let (partner, endpoint) =
            text.split_once('/').ok_or_else(|| D::Error::custom("expected partner/endpoint"))?;
        Ok(EndpointName::new(partner, endpoint))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_was_written_is_read_whichever_way() {
        let delivery = EntryMeta::Delivery(DeliveryMeta {
            id: DeliveryId(Uuid::from_u128(7)),
            endpoint: EndpointName::new("acme", "default"),
            method: "POST".to_owned(),
            target: "/in/acme".to_owned(),
            version: "HTTP/1.1".to_owned(),
            headers: Headers::default(),
            assurance: Assurance::Full,
            secret_id: Some("main".to_owned()),
        });
        let replay = EntryMeta::Replay(ReplayMeta {
            id: DeliveryId(Uuid::from_u128(8)),
            endpoint: EndpointName::new("acme", "default"),
            events: Vec::new(),
            reissue: true,
            brokers: vec!["archive".to_owned()],
            by: "ops".to_owned(),
        });
        let learnt = EntryMeta::Learnt(LearntMeta {
            id: DeliveryId(Uuid::from_u128(9)),
            endpoint: EndpointName::new("acme", "default"),
            secret_id: "learnt-9".to_owned(),
            sealed: r#"{"sealed":"key:text"}"#.to_owned(),
        });
        let confirm = EntryMeta::Confirm(ConfirmMeta {
            id: DeliveryId(Uuid::from_u128(10)),
            endpoint: EndpointName::new("acme", "default"),
            url: "https://sns.example.com/?Action=ConfirmSubscription".to_owned(),
            valid_seconds: 60,
        });
        for meta in [delivery, replay, learnt, confirm] {
            let text = serde_json::to_vec(&meta).expect("JSON");
            assert_eq!(EntryMeta::from_json(&text).expect("read"), meta);
            assert_eq!(serde_json::from_slice::<EntryMeta>(&text).expect("read"), meta);
        }
    }

    #[test]
    fn a_delivery_is_read_the_short_way() {
        let text = br#"{"kind":"delivery","id":1}"#;
        assert!(text.starts_with(DELIVERY_BEGINS) && EntryMeta::from_json(text).is_err());
    }
}
