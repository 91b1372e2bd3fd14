//! Room `cli`: what people and scripts see: tables or JSON on standard output, everything else on standard error.

use std::io::{IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets::UTF8_HORIZONTAL_ONLY};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// How a listing is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// Writes text to standard output. A closed pipe (`| head`) is no error worth a word.
pub(super) fn print(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// Writes one line to standard output.
pub(super) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

/// Writes one line to standard error.
pub(super) fn complain(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "douane: {line}");
}

/// Writes a value as indented JSON.
pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    say(&serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Writes a table, or a line that says there is nothing.
pub(super) fn table(head: &[&str], rows: Vec<Vec<String>>, when_empty: &str) {
    if rows.is_empty() {
        say(when_empty);
        return;
    }
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(head.to_vec());
    table.add_rows(rows);
    say(&table.to_string());
}

/// A progress bar on a terminal; nothing elsewhere.
pub(super) fn progress(total: u64, what: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg} {bar:32} {human_pos}/{human_len} {elapsed} left {eta}");
    let bar = ProgressBar::new(total).with_message(what.to_owned());
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
