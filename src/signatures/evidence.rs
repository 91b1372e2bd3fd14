//! Room `signatures`: what a request shows: the signatures it offers, its time of sending, and the message they are for.
//! Nothing here is believed yet, and nothing is compared.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use vrl::value::Value;

use super::{
    Algorithm, Encoding, JsonType, Message, Place, Scheme, SignatureError, Stamp, scheme::MAX_CANDIDATES,
};
use crate::model::{FieldPath, Fields, RawRequest, Root, Timestamp, reads_as_form, strict_json};

/// A request as a scheme looks at it: the raw parts, and the body's value where a scheme needs it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The raw request.
    pub request: &'a RawRequest,
    /// The parsed body; null when the scheme does not look into it.
    pub body: &'a Value,
    /// The item whose signature is verified; the body where items are not signed one by one.
    pub item: &'a Value,
}

impl<'a> View<'a> {
    /// The bytes at a path: a header's value as received; a field's text, integer or truth value as JSON spells it, if it is
    /// of that type. `None` when absent or null. A header that stands twice is an error, because two readers could disagree
    /// on which counts.
    pub fn bytes_at(
        &self,
        path: &FieldPath,
        json: JsonType,
    ) -> Result<Option<Cow<'a, [u8]>>, SignatureError> {
        if path.root() == Root::Header {
            return self.header(path.name());
        }
        let request = self.request;
        let fields =
            Fields { headers: &request.headers, query: request.query(), body: self.body, item: self.item };
        let Some(value) = fields.get(path) else { return Ok(None) };
        match (value.as_ref(), json) {
            (Value::Bytes(_) | Value::String(_), JsonType::Text)
            | (Value::Integer(_), JsonType::Integer)
            | (Value::Boolean(_), JsonType::Boolean) => {
                Ok(fields.text(path).map(|text| Cow::Owned(text.into_bytes())))
            }
            _ => Err(SignatureError::Malformed("a field of the body is not of the JSON type that is signed")),
        }
    }

    fn header(&self, name: &str) -> Result<Option<Cow<'a, [u8]>>, SignatureError> {
        let mut values = self.request.headers.0.iter().filter(|(known, _)| known == name);
        let first = values.next().map(|(_, value)| Cow::Borrowed(value.0.as_ref()));
        match values.next() {
            Some(_) => Err(SignatureError::Duplicated),
            None => Ok(first),
        }
    }

    /// The text at a place, whole.
    pub(super) fn text_at(&self, path: &FieldPath) -> Result<String, SignatureError> {
        let bytes = self.bytes_at(path, JsonType::Text)?.ok_or(SignatureError::Missing)?;
        String::from_utf8(bytes.into_owned()).map_err(|_| SignatureError::Malformed("it is not text"))
    }

    /// The pieces that count at a place; at least one.
    pub(super) fn pieces_at(&self, place: &Place) -> Result<Vec<String>, SignatureError> {
        let text = self.text_at(&place.path)?;
        let pieces: Vec<String> = place.pieces(&text)?.into_iter().map(str::to_owned).collect();
        if pieces.is_empty() { Err(SignatureError::Missing) } else { Ok(pieces) }
    }
}

/// What one signed thing (a request, or one item of it) shows.
#[derive(Debug)]
pub(super) struct Evidence<'a> {
    /// The signatures on offer: decoded, of the right length, at least one.
    pub candidates: Vec<Vec<u8>>,
    /// The time of sending it claims.
    pub sent_at: Option<Timestamp>,
    /// What they sign.
    pub message: Message<'a>,
}

/// The body's value, where the scheme looks into it; null otherwise. What is verified as JSON is translated as JSON: a body
/// that would be read as a form afterwards is refused, whatever it holds.
pub(super) fn read_body(scheme: &Scheme, request: &RawRequest) -> Result<Value, SignatureError> {
    if !scheme.reads_body() {
        return Ok(Value::Null);
    }
    if reads_as_form(&request.headers) {
        return Err(SignatureError::Unreadable);
    }
    strict_json::read(&request.body).map_err(|_| SignatureError::Unreadable)
}

