//! Room `signatures`: a scheme, read and checked: where a request shows its signature, and which bytes are signed.
//! Plain data; `grammar` makes it, nothing changes it.

use std::{fmt, time::Duration};

use serde::Deserialize;
use vrl::{path::OwnedValuePath, value::Value};

use super::{SignatureError, template::Template};
use crate::model::{Assurance, FieldPath, Root, Timestamp};

/// How far a timestamp may be from now, in the past or the future, where a scheme does not say.
pub const DEFAULT_TOLERANCE: Duration = Duration::from_mins(5);

/// Most signatures one request may offer. Senders that rotate secrets offer two or three.
pub(super) const MAX_CANDIDATES: usize = 16;

/// Most items of one request whose signatures are verified.
pub(super) const MAX_ITEMS: usize = 10_000;

/// A signature scheme: the grammar, read and checked.
#[derive(Clone, Debug)]
pub struct Scheme {
    pub(super) algorithm: Algorithm,
    pub(super) secret: SecretForm,
    pub(super) value: Placed<Encoding>,
    pub(super) timestamp: Option<Stamp>,
    pub(super) items: Option<Items>,
    pub(super) message: Template,
    pub(super) covers: Vec<String>,
    pub(super) assurance: Assurance,
}

impl Scheme {
    /// How the signature is computed.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// How the secret's text becomes a key.
    pub fn secret(&self) -> &SecretForm {
        &self.secret
    }

    /// Where the signature stands.
    pub fn value(&self) -> &Placed<Encoding> {
        &self.value
    }

    /// Where the time of sending stands, when the scheme has one. It is always part of the message.
    pub fn timestamp(&self) -> Option<&Stamp> {
        self.timestamp.as_ref()
    }

    /// The items that are signed one by one, for schemes that do so.
    pub fn items(&self) -> Option<&Items> {
        self.items.as_ref()
    }

    /// Which bytes are signed.
    pub fn message(&self) -> &Template {
        &self.message
    }

    /// How much a signature vouches for.
    pub fn assurance(&self) -> Assurance {
        self.assurance
    }

    /// What exactly is covered: `body`, `timestamp` and paths such as `header.webhook-id` or `item.amount.value`.
    /// Read off the message, so it cannot claim more than is signed.
    pub fn covers(&self) -> &[String] {
        &self.covers
    }

    /// Whether the value at a path is covered: by itself, or as a part of the whole body.
    pub fn covers_path(&self, path: &FieldPath) -> bool {
        let in_body = matches!(path.root(), Root::Body | Root::Item);
        let same = |covered: &FieldPath| match covered.root() == path.root() {
            true if in_body => covered.value_path() == path.value_path(),
            same_root => same_root && covered.name() == path.name(),
        };
        (in_body && self.message.has_body()) || self.message.fields().any(same)
    }

    /// For schemes that sign each item of a batch: the split whose items are verified.
    pub fn signed_items(&self) -> Option<&str> {
        self.items.as_ref().map(|items| items.text.as_str())
    }

    /// Whether the body must be parsed to verify: only when a signature, its time or its message stands in a field of it.
    pub fn reads_body(&self) -> bool {
        let stamp = self.timestamp.as_ref().map(|stamp| &stamp.at.place.path);
        let mut paths = self.message.fields().chain([&self.value.place.path]).chain(stamp);
        self.items.is_some() || paths.any(|path| matches!(path.root(), Root::Body | Root::Item))
    }
}

/// How a signature is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Algorithm {
    /// HMAC with SHA-256 (RFC 2104).
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
}

impl Algorithm {
    /// The length of a signature in bytes.
    pub const fn signature_len(self) -> usize {
        match self {
            Self::HmacSha256 => 32,
        }
    }
}

/// How a signature is written as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Hexadecimal, lower case.
    Hex,
    /// Base64 (RFC 4648 §4) with padding, canonical.
    Base64,
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hex => "hex",
            Self::Base64 => "base64",
        })
    }
}

