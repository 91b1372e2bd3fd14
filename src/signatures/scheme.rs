//! Room `signatures`: a scheme, read and checked: where a request shows its signature, and which bytes are signed.
//! Plain data; `grammar` makes it, nothing changes it.

use vrl::{path::OwnedValuePath, value::Value};

use super::{
    Algorithm, Encoding, Place, Placed, SecretForm, SignatureError, Stamp,
    published::{KeyNamed, KeySource},
    special::Special,
    template::Template,
};
use crate::model::{Assurance, BodyKind, BodyRules, FieldPath, PublicUrl, Root};

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
    pub(super) body: BodyKind,
    pub(super) reads_body: bool,
    pub(super) rules: BodyRules,
    pub(super) digest: Option<Bound>,
    pub(super) url_candidates: bool,
    pub(super) require: Vec<(FieldPath, String)>,
    pub(super) message: Template,
    pub(super) covers: Vec<String>,
    pub(super) assurance: Assurance,
    /// A standard of its own: then neither value nor message say how it is verified.
    pub(super) special: Option<Special>,
    /// Where the provider publishes its keys; then the endpoint has none.
    pub(super) keys: Option<KeySource>,
    /// Where the sender names its key by an id, whoever has the keys.
    pub(super) key_named: Option<KeyNamed>,
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

    /// The texts that must stand in a request.
    pub fn require(&self) -> &[(FieldPath, String)] {
        &self.require
    }

    /// Which bytes are signed.
    pub fn message(&self) -> &Template {
        &self.message
    }

    /// Whether the body is a token, whose payload is what the sender has to say.
    pub fn body_is_token(&self) -> bool {
        matches!(&self.special, Some(Special::Jwt(jwt)) if jwt.is_body())
    }

    /// The algorithm as which its keys are read.
    pub fn key_algorithm(&self) -> Algorithm {
        self.special.as_ref().map_or(self.algorithm, Special::key_algorithm)
    }

    /// Whether value, timestamp and message say all of how it is verified; `false` for standards of their own.
    pub fn is_spelled_out(&self) -> bool {
        self.special.is_none()
    }

    /// How the body is read whose fields are signed. A delivery whose content type says otherwise is refused.
    pub fn body(&self) -> BodyKind {
        self.body
    }

    /// The form field whose JSON is the body, where the desk reads it so.
    pub fn form_json(&self) -> Option<&str> {
        self.rules.form_json.as_deref()
    }

    /// Whether the provider shows its keys by their ids, to whom it knows.
    pub fn asks(&self) -> bool {
        matches!(self.keys, Some(KeySource::Keyed(_)))
    }

    /// What the secrets are for with which a key is asked for by its id.
    pub fn asks_with(&self) -> Vec<&str> {
        match &self.keys {
            Some(KeySource::Keyed(source)) => source.question.secrets(),
            _ => Vec::new(),
        }
    }

    /// Where beside the signature its sender names its key by an id, if it does.
    pub fn key_id_place(&self) -> Option<&Place> {
        match &self.key_named {
            Some(KeyNamed::At(place)) => Some(place),
            Some(KeyNamed::InToken) | None => None,
        }
    }

    /// The scheme at an endpoint that has the provider's keys itself, and asks for none.
    #[must_use]
    pub fn with_own_keys(self) -> Self {
        Self { keys: None, ..self }
    }

    /// The scheme at a desk that reads bodies by these rules.
    #[must_use]
    pub fn reading(self, rules: BodyRules) -> Self {
        Self { rules, ..self }
    }

    /// The signed header or parameter that must be a digest of the body, where one binds it.
    pub fn digest(&self) -> Option<&Bound> {
        self.digest.as_ref()
    }

    /// Whether the sender may have signed another spelling of the public address.
    pub fn has_url_candidates(&self) -> bool {
        self.url_candidates
    }

    /// Whether the endpoint's public address is signed, or may be.
    pub fn signs_url(&self) -> bool {
        self.message.has_url() || matches!(self.special, Some(Special::Jwt(_) | Special::HttpMessage(_)))
    }

    /// Whether the endpoint's public address is signed and nobody said what it is.
    pub fn lacks_url(&self) -> bool {
        let in_message = self.message.has_url() && self.message.url().is_none();
        in_message || self.special.as_ref().is_some_and(Special::lacks_url)
    }

    /// The scheme at an endpoint whose public address is this.
    #[must_use]
    pub fn at(self, url: Option<PublicUrl>) -> Self {
        let special = self.special.map(|special| special.at(url.as_ref()));
        Self { message: self.message.at(url), special, ..self }
    }

    /// Whether all of the body is signed, by itself or by a signed digest of it.
    pub fn has_body(&self) -> bool {
        self.message.has_body() || self.digest.is_some()
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
        if let Some(special) = &self.special {
            return (in_body && special.binds_body()) || self.covers.contains(&path.to_string());
        }
        let whole = (in_body && self.has_body()) || (path.root() == Root::Query && self.message.has_query());
        whole || self.message.fields().any(same)
    }

    /// For schemes that sign each item of a batch: the split whose items are verified.
    pub fn signed_items(&self) -> Option<&str> {
        self.items.as_ref().map(|items| items.text.as_str())
    }

    /// Whether the body must be parsed to verify: only when a signature, its time or its message stands in a field of it.
    pub fn reads_body(&self) -> bool {
        self.reads_body
    }

    /// The scheme, which knows from now on whether it has to look into bodies.
    pub(super) fn settled(self) -> Self {
        let reads_body = self.special.as_ref().map_or_else(|| self.names_fields(), Special::reads_body);
        Self { reads_body, ..self }
    }

    fn names_fields(&self) -> bool {
        let stamp_in_body = self.timestamp.as_ref().is_some_and(|stamp| stamp.at.place.in_body());
        let mut fields = self.message.reads().chain(self.require.iter().map(|(path, _)| path));
        self.items.is_some()
            || self.value.place.in_body()
            || stamp_in_body
            || fields.any(|path| matches!(path.root(), Root::Body | Root::Item))
    }
}

/// A header or parameter that must have the text of a template: what is signed is then bound to the rest of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The signed header or parameter.
    pub path: FieldPath,
    /// What it must be.
    pub of: Template,
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
