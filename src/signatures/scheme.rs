//! Room `signatures`: a scheme, read and checked: where a request shows its signature, and which bytes are signed.
//! Plain data; `grammar` makes it, nothing changes it.

use vrl::{path::OwnedValuePath, value::Value};

use super::{Algorithm, Encoding, Placed, SecretForm, SignatureError, Stamp, template::Template};
use crate::model::{Assurance, FieldPath, Root};

/// Most signatures one request may offer. Senders that rotate secrets offer two or three.
pub(super) const MAX_CANDIDATES: usize = 16;

/// Most items of one request whose signatures are verified.
pub(super) const MAX_ITEMS: usize = 10_000;

/// A signature scheme: the grammar, read and checked.
#[derive(Clone, Debug)]
pub struct Scheme {
    pub(super) algorithm: Algorithm,
    pub(super) secret: SecretForm,
    pub(super) value: Placed<Encoding>,
    pub(super) timestamp: Option<Stamp>,
    pub(super) items: Option<Items>,
    pub(super) message: Template,
    pub(super) covers: Vec<String>,
    pub(super) assurance: Assurance,
}

impl Scheme {
    /// How the signature is computed.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// How the secret's text becomes a key.
    pub fn secret(&self) -> &SecretForm {
        &self.secret
    }

    /// Where the signature stands.
    pub fn value(&self) -> &Placed<Encoding> {
        &self.value
    }

    /// Where the time of sending stands, when the scheme has one. It is always part of the message.
    pub fn timestamp(&self) -> Option<&Stamp> {
        self.timestamp.as_ref()
    }

    /// The items that are signed one by one, for schemes that do so.
    pub fn items(&self) -> Option<&Items> {
        self.items.as_ref()
    }

    /// Which bytes are signed.
    pub fn message(&self) -> &Template {
        &self.message
    }

    /// How much a signature vouches for.
    pub fn assurance(&self) -> Assurance {
        self.assurance
    }

    /// What exactly is covered: `body`, `timestamp` and paths such as `header.webhook-id` or `item.amount.value`.
    /// Read off the message, so it cannot claim more than is signed.
    pub fn covers(&self) -> &[String] {
        &self.covers
    }

    /// Whether the value at a path is covered: by itself, or as a part of the whole body.
    pub fn covers_path(&self, path: &FieldPath) -> bool {
        let in_body = matches!(path.root(), Root::Body | Root::Item);
        let same = |covered: &FieldPath| match covered.root() == path.root() {
            true if in_body => covered.value_path() == path.value_path(),
            same_root => same_root && covered.name() == path.name(),
        };
        (in_body && self.message.has_body()) || self.message.fields().any(same)
    }

    /// For schemes that sign each item of a batch: the split whose items are verified.
    pub fn signed_items(&self) -> Option<&str> {
        self.items.as_ref().map(|items| items.text.as_str())
    }

    /// Whether the body must be parsed to verify: only when a signature, its time or its message stands in a field of it.
    pub fn reads_body(&self) -> bool {
        let stamp_in_body = self.timestamp.as_ref().is_some_and(|stamp| stamp.at.place.in_body());
        let mut fields = self.message.fields();
        self.items.is_some()
            || self.value.place.in_body()
            || stamp_in_body
            || fields.any(|path| matches!(path.root(), Root::Body | Root::Item))
    }
}

/// The items of a batch that are signed one by one: `body.notificationItems[].NotificationRequestItem`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Items {
    /// The array.
    pub array: FieldPath,
    /// The item below each element; root: the element itself.
    pub element: OwnedValuePath,
    /// As it was written.
    pub text: String,
}

impl Items {
    /// The items of a body. An array with none is an error: nothing in such a request is signed by anyone.
    pub(super) fn of<'b>(&self, body: &'b Value) -> Result<Vec<&'b Value>, SignatureError> {
        let elements = body.get(self.array.value_path()).and_then(Value::as_array);
        let elements = elements.ok_or(SignatureError::Malformed("there is no array of signed items"))?;
        if elements.is_empty() {
            return Err(SignatureError::Missing);
        }
        if elements.len() > MAX_ITEMS {
            return Err(SignatureError::Malformed("more than 10000 signed items"));
        }
        let items = elements.iter().map(|element| element.get(&self.element));
        items.collect::<Option<_>>().ok_or(SignatureError::Malformed("an element has no signed item"))
    }
}
