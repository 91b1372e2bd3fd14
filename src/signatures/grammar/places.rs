//! Room `signatures`: the parts of a `[signature]` table: places, the message, the time, the items.

use std::time::Duration;

use toml::Spanned;

use super::{PlacedTable, SchemeError, SignatureTable};
use crate::{
    config::HumanDuration,
    model::{FieldPath, Root},
    signatures::{
        DEFAULT_TOLERANCE, Items, Pair, Place, Placed, Stamp,
        template::{Template, TemplateError},
    },
};

/// The longest tolerance: beyond, a timestamp protects nothing.
const MAX_TOLERANCE: Duration = Duration::from_hours(24);

pub(super) fn required<'t, T>(value: Option<&'t T>, key: &str, example: &str) -> Result<&'t T, SchemeError> {
    value.ok_or_else(|| {
        let message = format!("[signature] has no {key}");
        SchemeError::new("missing_key", message, format!("add {key} = {example}, or name a preset"))
    })
}

pub(super) fn path(text: &Spanned<String>) -> Result<FieldPath, SchemeError> {
    FieldPath::parse(text.get_ref()).map_err(|error| {
        let help = "write a path as in [identify]: header.acme-signature, body.signature or item.signature";
        SchemeError::new("invalid_path", error.to_string(), help).at(text)
    })
}

pub(super) fn template(
    message: &Spanned<String>,
    free: Option<&Spanned<String>>,
) -> Result<Template, SchemeError> {
    let free = free.map(path).transpose()?;
    Template::parse(message.get_ref(), free.as_ref()).map_err(|error| {
        let (code, help) = match error {
            TemplateError::Border => (
                "movable_border",
                "write the text that the sender has between them; without one, only the timestamp or the raw body can \
                 stand beside a field",
            ),
            _ => (
                "invalid_template",
                "write parts in braces, as \"{timestamp}.{body}\"; {{ stands for one brace",
            ),
        };
        SchemeError::new(code, error.to_string(), help).at(message)
    })
}

pub(super) fn placed<F: Copy>(table: &PlacedTable<F>) -> Result<Placed<F>, SchemeError> {
    if let (None, Some(assign)) = (&table.pair, &table.assign) {
        let help = "add pair = \"…\", the name in front of it, or remove assign";
        return Err(
            SchemeError::new("assign_without_pair", "assign separates nothing without pair", help).at(assign)
        );
    }
    let assign = table.assign.as_ref().map_or('=', |assign| *assign.get_ref());
    let pair = table.pair.clone().map(|name| Pair { name, assign });
    let separator = table.separator.or(pair.is_some().then_some(','));
    if pair.as_ref().is_some_and(|pair| separator == Some(pair.assign)) {
        let help = "pieces are separated by separator, and name and text within one by assign";
        let message = "separator and assign are the same character";
        return Err(SchemeError::new("ambiguous_pieces", message, help).at(&table.path));
    }
    let place = Place { path: path(&table.path)?, separator, pair, prefix: table.prefix.clone() };
    Ok(Placed { place, form: table.form })
}

pub(super) fn stamp(table: &SignatureTable) -> Result<Option<Stamp>, SchemeError> {
    match (&table.timestamp, &table.tolerance) {
        (Some(at), _) => Ok(Some(Stamp { at: placed(at)?, tolerance: tolerance(table)? })),
        (None, Some(given)) => Err(no_timestamp_to_tolerate(given)),
        (None, None) => Ok(None),
    }
}

pub(super) fn no_timestamp_to_tolerate(given: &Spanned<HumanDuration>) -> SchemeError {
    let help = "remove tolerance; if the sender signs a time, say where it stands in timestamp";
    SchemeError::new("tolerance_without_timestamp", "this scheme has no timestamp to tolerate", help)
        .at(given)
}

pub(super) fn tolerance(table: &SignatureTable) -> Result<Duration, SchemeError> {
    let Some(given) = &table.tolerance else { return Ok(DEFAULT_TOLERANCE) };
    let tolerance = given.get_ref().0;
    if (Duration::from_secs(1)..=MAX_TOLERANCE).contains(&tolerance) {
        return Ok(tolerance);
    }
    let help = "write 1s to 24h; 5m suits senders that sign each attempt anew";
    Err(SchemeError::new(
        "tolerance_out_of_range",
        "this tolerance protects nothing or refuses everything",
        help,
    )
    .at(given))
}

pub(super) fn items(text: &Spanned<String>) -> Result<Items, SchemeError> {
    let invalid = || {
        let message = format!("{:?} names no items", text.get_ref());
        let help = "write the array with [] behind it, as \"body.events[]\" or \"body.events[].item\"";
        SchemeError::new("invalid_path", message, help).at(text)
    };
    let (array, element) = text.get_ref().split_once("[]").ok_or_else(invalid)?;
    let array = FieldPath::parse(array).ok().filter(|path| path.root() == Root::Body).ok_or_else(invalid)?;
    let element = FieldPath::parse(&format!("item{element}")).ok();
    let element = element.filter(|path| path.root() == Root::Item).ok_or_else(invalid)?;
    Ok(Items { array, element: element.value_path().clone(), text: text.get_ref().clone() })
}
