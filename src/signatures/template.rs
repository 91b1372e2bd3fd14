//! Room `signatures`: the message template: which bytes of a request are signed, written as
//! `"{header.webhook-id}.{timestamp}.{body}"`. `{body}` is the raw bytes; `{{` stands for one brace.
//!
//! A message must come apart in one way only, else someone with one genuine request could move the borders between its
//! parts and have other values under the same signature. What makes it so:
//!
//! - Between two parts stands a text, and the part may not contain it: a part left of the free one is read up to the first
//!   of it, a part right of it from the last. The free one (the raw body, else the last field, or the one that `free`
//!   names) may contain anything, for both its ends are then known.
//! - The timestamp needs no text beside it: RFC 3339 says itself where it begins and ends, and a number that lost or won a
//!   digit is decades away from any tolerance (it has no leading zeros).
//! - The raw body needs none before or after it if it is a JSON object or array and what stands beside it has none of
//!   the brackets that would begin or end it.
//! - Any other two parts side by side, that is two fields, do not load.

use std::{borrow::Cow, fmt, ops::Range};

use super::{SignatureError, View};
use crate::model::{FieldPath, PathError, Root};

/// A message template, checked when it was parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
    free: usize,
}

/// One part of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Body,
    Timestamp,
    Field(FieldPath, JsonType),
}

/// What a signed field is in JSON. A signature covers its spelling only, so without this `"true"` and `true`, or `"5"` and
/// `5`, would be under one signature, and a mapping would read another value than the partner sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonType {
    /// A string; what a field is unless the template says otherwise.
    Text,
    /// An integer: `{item.amount.value:integer}`.
    Integer,
    /// True or false: `{body.livemode:boolean}`.
    Boolean,
}

impl JsonType {
    /// Takes the type off the end of what stands in the braces.
    fn split_off(text: &str) -> (&str, Self) {
        match text.rsplit_once(':') {
            Some((path, "integer")) => (path, Self::Integer),
            Some((path, "boolean")) => (path, Self::Boolean),
            _ => (text, Self::Text),
        }
    }
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A brace is not closed.
    #[error("a brace is opened and not closed")]
    Open,
    /// What stands in the braces is no part of a request.
    #[error("{0}")]
    Path(#[from] PathError),
    /// The raw body stands in it twice.
    #[error("{{{0}}} stands in it twice")]
    Twice(&'static str),
    /// The free field is not part of the message, or has no business there.
    #[error("the free field is not part of the message, or the raw body is, which is free itself")]
    Free,
    /// Two fields stand side by side.
    #[error("two fields stand side by side, and nothing says where one ends and the other begins")]
    Border,
}

/// The bytes that are signed, in pieces, so that a body is never copied.
#[derive(Clone, Debug)]
pub struct Message<'a>(Vec<Cow<'a, [u8]>>);

impl Message<'_> {
    /// The pieces in their order.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// The whole, copied.
    pub fn to_vec(&self) -> Vec<u8> {
        self.0.concat()
    }
}

impl<'a> From<&'a [u8]> for Message<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self(vec![Cow::Borrowed(bytes)])
    }
}

/// As it is written in a `[signature]` table.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Literal(text) => f.write_str(&text.replace('{', "{{")),
            Part::Body => f.write_str("{body}"),
            Part::Timestamp => f.write_str("{timestamp}"),
            Part::Field(path, JsonType::Text) => write!(f, "{{{path}}}"),
            Part::Field(path, JsonType::Integer) => write!(f, "{{{path}:integer}}"),
            Part::Field(path, JsonType::Boolean) => write!(f, "{{{path}:boolean}}"),
        })
    }
}

