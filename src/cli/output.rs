//! Room `cli`: what people and scripts see: tables or JSON on standard output, everything else on standard error.

use std::{
    fmt::Display,
    io::{IsTerminal, Write},
};

use comfy_table::{ColumnConstraint, ContentArrangement, LineStyle, Table, TableStyle};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// Columns of what people copy: never broken into lines, however narrow the screen.
const WHOLE: [&str; 8] = ["number", "delivery", "request", "code", "preset", "partner", "event", "version"];
/// Rules around the table and below its head; none between rows.
const STYLE: TableStyle = TableStyle::new()
    .top_border(LineStyle::none().fill('─').junction('─'))
    .header_separator(LineStyle::none().fill('═').junction('═'))
    .bottom_border(LineStyle::none().fill('─').junction('─'));

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

/// A number with its noun: `1 entry`, `2 entries`.
pub(super) fn counted(count: impl Copy + Display + PartialEq + From<u8>, one: &str, more: &str) -> String {
    let noun = if count == 1.into() { one } else { more };
    format!("{count} {noun}")
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
    say(&arranged(head, rows).to_string());
}

fn arranged(head: &[&str], rows: Vec<Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(head.to_vec());
    table.add_rows(rows);
    let whole = head.iter().enumerate().filter(|(_, name)| WHOLE.contains(name));
    for (at, _) in whole {
        if let Some(column) = table.column_mut(at) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noun_goes_with_its_number() {
        let told = [0_u64, 1, 2].map(|count| counted(count, "entry", "entries"));
        assert_eq!(told, ["0 entries", "1 entry", "2 entries"]);
    }

    #[test]
    fn an_id_stays_in_one_piece_on_a_narrow_screen() {
        let id = "01a217c9-a3a0-7d9c-b0bb-6f1e0c3a9b7d";
        let row = ["1", "2026-11-23T12:00:00Z", "lab/default", id, "48", "full", "translated, duplicate"];
        let head = ["number", "received", "endpoint", "delivery", "size", "assurance", "outcomes"];
        let rows = vec![row.map(str::to_owned).to_vec(); 2];
        let table = arranged(&head, rows).set_width(90).to_string();
        assert_eq!(table.matches(id).count(), 2, "{table}");
        assert_eq!(table.lines().filter(|line| line.starts_with(['─', '═'])).count(), 3, "{table}");
        assert!(table.lines().all(|line| line.chars().count() <= 90), "{table}");
    }
}
