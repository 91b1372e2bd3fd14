//! Room `signatures`: the parts of a `[signature]` table: places, the message, the time, the items.

use std::{collections::BTreeMap, time::Duration};

use toml::Spanned;

use super::{DigestTable, PlacedTable, SchemeError, SignatureTable};
use crate::{
    config::HumanDuration,
    model::{FieldPath, Root},
    signatures::{
        Bound, DEFAULT_TOLERANCE, Items, Pair, Place, Placed, Position, Stamp, Unwrap,
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
            TemplateError::OptionalBorder => (
                "movable_border",
                "let another text follow, or name the free part with free; or write the part without brackets",
            ),
            _ => (
                "invalid_template",
                "write parts in braces, as \"{timestamp}.{body}\"; {{ stands for one brace, [[ for one bracket",
            ),
        };
        SchemeError::new(code, error.to_string(), help).at(message)
    })
}

/// The texts that must stand in a request, for a version or an algorithm that is pinned.
pub(super) fn required_texts(
    table: &Spanned<BTreeMap<String, String>>,
) -> Result<Vec<(FieldPath, String)>, SchemeError> {
    let pair = |(at, wanted): (&String, &String)| {
        let at = path(&Spanned::new(table.span(), at.clone()))?;
        Ok((at, wanted.clone()))
    };
    table.get_ref().iter().map(pair).collect()
}

/// How the text at a place is written, where nothing else says it.
pub(super) fn form<F: Copy>(table: &PlacedTable<F>, example: &str) -> Result<F, SchemeError> {
    table.form.ok_or_else(|| {
        let message = "nothing says how the text there is written";
        SchemeError::new("missing_key", message, format!("add as = {example:?}")).within(table.span())
    })
}

pub(super) fn placed<F>(table: &PlacedTable<F>, form: F) -> Result<Placed<F>, SchemeError> {
    let pair = pair(table)?;
    let separator = table.separator.or(pair.is_some().then_some(','));
    if pair.as_ref().is_some_and(|pair| separator == Some(pair.assign)) || is_both(table, separator) {
        let help =
            "groups are separated by group, pieces by separator, and name and text within one by assign";
        let message = "two of group, separator and assign are the same character";
        return Err(SchemeError::new("ambiguous_pieces", message, help).within(table.span()));
    }
    let (prefix, prefix_optional) = prefix(table)?;
    let (group, unwrap) = (table.group.as_ref().map(|group| *group.get_ref()), unwrap(table)?);
    let (position, repeats) = (position(table, separator)?, repeats(table)?);
    let place = Place {
        repeats,
        unwrap,
        group,
        separator,
        position,
        pair,
        prefix,
        prefix_optional,
        ..places_of(table)?
    };
    Ok(Placed { place, form })
}

fn is_both<F>(table: &PlacedTable<F>, separator: Option<char>) -> bool {
    let Some(group) = table.group.as_ref().map(|group| *group.get_ref()) else { return false };
    separator == Some(group) || table.assign.as_ref().is_some_and(|assign| *assign.get_ref() == group)
}

/// The headers and fields of a place, and nothing else of it.
fn places_of<F>(table: &PlacedTable<F>) -> Result<Place, SchemeError> {
    let help = "write one of path = \"header.acme-signature\", paths = [\"header.a\", \"header.b\"] and headers = \"acme-signature-\"";
    match (&table.path, &table.paths, &table.headers) {
        (Some(one), None, None) => Ok(Place::whole(path(one)?)),
        (None, Some(several), None) => {
            let mut paths = several.get_ref().iter().map(path).collect::<Result<Vec<_>, _>>()?.into_iter();
            let none = || SchemeError::new("missing_key", "paths is empty", help).at(several);
            let first = Place::whole(paths.next().ok_or_else(none)?);
            Ok(Place { others: paths.collect(), ..first })
        }
        (None, None, Some(begin)) => {
            let named = FieldPath::parse(&format!("header.{}", begin.get_ref())).map_err(|error| {
                let help = "write how the names of the headers begin, as \"x-docusign-signature-\"";
                SchemeError::new("invalid_path", error.to_string(), help).at(begin)
            });
            Ok(Place { numbered: true, ..Place::whole(named?) })
        }
        (None, None, None) => Err(SchemeError::new("missing_key", "nothing says where it stands", help)),
        _ => {
            let message = "two keys say where it stands";
            Err(SchemeError::new("ambiguous_place", message, help).within(table.span()))
        }
    }
}

