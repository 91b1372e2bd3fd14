//! Room `cli`: writes a text at a place of a request, as a partner would who signs it: into headers, into the query, into
//! JSON and into forms. What stood there before is replaced.

use base64::{Engine, engine::general_purpose::STANDARD};
use vrl::value::{ObjectMap, Value};

use super::sign::SignError;
use crate::{
    model::{BodyKind, BodyRules, FieldPath, RawRequest, Root, body_kind, read_body, strict_json},
    signatures::{Place, Position, Scheme},
};

/// One piece as it stands at its place: with its name and what comes before it.
pub(super) fn written(place: &Place, text: &str) -> String {
    let name = place.pair.as_ref().map(|pair| format!("{}{}", pair.name, pair.assign)).unwrap_or_default();
    let piece = format!("{name}{}{text}", place.prefix.as_deref().unwrap_or_default());
    match &place.unwrap {
        Some(unwrap) => wrapped(&unwrap.field, &piece),
        None => piece,
    }
}

/// A piece in the JSON document in base64 that it stands in.
fn wrapped(field: &FieldPath, piece: &str) -> String {
    let mut document = Value::Object(ObjectMap::new());
    document.insert(field.value_path(), piece);
    STANDARD.encode(document.to_string())
}

/// Removes what stands in the headers of a place.
pub(super) fn remove(request: &mut RawRequest, place: &Place) {
    request.headers.0.retain(|(name, _)| !place.holds_header(name));
}

/// Writes a piece at its place, behind those that stand there.
pub(super) fn put(
    scheme: &Scheme,
    request: &mut RawRequest,
    place: &Place,
    text: &str,
) -> Result<(), SignError> {
    let piece = written(place, text);
    match place.path.root() {
        Root::Header => put_header(request, place, piece),
        Root::Query => request.target = with_parameter(&request.target, place.path.name(), &piece),
        Root::Body => put_field(scheme, request, &place.path, &piece)?,
        Root::Item => return Err(SignError::Place(place.path.to_string())),
    }
    Ok(())
}

/// Writes a text into the JSON document in base64 that stands in a header already.
pub(super) fn put_beside(request: &mut RawRequest, place: &Place, text: &str) -> Result<(), SignError> {
    let nowhere = || SignError::Place(place.path.to_string());
    let unwrap = place.unwrap.as_ref().ok_or_else(nowhere)?;
    let (_, header) =
        request.headers.0.iter_mut().find(|(name, _)| place.holds_header(name)).ok_or_else(nowhere)?;
    let document = STANDARD.decode(&header.0).map_err(|_| nowhere())?;
    let document = in_json(&document, &unwrap.field, text)?;
    header.0 = STANDARD.encode(document).into();
    Ok(())
}

fn put_header(request: &mut RawRequest, place: &Place, piece: String) {
    let number = if place.numbered { "1" } else { "" };
    let header = format!("{}{number}", place.path.name());
    let there = request.headers.0.iter_mut().find(|(name, _)| *name == header);
    match (there, place.separator) {
        (Some((_, value)), Some(separator)) => {
            let before = String::from_utf8_lossy(&value.0).into_owned();
            value.0 = format!("{before}{separator}{piece}").into();
        }
        _ => request.headers.push(&header, piece_at(place, piece)),
    }
}

/// A piece that counts by its position, with empty ones before it where nothing stands yet.
fn piece_at(place: &Place, piece: String) -> String {
    let (Position::From(before) | Position::At(before)) = place.position;
    let Some(separator) = place.separator else { return piece };
    format!("{}{piece}", separator.to_string().repeat(before))
}

/// A target with a parameter set.
fn with_parameter(target: &str, name: &str, value: &str) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let others = query.split('&').filter(|pair| !pair.is_empty() && !is_named(pair, name));
    let own = form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish();
    let pairs: Vec<&str> = others.chain([own.as_str()]).collect();
    format!("{path}?{}", pairs.join("&"))
}

fn is_named(pair: &str, name: &str) -> bool {
    form_urlencoded::parse(pair.as_bytes()).next().is_some_and(|(known, _)| known == name)
}

/// Writes a field of the body where the scheme reads it: in JSON, in a form, or in the JSON of a form's field.
fn put_field(
    scheme: &Scheme,
    request: &mut RawRequest,
    path: &FieldPath,
    piece: &str,
) -> Result<(), SignError> {
    let name = scheme.form_json().unwrap_or(path.name());
    let set = |value: &str| match scheme.form_json() {
        Some(_) => Ok(String::from_utf8_lossy(&in_json(value.as_bytes(), path, piece)?).into_owned()),
        None => Ok(piece.to_owned()),
    };
    request.body = match body_kind(&request.headers) {
        BodyKind::Json => in_json(&request.body, path, piece)?.into(),
        BodyKind::Form => in_form(&request.body, name, set)?.into(),
        BodyKind::Multipart => in_multipart(request, name, set)?.into(),
    };
    Ok(())
}

