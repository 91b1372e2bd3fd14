//! Room `telemetry`: the log, on standard error, for people or as JSON. Fields that every room uses: `delivery`,
//! `partner`, `endpoint`, `external_id`.

use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::config::LogFormat;

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogSetupError {
    /// `log_level` is no filter.
    #[error(
        "telemetry.log_level {given:?} is no log filter ({reason}); write it as \"info\" or \"douane=debug,warn\""
    )]
    Filter {
        /// What was given.
        given: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Another logger is already in place.
    #[error("the log is already set up")]
    AlreadySet,
}

/// Sends every log line of this process to standard error, in this format, as far as `filter` lets it through.
pub fn init(format: LogFormat, filter: &str) -> Result<(), LogSetupError> {
    let colours = io::stderr().is_terminal();
    let subscriber = subscriber(format, parse(filter)?, io::stderr, colours);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogSetupError::AlreadySet)
}

/// Libraries that log bodies and credentials among other things. What fails in them is logged by who uses them.
const NEVER_LOGGED: &str = "lapin=off,amq_protocol_tcp=off";

/// Lets a panic leave its place in the log and nothing else: its text may quote what was being worked on.
pub fn log_panics_by_place() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a panic was contained or ends the process");
    }));
}

fn parse(filter: &str) -> Result<EnvFilter, LogSetupError> {
    EnvFilter::builder()
        .parse([filter, NEVER_LOGGED].join(","))
        .map_err(|error| LogSetupError::Filter { given: filter.to_owned(), reason: error.to_string() })
}

fn subscriber<W>(
    format: LogFormat,
    filter: EnvFilter,
    writer: W,
    colours: bool,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match format {
        LogFormat::Human => Box::new(lines.with_target(false).with_ansi(colours).finish()),
        LogFormat::Json => Box::new(lines.json().flatten_event(true).with_span_list(false).finish()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(format: LogFormat, filter: &str) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(format, parse(filter).expect("a filter"), move || writer.clone(), false);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(delivery = "d-1", partner = "acme", "accepted");
            tracing::debug!("too detailed");
        });
        let bytes = lines.0.lock().expect("not poisoned").clone();
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn json_lines_carry_the_fields_flat() {
        let text = written(LogFormat::Json, "info");
        assert_eq!(text.lines().count(), 1);
        let line: serde_json::Value = serde_json::from_str(&text).expect("one JSON object");
        assert_eq!((&line["delivery"], &line["partner"]), (&"d-1".into(), &"acme".into()));
        assert_eq!(line["message"], "accepted");
    }

    #[test]
    fn human_lines_are_plain_text_where_no_terminal_is() {
        let text = written(LogFormat::Human, "debug");
        assert!(text.contains(" INFO accepted delivery=\"d-1\" partner=\"acme\""), "{text}");
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn what_libraries_say_of_bodies_and_credentials_is_never_written() {
        for filter in ["trace", "lapin=trace,amq_protocol_tcp=trace"] {
            let lines = Lines::default();
            let writer = lines.clone();
            let filter = parse(filter).expect("a filter");
            let subscriber = subscriber(LogFormat::Human, filter, move || writer.clone(), false);
            tracing::subscriber::with_default(subscriber, || {
                tracing::warn!(target: concat!("lapin", "::returned_messages"), "a body");
                tracing::trace!(target: concat!("lapin", "::frames"), "a body");
                tracing::trace!(target: "amq_protocol_tcp", "a password");
            });
            assert!(lines.0.lock().expect("not poisoned").is_empty());
        }
    }

    #[test]
    fn a_filter_that_is_none_says_what_one_looks_like() {
        let error = parse("douane=loud").expect_err("no level");
        assert!(error.to_string().contains("douane=debug,warn"), "{error}");
    }
}
