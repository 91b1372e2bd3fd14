//! Room `signatures`: the fields of a form as they are signed: by name, either names and values glued together or as pairs.
//! What is read here is what the desk reads.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    model::{MAX_FORM_FIELDS, reads_as_form},
    signatures::{SignatureError, View},
};

/// Names and values glued together in the order of the names; of a repeated name every distinct value, in order.
pub(super) fn glued(view: &View<'_>) -> Result<Vec<u8>, SignatureError> {
    let mut fields: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, value) in fields_of(view)? {
        fields.entry(name).or_default().insert(value);
    }
    let all = fields.iter().flat_map(|(name, values)| values.iter().map(move |value| [name.as_str(), value]));
    Ok(all.flatten().collect::<String>().into_bytes())
}

/// `k=v` with `&` between them in the order of the names, without these names and the empty values. A name stands once, and
/// no value may hold what would begin another pair.
pub(super) fn pairs(view: &View<'_>, without: &[String]) -> Result<Vec<u8>, SignatureError> {
    let mut fields = BTreeMap::new();
    for (name, value) in fields_of(view)? {
        if fields.insert(name, value).is_some() {
            return Err(SignatureError::Duplicated);
        }
    }
    fields.retain(|name, value| !without.contains(name) && !value.is_empty());
    if fields.iter().any(|(name, value)| name.contains(['&', '=']) || begins_another(value, '&', '=')) {
        return Err(SignatureError::Malformed("a signed field contains what would begin another"));
    }
    let pairs: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
    Ok(pairs.join("&").into_bytes())
}

/// Whether a text holds a `separator` with a name and `assign` behind it.
pub(in crate::signatures) fn begins_another(text: &str, separator: char, assign: char) -> bool {
    text.split(separator).skip(1).any(|rest| rest.contains(assign))
}

/// The fields as the desk reads them, in their order.
pub(in crate::signatures) fn fields_of(view: &View<'_>) -> Result<Vec<(String, String)>, SignatureError> {
    if !reads_as_form(&view.request.headers) {
        return Err(SignatureError::Unreadable);
    }
    let fields = form_urlencoded::parse(&view.request.body).into_owned();
    let fields: Vec<_> = fields.take(MAX_FORM_FIELDS + 1).collect();
    if fields.len() > MAX_FORM_FIELDS { Err(SignatureError::Unreadable) } else { Ok(fields) }
}
