//! Room `signatures`: what a request shows: the signatures it offers, its time of sending, and the message they are for.
//! Nothing here is believed yet, and nothing is compared.

use std::{borrow::Cow, collections::HashSet};

use smallvec::{SmallVec, smallvec};
use vrl::value::Value;

use super::{
    Algorithm, Bound, Encoding, JsonType, Message, Place, Scheme, SignatureError, Stamp, place::MAX_NUMBERED,
    scheme::MAX_CANDIDATES, url,
};
use crate::model::{FieldPath, Fields, RawRequest, Root, Timestamp, body_kind, read_body as read};

const NO_TEXT: SignatureError = SignatureError::Malformed("it is not text");

/// Nearly always one.
pub(super) type Few<T> = SmallVec<[T; 1]>;

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
            return Ok(self.header(path.name())?.map(Cow::Borrowed));
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

    fn header(&self, name: &str) -> Result<Option<&'a [u8]>, SignatureError> {
        let mut values = self.request.headers.0.iter().filter(|(known, _)| known == name);
        let first = values.next().map(|(_, value)| value.0.as_ref());
        match values.next() {
            Some(_) => Err(SignatureError::Duplicated),
            None => Ok(first),
        }
    }

    /// The text at a path, whole.
    pub(super) fn text_at(&self, path: &FieldPath) -> Result<Cow<'a, str>, SignatureError> {
        as_text(self.bytes_at(path, JsonType::Text)?.ok_or(SignatureError::Missing)?)
    }

    /// The pieces that count at a place as `read` takes them, group by group; at least one in all. A place without groups is
    /// one group.
    pub(super) fn pieces_at<T>(
        &self,
        place: &Place,
        read: impl Fn(Cow<'a, str>) -> Result<T, SignatureError>,
    ) -> Result<Few<Few<T>>, SignatureError> {
        if place.group.is_none() {
            let mut pieces = Few::new();
            self.each_piece_at(place, |piece| {
                pieces.push(read(piece)?);
                Ok(())
            })?;
            return if pieces.is_empty() { Err(SignatureError::Missing) } else { Ok(smallvec![pieces]) };
        }
        let mut groups = Few::new();
        self.each_text_at(place, |text| match text {
            Cow::Borrowed(text) => add_pieces(&mut groups, place, text, |piece| read(Cow::Borrowed(piece))),
            Cow::Owned(text) => {
                add_pieces(&mut groups, place, &text, |piece| read(Cow::Owned(piece.to_owned())))
            }
        })?;
        if groups.iter().all(SmallVec::is_empty) { Err(SignatureError::Missing) } else { Ok(groups) }
    }

    /// The piece at a place that may have one only.
    pub(super) fn sole_piece(&self, place: &Place) -> Result<String, SignatureError> {
        self.sole_piece_at(place, |piece| Ok(piece.into_owned()))
    }

    /// The same, as `read` takes it.
    fn sole_piece_at<T>(
        &self,
        place: &Place,
        read: impl Fn(Cow<'a, str>) -> Result<T, SignatureError>,
    ) -> Result<T, SignatureError> {
        let mut sole = None;
        self.each_piece_at(place, |piece| match sole.replace(read(piece)?) {
            Some(_) => Err(SignatureError::Duplicated),
            None => Ok(()),
        })?;
        sole.ok_or(SignatureError::Missing)
    }

    /// Hands on the pieces at a place that count, of all its groups.
    fn each_piece_at(
        &self,
        place: &Place,
        mut take: impl FnMut(Cow<'a, str>) -> Result<(), SignatureError>,
    ) -> Result<(), SignatureError> {
        // Nearly always; what a place may be else costs more than to look at this one.
        if place.is_one_header() {
            let text = self.header(place.path.name())?.ok_or(SignatureError::Missing)?;
            let text = std::str::from_utf8(text).map_err(|_| NO_TEXT)?;
            return each_piece(place, text, |piece| take(Cow::Borrowed(piece)));
        }
        self.each_text_at(place, |text| match text {
            Cow::Borrowed(text) => each_piece(place, text, |piece| take(Cow::Borrowed(piece))),
            Cow::Owned(text) => each_piece(place, &text, |piece| take(Cow::Owned(piece.to_owned()))),
        })
    }

    /// The first text at a place, whole.
    pub(super) fn first_text_at(&self, place: &Place) -> Result<Cow<'a, str>, SignatureError> {
        let mut first = None;
        self.each_text_at(place, |text| {
            first.get_or_insert(text);
            Ok(())
        })?;
        first.ok_or(SignatureError::Missing)
    }

    /// Hands on the texts at a place, whole, in the order of its headers; at least one.
    fn each_text_at(
        &self,
        place: &Place,
        mut take: impl FnMut(Cow<'a, str>) -> Result<(), SignatureError>,
    ) -> Result<(), SignatureError> {
        let mut found = 0;
        let take = |bytes| {
            found += 1;
            take(match &place.unwrap {
                Some(unwrap) => Cow::Owned(unwrap.of(&as_text(bytes)?)?),
                None => as_text(bytes)?,
            })
        };
        let read = if place.numbered { self.numbered(place, take) } else { self.lines(place, take) };
        read?;
        if found == 0 { Err(SignatureError::Missing) } else { Ok(()) }
    }

    fn lines(
        &self,
        place: &Place,
        mut take: impl FnMut(Cow<'a, [u8]>) -> Result<(), SignatureError>,
    ) -> Result<(), SignatureError> {
        for path in place.paths() {
            if place.repeats && path.root() == Root::Header {
                let mut lines = self.request.headers.0.iter().filter(|(name, _)| name == path.name());
                lines.try_for_each(|(_, value)| take(Cow::Borrowed(value.0.as_ref())))?;
            } else if let Some(text) = self.scalar_at(path)? {
                take(text)?;
            }
        }
        Ok(())
    }

    fn numbered(
        &self,
        place: &Place,
        mut take: impl FnMut(Cow<'a, [u8]>) -> Result<(), SignatureError>,
    ) -> Result<(), SignatureError> {
        let mut names = HashSet::new();
        let headers = self.request.headers.0.iter().filter(|(name, _)| place.holds_header(name));
        for (number, (name, value)) in headers.enumerate() {
            if !names.insert(name) && !place.repeats {
                return Err(SignatureError::Duplicated);
            }
            if number == MAX_NUMBERED {
                return Err(SignatureError::Malformed("more than 100 signature headers"));
            }
            take(Cow::Borrowed(value.0.as_ref()))?;
        }
        Ok(())
    }

    /// A header's bytes; a field's text, or its integer as JSON spells it, for a signature or a time is text however it
    /// stands there.
    fn scalar_at(&self, path: &FieldPath) -> Result<Option<Cow<'a, [u8]>>, SignatureError> {
        match self.bytes_at(path, JsonType::Text) {
            Err(SignatureError::Malformed(_)) => self.bytes_at(path, JsonType::Integer),
            found => found,
        }
    }
}

/// Adds the pieces of a text that count, as `read` takes them, each group as another.
fn add_pieces<'t, T>(
    groups: &mut Few<Few<T>>,
    place: &Place,
    text: &'t str,
    read: impl Fn(&'t str) -> Result<T, SignatureError>,
) -> Result<(), SignatureError> {
    for group in place.groups(text) {
        groups.push(place.pieces(group).map(|piece| read(piece?)).collect::<Result<_, _>>()?);
    }
    Ok(())
}

/// Hands on the pieces of a text that count, of all its groups.
fn each_piece<'t>(
    place: &Place,
    text: &'t str,
    mut take: impl FnMut(&'t str) -> Result<(), SignatureError>,
) -> Result<(), SignatureError> {
    place.groups(text).try_for_each(|group| place.pieces(group).try_for_each(|piece| take(piece?)))
}

fn as_text(bytes: Cow<'_, [u8]>) -> Result<Cow<'_, str>, SignatureError> {
    let text = match bytes {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).ok(),
        Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).ok(),
    };
    text.ok_or(NO_TEXT)
}

/// One reading of a signed thing (a request, or one item of it). Most schemes give one; where signatures come in groups
/// each with its time, or a sender is known to sign one of several messages, there are more, and one of them must hold.
#[derive(Debug)]
pub(super) struct Evidence<'a> {
    /// The signatures on offer: decoded, of the right length, at least one.
    pub candidates: Few<Vec<u8>>,
    /// The time of sending it claims.
    pub sent_at: Option<Timestamp>,
    /// What they sign.
    pub message: Message<'a>,
}

/// The body's value, where the scheme looks into it; null otherwise. What is verified is what is translated: it is read as
/// the desk reads it, and a body whose content type would make something else of it is refused, whatever it holds.
pub(super) fn read_body(scheme: &Scheme, request: &RawRequest) -> Result<Value, SignatureError> {
    if !scheme.reads_body() {
        return Ok(Value::Null);
    }
    if body_kind(&request.headers) != scheme.body {
        return Err(SignatureError::Unreadable);
    }
    read(&request.headers, &request.body, &scheme.rules).map_err(|_| SignatureError::Unreadable)
}

/// The signed things of a request: the request itself, or each of its items; never none.
pub(super) fn views<'a>(
    scheme: &Scheme,
    request: &'a RawRequest,
    body: &'a Value,
) -> Result<Few<View<'a>>, SignatureError> {
    match scheme.items() {
        None => Ok(smallvec![View { request, body, item: body }]),
        Some(items) => Ok(items.of(body)?.into_iter().map(|item| View { request, body, item }).collect()),
    }
}