impl Template {
    /// Parses a template. `free` names the one field that may contain the text around it; without it that is the raw body,
    /// or else the last field.
    pub fn parse(text: &str, free: Option<&FieldPath>) -> Result<Self, TemplateError> {
        let parts = parts(text)?;
        for (part, name) in [(Part::Body, "body"), (Part::Timestamp, "timestamp")] {
            if parts.iter().filter(|other| **other == part).count() > 1 {
                return Err(TemplateError::Twice(name));
            }
        }
        let place = |wanted: &Part| parts.iter().position(|part| part == wanted);
        let body = place(&Part::Body);
        let last = parts.iter().rposition(Part::is_field).unwrap_or(0);
        let free = match free {
            Some(path) => parts.iter().position(|part| part.path() == Some(path)).filter(|_| body.is_none()),
            None => Some(body.unwrap_or(last)),
        };
        let template = Self { parts, free: free.ok_or(TemplateError::Free)? };
        if template.runs().any(|run| template.has_fields_side_by_side(&run)) {
            return Err(TemplateError::Border);
        }
        Ok(template)
    }

    /// Whether the raw body is part of the message.
    pub fn has_body(&self) -> bool {
        self.parts.contains(&Part::Body)
    }

    /// Whether the timestamp is part of the message.
    pub fn has_timestamp(&self) -> bool {
        self.parts.contains(&Part::Timestamp)
    }

    /// The headers and fields that are part of the message.
    pub fn fields(&self) -> impl Iterator<Item = &FieldPath> {
        self.parts.iter().filter_map(Part::path)
    }

    /// What is part of the message, in words: `body`, `timestamp`, and paths.
    pub fn covers(&self) -> Vec<String> {
        let name = |part: &Part| match part {
            Part::Literal(_) => None,
            Part::Body => Some("body".to_owned()),
            Part::Timestamp => Some("timestamp".to_owned()),
            Part::Field(path, _) => Some(path.to_string()),
        };
        self.parts.iter().filter_map(name).collect()
    }

    /// The bytes that are signed. A header must be there; a field of the body that is absent counts as empty. A message that
    /// could come apart in another way is an error.
    pub fn render<'a>(
        &self,
        view: &View<'a>,
        timestamp: Option<&str>,
    ) -> Result<Message<'a>, SignatureError> {
        let pieces = self.parts.iter().map(|part| match part {
            Part::Literal(text) => Ok(Cow::Owned(text.clone().into_bytes())),
            Part::Body => Ok(Cow::Borrowed(view.request.body.as_ref())),
            Part::Timestamp => Ok(Cow::Owned(timestamp.ok_or(SignatureError::Missing)?.as_bytes().to_vec())),
            Part::Field(path, json) => field(path, *json, view),
        });
        let message = Message(pieces.collect::<Result<_, _>>()?);
        self.runs().try_for_each(|run| self.check_borders(&run, &message.0))?;
        Ok(message)
    }

    /// The stretches of parts without a literal between them.
    fn runs(&self) -> impl Iterator<Item = Range<usize>> {
        let alike = |left: &Part, right: &Part| !left.is_literal() && !right.is_literal();
        let mut start = 0;
        let stretches = self.parts.chunk_by(alike).map(move |parts| {
            let run = start..start + parts.len();
            start = run.end;
            run
        });
        stretches.filter(|run| !self.parts[run.start].is_literal())
    }

    fn has_fields_side_by_side(&self, run: &Range<usize>) -> bool {
        let mut sides = self.parts[run.clone()].split(|part| *part == Part::Body);
        sides.any(|side| side.iter().filter(|part| part.is_field()).count() > 1)
    }

    fn check_borders(&self, run: &Range<usize>, pieces: &[Cow<'_, [u8]>]) -> Result<(), SignatureError> {
        if run.contains(&self.free) {
            return self.check_beside_body(run, pieces);
        }
        if self.parts[run.clone()] == [Part::Timestamp] {
            return Ok(());
        }
        let text = pieces[run.clone()].concat();
        let sound = if run.end <= self.free {
            ends_at_first(&text, &pieces[run.end])
        } else {
            begins_at_last(&text, &pieces[run.start - 1])
        };
        sound.then_some(()).ok_or(SignatureError::Malformed("a signed field contains the text that ends it"))
    }

    fn check_beside_body(&self, run: &Range<usize>, pieces: &[Cow<'_, [u8]>]) -> Result<(), SignatureError> {
        const MALFORMED: SignatureError = SignatureError::Malformed(
            "nothing separates the body from a signed field, and it is no JSON object or array, or the field has its brackets",
        );
        if self.parts[self.free] != Part::Body {
            return Ok(());
        }
        let body = &pieces[self.free];
        let (before, after) = (run.start..self.free, self.free + 1..run.end);
        for (side, edge, brackets) in [(before, body.first(), b"{["), (after, body.last(), b"}]")] {
            let has_field = self.parts[side.clone()].iter().any(Part::is_field);
            let inside = pieces[side].iter().any(|piece| piece.iter().any(|byte| brackets.contains(byte)));
            if has_field && (inside || !edge.is_some_and(|edge| brackets.contains(edge))) {
                return Err(MALFORMED);
            }
        }
        Ok(())
    }
}

impl Part {
    fn is_field(&self) -> bool {
        self.path().is_some()
    }

    fn path(&self) -> Option<&FieldPath> {
        match self {
            Self::Field(path, _) => Some(path),
            _ => None,
        }
    }

    fn is_literal(&self) -> bool {
        matches!(self, Self::Literal(_))
    }
}

fn field<'a>(path: &FieldPath, json: JsonType, view: &View<'a>) -> Result<Cow<'a, [u8]>, SignatureError> {
    match view.bytes_at(path, json)? {
        Some(value) => Ok(value),
        None if path.root() == Root::Header => Err(SignatureError::Missing),
        None => Ok(Cow::Borrowed(&[])),
    }
}