/// The signed things of a request: the request itself, or each of its items; never none.
pub(super) fn views<'a>(
    scheme: &Scheme,
    request: &'a RawRequest,
    body: &'a Value,
) -> Result<Vec<View<'a>>, SignatureError> {
    match scheme.items() {
        None => Ok(vec![View { request, body, item: body }]),
        Some(items) => Ok(items.of(body)?.into_iter().map(|item| View { request, body, item }).collect()),
    }
}

/// Reads what one signed thing shows.
pub(super) fn gather<'a>(scheme: &Scheme, view: &View<'a>) -> Result<Evidence<'a>, SignatureError> {
    let candidates = candidates(scheme, view)?;
    let stamp = scheme.timestamp().map(|stamp| sent_at(stamp, view)).transpose()?;
    let (text, sent_at) = stamp.unzip();
    let message = scheme.message().render(view, text.as_deref())?;
    Ok(Evidence { candidates, sent_at, message })
}

/// The signatures on offer, decoded.
pub(super) fn candidates(scheme: &Scheme, view: &View<'_>) -> Result<Vec<Vec<u8>>, SignatureError> {
    let value = scheme.value();
    let pieces = view.pieces_at(&value.place)?;
    if pieces.len() > MAX_CANDIDATES {
        return Err(SignatureError::Malformed("more than 16 signatures"));
    }
    pieces.iter().map(|piece| decode_signature(piece, value.form, scheme.algorithm())).collect()
}

/// The time of sending, as it stands there and as a time. A signed request says it once.
pub(super) fn sent_at(stamp: &Stamp, view: &View<'_>) -> Result<(String, Timestamp), SignatureError> {
    let mut pieces = view.pieces_at(&stamp.at.place)?;
    let text = pieces.pop().ok_or(SignatureError::Missing)?;
    if !pieces.is_empty() {
        return Err(SignatureError::Duplicated);
    }
    let time = stamp.at.form.read(&text).ok_or(SignatureError::Malformed("the timestamp is not one"))?;
    Ok((text, time))
}

/// Decodes a signature: one spelling for one value, so that no two texts pass for the same signature.
fn decode_signature(text: &str, encoding: Encoding, algorithm: Algorithm) -> Result<Vec<u8>, SignatureError> {
    let bytes = match encoding {
        Encoding::Hex if text.bytes().any(|digit| digit.is_ascii_uppercase()) => None,
        Encoding::Hex => hex::decode(text).ok(),
        Encoding::Base64 => STANDARD.decode(text).ok(),
    };
    let bytes = bytes.ok_or(SignatureError::Malformed("the signature is not encoded as the scheme says"))?;
    if bytes.len() != algorithm.signature_len() {
        return Err(SignatureError::Malformed("the signature has the wrong length"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(text: &str, encoding: Encoding) -> bool {
        decode_signature(text, encoding, Algorithm::HmacSha256).is_ok()
    }

    #[test]
    fn a_signature_has_one_spelling() {
        let bytes = [0xab_u8; 32];
        let (hex, base64) = (hex::encode(bytes), STANDARD.encode(bytes));
        assert!(decode(&hex, Encoding::Hex));
        assert!(decode(&base64, Encoding::Base64));
        assert!(!decode(&hex.to_uppercase(), Encoding::Hex));
        assert!(!decode(&hex[2..], Encoding::Hex));
        assert!(!decode(&format!(" {hex}"), Encoding::Hex));
        assert!(!decode(base64.trim_end_matches('='), Encoding::Base64));
        assert!(!decode(&format!("{base64}\n"), Encoding::Base64));
        assert!(
            !decode(&base64.replace("s=", "t="), Encoding::Base64),
            "the bits after the end must be zero"
        );
        assert!(!decode("", Encoding::Base64));
    }

    proptest! {
        #[test]
        fn what_decodes_is_written_back_the_same(text in "[0-9a-fA-F]{60,68}|[A-Za-z0-9+/=]{42,46}") {
            if let Ok(bytes) = decode_signature(&text, Encoding::Hex, Algorithm::HmacSha256) {
                prop_assert_eq!(hex::encode(bytes), text.as_str());
            }
            if let Ok(bytes) = decode_signature(&text, Encoding::Base64, Algorithm::HmacSha256) {
                prop_assert_eq!(STANDARD.encode(bytes), text.as_str());
            }
        }
    }
}