/// What is pinned must stand there, exactly.
pub(super) fn check_required(scheme: &Scheme, view: &View<'_>) -> Result<(), SignatureError> {
    for (path, wanted) in scheme.require() {
        match view.bytes_at(path, JsonType::Text)? {
            Some(found) if *found == *wanted.as_bytes() => {}
            _ => {
                return Err(SignatureError::Malformed(
                    "a required header or field has not the text it must have",
                ));
            }
        }
    }
    Ok(())
}

/// The readings of one signed thing; at least one.
pub(super) fn gather<'a>(scheme: &'a Scheme, view: &View<'a>) -> Result<Few<Evidence<'a>>, SignatureError> {
    check_required(scheme, view)?;
    let groups = candidates(scheme, view)?;
    scheme.digest().map_or(Ok(()), |digest| check_digest(digest, view))?;
    let times = scheme.timestamp().map(|stamp| sent_at(stamp, view)).transpose()?;
    let mut readings = Few::new();
    for (number, candidates) in groups.into_iter().enumerate().filter(|(_, group)| !group.is_empty()) {
        let time = times.as_ref().map(|times| times.get(number).or(times.first()));
        let time = time.map(|time| time.ok_or(SignatureError::Missing)).transpose()?;
        let (text, sent_at) = time.cloned().unzip();
        let template = scheme.message();
        let Some(url) = template.url().filter(|_| scheme.has_url_candidates()) else {
            readings.push(Evidence { candidates, sent_at, message: template.render(view, text)? });
            continue;
        };
        // One message for each spelling of the address.
        for url in url::candidates(url, &view.request.target) {
            let message = template.render_at(view, text.clone(), Some(&url))?;
            readings.push(Evidence { candidates: candidates.clone(), sent_at, message });
        }
    }
    Ok(readings)
}

