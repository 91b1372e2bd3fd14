//! Room `config`: file, environment and command line become one validated [`Config`].
//! This and `keys` are the only rooms that read the environment.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use toml::{Table, Value};
use validator::Validate;

use super::Config;
use crate::model::Diagnostic;

/// Settings from the command line, as `("listen.public", "0.0.0.0:8080")`.
pub type Overrides = Vec<(&'static str, String)>;

/// Every variable that sets something begins with this; `DOUANE_LISTEN_PUBLIC` sets `listen.public`.
pub const ENVIRONMENT_PREFIX: &str = "DOUANE_";

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration {path} cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something in the file, the environment or on the command line is wrong.
    #[error("{0}")]
    Invalid(Box<Diagnostic>),
}

/// Reads the configuration. Precedence, strongest first: `overrides`, `environment` (the `DOUANE_…` variables), the
/// file at `path`, the defaults. Without `path` there is no file.
pub fn load(
    path: Option<&Path>,
    environment: &BTreeMap<String, String>,
    overrides: &Overrides,
) -> Result<Config, ConfigError> {
    let (name, text) = match path {
        None => ("(no file)".to_owned(), String::new()),
        Some(path) => (path.display().to_string(), read(path)?),
    };
    // The file alone first: only its own text gives line and column.
    toml::from_str::<Config>(&text).map_err(|error| invalid(at_place(&name, &text, &error)))?;
    let mut table: Table = toml::from_str(&text).unwrap_or_default();
    apply_environment(&mut table, environment)?;
    for (key, value) in overrides {
        set(&mut table, key, value);
    }
    let config = deserialize(table)?;
    config.validate().map_err(|errors| invalid(out_of_bounds(&name, &errors)))?;
    Ok(config)
}

/// The `DOUANE_…` variables of this process.
pub fn process_environment() -> BTreeMap<String, String> {
    std::env::vars().filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX)).collect()
}

/// The user of this machine who runs a verb: who called sudo, or else who is logged in. For the journal; no proof.
#[expect(clippy::disallowed_methods, reason = "who runs a verb is no setting, and stands in no file")]
pub fn operator() -> Option<String> {
    let named = |name: &str| std::env::var(name).ok().filter(|user| !user.is_empty());
    named("SUDO_USER").or_else(|| named("USER")).or_else(|| named("LOGNAME"))
}

fn invalid(diagnostic: Diagnostic) -> ConfigError {
    ConfigError::Invalid(Box::new(diagnostic))
}

fn deserialize(table: Table) -> Result<Config, ConfigError> {
    serde::Deserialize::deserialize(Value::Table(table)).map_err(|error: toml::de::Error| {
        let help = "see deploy/douane.toml for every key and its type";
        invalid(Diagnostic::new("invalid_setting", "environment or command line", error.message(), help))
    })
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_path_buf(), source })
}

fn apply_environment(table: &mut Table, environment: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    let keys = every_key();
    for (name, value) in environment {
        let Some(rest) = name.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
        let wanted = rest.to_ascii_lowercase();
        match keys.iter().find(|key| key.replace('.', "_") == wanted) {
            Some(key) => set(table, key, value),
            None if names_a_section(&wanted, &keys) => {
                return Err(invalid(unknown_variable(name, &wanted, &keys)));
            }
            // Other tools have variables of this prefix too (the token of `douane replay`, test switches).
            None => {}
        }
    }
    Ok(())
}

fn names_a_section(wanted: &str, keys: &[String]) -> bool {
    keys.iter()
        .filter_map(|key| key.split('.').next())
        .any(|section| wanted.strip_prefix(section).is_some_and(|rest| rest.starts_with('_')))
}

fn unknown_variable(name: &str, wanted: &str, keys: &[String]) -> Diagnostic {
    let known = keys.iter().map(|key| key.replace('.', "_"));
    let help = match closest(wanted, known) {
        Some(near) => format!("did you mean {ENVIRONMENT_PREFIX}{}?", near.to_ascii_uppercase()),
        None => "see deploy/douane.toml for every key".to_owned(),
    };
    Diagnostic::new("unknown_key", "environment", format!("{name} sets nothing"), help)
}

