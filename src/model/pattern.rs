//! Room `model`: patterns of types, external and our own. May not know what is done with a type that matches.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Longest type, and so longest pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 512;

/// A pattern of types: exact, or with `*` standing for any text (`customer.*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypePattern(pub String);

impl TypePattern {
    /// Takes a pattern as partner files and brokers write it; `None` when it is empty, longer than 512 bytes or has control
    /// characters, because no type is.
    pub fn parse(text: &str) -> Option<Self> {
        let sound =
            !text.is_empty() && text.len() <= MAX_PATTERN_BYTES && !text.chars().any(char::is_control);
        sound.then(|| Self(text.to_owned()))
    }

    /// Whether a type matches.
    pub fn matches(&self, event_type: &str) -> bool {
        // Every delivery asks all patterns of its desk, and most differ in the first letter.
        let begins = |letter: &u8| *letter == b'*' || event_type.as_bytes().first() == Some(letter);
        if !self.0.as_bytes().first().is_some_and(begins) {
            return false;
        }
        let mut literals = self.0.split('*');
        let first = literals.next().unwrap_or_default();
        let Some(mut rest) = event_type.strip_prefix(first) else { return false };
        let Some(last) = literals.next_back() else { return rest.is_empty() };
        // Between two stars the earliest place is the best: it leaves the most text for what follows.
        for literal in literals {
            let Some(found) = rest.find(literal) else { return false };
            rest = &rest[found + literal.len()..];
        }
        rest.ends_with(last)
    }

    /// Whether every type that `other` matches is matched by this pattern too. A `*` of `other` can only fall on a
    /// `*` of this one, so it is enough to look at its text.
    pub fn covers(&self, other: &Self) -> bool {
        self.matches(&other.0)
    }
}

impl Serialize for TypePattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TypePattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            de::Error::custom("a pattern has 1 to 512 bytes and no control characters, as \"payments.*\"")
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> TypePattern {
        TypePattern::parse(text).expect("a pattern")
    }

    /// The definition, letter by letter.
    fn model(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|skipped| model(rest, &text[skipped..])),
            Some((letter, rest)) => text.first() == Some(letter) && model(rest, &text[1..]),
        }
    }

    #[test]
    fn stars_stand_for_any_text() {
        assert!(pattern("customer.*").matches("customer.created"));
        assert!(pattern("customer.*").matches("customer."));
        assert!(pattern("*").matches(""));
        assert!(pattern("a*b*c").matches("abbc"));
        assert!(!pattern("customer.*").matches("customers.created"));
        assert!(!pattern("ping").matches("ping2"));
        assert!(!pattern("ab*ba").matches("aba"), "prefix and suffix must not share text");
    }

    #[test]
    fn what_no_type_can_be_is_no_pattern() {
        assert_eq!(TypePattern::parse(""), None);
        assert_eq!(TypePattern::parse("a\nb"), None);
        assert_eq!(TypePattern::parse(&"a".repeat(513)), None);
    }

    #[test]
    fn covering_is_about_every_type() {
        assert!(pattern("customer.*").covers(&pattern("customer.subscription.*")));
        assert!(pattern("*").covers(&pattern("ping")));
        assert!(pattern("ping").covers(&pattern("ping")));
        assert!(!pattern("customer.a*").covers(&pattern("customer.*")));
    }

    proptest! {
        #[test]
        fn matches_as_defined(text in "[ab*]{1,8}", event_type in "[ab]{0,10}") {
            prop_assert_eq!(pattern(&text).matches(&event_type), model(text.as_bytes(), event_type.as_bytes()));
        }

        #[test]
        fn a_covered_pattern_never_matches_alone(wide in "[ab*]{1,6}", narrow in "[ab*]{1,6}", event_type in "[ab]{0,8}") {
            let (wide, narrow) = (pattern(&wide), pattern(&narrow));
            if wide.covers(&narrow) && narrow.matches(&event_type) {
                prop_assert!(wide.matches(&event_type));
            }
        }
    }
}