/// A multipart form with a field set, from what it was.
fn in_multipart(
    request: &RawRequest,
    name: &str,
    set: impl Fn(&str) -> Result<String, SignError>,
) -> Result<String, SignError> {
    let text = String::from_utf8_lossy(&request.body);
    let boundary = text.split("\r\n").next().unwrap_or_default();
    let form = read_body(&request.headers, &request.body, &BodyRules::default())?;
    let mut written = String::new();
    for (known, value) in form.as_object().into_iter().flatten() {
        let values = value.as_array().unwrap_or(std::slice::from_ref(value));
        for value in values.iter().filter_map(Value::to_str_lossy) {
            let value = if known.as_str() == name { set(&value)? } else { value.into_owned() };
            let disposition = format!("Content-Disposition: form-data; name=\"{known}\"");
            written.extend([boundary, "\r\n", &disposition, "\r\n\r\n", &value, "\r\n"]);
        }
    }
    Ok(format!("{written}{boundary}--\r\n"))
}

/// JSON with a field set; a number stays a number, and an array an array, with this alone in it.
fn in_json(json: &[u8], path: &FieldPath, piece: &str) -> Result<Vec<u8>, SignError> {
    let mut body = strict_json::read(json)?;
    let value = match (body.get(path.value_path()), piece.parse::<i64>()) {
        (Some(Value::Integer(_)), Ok(number)) => Value::from(number),
        (Some(Value::Array(_)), _) => Value::Array(vec![Value::from(piece)]),
        _ => Value::from(piece),
    };
    body.insert(path.value_path(), value);
    Ok(serde_json::to_vec(&body)?)
}

