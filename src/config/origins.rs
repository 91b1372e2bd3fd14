//! Room `config`: where a setting comes from, so that a mistake is told where it was made.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::{bounds::Fault, load};
use crate::model::Diagnostic;

/// Where the settings come from that are not the defaults.
#[derive(Debug)]
pub(super) struct Origins<'a> {
    /// The file's name.
    pub(super) name: &'a str,
    /// The file's text.
    pub(super) text: &'a str,
    /// The variable that set each key.
    pub(super) variables: BTreeMap<String, String>,
    /// The keys the command line set.
    pub(super) overridden: Vec<&'static str>,
}

impl Origins<'_> {
    /// A fault, at the place of the first of its keys that anyone set.
    pub(super) fn locate(&self, fault: &Fault) -> Diagnostic {
        let place = fault.keys.iter().find_map(|key| self.place(key));
        let (file, at) = place.unwrap_or_else(|| (self.name.to_owned(), None));
        let diagnostic = Diagnostic::new(fault.code, file, &fault.message, &fault.help);
        let diagnostic = match at {
            Some(at) => load::without_secrets(diagnostic.at(self.text, at)),
            None => diagnostic,
        };
        let source_line = diagnostic.source_line.clone().filter(|_| !fault.secret);
        Diagnostic { source_line, ..diagnostic }
    }

    fn place(&self, key: &str) -> Option<(String, Option<usize>)> {
        if self.overridden.contains(&key) {
            return Some(("command line".to_owned(), None));
        }
        if let Some(variable) = self.variables.get(key) {
            return Some((load::variable(variable), None));
        }
        offset(self.text, key).map(|at| (self.name.to_owned(), Some(at)))
    }
}

/// Where `intake.max_headers` or `broker[1].name` stands in a text.
fn offset(text: &str, key: &str) -> Option<usize> {
    let (section, key) = key.split_once('.')?;
    let root = DeTable::parse(text).ok()?;
    let table = match section.strip_suffix(']').and_then(|list| list.split_once('[')) {
        Some((list, index)) => match root.get_ref().get(list)?.get_ref() {
            DeValue::Array(items) => items.get(index.parse::<usize>().ok()?)?.get_ref(),
            _ => return None,
        },
        None => root.get_ref().get(section)?.get_ref(),
    };
    let DeValue::Table(table) = table else { return None };
    table.get(key).map(|value| value.span().start)
}
