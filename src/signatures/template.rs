//! Room `signatures`: the message template: which bytes of a request are signed, written as
//! `"{header.webhook-id}.{timestamp}.{body}"`. `{body}` is the raw bytes; `{{` stands for one brace.

use std::borrow::Cow;

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
    Field(FieldPath),
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
    /// The free field is not part of the message.
    #[error("the free field is not part of the message")]
    Free,
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

impl Template {
    /// Parses a template. `free` names the one field that may contain the text around it: see [`Template::render`].
    /// Without it that is the raw body, or else the last field.
    pub fn parse(text: &str, free: Option<&FieldPath>) -> Result<Self, TemplateError> {
        let parts = parts(text)?;
        for (part, name) in [(Part::Body, "body"), (Part::Timestamp, "timestamp")] {
            if parts.iter().filter(|other| **other == part).count() > 1 {
                return Err(TemplateError::Twice(name));
            }
        }
        let is_field = |part: &Part| matches!(part, Part::Field(_));
        let free = match free {
            Some(path) => parts.iter().position(|part| matches!(part, Part::Field(known) if known == path)),
            None => parts.iter().position(|part| *part == Part::Body),
        }
        .or_else(|| free.is_none().then(|| parts.iter().rposition(is_field).unwrap_or(0)));
        Ok(Self { parts, free: free.ok_or(TemplateError::Free)? })
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
        self.parts.iter().filter_map(|part| match part {
            Part::Field(path) => Some(path),
            _ => None,
        })
    }

    /// What is part of the message, in words: `body`, `timestamp`, and paths.
    pub fn covers(&self) -> Vec<String> {
        let name = |part: &Part| match part {
            Part::Literal(_) => None,
            Part::Body => Some("body".to_owned()),
            Part::Timestamp => Some("timestamp".to_owned()),
            Part::Field(path) => Some(path.to_string()),
        };
        self.parts.iter().filter_map(name).collect()
    }

    /// The bytes that are signed. A header must be there; a field of the body that is absent counts as empty.
    ///
    /// A message must come apart in one way only, else someone with one genuine request could move the borders between
    /// its fields. So a field left of the free one may not contain the text that follows it, nor one right of it the
    /// text before it.
    pub fn render<'a>(
        &self,
        view: &View<'a>,
        timestamp: Option<&str>,
    ) -> Result<Message<'a>, SignatureError> {
        let mut pieces = Vec::with_capacity(self.parts.len());
        for (index, part) in self.parts.iter().enumerate() {
            pieces.push(match part {
                Part::Literal(text) => Cow::Owned(text.clone().into_bytes()),
                Part::Body => Cow::Borrowed(view.request.body.as_ref()),
                Part::Timestamp => Cow::Owned(timestamp.ok_or(SignatureError::Missing)?.as_bytes().to_vec()),
                Part::Field(path) => self.field(index, path, view)?,
            });
        }
        Ok(Message(pieces))
    }

    fn field<'a>(
        &self,
        index: usize,
        path: &FieldPath,
        view: &View<'a>,
    ) -> Result<Cow<'a, [u8]>, SignatureError> {
        let value = match view.bytes_at(path)? {
            Some(value) => value,
            None if path.root() == Root::Header => return Err(SignatureError::Missing),
            None => Cow::Borrowed(&[][..]),
        };
        if self.border(index).is_some_and(|border| contains(&value, border.as_bytes())) {
            return Err(SignatureError::Malformed("a signed field contains the text that ends it"));
        }
        Ok(value)
    }

    /// The literal between a field and the free one's side of it.
    fn border(&self, index: usize) -> Option<&str> {
        let neighbour = match index.cmp(&self.free) {
            std::cmp::Ordering::Less => self.parts.get(index + 1),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => index.checked_sub(1).and_then(|before| self.parts.get(before)),
        };
        match neighbour {
            Some(Part::Literal(text)) => Some(text),
            _ => None,
        }
    }
}

fn contains(value: &[u8], border: &[u8]) -> bool {
    value.windows(border.len()).any(|window| window == border)
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
            path => Part::Field(FieldPath::parse(path)?),
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

    use super::*;
    use crate::model::{RawRequest, strict_json};

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
        assert_eq!(message("v0:{timestamp}:{body.a}:{body.none}:"), Ok("v0:17:1::".to_owned()));
        assert_eq!(message("{{\"t\":{timestamp}}"), Ok("{\"t\":17}".to_owned()));
        assert_eq!(message("{header.none}{body}"), Err(SignatureError::Missing));
    }

    #[test]
    fn numbers_are_exact_integers_or_nothing() {
        let request = request(&[], r#"{"a":9223372036854775807,"b":1.0,"c":[1],"d":true}"#);
        let body = strict_json::read(&request.body).expect("json");
        assert_eq!(render("{body.a}", &request, &body), Ok("9223372036854775807".to_owned()));
        assert_eq!(render("{body.d}", &request, &body), Ok("true".to_owned()));
        assert!(matches!(render("{body.b}", &request, &body), Err(SignatureError::Malformed(_))));
        assert!(matches!(render("{body.c}", &request, &body), Err(SignatureError::Malformed(_))));
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
    }

    proptest! {
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
