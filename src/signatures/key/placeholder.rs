//! Room `signatures`: texts that stand for a secret that was never set.

/// Words that stand for a secret: the whole text, letters and digits only.
const PLACEHOLDERS: &[&str] = &[
    "secret",
    "password",
    "test",
    "testing",
    "example",
    "sample",
    "dummy",
    "none",
    "null",
    "undefined",
    "todo",
    "tbd",
    "fixme",
    "changeit",
    "redacted",
    "key",
    "token",
    "apikey",
    "webhooksecret",
    "signingsecret",
];

/// Phrases that no random secret contains.
const PLACEHOLDER_PHRASES: &[&str] = &[
    "changeme",
    "placeholder",
    "replaceme",
    "replacewith",
    "insertyour",
    "yoursecret",
    "yourwebhook",
    "yoursigning",
    "yourkey",
    "yourhmac",
    "yourapp",
    "putyour",
    "secrethere",
    "keyhere",
];

/// Whether a text is no secret, but stands for one.
pub(super) fn is_placeholder(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text).to_ascii_lowercase();
    let bare: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
    let bracketed = [("<", ">"), ("${", "}"), ("{{", "}}"), ("[", "]")];
    let mut characters = text.chars();
    let first = characters.next();
    characters.all(|character| Some(character) == first)
        || text.contains("...")
        || text.contains('…')
        || bracketed.iter().any(|(open, close)| text.starts_with(open) && text.ends_with(close))
        || PLACEHOLDERS.contains(&bare.as_str())
        || PLACEHOLDER_PHRASES.iter().any(|phrase| bare.contains(phrase))
}
