//! Room `signatures`: where in a request a signature or a time stands, and how it is cut out of what stands there. Plain
//! data; it may not look at a request.

use std::{borrow::Cow, fmt};

use base64::{Engine, engine::general_purpose::STANDARD};
use vrl::value::Value;

use super::SignatureError;
use crate::model::{FieldPath, Root, strict_json};

/// Most headers of a numbered family.
pub(super) const MAX_NUMBERED: usize = 100;

/// A place in a request, and how what stands there is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed<F> {
    /// Where.
    pub place: Place,
    /// How.
    pub form: F,
}

/// A place in a request: one or more headers or fields, and which pieces of the text that stands there count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The header or field. Where `numbered`, how the names of the headers begin.
    pub path: FieldPath,
    /// Further headers or fields; each that is there counts, and none of them alone must be.
    pub others: Vec<FieldPath>,
    /// Whether every header counts whose name begins so and goes on with a number: `x-docusign-signature-1`.
    pub numbered: bool,
    /// Whether every line of a header counts. Elsewhere a header that stands twice is an error.
    pub repeats: bool,
    /// The field of a JSON document in base64 that the text is, where it is one.
    pub unwrap: Option<Unwrap>,
    /// What stands between groups, where several signatures come each with a time of its own.
    pub group: Option<char>,
    /// What stands between the pieces, when there may be several.
    pub separator: Option<char>,
    /// Which pieces count by their position; all of them, where nothing is said.
    pub position: Position,
    /// Only pieces with this name count, when pieces are named.
    pub pair: Option<Pair>,
    /// What stands before the text itself; not part of it.
    pub prefix: Option<String>,
    /// Whether the prefix may be left out.
    pub prefix_optional: bool,
}

/// Which pieces count by their position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// All but the first so many.
    From(usize),
    /// Only the one with this number, from 0.
    At(usize),
}

/// A field of a JSON document that stands in a header in base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwrap {
    /// The field, as a path below `body`.
    pub field: FieldPath,
}

/// The name in front of a piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The name, compared exactly. Pieces with other names are not looked at.
    pub name: String,
    /// What follows the name.
    pub assign: char,
}

impl Place {
    /// The place that is one header or field, whole.
    pub fn whole(path: FieldPath) -> Self {
        Self {
            path,
            others: Vec::new(),
            numbered: false,
            repeats: false,
            unwrap: None,
            group: None,
            separator: None,
            position: Position::From(0),
            pair: None,
            prefix: None,
            prefix_optional: false,
        }
    }

    /// Every header and field of it. Of a numbered family that is how the names begin.
    pub fn paths(&self) -> impl Iterator<Item = &FieldPath> {
        std::iter::once(&self.path).chain(&self.others)
    }

    /// Whether it is one header that may stand once, as it stands there.
    pub(super) fn is_one_header(&self) -> bool {
        let plain = self.others.is_empty() && !self.numbered && !self.repeats && self.unwrap.is_none();
        plain && self.path.root() == Root::Header
    }

    /// Whether a part of it stands in the body.
    pub fn in_body(&self) -> bool {
        self.paths().any(|path| matches!(path.root(), Root::Body | Root::Item))
    }

    /// Whether a header belongs to it.
    pub fn holds_header(&self, name: &str) -> bool {
        if self.numbered {
            return name.strip_prefix(self.path.name()).is_some_and(is_number);
        }
        self.paths().any(|path| path.root() == Root::Header && path.name() == name)
    }