/// A signed digest binds the body only if it is the body's.
fn check_digest(digest: &Bound, view: &View<'_>) -> Result<(), SignatureError> {
    let shown = view.bytes_at(&digest.path, JsonType::Text)?.ok_or(SignatureError::Missing)?;
    let is_same = digest.of.render(view, None)?.to_vec() == shown.as_ref();
    is_same.then_some(()).ok_or(SignatureError::Malformed("the signed digest is not that of the body"))
}

/// The signatures on offer, decoded, group by group.
pub(super) fn candidates(scheme: &Scheme, view: &View<'_>) -> Result<Few<Few<Vec<u8>>>, SignatureError> {
    let value = scheme.value();
    let read = |piece: Cow<'_, str>| decode_signature(&piece, value.form, scheme.algorithm());
    let groups = view.pieces_at(&value.place, read)?;
    let most = if value.place.numbered { MAX_NUMBERED } else { MAX_CANDIDATES };
    if groups.iter().map(SmallVec::len).sum::<usize>() > most {
        return Err(SignatureError::Malformed("more signatures than any sender offers"));
    }
    Ok(groups)
}

/// The time of sending, as it stands there and as a time: one, or one of each group. A signed request says it once.
pub(super) fn sent_at<'a>(
    stamp: &Stamp,
    view: &View<'a>,
) -> Result<Few<(Cow<'a, str>, Timestamp)>, SignatureError> {
    let read = |text: Cow<'a, str>| {
        let time = stamp.at.form.read(&text).ok_or(SignatureError::Malformed("the timestamp is not one"))?;
        Ok((text, time))
    };
    if stamp.at.place.group.is_none() {
        return Ok(smallvec![view.sole_piece_at(&stamp.at.place, read)?]);
    }
    let one = |mut times: Few<_>| {
        let time = times.pop().ok_or(SignatureError::Missing)?;
        if times.is_empty() { Ok(time) } else { Err(SignatureError::Duplicated) }
    };
    view.pieces_at(&stamp.at.place, read)?.into_iter().map(one).collect()
}

