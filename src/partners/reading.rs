//! Room `partners`: reading TOML so that every mistake of a file is found at once, each with its place. Tables can be
//! laid one over another, key by key, and every value still knows which file it stands in. May not know what keys mean.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::model::Diagnostic;

/// Below this likeness (0 to 1) a name is not suggested for another.
const MIN_LIKENESS: f64 = 0.7;

/// A file that is being read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    /// Its path relative to the mappings folder.
    pub(super) file: &'a str,
    /// Its text.
    pub(super) text: &'a str,
}

impl Source<'_> {
    /// A mistake at the byte `at`. The source line is left out where it could show a secret.
    pub(super) fn problem(
        self,
        code: &'static str,
        at: usize,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Diagnostic {
        let mut problem = Diagnostic::new(code, self.file, message, help).at(self.text, at);
        problem.source_line = problem.source_line.filter(|line| !may_show_a_secret(line));
        problem
    }
}

/// Whether a line is one that people paste secrets into.
fn may_show_a_secret(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    ["secret", "from", "whsec_"].iter().any(|word| line.contains(word))
}

/// The tables of a text, as far as they can be read, and what is wrong with its TOML.
pub(super) fn parse(source: Source<'_>) -> (Spanned<DeTable<'_>>, Vec<Diagnostic>) {
    let (table, errors) = DeTable::parse_recoverable(source.text);
    let problems = errors.iter().map(|error| {
        let at = error.span().map_or(0, |span| span.start);
        source.problem(
            "toml_syntax",
            at,
            format!("this is no TOML: {}", error.message()),
            "correct the syntax",
        )
    });
    (table, problems.collect())
}

/// The name among `known` that someone who wrote `name` most likely meant.
pub fn closest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= MIN_LIKENESS)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, candidate)| candidate)
}

/// What to do about an unknown name.
pub(super) fn suggestion<'k>(name: &str, known: impl IntoIterator<Item = &'k str> + Clone) -> String {
    match closest(name, known.clone()) {
        Some(meant) => format!("did you mean {meant:?}?"),
        None => match known.into_iter().collect::<Vec<_>>() {
            known if known.is_empty() => "remove it".to_owned(),
            known => format!("one of: {}", known.join(", ")),
        },
    }
}

/// A key with its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    /// The file it stands in.
    pub(super) source: Source<'a>,
    /// Its key.
    pub(super) key: &'a str,
    /// Where the key stands.
    pub(super) key_at: usize,
    /// Where the value stands.
    pub(super) at: usize,
    /// The value.
    pub(super) value: &'a DeValue<'a>,
}

impl<'a> Entry<'a> {
    /// A mistake at the value.
    pub(super) fn problem(
        &self,
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Diagnostic {
        self.source.problem(code, self.at, message, help)
    }

    fn wrong_type(&self, wanted: &str) -> Diagnostic {
        let message = format!("`{}` must be {wanted}, not {}", self.key, self.value.type_str());
        self.problem("wrong_type", message, format!("write {wanted}"))
    }

    /// A string.
    pub(super) fn text(&self, problems: &mut Vec<Diagnostic>) -> Option<&'a str> {
        let text = self.value.as_str();
        if text.is_none() {
            problems.push(self.wrong_type("a string"));
        }
        text
    }

    /// The elements of an array, each as an entry under the same key.
    pub(super) fn elements(&self, problems: &mut Vec<Diagnostic>) -> Vec<Entry<'a>> {
        let DeValue::Array(elements) = self.value else {
            problems.push(self.wrong_type("an array"));
            return Vec::new();
        };
        let element = |value: &'a Spanned<DeValue<'a>>| Entry {
            at: value.span().start,
            value: value.get_ref(),
            ..*self
        };
        elements.iter().map(element).collect()
    }

    /// A table.
    pub(super) fn table(&self, problems: &mut Vec<Diagnostic>) -> Option<Table<'a>> {
        let DeValue::Table(table) = self.value else {
            problems.push(self.wrong_type("a table"));
            return None;
        };
        Some(Table::of(self.source, self.at, table))
    }

    /// A duration as people write it, above zero.
    pub(super) fn duration(&self, problems: &mut Vec<Diagnostic>) -> Option<Duration> {
        let text = self.text(problems)?;
        let duration = humantime::parse_duration(text).ok().filter(|duration| !duration.is_zero());
        if duration.is_none() {
            let message = format!("`{}` is no duration above zero", self.key);
            problems.push(self.problem("duration", message, "write it as \"30s\", \"5m\" or \"35d\""));
        }
        duration
    }
}

