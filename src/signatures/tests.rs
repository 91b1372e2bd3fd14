//! Room `signatures`: requests for this room's own tests.

use crate::model::{Headers, RawRequest};

/// A request.
pub(super) fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> RawRequest {
    let mut all = Headers::default();
    for (name, value) in headers {
        all.push(name, (*value).to_owned());
    }
    RawRequest {
        method: method.to_owned(),
        target: target.to_owned(),
        version: "HTTP/1.1".to_owned(),
        headers: all,
        body: body.to_owned().into(),
        peer: None,
    }
}