/// Whether someone who reads from the left and stops at the first `border` has read just `text`.
fn ends_at_first(text: &[u8], border: &[u8]) -> bool {
    let both = [text, border].concat();
    both.windows(border.len()).position(|window| window == border) == Some(text.len())
}

/// The same from the right, with the last `border`.
fn begins_at_last(text: &[u8], border: &[u8]) -> bool {
    let both = [border, text].concat();
    both.windows(border.len()).rposition(|window| window == border) == Some(0)
}

fn parts(text: &str) -> Result<Vec<Part>, TemplateError> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        literal.push_str(before);
        if let Some(escaped) = after.strip_prefix('{') {
            literal.push('{');
            rest = escaped;
            continue;
        }
        let (name, after) = after.split_once('}').ok_or(TemplateError::Open)?;
        if !literal.is_empty() {
            parts.push(Part::Literal(std::mem::take(&mut literal)));
        }
        parts.push(match name {
            "body" => Part::Body,
            "timestamp" => Part::Timestamp,
            field => {
                let (path, json) = JsonType::split_off(field);
                Part::Field(FieldPath::parse(path)?, json)
            }
        });
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Literal(literal));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vrl::value::Value;

    use super::{super::StampUnit, *};
    use crate::model::{RawRequest, Timestamp, strict_json};

    fn request(headers: &[(&str, &str)], body: &str) -> RawRequest {
        let mut request = RawRequest {
            method: "POST".to_owned(),
            target: "/in/acme".to_owned(),
            version: "HTTP/1.1".to_owned(),
            headers: crate::model::Headers::default(),
            body: body.to_owned().into(),
            peer: None,
        };
        for (name, value) in headers {
            request.headers.push(name, value.to_string());
        }
        request
    }

    fn render(template: &str, request: &RawRequest, body: &Value) -> Result<String, SignatureError> {
        let view = View { request, body, item: body };
        let template = Template::parse(template, None).expect("a template");
        template.render(&view, Some("17")).map(|message| String::from_utf8(message.to_vec()).expect("text"))
    }

    #[test]
    fn puts_the_parts_together() {
        let request = request(&[("webhook-id", "m1")], r#"{"a": 1}"#);
        let body = strict_json::read(&request.body).expect("json");
        let message = |template| render(template, &request, &body);
        assert_eq!(message("{header.webhook-id}.{timestamp}.{body}"), Ok(r#"m1.17.{"a": 1}"#.to_owned()));
        assert_eq!(message("v0:{timestamp}:{body.a:integer}:{body.none}:"), Ok("v0:17:1::".to_owned()));
        assert_eq!(message("{{\"t\":{timestamp}}"), Ok("{\"t\":17}".to_owned()));
        assert_eq!(message("{header.none}.{body}"), Err(SignatureError::Missing));
    }

    #[test]
    fn numbers_are_exact_integers_or_nothing() {
        let request = request(&[], r#"{"a":9223372036854775807,"b":1.0,"c":[1],"d":true}"#);
        let body = strict_json::read(&request.body).expect("json");
        assert_eq!(render("{body.a:integer}", &request, &body), Ok("9223372036854775807".to_owned()));
        assert_eq!(render("{body.d:boolean}", &request, &body), Ok("true".to_owned()));
        for other in ["{body.b:integer}", "{body.c}", "{body.a}", "{body.d}", "{body.a:boolean}"] {
            assert!(matches!(render(other, &request, &body), Err(SignatureError::Malformed(_))), "{other}");
        }
    }

    #[test]
    fn borders_between_fields_cannot_be_moved() {
        let request = request(&[("webhook-id", "m.1")], "x");
        let refused = render("{header.webhook-id}.{timestamp}.{body}", &request, &Value::Null);
        assert!(matches!(refused, Err(SignatureError::Malformed(_))));
        let body = strict_json::read(br#"{"a":"1","b":"2:3","c":"4"}"#).expect("json");
        let view = View { request: &request, body: &body, item: &body };
        let with_free = |free: &str| {
            let free = FieldPath::parse(free).expect("a path");
            Template::parse("{body.a}:{body.b}:{body.c}", Some(&free))
                .expect("a template")
                .render(&view, None)
        };
        assert!(with_free("body.b").is_ok());
        assert!(with_free("body.a").is_err());
        assert!(with_free("body.c").is_err());
    }

    #[test]
    fn refuses_what_is_no_template() {
        let refused = |text| Template::parse(text, None).expect_err("must be refused");
        assert_eq!(refused("{body"), TemplateError::Open);
        assert_eq!(refused("{body}{body}"), TemplateError::Twice("body"));
        assert!(matches!(refused("{id}"), TemplateError::Path(_)));
        assert!(matches!(refused("{}"), TemplateError::Path(_)));
        let elsewhere = FieldPath::parse("body.z").expect("a path");
        assert_eq!(Template::parse("{body.a}", Some(&elsewhere)), Err(TemplateError::Free));
        let field = FieldPath::parse("header.a").expect("a path");
        assert_eq!(Template::parse("{body}.{header.a}", Some(&field)), Err(TemplateError::Free));
    }

    #[test]
    fn two_fields_side_by_side_do_not_load() {
        for side_by_side in [
            "{header.a}{header.b}",
            "{header.a}{header.b}.{body}",
            "{header.a}{header.b}{body}",
            "{header.a}{timestamp}{header.b}{body}",
            "v0:{body.a}{body.b}",
            "{body}{header.a}{timestamp}{header.b}",
        ] {
            assert_eq!(Template::parse(side_by_side, None), Err(TemplateError::Border), "{side_by_side}");
        }
    }

    #[test]
    fn what_stands_beside_the_body_has_none_of_its_brackets() {
        let message = |id: &str, body: &str| {
            let request = request(&[("id", id)], body);
            let left = render("{header.id}{timestamp}{body}", &request, &Value::Null);
            let right = render("{body}{timestamp}{header.id}", &request, &Value::Null);
            (left.is_ok(), right.is_ok())
        };
        assert_eq!(message("m1", r#"{"a":1}"#), (true, true));
        assert_eq!(message("m1", "a=1"), (false, false));
        assert_eq!(message("m1", ""), (false, false));
        assert_eq!(message("m{", "[1]"), (false, true));
        assert_eq!(message("m]", "[1]"), (true, false));
        assert_eq!(message("m1", "[1]\n"), (true, false));
    }

    const NOW: i64 = 1_700_000_000;

    /// Every way to fill the parts of a template so that the message is this one: headers `a` and `b`, body, timestamp.
    fn fillings(parts: &[Part], message: &str) -> Vec<[String; 4]> {
        let Some((part, rest)) = parts.split_first() else {
            return if message.is_empty() { vec![Default::default()] } else { Vec::new() };
        };
        let slot = match part {
            Part::Literal(text) => {
                return message
                    .strip_prefix(text.as_str())
                    .map_or_else(Vec::new, |after| fillings(rest, after));
            }
            Part::Field(path, _) => usize::from(path.name() == "b"),
            Part::Body => 2,
            Part::Timestamp => 3,
        };
        let mut all = Vec::new();
        for (value, after) in (0..=message.len()).map(|at| message.split_at(at)) {
            for mut filling in fillings(rest, after) {
                filling[slot] = value.to_owned();
                all.push(filling);
            }
        }
        all
    }

    /// The message of a request that a scheme with this template and unit would look at now.
    fn accepted(template: &Template, unit: StampUnit, [a, b, body, stamp]: &[String; 4]) -> Option<String> {
        let request = request(&[("a", a), ("b", b)], body);
        let stamp = template.has_timestamp().then_some(stamp.as_str());
        if let Some(stamp) = stamp {
            unit.read(stamp).filter(|at| at.seconds().abs_diff(NOW) <= 86_400)?;
        }
        let view = View { request: &request, body: &Value::Null, item: &Value::Null };
        let message = template.render(&view, stamp).ok()?;
        Some(String::from_utf8(message.to_vec()).expect("text"))
    }

    const MOVABLE: [&str; 14] = [
        "{timestamp}{body}",
        "{body}{timestamp}",
        "{timestamp}0{body}",
        "{header.a}{body}",
        "{body}{header.a}",
        "{header.a}{body}{header.b}",
        "{header.a}{timestamp}{body}",
        "{timestamp}{header.a}{body}",
        "{body}{header.a}{timestamp}",
        "{timestamp}{header.a}",
        "{header.a}.{timestamp}.{body}",
        "{header.a}aa{body}aa{header.b}",
        "{header.a}{timestamp}.{header.b}",
        "{header.a}.{header.b}",
    ];

    proptest! {
        #[test]
        fn a_message_comes_apart_in_one_way_only(
            template in prop::sample::select(MOVABLE.as_slice()),
            unit in prop::sample::select(vec![StampUnit::UnixS, StampUnit::Rfc3339]),
            a in "[a.{}0]{0,3}|1700000000[a.]", b in "[a.\\]]{0,3}",
            body in "[a.0]{0,4}|[{\\[][a.0\\[{]{0,3}[}\\]]|\\{1700000001\\}|\\[\"2023-11-14T22:13:20Z\"\\]",
        ) {
            let template = Template::parse(template, None).expect("a template");
            let stamp = unit.write(Timestamp::from_seconds(NOW).expect("a time"));
            if let Some(message) = accepted(&template, unit, &[a, b, body, stamp]) {
                let ways = fillings(&template.parts, &message);
                let held: Vec<_> = ways.iter().filter(|way| accepted(&template, unit, way).is_some()).collect();
                prop_assert_eq!(held.len(), 1, "{:?} {:?}", message, held);
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "[{}a-z.\"\\[\\]0-9 é]{0,40}") {
            let request = request(&[("a", "b")], "{}");
            if let Ok(template) = Template::parse(&text, None) {
                let view = View { request: &request, body: &Value::Null, item: &Value::Null };
                let _ = template.render(&view, Some("1"));
            }
        }
    }
}
