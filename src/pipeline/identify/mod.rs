//! Room `pipeline`, step 5: which external events are in a delivery, and what are they called? The only place that makes
//! an [`ExternalEvent`]. A body is parsed once; items are moved out of it, not copied. May not decide or translate.

mod around;
mod batch;
mod naming;
mod times;

use std::sync::Arc;

use vrl::value::Value;

use self::{
    around::{Around, Places},
    naming::{Unnamed, name, optional_name},
};
use super::canonical;
use crate::{
    model::{Delivery, EventRef, ExternalEvent, Fields, ReasonCode, read_body, reads_as_form},
    partners::{Desk, Identify, ValueRule},
};

/// What explains that nothing stands where it should.
const AS_FORM: &str = " (the body was read as a form, by its content type)";

/// A delivery as it lies on the desk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opened<'a> {
    /// The delivery.
    pub(super) delivery: &'a Delivery,
    /// The desk that reads it.
    pub(super) desk: &'a Desk,
}

/// Why a delivery, or one item of it, names no external event: a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unidentified {
    /// The stable code.
    pub(super) code: ReasonCode,
    /// Where and why, without any value.
    pub(super) detail: String,
}

impl Unidentified {
    pub(super) fn new(code: ReasonCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

impl From<Unnamed> for Unidentified {
    fn from(unnamed: Unnamed) -> Self {
        Self::new(ReasonCode::Unidentifiable, unnamed.to_string())
    }
}

/// What was found in one place of a delivery.
pub(super) type Found = Result<ExternalEvent, Unidentified>;

/// Finds the external events of a delivery, in item order. A delivery that cannot be read, or has more than `max_items`
/// items, is one dead letter; an empty batch has no events.
pub(super) fn identify(opened: &Opened<'_>, max_items: usize) -> Vec<Found> {
    let Some(endpoint) = opened.desk.endpoints.get(&opened.delivery.meta.endpoint.endpoint) else {
        let detail = "the desk does not know this endpoint";
        return vec![Err(Unidentified::new(ReasonCode::Unidentifiable, detail))];
    };
    let rules = &endpoint.identify;
    let found = match read_body(&opened.delivery.meta.headers, &opened.delivery.body, &rules.body) {
        Ok(body) => match &rules.split {
            None => Ok(vec![single(opened, rules, body)]),
            Some(split) => {
                let named = batch::name_all(split, &body, max_items, |ordinal, item, around| {
                    identify_item(opened, rules, ordinal, &Looked { body: &body, item, around })
                });
                named.map(|named| batch::take_all(split, body, named))
            }
        },
        Err(unreadable) => Err(Unidentified::new(ReasonCode::Unreadable, unreadable.to_string())),
    };
    let mut found = found.unwrap_or_else(|whole| vec![Err(whole)]);
    if reads_as_form(&opened.delivery.meta.headers) {
        let unidentified = found.iter_mut().filter_map(|found| found.as_mut().err());
        let unnamed = unidentified.filter(|found| found.code == ReasonCode::Unidentifiable);
        unnamed.for_each(|found| found.detail.push_str(AS_FORM));
    }
    found
}

fn single(opened: &Opened<'_>, rules: &Identify, body: Value) -> Found {
    let named = identify_item(opened, rules, 0, &Looked { body: &body, item: &body, around: &[] })?;
    Ok(ExternalEvent { item: body, ..named })
}

/// What an event is named after.
struct Looked<'a> {
    body: &'a Value,
    item: &'a Value,
    around: &'a [Around<'a>],
}

/// Names one event. Its `item` is still empty: the value is moved in when nobody looks at the body any more.
fn identify_item(opened: &Opened<'_>, rules: &Identify, ordinal: u32, looked: &Looked<'_>) -> Found {
    let Delivery { number, received_at, meta, .. } = opened.delivery;
    let query = meta.target.split_once('?').map_or("", |(_, query)| query);
    let fields = Fields { headers: &meta.headers, query, body: looked.body, item: looked.item };
    let places = Places { fields, around: looked.around };
    let at = EventRef { number: *number, ordinal };
    let event_type = name("event_type", &rules.event_type, &places)?;
    let external_id = optional_name("external_id", rules.external_id.as_ref(), &places)?;
    let key_rule = key_rule(opened.desk, rules, &meta.endpoint.endpoint, &event_type);
    let ordering_key = optional_name("ordering_key", key_rule, &places)?
        .or_else(|| external_id.clone())
        .unwrap_or_else(|| at.to_string());
    Ok(ExternalEvent {
        at,
        endpoint: meta.endpoint.clone(),
        received_at: *received_at,
        external_id,
        event_type,
        ordering_key,
        occurred_at: rules.occurred_at.iter().find_map(|rule| times::read(rule, &places)),
        version: rules.version.as_ref().and_then(|rule| naming::text(rule, &places).ok().flatten()),
        identity_digest: identity_digest(rules, &places)?,
        item: Value::Null,
        outer: Arc::default(),
    })
}

/// A mapping may have a key of its own, because one endpoint can tell of different business objects.
fn key_rule<'d>(
    desk: &'d Desk,
    rules: &'d Identify,
    endpoint: &str,
    event_type: &str,
) -> Option<&'d ValueRule> {
    if desk.mappings.iter().all(|mapping| mapping.ordering_key.is_none()) {
        return rules.ordering_key.as_ref();
    }
    let mapping = match desk.ignore_for(endpoint, event_type) {
        Some(_) => None,
        None => desk.mapping_for(endpoint, event_type),
    };
    mapping.and_then(|mapping| mapping.ordering_key.as_ref()).or(rules.ordering_key.as_ref())
}

fn identity_digest(rules: &Identify, places: &Places<'_>) -> Result<[u8; 32], Unidentified> {
    let digest = if rules.identity.is_empty() {
        canonical::digest_without(places.fields.item, &rules.volatile)
    } else {
        let values: Vec<_> = rules.identity.iter().map(|path| places.get(path)).collect();
        canonical::digest_of(values.iter().map(|value| value.as_deref()))
    };
    digest.map_err(|_| Unidentified::new(ReasonCode::Unidentifiable, "the item has no canonical JSON"))
}

#[cfg(test)]
mod tests;