    /// The groups of `text`; the text itself where there are none.
    pub(super) fn groups<'t>(&self, text: &'t str) -> impl Iterator<Item = &'t str> {
        Cut::new(text, self.group).filter(|group| self.group.is_none() || !group.is_empty())
    }

    /// The pieces of `text` that count, in order; white space around separated pieces is not part of them.
    pub(super) fn pieces<'t>(&self, text: &'t str) -> impl Iterator<Item = Result<&'t str, SignatureError>> {
        let is_cut = self.separator.is_some();
        let (skipped, taken) = match self.position {
            _ if !is_cut => (0, usize::MAX),
            Position::From(first) => (first, usize::MAX),
            Position::At(number) => (number, 1),
        };
        let trimmed = move |piece: &'t str| if is_cut { piece.trim_matches([' ', '\t']) } else { piece };
        let pieces = Cut::new(text, self.separator).skip(skipped).take(taken).map(trimmed);
        pieces.filter_map(|piece| self.piece(piece).transpose())
    }

    fn piece<'t>(&self, text: &'t str) -> Result<Option<&'t str>, SignatureError> {
        let text = match &self.pair {
            None => text,
            Some(pair) => match split_once(text, pair.assign) {
                None => return Err(SignatureError::Malformed("a piece has no name")),
                Some((name, _)) if name != pair.name => return Ok(None),
                Some((_, text)) => text,
            },
        };
        let Some(prefix) = &self.prefix else { return Ok(Some(text)) };
        match text.strip_prefix(prefix.as_str()) {
            Some(rest) => Ok(Some(rest)),
            None if self.prefix_optional => Ok(Some(text)),
            None => Err(SignatureError::Malformed("the prefix is not there")),
        }
    }
}

/// A text, cut at each separator; the text itself where there is none. Every request is cut up, most at nothing: adapters for
/// both ways cost more than the cutting.
struct Cut<'t> {
    rest: Option<&'t str>,
    separator: Option<char>,
}

impl<'t> Cut<'t> {
    fn new(text: &'t str, separator: Option<char>) -> Self {
        Self { rest: Some(text), separator }
    }
}

impl<'t> Iterator for Cut<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        let text = self.rest.take()?;
        let Some((piece, rest)) = self.separator.and_then(|separator| split_once(text, separator)) else {
            return Some(text);
        };
        self.rest = Some(rest);
        Some(piece)
    }
}

