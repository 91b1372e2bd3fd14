//! Room `pipeline`: where the items of a batch stand. A list may stand in elements of another, and elements of one list may
//! have different lists; the order of the items is that of the elements, and in an element that of the split. So the place
//! of an item is a function of the body and the split alone.

use std::sync::Arc;

use vrl::{path::OwnedValuePath, value::Value};

use super::{Found, Unidentified, around::Around};
use crate::{
    model::{ExternalEvent, ReasonCode},
    partners::{Level, List, Split},
};

/// The events of a batch, still without their items; `name` gives each its names, by its place. More than `max_items` of
/// them are an error of the whole delivery.
pub(super) fn name_all<'b>(
    split: &'b Split,
    body: &'b Value,
    max_items: usize,
    name: impl FnMut(u32, &'b Value, &[Around<'b>]) -> Found,
) -> Result<Vec<Found>, Unidentified> {
    let mut walk = Walk { max_items, name, found: Vec::new(), around: Vec::new() };
    walk.element(&split.body, body)?;
    Ok(walk.found)
}

struct Walk<'b, N> {
    max_items: usize,
    name: N,
    found: Vec<Found>,
    around: Vec<Around<'b>>,
}

impl<'b, N: FnMut(u32, &'b Value, &[Around<'b>]) -> Found> Walk<'b, N> {
    fn element(&mut self, level: &'b Level, element: &'b Value) -> Result<(), Unidentified> {
        let full = |list: &List| elements(list, element).is_some_and(|elements| !elements.is_empty());
        if !level.lists.iter().any(full) {
            return self.item(level, element);
        }
        for list in &level.lists {
            for inner in elements(list, element).unwrap_or_default() {
                self.around.push(Around { list: &list.path, element: inner });
                self.element(&list.element, inner)?;
                self.around.pop();
            }
        }
        Ok(())
    }

    /// An element without elements of its own: the item, an empty batch, or nothing that the split knows.
    fn item(&mut self, level: &Level, element: &'b Value) -> Result<(), Unidentified> {
        if level.item.is_none() && level.lists.iter().any(|list| elements(list, element).is_some()) {
            return Ok(());
        }
        if self.found.len() >= self.max_items {
            let detail = format!("more than {} items in one delivery", self.max_items);
            return Err(Unidentified::new(ReasonCode::OverLimit, detail));
        }
        let found = match &level.item {
            Some(path) => match element.get(path) {
                Some(item) => {
                    let ordinal = u32::try_from(self.found.len()).unwrap_or(u32::MAX);
                    (self.name)(ordinal, item, &self.around)
                }
                None => Err(unidentified(format!("{} has nothing at {path}", self.place()))),
            },
            None => Err(unidentified(self.no_array(level))),
        };
        self.found.push(found);
        Ok(())
    }

    /// Where the walk stands, as the split says it.
    fn place(&self) -> String {
        if self.around.is_empty() {
            return "the body".to_owned();
        }
        format!("an element of {}", self.lists())
    }

    fn lists(&self) -> String {
        let written = self.around.iter().map(|around| below("", around.list) + "[]");
        format!("body{}", written.collect::<String>())
    }

    fn no_array(&self, level: &Level) -> String {
        let lists: Vec<_> = level.lists.iter().map(|list| below(&self.lists(), &list.path)).collect();
        format!("there is no array at {}, where the items of a batch should stand", lists.join(" or "))
    }
}

fn unidentified(detail: String) -> Unidentified {
    Unidentified::new(ReasonCode::Unidentifiable, detail)
}

fn elements<'b>(list: &List, element: &'b Value) -> Option<&'b [Value]> {
    element.get(&list.path).and_then(Value::as_array)
}

fn below(start: &str, path: &OwnedValuePath) -> String {
    let path = path.to_string();
    let joint = if path.is_empty() || path.starts_with('[') { "" } else { "." };
    format!("{start}{joint}{path}")
}

/// Moves each item into the event that was named after it, and shares with it what it stood in.
pub(super) fn take_all(split: &Split, body: Value, named: Vec<Found>) -> Vec<Found> {
    let mut taken = Vec::with_capacity(named.len());
    take(&split.body, body, &Arc::default(), &mut taken);
    let with =
        |(found, (item, outer)): (Found, Taken)| found.map(|event| ExternalEvent { item, outer, ..event });
    named.into_iter().zip(taken).map(with).collect()
}

/// An item, `null` where nothing was found, and the elements it stood in.
type Taken = (Value, Arc<[Arc<Value>]>);

/// The same walk as that of the names, so that both tell of the same places.
fn take(level: &Level, mut element: Value, outer: &Arc<[Arc<Value>]>, taken: &mut Vec<Taken>) {
    let mut lists = Vec::new();
    for list in &level.lists {
        let elements = element.get_mut(&list.path).and_then(Value::as_array_mut);
        lists.extend(
            elements.filter(|elements| !elements.is_empty()).map(|elements| (list, std::mem::take(elements))),
        );
    }
    if lists.is_empty() {
        let is_empty_batch = || level.lists.iter().any(|list| elements(list, &element).is_some());
        if level.item.is_some() || !is_empty_batch() {
            let item = level
                .item
                .as_ref()
                .and_then(|path| element.get_mut(path))
                .map(|item| std::mem::replace(item, Value::Null));
            taken.push((item.unwrap_or(Value::Null), Arc::clone(outer)));
        }
        return;
    }
    let outer: Arc<[_]> = outer.iter().cloned().chain([Arc::new(element)]).collect();
    for (list, elements) in lists {
        for inner in elements {
            take(&list.element, inner, &outer, taken);
        }
    }
}
