//! Room `signatures`: combinations that protect nothing, or could never verify, do not load.

use toml::Spanned;

use super::{PlacedTable, SchemeError, SignatureTable};
use crate::{
    model::{Assurance, FieldPath, Root},
    signatures::{Encoding, Scheme},
};

pub(super) fn check_message(scheme: &Scheme, message: &Spanned<String>) -> Result<(), SchemeError> {
    let in_body = |path: &FieldPath| matches!(path.root(), Root::Body | Root::Item);
    if !scheme.message.has_body() && !scheme.message.fields().any(in_body) {
        let help = "add {body}, or the signed fields as {body.…} or {item.…}";
        let error = SchemeError::new("nothing_signed", "no part of the body is in the message", help);
        return Err(error.at(message));
    }
    if scheme.message.has_body() && scheme.value.place.in_body() {
        let text = "a signature that stands in the body cannot be over the whole body";
        let help = "list the signed fields, as {body.…} or {item.…}";
        return Err(SchemeError::new("signature_signs_itself", text, help).at(message));
    }
    Ok(())
}

pub(super) fn check_timestamp(
    scheme: &Scheme,
    message: &Spanned<String>,
    table: &SignatureTable,
) -> Result<(), SchemeError> {
    match (&table.timestamp, scheme.message.has_timestamp()) {
        (None, true) => {
            let help = "say where it stands: timestamp = { path = \"header.acme-time\", as = \"unix_s\" }";
            Err(SchemeError::new("timestamp_missing", "the message has a {timestamp} from nowhere", help)
                .at(message))
        }
        (Some(at), false) if !is_covered(scheme) => {
            let help = "put {timestamp} where the sender has it in the message; if it is not signed, remove timestamp";
            let text = "the timestamp is not part of the message: whoever repeats a request can change it";
            Err(SchemeError::new("timestamp_unsigned", text, help).within(at.span()))
        }
        _ => Ok(()),
    }
}

/// Whether the time stands in the body, and the body is signed.
fn is_covered(scheme: &Scheme) -> bool {
    let place = scheme.timestamp.as_ref().map(|stamp| &stamp.at.place);
    place.is_some_and(|place| {
        place.paths().all(|path| path.root() != Root::Header && scheme.covers_path(path))
    })
}

/// Signatures and times in groups come from the same groups.
pub(super) fn check_places(scheme: &Scheme, table: &SignatureTable) -> Result<(), SchemeError> {
    let Some(stamp) = &scheme.timestamp else { return Ok(()) };
    let (value, stamp) = (&scheme.value.place, &stamp.at.place);
    let same = value.group == stamp.group && (value.group.is_none() || value.path == stamp.path);
    if same && (value.group.is_none() || value.others.is_empty() && stamp.others.is_empty()) {
        return Ok(());
    }
    let help = "where groups are separated, value and timestamp have the same path and the same group";
    let text = "the signatures are in groups, and the timestamp is not in the same ones";
    let span = table.timestamp.as_ref().and_then(super::PlacedTable::span);
    Err(SchemeError::new("group_mismatch", text, help).within(span))
}

pub(super) fn check_items(
    scheme: &Scheme,
    value: &PlacedTable<Encoding>,
    message: &Spanned<String>,
) -> Result<(), SchemeError> {
    let value_in_item = scheme.value.place.paths().all(|path| path.root() == Root::Item);
    let message_in_item = scheme.message.fields().any(|path| path.root() == Root::Item);
    let (text, span) = match (scheme.items.is_some(), value_in_item, message_in_item) {
        (true, true, true) | (false, false, false) => return Ok(()),
        (true, false, _) => {
            ("items are signed one by one, but the signature does not stand in the item", value.span())
        }
        (true, _, false) => {
            ("items are signed one by one, but no field of the item is in the message", Some(message.span()))
        }
        (false, true, _) => ("the signature stands in an item, but there are no items", value.span()),
        (false, _, true) => {
            ("the message has fields of an item, but there are no items", Some(message.span()))
        }
    };
    let help = "with items = \"body.events[]\", value and message look into item.…; without, into body.…";
    Err(SchemeError::new("items_mismatch", text, help).within(span))
}

pub(super) fn check_assurance(scheme: &Scheme, table: &SignatureTable) -> Result<(), SchemeError> {
    let help = match (scheme.message.has_body(), scheme.assurance) {
        (true, Assurance::Full | Assurance::Body) | (false, Assurance::Partial) => return Ok(()),
        (true, _) => "write full, or body where id or type come from headers that are not signed",
        (false, _) => "write partial: only some fields are signed",
    };
    let message = format!("assurance is {:?}, and the message says otherwise", scheme.assurance.as_str());
    let error = SchemeError::new("assurance_mismatch", message, help);
    Err(match &table.assurance {
        Some(place) => error.at(place),
        None => error,
    })
}
