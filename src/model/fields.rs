//! Room `model`: paths into a delivery, as partner files write them: `body.data.id`, `header.x-github-event`,
//! `query.shop`, `item.pspReference`. The part after `body.` and `item.` is a VRL path. Where a batch is taken apart,
//! `body.entry[].id` is of the element that an item stands in.

use std::{borrow::Cow, fmt};

use vrl::{
    path::{OwnedSegment, OwnedValuePath, parse_value_path},
    value::Value,
};

use super::Headers;

/// What a path starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Root {
    /// The parsed body.
    Body,
    /// A header; the name is case-insensitive.
    Header,
    /// A query parameter of the target.
    Query,
    /// The split element (the whole body when nothing is split).
    Item,
}

/// A path into a delivery, checked when it was parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPath {
    root: Root,
    name: String,
    lists: Vec<OwnedValuePath>,
    path: OwnedValuePath,
    text: String,
}

/// Why a text is no path, and what would be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It starts from nowhere.
    #[error("{0:?} must start with body, header, query or item, as body.data.id or header.x-event")]
    Root(String),
    /// The rest is no VRL path.
    #[error(
        "{0:?} is no path; write fields with dots, as body.data.id, and quote odd names, as body.\"a-b\""
    )]
    Path(String),
}

impl FieldPath {
    /// Parses `body…`, `header.<name>`, `query.<name>` or `item…`.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        // `body[0].id` is of a body that is an array.
        let index = text.find('[').filter(|at| text.starts_with("body[") && *at == 4);
        let (root, rest) =
            index.map_or_else(|| text.split_once('.').unwrap_or((text, "")), |at| text.split_at(at));
        let root = match root {
            "body" => Root::Body,
            "header" => Root::Header,
            "query" => Root::Query,
            "item" => Root::Item,
            _ => return Err(PathError::Root(text.to_owned())),
        };
        let named = matches!(root, Root::Header | Root::Query);
        if (named && rest.is_empty()) || text.ends_with('.') {
            return Err(PathError::Path(text.to_owned()));
        }
        let path = match rest {
            _ if named => OwnedValuePath::root(),
            "" => OwnedValuePath::root(),
            rest => parse_value_path(rest).map_err(|_| PathError::Path(text.to_owned()))?,
        };
        let name = match root {
            Root::Header => rest.to_ascii_lowercase(),
            _ => rest.to_owned(),
        };
        Ok(Self { root, name, lists: Vec::new(), path, text: text.to_owned() })
    }

    /// Parses what [`Self::parse`] does, and paths through the lists of a batch: `body.entry[].changes[].field`.
    pub fn parse_in_batch(text: &str) -> Result<Self, PathError> {
        let mut steps = text.split("[]");
        let first = Self::parse(steps.next().unwrap_or_default())?;
        let steps: Option<Vec<_>> = steps.map(below).collect();
        let mut lists = steps.ok_or_else(|| PathError::Path(text.to_owned()))?;
        let Some(path) = lists.pop() else { return Ok(first) };
        if first.root != Root::Body {
            return Err(PathError::Path(text.to_owned()));
        }
        lists.insert(0, first.path);
        Ok(Self { lists, path, text: text.to_owned(), ..first })
    }

    /// What it starts from.
    pub fn root(&self) -> Root {
        self.root
    }

    /// The header's or query parameter's name; the path's text otherwise.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The last name of it: `message` of `body.message`, the header's or parameter's own name.
    pub fn last_name(&self) -> String {
        let segments = self.lists.iter().chain([&self.path]).flat_map(|path| &path.segments);
        let mut names = segments.filter_map(|segment| match segment {
            OwnedSegment::Field(name) => Some(name.to_string()),
            OwnedSegment::Index(_) => None,
        });
        names.next_back().unwrap_or_else(|| self.name.clone())
    }

    /// The lists it goes through, each below an element of the one before; none unless it was parsed in a batch.
    pub fn lists(&self) -> &[OwnedValuePath] {
        &self.lists
    }

    /// The path below the root, for `body` and `item`; below an element of the last list where there is one.
    pub fn value_path(&self) -> &OwnedValuePath {
        &self.path
    }
}

/// A path below an element, with its dot in front; empty: the element itself.
fn below(step: &str) -> Option<OwnedValuePath> {
    if step.is_empty() {
        return Some(OwnedValuePath::root());
    }
    let path = step.strip_prefix('.').filter(|path| !path.starts_with('.'))?;
    parse_value_path(path).ok().filter(|path| !path.is_root())
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The places that paths look into.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    /// The headers as received.
    pub headers: &'a Headers,
    /// The query, without `?`.
    pub query: &'a str,
    /// The parsed body.
    pub body: &'a Value,
    /// The split element; the body itself when nothing is split.
    pub item: &'a Value,
}

