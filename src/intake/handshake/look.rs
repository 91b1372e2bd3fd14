//! Room `intake`: looking into a request that may be a handshake. A body is parsed only for a path that looks into it, at
//! most once, and one that cannot be read is no handshake: whether it is a good delivery is not the door's business.

use std::cell::OnceCell;

use vrl::value::Value;

use crate::{
    model::{BodyRules, FieldPath, Fields, RawRequest, Root, read_body},
    partners::Handshake,
};

/// Handshakes are small. A larger body is not looked into; it can only be a delivery.
const MAX_BODY_BYTES: usize = 16 * 1024;

/// A request, and what its body says once that was asked for.
pub(super) struct Look<'r> {
    request: &'r RawRequest,
    body: OnceCell<Option<Value>>,
}

impl<'r> Look<'r> {
    pub(super) fn new(request: &'r RawRequest) -> Self {
        Self { request, body: OnceCell::new() }
    }

    /// Whether the request is this handshake.
    pub(super) fn is(&self, handshake: &Handshake) -> bool {
        let condition = &handshake.condition;
        handshake.method == self.request.method
            && (condition.reads_body() || handshake.signed || self.carries_nothing())
            && condition.when.iter().all(|(path, due)| self.text(path).is_some_and(|text| text == *due))
            && condition.present.iter().all(|path| self.at(path, |fields| fields.get(path).is_some()))
            && condition.only_key.as_deref().is_none_or(|key| self.has_only_key(key))
    }

    /// The text at a path.
    pub(super) fn text(&self, path: &FieldPath) -> Option<String> {
        self.at(path, |fields| fields.text(path))
    }

    fn at<T: Default>(&self, path: &FieldPath, ask: impl FnOnce(&Fields<'_>) -> T) -> T {
        let body = match path.root() {
            Root::Header | Root::Query => Some(&Value::Null),
            Root::Body | Root::Item => self.body(),
        };
        let Some(body) = body else { return T::default() };
        let request = self.request;
        ask(&Fields { headers: &request.headers, query: request.query(), body, item: body })
    }

    /// Whether no event can be in it. What is told from a delivery only by a header or a parameter could have been a
    /// delivery that somebody wrote those onto.
    fn carries_nothing(&self) -> bool {
        matches!(self.request.body.trim_ascii(), b"" | b"{}")
    }

    fn has_only_key(&self, key: &str) -> bool {
        let object = self.body().and_then(Value::as_object);
        object.is_some_and(|object| object.len() == 1 && object.keys().all(|only| only.as_str() == key))
    }

    fn body(&self) -> Option<&Value> {
        let read = || {
            let small = self.request.body.len() <= MAX_BODY_BYTES;
            small
                .then(|| read_body(&self.request.headers, &self.request.body, &BodyRules::default()).ok())
                .flatten()
        };
        self.body.get_or_init(read).as_ref()
    }
}