/// The nearest of the known names, if one is near enough to be meant.
pub fn closest(wanted: &str, known: impl Iterator<Item = String>) -> Option<String> {
    known
        .map(|name| (strsim::jaro_winkler(wanted, &name), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// Every `section.key` that the environment can set: all but the brokers, which are a list.
fn every_key() -> Vec<String> {
    let schema = schemars::schema_for!(Config).to_value();
    let sections = schema["properties"].as_object().into_iter().flatten();
    let mut keys = Vec::new();
    for (section, property) in sections {
        let Some(definition) = super::reference::definition(&schema, property) else { continue };
        for key in definition["properties"].as_object().into_iter().flatten().map(|(key, _)| key) {
            keys.push(format!("{section}.{key}"));
        }
    }
    keys
}

/// Sets `section.key`; a text that reads as a TOML number or boolean becomes one.
fn set(table: &mut Table, key: &str, text: &str) {
    let Some((section, key)) = key.split_once('.') else { return };
    let value = match text.parse::<Value>() {
        Ok(value @ (Value::Integer(_) | Value::Boolean(_))) => value,
        _ => Value::String(text.to_owned()),
    };
    let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(section) = section {
        section.insert(key.to_owned(), value);
    }
}

fn at_place(name: &str, text: &str, error: &toml::de::Error) -> Diagnostic {
    let message = error.message();
    let (code, help) = match unknown_field(message) {
        Some((wrong, known)) => ("unknown_key", suggestion(&wrong, known)),
        None => ("invalid_setting", "see deploy/douane.toml for every key and its type".to_owned()),
    };
    let diagnostic = Diagnostic::new(code, name, message, help);
    match error.span() {
        Some(span) => diagnostic.at(text, span.start),
        None => diagnostic,
    }
}

fn suggestion(wrong: &str, known: Vec<String>) -> String {
    let all = known.join(", ");
    match closest(wrong, known.into_iter()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("known here: {all}"),
    }
}

/// Serde says "unknown field `a`, expected one of `b`, `c`"; the names stand between back-quotes.
fn unknown_field(message: &str) -> Option<(String, Vec<String>)> {
    if !message.starts_with("unknown field") {
        return None;
    }
    let mut quoted = message.split('`').skip(1).step_by(2).map(str::to_owned);
    Some((quoted.next()?, quoted.collect()))
}

fn out_of_bounds(name: &str, errors: &validator::ValidationErrors) -> Diagnostic {
    let message = errors.to_string().lines().collect::<Vec<_>>().join("; ");
    Diagnostic::new("out_of_bounds", name, message, "see deploy/douane.toml for the bounds of each key")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_text(text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("douane.toml");
        std::fs::write(&path, text).expect("written");
        let environment =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        load(Some(&path), &environment, &Vec::new())
            .map_err(|error| error.to_string().replace(&path.display().to_string(), "douane.toml"))
    }

    #[test]
    fn nothing_given_is_the_defaults() {
        let config = load(None, &BTreeMap::new(), &Vec::new()).expect("defaults are valid");
        assert_eq!(config, Config::default());
    }

    #[test]
    fn the_command_line_wins_over_the_environment_over_the_file() {
        let environment = BTreeMap::from([
            ("DOUANE_LISTEN_PUBLIC".to_owned(), "127.0.0.1:2".to_owned()),
            ("DOUANE_LISTEN_PRIVATE".to_owned(), "127.0.0.1:3".to_owned()),
            ("DOUANE_INTAKE_MAX_BODY_BYTES".to_owned(), "2048".to_owned()),
            ("DOUANE_TOKEN".to_owned(), "not a setting".to_owned()),
        ]);
        let overrides = vec![("listen.public", "127.0.0.1:9".to_owned())];
        let config = load(None, &environment, &overrides).expect("valid");
        assert_eq!(config.listen.public.port(), 9);
        assert_eq!(config.listen.private.port(), 3);
        assert_eq!(config.intake.max_body_bytes, 2048);
    }

    #[test]
    fn a_mistyped_key_is_refused_with_place_and_suggestion() {
        let error = load_text("[intake]\nmax_body_byte = 1\n", &[]).expect_err("refused");
        assert!(error.starts_with("douane.toml:2:1: unknown field"), "{error}");
        assert!(error.contains("did you mean max_body_bytes?"), "{error}");
        let error = load_text("", &[("DOUANE_INTAKE_MAX_BODY_BYTE", "1")]).expect_err("refused");
        assert!(error.contains("did you mean DOUANE_INTAKE_MAX_BODY_BYTES?"), "{error}");
    }

    #[test]
    fn wrong_types_and_bounds_are_refused() {
        let error = load_text("[mappings]\npoll = \"soon\"\n", &[]).expect_err("refused");
        assert!(error.contains("write it as"), "{error}");
        let error = load_text("[intake]\nmax_headers = 1\n", &[]).expect_err("refused");
        assert!(error.contains("max_headers") && error.contains("[out_of_bounds]"), "{error}");
    }
}