/// What stands before the first separator, and what behind it.
fn split_once(text: &str, separator: char) -> Option<(&str, &str)> {
    let Some(byte) = u8::try_from(separator).ok().filter(u8::is_ascii) else {
        return text.split_once(separator);
    };
    let at = memchr::memchr(byte, text.as_bytes())?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// A number as senders write it: from 1, without leading zeros.
fn is_number(text: &str) -> bool {
    let digits = (1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    digits && !text.starts_with('0')
}

impl Unwrap {
    /// The text of the field.
    pub(super) fn of(&self, text: &str) -> Result<String, SignatureError> {
        let malformed =
            SignatureError::Malformed("it is no JSON document in base64 with the signature in it");
        let json = STANDARD.decode(text).map_err(|_| malformed)?;
        let value = strict_json::read(&json).map_err(|_| malformed)?;
        let field = value.get(self.field.value_path()).and_then(Value::to_str_lossy);
        field.map(Cow::into_owned).ok_or(malformed)
    }
}

/// For people: `header.stripe-signature, v1=…`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = self.prefix.as_deref().unwrap_or_default();
        write!(f, "{}", self.path)?;
        if self.numbered {
            write!(f, "1 and so on")?;
        }
        self.others.iter().try_for_each(|path| write!(f, " or {path}"))?;
        if let Position::At(number) = self.position {
            write!(f, ", piece {number}")?;
        }
        match &self.pair {
            Some(pair) => write!(f, ", {}{}{prefix}…", pair.name, pair.assign),
            None if !prefix.is_empty() => write!(f, ", {prefix}…"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(separator: Option<char>, pair: Option<(&str, char)>, prefix: Option<&str>) -> Place {
        Place {
            separator,
            pair: pair.map(|(name, assign)| Pair { name: name.to_owned(), assign }),
            prefix: prefix.map(str::to_owned),
            ..Place::whole(FieldPath::parse("header.x").expect("a path"))
        }
    }

    fn pieces<'t>(place: &Place, text: &'t str) -> Result<Vec<&'t str>, SignatureError> {
        place.pieces(text).collect()
    }

    #[test]
    fn one_value_is_taken_whole_and_its_prefix_is_demanded() {
        let plain = place(None, None, Some("sha256="));
        assert_eq!(pieces(&plain, "sha256=a, b"), Ok(vec!["a, b"]));
        assert_eq!(pieces(&plain, "a"), Err(SignatureError::Malformed("the prefix is not there")));
        let lenient = Place { prefix_optional: true, ..plain };
        assert_eq!((pieces(&lenient, "sha256=a"), pieces(&lenient, "a")), (Ok(vec!["a"]), Ok(vec!["a"])));
    }

    #[test]
    fn only_pieces_of_the_name_count() {
        let pairs = place(Some(','), Some(("v1", '=')), None);
        assert_eq!(pieces(&pairs, "t=1,v1=a, v1=b=,v0=c,V1=d"), Ok(vec!["a", "b="]));
        assert_eq!(pieces(&pairs, "t=1"), Ok(vec![]));
        assert!(pieces(&pairs, "t=1,,v1=a").is_err());
        let tagged = place(Some(' '), Some(("v1", ',')), None);
        assert_eq!(pieces(&tagged, "v1,a= v1a,b"), Ok(vec!["a="]));
        assert_eq!(pieces(&place(Some(','), None, None), "a,b"), Ok(vec!["a", "b"]));
    }

    #[test]
    fn pieces_count_by_their_position() {
        let (signatures, time) = (Position::From(1), Position::At(0));
        let at = |position| Place { position, ..place(Some(','), None, None) };
        assert_eq!(pieces(&at(signatures), "17,a, b"), Ok(vec!["a", "b"]));
        assert_eq!(pieces(&at(signatures), "17"), Ok(vec![]));
        assert_eq!(pieces(&at(time), "17,a,b"), Ok(vec!["17"]));
    }

    #[test]
    fn groups_are_taken_apart_first() {
        let groups = Place { group: Some(' '), ..place(Some(','), Some(("v1", '=')), None) };
        assert_eq!(groups.groups(" t=1,v1=a  t=2,v1=b").collect::<Vec<_>>(), ["t=1,v1=a", "t=2,v1=b"]);
        assert_eq!(place(None, None, None).groups("a b").collect::<Vec<_>>(), ["a b"]);
    }

    #[test]
    fn a_family_of_headers_is_numbered() {
        let path = FieldPath::parse("header.x-signature-").expect("a path");
        let family = Place { numbered: true, ..Place::whole(path) };
        assert!(family.holds_header("x-signature-1") && family.holds_header("x-signature-100"));
        for other in ["x-signature-", "x-signature-01", "x-signature-a", "x-signature", "y-signature-1"] {
            assert!(!family.holds_header(other), "{other}");
        }
    }

    #[test]
    fn a_field_is_unwrapped_from_base64_json() {
        let unwrap = Unwrap { field: FieldPath::parse("body.signature").expect("a path") };
        let of = |json: &str| unwrap.of(&STANDARD.encode(json));
        assert_eq!(of(r#"{"kid":"k","signature":"MEUC"}"#), Ok("MEUC".to_owned()));
        for bad in [r#"{"kid":"k"}"#, r#"{"signature":1}"#, r#"{"signature":"a","signature":"b"}"#, "", "["] {
            assert!(of(bad).is_err(), "{bad}");
        }
        assert!(unwrap.of("no base64").is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(
            text in ".*", separator in any::<Option<char>>(), group in any::<Option<char>>(), assign in any::<char>(),
            number in 0..4_usize,
        ) {
            for position in [Position::From(number), Position::At(number)] {
                let pairs = Place { group, position, ..place(separator, Some(("v1", assign)), Some("p")) };
                for group in pairs.groups(&text) {
                    let _ = pieces(&pairs, group);
                }
                let _ = pieces(&Place { position, ..place(separator, None, None) }, &text);
            }
            let _ = Unwrap { field: FieldPath::parse("body.a").expect("a path") }.of(&text);
        }
    }
}