fn pair<F>(table: &PlacedTable<F>) -> Result<Option<Pair>, SchemeError> {
    if let (None, Some(assign)) = (&table.pair, &table.assign) {
        let help = "add pair = \"…\", the name in front of it, or remove assign";
        return Err(
            SchemeError::new("assign_without_pair", "assign separates nothing without pair", help).at(assign)
        );
    }
    let assign = table.assign.as_ref().map_or('=', |assign| *assign.get_ref());
    Ok(table.pair.clone().map(|name| Pair { name, assign }))
}

fn prefix<F>(table: &PlacedTable<F>) -> Result<(Option<String>, bool), SchemeError> {
    match (&table.prefix, &table.optional_prefix) {
        (Some(_), Some(optional)) => {
            let help = "write prefix where the sender always has it, optional_prefix where it sometimes has";
            let message = "prefix and optional_prefix exclude each other";
            Err(SchemeError::new("ambiguous_prefix", message, help).at(optional))
        }
        (prefix, None) => Ok((prefix.clone(), false)),
        (None, Some(optional)) => Ok((Some(optional.get_ref().clone()), true)),
    }
}

fn position<F>(table: &PlacedTable<F>, separator: Option<char>) -> Result<Position, SchemeError> {
    let given = table.skip.as_ref().or(table.piece.as_ref());
    if let Some(given) = given.filter(|_| separator.is_none() || table.pair.is_some()) {
        let message = "pieces are counted, and nothing separates them, or they have names";
        let help = "add separator = \",\", or remove skip and piece; pieces with names are found by pair";
        return Err(SchemeError::new("position_without_separator", message, help).at(given));
    }
    match (&table.skip, &table.piece) {
        (Some(_), Some(piece)) => {
            let help = "write skip where all pieces from there on count, piece where one does";
            Err(SchemeError::new("ambiguous_pieces", "skip and piece exclude each other", help).at(piece))
        }
        (_, Some(piece)) => Ok(Position::At(*piece.get_ref())),
        (skip, None) => Ok(Position::From(skip.as_ref().map_or(0, |skip| *skip.get_ref()))),
    }
}

fn repeats<F>(table: &PlacedTable<F>) -> Result<bool, SchemeError> {
    let Some(given) = table.repeats.as_ref().filter(|repeats| *repeats.get_ref()) else { return Ok(false) };
    let paths = table.path.iter().chain(table.paths.iter().flat_map(Spanned::get_ref));
    if paths.into_iter().all(|path| path.get_ref().starts_with("header.")) {
        return Ok(true);
    }
    let message = "only a header can stand several times";
    Err(SchemeError::new("repeats_no_header", message, "remove repeats, or name a header").at(given))
}

fn unwrap<F>(table: &PlacedTable<F>) -> Result<Option<Unwrap>, SchemeError> {
    let Some(given) = &table.unwrap else { return Ok(None) };
    let field = given.get_ref().strip_prefix("base64_json:");
    let field = field.and_then(|field| FieldPath::parse(&format!("body.{field}")).ok());
    let invalid = || {
        let help =
            "write \"base64_json:signature\": the field of the JSON document that stands there in base64";
        SchemeError::new("invalid_path", format!("{:?} unwraps nothing", given.get_ref()), help).at(given)
    };
    Ok(Some(Unwrap { field: field.ok_or_else(invalid)? }))
}

/// The form fields that hold the signature: they cannot be part of what is signed.
pub(super) fn form_fields(place: &Place) -> Vec<String> {
    place.paths().filter(|path| path.root() == Root::Body).map(|path| path.name().to_owned()).collect()
}

pub(super) fn bound(table: &DigestTable) -> Result<Bound, SchemeError> {
    Ok(Bound { path: path(&table.path)?, of: template(&table.of, None)? })
}

pub(super) fn stamp(table: &SignatureTable) -> Result<Option<Stamp>, SchemeError> {
    match (&table.timestamp, &table.tolerance) {
        (Some(at), _) => {
            Ok(Some(Stamp { at: placed(at, form(at, "unix_s")?)?, tolerance: tolerance(table)? }))
        }
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