impl<'a> Fields<'a> {
    /// The value at a path. `None` when it is absent or null; a header or query parameter that stands twice is absent,
    /// because two readers could disagree on which one counts. A path through lists is absent too: nothing here says
    /// which of their elements is meant.
    pub fn get(&self, path: &FieldPath) -> Option<Cow<'a, Value>> {
        if !path.lists.is_empty() {
            return None;
        }
        let found = match path.root {
            Root::Body => self.body.get(&path.path).map(Cow::Borrowed),
            Root::Item => self.item.get(&path.path).map(Cow::Borrowed),
            Root::Header => self.header(&path.name).map(Cow::Owned),
            Root::Query => self.query_parameter(&path.name).map(Cow::Owned),
        };
        found.filter(|value| !value.is_null())
    }

    /// The value at a path as text: strings as they are, integers and booleans in JSON's spelling, nothing else.
    pub fn text(&self, path: &FieldPath) -> Option<String> {
        match self.get(path)?.as_ref() {
            Value::Bytes(bytes) => std::str::from_utf8(bytes).ok().map(str::to_owned),
            Value::String(text) => Some(text.to_string()),
            Value::Integer(number) => Some(number.to_string()),
            Value::Boolean(truth) => Some(truth.to_string()),
            _ => None,
        }
    }

    fn header(&self, name: &str) -> Option<Value> {
        let mut values = self.headers.0.iter().filter(|(known, _)| known == name);
        let (_, value) = values.next()?;
        values.next().is_none().then(|| Value::Bytes(value.0.clone()))
    }

    fn query_parameter(&self, name: &str) -> Option<Value> {
        let mut values = form_urlencoded::parse(self.query.as_bytes()).filter(|(key, _)| key == name);
        let (_, value) = values.next()?;
        values.next().is_none().then(|| Value::Bytes(value.into_owned().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_may_be_an_array() {
        let body = strict_json::read(br#"[{"id":"e1"},[2]]"#).expect("valid");
        let fields = Fields { headers: &Headers::default(), query: "", body: &body, item: &body };
        let text = |path: &str| fields.text(&FieldPath::parse(path).expect("a path"));
        assert_eq!(text("body[0].id").as_deref(), Some("e1"));
        assert_eq!(text("body[1][0]").as_deref(), Some("2"));
        assert_eq!(text("body[2].id"), None);
        for bad in ["bodyx[0]", "body[", "body[0", "header[0]", "body[0]."] {
            assert!(FieldPath::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn looks_into_every_root() {
        let body = strict_json::read(br#"{"a":{"b-c":[{"d":7}]},"n":null}"#).expect("valid");
        let item = Value::from("x");
        let mut headers = Headers::default();
        headers.push("X-Event", "ping");
        headers.push("X-Twice", "1");
        headers.push("X-Twice", "2");
        let fields = Fields { headers: &headers, query: "shop=a%20b&t=1&t=2", body: &body, item: &item };
        let text = |path: &str| fields.text(&FieldPath::parse(path).expect("a path"));
        assert_eq!(text("body.a.\"b-c\"[0].d").as_deref(), Some("7"));
        assert_eq!(text("header.X-Event").as_deref(), Some("ping"));
        assert_eq!(text("query.shop").as_deref(), Some("a b"));
        assert_eq!(text("item").as_deref(), Some("x"));
        assert_eq!(text("body.n"), None);
        assert_eq!(text("header.x-twice"), None);
        assert_eq!(text("query.t"), None);
    }

    #[test]
    fn a_path_in_a_batch_goes_through_lists() {
        let path = |text| FieldPath::parse_in_batch(text).expect("a path");
        let inner = path("body.entry[].changes[].value.field");
        let lists: Vec<_> = inner.lists().iter().map(ToString::to_string).collect();
        assert_eq!(
            (lists.join(" "), inner.value_path().to_string()),
            ("entry changes".into(), "value.field".into())
        );
        assert_eq!(
            (inner.to_string().as_str(), inner.last_name().as_str()),
            ("body.entry[].changes[].value.field", "field")
        );
        let element = path("body.entry[].changes[]");
        assert_eq!((element.value_path().is_root(), element.last_name().as_str()), (true, "changes"));
        assert_eq!(path("body[][].id").lists().len(), 2, "an array of arrays");
        assert_eq!(path("body.id"), FieldPath::parse("body.id").expect("a path"));
        let body = strict_json::read(br#"{"id":1}"#).expect("valid");
        let fields = Fields { headers: &Headers::default(), query: "", body: &body, item: &body };
        assert_eq!(fields.get(&path("body[].id")), None, "of which element?");
        for bad in
            ["item.a[].b", "header.x[]", "body.a[]b", "body.a[].", "body.a[]..b", "[]", "body.a[].b..c[]"]
        {
            assert!(FieldPath::parse_in_batch(bad).is_err(), "{bad:?}");
        }
        assert!(FieldPath::parse("body.a[].b").is_err());
    }

    #[test]
    fn refuses_what_is_no_path() {
        for bad in ["id", "", "body.", "header", "body.a..b", "bodyx.a"] {
            assert!(FieldPath::parse(bad).is_err(), "{bad:?}");
        }
    }

    use super::super::strict_json;
}
