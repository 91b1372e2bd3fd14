//! Room `partners`: `split`: where a delivery is taken apart into its external events. May not look into deliveries.

use std::fmt;

use toml::de::DeValue;
use vrl::path::{OwnedSegment, OwnedValuePath};

use super::{
    desk::{Level, List, Split},
    reading::{Entry, Table},
    rules,
};
use crate::model::{Diagnostic, FieldPath, Root};

const HELP: &str = "write the path of an array with `[]` after it, as \"body.items[]\" or \"body.items[].Item\"; or a list of such paths";

/// A split: one path, or a list of them.
pub(super) fn split(entry: &Entry<'_>, problems: &mut Vec<Diagnostic>) -> Option<Split> {
    let before = problems.len();
    let entries = if entry.value.is_array() { entry.elements(problems) } else { vec![*entry] };
    let mut split = Split { body: Level::default(), paths: Vec::new() };
    for entry in &entries {
        let Some(text) = entry.text(problems) else { continue };
        let added = path(text).and_then(|path| split.add(path, entries.len() > 1));
        problems.extend(added.err().map(|why| entry.problem("bad_split", why, HELP)));
    }
    if problems.len() == before && split.body.lists.is_empty() {
        problems.push(entry.problem("bad_split", "no path of this split goes through a list", HELP));
    }
    (problems.len() == before).then_some(split)
}

/// The split of these paths; `None` when they are none.
pub(crate) fn split_of(texts: &[&str]) -> Option<Split> {
    let mut split = Split { body: Level::default(), paths: Vec::new() };
    texts.iter().try_for_each(|text| split.add(path(text)?, texts.len() > 1)).ok()?;
    (!split.body.lists.is_empty()).then_some(split)
}

fn path(text: &str) -> Result<FieldPath, String> {
    let path = FieldPath::parse_in_batch(text).ok().filter(|path| path.root() == Root::Body);
    path.ok_or_else(|| format!("{text:?} does not say where the items are"))
}

impl Split {
    /// Adds a path. Beside others it may not count through a list: two paths could take the same item.
    fn add(&mut self, path: FieldPath, beside_others: bool) -> Result<(), String> {
        let steps = || path.lists().iter().chain([path.value_path()]);
        let counts = |step: &OwnedValuePath| step.segments.iter().any(OwnedSegment::is_index);
        if beside_others && steps().any(counts) {
            return Err(format!("\"{path}\" takes one element of a list, beside other paths"));
        }
        let level = path.lists().iter().fold(&mut self.body, |level, list| level.below(list));
        if level.item.replace(path.value_path().clone()).is_some() {
            return Err(format!("\"{path}\" is in a place that another path takes already"));
        }
        self.paths.push(path);
        Ok(())
    }

    /// Whether an item may stand in an element of these lists, or of lists in it.
    fn goes_through(&self, lists: &[OwnedValuePath]) -> bool {
        let mut level = &self.body;
        lists.iter().all(|path| {
            let known = level.lists.iter().find(|list| list.path == *path);
            known.inspect(|list| level = &list.element).is_some()
        })
    }
}

impl Level {
    /// What is looked for in the elements of a list; made when it is not known yet.
    fn below(&mut self, path: &OwnedValuePath) -> &mut Self {
        let known = self.lists.iter().position(|list| list.path == *path);
        let index = known.unwrap_or_else(|| {
            self.lists.push(List { path: path.clone(), element: Self::default() });
            self.lists.len() - 1
        });
        &mut self.lists[index].element
    }
}

/// Refuses every path in a table that goes through lists which none of the splits goes through.
pub(super) fn refuse_others(
    table: &Table<'_>,
    keys: &[&str],
    splits: &[&Split],
    problems: &mut Vec<Diagnostic>,
) {
    for entry in table.iter().filter(|entry| keys.contains(&entry.key)) {
        refuse_in(entry, entry.value, splits, problems);
    }
}