/// Decodes a signature of the right length.
fn decode_signature(text: &str, encoding: Encoding, algorithm: Algorithm) -> Result<Vec<u8>, SignatureError> {
    let bytes = encoding.decode(text);
    let bytes = bytes.ok_or(SignatureError::Malformed("the signature is not encoded as the scheme says"))?;
    if !algorithm.fits(bytes.len()) {
        return Err(SignatureError::Malformed("the signature has the wrong length"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        model::{Headers, Secret},
        signatures::verify::judge,
    };

    const KEY: &str = "a secret of some length";
    const NOW: i64 = 1_700_000_000;

    fn request(headers: &[(&str, &str)], body: &str) -> RawRequest {
        let mut all = Headers::default();
        for (name, value) in headers {
            all.push(name, (*value).to_owned());
        }
        let (method, target, version) = ("POST".to_owned(), "/in/x?q=1".to_owned(), "HTTP/1.1".to_owned());
        RawRequest { method, target, version, headers: all, body: body.to_owned().into(), peer: None }
    }

    fn scheme(rest: &str) -> Scheme {
        let text = format!("algorithm = \"hmac-sha256\"\nsecret = {{ as = \"text\" }}\n{rest}");
        Scheme::parse(&text).unwrap_or_else(|error| panic!("{error:?}: {text}"))
    }

    fn verdict(scheme: &Scheme, request: &RawRequest) -> Result<(), &'static str> {
        let key = scheme.key("k", &Secret::new(KEY)).expect("a key");
        let now = Timestamp::from_seconds(NOW).expect("a time");
        judge(scheme, &[key], request, now).map(drop).map_err(|error| error.code())
    }

    /// The right signature, in hex.
    fn signed(message: &str) -> String {
        use hmac::{Hmac, KeyInit, Mac};
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(KEY.as_bytes()).expect("any length");
        mac.update(message.as_bytes());
        hex::encode(mac.finalize().into_bytes())
    }

    #[test]
    fn a_signature_has_the_length_of_its_algorithm() {
        let decode = |text: &str| decode_signature(text, Encoding::Hex, Algorithm::HmacSha256).is_ok();
        assert!(decode(&hex::encode([0xab_u8; 32])));
        assert!(!decode(&hex::encode([0xab_u8; 31])) && !decode(""));
    }

    #[test]
    fn each_header_that_is_there_counts() {
        let two = scheme(
            "value = { paths = [\"header.primary\", \"header.secondary\"], as = \"hex\" }\nmessage = \"{body}\"\nassurance = \"full\"",
        );
        let (good, bad) = (signed("{}"), signed("other"));
        for headers in [
            vec![("primary", good.as_str())],
            vec![("secondary", good.as_str())],
            vec![("primary", bad.as_str()), ("secondary", good.as_str())],
        ] {
            assert_eq!(verdict(&two, &request(&headers, "{}")), Ok(()), "{headers:?}");
        }
        assert_eq!(verdict(&two, &request(&[], "{}")), Err("signature_missing"));
        let twice = [("primary", good.as_str()), ("primary", good.as_str())];
        assert_eq!(verdict(&two, &request(&twice, "{}")), Err("signature_duplicated"));
    }

    #[test]
    fn lines_of_a_header_count_only_where_the_sender_repeats_it() {
        let place = "path = \"header.x\", as = \"hex\"";
        let rest = "message = \"{body}\"\nassurance = \"full\"";
        let (once, repeats) = (
            scheme(&format!("value = {{ {place} }}\n{rest}")),
            scheme(&format!("value = {{ {place}, repeats = true }}\n{rest}")),
        );
        let (good, bad) = (signed("{}"), signed("other"));
        let twice = request(&[("x", &bad), ("x", &good)], "{}");
        assert_eq!(verdict(&once, &twice), Err("signature_duplicated"));
        assert_eq!(verdict(&repeats, &twice), Ok(()));
        let many: Vec<_> = (0..17).map(|_| ("x", good.as_str())).collect();
        assert_eq!(verdict(&repeats, &request(&many, "{}")), Err("signature_malformed"));
    }

    #[test]
    fn a_numbered_family_of_headers_counts_up_to_a_hundred() {
        let family = scheme(
            "value = { headers = \"x-docusign-signature-\", as = \"hex\" }\nmessage = \"{body}\"\nassurance = \"full\"",
        );
        let (good, bad) = (signed("{}"), signed("other"));
        let names: Vec<_> = (1..=101).map(|number| format!("x-docusign-signature-{number}")).collect();
        let all = |count: usize| {
            let values = names[..count].iter().enumerate();
            let pairs: Vec<_> = values
                .map(|(at, name)| (name.as_str(), if at + 1 == count { good.as_str() } else { bad.as_str() }))
                .collect();
            verdict(&family, &request(&pairs, "{}"))
        };
        assert_eq!((all(1), all(100), all(101)), (Ok(()), Ok(()), Err("signature_malformed")));
        let twice = [(names[0].as_str(), good.as_str()), (names[0].as_str(), good.as_str())];
        assert_eq!(verdict(&family, &request(&twice, "{}")), Err("signature_duplicated"));
    }

    #[test]
    fn a_group_has_its_own_time() {
        let groups = scheme(
            "value = { path = \"header.x\", group = \" \", pair = \"v1\", as = \"hex\" }\n\
             timestamp = { path = \"header.x\", group = \" \", pair = \"t\", as = \"unix_s\" }\n\
             message = \"{timestamp}.{body}\"\nassurance = \"full\"",
        );
        let sent = |header: &str| verdict(&groups, &request(&[("x", header)], "{}"));
        let (now, old) = (signed("1700000000.{}"), signed("1699990000.{}"));
        let other = signed("other");
        assert_eq!(sent(&format!("t=1700000000,v1={now}")), Ok(()));
        assert_eq!(sent(&format!("t=1700000001,v1={other} t=1700000000,v1={now}")), Ok(()));
        assert_eq!(sent(&format!("t=1699990000,v1={old} t=1700000000,v1={now}")), Ok(()));
        assert_eq!(sent(&format!("t=1699990000,v1={old} t=1700000000,v1={other}")), Err("timestamp_stale"));
        assert_eq!(sent(&format!("t=1700000000,v1={old} t=1699990000,v1={now}")), Err("signature_mismatch"));
        assert_eq!(sent(&format!("t=1700000000,v1={now} v1={now}")), Err("signature_missing"));
        assert_eq!(sent("t=1700000000"), Err("signature_missing"));
    }

    #[test]
    fn time_and_signatures_may_stand_one_after_the_other() {
        let positional = scheme(
            "value = { path = \"header.x\", separator = \",\", skip = 1, as = \"hex\" }\n\
             timestamp = { path = \"header.x\", separator = \",\", piece = 0, as = \"unix_ms\" }\n\
             message = \"{timestamp}.{body}\"\nassurance = \"full\"",
        );
        let good = signed("1700000000000.{}");
        let sent = |header: &str| verdict(&positional, &request(&[("x", header)], "{}"));
        assert_eq!(sent(&format!("1700000000000,{good}")), Ok(()));
        assert_eq!(sent(&format!("1700000000000,{},{good}", signed("other"))), Ok(()));
        assert_eq!(sent("1700000000000"), Err("signature_missing"));
        assert_eq!(sent(&format!("{good},1700000000000")), Err("signature_malformed"));
    }

    #[test]
    fn a_time_in_the_body_is_covered_by_the_body() {
        let linear = scheme(
            "value = { path = \"header.x\", as = \"hex\" }\ntimestamp = { path = \"body.at\", as = \"unix_ms\" }\n\
             message = \"{body}\"\ntolerance = \"1m\"\nassurance = \"full\"",
        );
        let sent = |body: &str| verdict(&linear, &request(&[("x", &signed(body))], body));
        assert_eq!(sent("{\"at\":1700000000000}"), Ok(()));
        assert_eq!(sent("{\"at\":\"1700000000000\"}"), Ok(()));
        assert_eq!(sent("{\"at\":1699999000000}"), Err("timestamp_stale"));
        assert_eq!(sent("{}"), Err("signature_missing"));
        assert_eq!(sent("{\"at\":1.7e12}"), Err("signature_malformed"));
    }

    #[test]
    fn basic_credentials_are_base64_after_their_scheme() {
        let decode = |text| decode_signature(text, Encoding::Basic, Algorithm::Basic);
        assert_eq!(decode("Basic dXNlcjpwYXNz"), Ok(b"user:pass".to_vec()));
        assert_eq!(decode("bASIC  dXNlcjpwYXNz"), Ok(b"user:pass".to_vec()));
        for bad in ["dXNlcjpwYXNz", "Bearer dXNlcjpwYXNz", "Basic", "Basic ", "Basic dXNlcjpwYXN", "Basicd"] {
            assert!(decode(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_header_is_accepted_without_the_key(
            header in "(t=17000000[0-9]{2}|v1=[0-9a-f]{64}|[ ,=]|v1=|t=|1700000000){0,6}", body in "[a-z{}]{0,6}",
        ) {
            for place in ["", "group = \" \", ", "skip = 1, ", "repeats = true, "] {
                let pair = if place.starts_with("skip") { "separator = \",\"," } else { "pair = \"v1\"," };
                let time = match place {
                    "" | "repeats = true, " => "path = \"header.x\", pair = \"t\"",
                    "skip = 1, " => "path = \"header.x\", separator = \",\", piece = 0",
                    _ => "path = \"header.x\", group = \" \", pair = \"t\"",
                };
                let scheme = scheme(&format!(
                    "value = {{ path = \"header.x\", {place}{pair} as = \"hex\" }}\n\
                     timestamp = {{ {time}, as = \"unix_s\" }}\nmessage = \"{{timestamp}}.{{body}}\"\nassurance = \"full\"",
                ));
                prop_assert!(verdict(&scheme, &request(&[("x", &header)], &body)).is_err());
            }
        }
    }
}
