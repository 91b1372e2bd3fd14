//! Room `signatures`: combinations that protect nothing, or could never verify, do not load.

use toml::Spanned;

use super::{SchemeError, SignatureTable};
use crate::{
    model::{Assurance, BodyKind, FieldPath, Root},
    signatures::{Family, Scheme},
};

pub(super) fn check_message(scheme: &Scheme, message: &Spanned<String>) -> Result<(), SchemeError> {
    check_secret(scheme, message)?;
    if scheme.algorithm.family() == Family::Shared {
        return Ok(());
    }
    let in_body = |path: &FieldPath| matches!(path.root(), Root::Body | Root::Item);
    let template = &scheme.message;
    let of_the_body = scheme.has_body() || template.has_checksum() || template.has_form();
    // Mercado Pago signs which resource changed, as a parameter, and nothing else.
    let mut reads = template.reads();
    if !of_the_body && !reads.any(|path| in_body(path) || path.root() == Root::Query) {
        let help = "add {body}, the signed fields as {body.…} or {item.…}, or {form}";
        let error = SchemeError::new("nothing_signed", "no part of the body is in the message", help);
        return Err(error.at(message));
    }
    let signs_itself = scheme.message.has_body() && !scheme.message.has_secret_in_body();
    if signs_itself && scheme.value.place.in_body() {
        let text = "a signature that stands in the body cannot be over the whole body";
        let help = "list the signed fields, as {body.…} or {item.…}";
        return Err(SchemeError::new("signature_signs_itself", text, help).at(message));
    }
    Ok(())
}

/// A digest without a secret in it can be made by anyone; a MAC and a public key need none in the message.
fn check_secret(scheme: &Scheme, message: &Spanned<String>) -> Result<(), SchemeError> {
    let (text, help) = match (scheme.algorithm.family(), scheme.message.has_secret()) {
        (Family::KeyedHash, true) | (Family::Hmac | Family::PublicKey | Family::Shared, false) => {
            return Ok(());
        }
        (Family::KeyedHash, false) => (
            "a digest of a message without the secret can be made by anyone",
            "put {secret} where the sender has it",
        ),
        (_, true) => ("the secret is the key, and no part of the message", "remove {secret}"),
    };
    Err(SchemeError::new("secret_in_message", text, help).at(message))
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

/// Whether what holds the time is signed, as a header or field of the message or as a part of the signed body.
fn is_covered(scheme: &Scheme) -> bool {
    let place = scheme.timestamp.as_ref().map(|stamp| &stamp.at.place);
    let listed =
        |path: &FieldPath| scheme.message.has_signed_headers() && path.name() == "x-contentful-timestamp";
    place.is_some_and(|place| place.paths().all(|path| listed(path) || scheme.covers_path(path)))
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

/// What a message takes from the request beside headers and fields.
pub(super) fn check_request(
    scheme: &Scheme,
    table: &SignatureTable,
    message: &Spanned<String>,
) -> Result<(), SchemeError> {
    let template = &scheme.message;
    if template.has_form() && scheme.body != BodyKind::Form {
        let text = "the message has the fields of a form, and the body is not read as one";
        let help = "add body = \"form\"; then a delivery of another content type is refused";
        return Err(SchemeError::new("form_not_read", text, help).at(message));
    }
    if let Some(url) = table.url.as_ref().filter(|_| !template.has_url()) {
        let help = "remove url, or put {url} where the sender has it in the message";
        return Err(SchemeError::new("url_unsigned", "the address is not part of the message", help).at(url));
    }
    let (Some(digest), Some(given)) = (&scheme.digest, &table.digest) else { return Ok(()) };
    let bound = match digest.path.root() {
        Root::Query => template.has_query(),
        _ => template.fields().any(|path| *path == digest.path),
    };
    if !bound {
        let text = "the digest is not part of the message: whoever changes the body can change it";
        let help = "name a header of the message, or a query parameter where {url} or {raw_query} is signed";
        return Err(SchemeError::new("digest_unsigned", text, help).at(&given.path));
    }
    if !digest.of.has_body() {
        let help = "write of = \"{body|sha256}\"";
        return Err(
            SchemeError::new("digest_of_nothing", "the digest is not one of the body", help).at(&given.of)
        );
    }
    Ok(())
}

pub(super) fn check_items(
    scheme: &Scheme,
    table: &SignatureTable,
    message: &Spanned<String>,
) -> Result<(), SchemeError> {
    let value = table.value.as_ref().and_then(super::PlacedTable::span);
    let value_in_item = scheme.value.place.paths().all(|path| path.root() == Root::Item);
    let signs_nothing = scheme.algorithm.family() == Family::Shared;
    let message_in_item = if signs_nothing {
        scheme.items.is_some()
    } else {
        scheme.message.fields().any(|path| path.root() == Root::Item)
    };
    let required = scheme.require.iter().any(|(path, _)| path.root() == Root::Item);
    if required && scheme.items.is_none() {
        let help = "with items = \"body.events[]\", require looks into item.…; without, into body.…";
        let error = SchemeError::new("items_mismatch", "an item is required, but there are no items", help);
        return Err(error.within(value));
    }
    let (text, span) = match (scheme.items.is_some(), value_in_item, message_in_item) {
        (true, true, true) | (false, false, false) => return Ok(()),
        (true, false, _) => {
            ("items are signed one by one, but the signature does not stand in the item", value)
        }
        (true, _, false) => {
            ("items are signed one by one, but no field of the item is in the message", Some(message.span()))
        }
        (false, true, _) => ("the signature stands in an item, but there are no items", value),
        (false, _, true) => {
            ("the message has fields of an item, but there are no items", Some(message.span()))
        }
    };
    let help = "with items = \"body.events[]\", value and message look into item.…; without, into body.…";
    Err(SchemeError::new("items_mismatch", text, help).within(span))
}

pub(super) fn check_assurance(scheme: &Scheme, table: &SignatureTable) -> Result<(), SchemeError> {
    let help = match (scheme.has_body(), scheme.assurance) {
        _ if scheme.algorithm.family() == Family::Shared => {
            if scheme.assurance == Assurance::Token {
                return Ok(());
            }
            "write token: the sender shows that it knows the secret, and nothing is signed"
        }
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