/// How the secret's text becomes a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretForm {
    /// Stripped before decoding, where it is there.
    pub prefix: Option<String>,
    /// How the rest is written.
    pub encoding: KeyEncoding,
}

/// How a key is written in the secret's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyEncoding {
    /// As it is: the text's own bytes.
    Text,
    /// Hexadecimal, in either case.
    Hex,
    /// Base64 (RFC 4648 §4) with padding.
    Base64,
}

/// A place in a request, and how what stands there is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed<F> {
    /// Where.
    pub place: Place,
    /// How.
    pub form: F,
}

/// A place in a request: a path, and which piece of the text that stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The header or field.
    pub path: FieldPath,
    /// What stands between the pieces, when there may be several.
    pub separator: Option<char>,
    /// Only pieces with this name count, when pieces are named.
    pub pair: Option<Pair>,
    /// What stands before the text itself; demanded, and not part of it.
    pub prefix: Option<String>,
}

/// The name of a piece, and what stands between name and text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The name, compared exactly. Pieces with other names are not looked at.
    pub name: String,
    /// What follows the name.
    pub assign: char,
}

impl Place {
    /// The pieces of `text` that count, in order; white space around separated pieces is not part of them.
    pub(super) fn pieces<'t>(&self, text: &'t str) -> Result<Vec<&'t str>, SignatureError> {
        let Some(separator) = self.separator else {
            return Ok(self.piece(text)?.into_iter().collect());
        };
        let pieces = text.split(separator).map(|piece| self.piece(piece.trim_matches([' ', '\t'])));
        pieces.filter_map(Result::transpose).collect()
    }

    fn piece<'t>(&self, text: &'t str) -> Result<Option<&'t str>, SignatureError> {
        let text = match &self.pair {
            None => text,
            Some(pair) => match text.split_once(pair.assign) {
                None => return Err(SignatureError::Malformed("a piece has no name")),
                Some((name, _)) if name != pair.name => return Ok(None),
                Some((_, text)) => text,
            },
        };
        let prefix = self.prefix.as_deref().unwrap_or_default();
        text.strip_prefix(prefix).map(Some).ok_or(SignatureError::Malformed("the prefix is not there"))
    }
}

/// For people: `header.stripe-signature, v1=…`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = self.prefix.as_deref().unwrap_or_default();
        write!(f, "{}", self.path)?;
        match &self.pair {
            Some(pair) => write!(f, ", {}{}{prefix}…", pair.name, pair.assign),
            None if !prefix.is_empty() => write!(f, ", {prefix}…"),
            None => Ok(()),
        }
    }
}

/// The time of sending: where it stands, and how far from now it may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Where it stands and how it is written.
    pub at: Placed<StampUnit>,
    /// How far it may be from now, in the past and in the future.
    pub tolerance: Duration,
}

/// How a time of sending is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StampUnit {
    /// Whole seconds since the Unix epoch.
    UnixS,
    /// Whole milliseconds since the Unix epoch.
    UnixMs,
    /// RFC 3339.
    Rfc3339,
}

impl StampUnit {
    /// Reads a time strictly: a number is digits only, without leading zeros. `None` when it is not one, or beyond what a clock can say.
    pub fn read(self, text: &str) -> Option<Timestamp> {
        if self == Self::Rfc3339 {
            return Timestamp::from_rfc3339(text);
        }
        let one_spelling =
            text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        let number = one_spelling.then(|| text.parse().ok())??;
        match self {
            Self::UnixS => Timestamp::from_seconds(number),
            _ => Timestamp::from_millis(number),
        }
    }

    /// Writes a time as [`StampUnit::read`] reads it.
    pub fn write(self, at: Timestamp) -> String {
        match self {
            Self::UnixS => at.seconds().to_string(),
            Self::UnixMs => at.millis().to_string(),
            Self::Rfc3339 => at.to_string(),
        }
    }
}

