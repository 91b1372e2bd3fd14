//! Room `config`: what `telemetry.log_level` may say. The log's own parser takes a misspelt level for a module's name and
//! then lets nothing through, so the words are looked at here.

use super::closest;

/// The levels, from silence to everything.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// A filter that would not do what was meant: what is wrong, and what to write.
pub(super) struct BadFilter {
    pub(super) message: String,
    pub(super) help: String,
}

/// Looks at a filter: levels and `module=level`, separated by commas.
pub(super) fn check(filter: &str) -> Result<(), BadFilter> {
    filter.split(',').try_for_each(|part| match part.split_once('=') {
        None => level(part, filter),
        Some((module, word)) if is_module(module) => level(word, filter),
        Some((module, _)) => Err(bad(filter, &format!("{module:?} is no module"), None)),
    })
}

fn level(word: &str, filter: &str) -> Result<(), BadFilter> {
    if LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word)) {
        return Ok(());
    }
    let near = closest(&word.to_ascii_lowercase(), LEVELS.iter().map(ToString::to_string));
    Err(bad(filter, &format!("{word:?} is no level"), near))
}

fn is_module(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "_:-".contains(letter))
}

fn bad(filter: &str, why: &str, near: Option<String>) -> BadFilter {
    let meant = near.map(|near| format!("did you mean {near:?}? ")).unwrap_or_default();
    BadFilter {
        message: format!("telemetry.log_level {filter:?} is no log filter: {why}"),
        help: format!(
            "{meant}the levels are {}; write one, as \"info\", or more for modules, as \"douane=debug,warn\"",
            LEVELS.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_levels_of_modules_are_filters() {
        for filter in ["info", "OFF", "douane=debug,warn", "warn,douane::intake=trace,hyper=off"] {
            assert!(check(filter).is_ok(), "{filter}");
        }
    }

    #[test]
    fn what_would_silence_the_log_is_refused() {
        for filter in
            ["", "inof", "douane", "info,", "douane=loud", "=info", "info, douane=debug", "a[b]=info"]
        {
            assert!(check(filter).is_err(), "{filter}");
        }
        let bad = check("inof").expect_err("refused");
        assert_eq!(bad.message, "telemetry.log_level \"inof\" is no log filter: \"inof\" is no level");
        assert!(bad.help.starts_with("did you mean \"info\"? the levels are off, error"), "{}", bad.help);
    }
}
