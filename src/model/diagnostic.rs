//! Room `model`: what is wrong with a file a person wrote, where, and what to do about it.

use std::fmt;

use serde::Serialize;

/// One mistake in a partner folder, a contract or the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The stable code, as `unknown_key` or `mapping_syntax`.
    pub code: &'static str,
    /// The file, relative to the mappings folder (or the configuration's path).
    pub file: String,
    /// The line, from 1; 0 when the whole file is meant.
    pub line: usize,
    /// The column, from 1; 0 when the whole line is meant.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
    /// The source line, so that nobody has to open the file to understand.
    pub source_line: Option<String>,
}

impl Diagnostic {
    /// A mistake that concerns a file as a whole.
    pub fn new(
        code: &'static str,
        file: impl Into<String>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            code,
            file: file.into(),
            line: 0,
            column: 0,
            message: message.into(),
            help: help.into(),
            source_line: None,
        }
    }

    /// Points at the byte `offset` of `source`.
    #[must_use]
    pub fn at(mut self, source: &str, offset: usize) -> Self {
        let mut offset = offset.min(source.len());
        while !source.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &source[..offset];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        self.line = before.matches('\n').count() + 1;
        self.column = source[line_start..offset].chars().count() + 1;
        self.source_line = source[line_start..].lines().next().map(str::to_owned);
        self
    }

    /// Where it is: `file`, `file:line` or `file:line:column`.
    pub fn place(&self) -> String {
        match (self.line, self.column) {
            (0, _) => self.file.clone(),
            (line, 0) => format!("{}:{line}", self.file),
            (line, column) => format!("{}:{line}:{column}", self.file),
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} [{}]", self.place(), self.message, self.code)?;
        if let Some(line) = &self.source_line {
            write!(f, "\n    | {}", line.trim_end())?;
            if self.column > 0 {
                write!(f, "\n    | {}^", " ".repeat(self.column - 1))?;
            }
        }
        write!(f, "\n    help: {}", self.help)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_at_the_place() {
        let source = "a = 1\nbé = oops\n";
        let diagnostic =
            Diagnostic::new("x", "f.toml", "bad", "fix it").at(source, source.find("oops").expect("there"));
        assert_eq!(
            diagnostic.to_string(),
            "f.toml:2:6: bad [x]\n    | bé = oops\n    |      ^\n    help: fix it"
        );
    }
}