/// The items of a batch that are signed one by one: `body.notificationItems[].NotificationRequestItem`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Items {
    /// The array.
    pub array: FieldPath,
    /// The item below each element; root: the element itself.
    pub element: OwnedValuePath,
    /// As it was written.
    pub text: String,
}

impl Items {
    /// The items of a body. An array with none is an error: nothing in such a request is signed by anyone.
    pub(super) fn of<'b>(&self, body: &'b Value) -> Result<Vec<&'b Value>, SignatureError> {
        let elements = body.get(self.array.value_path()).and_then(Value::as_array);
        let elements = elements.ok_or(SignatureError::Malformed("there is no array of signed items"))?;
        if elements.is_empty() {
            return Err(SignatureError::Missing);
        }
        if elements.len() > MAX_ITEMS {
            return Err(SignatureError::Malformed("more than 10000 signed items"));
        }
        let items = elements.iter().map(|element| element.get(&self.element));
        items.collect::<Option<_>>().ok_or(SignatureError::Malformed("an element has no signed item"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(separator: Option<char>, pair: Option<(&str, char)>, prefix: Option<&str>) -> Place {
        Place {
            path: FieldPath::parse("header.x").expect("a path"),
            separator,
            pair: pair.map(|(name, assign)| Pair { name: name.to_owned(), assign }),
            prefix: prefix.map(str::to_owned),
        }
    }

    #[test]
    fn one_value_is_taken_whole_and_its_prefix_is_demanded() {
        let plain = place(None, None, Some("sha256="));
        assert_eq!(plain.pieces("sha256=a, b"), Ok(vec!["a, b"]));
        assert_eq!(plain.pieces("a"), Err(SignatureError::Malformed("the prefix is not there")));
    }

    #[test]
    fn only_pieces_of_the_name_count() {
        let pairs = place(Some(','), Some(("v1", '=')), None);
        assert_eq!(pairs.pieces("t=1,v1=a, v1=b=,v0=c,V1=d"), Ok(vec!["a", "b="]));
        assert_eq!(pairs.pieces("t=1"), Ok(vec![]));
        assert!(pairs.pieces("t=1,,v1=a").is_err());
        let tagged = place(Some(' '), Some(("v1", ',')), None);
        assert_eq!(tagged.pieces("v1,a= v1a,b"), Ok(vec!["a="]));
        assert_eq!(place(Some(','), None, None).pieces("a,b"), Ok(vec!["a", "b"]));
    }

    #[test]
    fn a_time_is_digits_and_nothing_else() {
        let seconds = |text| StampUnit::UnixS.read(text).map(Timestamp::seconds);
        assert_eq!(seconds("1531420618"), Some(1_531_420_618));
        for bad in [
            "",
            "01",
            "00",
            "+1",
            "-1",
            " 1",
            "1 ",
            "1.0",
            "1e3",
            "0x1",
            "9223372036854775807",
            "99999999999999999999",
        ] {
            assert_eq!(seconds(bad), None, "{bad:?}");
        }
        assert_eq!(StampUnit::UnixMs.read("1531420618123").map(Timestamp::millis), Some(1_531_420_618_123));
        assert!(StampUnit::Rfc3339.read("2026-11-23T07:41:05.5+01:00").is_some());
        assert!(StampUnit::Rfc3339.read("1531420618").is_none());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_readers_panic(text in ".*", separator in any::<Option<char>>(), assign in any::<char>()) {
            let _ = place(separator, Some(("v1", assign)), Some("p")).pieces(&text);
            let _ = place(separator, None, None).pieces(&text);
            for unit in [StampUnit::UnixS, StampUnit::UnixMs, StampUnit::Rfc3339] {
                let _ = unit.read(&text);
            }
        }

        #[test]
        fn a_written_time_reads_back(seconds in 0_i64..4_000_000_000) {
            let at = Timestamp::from_seconds(seconds).expect("in range");
            for unit in [StampUnit::UnixS, StampUnit::UnixMs, StampUnit::Rfc3339] {
                prop_assert_eq!(unit.read(&unit.write(at)), Some(at));
            }
        }
    }
}
