//! Room `signatures`: from TOML text to tables; a mistake has its place and what to do.

use serde::de::DeserializeOwned;

use super::SchemeError;

/// Reads TOML text into a table of ours; a mistake comes back with its place and what to do.
pub(in super::super) fn read<T: DeserializeOwned>(text: &str) -> Result<T, SchemeError> {
    let syntax = |error: toml::de::Error| from_toml("signature_syntax", &error);
    let document = toml::Deserializer::parse(text).map_err(syntax)?;
    T::deserialize(document).map_err(|error| {
        let code = match error.message() {
            message if message.starts_with("unknown field") => "unknown_key",
            message if message.starts_with("missing field") => "missing_key",
            _ => "invalid_value",
        };
        from_toml(code, &error)
    })
}

/// serde names the word it met first and the words it knows after it, each in backticks.
fn from_toml(code: &'static str, error: &toml::de::Error) -> SchemeError {
    let words: Vec<&str> = error.message().split('`').skip(1).step_by(2).collect();
    let close = words.split_first().and_then(|(met, known)| closest(met, known));
    let help = match (code, close) {
        (_, Some(close)) => format!("did you mean {close:?}?"),
        ("signature_syntax", _) => "correct the TOML here".to_owned(),
        _ => {
            "write what is expected here; mappings/README.md, \"Spell a signature out\", shows how".to_owned()
        }
    };
    SchemeError { code, message: error.message().to_owned(), help, span: error.span() }
}

pub(super) fn closest<'k>(met: &str, known: &[&'k str]) -> Option<&'k str> {
    let distance = |word: &&'k str| (strsim::damerau_levenshtein(met, word), *word);
    known
        .iter()
        .map(distance)
        .min()
        .filter(|(distance, word)| *distance <= 2.max(word.len() / 4))
        .map(|(_, word)| word)
}
