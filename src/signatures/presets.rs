//! Room `signatures`: the presets: one TOML file a provider, compiled in. A preset is data, never code.

use serde::Deserialize;

use super::{Scheme, SchemeError, SignatureTable, grammar::read};

/// A preset, as its file says it.
#[derive(Debug)]
pub struct Preset {
    /// Its name in `preset = "…"`; a provider with several kinds of webhooks has several (`adyen`, `adyen-platform`).
    pub name: &'static str,
    /// The file.
    pub text: &'static str,
}

/// What a preset's file holds. `identify` and `handshake` are written exactly as in partner.toml, which may replace each key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresetFile {
    /// The provider's name.
    pub title: String,
    /// Where the provider documents its signatures.
    pub docs: String,
    /// Where to register the URL and find the secret; how the provider retries.
    pub setup: String,
    /// The scheme.
    pub signature: SignatureTable,
    /// The defaults of `[identify]`.
    #[serde(default)]
    pub identify: toml::Table,
    /// The provider's handshakes.
    #[serde(default)]
    pub handshake: Vec<toml::Table>,
}

impl Preset {
    /// Reads the file. Never fails for the presets compiled in: a test reads them all.
    pub fn file(&self) -> Result<PresetFile, SchemeError> {
        read(self.text)
    }

    /// The preset's scheme.
    pub fn scheme(&self) -> Result<Scheme, SchemeError> {
        Scheme::from_table(&self.file()?.signature)
    }
}

/// Finds a preset by name.
pub fn find(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

/// Every preset, by name.
pub fn all() -> &'static [Preset] {
    PRESETS
}

macro_rules! presets {
    ($($name:literal),+ $(,)?) => {
        &[$(Preset { name: $name, text: include_str!(concat!("presets/", $name, ".toml")) }),+]
    };
}

static PRESETS: &[Preset] =
    presets!["adyen", "adyen-platform", "github", "shopify", "slack", "standard-webhooks", "stripe"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Assurance, FieldPath};

    fn each(check: impl Fn(&Preset, PresetFile, Scheme)) {
        for preset in all() {
            let file = preset.file().unwrap_or_else(|error| panic!("{}: {error:?}", preset.name));
            let scheme = preset.scheme().unwrap_or_else(|error| panic!("{}: {error:?}", preset.name));
            check(preset, file, scheme);
        }
    }

    #[test]
    fn every_preset_is_a_scheme_with_its_papers() {
        each(|preset, file, scheme| {
            assert!(file.docs.starts_with("https://"), "{}", preset.name);
            assert!(
                !file.title.is_empty() && file.setup.to_lowercase().contains("secret"),
                "{}",
                preset.name
            );
            assert!(!scheme.covers().is_empty(), "{}", preset.name);
            assert!(file.identify.contains_key("event_type"), "{}", preset.name);
            assert_eq!(find(preset.name).map(|found| found.text), Some(preset.text));
        });
        assert!(all().is_sorted_by_key(|preset| preset.name));
    }

    #[test]
    fn every_path_in_a_preset_is_one() {
        fn paths(value: &toml::Value, found: &mut Vec<String>) {
            match value {
                toml::Value::String(text) => found.push(text.clone()),
                toml::Value::Array(values) => values.iter().for_each(|value| paths(value, found)),
                toml::Value::Table(table) => {
                    table
                        .iter()
                        .filter(|(key, _)| !["by", "as"].contains(&key.as_str()))
                        .for_each(|(_, value)| paths(value, found));
                }
                _ => {}
            }
        }
        each(|preset, file, scheme| {
            let mut identify = file.identify;
            identify.remove("form_json");
            let split = identify.remove("split");
            assert_eq!(
                split.as_ref().and_then(toml::Value::as_str),
                scheme.signed_items(),
                "{}",
                preset.name
            );
            let mut found = Vec::new();
            paths(&toml::Value::Table(identify), &mut found);
            for path in found {
                assert!(FieldPath::parse(&path).is_ok(), "{}: {path}", preset.name);
            }
        });
    }

    #[test]
    fn full_assurance_is_claimed_only_where_ids_are_covered() {
        each(|preset, file, scheme| {
            let unsigned_header = ["external_id", "event_type"].into_iter().any(|key| {
                let text = file.identify.get(key).map(ToString::to_string).unwrap_or_default();
                text.split('"')
                    .filter(|word| word.starts_with("header."))
                    .any(|path| !scheme.covers_path(&FieldPath::parse(path).expect("a path")))
            });
            assert_eq!(unsigned_header, scheme.assurance() == Assurance::Body, "{}", preset.name);
        });
    }
}
