//! Room `pipeline`: what the tests of several files need.

use std::time::Duration;

use crate::{
    model::{BodyRules, FieldPath},
    partners::{EndpointDesk, Identify, SameBody, ValueRule},
};

/// A rule that looks at one path.
pub(super) fn rule(text: &str) -> ValueRule {
    ValueRule::Path(FieldPath::parse(text).expect("a path"))
}

/// The desk of an endpoint whose bodies are `{"id", "type", "order"}`.
pub(super) fn endpoint_desk() -> EndpointDesk {
    let identify = Identify {
        body: BodyRules::default(),
        split: None,
        external_id: Some(rule("body.id")),
        event_type: rule("body.type"),
        ordering_key: Some(rule("body.order")),
        occurred_at: Vec::new(),
        version: None,
        identity: Vec::new(),
        volatile: Vec::new(),
        window: Duration::from_mins(1),
        same_body: SameBody::Flag,
        id_is_covered: true,
    };
    EndpointDesk { identify }
}
