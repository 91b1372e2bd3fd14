//! Room `config`: file, environment and command line become one validated [`Config`].
//! This and `keys` are the only rooms that read the environment.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use super::{Config, bounds, brokers, origins::Origins};
use crate::model::{Diagnostic, NoSource};

/// Settings from the command line, as `("listen.public", "0.0.0.0:8080")`.
pub type Overrides = Vec<(&'static str, String)>;

/// Every variable that sets something begins with this; `DOUANE_LISTEN_PUBLIC` sets `listen.public`.
pub const ENVIRONMENT_PREFIX: &str = "DOUANE_";

/// A variable of no known section that is at most so many letters away from a known one is a misspelt one.
const MAX_TYPOS: usize = 2;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration {path} cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something in the file, the environment or on the command line is wrong.
    #[error("{}", lines(.0))]
    Invalid(Vec<Diagnostic>),
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
    if let Some(mistake) = brokers::mistake(&text) {
        return Err(invalid(at_place(&name, &text, &mistake.message, Some(mistake.at))));
    }
    let misplaced = |error: toml::de::Error| {
        invalid(at_place(&name, &text, error.message(), error.span().map(|span| span.start)))
    };
    toml::from_str::<Config>(&text).map_err(misplaced)?;
    let mut table: Table = toml::from_str(&text).unwrap_or_default();
    let variables = apply_environment(&mut table, environment)?;
    for (key, value) in overrides {
        set(&mut table, key, value, "command line")?;
    }
    let config = deserialize(table).map_err(|error| invalid(wrong_setting(&name, &error)))?;
    let overridden = overrides.iter().map(|(key, _)| *key).collect();
    let origins = Origins { name: &name, text: &text, variables, overridden };
    let faults: Vec<_> = bounds::faults(&config).iter().map(|fault| origins.locate(fault)).collect();
    if faults.is_empty() { Ok(config) } else { Err(ConfigError::Invalid(faults)) }
}

/// The `DOUANE_…` variables of this process.
pub fn process_environment() -> BTreeMap<String, String> {
    std::env::vars().filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX)).collect()
}

/// What the environment calls whoever runs a verb: who called sudo, or else who is logged in. For the journal, beside the account
/// that the operating system says; no proof.
#[expect(clippy::disallowed_methods, reason = "who runs a verb is no setting, and stands in no file")]
pub fn operator() -> Option<String> {
    let named = |name: &str| std::env::var(name).ok().filter(|user| !user.is_empty());
    named("SUDO_USER").or_else(|| named("USER")).or_else(|| named("LOGNAME"))
}

/// Where a program of this name may be installed: on the path, in the system's folders, or where the tests put the servers
/// that they need. For the demo, which starts some; no setting.
#[expect(clippy::disallowed_methods, reason = "where programs are is no setting, and stands in no file")]
pub fn program_folders(name: &str) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"].map(PathBuf::from);
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(std::env::home_dir()?.join(".cache")));
    let tests = cache.map(|cache| cache.join("douane/servers").join(name).join("bin"));
    std::env::split_paths(&path).chain(system).chain(tests).collect()
}

fn invalid(diagnostic: Diagnostic) -> ConfigError {
    ConfigError::Invalid(vec![diagnostic])
}

/// The place of a setting that stands in the environment.
pub(super) fn variable(name: &str) -> String {
    format!("environment ({name})")
}

fn lines(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn deserialize(table: Table) -> Result<Config, toml::de::Error> {
    serde::Deserialize::deserialize(Value::Table(table))
}

fn wrong_setting(place: &str, error: &toml::de::Error) -> Diagnostic {
    let help = "see deploy/douane.toml for every key and its type";
    Diagnostic::new("invalid_setting", place, in_words(error.message()), help)
}

/// What was expected, in words instead of Rust's types.
fn in_words(message: &str) -> String {
    const WORDS: [(&str, &str); 7] = [
        ("expected usize", "expected a whole number, without a unit"),
        ("expected u64", "expected a whole number, without a unit"),
        ("expected u32", "expected a whole number, without a unit"),
        ("expected a boolean", "expected true or false"),
        ("expected a string", "expected a text"),
        ("expected path string", "expected a path"),
        ("invalid socket address syntax", "expected an IP address and a port, as 127.0.0.1:8080"),
    ];
    let known = WORDS.iter().find(|(type_name, _)| message.ends_with(type_name));
    known.map_or_else(|| message.to_owned(), |(type_name, words)| message.replace(type_name, words))
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_path_buf(), source })
}

