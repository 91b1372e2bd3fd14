//! Room `signatures`: the mistakes that people really make with signatures, tried one by one and named. A verdict never
//! depends on anything here.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::bodies::bodies;
use crate::{
    model::{PublicUrl, RawRequest, Timestamp},
    signatures::{
        Algorithm, Encoding, Family, Key, KeyEncoding, Message, Scheme, SecretForm, Stamp, StampUnit, View,
        evidence::sent_at, url::Url,
    },
};

/// The algorithms that people take for one another.
const SHARED_KEY: [Algorithm; 7] = [
    Algorithm::HmacSha1,
    Algorithm::HmacSha256,
    Algorithm::HmacSha384,
    Algorithm::HmacSha512,
    Algorithm::Md5,
    Algorithm::Sha256,
    Algorithm::Keccak256,
];

/// How the text where the signature should stand is spelled, when it is not as the scheme says.
pub(super) fn in_spelling(scheme: &Scheme, view: &View<'_>) -> Option<String> {
    let value = scheme.value();
    let text = view.first_text_at(&value.place).ok()?;
    let demanded = value.place.separator.is_none() && !value.place.prefix_optional;
    let prefix = value.place.prefix.as_deref().filter(|_| demanded);
    if let Some(prefix) = prefix.filter(|prefix| !text.starts_with(prefix)) {
        return Some(format!("it stands there without {prefix:?}"));
    }
    let group = value.place.groups(&text).next()?;
    let piece = value.place.pieces(group).next()?.ok()?;
    let is = |bytes: Option<Vec<u8>>| bytes.is_some_and(|bytes| scheme.algorithm().fits(bytes.len()));
    let in_hex = hex::decode(piece).ok();
    match value.form {
        Encoding::Hex if is(in_hex.clone()) && piece != piece.to_lowercase() => {
            Some("it is hex in upper case".to_owned())
        }
        Encoding::HexUpper if is(in_hex.clone()) => Some("it is hex in lower case".to_owned()),
        Encoding::Hex | Encoding::HexUpper | Encoding::HexAny if is(STANDARD.decode(piece).ok()) => {
            Some("it reads as base64".to_owned())
        }
        Encoding::Base64 | Encoding::Base64url if is(in_hex.clone()) => Some("it reads as hex".to_owned()),
        Encoding::Base64 if is(STANDARD.decode(piece).ok()) => None,
        Encoding::Base64 if is(Encoding::Base64url.decode(piece)) => Some("it reads as base64url".to_owned()),
        Encoding::Base64url if is(STANDARD.decode(piece).ok()) => Some("it reads as base64".to_owned()),
        Encoding::Hex => length_of_another(scheme.algorithm(), &in_hex?),
        Encoding::Base64 => length_of_another(scheme.algorithm(), &STANDARD.decode(piece).ok()?),
        Encoding::Basic if STANDARD.decode(piece).is_ok() => {
            Some("it stands there without \"Basic \"".to_owned())
        }
        _ => None,
    }
}

/// A signature that is as long as another algorithm makes them.
fn length_of_another(algorithm: Algorithm, bytes: &[u8]) -> Option<String> {
    let other =
        SHARED_KEY.into_iter().find(|other| other.family() == Family::Hmac && other.fits(bytes.len()))?;
    let fits = !algorithm.fits(bytes.len());
    fits.then(|| format!("it has {} bytes, as {other} makes them", bytes.len()))
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
    if scheme.algorithm().family() == Family::Shared {
        return in_token(keys, candidates);
    }
    let readings = messages(scheme, view);
    for algorithm in algorithms(scheme.algorithm()) {
        for key in keys {
            for (how_key, reading) in key_readings(scheme.secret(), key) {
                let made = readings
                    .iter()
                    .find(|(_, message)| algorithm.holds(&reading, message, candidates).into());
                if let Some((how_message, _)) = made {
                    let how_algorithm = if algorithm == scheme.algorithm() {
                        String::new()
                    } else {
                        format!("the algorithm is {algorithm}")
                    };
                    let how = all_of(&[how_key, how_message, &how_algorithm]);
                    return format!("it matches secret {:?} when {how}", key.id);
                }
            }
        }
    }
    unexplained(scheme)
}

fn unexplained(scheme: &Scheme) -> String {
    let other = match scheme.algorithm().family() {
        Family::PublicKey => {
            "another private key made it (is the public key the one of this environment, test or live?)"
        }
        _ => "another secret made it",
    };
    format!(
        "no common mistake explains it: {other}, or the body was changed on its way (by a proxy or a framework that reads \
         and rewrites it?)"
    )
}

/// The scheme's own algorithm first, then those that make signatures of the same length.
fn algorithms(own: Algorithm) -> Vec<Algorithm> {
    let alike = |other: &Algorithm| *other != own && own.signature_len() == other.signature_len();
    let others = SHARED_KEY.into_iter().filter(|_| SHARED_KEY.contains(&own)).filter(alike);
    [own].into_iter().chain(others).collect()
}

