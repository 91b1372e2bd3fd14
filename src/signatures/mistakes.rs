//! Room `signatures`: the mistakes that people really make with signatures, tried one by one and named, for
//! [`explain`](super::explain). A verdict never depends on anything here.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    Encoding, Key, KeyEncoding, Message, Scheme, SecretForm, Stamp, StampUnit, View, evidence::sent_at,
    verify::holds,
};
use crate::model::{RawRequest, Secret, Timestamp};

/// How the text where the signature should stand is spelled, when it is not as the scheme says.
pub(super) fn in_spelling(scheme: &Scheme, view: &View<'_>) -> Option<String> {
    let value = scheme.value();
    let text = view.texts_at(&value.place).ok()?.into_iter().next()?;
    let demanded = value.place.separator.is_none() && !value.place.prefix_optional;
    let prefix = value.place.prefix.as_deref().filter(|_| demanded);
    if let Some(prefix) = prefix.filter(|prefix| !text.starts_with(prefix)) {
        return Some(format!("it stands there without {prefix:?}"));
    }
    let group = *value.place.groups(&text).first()?;
    let pieces = value.place.pieces(group).ok()?;
    let piece = *pieces.first()?;
    let length = scheme.algorithm().signature_len();
    let is = |bytes: Option<Vec<u8>>| bytes.is_some_and(|bytes| bytes.len() == length);
    match value.form {
        Encoding::Hex if is(hex::decode(piece).ok()) && piece != piece.to_lowercase() => {
            Some("it is hex in upper case".to_owned())
        }
        Encoding::HexUpper if is(hex::decode(piece).ok()) => Some("it is hex in lower case".to_owned()),
        Encoding::Hex | Encoding::HexUpper | Encoding::HexAny if is(STANDARD.decode(piece).ok()) => {
            Some("it reads as base64".to_owned())
        }
        Encoding::Base64 | Encoding::Base64url if is(hex::decode(piece).ok()) => {
            Some("it reads as hex".to_owned())
        }
        Encoding::Base64 if is(Encoding::Base64url.decode(piece)) => Some("it reads as base64url".to_owned()),
        Encoding::Base64url if is(STANDARD.decode(piece).ok()) => Some("it reads as base64".to_owned()),
        _ => None,
    }
}

/// The unit in which a time far away would be close to now.
pub(super) fn in_unit(stamp: &Stamp, view: &View<'_>, now: Timestamp) -> Option<&'static str> {
    let (text, _) = sent_at(stamp, view).ok()?.into_iter().next()?;
    let near = |unit: StampUnit| {
        unit.read(&text).is_some_and(|time| now.since(time).max(time.since(now)) <= stamp.tolerance)
    };
    match stamp.at.form {
        StampUnit::UnixS if !near(StampUnit::UnixS) && near(StampUnit::UnixMs) => {
            Some("it reads as milliseconds")
        }
        StampUnit::UnixMs if !near(StampUnit::UnixMs) && near(StampUnit::UnixS) => {
            Some("it reads as seconds")
        }
        _ => None,
    }
}

/// What would have made a signature that no key made.
pub(super) fn in_signing(scheme: &Scheme, keys: &[Key], view: &View<'_>, candidates: &[Vec<u8>]) -> String {
    let readings = messages(scheme, view);
    for key in keys {
        for (how_key, reading) in key_readings(scheme.secret(), key) {
            for (how_message, message) in &readings {
                let message = Message::from(message.as_slice());
                if holds(scheme.algorithm(), &reading, &message, candidates).into() {
                    return format!("it matches secret {:?} when {}", key.id, both(how_key, how_message));
                }
            }
        }
    }
    "no common mistake explains it: another secret made it, or the body was changed on its way (by a proxy or a \
     framework that reads and rewrites it?)"
        .to_owned()
}

fn both(key: &str, message: &str) -> String {
    [key, message].into_iter().filter(|how| !how.is_empty()).collect::<Vec<_>>().join(", and ")
}

/// A key, and the other keys that people make of the same secret.
fn key_readings(form: &SecretForm, key: &Key) -> Vec<(&'static str, Key)> {
    let bytes = key.bytes.expose();
    let prefixed = |text: String| form.prefix.as_ref().map(|prefix| format!("{prefix}{text}").into_bytes());
    let others = match form.encoding {
        KeyEncoding::Text => vec![
            (
                "the secret is decoded as base64 after whsec_",
                bytes.strip_prefix(b"whsec_").and_then(|rest| STANDARD.decode(rest).ok()),
            ),
            ("the secret is decoded as base64", STANDARD.decode(bytes).ok()),
            ("the secret is decoded as hex", hex::decode(bytes).ok()),
            ("the secret has a line break at its end", Some([bytes, b"\n"].concat())),
        ],
        KeyEncoding::Base64 => vec![
            ("the secret is taken as text, with its prefix", prefixed(STANDARD.encode(bytes))),
            ("the secret is taken as text, not decoded", Some(STANDARD.encode(bytes).into_bytes())),
        ],
        KeyEncoding::Hex => vec![
            ("the secret is taken as text, not decoded", Some(hex::encode(bytes).into_bytes())),
            ("the secret is taken as text, not decoded", Some(hex::encode_upper(bytes).into_bytes())),
        ],
    };
    let others = others
        .into_iter()
        .filter_map(|(how, bytes)| Some((how, Key { id: key.id.clone(), bytes: Secret::new(bytes?) })));
    [("", key.clone())].into_iter().chain(others).collect()
}

/// The message, and the other messages that people sign instead.
fn messages(scheme: &Scheme, view: &View<'_>) -> Vec<(&'static str, Vec<u8>)> {
    let time = scheme.timestamp().and_then(|stamp| sent_at(stamp, view).ok());
    let time = time.and_then(|times| times.into_iter().next()).map(|(text, _)| text);
    let render = |request: &RawRequest| {
        let view = View { request, ..*view };
        scheme.message().render(&view, time.as_deref()).ok().map(|message| message.to_vec())
    };
    let mut messages = vec![("", render(view.request))];
    if scheme.message().has_body() {
        for (how, body) in bodies(&view.request.body) {
            messages.push((how, render(&RawRequest { body: body.into(), ..view.request.clone() })));
        }
        messages.push(("the body alone is signed", Some(view.request.body.to_vec())));
    }
    messages.into_iter().filter_map(|(how, message)| Some((how, message?))).collect()
}

/// What a body may have been before it was changed on its way.
fn bodies(body: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let without_returns = body.iter().copied().filter(|byte| *byte != b'\r').collect();
    vec![
        ("the body has no line break at its end", body.trim_ascii_end().to_vec()),
        ("the body has a line break at its end", [body, b"\n"].concat()),
        ("the body has a carriage return and line break at its end", [body, b"\r\n"].concat()),
        ("the body has no carriage returns", without_returns),
        ("the body has no white space between its JSON values", compact(body)),
    ]
}

/// JSON without the white space between its values. Strings stay as they are.
fn compact(json: &[u8]) -> Vec<u8> {
    let (mut in_string, mut escaped) = (false, false);
    let keep = |byte: &u8| {
        let keep = in_string || !byte.is_ascii_whitespace();
        in_string ^= *byte == b'"' && !escaped;
        escaped = in_string && *byte == b'\\' && !escaped;
        keep
    };
    json.iter().copied().filter(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compacting_leaves_strings_alone() {
        let compacted = compact(b"{ \"a b\" : \"c \\\" d\\\\\" ,\n\t\"e\": [ 1 , 2 ] }");
        assert_eq!(compacted, b"{\"a b\":\"c \\\" d\\\\\",\"e\":[1,2]}");
    }
}