/// Sets what the environment says; returns which variable set each key.
fn apply_environment(
    table: &mut Table,
    environment: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let (keys, lists) = (every_key(), every_list());
    let mut variables = BTreeMap::new();
    for (name, value) in environment {
        let Some(rest) = name.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
        let wanted = rest.to_ascii_lowercase();
        match keys.iter().find(|key| key.replace('.', "_") == wanted) {
            Some(key) => {
                set(table, key, value, &variable(name))?;
                variables.insert(key.clone(), name.clone());
            }
            None if lists.iter().any(|list| begins_with(&wanted, list)) => {
                return Err(invalid(of_a_list(name)));
            }
            None if names_a_section(&wanted, &keys) || is_misspelt(&wanted, &keys) => {
                return Err(invalid(unknown_variable(name, &wanted, &keys)));
            }
            // Other tools have variables of this prefix too (the token of `douane replay`, test switches).
            None => {}
        }
    }
    Ok(variables)
}

/// Whether a variable is so near to a known one that nothing else can be meant.
fn is_misspelt(wanted: &str, keys: &[String]) -> bool {
    let typos = |key: &String| strsim::damerau_levenshtein(&key.replace('.', "_"), wanted);
    keys.iter().any(|key| typos(key) <= MAX_TYPOS)
}

fn names_a_section(wanted: &str, keys: &[String]) -> bool {
    keys.iter().filter_map(|key| key.split('.').next()).any(|section| begins_with(wanted, section))
}

fn begins_with(wanted: &str, section: &str) -> bool {
    wanted.strip_prefix(section).is_some_and(|rest| rest.starts_with('_'))
}

/// A setting of an entry in a list: a variable could not say of which.
fn of_a_list(name: &str) -> Diagnostic {
    let help = "brokers stand in the configuration file only, each as [[broker]]";
    Diagnostic::new("unknown_key", variable(name), format!("{name} sets nothing"), help)
}