/// A form with a field set, from what it was.
fn in_form(
    form: &[u8],
    name: &str,
    set: impl Fn(&str) -> Result<String, SignError>,
) -> Result<String, SignError> {
    let mut written = form_urlencoded::Serializer::new(String::new());
    let mut found = false;
    for (known, value) in form_urlencoded::parse(form) {
        if known == name {
            found = true;
            written.append_pair(name, &set(&value)?);
        } else {
            written.append_pair(&known, &value);
        }
    }
    if !found {
        written.append_pair(name, &set("{}")?);
    }
    Ok(written.finish())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{sign::sign, signing_key::SigningKey},
        *,
    };
    use crate::{
        model::{Headers, PublicUrl, Secret, Timestamp},
        signatures::{Key, verify},
    };

    const JSON: &str = "application/json";
    const FORM: &str = "application/x-www-form-urlencoded";
    const MULTIPART: &str = "multipart/form-data; boundary=b";
    const TIME: &str = "timestamp = { path = \"header.x\", pair = \"t\", as = \"unix_s\" }\nmessage = \"{timestamp}.{body}\"\nassurance = \"full\"";
    const BODY: &str = "message = \"{body}\"\nassurance = \"full\"";

    /// One scheme for each place and part that a sender is known to have, with a body for it.
    fn schemes() -> Vec<(String, &'static str, String)> {
        let json = || "{\"at\":1,\"id\":\"a\"}".to_owned();
        let part = |name: &str, value: &str| {
            format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let event = "{\"event\":{\"event_time\":\"1\",\"event_type\":\"sent\",\"event_hash\":\"\"}}";
        let body_of = |scheme: String| (scheme, JSON, json());
        let mut all: Vec<_> = [
            "paths = [\"header.a\", \"header.b\"]",
            "headers = \"x-signature-\"",
            "path = \"header.a\", repeats = true",
            "path = \"header.a\", optional_prefix = \"sha256=\"",
            "path = \"header.a\", separator = \",\", skip = 2",
            "path = \"header.a\", unwrap = \"base64_json:signature\"",
            "path = \"query.sign\"",
        ]
        .map(|place| body_of(format!("value = {{ {place}, as = \"base64url\" }}\n{BODY}")))
        .to_vec();
        all.extend([
            body_of(format!("value = {{ path = \"header.x\", pair = \"v1\", as = \"hex_upper\" }}\n{TIME}")),
            body_of(format!(
                "value = {{ path = \"header.x\", group = \" \", pair = \"v1\", as = \"hex\" }}\n{}",
                TIME.replace("pair", "group = \" \", pair")
            )),
            body_of(format!(
                "value = {{ path = \"header.x\", separator = \",\", skip = 1, as = \"base64_hex\" }}\n{}",
                TIME.replace("pair = \"t\"", "separator = \",\", piece = 0")
            )),
            body_of(format!(
                "value = {{ path = \"header.x\", as = \"hex_any\" }}\ntimestamp = {{ path = \"body.at\", as = \"unix_ms\" }}\n{BODY}"
            )),
            body_of(
                "value = { path = \"header.x\", as = \"hex\" }\nmessage = \"{method}{url}{body}\"\nassurance = \"full\"".to_owned(),
            ),
            body_of(
                "value = { path = \"header.x\", as = \"hex\" }\nmessage = \"{url}\"\nurl = \"candidates\"\nassurance = \"full\"\n\
                 digest = { path = \"query.bodySHA256\", of = \"{body|sha256}\" }"
                    .to_owned(),
            ),
            (
                "value = { path = \"header.x\", as = \"base64\" }\nmessage = \"{url}{form}\"\nurl = \"candidates\"\nbody = \"form\"\n\
                 assurance = \"partial\""
                    .to_owned(),
                FORM,
                "b=2&a=1".to_owned(),
            ),
            (
                "value = { path = \"body.sign\", as = \"base64\" }\nmessage = \"{form:pairs}\"\nbody = \"form\"\nassurance = \"partial\"".to_owned(),
                FORM,
                "b=2&a=1".to_owned(),
            ),
            (
                "value = { path = \"body.event.event_hash\", as = \"hex\" }\nbody = \"multipart\"\nassurance = \"partial\"\n\
                 timestamp = { path = \"body.event.event_time\", as = \"unix_s\" }\nmessage = \"{timestamp}{body.event.event_type}\""
                    .to_owned(),
                MULTIPART,
                format!("{}--b--\r\n", part("json", event)),
            ),
        ]);
        all
    }

    fn scheme(text: &str, content_type: &str) -> Scheme {
        let text = format!("algorithm = \"hmac-sha256\"\nsecret = {{ as = \"text\" }}\n{text}");
        let scheme = Scheme::parse(&text).unwrap_or_else(|error| panic!("{error:?}: {text}"));
        let form_json = (content_type == MULTIPART).then(|| "json".to_owned());
        scheme
            .at(PublicUrl::parse("https://hooks.example").ok())
            .reading(BodyRules { form_json, ..BodyRules::default() })
    }

    fn request(content_type: &str, body: &str) -> RawRequest {
        let mut headers = Headers::default();
        headers.push("content-type", content_type.to_owned());
        RawRequest {
            method: "POST".to_owned(),
            target: "/in/x?a=1".to_owned(),
            version: "HTTP/1.1".to_owned(),
            headers,
            body: body.to_owned().into(),
            peer: None,
        }
    }

    fn now() -> Timestamp {
        Timestamp::from_seconds(1_700_000_000).expect("a time")
    }

    fn key(scheme: &Scheme, text: &str) -> Key {
        scheme.key("k", &Secret::new(text)).expect("a key")
    }

    fn verdict(scheme: &Scheme, request: RawRequest) -> Result<(), &'static str> {
        let verified = verify(scheme, &[key(scheme, "a secret of some length")], request, now());
        verified.map(drop).map_err(|refused| refused.1.code())
    }

    #[test]
    fn what_is_signed_at_any_place_verifies() {
        for (text, content_type, body) in schemes() {
            let scheme = scheme(&text, content_type);
            let mut sent = request(content_type, &body);
            sign(&scheme, &key(&scheme, "a secret of some length"), &mut sent, now()).expect("signed");
            assert_eq!(verdict(&scheme, sent.clone()), Ok(()), "{text}\n{sent:?}");
            sign(&scheme, &key(&scheme, "a secret of some length"), &mut sent, now()).expect("signed again");
            assert_eq!(verdict(&scheme, sent), Ok(()), "signatures that stand there are replaced: {text}");
            let mut forged = request(content_type, &body);
            sign(&scheme, &key(&scheme, "another secret of some length"), &mut forged, now())
                .expect("signed");
            assert_eq!(verdict(&scheme, forged), Err("signature_mismatch"), "{text}");
        }
    }

    /// What stands in a header after a request was signed by a scheme whose sender names its keys in this place.
    fn named(place: &str, header: &str, before: &[(&str, &str)]) -> String {
        let text = format!(
            "algorithm = \"ed25519\"\nsecret = {{ as = \"pem\" }}\nvalue = {{ path = \"header.s\", unwrap = \"base64_json:sig\", as = \"base64\" }}\n\
             {BODY}\n[keys]\nid = {{ {place} }}\nby_id = {{ url = \"https://acme.example/keys/{{id}}\" }}\n\
             key = {{ at = \"key\", as = \"pem\" }}"
        );
        let scheme = Scheme::parse(&text).unwrap_or_else(|error| panic!("{error:?}: {text}")).with_own_keys();
        let private = SigningKey::generated(scheme.key_algorithm()).expect("a pair").called("2026-11");
        let SigningKey::Private { der, .. } = &private else { unreachable!("a pair was made") };
        let half = scheme.development_key("2026-11", &Secret::new(STANDARD.encode(der))).expect("its half");
        let mut sent = request(JSON, "{}");
        for (name, value) in before {
            sent.headers.push(name, (*value).to_owned());
        }
        sign(&scheme, private, &mut sent, now()).expect("signed");
        assert!(verify(&scheme, &[half], sent.clone(), now()).is_ok(), "{sent:?}");
        let found = sent.headers.0.iter().find(|(name, _)| name == header).expect("it stands there");
        String::from_utf8_lossy(&found.1.0).into_owned()
    }

    #[test]
    fn a_key_is_named_where_its_sender_names_it() {
        let place = "path = \"header.acme-key-id\"";
        assert_eq!(named(place, "acme-key-id", &[]), "2026-11");
        assert_eq!(named(place, "acme-key-id", &[("acme-key-id", "their own")]), "their own");
        let beside = named("path = \"header.s\", unwrap = \"base64_json:kid\"", "s", &[]);
        let document = STANDARD.decode(beside).expect("base64");
        let document: serde_json::Value = serde_json::from_slice(&document).expect("JSON");
        assert_eq!((&document["kid"], document["sig"].is_string()), (&"2026-11".into(), true));
    }

    #[test]
    fn what_is_sent_as_something_else_is_refused() {
        for (text, content_type, body) in schemes().into_iter().filter(|(text, ..)| text.contains("body = "))
        {
            let scheme = scheme(&text, content_type);
            for other in [JSON, FORM, MULTIPART].into_iter().filter(|other| *other != content_type) {
                let mut sent = request(content_type, &body);
                sign(&scheme, &key(&scheme, "a secret of some length"), &mut sent, now()).expect("signed");
                sent.headers.0.retain(|(name, _)| name != "content-type");
                sent.headers.push("content-type", other.to_owned());
                assert_eq!(verdict(&scheme, sent), Err("body_unreadable"), "{other}: {text}");
            }
        }
    }

    #[test]
    fn a_body_under_another_digest_is_refused() {
        for (text, content_type, body) in schemes().into_iter().filter(|(text, ..)| text.contains("digest")) {
            let scheme = scheme(&text, content_type);
            let mut sent = request(content_type, &body);
            sign(&scheme, &key(&scheme, "a secret of some length"), &mut sent, now()).expect("signed");
            sent.body = "{}".into();
            assert_eq!(verdict(&scheme, sent), Err("signature_malformed"));
        }
    }

    #[test]
    fn a_parameter_is_set_once_and_leaves_the_others_as_they_are() {
        assert_eq!(with_parameter("/x", "sig", "a b"), "/x?sig=a+b");
        assert_eq!(with_parameter("/x?a=%20&sig=old&b", "sig", "new"), "/x?a=%20&b&sig=new");
    }

    #[test]
    fn a_field_is_set_where_it_stands() {
        let path = FieldPath::parse("body.at").expect("a path");
        assert_eq!(in_json(b"{\"at\":1}", &path, "2").expect("JSON"), b"{\"at\":2}");
        assert_eq!(in_json(b"{}", &path, "2").expect("JSON"), b"{\"at\":\"2\"}");
        assert_eq!(in_json(b"{\"at\":[\"a\",\"b\"]}", &path, "2").expect("JSON"), b"{\"at\":[\"2\"]}");
        let set = |form: &[u8]| in_form(form, "sig", |_| Ok("S".to_owned())).expect("a form");
        assert_eq!(set(b"a=1&sig=old&b=2"), "a=1&sig=S&b=2");
        assert_eq!(set(b"a=1"), "a=1&sig=S");
    }

    proptest! {
        #[test]
        fn nothing_is_accepted_without_the_key_and_nothing_panics(
            number in any::<prop::sample::Index>(), header in "[a-z0-9=,. ]{0,40}|[A-Za-z0-9_-]{43}|[0-9a-f]{64}",
            body in "([a-z0-9=&%+]|sign=|--b\r\n|--b--|Content-Disposition: form-data; name=\"json\"|\r\n|[{}:\"\\[]){0,20}",
            query in "([a-z0-9=&%+]|sign=|bodySHA256=){0,12}",
        ) {
            let all = schemes();
            let (text, content_type, _) = &all[number.index(all.len())];
            let scheme = scheme(text, content_type);
            let mut sent = RawRequest { target: format!("/in/x?{query}"), ..request(content_type, &body) };
            for name in ["a", "b", "x", "x-signature-1"] {
                sent.headers.push(name, header.clone());
            }
            prop_assert!(verdict(&scheme, sent).is_err());
        }
    }
}