fn refuse_in(entry: &Entry<'_>, value: &DeValue<'_>, splits: &[&Split], problems: &mut Vec<Diagnostic>) {
    match value {
        DeValue::String(text) => {
            let path = FieldPath::parse_in_batch(text).ok().filter(|path| !path.lists().is_empty());
            let Some(path) = path else { return };
            if splits.iter().any(|split| split.goes_through(path.lists())) {
                return;
            }
            let message = format!("`{}` goes through lists that are not split: \"{path}\"", entry.key);
            let help = match splits.first() {
                Some(split) => {
                    format!("begin it as a path of the split: {split}; or name one element, as [0]")
                }
                None => {
                    "name one element, as body.items[0].id; or take the batch apart, with `split`".to_owned()
                }
            };
            problems.push(entry.problem("not_split", message, help));
        }
        DeValue::Array(elements) => {
            elements.iter().for_each(|element| refuse_in(entry, element.get_ref(), splits, problems));
        }
        DeValue::Table(table) => {
            table.values().for_each(|value| refuse_in(entry, value.get_ref(), splits, problems));
        }
        _ => {}
    }
}

/// As it is written, so that what is shown can be copied into a file.
impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.paths.as_slice() {
            [path] => path.fmt(f),
            paths => f.write_str(&rules::listed(paths)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::reading::{Source, parse},
        *,
    };

    fn read(text: &str) -> (Option<Split>, Vec<Diagnostic>) {
        let source = Source { file: "partner.toml", text };
        let (table, mut problems) = parse(source);
        let entry = Table::of(source, 0, table.get_ref()).get("x").expect("x is there");
        let found = split(&entry, &mut problems);
        (found, problems)
    }

    #[test]
    fn a_split_is_a_list_and_what_stands_below() {
        let items = split_of(&["body.items[].Item"]).expect("a split");
        assert_eq!((items.body.lists[0].path.to_string(), items.body.item), ("items".to_owned(), None));
        let item = items.body.lists[0].element.item.as_ref().expect("an item");
        assert_eq!(item.to_string(), "Item");
        let whole = split_of(&["body[]"]).expect("a split");
        assert!(whole.body.lists[0].path.is_root() && whole.body.lists[0].element.item.is_some());
        for bad in ["body.items", "header.x[]", "body.items[]Item", "[]", "body.items[]."] {
            assert_eq!(split_of(&[bad]), None, "{bad}");
        }
    }

    #[test]
    fn lists_stand_in_elements_of_lists() {
        let (split, problems) = read(
            "x = ['body.entry[].changes[].value.messages[]', 'body.entry[].changes[]', 'body.entry[].messaging[]', 'body.entry[]']",
        );
        assert_eq!(problems, []);
        let split = split.expect("a split");
        let entry = &split.body.lists[0].element;
        assert_eq!((split.body.lists.len(), entry.lists.len(), entry.item.is_some()), (1, 2, true));
        assert_eq!(entry.lists[0].element.lists[0].path.to_string(), "value.messages");
        let lists = |text: &str| FieldPath::parse_in_batch(text).expect("a path").lists().to_vec();
        assert!(
            split.goes_through(&lists("body.entry[].id"))
                && split.goes_through(&lists("body.entry[].messaging[].a"))
        );
        assert!(!split.goes_through(&lists("body.changes[].id")));
    }

    #[test]
    fn splits_that_are_none_are_refused_at_their_place() {
        for (text, says, line) in [
            ("x = 'body.items'", "no path of this split goes through a list", 1),
            ("x = ['body']", "no path of this split goes through a list", 1),
            ("x = []", "no path of this split goes through a list", 1),
            ("x = 7", "`x` must be a string, not integer", 1),
            ("x = [\n'body.a[]',\n'item.b[]']", "\"item.b[]\" does not say where the items are", 3),
            (
                "x = ['body.a[]', 'body.a[].b']",
                "\"body.a[].b\" is in a place that another path takes already",
                1,
            ),
            (
                "x = ['body.a[]', 'body.a[0].b[]']",
                "\"body.a[0].b[]\" takes one element of a list, beside other paths",
                1,
            ),
        ] {
            let (split, problems) = read(text);
            assert_eq!(split, None, "{text}");
            assert_eq!((problems[0].message.as_str(), problems[0].line), (says, line));
        }
    }

    #[test]
    fn what_was_read_is_written_as_it_was() {
        for text in ["body[]", "body.items[]", "body.items[].Item.x", "body.entry[].changes[]", "body[][]"] {
            assert_eq!(split_of(&[text]).expect("a split").to_string(), text);
        }
        let several = r#"["body.entry[].changes[]", "body.entry[]", "body"]"#;
        assert_eq!(read(&format!("x = {several}")).0.expect("a split").to_string(), several);
    }
}