/// What is wrong with a token that is not the secret.
fn in_token(keys: &[Key], candidates: &[Vec<u8>]) -> String {
    let near = |key: &Key| {
        let secret = key.secret_bytes().unwrap_or_default();
        let how = |candidate: &Vec<u8>| {
            let bearer = [b"Bearer ".as_slice(), secret].concat();
            match candidate.as_slice() {
                found if found.eq_ignore_ascii_case(&bearer) => Some("\"Bearer \" stands before it"),
                found if found.trim_ascii() == secret => Some("white space stands around it"),
                found if found.eq_ignore_ascii_case(secret) => Some("letters are in another case"),
                _ => None,
            }
        };
        candidates.iter().find_map(how).map(|how| format!("it is secret {:?}, but {how}", key.id))
    };
    let unknown = || "no common mistake explains it: another secret was sent".to_owned();
    keys.iter().find_map(near).unwrap_or_else(unknown)
}

pub(super) fn all_of(how: &[&str]) -> String {
    how.iter().filter(|how| !how.is_empty()).copied().collect::<Vec<_>>().join(", and ")
}

/// A key, and the other keys that people make of the same secret.
pub(super) fn key_readings(form: &SecretForm, key: &Key) -> Vec<(&'static str, Key)> {
    let Some(bytes) = key.secret_bytes().filter(|_| form.digest.is_none()) else {
        return vec![("", key.clone())];
    };
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
        KeyEncoding::Base64 | KeyEncoding::Base64url => vec![
            ("the secret is taken as text, with its prefix", prefixed(STANDARD.encode(bytes))),
            ("the secret is taken as text, not decoded", Some(STANDARD.encode(bytes).into_bytes())),
        ],
        KeyEncoding::Hex => vec![
            ("the secret is taken as text, not decoded", Some(hex::encode(bytes).into_bytes())),
            ("the secret is taken as text, not decoded", Some(hex::encode_upper(bytes).into_bytes())),
        ],
        _ => Vec::new(),
    };
    let others =
        others.into_iter().filter_map(|(how, bytes)| Some((how, Key::unchecked(key.id.clone(), bytes?))));
    [("", key.clone())].into_iter().chain(others).collect()
}

/// The message, and the other messages that people sign instead.
fn messages(scheme: &Scheme, view: &View<'_>) -> Vec<(&'static str, Message<'static>)> {
    let time = scheme.timestamp().and_then(|stamp| sent_at(stamp, view).ok());
    let time = time.and_then(|times| times.into_iter().next()).map(|(text, _)| text);
    let render = |request: &RawRequest| {
        let view = View { request, ..*view };
        scheme.message().render(&view, time.clone()).ok().map(Message::into_owned)
    };
    let mut messages = vec![("", render(view.request))];
    if scheme.has_body() {
        for (how, body) in bodies(&view.request.body) {
            messages.push((how, render(&RawRequest { body: body.into(), ..view.request.clone() })));
        }
        let body = Message::from(view.request.body.as_ref()).into_owned();
        messages.push(("the body alone is signed", Some(body).filter(|_| !scheme.message().has_secret())));
    }
    let configured = scheme.message().url();
    for (how, url) in configured.map(|url| addresses(url, view.request)).unwrap_or_default() {
        let message = scheme.message().render_at(view, time.clone(), Some(&url)).ok();
        messages.push((how, message.map(Message::into_owned)));
    }
    messages.into_iter().filter_map(|(how, message)| Some((how, message?))).collect()
}

/// What the partner may have in the place of the address that is configured here.
pub(super) fn addresses(configured: &PublicUrl, request: &RawRequest) -> Vec<(&'static str, Url)> {
    let (base, target) = (configured.as_str().to_owned(), request.target.clone());
    let swapped = match base.strip_prefix("https:") {
        Some(rest) => format!("http:{rest}"),
        None => base.replacen("http:", "https:", 1),
    };
    let (protocol, _) = base.split_once("://").unwrap_or_default();
    let host = request.headers.single("host").and_then(|host| host.as_str()).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let slashed = if query.is_empty() { format!("{path}/") } else { format!("{path}/?{query}") };
    let at = |base: &str, target: &str| Url { base: base.to_owned(), target: target.to_owned() };
    vec![
        (
            "the address is signed with http in the place of https, or the other way round",
            at(&swapped, &target),
        ),
        ("the address is signed with its port", at(&configured.with_port(), &target)),
        ("the address is signed without its port", at(&configured.without_port(), &target)),
        ("the address is signed with a slash at the end of its path", at(&base, &slashed)),
        ("the address is signed without its query", at(&base, path)),
        (
            "the address is signed with the host of the Host header: set public_url to it, if it is yours",
            at(&format!("{protocol}://{host}{}", configured.path()), &target),
        ),
        (
            "the address is signed with the host of the Host header and no path before the request's: set public_url to it, \
             if it is yours",
            at(&format!("{protocol}://{host}"), &target),
        ),
    ]
}