fn unknown_variable(name: &str, wanted: &str, keys: &[String]) -> Diagnostic {
    let known = keys.iter().map(|key| key.replace('.', "_"));
    let help = match closest(wanted, known) {
        Some(near) => format!("did you mean {ENVIRONMENT_PREFIX}{}?", near.to_ascii_uppercase()),
        None => "see deploy/douane.toml for every key".to_owned(),
    };
    Diagnostic::new("unknown_key", variable(name), format!("{name} sets nothing"), help)
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

/// The lists, which stand in the file only.
fn every_list() -> Vec<String> {
    let schema = schemars::schema_for!(Config).to_value();
    let sections = schema["properties"].as_object().into_iter().flatten();
    sections.filter(|(_, property)| property["type"] == "array").map(|(list, _)| list.clone()).collect()
}

/// Sets `section.key` as a person writes it in the environment or on the command line: what reads as a TOML number or
/// boolean may be meant as one or as a text, so the key's type decides. Tried alone, so that a mistake names its `place`.
fn set(table: &mut Table, key: &str, text: &str, place: &str) -> Result<(), ConfigError> {
    let Some((section, key)) = key.split_once('.') else { return Ok(()) };
    let literal = text.parse().ok().filter(|value| matches!(value, Value::Integer(_) | Value::Boolean(_)));
    let texts = Value::String(text.to_owned());
    let alone = |value: &Value| {
        let keys = Value::Table(Table::from_iter([(key.to_owned(), value.clone())]));
        deserialize(Table::from_iter([(section.to_owned(), keys)]))
    };
    let value = literal.filter(|value| alone(value).is_ok()).unwrap_or(texts);
    alone(&value).map_err(|error| {
        let mut wrong = wrong_setting(place, &error);
        wrong.message = format!("{section}.{key}: {}", wrong.message);
        invalid(wrong)
    })?;
    let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(section) = section {
        section.insert(key.to_owned(), value);
    }
    Ok(())
}

fn at_place(name: &str, text: &str, message: &str, at: Option<usize>) -> Diagnostic {
    let (code, help) = match unknown_field(message) {
        Some((wrong, known)) => ("unknown_key", suggestion(&wrong, known)),
        None => ("invalid_setting", "see deploy/douane.toml for every key and its type".to_owned()),
    };
    let diagnostic = Diagnostic::new(code, name, in_words(message), help);
    match at {
        Some(at) => without_secrets(diagnostic.at(text, at)),
        None => diagnostic,
    }
}

/// A mistake, without its line where people paste secrets, and without the text that serde quotes from there.
pub(super) fn without_secrets(mut mistake: Diagnostic) -> Diagnostic {
    const SECRETS: [&str; 6] = ["secret", "password", "token", "credentials", "whsec_", "@"];
    let line = mistake.source_line.as_deref().unwrap_or_default().to_ascii_lowercase();
    let pasted = mistake.message == NoSource.to_string();
    if !pasted && !SECRETS.iter().any(|word| line.contains(word)) {
        return mistake;
    }
    mistake.source_line = None;
    if let Some((before, quoted)) = mistake.message.split_once("string \"")
        && let Some((_, after)) = quoted.rsplit_once('"')
    {
        mistake.message = format!("{before}a text{after}");
    }
    mistake
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BrokerSettings;

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
    fn a_misspelt_section_is_refused_and_other_variables_are_nobodys_business() {
        for (wrong, right) in [
            ("DOUANE_LISTN_PUBLIC", "DOUANE_LISTEN_PUBLIC"),
            ("DOUANE_LISTENER_PUBLIC", "DOUANE_LISTEN_PUBLIC"),
            ("DOUANE_PUBLICATIONS_FEED_HEARTBEAT", "DOUANE_PUBLICATION_FEED_HEARTBEAT"),
        ] {
            let error = load_text("", &[(wrong, "127.0.0.1:80")]).expect_err("refused");
            assert!(error.contains(&format!("{wrong} sets nothing")), "{error}");
            assert!(error.contains(&format!("did you mean {right}?")), "{error}");
        }
        let others =
            ["CONFIG", "TOKEN", "REAL_PAYLOADS", "CRASH_COUNT", "SIM_SEEDS", "TEST_LOG", "STRIPE_SECRET"];
        let others = others.map(|name| format!("DOUANE_{name}"));
        let others: Vec<_> = others.iter().map(|name| (name.as_str(), "anything")).collect();
        assert_eq!(load_text("", &others), Ok(Config::default()));
    }

    #[test]
    fn a_variable_of_the_wrong_type_is_named_and_told_what_is_expected() {
        for (name, value, told) in [
            (
                "DOUANE_INTAKE_MAX_BODY_BYTES",
                "1MB",
                "intake.max_body_bytes: invalid type: string \"1MB\", expected a whole number, without a unit",
            ),
            (
                "DOUANE_MAPPINGS_STRICT",
                "yes",
                "mappings.strict: invalid type: string \"yes\", expected true or false",
            ),
            (
                "DOUANE_LISTEN_PUBLIC",
                "8080",
                "listen.public: expected an IP address and a port, as 127.0.0.1:8080",
            ),
            ("DOUANE_MAPPINGS_POLL", "soon", "mappings.poll: \"soon\" is no duration; write it as \"250ms\""),
            (
                "DOUANE_TELEMETRY_LOG_FORMAT",
                "xml",
                "telemetry.log_format: unknown variant `xml`, expected `human`",
            ),
        ] {
            let error = load_text("", &[(name, value)]).expect_err("refused");
            assert!(error.starts_with(&format!("environment ({name}): {told}")), "{error}");
        }
        let error = load_text("[intake]\nmax_body_bytes = \"1MB\"\n", &[]).expect_err("refused");
        assert!(error.contains("expected a whole number, without a unit"), "{error}");
    }

    #[test]
    fn a_text_of_digits_is_a_text_where_one_is_wanted() {
        let config = load_text("", &[("DOUANE_LEDGER_DATA_DIR", "2026")]).expect("valid");
        assert_eq!(config.ledger.data_dir, PathBuf::from("2026"));
    }

    #[test]
    fn no_variable_sets_a_broker() {
        let error = load_text("", &[("DOUANE_BROKER_NAME", "archive")]).expect_err("refused");
        assert!(
            error.starts_with("environment (DOUANE_BROKER_NAME): DOUANE_BROKER_NAME sets nothing"),
            "{error}"
        );
        assert!(error.contains("[[broker]]"), "{error}");
    }

    #[test]
    fn wrong_types_are_refused() {
        let error = load_text("[mappings]\npoll = \"soon\"\n", &[]).expect_err("refused");
        assert!(error.contains("write it as"), "{error}");
    }

    #[test]
    fn a_value_out_of_bounds_is_told_where_it_was_set() {
        let error = load_text("[intake]\n\nmax_headers = 1\n", &[]).expect_err("refused");
        let told = "douane.toml:3:15: intake.max_headers must be between 8 and 1000, not 1 [out_of_bounds]";
        assert!(error.starts_with(told), "{error}");
        let error = load_text("", &[("DOUANE_INTAKE_MAX_HEADERS", "1")]).expect_err("refused");
        assert!(
            error.starts_with("environment (DOUANE_INTAKE_MAX_HEADERS): intake.max_headers must"),
            "{error}"
        );
        let overrides = vec![("events.namespace", String::new())];
        let error = load(None, &BTreeMap::new(), &overrides).expect_err("refused").to_string();
        assert!(error.starts_with("command line: the length of events.namespace must be"), "{error}");
        let broker = "[[broker]]\nname = \"a\"\nkind = \"file\"\npath = \"b\"\n";
        let error = load_text(&format!("{broker}rotate_bytes = 1\n"), &[]).expect_err("refused");
        assert!(
            error.starts_with("douane.toml:5:16: broker[0].rotate_bytes must be at least 4096"),
            "{error}"
        );
    }

    #[test]
    fn all_that_is_out_of_bounds_is_told_at_once() {
        let error = load_text("[intake]\nmax_headers = 1\nmax_connections = 0\n", &[]).expect_err("refused");
        assert_eq!(error.matches("[out_of_bounds]").count(), 2, "{error}");
    }

    #[test]
    fn no_duration_is_none_or_for_ever() {
        let durations = [
            ("mappings", "poll"),
            ("ledger", "free_space_poll"),
            ("ledger", "connect_timeout"),
            ("ledger", "statement_timeout"),
            ("ledger", "lock_timeout"),
            ("ledger", "idle_in_transaction_timeout"),
            ("ledger", "poll"),
            ("ledger", "partition"),
            ("retention", "payloads"),
            ("intake", "header_timeout"),
            ("intake", "body_timeout"),
            ("publication", "min_backoff"),
            ("publication", "max_backoff"),
            ("publication", "feed_heartbeat"),
        ];
        for (section, key) in durations {
            for wrong in ["0s", "100000000000d"] {
                let error =
                    load_text(&format!("[{section}]\n{key} = \"{wrong}\"\n"), &[]).expect_err("refused");
                assert!(error.contains(&format!("{section}.{key} must be between")), "{error}");
            }
        }
        let error = load_text("[intake]\nshutdown_grace = \"1day\"\n", &[]).expect_err("refused");
        assert!(error.contains("intake.shutdown_grace must be at most 1h, not 1day"), "{error}");
        assert!(load_text("[intake]\nshutdown_grace = \"0s\"\n", &[]).is_ok());
    }

    #[test]
    fn a_queue_has_an_end() {
        let error = load_text("[ledger]\nqueue_entries = 9000000000000000000\n", &[]).expect_err("refused");
        assert!(error.contains("ledger.queue_entries must be between 1 and 1000000"), "{error}");
    }

    #[test]
    fn the_way_to_a_database_is_told_without_its_secret() {
        for (text, told) in [
            ("url = \"postgres://ada:hunter2@db/ledger\"", "ledger.url holds a password in the open"),
            (
                "url = \"postgres://ada@db/ledger?password=hunter2\"",
                "ledger.url holds a password in the open",
            ),
            ("url = \"hunter2\"", "ledger.url is no PostgreSQL URL"),
            ("password = \"hunter2\"", "ledger.password names no source of a secret"),
            ("schema = \"Ledger\"", "ledger.schema \"Ledger\" is no name of a schema"),
            ("schema = \"pg_ledger\"", "ledger.schema \"pg_ledger\" is no name of a schema"),
            (
                "url = \"env:URL\"\nbatch_bytes = 1000000000",
                "ledger.batch_bytes (1000000000) must be at most",
            ),
            (
                "url = \"postgres://db/ledger\"\nidle_in_transaction_timeout = \"2s\"",
                "ledger.idle_in_transaction_timeout (2s) must be less than half of ledger.lease (4s)",
            ),
            (
                "url = \"postgres://db/ledger\"\nlease_renewal = \"1100ms\"",
                "ledger.lease_renewal (1s 100ms) must be at most a quarter of ledger.lease (4s)",
            ),
        ] {
            let error = load_text(&format!("[ledger]\n{text}\n"), &[]).expect_err("refused");
            assert!(error.contains(told) && !error.contains("hunter2"), "{error}");
        }
        for sound in [
            "env:LEDGER",
            "file:/run/url",
            "postgres://ada@db:5433/ledger?sslmode=require",
            "postgresql:///ledger",
        ] {
            assert!(
                load_text(&format!("[ledger]\nurl = \"{sound}\"\npassword = \"env:P\"\n"), &[]).is_ok(),
                "{sound}"
            );
        }
    }

    #[test]
    fn settings_that_contradict_each_other_are_told_at_the_one_that_was_set() {
        let error = load_text("[intake]\nmax_bytes_in_flight = 100000\n", &[]).expect_err("refused");
        assert!(
            error.starts_with("douane.toml:2:23: intake.max_body_bytes (1048576) must be at most half"),
            "{error}"
        );
        let error = load_text("[publication]\nmin_backoff = \"1m\"\n", &[]).expect_err("refused");
        assert!(error.contains("min_backoff (1m) must be at most publication.max_backoff (30s)"), "{error}");
    }

    #[test]
    fn a_misspelt_log_level_is_told_where_it_was_set() {
        let error = load_text("[telemetry]\nlog_level = \"inof\"\n", &[]).expect_err("refused");
        assert!(
            error.starts_with("douane.toml:2:13: telemetry.log_level \"inof\" is no log filter"),
            "{error}"
        );
        assert!(error.contains("help: did you mean \"info\"?"), "{error}");
        let error = load_text("", &[("DOUANE_TELEMETRY_LOG_LEVEL", "loud")]).expect_err("refused");
        assert!(error.starts_with("environment (DOUANE_TELEMETRY_LOG_LEVEL): "), "{error}");
    }

    #[test]
    fn what_serve_could_not_work_with_is_told_where_it_was_set() {
        for (text, told) in [
            (
                "[listen]\nprivate = \"0.0.0.0:9\"\n",
                "2:11: listen.private is 0.0.0.0:9, which is not loopback, and it speaks plain HTTP [open_private_door]",
            ),
            (
                "[listen]\npublic = \"127.0.0.1:8081\"\n",
                "2:10: listen.private (127.0.0.1:8081) and listen.public (127.0.0.1:8081) are one address [one_address]",
            ),
            (
                "[listen]\npublic = \"0.0.0.0:9\"\nhealth = \"127.0.0.1:9\"\n",
                "3:10: listen.health (127.0.0.1:9) and listen.public (0.0.0.0:9) are one address [one_address]",
            ),
            (
                "[events]\nnamespace = \"com example\"\n",
                "2:13: events.namespace \"com example\" is no namespace [invalid_setting]",
            ),
        ] {
            let error = load_text(text, &[]).expect_err("refused");
            assert!(error.starts_with(&format!("douane.toml:{told}")), "{error}");
        }
    }

    #[test]
    fn doors_with_addresses_of_their_own_are_no_mistake() {
        for text in [
            "[listen]\npublic = \"127.0.0.1:0\"\nprivate = \"127.0.0.1:0\"\nhealth = \"127.0.0.1:0\"\n",
            "[listen]\npublic = \"127.0.0.2:8081\"\n",
            "[listen]\nprivate = \"0.0.0.0:9\"\nprivate_without_tls = true\n",
            "[events]\nnamespace = \"org.a-b.events2\"\n",
        ] {
            assert!(load_text(text, &[]).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_mistake_in_a_broker_is_told_where_it_stands() {
        for (text, told) in [
            ("kind = \"file\"", "2:8: missing field `path`"),
            ("kind = \"fil\"", "2:8: unknown kind \"fil\", expected one of `stdout`, `file`"),
            (
                "kind = \"stdout\"\npath = \"x\"",
                "3:1: unknown field `path`, expected one of `from`, `match`, `name`, `kind`",
            ),
            ("path = \"x\"\nkind = \"file\"\nrotate_byte = 1", "4:1: unknown field `rotate_byte`"),
            (
                "kind = \"file\"\npath = \"x\"\nrotate_bytes = \"1MB\"",
                "4:16: invalid type: string \"1MB\", expected a whole number",
            ),
            ("kind = \"stdout\"\nfrm = \"now\"", "3:1: unknown field `frm`"),
            ("kind = \"stdout\"\nfrom = \"then\"", "3:8: expected \"now\""),
            ("kind = \"stdout\"\nmatch = [\"a.*\", \"\"]", "3:9: a pattern has 1 to 512 bytes"),
        ] {
            let text = format!("[[broker]]\n{text}\nname = \"a\"\n");
            let error = load_text(&text, &[]).expect_err("refused");
            assert!(error.starts_with(&format!("douane.toml:{told}")), "{error}");
        }
        let error = load_text("[[broker]]\nname = \"a\"\nkind = \"stdout\"\nfrm = \"now\"\n", &[]);
        assert!(error.expect_err("refused").contains("did you mean from?"));
        let error = load_text("[[broker]]\nname = \"a\"\n", &[]).expect_err("refused");
        assert!(error.starts_with("douane.toml:1:1: missing field `kind`"), "{error}");
    }

    #[test]
    fn a_secret_that_stands_in_the_file_is_refused_and_never_shown() {
        let http = "[[broker]]\nname = \"a\"\nkind = \"http\"\nurl = \"https://a.example/\"\n";
        let nats = "[[broker]]\nname = \"a\"\nkind = \"nats\"\nstream = \"S\"\n";
        let redis = "[[broker]]\nname = \"a\"\nkind = \"redis_streams\"\n";
        for (text, told) in [
            (format!("{http}signing_secrets = [\"swordfish\"]"), "names no source of a secret"),
            (
                format!("{http}signing_secrets = [\n\"env:A\",\n\"swordfish\",\n]"),
                "names no source of a secret",
            ),
            (format!("{http}signing_secrets = \"swordfish\""), "invalid type: a text, expected a sequence"),
            (
                format!("{nats}servers = [\"nats://a\"]\npassword = \"swordfish\""),
                "names no source of a secret",
            ),
            (
                format!("{nats}servers = [\"nats://me:swordfish@a\"]"),
                "servers: each begins with nats:// or tls://",
            ),
            (
                format!("{redis}url = \"redis://:swordfish@a\""),
                "url: it must begin with redis:// or rediss://",
            ),
        ] {
            let error = load_text(&text, &[]).expect_err("refused");
            assert!(error.contains(told) && !error.contains("swordfish"), "{error}");
        }
    }

    #[test]
    fn what_a_broker_could_not_work_with_is_told_where_it_stands() {
        let nats = "kind = \"nats\"\nservers = [\"nats://a\"]\nstream = \"S\"\n";
        let redis = "kind = \"redis_streams\"\nurl = \"redis://a\"\n";
        for (text, told) in [
            (format!("{nats}subject = \"a {{type}}\""), "6:11: broker[0].subject: a subject is words"),
            (format!("{nats}subject = \"a.*\""), "6:11: broker[0].subject: a subject is words"),
            (
                format!("{nats}subject = \"a.{{shard}}\""),
                "6:11: broker[0].subject: this kind of broker has no {shard}",
            ),
            (format!("{nats}subject = \"a.{{tpe}}\""), "6:11: there is no field {tpe}; there are {type}"),
            (format!("{nats}user = \"a\""), "6:8: broker[0].user: `user` and `password` go together"),
            (
                format!("{nats}password = \"env:A\""),
                "6:12: broker[0].password: `user` and `password` go together",
            ),
            (format!("{redis}shards = 4"), "5:10: broker[0].shards: `shards` counts streams"),
            (format!("{redis}ca_file = \"ca.pem\""), "5:11: broker[0].ca_file: `ca_file` needs a `url`"),
            (format!("{redis}max_event_bytes = 1"), "5:19: broker[0].max_event_bytes must be between"),
        ] {
            let error = load_text(&format!("[[broker]]\nname = \"a\"\n{text}\n"), &[]).expect_err("refused");
            assert!(error.starts_with(&format!("douane.toml:{told}")), "{error}");
        }
    }

    #[test]
    fn a_broker_is_what_its_kind_needs() {
        let text = "[[broker]]\nname = \"a\"\nfrom = \"42\"\nmatch = [\"payments.*\"]\nkind = \"file\"\npath = \"x\"\n";
        let config = load_text(text, &[]).expect("valid");
        let [broker] = &config.broker[..] else { panic!("{config:?}") };
        assert!(matches!(&broker.settings, BrokerSettings::File(file) if file.rotate_bytes > 4_096));
        assert!(broker.matching[0].matches("payments.PaymentCaptured.v1"));
        let written = toml::to_string(&config).expect("writes");
        assert_eq!(toml::from_str::<Config>(&written), Ok(config), "{written}");
    }

    #[test]
    fn a_broker_has_a_name_of_its_own() {
        let broker = |name: &str| format!("[[broker]]\nname = \"{name}\"\nkind = \"stdout\"\n");
        assert!(load_text(&(broker("a") + &broker("b")), &[]).is_ok());
        let error = load_text(&(broker("a") + &broker("b") + &broker("a")), &[]).expect_err("refused");
        assert!(error.starts_with("douane.toml:8:8: two brokers have the name \"a\""), "{error}");
    }
}
