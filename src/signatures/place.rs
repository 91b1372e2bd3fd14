//! Room `signatures`: where in a request a signature or a time stands, and how it is written there. Plain data.

use std::fmt;

use serde::Deserialize;

use super::SignatureError;
use crate::model::FieldPath;

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

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".*", separator in any::<Option<char>>(), assign in any::<char>()) {
            let _ = place(separator, Some(("v1", assign)), Some("p")).pieces(&text);
            let _ = place(separator, None, None).pieces(&text);
        }
    }
}