/// A table, or several laid one over another.
#[derive(Clone, Debug)]
pub(super) struct Table<'a> {
    /// The file it stands in; of several, the uppermost.
    pub(super) source: Source<'a>,
    /// Where it begins.
    pub(super) at: usize,
    entries: BTreeMap<&'a str, Entry<'a>>,
}

impl<'a> Table<'a> {
    /// The table of a parsed text.
    pub(super) fn of(source: Source<'a>, at: usize, table: &'a DeTable<'a>) -> Self {
        let entry = |(key, value): (&'a Spanned<_>, &'a Spanned<DeValue<'a>>)| {
            let name: &'a std::borrow::Cow<'a, str> = key.get_ref();
            let (key_at, at) = (key.span().start, value.span().start);
            (name.as_ref(), Entry { source, key: name.as_ref(), key_at, at, value: value.get_ref() })
        };
        Self { source, at, entries: table.iter().map(entry).collect() }
    }

    /// A table without keys, at a place.
    pub(super) fn empty(source: Source<'a>, at: usize) -> Self {
        Self { source, at, entries: BTreeMap::new() }
    }

    /// This table laid over another: its keys count, the other's fill the gaps.
    #[must_use]
    pub(super) fn over(mut self, base: &Self) -> Self {
        for (key, entry) in &base.entries {
            self.entries.entry(key).or_insert(*entry);
        }
        self
    }

    /// This table without some keys.
    #[must_use]
    pub(super) fn without(mut self, keys: &[&str]) -> Self {
        self.entries.retain(|key, _| !keys.contains(key));
        self
    }

    /// A mistake of the table as a whole.
    pub(super) fn problem(
        &self,
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Diagnostic {
        self.source.problem(code, self.at, message, help)
    }

    /// Every key with its value.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry<'a>> {
        self.entries.values()
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<Entry<'a>> {
        self.entries.get(key).copied()
    }

    /// Whether a key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Refuses every key that is not among `known`.
    pub(super) fn only(&self, known: &[&str], problems: &mut Vec<Diagnostic>) {
        for entry in self.entries.values().filter(|entry| !known.contains(&entry.key)) {
            let message = format!("`{}` is no key here", entry.key);
            let help = suggestion(entry.key, known.iter().copied());
            problems.push(entry.source.problem("unknown_key", entry.key_at, message, help));
        }
    }

