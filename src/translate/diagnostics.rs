//! Room `translate`: VRL's diagnostics in ours. VRL counts bytes; a person counts lines and columns.

use vrl::diagnostic::{self, DiagnosticList, Note};

use super::meter::MAY_REPEAT;
use crate::model::Diagnostic;

/// VRL's code for a write to the event.
const READ_ONLY: usize = 315;
/// VRL's codes for what the parser refuses.
const SYNTAX: std::ops::Range<usize> = 200..300;
/// VRL's code for what has no effect.
const UNUSED: usize = 900;

/// Every diagnostic of a list, warnings too: what VRL only warns about is a mistake in a mapping (a result that goes
/// nowhere, a `!` that can never fire), and a desk is checked before it goes live.
pub(super) fn from_vrl(file: &str, source: &str, list: DiagnosticList) -> Vec<Diagnostic> {
    list.into_iter().map(|problem| one(file, source, &problem)).collect()
}

fn one(file: &str, source: &str, problem: &diagnostic::Diagnostic) -> Diagnostic {
    let diagnostic = Diagnostic::new(code(problem), file, message(problem), help(problem));
    let primary = problem.labels.iter().find(|label| label.primary).or(problem.labels.first());
    match primary {
        Some(label) => diagnostic.at(source, label.span.start()),
        None => diagnostic,
    }
}

fn code(problem: &diagnostic::Diagnostic) -> &'static str {
    match problem.code {
        code if SYNTAX.contains(&code) => "mapping_syntax",
        READ_ONLY => "mapping_read_only",
        UNUSED => "mapping_unused",
        _ if problem.message.ends_with(MAY_REPEAT) => "mapping_repeats",
        _ => "mapping_compile",
    }
}

fn message(problem: &diagnostic::Diagnostic) -> String {
    if problem.message.ends_with(MAY_REPEAT) {
        return MAY_REPEAT.to_owned();
    }
    let label = problem.labels.iter().find(|label| label.primary).map(|label| label.message.as_str());
    match label {
        Some(label) if label != problem.message && !label.starts_with("help:") && !label.is_empty() => {
            format!("{}: {label}", problem.message)
        }
        _ => problem.message.clone(),
    }
}

fn help(problem: &diagnostic::Diagnostic) -> String {
    if problem.message.ends_with(MAY_REPEAT) {
        return "make it a number first, as int!(.quantity) * 100".to_owned();
    }
    let context = problem.labels.iter().filter(|label| !label.primary).map(|label| label.message.clone());
    let notes =
        problem.notes.iter().filter(|note| is_advice(note)).map(|note| note.to_string().trim().to_owned());
    let advice: Vec<String> = context.chain(notes).filter(|text| !text.is_empty()).collect();
    match (problem.code, advice.is_empty()) {
        (READ_ONLY, _) => "the event is read-only; build the result in variables of your own".to_owned(),
        (UNUSED, _) => "assign the result, return it, or delete the line".to_owned(),
        (_, false) => advice.join("; ").replace(":; ", ": "),
        (code, true) => format!("see https://errors.vrl.dev/{code}"),
    }
}

fn is_advice(note: &Note) -> bool {
    matches!(note, Note::Hint(_) | Note::Example(_) | Note::CoerceValue | Note::Basic(_))
}
