//! Room `pipeline`: what a rule can look at when it names an item: the request, the item, and the elements of lists that
//! it stands in.

use std::borrow::Cow;

use vrl::{path::OwnedValuePath, value::Value};

use crate::model::{FieldPath, Fields};

/// An element that an item stands in, or the item itself, and the list it is an element of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around<'a> {
    /// Where the list stands, below the element before.
    pub(super) list: &'a OwnedValuePath,
    /// The element.
    pub(super) element: &'a Value,
}

/// The places that rules look into.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places<'a> {
    /// The request, the body and the item.
    pub(super) fields: Fields<'a>,
    /// The elements the item stands in, from the outermost to the innermost.
    pub(super) around: &'a [Around<'a>],
}

impl<'a> Places<'a> {
    /// The value at a path; `None` when it is absent or null, and when the item does not stand in these lists.
    pub(super) fn get(&self, path: &FieldPath) -> Option<Cow<'a, Value>> {
        let Some(last) = path.lists().len().checked_sub(1) else { return self.fields.get(path) };
        let here = self.around.get(..=last)?;
        let same = here.iter().zip(path.lists()).all(|(around, list)| around.list == list);
        let value = here.last().filter(|_| same)?.element.get(path.value_path())?;
        (!value.is_null()).then_some(Cow::Borrowed(value))
    }
}