    /// A string.
    pub(super) fn text(&self, key: &str, problems: &mut Vec<Diagnostic>) -> Option<&'a str> {
        self.get(key)?.text(problems)
    }

    /// A string that must be there and not be empty.
    pub(super) fn required(&self, key: &str, problems: &mut Vec<Diagnostic>) -> Option<&'a str> {
        let Some(entry) = self.get(key) else {
            problems.push(self.missing(key));
            return None;
        };
        let text = entry.text(problems)?;
        if text.trim().is_empty() {
            problems.push(entry.problem("empty", format!("`{key}` is empty"), "give it a value"));
            return None;
        }
        Some(text)
    }

    /// A string that must not be empty if it is there.
    pub(super) fn required_if_there(&self, key: &str, problems: &mut Vec<Diagnostic>) -> Option<String> {
        self.has(key).then(|| self.required(key, problems)).flatten().map(str::to_owned)
    }

    /// The mistake that a key is not there.
    pub(super) fn missing(&self, key: &str) -> Diagnostic {
        self.problem("missing_key", format!("`{key}` is missing"), format!("add `{key} = …`"))
    }

    /// An array of strings, each with its place; empty when the key is not there.
    pub(super) fn texts(&self, key: &str, problems: &mut Vec<Diagnostic>) -> Vec<(&'a str, usize)> {
        let Some(entry) = self.get(key) else { return Vec::new() };
        let elements = entry.elements(problems);
        elements.iter().filter_map(|element| Some((element.text(problems)?, element.at))).collect()
    }

    /// A whole number within bounds.
    pub(super) fn number(
        &self,
        key: &str,
        bounds: RangeInclusive<u64>,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<u64> {
        let entry = self.get(key)?;
        let DeValue::Integer(integer) = entry.value else {
            problems.push(entry.wrong_type("a whole number"));
            return None;
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = number.filter(|number| bounds.contains(number));
        if number.is_none() {
            let (low, high) = bounds.into_inner();
            let message = format!("`{key}` must be from {low} to {high}");
            problems.push(entry.problem("out_of_bounds", message, "write a number within the bounds"));
        }
        number
    }

    /// `true` or `false`; `false` when the key is not there.
    pub(super) fn truth(&self, key: &str, problems: &mut Vec<Diagnostic>) -> bool {
        let Some(entry) = self.get(key) else { return false };
        let truth = entry.value.as_bool();
        if truth.is_none() {
            problems.push(entry.wrong_type("true or false"));
        }
        truth.unwrap_or_default()
    }

    /// A table.
    pub(super) fn table(&self, key: &str, problems: &mut Vec<Diagnostic>) -> Option<Table<'a>> {
        self.get(key)?.table(problems)
    }

    /// An array of tables; empty when the key is not there.
    pub(super) fn tables(&self, key: &str, problems: &mut Vec<Diagnostic>) -> Vec<Table<'a>> {
        let Some(entry) = self.get(key) else { return Vec::new() };
        let elements = entry.elements(problems);
        elements.iter().filter_map(|element| element.table(problems)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source(text: &str) -> Source<'_> {
        Source { file: "partners/acme/partner.toml", text }
    }

    #[test]
    fn every_unknown_key_is_found_at_its_place() {
        let source = source("nmae = 'x'\n\n[zzz]\na = 1\n");
        let (table, problems) = parse(source);
        assert!(problems.is_empty());
        let mut problems = Vec::new();
        Table::of(source, 0, table.get_ref()).only(&["name", "owner"], &mut problems);
        let found: Vec<_> =
            problems.iter().map(|found| (found.code, found.line, found.help.as_str())).collect();
        assert_eq!(
            found,
            [("unknown_key", 1, "did you mean \"name\"?"), ("unknown_key", 3, "one of: name, owner")]
        );
    }

    #[test]
    fn upper_keys_count_and_lower_ones_fill_the_gaps() {
        let (upper, lower) = (source("a = 'upper'"), source("a = 'lower'\nb = 'lower'"));
        let (upper_table, lower_table) = (parse(upper).0, parse(lower).0);
        let base = Table::of(lower, 0, lower_table.get_ref());
        let both = Table::of(upper, 0, upper_table.get_ref()).over(&base);
        let mut problems = Vec::new();
        assert_eq!(both.text("a", &mut problems), Some("upper"));
        assert_eq!(both.text("b", &mut problems), Some("lower"));
        assert!(problems.is_empty());
    }

    #[test]
    fn a_line_with_a_secret_is_not_shown() {
        let problem = source("from = \"whsec_abc\" oops").problem("x", 19, "bad", "fix it");
        assert_eq!((problem.line, problem.source_line), (1, None));
        let problem = source("name = \"Acme\" oops").problem("x", 14, "bad", "fix it");
        assert_eq!(problem.source_line.as_deref(), Some("name = \"Acme\" oops"));
    }

    #[test]
    fn broken_toml_gives_what_can_be_read() {
        let (table, problems) = parse(source("a = 1\nb = = 2\n[[endpoint]]\nname = 'orders'\n"));
        assert_eq!(problems[0].code, "toml_syntax");
        assert_eq!(problems[0].line, 2);
        assert!(table.get_ref().get("endpoint").is_some());
    }

    proptest! {
        #[test]
        fn never_panics(text in "[a-z\\[\\]=\"'\\n.{}, 0-9]{0,80}") {
            let source = source(&text);
            let (table, _) = parse(source);
            let mut problems = Vec::new();
            let table = Table::of(source, 0, table.get_ref());
            table.only(&[], &mut problems);
            for entry in table.iter() {
                entry.duration(&mut problems);
                entry.elements(&mut problems);
                table.number(entry.key, 0..=10, &mut problems);
            }
        }
    }
}
